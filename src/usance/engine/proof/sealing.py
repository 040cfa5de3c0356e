"""One partition's tree as it grows: from records to leaves, checked against the chain on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from usance.audit.chain import chain_start, envelope
from usance.audit.codes import Detected, malformed
from usance.audit.leaf import FORMAT, KINDS, MAGIC, kind_of, schema_id_of
from usance.audit.ports import LastHead
from usance.audit.tiles import Edge
from usance.engine.verify import log_id_of
from usance.kernel.errors import Unreadable
from usance.kernel.native import NATIVE
from usance.log.contract import Record, TopicPartition, header
from usance.messages.varints import VARINTS

HEADS = "heads"
"""Folder and last word of the origin of the log of heads."""
JOURNAL = "notary"
_HAS_PREV = b"\x02"
"""The branch of `prev` in `usance-meta`: present."""


class Origins(NamedTuple):
    """The names of a log's trees: `<domain>/usance/<env>/<generation>/...`; a new log is a new generation."""

    domain: str
    env: str
    generation: str

    @property
    def base(self) -> str:
        """What all names begin with."""
        return f"{self.domain}/usance/{self.env}/{self.generation}"

    @property
    def heads(self) -> str:
        """The name of the log of heads."""
        return f"{self.base}/{HEADS}"

    @property
    def journal(self) -> str:
        """The name under which the notary's own starts and settings stand in the log of heads."""
        return f"{self.base}/{JOURNAL}"

    def of(self, place: TopicPartition) -> str:
        """Return the name of a partition's tree."""
        return f"{self.base}/{folder_of(place)}"

    def folder(self, origin: str) -> str:
        """Return the folder of a tree among the tiles."""
        return origin.removeprefix(self.base + "/")


def folder_of(place: TopicPartition) -> str:
    """Return the folder of a partition's tree: `trade.events/p000`."""
    context, kind = place.topic.rsplit(".", 2)[-2:]
    return f"{context}.{kind}/p{place.partition:03d}"


class JournalEntry(NamedTuple):
    """What the notary notes of itself: that it started (`instant`, ms UTC) under settings of this digest.

    `genesis` is the SHA-256 of the log's genesis record, which is in no tree; empty in notes of before.
    """

    instant: int
    digest: bytes
    genesis: bytes = b""

    def text(self, origin: str) -> str:
        """Return the text that is signed."""
        lines = [origin, f"start {self.instant}", self.digest.hex()]
        if self.genesis:
            lines.append(f"genesis {self.genesis.hex()}")
        return "".join(f"{line}\n" for line in lines)


def journal_entry(text: str) -> JournalEntry:
    """Return what a journal note says; raises Detected(MALFORMED)."""
    lines = text.split("\n")
    try:
        word, _, instant = lines[1].partition(" ")
        born = next((x.partition(" ")[2] for x in lines[3:] if x.startswith("genesis ")), "")
        found = JournalEntry(int(instant), bytes.fromhex(lines[2]), bytes.fromhex(born))
    except (IndexError, ValueError) as error:
        raise malformed("a note of the notary's own cannot be read") from error
    if word != "start" or len(found.digest) != 32:
        raise malformed("a note of the notary's own says nothing known")
    return found


class Tree:
    """A partition's tree in memory: its right edge, and what is hashed but not yet in it."""

    def __init__(self, place: TopicPartition, kind: str, last: LastHead, edge: Edge) -> None:
        self.place = place
        self.kind = kind
        self.last = last
        self.edge = edge
        self.offset = last.offset
        self.tail = last.tail
        self.log_time = last.log_time
        self.pending: list[bytes] = []

    @property
    def size(self) -> int:
        """Leaves hashed so far."""
        return self.edge.size + len(self.pending)

    def take(self, records: Sequence[Record], diagnose: Callable[[Record], Any]) -> None:
        """Hash the next records. Raises Detected at the first that does not follow the one before.

        `diagnose` reads a record's meta, and raises Unreadable.
        """
        if records and self._take_natively(list(records)):
            return
        tail, index, time, kind = self.tail, self.size, self.log_time, self.kind
        partition, pack = self.place.partition, FORMAT.pack
        fixed = 0 if kind == "outcomes" else kind_of(kind, None)
        add = self.pending.append
        for record in records:
            _topic, _partition, offset, key, value, headers, timestamp = record
            due = VARINTS[index] + _HAS_PREV + tail
            if (len(headers) < 7 or due not in headers[6][1]) and due not in _meta(record):
                raise self._misfit(record, index, tail, diagnose)
            if timestamp < time:
                raise self._detected("TIME_REGRESSION", record, index, "it is older than its prev")
            hashed = sha256(envelope(key, value, headers)).digest()
            tail = sha256(tail + hashed).digest()
            said = fixed or kind_of(kind, header(headers, "ce_type"))
            schema = schema_id_of(value)
            add(pack(MAGIC, partition, offset, timestamp, said, 0, schema, hashed))
            index, time = index + 1, timestamp
            self.offset, self.tail, self.log_time = offset + 1, tail, time

    def _take_natively(self, records: list[Record]) -> bool:
        """Hash records in C; False, and nothing done, where it has no extension or anything is unusual."""
        kind, partition = KINDS[self.kind], self.place.partition
        if NATIVE is None:
            return False
        found = NATIVE.leaves(records, partition, kind, self.size, self.tail, self.log_time)
        if found is None:
            return False
        leaves, self.tail = found
        self.pending += leaves
        self.offset, self.log_time = records[-1].offset + 1, records[-1].timestamp
        return True

    def _misfit(
        self, record: Record, index: int, tail: bytes, diagnose: Callable[[Record], Any]
    ) -> Detected:
        try:
            meta = diagnose(record)
        except Unreadable as broken:
            return self._detected("CHAIN_BREAK", record, index, f"its meta is {broken.reason}")
        if meta.index > index:
            why = f"it has index {meta.index}, {index} was due"
            return self._detected("INDEX_GAP", record, index, why)
        if meta.index < index:
            why = f"it has index {meta.index} again, {index} was due"
            return self._detected("CHAIN_BREAK", record, index, why)
        assert meta.prev != tail, "a meta that fits is laid out otherwise than we search for it"
        return self._detected(
            "CHAIN_BREAK", record, index, "the record before it is not the one it was chained to"
        )

    def _detected(self, code: Any, record: Record, index: int, why: str) -> Detected:
        where = f"{record.topic} partition {record.partition}, offset {record.offset}"
        return Detected(code, f"{where}: {why}", where=f"{folder_of(self.place)}#{index}")

    def integrate(self) -> dict[str, bytes]:
        """Put what is pending into the tree; returns the files of it, relative to the tree's folder."""
        files = self.edge.extend(self.pending)
        self.pending = []
        return files | self.edge.partials()

    def head(self) -> LastHead:
        """Return the head of what is integrated."""
        return self.last._replace(
            size=self.edge.size,
            root=self.edge.root(),
            offset=self.offset,
            tail=self.tail,
            log_time=self.log_time,
        )


def first_head(origin: str, log_id: str, place: TopicPartition) -> LastHead:
    """Return where the tree of a partition begins: before its first record."""
    tail = chain_start(log_id_of(log_id, place.topic), place.topic, place.partition)
    return LastHead(origin, 0, Edge().root(), 0, tail)


def _meta(record: Record) -> bytes:
    headers = record.headers
    if len(headers) > 6 and headers[6][0] == "usance-meta":
        return headers[6][1]
    return header(headers, "usance-meta") or b""
