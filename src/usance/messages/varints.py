"""Avro's variable-length zigzag numbers: tables for writing, and reading what takes more bytes."""

from __future__ import annotations

from collections.abc import Callable


def _varint(z: int) -> bytes:
    out = bytearray()
    while z > 127:
        out.append(z & 127 | 128)
        z >>= 7
    out.append(z)
    return bytes(out)


_LAST = [bytes((z,) if z < 128 else (z & 127 | 128, z >> 7)) for z in range(1 << 14)]
"""The last one or two bytes of a number."""
_PAIRS = [bytes((z & 127 | 128, z >> 7 | 128)) for z in range(1 << 14)]
"""Two bytes with more to follow."""


class _Varints(dict[int, bytes]):
    """Zigzag varints of small numbers from the table, of all others computed and not kept."""

    def __missing__(self, n: int) -> bytes:
        z = (n << 1) ^ (n >> 63)
        if 1 << 14 <= z < 1 << 28:  # amounts, offsets
            return _PAIRS[z & 16383] + _LAST[z >> 14]
        if 1 << 28 <= z < 1 << 42:  # instants
            return _PAIRS[z & 16383] + _PAIRS[z >> 14 & 16383] + _LAST[z >> 28]
        if not -(2**63) <= n < 2**63:
            raise OverflowError("a number needs more than 64 bits")
        return _varint(z)


VARINTS = _Varints({n: _varint((n << 1) ^ (n >> 63)) for n in range(-64, 8192)})
"""A long in Avro's zigzag variable-length form; OverflowError beyond 64 bits."""


LENGTHS = [VARINTS[n] for n in range(4096)]
"""Lengths as they are nearly always: an exact list is the cheapest table that CPython has."""


class Prefixed(dict[int, bytes]):
    """Varints behind the branch number of a union."""

    def __init__(self, branch: bytes) -> None:
        super().__init__({n: branch + VARINTS[n] for n in range(1024)})
        self.branch = branch

    def __missing__(self, n: int) -> bytes:
        """Return the varint of a number beyond the table, behind the branch."""
        return self.branch + VARINTS[n]


Read = Callable[[int], bytes]
"""`BytesIO.read` over a value's bytes and a closing mark: fewer steps than an index and slices."""


def read_unsigned(read: Read, first: bytes) -> int:
    """Return the raw varint whose first byte was read; raises ValueError beyond 64 bits."""
    byte = first[0]
    value = byte & 127
    shift = 7
    while byte > 127:
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
        byte = read(1)[0]
        value |= (byte & 127) << shift
        shift += 7
    if value >> 64:
        raise ValueError("a number is longer than 64 bits")
    return value


def read_long(read: Read, first: bytes) -> int:
    """Return the signed number whose first byte was read."""
    raw = read_unsigned(read, first)
    return (raw >> 1) ^ -(raw & 1)


def read_length(read: Read, first: bytes) -> int:
    """Return the length whose first byte was read; raises ValueError when it is negative."""
    raw = read_unsigned(read, first)
    if raw & 1:
        raise ValueError("a length is negative")
    return raw >> 1


def long_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the signed number at an index, and the index behind it; IndexError when cut short."""
    raw = data[at]
    at += 1
    if raw < 128:
        return (raw >> 1) ^ -(raw & 1), at
    raw -= 128
    shift = 7
    while (byte := data[at]) > 127:
        if shift > 56:
            raise ValueError("a number is longer than 64 bits")
        raw += (byte - 128) << shift
        at += 1
        shift += 7
    raw += byte << shift
    if raw >> 64:
        raise ValueError("a number is longer than 64 bits")
    return (raw >> 1) ^ -(raw & 1), at + 1


def span_at(data: bytes, at: int) -> tuple[int, int]:
    """Return where the text or bytes begin and end whose length stands at an index."""
    low, high = data[at], data[at + 1]
    if low > 127 and high < 128 and not low & 1:
        return at + 2, at + 2 + (low - 128 >> 1) + (high << 6)
    size, start = long_at(data, at)
    if size < 0:
        raise ValueError("a length is negative")
    return start, start + size
