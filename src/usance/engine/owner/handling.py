"""One command at a time: dedupe, park, decode, decide, stage. Everything ends as an outcome.

What the caller does next is in the answer: accepted and refused decide; duplicate and conflict point
back; dead-lettered and parked are interim and stay open until a redrive or discard (rule 10).
"""

from __future__ import annotations

from typing import Any

from usance.crypto.vault import KeyUnavailable, SubjectErased
from usance.engine import control
from usance.engine.logs import logger, record_fields
from usance.engine.owner.accesses import ACCESS, counted, denial_of
from usance.engine.owner.parking import ParkKeeper
from usance.engine.owner.state import (
    OUTCOME_WINDOW_MS,
    Answer,
    Entry,
    StateUnreadable,
    Tail,
    find_recent,
    with_recent,
)
from usance.engine.owner.unit import PartitionBroken, PartitionUnit, Waits
from usance.engine.secrecy.keys import CATEGORY, created
from usance.engine.telemetry import TRACEPARENT
from usance.engine.topics import Place
from usance.kernel.authority import DENIALS, GLASS, PARTS, role_missing
from usance.kernel.decider import Actor, Context, Decision, Refusal, Send, key_of
from usance.kernel.errors import Refused, Tampered, Unavailable, Unreadable
from usance.kernel.ids import derived
from usance.kernel.timers import FireTimer, TimerCancelled, TimerDue, TimerFired, TimerSet
from usance.log.contract import Output, Record
from usance.messages.decoder import identity
from usance.messages.envelope import InputPosition, Meta
from usance.messages.outcome import Answer as AnswerName
from usance.messages.outcome import Outcome, OutcomePointer, Receipt, UnreadableInput

_log = logger("handling")
_NO_REFUSAL = Refusal("", "")
BREAKING = "glass"
"""Category of the aggregate that sends acts taken behind broken glass."""
_ENGINE = Actor("engine", "", "system")
_TIMERS = frozenset((TimerSet, TimerCancelled, TimerFired))
_CONTROL = frozenset(control.CONTROL)


class EvolveBroken(PartitionBroken):
    """`evolve` raised: the state cannot be trusted, so the partition stops (rule 15)."""

    def __init__(self, place: Place, error: str, event: str) -> None:
        super().__init__(place, f"evolve raised {error} on {event}")


