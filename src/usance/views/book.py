"""The trade book: one row per credit, one per amendment.

State and balances are those of the credit's own decider: the row keeps its fold, so a view can never
see a credit otherwise than the next decision will. `parties` and what is searched may name people.
"""

from __future__ import annotations

from typing import Any

import msgspec

from usance.domain.credit import amendment_messages as am
from usance.domain.credit import messages as cm
from usance.domain.credit.decider import CreditDecider
from usance.domain.credit.state import CreditState
from usance.domain.terms import Parties, Party
from usance.domain.tolerance import max_liability
from usance.engine.projections.projection import (
    Column,
    Fact,
    Handler,
    Projection,
    Row,
    Rows,
    Table,
    numbers,
    personal,
    texts,
)
from usance.kernel.decider import WITHHELD, key_parts
from usance.kernel.words import text_of

_DECIDER = CreditDecider()
_json = msgspec.json.Encoder()
PENDING = ("requested", "awaiting", "approved", "issued", "received")
"""States of an amendment that is not settled."""
UNSETTLED = ("requested", "awaiting", "pending")


def as_json(value: Any) -> str:
    """Return a value as JSON text, for a column."""
    return _json.encode(value).decode()


def derived(state: CreditState) -> Row:
    """Return the columns that follow from a credit's state."""
    if state.terms is None:
        return {"state": state.state}
    terms, claimed = state.terms, state.claimed
    undertaken = max_liability(terms)
    lines = state.drawings.values()
    pending = [a for a in state.amendments.values() if a.phase in UNSETTLED]
    return {
        "state": state.state,
        "side": state.side,
        "currency": terms.currency,
        "amount": terms.amount,
        "expiry_date": terms.expiry_date,
        "undertaken": undertaken,
        "honoured": state.used,
        "in_presentation": claimed,
        "available": max(0, undertaken - state.used - claimed),
        "paid": sum(d.amount for d in lines if d.phase in ("paid", "settled")),
        "liability": state.undrawn,
        "owed": state.owed,
        "margin": state.margin,
        "open_presentations": sum(d.phase == "open" for d in lines),
        "pending_amendments": len(pending),
        "confirmed": int(state.confirmed),
        "facility": state.facility,
        "maker": state.maker or state.authenticated_by,
        "void_maker": state.void_maker if state.state == "ISSUED" else "",
    }


CREDITS = Table(
    "credits",
    (
        *texts("key", "tenant", "reference", "side", "role", "state", "currency"),
        *numbers("amount", "undertaken", "available", "honoured", "in_presentation", "paid"),
        *numbers("liability", "owed", "margin", "open_presentations", "pending_amendments"),
        *numbers("confirmed", "changed", "approval_revision"),
        *texts("expiry_date", "facility", "application", "maker", "void_maker", "approver"),
        *texts("issue_date", "sender", "sender_reference", "advised_to", "content_hash", "tier"),
        *personal("applicant", "beneficiary", "parties", "search"),
        Column("fold"),
    ),
    key=("key",),
    indexes=(
        ("state", "changed"),
        ("changed",),
        ("expiry_date",),
        ("reference",),
        ("amount",),
    ),
    stream="key",
    fold="fold",
    codec=CreditState,
    derive=derived,
)

AMENDMENTS = Table(
    "amendments",
    (
        *texts("key"),
        *numbers("number"),
        *texts("state", "changes", "consents", "maker", "approver", "content_hash"),
        *texts("currency"),
        *personal("reason"),
        *numbers("revision", "liability_change", "changed"),
    ),
    key=("key", "number"),
    indexes=(("state",),),
    stream="key",
)


def _fold(fact: Fact, rows: Rows, **more: Any) -> None:
    key = (fact.key,)
    state = rows.value("credits", key, "fold") or _DECIDER.initial(fact.key)
    rows.patch(
        "credits",
        key,
        fold=_DECIDER.evolve(state, fact.message),
        changed=fact.instant,
        **more,
    )


def _plain(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows)


def _checked(fact: Fact, rows: Rows) -> None:
    if key_parts(fact.key).category == "credit":  # a presentation has such a check of its own
        _fold(fact, rows)


def _awaits(fact: Fact, rows: Rows) -> None:
    """Show a credit of which only an amendment has come."""
    event, (tenant, _, reference) = fact.message, key_parts(fact.key)
    row = {"tenant": tenant, "reference": reference, "side": "export", "sender": event.sender}
    _fold(fact, rows, **row, sender_reference=event.sender_reference, search=reference.lower())
    _bound(fact, rows, state="awaits_credit")


