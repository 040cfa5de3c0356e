"""The owner: the one place where decisions happen.

It reads a batch of commands with its fence, decides in memory on an overlay, stages one unit, and
commits it after the receipt of the unit before (rule 7). While unit n is on its way to the disk, unit n+1
is decided on n's overlay; if n is lost, both are dropped and reading begins again where n began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from usance.engine import attempts, schemas
from usance.engine.caution import Caution
from usance.engine.handling import EvolveBroken, Handling
from usance.engine.snapshots import ROUND_EVENTS, make_round, slice_of
from usance.engine.state import Overlay, PartitionState, Tail
from usance.engine.takeover import Takeover
from usance.engine.telemetry import Telemetry
from usance.engine.topics import Place, Topics
from usance.engine.unit import PartitionUnit, UnitBuilder, World
from usance.kernel.clock import MS_PER_DAY, Clock
from usance.kernel.decider import Actor, Decider, key_parts
from usance.kernel.errors import Fenced, Unavailable, Uncertain, Unreadable
from usance.kernel.ids import derived
from usance.kernel.timers import FireTimer
from usance.log.contract import (
    UNIT_RECORDS_MAX,
    Assigned,
    Batch,
    Log,
    Lost,
    Membership,
    Output,
    Pending,
    Receipt,
    Record,
    Revoked,
    Staged,
    Start,
    TopicPartition,
)
from usance.messages.outcome import Outcome

OWNER_GROUP = "usance-owner"
BATCH_RECORDS_MAX = 500
QUIET_MAX_MS = MS_PER_DAY
OUTPUTS_MAX = UNIT_RECORDS_MAX // 2
"""Outputs after which a unit takes no further command: most commands cause two to five records."""

Waiter = Callable[[list[tuple[str, Outcome]]], None]


class _InFlight(NamedTuple):
    builder: UnitBuilder
    staged: Staged
    pending: Pending


class Owner:
    """Owns partitions of the commands topics and decides them; one `step` is one unit at most."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        encoder: Any,
        decoder: Any,
        deciders: Iterable[Decider[Any]],
        *,
        log_id: str,
        book_clock: bool,
        clock: Clock,
        telemetry: Telemetry | None = None,
        batch_max: int = BATCH_RECORDS_MAX,
        on_outcomes: Waiter | None = None,
        awaits_intake: bool = False,
    ) -> None:
        self.log = log
        self.topics = topics
        self.clock = clock
        self.deciders: Mapping[str, Decider[Any]] = {d.category: d for d in deciders}
        own = decoder.splicing()
        encoder.splices = own.splices
        self.world = World(log_id, topics, encoder, own, self.deciders, book_clock, self._parked)
        self.telemetry = telemetry or Telemetry(enabled=False)
        self.batch_max = batch_max
        self.on_outcomes = on_outcomes
        self.awaits_intake = awaits_intake
        self._deadline_waits = False
        self.takeover = Takeover(log, topics, decoder, self.deciders, log_id, OWNER_GROUP)
        self.member: Membership | None = None
        self.states: dict[Place, PartitionState] = {}
        self.positions: dict[Place, int] = {}
        self.receipt: Receipt | Start | None = None
        self.flight: _InFlight | None = None
        self.building: UnitBuilder | None = None
        self.paused: dict[Place, str] = {}
        self.cautions: dict[Place, Caution] = {}
        self.uncertain = False
        self.dirty: dict[Place, dict[str, None]] = {}
        self.since_round: Counter[Place] = Counter()
        self.rounds: Counter[Place] = Counter()
        self.restored: dict[Place, tuple[int, int]] = {}
        self.bases: set[Place] = set()
        self.restarts: dict[Place, tuple[int, Tail]] = {}
        self.footed: dict[Place, int] = {}
        self.units = 0
        self.decided = 0

    # -- life

    def open(self) -> None:
        """Join the group and take over what is assigned."""
        self.member = self.log.join(OWNER_GROUP, self.topics.commands())
        self.receipt = self.log.start(self.member)
        self._membership()

    def step(self, wait: float = 0.0) -> int:
        """Do one unit of work; returns how many commands, timers or commits were handled."""
        assert self.member is not None, "open the owner first"
        if self.uncertain:
            self._retake()
        try:
            return self._step(wait)
        finally:
            self.building = None

    def _step(self, wait: float) -> int:
        assert self.member is not None
        self._membership()
        self._rounds()
        fired = self._fire_due()
        limit = 1 if any(c.left for c in self.cautions.values()) else self.batch_max
        batch = self.log.read(self.member, limit, 0.0 if self.flight or fired else wait)
        if batch.count == 0:
            return fired + self._settle() + self._daily()
        if not self._journal(batch):
            return 1
        try:
            builder = self._decide(batch)
        except _UnitLost:
            return 1
        except EvolveBroken as broken:
            self._settled()
            self._pause(broken.place, str(broken))
            self._rewind()
            return 1
        self._commit(builder)
        return fired + batch.count

    def _daily(self) -> int:
        """Write a footer-only unit for partitions quiet for a day: the newest footer never expires."""
        due = self.clock.now() - QUIET_MAX_MS
        quiet = [
            p for p, s in self.states.items() if s.scalars and 0 < s.scalars.last_instant < due
        ]
        quiet = [p for p in quiet if self.footed.get(p, 0) < due]
        if not quiet or self.flight is not None:
            return 0
        builder = self._bare_unit()
        for place in quiet:
            share = builder.share(place, self.states[place], self.positions[place])
            self.footed[place] = self.clock.now()
            if not self.world.book_clock:
                share.instant = max(share.instant, self.clock.now())
        self._commit(builder)
        return 1

    def settle(self) -> int:
        """Wait until the unit under way is durable; returns how many commands it carried."""
        return self._settle()

    def idle(self) -> bool:
        """Tell whether nothing is under way, due or waiting to be read."""
        if self.flight is not None or self._due():
            return False
        return all(self.log.end(self._commands(p)) <= self._read_to(p) for p in self.states)

    def close(self, *, clean: bool = True) -> None:
        """Settle what is under way, write a last snapshot round and the release record, leave."""
        if self.member is None:
            return
        self._settle()
        if clean and not self.uncertain:
            for place in self.states:
                while self.dirty.get(place) and self._round(place):
                    pass
            self.log.append([attempts.release(self.topics, p) for p in self.states])
        self.member.close()
        self.member = None

    def _commands(self, place: Place) -> TopicPartition:
        return self.topics.at(place.context, "commands", place.partition)

    def _read_to(self, place: Place) -> int:
        """Return the offset after which everything read was decided, gaps of markers included."""
        committed = self.positions[place]
        end = self.log.end(self._commands(place))
        tp = self._commands(place)
        if committed < end and next(iter(self.log.scan(tp, committed, end, 1)), None) is None:
            return end
        return committed

    # -- membership (rule 11)

    def _membership(self) -> None:
        assert self.member is not None
        for change in self.member.poll():
            places = [self._place(tp) for tp in change.partitions]
            match change:
                case Assigned():
                    for place in places:
                        self._take(place)
                case Revoked():
                    with suppress(Unavailable):  # the next owner reads in the log what happened
                        self._settle()
                    self._drop(places)
                    self.member.settled(change)
                case Lost():
                    self._abandon()
                    self._drop(places)

    def _place(self, tp: TopicPartition) -> Place:
        return Place(self.topics.context_of(tp.topic), tp.partition)

    def _take(self, place: Place) -> None:
        self._restore(place)
        self.cautions[place] = Caution()
        suspect = attempts.take(self.log, self.topics, place)
        if suspect is not None:
            self.cautions[place].after_crash(suspect, self.batch_max)

    def _restore(self, place: Place) -> None:
        assert self.member is not None
        restored = self.takeover.restore(place)
        self.states[place] = restored.state
        self.positions[place] = restored.position
        self.restored[place] = (restored.events_read, restored.from_snapshot)
        self.dirty[place] = {}
        self.since_round[place] = 0
        self.rounds[place] = restored.rounds
        self.restarts[place] = restored.restart
        if not restored.from_snapshot:
            self.bases.add(place)
            self.dirty[place] = dict.fromkeys(restored.state.entries)
        self.member.seek(self._commands(place), restored.position)

    def _drop(self, places: Iterable[Place]) -> None:
        for place in places:
            self.states.pop(place, None)
            self.positions.pop(place, None)
            self.cautions.pop(place, None)

    # -- deciding

    def _decide(self, batch: Batch) -> UnitBuilder:
        assert self.member is not None
        builder = self.building = UnitBuilder(self.world, batch.fence, batch)
        self.world.decoder.splices.clear()
        with self.telemetry.poll_span(batch):
            for tp, records in batch.records.items():
                place = self._place(tp)
                share = builder.share(place, self._below(place), self._start(place))
                taken = self._decide_run(place, share, records)
                if taken < len(records):
                    self.member.seek(tp, records[taken].offset)
        return builder

    def _decide_run(self, place: Place, share: PartitionUnit, records: list[Record]) -> int:
        """Decide commands of one partition in order; returns how many of them the unit takes."""
        handling = Handling(share)
        outputs, caution = share.outputs, self.cautions[place]
        for taken, record in enumerate(records):
            if len(outputs) >= OUTPUTS_MAX:
                return taken
            aside = caution.set_aside(record.offset)
            if aside is not None:
                handling.quarantine(record, *aside)
                continue
            failed = handling.handle(record)
            stop = caution.failed(failed, record) if failed is not None else ""
            if stop:
                self._pause(place, stop)
                return taken + 1
        return len(records)

    def _below(self, place: Place) -> Overlay | PartitionState:
        if self.flight is not None:
            share = self.flight.builder.shares.get(place)
            if share is not None:
                return share.overlay
        return self.states[place]

    def _start(self, place: Place) -> int:
        if self.flight is not None:
            share = self.flight.builder.shares.get(place)
            if share is not None:
                return share.next
        return self.positions[place]

    # -- committing (rule 7)

    def _commit(self, builder: UnitBuilder) -> None:
        try:
            staged = self.log.stage(builder.build())
        except Unreadable as broken:
            self._settled()
            self._rewind()
            self._bisect(builder, broken)
            return
        if not self._settled():
            self.log.abort(staged)
            self._rewind()
            return
        assert self.receipt is not None
        pending = self.log.commit(staged, self.receipt)
        self.flight = _InFlight(builder, staged, pending)

    def _settle(self) -> int:
        """Wait for the unit under way; returns how many commands it carried."""
        if self.flight is None:
            return 0
        count = self.flight.builder.batch_count or 1
        self._settled()
        return count

    def _settled(self) -> bool:
        """Settle the unit under way; False when it was lost and everything is rewound."""
        flight, self.flight = self.flight, None
        if flight is None:
            return True
        try:
            self.receipt = flight.pending.result()
        except Uncertain:
            self.uncertain = True
            self._retake()
            return False
        except Unavailable:
            self.log.abort(flight.staged)
            self._rewind()
            return False
        self._publish(flight.builder)
        return True

    def _publish(self, builder: UnitBuilder) -> None:
        """Take over a committed unit; the one being built stands on the state from now on."""
        answers: list[tuple[str, Outcome]] = []
        above = self.building.shares if self.building is not None else {}
        for place, share in builder.shares.items():
            state = self.states[place]
            state.fold(share.overlay)
            self.positions[place] = share.next
            self.decided += share.counts["outcomes"]
            if share.overlay.entries:
                self.dirty[place].update(dict.fromkeys(share.overlay.entries))
                self.since_round[place] += share.counts["events"]
            if place in above:
                above[place].overlay.below = state
            answers += share.answers
        self.units += 1
        if self.on_outcomes is not None and answers:
            self.on_outcomes(answers)

    def _retake(self) -> None:
        """Take the take-over path after an uncertain commit: the log itself says what happened.

        Raises Unavailable while the log cannot be read; the next step tries again.
        """
        assert self.member is not None
        self.receipt = self.log.start(self.member)
        for place in list(self.states):
            self._restore(place)
        self.uncertain = False

    def _rewind(self) -> None:
        """Read again from where the dropped units began."""
        assert self.member is not None
        for place in self.states:
            self.member.seek(self._commands(place), self.positions[place])

    def _abandon(self) -> None:
        if self.flight is not None:
            flight, self.flight = self.flight, None
            try:
                flight.pending.result()
            except (Fenced, Unavailable):
                self.log.abort(flight.staged)

    def _bisect(self, builder: UnitBuilder, broken: Unreadable) -> None:
        """Find the command whose outputs the log cannot take: decide one at a time (rule 9)."""
        for place, share in builder.shares.items():
            caution, last = self.cautions[place], share.next - 1
            if builder.batch_count > 1:
                caution.left = builder.batch_count
            elif caution.unwritable == last:
                self._pause(place, f"a dead letter cannot be written: {broken.reason}")
            else:
                caution.unwritable = last

    def _pause(self, place: Place, why: str) -> None:
        assert self.member is not None
        self.paused[place] = why
        self.member.pause([self._commands(place)])

    # -- timers (rules 3 and 22)

    def _due(self) -> list[tuple[Place, str, str, int]]:
        """Return due timers, one per partition: the next follows when its fire is on its way."""
        now = self.clock.now()
        found = []
        waits = False
        for place, state in self.states.items():
            first = state.first_due() if place not in self.paused else None
            if first is None or first[0] > now:
                continue
            if self._intake_passed(place, first[0]):
                found.append((place, first[1], first[2], first[0]))
            else:
                waits = True
        self._deadline_waits = waits
        return found

    def _intake_passed(self, place: Place, due: int) -> bool:
        """Tell whether what arrived before a deadline has been forwarded (rule 22)."""
        if not self.awaits_intake or place.context != "trade":
            return True
        passed = self.states[place].passed
        return bool(passed) and min(passed.values()) >= due

    def deadline_waits(self) -> bool:
        """Tell whether a due timer waited for intake when the owner last looked; any thread may ask."""
        return self._deadline_waits

    def next_due(self) -> int | None:
        """Return the earliest due instant of any pending timer whose fire is not yet sent."""
        firsts = (state.first_due() for state in self.states.values())
        return min((first[0] for first in firsts if first is not None), default=None)

    def _fire_due(self) -> int:
        """Send fire commands for due timers through the partition's own commands."""
        due = self._due()
        if not due:
            return 0
        self._settle()
        builder = self._bare_unit()
        now = self.clock.now()
        for place, key, timer_id, instant in due:
            share = builder.share(place, self.states[place], self.positions[place])
            command_id = derived(key, "fire", timer_id, instant, share.before.unit)
            key_bytes, value, headers = self.world.encoder.command(
                FireTimer(timer_id=timer_id, due=instant),
                key=key,
                command_id=command_id,
                tenant=key_parts(key).tenant,
                actor=Actor("engine", "", "system"),
                correlation=command_id,
                causation=f"timer:{key}",
                instant=max(instant, now) if self.world.book_clock else None,
                at=now,
            )
            output = Output(share.names["commands"], place.partition, key_bytes, value, headers)
            share.merge("elsewhere", [output])
            share.overlay.fired[(key, timer_id)] = instant
        self._commit(builder)
        self._settle()
        return len(due)

    # -- process killers and breakers

    def _journal(self, batch: Batch) -> bool:
        """After an unclean end, note each record before deciding it (rule 15).

        False when the unit before was lost meanwhile: the batch is to be read again.
        """
        for tp, records in batch.records.items():
            place = self._place(tp)
            caution = self.cautions[place]
            if not caution.left:
                continue
            if caution.journaled:
                if not self._settled():
                    return False
                attempt = attempts.Attempt(records[0].offset, caution.begun(records[0].offset) + 1)
                if attempt.begun <= attempts.DEATHS_MAX:
                    self.log.append([attempts.note(self.topics, place, attempt)])
            caution.took_one()
        return True

    def resume(self) -> None:
        """Read paused partitions again (after a fix, or on an operator's word)."""
        assert self.member is not None
        self.member.resume([self._commands(p) for p in self.paused])
        self.paused.clear()
        for caution in self.cautions.values():
            caution.resume()

    # -- schemas

    def register(self, events: list[Any]) -> None:
        """Write registry events: the owner of system partition 0 is the one writer of `schemas`."""
        place = Place("system", 0)
        if not events or place not in self.states:
            return
        self._settle()
        builder = self._bare_unit()
        builder.share(place, self.states[place], self.positions[place])
        schemas.stage(builder, self.log, self.topics, events, self.clock.now())
        self._commit(builder)
        self._settle()

    # -- snapshots (rule 6)

    def _rounds(self) -> None:
        """Write a slice for each partition that has enough new events."""
        for place in list(self.states):
            if self.since_round[place] >= ROUND_EVENTS:
                self._round(place)

    def _round(self, place: Place) -> bool:
        """Write one slice of a snapshot round; the restart offset moves when nothing is left over.

        False when the log did not take it: the next round begins anew with everything.
        """
        self._settle()
        state, dirty = self.states[place], self.dirty[place]
        assert state.scalars is not None
        snapshots = slice_of(dirty, state.entries, self.deciders)
        if len(snapshots) == len(dirty):
            end = self.log.end(self.topics.at(place.context, "events", place.partition))
            self.restarts[place] = (end, state.tails["events"])
        self.rounds[place] += 1
        records = make_round(
            self.rounds[place],
            place in self.bases,
            self.restarts[place],
            state.scalars.unit,
            snapshots,
        )
        builder = self._bare_unit()
        share = builder.share(place, state, self.positions[place])
        topic = share.names["snapshots"]
        share.merge("elsewhere", [Output(topic, place.partition, k, v) for k, v in records])
        self._commit(builder)
        if self.flight is None or not self._settled():
            self.bases.add(place)
            self.dirty[place] = dict.fromkeys(self.states[place].entries)
            self.since_round[place] = 0
            return False
        self.bases.discard(place)
        for snapshot in snapshots:
            del dirty[snapshot.key]
        self.since_round[place] = ROUND_EVENTS if dirty else 0
        return True

    def _bare_unit(self) -> UnitBuilder:
        """Return a unit without new input: it commits the present positions again (rule 3)."""
        assert self.member is not None
        batch = self.log.read(self.member, 0, 0.0)
        return UnitBuilder(self.world, batch.fence, batch)

    def _parked(self, place: Place) -> dict[bytes, bytes | None]:
        """Return the committed records of a parked partition, last per key."""
        if not self._settled():
            raise _UnitLost
        tp = self.topics.at(place.context, "parked", place.partition)
        found: dict[bytes, bytes | None] = {}
        for record in self.log.scan(tp, self.log.begin(tp)):
            if record.key is not None:
                found[record.key] = record.value
        return found


class _UnitLost(Exception):
    """The unit before was lost while this one was being decided: both are dropped."""
