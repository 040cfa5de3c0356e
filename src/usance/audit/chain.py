"""Envelopes, their hashes, and the chain over one partition: fixed from the first record on.

**Envelope bytes.** For a record with headers H, key K and value V: the *values* of the seven
headers `ce_specversion ce_id ce_type ce_source ce_subject ce_time usance-meta`, in this order
whatever their order in the record, then K, then V; each as u32 big-endian length and bytes, an
absent one as 0xFFFFFFFF without bytes. Of a header that stands twice the first one counts. Names of
headers, and all other headers (`traceparent`, `content-type`, `usance-dlq-*`), are not hashed.

**Envelope hash** = SHA-256(envelope bytes).

**Chain.** c(i) = SHA-256(c(i-1) | envelope hash of record i), 32 bytes each; c(-1) = SHA-256 over
the parts "usance/chain/v1", log id, topic name (UTF-8) and partition (u32 big-endian, as a part of
four bytes), each part as u32 big-endian length and bytes. Record i carries its index i and `prev` =
c(i-1) in `usance-meta`. Test vectors: tests/audit/vectors/chain.json.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from usance.kernel.native import NATIVE

HASHED_HEADERS = (
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_subject",
    "ce_time",
    "usance-meta",
)
"""Headers in envelope order, which is also the order in which they are written."""

ABSENT = b"\xff\xff\xff\xff"
CHAIN_VERSION = b"usance/chain/v1"

Headers = Iterable[tuple[str, bytes]]
_u32 = struct.Struct(">I").pack
_LENGTHS = [_u32(n) for n in range(4096)]
"""Lengths as they nearly always are: half of the cost of an envelope was packing them."""


def prefixed(part: bytes | None) -> bytes:
    """Return a part as u32 big-endian length and bytes; an absent part as 0xFFFFFFFF."""
    return ABSENT if part is None else _u32(len(part)) + part


def envelope(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """Return the envelope bytes of a record (see the module docstring)."""
    headers = tuple(headers)
    try:  # as records are written: nothing to look for, and every length in the table
        (a, av), (b, bv), (c, cv), (d, dv), (e, ev), (f, fv), (g, gv) = headers[:7]
        if (a, b, c, d, e, f, g) == HASHED_HEADERS and key is not None and value is not None:
            parts = (
                (_LENGTHS[len(av)], av, _LENGTHS[len(bv)], bv, _LENGTHS[len(cv)], cv),
                (_LENGTHS[len(dv)], dv, _LENGTHS[len(ev)], ev, _LENGTHS[len(fv)], fv),
            )
            tail = (_LENGTHS[len(gv)], gv, _LENGTHS[len(key)], key, _LENGTHS[len(value)], value)
            return b"".join((*parts[0], *parts[1], *tail))
    except (IndexError, ValueError):
        pass  # a header is missing, or something is longer than the table
    found: dict[str, bytes] = {}
    for name, content in headers:
        found.setdefault(name, content)
    named = [prefixed(found.get(name)) for name in HASHED_HEADERS]
    return b"".join((*named, prefixed(key), prefixed(value)))


def envelope_hash(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """Return the SHA-256 of a record's envelope; compiled for records as they are written."""
    found: bytes | None = NATIVE.envelope_hash(key, value, headers) if NATIVE else None
    if found is not None:
        return found
    return sha256(envelope(key, value, headers)).digest()


def chain_start(log_id: str, topic: str, partition: int) -> bytes:
    """Return c(-1), the value before the first record of a partition."""
    parts = (CHAIN_VERSION, log_id.encode(), topic.encode(), _u32(partition))
    return sha256(b"".join(prefixed(p) for p in parts)).digest()


def link(before: bytes, record_hash: bytes) -> bytes:
    """Return c(i) from c(i-1) and the envelope hash of record i."""
    return sha256(before + record_hash).digest()


@dataclass(frozen=True, slots=True)
class Links:
    """What a record's meta says about its place: index, prev."""

    index: int
    prev: bytes | None


