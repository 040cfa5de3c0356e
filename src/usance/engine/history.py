"""Reading one stream back from the log: for reactions that need more than the event at hand."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from usance.engine.topics import Topics
from usance.kernel.clock import Instant, parse_instant
from usance.kernel.errors import NotFound
from usance.log.contract import Log, Record, TopicPartition, header


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
    """Streams by key, from an index of offsets that follows the events topics; safe across threads."""

    def __init__(self, log: Log, topics: Topics, decoder: Any) -> None:
        self._log = log
        self._topics = topics
        self._decoder = decoder
        self._offsets: dict[str, list[int]] = {}
        self._read_to: dict[TopicPartition, int] = {}
        self._lock = threading.Lock()

    def stream(self, key: str, revision: int | None = None) -> list[Past]:
        """Return the events of a stream in order, up to a revision; raises NotFound when there are none."""
        place = self._topics.place(key)
        tp = self._topics.at(place.context, "events", place.partition)
        with self._lock:
            self._follow(tp)
            offsets = list(self._offsets.get(key, ()))
        if not offsets:
            raise NotFound(f"nothing is recorded under {key}", hint="Check the reference.")
        found: list[Past] = []
        for offset in offsets[:revision]:
            for record in self._log.scan(tp, offset, offset + 1, 1):
                meta = self._decoder.meta(record.headers)
                message = self._decoder.message(record.headers, record.value)
                found.append(Past(meta, message, record))
        return found

    def fold(self, decider: Any, key: str, revision: int | None = None) -> Any:
        """Return the state that a decider makes of a stream up to a revision."""
        state = decider.initial(key)
        for past in self.stream(key, revision):
            state = decider.evolve(state, past.message)
        return state

    def _follow(self, tp: TopicPartition) -> None:
        start = self._read_to.get(tp, 0)
        end = self._log.end(tp)
        if start >= end:
            return
        for record in self._log.scan(tp, max(start, self._log.begin(tp)), end, 5_000):
            key = (record.key or b"").decode("utf-8", "replace")
            self._offsets.setdefault(key, []).append(record.offset)
        self._read_to[tp] = end
