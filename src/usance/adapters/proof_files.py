"""Tiles, anchors and keys as files of local folders: written whole under another name, synced, renamed."""

from __future__ import annotations

import base64
import binascii
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from usance.audit.codes import Detected
from usance.audit.note import SigningKey
from usance.audit.ports import Kept, Probe
from usance.kernel.errors import Tampered, Unavailable
from usance.kernel.native import NATIVE

PART = ".part"
KEY_MODE = 0o600


class FolderTiles:
    """A folder as TileStore."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files that never change: bytes first, then names, then folders, each synced."""
        try:
            if NATIVE is None:
                self._put_plainly(files)
            else:
                self._put_at_once(files)
        except OSError as error:
            raise _unwritable(self.root, error) from error

    def _put_at_once(self, files: Mapping[str, bytes]) -> None:
        """Write all in one call of C: other threads have the interpreter meanwhile."""
        todo = [(self._path(path), data) for path, data in files.items()]
        there = NATIVE.store_files(todo, False)
        if there:  # a crash left them, or they are another head's
            known = set(there)
            for path, data in todo:
                if path in known:
                    _same(Path(os.fsdecode(path)), data)
            NATIVE.store_files([one for one in todo if one[0] not in known], False)

    def _put_plainly(self, files: Mapping[str, bytes]) -> None:
        parts: list[tuple[Path, Path]] = []
        for path, data in files.items():
            target = self.root / path
            if _same(target, data):
                continue
            part = target.with_name(target.name + PART)
            _write(part, data)
            parts.append((part, target))
        for part, target in parts:
            part.replace(target)
        _sync(target.parent for _, target in parts)

    def publish(self, path: str, data: bytes) -> None:
        """Replace one file as a whole, durably."""
        try:
            if NATIVE is not None:
                NATIVE.store_files([(self._path(path), data)], True)
                return
            target = self.root / path
            part = target.with_name(target.name + PART)
            _write(part, data)
            part.replace(target)
            _sync([target.parent])
        except OSError as error:
            raise _unwritable(self.root, error) from error

    def _path(self, path: str) -> bytes:
        return os.fsencode(f"{self.root}/{path}")

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        try:
            return (self.root / path).read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error

    def drop(self, paths: Sequence[str]) -> None:
        """Remove folders of partial files."""
        if NATIVE is not None:
            NATIVE.drop_folders([self._path(path) for path in paths])
            return
        for path in paths:
            shutil.rmtree(self.root / path, ignore_errors=True)


class FolderSafe:
    """A folder as WormStore: files are made once, read-only. The disk's owner can still remove them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, data: bytes) -> None:
        """Keep data under a name; raises Detected where other data is kept under it."""
        target = self.root / name
        try:
            if target.exists():
                if target.read_bytes() == data:
                    return
                raise Detected("ANCHOR_MISMATCH", f"other data is kept under {name}", where=name)
            part = target.with_name(target.name + PART)
            _write(part, data)
            part.chmod(0o444)
            os.link(part, target)
            part.unlink()
            _sync([target.parent])
        except OSError as error:
            raise _unwritable(self.root, error) from error

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.root)

    def names(self, prefix: str = "") -> list[str]:
        """Return all names that begin so, in order."""
        found = (p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file())
        return sorted(n for n in found if n.startswith(prefix) and not n.endswith(PART))

    def kept(self, prefix: str = "") -> Iterator[Kept]:
        """Give every name that begins so: nothing holds it but its rights."""
        for name in self.names(prefix):
            yield Kept(name, (self.root / name).stat().st_size)

    def examine(self) -> str:
        """Return what it is."""
        return f"the folder {self.root}: whoever administers its disk can empty it"

    def probe(self) -> list[Probe]:
        """Try what the owner of the disk can do to a file of its own."""
        name = "probe/file"
        self.put(name, b"probe")
        file = self.root / name
        try:
            file.unlink()
        except OSError:
            return [Probe("delete the file", refused=True)]
        return [Probe("delete the file", refused=False)]

    def read(self, name: str) -> bytes:
        """Return what is kept under a name."""
        return (self.root / name).read_bytes()


def read_key(path: Path) -> SigningKey:
    """Return the key of a file (32 bytes in base64).

    Raises Unavailable where it cannot be read or others may read it, Tampered where it holds no key.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise Unavailable(
                f"the signing key {path} can be read by others",
                hint=f"chmod 600 {path}, and think about whether it was read.",
            )
        text = path.read_text(encoding="ascii")
        seed = base64.b64decode(text.strip(), validate=True)
    except OSError as error:
        raise Unavailable(
            f"the signing key {path} cannot be read: {error.strerror}",
            hint="Name it with proof.key_file in usance.toml.",
        ) from error
    except (binascii.Error, ValueError) as error:
        raise _no_key(path) from error
    if len(seed) != 32:
        raise _no_key(path)
    return SigningKey(seed)


def make_key(path: Path) -> SigningKey:
    """Return the key of a file, made now (mode 0600) where there is none."""
    if path.exists():
        return read_key(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + PART)
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE)
        try:
            os.write(descriptor, base64.b64encode(fresh_seed()) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
        _sync([path.parent])
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    return read_key(path)


def fresh_seed() -> bytes:
    """Return 32 random bytes for a signing key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw()


def _same(target: Path, data: bytes) -> bool:
    try:
        found = target.read_bytes()
    except FileNotFoundError:
        return False
    if found != data:
        raise Detected(
            "TILE_MISMATCH",
            f"{target} is there already, with other bytes",
            where=str(target),
            hint="Keep a copy; restore the tiles, or remove them: they are made again from the log.",
        )
    return True


def _write(path: Path, data: bytes) -> None:
    try:
        stream = path.open("wb")
    except FileNotFoundError:
        _make(path.parent)
        stream = path.open("wb")
    with stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _make(folder: Path) -> None:
    """Make a folder so that a crash does not lose its name."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
    _sync({made.parent for made in missing})


def _sync(folders: Iterable[Path]) -> None:
    for folder in set(folders):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(root: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"proofs cannot be written to {root}: {error.strerror}",
        hint="Free space or mend the permissions; nothing was signed that is not on disk.",
    )


def _no_key(path: Path) -> Tampered:
    return Tampered(
        f"{path} holds no signing key", hint="Bring back the key file; heads need the same key."
    )
