"""Who may be forgotten: data subjects with their holds and erasures; and how a reveal is asked for.

A subject's stream is `tenant/subject/<pseudonym>`: it names nobody. An erasure is asked for, approved by two
other people, then done by the program; a hold that stands stops it at every step, and stands again against it in
the key store. Accesses of people are recorded by `engine.accesses`.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from usance.kernel.clock import MS_PER_DAY, iso
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet
from usance.kernel.words import Words, text_of

SUBJECT, ACCESS = "subject", "access"
APPROVALS = 2
CONTEXT = "system"


class PlaceHold(msgspec.Struct, frozen=True, kw_only=True):
    """Put one more legal hold on a data subject: no key of it is destroyed while one stands."""

    reason: Words


class LiftHold(msgspec.Struct, frozen=True, kw_only=True):
    """Take one legal hold away, by its id; the others stand on."""

    hold: str = ""
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


class RetentionClock(msgspec.Struct, frozen=True, kw_only=True):
    """When the keeping of one part ends: its pseudonym, its class, from when (ms UTC), until when."""

    subject: str
    retention: str
    started: int
    due: int


class ProposeDisposal(msgspec.Struct, frozen=True, kw_only=True):
    """Propose to destroy what need not be kept any more: the time of each part is over.

    `subjects` are pseudonyms; where they are not all that belongs to the data subject, it is `partial` and the
    rest stays. Nothing is destroyed before `cooling_days` have passed.
    """

    subjects: list[str]
    clocks: list[RetentionClock]
    partial: bool = False
    obliged: list[str] = []
    cooling_days: int = 0
    reason: Words


class WithdrawDisposal(msgspec.Struct, frozen=True, kw_only=True):
    """Take a proposal or a request back before anything is destroyed."""

    reason: Words


class RestrictErasure(msgspec.Struct, frozen=True, kw_only=True):
    """Say that an erasure was asked for and that obligations stand against it: the facts of the letter.

    `until` is when it will be possible (ms UTC), 0 where nobody knows yet; `letter` is the letter's reference.
    """

    person: str
    letter: str
    grounds: list[str]
    until: int


class BeginDestruction(msgspec.Struct, frozen=True, kw_only=True):
    """Ask, as the last thing before keys are destroyed, whether they may be: `obliged` is looked for once more."""

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
    """A legal hold stands. `hold` is its id among the subject's: H1, H2 and so on."""

    by: str
    hold: str = ""
    reason: Words


class HoldReleased(msgspec.Struct, frozen=True, kw_only=True):
    """One legal hold is gone."""

    by: str
    hold: str = ""
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


