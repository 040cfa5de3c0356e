"""The auditor's pages about people: who looked at what, who was denied what."""

from __future__ import annotations

from usance.kernel.authority import BREAKABLE
from usance.kernel.decider import Actor, key_of
from usance.views import results_access as ra
from usance.web import acts
from usance.web.operations import TIMES, moment
from usance.web.pages import Page, Shown, Visit

YES_NO = (("true", "yes"), ("false", "no"))


def accesses(visit: Visit) -> Shown:
    """Accesses and denials, newest first, by person, credit, kind and time."""
    said = {n: str(moment(n, v)) for n, v in visit.query.items() if n in TIMES and v}
    wanted = visit._replace(query=visit.query | said).wanted(ra.AccessFilter)
    page = visit.queries.accesses(visit.viewer, wanted, visit.cursor, visit.limit)
    return Shown(page, {"wanted": wanted})


def access(visit: Visit) -> Shown:
    """One access with its reason, and where it stands in the log."""
    return Shown(visit.queries.access(visit.viewer, visit.ref))


def glass(visit: Visit) -> Shown:
    """Who broke the glass, what was done behind it, and what of it waits for a review."""
    rows = visit.queries.glasses(visit.viewer)
    return Shown(rows, {"acts": acts.permitted(_glass_acts(visit, rows), visit.viewer)})


def _glass_acts(visit: Visit, rows: list[ra.GlassRow]) -> list[acts.Act]:
    """Return what a viewer can do about broken glass: break or close one's own, review others'."""
    viewer, key = visit.viewer, key_of(visit.tenant, "glass", visit.viewer.person)
    mine = any(g.person == viewer.person and g.state == "open" for g in rows)
    found = [_closing(key, viewer)] if mine else [_breaking(key, viewer)]
    for one in rows:
        if one.state == "closed" and one.person != viewer.person:
            fields = (
                *acts.hidden(person=one.person, number=one.number),
                acts.Field("justified", "Was it justified?", "choice", choices=YES_NO),
                acts.reason("What you found"),
            )
            label = f"Review no. {one.number} of {one.person}"
            found.append(acts.Act("ReviewGlass", label, one.key, fields))
    return found


def _breaking(key: str, viewer: Actor) -> acts.Act:
    choices = tuple((name, name) for name in sorted(BREAKABLE))
    fields = (
        *acts.hidden(person=viewer.person),
        acts.Field("acts.0", "Act", "choice", choices=choices),
        acts.Field("scope", "On (reference or stream; empty: any)"),
        acts.Field("minutes", "Minutes, up to 60", "number", "30", required=True),
        acts.Field("incident", "Incident", required=True),
        acts.reason(),
    )
    return acts.Act("BreakGlass", "Break the glass", key, fields, "bad")


def _closing(key: str, viewer: Actor) -> acts.Act:
    return acts.Act("CloseGlass", "Close the glass", key, acts.hidden(person=viewer.person))


PAGES = (
    Page("/access", "accesses.html", "Access", accesses, ra.AccessPage, ra.AccessFilter),
    Page("/glass", "glass.html", "Broken glass", glass, list[ra.GlassRow]),
    Page("/access/{ref:path}", "access.html", "Access", access, ra.AccessDetail),
)
"""The pages of accesses."""
