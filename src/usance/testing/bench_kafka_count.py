"""The separate reader of the Kafka bench: what became visible when, and whether it is all and nothing more.

It reads `read_committed` and knows nothing of who wrote. Each key must have versions 1 to n in their
order, once each; numbers are given only then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as Place

from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable

READ_RECORDS = 10_000
AFTER_S = 0.7
"""How long the reader listens for what should not come, once all is there."""


class Counted(NamedTuple):
    """What a reader found, against what should be there."""

    counted: int
    duplicates: int
    missing: int
    misplaced: int
    """Versions that stand before an earlier one of their key, or belong to no command."""

    @property
    def whole(self) -> bool:
        """Tell whether everything is there once and in order."""
        return not (self.duplicates or self.missing or self.misplaced)


def count(expected: Mapping[str, int], seen: Iterable[tuple[str, int]]) -> Counted:
    """Hold (key, version) pairs, as they stand in the log, against the number of each key's events."""
    found: dict[str, set[int]] = {}
    last: Counter[str] = Counter()
    total = duplicates = misplaced = 0
    for key, version in seen:
        total += 1
        known = found.setdefault(key, set())
        if version in known:
            duplicates += 1
            continue
        known.add(version)
        if version != last[key] + 1 or version > expected.get(key, 0):
            misplaced += 1
        last[key] = version
    there = sum(len(known & set(range(1, expected.get(k, 0) + 1))) for k, known in found.items())
    return Counted(total, duplicates, sum(expected.values()) - there, misplaced)


class _Event(msgspec.Struct):
    credit: str
    version: int
    command: str


FOOTER = b"footer/"


class Sight:
    """Everything that became visible in a topic, with the time of each batch; a unit's footers do not count."""

    def __init__(
        self, client: Mapping[str, Any], topic: str, partitions: int, clock: Clock
    ) -> None:
        self.clock = clock
        self.batches: list[tuple[float, list[Message]]] = []
        self.total = 0
        self._consumer = Consumer(
            {
                **client,
                "group.id": "usance-bench-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,
                "queued.min.messages": 50_000,
            }
        )
        self._consumer.assign([Place(topic, n, 0) for n in range(partitions)])

    def look(self, wait: float) -> int:
        """Take in what is visible, waiting at most so many seconds for the first; returns how many."""
        first = self._consumer.poll(wait)
        if first is None:
            return 0
        found = [first, *self._consumer.consume(READ_RECORDS, 0)]
        now = self.clock.monotonic()
        for message in found:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise Unavailable(f"the bench's reader: {error.str()}", hint="Run it again.")
        found = [m for m in found if not (m.key() or b"").startswith(FOOTER)]
        if found:
            self.batches.append((now, found))
            self.total += len(found)
        return len(found)

    def until(self, wanted: int, seconds: float) -> None:
        """Read until so many are visible, or time is up; then a moment longer for what is too many."""
        deadline = self.clock.monotonic() + seconds
        while self.total < wanted and self.clock.monotonic() < deadline:
            self.look(0.05)
        rest = self.clock.monotonic() + AFTER_S
        while self.clock.monotonic() < rest:
            self.look(0.05)

    def events(self) -> list[tuple[float, str, int, str]]:
        """Return (when visible, key, version, command id) of each event, by partition in log order."""
        read = msgspec.json.Decoder(_Event).decode
        found: dict[int, list[tuple[float, str, int, str]]] = {}
        for when, messages in self.batches:
            for message in messages:
                event = read(message.value() or b"")
                partition = message.partition() or 0
                row = (when, event.credit, event.version, event.command)
                found.setdefault(partition, []).append(row)
        return [row for rows in found.values() for row in rows]

    def close(self) -> None:
        """Let the client go."""
        self._consumer.close()


class Rates(NamedTuple):
    """Events per second from the first to the last that became visible, the first batch not counted."""

    rate: float
    second_half: float
    seconds: float


def rates(batches: Sequence[tuple[float, int]]) -> Rates:
    """Return the rates of (time, number of events) pairs in order of time; all 0 for fewer than three."""
    if len(batches) < 3:
        return Rates(0.0, 0.0, 0.0)
    start, first = batches[0]
    end = batches[-1][0]
    total = sum(number for _, number in batches) - first
    done, middle, left = 0, start, total
    for when, number in batches[1:]:
        done += number
        if done * 2 >= total:
            middle, left = when, total - done
            break
    late = left / (end - middle) if end > middle else 0.0
    return Rates(total / (end - start), late, end - start)
