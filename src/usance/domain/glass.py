"""Breaking the glass: a person takes acts beyond their role, for a bounded time, with a reason, and on record.

One stream per person. While the glass is broken, the person acts in the role `break_glass`: each act goes through
here, is noted, and is sent on to its aggregate in the same unit. Nobody can claim that role otherwise. All other
rules stand, four eyes above all. Afterwards somebody else reviews what was done, by the end of the next banking
day; who has a review overdue breaks no glass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from usance.domain.calendars import calendar
from usance.domain.guards import is_person, second_person_missing, unknown_command, wrong_key
from usance.kernel.authority import BREAKABLE
from usance.kernel.clock import MS_PER_MINUTE
from usance.kernel.decider import NOTHING, Context, Decision, Refusal, Send, key_parts
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet
from usance.kernel.words import Words, text_of

CONTEXT = "access"
MINUTES_MAX = 60
ACTS_MAX = 5
CALENDAR = "GBLON"
"""Whose banking days a review is due by."""


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """Break the glass for the acts named, for up to 60 minutes.

    `person` is the one who acts, `scope` a stream or its reference (empty: any), `incident` the reference of
    the trouble that calls for it.
    """

    person: str
    acts: list[str]
    scope: str = ""
    minutes: int
    incident: str
    reason: Words


class UseGlass(msgspec.Struct, frozen=True, kw_only=True):
    """Take one act behind the broken glass: `body` is the command as JSON, `command` the id it gets."""

    person: str
    act: str
    target: str
    command: str
    body: Words


class CloseGlass(msgspec.Struct, frozen=True, kw_only=True):
    """Close the glass before its time."""

    person: str


class ReviewGlass(msgspec.Struct, frozen=True, kw_only=True):
    """Say, as somebody else, whether what was done behind the glass was right."""

    person: str
    number: int
    justified: bool
    reason: Words


class GlassBroken(msgspec.Struct, frozen=True, kw_only=True):
    """A person broke the glass, for the `number`th time; `until` and `review_due` are ms UTC."""

    number: int
    person: str
    role: str
    acts: list[str]
    scope: str
    until: int
    review_due: int
    incident: str
    reason: Words


class GlassUsed(msgspec.Struct, frozen=True, kw_only=True):
    """An act was taken behind the glass: the command `command` went to the stream `target`."""

    number: int
    person: str
    act: str
    target: str
    command: str


class GlassClosed(msgspec.Struct, frozen=True, kw_only=True):
    """The glass is closed; `early` by the person, else by its time."""

    number: int
    person: str
    early: bool
    uses: int


class GlassReviewOverdue(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody has reviewed in time what was done behind the glass."""

    number: int
    person: str


