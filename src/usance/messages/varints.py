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


class _Varints(dict[int, bytes]):
    """Zigzag varints of small numbers from the table, of all others computed and not kept."""

    def __missing__(self, n: int) -> bytes:
        z = (n << 1) ^ (n >> 63)
        if not -(2**63) <= n < 2**63:
            raise OverflowError("a number needs more than 64 bits")
        if 0x200000 <= z < 0x10000000:  # most amounts take four bytes, instants six
            return bytes((z & 127 | 128, z >> 7 & 127 | 128, z >> 14 & 127 | 128, z >> 21))
        if 0x800000000 <= z < 0x40000000000:
            low = (z & 127 | 128, z >> 7 & 127 | 128, z >> 14 & 127 | 128)
            return bytes((*low, z >> 21 & 127 | 128, z >> 28 & 127 | 128, z >> 35))
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
