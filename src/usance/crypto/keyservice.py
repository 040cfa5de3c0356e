"""The port of key services: who keeps the keys that wrap data keys.

The hierarchy is: a root that never leaves its device or its sealed file -> one key-encryption key
(KEK) per tenant, in versions -> data keys, which leave the service only wrapped. Every technology
(`adapters/keys_file.py`, `keys_pkcs11.py`, `keys_vault.py`, `keys_aws.py`) gives the same service,
held to it by `testing/key_conformance.py`; `crypto/keyring.py` is the service in memory.

Three kinds of answers:

- **Values**, one per item, so that one bad item does not fail its neighbours: the `Secret`, or
  `KeyGone` (its KEK version was destroyed: an erasure, for good), or `KeyTampered` (what was stored
  does not open under its context: an incident).
- **Unavailable**: the service is down or slow. Nothing was done; ask again later.
- **KeyServiceDenied** (an Unavailable): it is up and does not accept us, or not for this. Asking again
  helps only when whoever runs the service has acted; until then, wait as for Unavailable.

Sources: NIST SP 800-57 part 1 rev. 5 (states), PCI DSS 4.0.1 3.6 and 3.7, SP 800-38D (GCM).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from usance.crypto.secret import KEY_BYTES, Secret
from usance.kernel.errors import Tampered, Unavailable
from usance.kernel.ids import Entropy, system_entropy

BATCH_MAX = 500
"""Items that an adapter sends in one call; longer requests are cut, callers need not count."""

CONTEXT_VERSION = b"usance.wrap.1"
KEY_ID_BYTES = 16


class Purpose(StrEnum):
    """What a wrapped key is for; part of its context, so that no key serves a second purpose."""

    DATA = "data"
    """Seals blocks of one data subject and retention class."""
    INDEX = "index"
    """Blind index of a tenant."""
    TOKEN = "token"  # noqa: S105
    """Tokens for card numbers of a tenant."""
    JOIN = "join"
    """Deterministic encryption of declared join fields of a tenant."""
    PROOF = "proof"
    """Nothing: shows that the service works."""


class KeyState(StrEnum):
    """States of a key by SP 800-57 part 1 section 7; `crypto/keystates.py` has the transitions."""

    PRE_ACTIVATION = "pre-activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"
    DESTROYED_COMPROMISED = "destroyed-compromised"


class KekId(NamedTuple):
    """A version of a tenant's KEK; versions are dense from 1 and never used twice."""

    tenant: str
    version: int

    def __str__(self) -> str:
        """Return the text that people see, such as `albion/2`."""
        return f"{self.tenant}/{self.version}"


class KekVersion(NamedTuple):
    """What a service tells of a KEK version: its state, and when it was made (ms UTC, 0: unknown).

    A service knows three states: the newest version is ACTIVE, older ones are DEACTIVATED (they
    unwrap), and those that it destroyed or was told to destroy are DESTROYED. `final` is the instant
    from which on a destruction cannot be called off any more (0: it never could be); until then it
    belongs into a certificate of erasure as a horizon.
    """

    id: KekId
    state: KeyState
    created: int
    final: int = 0


class KeyContext(NamedTuple):
    """What a wrapped key belongs to; authenticated with it, so that no two of them can be swapped.

    `subject` is the pseudonym of the data subject ("" for a tenant's own keys), `retention` the
    retention class ("" likewise), `key_id` 16 random bytes, `version` counts the subject's keys.
    """

    tenant: str
    subject: str
    retention: str
    key_id: bytes
    version: int
    purpose: Purpose = Purpose.DATA

    def aad(self, kek: KekId) -> bytes:
        """Return the additional authenticated data: each part with its length before it (u16)."""
        assert len(self.key_id) == KEY_ID_BYTES
        assert kek.tenant == self.tenant, "a tenant's keys are wrapped by that tenant's KEK alone"
        return length_prefixed(
            CONTEXT_VERSION, self.tenant.encode(), kek.version.to_bytes(4, "big"),
            self.subject.encode(), self.retention.encode(), self.key_id,
            self.version.to_bytes(4, "big"), self.purpose.value.encode(),
        )  # fmt: skip