def _born(fact: Fact, rows: Rows) -> None:
    event, key = fact.message, fact.key
    tenant, _, reference = key_parts(key)
    parties, terms = event.parties, event.terms
    if isinstance(parties, WITHHELD):
        nobody = Party(name=text_of(parties))
        parties = Parties(subject=parties.subject, applicant=nobody, beneficiary=nobody)
    applied = isinstance(event, cm.CreditApplied)
    words = [
        *(reference, parties.applicant.name, parties.beneficiary.name),
        *(terms.port_of_loading, terms.port_of_discharge, terms.final_destination),
        *(event.application if applied else event.sender_reference, terms.hs_code),
    ]
    _fold(
        fact,
        rows,
        tenant=tenant,
        reference=reference,
        role="issuing" if applied else event.role,
        application=event.application if applied else "",
        content_hash=event.content_hash,
        sender="" if applied else event.sender,
        sender_reference="" if applied else event.sender_reference,
        issue_date="" if applied else event.issue_date,
        applicant=parties.applicant.name,
        beneficiary=parties.beneficiary.name,
        parties=as_json({"applicant": parties.applicant, "beneficiary": parties.beneficiary}),
        search=" ".join(w for w in words if w).lower(),
    )


def _approval_asked(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _fold(
        fact,
        rows,
        approval_revision=event.revision,
        content_hash=event.content_hash,
        tier=event.tier,
    )


def _approved(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows, approver=fact.message.approver)


def _issued(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows, issue_date=fact.message.issue_date)


def _advised(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows, advised_to=fact.message.to)


# -- amendments


def _amend(fact: Fact, rows: Rows, **values: Any) -> None:
    _fold(fact, rows)
    rows.patch("amendments", (fact.key, fact.message.amendment), changed=fact.instant, **values)


def _changes(event: Any) -> str:
    said = {k: v for k, v in msgspec.structs.asdict(event.changes).items() if v not in (None, 0)}
    return as_json({k: v if isinstance(v, str) else as_json(v) for k, v in said.items()})


def _requested(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _amend(
        fact,
        rows,
        state="requested",
        changes=_changes(event),
        reason=text_of(event.reason),
        maker=event.maker,
        revision=event.revision,
        content_hash=event.content_hash,
        currency=event.currency,
        liability_change=event.liability_change,
    )


def _bound(fact: Fact, rows: Rows, state: str = "") -> None:
    event = fact.message
    issued = isinstance(event, am.AmendmentIssued)
    _amend(
        fact,
        rows,
        state=state or ("issued" if issued else "received"),
        changes=_changes(event),
        consents=as_json(dict.fromkeys(getattr(event, "consents", ()), "waiting")),
    )


def _answer(fact: Fact, rows: Rows, answer: str) -> str:
    event = fact.message
    row = rows.get("amendments", fact.key, event.amendment)
    consents = msgspec.json.decode(row["consents"] or "{}") if row else {}
    return as_json({**consents, event.party: answer})


def _consent(fact: Fact, rows: Rows) -> None:
    _amend(fact, rows, consents=_answer(fact, rows, "accepted"))


def _rejected(fact: Fact, rows: Rows) -> None:
    consents = _answer(fact, rows, "rejected")
    _amend(fact, rows, state="rejected", consents=consents)


def _amendment_awaits(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _amend(fact, rows, state="awaiting", revision=event.revision, liability_change=event.amount)


def _amendment_approved(fact: Fact, rows: Rows) -> None:
    _amend(fact, rows, state="approved", approver=fact.message.approver)


def _became(state: str) -> Handler:
    def become(fact: Fact, rows: Rows) -> None:
        _amend(fact, rows, state=state)

    return become


_EVENTS = [cls for cls, kind in cm.MESSAGES if kind == "event"]

HANDLERS: dict[type, Handler] = {
    **dict.fromkeys(_EVENTS, _plain),
    cm.CreditApplied: _born,
    cm.CreditReceived: _born,
    cm.ComplianceCheckCompleted: _checked,
    cm.ApprovalRequested: _approval_asked,
    cm.CreditApproved: _approved,
    cm.CreditIssued: _issued,
    cm.CreditAdvised: _advised,
    am.AmendmentRequested: _requested,
    am.AmendmentApprovalRequested: _amendment_awaits,
    am.AmendmentApproved: _amendment_approved,
    am.AmendmentDropped: _became("dropped"),
    am.AmendmentVoided: _became("dropped"),
    am.AmendmentIssued: _bound,
    am.AmendmentReceived: _bound,
    am.AmendmentAwaitsCredit: _awaits,
    am.AmendmentConsentGiven: _consent,
    am.AmendmentAccepted: _became("accepted"),
    am.AmendmentRejected: _rejected,
    am.AmendmentDeemedAccepted: _became("deemed_accepted"),
}

BOOK = Projection("book", 2, (CREDITS, AMENDMENTS), HANDLERS)
"""The trade book."""
