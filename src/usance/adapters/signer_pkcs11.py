"""A log's signing key in a hardware security module, by PKCS#11: Ed25519 (CKM_EDDSA, OASIS 3.0).

The key pair is made by the token, is sensitive and not extractable, and is found by its label. A token that
has no CKM_EDDSA cannot hold it: C2SP's logs are signed with Ed25519. Signatures are the same for the same text,
as a crash between last head and signature demands. Needs the extra `usance[pkcs11]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from usance.adapters.pkcs11_token import TokenSession, TokenSettings
from usance.crypto.secret import Secret
from usance.kernel.errors import Tampered, Unavailable

try:
    import pkcs11
    from pkcs11 import exceptions as failures
except ImportError:  # pragma: no cover  the extra is not installed
    pkcs11 = None  # type: ignore[assignment]

EDWARDS25519 = bytes.fromhex("06032b6570")
"""CKA_EC_PARAMS of Ed25519: its object identifier 1.3.101.112, DER (RFC 8410)."""
OCTETS = bytes.fromhex("0420")
"""What DER puts before the 32 bytes of a public key; some tokens give the bytes alone."""
KEY_BYTES = 32


class Pkcs11Signer(TokenSession):
    """The Signer of a token: the key named `label`; `make` makes it where there is none."""

    def __init__(
        self, settings: TokenSettings, pin: Callable[[], Secret], label: str, *, make: bool = False
    ) -> None:
        super().__init__(settings, pin)
        self._label = label
        self._key: Any = None
        self.public: bytes = self._done(lambda: self._opened(make=make))

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature; raises Unavailable."""
        return self._done(lambda: self._signed(message))

    def _signed(self, message: bytes) -> bytes:
        if self._key is None and self._opened(make=False) != self.public:
            self._key = None
            raise Tampered(
                f"the token's key {self._label} is another one than when we began",
                hint="Bring the token back, or find out who changed its key.",
            )
        return bytes(self._key.sign(message, mechanism=pkcs11.Mechanism.EDDSA))

    def _forget(self) -> None:
        self._key = None

    def _opened(self, *, make: bool) -> bytes:
        """Find the key pair; returns its public key."""
        private = self._object(pkcs11.ObjectClass.PRIVATE_KEY)
        if private is None and make:
            self._make()
            private = self._object(pkcs11.ObjectClass.PRIVATE_KEY)
        public = self._object(pkcs11.ObjectClass.PUBLIC_KEY)
        if private is None or public is None:
            raise Unavailable(
                f"the token {self._settings.token} has no signing key {self._label}",
                hint="The notary makes it when it first starts. Is it the right token?",
            )
        point = bytes(public[pkcs11.Attribute.EC_POINT]).removeprefix(OCTETS)
        if len(point) != KEY_BYTES:
            raise Unavailable(
                f"the token's key {self._label} is no Ed25519 key",
                hint="Heads are signed with Ed25519: name another object in proof.signer.",
            )
        self._key = private
        return point

    def _object(self, kind: Any) -> Any:
        wanted = {pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.LABEL: self._label}
        found = list(self._session.get_objects(wanted))
        if len(found) > 1:
            raise Tampered(
                f"the token holds two keys named {self._label}",
                hint="Find out who made the second; neither signs until one is renamed.",
            )
        return found[0] if found else None

    def _make(self) -> None:
        curve = self._session.create_domain_parameters(
            pkcs11.KeyType.EC_EDWARDS, {pkcs11.Attribute.EC_PARAMS: EDWARDS25519}, local=True
        )
        secret = {
            pkcs11.Attribute.SENSITIVE: True,
            pkcs11.Attribute.EXTRACTABLE: False,
            pkcs11.Attribute.SIGN: True,
        }
        try:
            curve.generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=self._label,
                private_template=secret,
            )
        except (failures.MechanismInvalid, failures.DomainParamsInvalid) as error:
            raise Unavailable(
                f"the token {self._settings.token} makes no Ed25519 keys",
                hint="Heads are signed with Ed25519 (C2SP): take a token with CKM_EDDSA, or a file.",
            ) from error
