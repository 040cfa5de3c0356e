"""Presentations with their findings and deadlines; state is that of the presentation's decider."""

from __future__ import annotations

from typing import Any

import msgspec

from usance.domain.credit.messages import ComplianceCheckCompleted
from usance.domain.presentation import messages as pm
from usance.domain.presentation.decider import PresentationDecider
from usance.domain.presentation.state import DISCREPANT, UNDECIDED, PresentationState
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
from usance.views.book import as_json

_DECIDER = PresentationDecider()


def derived(state: PresentationState) -> Row:
    """Return the columns that follow from a presentation's state."""
    return {
        "state": state.state,
        "credit": state.credit,
        "role": state.role,
        "currency": state.currency,
        "amount": state.amount,
        "presented": state.presented,
        "due": state.due,
        "decided": int(state.state not in UNDECIDED),
        "discrepant": int(state.state in DISCREPANT),
        "maturity": state.maturity,
        "proposed": state.proposed,
        "proposed_by": state.proposed_by,
        "content_hash": state.content_hash,
    }


PRESENTATIONS = Table(
    "presentations",
    (
        *texts("key", "tenant", "reference", "credit", "role", "state", "currency", "presented"),
        *numbers("amount", "due", "decided", "discrepant", "precluded", "discrepancies", "changed"),
        *texts("maturity", "proposed", "proposed_by", "content_hash", "presentee", "place"),
        *texts("presenter_reference", "maker", "examiner", "approver", "basis", "calendar"),
        *texts("calendar_version", "documents", "waiver", "refusal"),
        *texts("complies", "deemed"),
        *personal("presenter", "findings", "notice"),
        Column("fold"),
    ),
    key=("key",),
    indexes=(("decided", "due"), ("credit",), ("state",), ("due",)),
    stream="key",
    fold="fold",
    codec=PresentationState,
    derive=derived,
)


def _fold(fact: Fact, rows: Rows, **more: Any) -> None:
    key = (fact.key,)
    state = rows.value("presentations", key, "fold") or _DECIDER.initial(fact.key)
    rows.patch(
        "presentations",
        key,
        fold=_DECIDER.evolve(state, fact.message),
        changed=fact.instant,
        **more,
    )


def _plain(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows)


def _checked(fact: Fact, rows: Rows) -> None:
    if key_parts(fact.key).category == "presentation":  # a credit has such a check of its own
        _fold(fact, rows)


def _received(fact: Fact, rows: Rows) -> None:
    event = fact.message
    tenant, _, reference = key_parts(fact.key)
    _fold(
        fact,
        rows,
        tenant=tenant,
        reference=reference,
        presenter=event.presented_by(),
        presenter_reference=event.presenter_reference,
        presentee=event.presentee,
        place=event.place,
        maker=event.maker,
        calendar=event.calendar,
        calendar_version=event.calendar_version,
        documents=as_json(event.documents),
    )


def _findings(fact: Fact, rows: Rows) -> list[dict[str, Any]]:
    row = rows.get("presentations", fact.key)
    found: list[dict[str, Any]] = msgspec.json.decode(row["findings"] or "[]") if row else []
    return found


def _raised(fact: Fact, rows: Rows) -> None:
    event = fact.message
    if event.by == "rules":  # the examination lists these again, with those that comply
        _fold(fact, rows)
        return
    seen = {**msgspec.to_builtins(event.finding), "by": event.by}
    seen["explanation"] = text_of(event.words) or seen["explanation"]
    found = [*_findings(fact, rows), seen]
    discrepant = sum(f["verdict"] == "discrepant" for f in found)
    _fold(fact, rows, findings=as_json(found), discrepancies=discrepant)


def _examined(fact: Fact, rows: Rows) -> None:
    event = fact.message
    by_people = [f for f in _findings(fact, rows) if f["by"] != "rules"]
    by_rules = [{**msgspec.to_builtins(f), "by": "rules"} for f in event.findings]
    found = [*by_rules, *by_people]
    _fold(
        fact,
        rows,
        findings=as_json(found),
        discrepancies=sum(f["verdict"] == "discrepant" for f in found),
        examiner=event.examiner,
        complies="yes" if event.complies else "no",
        deemed=as_json(event.deemed),
    )


def _refused(fact: Fact, rows: Rows) -> None:
    event = fact.message
    said = {
        "disposal": event.disposal,
        "statement": event.statement,
        "given": str(event.given),
        "due": str(event.due),
        "message": event.message,
    }
    stated = event.discrepancies
    sentences = [text_of(stated)] if isinstance(stated, WITHHELD) else stated.sentences
    _fold(fact, rows, refusal=as_json(said), notice=as_json(sentences))


def _taken_up(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows, approver=fact.message.approver, basis=fact.message.basis)


def _precluded(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows, precluded=1)


def _waiver(word: str) -> Handler:
    def waive(fact: Fact, rows: Rows) -> None:
        _fold(fact, rows, waiver=word)

    return waive


_EVENTS = [cls for cls, kind in pm.MESSAGES if kind == "event"]
_TAKE_UPS: tuple[type, ...] = (
    pm.PresentationHonoured,
    pm.DraftAccepted,
    pm.DeferredUndertakingIncurred,
    pm.PresentationNegotiated,
)

HANDLERS: dict[type, Handler] = {
    **dict.fromkeys(_EVENTS, _plain),
    **dict.fromkeys(_TAKE_UPS, _taken_up),
    pm.PresentationReceived: _received,
    ComplianceCheckCompleted: _checked,
    pm.DiscrepancyRaised: _raised,
    pm.ExaminationCompleted: _examined,
    pm.WaiverSought: _waiver("sought"),
    pm.DiscrepanciesWaived: _waiver("waived"),
    pm.WaiverDeclined: _waiver("declined"),
    pm.PresentationRefused: _refused,
    pm.PresentationPrecluded: _precluded,
}

PRESENTED = Projection("presentations", 2, (PRESENTATIONS,), HANDLERS)
"""Presentations."""
