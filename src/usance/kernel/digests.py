"""Digests of what was said, in hex: SHA-256, and HMAC-SHA256 where there is a key.

The compiled one uses the processor's own instructions: a command has two or three digests of a kilobyte.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

from usance.kernel.native import NATIVE


def plain_hex_digest(key: bytes, data: bytes) -> str:
    """Return HMAC-SHA256 (RFC 2104) of data in hex, SHA-256 (FIPS 180-4) where the key is empty."""
    return (hmac.digest(key, data, "sha256") if key else sha256(data).digest()).hex()


hex_digest: Callable[[bytes, bytes], str] = (
    NATIVE.hex_digest if NATIVE is not None and NATIVE.FAST_HASHES else plain_hex_digest
)
"""The same, compiled where that is faster."""
