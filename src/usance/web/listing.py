"""Sanctions lists by console and API: the page, and `POST /lists`, which proposes a version behind the gate.

The form has `files` (a UN XML, our CSV, or the four files of OFAC in their order), `list`, `version` and
`approve_count`. The gate takes seconds on a long list: the answer comes when it is through.
"""

from __future__ import annotations

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from usance.aml.activation import ProposeList
from usance.bootstrap.lists import Listing, keep, prepared
from usance.kernel.authority import demand_role
from usance.kernel.errors import Refused
from usance.views import results as r
from usance.web import acts
from usance.web.api import Desk, response_of, said_by
from usance.web.commands import own_type
from usance.web.pages import Page, Shown, Visit
from usance.web.render import after

FILES_MAX = 4


def lists(visit: Visit) -> Shown:
    """Sanctions lists: what this process screens with, who activated it, what waits."""
    rows = visit.queries.lists(visit.viewer)
    loaded = visit.backend.standing().lists
    waiting = {a.reference: a for a in visit.queries.approvals(visit.viewer) if a.kind == "list"}
    extra = {
        "acts": {
            name: acts.permitted(acts.approval_acts(a), visit.viewer) for name, a in waiting.items()
        },
        "may_import": acts.permitted([acts.Act("ProposeList", "", "")], visit.viewer),
    }
    return Shown(r.Lists(loaded=loaded, rows=rows), extra)


async def endpoint(request: Request) -> Response:
    """Answer `POST /lists`: hold a list against the gate, keep its bytes, propose it; `?dry_run` only tries."""
    desk: Desk = request.app.state.desk
    program: Listing = request.app.state.backend
    headers = dict(request.scope["headers"])
    actor = desk.actor(said_by(headers))
    demand_role(actor, "ProposeList")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(
            "FORM_EXPECTED",
            "The request is no form with files.",
            hint="Send multipart/form-data with files, and list and version where the file has none.",
        )
    async with request.form(max_files=FILES_MAX, max_fields=8) as form:
        sent = [f for f in form.getlist("files") if isinstance(f, UploadFile)]
        files = [await f.read() for f in sent]
        said = {n: str(form.get(n, "")) for n in ("list", "version", "approve_count", "once")}
    book, found = await run_in_threadpool(
        prepared, program, files, said["list"], said["version"], bool(said["approve_count"])
    )
    key = headers.get(b"idempotency-key", b"").decode("latin-1")
    command_id = desk.command_id(key or (f"form:{said['once']}" if said["once"] else ""))
    outgoing = desk.outgoing(own_type(ProposeList), found.command, book.key, actor, command_id)
    if "dry_run" in request.query_params:
        told = await run_in_threadpool(desk.forecast, outgoing)
        return Response(msgspec.json.encode(told), media_type="application/json")
    await run_in_threadpool(keep, book, found)
    answer = await desk.send(outgoing)
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(after("/lists", command_id, answer.position if answer else ""), 303)
    status, content, media = response_of(answer, command_id)
    return Response(content, status, media_type=media)


PAGE = Page("/lists", "lists.html", "Sanctions lists", lists, r.Lists)
ROUTES = [Route("/lists", endpoint, methods=["POST"])]
