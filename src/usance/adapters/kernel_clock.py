"""What the kernel says of its clock: whether something keeps it in step, and how far off it may be."""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

TIMEX_BYTES = 256
"""More than `struct timex` takes on any Linux."""
TIME_ERROR = 5
_MAXERROR_AT = 3 * struct.calcsize("l")
"""After `modes` (padded), `offset` and `freq`: adjtimex(2)."""


class Kept(NamedTuple):
    """`synchronised` tells whether something keeps the clock; `error_ms` bounds how far off it is."""

    synchronised: bool
    error_ms: int


def kept() -> Kept | None:
    """Ask the kernel; None where it cannot be asked (not Linux)."""
    try:
        ask = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    told = ctypes.create_string_buffer(TIMEX_BYTES)
    state = ask(told)
    if state < 0:
        return None
    (error,) = struct.unpack_from("l", told.raw, _MAXERROR_AT)
    return Kept(state != TIME_ERROR, error // 1000)
