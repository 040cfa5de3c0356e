"""Reactors follow topics and answer facts with commands or effects; they never decide.

They use no transaction: output ids depend only on the input, all outputs are acknowledged before the
position is committed, and the owner drops what it has seen before (rule 16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from usance.engine.topics import Topics
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable
from usance.log.contract import (
    Assigned,
    Log,
    Membership,
    Output,
    Record,
    Revoked,
    TopicPartition,
)

BATCH_RECORDS_MAX = 500
PASSED_MAX = 1_000
"""Records that caused no command, after which positions are saved all the same."""


class Outgoing(NamedTuple):
    """A command to be appended: target key, message, id, and where it comes from."""

    key: str
    command: Any
    id: str
    causation: str
    correlation: str = ""
    actor: Actor = Actor("engine", "", "system")
    instant: int | None = None


class Commands:
    """Encodes commands and appends them to the right partitions; acknowledged on return."""

    def __init__(self, log: Log, topics: Topics, encoder: Any, *, book_clock: bool) -> None:
        self.log = log
        self.topics = topics
        self.encoder = encoder
        self.book_clock = book_clock

    def output(self, outgoing: Outgoing, at: int) -> Output:
        """Return a command as a record; `at` (ms UTC) is its `ce_time`."""
        place = self.topics.place(outgoing.key)
        key, value, headers = self.encoder.command(
            outgoing.command,
            key=outgoing.key,
            command_id=outgoing.id,
            tenant=outgoing.key.split("/", 1)[0],
            actor=outgoing.actor,
            correlation=outgoing.correlation or outgoing.id,
            causation=outgoing.causation,
            instant=(outgoing.instant or at) if self.book_clock else None,
            at=at,
        )
        topic = self.topics.name(place.context, "commands")
        return Output(topic, place.partition, key, value, headers)

    def append(self, outgoing: Sequence[Outgoing], at: int) -> None:
        """Append commands, all or none; they are durable on return."""
        if outgoing:
            self.log.append([self.output(o, at) for o in outgoing])


class Reactor:
    """Follows topics as a consumer group: `react(record)` gives the commands a record causes."""

    def __init__(
        self,
        group: str,
        log: Log,
        topics: Iterable[str],
        react: Callable[[Record], list[Outgoing]],
        commands: Commands,
        now: Callable[[], int],
    ) -> None:
        self.group = group
        self.log = log
        self.topic_names = list(topics)
        self.react = react
        self.commands = commands
        self.now = now
        self.member: Membership | None = None
        self.handled = 0
        self.trouble = ""
        self._unsaved: dict[TopicPartition, int] = {}
        self._passed = 0

    def open(self) -> None:
        """Join the group; a group without positions starts at the beginning of each partition."""
        known = self.log.topics()
        first: dict[TopicPartition, int] = {}
        for name in self.topic_names:
            for number in range(known[name].partitions):
                tp = TopicPartition(name, number)
                if self.log.position(self.group, tp) is None:
                    first[tp] = self.log.begin(tp)
        if first:
            self.log.set_positions(self.group, first)
        self.member = self.log.join(self.group, self.topic_names)

    def step(self, wait: float = 0.0) -> int:
        """Handle one batch; returns how many records.

        Positions of records that caused nothing are saved with the next that do, after PASSED_MAX of
        them, or at rest: to read them again after a crash costs nothing but the reading.
        """
        assert self.member is not None, "open the reactor first"
        for change in self.member.poll():
            if isinstance(change, Revoked):
                self._save()
                self.member.settled(change)
            elif isinstance(change, Assigned):
                continue
        batch = self.log.read(self.member, BATCH_RECORDS_MAX, wait)
        if batch.count == 0:
            if wait > 0:
                self._save()
            return 0
        outgoing: list[Outgoing] = []
        try:
            for records in batch.records.values():
                for record in records:
                    outgoing += self.react(record)
            self.commands.append(outgoing, self.now())
        except Unavailable as trouble:
            self.trouble = trouble.message
            for tp, records in batch.records.items():
                self.member.seek(tp, records[0].offset)
            raise
        self.trouble = ""
        self._unsaved |= {tp: records[-1].offset + 1 for tp, records in batch.records.items()}
        self._passed += batch.count
        if outgoing or self._passed >= PASSED_MAX:
            self._save()
        self.handled += batch.count
        return batch.count

    def _save(self) -> None:
        if self._unsaved:
            self.log.set_positions(self.group, self._unsaved)
        self._unsaved, self._passed = {}, 0

    def lag(self) -> int:
        """Return how many offsets the group is behind."""
        known = self.log.topics()
        behind = 0
        for name in self.topic_names:
            for number in range(known[name].partitions):
                tp = TopicPartition(name, number)
                position = self._unsaved.get(tp, self.log.position(self.group, tp) or 0)
                if next(iter(self.log.scan(tp, position, None, 1)), None) is not None:
                    behind += max(0, self.log.end(tp) - position)
        return behind

    def close(self) -> None:
        """Leave the group."""
        if self.member is not None:
            with suppress(Unavailable):  # what is not saved is read again, and causes nothing
                self._save()
            self.member.close()
            self.member = None
