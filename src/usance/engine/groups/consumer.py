"""The article's consumer, done right: a `consume` group over topics of a log, each step one unit.

Offsets move only in units, together with what the handler emits, the dead letters and the parked keys. A
record is delivered until it went through, was refused, or was set aside where people find it; other
keys flow meanwhile.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from usance.engine import control
from usance.engine.groups.consuming import WAITING, GroupHandling, Work
from usance.engine.groups.groups import RESTORED, Group
from usance.engine.logs import logger
from usance.engine.owner import attempts
from usance.engine.owner.caution import KILLED
from usance.engine.owner.takeover import CONTROL_KEY, Takeover
from usance.engine.owner.unit import PartitionUnit, UnitBuilder, World
from usance.engine.owner.unit_loop import UnitLoop
from usance.engine.topics import Place
from usance.kernel.clock import MS_PER_MINUTE, MS_PER_SECOND
from usance.kernel.decider import Actor
from usance.kernel.errors import Fenced, Unavailable, Unreadable
from usance.kernel.ids import derived, murmur2
from usance.log.contract import Log, Output, Record
from usance.messages.envelope import InputPosition, Meta

BATCH_RECORDS_MAX = 100
"""Records of a unit: what a crash makes a handler do again at most."""
STEP_WAIT_S = 0.2
RETRY_S = 1.0
CONTROL_EVERY_S = 0.25
CONTROLS_MAX = 50
RETRIES_MAX = 50
HALF_OPEN_MS = 30 * MS_PER_SECOND
"""How long a partition stands still after many keys met a transient error, until one record tries."""
TWIN_MS = MS_PER_MINUTE
"""Fenced twice within this: another process consumes as the same member."""
_ATTEMPT_OF_CONTROL = 1 << 40

_log = logger("consume")


class Standing(NamedTuple):
    """How a consumer stands: what a readiness probe and a page want to know."""

    ready: bool
    paused: dict[str, str]
    parked_keys: int
    dead_letters: int
    trouble: str


class Consumer(UnitLoop):
    """Consumes as one member of a group. `run` until a signal, or `step` where a test wants to."""

    def __init__(
        self,
        log: Log,
        group: Group,
        work: Work,
        encoder: Any,
        decoder: Any,
        *,
        inputs: list[str],
        batch_max: int = BATCH_RECORDS_MAX,
    ) -> None:
        super().__init__(
            log,
            group.topics,
            group.name,
            inputs,
            clock=work.clock,
            telemetry=work.telemetry,
            batch_max=batch_max,
        )
        self.work = work
        own = decoder.splicing()
        encoder.splices = own.splices
        self.world = World(group.log_id, group.topics, encoder, own, {}, False, self._parked)
        self.takeover = Takeover(log, group.topics, decoder, {}, group.log_id, group.name, RESTORED)
        self.stopping = threading.Event()
        self.trouble = ""
        self._next_due: dict[Place, int] = {}
        self._half_open: dict[Place, int] = {}
        self._look_at = 0.0
        self._fenced_at = -TWIN_MS

    # -- life

    def __enter__(self) -> Self:
        """Return the consumer, which joined when it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the group."""
        self.close()

    def run(self) -> None:
        """Consume until SIGTERM, SIGINT or `stop`; the unit under way is finished first.

        A second signal ends the process as usual. Errors that time may heal are waited out; raises
        Fenced when another process keeps consuming as this member, Tampered when the log is damaged.
        """
        with _signalled(self.stopping):
            try:
                while not self.stopping.is_set():
                    self._one_round()
            except BaseException:
                self.close(clean=False)
                raise
            self.close()

    def stop(self) -> None:
        """Let `run` end after the unit under way; any thread may ask."""
        self.stopping.set()

    def _one_round(self) -> None:
        try:
            self.step(STEP_WAIT_S)
            self.trouble = ""
        except Fenced:
            now = self.clock.now()
            if now - self._fenced_at < TWIN_MS:
                raise
            self._fenced_at = now
            self._rejoin()
        except Unavailable as trouble:
            if not self.trouble:
                _log.warning("part_waits", error_type=type(trouble).__name__)
            self.trouble = trouble.message
            self.stopping.wait(RETRY_S)

    def _rejoin(self) -> None:
        assert self.member is not None
        _log.warning("partition_lost")
        self.member.close()
        self.flight = None
        self._drop([*self.states, *self.untaken])
        self.open()

    def standing(self) -> Standing:
        """Return how the consumer stands."""
        paused = {f"{t}[{p}]": why for (t, p), why in self._paused_inputs()}
        parked = sum(len(s.parks) for s in self.states.values())
        letters = sum(len(s.dead_letters) for s in self.states.values())
        joined = self.member is not None and not self.uncertain and not self.trouble
        return Standing(joined and not paused, paused, parked, letters, self.trouble)

    def _paused_inputs(self) -> Iterator[tuple[tuple[str, int], str]]:
        for place, why in self.paused.items():
            yield self.topics.input(place), why

    def idle(self) -> bool:
        """Tell whether nothing is under way, due or waiting to be read, control commands included."""
        if any(self._controls_of(place, 1) for place in self.states):
            return False
        now = self.clock.now()
        return not any(due <= now for due in self._next_due.values()) and super().idle()

    # -- its part of the loop

    def _handling(self, share: PartitionUnit) -> GroupHandling:
        return GroupHandling(share, self.work)

    def _restored(self, place: Place, restored: Any) -> None:
        self._note_due(place)
        self._look_at = 0.0
        del restored

    def _published(self, place: Place, share: PartitionUnit) -> None:
        if share.overlay.parks:
            self._note_due(place)
            self.telemetry.record(
                "usance.parked_keys",
                sum(len(s.parks) for s in self.states.values()),
                {"messaging.consumer.group.name": self.group},
            )

    def _note_due(self, place: Place) -> None:
        parks = self.states[place].parks.values()
        dues = [p.due for p in parks if p is not None and p.due]
        if dues:
            self._next_due[place] = min(dues)
        else:
            self._next_due.pop(place, None)

    def _pause(self, place: Place, why: str) -> None:
        super()._pause(place, why)
        _log.error("partition_paused", partition=self.topics.input(place).partition)
        if why.startswith(WAITING) and self.work.policy != "halt":
            self._half_open[place] = self.clock.now() + HALF_OPEN_MS

    def _daily(self) -> int:
        self._look_at = 0.0  # nothing to read: look whether operators ask for something
        return super()._daily()

    def _before(self) -> int:
        """Let a breaker try again, do what operators asked for, and try again what is due."""
        now = self.clock.now()
        self._try_breakers(now)
        done = 0
        if self.clock.monotonic() >= self._look_at:
            self._look_at = self.clock.monotonic() + CONTROL_EVERY_S
            for place in list(self.states):
                done += self._control(place)
            if done:
                self._look_at = 0.0  # a drain goes on by a command of its own
        for place in [p for p, due in self._next_due.items() if due <= now]:
            if place in self.states and place not in self._half_open:
                done += self._retry(place, now)
        return done

    def _try_breakers(self, now: int) -> None:
        assert self.member is not None
        for place in [p for p, at in self._half_open.items() if at <= now]:
            del self._half_open[place]
            self.paused.pop(place, None)
            if place in self.states:
                self.member.resume([self.topics.input(place)])
                self.cautions[place].half_open()

    # -- what operators asked for

    def _controls_of(self, place: Place, most: int) -> list[Record]:
        """Return the control commands of a slot that were not handled yet."""
        tp = self.topics.at(place.context, "commands", place.partition)
        scalars = self.states[place].scalars
        assert scalars is not None
        end = self.log.end(tp)
        if end <= scalars.control:
            return []
        found = []
        for record in self.log.scan(tp, scalars.control, end, most):
            found.append(record)
            if len(found) == most:
                break
        return found

    def _control(self, place: Place) -> int:
        if not self._controls_of(place, 1):
            return 0
        self._settle()  # which may restore the partition: what it holds is asked for afterwards
        records = self._controls_of(place, CONTROLS_MAX)
        builder = self._bare_unit()
        share = builder.share(place, self.states[place], self.positions[place])
        handling = self._handling(share)
        for record in records:
            share.instant = max(share.instant, record.timestamp)
            self._obey(place, handling, record)
            share.control = record.offset + 1
            if len(share.outputs) > CONTROLS_MAX * 4:
                break
        self._commit_control(builder, share)
        return len(records)

    def _obey(self, place: Place, handling: GroupHandling, record: Record) -> None:
        position = InputPosition(record.topic, record.partition, record.offset)
        try:
            meta = self.world.decoder.meta(record.headers)
            message = self.world.decoder.message(record.headers, record.value)
        except Unreadable as broken:
            _log.warning("dead_lettered", stage=broken.stage, topic=record.topic)
            return  # nobody but operators writes here, and their own answer times out
        if handling.share.overlay.answer(meta.command_id) is not None:
            return
        if not self._may_try(place, -(_ATTEMPT_OF_CONTROL + record.offset)):
            handling.parks.kills = KILLED
        match message:
            case control.Redrive():
                handling.parks.redrive(message, meta, position)
            case control.Discard():
                handling.parks.discard(message, meta, position)
            case control.Release():
                handling.parks.release(message, meta, position)
            case control.Drain():
                handling.parks.drain(message, meta, position)

    def _commit_control(self, builder: UnitBuilder, share: PartitionUnit) -> None:
        parked = share.names["parked"]
        at = str(share.control).encode()
        share.merge("parked", [Output(parked, share.place.partition, CONTROL_KEY, at)])
        self._commit(builder)
        self._settle()

    # -- what is due

    def _retry(self, place: Place, now: int) -> int:
        self._settle()
        state = self.states[place]
        due = sorted(
            (p.due, key) for key, p in state.parks.items() if p is not None and 0 < p.due <= now
        )[:RETRIES_MAX]
        if not due:
            return 0
        builder = self._bare_unit()
        share = builder.share(place, state, self.positions[place])
        share.instant = max(share.instant, now)
        handling = self._handling(share)
        for at, key in due:
            if len(share.outputs) > RETRIES_MAX * 4:
                break
            command_id = derived(self.world.log_id, "retry", place.partition, key, at)
            meta = Meta.bare(
                command_id, actor=Actor("engine", "", "system"), causation=f"retry:{key}"
            )
            if not self._may_try(place, -2 - murmur2(key.encode())):
                handling.parks.kills = KILLED
            handling.parks.retry(key, meta)
        self._commit(builder)
        self._settle()
        self._look_at = 0.0
        return len(due)

    def _may_try(self, place: Place, name: int) -> bool:
        """After an unclean end, note what is tried by a negative number; False after two deaths."""
        caution = self.cautions[place]
        if not caution.journaled:
            return True
        begun = caution.begun(name) + 1
        if begun > attempts.DEATHS_MAX:
            return False
        self.log.append([attempts.note(self.topics, place, attempts.Attempt(name, begun))])
        return True


@contextmanager
def _signalled(stopping: threading.Event) -> Iterator[None]:
    """Set an event on the first SIGTERM or SIGINT, in the main thread; the second does as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}

    def asked(*_: object) -> None:
        stopping.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
