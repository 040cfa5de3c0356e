"""The pages of those who run the program: sagas, dead letters, events, projections, schemas, system."""

from __future__ import annotations

import msgspec

from usance.kernel.clock import parse_instant
from usance.kernel.errors import Unreadable
from usance.views import results as r
from usance.web import acts
from usance.web.forms import whole_number
from usance.web.lags import LagFilter, Lags, lag
from usance.web.pages import Page, Shown, Visit
from usance.web.revealing import choices

TIMES = ("since", "until")
DATE_LENGTH = len("2026-11-27")


def sagas(visit: Visit) -> Shown:
    """Sagas, last changed first, with open ones counted per step."""
    phase = visit.query.get("phase", "")
    return Shown(visit.queries.sagas(visit.viewer, phase, visit.cursor, visit.limit))


def saga(visit: Visit) -> Shown:
    """One saga as a picture, with its incident and suggested acts."""
    key = visit.key("saga")
    found = visit.queries.saga(visit.viewer, key)
    extra = {
        "acts": acts.permitted(acts.saga_acts(found), visit.viewer),
        "timeline": visit.queries.timeline(visit.viewer, key),
    }
    return Shown(found, extra, found.row.revision)


def incidents(visit: Visit) -> Shown:
    """Sagas without progress; `open=0` shows the closed ones."""
    wanted = visit.query.get("open", "1") != "0"
    return Shown(visit.queries.incidents(visit.viewer, open=wanted), {"open": wanted})


def dead_letters(visit: Visit) -> Shown:
    """What could not be decided, grouped by reason, and the keys that wait behind."""
    said = {n: str(moment(n, v)) for n, v in visit.query.items() if n in TIMES and v}
    wanted = visit._replace(query=visit.query | said).wanted(r.DeadLetterFilter)
    page = visit.queries.dead_letters(visit.viewer, wanted, visit.cursor, visit.limit)
    return Shown(page, {"wanted": wanted, "parked": visit.queries.parked(visit.viewer)})


def moment(name: str, text: str) -> int:
    """Return the instant that a filter gives as a date, an instant, or ms UTC; raises Unreadable."""
    if text.isascii() and text.isdigit():
        return int(text[:15])
    try:
        return parse_instant(f"{text}T00:00:00Z" if len(text) == DATE_LENGTH else text)
    except ValueError:
        hint = "Give it as 2026-11-27 or 2026-11-27T09:00:00Z."
        raise Unreadable("validate", f"{name}: this is no instant", hint=hint) from None


def dead_letter(visit: Visit) -> Shown:
    """One dead letter with its bytes."""
    found = visit.queries.dead_letter(visit.viewer, visit.ref)
    return Shown(found, {"acts": acts.permitted(acts.dead_letter_acts(found), visit.viewer)})


def parked(visit: Visit) -> Shown:
    """Keys whose commands wait."""
    return Shown(visit.queries.parked(visit.viewer))


def commands(visit: Visit) -> Shown:
    """What became of commands, newest first."""
    answer = visit.query.get("answer", "")
    return Shown(visit.queries.commands(visit.viewer, answer, visit.cursor, visit.limit))


def events(visit: Visit) -> Shown:
    """Events, newest first, by stream, type, correlation or actor."""
    wanted = visit.wanted(r.EventFilter)
    page = visit.queries.events(visit.viewer, wanted, visit.cursor, visit.limit)
    return Shown(page, {"wanted": wanted})


def event(visit: Visit) -> Shown:
    """One event with content, headers and envelope hash."""
    found = visit.queries.event(visit.viewer, visit.ref)
    entry = found.entry
    place = visit.backend.proofs.place(entry.topic, entry.partition, entry.index)
    return Shown(found, {"place": place, "sealed": choices(found.content, visit.viewer)})


def projections(visit: Visit) -> Shown:
    """Read models: position, lag, rows that could not follow."""
    return Shown(visit.queries.projections(visit.viewer))


def schemas(visit: Visit) -> Shown:
    """Registered schemas."""
    return Shown(visit.queries.schemas(visit.viewer))


def schema(visit: Visit) -> Shown:
    """One schema with its text; `version` chooses an older one."""
    version = whole_number(visit.query.get("version", "")) or 0
    return Shown(visit.queries.schema(visit.viewer, visit.ref, version))


def system(visit: Visit) -> Shown:
    """Counts, and what this process is and does; health and settings are added by the site."""
    status, standing = visit.queries.status(visit.viewer), visit.backend.standing()
    twin = msgspec.to_builtins(status) | {"process": standing}
    return Shown(status, {"standing": standing, "twin": twin})


PAGES = (
    Page("/sagas", "sagas.html", "Sagas", sagas, r.SagaPage),
    Page("/sagas/{ref:path}", "saga.html", "Saga", saga, r.Saga),
    Page("/incidents", "incidents.html", "Incidents", incidents, list[r.Incident]),
    Page(
        "/dead-letters",
        "dead_letters.html",
        "Dead letters",
        dead_letters,
        r.DeadLetterPage,
        r.DeadLetterFilter,
    ),
    Page("/dead-letters/{ref:path}", "dead_letter.html", "Dead letter", dead_letter, r.DeadLetter),
    Page("/parked", "parked.html", "Parked keys", parked, list[r.ParkedKey]),
    Page("/answers", "commands.html", "Commands", commands, r.CommandPage),
    Page("/events", "events.html", "Events", events, r.EventPage, r.EventFilter),
    Page("/events/{ref:path}", "event.html", "Event", event, r.EventDetail),
    Page("/projections", "projections.html", "Projections", projections, list[r.ProjectionRow]),
    Page("/lag", "lag.html", "Lag", lag, Lags, LagFilter),
    Page("/schemas", "schemas.html", "Schemas", schemas, list[r.SchemaRow]),
    Page("/schemas/{ref:path}", "schema.html", "Schema", schema, r.Schema),
    Page("/system", "system.html", "System", system, r.Status),
)
"""The pages of operations."""
