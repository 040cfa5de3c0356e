"""Bytes too large for one record, kept in a compacted topic under their own digest.

They are written before the command that names them and never changed: to write them again writes the same
keys and values. Whoever reads them compares with the digest, so this topic needs no chain of its own.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from usance.kernel.errors import NotFound, Tampered
from usance.log.contract import Log, Output, TopicPartition

CHUNK_BYTES = 1024 * 1024
"""Bytes of a content in one record: well below what any record may have."""
CONTENT_BYTES_MAX = 256 * CHUNK_BYTES


class Kept(NamedTuple):
    """A content: the SHA-256 of its bytes in hex, and in how many records they lie."""

    digest: str
    chunks: int


def name_of(data: bytes) -> Kept:
    """Return under which name bytes would be kept."""
    return Kept(sha256(data).hexdigest(), -(-len(data) // CHUNK_BYTES))


def keep(log: Log, place: TopicPartition, data: bytes) -> Kept:
    """Write bytes to a topic unless they are there; all are durable on return."""
    kept = name_of(data)
    if whole(log, place, kept):
        return kept
    for number in range(kept.chunks):
        part = data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
        log.append([Output(place.topic, place.partition, _key(kept.digest, number), part, ())])
    return kept


def whole(log: Log, place: TopicPartition, kept: Kept) -> bool:
    """Tell whether a content lies in a topic, unchanged."""
    try:
        load(log, place, kept)
    except (NotFound, Tampered):
        return False
    return True


def load(log: Log, place: TopicPartition, kept: Kept) -> bytes:
    """Return a content; raises NotFound where a part is missing, Tampered where it is another."""
    wanted = {_key(kept.digest, number): number for number in range(kept.chunks)}
    parts: dict[int, bytes] = {}
    for record in log.scan(place, log.begin(place), None, 8):
        number = wanted.get(record.key or b"")
        if number is not None and record.value is not None:
            parts[number] = record.value
    if len(parts) < kept.chunks:
        raise NotFound(
            f"{kept.chunks - len(parts)} of {kept.chunks} parts of {kept.digest[:16]} are not kept",
            hint="Import the same file again: the same bytes get the same name.",
        )
    data = b"".join(parts[number] for number in range(kept.chunks))
    if name_of(data).digest != kept.digest:
        raise Tampered(
            f"what is kept under {kept.digest[:16]} has another digest",
            hint="Find out who writes to this topic; import the same file again.",
        )
    return data


def _key(digest: str, number: int) -> bytes:
    return f"{digest}/{number}".encode()
