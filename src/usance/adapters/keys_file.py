"""The key service in a sealed file: for one machine, without a device or a server.

The file is opened by three of five shares or by a passphrase, once per process; from then on the keyring
stands in this process's memory. Every call looks whether another process changed the file meanwhile. A
change is made under a lock file, from the newest contents, and is on disk before it is answered: written
beside, fsynced, renamed over the old, folder fsynced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from usance.crypto import sealed_ring
from usance.crypto.keyring import Keyring, StoredRing
from usance.crypto.keyservice import (
    KekId,
    KekVersion,
    KeyContext,
    Rewrapped,
    ServiceReport,
    Unwrapped,
    Wrapped,
)
from usance.crypto.sealed_ring import Lock, PassphraseLock, SealedRing
from usance.crypto.secret import Secret
from usance.kernel.clock import Clock
from usance.kernel.errors import NotFound, Refused, Tampered, Unavailable

TECHNOLOGY = "file"
PRIVATE = 0o600

Unlock = Callable[[Lock], Secret]
"""Asks whoever must answer for the root of a lock: a passphrase's, or the combined shares'."""


class FileKeyService:
    """The KeyService over a sealed file; every process on the machine may have one open."""

    def __init__(self, path: Path, unlock: Unlock, clock: Clock) -> None:
        """Open it: asks `unlock` once. Raises NotFound, Unreadable, Tampered, KeyServiceDenied."""
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        found = _read(path)
        self._root = unlock(found.lock)
        self._seen = (0, 0, 0)
        self._ring = self._refreshed()

    def create(self, tenant: str) -> KekVersion:
        """Make version 1, or return the active version."""
        with self._changing() as ring:
            return ring.create(tenant)

    def versions(self, tenant: str) -> list[KekVersion]:
        """Return all versions of a tenant, oldest first."""
        return self._newest().versions(tenant)

    def rotate(self, tenant: str) -> KekVersion:
        """Make a new version, the active one from now on."""
        with self._changing() as ring:
            return ring.rotate(tenant)

    def wrap(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        """Wrap under the active version."""
        return self._newest().wrap(tenant, keys)

    def unwrap(self, items: Sequence[Wrapped]) -> list[Unwrapped]:
        """Open wrapped keys."""
        return self._newest().unwrap(items)

    def rewrap(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        """Move wrapped keys to the active version."""
        return self._newest().rewrap(items)

    def destroy(self, kek: KekId) -> KekVersion:
        """Destroy a version: the oldest that lives, never the active one."""
        with self._changing() as ring:
            return ring.destroy(kek)

    def check(self) -> ServiceReport:
        """Return who answers, after reading the file anew."""
        with self._lock:
            self._seen = (0, 0, 0)
            return self._newest().check()

    def close(self) -> None:
        """Forget the root and the keyring, as far as Python lets one."""
        with self._lock:
            self._ring.close()
            self._root.wipe()

    def change_passphrase(self, passphrase: Secret, *, cost: int = sealed_ring.SCRYPT_COST) -> None:
        """Seal the file by another passphrase; raises Refused where shares open it."""
        with self._lock, _exclusive(self._path):
            found = _read(self._path)
            if not isinstance(found.lock, PassphraseLock):
                raise Refused("KEYRING_BY_SHARES", "this keyring is opened by shares")
            ring = sealed_ring.opened(found, self._root)
            lock = sealed_ring.locked_by_passphrase(self._root, passphrase, cost=cost)
            _write(self._path, sealed_ring.seal(ring, lock, self._root))

    def _newest(self) -> Keyring:
        with self._lock:
            if self._stamp() != self._seen:
                self._ring = self._refreshed()
            return self._ring

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Keyring]:
        with self._lock, _exclusive(self._path):
            yield self._newest()

    def _refreshed(self) -> Keyring:
        stamp = self._stamp()
        found = _read(self._path)

        def keep(ring: StoredRing) -> None:
            _write(self._path, sealed_ring.seal(ring, found.lock, self._root))
            self._seen = self._stamp()

        ring = sealed_ring.opened(found, self._root)
        self._seen = stamp
        report = ServiceReport(TECHNOLOGY, sealed_ring.FORMAT, str(self._path))
        return Keyring(self._clock, ring, saved=keep, report=report)

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise Unavailable(
                f"the keyring {self._path} cannot be looked at: {error.strerror}",
                hint="Put it back where it was; nothing is sealed or opened without it.",
            ) from error
        return found.st_ino, found.st_mtime_ns, found.st_size


def found_keyring(path: Path, lock: Lock, root: Secret) -> None:
    """Write a new, empty keyring; raises Refused when there is a file already."""
    data = sealed_ring.seal(StoredRing(tenants={}), lock, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(path):
        if path.exists():
            raise Refused(
                "KEYRING_EXISTS",
                f"{path} is there already",
                hint="A new root would leave all that the old one sealed unreadable. Name another file.",
            )
        _write(path, data)


def _read(path: Path) -> SealedRing:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"there is no keyring at {path}", hint="`usance key ceremony` makes one."
        ) from None
    except OSError as error:
        raise Unavailable(f"the keyring {path} cannot be read: {error.strerror}") from error
    if not data:
        raise Tampered(f"the keyring {path} is empty", hint="Put the newest copy back.")
    return sealed_ring.read(data)


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    try:
        beside.unlink(missing_ok=True)  # a file or link put there would lend its rights to the keys
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(
            f"the keyring {path} cannot be written: {error.strerror}",
            hint="Nothing was changed. Check space and rights of its folder.",
        ) from error


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    try:
        guard = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise Unavailable(
            f"the keyring {path} cannot be locked: {error.strerror}",
            hint="Nothing was changed. Check the rights of its folder.",
        ) from error
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield
    finally:
        os.close(guard)
