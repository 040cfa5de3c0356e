"""Reactors follow topics and answer facts with commands or effects; they never decide.

They use no transaction: output ids depend only on the input, all outputs are acknowledged before the
position is committed, and the owner drops what it has seen before (rule 16). A record on which a
reaction fails is forwarded as `UnreadableInput`, so that it ends as a dead letter and blocks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from usance.engine.logs import logger, record_fields
from usance.engine.telemetry import TRACEPARENT, Telemetry
from usance.engine.topics import Topics
from usance.kernel.authority import GLASS
from usance.kernel.decider import Actor, key_of
from usance.kernel.errors import Fenced, Refused, Tampered, Unavailable, Unreadable
from usance.kernel.ids import derived
from usance.log.contract import (
    RECORD_BYTES_MAX,
    UNIT_BYTES_MAX,
    UNIT_RECORDS_MAX,
    Batch,
    Log,
    Lost,
    Membership,
    Output,
    Record,
    Revoked,
    TopicPartition,
    header,
)
from usance.messages.outcome import UnreadableInput

BATCH_RECORDS_MAX = 500
PASSED_MAX = 1_000
"""Records that caused no command, after which positions are saved all the same."""
COMMAND_BYTES_MAX = RECORD_BYTES_MAX - 512 * 1024
"""Bytes of a command that still fit into a record when they are parked or dead-lettered (rule 9)."""
APPEND_RECORDS_MAX, APPEND_BYTES_MAX = UNIT_RECORDS_MAX // 2, UNIT_BYTES_MAX // 2

_log = logger("reactor")


class Outgoing(NamedTuple):
    """A command to be appended: target key, message, id, and where it comes from."""

    key: str
    command: Any
    id: str
    causation: str
    correlation: str = ""
    actor: Actor = Actor("engine", "", "system")
    instant: int | None = None
    trace: bytes | None = None
    """The `traceparent` of what caused it."""


class Commands:
    """Encodes commands and appends them to the right partitions; acknowledged on return.

    `reply` is the partition of the replies topic where this process waits for outcomes, if it does.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        encoder: Any,
        *,
        book_clock: bool,
        reply: int | None = None,
    ) -> None:
        self.log = log
        self.topics = topics
        self.encoder = encoder
        self.book_clock = book_clock
        self.reply = reply

    def output(self, outgoing: Outgoing, at: int) -> Output:
        """Return a command as a record; `at` (ms UTC) is its `ce_time`.

        Raises Unreadable for a command that cannot be written, or is too large to be parked.
        """
        act = type(outgoing.command).__name__
        if outgoing.actor.role == GLASS and act != "UseGlass":
            raise Refused(
                "GLASS_NOT_BROKEN",
                f"{act} in the role {GLASS} goes by way of the broken glass",
                hint="Break it first, with a reason: usance glass break",
            )
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
            reply=self.reply,
            traceparent=outgoing.trace,
        )
        topic = self.topics.name(place.context, "commands")
        made = Output(topic, place.partition, key, value, headers)
        if _size(made) > COMMAND_BYTES_MAX:
            raise Unreadable("serialize", "the command is too large", hint="Split it.")
        return made

    def append(self, outgoing: Sequence[Outgoing], at: int) -> None:
        """Append commands in order; all are durable on return, a part of them may be on an error."""
        self.write([self.output(o, at) for o in outgoing])

    def write(self, outputs: Sequence[Output]) -> None:
        """Append what `output` made, in portions that the log's bounds allow."""
        self.encoder.keep_keys()
        portion: list[Output] = []
        size = 0
        for output in outputs:
            more = _size(output)
            if portion and (len(portion) == APPEND_RECORDS_MAX or size + more > APPEND_BYTES_MAX):
                self.log.append(portion)
                portion, size = [], 0
            portion.append(output)
            size += more
        if portion:
            self.log.append(portion)


