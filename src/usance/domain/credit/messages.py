"""Commands and events of a credit, up to its issue or advice, with the list of them all.

Persons appear as opaque ids only. Amounts are minor units of the credit's currency. Drawings and
the end of a credit stand in `drawing_messages`, amendments in `amendment_messages`.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from usance.domain.credit import amendment_messages, drawing_messages
from usance.domain.posting import Posting
from usance.domain.terms import Narrative, Parties, Terms, impersonal
from usance.kernel.decider import PrivateBlock
from usance.kernel.words import Words


class ApplyForCredit(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant asks our bank to issue. `credit` is the number it will bear."""

    credit: str
    application: str
    side: str = "import"
    terms: Terms
    parties: Parties
    narrative: Narrative | None = None
    facility: str
    margin_percent: int = 0
    note: Words | None = None

    def apart(self) -> ApplyForCredit:
        """Return it with no name of the applicant among the terms."""
        terms = impersonal(self.terms, self.parties)
        return self if terms is self.terms else replace(self, terms=terms)


class CreditApplied(msgspec.Struct, frozen=True, kw_only=True):
    """An application was received. Digests are SHA-256 hex of what is not kept in memory.

    `content_hash` binds terms, parties, narrative, facility and margin: approvals name it.
    """

    credit: str
    application: str
    side: str
    terms: Terms
    parties: Parties
    narrative: Narrative | None = None
    facility: str
    margin_percent: int
    note: Words | None = None
    maker: str
    parties_digest: str
    narrative_digest: str
    content_hash: str
    draft_on_applicant: bool = False
    parties_complete: bool = True


class ValidateApplication(msgspec.Struct, frozen=True, kw_only=True):
    """Check the application against UCP 600 articles 3 and 6 and the mandatory fields of MT700."""


class ApplicationValidated(msgspec.Struct, frozen=True, kw_only=True):
    """The application can be issued as it stands. `max_liability` includes the plus tolerance."""

    max_liability: int
    margin: int


class BeginComplianceCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The checks that each credit passes begin."""

    check: str = ""


class ComplianceCheckStarted(msgspec.Struct, frozen=True, kw_only=True):
    """Checks began. Says nothing of what they find: nobody in trade may know (tipping off)."""

    check: str = ""


class CompleteComplianceCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The checks are over and the credit may go on."""

    check: str = ""


class ComplianceCheckCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """Checks are over. The same event, whether they took a second or a week."""

    check: str = ""


class RequestApproval(msgspec.Struct, frozen=True, kw_only=True):
    """Put the application before a second person."""


class ApprovalRequested(msgspec.Struct, frozen=True, kw_only=True):
    """An approval is asked for. `revision` is this event's own; tier is standard or senior."""

    revision: int
    content_hash: str
    tier: str
    amount: int
    currency: str


class ApproveCredit(msgspec.Struct, frozen=True, kw_only=True):
    """A second person agrees to what `revision` and `content_hash` show."""

    revision: int
    content_hash: str
    reason: Words | None = None


class CreditApproved(msgspec.Struct, frozen=True, kw_only=True):
    """A second person approved the issue."""

    revision: int
    content_hash: str
    approver: str
    reason: Words | None = None


class RejectCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Turn an application down, by a person or to undo what was begun; possible until issue.

    A person gives a `reason`; a part of the program says the `cause` in words of its own.
    """

    cause: str = ""
    reason: Words | None = None


class CreditRejected(msgspec.Struct, frozen=True, kw_only=True):
    """The application was turned down."""

    cause: str = ""
    reason: Words | None = None
    person: str


class WithdrawApplication(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant takes the application back; possible until issue."""

    reason: Words | None = None


class ApplicationWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant took the application back."""

    reason: Words | None = None


class IssueCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Issue the approved credit. `message` is the reference (MUR) of its MT700.

    `margin` is what the facility holds as margin, in the credit's currency.
    """

    message: str = ""
    margin: int = 0