class GlassReviewed(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody else reviewed what was done behind the glass."""

    number: int
    person: str
    by: str
    justified: bool
    late: bool
    reason: Words


MESSAGES: tuple[tuple[type, str], ...] = (
    (BreakGlass, "command"),
    (UseGlass, "command"),
    (CloseGlass, "command"),
    (ReviewGlass, "command"),
    (GlassBroken, "event"),
    (GlassUsed, "event"),
    (GlassClosed, "event"),
    (GlassReviewOverdue, "event"),
    (GlassReviewed, "event"),
)
"""Every message about broken glass with its kind."""


class Opening(msgspec.Struct):
    """One time that the glass was broken, until it is reviewed."""

    number: int
    acts: list[str]
    scope: str
    until: int
    uses: int = 0
    closed: bool = False
    overdue: bool = False


class GlassState(msgspec.Struct):
    """How often a person broke the glass, and what of it is not reviewed."""

    count: int = 0
    openings: list[Opening] = []


class GlassDecider:
    """Decides who may act beyond their role. `commands` gives the class of a command by its name."""

    category = "glass"
    fold_id = "glass/1"

    def __init__(self, commands: Callable[[], Mapping[str, type]]) -> None:
        self._commands = commands

    def initial(self, key: str) -> GlassState:  # noqa: ARG002
        """Return the state before any event."""
        return GlassState()

    def decide(self, state: GlassState, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command; never raises."""
        if isinstance(command, TimerDue):
            return _due(state, command, context)
        if not isinstance(command, BreakGlass | UseGlass | CloseGlass | ReviewGlass):
            return unknown_command(command)
        flaw = wrong_key(context, command.person)
        if flaw:
            return flaw
        if isinstance(command, ReviewGlass):
            return _review(state, command, context)
        if not is_person(context.actor) or context.actor.person != command.person:
            return Refusal("NOT_YOURS", "People break the glass for themselves alone.")
        if isinstance(command, BreakGlass):
            return _broken(state, command, context)
        if isinstance(command, CloseGlass):
            return _closed(state, context)
        return self._used(state, command, context)

    def _used(self, state: GlassState, command: UseGlass, context: Context) -> Decision | Refusal:
        opening = _open(state)
        if opening is None or context.instant >= opening.until:
            return Refusal(
                "GLASS_NOT_BROKEN",
                "The glass is not broken, or its time is over.",
                hint="Break it first, with a reason: usance glass break",
            )
        if command.act not in opening.acts or not _within(opening.scope, command.target):
            return Refusal(
                "ROLE_NEEDED",
                f"The glass was broken for {', '.join(opening.acts)}"
                f"{f' on {opening.scope}' if opening.scope else ''} alone.",
                hint="Close it, and break it for what is needed.",
            )
        cls = self._commands().get(command.act)
        try:
            meant = msgspec.json.decode(command.body.text, type=cls) if cls is not None else None
        except (msgspec.MsgspecError, AttributeError, ValueError):
            meant = None
        if meant is None:
            return Refusal("COMMAND_UNREADABLE", f"This is no {command.act}.", hint="Correct it.")
        used = GlassUsed(
            number=opening.number,
            person=command.person,
            act=command.act,
            target=command.target,
            command=command.command,
        )
        return Decision((used,), (Send(command.target, meant, command.command),))

    def evolve(self, state: GlassState, event: Any) -> GlassState:
        """Return the state after one event."""
        new = copy.copy(state)
        match event:
            case GlassBroken():
                new.count = event.number
                made = Opening(event.number, list(event.acts), event.scope, event.until)
                new.openings = [*state.openings, made]
            case GlassUsed():
                new.openings = _changed(state, event.number, uses=1)
            case GlassClosed():
                new.openings = _changed(state, event.number, closed=True)
            case GlassReviewOverdue():
                new.openings = _changed(state, event.number, overdue=True)
            case GlassReviewed():
                new.openings = [o for o in state.openings if o.number != event.number]
        return new


def _changed(
    state: GlassState, number: int, *, uses: int = 0, closed: bool = False, overdue: bool = False
) -> list[Opening]:
    found = []
    for one in state.openings:
        kept = one
        if one.number == number:
            kept = copy.copy(one)
            kept.uses, kept.closed = one.uses + uses, one.closed or closed
            kept.overdue = one.overdue or overdue
        found.append(kept)
    return found


def _open(state: GlassState) -> Opening | None:
    return next((o for o in state.openings if not o.closed), None)


def _within(scope: str, target: str) -> bool:
    if target.count("/") < 2:  # no stream: nothing decides it
        return False
    return not scope or scope == target or scope == key_parts(target).identity


def _broken(state: GlassState, command: BreakGlass, context: Context) -> Decision | Refusal:
    if _open(state) is not None:
        return Refusal("GLASS_OPEN", "Your glass is broken already.", hint="Close it first.")
    if any(o.overdue for o in state.openings):
        return Refusal(
            "REVIEW_OVERDUE",
            "What you did behind the glass before is not reviewed, and should be.",
            hint="Ask an auditor or the compliance officer to review it: usance glass review",
        )
    flaw = _flaw(command)
    if flaw is not None:
        return flaw
    number, until = state.count + 1, context.instant + command.minutes * MS_PER_MINUTE
    due = calendar(CALENDAR).deadline_after(until, 1)
    broken = GlassBroken(
        number=number,
        person=command.person,
        role=context.actor.role,
        acts=command.acts,
        scope=command.scope,
        until=until,
        review_due=due.due,
        incident=command.incident,
        reason=command.reason,
    )
    closing = TimerSet(timer_id=f"close-{number}", due=until, reason="the glass closes")
    review = TimerSet(
        timer_id=f"review-{number}",
        due=due.due,
        reason="review of what was done behind the glass",
        calendar=due.calendar,
        calendar_version=due.calendar_version,
    )
    return Decision((broken, closing, review))


def _flaw(command: BreakGlass) -> Refusal | None:
    if not text_of(command.reason) or not command.incident.strip():
        return Refusal(
            "REASON_REQUIRED",
            "Breaking the glass needs a reason and the incident that calls for it.",
            hint="Say both: whoever reviews it reads them.",
        )
    if not 1 <= command.minutes <= MINUTES_MAX:
        return Refusal(
            "TOO_LONG", f"The glass stays broken for 1 to {MINUTES_MAX} minutes.", hint="Less."
        )
    unknown = [a for a in command.acts if a not in BREAKABLE]
    if unknown or not 1 <= len(command.acts) <= ACTS_MAX:
        return Refusal(
            "NOT_BREAKABLE",
            f"The glass is broken for one to {ACTS_MAX} acts of people"
            f"{f', and {unknown[0]} is none of them' if unknown else ''}.",
            hint="Compliance's own acts, erasures and the glass itself stay with their roles.",
        )
    return None


def _closed(state: GlassState, context: Context) -> Decision | Refusal:
    opening = _open(state)
    if opening is None:
        return NOTHING
    person = context.actor.person
    closed = GlassClosed(number=opening.number, person=person, early=True, uses=opening.uses)
    return Decision((closed, TimerCancelled(timer_id=f"close-{opening.number}")))


def _due(state: GlassState, timer: TimerDue, context: Context) -> Decision | Refusal:
    kind, _, number = timer.timer_id.partition("-")
    person = key_parts(context.key).identity
    for one in state.openings:
        if str(one.number) != number:
            continue
        if kind == "close" and not one.closed:
            closed = GlassClosed(number=one.number, person=person, early=False, uses=one.uses)
            return Decision((closed,))
        if kind == "review":
            return Decision((GlassReviewOverdue(number=one.number, person=person),))
    return NOTHING


def _review(state: GlassState, command: ReviewGlass, context: Context) -> Decision | Refusal:
    opening = next((o for o in state.openings if o.number == command.number), None)
    if opening is None:
        return Refusal("NOTHING_TO_REVIEW", "There is no such use of the glass to review.")
    missing = second_person_missing(context.actor, command.person)
    if missing is not None:
        return missing
    if not opening.closed:
        return Refusal(
            "GLASS_OPEN", "The glass is still broken.", hint="It is reviewed once it is closed."
        )
    if not text_of(command.reason):
        return Refusal("REASON_REQUIRED", "A review says what was found.", hint="Add a reason.")
    reviewed = GlassReviewed(
        number=command.number,
        person=command.person,
        by=context.actor.person,
        justified=command.justified,
        late=opening.overdue,
        reason=command.reason,
    )
    if opening.overdue:
        return Decision((reviewed,))
    return Decision((reviewed, TimerCancelled(timer_id=f"review-{opening.number}")))
