"""Who may do what: one table of roles by act, closed by default, checked where commands are decided.

Four eyes compare persons (the deciders do that over an item's whole history); authority looks at the
role a person acts in. What no row names, nobody may do. Amounts above the senior tier are for senior
checkers: the tier is fixed when an approval is asked for, and `tier_missing` holds the approval to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from usance.kernel.decider import Context, Decider, Decision, Refusal
from usance.kernel.errors import Refused

Roles = frozenset[str]

PARTS: Roles = frozenset(("system", "gateway", "network"))
"""Roles of parts of the program; the inlets let no person claim them."""

_MAKER: Roles = frozenset(("maker", "officer"))
_CHECKERS: Roles = frozenset(("checker", "senior_checker", "officer"))
_DESK: Roles = _MAKER | _CHECKERS
_EXAMINERS: Roles = _DESK | {"examiner"}
_CREDIT: Roles = _CHECKERS | {"credit_officer"}
_COMPLIANCE: Roles = frozenset(("compliance", "compliance_officer"))
_EXPORTERS: Roles = _CHECKERS | {"auditor", "compliance_officer"}
_ENGINEERS: Roles = frozenset(("engineer",))
_NETWORK: Roles = frozenset(("network",))
_GATEWAY: Roles = frozenset(("gateway", "network"))
_NOBODY: Roles = frozenset()

_REVIEWERS: Roles = frozenset(("auditor", "compliance_officer", "senior_checker"))

GLASS = "break_glass"
"""The role of a person behind broken glass: only the aggregate that notes each act sends commands in it."""

OPERATORS: Roles = _CHECKERS | _ENGINEERS
"""Roles that may move what is stuck."""

_TABLE: tuple[tuple[Roles, str], ...] = (
    (_MAKER, "RepairMessage"),
    (_MAKER | {"gateway"}, "ApplyForCredit RequestAmendment"),
    (_DESK, "WithdrawApplication RequestVoid DropAmendment AuthenticateCredit"),
    (_CHECKERS, "ApproveCredit ApproveAmendment RejectCredit VoidIssue CancelCredit CloseCredit"),
    (_CHECKERS, "AdviseCredit DeclineToAdvise AddConfirmation DeclineConfirmation AbandonMessage"),
    (_DESK | _NETWORK, "ReceiveCredit ReceiveAmendment RecordAdvice RecordCorrespondence"),
    (_DESK | _NETWORK, "RespondToAmendment RespondToCancellation"),
    (_EXAMINERS | _GATEWAY, "PresentDocuments WithdrawPresentation RecordWaiver AuthoriseTakeUp"),
    (_EXAMINERS, "RaiseDiscrepancy SeekWaiver ReferDiscrepancies ReturnDocuments"),
    (_CHECKERS, "RefusePresentation HonourPresentation IncurDeferred AcceptDraft"),
    (_CHECKERS, "NegotiatePresentation SettlePresentation"),
    (_CREDIT, "SetFacility ReleaseReservation"),
    (_EXAMINERS | _COMPLIANCE | _ENGINEERS, "ClaimWork ReleaseWork"),
    (_COMPLIANCE, "ProposeDisposition ReturnToInvestigation"),
    (frozenset(("compliance_officer",)), "ApproveDisposition"),
    (OPERATORS, "RetryStep SkipStep MarkDoneOutside CompensateSaga ApproveAct RejectAct"),
    (OPERATORS, "Discard Redrive Release Reread"),
    (_EXPORTERS, "ExportPack"),
    (_COMPLIANCE, "ProposeList ApproveList RejectList WithdrawList"),
    (_COMPLIANCE, "PlaceHold LiftHold"),
    (_COMPLIANCE, "RequestErasure ProposeDisposal WithdrawDisposal"),
    (_COMPLIANCE | {"senior_checker"}, "ApproveErasure"),
    (_COMPLIANCE | {"auditor"}, "RecordReveal"),
    (_COMPLIANCE | _ENGINEERS, "TurnKey AdoptKeys"),
    (_COMPLIANCE | _ENGINEERS | {"senior_checker"}, "ApproveTurn"),
    (_GATEWAY, "RecordAck RecordNak RecordSent"),
    (_NOBODY, "ValidateApplication RequestApproval RequestAmendmentApproval IssueCredit"),
    (_NOBODY, "IssueAmendment VoidAmendment DeemAmendmentAccepted ExpireCredit NoteDelivery"),
    (_NOBODY, "BeginComplianceCheck CompleteComplianceCheck QueueMessage ExaminePresentation"),
    (_NOBODY, "RegisterDrawing HonourDrawing SettleDrawing ReleaseDrawing ReserveLimit"),
    (_NOBODY, "ConsumeReservation IncreaseReservation ReleaseIncrease HoldMargin ReleaseMargin"),
    (_NOBODY, "ObserveEvent ObserveOutcome OpenCase RecordScreening Drain FireTimer TimerDue"),
    (_NOBODY, "IntakePassed RegisterSchema UnreadableInput RecordErasure RecordTurn SealBarrier"),
    (_NOBODY, "RestrictErasure BeginDestruction"),
    (_NOBODY, "RecordAccess RecordDenial RecordRescreening"),
    (OPERATORS | _COMPLIANCE | {"auditor"}, "BreakGlass CloseGlass"),
    (_REVIEWERS, "ReviewGlass"),
    (frozenset((GLASS,)), "UseGlass"),
)

AUTHORITY: Mapping[str, Roles] = {act: roles for roles, acts in _TABLE for act in acts.split()}
"""Roles of people, and of the network and the gateway, by the name of the command."""

_NEVER_BROKEN = frozenset(
    "BreakGlass CloseGlass ReviewGlass UseGlass ProposeDisposition ReturnToInvestigation"
    " ApproveDisposition PlaceHold LiftHold RequestErasure ApproveErasure ProposeDisposal"
    " WithdrawDisposal ProposeList ApproveList RejectList WithdrawList TurnKey ApproveTurn"
    " AdoptKeys".split()
)
"""Acts that stay with their roles: cases are no business of others, and an erasure cannot be undone."""

BREAKABLE: Roles = (
    frozenset(act for act, roles in AUTHORITY.items() if roles - PARTS - {GLASS}) - _NEVER_BROKEN
)
"""Acts that a person may take behind broken glass."""

DENIALS = frozenset(
    (
        "ROLE_NEEDED",
        "TIER_NEEDED",
        "SELF_APPROVAL",
        "NEEDS_A_PERSON",
        "REVEAL_DENIED",
        "NOT_YOURS",
        "LEGAL_HOLD",
    )
)
"""Codes of refusals that deny a person something for who they are or what stands against it: each is an event."""

ENGINE = "system"
"""The role of sagas, timers and the engine: they act on recorded decisions, and may send any command.

