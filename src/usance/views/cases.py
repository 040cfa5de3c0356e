"""Cases of the compliance context, in tables that only that role's queries open."""

from __future__ import annotations

from typing import Any

import msgspec

from usance.aml import case as cs
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

_DECIDER = cs.CaseDecider()


def derived(state: cs.CaseState) -> Row:
    """Return the columns that follow from a case's state."""
    return {
        "state": state.stage,
        "disposition": state.disposition,
        "proposer": state.proposer,
        "evidence_hash": state.evidence_hash,
    }


CASES = Table(
    "cases",
    (
        *texts("key", "tenant", "reference", "subject", "state", "disposition", "proposer"),
        *texts("evidence_hash", "list_versions", "snapshot_id", "matcher_version", "saga"),
        *texts("waiting"),
        *numbers("hits", "score", "opened", "changed", "revision"),
        *personal("findings", "reasons"),
        Column("fold"),
    ),
    key=("key",),
    indexes=(("state", "changed"), ("subject",), ("changed",)),
    stream="key",
    restricted=True,
    fold="fold",
    codec=cs.CaseState,
    derive=derived,
)


def _fold(fact: Fact, rows: Rows, **more: Any) -> None:
    key = (fact.key,)
    state = rows.value("cases", key, "fold") or _DECIDER.initial(fact.key)
    rows.patch(
        "cases",
        key,
        fold=_DECIDER.evolve(state, fact.message),
        changed=fact.instant,
        revision=fact.meta.revision,
        **more,
    )


def _plain(fact: Fact, rows: Rows) -> None:
    _fold(fact, rows)


def _opened(fact: Fact, rows: Rows) -> None:
    event = fact.message
    tenant, _, reference = key_parts(fact.key)
    found = [] if isinstance(event.hits, WITHHELD) else event.hits.hits
    _fold(
        fact,
        rows,
        tenant=tenant,
        reference=reference,
        subject=event.subject_stream,
        list_versions=", ".join(event.list_versions),
        snapshot_id=event.snapshot_id,
        matcher_version=event.matcher_version,
        saga=event.saga,
        hits=len(found),
        score=max((h.score for h in found), default=0),
        findings=as_json(found),
        opened=fact.instant,
    )


def _reasoned(fact: Fact, rows: Rows) -> None:
    event = fact.message
    row = rows.get("cases", fact.key)
    said = msgspec.json.decode((row and row["reasons"]) or "[]")
    _fold(fact, rows, reasons=as_json([*said, text_of(event.reason)]))


HANDLERS: dict[type, Handler] = {
    cs.CaseOpened: _opened,
    cs.AlertAttached: _plain,
    cs.CaseReopened: _plain,
    cs.DispositionProposed: _reasoned,
    cs.ReturnedToInvestigation: _reasoned,
    cs.DispositionApproved: _plain,
}

COMPLIANCE_CASES = Projection("cases", 1, (CASES,), HANDLERS, contexts=("compliance",))
"""Cases."""
