"""Retention in the console and by API: classes, what is kept of whom, proposals, approvals, holds, destruction.

What two people approve on the command line they approve here, by the same functions (`bootstrap.retaining`,
`bootstrap.erasing`). Each look is recorded before it is shown; nothing of this is kept by a browser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from usance.bootstrap import clocks
from usance.bootstrap.accessing import Look, demand_recorded, denied, looked
from usance.bootstrap.clocks import RetentionClass
from usance.bootstrap.desk import Desk as FolderDesk
from usance.bootstrap.secrecy import erasing, retaining
from usance.bootstrap.secrecy.retaining import Kept
from usance.bootstrap.served import Program, ServedDesk
from usance.kernel.authority import AUTHORITY, demand_role, role_missing
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused
from usance.kernel.words import text_of
from usance.messages.outcome import Outcome
from usance.web.answers import answer_of
from usance.web.api import Desk, refusal_of, response_of, said_by
from usance.web.looks import record_denied
from usance.web.pages import COMPLIANCE_ROLES, Page, Shown, Visit

STATES = ("due", "proposed", "approved", "held", "restricted", "active", "destroying", "destroyed")
LISTERS = frozenset(COMPLIANCE_ROLES)
READERS = LISTERS | AUTHORITY["ApproveErasure"]
"""Who sees one subject: whoever may approve must see what."""
ACTS = {
    "propose": ("ProposeDisposal", "Propose to destroy what is over"),
    "request": ("RequestErasure", "Ask for an erasure (the subject wishes it)"),
    "approve": ("ApproveErasure", "Approve, as another person"),
    "withdraw": ("WithdrawDisposal", "Take it back"),
    "hold": ("PlaceHold", "Place a legal hold"),
    "release": ("LiftHold", "Release the hold"),
    "destroy": ("ApproveErasure", "Destroy what two people approved"),
}
"""What can be done, with the command whose roles may do it."""


class HoldRow(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold that stands."""

    id: str
    by: str
    since: int
    reason: str