What binds the bank still needs a person: the deciders of those acts ask for one.
"""


class Acting(Protocol):
    """Anybody who acts in a role."""

    @property
    def role(self) -> str:
        """The role used."""
        ...


def role_missing(actor: Acting, act: str) -> Refusal | None:
    """Return why an actor may not do this in their role; it names the roles that may."""
    roles = AUTHORITY.get(act, _NOBODY)
    if actor.role in roles or actor.role == ENGINE or (actor.role == GLASS and act in BREAKABLE):
        return None
    people = ", ".join(sorted(roles - PARTS - {GLASS}))
    if not people:
        return Refusal(
            "ROLE_NEEDED",
            f"{act} is said by parts of the program, never by a person.",
            hint="Do what leads to it: the program sends it then.",
        )
    return Refusal(
        "ROLE_NEEDED",
        f"{act} is for: {people}.",
        hint="Ask somebody who acts in one of these roles.",
    )


def demand_role(actor: Acting, act: str) -> None:
    """Raise Refused unless an actor may do this in their role: for what is done before or beside a command."""
    missing = role_missing(actor, act)
    if missing is not None:
        raise Refused(missing.code, missing.message, hint=missing.hint)


SECOND_PERSON = frozenset(
    "ApproveCredit ApproveAmendment VoidIssue AuthenticateCredit AuthoriseTakeUp HonourPresentation"
    " AcceptDraft IncurDeferred NegotiatePresentation ApproveAct ApproveDisposition ApproveList"
    " ApproveErasure ApproveTurn ReviewGlass".split()
)
"""Acts that nobody takes on what they entered or proposed themselves; their deciders compare persons."""

TIERED = frozenset(
    "ApproveCredit ApproveAmendment HonourPresentation AcceptDraft IncurDeferred"
    " NegotiatePresentation".split()
)
"""Acts that above an amount are for the senior tier."""


def allowed(role: str, act: str, *, own: bool, tier: str = "standard") -> bool:
    """Tell what the table says of an act: in a role, on one's own work or another's, in a tier."""
    actor = _Role(role)
    if role_missing(actor, act) is not None or (own and act in SECOND_PERSON):
        return False
    return act not in TIERED or tier_missing(actor, tier) is None


class _Role(NamedTuple):
    role: str


SENIOR: Roles = frozenset(("senior_checker",))
"""Who approves in the senior tier."""


def tier_missing(actor: Acting, tier: str) -> Refusal | None:
    """Return why an actor may not approve what stands in a tier (`standard` or `senior`)."""
    if tier != "senior" or actor.role in SENIOR:
        return None
    return Refusal(
        "TIER_NEEDED",
        "This amount is approved by a senior checker.",
        hint="Ask somebody who acts as senior_checker.",
    )


class Authorised:
    """A decider behind the table: a command that its sender's role does not allow is refused.

    Whoever approves their own work is told just that, even where their role could not approve at all.
    """

    def __init__(self, decider: Decider[Any]) -> None:
        self.category = decider.category
        self.fold_id = decider.fold_id
        self.initial = decider.initial
        self.evolve = decider.evolve
        self.holds_words: Callable[[Any], bool] | None = getattr(decider, "holds_words", None)
        self._decide = decider.decide

    def decide(self, state: Any, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command, if the role allows it; never raises."""
        missing = role_missing(context.actor, type(command).__name__)
        said = self._decide(state, command, context)
        if missing is None:
            return said
        own_work = isinstance(said, Refusal) and said.code == "SELF_APPROVAL"
        return said if own_work else missing
