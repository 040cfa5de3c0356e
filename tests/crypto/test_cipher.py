"""The compiled cipher of suite 1 beside the one of `cryptography`, which is the reference and the stand-in."""

from __future__ import annotations

import math
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given, settings
from hypothesis import strategies as st

from usance.crypto import sealing
from usance.crypto.sealing import DataKey, SealingKey
from usance.kernel import native
from usance.kernel.clock import SystemClock
from usance.testing.secrecy import memory_vault

pytestmark = pytest.mark.native
KEY, NONCE = bytes(range(32)), bytes(range(12))


@pytest.fixture(scope="module", autouse=True)
def bound() -> None:
    """Bind it even where USANCE_NATIVE switches it off; this machine's Python is linked against libcrypto."""
    where = sys.modules["_hashlib"].__file__
    if where is None or not native.load()[0].gcm_bind(where, InvalidTag):
        pytest.skip("this Python has no libcrypto of its own")


def cipher(key: bytes = KEY) -> Any:
    return native.load()[0].Cipher(key, bytes(18), bytes(16), bytes(16))


KEYS, NONCES = st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12)


@given(KEYS, NONCES, st.binary(max_size=3_000), st.binary(max_size=1_200))
@example(KEY, NONCE, b"", b"")
@example(KEY, NONCE, bytes(65_536), bytes(70_000))
@settings(max_examples=200)
def test_it_makes_the_bytes_that_the_reference_makes(
    key: bytes, nonce: bytes, plain: bytes, aad: bytes
) -> None:
    ours, reference = cipher(key), AESGCM(key)
    sealed = ours.encrypt(nonce, plain, aad)
    assert sealed == reference.encrypt(nonce, plain, aad)
    assert ours.decrypt(nonce, sealed, aad) == plain
    assert ours.encrypt(nonce, plain, aad) == sealed  # nothing is left of the message before


@given(NONCES, st.binary(max_size=200), st.binary(max_size=100), st.integers(0, 2**32))
def test_a_changed_bit_is_refused_and_does_no_harm(
    nonce: bytes, plain: bytes, aad: bytes, where: int
) -> None:
    ours = cipher()
    sealed = ours.encrypt(nonce, plain, aad)
    at = where % (8 * len(sealed))
    flipped = bytearray(sealed)
    flipped[at // 8] ^= 1 << at % 8
    with pytest.raises(InvalidTag):
        ours.decrypt(nonce, bytes(flipped), aad)
    with pytest.raises(InvalidTag):
        ours.decrypt(nonce, sealed, aad + b"\x00")
    assert ours.decrypt(nonce, sealed, aad) == plain


@pytest.mark.parametrize("size", range(16))
def test_what_is_shorter_than_a_tag_is_refused(size: int) -> None:
    with pytest.raises(InvalidTag):
        cipher().decrypt(NONCE, bytes(size), b"")


@pytest.mark.parametrize(
    "wrong",
    [(), (NONCE, b""), (NONCE[:-1], b"", b""), (NONCE + b"\x00", b"", b""), (NONCE, "", b""), (NONCE, b"", None)],
    ids=str,
)  # fmt: skip
def test_only_nonces_of_twelve_bytes_and_bytes_are_taken(wrong: tuple[Any, ...]) -> None:
    for work in (cipher().encrypt, cipher().decrypt):
        with pytest.raises(ValueError, match="12 bytes"):
            work(*wrong)


@pytest.mark.parametrize(
    "sizes", [(16, 18, 16, 16), (32, 17, 16, 16), (32, 18, 15, 16), (33, 18, 16, 16)]
)
def test_a_key_has_256_bits_and_its_parts_their_sizes(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Cipher"):
        native.load()[0].Cipher(*(bytes(n) for n in sizes))


def test_a_library_without_the_functions_is_not_taken() -> None:
    module = native.load()[0]
    math_library = getattr(math, "__file__", None)
    assert module.gcm_bind(sys.modules["_hashlib"].__file__, InvalidTag)
    assert not module.gcm_bind("/there/is/no/such/library.so", InvalidTag)
    if math_library is not None:
        assert not module.gcm_bind(math_library, InvalidTag)
    assert cipher().encrypt(NONCE, b"", b"")  # what was bound before still serves


def test_without_libcrypto_the_reference_seals_and_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = SealingKey(bytes(16), KEY)
    monkeypatch.setitem(sys.modules, "_hashlib", None)
    cipher, library = sealing._compiled()
    assert cipher is None
    assert library.endswith("cryptography")
    monkeypatch.setattr(sealing, "COMPILED", None)
    plainly = SealingKey(bytes(16), KEY)
    assert type(plainly.cipher) is AESGCM
    assert plainly.seal(b"known", b"aad", NONCE) == compiled.seal(b"known", b"aad", NONCE)


class _Lies:
    """A cipher that is right but for one thing."""

    def __init__(self, key: bytes, *_: bytes) -> None:
        self.inner = AESGCM(key)

    def encrypt(self, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
        return self.inner.encrypt(nonce, plain, aad)

    def decrypt(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        return self.inner.decrypt(nonce, sealed, aad)


class _TakesEveryTag(_Lies):
    def decrypt(self, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
        try:
            return super().decrypt(nonce, sealed, aad)
        except InvalidTag:
            return b""


class _SealsAnother(_Lies):
    def encrypt(self, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
        return super().encrypt(nonce, plain, aad + b"\x00")


def test_a_library_that_fails_the_known_answer_is_not_taken() -> None:
    assert sealing._known(native.load()[0].Cipher)
    assert sealing._known(_Lies)
    assert not sealing._known(_TakesEveryTag)
    assert not sealing._known(_SealsAnother)


def test_an_evicted_key_is_held_by_nobody() -> None:
    """What erases a subject must wipe: libcrypto does when the last reference to its context goes."""
    vault = memory_vault(SystemClock())
    key = vault.seals("albion", "party-1", "relationship")
    inner = key.cipher
    assert sys.getrefcount(inner) > 2
    key_id = key.key_id
    del key
    vault.evict([key_id])
    assert sys.getrefcount(inner) == 2  # this name, and the argument


def test_a_key_that_only_opens_has_nothing_to_seal_with() -> None:
    assert not hasattr(DataKey(bytes(16), KEY), "seals")
    assert SealingKey(bytes(16), KEY).seals is not None


def test_nothing_is_left_in_memory() -> None:
    def work() -> None:
        one = cipher(os.urandom(32))
        sealed = one.encrypt(NONCE, b"x" * 500, b"aad")
        one.decrypt(NONCE, sealed, b"aad")
        with pytest.raises(InvalidTag):
            one.decrypt(NONCE, sealed, b"other")

    work()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            work()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it keeps what is freed")
def test_contexts_go_with_their_keys() -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1])

    for _ in range(2_000):
        cipher()
    before = pages()
    for _ in range(20_000):
        cipher()
    assert (pages() - before) * os.sysconf("SC_PAGE_SIZE") < 8_000_000  # 20,000 contexts have 20 MB