class Handling:
    """Handles the records of one partition's share of a unit."""

    def __init__(self, share: PartitionUnit) -> None:
        self.share = share
        self.world = share.world
        self.parks = ParkKeeper(share, self)
        sealer = self.world.encoder.sealer
        if sealer is not None:
            sealer.uses, sealer.seen = share.overlay.uses, share.overlay.committed.uses

    def handle(self, record: Record) -> str | None:
        """Handle one command record; returns the error type if it failed by an exception."""
        share = self.share
        share.next = record.offset + 1
        headers = record.headers
        last = headers[-1] if headers else ("", b"")
        share.trace = last[1] if last[0] == TRACEPARENT else None
        position = InputPosition(record.topic, record.partition, record.offset)
        try:
            meta = self.world.decoder.meta(headers)
        except Unreadable as broken:
            if not self.world.book_clock:
                share.instant = max(share.instant, record.timestamp)
            self.parks.dead_letter_raw(record, position, broken)
            return None
        # A book has its own time: what the log's machine thinks the hour is plays no part in it.
        instant = (meta.instant or 0) if self.world.book_clock else record.timestamp
        if instant > share.instant:
            share.instant = instant
        if self._repeated(meta, position):
            return None
        if meta.instant is not None and not self.world.book_clock:
            words = "A command carries no instant: the log's own time counts."
            hint = "Send it without an instant."
            self._refuse(meta, position, Refusal("INSTANT_NOT_ALLOWED", words, hint=hint))
            return None
        return self._first_time(record, meta, position)

    def quarantine(self, record: Record, failure: str, reason: str) -> None:
        """Dead-letter a record without deciding it: it killed its process, or cannot be written."""
        share = self.share
        share.next = record.offset + 1
        position = InputPosition(record.topic, record.partition, record.offset)
        try:
            meta = self.world.decoder.meta(record.headers)
        except Unreadable:
            self.parks.dead_letter_raw(record, position, Unreadable("decide", reason))
            return
        self.parks.dead_letter(record, meta, position, "decide", failure, reason)

    # -- idempotency (rule 10)

    def _repeated(self, meta: Meta, position: InputPosition) -> bool:
        known = self.share.overlay.answer(meta.command_id)
        if known is None or known.log_time < self.share.instant - OUTCOME_WINDOW_MS:
            return False
        same = known.body_hash == meta.body_hash
        self._point_back(meta, position, "duplicate" if same else "conflict", known)
        return True

    def _point_back(
        self, meta: Meta, position: InputPosition, answer: AnswerName, known: Answer | None
    ) -> None:
        first: AnswerName = known.answer if known else "accepted"
        words = (
            f"This command was answered before: {first}."
            if answer == "duplicate"
            else "Another command has used this id: the recorded body differs."
        )
        outcome = Outcome(
            command_id=meta.command_id,
            body_hash=meta.body_hash,
            answer=answer,
            log_time=self.share.instant,
            code=answer.upper(),
            message=words,
            hint="" if answer == "duplicate" else "Send it under a new id.",
            of=OutcomePointer(index=known.at if known else -1, answer=first),
        )
        self.share.outcome(outcome, meta, position)

    # -- the first time

    def _first_time(self, record: Record, meta: Meta, position: InputPosition) -> str | None:
        try:
            message = self.world.decoder.message(record.headers, record.value)
        except KeyUnavailable as down:
            return self._wait(record, meta, position, down)
        except Unavailable as away:  # its schema: no key is known yet that could wait for it
            raise Waits(f"{away.message}, at offset {record.offset}") from away
        except SubjectErased as erased:
            self._refuse(meta, position, refusal_of(erased))
            return None
        except Unreadable as broken:
            self.parks.dead_letter(record, meta, position, broken.stage, "poison", broken.reason)
            return None
        except (
            Tampered
        ) as forged:  # a command is not of our chain: its sender's fault, not the log's
            self.parks.dead_letter(record, meta, position, "decrypt", "poison", forged.message)
            return None
        if type(message) in _CONTROL:
            return self._control(message, record, meta, position)
        if isinstance(message, UnreadableInput):
            self.parks.dead_letter(
                record, meta, position, message.stage, "poison", message.reason, park=False
            )
            return None
        key = (record.key or b"").decode("utf-8", "replace")
        park = self.share.overlay.park(key)
        if park is not None:
            self.parks.queue_behind(park, record, meta, position)
            return None
        return self.decide_and_record(record, meta, position, key, message)

    def decide_and_record(
        self, record: Record, meta: Meta, position: InputPosition, key: str, message: Any
    ) -> str | None:
        """Decide a decoded command of an aggregate; an exception dead-letters it and parks the key."""
        try:
            self._decide(meta, position, key, message)
        except (Tampered, EvolveBroken, StateUnreadable):
            raise
        except KeyUnavailable as down:
            return self._wait(record, meta, position, down)
        except SubjectErased as erased:
            self._refuse(meta, position, refusal_of(erased))
        except Exception as bug:  # noqa: BLE001  a decider must not raise: this is an incident
            kind = type(bug).__name__
            self.parks.dead_letter(record, meta, position, "decide", "poison", kind)
            return kind
        return None

    def _wait(
        self, record: Record, meta: Meta, position: InputPosition, down: KeyUnavailable
    ) -> str | None:
        """Let a command wait with its key until the key service answers; nothing is given up for that.

        No failure that breakers count: the error's type is told only to whoever tries it again.
        """
        key = self.parks.key_of(record)
        held = self.share.overlay.park(key)
        if held is not None and not self.parks.draining:
            self.parks.queue_behind(held, record, meta, position)
            return None
        if not self.parks.parkable(key):
            words = "The key service does not answer."
            refusal = Refusal("KEY_SERVICE_DOWN", words, hint="Send it again, under a new id.")
            self._refuse(meta, position, refusal)
            return None
        self.parks.wait(record, meta, key, "the key service does not answer")
        if held is None:
            _log.warning("key_parked", error_type=type(down).__name__, **record_fields(record))
            words = "The key service does not answer; the command is tried again by itself."
            hint = "Nothing needs to be sent again. `usance park list` shows what waits."
            self._answer(meta, position, "parked", refusal=Refusal("WAITS", words, hint=hint))
        return type(down).__name__ if self.parks.draining else None

    def _decide(self, meta: Meta, position: InputPosition, key: str, message: Any) -> None:
        share = self.share
        overlay = share.overlay
        parts = key.split("/", 2)
        decider = self.world.deciders.get(parts[1]) if len(parts) > 2 else None
        if decider is None:
            self._refuse(meta, position, Refusal("UNKNOWN_AGGREGATE", "Nothing decides this key."))
            return
        entry = overlay.entry(key)
        if entry is None:
            if not self.world.topics.holds(share.place, parts[1], key):
                words = "The command lies in a partition that is not its key's."
                hint = "Send it through a gateway: partition and key go together."
                self._refuse(meta, position, Refusal("WRONG_PARTITION", words, hint=hint))
                return
            entry = Entry(decider.initial(key), 0)
        else:
            kept = find_recent(entry.recent, meta.command_id)
            if kept is not None:
                same = kept == meta.body_hash[:16]
                self._point_back(meta, position, "duplicate" if same else "conflict", None)
                return
        vault = self.world.vault
        context = Context(
            key,
            entry.revision,
            share.instant,
            meta.tenant,
            meta.actor,
            meta.command_id,
            meta.correlation,
            meta.causation,
            b"" if vault is None else vault.digest_key(meta.tenant),
        )
        state = entry.state
        answer = decider.decide(state, message, context)
        if isinstance(answer, Refusal):
            self._deny(meta, key, type(message).__name__, answer)
            self._refuse(meta, position, answer)
            return
        if isinstance(message, TimerDue):
            late = max(0, share.instant - message.due)
            fired = TimerFired(timer_id=message.timer_id, due=message.due, late=late)
            answer = Decision((fired, *answer.events), answer.sends)
        self._accept(meta, position, key, decider, entry, state, answer)

    def _accept(
        self,
        meta: Meta,
        position: InputPosition,
        key: str,
        decider: Any,
        entry: Entry,
        state: Any,
        decision: Decision,
    ) -> None:
        """Record what was decided and answer: at once where that goes, else step by step."""
        share, encoder, events = self.share, self.world.encoder, decision.events
        overlay, sealer, values = share.overlay, encoder.sealer, None
        stream, tail, answers = key.encode(), overlay.tail("events"), overlay.tail("outcomes")
        where = (
            meta, position, stream, entry.revision + 1, share.instant, share.trace,
            (tail.next, tail.hash, share.events_to),
            (answers.next, answers.hash, share.outcomes_to),
        )  # fmt: skip
        # What is sent may be sealed with a key that is new here: that is said before the outcome.
        stepwise = sealer is not None and (sealer.fresh or decision.sends)
        made = None if stepwise else encoder.decided(events, None, *where)
        if (
            made is None and sealer is not None
        ):  # and events may be, or need a key that is not at hand
            values = encoder.values(events, meta, stream, entry.revision + 1)
            if not (sealer.fresh or decision.sends):
                made = encoder.decided(events, values, *where)
        if made is None:
            self._accept_slowly(meta, position, key, decider, entry, state, decision, values)
            return
        outputs, _, last, outcome, answer, last_answer = made
        if events:
            overlay.entries[key] = self._after(decider, entry, state, events, meta)
            overlay.tails["events"] = Tail(tail.next + len(events), last)
            share.merge("events", outputs)
        if decision.sends:
            sends = [self._send(meta, key, n, s) for n, s in enumerate(decision.sends)]
            share.merge("elsewhere", sends)
        overlay.answers[meta.command_id] = Answer(
            meta.body_hash, "accepted", answers.next, share.instant
        )
        share.answered(outcome, answer, Tail(answers.next + 1, last_answer), meta)

    def _after(
        self, decider: Any, entry: Entry, state: Any, events: tuple[Any, ...], meta: Meta
    ) -> Entry:
        """Return an aggregate after its events."""
        timers = entry.timers
        for event in events:
            if type(event) in _TIMERS:
                timers = _moved(timers, event)
            state = self._evolved(decider, state, event)
        recent = with_recent(entry.recent, identity(meta.command_id, meta.body_hash))
        return Entry(state, entry.revision + len(events), recent, timers)

    def _accept_slowly(
        self,
        meta: Meta,
        position: InputPosition,
        key: str,
        decider: Any,
        entry: Entry,
        state: Any,
        decision: Decision,
        values: list[bytes] | None,
    ) -> None:
        """Do the same step by step; `values` are those of the events where they are made already."""
        share, events = self.share, decision.events
        overlay = share.overlay
        tail = overlay.tail("events")
        index, last = tail.next, tail.hash
        staged: list[Output] = []
        receipts: list[Receipt] = []
        after = entry
        if events:
            staged, receipts, last = self.world.encoder.events(
                events,
                meta,
                stream=key.encode(),
                revision=entry.revision + 1,
                index=index,
                prev=last,
                instant=share.instant,
                input=position,
                to=share.events_to,
                traceparent=share.trace,
                values=values,
            )
            index += len(staged)
            after = self._after(decider, entry, state, events, meta)
        sends = [self._send(meta, key, n, s) for n, s in enumerate(decision.sends)]
        sealer = self.world.encoder.sealer
        if sealer is not None and sealer.fresh:
            fresh, sealer.fresh = sealer.fresh, []
            index, last = self._first_uses(fresh, meta, position, receipts, index, last, staged)
        if events:
            overlay.entries[key] = after
        if staged:
            overlay.tails["events"] = Tail(index, last)
            share.merge("events", staged)
        if sends:
            share.merge("elsewhere", sends)
        revision = after.revision
        self._answer(meta, position, "accepted", receipts=receipts, revision=revision)

    def _first_uses(
        self,
        fresh: list[bytes],
        meta: Meta,
        position: InputPosition,
        receipts: list[Receipt],
        index: int,
        last: bytes,
        staged: list[Output],
    ) -> tuple[int, bytes]:
        """Say of data keys that sealed here for the first time what they are (rule 19)."""
        world, overlay = self.world, self.share.overlay
        assert world.vault is not None
        for key_id in fresh:
            if overlay.below.used(key_id):
                continue
            stream, event = created(world.vault.record(key_id), self.share.place)
            if stream in overlay.entries:
                continue
            made, said, last = world.encoder.aside(
                event,
                meta,
                stream=stream.encode(),
                ordinal=len(receipts),
                index=index,
                prev=last,
                instant=self.share.instant,
                input=position,
                to=self.share.events_to,
            )
            staged += made
            receipts += said
            decider = world.deciders[CATEGORY]
            overlay.entries[stream] = Entry(decider.evolve(decider.initial(stream), event), 1)
            index += 1
        return index, last

    def _evolved(self, decider: Any, state: Any, event: Any) -> Any:
        try:
            return decider.evolve(state, event)
        except Exception as bug:
            place = self.share.place
            raise EvolveBroken(place, type(bug).__name__, type(event).__name__) from bug

    def _send(
        self, meta: Meta, key: str, ordinal: int, send: Send, actor: Actor | None = None
    ) -> Output:
        place = self.world.topics.place(send.key)
        command_id = send.id or derived(meta.command_id, "send", ordinal)
        key_bytes, value, headers = self.world.encoder.command(
            send.command,
            key=send.key,
            command_id=command_id,
            tenant=meta.tenant,
            actor=actor or _sender(key, meta),
            correlation=meta.correlation,
            causation=f"{'saga' if _is_saga(key) else 'sent'}:{key}",
            instant=self.share.instant if self.world.book_clock else None,
            at=self.share.instant,
            traceparent=self.share.trace,
        )
        topic = self.world.topics.name(place.context, "commands")
        return Output(topic, place.partition, key_bytes, value, headers)

    def _deny(self, meta: Meta, key: str, act: str, refusal: Refusal) -> None:
        """Have a denial written down, in this unit; a flood of them is counted (see `counted`)."""
        actor = meta.actor
        if refusal.code not in DENIALS or actor.role in PARTS or not actor.person:
            return
        if ACCESS not in self.world.deciders:
            return
        share, who = self.share, (actor.person, refusal.code)
        before = share.overlay.denied(who)
        now, told = counted(before, share.instant)
        share.overlay.denials[who] = now
        if not told:
            return
        denial = denial_of(actor, key, act, refusal, meta.command_id, before, now)
        stream = key_of(meta.tenant, ACCESS, actor.person)
        send = Send(stream, denial, derived(meta.command_id, "denied"))
        share.merge("elsewhere", [self._send(meta, key, 0, send, _ENGINE)])

    def _refuse(self, meta: Meta, position: InputPosition, refusal: Refusal) -> None:
        self._answer(meta, position, "refused", refusal=refusal)

    def _answer(
        self,
        meta: Meta,
        position: InputPosition,
        answer: AnswerName,
        *,
        refusal: Refusal | None = None,
        receipts: list[Receipt] | None = None,
        revision: int = -1,
    ) -> None:
        share = self.share
        share.overlay.answers[meta.command_id] = Answer(
            meta.body_hash, answer, share.overlay.tail("outcomes").next, share.instant
        )
        said = refusal or _NO_REFUSAL
        outcome = Outcome(
            command_id=meta.command_id,
            body_hash=meta.body_hash,
            answer=answer,
            log_time=share.instant,
            code=said.code,
            article=said.article,
            message=said.message,
            hint=said.hint,
            receipts=receipts or [],
            revision=revision,
        )
        share.outcome(outcome, meta, position)

    # -- control commands never queue behind a park

    def _control(
        self, message: Any, record: Record, meta: Meta, position: InputPosition
    ) -> str | None:
        overlay = self.share.overlay
        refused = role_missing(meta.actor, type(message).__name__)
        if refused is not None:
            key = (record.key or b"").decode("utf-8", "replace")
            self._deny(meta, key, type(message).__name__, refused)
            self._refuse(meta, position, refused)
            return None
        match message:
            case control.IntakePassed():
                overlay.passed[message.intake_partition] = message.instant
                self._answer(meta, position, "accepted")
            case control.SealBarrier():
                if self.world.vault is not None:
                    self.world.vault.close_for(message.subjects)
                self._answer(meta, position, "accepted")
            case FireTimer():
                key = (record.key or b"").decode("utf-8", "replace")
                return self._fire(message, record, meta, position, key)
            case control.Redrive():
                self.parks.redrive(message, meta, position)
            case control.Discard():
                self.parks.discard(message, meta, position)
            case control.Release():
                self.parks.release(message, meta, position)
            case control.Drain():
                self.parks.drain(message, meta, position)
            case control.RegisterSchema():
                self._register(message, meta, position)
        return None

    def _register(self, asked: control.RegisterSchema, meta: Meta, position: InputPosition) -> None:
        desk = self.world.schemas() if self.world.schemas is not None else None
        refusal = desk.register(asked, self.share) if desk is not None else None
        if desk is None:
            refusal = Refusal("NO_REGISTRY", "This group keeps no schema registry.")
        if refusal is not None:
            self._refuse(meta, position, refusal)
        else:
            self._answer(meta, position, "accepted")

    def _fire(
        self, fire: FireTimer, record: Record, meta: Meta, position: InputPosition, key: str
    ) -> str | None:
        overlay = self.share.overlay
        overlay.fired[(key, fire.timer_id)] = None
        entry = overlay.entry(key)
        armed = {t: (due, reason) for t, due, reason in entry.timers} if entry else {}
        due, reason = armed.get(fire.timer_id, (None, ""))
        if due is None or due != fire.due:
            self._refuse(meta, position, Refusal("TIMER_GONE", "The timer is not armed any more."))
            return None
        if self.share.instant < due:
            self._refuse(meta, position, Refusal("TIMER_NOT_DUE", "The timer is not due yet."))
            return None
        if overlay.park(key) is not None:
            refusal = Refusal(
                "MISSED_WHILE_PARKED",
                "The key is parked: the timer fires when it is drained.",
                hint="Redrive or discard the dead letter that parks it.",
            )
            overlay.fired[(key, fire.timer_id)] = due
            self._refuse(meta, position, refusal)
            return None
        due_message = TimerDue(timer_id=fire.timer_id, due=due, reason=reason)
        return self.decide_and_record(record, meta, position, key, due_message)

    # -- for parking

    def answer(
        self,
        meta: Meta,
        position: InputPosition,
        answer: AnswerName,
        refusal: Refusal | None = None,
    ) -> None:
        """Record an outcome and remember it."""
        self._answer(meta, position, answer, refusal=refusal)


