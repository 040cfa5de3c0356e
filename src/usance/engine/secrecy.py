"""Who may be forgotten: data subjects with their holds and erasures; and how a reveal is asked for.

A subject's stream is `tenant/subject/<pseudonym>`: it names nobody. An erasure is asked for, approved by two
other people, then done by the program; a hold that stands stops it at every step, and stands again against it in
the key store. Accesses of people are recorded by `engine.accesses`.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.words import Words, text_of

SUBJECT, ACCESS = "subject", "access"
APPROVALS = 2
CONTEXT = "system"


class PlaceHold(msgspec.Struct, frozen=True, kw_only=True):
    """Put a legal hold on a data subject: no key of it is destroyed until it goes."""

    reason: Words


class LiftHold(msgspec.Struct, frozen=True, kw_only=True):
    """Take the legal hold away."""

    reason: Words


class RequestErasure(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for the erasure of a data subject and of what belongs to it.

    `subjects` are pseudonyms, the stream's own among them; `obliged` names what still obliges the bank to
    keep the data: while it names anything, the request is refused, and that is recorded.
    """

    subjects: list[str]
    obliged: list[str] = []
    reason: Words


class ApproveErasure(msgspec.Struct, frozen=True, kw_only=True):
    """Approve the erasure that was asked for, as another person; the second approval lets it be done."""

    obliged: list[str] = []


class RecordErasure(msgspec.Struct, frozen=True, kw_only=True):
    """Say that the keys are destroyed: the facts of the certificate."""

    certificate: str
    keys: list[str]
    barriers: list[str]
    acknowledged: list[str]
    at: int
    horizon: str


class HoldPlaced(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold stands."""

    by: str
    reason: Words


class HoldReleased(msgspec.Struct, frozen=True, kw_only=True):
    """The legal hold is gone."""

    by: str
    reason: Words


class ErasureRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked for an erasure. `subjects` are pseudonyms."""

    by: str
    subjects: list[str]
    reason: Words


class ErasureApproved(msgspec.Struct, frozen=True, kw_only=True):
    """Approval `number` of two."""

    by: str
    number: int


class SubjectErased(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate: every key (hex) is destroyed in every store and cache.

    `barriers` are the positions after which no partition sealed for the subject; `acknowledged` names the
    processes that let go; `horizon` is the day after which no backup of the key store can bring a key back.
    """

    certificate: str
    keys: list[str]
    barriers: list[str]
    acknowledged: list[str]
    at: int
    horizon: str


class RecordReveal(msgspec.Struct, frozen=True, kw_only=True):
    """Ask to see a private field of an event, in clear."""

    event: str
    stream: str
    field: str
    reason: Words


class FieldRevealed(msgspec.Struct, frozen=True, kw_only=True):
    """A person was about to be shown a private field: written before it is shown."""

    event: str
    stream: str
    field: str
    person: str
    reason: Words


MESSAGES: tuple[tuple[type, str], ...] = (
    (PlaceHold, "command"),
    (LiftHold, "command"),
    (RequestErasure, "command"),
    (ApproveErasure, "command"),
    (RecordErasure, "command"),
    (RecordReveal, "command"),
    (HoldPlaced, "event"),
    (HoldReleased, "event"),
    (ErasureRequested, "event"),
    (ErasureApproved, "event"),
    (SubjectErased, "event"),
    (FieldRevealed, "event"),
)


class SubjectState(msgspec.Struct):
    """A data subject as its stream tells: `phase` is "", requested, approved or erased."""

    held: bool = False
    phase: str = ""
    requester: str = ""
    approvers: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    certificate: str = ""


_HELD = Refusal(
    "LEGAL_HOLD", "A legal hold stands.", hint="Release it first: usance subject hold --release."
)


class SubjectDecider:
    """Decides holds and erasures of a data subject."""

    category = SUBJECT
    fold_id = "subject-1"

    def initial(self, key: str) -> SubjectState:  # noqa: ARG002
        """Return the state before any event."""
        return SubjectState()

    def decide(self, state: SubjectState, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command."""
        person = context.actor.person
        match command:
            case PlaceHold():
                if state.phase == "erased":
                    return _over()
                placed = HoldPlaced(by=person, reason=command.reason)
                return NOTHING if state.held else Decision((placed,))
            case LiftHold():
                released = HoldReleased(by=person, reason=command.reason)
                return Decision((released,)) if state.held else NOTHING
            case RequestErasure():
                return self._request(state, command, person)
            case ApproveErasure():
                return self._approve(state, command, person)
            case RecordErasure():
                return self._record(state, command)
        return Refusal("UNKNOWN_COMMAND", "A data subject takes no such command.")

    def _request(
        self, state: SubjectState, command: RequestErasure, person: str
    ) -> Decision | Refusal:
        if state.phase:
            return _over() if state.phase == "erased" else NOTHING
        unfit = _unfit(state, command.obliged)
        if unfit is not None:
            return unfit
        if not text_of(command.reason) or not command.subjects:
            hint = "Say what the request rests on, such as a letter and its date."
            return Refusal("REASON_REQUIRED", "An erasure needs a reason.", hint=hint)
        asked = ErasureRequested(by=person, subjects=command.subjects, reason=command.reason)
        return Decision((asked,))

    def _approve(
        self, state: SubjectState, command: ApproveErasure, person: str
    ) -> Decision | Refusal:
        unfit = _unfit(state, command.obliged)
        if state.phase != "requested":
            return Refusal("NOTHING_ASKED", "No erasure waits for approval.")
        if unfit is not None:
            return unfit
        if person in (state.requester, *state.approvers):
            return Refusal(
                "SELF_APPROVAL",
                "You have asked for it or approved it already.",
                hint="Two other people approve an erasure.",
            )
        return Decision((ErasureApproved(by=person, number=len(state.approvers) + 1),))

    def _record(self, state: SubjectState, command: RecordErasure) -> Decision | Refusal:
        if state.phase == "erased":
            return NOTHING
        if state.phase != "approved":
            return Refusal("NOT_APPROVED", "The erasure is not approved by two people.")
        facts = {name: getattr(command, name) for name in command.__struct_fields__}
        return Decision((SubjectErased(**facts),))

    def evolve(self, state: SubjectState, event: Any) -> SubjectState:
        """Return the state after one event."""
        new = copy.copy(state)
        match event:
            case HoldPlaced():
                new.held = True
            case HoldReleased():
                new.held = False
            case ErasureRequested():
                new.phase, new.requester = "requested", event.by
                new.subjects = tuple(event.subjects)
            case ErasureApproved():
                new.approvers = (*state.approvers, event.by)
                if len(new.approvers) >= APPROVALS:
                    new.phase = "approved"
            case SubjectErased():
                new.phase, new.certificate = "erased", event.certificate
        return new


def _unfit(state: SubjectState, obliged: list[str]) -> Refusal | None:
    if state.held:
        return _HELD
    if obliged:
        return Refusal(
            "RETENTION_OBLIGES",
            f"The data must be kept: {obliged[0]}.",
            hint="Ask again once the obligation has ended.",
        )
    return None


def _over() -> Refusal:
    return Refusal("ERASED_ALREADY", "This subject is erased.", hint="Its certificate says when.")
