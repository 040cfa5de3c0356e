"""Sealed blocks: what a private block looks like once it is encrypted, and how it is opened.

    sealed = 0x01 | suite u8 | key id 16 | nonce 12 | commit 16 | ciphertext | tag 16
    suite  = 1 AES-256-GCM, 2 AES-256-GCM-SIV, 3 ChaCha20-Poly1305
    k_enc  = HKDF-SHA256(data key, info "usance/seal/v1/enc"), k_com = the same with "usance/seal/v1/commit"
    commit = HMAC-SHA256(k_com, suite | key id)[:16]
    aad    = "usance.seal.1", tenant, stream, revision u64, record's ce_id, full name, block name and the
             inner schema's fingerprint, each as u16 big-endian length and bytes, then 0x01 | suite | key id

The AAD binds a block to its logical place, never to topic, partition or offset, which change on mirrors. The
commitment makes a ciphertext open under one key alone (GCM by itself does not), and a changed suite or key
id is found before anything is decrypted. A key is used with one suite. Nonces are random, never a counter,
drawn many at a time. Python cannot wipe `bytes`: a key lives until its last reference goes.

With the compiled extension suite 1 is `usance._native.Cipher` (native/cipher.c): AES-256-GCM of the libcrypto that
hashlib is linked against, in one step with the codec. Where there is none, or it fails the known answer, the
`cryptography` package does the same, as it does everything else.

Fixed from the first sealed record on; vectors that must open for ever: tests/crypto/vectors/sealed.json.
"""

from __future__ import annotations

import hmac
import importlib
import os
import struct
import weakref
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305

from usance.kernel.errors import Tampered, Unreadable
from usance.kernel.ids import Entropy, system_entropy
from usance.kernel.native import NATIVE

SEALED = 1
"""First byte of a sealed block; 0x00 stands before one in clear."""
AES_GCM, AES_GCM_SIV, CHACHA20_POLY1305 = 1, 2, 3
SUITES: dict[int, Any] = {
    AES_GCM: AESGCM,
    AES_GCM_SIV: AESGCMSIV,
    CHACHA20_POLY1305: ChaCha20Poly1305,
}
KEY_ID_BYTES, NONCE_BYTES, COMMIT_BYTES, TAG_BYTES, KEY_BYTES = 16, 12, 16, 16, 32
OVERHEAD = 2 + KEY_ID_BYTES + NONCE_BYTES + COMMIT_BYTES + TAG_BYTES
PLAIN_BYTES_MAX = 64 * 1024
"""Bound on what one block holds; documents go to the blob store under a key of their own."""
NO_REVISION = (1 << 64) - 1
"""Revision of records that have none: commands, outcomes, intake."""
NONCES_AT_ONCE = 256
NONCES_LEFT = 32
"""Nonces in store below which more are drawn."""

_LABEL = b"\x00\x0dusance.seal.1"
_HEAD_END, _NONCE_END = 2 + KEY_ID_BYTES, 2 + KEY_ID_BYTES + NONCE_BYTES
_COMMIT_END = _NONCE_END + COMMIT_BYTES
_u64 = struct.Struct(">Q").pack
_NUMBERS = [b"\x00\x08" + n.to_bytes(8, "big") for n in range(1024)]
_LENGTHS = [n.to_bytes(2, "big") for n in range(1024)]


class Place(NamedTuple):
    """The logical place of a record: what its blocks are bound to beside name and schema."""

    tenant: str
    stream: str
    revision: int
    record_id: str
    fullname: str


def _hkdf(key: bytes, info: bytes) -> bytes:
    """Return the first 32 bytes of HKDF-SHA256 without salt (RFC 5869)."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _part(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise Unreadable("encrypt", "a part of a block's place has more than 65,535 bytes")
    return len(data).to_bytes(2, "big") + data


@lru_cache(maxsize=256)
def tenant_prefix(tenant: str) -> bytes:
    """Return the AAD's first parts, which all records of a tenant share."""
    return _LABEL + _part(tenant.encode())


def record_prefix(tenant: str, stream: bytes, revision: int, record_id: bytes) -> bytes:
    """Return the AAD up to the record's id, which all blocks of a record share."""
    return place_prefix(tenant_prefix(tenant), stream, revision, record_id)


def place_prefix(prefix: bytes, stream: bytes, revision: int, record_id: bytes) -> bytes:
    """Return the same where the tenant's part is made already."""
    number = _NUMBERS[revision] if 0 <= revision < 1024 else b"\x00\x08" + _u64(revision)
    size, length = len(stream), len(record_id)
    if size > 1023 or length > 1023:
        return b"".join((prefix, _part(stream), number, _part(record_id)))
    return b"".join((prefix, _LENGTHS[size], stream, number, _LENGTHS[length], record_id))


