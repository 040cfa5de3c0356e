"""The auditor's pages about people: who looked at what, who was denied what."""

from __future__ import annotations

from usance.views import results_access as ra
from usance.web.operations import TIMES, moment
from usance.web.pages import Page, Shown, Visit


def accesses(visit: Visit) -> Shown:
    """Accesses and denials, newest first, by person, credit, kind and time."""
    said = {n: str(moment(n, v)) for n, v in visit.query.items() if n in TIMES and v}
    wanted = visit._replace(query=visit.query | said).wanted(ra.AccessFilter)
    page = visit.queries.accesses(visit.viewer, wanted, visit.cursor, visit.limit)
    return Shown(page, {"wanted": wanted})


def access(visit: Visit) -> Shown:
    """One access with its reason, and where it stands in the log."""
    return Shown(visit.queries.access(visit.viewer, visit.ref))


PAGES = (
    Page("/access", "accesses.html", "Access", accesses, ra.AccessPage, ra.AccessFilter),
    Page("/access/{ref:path}", "access.html", "Access", access, ra.AccessDetail),
)
"""The pages of accesses."""
