"""Which pages show what an auditor must be able to ask about: recorded before they are answered, or not answered.

That is: cases and everything else of compliance, wherever it turns up (`views.guarded` says what that is); who
looked at what; and the proofs. What stands in clear to everybody who may open the book is no access of its own.

A page that was recorded carries a token: for ten minutes it refreshes itself as the same look. The token is bound
to person, role, address and query: another page of a list, another filter, another person is a new look.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from usance.bootstrap.accessing import REFUSALS, Look, credit_of
from usance.kernel.clock import SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused
from usance.kernel.ids import system_entropy
from usance.views.asking import sees_compliance
from usance.views.asking_access import AUDITORS
from usance.views.guarded import streams_in
from usance.web.api import Desk, recorded_first
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

TURNED_AWAY = {"/doctor": "doctor"}
"""Pages that show nothing of compliance, and are for some roles all the same: denials are recorded."""

ROLES = {"case": frozenset(COMPLIANCE_ROLES), "access": AUDITORS}
LIVE = "usance-live"
"""The header with which a page refreshes what it shows: the token of the look that it goes on with."""
LIVE_MS = 10 * 60_000
LOOK = "usance-look"
"""The header of an answer whose look was recorded: its token."""
_PLACES = ("outcome", "at")
"""Fields of a query that say when, not what."""

HARMLESS: Mapping[str, str] = {
    "/commands:batch": "acts, each an event or a denial; a dry run is a look",
    "/commands/{name}": "acts, each an event or a denial; a dry run is a look",
    "/dead-letters/{ref}/reread": "an act on what the gateway took in, which is no case",
    "/openapi.json": "what may be asked, of the program alone",
    "/live": "how far the log is, without content",
    "/health/live": "whether the program lives",
    "/health/ready": "whether the program is ready",
    "/metrics": "counts",
    "/audit/log/{path:path}": "hashes and signed heads, for verifiers without a name; trees of compliance by role",
    "/audit/policy.txt": "public keys",
    "/retention/{ref:path}/propose": "an act, an event or a denial",
    "/retention/{ref:path}/request": "an act, an event or a denial",
    "/retention/{ref:path}/approve": "an act, an event or a denial",
    "/retention/{ref:path}/withdraw": "an act, an event or a denial",
    "/retention/{ref:path}/hold": "an act, an event or a denial",
    "/retention/{ref:path}/release": "an act, an event or a denial",
    "/retention/{ref:path}/destroy": "an act, an event or a denial",
    "/lists": "an act; lists are published by others",
    "/registry": "schemas",
    "/static": "files of the program",
    "/send": "an empty form",
    "/act-as": "the choice of who acts",
    "/saved": "a filter that stays in the browser",
}
"""Addresses beside the pages that show nothing of compliance, each with the reason."""

RECORDED: Mapping[str, str] = {
    "/outcomes/{command_id}": "outcome.view where the command was one of compliance",
    "/do": "acts; a preview is a look, as a dry run is",
    "/do/{command}": "acts; a preview is a look, as a dry run is",
    "/credits/{ref:path}/pack.zip": "PackExported",
    "/audit/pack.zip": "PackExported",
    "/retention/{ref:path}/letter": "retention.letter",
    "/retention/{ref:path}/certificate": "retention.certificate",
    "/events/{ref:path}/reveal": "FieldRevealed",
}
"""Addresses beside the pages whose looks are recorded, with how. Pages and their twins all ask `Looks`."""


class Looks:
    """Records what is looked at; one for the console and the twins of its pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.clock = SystemClock()
        self._key = system_entropy(32)

    async def demand(
        self, request: Request, page: Page, visit: Visit, shown: Shown, *more: Any
    ) -> str:
        """Record what is about to be shown, `more` beside the page's own; raises Unavailable where it cannot be.

        Returns the token of the look, empty where there was nothing to record.
        """
        look = await run_in_threadpool(look_of, page, visit, shown, *more)
        if look is None:
            return ""
        bound = (visit.viewer.person, visit.viewer.role, request.url.path, _query(visit), *look)
        said = request.headers.get(LIVE, "")
        if self._goes_on(said, bound):
            return said
        await recorded_first(self.desk, visit.viewer, look, _source(request))
        return self._token(bound, self.clock.now())

    def _token(self, bound: tuple[str, ...], issued: int) -> str:
        said = msgspec.json.encode((issued, *bound))
        return f"{issued}.{hmac.digest(self._key, said, 'sha256').hex()}"

    def _goes_on(self, token: str, bound: tuple[str, ...]) -> bool:
        """Tell whether a token is ours, for just this, and not too old."""
        issued = token.partition(".")[0]
        if not (issued.isascii() and issued.isdecimal() and len(issued) < 16):
            return False
        age = self.clock.now() - int(issued)
        return 0 <= age < LIVE_MS and hmac.compare_digest(token, self._token(bound, int(issued)))

    async def denied(self, request: Request, page: Page, visit: Visit, error: Exception) -> None:
        """Record that somebody was turned away from a page for who they are."""
        action = action_of(page) or TURNED_AWAY.get(page.path, "")
        role_denied = isinstance(error, Refused) and error.code == "ROLE_NEEDED"
        hidden = isinstance(error, NotFound) and not _may(action, visit)
        if not action or not (role_denied or hidden):
            return
        await record_denied(self.desk, request, visit.viewer, Look(action, visit.ref))


