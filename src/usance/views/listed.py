"""Sanctions lists: the version that is active of each, and the one that waits for a second person."""

from __future__ import annotations

from typing import Any

from usance.aml import activation as act
from usance.engine.projections.projection import (
    Fact,
    Handler,
    Projection,
    Rows,
    Table,
    numbers,
    personal,
    texts,
)
from usance.kernel.words import text_of
from usance.views.book import as_json

LISTS = Table(
    "lists",
    (
        *texts("key", "list_id", "active", "active_proposal", "proposer", "approver"),
        *texts("waiting", "waiting_proposal", "maker", "content_hash", "answer", "answered_by"),
        *numbers("activated", "proposed", "revision", "answered"),
        *numbers("rescreened", "rescreened_streams", "rescreened_cases"),
        *personal("reason"),
    ),
    key=("key", "list_id"),
    indexes=(("waiting_proposal",),),
    stream="key",
)
"""`active` is a ListVersion as JSON, `waiting` a ListProposed; `answer` tells what became of the last
proposal: activated, rejected or withdrawn. `rescreened` is when earlier screenings were held against the active
version, zero while that is not over."""

_NONE_WAITS = {"waiting": "", "waiting_proposal": "", "maker": "", "content_hash": ""}


def _proposed(fact: Fact, rows: Rows) -> None:
    event = fact.message
    rows.patch(
        "lists",
        (fact.key, event.version.list_id),
        waiting=as_json(event),
        waiting_proposal=event.proposal,
        maker=event.proposer,
        content_hash=event.version.content,
        proposed=fact.instant,
        revision=fact.meta.revision,
    )


def _activated(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _answered(
        fact,
        rows,
        event.version.list_id,
        "activated",
        event.approver,
        active=as_json(event.version),
        active_proposal=event.proposal,
        proposer=event.proposer,
        approver=event.approver,
        activated=fact.instant,
        rescreened=0,
    )


def _answered(
    fact: Fact, rows: Rows, list_id: str, answer: str, by: str, reason: str = "", **more: Any
) -> None:
    told = {"answer": answer, "answered_by": by, "answered": fact.instant, "reason": reason}
    rows.patch("lists", (fact.key, list_id), **_NONE_WAITS, **told, **more)


def _rejected(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _answered(fact, rows, event.list_id, "rejected", event.by, text_of(event.reason))


def _withdrawn(fact: Fact, rows: Rows) -> None:
    _answered(fact, rows, fact.message.list_id, "withdrawn", fact.message.by)


def _rescreened(fact: Fact, rows: Rows) -> None:
    event = fact.message
    counts = {"rescreened_streams": event.streams, "rescreened_cases": event.cases}
    for list_id in event.contents:
        rows.patch("lists", (fact.key, list_id), rescreened=fact.instant, **counts)


HANDLERS: dict[type, Handler] = {
    act.ListProposed: _proposed,
    act.ListActivated: _activated,
    act.ListRejected: _rejected,
    act.ListWithdrawn: _withdrawn,
    act.ListsRescreened: _rescreened,
}

LISTED = Projection("lists", 2, (LISTS,), HANDLERS, contexts=("system",))
"""Sanctions lists."""
