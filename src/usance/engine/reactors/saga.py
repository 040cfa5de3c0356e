"""The saga engine: a definition of steps becomes a decider with its own stream.

A saga hears facts and outcomes as commands, records them, and sends commands whose ids are
uuid5(saga, step, n); n grows only after the command before it is decided (rule 21). Before the pivot a
refusal turns it back, undoing in reverse; after the pivot it only goes forward, and what blocks it
becomes an incident for people.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from usance.engine.reactors import saga_messages as m
from usance.engine.reactors.saga_steps import (
    HELD_RETRY_MS,
    PROGRAM_ROLES,
    SUGGESTED,
    SUGGESTED_AFTER_PIVOT,
    Act,
    Definition,
    Facts,
    ProposedAct,
    SagaState,
    Step,
)
from usance.kernel.authority import role_missing
from usance.kernel.decider import NOTHING, Actor, Context, Decision, Refusal, Send, key_parts
from usance.kernel.ids import derived
from usance.kernel.timers import TimerCancelled, TimerDue, TimerFired, TimerSet
from usance.kernel.words import Words, text_of


class _Progress:
    """Events and sends of one decision, with the state evolved as they are emitted."""

    def __init__(self, decider: SagaDecider, state: SagaState, context: Context) -> None:
        self.decider = decider
        self.state = state
        self.context = context
        self.events: list[Any] = []
        self.sends: list[Send] = []

    def emit(self, event: Any) -> None:
        self.events.append(event)
        self.state = self.decider.evolve(self.state, event)

    def decision(self) -> Decision:
        return Decision(tuple(self.events), tuple(self.sends))


class SagaDecider:
    """The decider of all saga definitions: keys are `tenant/saga/<definition>:<identity>`."""

    category = "saga"
    fold_id = "saga/5"

    def __init__(self, definitions: tuple[Definition, ...]) -> None:
        self.definitions = {d.name: d for d in definitions}

    def initial(self, key: str) -> SagaState:
        """Return the state of a saga that has not begun."""
        return SagaState(definition=key_parts(key).identity.partition(":")[0])

    def decide(self, state: SagaState, command: Any, context: Context) -> Decision | Refusal:
        """Answer an observation, a timer or an operator act."""
        definition = self.definitions.get(state.definition)
        if definition is None:
            hint = "Upgrade this program: `usance saga list` shows what it knows."
            return Refusal("UNKNOWN_SAGA", f"No saga is called {state.definition}.", hint=hint)
        at = _Progress(self, state, context)
        match command:
            case m.ObserveEvent():
                if state.phase == "new" and command.event_type not in definition.starts:
                    hint = "Nothing to do: the fact concerns another kind of deal."
                    words = "No saga of this kind began for this fact."
                    return Refusal("UNMATCHED", words, hint=hint)
                self._observe_event(at, definition, command)
            case m.ObserveOutcome():
                self._observe_outcome(at, definition, command)
            case TimerDue():
                self._timer_due(at, definition)
            case m.ApproveAct() | m.RejectAct():
                return self._second_person(at, definition, command)
            case m.RetryStep() | m.SkipStep() | m.MarkDoneOutside() | m.CompensateSaga():
                return self._operator(at, definition, command)
            case _:
                hint = (
                    "Operator acts are retry, skip, done-outside, compensate, approve and reject."
                )
                return Refusal("NOT_FOR_A_SAGA", "A saga does not take this command.", hint=hint)
        return at.decision() if at.events or at.sends else NOTHING

    # -- observations

    def _observe_event(self, at: _Progress, definition: Definition, seen: m.ObserveEvent) -> None:
        state = at.state
        if state.phase == "new":
            at.emit(
                m.SagaStarted(
                    definition=definition.name,
                    version=definition.version,
                    subject=seen.stream,
                    facts=dict(seen.facts),
                )
            )
            at.emit(_observed(seen, matched=True))
            self._advance(at, definition)
            return
        step = definition.step(state.step) if state.step else None
        running = state.phase == "running" and step is not None
        matched = running and step is not None and seen.event_type in (*step.success, *step.failure)
        at.emit(_observed(seen, matched=matched))
        if not running or step is None:
            return
        if seen.event_type in step.success:
            self._succeed(at, definition, "event")
        elif seen.event_type in step.failure:
            code = seen.facts.get("code", seen.event_type)
            self._fail(at, definition, code, "", seen.facts.get("reason", seen.event_type))

    def _observe_outcome(
        self, at: _Progress, definition: Definition, seen: m.ObserveOutcome
    ) -> None:
        state = at.state
        if seen.command_id != state.command_id or state.phase not in ("running", "compensating"):
            return
        undo = state.phase == "compensating"
        step = definition.step(state.step)
        if seen.answer == "accepted":
            if undo or not step.success:
                self._succeed(at, definition, "outcome")
        elif seen.answer == "refused" and seen.code in definition.not_yet and not undo:
            self._hold(at, step, seen.code)
        elif seen.answer in ("refused", "discarded"):
            self._fail(at, definition, seen.code, seen.article, seen.message)
        elif seen.answer in ("dead-lettered", "parked") and not state.incident:
            self._open_incident(at, f"the target {seen.answer} the command", ("retry",))

    def _hold(self, at: _Progress, step: Step, code: str) -> None:
        """Try a step again later; nobody is called while its own time is not over."""
        since = at.state.since or at.context.instant
        self._disarm(at)
        at.emit(m.StepHeld(step=step.name, code=code, since=since))
        if at.context.instant - since >= step.timeout_ms:
            self._open_incident(at, "no progress in the expected time", _suggested(step, at.state))
        at.emit(
            TimerSet(
                timer_id=f"{step.name}:{at.state.n}:held",
                due=at.context.instant + HELD_RETRY_MS,
                reason=f"step {step.name} is tried again",
            )
        )

    # -- progress

    def _advance(self, at: _Progress, definition: Definition) -> None:
        """Start the next step, passing those that are not needed; end when there is none."""
        names = [s.name for s in definition.steps]
        start = names.index(at.state.step) + 1 if at.state.step else 0
        for step in definition.steps[start:]:
            if step.when is not None and not step.when(at.state.facts):
                at.emit(m.StepSucceeded(step=step.name, how="unneeded", undo=False))
                continue
            known = any(t in at.state.observed for t in step.success)
            if step.action is not None or not known:
                self._start(at, step)
                failed = next((t for t in step.failure if t in at.state.observed), "")
                if failed and step.action is None:
                    facts = at.state.facts
                    code, reason = facts.get("code", failed), facts.get("reason", failed)
                    self._fail(at, definition, code, "", reason)
                return
            at.emit(m.StepSucceeded(step=step.name, how="event", undo=False))
        self._disarm(at)
        at.emit(m.SagaEnded(result="completed", cause=""))

    def _start(self, at: _Progress, step: Step, *, undo: bool = False) -> None:
        maker = step.compensation if undo else step.action
        act, missing = _made(maker, at.state)
        if act is not None and undo and hasattr(act.command, "undoes"):
            undoes = at.state.sent.get(step.name, "")
            act = act._replace(command=msgspec.structs.replace(act.command, undoes=undoes))
        undecided = bool(at.state.command_id)  # then the same id is sent again (rule 21)
        n = at.state.n if undecided else at.state.n + 1
        command_id = ""
        if act is not None:
            command_id = derived(at.context.key, step.name, n)
            at.sends.append(Send(act.key, act.command, command_id))
        at.emit(
            m.StepStarted(
                step=step.name,
                kind=step.kind,
                n=n,
                command_id=command_id,
                target=act.key if act else "",
                command_type=type(act.command).__name__ if act else "",
                undo=undo,
            )
        )
        self._arm(at, step, n)
        if missing:
            self._open_incident(at, missing, _suggested(step, at.state))

    def _arm(self, at: _Progress, step: Step, n: int) -> None:
        self._disarm(at)
        at.emit(
            TimerSet(
                timer_id=f"{step.name}:{n}:{at.state.chases}",
                due=at.context.instant + step.timeout_ms,
                reason=f"step {step.name} is expected by now",
            )
        )

    def _disarm(self, at: _Progress) -> None:
        if at.state.timer:
            at.emit(TimerCancelled(timer_id=at.state.timer))

    def _succeed(self, at: _Progress, definition: Definition, how: str) -> None:
        undo = at.state.phase == "compensating"
        self._disarm(at)
        self._close_incident(at, "progress")
        at.emit(m.StepSucceeded(step=at.state.step, how=how, undo=undo))
        if undo:
            self._undo_next(at, definition)
        else:
            self._advance(at, definition)

    def _fail(
        self, at: _Progress, definition: Definition, code: str, article: str, message: str
    ) -> None:
        undo = at.state.phase == "compensating"
        step = at.state.step
        self._disarm(at)
        at.emit(m.StepFailed(step=step, code=code, article=article, message=message, undo=undo))
        if undo or at.state.after_pivot or definition.step(step).kind != "compensatable":
            acts = _suggested(definition.step(step), at.state)
            self._open_incident(at, f"{code}: {message}", acts)
            return
        self._turn_back(at, definition, f"{code}: {message}")

    def _turn_back(
        self, at: _Progress, definition: Definition, cause: str, reason: Words | None = None
    ) -> None:
        self._disarm(at)
        self._close_incident(at, "compensation")
        at.emit(m.SagaCompensating(step=at.state.step, cause=cause, reason=reason))
        self._undo_next(at, definition)

    def _undo_next(self, at: _Progress, definition: Definition) -> None:
        for name in reversed(at.state.done):
            step = definition.step(name)
            if name in at.state.undone or step.compensation is None:
                continue
            if _made(step.compensation, at.state) == (None, ""):
                at.emit(m.StepSucceeded(step=name, how="unneeded", undo=True))
                continue
            self._start(at, step, undo=True)
            return
        self._disarm(at)
        at.emit(m.SagaEnded(result="compensated", cause=at.state.cause))

    # -- time

    def _timer_due(self, at: _Progress, definition: Definition) -> None:
        state = at.state
        if state.phase not in ("running", "compensating"):
            return
        step = definition.step(state.step)
        if state.held:
            self._start(at, step)
            return
        if state.phase == "running" and step.chase is not None and state.chases < step.chases_max:
            chase, number = step.chase, state.chases + 1
            act, _ = _made(lambda s, f: chase(s, f, number), state)
            if act is not None:
                chase_id = derived(at.context.key, step.name, "chase", number)
                at.sends.append(Send(act.key, act.command, chase_id))
            self._arm(at, step, state.n)
            return
        if state.phase == "running" and step.optional:
            self._succeed(at, definition, "skipped")
            return
        cause = "no progress in the expected time"
        self._open_incident(at, cause, _suggested(step, state))

    def _open_incident(self, at: _Progress, cause: str, suggested: tuple[str, ...]) -> None:
        if at.state.incident:
            return
        incident = derived(at.context.key, "incident", at.context.revision, len(at.events))
        at.emit(
            m.IncidentOpened(
                incident_id=incident,
                step=at.state.step,
                cause=cause,
                since=at.state.since or at.context.instant,
                suggested=list(suggested),
            )
        )

    def _close_incident(self, at: _Progress, how: str) -> None:
        if at.state.incident:
            at.emit(m.IncidentClosed(incident_id=at.state.incident, how=how))

    # -- people

    def _operator(self, at: _Progress, definition: Definition, command: Any) -> Decision | Refusal:
        name = _ACTS[type(command)]
        refusal = _no_person(at.context.actor) or role_missing(
            at.context.actor, type(command).__name__
        )
        refusal = refusal or self._act_refusal(at.state, command)
        if refusal is None and name in ("skip", "done-outside"):
            refusal = _guarded(definition.step(at.state.step))
        if refusal is not None:
            return refusal
        if definition.four_eyes and name != "retry":
            act_id = derived(at.context.command_id, "act")
            at.emit(
                m.ActProposed(
                    act_id=act_id,
                    act=name,
                    step=at.state.step,
                    reason=command.reason,
                    evidence=getattr(command, "evidence", None),
                    person=at.context.actor.person,
                )
            )
            return at.decision()
        self._perform(at, definition, name, command.reason)
        return at.decision()

    def _act_refusal(self, state: SagaState, command: Any) -> Refusal | None:
        if state.phase not in ("running", "compensating"):
            return Refusal(
                "SAGA_NOT_OPEN", "The saga is not open.", hint="Look at its history first."
            )
        if not text_of(command.reason):
            return Refusal(
                "REASON_REQUIRED", "An operator act needs a reason.", hint="Say why in a sentence."
            )
        if isinstance(command, m.MarkDoneOutside) and not text_of(command.evidence):
            return Refusal(
                "EVIDENCE_REQUIRED",
                "What was done outside needs evidence.",
                hint="Name where it is recorded.",
            )
        step = getattr(command, "step", state.step)
        if step != state.step:
            return Refusal(
                "STEP_MOVED_ON",
                f"The saga stands at {state.step}, not at {step}.",
                hint="Reload and decide again.",
            )
        if isinstance(command, m.CompensateSaga):
            if state.after_pivot:
                return Refusal(
                    "AFTER_PIVOT",
                    "The instrument has left the bank: only forward recovery is possible.",
                    article="UCP600-10a",
                    hint="Retry, skip, mark as done outside, or ask for a cancellation.",
                )
            if state.phase == "compensating":
                return Refusal(
                    "ALREADY_COMPENSATING",
                    "The saga is turning back already.",
                    hint="Retry or skip the step that is stuck.",
                )
        return None

    def _second_person(
        self, at: _Progress, definition: Definition, command: m.ApproveAct | m.RejectAct
    ) -> Decision | Refusal:
        act = at.state.acts.get(command.act_id)
        if act is None:
            return Refusal(
                "NO_SUCH_ACT", "No act waits under this id.", hint="See the open approvals."
            )
        nobody = _no_person(at.context.actor)
        nobody = nobody or role_missing(at.context.actor, type(command).__name__)
        if nobody is not None:
            return nobody
        if act.person == at.context.actor.person:
            return Refusal(
                "SELF_APPROVAL",
                "Who proposed an act cannot approve it.",
                hint="Ask a second person.",
            )
        who = at.context.actor.person
        if isinstance(command, m.RejectAct):
            at.emit(m.ActRejected(act_id=command.act_id, person=who, reason=command.reason))
            return at.decision()
        if (act.step, act.n, act.phase) != (at.state.step, at.state.n, at.state.phase):
            return Refusal(
                "STEP_MOVED_ON", f"The saga has moved on from {act.step}.", hint="Reject the act."
            )
        at.emit(m.ActApproved(act_id=command.act_id, person=who))
        self._perform(at, definition, act.act, act.reason)
        return at.decision()

    def _perform(self, at: _Progress, definition: Definition, name: str, reason: Words) -> None:
        if name == "retry":
            self._close_incident(at, "retry")
            undo = at.state.phase == "compensating"
            self._start(at, definition.step(at.state.step), undo=undo)
        elif name == "skip":
            self._succeed(at, definition, "skipped")
        elif name == "done-outside":
            self._succeed(at, definition, "outside")
        else:
            self._turn_back(at, definition, "called off", reason)

    # -- fold

    def evolve(self, state: SagaState, event: Any) -> SagaState:  # noqa: C901  a flat table of facts
        """Return the saga after one event."""
        new = copy.copy(state)
        match event:
            case m.SagaStarted():
                new.phase, new.subject, new.facts = "running", event.subject, dict(event.facts)
                new.definition = event.definition
            case m.SagaObserved():
                new.facts = {**state.facts, **event.facts}
                if event.event_type not in state.observed:
                    new.observed = [*state.observed, event.event_type]
            case m.StepStarted():
                new.step, new.n, new.command_id = event.step, event.n, event.command_id
                new.chases, new.held = 0, False
                if event.command_id and not event.undo:
                    new.sent = {**state.sent, event.step: event.command_id}
            case m.StepHeld():
                new.command_id, new.held, new.since = "", True, event.since
            case m.StepSucceeded():
                self._evolve_success(new, state, event)
            case m.StepFailed():
                new.command_id, new.since = "", 0
            case m.SagaCompensating():
                if (
                    state.command_id
                ):  # sent and not answered: it may yet take effect, so undo it too
                    new.done = [*state.done, state.step]
                new.phase, new.cause, new.command_id = "compensating", event.cause, ""
            case m.SagaEnded():
                new.phase, new.command_id, new.timer = event.result, "", ""
                new.acts = {}
            case m.IncidentOpened():
                new.incident = event.incident_id
            case m.IncidentClosed():
                new.incident = ""
            case m.ActProposed():
                # What is approved is this act on this step as it stands now.
                kept = ProposedAct(
                    event.act, event.step, event.reason, event.person, state.n, state.phase
                )
                new.acts = {**state.acts, event.act_id: kept}
            case m.ActApproved() | m.ActRejected():
                new.acts = {k: v for k, v in state.acts.items() if k != event.act_id}
            case TimerSet():
                new.timer = event.timer_id
            case TimerCancelled():
                new.timer = ""
            case TimerFired():
                new.timer, new.chases = "", state.chases + 1
        return new

    def _evolve_success(self, new: SagaState, state: SagaState, event: m.StepSucceeded) -> None:
        new.command_id, new.since = "", 0
        if event.undo:
            new.undone = [*state.undone, event.step]
            return
        new.step = event.step
        if event.how != "unneeded":
            new.done = [*state.done, event.step]
        definition = self.definitions.get(state.definition)
        if definition is not None and definition.step(event.step).kind == "pivot":
            new.after_pivot = True


_ACTS: dict[type, str] = {
    m.RetryStep: "retry",
    m.SkipStep: "skip",
    m.MarkDoneOutside: "done-outside",
    m.CompensateSaga: "compensate",
}


def _suggested(step: Step, state: SagaState) -> tuple[str, ...]:
    """Return the operator acts that could help at a step."""
    acts = SUGGESTED_AFTER_PIVOT if state.after_pivot else SUGGESTED
    guarded = ("skip", "done-outside") if step.guarded and state.phase == "running" else ()
    return tuple(act for act in acts if act not in guarded)


def _guarded(step: Step) -> Refusal | None:
    if not step.guarded:
        return None
    return Refusal(
        "STEP_ENDS_BY_ITSELF",
        f"The step {step.name} ends by itself alone.",
        hint="Wait for it, or give the deal up while that is possible.",
    )


def _no_person(actor: Actor) -> Refusal | None:
    """Return why nobody acts: parts of the program and unsigned documents are no person."""
    if actor.person and ":" not in actor.person and actor.role not in PROGRAM_ROLES:
        return None
    return Refusal(
        "NEEDS_A_PERSON", "A person must decide this.", hint="Let somebody with authority decide."
    )


def _made(
    maker: Callable[[str, Facts], Act | None] | None, state: SagaState
) -> tuple[Act | None, str]:
    """Return a step's command, or why it cannot be made: a step that was skipped left facts out."""
    if maker is None:
        return None, ""
    try:
        return maker(state.subject, state.facts), ""
    except KeyError as missing:
        return None, f"the fact {missing.args[0]} is not known: an earlier step was skipped"


def _observed(seen: m.ObserveEvent, *, matched: bool) -> m.SagaObserved:
    return m.SagaObserved(
        event_type=seen.event_type,
        stream=seen.stream,
        event_id=seen.event_id,
        facts=dict(seen.facts),
        matched=matched,
    )
