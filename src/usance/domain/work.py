"""Who is at a piece of work: one stream per work item, named by what waits and where.

A claim tells colleagues; it gives no right and takes none: what a person may do is decided where it is
done, and a second person stays a second person. An item that changes its kind is another item.
"""

from __future__ import annotations

from typing import Any

import msgspec

from usance.domain.guards import is_person, unknown_command, wrong_key
from usance.kernel.decider import NOTHING, Context, Decision, Refusal

LEADS = frozenset(("senior_checker", "officer"))
"""Roles that may take a claim from a person who is away."""

HIDDEN = "case:"
"""Begins the items of compliance: a claim in the trade book would tell that there is a case."""


class ClaimWork(msgspec.Struct, frozen=True, kw_only=True):
    """The one who acts takes a work item on. `work` is its id, such as `examine:albion/presentation/P1`."""

    work: str


class ReleaseWork(msgspec.Struct, frozen=True, kw_only=True):
    """The holder gives a work item back; a lead may, too, for somebody who is away."""

    work: str


class WorkClaimed(msgspec.Struct, frozen=True, kw_only=True):
    """A person is at it."""

    work: str
    person: str


class WorkReleased(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody is at it any more; `person` was."""

    work: str
    person: str


MESSAGES: tuple[tuple[type, str], ...] = (
    (ClaimWork, "command"),
    (ReleaseWork, "command"),
    (WorkClaimed, "event"),
    (WorkReleased, "event"),
)
"""Every message about claims with its kind."""


class WorkState(msgspec.Struct):
    """Who holds the item; empty for nobody."""

    holder: str = ""


class WorkDecider:
    """Decides who is at a piece of work."""

    category = "work"
    fold_id = "work/1"

    def initial(self, key: str) -> WorkState:  # noqa: ARG002
        """Return the state before any claim."""
        return WorkState()

    def decide(self, state: WorkState, command: Any, context: Context) -> Decision | Refusal:
        """Answer a claim or a release; never raises."""
        if not isinstance(command, ClaimWork | ReleaseWork):
            return unknown_command(command)
        flaw = wrong_key(context, command.work) or _nobody(context) or _hidden(command.work)
        if flaw:
            return flaw
        if isinstance(command, ClaimWork):
            return _claim(state, command, context)
        return _release(state, command, context)

    def evolve(self, state: WorkState, event: Any) -> WorkState:
        """Return the state after one event."""
        if isinstance(event, WorkClaimed):
            return WorkState(holder=event.person)
        return WorkState() if isinstance(event, WorkReleased) else state


def _nobody(context: Context) -> Refusal | None:
    if is_person(context.actor):
        return None
    return Refusal("NEEDS_A_PERSON", "Only people are at work.", hint="Act as a person.")


def _hidden(work: str) -> Refusal | None:
    if not work.startswith(HIDDEN):
        return None
    return Refusal(
        "NOT_CLAIMABLE",
        "Work of compliance is not claimed in the trade book.",
        hint="Open it on the page of compliance: what is proposed there names who did.",
    )


def _claim(state: WorkState, command: ClaimWork, context: Context) -> Decision | Refusal:
    person = context.actor.person
    if state.holder == person:
        return NOTHING
    if state.holder:
        return Refusal(
            "WORK_TAKEN",
            f"{state.holder} is at it.",
            hint="Ask them to release it, or a lead to do so while they are away.",
        )
    return Decision((WorkClaimed(work=command.work, person=person),))


def _release(state: WorkState, command: ReleaseWork, context: Context) -> Decision | Refusal:
    if not state.holder:
        return NOTHING
    if state.holder != context.actor.person and context.actor.role not in LEADS:
        return Refusal(
            "NOT_THE_HOLDER",
            f"{state.holder} is at it, and only they or a lead release it.",
            hint=f"Leads act as: {', '.join(sorted(LEADS))}.",
        )
    return Decision((WorkReleased(work=command.work, person=state.holder),))
