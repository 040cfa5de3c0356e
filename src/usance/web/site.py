"""The console: pages and their twins, forms, who acts, what became of what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from usance.kernel.clock import SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused, UsanceError
from usance.views import results_access as ra
from usance.views.asking_access import AUDITORS
from usance.web import doctoring, every, pages, rereading
from usance.web.answers import Answer
from usance.web.api import ACTING_AS, Desk, previewed, refusal_of, said_by
from usance.web.backend import Backend
from usance.web.commands import command_type, command_types
from usance.web.forms import FIELDS_MAX, command_of
from usance.web.live import light
from usance.web.looks import LOOK, Looks
from usance.web.matching import expected
from usance.web.pages import COMPLIANCE_ROLES, Page, Shown, Visit
from usance.web.problems import MEDIA_TYPE, Problem, problem, problem_of
from usance.web.render import after, path_of, render, with_query

POSITION_WAIT_S = 2.0
SAVED = "usance_saved"
REREAD = "Reread"
"""Not a command of the log: the command is the one that the bytes mean."""
SAVED_MAX = 12
SKEW_MS = 2_000
"""Difference of book and real time from which both are shown."""

RAIL: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Desk",
        (
            ("t", "/", "Today"),
            ("w", "/work", "Work"),
            ("c", "/credits", "Credits"),
            ("p", "/presentations", "Presentations"),
            ("f", "/facilities", "Facilities"),
            ("a", "/approvals", "Approvals"),
            ("m", "/messages", "Messages"),
            ("l", "/ledger", "Ledger"),
        ),
    ),
    (
        "Compliance",
        (("k", "/cases", "Cases"), ("n", "/lists", "Lists"), ("q", "/retention", "Retention")),
    ),
    (
        "Audit",
        (("u", "/audit", "Audit"), ("x", "/access", "Access"), ("z", "/glass", "Broken glass")),
    ),
    (
        "Operations",
        (
            ("d", "/dead-letters", "Dead letters"),
            ("s", "/sagas", "Sagas"),
            ("i", "/incidents", "Incidents"),
            ("e", "/events", "Events"),
            ("o", "/answers", "Commands"),
            ("b", "/lag", "Lag"),
            ("r", "/projections", "Projections"),
            ("h", "/schemas", "Schemas"),
            ("y", "/system", "System"),
            ("v", "/doctor", "Doctor"),
        ),
    ),
)
"""The left rail: groups of (key behind `g`, address, name)."""

_COMPLIANCE = frozenset(COMPLIANCE_ROLES)
RAIL_ROLES = {
    "/cases": _COMPLIANCE,
    "/lists": _COMPLIANCE,
    "/access": AUDITORS,
    "/doctor": doctoring.READERS,
    "/retention": _COMPLIANCE,
}
"""Who sees an address in the rail; the others are for everybody."""

FORM_PAGES = {p.path: p for p in pages.PAGES if p.path in ("/apply", "/present")}


class Site:
    """Everything a browser sees."""

    def __init__(self, backend: Backend, desk: Desk) -> None:
        self.backend = backend
        self.desk = desk
        self.looks = Looks(desk)
        self.real = SystemClock()

    def routes(self) -> list[Route]:
        """Return the routes of all pages; twins stand first, as `.json` ends their addresses."""
        twins = [Route(f"{p.path}.json", self._twin(p), methods=["GET"]) for p in every.PAGES]
        shown = [Route(p.path, self._page(p), methods=["GET"]) for p in every.PAGES]
        return [
            Route("/", self._page(pages.PAGES[0]), methods=["GET"]),
            *twins,
            *shown,
            Route("/send", self.send_page, methods=["GET"]),
            Route("/act-as", self.act_as, methods=["POST"]),
            Route("/saved", self.save, methods=["POST"]),
            Route("/do", self.do, methods=["POST"]),
            Route("/do/{command}", self.do, methods=["POST"]),
        ]

    # -- who

    def viewer_of(self, request: Request) -> Actor:
        """Return who looks: as chosen, else the first person of the directory."""
        try:
            return self.desk.actor(said_by(dict(request.scope["headers"])))
        except (NotFound, Refused):
            first = next(iter(self.backend.directory.people))
            return self.desk.actor(first)

    async def act_as(self, request: Request) -> Response:
        """Take the choice of the chooser: from here on this person acts."""
        fields = await _fields(request)
        chosen = self.desk.actor(fields.get("person", ""))
        answer = RedirectResponse(local(fields.get("back", "/")), 303)
        value = f"{chosen.person}:{chosen.role}"
        answer.set_cookie(ACTING_AS, value, httponly=True, samesite="strict", max_age=30 * 86_400)
        return answer

    async def save(self, request: Request) -> Response:
        """Keep a filter under a name, or forget one; it stays in this browser."""
        fields = await _fields(request)
        back = local(fields.get("back", "/credits"))
        name, kept = fields.get("name", "").strip()[:40], self._saved(request)
        kept.pop(name, None)
        if name and "forget" not in fields:
            kept[name] = back
        pairs = list(kept.items())[-SAVED_MAX:]
        answer = RedirectResponse(back, 303)
        answer.set_cookie(
            SAVED, urlencode(pairs), httponly=True, samesite="strict", max_age=365 * 86_400
        )
        return answer

    def _saved(self, request: Request) -> dict[str, str]:
        pairs = parse_qsl(request.cookies.get(SAVED, "").strip('"'))
        return {name[:40]: local(path) for name, path in pairs[:SAVED_MAX]}

    # -- pages

    def _visit(self, request: Request) -> Visit:
        return Visit(
            self.backend.queries,
            self.viewer_of(request),
            self.desk.tenant,
            dict(request.query_params),
            request.path_params.get("ref", ""),
            self.backend.clock.now(),
            self.backend,
        )

    def _page(self, page: Page) -> Any:
        async def endpoint(request: Request) -> Response:
            visit = self._visit(request)
            at = request.headers.get("if-position") or visit.query.get("at", "")
            fresh = await self._reached(at)
            outcome = await self._outcome(visit)
            shown, look = await self._shown(request, page, visit, outcome)
            html = await run_in_threadpool(
                self.html, request, page, shown, visit, outcome=outcome, stale=not fresh, look=look
            )
            headers = {"cache-control": "no-cache"} | ({} if fresh else {"stale": "true"})
            headers |= {LOOK: look} if look else {}
            if not request.cookies.get(ACTING_AS):
                answer = HTMLResponse(html, headers=headers)
                who = f"{visit.viewer.person}:{visit.viewer.role}"
                answer.set_cookie(ACTING_AS, who, httponly=True, samesite="strict")
                return answer
            return HTMLResponse(html, headers=headers)

        return endpoint

    def _twin(self, page: Page) -> Any:
        async def endpoint(request: Request) -> Response:
            visit = self._visit(request)
            at = request.headers.get("if-position", "")
            if not await self._reached(at):
                told = problem(
                    412,
                    "POSITION_NOT_REACHED",
                    "The read side has not taken in this position yet.",
                    "Ask again in a moment; without If-Position the present state is answered.",
                )
                return problem_response(told)
            shown, look = await self._shown(request, page, visit)
            body = await run_in_threadpool(
                msgspec.json.encode, shown.extra.get("twin", shown.result)
            )
            headers = {"cache-control": "no-store"} | ({LOOK: look} if look else {})
            if shown.revision is not None:
                headers["etag"] = f'"{shown.revision}"'
            return Response(body, media_type="application/json", headers=headers)

        return endpoint

    async def _shown(
        self, request: Request, page: Page, visit: Visit, *more: Any
    ) -> tuple[Shown, str]:
        """Return what a page shows, once it is recorded that it is shown, and the token of that look."""
        try:
            shown = await run_in_threadpool(page.show, visit)
        except (NotFound, Refused) as error:
            await self.looks.denied(request, page, visit, error)
            raise
        return shown, await self.looks.demand(request, page, visit, shown, *more)

    async def _reached(self, position: str) -> bool:
        """Wait a little for the read side to take in a position; true where none is wanted."""
        if not position:
            return True
        try:
            return await run_in_threadpool(self.backend.queries.wait_for, position, POSITION_WAIT_S)
        except ValueError as error:
            raise Refused(
                "POSITION_INVALID",
                "A position token is malformed.",
                hint="Pass on the token of an answer, such as trade.p1#9241.",
            ) from error

    async def _outcome(self, visit: Visit) -> Answer | None:
        command_id = visit.query.get("outcome", "")
        if not command_id:
            return None
        found = await self.desk.answered(command_id, "", visit.viewer)
        return found or Answer(
            command_id=command_id[:64],
            outcome="pending",
            message="The command is kept and will be decided once.",
            hint="Reload this page in a moment.",
        )

    def html(self, request: Request, page: Page, shown: Shown, visit: Visit, **more: Any) -> str:
        """Return a page as HTML with its frame."""
        context = self.frame(request, visit.viewer) | {
            "title": f"{page.title} {visit.ref}".strip(),
            "data": shown.result,
            "bound": _bound(shown),
            "ref": visit.ref,
            "twin": twin_address(request),
            "values": {},
            "told": None,
        }
        if page.path == "/system":
            context |= {"health": self.backend.health(), "settings": self._settings()}
        return render(
            page.template, **{**context, **shown.extra, **more, "twin": twin_address(request)}
        )

    def frame(self, request: Request, viewer: Actor) -> dict[str, Any]:
        """Return what the frame around every page shows."""
        now, real = self.backend.clock.now(), self.real.now()
        query = {k: v for k, v in request.query_params.items() if k not in ("outcome", "at")}
        return {
            "path": request.url.path,
            "query": query,
            "here": with_query(request.url.path, query),
            "viewer": viewer,
            "broken": self._broken(viewer),
            "people": self.backend.directory.people,
            "person_name": self.backend.directory.name,
            "bank": self.backend.settings.bank,
            "rail": rail_of(viewer),
            "now": now,
            "real": real if abs(real - now) > SKEW_MS else 0,
            "light": light(self.backend),
            "saved": self._saved(request),
            "once": self.desk.ids.fresh,
            "bound": {},
            "outcome": None,
            "stale": False,
            "look": "",
        }

    def _broken(self, viewer: Actor) -> list[ra.GlassRow]:
        """Return whose glass is broken; nothing where the views cannot tell."""
        try:
            return self.backend.queries.broken(viewer)
        except UsanceError:
            return []

    def _settings(self) -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []

        def walk(value: Any, name: str) -> None:
            if isinstance(value, dict):
                for key, inner in value.items():
                    walk(inner, f"{name}.{key}" if name else key)
            else:
                secret = any(w in name for w in ("password", "secret", "key", "token"))
                rows.append((name, "********" if secret else str(value)))

        walk(msgspec.to_builtins(self.backend.settings), "")
        return rows

    # -- acts

    async def send_page(self, request: Request) -> Response:
        """Answer `GET /send`: any command, as JSON."""
        return HTMLResponse(self._send_html(request, dict(request.query_params), None))

    def _send_html(self, request: Request, values: dict[str, str], told: Problem | None) -> str:
        frame = self.frame(request, self.viewer_of(request))
        names = sorted(command_types())
        return render(
            "send.html",
            **frame,
            title="Send a command",
            twin="",
            values=values,
            names=names,
            told=told,
        )

    async def do(self, request: Request) -> Response:
        """Take a form: preview its command or send it, then show what became of it."""
        fields = await _fields(request)
        values = self.desk.cards.shown_fields(fields)
        back, form = local(fields.pop("back", "/")), fields.pop("form", "")
        name = request.path_params.get("command") or fields.pop("command", "")
        key, once = fields.pop("key", ""), fields.pop("once", "")
        preview = fields.pop("preview", None) is not None
        looked_at = fields.pop("if_match", "")
        try:
            fields = self.desk.cards.passed_fields(fields)
            actor = self.desk.actor(said_by(dict(request.scope["headers"])))
            if name == REREAD:
                return await self._reread(request, values, actor, back, preview=preview)
            kind = command_type(name)
            text = fields.pop("json", None)
            command = kind.decode(text.encode()) if text else command_of(kind.cls, fields)
            command_id = self.desk.command_id(f"form:{once}" if once else "")
            outgoing = self.desk.outgoing(kind, command, key, actor, command_id)
            await self.desk.demand(outgoing, expected(looked_at))
            if preview:
                told = await previewed(self.desk, outgoing, "console")
                return self._preview(request, name, values, told, back)
            answer = await self.desk.send(outgoing)
        except (UsanceError, msgspec.DecodeError) as error:
            return await self._again(request, form, values, problem_of(error), back)
        if answer is not None and answer.outcome == "refused" and form:
            return await self._again(request, form, values, refusal_of(answer), back)
        if form and answer is not None and answer.outcome == "accepted":
            back = path_of(outgoing.key) or back
        return RedirectResponse(after(back, command_id, answer.position if answer else ""), 303)

    async def _reread(
        self, request: Request, values: dict[str, str], actor: Actor, back: str, *, preview: bool
    ) -> Response:
        said = values.get("dead_letter_id", "")
        if preview:
            told = await rereading.outlook(self.desk, said, actor)
            return self._preview(request, REREAD, values, told, back)
        reason = values.get("reason", "")
        outgoing, answer = await rereading.read_again(self.desk, said, reason, actor)
        return RedirectResponse(after(back, outgoing.id, answer.position if answer else ""), 303)

    def _preview(
        self, request: Request, name: str, values: dict[str, str], told: Any, back: str
    ) -> Response:
        frame = self.frame(request, self.viewer_of(request))
        fields = {k: v for k, v in values.items() if k != "preview"}
        html = render(
            "preview.html",
            **(frame | {"here": back}),
            title="Preview",
            twin="",
            command=name,
            fields=fields,
            forecast=told,
            back=back,
        )
        return HTMLResponse(html)

    async def _again(
        self, request: Request, form: str, values: dict[str, str], told: Problem, back: str
    ) -> Response:
        """Show the form again as it was filled in, with what is wrong; else the problem alone."""
        if form == "/send":
            return HTMLResponse(self._send_html(request, values, told), told.status)
        page = FORM_PAGES.get(form)
        if page is None:
            again = {k: v for k, v in values.items() if k not in ("if_match", "preview")}
            return self.problem_page(request, told, back, again if told.changed else None)
        query = dict(parse_qsl(urlsplit(back).query))
        visit = self._visit(request)._replace(query=query)
        shown, _ = await self._shown(request, page, visit)
        html = self.html(request, page, shown, visit, values=values, told=told, here=form)
        return HTMLResponse(html, told.status)

    def problem_page(
        self,
        request: Request,
        told: Problem,
        back: str = "/",
        again: dict[str, str] | None = None,
    ) -> Response:
        """Return a problem as a page for people; `again` is a form that may be sent all the same."""
        frame = self.frame(request, self.viewer_of(request))
        html = render(
            "problem.html", **frame, title=told.title, twin="", told=told, back=back, again=again
        )
        return HTMLResponse(html, told.status)


def rail_of(viewer: Actor) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the rail with the addresses that are for a viewer's role."""
    mine = [
        (name, [at for at in places if viewer.role in RAIL_ROLES.get(at[1], {viewer.role})])
        for name, places in RAIL
    ]
    return [(name, places) for name, places in mine if places]


