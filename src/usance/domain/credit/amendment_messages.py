"""Commands and events of amendments (UCP 600 article 10)."""

from __future__ import annotations

import msgspec

from usance.domain.posting import Posting
from usance.domain.terms import Narrative, Parties, RequiredDocument, Terms
from usance.kernel.words import Words


class TermsChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What an amendment changes; None leaves a term as it is. Fields are those of MT707.

    `increase` and `decrease` (32B, 33B) are minor units and add up over pending amendments.
    """

    increase: int = 0
    decrease: int = 0
    tolerance_plus: int | None = None
    tolerance_minus: int | None = None
    additional_amount: int | None = None
    expiry_date: str | None = None
    expiry_place: str | None = None
    available_with: str | None = None
    available_by: str | None = None
    tenor_days: int | None = None
    tenor_from: str | None = None
    draft_on: str | None = None
    partial_shipments: str | None = None
    transhipment: str | None = None
    port_of_loading: str | None = None
    port_of_discharge: str | None = None
    place_of_receipt: str | None = None
    final_destination: str | None = None
    latest_shipment: str | None = None
    shipment_period: str | None = None
    incoterm: str | None = None
    incoterm_place: str | None = None
    unit_price: int | None = None
    quantity: int | None = None
    quantity_unit: str | None = None
    hs_code: str | None = None
    required_documents: list[RequiredDocument] | None = None
    presentation_days: int | None = None
    insured_percent: int | None = None
    confirmation: str | None = None
    confirming_bank: str | None = None
    reimbursing_bank: str | None = None


class PendingTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms as they would be if the unanswered `amendments` (by number) were accepted."""

    amendments: list[int]
    terms: Terms


class RequestAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """The applicant asks for a change of an issued credit. `amendment` numbers from 1."""

    amendment: int
    changes: TermsChanges
    parties: Parties | None = None
    narrative: Narrative | None = None
    reason: Words | None = None


class AmendmentRequested(msgspec.Struct, frozen=True, kw_only=True):
    """A change was asked for. `liability` is the bank's exposure once it is issued.

    `revision` is this event's own; `content_hash` binds the approval.
    """

    amendment: int
    changes: TermsChanges
    parties: Parties | None = None
    narrative: Narrative | None = None
    reason: Words | None = None
    maker: str
    facility: str = ""
    revision: int
    content_hash: str
    currency: str
    liability: int
    liability_change: int


class RequestAmendmentApproval(msgspec.Struct, frozen=True, kw_only=True):
    """Put a requested amendment before a second person: its checks are over, its limit is reserved."""

    amendment: int


class AmendmentApprovalRequested(msgspec.Struct, frozen=True, kw_only=True):
    """An approval is asked for. `revision` is this event's own; tier is standard or senior."""

    amendment: int
    revision: int
    content_hash: str
    tier: str
    amount: int
    currency: str


class ApproveAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """A second person agrees to what `revision` and `content_hash` show."""

    amendment: int
    revision: int
    content_hash: str
    reason: Words | None = None


class AmendmentApproved(msgspec.Struct, frozen=True, kw_only=True):
    """A second person approved an amendment."""

    amendment: int
    approver: str
    reason: Words | None = None


class DropAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """Turn a requested amendment down before its issue, by a person or to undo what was begun."""

    amendment: int
    cause: str = ""
    reason: Words | None = None


class AmendmentDropped(msgspec.Struct, frozen=True, kw_only=True):
    """A requested amendment was never issued."""

    amendment: int
    cause: str = ""
    reason: Words | None = None


class IssueAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """Issue an approved amendment; `message` is the reference (MUR) of its MT707."""

    amendment: int
    message: str = ""


class AmendmentIssued(msgspec.Struct, frozen=True, kw_only=True):
    """The bank is bound by the amendment from here (10b); `consents` are who must agree (10a).

    An increase of exposure is booked at once (P7); a decrease only with the consent.
    """

    amendment: int
    changes: TermsChanges
    message: str
    date: str
    consents: list[str]
    currency: str
    liability: int
    liability_change: int
    postings: list[Posting] = []


class VoidAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """Undo an issue of which nothing left the bank; said by a saga that two people turned back."""

    amendment: int
    cause: str = ""
    undoes: str = ""


class AmendmentVoided(msgspec.Struct, frozen=True, kw_only=True):
    """The amendment was never issued for anyone outside: what it booked is reversed."""

    amendment: int
    cause: str
    liability: int
    liability_change: int
    postings: list[Posting] = []


class ReceiveAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """An amendment (MT707) of the issuing bank arrives."""

    amendment: int
    changes: TermsChanges
    sender: str
    sender_reference: str
    parties: Parties | None = None
    narrative: Narrative | None = None
    date: str = ""


class AmendmentAwaitsCredit(msgspec.Struct, frozen=True, kw_only=True):
    """An amendment came before its credit: it is kept, and taken in when the credit arrives."""

    amendment: int
    changes: TermsChanges
    sender: str
    sender_reference: str
    parties: Parties | None = None
    narrative: Narrative | None = None
    date: str = ""
    content_hash: str


class AmendmentReceived(msgspec.Struct, frozen=True, kw_only=True):
    """An amendment arrived; `consents` are the parties whose answer it needs."""

    amendment: int
    changes: TermsChanges
    sender: str
    sender_reference: str
    parties: Parties | None = None
    narrative: Narrative | None = None
    date: str = ""
    consents: list[str]
    content_hash: str = ""


class RespondToAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """A party's answer: `party` beneficiary or confirmer.

    `answer`: accept, reject, or accept_in_part, which counts as rejection (10e).
    """

    amendment: int
    party: str
    answer: str
    reference: str = ""


class AmendmentConsentGiven(msgspec.Struct, frozen=True, kw_only=True):
    """One party agreed; others may be missing."""

    amendment: int
    party: str
    reference: str = ""


class AmendmentAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """All parties agreed: the terms are changed as of `terms_version`; decreases are booked."""

    amendment: int
    terms_version: int
    liability: int
    liability_change: int
    postings: list[Posting] = []


class AmendmentRejected(msgspec.Struct, frozen=True, kw_only=True):
    """A party refused: the terms stand as they were; an increase booked at issue is undone (P7)."""

    amendment: int
    party: str
    in_part: bool = False
    reference: str = ""
    liability: int
    liability_change: int
    postings: list[Posting] = []


class DeemAmendmentAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A presentation that complies only as amended accepts the amendment (10c)."""

    amendment: int
    presentation: str


class AmendmentDeemedAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """The presentation accepted the amendment: the terms are changed as of `terms_version`."""

    amendment: int
    presentation: str
    terms_version: int
    liability: int
    liability_change: int
    postings: list[Posting] = []


MESSAGES: tuple[tuple[type, str], ...] = (
    (RequestAmendment, "command"),
    (RequestAmendmentApproval, "command"),
    (ApproveAmendment, "command"),
    (DropAmendment, "command"),
    (IssueAmendment, "command"),
    (VoidAmendment, "command"),
    (ReceiveAmendment, "command"),
    (RespondToAmendment, "command"),
    (DeemAmendmentAccepted, "command"),
    (AmendmentRequested, "event"),
    (AmendmentApprovalRequested, "event"),
    (AmendmentApproved, "event"),
    (AmendmentDropped, "event"),
    (AmendmentIssued, "event"),
    (AmendmentVoided, "event"),
    (AmendmentAwaitsCredit, "event"),
    (AmendmentReceived, "event"),
    (AmendmentConsentGiven, "event"),
    (AmendmentAccepted, "event"),
    (AmendmentRejected, "event"),
    (AmendmentDeemedAccepted, "event"),
)
"""Every message of amendments with its kind."""