@lru_cache(maxsize=8_192)
def block_suffix(fullname: str, name: str, schema: bytes) -> bytes:
    """Return the AAD's last parts, which all blocks of a type's field share."""
    return _part(fullname.encode()) + _part(name.encode()) + _part(schema)


def place_aad(place: Place, name: str, schema: bytes) -> bytes:
    """Return the AAD of a block but for its own head, which `DataKey` adds."""
    stream, record_id = place.stream.encode(), place.record_id.encode()
    prefix = record_prefix(place.tenant, stream, place.revision, record_id)
    return prefix + block_suffix(place.fullname, name, schema)


class Nonces:
    """Random nonces, drawn from the system many at a time; a forked child draws its own."""

    def __init__(self, draw: Entropy = system_entropy) -> None:
        self._draw = draw
        self.pool: list[bytes] = []
        """What is left; the compiled codec takes from its end too."""
        _POOLS.add(self)

    def next(self) -> bytes:
        """Return a nonce that nobody else gets; any thread may ask."""
        try:
            return self.pool.pop()
        except IndexError:
            fresh = self._fresh()
            nonce = fresh.pop()
            self.pool += fresh
            return nonce

    def ready(self) -> list[bytes]:
        """Return the pool with enough for the blocks of any usual command: for the compiled codec."""
        if len(self.pool) < NONCES_LEFT:
            self.pool += self._fresh()
        return self.pool

    def _fresh(self) -> list[bytes]:
        data = self._draw(NONCE_BYTES * NONCES_AT_ONCE)
        return [data[at : at + NONCE_BYTES] for at in range(0, len(data), NONCE_BYTES)]

    def clear(self) -> None:
        """Forget what was drawn ahead."""
        self.pool.clear()


_POOLS: weakref.WeakSet[Nonces] = weakref.WeakSet()


def _forked() -> None:
    for pool in list(_POOLS):
        pool.clear()


os.register_at_fork(after_in_child=_forked)
NONCES = Nonces()


def _compiled() -> tuple[Any, str]:
    """Return the compiled cipher of suite 1, None where no libcrypto gives the known answer; and who seals."""
    reference = f"{backend.openssl_version_text()}, of the package cryptography"
    if NATIVE is None:
        return None, reference
    try:
        where = importlib.import_module("_hashlib").__file__
        version = None if where is None else NATIVE.gcm_bind(where, InvalidTag)
        found = NATIVE.Cipher if version is not None else None
        if found is not None and _known(found):
            return found, f"{version}, of Python's hashlib"
    except (ImportError, AttributeError, RuntimeError):
        pass
    return None, reference


def _known(cipher: Any) -> bool:
    """Tell whether a compiled cipher gives what NIST's test case 16 for GCM says, again and again."""
    key, nonce = bytes.fromhex(_NIST_KEY), bytes.fromhex(_NIST_NONCE)
    plain, aad = bytes.fromhex(_NIST_PLAIN), bytes.fromhex(_NIST_AAD)
    sealed = bytes.fromhex(_NIST_SEALED)
    made = cipher(key, bytes(2 + KEY_ID_BYTES), bytes(COMMIT_BYTES), bytes(KEY_ID_BYTES))
    for _ in range(2):
        if made.encrypt(nonce, plain, aad) != sealed or made.decrypt(nonce, sealed, aad) != plain:
            return False
        try:
            made.decrypt(nonce, sealed[:-1] + b"\x00", aad)
        except InvalidTag:
            continue
        return False
    return True


_NIST_KEY = "feffe9928665731c6d6a8f9467308308" * 2
_NIST_NONCE = "cafebabefacedbaddecaf888"
_NIST_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_NIST_AAD = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
_NIST_SEALED = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b"
)
COMPILED, LIBRARY = _compiled()
"""The compiled cipher of suite 1, or None; and whose AES-256-GCM seals and opens, in words."""


