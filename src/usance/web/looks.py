"""Which pages show what an auditor must be able to ask about: recorded before they are answered, or not answered.

That is: cases and everything else of compliance, wherever it turns up; who looked at what; and the proofs. What
stands in clear to everybody who may open the book is no access of its own.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from usance.bootstrap.accessing import REFUSALS, Look, credit_of, demand_recorded, looked
from usance.engine.topics import CONTEXT_OF_CATEGORY
from usance.kernel.errors import NotFound, Refused
from usance.views.asking import sees_compliance
from usance.views.asking_access import AUDITORS
from usance.web.api import Desk
from usance.web.pages import COMPLIANCE_ROLES, Page, Shown, Visit

ACTIONS = {
    "/cases": "case.list",
    "/cases/{ref:path}": "case.view",
    "/access": "access.list",
    "/access/{ref:path}": "access.view",
    "/audit": "audit.view",
    "/retention": "retention.list",
    "/retention/{ref:path}": "retention.view",
    "/audit/proof/{ref:path}": "audit.proof",
}
"""Pages that are recorded whenever they are shown, with their action. Signed heads are for everybody to fetch."""

ROLES = {"case": frozenset(COMPLIANCE_ROLES), "access": AUDITORS}
LIVE = "usance-live"
"""A page's own refreshing of what it shows: recorded once in LIVE_MS, as the look that it goes on with."""
LIVE_MS = 10 * 60_000
REMEMBERED_MAX = 1_000
_COMPLIANCE = tuple(f"/{c}/".encode() for c, x in CONTEXT_OF_CATEGORY.items() if x == "compliance")


class Looks:
    """Records what is looked at; one for the console and the twins of its pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._recorded: dict[tuple[str, str, Look], int] = {}

    async def demand(self, request: Request, page: Page, visit: Visit, shown: Shown) -> None:
        """Record what is about to be shown; raises Unavailable where that cannot be recorded."""
        look = await run_in_threadpool(look_of, page, visit, shown)
        if look is None:
            return
        who = (visit.viewer.person, visit.viewer.role, look)
        live = LIVE in request.headers and self._recorded.get(who, 0) > visit.now - LIVE_MS
        if live:
            return
        outgoing = looked(self.desk.tenant, visit.viewer, look, _source(request))
        demand_recorded(await self.desk.answers.ask(outgoing))
        self._recorded[who] = visit.now
        while len(self._recorded) > REMEMBERED_MAX:
            del self._recorded[next(iter(self._recorded))]

    async def denied(self, request: Request, page: Page, visit: Visit, error: Exception) -> None:
        """Record that somebody was turned away from a page for who they are."""
        action = action_of(page)
        role_denied = isinstance(error, Refused) and error.code == "ROLE_NEEDED"
        hidden = isinstance(error, NotFound) and not _may(action, visit)
        if not action or not (role_denied or hidden):
            return
        look = Look(action, visit.ref)
        outgoing = REFUSALS.outgoing(
            self.desk.tenant, visit.viewer, look, "ROLE_NEEDED", _source(request), visit.now
        )
        if outgoing is None:
            return
        try:
            await self.desk.answers.ask(outgoing)
        except Exception:  # noqa: BLE001  who was turned away stays so
            return


def action_of(page: Page) -> str:
    """Return the action of a page that is recorded whenever it is shown, empty for another."""
    return ACTIONS.get(page.path, "")


def look_of(page: Page, visit: Visit, shown: Shown) -> Look | None:
    """Return what of a page has to be recorded, None for nothing."""
    action = action_of(page)
    if action:
        return Look(
            action, visit.ref or _asked(visit), _credit(shown.result) or _credit_asked(visit)
        )
    if sees_compliance(visit.viewer) and _shows_compliance(shown):
        return Look("compliance.view", visit.ref or page.path)
    return None


def _shows_compliance(shown: Shown) -> bool:
    told = msgspec.json.encode((shown.result, shown.extra.get("twin")))
    return any(mark in told for mark in _COMPLIANCE)


def _may(action: str, visit: Visit) -> bool:
    roles = ROLES.get(action.partition(".")[0])
    return roles is None or visit.viewer.role in roles


def _asked(visit: Visit) -> str:
    said = {
        k: v for k, v in visit.query.items() if v and k not in ("outcome", "at", "cursor", "limit")
    }
    return ", ".join(f"{k}={v}" for k, v in sorted(said.items()))[:200]


def _credit_asked(visit: Visit) -> str:
    return visit.query.get("credit", "")[:40]


def _credit(result: Any) -> str:
    row = getattr(result, "row", None)
    return credit_of(str(getattr(row, "subject", ""))) or str(getattr(row, "credit", ""))


def _source(request: Request) -> str:
    return "api" if request.url.path.endswith(".json") else "console"
