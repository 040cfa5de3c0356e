"""Who looked at what and who was denied what, in a table for auditors and compliance; and who broke the glass."""

from __future__ import annotations

import re

from usance.domain.export import PackExported
from usance.domain.glass import (
    GlassBroken,
    GlassClosed,
    GlassReviewed,
    GlassReviewOverdue,
    GlassUsed,
)
from usance.engine.owner.accesses import AccessDenied, AccessRecorded
from usance.engine.projections.projection import (
    Fact,
    Handler,
    Projection,
    Rows,
    Table,
    numbers,
    texts,
)
from usance.engine.secrecy.subjects import FieldRevealed
from usance.kernel.decider import key_parts

ACCESSES = Table(
    "accesses",
    (
        *texts("event_id", "kind", "person", "role", "action", "resource", "credit", "code"),
        *texts("cause", "source", "command_id", "topic"),
        *numbers("instant", "number", "unrecorded", "reasoned", "partition", "offset"),
    ),
    key=("event_id",),
    indexes=(
        ("instant", "offset", "event_id"),
        ("person", "instant"),
        ("credit", "instant"),
        ("action", "instant"),
    ),
    restricted=True,
)

GLASSES = Table(
    "glasses",
    (
        *texts("key"),
        *numbers("number"),
        *texts("person", "role", "acts", "scope", "incident", "state", "reviewer", "used"),
        *numbers("since", "until", "review_due", "closed", "uses", "overdue"),
        *numbers("justified", "revision"),
    ),
    key=("key", "number"),
    indexes=(("state", "since"),),
)
"""Times that somebody broke the glass. `state`: open | closed | reviewed; acts in `used` are those taken."""

_SCOPE = re.compile(r"credit (\S+)")
_ABOUT = ("credit",)


def _note(fact: Fact, rows: Rows, kind: str, **values: str | int) -> None:
    said: dict[str, str | int] = {
        "role": "",
        "credit": "",
        "code": "",
        "cause": "",
        "source": "",
        "number": 1,
    }
    said |= {"unrecorded": 0, "reasoned": 0, "command_id": fact.meta.command_id}
    record = fact.record
    place: dict[str, str | int] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
    rows.upsert(
        "accesses", event_id=fact.id, kind=kind, instant=fact.instant, **place, **said | values
    )


def _credit(stream: str) -> str:
    if stream.count("/") < 2 or key_parts(stream).category not in _ABOUT:
        return ""
    return key_parts(stream).identity


def _looked(fact: Fact, rows: Rows) -> None:
    e = fact.message
    _note(
        fact, rows, "look", person=e.person, role=e.role, action=e.action, resource=e.resource,
        credit=e.credit, source=e.source, reasoned=int(e.reason is not None),
    )  # fmt: skip


def _denied(fact: Fact, rows: Rows) -> None:
    e = fact.message
    _note(
        fact, rows, "denied", person=e.person, role=e.role, action=e.act, resource=e.resource,
        credit=_credit(e.resource), code=e.code, cause=e.cause, source=e.source,
        number=e.number, unrecorded=e.unrecorded, command_id=e.command or fact.meta.command_id,
    )  # fmt: skip


def _revealed(fact: Fact, rows: Rows) -> None:
    e = fact.message
    _note(
        fact, rows, "reveal", person=e.person, role=fact.meta.actor.role,
        action=f"reveal {e.field}", resource=e.event, credit=_credit(e.stream), reasoned=1,
    )  # fmt: skip


def _exported(fact: Fact, rows: Rows) -> None:
    e, actor = fact.message, fact.meta.actor
    found = _SCOPE.fullmatch(e.scope)
    _note(
        fact, rows, "export", person=actor.person, role=actor.role, action=f"export {e.scope}",
        resource=e.pack, credit=found[1] if found else "", reasoned=int(e.reason is not None),
    )  # fmt: skip


def _broken(fact: Fact, rows: Rows) -> None:
    e = fact.message
    _note(
        fact, rows, "glass", person=e.person, role=e.role, action=f"break glass: {', '.join(e.acts)}",
        resource=e.scope, credit=_credit(e.scope), reasoned=1,
    )  # fmt: skip
    rows.upsert(
        "glasses", key=fact.key, number=e.number, person=e.person, role=e.role,
        acts=", ".join(e.acts), scope=e.scope, incident=e.incident, state="open",
        since=fact.instant, until=e.until, review_due=e.review_due, used="",
        reviewer="", closed=0, uses=0, overdue=0, justified=0, revision=fact.meta.revision,
    )  # fmt: skip


def _used(fact: Fact, rows: Rows) -> None:
    e = fact.message
    _note(
        fact, rows, "glass", person=e.person, role=fact.meta.actor.role, action=e.act,
        resource=e.target, credit=_credit(e.target), command_id=e.command,
    )  # fmt: skip
    row = rows.get("glasses", fact.key, e.number)
    before = row["used"] if row else ""
    used = f"{before}, {e.act} on {e.target}" if before else f"{e.act} on {e.target}"
    uses = (row["uses"] if row else 0) + 1
    rows.patch("glasses", (fact.key, e.number), used=used[:2_000], uses=uses)


def _shut(fact: Fact, rows: Rows) -> None:
    rows.patch("glasses", (fact.key, fact.message.number), state="closed", closed=fact.instant)


def _late(fact: Fact, rows: Rows) -> None:
    rows.patch("glasses", (fact.key, fact.message.number), overdue=1)


def _reviewed(fact: Fact, rows: Rows) -> None:
    e = fact.message
    _note(
        fact, rows, "glass", person=e.by, role=fact.meta.actor.role, reasoned=1,
        action=f"review glass: {'justified' if e.justified else 'not justified'}", resource=e.person,
    )  # fmt: skip
    rows.patch(
        "glasses", (fact.key, e.number), state="reviewed", reviewer=e.by,
        justified=int(e.justified),
    )  # fmt: skip


HANDLERS: dict[type, Handler] = {
    AccessRecorded: _looked,
    AccessDenied: _denied,
    FieldRevealed: _revealed,
    PackExported: _exported,
    GlassBroken: _broken,
    GlassUsed: _used,
    GlassClosed: _shut,
    GlassReviewOverdue: _late,
    GlassReviewed: _reviewed,
}

ACCESS_RECORDS = Projection(
    "accesses", 1, (ACCESSES, GLASSES), HANDLERS, contexts=("system", "access")
)
"""Accesses; packs handed over stand in `system`, and so do reveals of before accesses had topics of their own."""
