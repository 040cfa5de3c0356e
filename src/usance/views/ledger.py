"""Facilities with what stands against them, and the ledger: postings and balances."""

from __future__ import annotations

from usance.domain import facility_messages as fm
from usance.domain.credit import messages as cm
from usance.domain.facility import FacilityDecider, FacilityState
from usance.engine.projections.projection import (
    Column,
    Fact,
    Handler,
    Projection,
    Row,
    Rows,
    Table,
    numbers,
    texts,
)
from usance.kernel.decider import key_parts

_DECIDER = FacilityDecider()


def derived(state: FacilityState) -> Row:
    """Return the columns that follow from a facility's state."""
    used = sum(r.amount for r in state.credits.values() if r.consumed)
    return {
        "customer": state.customer,
        "currency": state.currency,
        "limit": state.limit,
        "reserved": state.reserved - used,
        "used": used,
        "available": state.available,
        "margin": sum(r.margin for r in state.credits.values()),
        "expiry": state.expiry,
    }


FACILITIES = Table(
    "facilities",
    (
        *texts("key", "tenant", "reference", "customer", "currency", "expiry"),
        *numbers("limit", "reserved", "used", "available", "margin", "changed"),
        Column("fold"),
    ),
    key=("key",),
    stream="key",
    fold="fold",
    codec=FacilityState,
    derive=derived,
)

RESERVATIONS = Table(
    "reservations",
    (
        *texts("facility", "credit", "state", "currency"),
        *numbers("amount", "margin", "changed"),
    ),
    key=("facility", "credit"),
    indexes=(("credit",),),
    stream="facility",
)


def _facility(fact: Fact, rows: Rows) -> None:
    key, event = fact.key, fact.message
    state = rows.value("facilities", (key,), "fold") or _DECIDER.initial(key)
    state = _DECIDER.evolve(state, event)
    tenant, _, reference = key_parts(key)
    rows.patch(
        "facilities",
        (key,),
        tenant=tenant,
        reference=reference,
        fold=state,
        changed=fact.instant,
    )
    credit = getattr(event, "credit", "")
    if credit:
        line = state.credits.get(credit)
        amount = line.amount if line else 0
        taken = "used" if line and line.consumed else "reserved"
        rows.upsert(
            "reservations",
            facility=key,
            credit=credit,
            state=taken if amount else "released",
            currency=state.currency,
            amount=amount,
            margin=line.margin if line else 0,
            changed=fact.instant,
        )


_FACILITY_EVENTS = [cls for cls, kind in fm.MESSAGES if kind == "event"]

EXPOSURE = Projection(
    "exposure", 1, (FACILITIES, RESERVATIONS), dict.fromkeys(_FACILITY_EVENTS, _facility)
)
"""Facilities and reservations."""

POSTINGS = Table(
    "postings",
    (
        *texts("journal"),
        *numbers("line"),
        *texts("rule", "book", "account", "side", "currency", "credit", "event_id", "stream"),
        *numbers("amount", "instant"),
    ),
    key=("journal", "line"),
    indexes=(("credit",), ("instant", "journal", "line")),
    stream="stream",
)

BALANCES = Table(
    "balances",
    (*texts("book", "currency", "account"), *numbers("debit", "credit")),
    key=("book", "currency", "account"),
)


def _post(fact: Fact, rows: Rows) -> None:
    event_id, instant, stream = fact.id, fact.instant, fact.key
    for line, posting in enumerate(fact.message.postings):
        rows.put(
            "postings",
            *(posting.journal, line),
            *(posting.rule, posting.book, posting.account, posting.side, posting.currency),
            *(posting.credit, event_id, stream, posting.amount, instant),
        )
        key = (posting.book, posting.currency, posting.account)
        rows.add("balances", key, **{posting.side: posting.amount})


def _with_postings(messages: tuple[tuple[type, str], ...]) -> list[type]:
    return [
        cls
        for cls, kind in messages
        if kind == "event" and "postings" in getattr(cls, "__struct_fields__", ())
    ]


_POSTED: dict[type, Handler] = dict.fromkeys(
    [*_with_postings(cm.MESSAGES), *_with_postings(fm.MESSAGES)], _post
)

LEDGER = Projection("ledger", 1, (POSTINGS, BALANCES), _POSTED)
"""Postings and balances."""
