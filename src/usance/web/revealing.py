"""A sealed field shown to somebody who may see it: recorded before it is shown, and kept by no browser."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from usance.bootstrap.accessing import Look
from usance.bootstrap.secrecy.erasing import reveal
from usance.bootstrap.served import Program, ServedDesk
from usance.kernel.authority import demand_role, role_missing
from usance.kernel.decider import Actor, Erased
from usance.kernel.errors import Refused
from usance.web.api import Desk, said_by
from usance.web.looks import record_denied
from usance.web.render import render

NO_STORE = {"cache-control": "no-store"}
SEALED = "[sealed]"
WORDS_MAX = 500


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which field of the event, and why: `parties`, `parties.applicant.name`."""

    field: str
    reason: str


class Revealed(msgspec.Struct, frozen=True, kw_only=True):
    """A field in clear."""

    event: str
    field: str
    value: Any


def choices(content: dict[str, str], viewer: Actor) -> list[str]:
    """Return the sealed fields of an event that somebody may ask to see; none for another role."""
    if role_missing(viewer, "RecordReveal") is not None:
        return []
    return [name for name, value in content.items() if SEALED in value]


async def endpoint(request: Request) -> Response:
    """Answer `POST /events/{id}/reveal`: a form of the console, or JSON; the record comes first."""
    desk: Desk = request.app.state.desk
    actor = desk.actor(said_by(dict(request.scope["headers"])))
    ref: str = request.path_params["ref"]
    try:
        demand_role(actor, "RecordReveal")
    except Refused:
        await record_denied(desk, request, actor, Look("reveal", ref))
        raise
    asked, form = await _asked(request)
    if not asked.reason.strip():
        raise Refused("REASON_REQUIRED", "A reveal needs a reason.", hint="Say why you need it.")
    program = cast("Program", request.app.state.backend)
    reason = asked.reason[:WORDS_MAX]
    value = await run_in_threadpool(reveal, ServedDesk(program), ref, asked.field, reason, actor)
    plain = "[erased]" if isinstance(value, Erased) else msgspec.to_builtins(value)
    told = Revealed(event=ref, field=asked.field, value=plain)
    if not form:
        return Response(msgspec.json.encode(told), media_type="application/json", headers=NO_STORE)
    site = request.app.state.site
    frame = site.frame(request, actor) | {"here": f"/events/{ref}"}
    html = await run_in_threadpool(
        render, "revealed.html", **frame, title="Revealed", twin="", data=told, reason=reason
    )
    return HTMLResponse(html, headers=NO_STORE)


async def _asked(request: Request) -> tuple[Asked, bool]:
    media = request.headers.get("content-type", "")
    if media.startswith("application/json"):
        return msgspec.json.decode(await request.body(), type=Asked), False
    if not media.startswith("application/x-www-form-urlencoded"):
        hint = 'Send application/json: {"field": "parties", "reason": "why"}.'
        raise Refused("FORM_EXPECTED", "The request is neither form nor JSON.", hint=hint)
    form = {n: str(v) for n, v in (await request.form(max_fields=8)).items()}
    part = form.get("part", "").strip()
    field = ".".join(p for p in (form.get("field", ""), part) if p)
    return Asked(field=field, reason=form.get("reason", "")), True


ROUTES = [Route("/events/{ref:path}/reveal", endpoint, methods=["POST"])]
