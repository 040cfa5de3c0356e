"""The key service over a hardware security module by PKCS#11 (OASIS, 2.40 and later).

A KEK version is a secret key object of the token, sensitive and not extractable, labelled
`usance/<tenant>/<version>`; it wraps by CKM_AES_GCM (C_Encrypt), because CKM_AES_KEY_WRAP binds no
context. A wrapped key is `0x01 | nonce 12 B | ciphertext | tag 16 B`, as the software service's.

- A wrong tag is CKR_ENCRYPTED_DATA_INVALID by the standard and CKR_GENERAL_ERROR with SoftHSM; which of
  the two a general error is, is found out by opening a key just wrapped.
- Labels are found again when a handle fails: another process may have destroyed its object.

Not for modules that insist on making the nonce themselves (FIPS mode of some): they refuse to wrap.
Needs the extra `usance[pkcs11]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from usance.adapters.pkcs11_token import HANDLES, REFUSED, TokenSession, TokenSettings
from usance.crypto.keyring import NONCE_BYTES, TAG_BYTES, demand_destroyable, no_kek
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
from usance.kernel.errors import Tampered
from usance.kernel.ids import Entropy, system_entropy

try:
    import pkcs11
    from pkcs11 import exceptions as failures
except ImportError:  # pragma: no cover  the extra is not installed
    pkcs11 = None  # type: ignore[assignment]

TECHNOLOGY = "pkcs11"
LABEL = "usance"
WRAP_VERSION = 1
ID_BYTES = 8
"""CKA_ID holds the instant a version was made: CKA_START_DATE is not kept by every token."""
BLOB_BYTES = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES


class Pkcs11KeyService(TokenSession):
    """The KeyService of a token; `pin` is asked when a session is opened."""

    def __init__(
        self,
        settings: TokenSettings,
        pin: Callable[[], Secret],
        clock: Clock,
        *,
        entropy: Entropy = system_entropy,
    ) -> None:
        super().__init__(settings, pin)
        self._clock = clock
        self._entropy = entropy
        self._keys: dict[str, dict[int, Any]] = {}

    def create(self, tenant: str) -> KekVersion:
        """Make version 1, or return the active version."""
        return self._done(lambda: self._created(tenant))

    def versions(self, tenant: str) -> list[KekVersion]:
        """Return all versions of a tenant, oldest first; a version without an object was destroyed."""
        return self._done(lambda: self._told(tenant, self._found(tenant)))

    def rotate(self, tenant: str) -> KekVersion:
        """Make a new version, the active one from now on."""
        return self._done(lambda: self._rotated(tenant))

    def wrap(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        """Wrap under the active version."""
        return self._done(lambda: self._wrapped(tenant, keys))

    def unwrap(self, items: Sequence[Wrapped]) -> list[Unwrapped]:
        """Open wrapped keys."""
        return self._done(lambda: [self._opened(item) for item in items])

    def rewrap(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        """Move wrapped keys to the active version; the plaintext passes through this process."""
        return self._done(lambda: self._moved(items))

    def destroy(self, kek: KekId) -> KekVersion:
        """Destroy a version: the oldest that lives, never the active one."""
        return self._done(lambda: self._destroyed(kek))

    def check(self) -> ServiceReport:
        """Return who answers: the token is there and the PIN is right."""
        return self._done(self._report)

    def _forget(self) -> None:
        self._keys.clear()

    def _found(self, tenant: str) -> dict[int, Any]:
        """Return the living versions' objects of a tenant, from the token itself."""
        prefix = f"{LABEL}/{tenant}/"
        found: dict[int, Any] = {}
        for key in self._session.get_objects(
            {
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
                pkcs11.Attribute.TOKEN: True,
            }
        ):
            label = str(key.label)
            if not label.startswith(prefix) or not label[len(prefix) :].isdecimal():
                continue
            version = int(label[len(prefix) :])
            if version in found:
                raise Tampered(
                    f"the token holds two keys named {label}",
                    hint="Find out who made the second; neither is used until one is renamed.",
                )
            found[version] = key
        self._keys[tenant] = found
        return found

    def _told(self, tenant: str, found: dict[int, Any]) -> list[KekVersion]:
        newest = max(found, default=0)
        told = []
        for version in range(1, newest + 1):
            key = found.get(version)
            state = (
                KeyState.DESTROYED
                if key is None
                else KeyState.ACTIVE
                if version == newest
                else KeyState.DEACTIVATED
            )
            told.append(KekVersion(KekId(tenant, version), state, _made(key)))
        return told

    def _created(self, tenant: str) -> KekVersion:
        known = self._told(tenant, self._found(tenant))
        return known[-1] if known else self._grown(tenant, 1)

    def _rotated(self, tenant: str) -> KekVersion:
        return self._grown(tenant, self._active(tenant, anew=True) + 1)

    def _grown(self, tenant: str, version: int) -> KekVersion:
        self._session.generate_key(
            pkcs11.KeyType.AES,
            KEY_BYTES * 8,
            label=f"{LABEL}/{tenant}/{version}",
            store=True,
            id=self._clock.now().to_bytes(ID_BYTES, "big"),
            template={
                pkcs11.Attribute.SENSITIVE: True,
                pkcs11.Attribute.EXTRACTABLE: False,
                pkcs11.Attribute.MODIFIABLE: False,
                pkcs11.Attribute.ENCRYPT: True,
                pkcs11.Attribute.DECRYPT: True,
                pkcs11.Attribute.WRAP: False,
                pkcs11.Attribute.UNWRAP: False,
            },
        )
        return self._told(tenant, self._found(tenant))[-1]

    def _active(self, tenant: str, *, anew: bool = False) -> int:
        """Return the newest version's number; `anew` asks the token rather than what we remember."""
        known = self._keys.get(tenant)
        if anew or not known:
            known = self._found(tenant)
        if not known:
            raise no_kek(tenant)
        return max(known)

    def _wrapped(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        kek = KekId(tenant, self._active(tenant, anew=True))
        key = self._keys[tenant][kek.version]
        return [
            Wrapped(kek, context, self._sealed(key, secret, context.aad(kek)))
            for context, secret in keys
        ]

    def _sealed(self, key: Any, secret: Secret, aad: bytes) -> bytes:
        nonce = self._entropy(NONCE_BYTES)
        sealed = key.encrypt(
            secret.reveal(),
            mechanism=pkcs11.Mechanism.AES_GCM,
            mechanism_param=pkcs11.GCMParams(nonce, aad, TAG_BYTES * 8),
        )
        return bytes([WRAP_VERSION]) + nonce + bytes(sealed)

    def _opened(self, item: Wrapped) -> Unwrapped:
        kek, context, blob = item
        if kek.tenant != context.tenant:
            return KeyTampered(kek, context.key_id, "wrapped for another tenant")
        if len(blob) != BLOB_BYTES or blob[0] != WRAP_VERSION:
            return KeyTampered(kek, context.key_id, "not in the form of a wrapped key")
        key = self._object(kek)
        if key is None:
            newest = max(self._keys[kek.tenant], default=0)
            if 0 < kek.version < newest:
                return KeyGone(kek, context.key_id)
            return KeyTampered(kek, context.key_id, "its KEK version never was")
        try:
            return Secret(self._unsealed(key, blob, context.aad(kek)))
        except HANDLES:
            # Another process destroyed it: what the token holds now decides.
            self._keys.pop(kek.tenant, None)
            if self._object(kek) is None:
                return KeyGone(kek, context.key_id)
            raise
        except REFUSED:
            return KeyTampered(kek, context.key_id, "does not open under its context")
        except failures.GeneralError:
            probe = self._sealed(key, Secret(b"\x01" * KEY_BYTES), b"probe")
            self._unsealed(key, probe, b"probe")  # raises where the token itself is unwell
            return KeyTampered(kek, context.key_id, "does not open under its context")

    def _unsealed(self, key: Any, blob: bytes, aad: bytes) -> bytes:
        nonce = blob[1 : 1 + NONCE_BYTES]
        return bytes(
            key.decrypt(
                blob[1 + NONCE_BYTES :],
                mechanism=pkcs11.Mechanism.AES_GCM,
                mechanism_param=pkcs11.GCMParams(nonce, aad, TAG_BYTES * 8),
            )
        )

    def _object(self, kek: KekId) -> Any:
        known = self._keys.get(kek.tenant, {})
        if kek.version not in known:
            known = self._found(kek.tenant)
        return known.get(kek.version)

    def _moved(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        active = {}
        for tenant in {item.kek.tenant for item in items}:
            # Listing a token's objects is slow: once for each tenant, not for each key.
            active[tenant] = KekId(tenant, max(self._found(tenant), default=0))
        return [self._moved_to(active[item.kek.tenant], item) for item in items]

    def _moved_to(self, kek: KekId, item: Wrapped) -> Rewrapped:
        opened = self._opened(item)
        if not isinstance(opened, Secret) or item.kek == kek:
            return item if isinstance(opened, Secret) else opened
        key = self._keys[kek.tenant][kek.version]
        return Wrapped(kek, item.context, self._sealed(key, opened, item.context.aad(kek)))

    def _destroyed(self, kek: KekId) -> KekVersion:
        found = self._found(kek.tenant)
        demand_destroyable(self._told(kek.tenant, found), kek)
        if kek.version in found:
            found[kek.version].destroy()
        return self._told(kek.tenant, self._found(kek.tenant))[kek.version - 1]

    def _report(self) -> ServiceReport:
        library = pkcs11.lib(self._settings.module)
        version = ".".join(map(str, library.library_version))
        place = f"token {self._settings.token} by {self._settings.module}"
        return ServiceReport(TECHNOLOGY, f"{library.manufacturer_id} {version}", place)


def _made(key: Any) -> int:
    """Return the instant that a key's id tells, 0 for a key that was not made here."""
    identity = b"" if key is None else bytes(key.id)
    return int.from_bytes(identity, "big") if len(identity) == ID_BYTES else 0
