"""Commands over HTTP: one lean endpoint, a batch, a dry run; answers after the commit.

`POST /commands/{type}` takes the command as JSON; `?key=` names its aggregate where the command
does not. `Idempotency-Key` makes the command id (uuid5 of tenant and key), `Usance-As` says who acts.
"""

from __future__ import annotations

import asyncio
import re
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from usance.bootstrap.accessing import Look, demand_recorded, looked
from usance.bootstrap.breaking import behind_glass, handed_over
from usance.engine.control import Discard, Redrive
from usance.engine.reactors.reactor import Outgoing
from usance.engine.telemetry import format_traceparent, parse_traceparent
from usance.engine.topics import Topics
from usance.kernel.decider import Actor, key_parts
from usance.kernel.errors import NotFound, Refused, Unreadable
from usance.kernel.ids import RandomIds, namespace_of, uuid5_text
from usance.messages.outcome import CONFLICT, DECIDING, DUPLICATE
from usance.messages.words import addressed
from usance.views import results as r
from usance.views.guarded import streams_in
from usance.web.answers import Answer, Answers, EventAt, answer_of, key_reused, position
from usance.web.backend import Backend
from usance.web.commands import CommandType, command_type
from usance.web.guard import BODY_MAX, Headers, send_body, send_problem, too_large
from usance.web.matching import expected, unmoved
from usance.web.previews import Forecast, forecast, settling
from usance.web.problems import Problem, problem, problem_of

BATCH_MAX = 500
ACTING_AS = "usance_as"
"""Cookie that holds `person:role`."""
ROLE_HEADER = "Usance-As"
ID_MAX = 200
GLASS_LOOKS, GLASS_LOOK_S = 100, 0.05
"""How often, and how many seconds apart, the answer to an act behind broken glass is looked for."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode = msgspec.json.Encoder().encode
_ACTORS_MAX = 1_000


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One command of a batch; `id` is its idempotency key."""

    type: str
    command: msgspec.Raw
    key: str = ""
    id: str = ""


_items = msgspec.json.Decoder(list[Item])


