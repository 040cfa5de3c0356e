"""Every event with what a timeline shows of it, each stream's revision, and counts by type.

Events of the compliance context go to tables of their own, which only that role's queries open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from usance.audit.chain import envelope_hash
from usance.engine.projections.projection import (
    Fact,
    Handler,
    Projection,
    Rows,
    Table,
    Together,
    numbers,
    texts,
)
from usance.views.sentences import tellers

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


class _Kind(NamedTuple):
    """What is the same of all events of a class."""

    name: str
    said: Callable[[Any], str]
    article: Callable[[Any], str]
    reference: bool
    """Whether its field `message` is a reference, where that is a text."""


_KINDS: dict[type, _Kind] = {}


def _kind_of(cls: type) -> _Kind:
    found = _KINDS.get(cls)
    if found is None:
        name = cls.__name__
        refers = "message" in getattr(cls, "__struct_fields__", ()) and name not in _NOT_A_REFERENCE
        found = _KINDS[cls] = _Kind(name, *tellers(name), refers)
    return found


def _noting(prefix: str) -> tuple[Handler, Together]:
    events, streams, counts = f"{prefix}events", f"{prefix}streams", f"{prefix}event_counts"

    def note(fact: Fact, rows: Rows) -> None:
        name, row = _row(fact)
        rows.grow(events, *row)
        rows.put(streams, fact.key, *row[_REVISION : _REVISION + 2])
        rows.add(counts, (name,), count=1)

    def note_all(facts: Sequence[Fact], rows: Rows) -> None:
        noted = [_row(fact) for fact in facts]
        rows.grow_by(events, [row for _, row in noted])
        last = {row[_STREAM]: row for _, row in noted}
        for stream, row in last.items():
            rows.put(streams, stream, *row[_REVISION : _REVISION + 2])
        for name, count in Counter([name for name, _ in noted]).items():
            rows.add(counts, (name,), count=count)

    return note, note_all


_STREAM, _REVISION = 1, 13
"""Places in a row of events; the instant stands behind the revision."""


def _row(fact: Fact) -> tuple[str, tuple[Any, ...]]:
    """Return the name of an event's type, and its row."""
    record, meta, event = fact.record, fact.meta, fact.message
    topic, partition, offset, key, value, headers, _ = record
    kind, actor = _kind_of(type(event)), meta.actor
    reference = event.message if kind.reference else ""
    return kind.name, (
        *(fact.id, fact.key, kind.name, actor.person, actor.role, topic),
        *(envelope_hash(key, value, headers).hex(), meta.command_id, meta.correlation),
        *(meta.causation, kind.said(event), kind.article(event)),
        reference if type(reference) is str else "",
        *(meta.revision, fact.instant, partition, offset, meta.index),
    )


_NOTE, _NOTE_ALL = _noting("")
_NOTE_COMPLIANCE, _NOTE_ALL_COMPLIANCE = _noting("compliance_")

HISTORY = Projection(
    "history",
    1,
    _tables("", restricted=False),
    {},
    contexts=("trade", "system"),
    raw={"events": _NOTE},
    together={"events": _NOTE_ALL},
)
"""Events of trade and system."""

COMPLIANCE_HISTORY = Projection(
    "compliance-history",
    1,
    _tables("compliance_", restricted=True),
    {},
    contexts=("compliance",),
    raw={"events": _NOTE_COMPLIANCE},
    together={"events": _NOTE_ALL_COMPLIANCE},
)
"""Events of compliance."""
