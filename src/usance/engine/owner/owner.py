"""The owner: the one place where decisions happen.

It decides commands in memory, fires timers, writes snapshots and registers schemas, each in a unit;
how units are made, committed, lost and found again is `usance.engine.owner.unit_loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from usance.engine.owner import schemas
from usance.engine.owner.gather import Pace
from usance.engine.owner.handling import Handling
from usance.engine.owner.key_use import KeyUse, due_parks
from usance.engine.owner.rounds import Rounds
from usance.engine.owner.snapshots import ROUND_EVENTS, SLICE_RECORDS, SLICE_RECORDS_MIN
from usance.engine.owner.state import TIMERS_MAX
from usance.engine.owner.takeover import Restored, Takeover
from usance.engine.owner.unit import PartitionUnit, UnitBuilder, UnitLost, World
from usance.engine.owner.unit_loop import UnitLoop
from usance.engine.telemetry import Telemetry
from usance.engine.topics import Place, Topics
from usance.kernel.clock import Clock
from usance.kernel.decider import Actor, Decider, key_parts
from usance.kernel.ids import derived
from usance.kernel.timers import FireTimer
from usance.log.contract import Batch, Log, Output
from usance.messages.meta import Meta
from usance.messages.outcome import Outcome

OWNER_GROUP = "usance-owner"
SCHEMAS_PLACE = schemas.PLACE
"""Whose owner is the one writer of the schemas topic."""
BATCH_RECORDS_MAX = 500

Waiter = Callable[[list[tuple[str, Outcome]]], None]


class Owner(UnitLoop):
    """Owns partitions of the commands topics and decides them; one `step` is one unit at most."""

    spans_records = True

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
        schemas_due: Callable[[], list[Any]] = list,
        pace: Pace | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            log,
            topics,
            OWNER_GROUP,
            topics.commands(),
            clock=clock,
            telemetry=telemetry,
            batch_max=batch_max,
            pace=pace,
        )
        self.deciders: Mapping[str, Decider[Any]] = {d.category: d for d in deciders}
        own = decoder.splicing()
        encoder.splices = own.splices
        vault = own.vault
        self.world = World(
            log_id, topics, encoder, own, self.deciders, book_clock, self._parked, vault, self._desk
        )
        self._schemas: schemas.Desk | None = None
        self.keys = KeyUse(vault)
        self.takeover = Takeover(
            log,
            topics,
            decoder if vault is None else decoder.counted(),
            self.deciders,
            log_id,
            OWNER_GROUP,
            unseal=self.keys.unseal if vault is not None else None,
            alive=alive,
        )
        self.on_outcomes = on_outcomes
        self.awaits_intake = awaits_intake
        self._deadline_waits = False
        self._schemas_due = schemas_due
        self._look_at_schemas = False
        self._decided_before = 0
        self.rounds: dict[Place, Rounds] = {}
        self.restored: dict[Place, tuple[int, int]] = {}

    # -- its part of the loop

    def _handling(self, share: PartitionUnit) -> Handling:
        return Handling(share)

    def open(self) -> None:
        """Join the group, take over what is assigned, register schemas where that is ours to do."""
        super().open()
        self._register_due()

    def _before(self) -> int:
        self._register_due()
        self._rounds()
        return self._fire_due() + self._retry_due()

    def _ahead(self, batch: Batch) -> None:
        """Have the data keys of a batch in memory, all for one question to the key service."""
        if self.world.vault is not None:
            self.world.vault.tick()
            self.world.decoder.prefetch(batch.records.values())

    def idle(self) -> bool:
        """Tell whether nothing is under way, due or waiting to be read."""
        return self.flight is None and not self._due() and super().idle()

    def _leaving(self) -> None:
        """Write what the snapshots lack: the next owner starts in no time."""
        for place in self.states:
            while self.rounds[place].waits and self._round(place):
                pass

    def _restored(self, place: Place, restored: Restored) -> None:
        self._look_at_schemas |= place == SCHEMAS_PLACE
        self.keys.waits(place, restored.state.parks.values())
        self.restored[place] = (restored.events_read, restored.from_snapshot)
        self.rounds[place] = restored.rounds

    def _publish(self, builder: UnitBuilder) -> None:
        self.keys.kept(builder.minted)
        super()._publish(builder)

    def _rewind(self) -> None:
        self.keys.again()
        super()._rewind()

    def _retake(self) -> None:
        self.keys.again()
        super()._retake()

    def _published(self, place: Place, share: PartitionUnit) -> None:
        if share.overlay.parks:
            self.keys.waits(place, share.overlay.parks.values())
        if share.overlay.uses:
            self.keys.used(place, share.overlay.uses, self.states[place].uses)
        if share.overlay.entries:
            self.rounds[place].changed(share.overlay.entries, share.counts["events"])

    def _answered(self, answers: list[tuple[str, Outcome]]) -> None:
        if self.on_outcomes is not None:
            self.on_outcomes(answers)

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

    @property
    def trouble(self) -> str:
        """What a person should know about bounds that are reached; any thread may ask."""
        large = sum(len(r.large) for p, r in list(self.rounds.items()) if p in self.states)
        if large:
            return f"{large} aggregates are too large for a snapshot: restarts read all their partitions' events"
        if self.untaken and self.untaken_why:
            return f"{len(self.untaken)} partitions wait to be restored: {self.untaken_why}"
        over = sum(len(s.timers) > TIMERS_MAX for s in list(self.states.values()))
        if not over:
            return ""
        return f"{over} partitions have more than {TIMERS_MAX:,} timers armed: use more partitions"

    def held_up(self) -> str:
        """Say why there is input that is not read."""
        told = [f"{p.context}.p{p.partition}: {why}" for p, why in self.paused.items()]
        if self.untaken:
            told.append(f"{len(self.untaken)} partitions are not restored: {self.untaken_why}")
        return "; ".join(told) or "there is input that is not read"

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

    # -- what waits for the key service

    def _retry_due(self) -> int:
        """Try again what was parked until an instant, one bounded unit per partition."""
        now = self.clock.now()
        return sum(self._retry(place, now) for place in self.keys.due(now) if place in self.states)

    def _retry(self, place: Place, now: int) -> int:
        self._settle()
        state = self.states[place]
        due = due_parks(state.parks, now)
        self.keys.waits(place, state.parks.values(), anew=True)
        if not due:
            return 0
        builder = self._bare_unit()
        share = builder.share(place, state, self.positions[place])
        if not self.world.book_clock:
            share.instant = max(share.instant, now)
        handling = self._handling(share)
        for at, key in due:
            command_id = derived(self.world.log_id, "retry", place.partition, key, at)
            cause = f"retry:{key}"
            engine = Actor("engine", "", "system")
            handling.parks.retry(key, Meta.bare(command_id, actor=engine, causation=cause))
        self._commit(builder)
        self._settle()
        self.keys.waits(place, self.states[place].parks.values(), anew=True)
        return len(due)

    # -- schemas

    def attend(self) -> None:
        """Follow the group and register schemas where that has become ours to do; decide nothing yet."""
        self._membership()
        self._register_due()

    def _decide(self, batch: Batch) -> UnitBuilder:
        self._schemas = None
        return super()._decide(batch)

    def _desk(self) -> schemas.Desk:
        """Return what registers schemas in the unit being built, standing on what is durable."""
        if self._schemas is None:
            if not self._settled():
                raise UnitLost
            catalogue = self.world.decoder.catalogue
            self._schemas = schemas.Desk(self.world, self.log, self.topics, catalogue)
        return self._schemas

    def _register_due(self) -> None:
        if self._look_at_schemas:
            self._look_at_schemas = False
            self.register(self._schemas_due())

    def register(self, events: list[Any]) -> None:
        """Write registry events: the owner of system partition 0 is the one writer of `schemas`."""
        place = SCHEMAS_PLACE
        if not events or place not in self.states:
            return
        self._settle()
        builder = self._bare_unit()
        builder.share(place, self.states[place], self.positions[place])
        desk = schemas.Desk(self.world, self.log, self.topics, self.world.decoder.catalogue)
        builder.extra += desk.staged(events, self.clock.now())
        self._commit(builder)
        self._settle()

    # -- snapshots (rule 6)

    def _rounds(self) -> None:
        """Write a slice for the partition that has waited longest, if any has enough new events.

        A slice is at most twice as large as what was decided since the last look: rounds keep up
        with any load, and while there is little of it nobody waits for a large one.
        """
        lately, self._decided_before = self.decided - self._decided_before, self.decided
        place = max(self.states, key=lambda p: self.rounds[p].events, default=None)
        if place is not None and self.rounds[place].events >= ROUND_EVENTS:
            self._round(place, max(SLICE_RECORDS_MIN, 2 * lately))

    def _round(self, place: Place, most: int = SLICE_RECORDS) -> bool:
        """Write one slice of a snapshot round; the restart offset moves when nothing is left over.

        False when the log did not take it: it is written again, with what came meanwhile.
        """
        self._settle()
        state, rounds = self.states[place], self.rounds[place]
        assert state.scalars is not None
        seal = self.keys.seal if self.world.vault is not None else None
        found = rounds.slice(state.entries, self.deciders, most, seal)
        restart = rounds.restart
        if rounds.restarts(found):
            end = self.log.end(self.topics.at(place.context, "events", place.partition))
            restart = (end, state.tails["events"])
        uses = self.keys.lately(place, state.uses, everything=rounds.everything(found))
        records = rounds.records(found, restart, state.scalars.unit, uses)
        builder = self._bare_unit()
        share = builder.share(place, state, self.positions[place])
        topic = share.names["snapshots"]
        share.merge("elsewhere", [Output(topic, place.partition, k, v) for k, v in records])
        self._commit(builder)
        if self.flight is None or not self._settled():
            self.rounds[place].failed()  # after an uncertain commit they are what the log says
            return False
        rounds.written(found, restart, state.entries)
        rounds.events = ROUND_EVENTS if rounds.waits else 0
        return True