def _size(output: Output) -> int:
    headers = output.headers
    held = len(headers) if isinstance(headers, bytes) else sum(len(v) + 32 for _, v in headers)
    return len(output.key or b"") + len(output.value or b"") + held


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
        telemetry: Telemetry | None = None,
        partitions: int = 0,
    ) -> None:
        self.group = group
        self.partitions = partitions
        """How many each topic has; 0: the log is asked."""
        self.telemetry = telemetry or Telemetry(enabled=False)
        self.log = log
        self.topic_names = list(topics)
        self.react = react
        self.commands = commands
        self.now = now
        self.member: Membership | None = None
        self.handled = 0
        self.trouble = ""
        self.with_keys: Callable[[Iterable[Record]], Iterable[Record]] = lambda records: records
        """Yields records with the data keys that they need at hand, where there are any."""
        self._unsaved: dict[TopicPartition, int] = {}
        self._passed = 0

    def open(self) -> None:
        """Join the group; a group without positions starts at the beginning of each partition."""
        count = self.partitions
        known = {} if count else self.log.topics()
        places = [
            TopicPartition(t, n)
            for t in self.topic_names
            for n in range(count or known[t].partitions)
        ]
        positions = self.log.positions(self.group, places)
        if missing := [tp for tp in places if tp not in positions]:
            self.log.set_positions(self.group, self.log.begins(missing))
        self.member = self.log.join(self.group, self.topic_names)

    def step(self, wait: float = 0.0) -> int:
        """Handle one batch; returns how many records.

        Positions of records that caused nothing are saved with the next that do, after PASSED_MAX of
        them, or at rest: to read them again after a crash costs nothing but the reading.
        """
        assert self.member is not None, "open the reactor first"
        for change in self.member.poll():
            if isinstance(change, Revoked):
                with suppress(Unavailable):  # the next member reads it again, which causes nothing
                    self._save()
                self._forget(change.partitions)
                self.member.settled(change)
            elif isinstance(change, Lost):
                self._forget(change.partitions)
        batch = self.log.read(self.member, BATCH_RECORDS_MAX, wait)
        if batch.count == 0:
            if wait > 0:
                self._save()
            return 0
        try:
            with self.telemetry.poll_span(batch):
                caused = self._caused(batch)
                self.commands.write(caused)
        except Exception as trouble:
            self.trouble = getattr(trouble, "message", type(trouble).__name__)
            for tp, records in batch.records.items():
                self.member.seek(tp, records[0].offset)
            raise
        self.trouble = ""
        self._unsaved |= {tp: records[-1].offset + 1 for tp, records in batch.records.items()}
        self._passed += batch.count
        if caused or self._passed >= PASSED_MAX:
            self._save()
        self.handled += batch.count
        return batch.count

    def _caused(self, batch: Batch) -> list[Output]:
        now, caused = self.now(), []
        for records in batch.records.values():
            for record in self.with_keys(records):
                # A record that cannot be read now may be after an upgrade: it waits, in sight.
                try:
                    caused += self._commands_of(record, now)
                except (Unavailable, Fenced, Tampered, Unreadable):
                    raise
                except Exception as bug:  # noqa: BLE001  one fact must not hold up all others
                    caused.append(self._given_up(record, bug, now))
        return caused

    def _commands_of(self, record: Record, now: int) -> list[Output]:
        if self.telemetry.tracing:
            with self.telemetry.process_span(record):
                found = self.react(record)
        else:
            found = self.react(record)
        trace = header(record.headers, TRACEPARENT) if found else None
        if trace is not None:
            found = [o._replace(trace=o.trace or trace) for o in found]
        try:
            return [self.commands.output(o, now) for o in found]
        except Unreadable as unwritable:
            return [self._given_up(record, unwritable, now)]

    def _given_up(self, record: Record, why: Exception, now: int) -> Output:
        """Return the command by which a record that no reaction could handle is dead-lettered.

        Only input keeps its bytes: of a record of our own its place is enough, and says nothing of
        one context in the dead letters of another.
        """
        kind = type(why).__name__
        _log.exception("part_failed", error_type=kind, **record_fields(record))
        where = f"{record.topic}/{record.partition}/{record.offset}"
        intake = record.topic.endswith(".intake")
        restricted = self.commands.topics.context_of(record.topic) == "compliance"
        key = (record.key or b"").decode("utf-8", "replace")
        tenant = key.split("/", 1)[0] if key.count("/") > 1 else ""
        command_id = derived(f"{self.group}/{where}", "failed")
        outgoing = Outgoing(
            key_of(tenant, "case" if restricted else "unreadable", command_id),
            UnreadableInput(
                received=(record.value or b"") if intake else where.encode(),
                stage=why.stage if isinstance(why, Unreadable) else "external",
                reason=f"{self.group} failed on it: {kind}",
                source=where,
            ),
            command_id,
            f"intake:{where}" if intake else f"failed:{where}",
        )
        return self.commands.output(outgoing, now)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Leave the positions of partitions to whoever reads them now."""
        for partition in partitions:
            self._unsaved.pop(partition, None)

    def _save(self) -> None:
        if self._unsaved:
            self.log.set_positions(self.group, self._unsaved)
        self._unsaved, self._passed = {}, 0

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offsets of the partitions that are ours."""
        owned = self.member.owned() if self.member is not None else ()
        saved = self.log.positions(self.group, owned) if owned else {}
        return {tp: self._unsaved.get(tp, saved.get(tp, 0)) for tp in owned}

    def lag(self) -> int:
        """Return how many offsets the group is behind."""
        count = self.partitions
        known = {} if count else self.log.topics()
        places = [
            TopicPartition(t, n)
            for t in self.topic_names
            for n in range(count or known[t].partitions)
        ]
        saved, ends = self.log.positions(self.group, places), self.log.ends(places)
        behind = 0
        for tp, end in ends.items():
            position = self._unsaved.get(tp, saved.get(tp, 0))
            if position < end and next(iter(self.log.scan(tp, position, end, 1)), None) is not None:
                behind += end - position
        return behind

    def close(self) -> None:
        """Leave the group."""
        if self.member is not None:
            with suppress(Unavailable):  # what is not saved is read again, and causes nothing
                self._save()
            self.member.close()
            self.member = None
