"""Identity and dice: deterministic identifiers, random bytes, and the placement of a key on a partition.

Deterministic identifiers are UUIDv5 (RFC 9562 section 5.5); placement is Kafka's murmur2
(the Java client's default partitioner), so that other Kafka clients find the same partition.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from struct import unpack_from
from typing import Protocol
from uuid import UUID

from usance.kernel.native import NATIVE

NAMESPACE = UUID("6f1c3c0e-8a57-5d0a-9d51-5c7b1f0d2a11")
"""Root namespace of every identifier that is not derived from another one."""


class Ids(Protocol):
    """Port for fresh, unguessable identifiers."""

    def fresh(self) -> str:
        """Return a new UUID as text."""
        ...


class RandomIds:
    """Identifiers from the operating system's random source."""

    def fresh(self) -> str:
        """Return a version 4 UUID."""
        return str(UUID(bytes=os.urandom(16), version=4))


Entropy = Callable[[int], bytes]
"""Port of the dice behind keys and nonces: returns so many unguessable bytes."""


def system_entropy(length: int) -> bytes:
    """Return bytes of the operating system's random source, which a fork may share safely."""
    return os.urandom(length)


def uuid5_text(namespace: bytes, name: str) -> str:
    """Return the UUIDv5 of `name` under 16 namespace bytes, as text.

    The same value as `uuid.uuid5`, at a third of its cost: the hot path makes two per command.
    """
    h = hashlib.sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(h[16], 16) & 3]
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant}{h[17:20]}-{h[20:32]}"


def derived(root: str, *parts: str | int) -> str:
    """Return a deterministic identifier from a root identifier and parts."""
    return uuid5_text(namespace_of(root), "/".join(str(p) for p in parts))


def namespace_of(root: str) -> bytes:
    """Return 16 namespace bytes of a root: the UUID itself, or the UUIDv5 of any other text."""
    found: bytes | None = NATIVE.namespace(root) if NATIVE else None
    if found is not None:
        return found
    if len(root) == 36 and root.count("-") == 4:  # the usual form, at a tenth of UUID's cost
        try:
            raw = bytes.fromhex(root.replace("-", ""))
        except ValueError:
            raw = b""
        if len(raw) == 16:
            return raw
    try:
        return UUID(root).bytes
    except ValueError:
        return UUID(uuid5_text(NAMESPACE.bytes, root)).bytes


def murmur2_in_python(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of `data` (signed arithmetic of the Java client, seed 0x9747b28c)."""
    length = len(data)
    m = 0x5BD1E995
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    for k in unpack_from(f"<{length // 4}I", data):
        k = k * m & 0xFFFFFFFF
        h = (h * m ^ (k ^ k >> 24) * m) & 0xFFFFFFFF
    tail = data[length & ~3 :]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = (h * m) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * m) & 0xFFFFFFFF
    h ^= h >> 15
    return h


murmur2: Callable[[bytes], int] = NATIVE.murmur2 if NATIVE else murmur2_in_python
"""Kafka's 32-bit murmur2, compiled where it can be: each command's key is hashed."""


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of an aggregate key: (murmur2 & 0x7fffffff) mod N, computed by us."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def sequence_ids(prefix: str = "id") -> Callable[[], str]:
    """Return a function giving `prefix-1`, `prefix-2`, ... for tests and simulation."""
    counter = 0

    def fresh() -> str:
        nonlocal counter
        counter += 1
        return f"{prefix}-{counter}"

    return fresh
