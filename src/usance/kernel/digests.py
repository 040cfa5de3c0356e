"""Digests: SHA-256, and HMAC-SHA256 where there is a key.

The compiled ones use the processor's own instructions: a command has two or three digests of a kilobyte.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

from usance.kernel.native import NATIVE


def plain_hex_digest(key: bytes, data: bytes) -> str:
    """Return HMAC-SHA256 (RFC 2104) of data in hex, SHA-256 (FIPS 180-4) where the key is empty."""
    return (hmac.digest(key, data, "sha256") if key else sha256(data).digest()).hex()


def plain_digest(data: bytes) -> bytes:
    """Return SHA-256 (FIPS 180-4) of data."""
    return sha256(data).digest()


_FAST = NATIVE is not None and NATIVE.FAST_HASHES
hex_digest: Callable[[bytes, bytes], str] = NATIVE.hex_digest if _FAST else plain_hex_digest
digest: Callable[[bytes], bytes] = NATIVE.digest if _FAST else plain_digest
"""The same, compiled where that is faster."""
