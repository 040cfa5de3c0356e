"""Records as Kafka's client takes and gives them; bounds are checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from confluent_kafka import Message

from usance.kernel.errors import Unreadable
from usance.kernel.native import NATIVE
from usance.log.contract import (
    RECORD_BYTES_MAX,
    UNIT_BYTES_MAX,
    UNIT_RECORDS_MAX,
    Output,
    Record,
    TopicPartition,
)
from usance.messages.headers import pack_headers, unpack_headers

Row = tuple[str, bytes | None, bytes | None, int, bytes | None]
"""Topic on the cluster, value, key, partition, packed headers: what `kafka_fast` sends as it is."""


class Ready(NamedTuple):
    """Outputs checked and turned into rows."""

    rows: list[Row]
    size: int


def _bound(what: str, found: int, bound: int) -> Unreadable:
    return Unreadable(
        "log",
        f"{what} is over the bound: {found} of {bound}",
        hint="write it in smaller parts; a single record over the bound belongs in a dead letter",
    )


def ready(
    outputs: Iterable[Output], prefix: str, check: Callable[[TopicPartition], None], what: str
) -> Ready:
    """Return outputs as rows, in their order.

    Raises Unreadable when a record or the whole is over its bound, or a header's name holds NUL
    (which the client cannot send); what `check` raises for an unknown place passes.
    """
    rows: list[Row] = []
    names: dict[str, str] = {}
    known: set[tuple[str, int]] = set()
    total = 0
    for topic, partition, key, value, headers in outputs:
        if (topic, partition) not in known:
            check(TopicPartition(topic, partition))
            known.add((topic, partition))
            names[topic] = prefix + topic
        size = (0 if key is None else len(key)) + (0 if value is None else len(value))
        if isinstance(headers, bytes):
            packed = headers  # made by the encoder, whose names are its own
        else:
            packed = pack_headers(tuple(headers))
            if any("\0" in name for name, _ in headers):
                raise Unreadable("log", "a header's name holds NUL", hint="name it otherwise")
        size += len(packed)
        if size > RECORD_BYTES_MAX:
            raise _bound("a record's bytes", size, RECORD_BYTES_MAX)
        total += size
        rows.append((names[topic], value, key, partition, packed or None))
    if len(rows) > UNIT_RECORDS_MAX:
        raise _bound(f"{what} of records", len(rows), UNIT_RECORDS_MAX)
    if total > UNIT_BYTES_MAX:
        raise _bound(f"{what} of bytes", total, UNIT_BYTES_MAX)
    return Ready(rows, total)


def pairs(row: Row) -> list[tuple[str, str | bytes | None]] | None:
    """Return a row's headers as `produce` takes them."""
    packed = row[4]
    return None if packed is None else list(unpack_headers(packed))


def record(message: Message, topic: str) -> Record:
    """Return a message that was read as a record; a header without a value has an empty one."""
    if NATIVE is not None:
        made: Record | None = NATIVE.kafka_record(Record, topic, message)
        if made is not None:
            return made
    found: Any = message.headers()
    headers = tuple([(name, said or b"") for name, said in found]) if found else ()
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    return Record(
        topic,
        partition,
        offset,
        message.key(),
        message.value(),
        headers,
        message.timestamp()[1],
    )