class ChainRecord(NamedTuple):
    """A record as the verifier needs it; `offset` only names it in a finding."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Break:
    """The first broken record: where, why, and what to do next."""

    offset: int
    index: int
    reason: str
    hint: str


class ChainReport(NamedTuple):
    """The result for one partition.

    `first_index` is where verification began: above 0 an expired prefix was taken on trust from the
    `prev` of the first record kept, and `note` says so. `next_index` and `tail` are the end of the
    verified part: what the next record must carry.
    """

    topic: str
    partition: int
    records: int
    first_index: int
    next_index: int
    tail: bytes
    broken: Break | None
    note: str

    @property
    def whole(self) -> bool:
        """Tell whether nothing is broken."""
        return self.broken is None


_RESTORE = "stop writing to this log, keep a copy as evidence, restore the last good backup"


class ChainVerifier:
    """Verifies one partition's chain record by record; feed it in log order, then ask `report`.

    `links` reads index and prev from a record's headers and raises ValueError when it cannot: the
    schema of `usance-meta` is no matter of this floor.
    """

    def __init__(
        self,
        log_id: str,
        topic: str,
        partition: int,
        links: Callable[[tuple[tuple[str, bytes], ...]], Links],
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._links = links
        self._tail = chain_start(log_id, topic, partition)
        self._first = 0
        self._next = 0
        self._records = 0
        self._offset = -1
        self._broken: Break | None = None

    @property
    def end(self) -> tuple[int, bytes]:
        """The next index that is due and the chain so far: what a later proof would state."""
        return self._next, self._tail

    def feed(self, record: ChainRecord) -> bool:
        """Verify the next record; False once the chain is broken: nothing more is looked at."""
        if self._broken is not None:
            return False
        try:
            links = self._links(record.headers)
        except ValueError as error:
            return self._break(record, f"its usance-meta cannot be read: {error}")
        if links.prev is None or len(links.prev) != 32 or links.index < 0:
            return self._break(record, "it carries no index and prev")
        if self._records == 0 and links.index > 0:
            self._first = self._next = links.index
            self._tail = links.prev
        if links.index != self._next:
            return self._break(record, f"its index is {links.index}, {self._next} was due")
        if links.prev != self._tail:
            return self._break_before(record)
        self._tail = link(self._tail, envelope_hash(record.key, record.value, record.headers))
        self._next += 1
        self._records += 1
        self._offset = record.offset
        return True

    def _break_before(self, record: ChainRecord) -> bool:
        """A prev that is wrong accuses the record in front of it: its own prev was right."""
        if self._next == self._first:
            why = "its prev is not the chain's start for this log, topic and partition"
            return self._break(record, why)
        why = f"it was altered: the record behind it, offset {record.offset}, has another prev"
        self._broken = Break(self._offset, self._next - 1, why, _RESTORE)
        return False

    def _break(self, record: ChainRecord, reason: str) -> bool:
        self._broken = Break(record.offset, self._next, reason, _RESTORE)
        return False

    def report(
        self, *, expected_end: tuple[int, bytes] | None = None, allow_prefix: bool = True
    ) -> ChainReport:
        """Return what was found so far.

        `expected_end` is (next index, tail) as some later proof states them (a unit footer, a tree
        head): without it a cut-off or altered *last* record cannot be noticed. `allow_prefix` False
        makes a missing prefix a break, for topics that are kept for ever.
        """
        broken = self._broken
        if broken is None and self._first and not allow_prefix:
            broken = Break(-1, 0, f"records 0 to {self._first - 1} are missing", _RESTORE)
        if broken is None and expected_end not in (None, (self._next, self._tail)):
            assert expected_end is not None
            broken = Break(-1, self._next, f"it ends here, {expected_end[0]} was due", _RESTORE)
            if expected_end[0] == self._next:
                why = "it was altered: a later record states another chain up to this last record"
                broken = Break(self._offset, self._next - 1, why, _RESTORE)
        note = ""
        if self._first:
            note = f"records before index {self._first} have expired: begun at its prev"
        return ChainReport(
            self.topic,
            self.partition,
            self._records,
            self._first,
            self._next,
            self._tail,
            broken,
            note,
        )


def verify(verifier: ChainVerifier, records: Iterable[ChainRecord]) -> ChainReport:
    """Feed records until the first break; returns the report."""
    for record in records:
        if not verifier.feed(record):
            break
    return verifier.report()