class Desk:
    """Takes commands of people and programs: makes them whole, sends them, says what became of them."""

    def __init__(self, backend: Backend, answers: Answers) -> None:
        self.backend = backend
        self.answers = answers
        self.topics = Topics(backend.genesis.namespace, backend.genesis.partitions)
        self.ids = RandomIds()
        self.tenant = backend.settings.bank.tenant
        self.cards = backend.cards
        self._namespace = namespace_of(self.tenant)
        self._actors: dict[str, Actor] = {}

    def actor(self, said: str) -> Actor:
        """Return who `person:role` (or `person`) is; raises Refused or NotFound."""
        found = self._actors.get(said)
        if found is not None:
            return found
        if not said:
            raise Refused(
                "ACTING_AS_MISSING",
                "Nobody is named who acts.",
                hint=f"Send the header {ROLE_HEADER}: person, or choose somebody in the console.",
            )
        person, _, role = said.partition(":")
        actor = self.backend.directory.actor(person, role)
        if len(self._actors) < _ACTORS_MAX:
            self._actors[said] = actor
        return actor

    def command_id(self, idempotency_key: str) -> str:
        """Return the command id of an idempotency key; a fresh one where there is none."""
        if not idempotency_key:
            return self.ids.fresh()
        if len(idempotency_key) > ID_MAX:
            raise Unreadable("validate", f"an Idempotency-Key is longer than {ID_MAX} characters")
        return uuid5_text(self._namespace, idempotency_key)

    def outgoing(
        self, kind: CommandType, command: Any, said_key: str, actor: Actor, command_id: str
    ) -> Outgoing:
        """Return a command ready to be sent; raises Refused for a card in its key."""
        said_key = self.cards.passed_fields({"key": said_key})["key"]
        key = kind.key(self.tenant, self.topics, said_key, command)
        source = "operator" if kind.category == "control" else "api"
        command = addressed(command, key_parts(key).identity)
        return Outgoing(key, command, command_id, f"{source}:{command_id}", command_id, actor)

    async def send(self, outgoing: Outgoing) -> Answer | None:
        """Send a command and return its answer after the commit; None when none came in time."""
        if behind_glass(outgoing):
            return await self._behind_glass(outgoing)
        outcome = await self.answers.ask(outgoing)
        if outcome is None:
            return None
        if outcome.answer == CONFLICT:
            raise key_reused()
        if outcome.answer == DUPLICATE:
            return await self.answered(outgoing.id, outgoing.key, outgoing.actor)
        answer = answer_of(outcome, outgoing.key)
        if outcome.answer in DECIDING:
            self.answers.remember(answer)
        return answer

    async def _behind_glass(self, outgoing: Outgoing) -> Answer | None:
        """Have an act noted and sent on, then look for its own answer; None when that is still to come."""
        noted = await self.send(handed_over(outgoing))
        if noted is None or noted.outcome != "accepted":
            return noted
        for _ in range(GLASS_LOOKS):
            found = await self.answered(outgoing.id, outgoing.key, outgoing.actor)
            if found is not None:
                return found
            await asyncio.sleep(GLASS_LOOK_S)
        return None

    async def answered(self, command_id: str, key: str, viewer: Actor) -> Answer | None:
        """Return the answer that a command got before; None when the views do not know it yet."""
        found = self.answers.recent.get(command_id)
        if found is not None:
            return found
        try:
            return await run_in_threadpool(self._looked_up, command_id, key, viewer)
        except NotFound:
            return None

    def _looked_up(self, command_id: str, key: str, viewer: Actor) -> Answer:
        queries = self.backend.queries
        row = queries.command(viewer, command_id)
        page = queries.events(viewer, r.EventFilter(command_id=command_id), limit=BATCH_MAX)
        entries = sorted(page.rows, key=lambda e: e.index)
        events = [
            EventAt(
                position=position(e.stream, e.partition, e.index),
                hash=queries.event(viewer, e.event_id).envelope_hash,
            )
            for e in entries
        ]
        return Answer(
            command_id=command_id,
            outcome=row.answer,
            key=key or (entries[-1].stream if entries else ""),
            revision=entries[-1].revision if entries else -1,
            events=events,
            position=events[-1].position if events else "",
            code=row.code,
            article=row.article,
            message=row.message,
            hint=row.hint,
        )

    async def demand(self, outgoing: Outgoing, revision: int | None) -> None:
        """Raise Moved where an aggregate left the revision that was looked at; a repeat never does."""
        if revision is None or await self.answered(outgoing.id, outgoing.key, outgoing.actor):
            return
        await run_in_threadpool(unmoved, self.backend, outgoing, revision)

    def forecast(self, outgoing: Outgoing) -> Forecast:
        """Return what a command would do now."""
        if isinstance(outgoing.command, Redrive | Discard):
            queries, said = self.backend.queries, outgoing.command.dead_letter_id
            letter = queries.dead_letter(outgoing.actor, said)
            return settling(type(outgoing.command).__name__, letter)
        answer = self.backend.preview(outgoing.key, outgoing.command, outgoing.actor)
        return forecast(outgoing.key, answer)


def said_by(headers: Headers) -> str:
    """Return who acts, as header or cookie say it; empty when neither does."""
    said = headers.get(b"usance-as")
    if said is not None:
        return said.decode("latin-1")
    cookie = headers.get(b"cookie")
    if cookie is None:
        return ""
    try:
        morsel = SimpleCookie(cookie.decode("latin-1")).get(ACTING_AS)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def response_of(answer: Answer | None, command_id: str) -> tuple[int, bytes, str]:
    """Return HTTP code, body and media type of an answer; None means that it is still to come."""
    if answer is None or answer.outcome not in DECIDING:
        told = answer or Answer(
            command_id=command_id,
            outcome="pending",
            hint="The command is kept and will be decided once; ask the status URL.",
        )
        body = msgspec.to_builtins(told) | {"status_url": f"/outcomes/{command_id}"}
        return 202, _encode(body), "application/json"
    if answer.outcome == "accepted":
        return 200, _encode(answer), "application/json"
    refusal = refusal_of(answer)
    return refusal.status, refusal.encode(), "application/problem+json"


def refusal_of(answer: Answer) -> Problem:
    """Return the problem that a refused or discarded command is."""
    return Problem(
        type=f"urn:usance:refusal:{answer.code}",
        title=answer.outcome.capitalize(),
        status=422,
        detail=answer.message,
        code=answer.code,
        article=answer.article,
        hint=answer.hint,
        command_id=answer.command_id,
    )


NOT_JSON = problem(
    415,
    "UNSUPPORTED_MEDIA_TYPE",
    "The body is not declared as application/json.",
    "Send the header Content-Type: application/json, and one JSON object.",
)


