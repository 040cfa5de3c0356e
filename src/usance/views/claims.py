"""Who is at which piece of work."""

from __future__ import annotations

from usance.domain.work import WorkClaimed, WorkReleased
from usance.engine.projections.projection import (
    Fact,
    Handler,
    Projection,
    Rows,
    Table,
    numbers,
    texts,
)

WORK_CLAIMS = Table(
    "work_claims",
    (*texts("key", "work", "person"), *numbers("since")),
    key=("key",),
    indexes=(("person",),),
    stream="key",
)


def _claimed(fact: Fact, rows: Rows) -> None:
    event = fact.message
    rows.upsert(
        "work_claims", key=fact.key, work=event.work, person=event.person, since=fact.instant
    )


def _released(fact: Fact, rows: Rows) -> None:
    rows.delete("work_claims", fact.key)


HANDLERS: dict[type, Handler] = {WorkClaimed: _claimed, WorkReleased: _released}

CLAIMS = Projection("claims", 1, (WORK_CLAIMS,), HANDLERS)
"""Claims that stand."""