class KeptPage(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of whom, what is due first, and the classes that say for how long."""

    sealed: bool
    rows: list[Kept]
    classes: list[RetentionClass]
    cooling_off_days: int


class KeptSubject(msgspec.Struct, frozen=True, kw_only=True):
    """One data subject: what is kept, which holds stand, and what a viewer may do (names of acts).

    `asked_by` proposed or asked for what waits; `partial`: only what is over; `not_before` is its first instant.
    """

    kept: Kept
    holds: list[HoldRow]
    may: list[str]
    asked_by: str = ""
    partial: bool = False
    not_before: int = 0


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an act: why, whether only what is over, and which hold is released."""

    reason: str = ""
    partial: bool = False
    hold: str = ""


def _program(backend: object) -> Program:
    return cast("Program", backend)


def listed(visit: Visit) -> Shown:
    """What is kept of whom until when, what is due first; `state` filters."""
    if visit.viewer.role not in LISTERS:
        raise denied(Look("retention.list"), LISTERS)
    state = visit.query.get("state", "")
    if state and state not in STATES:
        raise NotFound(f"there is no state {state[:40]}", hint=f"There are: {', '.join(STATES)}.")
    store, rules = _program(visit.backend).store, clocks.rules()
    page = KeptPage(
        sealed=store.vault is not None,
        rows=retaining.listed(store, visit.now, state=state),
        classes=list(rules.classes),
        cooling_off_days=rules.cooling_off_days,
    )
    return Shown(page, {"states": STATES, "state": state})


def subject(visit: Visit) -> Shown:
    """One data subject: what is kept of it until when, holds, and what can be done."""
    if visit.viewer.role not in READERS:
        raise denied(Look("retention.view", visit.ref), READERS)
    store = _program(visit.backend).store
    kept = retaining.kept(store, visit.ref, visit.now)
    if not kept.streams and kept.state == "active":
        raise NotFound(f"nothing is kept of {visit.ref[:60]}", hint="usance retention list")
    holds = [
        HoldRow(
            id=name, by=past.message.by, since=past.instant, reason=text_of(past.message.reason)
        )
        for name, past in (erasing.holds_of(store, kept.stream) if kept.stream else {}).items()
    ]
    may = _may(kept, holds, visit.viewer) if store.vault is not None else []
    told = KeptSubject(kept=kept, holds=holds, may=may)
    if kept.state in ("proposed", "approved"):
        waits = erasing.standing_of(store, visit.ref)
        told = msgspec.structs.replace(
            told, asked_by=waits.requester, partial=waits.partial, not_before=waits.not_before
        )
    return Shown(told, {"labels": {name: label for name, (_, label) in ACTS.items()}})


def _may(kept: Kept, holds: list[HoldRow], viewer: Actor) -> list[str]:
    """Return what makes sense now and is in the viewer's role; the deciders have the last word."""
    possible = {
        "due": ["propose"],
        "active": ["propose", "request"],
        "restricted": ["propose", "request"],
        "proposed": ["approve", "withdraw"],
        "approved": ["destroy", "withdraw"],
        "destroying": ["destroy"],
    }.get(kept.state, [])
    if kept.state != "destroyed":
        possible = [*possible, "hold", *(["release"] if holds else [])]
    return [name for name in possible if role_missing(viewer, ACTS[name][0]) is None]


# -- acts


def _done(desk: FolderDesk, act: str, ref: str, said: Said, actor: Actor) -> Outcome | None:
    """Do one act; None for a destruction, whose certificate is asked for."""
    match act:
        case "propose":
            return retaining.propose(desk, ref, said.reason, actor, partial=said.partial)
        case "request":
            return erasing.request(desk, ref, said.reason, actor)
        case "approve":
            return erasing.approve(desk, ref, actor)
        case "withdraw":
            return retaining.withdraw(desk, ref, said.reason, actor)
        case "hold":
            return erasing.hold(desk, ref, said.reason, actor)
        case "release":
            return erasing.hold(desk, ref, said.reason, actor, release=said.hold)
    erasing.execute(desk, ref)
    return None


async def endpoint(request: Request) -> Response:
    """Answer `POST /retention/{subject}/{act}`: a form of the console, or JSON (`reason`, `partial`, `hold`)."""
    desk: Desk = request.app.state.desk
    act = request.url.path.rpartition("/")[2]
    ref: str = request.path_params["ref"]
    actor = desk.actor(said_by(dict(request.scope["headers"])))
    try:
        demand_role(actor, ACTS[act][0])
    except Refused:
        await record_denied(desk, request, actor, Look(f"retention.{act}", ref))
        raise
    said, form = await _said(request)
    program = _program(request.app.state.backend)
    found = await run_in_threadpool(_done, ServedDesk(program), act, ref, said, actor)
    back = f"/retention/{ref}"
    if found is None:
        if form:
            return RedirectResponse(back, 303)
        made = await run_in_threadpool(retaining.certificate, program.store, ref)
        return _json(msgspec.json.encode(made))
    answer = answer_of(found, erasing.subject_key(program.store, ref))
    if form and answer.outcome == "refused":
        page: Response = request.app.state.site.problem_page(request, refusal_of(answer), back)
        return page
    if form:
        return RedirectResponse(back, 303)
    status, content, media = response_of(answer, answer.command_id)
    return Response(content, status, media_type=media, headers={"cache-control": "no-store"})


async def _said(request: Request) -> tuple[Said, bool]:
    media = request.headers.get("content-type", "")
    if media.startswith("application/json"):
        return msgspec.json.decode(await request.body() or b"{}", type=Said), False
    if not media.startswith("application/x-www-form-urlencoded"):
        hint = 'Send application/json, such as {"reason": "year-end review"}.'
        raise Refused("FORM_EXPECTED", "The request is neither form nor JSON.", hint=hint)
    form = {n: str(v) for n, v in (await request.form(max_fields=8)).items()}
    partial = bool(form.get("partial"))
    return Said(reason=form.get("reason", ""), partial=partial, hold=form.get("hold", "")), True


# -- documents


def _document(action: str, make: Callable[[Program, str], Response]) -> Any:
    """Return the endpoint of a document, whose look is recorded before it is made."""

    async def answer(request: Request) -> Response:
        desk: Desk = request.app.state.desk
        viewer: Actor = request.app.state.viewer_of(request)
        look = Look(action, request.path_params["ref"])
        if viewer.role not in LISTERS:
            await record_denied(desk, request, viewer, look)
            raise denied(look, LISTERS)
        demand_recorded(await desk.answers.ask(looked(desk.tenant, viewer, look, "console")))
        program = _program(request.app.state.backend)
        return await run_in_threadpool(make, program, request.path_params["ref"])

    return answer


def _letter(program: Program, ref: str) -> Response:
    text = retaining.letter(program.store, ref, program.settings.bank.name)
    return PlainTextResponse(text, headers={"cache-control": "no-store"})


def _certificate(program: Program, ref: str) -> Response:
    return _json(msgspec.json.encode(retaining.certificate(program.store, ref)))


def _json(body: bytes) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(body, media_type="application/json", headers=headers)


PAGES = (
    Page("/retention", "retention.html", "Retention", listed, KeptPage),
    Page("/retention/{ref:path}", "retention_subject.html", "Kept of", subject, KeptSubject),
)
"""The pages of retention."""

ROUTES = [
    *(
        Route(f"/retention/{{ref:path}}/{act}", endpoint, methods=["POST"], name=act)
        for act in ACTS
    ),
    Route("/retention/{ref:path}/letter", _document("retention.letter", _letter), methods=["GET"]),
    Route(
        "/retention/{ref:path}/certificate",
        _document("retention.certificate", _certificate),
        methods=["GET"],
    ),
]
