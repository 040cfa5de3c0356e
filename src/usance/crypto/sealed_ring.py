"""A keyring as bytes that only its root opens, and the two ways to come by the root.

The root is 256 random bits. Either it was split into shares (`crypto/shamir.py`) and is kept nowhere,
or it is wrapped by a key that scrypt (RFC 7914) makes of a passphrase, so that the passphrase can be
changed without touching what the root seals. The bytes are JSON: format, lock, nonce, and the ring under
AES-256-GCM with format and lock as additional data.

What it does not protect from: an older copy of the file put back. It opens, and a KEK destroyed since
is alive in it; so old copies must go when a KEK is destroyed, and its certificate names that horizon.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from usance.crypto.keyring import NONCE_BYTES, StoredRing
from usance.crypto.keyservice import KeyServiceDenied, length_prefixed
from usance.crypto.secret import KEY_BYTES, Secret
from usance.crypto.shamir import COMMITMENT_BYTES, commitment_of
from usance.kernel.errors import Refused, Tampered, Unreadable
from usance.kernel.ids import Entropy, system_entropy

FORMAT = "usance.keyring.1"
SCRYPT_COST = 17
"""Binary logarithm of the work factor n: 128 MiB and half a second, OWASP's choice with r=8 and p=1."""
SCRYPT_BLOCK = 8
SCRYPT_LANES = 1
SALT_BYTES = 16
PASSPHRASE_LENGTH_MIN = 12


class PassphraseLock(msgspec.Struct, frozen=True, tag="passphrase", tag_field="kind"):
    """The root, wrapped by the key of a passphrase."""

    salt: bytes
    cost: Annotated[int, msgspec.Meta(ge=10, le=20)]
    nonce: bytes
    root: bytes


class SharesLock(msgspec.Struct, frozen=True, tag="shares", tag_field="kind"):
    """The root is with its custodians; `commitment` tells whether theirs is the right one."""

    commitment: bytes
    threshold: int
    shares: int


Lock = PassphraseLock | SharesLock


class SealedRing(msgspec.Struct, frozen=True):
    """What a file holds."""

    format: str
    lock: Lock
    nonce: bytes
    sealed: bytes


def new_root(entropy: Entropy = system_entropy) -> Secret:
    """Return a fresh root."""
    return Secret(entropy(KEY_BYTES))


def locked_by_shares(root: Secret, *, threshold: int, shares: int) -> SharesLock:
    """Return the lock of a root that custodians hold."""
    return SharesLock(commitment_of(root), threshold, shares)


def locked_by_passphrase(
    root: Secret,
    passphrase: Secret,
    *,
    cost: int = SCRYPT_COST,
    entropy: Entropy = system_entropy,
) -> PassphraseLock:
    """Return the lock of a root under a passphrase; raises Refused for a short one."""
    if len(passphrase) < PASSPHRASE_LENGTH_MIN:
        raise Refused(
            "PASSPHRASE_SHORT",
            f"the passphrase has {len(passphrase)} bytes",
            hint=f"Take {PASSPHRASE_LENGTH_MIN} or more, such as five words drawn by dice.",
        )
    salt, nonce = entropy(SALT_BYTES), entropy(NONCE_BYTES)
    key = _passphrase_key(passphrase, salt, cost)
    return PassphraseLock(salt, cost, nonce, key.encrypt(nonce, root.reveal(), FORMAT.encode()))


def opened_by_passphrase(lock: PassphraseLock, passphrase: Secret) -> Secret:
    """Return the root; raises KeyServiceDenied for another passphrase (or an altered lock)."""
    key = _passphrase_key(passphrase, lock.salt, lock.cost)
    try:
        return Secret(key.decrypt(lock.nonce, lock.root, FORMAT.encode()))
    except InvalidTag:
        raise KeyServiceDenied(
            "the passphrase does not open the keyring",
            hint="Check which passphrase belongs to this file, and whether the file was altered.",
        ) from None


def demand_root(lock: SharesLock, root: Secret) -> None:
    """Raise KeyServiceDenied unless the root is the one that was split for this lock."""
    if not hmac.compare_digest(commitment_of(root), lock.commitment):
        raise KeyServiceDenied(
            "these shares belong to another keyring",
            hint=f"This one's shares begin with usance-share-1.{lock.commitment.hex()}.",
        )


def seal(ring: StoredRing, lock: Lock, root: Secret, *, entropy: Entropy = system_entropy) -> bytes:
    """Return the bytes of a file."""
    nonce = entropy(NONCE_BYTES)
    sealed = _root_key(root).encrypt(nonce, msgspec.json.encode(ring), _bound(lock))
    return _written(SealedRing(FORMAT, lock, nonce, sealed))


def read(data: bytes) -> SealedRing:
    """Return the parts of a file's bytes; raises Unreadable."""
    try:
        found = msgspec.json.decode(data, type=SealedRing)
    except msgspec.MsgspecError as error:
        raise Unreadable("keyring", f"the file is no keyring: {error}") from error
    if found.format != FORMAT:
        raise Unreadable("keyring", f"its format is {found.format[:40]}, and {FORMAT} is read here")
    whole = len(found.nonce) == NONCE_BYTES
    match found.lock:
        case PassphraseLock(salt=salt, nonce=nonce):
            whole = whole and len(salt) == SALT_BYTES and len(nonce) == NONCE_BYTES
        case SharesLock(commitment=commitment):
            whole = whole and len(commitment) == COMMITMENT_BYTES
    if not whole:
        raise Unreadable("keyring", "a part of it has another length than it must have")
    if _written(found) != data:  # white space, or base64 digits whose last bits mean nothing
        raise Unreadable("keyring", "it says the same in other bytes than this program writes")
    return found


def opened(found: SealedRing, root: Secret) -> StoredRing:
    """Return the ring; raises Tampered when the bytes were altered."""
    try:
        plain = _root_key(root).decrypt(found.nonce, found.sealed, _bound(found.lock))
    except InvalidTag:
        raise Tampered(
            "the keyring was altered: it does not open under its root",
            hint="Put the newest copy back, and find out who can write the file.",
        ) from None
    return msgspec.json.decode(plain, type=StoredRing)


def _written(ring: SealedRing) -> bytes:
    return msgspec.json.format(msgspec.json.encode(ring))


def _root_key(root: Secret) -> AESGCM:
    key = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"usance/keyring/v1").derive(root.reveal())
    return AESGCM(key)


def _passphrase_key(passphrase: Secret, salt: bytes, cost: int) -> AESGCM:
    memory = 132 * SCRYPT_BLOCK * ((1 << cost) + SCRYPT_LANES + 2)
    return AESGCM(
        hashlib.scrypt(
            passphrase.reveal(), salt=salt, n=1 << cost, r=SCRYPT_BLOCK, p=SCRYPT_LANES,
            maxmem=memory, dklen=KEY_BYTES,
        )
    )  # fmt: skip


def _bound(lock: Lock) -> bytes:
    return length_prefixed(FORMAT.encode(), msgspec.json.encode(lock))
