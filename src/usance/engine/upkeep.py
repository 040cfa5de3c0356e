"""Upkeep of the log: compaction and retention, and the word of intake on how far it has come.

Retention never passes what a group has not read, and never touches topics that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from usance.engine.control import IntakePassed
from usance.engine.reactors.reactor import Commands
from usance.engine.topics import Topics
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR, Clock
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable
from usance.kernel.ids import derived
from usance.log.contract import Log, Output, TopicPartition

UPKEEP_EVERY_MS = MS_PER_HOUR
TOMBSTONES_KEPT_MS = MS_PER_DAY
PASSED_EVERY_S = 1.0
PASSED_BEHIND_MS = 1_000
"""How far intake's word stays behind the clock: a record's time is set before its commit is seen."""
SILENCE_MAX_MS = 60_000
"""How long a deadline waits for input that stands still before people are told."""


class Upkeep:
    """Compacts and expires, one partition per step, once an hour.

    Values of None stay for TOMBSTONES_KEPT_MS and until every view has met them: `taken_in` tells the
    offset before which all views have read a partition, None where no view reads it.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        groups: Sequence[str],
        taken_in: Callable[[TopicPartition], int | None] = lambda _: None,
    ) -> None:
        self.log = log
        self.clock = clock
        self.groups = groups
        self.taken_in = taken_in
        self.next_at = clock.now() + UPKEEP_EVERY_MS
        self.todo: list[TopicPartition] = []

    def step(self, wait: float = 0.0) -> int:
        """Look after one partition when it is time; returns how many records went."""
        if not self.todo:
            if self.clock.now() < self.next_at:
                if wait:
                    self.clock.sleep(wait)
                return 0
            self.next_at = self.clock.now() + UPKEEP_EVERY_MS
            self.todo = [
                TopicPartition(s.name, number)
                for s in self.log.topics().values()
                if s.cleanup != "keep"
                for number in range(s.partitions)
            ]
            if not self.todo:
                return 0
        return self._look_after(self.todo.pop())

    def _look_after(self, tp: TopicPartition) -> int:
        settings = self.log.topics()[tp.topic]
        if settings.cleanup == "compact":
            unread = self._older_than(tp, TOMBSTONES_KEPT_MS, self.log.end(tp))
            taken_in = self.taken_in(tp)
            return self.log.compact(tp, unread if taken_in is None else min(unread, taken_in))
        read = [self.log.position(group, tp) for group in self.groups]
        known = [position for position in read if position is not None]
        if not known or settings.retention_ms < 0:
            return 0
        before = self._older_than(tp, settings.retention_ms, min(known))
        return self.log.expire(tp, before) if before > self.log.begin(tp) else 0

    def _older_than(self, tp: TopicPartition, age_ms: int, mark: int) -> int:
        """Return the offset before which every record below `mark` is older than that."""
        horizon = self.clock.now() - age_ms
        before = self.log.begin(tp)
        for record in self.log.scan(tp, before, mark):
            if record.timestamp >= horizon:
                break
            before = record.offset + 1
        return before


class IntakeProgress:
    """Tells every owner up to which instant intake has forwarded what arrived (rule 22).

    A legal deadline fires only after that instant, so that an input which arrived in time is never
    overtaken by it. `waiting` says whether a deadline waits.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        commands: Commands,
        clock: Clock,
        group: str,
        waiting: Callable[[], bool],
    ) -> None:
        self.log = log
        self.topics = topics
        self.commands = commands
        self.clock = clock
        self.group = group
        self.waiting = waiting
        self.last_at = -PASSED_EVERY_S
        self.told = 0
        self.seen: tuple[int, ...] = ()
        self.still_since = 0

    def step(self, wait: float = 0.0) -> int:
        """Tell the owners at most once a second, while intake moves or a deadline waits.

        Raises Unavailable, having told them, when a deadline waits and intake has stood still for
        SILENCE_MAX_MS: people must look, and nothing fires meanwhile.
        """
        if self.clock.monotonic() - self.last_at < PASSED_EVERY_S:
            if wait:
                self.clock.sleep(wait)
            return 0
        self.last_at = self.clock.monotonic()
        name = self.topics.name("trade", "intake")
        partitions = [TopicPartition(name, p) for p in range(self.topics.partitions)]
        known = self.log.positions(self.group, partitions)
        positions = tuple(known.get(tp, 0) for tp in partitions)
        if positions == self.seen and not self.waiting():
            return 0
        self.seen = positions
        before, self.told = self.told, self._passed(partitions, positions)
        self.log.append([self._record(p) for p in range(self.topics.partitions)])
        if self.told != before:
            self.still_since = self.clock.now()
        if self.clock.now() - self.still_since > SILENCE_MAX_MS and self.waiting():
            raise Unavailable(
                "a deadline waits for intake, which stands still",
                hint="See what stops the intake part; the deadline fires when it has passed on.",
            )
        return self.topics.partitions

    def _passed(self, partitions: list[TopicPartition], positions: tuple[int, ...]) -> int:
        """Return the instant before which nothing waits in intake."""
        passed = self.clock.now() - PASSED_BEHIND_MS
        for tp, position in zip(partitions, positions, strict=True):
            first = next(iter(self.log.scan(tp, max(position, self.log.begin(tp)), None, 1)), None)
            if first is not None:
                passed = min(passed, first.timestamp - 1)
        return passed

    def _record(self, partition: int) -> Output:
        key = f"intake/{partition}"
        command_id = derived(self.commands.encoder.log_id, "passed", partition, self.told)
        key_bytes, value, headers = self.commands.encoder.command(
            IntakePassed(intake_partition=0, instant=self.told),
            key=key,
            command_id=command_id,
            tenant="",
            actor=Actor("engine", "", "system"),
            causation="control:intake",
            at=self.clock.now(),
        )
        topic = self.topics.name("trade", "commands")
        return Output(topic, partition, key_bytes, value, headers)
