"""Reading one stream back from the log: for reactions that need more than the event at hand."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from usance.engine.topics import Topics
from usance.kernel.clock import Instant, parse_instant
from usance.kernel.errors import NotFound
from usance.log.contract import Log, Record, TopicPartition, header

GAP = 8
"""Records between two of a stream that are read over: a command causes several events in a row."""

INDEXED_EVENTS_MAX = 2_000_000
"""Events whose places are kept in memory, 40 bytes or so each, beside one key per stream."""


class Past(NamedTuple):
    """One event of a stream: its meta, the message, and the record it came from."""

    meta: Any
    message: Any
    record: Record

    @property
    def instant(self) -> Instant:
        """The deciding instant (`ce_time`)."""
        return parse_instant((header(self.record.headers, "ce_time") or b"").decode())


class History:
    """Streams by key, from an index of offsets that follows the events topics; safe across threads.

    Beyond `indexed_max` events the index forgets the streams that changed longest ago: they are found
    by reading their partition, which `trouble` tells people.
    """

    def __init__(
        self, log: Log, topics: Topics, decoder: Any, indexed_max: int = INDEXED_EVENTS_MAX
    ) -> None:
        self._log = log
        self._topics = topics
        self._decoder = decoder
        self._offsets: dict[str, list[int]] = {}
        self._read_to: dict[TopicPartition, int] = {}
        self._indexed_max = indexed_max
        self._indexed = 0
        self._forgotten = 0
        self._lock = threading.Lock()

    @property
    def trouble(self) -> str:
        """What a person should know about the index; empty while every stream is in it."""
        if not self._forgotten:
            return ""
        return (
            f"{self._forgotten} old streams are out of memory ({self._indexed_max} events are kept):"
            " to look into one of them reads its partition"
        )

    def stream(self, key: str, revision: int | None = None) -> list[Past]:
        """Return the events of a stream in order, up to a revision; raises NotFound when there are none."""
        place = self._topics.place(key)
        tp = self._topics.at(place.context, "events", place.partition)
        with self._lock:
            self._follow(tp)
            offsets = list(self._offsets.get(key, ()))
            whole = not self._forgotten
        found = self._read(tp, offsets[:revision])
        if not whole and (not found or found[0].meta.revision != 1):
            raw = key.encode()
            scan = self._log.scan(tp, self._log.begin(tp), None, 5_000)
            found = self._pasts(r for r in scan if r.key == raw)[:revision]
        if not found and not offsets:
            raise NotFound(f"nothing is recorded under {key}", hint="Check the reference.")
        return found

    def fold(self, decider: Any, key: str, revision: int | None = None) -> Any:
        """Return the state that a decider makes of a stream up to a revision."""
        state = decider.initial(key)
        for past in self.stream(key, revision):
            state = decider.evolve(state, past.message)
        return state

    def _read(self, tp: TopicPartition, offsets: list[int]) -> list[Past]:
        return self._pasts(r for run in runs_of(offsets) for r in self._run(tp, run))

    def _run(self, tp: TopicPartition, offsets: list[int]) -> Iterator[Record]:
        """Yield the records at offsets that lie close together, in one scan."""
        wanted, first, after = set(offsets), offsets[0], offsets[-1] + 1
        for record in self._log.scan(tp, first, after, after - first):
            if record.offset in wanted:
                yield record

    def _pasts(self, records: Iterable[Record]) -> list[Past]:
        decoder = self._decoder
        return [
            Past(decoder.meta(r.headers), decoder.message(r.headers, r.value), r)
            for r in decoder.with_keys(records)
        ]

    def _follow(self, tp: TopicPartition) -> None:
        start = self._read_to.get(tp, 0)
        end = self._log.end(tp)
        if start >= end:
            return
        for record in self._log.scan(tp, max(start, self._log.begin(tp)), end, 5_000):
            key = (record.key or b"").decode("utf-8", "replace")
            offsets = self._offsets.pop(key, None) or []
            offsets.append(record.offset)
            self._offsets[key] = offsets  # last in the dictionary: changed last
            self._indexed += 1
            self._read_to[tp] = (
                record.offset + 1
            )  # a scan may end in the middle: each event counts once
        self._read_to[tp] = end
        if self._indexed > self._indexed_max:
            self._forget()

    def _forget(self) -> None:
        """Keep the half of the events that belongs to the streams that changed last."""
        for key in list(self._offsets):
            if self._indexed <= self._indexed_max // 2:
                break
            self._indexed -= len(self._offsets.pop(key))
            self._forgotten += 1


def runs_of(offsets: list[int]) -> Iterator[list[int]]:
    """Yield ascending offsets in runs whose members lie so close that reading between costs less than a scan."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > GAP:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
