"""Headers as MessagePack, an array of [name, value]: the form in which the embedded log keeps them.

Whoever makes many records joins this form from pieces that repeat; everybody else sees pairs.
"""

from __future__ import annotations

import msgspec

Headers = tuple[tuple[str, bytes], ...]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Headers).decode

_BIN8_MAX = 255


def pack_headers(headers: Headers) -> bytes:
    """Return headers in packed form; none are empty bytes."""
    return _encode(headers) if headers else b""


def unpack_headers(data: bytes) -> Headers:
    """Return the headers that were packed."""
    return _decode(data) if data else ()


def pairs(headers: Headers | bytes) -> Headers:
    """Return headers as pairs, whichever form they have."""
    return unpack_headers(headers) if isinstance(headers, bytes) else tuple(headers)


def array_of(count: int) -> bytes:
    """Return the mark before so many packed pairs, at most 15."""
    return bytes((0x90 + count,))


def packed_pair(name: str, value: bytes) -> bytes:
    """Return one header in packed form."""
    return _encode((name, value))


def packed_name(name: str) -> bytes:
    """Return the beginning of a packed header, up to its value's length."""
    return b"\x92" + _encode(name)


BIN = [bytes((0xC4, n)) for n in range(_BIN8_MAX + 1)]
BIN += [b"\xc5" + n.to_bytes(2, "big") for n in range(_BIN8_MAX + 1, 4096)]
"""The mark before a header's value, by its length."""


def bin_of(size: int) -> bytes:
    """Return the mark before a value of any length."""
    return BIN[size] if size < len(BIN) else _encode(bytes(size))[: 3 if size < 65536 else 5]