class Wrapped(NamedTuple):
    """A data key as it is stored: `blob` is the service's own form, and opaque."""

    kek: KekId
    context: KeyContext
    blob: bytes


class KeyGone(NamedTuple):
    """The key's KEK version was destroyed: nothing opens it any more."""

    kek: KekId
    key_id: bytes


class KeyTampered(NamedTuple):
    """The stored key does not open under its context: altered, swapped, or of another service."""

    kek: KekId
    key_id: bytes
    reason: str


Unwrapped = Secret | KeyGone | KeyTampered
Rewrapped = Wrapped | KeyGone | KeyTampered


class ServiceReport(NamedTuple):
    """A healthy service: its technology, version, and where it is (an address without secrets)."""

    technology: str
    version: str
    place: str


class KeyServiceDenied(Unavailable):
    """The key service does not accept us or what we asked: its operator must act before a retry helps."""


class KeyService(Protocol):
    """Keeps tenants' KEKs; all calls are blocking, thread-safe, and may raise Unavailable.

    Give no call a key's plaintext that the service did not need: data keys are made by the caller
    (`kernel.ids.system_entropy`), because only so can they be bound to their context.
    """

    def create(self, tenant: str) -> KekVersion:
        """Make version 1 of a tenant's KEK, or return the active version where there is one."""
        ...

    def versions(self, tenant: str) -> list[KekVersion]:
        """Return all versions a tenant ever had, oldest first; empty for an unknown tenant."""
        ...

    def rotate(self, tenant: str) -> KekVersion:
        """Make a new version, which becomes the active one; older ones go on unwrapping.

        Raises NotFound for a tenant without a KEK.
        """
        ...

    def wrap(self, tenant: str, keys: Sequence[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        """Wrap under the tenant's active version; no other can be named. In the order given.

        Raises NotFound for a tenant without a KEK.
        """
        ...

    def unwrap(self, items: Sequence[Wrapped]) -> list[Unwrapped]:
        """Open wrapped keys of any tenants and versions, in the order given."""
        ...

    def rewrap(self, items: Sequence[Wrapped]) -> list[Rewrapped]:
        """Move wrapped keys to their tenant's active version; data and context stay the same.

        An item that stands under it already is returned as it is.
        """
        ...

    def destroy(self, kek: KekId) -> KekVersion:
        """Destroy a version for good: what is still wrapped by it is `KeyGone` from now on.

        Repeating it changes nothing. Raises Refused for the active version (rotate first) and where
        an older version still lives (oldest first), NotFound for one that never was. Approvals,
        holds and whether something still needs the version are the caller's to check.
        """
        ...

    def check(self) -> ServiceReport:
        """Return who answers, having used it once; raises Unavailable saying what to do."""
        ...

    def close(self) -> None:
        """Give back connections and sessions; the service is used no more."""
        ...


def prove(service: KeyService, tenant: str, entropy: Entropy = system_entropy) -> None:
    """Wrap and open a key of no use; raises Tampered where it comes back changed, or what the call raises."""
    context = KeyContext(tenant, "", "", entropy(KEY_ID_BYTES), 1, Purpose.PROOF)
    secret = Secret(entropy(KEY_BYTES))
    if service.unwrap(service.wrap(tenant, [(context, secret)])) != [secret]:
        raise Tampered("the key service did not give back the key that it wrapped")


def length_prefixed(*parts: bytes) -> bytes:
    """Return the parts, each after its length as u16 big-endian; raises ValueError above 65,535 bytes.

    Plain concatenation would let ("ab", "c") stand for ("a", "bc").
    """
    pieces = []
    for part in parts:
        if len(part) > 0xFFFF:
            raise ValueError(f"a part has {len(part)} bytes: at most 65535")
        pieces.append(struct.pack(">H", len(part)))
        pieces.append(part)
    return b"".join(pieces)
