"""What sagas hear and say: observations in, facts about their own progress out.

Facts are non-personal values (keys, amounts in minor units as text, codes), never private fields.
"""

from __future__ import annotations

import msgspec

from usance.kernel.words import Words

CONTEXT = "trade"


class ObserveEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fact from another stream, routed to the saga it concerns. `event_type` is the short name."""

    event_type: str
    stream: str
    event_id: str
    facts: dict[str, str]


class ObserveOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command that the saga sent."""

    command_id: str
    answer: str
    code: str
    article: str
    message: str


class RetryStep(msgspec.Struct, frozen=True, kw_only=True):
    """Operator: do the present step again."""

    reason: Words


class SkipStep(msgspec.Struct, frozen=True, kw_only=True):
    """Operator: go on without the present step."""

    step: str
    reason: Words


class MarkDoneOutside(msgspec.Struct, frozen=True, kw_only=True):
    """Operator: the present step was done by other means; `evidence` names where that is recorded."""

    step: str
    reason: Words
    evidence: Words


class CompensateSaga(msgspec.Struct, frozen=True, kw_only=True):
    """Operator: give up and undo what was done, in reverse."""

    reason: Words


class ApproveAct(msgspec.Struct, frozen=True, kw_only=True):
    """A second person agrees to a proposed operator act."""

    act_id: str


class RejectAct(msgspec.Struct, frozen=True, kw_only=True):
    """A second person turns a proposed operator act down."""

    act_id: str
    reason: Words


class SagaStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A saga began. `definition` and `version` pin the steps; `subject` is the stream it serves."""

    definition: str
    version: int
    subject: str
    facts: dict[str, str]


class SagaObserved(msgspec.Struct, frozen=True, kw_only=True):
    """The saga took note of a fact; `matched` is false when nothing waited for it."""

    event_type: str
    stream: str
    event_id: str
    facts: dict[str, str]
    matched: bool


class StepStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A step began; command fields are empty when the step only waits. `undo` marks a compensation."""

    step: str
    kind: str
    n: int
    command_id: str
    target: str
    command_type: str
    undo: bool


class StepSucceeded(msgspec.Struct, frozen=True, kw_only=True):
    """A step reached its aim; `how` is event, outcome, skipped, outside or unneeded."""

    step: str
    how: str
    undo: bool


class StepFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A step was refused or failed, with the rule that said so."""

    step: str
    code: str
    article: str
    message: str
    undo: bool


class StepHeld(msgspec.Struct, frozen=True, kw_only=True):
    """A step cannot go on yet, for a reason that passes by itself (`code`); it is tried again.

    `since` is when it was told so first (ms UTC).
    """

    step: str
    code: str
    since: int


class SagaCompensating(msgspec.Struct, frozen=True, kw_only=True):
    """The saga turned back: what was done is undone in reverse from here.

    `cause` is in words of the program; `reason` in those of the person who called it off.
    """

    step: str
    cause: str
    reason: Words | None = None


class SagaEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The saga is over: completed or compensated."""

    result: str
    cause: str


class IncidentOpened(msgspec.Struct, frozen=True, kw_only=True):
    """No progress without a person: what is stuck, since when, and what could be done."""

    incident_id: str
    step: str
    cause: str
    since: int
    suggested: list[str]


class IncidentClosed(msgspec.Struct, frozen=True, kw_only=True):
    """An incident is over, by an act or by progress."""

    incident_id: str
    how: str


class ActProposed(msgspec.Struct, frozen=True, kw_only=True):
    """An operator act waits for a second person."""

    act_id: str
    act: str
    step: str
    reason: Words
    person: str
    evidence: Words | None = None


class ActApproved(msgspec.Struct, frozen=True, kw_only=True):
    """A second person agreed; the act takes effect with this event."""

    act_id: str
    person: str


class ActRejected(msgspec.Struct, frozen=True, kw_only=True):
    """A second person said no; nothing changed."""

    act_id: str
    person: str
    reason: Words


MESSAGES: tuple[tuple[type, str], ...] = (
    (ObserveEvent, "command"),
    (ObserveOutcome, "command"),
    (RetryStep, "command"),
    (SkipStep, "command"),
    (MarkDoneOutside, "command"),
    (CompensateSaga, "command"),
    (ApproveAct, "command"),
    (RejectAct, "command"),
    (SagaStarted, "event"),
    (SagaObserved, "event"),
    (StepStarted, "event"),
    (StepSucceeded, "event"),
    (StepFailed, "event"),
    (StepHeld, "event"),
    (SagaCompensating, "event"),
    (SagaEnded, "event"),
    (IncidentOpened, "event"),
    (IncidentClosed, "event"),
    (ActProposed, "event"),
    (ActApproved, "event"),
    (ActRejected, "event"),
)
