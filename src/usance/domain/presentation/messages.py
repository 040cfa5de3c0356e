"""Commands and events of a presentation (UCP 600 articles 14 to 16). Own stream, own clock."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from usance.domain.credit.amendment_messages import PendingTerms
from usance.domain.terms import Drawing, Finding, PresentedDocument, Terms, is_code
from usance.kernel.decider import PrivateBlock
from usance.kernel.words import Words, text_of


class Stated(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Discrepancies as a notice states them, an examiner's own words among them."""

    subject: str
    sentences: list[str]


class PresentedNames(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Who presents, where that is no bank, and on whom each document's draft is drawn, where that is none."""

    subject: str
    presenter: str = ""
    drawees: list[str] = []


class PresentDocuments(msgspec.Struct, frozen=True, kw_only=True):
    """Documents arrive. `presented_at` is ms UTC, 0: now; `place` a place, BIC or calendar id.

    `role` is ours: issuing, confirming or nominated; `presentee` is the BIC presented to; the claim
    is `amount` minor units of `currency`. `presenter` and drawees are BICs: whoever else they are stands in
    `names`, where the codec and the decider put them.
    """

    presentation: str
    credit: str
    presenter: str
    presenter_reference: str = ""
    presented_at: int = 0
    place: str = ""
    presentee: str = ""
    currency: str
    amount: int
    documents: list[PresentedDocument] = []
    role: str = "issuing"
    names: PresentedNames | None = None

    def apart(self) -> PresentDocuments:
        """Return it with every name in the private block; drawees of documents stand there by their place."""
        drawees = ["" if not d.drawee or is_code(d.drawee) else d.drawee for d in self.documents]
        presenter = "" if is_code(self.presenter) else self.presenter
        if not presenter and not any(drawees):
            return self
        names = PresentedNames(
            subject=self.credit, presenter=presenter, drawees=drawees if any(drawees) else []
        )
        documents = [
            replace(d, drawee="") if name else d
            for d, name in zip(self.documents, drawees, strict=True)
        ]
        bank = "" if presenter else self.presenter
        return replace(self, presenter=bank, documents=documents, names=self.names or names)


class PresentationReceived(msgspec.Struct, frozen=True, kw_only=True):
    """Documents arrived and the clock runs: `due` (ms UTC) is the close of the fifth banking day.

    `presented` is the banking day it counts from. Calendar and version made the deadline. A presenter, or a
    drawee, that is no bank stands in `names`; in version 1 it stood in clear.
    """

    presentation: str
    credit: str
    presenter: str
    presenter_reference: str = ""
    presented_at: int
    presented: str
    place: str
    presentee: str
    currency: str
    amount: int
    documents: list[PresentedDocument]
    role: str
    maker: str
    due: int
    calendar: str
    calendar_version: str
    content_hash: str = ""
    names: PresentedNames | None = None

    def presented_by(self) -> str:
        """Return who presented: a BIC or a name, or what stands for a withheld one."""
        if self.presenter or self.names is None:
            return self.presenter
        named = self.names
        return named.presenter if isinstance(named, PresentedNames) else text_of(named)

    def whole(self) -> list[PresentedDocument]:
        """Return the documents with their drawees; names that are withheld stay away."""
        named = self.names
        if not isinstance(named, PresentedNames) or not named.drawees:
            return self.documents
        by_place = dict(enumerate(named.drawees))
        return [
            replace(d, drawee=name) if (name := by_place.get(place)) else d
            for place, d in enumerate(self.documents)
        ]


class ExaminePresentation(msgspec.Struct, frozen=True, kw_only=True):
    """Examine against the credit's facts, as `DrawingRegistered` gives them."""

    terms: Terms
    terms_version: int = 0
    drawing: Drawing
    pending: list[PendingTerms] = []


class DiscrepancyRaised(msgspec.Struct, frozen=True, kw_only=True):
    """A discrepancy stands. `by` is rules, or the opaque id of the examiner who saw it.

    What an examiner saw is told in `words`; the finding then has no explanation of its own.
    """

    finding: Finding
    by: str
    words: Words | None = None


class ExaminationCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """The rules have answered. `deemed` are amendments that this presentation accepts (10c).

    `available_by` and the tenor are of the terms examined against; `base_date` is the day a tenor
    runs from, empty when that is the day of acceptance (sight) or the documents do not show it.
    """

    findings: list[Finding]
    complies: bool
    discrepancies: int
    deemed: list[int]
    examiner: str
    terms_version: int
    available_by: str
    tenor_days: int
    tenor_from: str
    base_date: str


class RaiseDiscrepancy(msgspec.Struct, frozen=True, kw_only=True):
    """An examiner adds what the rules cannot see. `explanation` is a sentence for the notice."""

    article: str
    explanation: Words
    rule: str = "MANUAL"


class SeekWaiver(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the applicant to waive the discrepancies; the clock runs on (16b)."""


class WaiverSought(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant was asked."""

    discrepancies: int


class RecordWaiver(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant's answer; the bank may still refuse."""

    waived: bool
    reference: str = ""


class DiscrepanciesWaived(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant waived the discrepancies."""

    reference: str = ""


class WaiverDeclined(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant did not waive."""

    reference: str = ""


class ReferDiscrepancies(msgspec.Struct, frozen=True, kw_only=True):
    """As nominated bank, ask the issuing bank for authority despite discrepancies (MT750)."""

    message: str = ""


class DiscrepanciesReferred(msgspec.Struct, frozen=True, kw_only=True):
    """The issuing bank was asked."""

    message: str = ""
    discrepancies: Stated


class AuthoriseTakeUp(msgspec.Struct, frozen=True, kw_only=True):
    """Documents may be taken up despite discrepancies (MT752, sent by us or received).

    `reference` is of the MT752.
    """

    reference: str = ""
    by: str = ""


class TakeUpAuthorised(msgspec.Struct, frozen=True, kw_only=True):
    """The issuing bank gave authority to take up."""

    reference: str = ""
    by: str = ""


class RefusePresentation(msgspec.Struct, frozen=True, kw_only=True):
    """Give the single notice of refusal (16c). `disposal`: HOLD, NOTIFY, RETURN or PREVINST.

    `message` is the reference (MUR) of the MT734.
    """

    disposal: str
    message: str = ""


class PresentationRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The notice of refusal: every discrepancy and the disposal. Instants are ms UTC."""

    discrepancies: Stated
    disposal: str
    statement: str
    given: int
    due: int
    message: str = ""


class ReturnDocuments(msgspec.Struct, frozen=True, kw_only=True):
    """Send refused documents back (16e). `courier` names the dispatch."""

    courier: str = ""


class DocumentsReturned(msgspec.Struct, frozen=True, kw_only=True):
    """Refused documents were sent back."""

    courier: str = ""


class HonourPresentation(msgspec.Struct, frozen=True, kw_only=True):
    """Pay at sight. Two people must have acted: who examined or proposed, and who approves."""

    reason: Words | None = None


class AcceptDraft(msgspec.Struct, frozen=True, kw_only=True):
    """Accept a draft, payable at maturity. Two people, as for sight."""

    reason: Words | None = None


class IncurDeferred(msgspec.Struct, frozen=True, kw_only=True):
    """Undertake to pay at maturity. Two people, as for sight."""

    reason: Words | None = None


class NegotiatePresentation(msgspec.Struct, frozen=True, kw_only=True):
    """Buy the drafts or documents. Two people, as for sight."""

    reason: Words | None = None


class TakeUpProposed(msgspec.Struct, frozen=True, kw_only=True):
    """A first person would take up; `method` waits for a second one."""

    method: str
    maker: str


class PresentationHonoured(msgspec.Struct, frozen=True, kw_only=True):
    """Honoured at sight. `basis`: complying, waived, authorised or precluded."""

    credit: str
    currency: str
    amount: int
    basis: str
    approver: str


class DraftAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A draft was accepted. `maturity` YYYY-MM-DD is a banking day of `calendar`."""

    credit: str
    currency: str
    amount: int
    basis: str
    approver: str
    maturity: str
    calendar: str
    calendar_version: str


class DeferredUndertakingIncurred(msgspec.Struct, frozen=True, kw_only=True):
    """A deferred payment undertaking was incurred."""

    credit: str
    currency: str
    amount: int
    basis: str
    approver: str
    maturity: str
    calendar: str
    calendar_version: str


class PresentationNegotiated(msgspec.Struct, frozen=True, kw_only=True):
    """Drafts or documents were bought; `maturity` is when the issuing bank owes (empty: sight)."""

    credit: str
    currency: str
    amount: int
    basis: str
    approver: str
    maturity: str
    calendar: str
    calendar_version: str


class PresentationEscalated(msgspec.Struct, frozen=True, kw_only=True):
    """The deadline nears without a decision.

    `level`: two_days, one_day, overdue (the five days of a nominated bank), or return_overdue
    (refused documents not sent back). `draft` is what a notice would state;
    `due` is the deadline.
    """

    level: str
    due: int
    draft: Stated


class PresentationPrecluded(msgspec.Struct, frozen=True, kw_only=True):
    """The fifth banking day passed without a decision: the bank must honour (16f)."""

    due: int


class MaturityReached(msgspec.Struct, frozen=True, kw_only=True):
    """The due date of an acceptance or undertaking came."""

    maturity: str
    currency: str
    amount: int


class SettlePresentation(msgspec.Struct, frozen=True, kw_only=True):
    """Record that the presenter is paid. `reference` is of the payment."""

    reference: str = ""


class PresentationSettled(msgspec.Struct, frozen=True, kw_only=True):
    """The presenter is paid."""

    credit: str
    currency: str
    amount: int
    reference: str = ""


class WithdrawPresentation(msgspec.Struct, frozen=True, kw_only=True):
    """The presenter takes the documents back before a decision."""

    cause: str = ""
    reason: Words | None = None


class PresentationWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The presenter took the documents back."""

    credit: str
    cause: str = ""
    reason: Words | None = None


MESSAGES: tuple[tuple[type, str], ...] = (
    (PresentDocuments, "command"),
    (ExaminePresentation, "command"),
    (RaiseDiscrepancy, "command"),
    (SeekWaiver, "command"),
    (RecordWaiver, "command"),
    (ReferDiscrepancies, "command"),
    (AuthoriseTakeUp, "command"),
    (RefusePresentation, "command"),
    (ReturnDocuments, "command"),
    (HonourPresentation, "command"),
    (AcceptDraft, "command"),
    (IncurDeferred, "command"),
    (NegotiatePresentation, "command"),
    (SettlePresentation, "command"),
    (WithdrawPresentation, "command"),
    (PresentationReceived, "event"),
    (DiscrepancyRaised, "event"),
    (ExaminationCompleted, "event"),
    (WaiverSought, "event"),
    (DiscrepanciesWaived, "event"),
    (WaiverDeclined, "event"),
    (DiscrepanciesReferred, "event"),
    (TakeUpAuthorised, "event"),
    (PresentationRefused, "event"),
    (DocumentsReturned, "event"),
    (TakeUpProposed, "event"),
    (PresentationHonoured, "event"),
    (DraftAccepted, "event"),
    (DeferredUndertakingIncurred, "event"),
    (PresentationNegotiated, "event"),
    (PresentationEscalated, "event"),
    (PresentationPrecluded, "event"),
    (MaturityReached, "event"),
    (PresentationSettled, "event"),
    (PresentationWithdrawn, "event"),
)
"""Every message of the presentation with its kind."""
