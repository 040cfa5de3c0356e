"""Sound examples of credits, documents and approvals, for tests of everything that handles them."""

from __future__ import annotations

from typing import Any

import msgspec

from usance.domain.credit import amendment_messages as am
from usance.domain.credit import drawing_messages as dm
from usance.domain.credit import messages as cm
from usance.domain.credit.decider import CreditDecider
from usance.domain.presentation import messages as pm
from usance.domain.terms import (
    Narrative,
    Parties,
    Party,
    PresentedDocument,
    RequiredDocument,
    Terms,
)
from usance.kernel.decider import Actor
from usance.testing.spec import CHECKER, MAKER, SYSTEM, Spec, spec

CREDIT_KEY = "albion/credit/LC1"
PRESENTATION_KEY = "albion/presentation/P1"
ISSUER, ADVISER = "ALBNGB2LXXX", "MERLSGSGXXX"
MONDAY = 1_796_034_600_000
"""30 November 2026, 10:30 in London: a banking day."""

NETWORK = Actor("", "EXPOHKHHXXX", "network")
"""Who hands in what came by FIN: no person."""

_TERMS: dict[str, Any] = {
    "currency": "USD",
    "amount": 100_000_00,
    "expiry_date": "2027-02-26",
    "expiry_place": "SINGAPORE",
    "available_with": ADVISER,
    "available_by": "sight",
    "latest_shipment": "2027-02-05",
    "required_documents": [RequiredDocument(kind="invoice")],
    "issuing_bank": ISSUER,
    "advising_bank": ADVISER,
}


def terms(**changes: Any) -> Terms:
    """Return the terms of a sight credit of USD 100,000 that only asks for an invoice."""
    return Terms(**{**_TERMS, **changes})


def parties(beneficiary: str = "Tanjong Timber Pte Ltd") -> Parties:
    """Return an applicant and a beneficiary."""
    return Parties(
        subject="party-1",
        applicant=Party(name="Albion Furniture Ltd", town="London", country="GB"),
        beneficiary=Party(name=beneficiary, town="Singapore", country="SG"),
    )


def application(
    *, facility: str = "F1", margin_percent: int = 0, **changes: Any
) -> cm.ApplyForCredit:
    """Return an application for `LC1`."""
    return cm.ApplyForCredit(
        credit="LC1",
        application="APP-1",
        terms=terms(**changes),
        parties=parties(),
        narrative=Narrative(subject="party-1", goods="TEAK"),
        facility=facility,
        margin_percent=margin_percent,
    )


def submitted(**changes: Any) -> Spec:
    """Return a stream with an application just taken in."""
    return spec(CreditDecider(), CREDIT_KEY, instant=MONDAY).when(application(**changes))


def awaiting(**changes: Any) -> Spec:
    """Return a stream whose application awaits approval."""
    stream = submitted(**changes)
    stream.when(cm.ValidateApplication(), SYSTEM).when(cm.BeginComplianceCheck(), SYSTEM)
    return stream.when(cm.CompleteComplianceCheck(), SYSTEM).when(cm.RequestApproval(), SYSTEM)


def approval(stream: Spec) -> cm.ApproveCredit:
    """Return the approval of what a stream's credit asks for."""
    state = stream.state
    return cm.ApproveCredit(revision=state.approval_revision, content_hash=state.content_hash)


def issued(**changes: Any) -> Spec:
    """Return a stream whose credit was issued and delivered."""
    stream = awaiting(**changes)
    stream.when(approval(stream), CHECKER).when(cm.IssueCredit(message="MUR1"), SYSTEM)
    return stream.when(cm.NoteDelivery(message="MUR1", result="acked"), SYSTEM)


def checked(number: int) -> cm.CompleteComplianceCheck:
    """Return the end of an amendment's compliance check."""
    return cm.CompleteComplianceCheck(check=f"amendment:{number}")


def amended(stream: Spec, number: int = 1, **changes: Any) -> Spec:
    """Return the stream with an amendment requested, approved and issued."""
    stream.when(am.RequestAmendment(amendment=number, changes=am.TermsChanges(**changes)))
    stream.when(checked(number), SYSTEM)
    stream.when(am.RequestAmendmentApproval(amendment=number), SYSTEM)
    line = stream.state.amendments[number]
    stream.when(
        am.ApproveAmendment(
            amendment=number, revision=line.revision, content_hash=line.content_hash
        ),
        CHECKER,
    )
    return stream.when(am.IssueAmendment(amendment=number), SYSTEM)


def received(*, confirmation: str = "MAY ADD", **changes: Any) -> Spec:
    """Return a stream with a credit of another bank just arrived."""
    command = cm.ReceiveCredit(
        credit="LC1",
        mt="700",
        sender="EXPOHKHHXXX",
        sender_reference="HK123",
        terms=terms(confirmation=confirmation, **changes),
        parties=parties(),
    )
    return spec(CreditDecider(), CREDIT_KEY, instant=MONDAY).when(command, NETWORK)


def drawing(
    amount: int = 60_000_00, presentation: str = "P1", **changes: Any
) -> dm.RegisterDrawing:
    """Return a claim under the credit."""
    fields = {"currency": "USD", "presented": "2027-01-11", **changes}
    return dm.RegisterDrawing(presentation=presentation, amount=amount, **fields)


def invoice(amount: int = 60_000_00, **changes: Any) -> PresentedDocument:
    """Return an invoice."""
    fields = {"kind": "invoice", "reference": "INV-1", "date": "2026-11-20", "currency": "USD"}
    return PresentedDocument(amount=amount, **{**fields, **changes})


def documents(amount: int = 60_000_00, **changes: Any) -> pm.PresentDocuments:
    """Return a presentation of one invoice at the issuing bank in London."""
    command = pm.PresentDocuments(
        presentation="P1",
        credit="LC1",
        presenter=ADVISER,
        place="LONDON",
        presentee=ISSUER,
        currency="USD",
        amount=amount,
        documents=[invoice(amount)],
    )
    return msgspec.structs.replace(command, **changes)


__all__ = [
    "ADVISER",
    "CHECKER",
    "CREDIT_KEY",
    "ISSUER",
    "MAKER",
    "MONDAY",
    "NETWORK",
    "PRESENTATION_KEY",
    "SYSTEM",
    "amended",
    "application",
    "approval",
    "awaiting",
    "checked",
    "documents",
    "drawing",
    "invoice",
    "issued",
    "parties",
    "received",
    "submitted",
    "terms",
]