class DisposalProposed(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody proposed to destroy what need not be kept any more; not before `not_before` (ms UTC)."""

    by: str
    subjects: list[str]
    clocks: list[RetentionClock]
    partial: bool
    not_before: int
    reason: Words


class DisposalWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal or a request was taken back."""

    by: str
    reason: Words


class ErasureRestricted(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure was asked for and is refused for now: the data is kept for these grounds alone."""

    by: str
    letter: str
    grounds: list[str]
    until: int


class RetentionDue(msgspec.Struct, frozen=True, kw_only=True):
    """What stood against an erasure that was asked for has run out: it can be asked for again."""

    letter: str


class DestructionBegun(msgspec.Struct, frozen=True, kw_only=True):
    """From here on keys are destroyed."""

    subjects: list[str]


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
    (ProposeDisposal, "command"),
    (WithdrawDisposal, "command"),
    (RestrictErasure, "command"),
    (BeginDestruction, "command"),
    (RecordErasure, "command"),
    (RecordReveal, "command"),
    (HoldPlaced, "event"),
    (HoldReleased, "event"),
    (ErasureRequested, "event"),
    (ErasureApproved, "event"),
    (DisposalProposed, "event"),
    (DisposalWithdrawn, "event"),
    (ErasureRestricted, "event"),
    (RetentionDue, "event"),
    (DestructionBegun, "event"),
    (SubjectErased, "event"),
    (FieldRevealed, "event"),
)


class SubjectState(msgspec.Struct):
    """A data subject as its stream tells.

    `holds` are the ids of legal holds that stand, `lifted` of those that stood, `placed` counts what gave ids.

    `phase` is "" (kept), restricted, due, requested (or proposed, see `ground`), approved, destroying or erased.
    `before` is the phase to which it goes back when what waits is withdrawn or was but a part: a refused request
    stays refused until its day. `ground` is request or retention; `parts` are the certificates of what was
    destroyed in part before.
    """

    holds: tuple[str, ...] = ()
    lifted: tuple[str, ...] = ()
    placed: int = 0
    phase: str = ""
    requester: str = ""
    approvers: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    certificate: str = ""
    ground: str = ""
    partial: bool = False
    not_before: int = 0
    until: int = 0
    letter: str = ""
    parts: tuple[str, ...] = ()
    before: str = ""

    @property
    def held(self) -> bool:
        """Whether any legal hold stands."""
        return bool(self.holds)


KEPT = ("", "restricted", "due")
"""Phases in which nothing waits for approval or destruction."""
WAITING = ("requested", "approved")
RESTRICTION = "restriction"
ONLY_HOLD = "H0"
"""The id of a hold from the time when a subject had but one (schema version 1)."""


class SubjectDecider:
    """Decides holds and erasures of a data subject."""

    category = SUBJECT
    fold_id = "subject-4"

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
                if not text_of(command.reason).strip():
                    return _REASON_OF_HOLD
                hold = f"H{state.placed + 1}"
                return Decision((HoldPlaced(by=person, hold=hold, reason=command.reason),))
            case LiftHold():
                return _lifted(state, command, person)
            case RequestErasure():
                return self._request(state, command, person)
            case ProposeDisposal():
                return _proposed(state, command, context)
            case WithdrawDisposal():
                return _withdrawn(state, command, person)
            case RestrictErasure():
                return _restricted(state, command, context)
            case BeginDestruction():
                return _begun(state, command, context)
            case TimerDue():
                is_due = "restricted" in (state.phase, state.before)
                return Decision((RetentionDue(letter=state.letter),)) if is_due else NOTHING
            case ApproveErasure():
                return self._approve(state, command, person)
            case RecordErasure():
                return self._record(state, command)
        return Refusal("UNKNOWN_COMMAND", "A data subject takes no such command.")

    def _request(
        self, state: SubjectState, command: RequestErasure, person: str
    ) -> Decision | Refusal:
        if state.phase not in KEPT:
            return _over() if state.phase == "erased" else NOTHING
        unfit = _unfit(state, command.obliged)
        if unfit is not None:
            return unfit
        if not text_of(command.reason) or not command.subjects:
            hint = "Say what the request rests on, such as a letter and its date."
            return Refusal("REASON_REQUIRED", "An erasure needs a reason.", hint=hint)
        asked = ErasureRequested(by=person, subjects=command.subjects, reason=command.reason)
        return Decision((asked, *_disarmed(state)))

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
        if state.phase not in ("approved", "destroying"):
            return Refusal("NOT_APPROVED", "The erasure is not approved by two people.")
        facts = {name: getattr(command, name) for name in command.__struct_fields__}
        return Decision((SubjectErased(**facts),))

    def evolve(self, state: SubjectState, event: Any) -> SubjectState:
        """Return the state after one event."""
        new = copy.copy(state)
        match event:
            case HoldPlaced():
                new.holds = tuple(dict.fromkeys((*state.holds, event.hold)))
                new.placed += event.hold != ONLY_HOLD
            case HoldReleased():
                new.holds = tuple(h for h in state.holds if h != event.hold)
                new.lifted = tuple(dict.fromkeys((*state.lifted, event.hold)))
            case ErasureRequested():
                new.phase, new.requester, new.approvers = "requested", event.by, ()
                new.subjects, new.ground, new.partial = tuple(event.subjects), "request", False
                new.not_before, new.before = 0, ""
            case DisposalProposed():
                new.phase, new.requester, new.approvers = "requested", event.by, ()
                new.subjects, new.ground = tuple(event.subjects), "retention"
                new.partial, new.not_before = event.partial, event.not_before
                new.before = state.phase
            case DisposalWithdrawn():
                new.phase, new.requester, new.approvers, new.subjects = state.before, "", (), ()
                new.before = ""
            case ErasureRestricted():
                new.phase, new.until, new.letter = "restricted", event.until, event.letter
            case RetentionDue():
                new.phase = "due" if state.phase == "restricted" else state.phase
                new.before = "due" if state.before == "restricted" else state.before
            case DestructionBegun():
                new.phase = "destroying"
            case ErasureApproved():
                new.approvers = (*state.approvers, event.by)
                if len(new.approvers) >= APPROVALS:
                    new.phase = "approved"
            case SubjectErased():
                new.certificate = event.certificate
                new.phase, new.before = (state.before if state.partial else "erased"), ""
                if state.partial:
                    new.parts = (*state.parts, event.certificate)
                    new.requester, new.approvers, new.subjects, new.partial = "", (), (), False
        return new


_REASON_OF_HOLD = Refusal(
    "REASON_REQUIRED",
    "A legal hold is placed and released with a reason.",
    hint="Name the order: its court, number and date.",
)


def _held(state: SubjectState) -> Refusal:
    holds = " and ".join(state.holds)
    words = f"A legal hold stands: {holds}." if len(state.holds) == 1 else f"Holds stand: {holds}."
    return Refusal("LEGAL_HOLD", words, hint="Each goes first: usance subject hold --release HOLD.")


def _lifted(state: SubjectState, command: LiftHold, person: str) -> Decision | Refusal:
    if command.hold not in state.holds:
        if command.hold in state.lifted:
            return NOTHING
        standing = ", ".join(state.holds) or "none"
        hint = f"Those that stand: {standing}. Name the one whose order has ended."
        return Refusal("NO_SUCH_HOLD", "No hold of this id stands.", hint=hint)
    if not text_of(command.reason).strip():
        return _REASON_OF_HOLD
    if state.phase in WAITING and person == state.requester:
        hint = "Somebody else releases the hold."
        words = "You have asked for what the hold stands against."
        return Refusal("SELF_APPROVAL", words, hint=hint)
    return Decision((HoldReleased(by=person, hold=command.hold, reason=command.reason),))


def _unfit(state: SubjectState, obliged: list[str]) -> Refusal | None:
    if state.held:
        return _held(state)
    if obliged:
        return Refusal(
            "RETENTION_OBLIGES",
            f"The data must be kept: {obliged[0]}.",
            hint="Ask again once the obligation has ended.",
        )
    return None


def _disarmed(state: SubjectState) -> tuple[TimerCancelled, ...]:
    armed = state.phase == "restricted" and state.until
    return (TimerCancelled(timer_id=RESTRICTION),) if armed else ()


def _proposed(
    state: SubjectState, command: ProposeDisposal, context: Context
) -> Decision | Refusal:
    if state.phase not in KEPT:
        return _over() if state.phase == "erased" else NOTHING
    unfit = _unfit(state, command.obliged)
    if unfit is not None:
        return unfit
    late = [c for c in command.clocks if c.due > context.instant]
    known = {c.subject for c in command.clocks}
    if late or not command.subjects or set(command.subjects) - known:
        return Refusal(
            "NOT_DUE",
            "Not everything that is named is due.",
            hint="usance retention show SUBJECT tells when it is; --partial proposes what is due.",
        )
    if not text_of(command.reason):
        return Refusal("REASON_REQUIRED", "A proposal says what it rests on.", hint="--reason")
    proposed = DisposalProposed(
        by=context.actor.person,
        subjects=command.subjects,
        clocks=command.clocks,
        partial=command.partial,
        not_before=context.instant + max(0, command.cooling_days) * MS_PER_DAY,
        reason=command.reason,
    )
    return Decision((proposed,))


def _withdrawn(state: SubjectState, command: WithdrawDisposal, person: str) -> Decision | Refusal:
    if state.phase not in WAITING:
        return Refusal("NOTHING_ASKED", "Nothing waits that could be taken back.")
    return Decision((DisposalWithdrawn(by=person, reason=command.reason),))


def _restricted(
    state: SubjectState, command: RestrictErasure, context: Context
) -> Decision | Refusal:
    if state.phase not in KEPT:
        return NOTHING
    restricted = ErasureRestricted(
        by=command.person, letter=command.letter, grounds=command.grounds, until=command.until
    )
    if command.until <= context.instant:
        return Decision((restricted, *_disarmed(state)))
    reason = "what stands against the erasure runs out"
    armed = TimerSet(timer_id=RESTRICTION, due=command.until, reason=reason)
    return Decision((restricted, armed))


def _begun(state: SubjectState, command: BeginDestruction, context: Context) -> Decision | Refusal:
    if state.phase == "destroying":
        return _held(state) if state.held else NOTHING
    if state.phase != "approved":
        return Refusal(
            "NOT_APPROVED",
            "This is not approved by two people.",
            hint="usance subject show SUBJECT tells what is missing.",
        )
    unfit = _unfit(state, command.obliged)
    if unfit is not None:
        return unfit
    if context.instant < state.not_before:
        return Refusal(
            "COOLING_OFF",
            f"Nothing is destroyed before {iso(state.not_before)[:16]}Z.",
            hint="Do it then; until then it can be withdrawn.",
        )
    return Decision((DestructionBegun(subjects=list(state.subjects)),))


def _over() -> Refusal:
    return Refusal("ERASED_ALREADY", "This subject is erased.", hint="Its certificate says when.")