def refusal_of(refused: Refused) -> Refusal:
    """Return an error of business as the answer to a command."""
    return Refusal(refused.code, refused.message, refused.article, refused.hint)


def _moved(
    timers: tuple[tuple[str, int, str], ...], event: TimerSet | TimerCancelled | TimerFired
) -> tuple[tuple[str, int, str], ...]:
    kept = tuple([t for t in timers if t[0] != event.timer_id])
    if isinstance(event, TimerSet):
        return (*kept, (event.timer_id, event.due, event.reason))
    return kept


def timers_after(
    timers: tuple[tuple[str, int, str], ...], event: Any
) -> tuple[tuple[str, int, str], ...]:
    """Return the pending timers of an aggregate after one of its events."""
    return _moved(timers, event) if type(event) in _TIMERS else timers


def _is_saga(key: str) -> bool:
    parts = key.split("/", 2)
    return len(parts) > 2 and parts[1] == "saga"


def _sender(key: str, meta: Meta) -> Any:
    if key.split("/", 2)[1:2] == [BREAKING]:
        return meta.actor._replace(role=GLASS)
    if not _is_saga(key):
        return meta.actor
    definition = key.split("/", 2)[2].partition(":")[0]
    return meta.actor._replace(person=f"saga:{definition}", login="", role="system")
