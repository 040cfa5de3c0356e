"""The leaf of a record: 62 bytes that commit to its place, its time and its exact stored bytes.

Big-endian: magic `UL1` 0x00, partition u32, offset u64, append time u64 (ms UTC), kind u8, flags u8 (0),
schema id u32 (0: the value is not framed), envelope hash 32 bytes. A kind depends on the topic alone, and
on whether an outcome is a unit footer, so that a leaf can be derived again for ever.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from usance.audit.codes import malformed

MAGIC = b"UL1\x00"
LEAF_BYTES = 62
FORMAT = struct.Struct(">4sIQQBBI32s")

EVENT, OUTCOME, ACCESS, KEY, DISPOSITION, ANCHOR, CONFIG, DEAD_LETTER, FOOTER = range(1, 10)
KINDS = {
    "events": EVENT,
    "outcomes": OUTCOME,
    "access": ACCESS,
    "schemas": CONFIG,
    "dead-letters": DEAD_LETTER,
}
"""Kind of a leaf by the kind of its topic. Kinds 4, 5 and 6 are reserved: such records are events."""
FOOTER_TYPE = b"UnitFooter"


class Leaf(NamedTuple):
    """What a leaf says."""

    partition: int
    offset: int
    log_time: int
    kind: int
    schema_id: int
    envelope_hash: bytes

    def pack(self) -> bytes:
        """Return the 62 bytes."""
        partition, offset, log_time, kind, schema_id, hashed = self
        return FORMAT.pack(MAGIC, partition, offset, log_time, kind, 0, schema_id, hashed)


def unpack(entry: bytes) -> Leaf:
    """Return what a leaf says; raises Detected(MALFORMED) for other bytes."""
    if len(entry) != LEAF_BYTES or entry[:4] != MAGIC:
        raise malformed("an entry is not a leaf of this format")
    _, partition, offset, log_time, kind, flags, schema_id, hashed = FORMAT.unpack(entry)
    if flags or not EVENT <= kind <= FOOTER:
        raise malformed("a leaf has flags or a kind that this version does not know")
    return Leaf(partition, offset, log_time, kind, schema_id, hashed)


def schema_id_of(value: bytes | None) -> int:
    """Return the schema id in front of a framed value, 0 for any other."""
    if value is None or len(value) < 5 or value[0]:
        return 0
    return int.from_bytes(value[1:5], "big")


def kind_of(topic_kind: str, message_type: bytes | None) -> int:
    """Return the kind of a record's leaf. Raises KeyError for a topic that is not sealed."""
    kind = KINDS[topic_kind]
    if kind == OUTCOME and message_type is not None and message_type.endswith(FOOTER_TYPE):
        return FOOTER
    return kind
