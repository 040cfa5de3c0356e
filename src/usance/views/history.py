"""Every event with what a timeline shows of it, each stream's revision, and counts by type.

Events of the compliance context go to tables of their own, which only that role's queries open.
"""

from __future__ import annotations

from typing import Any

from usance.audit.chain import envelope_hash
from usance.engine.projection import Fact, Handler, Projection, Rows, Table, numbers, texts
from usance.views.sentences import sentence

_NOT_A_REFERENCE = ("StepFailed",)


def _tables(prefix: str, restricted: bool) -> tuple[Table, Table, Table]:
    events = Table(
        f"{prefix}events",
        (
            *texts("event_id", "stream", "type", "person", "role", "topic", "hash", "command_id"),
            *texts("correlation", "causation", "sentence", "article", "message"),
            *numbers("revision", "instant", "partition", "offset", "idx"),
        ),
        key=("stream", "revision"),
        indexes=(
            ("event_id",),
            ("instant", "event_id"),
            ("type", "instant"),
            ("correlation",),
            ("command_id",),
        ),
        stream="stream",
        restricted=restricted,
        grows=True,
    )
    streams = Table(
        f"{prefix}streams",
        (*texts("key"), *numbers("revision", "changed")),
        key=("key",),
        stream="key",
        restricted=restricted,
    )
    counts = Table(
        f"{prefix}event_counts",
        (*texts("type"), *numbers("count")),
        key=("type",),
        restricted=restricted,
    )
    return events, streams, counts


def _noting(prefix: str) -> Handler:
    events, streams, counts = f"{prefix}events", f"{prefix}streams", f"{prefix}event_counts"

    def note(fact: Fact, rows: Rows) -> None:
        record, meta, event = fact.record, fact.meta, fact.message
        name, key, instant = type(event).__name__, fact.key, fact.instant
        revision, command_id = meta.revision, meta.command_id
        said, article = sentence(event)
        rows.grow(
            events,
            *(fact.id, key, name, meta.actor.person, meta.actor.role, record.topic),
            envelope_hash(record.key, record.value, record.headers).hex(),
            *(command_id, meta.correlation, meta.causation),
            *(said, article, _reference(event, name)),
            *(revision, instant, record.partition, record.offset, meta.index),
        )
        rows.put(streams, key, revision, instant)
        rows.add(counts, (name,), count=1)

    return note


def _reference(event: Any, name: str) -> str:
    found = getattr(event, "message", "")
    return found if isinstance(found, str) and name not in _NOT_A_REFERENCE else ""


HISTORY = Projection(
    "history",
    1,
    _tables("", restricted=False),
    {},
    contexts=("trade", "system"),
    raw={"events": _noting("")},
)
"""Events of trade and system."""

COMPLIANCE_HISTORY = Projection(
    "compliance-history",
    1,
    _tables("compliance_", restricted=True),
    {},
    contexts=("compliance",),
    raw={"events": _noting("compliance_")},
)
"""Events of compliance."""