class DataKey:
    """One version of a data key, ready to open blocks. Shown nowhere, and never pickled.

    `cipher` is the bare cipher: what the compiled codec opens with.
    """

    __slots__ = ("cipher", "commit", "decrypt", "head", "key_id", "suite")

    def __init__(self, key_id: bytes, secret: bytes, suite: int = AES_GCM) -> None:
        if len(key_id) != KEY_ID_BYTES or len(secret) != KEY_BYTES:
            raise Unreadable("decrypt", "a data key has 32 bytes and an id of 16")
        if suite not in SUITES:
            raise Unreadable("decrypt", f"there is no suite {suite}", hint="suites are 1, 2 and 3")
        self.key_id = key_id
        self.suite = suite
        self.head = bytes((SEALED, suite)) + key_id
        committing = _hkdf(secret, b"usance/seal/v1/commit")
        self.commit = hmac.digest(committing, self.head[1:], "sha256")[:COMMIT_BYTES]
        encrypting = _hkdf(secret, b"usance/seal/v1/enc")
        self.cipher = (
            COMPILED(encrypting, self.head, self.commit, key_id)
            if suite == AES_GCM and COMPILED is not None
            else SUITES[suite](encrypting)
        )
        self.decrypt = self.cipher.decrypt
        """The bare cipher: `open` is what checks."""

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """Return what a block holds; raises Tampered when anything about it was changed."""
        size = len(sealed)
        if size < OVERHEAD or size > OVERHEAD + PLAIN_BYTES_MAX:
            raise tampered("its length is none that a sealed block has")
        head = sealed[:_HEAD_END]
        known = hmac.compare_digest(sealed[_NONCE_END:_COMMIT_END], self.commit)
        if head != self.head or not known:
            raise tampered("it was sealed under another key or suite than it says")
        try:
            return self.decrypt(sealed[_HEAD_END:_NONCE_END], sealed[_COMMIT_END:], aad + head)  # type: ignore[no-any-return]
        except InvalidTag:
            raise tampered("its bytes or its place were changed") from None

    def __repr__(self) -> str:
        """Show which key it is, and nothing of it."""
        return f"{type(self).__name__}({self.key_id.hex()}, ...)"

    def __reduce__(self) -> NoReturn:
        """Refuse every copy."""
        raise TypeError("a key is never pickled or copied to another process")


class SealingKey(DataKey):
    """A data key that may still protect: only an active one is ever of this type."""

    __slots__ = ("encrypt", "seals")

    def __init__(self, key_id: bytes, secret: bytes, suite: int = AES_GCM) -> None:
        super().__init__(key_id, secret, suite)
        self.encrypt = self.cipher.encrypt
        """The bare cipher: `seal` is what makes a block."""
        self.seals = self.cipher
        """What the compiled codec seals with: no other key has it."""

    def seal(self, plain: bytes, aad: bytes, nonce: bytes | None = None) -> bytes:
        """Return the sealed block of some bytes; `nonce` is for vectors alone."""
        if len(plain) > PLAIN_BYTES_MAX:
            raise Unreadable(
                "encrypt",
                "a private block has more than 65,536 bytes",
                hint="Put what is larger into documents.",
            )
        if nonce is None:
            nonce = NONCES.next()
        elif len(nonce) != NONCE_BYTES:
            raise Unreadable("encrypt", "a nonce has 12 bytes")
        head = self.head
        return b"".join((head, nonce, self.commit, self.encrypt(nonce, plain, aad + head)))


def key_id_of(sealed: bytes) -> bytes:
    """Return the id of the key that a sealed block names; raises Tampered for what is none."""
    if len(sealed) < OVERHEAD or sealed[0] != SEALED or sealed[1] not in SUITES:
        raise tampered("it is no sealed block, or of an unknown suite")
    return sealed[2:_HEAD_END]


def tampered(what: str) -> Tampered:
    """Return the error of a private block that is not as it was written."""
    return Tampered(
        f"a private block cannot be trusted: {what}",
        hint="Find who wrote it: usance log verify.",
    )


def self_test() -> None:
    """Seal and open once per suite, and see that two nonces differ; raises Tampered, before any start."""
    place = Place("tenant", "tenant/test/1", 1, "id", "usance.Test")
    aad = place_aad(place, "block", bytes(8))
    for suite in SUITES:
        key = SealingKey(bytes(16), bytes(range(32)), suite)
        sealed = key.seal(b"known", aad, bytes(NONCE_BYTES))
        if sealed != _KNOWN[suite] or key.open(sealed, aad) != b"known":
            raise Tampered(
                f"the cipher library fails its known answer of suite {suite}",
                hint="Install the locked version of cryptography again: make setup.",
            )
    if NONCES.next() == NONCES.next():
        raise Tampered("the system's random source repeats itself", hint="Repair this machine.")


_KNOWN: dict[int, bytes] = {
    AES_GCM: bytes.fromhex(
        "01010000000000000000000000000000000000000000000000000000000002f8"
        "fa32b3e6325ad5953d35bd34603047ee71b7b1e4817d0de1a866631597c79858"
        "175d07"
    ),
    AES_GCM_SIV: bytes.fromhex(
        "0102000000000000000000000000000000000000000000000000000000008c30"
        "e15b3d51f5941630855be4a33b0506c64e40254c40f2f9d01f38ede61574d6c8"
        "7b9ded"
    ),
    CHACHA20_POLY1305: bytes.fromhex(
        "01030000000000000000000000000000000000000000000000000000000005ed"
        "d10e974fedba41f2504cc828430c5186be93a55dccfc6187465bd6f9eb0fb0b8"
        "2ebbc8"
    ),
}