class CommandEndpoint:
    """The hot path: a bare ASGI endpoint behind the guard."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Answer one POST of one command."""
        try:
            await self._answer(scope, receive, send, headers)
        except _Gone:
            return
        except Exception as error:  # noqa: BLE001  any error is told as a problem, none as a trace
            await send_problem(send, problem_of(error))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        desk = self.desk
        kind = command_type(scope["path"][10:])
        query = parse_qs(scope["query_string"].decode("latin-1")) if scope["query_string"] else {}
        if not headers.get(b"content-type", b"").startswith(b"application/json"):
            await send_problem(send, NOT_JSON)
            return
        body = await read_body(receive)
        if body is None:
            await send_problem(send, too_large())
            return
        command = kind.decode(desk.cards.passed(body))
        idempotency_key = headers.get(b"idempotency-key", b"").decode("latin-1")
        command_id = desk.command_id(idempotency_key)
        actor = desk.actor(said_by(headers))
        said_key = query["key"][0] if "key" in query else ""
        outgoing = desk.outgoing(kind, command, said_key, actor, command_id)
        origin = parse_traceparent(headers.get(b"traceparent"))
        if origin is not None:
            outgoing = outgoing._replace(trace=format_traceparent(origin))
        if b"if-match" in headers:
            await desk.demand(outgoing, expected(headers[b"if-match"].decode("latin-1")))
        if "dry_run" in query:
            told = await previewed(desk, outgoing, "api")
            await send_body(send, 200, _encode(told))
            return
        status, content, media = response_of(await desk.send(outgoing), command_id)
        extra: tuple[tuple[bytes, bytes], ...] = ()
        if status == 202:
            extra = ((b"location", f"/outcomes/{command_id}".encode()),)
        await send_body(send, status, content, media.encode(), extra)


class _Gone(Exception):
    """The caller went away before the body was whole."""


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None when it is too large."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Gone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= BODY_MAX else None
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MAX:
            return None
    return b"".join(parts)


async def batch(request: Request) -> Response:
    """Answer `POST /commands:batch`: up to 500 commands, each answered by itself, in order."""
    desk: Desk = request.app.state.desk
    items = _items.decode(await request.body())
    if len(items) > BATCH_MAX:
        raise Unreadable("validate", f"a batch has {BATCH_MAX} commands at most", hint="Split it.")
    actor = desk.actor(said_by(dict(request.scope["headers"])))
    dry = "dry_run" in request.query_params
    results = await asyncio.gather(*(_one(desk, item, actor, dry=dry) for item in items))
    return Response(_encode(results), media_type="application/json")


async def _one(desk: Desk, item: Item, actor: Actor, *, dry: bool) -> dict[str, Any]:
    """Return one item's answer with the HTTP code that it would have had alone."""
    try:
        kind = command_type(item.type)
        command_id = desk.command_id(item.id)
        command = kind.decode(desk.cards.passed(bytes(item.command)))
        outgoing = desk.outgoing(kind, command, item.key, actor, command_id)
        if dry:
            told: Any = await previewed(desk, outgoing, "api")
            return {"status": 200, "answer": told}
        status, content, _ = response_of(await desk.send(outgoing), command_id)
        return {"status": status, "answer": msgspec.Raw(content)}
    except Exception as error:  # noqa: BLE001  one item's error is that item's answer
        told = problem_of(error)
        return {"status": told.status, "answer": told}


async def outcome(request: Request) -> Response:
    """Answer `GET /outcomes/{command id}`: what became of a command, 202 while it is open."""
    desk: Desk = request.app.state.desk
    command_id = request.path_params["command_id"]
    viewer = request.app.state.viewer_of(request)
    answer = await desk.answered(command_id, "", viewer)
    if answer is None:
        if not _UUID.fullmatch(command_id):
            hint = "It is the command_id that an answer named: a UUID."
            raise NotFound("nothing is decided under this id, and it is no command's", hint=hint)
        unknown = (
            "Nothing is decided under this id. If the command was sent, ask again; if not, send it."
        )
        answer = Answer(command_id=command_id, outcome="pending", hint=unknown)
    streams = streams_in(answer)
    if streams:
        await recorded_first(desk, viewer, Look("outcome.view", streams[0]), "api")
    status, content, media = response_of(answer, command_id)
    return Response(content, status, media_type=media)


async def previewed(desk: Desk, outgoing: Outgoing, source: str) -> Forecast:
    """Return what a command would do; where that tells of a case, the look is recorded first."""
    told = await run_in_threadpool(desk.forecast, outgoing)
    streams = streams_in(outgoing.key, told)
    if streams:
        look = Look("command.preview", streams[0])
        await recorded_first(desk, outgoing.actor, look, source)
    return told


async def recorded_first(desk: Desk, viewer: Actor, look: Look, source: str) -> None:
    """Record a look before it is answered; raises Unavailable where it cannot be recorded."""
    demand_recorded(await desk.answers.ask(looked(desk.tenant, viewer, look, source)))