class CreditIssued(msgspec.Struct, frozen=True, kw_only=True):
    """The bank undertook (P2; P3 when margin is held). Dates are of the issuing bank's place."""

    credit: str
    issue_date: str
    message: str
    currency: str
    liability: int
    margin: int
    content_hash: str
    facility: str
    postings: list[Posting] = []


class NoteDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message of this credit. `result`: sent, acked or naked (with `code`)."""

    message: str
    result: str
    code: str = ""


class DeliveryPending(msgspec.Struct, frozen=True, kw_only=True):
    """A message left the bank and its delivery is in doubt until the network answers."""

    message: str


class DeliveryConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """The network took a message (FIN ACK): of the issue, this is the point of no return."""

    message: str


class DeliveryFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The network turned a message away (FIN NAK): repair it, or void while nothing left."""

    message: str
    code: str


class RequestVoid(msgspec.Struct, frozen=True, kw_only=True):
    """A first person proposes to void an issue of which nothing left the bank."""

    reason: Words


class VoidRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A void waits for a second person."""

    reason: Words
    maker: str


class VoidIssue(msgspec.Struct, frozen=True, kw_only=True):
    """A second person (or a saga whose undoing two people agreed to) voids the issue."""

    cause: str = ""
    reason: Words | None = None
    undoes: str = ""


class IssueVoided(msgspec.Struct, frozen=True, kw_only=True):
    """The issue never happened for anyone outside: its postings are reversed."""

    cause: str = ""
    reason: Words | None = None
    person: str
    postings: list[Posting] = []


class RecordAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """An MT730 of the advising bank. `acknowledges` is the message or amendment it means."""

    reference: str
    sender: str = ""
    date: str = ""
    confirmed: bool = False
    acknowledges: str = ""


class AdviceAcknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """The advising bank acknowledged the credit; optional, never a condition of anything."""

    reference: str
    sender: str = ""
    date: str = ""
    confirmed: bool = False
    acknowledges: str = ""


class ReceiveCredit(msgspec.Struct, frozen=True, kw_only=True):
    """A credit arrives from another bank. `mt` is 700, 710 or 720; `role` is ours.

    `role`: advising, second_advising, nominated, confirming or transferring.
    """

    credit: str
    mt: str
    sender: str
    sender_reference: str
    role: str = "advising"
    terms: Terms
    parties: Parties
    narrative: Narrative | None = None
    issue_date: str = ""

    def apart(self) -> ReceiveCredit:
        """Return it with no name of the applicant among the terms."""
        terms = impersonal(self.terms, self.parties)
        return self if terms is self.terms else replace(self, terms=terms)


class CreditReceived(msgspec.Struct, frozen=True, kw_only=True):
    """A credit arrived from another bank.

    `authentication` is fin where the FIN network vouches for its sender; empty where a document says so.
    """

    credit: str
    mt: str
    sender: str
    sender_reference: str
    role: str
    terms: Terms
    parties: Parties
    narrative: Narrative | None = None
    issue_date: str = ""
    parties_digest: str
    narrative_digest: str
    content_hash: str
    authentication: str = ""


class CreditMissing(msgspec.Struct, frozen=True, kw_only=True):
    """An amendment waited, and its credit has not come: somebody should ask the sender."""

    amendments: list[int]


class AuthenticateCredit(msgspec.Struct, frozen=True, kw_only=True):
    """State how the apparent authenticity was checked (article 9b): fin, key, or another method.

    Only the FIN gateway says fin; people are two.
    """

    method: str


class AuthenticationProposed(msgspec.Struct, frozen=True, kw_only=True):
    """A first person found the credit authentic, by `method`; a second one has to agree."""

    method: str
    maker: str


class CreditAuthenticated(msgspec.Struct, frozen=True, kw_only=True):
    """The credit appears authentic."""

    method: str
    person: str


class AdviseCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Pass the credit on to the beneficiary or a second advising bank (`to`)."""

    to: str = "beneficiary"
    message: str = ""