def _bound(shown: Shown) -> dict[str, int]:
    """Return the aggregate that a page is about, with the revision that it shows."""
    row = getattr(shown.result, "row", None)
    key = getattr(row, "key", "")
    return {key: shown.revision} if key and shown.revision is not None else {}


def local(address: str) -> str:
    """Return an address of this console; anything else becomes Today (no open redirects)."""
    odd = "\\" in address or any(ord(c) < 32 for c in address)
    return "/" if odd or not address.startswith("/") or address.startswith("//") else address


def twin_address(request: Request) -> str:
    """Return the address of a page's JSON twin."""
    path = request.url.path
    query = {k: v for k, v in request.query_params.items() if k not in ("outcome", "at")}
    return with_query("/today.json" if path == "/" else f"{path}.json", query)


def problem_response(told: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as JSON; `headers` such as `Allow` go with it."""
    headers = {"cache-control": "no-store", **(headers or {})}
    return Response(told.encode(), told.status, media_type=MEDIA_TYPE, headers=headers)


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a posted form; raises Refused on any other media type."""
    media = request.headers.get("content-type", "")
    if not media.startswith("application/x-www-form-urlencoded"):
        raise Refused(
            "FORM_EXPECTED",
            "The request is not a form of this console.",
            hint="Programs use POST /commands/{type} with JSON.",
        )
    form = await request.form(max_fields=FIELDS_MAX)
    return {name: str(value) for name, value in form.items()}
