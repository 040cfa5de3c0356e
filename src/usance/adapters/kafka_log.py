"""The log on Apache Kafka: open it with `KafkaLog.open(KafkaSettings(bootstrap="host:port", ...))`.

Same contract, same engine as on SQLite; what differs is said here and in docs/BUILDING.md. Topics are
those of one namespace (`settings.namespace`), with `settings.prefix` before every name on the
cluster. One process is one *slot*: a second `join` of a group in the same log takes the first one's
place, and other processes with other slots share the partitions. Timestamps are the brokers' (LogAppendTime).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from usance.adapters.kafka_cluster import Cluster, explained, first_error
from usance.adapters.kafka_commits import Committer, KafkaPending, KafkaUnit
from usance.adapters.kafka_member import KafkaMember
from usance.adapters.kafka_producer import Pool, Sealed
from usance.adapters.kafka_rows import Row, pairs, ready
from usance.adapters.kafka_scan import ScanPool
from usance.adapters.kafka_settings import KafkaSettings
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import (
    Conflict,
    Fenced,
    NotFound,
    Refused,
    Unavailable,
    Uncertain,
    Unreadable,
)
from usance.log.contract import (
    UNIT_RECORDS_MAX,
    Batch,
    Membership,
    Output,
    Receipt,
    Record,
    Staged,
    Start,
    TopicPartition,
    TopicSettings,
    Unit,
)

APPEND_SECONDS = 10.0
HANGS_MAX = 5
"""Clients given up because they hung, after which the process is to be started anew."""
WAIT_STEPS = (0.002, 0.05)
"""Seconds between two questions for new ends: the first, and what it grows to."""


class KafkaLog:
    """The log contract on a Kafka cluster. See `open`."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self.cluster = Cluster(settings, clock)
        self.settings = settings
        self.counters: Iterator[int] = itertools.count(1)
        self._clock = clock
        self._numbers = itertools.count(1)
        self._scans = ScanPool(self.cluster)
        self._members: dict[str, KafkaMember] = {}
        self._committers: dict[KafkaMember, Committer] = {}
        self._hung = 0
        self._appender: Producer | None = None
        self._appending = threading.Lock()
        self._awake = threading.Condition()
        self._changes = 0
        self._closed = False

    @classmethod
    def open(
        cls, settings: KafkaSettings, *, clock: Clock | None = None, writes: bool = False
    ) -> KafkaLog:
        """Connect to the cluster of `settings.bootstrap`.

        With `writes` a producer is made at once: its first append then does not wait the half second that a new
        client takes to get its id.

        Raises Refused for unsafe settings and when the cluster does not let us in, Unavailable when
        nobody answers; within five seconds, with what to do next.
        """
        log = cls(settings, clock or SystemClock())
        if writes:
            log._appender = log._new_appender()
        return log

    # --- topics -----------------------------------------------------------------------------

    def create_topic(self, settings: TopicSettings) -> TopicSettings:
        """Create a topic unless it exists; returns it as the cluster holds it, with its topic id."""
        return self.cluster.create(settings)

    def topics(self) -> dict[str, TopicSettings]:
        """Return the topics of the namespace by name."""
        return self.cluster.topics()

    def remove_topics(self) -> None:
        """Delete every topic of this log and all that is in them."""
        self.cluster.remove(self.topics())

    # --- groups -----------------------------------------------------------------------------

    def join(self, group: str, topics: Sequence[str]) -> Membership:
        """Enter a consumer group; an earlier member of this log is fenced and loses all."""
        for topic in topics:
            self.cluster.check(TopicPartition(topic, 0))
        earlier = self._members.pop(group, None)
        if earlier is not None:
            earlier.lose()
            self._end_commits(earlier)
        member = KafkaMember(self, group, topics)
        self._members[group] = member
        return member

    def leave(self, member: KafkaMember) -> None:
        """Forget a member that closes."""
        if self._members.get(member.group) is member:
            del self._members[member.group]
        self._end_commits(member)

    def _end_commits(self, member: KafkaMember) -> None:
        committer = self._committers.pop(member, None)
        if committer is not None:
            committer.close()

    def stable_gaps(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return how many offsets before each end an open transaction hides from readers."""
        stable, ends = self.cluster.stable(partitions), self.cluster.ends(partitions)
        return {p: max(0, ends[p] - stable[p]) for p in partitions}

    def retired(self) -> int:
        """Return how many producers of units were given up after a doubt (rule 12)."""
        return sum(committer.retired() for committer in list(self._committers.values()))

    def members(self, group: str) -> int:
        """Return how many members a consumer group has now, in all processes."""
        return self.cluster.members(group)

    def position(self, group: str, partition: TopicPartition) -> int | None:
        """Return the group's stable committed position; None means certainly none."""
        return self.cluster.positions(group, [partition]).get(partition)

    def positions(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the group's stable committed positions; partitions without one are left out."""
        return self.cluster.positions(group, list(partitions))

    def set_positions(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Record positions outside a unit: as this log's member of the group, or while it is empty."""
        for partition in positions:
            self.cluster.check(partition)
        if not positions:
            return
        member = self._members.get(group)
        if member is not None and member.holds():
            member.set_positions(positions)
        else:
            self.cluster.set_positions(group, positions)

    # --- reading ----------------------------------------------------------------------------

    def read(self, member: Membership, max_records: int, wait: float) -> Batch:
        """Return committed records of the owned, unpaused partitions, at most `max_records`."""
        assert isinstance(member, KafkaMember)
        return member.read(min(max_records, UNIT_RECORDS_MAX), wait)

    def exhausted(self, member: Membership) -> bool:
        """Tell whether the member has read all that was committed before the call."""
        assert isinstance(member, KafkaMember)
        return member.exhausted()

    def scan(
        self,
        partition: TopicPartition,
        start: int,
        mark: int | None = None,
        max_records: int = 1_000,
    ) -> Iterator[Record]:
        """Read committed records from `start`, or the first one kept, to before `mark`.

        Open transactions before the mark are waited for; Unavailable, naming the first of them, when
        that takes longer than any of ours may stay open.
        """
        assert max_records > 0
        stop = self.end(partition) if mark is None else mark
        if start < stop:
            yield from self._scans.scan(partition, start, stop, max_records)

    def begin(self, partition: TopicPartition) -> int:
        """Return the first offset still kept (the log start)."""
        return self.cluster.begins([partition])[partition]

    def end(self, partition: TopicPartition) -> int:
        """Return the true high watermark, not the last stable offset."""
        return self.cluster.ends([partition])[partition]

    def begins(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets still kept."""
        return self.cluster.begins(list(partitions))

    def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return true high watermarks."""
        return self.cluster.ends(list(partitions))

    def wait(self, beyond: Mapping[TopicPartition, int], timeout: float) -> bool:
        """Block until any partition's end passes the given offset, or `timeout` seconds."""
        deadline = self._clock.monotonic() + timeout
        pause, most = WAIT_STEPS
        partitions = list(beyond)
        while True:
            changes = self._changes
            ends = self.cluster.ends(partitions)
            if any(end > beyond[p] for p, end in ends.items()):
                return True
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._closed:
                return False
            with self._awake:
                if self._changes == changes:
                    self._awake.wait(min(left, pause))
            pause = min(most, 2 * pause)

    def _notify(self) -> None:
        with self._awake:
            self._changes += 1
            self._awake.notify_all()

    # --- units ------------------------------------------------------------------------------

    def start(self, member: Membership) -> Start:
        """Take over the slot's transactional ids and begin a receipt chain (rule 5).

        Raises Fenced for a member whose place another one took.
        """
        assert isinstance(member, KafkaMember)
        if self._members.get(member.group) is not member:
            raise _replaced(member.group)
        committer = self._committers.get(member)
        if committer is not None and committer.given_up:
            committer = None
            self._hung += 1
            if self._hung > HANGS_MAX:
                raise Fenced(
                    f"the Kafka client hung in {self._hung} commits",
                    hint="start this process again: the log then tells what happened",
                )
        if committer is None:
            committer = self._committers[member] = Committer(
                Pool(self.settings, member.group, self._clock),
                self._clock,
                self._numbers,
                self._check,
                self._committed,
            )
        epoch = next(self._numbers)
        committer.start(epoch)
        return Start(epoch)

    def stage(self, unit: Unit) -> KafkaUnit:
        """Check a unit and make it ready; it is sent when its turn to commit has come.

        Raises Unreadable (a bound is passed: bisect) or NotFound (unknown topic or partition).
        """
        held = {partition for partition, _ in unit.fence.ownership}
        if not held.issuperset(unit.positions):  # lost since the owner last looked
            raise Unavailable(
                "a partition of the unit changed hands", hint="take over what is held"
            )
        assert unit.positions.keys() == unit.starts.keys(), "positions and starts differ"
        prefix, check = self.settings.prefix, self.cluster.check
        made = ready((*unit.outputs, *unit.footers), prefix, check, "a unit")
        # A unit without new input has nothing that the footer's counts would miss if a late request of an old
        # transaction cut it in two: all of it goes out behind the offsets, so that the cut is an error.
        bare = unit.positions == unit.starts
        cut = 0 if bare else len(made.rows) - len(unit.footers)
        positions = [self.cluster.place(p, offset) for p, offset in unit.positions.items()]
        sealed = Sealed(made.rows[:cut], positions, unit.fence.token, made.rows[cut:])
        return KafkaUnit(unit, sealed)

    def commit(self, staged: Staged, after: Receipt | Start) -> KafkaPending:
        """Send and commit a unit as one transaction, after the unit whose receipt is `after`."""
        assert isinstance(staged, KafkaUnit) and staged.pending is None, "staged elsewhere or twice"
        member = self._members.get(staged.unit.fence.group)
        committer = self._committers.get(member) if member is not None else None
        if committer is None:
            staged.pending = KafkaPending()
            staged.pending.fail(_replaced(staged.unit.fence.group))
        else:
            staged.pending = committer.submit(staged, after)
        return staged.pending

    def _check(self, unit: Unit) -> None:
        """Raise Fenced or Unavailable unless the unit's fence still holds, as far as we know."""
        member = self._members.get(unit.fence.group)
        if member is None or not member.knows(unit.fence):
            raise _replaced(unit.fence.group)
        member.check(unit.fence, unit.positions, unit.starts)

    def _committed(self, unit: Unit) -> None:
        member = self._members.get(unit.fence.group)
        if member is not None:
            member.committed(unit.positions)
        self._notify()

    def abort(self, staged: Staged) -> None:
        """Drop a staged unit and rewind the group's reader to the unit's starts."""
        assert isinstance(staged, KafkaUnit)
        if staged.pending is not None and not staged.pending.done():
            raise Conflict("the unit's commit is under way", hint="wait for its result first")
        member = self._members.get(staged.unit.fence.group)
        if member is not None and member.knows(staged.unit.fence):
            member.rewind(staged.unit.starts)

    # --- records without a unit ---------------------------------------------------------------

    def append(self, outputs: Sequence[Output]) -> list[int]:
        """Write acknowledged records without a unit; returns their offsets.

        What can be checked is checked before anything is sent, so bounds and unknown places leave
        nothing behind. When the cluster fails on the way a part may be written: that is Uncertain,
        and the same records are to be appended again under the same ids.
        """
        if not outputs:
            return []
        made = ready(outputs, self.settings.prefix, self.cluster.check, "an append")
        with self._appending:
            if self._closed:
                raise Unavailable("the log is closed", hint="open it again")
            offsets = self._append(made.rows)
        self._notify()
        return offsets

    def _new_appender(self) -> Producer:
        options = self.settings.producer("append")
        del options["delivery.report.only.error"]
        return Producer(options | {"linger.ms": 0})

    def _append(self, rows: Sequence[Row]) -> list[int]:
        producer = self._appender = self._appender or self._new_appender()
        offsets: list[int | None] = [None] * len(rows)
        failed: list[KafkaError] = []

        def delivered(number: int, error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets[number] = message.offset()
            else:
                failed.append(error)

        try:
            for number, row in enumerate(rows):
                report = partial(delivered, number)
                producer.produce(*row[:4], report, headers=pairs(row))
            producer.flush(APPEND_SECONDS)
        except KafkaException as exc:
            failed.append(first_error(exc))
        found = [offset for offset in offsets if offset is not None]
        if len(found) == len(rows):
            return found
        self._appender = None
        producer.purge()
        producer.flush(0.1)
        raise _not_appended(failed[0] if failed else None, len(found), len(rows))

    # --- retention --------------------------------------------------------------------------

    def expire(self, partition: TopicPartition, before: int) -> int:
        """Delete records below offset `before`; returns by how many offsets the log start moved."""
        begin, end = self.begin(partition), self.end(partition)
        target = min(before, end)
        if target <= begin:
            return 0
        self.cluster.delete_before(partition, target)
        return target - begin

    def compact(self, partition: TopicPartition, unread: int | None = None) -> int:  # noqa: ARG002
        """Leave compaction to the broker, which does it in its own time; returns 0.

        Values of None stay there for `TOMBSTONE_MS`, in which every reader must come by. Raises
        Refused for a topic that is not compacted.
        """
        self.cluster.check(partition)
        if self.cluster.topics([partition.topic])[partition.topic].cleanup != "compact":
            raise Refused(
                "NOT_COMPACTED",
                f"topic {partition.topic} keeps every record",
                hint="compact only topics whose cleanup is `compact`",
            )
        return 0

    def close(self) -> None:
        """Finish pending commits and release everything."""
        if self._closed:
            return
        self._closed = True
        self._notify()
        for committer in list(self._committers.values()):
            committer.close()
        for member in list(self._members.values()):
            member.close()
        with self._appending:
            if self._appender is not None:
                self._appender.flush(1.0)
                self._appender = None
        self._scans.close()
        self.cluster.close()


def _replaced(group: str) -> Fenced:
    return Fenced(
        f"another member of group {group} has taken this one's place",
        hint="rejoin the group and take over again",
    )


def _not_appended(error: KafkaError | None, written: int, asked: int) -> Exception:
    """Return what to raise when not every record of an append was acknowledged."""
    if error is not None and not written:
        found = explained(error, "appending records")
        if isinstance(found, Unreadable | NotFound) or "AUTHORIZATION" in error.name():
            return found
    why = f"{error.str()} ({error.name()})" if error is not None else "no answer in time"
    return Uncertain(
        f"{asked - written} of {asked} records were not acknowledged: {why}",
        hint="append them again: whoever reads them drops what it has seen",
    )
