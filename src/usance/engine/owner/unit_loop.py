"""From a batch to one unit in the log, again and again: what the owner and every `consume` group do alike.

A batch is read with its fence, handled record by record on an overlay, staged, and committed after the
receipt of the unit before (rule 7). While unit n is on its way to the disk, unit n+1 is handled on
n's overlay; if n is lost, both are dropped and reading begins again where n began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from usance.engine.owner import attempts
from usance.engine.owner.gather import Pace
from usance.engine.owner.rests import Rests
from usance.engine.owner.state import Overlay, PartitionState, StateUnreadable
from usance.engine.owner.taking import Taking
from usance.engine.owner.unit import (
    Halted,
    InFlight,
    PartitionBroken,
    PartitionUnit,
    RecordHandling,
    UnitBuilder,
    UnitLost,
    Waits,
    World,
)
from usance.engine.telemetry import Telemetry
from usance.engine.topics import Place, Topics
from usance.kernel.clock import MS_PER_DAY, Clock
from usance.kernel.errors import Fenced, Unavailable, Uncertain, Unreadable, UsanceError
from usance.log.contract import (
    UNIT_BYTES_MAX,
    UNIT_RECORDS_MAX,
    Assigned,
    Batch,
    Log,
    Lost,
    Receipt,
    Record,
    Revoked,
    Start,
)
from usance.messages.outcome import Outcome

QUIET_MAX_MS = MS_PER_DAY
OUTPUTS_MAX = UNIT_RECORDS_MAX * 3 // 4
"""Outputs after which a unit takes no further record: most records cause two to five."""
VALUES_MAX = UNIT_BYTES_MAX // 2
"""Bytes of values after which it takes none, looked at every WEIGHED outputs: headers come to less."""
WEIGHED = 64


class UnitLoop(Taking):
    """Owns partitions of its input topics; one `step` is one unit at most.

    A subclass says how a record is handled (`_handling`), what is to be done before more is read
    (`_before`), and sets `world` and `takeover`.
    """

    spans_records = False
    """Whether the loop gives each sampled record a span of its own; a handling may do it itself."""

    world: World

    def __init__(
        self,
        log: Log,
        topics: Topics,
        group: str,
        inputs: list[str],
        *,
        clock: Clock,
        telemetry: Telemetry | None,
        batch_max: int,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(log, topics, clock, batch_max)
        self.group = group
        self.inputs = inputs
        self.telemetry = telemetry or Telemetry(enabled=False)
        self.pace = pace
        self.receipt: Receipt | Start | None = None
        self.flight: InFlight | None = None
        self.building: UnitBuilder | None = None
        self.rests = Rests()
        self.uncertain = False
        self._asked = 0.0
        self.footed: dict[Place, int] = {}
        self.units = 0
        self.decided = 0

    # -- what differs

    def _handling(self, share: PartitionUnit) -> RecordHandling:
        """Return what handles the records of a share."""
        raise NotImplementedError

    def _before(self) -> int:
        """Do what comes before reading more; returns how much was done."""
        return 0

    def _ahead(self, batch: Batch) -> None:
        """Fetch what the records of a batch will need, before any of them is handled."""

    def _published(self, place: Place, share: PartitionUnit) -> None:
        """Take note of a partition's share of a unit that is durable."""

    def _answered(self, answers: list[tuple[str, Outcome]]) -> None:
        """Tell those who wait for outcomes."""

    # -- life

    def open(self) -> None:
        """Join the group and take over what is assigned."""
        self.member = self.log.join(self.group, self.inputs)
        self.receipt = self.log.start(self.member)
        self._membership()

    def step(self, wait: float = 0.0) -> int:
        """Do one unit of work; returns how many records, timers or commits were handled."""
        assert self.member is not None, "open it first"
        if self.uncertain:
            self._retake()
        try:
            return self._step(wait)
        except BaseException:
            self._again()
            raise
        finally:
            self.building = None

    def _step(self, wait: float) -> int:
        assert self.member is not None
        self._membership()
        if self.rests.any():
            self.try_again(self.clock.monotonic())
        try:
            done = self._before()
        except UnitLost:
            return 1
        limit = 1 if any(c.left for c in self.cautions.values()) else self.batch_max
        batch = self._read(limit, 0.0 if self.flight or done else wait)
        if batch.count == 0:
            return done + self._settle() + self._daily()
        if not self._journal(batch):
            return 1
        try:
            builder = self._decide(batch)
        except UnitLost:
            return 1
        except PartitionBroken as broken:
            self._settled()
            self._pause(broken.place, str(broken))
            self._rewind()
            return 1
        except StateUnreadable:
            self._settled()
            self._distrust([self.topics.place_of(tp) for tp in batch.records])
            return 1
        if builder.empty:  # all of it waits
            return done + self._settle()
        self._commit(builder)
        return done + batch.count

    def try_again(self, now: float = float("inf")) -> None:
        """Read partitions again that wait by themselves: all, or those that are due `now`."""
        for place in self.rests.due(now):
            if self.paused.pop(place, None) is not None and self.member is not None:
                self.member.resume([self.topics.input(place)])

    def _read(self, limit: int, wait: float) -> Batch:
        """Read a batch; where commits queue, let records gather first.

        At a low rate the unit before is let through first: else what is read now would stand ready and wait, and
        what comes meanwhile would wait for two units.
        """
        assert self.member is not None
        pace = self.pace
        if pace is None:
            return self.log.read(self.member, limit, wait)
        if self.flight is not None:
            self.flight.pending.written(pace.hold())
        pause = pace.pause(self.clock.monotonic())
        if pause > 0.0:
            self.clock.sleep(pause)
        batch = self.log.read(self.member, limit, wait)
        pace.read(batch.count, self.clock.monotonic())
        return batch

    def _again(self) -> None:
        """Read what was under way again at the next step: an error must never pass a record."""
        with suppress(UsanceError):
            self._settled()
        with suppress(UsanceError):
            self._rewind()

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
        """Wait until the unit under way is durable; returns how many records it carried."""
        return self._settle()

    def idle(self) -> bool:
        """Tell whether nothing is under way or waiting to be read."""
        if self.flight is not None or self.untaken:
            return False
        ends = self.log.ends([self.topics.input(p) for p in self.states])
        return all(
            ends[self.topics.input(p)] <= self._read_to(p, ends[self.topics.input(p)])
            for p in self.states
        )

    def close(self, *, clean: bool = True) -> None:
        """Settle what is under way, write the release record, leave."""
        if self.member is None:
            return
        self._settle()
        ours = self.member.owned()  # of what was lost meanwhile another one says how it ended
        self._drop([p for p in self.states if self.topics.input(p) not in ours])
        if clean and not self.uncertain:
            self._leaving()
            self.log.append([attempts.release(self.topics, p) for p in self.states])
        self.member.close()
        self.member = None

    def _leaving(self) -> None:
        """Do what comes before a clean end."""

    def _read_to(self, place: Place, end: int) -> int:
        """Return the offset after which everything read was decided, gaps of markers included."""
        committed = self.positions[place]
        tp = self.topics.input(place)
        if committed < end and next(iter(self.log.scan(tp, committed, end, 1)), None) is None:
            return end
        return committed

    # -- membership (rule 11)

    def _membership(self) -> None:
        """Follow the group; raises Unavailable while a new partition cannot be restored yet.

        What is assigned is told once: it waits in `untaken` until it is restored, unread.
        Partitions that are restored go on meanwhile.
        """
        assert self.member is not None
        for change in self.member.poll():
            places = [self.topics.place_of(tp) for tp in change.partitions]
            match change:
                case Assigned():
                    self.untaken |= dict.fromkeys(places, 0.0)
                    self.member.pause(change.partitions)
                case Revoked():
                    with suppress(Unavailable, Uncertain):  # the next owner reads what happened
                        self._hand_over(places)
                    self._drop(places)
                    self.member.settled(change)
                case Lost():
                    self._abandon()
                    self._drop(places)
        if self.uncertain:
            self._retake()
        self._take_due()

    def _hand_over(self, places: Iterable[Place]) -> None:
        """Settle, and say of partitions that were trusted that they were left in order (rule 15).

        Without that word the next owner would take whole batches of them one record at a time.
        """
        self._settle()
        taken = [p for p in places if p in self.cautions and p not in self.untaken]
        trusted = [p for p in taken if not self.cautions[p].left]
        if not self.uncertain:
            self.log.append([attempts.release(self.topics, p) for p in trusted])

    def _distrust(self, places: Iterable[Place]) -> None:
        """Restore from the events alone, and read again: a snapshot's state does not open."""
        for place in places:
            self.takeover.doubted.add(place)
            self._restore(place)
        self._rewind()

    def _drop(self, places: Iterable[Place]) -> None:
        gone = set(places)
        for place in gone:
            self.untaken.pop(place, None)
            if self.rests.holds(place):
                self.rests.over(place)
                self.paused.pop(place, None)
            self.states.pop(place, None)
            self.positions.pop(place, None)
            self.cautions.pop(place, None)

    # -- deciding

    def _decide(self, batch: Batch) -> UnitBuilder:
        assert self.member is not None
        builder = self.building = UnitBuilder(self.world, batch.fence, batch)
        self.world.decoder.splices.clear()
        self._ahead(batch)
        with self.telemetry.poll_span(batch):
            for tp, records in batch.records.items():
                place = self.topics.place_of(tp)
                share = builder.share(place, self._below(place), self._start(place))
                taken = self._decide_run(place, share, records)
                if taken < len(records):
                    self.member.seek(tp, records[taken].offset)
                elif self.rests.any():
                    self.rests.over(place)
                if not taken:
                    del builder.shares[place]
        return builder

    def _fills(self, share: PartitionUnit) -> Callable[[], bool]:
        """Return what tells whether the unit, to which a share adds outputs, takes no further record.

        All shares count: a unit over the log's bounds would be taken apart record by record.
        """
        assert self.building is not None
        others = [other for other in self.building.shares.values() if other is not share]
        most = OUTPUTS_MAX - sum([len(other.outputs) for other in others])
        left = VALUES_MAX - sum([other.weigh() for other in others])
        outputs = share.outputs

        def full() -> bool:
            made = len(outputs)
            if made - share.weighed >= WEIGHED:
                share.weigh()
            return made >= most or share.weight >= left

        return full

    def _decide_run(self, place: Place, share: PartitionUnit, records: list[Record]) -> int:
        """Handle records of one partition in order; returns how many of them the unit takes."""
        handling = self._handling(share)
        caution = self.cautions[place]
        watched = caution.watches()
        tracing = self.spans_records and self.telemetry.tracing
        began = self.clock.monotonic()
        full = self._fills(share)
        for taken, record in enumerate(records):
            if full():
                return taken
            before = share.next
            aside = caution.set_aside(record.offset) if watched else None
            try:
                if aside is not None:
                    handling.quarantine(record, *aside)
                    continue
                if tracing:
                    with self.telemetry.process_span(record):
                        failed = handling.handle(record)
                else:
                    failed = handling.handle(record)
            except Halted as halt:
                share.next = before
                self._pause(place, str(halt))
                if isinstance(halt, Waits):
                    now = self.clock.monotonic()
                    self.rests.wait(place, now, now - began)
                return taken
            if failed is None:
                caution.went_well()
                continue
            stop = caution.failed(failed, record)
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
            self.telemetry.record("usance.units_aborted", 1, {"reason": "unwritable"})
            self._settled()
            self._rewind()
            self._bisect(builder, broken)
            return
        before = self.flight
        if not self._landed():
            self.telemetry.record("usance.units_aborted", 1, {"reason": "followed a lost one"})
            self.log.abort(staged)
            self._rewind()
            return
        assert self.receipt is not None
        self._asked = self.telemetry.clock.monotonic() if self.telemetry.metering else 0.0
        if self.pace is not None:
            self.pace.asked(self.clock.monotonic())
        try:
            pending = self.log.commit(staged, self.receipt)
            self.flight = InFlight(builder, staged, pending)
        finally:
            if (
                before is not None
            ):  # while the new one is written: a log that waits for it would be idle
                self._publish(before.builder)

    def _settle(self) -> int:
        """Wait for the unit under way; returns how many records it carried."""
        if self.flight is None:
            return 0
        count = self.flight.builder.batch_count or 1
        self._settled()
        return count

    def _settled(self) -> bool:
        """Settle the unit under way; False when it was lost and everything is rewound."""
        flight = self.flight
        if not self._landed():
            return False
        if flight is not None:
            self._publish(flight.builder)
        return True

    def _landed(self) -> bool:
        """Wait for the unit under way, whose state is yet to be published; False when it was lost."""
        flight, self.flight = self.flight, None
        if flight is None:
            return True
        try:
            self.receipt = flight.pending.result()
        except Uncertain:
            self.uncertain = True
            self.telemetry.record("usance.units_aborted", 1, {"reason": "uncertain"})
            self._retake()
            return False
        except Unavailable:
            self.telemetry.record("usance.units_aborted", 1, {"reason": "unavailable"})
            self.log.abort(flight.staged)
            self._rewind()
            return False
        except Unreadable as broken:
            self.telemetry.record("usance.units_aborted", 1, {"reason": "unwritable"})
            self.log.abort(flight.staged)
            self._rewind()
            self._bisect(flight.builder, broken)
            return False
        self.telemetry.committed(self._asked)
        if self.pace is not None:
            self.pace.committed(self.clock.monotonic())
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
            self._published(place, share)
            if place in above:
                above[place].overlay.below = state
            answers += share.answers
        self.units += 1
        if answers:
            self._answered(answers)

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
            self.member.seek(self.topics.input(place), self.positions[place])

    def _abandon(self) -> None:
        """Learn what became of the unit under way; what is kept of its partitions stands on that."""
        flight, self.flight = self.flight, None
        if flight is None:
            return
        try:
            self.receipt = flight.pending.result()
        except Uncertain:
            self.uncertain = True
        except (Fenced, Unavailable, Unreadable):
            self.log.abort(flight.staged)
        else:
            self._publish(flight.builder)

    def _bisect(self, builder: UnitBuilder, broken: Unreadable) -> None:
        """Find the record whose outputs the log cannot take: handle one at a time (rule 9)."""
        for place, share in builder.shares.items():
            caution, last = self.cautions[place], share.next - 1
            if not builder.batch_count:  # no command caused it
                self._pause(place, f"what its owner is to write cannot be written: {broken.reason}")
            elif builder.batch_count > 1:
                caution.left = builder.batch_count
            elif caution.unwritable == last:
                self._pause(place, f"a dead letter cannot be written: {broken.reason}")
            else:
                caution.unwritable = last

    def _pause(self, place: Place, why: str) -> None:
        assert self.member is not None
        self.paused[place] = why
        self.member.pause([self.topics.input(place)])

    # -- process killers and breakers

    def _journal(self, batch: Batch) -> bool:
        """After an unclean end, note each record before handling it (rule 15).

        False when the unit before was lost meanwhile: the batch is to be read again.
        """
        for tp, records in batch.records.items():
            place = self.topics.place_of(tp)
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
        self.member.resume([self.topics.input(p) for p in self.paused])
        self.paused.clear()
        for caution in self.cautions.values():
            caution.resume()

    # -- units without input, and what is parked

    def _bare_unit(self) -> UnitBuilder:
        """Return a unit without new input: it commits the present positions again (rule 3)."""
        assert self.member is not None
        batch = self.log.read(self.member, 0, 0.0)
        return UnitBuilder(self.world, batch.fence, batch)

    def _parked(self, place: Place) -> dict[bytes, bytes | None]:
        """Return the committed records of a parked partition, last per key."""
        if not self._settled():
            raise UnitLost
        tp = self.topics.at(place.context, "parked", place.partition)
        found: dict[bytes, bytes | None] = {}
        # To the mark: what was just committed may not be visible to an open-ended scan yet.
        for record in self.log.scan(tp, self.log.begin(tp), self.log.end(tp)):
            if record.key is not None:
                found[record.key] = record.value
        return found
