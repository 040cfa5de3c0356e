"""The key service in memory: what the file adapter seals, and what tests and simulations use.

KEKs are 256-bit keys for AES-GCM. A wrapped key is `0x01 | nonce 12 B | ciphertext | tag 16 B`: the
nonce is random, and a KEK version would have to wrap 2^32 keys before chance repeats one (SP 800-38D),
which its year of service does not reach.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from usance.crypto.keyservice import (
    KekId,
    KekVersion,
    KeyContext,
    KeyGone,
    KeyState,
    KeyTampered,
    Rewrapped,
    ServiceReport,
    Unwrapped,
    Wrapped,
)
from usance.crypto.secret import KEY_BYTES, Secret
from usance.kernel.clock import Clock
from usance.kernel.errors import NotFound, Refused
from usance.kernel.ids import Entropy, system_entropy

WRAP_VERSION = 1
NONCE_BYTES = 12
TAG_BYTES = 16
BLOB_BYTES = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES


class StoredKek(msgspec.Struct, kw_only=True):
    """A KEK version as a sealed file holds it; `key` is None once it is destroyed."""

    version: int
    created: int
    key: bytes | None

    def __repr__(self) -> str:
        """Show no key."""
        return f"StoredKek(version={self.version})"


class StoredRing(msgspec.Struct, kw_only=True):
    """All that a software service remembers: the KEK versions of each tenant, oldest first."""

    tenants: dict[str, list[StoredKek]]

    def __repr__(self) -> str:
        """Show no key."""
        return f"StoredRing({len(self.tenants)} tenants)"


class Keyring:
    """The software KeyService. `saved` is called with each change before it is answered.

    If `saved` raises, the change did not happen.
    """

    def __init__(
        self,
        clock: Clock,
        ring: StoredRing | None = None,
        *,
        saved: Callable[[StoredRing], None] = lambda _: None,
        entropy: Entropy = system_entropy,
        report: ServiceReport = ServiceReport("memory", "1", "this process"),  # noqa: B008
    ) -> None:
        self._clock = clock
        self._ring = ring or StoredRing(tenants={})
        self._saved = saved
        self._entropy = entropy
        self._report = report
        self._ciphers: dict[KekId, AESGCM] = {}
        self._lock = threading.RLock()

    def create(self, tenant: str) -> KekVersion:
        """Make version 1, or return the active version."""
        with self._lock:
            known = self.versions(tenant)
            return known[-1] if known else self._grow(tenant)

    def versions(self, tenant: str) -> list[KekVersion]:
        """Return all versions of a tenant, oldest first."""
        with self._lock:
            stored = self._ring.tenants.get(tenant, [])
            return [_told(tenant, kek, newest=kek is stored[-1]) for kek in stored]

    def rotate(self, tenant: str) -> KekVersion:
        """Make a new version, the active one from now on."""
        with self._lock:
            self._active(tenant)
            return self._grow(tenant)

    def wrap(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        """Wrap under the active version."""
        with self._lock:
            kek = self._active(tenant)
            cipher = self._cipher(kek)
            assert cipher is not None, "the active version is never destroyed"
        nonces = self._nonces(len(keys))
        return [
            Wrapped(kek, context, _sealed(cipher, next(nonces), secret, context.aad(kek)))
            for context, secret in keys
        ]

    def unwrap(self, items: Sequence[Wrapped]) -> list[Unwrapped]:
        """Open wrapped keys."""
        return [self._opened(item) for item in items]

    def rewrap(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        """Move wrapped keys to the active version."""
        return [self._moved(item) for item in items]

    def destroy(self, kek: KekId) -> KekVersion:
        """Destroy a version: the oldest that lives, never the active one."""
        with self._lock:
            demand_destroyable(self.versions(kek.tenant), kek)
            rest = [
                StoredKek(version=k.version, created=k.created, key=None)
                if k.version == kek.version
                else k
                for k in self._ring.tenants[kek.tenant]
            ]
            self._keep(kek.tenant, rest)
            self._ciphers.pop(kek, None)
            return self.versions(kek.tenant)[kek.version - 1]

    def check(self) -> ServiceReport:
        """Return who answers."""
        return self._report

    def close(self) -> None:
        """Forget the ciphers."""
        with self._lock:
            self._ciphers.clear()

    def _active(self, tenant: str) -> KekId:
        stored = self._ring.tenants.get(tenant)
        if not stored:
            raise no_kek(tenant)
        return KekId(tenant, stored[-1].version)

    def _grow(self, tenant: str) -> KekVersion:
        stored = self._ring.tenants.get(tenant, [])
        new = StoredKek(
            version=len(stored) + 1, created=self._clock.now(), key=self._entropy(KEY_BYTES)
        )
        self._keep(tenant, [*stored, new])
        return _told(tenant, new, newest=True)

    def _keep(self, tenant: str, stored: list[StoredKek]) -> None:
        ring = StoredRing(tenants={**self._ring.tenants, tenant: stored})
        self._saved(ring)
        self._ring = ring

    def _cipher(self, kek: KekId) -> AESGCM | None:
        found = self._ciphers.get(kek)
        if found is None:
            stored = self._ring.tenants.get(kek.tenant, [])
            key = stored[kek.version - 1].key if 0 < kek.version <= len(stored) else None
            if key is None:
                return None
            found = self._ciphers[kek] = AESGCM(key)
        return found

    def _nonces(self, count: int) -> Iterator[bytes]:
        drawn = self._entropy(NONCE_BYTES * count) if count else b""
        return (drawn[n : n + NONCE_BYTES] for n in range(0, len(drawn), NONCE_BYTES))

    def _opened(self, item: Wrapped) -> Unwrapped:
        kek, context, blob = item
        with self._lock:
            cipher = self._cipher(kek)
            if cipher is None:
                known = kek.version <= len(self._ring.tenants.get(kek.tenant, []))
                return (
                    KeyGone(kek, context.key_id)
                    if known and kek.version > 0
                    else KeyTampered(kek, context.key_id, "its KEK version never was")
                )
        if kek.tenant != context.tenant:
            return KeyTampered(kek, context.key_id, "wrapped for another tenant")
        if len(blob) != BLOB_BYTES or blob[0] != WRAP_VERSION:
            return KeyTampered(kek, context.key_id, "not in the form of a wrapped key")
        try:
            nonce, sealed = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
            return Secret(cipher.decrypt(nonce, sealed, context.aad(kek)))
        except InvalidTag:
            return KeyTampered(kek, context.key_id, "does not open under its context")

    def _moved(self, item: Wrapped) -> Rewrapped:
        opened = self._opened(item)
        if not isinstance(opened, Secret):
            return opened
        if item.kek == self._active(item.kek.tenant):
            return item
        return self.wrap(item.kek.tenant, [(item.context, opened)])[0]


def no_kek(tenant: str) -> NotFound:
    """Return the error for a tenant without a KEK."""
    return NotFound(
        f"tenant {tenant} has no key-encryption key",
        hint="`usance key create` makes the first one.",
    )


def demand_destroyable(versions: Sequence[KekVersion], kek: KekId) -> None:
    """Raise unless a version may be destroyed: it was, it is not active, and none older lives."""
    if not any(v.id == kek for v in versions):
        raise NotFound(f"KEK {kek} never was", hint="`usance key list` shows all versions.")
    if versions[-1].id == kek:
        raise Refused("KEK_ACTIVE", f"KEK {kek} is the active one", hint="Rotate and rewrap first.")
    older = [v for v in versions if v.id.version < kek.version]
    living = [v.id for v in older if v.state is not KeyState.DESTROYED]
    if living:
        raise Refused(
            "KEK_OLDER_LIVES",
            f"KEK {living[0]} is older than {kek} and still lives",
            hint="Versions are destroyed oldest first.",
        )


def _told(tenant: str, kek: StoredKek, *, newest: bool) -> KekVersion:
    alive = KeyState.ACTIVE if newest else KeyState.DEACTIVATED
    return KekVersion(
        KekId(tenant, kek.version), alive if kek.key else KeyState.DESTROYED, kek.created
    )


def _sealed(cipher: AESGCM, nonce: bytes, secret: Secret, aad: bytes) -> bytes:
    assert len(secret) == KEY_BYTES
    return bytes([WRAP_VERSION]) + nonce + cipher.encrypt(nonce, secret.reveal(), aad)
