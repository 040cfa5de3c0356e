"""The shape of records in SQLite, and the statements that move many of them in one step.

sqlite3 lets other Python threads run only while a statement steps, and must win the interpreter
back after each step: up to 5 ms when another thread computes. So a whole unit goes in as ONE
statement and a whole fetch comes out as ONE row. Measured beside a computing thread, that is
50 times the rate of `executemany` and 70 times that of `fetchall`.

A packed body is, per record, three 8-digit decimal lengths (key, headers, value; -1 is NULL), then
the three byte strings. Decimal, because SQL can read that out of a blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

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

SCHEMA = """
CREATE TABLE topic (
  name TEXT PRIMARY KEY, kind TEXT NOT NULL, partitions INTEGER NOT NULL, cleanup TEXT NOT NULL,
  retention_ms INTEGER NOT NULL, topic_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE place (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  start INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
  last INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition));
CREATE TABLE owner (
  name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, units INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE position (
  name TEXT NOT NULL, place INTEGER NOT NULL, "offset" INTEGER NOT NULL,
  PRIMARY KEY (name, place)) WITHOUT ROWID;
"""

LENGTHS = 24

FENCED_EPOCH = "fenced: another owner has joined"
FENCED_NUMBER = "fenced: the unit before is not the last one in the log"
FENCED_POSITION = "fenced: the input position has moved"

INTAKE = """
CREATE TEMP VIEW unit AS SELECT
  NULL AS name, NULL AS epoch, NULL AS number, NULL AS positions,
  NULL AS ts, NULL AS gap, NULL AS plan, NULL AS body
"""

FENCE = f"""
CREATE TEMP TRIGGER fence INSTEAD OF INSERT ON unit WHEN NEW.name IS NOT NULL BEGIN
  SELECT RAISE(ABORT, '{FENCED_EPOCH}')
    WHERE NEW.epoch IS NOT (SELECT epoch FROM owner WHERE name = NEW.name);
  SELECT RAISE(ABORT, '{FENCED_NUMBER}')
    WHERE NEW.number - 1 IS NOT (SELECT units FROM owner WHERE name = NEW.name);
  SELECT RAISE(ABORT, '{FENCED_POSITION}') FROM json_each(NEW.positions) AS j
    WHERE ifnull((SELECT "offset" FROM position
                  WHERE name = NEW.name AND place = json_extract(j.value, '$[0]'))
                 > json_extract(j.value, '$[1]'), 1);
  UPDATE owner SET units = NEW.number WHERE name = NEW.name;
  INSERT OR REPLACE INTO position
    SELECT NEW.name, json_extract(value, '$[0]'), json_extract(value, '$[2]')
    FROM json_each(NEW.positions);
END
"""

PUT_UNIT = "INSERT INTO unit VALUES (?, ?, ?, ?, ?, 1, ?, ?)"
PUT_RECORDS = "INSERT INTO unit VALUES (NULL, NULL, NULL, NULL, ?, 0, ?, ?)"


def table(topic: str, partition: int) -> str:
    """Return the quoted table name of a topic-partition."""
    return f'"log_{topic}_{partition}"'


def create_table(topic: str, partition: int) -> str:
    """Return the statement that makes a topic-partition's table; appends meet its right edge."""
    return (
        f'CREATE TABLE {table(topic, partition)} ("offset" INTEGER PRIMARY KEY,'
        " ts INTEGER NOT NULL, key BLOB, headers BLOB NOT NULL, value BLOB)"
    )


def _length(at: str) -> str:
    return f"CAST(substr(NEW.body, {at}, 8) AS INTEGER)"


def unpack_trigger(place: int, name: str) -> str:
    """Return the trigger that writes a unit's records of one place, inside the unit's statement.

    It walks the packed body from the start that the plan names, gives offsets from `place.next`,
    and moves `next` on by the count and the gap (the place of a commit marker).
    """
    path = f'\'$."{place}"'
    after = f"p + {LENGTHS} + max(k, 0) + h + max(v, 0)"
    return f"""
CREATE TEMP TRIGGER unpack_{place} INSTEAD OF INSERT ON unit
WHEN instr(NEW.plan, '"{place}"') BEGIN
  INSERT INTO {name} SELECT
    base + i, at,
    iif(k < 0, NULL, substr(NEW.body, p + {LENGTHS}, k)),
    substr(NEW.body, p + {LENGTHS} + max(k, 0), h),
    iif(v < 0, NULL, substr(NEW.body, p + {LENGTHS} + max(k, 0) + h, v))
  FROM (
    WITH RECURSIVE
    part(start, count, base, at) AS (
      SELECT json_extract(NEW.plan, {path}[0]'), json_extract(NEW.plan, {path}[1]'),
        next, max(last, NEW.ts) FROM place WHERE id = {place}),
    packed(i, p, k, h, v, count, base, at) AS (
      SELECT 0, start, {_length("start")}, {_length("start + 8")}, {_length("start + 16")},
        count, base, at FROM part
      UNION ALL
      SELECT i + 1, {after}, {_length(after)}, {_length(after + " + 8")},
        {_length(after + " + 16")}, count, base, at FROM packed WHERE i + 1 < count)
    SELECT * FROM packed);
  UPDATE place SET next = next + json_extract(NEW.plan, {path}[1]') + NEW.gap,
    last = max(last, NEW.ts) WHERE id = {place};
END
"""


def fetch_statement(name: str) -> str:
    """Return the statement that reads a run of records as one row of arrays and bodies.

    Parameters: 1 first offset, 2 offset to stop before, 3 most records, 4 most bytes (the first
    record always comes). Lengths are read first, so a bound on bytes costs no read of bodies.
    """
    size = "ifnull(length(key), 0) + length(headers) + ifnull(length(value), 0)"
    run = (
        f'SELECT "offset", {size} AS size FROM {name}'
        ' WHERE "offset" >= ?1 AND "offset" < ?2 ORDER BY "offset" LIMIT ?3'
    )
    small = f'SELECT max("offset") FROM ({run}) HAVING sum(size) <= ?4'
    cut = f"""SELECT max("offset") FROM (SELECT "offset", size,
      sum(size) OVER (ORDER BY "offset" ROWS UNBOUNDED PRECEDING) AS total FROM ({run}))
      WHERE total - size < ?4"""
    return f"""SELECT json_group_array("offset"), json_group_array(ts),
      json_group_array(length(key)), json_group_array(length(headers)),
      json_group_array(length(value)),
      CAST(group_concat(ifnull(key, x'') || headers || ifnull(value, x''), '') AS BLOB)
    FROM {name} WHERE "offset" >= ?1 AND "offset" <= ifnull(({small}), ({cut}))"""


class Packed(NamedTuple):
    """Outputs ready for one statement: plan {place: [start, count]} as JSON, body, counts, size."""

    plan: str
    body: bytes
    counts: dict[TopicPartition, int]


def _bound(what: str, found: int, bound: int) -> Unreadable:
    return Unreadable(
        "log",
        f"{what} is over the bound: {found} of {bound}",
        hint="write it in smaller parts; a single record over the bound belongs in a dead letter",
    )


_DIGITS = [b"%8d" % n for n in range(4096)]
_Grouped = tuple[list[tuple[str, int, int, int]], bytes]
"""Places as (topic, partition, bytes, records), in the order of their first output; and the body."""


def pack(
    outputs: Iterable[Output], place_of: Callable[[tuple[str, int]], int], what: str
) -> Packed:
    """Pack outputs, grouped by place, in their order.

    Raises Unreadable when a record or the whole is over its bound; what `place_of` raises passes.
    """
    outputs = tuple(outputs)
    found = NATIVE.packed(outputs, pack_headers, RECORD_BYTES_MAX) if NATIVE else None
    places, body = found or grouped(outputs)
    if len(outputs) > UNIT_RECORDS_MAX:
        raise _bound(f"{what} of records", len(outputs), UNIT_RECORDS_MAX)
    if len(body) >= UNIT_BYTES_MAX:
        raise _bound(f"{what} of bytes", len(body) + 1, UNIT_BYTES_MAX)
    plan, counts, start = {}, {}, 1
    for topic, partition, size, count in places:
        plan[str(place_of((topic, partition)))] = (start, count)
        counts[TopicPartition(topic, partition)] = count
        start += size
    return Packed(msgspec.json.encode(plan).decode(), body, counts)


def grouped(outputs: Iterable[Output]) -> _Grouped:
    """Return places and body: the reference of `packed` in native/rows.c."""
    parts: dict[tuple[str, int], list[bytes]] = {}
    part: list[bytes] = []
    last_topic, last_partition = "", -1
    for topic, partition, key, value, headers in outputs:
        if partition != last_partition or topic != last_topic:
            part = parts.setdefault((topic, partition), [])
            last_topic, last_partition = topic, partition
        head = headers if isinstance(headers, bytes) else pack_headers(headers)
        h = len(head)
        if key is None or value is None or h > 4095 or len(key) > 4095 or len(value) > 4095:
            k = -1 if key is None else len(key)
            v = -1 if value is None else len(value)
            size = max(k, 0) + max(v, 0) + h
            if size > RECORD_BYTES_MAX:
                raise _bound("a record's bytes", size, RECORD_BYTES_MAX)
            part += (b"%8d" % k, b"%8d" % h, b"%8d" % v, key or b"", head, value or b"")
        else:
            lengths = (_DIGITS[len(key)], _DIGITS[h], _DIGITS[len(value)])
            part += (*lengths, key, head, value)
    bodies = [(at, b"".join(part), len(part) // 6) for at, part in parts.items()]
    places = [(topic, partition, len(b), n) for (topic, partition), b, n in bodies]
    return places, b"".join([b for _, b, _ in bodies])


_numbers = msgspec.json.Decoder(list[int])
_lengths = msgspec.json.Decoder(list[int | None])


def unpack(topic: str, partition: int, row: Sequence[bytes | str]) -> list[Record]:
    """Return the records of one row of `fetch_statement`."""
    offsets, times = _numbers.decode(row[0]), _numbers.decode(row[1])
    keys, heads, values = _lengths.decode(row[2]), _numbers.decode(row[3]), _lengths.decode(row[4])
    if NATIVE and offsets:
        found: list[Record] | None = NATIVE.records(
            Record, topic, partition, offsets, times, keys, heads, values, row[5]
        )
        if found is not None:
            return found
    return cut(topic, partition, (offsets, times, keys, heads, values), row[5])


_Columns = tuple[list[int], list[int], list[int | None], list[int], list[int | None]]


def cut(topic: str, partition: int, columns: _Columns, body: bytes | str) -> list[Record]:
    """Return the records that lie in a body: the reference of `records` in native/rows.c.

    Columns are offsets, times, and lengths of keys, headers and values.
    """
    assert body is None or isinstance(body, bytes)
    records, at = [], 0
    for offset, ts, k, h, v in zip(*columns, strict=True):
        key = value = None
        if k is not None:
            key = body[at : at + k]
            at += k
        end = at + h
        headers = unpack_headers(body[at:end])
        at = end
        if v is not None:
            value = body[at : at + v]
            at += v
        records.append(Record(topic, partition, offset, key, value, headers, ts))
    return records