class CreditAdvised(msgspec.Struct, frozen=True, kw_only=True):
    """The credit was passed on (article 9b), without undertaking of ours."""

    to: str
    message: str = ""
    date: str = ""


class DeclineToAdvise(msgspec.Struct, frozen=True, kw_only=True):
    """Elect not to advise; the sender must hear without delay (articles 9e, 9f)."""

    reason: Words


class AdviceDeclined(msgspec.Struct, frozen=True, kw_only=True):
    """The credit was not passed on."""

    reason: Words


class AddConfirmation(msgspec.Struct, frozen=True, kw_only=True):
    """Add our own undertaking (article 8); asked for by field 49."""

    reason: Words | None = None


class ConfirmationAdded(msgspec.Struct, frozen=True, kw_only=True):
    """We undertook beside the issuing bank. `postings` stay empty until P12 is modelled."""

    person: str
    liability: int
    postings: list[Posting] = []


class DeclineConfirmation(msgspec.Struct, frozen=True, kw_only=True):
    """Do not confirm; the issuing bank must hear without delay (article 8d)."""

    reason: Words


class ConfirmationDeclined(msgspec.Struct, frozen=True, kw_only=True):
    """We did not add our undertaking."""

    reason: Words


class MessageText(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """The text of a message as it stands; may name people."""

    subject: str
    text: str


class RecordCorrespondence(msgspec.Struct, frozen=True, kw_only=True):
    """A message about this credit that changes none of its terms.

    `kind`: refusal (734), authority (752), payment (756), discharge (732), acknowledgement (730),
    honour_advice (754), claim (742), free (799). `presentation` when it means one.
    """

    mt: str
    reference: str
    kind: str
    sender: str = ""
    presentation: str = ""
    currency: str = ""
    amount: int = 0
    date: str = ""
    text: MessageText | None = None


class CorrespondenceRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """A message about this credit was filed."""

    mt: str
    reference: str
    kind: str
    sender: str = ""
    presentation: str = ""
    currency: str = ""
    amount: int = 0
    date: str = ""
    text: MessageText | None = None


MESSAGES: tuple[tuple[type, str], ...] = (
    (ApplyForCredit, "command"),
    (ValidateApplication, "command"),
    (BeginComplianceCheck, "command"),
    (CompleteComplianceCheck, "command"),
    (RequestApproval, "command"),
    (ApproveCredit, "command"),
    (RejectCredit, "command"),
    (WithdrawApplication, "command"),
    (IssueCredit, "command"),
    (NoteDelivery, "command"),
    (RequestVoid, "command"),
    (VoidIssue, "command"),
    (RecordAdvice, "command"),
    (ReceiveCredit, "command"),
    (AuthenticateCredit, "command"),
    (AdviseCredit, "command"),
    (DeclineToAdvise, "command"),
    (AddConfirmation, "command"),
    (DeclineConfirmation, "command"),
    (RecordCorrespondence, "command"),
    (CreditApplied, "event"),
    (ApplicationValidated, "event"),
    (ComplianceCheckStarted, "event"),
    (ComplianceCheckCompleted, "event"),
    (ApprovalRequested, "event"),
    (CreditApproved, "event"),
    (CreditRejected, "event"),
    (ApplicationWithdrawn, "event"),
    (CreditIssued, "event"),
    (DeliveryPending, "event"),
    (DeliveryConfirmed, "event"),
    (DeliveryFailed, "event"),
    (VoidRequested, "event"),
    (IssueVoided, "event"),
    (AdviceAcknowledged, "event"),
    (CreditReceived, "event"),
    (AuthenticationProposed, "event"),
    (CreditAuthenticated, "event"),
    (CreditMissing, "event"),
    (CreditAdvised, "event"),
    (AdviceDeclined, "event"),
    (ConfirmationAdded, "event"),
    (ConfirmationDeclined, "event"),
    (CorrespondenceRecorded, "event"),
    *drawing_messages.MESSAGES,
    *amendment_messages.MESSAGES,
)
"""Every message of the credit, drawings and amendments included, with its kind."""
