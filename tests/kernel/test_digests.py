"""Digests in hex: those of the standards, with and without the extension."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usance.kernel import native
from usance.kernel.digests import digest, hex_digest, plain_digest, plain_hex_digest

RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
]  # fmt: skip
"""Test cases 1, 2, 3, 4 and 6 of RFC 4231."""


@pytest.mark.parametrize(("key", "data", "digest"), RFC_4231)
def test_keyed_digests_are_those_of_rfc_4231(key: bytes, data: bytes, digest: str) -> None:
    assert hex_digest(key, data) == digest
    assert plain_hex_digest(key, data) == digest


@pytest.mark.native
@given(st.binary(max_size=200), st.binary(max_size=400))
@example(bytes(64), bytes(64))
@example(bytes(65), bytes(55))
@example(b"", bytes(56))
def test_the_compiled_digest_is_that_of_hashlib(key: bytes, data: bytes) -> None:
    compiled = native.load()[0].hex_digest
    expected = (
        hmac.new(key, data, "sha256").hexdigest() if key else hashlib.sha256(data).hexdigest()
    )
    assert compiled(key, data) == expected == plain_hex_digest(key, data)
    whole = hashlib.sha256(data).digest()
    assert native.load()[0].digest(data) == whole == plain_digest(data) == digest(data)


@pytest.mark.native
@pytest.mark.parametrize(
    "wrong", [(b"",), ("", b""), (b"", ""), (b"", b"", b""), (bytearray(), b"")]
)
def test_the_compiled_digest_takes_bytes_alone(wrong: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        native.load()[0].hex_digest(*wrong)
    with pytest.raises(TypeError):
        native.load()[0].digest("text")
