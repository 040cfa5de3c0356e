"""FIN messages in and out, with a pointer to the event that holds the text."""

from __future__ import annotations

from typing import Any

from usance.domain import message_exchange as mx
from usance.domain.credit import amendment_messages as am
from usance.domain.credit import messages as cm
from usance.engine.projections.projection import (
    Fact,
    Handler,
    Projection,
    Rows,
    Table,
    numbers,
    texts,
)
from usance.kernel.decider import key_parts

MESSAGES = Table(
    "fin_messages",
    (
        *texts("id", "stream", "tenant", "direction", "mt", "reference", "credit", "presentation"),
        *texts("counterparty", "state", "code", "sha256", "file", "event_id"),
        *numbers("attempt", "instant", "changed"),
    ),
    key=("id",),
    indexes=(("credit",), ("instant", "id"), ("state",), ("reference",)),
    stream="stream",
)


def _out(fact: Fact, rows: Rows, **values: Any) -> None:
    key = fact.key
    rows.patch("fin_messages", (key,), stream=key, changed=fact.instant, **values)


def _queued(fact: Fact, rows: Rows) -> None:
    event = fact.message
    again = isinstance(event, mx.MessageRepaired)
    first = {} if again else {"instant": fact.instant}
    _out(
        fact,
        rows,
        tenant=key_parts(fact.key).tenant,
        direction="out",
        mt=event.mt,
        reference=event.message,
        credit=event.credit,
        presentation=event.presentation,
        counterparty=event.receiver,
        state="queued",
        code="",
        sha256=event.sha256,
        event_id=fact.id,
        attempt=event.attempt if again else 1,
        **first,
    )


def _sent(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _out(fact, rows, state="sent", file=event.file, attempt=event.attempt)


def _naked(fact: Fact, rows: Rows) -> None:
    _out(fact, rows, state="naked", code=fact.message.code)


def _became(state: str) -> Handler:
    def become(fact: Fact, rows: Rows) -> None:
        _out(fact, rows, state=state)

    return become


def _in(fact: Fact, rows: Rows) -> None:
    event = fact.message
    tenant, _, credit = key_parts(fact.key)
    mt = getattr(event, "mt", "")
    if not mt:
        mt = "707" if isinstance(event, am.AmendmentReceived) else "730"
    reference = getattr(event, "reference", "") or getattr(event, "sender_reference", "")
    rows.upsert(
        "fin_messages",
        id=fact.id,
        stream=fact.key,
        tenant=tenant,
        direction="in",
        mt=mt,
        reference=reference,
        credit=credit,
        presentation=getattr(event, "presentation", ""),
        counterparty=event.sender,
        state="received",
        event_id=fact.id,
        attempt=1,
        instant=fact.instant,
        changed=fact.instant,
    )


HANDLERS: dict[type, Handler] = {
    mx.MessageQueued: _queued,
    mx.MessageRepaired: _queued,
    mx.MessageSent: _sent,
    mx.MessageAcked: _became("acked"),
    mx.MessageNaked: _naked,
    mx.MessageAbandoned: _became("abandoned"),
    mx.AckOverdue: _became("overdue"),
    cm.CreditReceived: _in,
    am.AmendmentReceived: _in,
    cm.CorrespondenceRecorded: _in,
    cm.AdviceAcknowledged: _in,
}

FIN = Projection("messages", 1, (MESSAGES,), HANDLERS)
"""FIN messages."""