async def record_denied(desk: Desk, request: Request, viewer: Actor, look: Look) -> None:
    """Record that somebody was turned away from something for their role."""
    now = desk.backend.clock.now()
    outgoing = REFUSALS.outgoing(desk.tenant, viewer, look, "ROLE_NEEDED", _source(request), now)
    if outgoing is None:
        return
    with suppress(Exception):  # who was turned away stays so
        await desk.answers.ask(outgoing)


def action_of(page: Page) -> str:
    """Return the action of a page that is recorded whenever it is shown, empty for another."""
    return ACTIONS.get(page.path, "")


def look_of(page: Page, visit: Visit, shown: Shown, *more: Any) -> Look | None:
    """Return what of a page has to be recorded, None for nothing."""
    action = action_of(page)
    if action:
        return Look(
            action,
            visit.ref or _asked(page, visit),
            _credit(shown.result) or _credit_asked(visit),
        )
    if sees_compliance(visit.viewer) and streams_in(shown.result, dict(shown.extra), *more):
        part = ", ".join(_part(visit))
        return Look("compliance.view", (visit.ref or page.path) + (f" ({part})" if part else ""))
    return None


def _may(action: str, visit: Visit) -> bool:
    roles = ROLES.get(action.partition(".")[0])
    return roles is None or visit.viewer.role in roles


def _asked(page: Page, visit: Visit) -> str:
    """Return the filters of a list and which part of it is asked for; what else a query says is nobody's."""
    names = {f.name for f in msgspec.structs.fields(page.filters)} if page.filters else set()
    said = [f"{k}={v}" for k, v in sorted(visit.query.items()) if v and k in names]
    return ", ".join([*said, *_part(visit)])[:200]


def _part(visit: Visit) -> list[str]:
    """Return which part of a list is asked for: a cursor holds keys, so its digest stands for it."""
    cursor, limit = visit.query.get("cursor", ""), visit.query.get("limit", "")
    at = [f"page={sha256(cursor.encode()).hexdigest()[:12]}"] if cursor else []
    return [*at, f"limit={limit[:8]}"] if limit else at


def _query(visit: Visit) -> str:
    said = sorted((k, v) for k, v in visit.query.items() if k not in _PLACES)
    return msgspec.json.encode(said).decode()


def _credit_asked(visit: Visit) -> str:
    return visit.query.get("credit", "")[:40]


def _credit(result: Any) -> str:
    row = getattr(result, "row", None)
    return credit_of(str(getattr(row, "subject", ""))) or str(getattr(row, "credit", ""))


def _source(request: Request) -> str:
    return "api" if request.url.path.endswith(".json") else "console"
