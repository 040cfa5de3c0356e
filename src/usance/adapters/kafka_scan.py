"""Scans without a group: a bounded pool of read_committed consumers on connections that stay open.

A scan is sure of its end: it stops at a record at or past its mark, or when the broker says that the
partition ends there (PARTITION_EOF); what an open transaction holds back is waited for, and named when
the wait is too long (rule 5).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from usance.adapters.kafka_cluster import Cluster, explained, first_error, unknown
from usance.adapters.kafka_rows import record
from usance.kernel.errors import Unavailable
from usance.log.contract import Record, TopicPartition

POOL_IDLE = 6
POOL_MAX = 32
LEASE_SECONDS = 30.0
STUCK_SECONDS = 2.0
"""How long a scan waits for a record or an end, beside twice what a transaction of ours may stay open."""
POLL_SECONDS = 0.25
FETCH_RECORDS = 2_000
LOOK_SECONDS = 2.0
LOOKED_SECONDS = 240.0
"""How long a client is trusted to know a topic that it asked about: it forgets what it does not read after five
minutes."""
FEW_RECORDS = 64
"""A scan of no more takes a reader that fetches little and never waits between: p95 1 ms, not 8."""
FEW = {"queued.min.messages": 1, "fetch.message.max.bytes": 65_536, "fetch.queue.backoff.ms": 0}
MANY = {"queued.min.messages": 5_000}


class _Reader:
    """A consumer with the place where it stands, if it is assigned to one."""

    def __init__(self, cluster: Cluster, *, few: bool) -> None:
        self.few = few
        self._looked: dict[str, float] = {}
        options = cluster.settings.consumer("scan") | {
            "group.id": cluster.real("usance-scan"),
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 1,
        }
        options |= FEW if few else MANY
        try:
            self.consumer = Consumer(options)
        except KafkaException as exc:
            raise explained(first_error(exc), "opening a reader") from exc

    def stand(self, cluster: Cluster, partition: TopicPartition, offset: int) -> None:
        """Read `partition` from `offset`."""
        self._look(cluster, partition.topic)
        self.consumer.assign([cluster.place(partition, offset)])

    def _look(self, cluster: Cluster, topic: str) -> None:
        """Ask about topics before they are read: the client itself looks once a second, and waits till then.

        A new client asks about all, for it will read more than one.
        """
        now, name = cluster.clock.monotonic(), cluster.real(topic)
        if now - self._looked.get(name, -LOOKED_SECONDS) < LOOKED_SECONDS:
            return
        with suppress(KafkaException):  # whoever reads then hears what is wrong
            asked = {"topic": name} if self._looked else {}
            found = self.consumer.list_topics(timeout=LOOK_SECONDS, **asked)
            self._looked |= dict.fromkeys(found.topics, now)

    def rest(self) -> None:
        """Read nothing: an assigned consumer asks the broker again and again."""
        self.consumer.unassign()


class ScanPool:
    """Lends readers to scans; any thread may scan, and several at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stuck_s = 2 * cluster.settings.transaction_ms / 1000 + STUCK_SECONDS
        self._idle: dict[bool, deque[_Reader]] = {True: deque(), False: deque()}
        self._lent = threading.BoundedSemaphore(POOL_MAX)
        self._closed = False

    @contextmanager
    def _reader(self, *, few: bool) -> Iterator[_Reader]:
        if self._closed:
            raise Unavailable("the log is closed", hint="open it again")
        if not self._lent.acquire(timeout=LEASE_SECONDS):
            raise Unavailable(
                f"{POOL_MAX} scans are under way already", hint="try again in a moment"
            )
        reader: _Reader | None = None
        try:
            try:
                reader = self._idle[few].pop()
            except IndexError:
                reader = _Reader(self._cluster, few=few)
            yield reader
        finally:
            self._lent.release()
            if reader is not None:
                self._give_back(reader)

    def _give_back(self, reader: _Reader) -> None:
        idle = self._idle[reader.few]
        if self._closed or len(idle) >= POOL_IDLE:
            reader.consumer.close()
            return
        reader.rest()
        idle.append(reader)

    def scan(
        self, partition: TopicPartition, start: int, mark: int, max_records: int
    ) -> Iterator[Record]:
        """Yield committed records from `start` to before `mark`."""
        clock, topic = self._cluster.clock, partition.topic
        few = min(max_records, mark - start) <= FEW_RECORDS
        with self._reader(few=few) as reader:
            at = start
            try:
                reader.stand(self._cluster, partition, start)
                deadline = clock.monotonic() + self._stuck_s
                while at < mark:
                    found = _next(reader.consumer, min(max_records, FETCH_RECORDS))
                    reached = at
                    for message in found:
                        error, offset = message.error(), message.offset() or 0
                        if error is not None:
                            reached = max(reached, _end(error, offset, partition))
                            continue
                        if offset >= mark:
                            return
                        if offset >= at:  # an expired start is read from what is still kept
                            at = reached = offset + 1
                            yield record(message, topic)
                    if reached >= mark:
                        return
                    if at > start or reached > at:
                        start, at = at, max(at, reached)
                        deadline = clock.monotonic() + self._stuck_s
                    elif clock.monotonic() > deadline:
                        raise self._stuck(partition, at, mark)
            except KafkaException as exc:
                doing = f"reading {topic} partition {partition.partition}"
                raise explained(first_error(exc), doing) from exc

    def _stuck(self, partition: TopicPartition, at: int, mark: int) -> Unavailable:
        stable = self._cluster.stable([partition])[partition]
        where = f"{partition.topic} partition {partition.partition}"
        if stable < mark:
            return Unavailable(
                f"{where} cannot be read to {mark}: a transaction that began at offset {stable} is"
                " still open",
                hint="its writer died or hangs: the broker ends it after its timeout; try again then",
            )
        return Unavailable(
            f"{where} was not read from {at} to {mark} within {self._stuck_s:g} s",
            hint="see that the brokers are up and can be reached; try again",
        )

    def close(self) -> None:
        """Let all readers at rest go; those lent go when they come back."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().consumer.close()


def _next(consumer: Consumer, most: int) -> list[Message]:
    """Return what is there, waiting for the first."""
    first = consumer.poll(POLL_SECONDS)
    if first is None:
        return []
    return [first, *consumer.consume(most - 1, 0)] if most > 1 else [first]


def _end(error: KafkaError, offset: int, partition: TopicPartition) -> int:
    """Return the offset where a partition ends for now; errors that pass are no end."""
    if error.code() == KafkaError._PARTITION_EOF:
        return offset
    passing = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
    if error.retriable() or error.code() in passing or unknown(error):  # the topic was there
        return 0
    raise explained(error, f"reading {partition.topic} partition {partition.partition}")
