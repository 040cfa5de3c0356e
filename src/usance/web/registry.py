"""The log's schema registry as others ask for it: Confluent's REST interface, as far as clients use it.

Off-the-shelf serializers and deserializers take `http://HOST:PORT/registry` as their registry. What is
registered here is written by the owner of system partition 0, as everything else in the registry's stream is;
versions of the program's own messages come with the program alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from usance.crypto.card_policy import ARTICLE, HINT, CardPolicy
from usance.engine.control import RegisterSchema
from usance.engine.owner import schemas
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused, Unreadable, UsanceError
from usance.kernel.ids import RandomIds
from usance.messages.avro_schema import Schema
from usance.messages.compatibility import check_versions
from usance.messages.registry import RegistryState
from usance.web.backend import Backend

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
LEVEL = "FULL_TRANSITIVE"
"""The level of subjects without one of their own."""
NO_SUCH_PATH = 404
SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40402, 40403
NO_LEVEL = 40408
INCOMPATIBLE = 409
INVALID_SCHEMA, INVALID_VERSION, NOT_PERMITTED = 42201, 42202, 42205
STORE_FAILED = 50001
_WORDS = {
    NO_SUCH_PATH: "HTTP 404 Not Found",
    SUBJECT_NOT_FOUND: "Subject not found.",
    VERSION_NOT_FOUND: "Version not found.",
    SCHEMA_NOT_FOUND: "Schema not found.",
    NO_LEVEL: "The subject has no compatibility level of its own.",
    INVALID_VERSION: "The version is no number of one or more, and not 'latest'.",
    NOT_PERMITTED: "Levels, modes and deletions are not offered: history stays readable.",
    STORE_FAILED: "The owner of the registry did not answer in time; ask again.",
}
NEWEST = ("latest", "-1")
_CODES = {"INCOMPATIBLE_SCHEMA": INCOMPATIBLE, "INVALID_SCHEMA": INVALID_SCHEMA}

Json = dict[str, Any]
Read = Callable[[RegistryState, Request], Any]
Act = Callable[[RegistryState, Request, Json], Awaitable[Any]]


class _Wrong(Exception):
    """What was asked for is not there, or not to be had; `code` is the registry's own."""

    def __init__(self, code: int, words: str = "") -> None:
        super().__init__(words or _WORDS[code])
        self.code = code


def _reading(answer: Read) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        backend: Backend = request.app.state.backend
        try:
            return _shown(answer(backend.registry, request))
        except _Wrong as wrong:
            return _told(wrong)

    return endpoint


def _acting(act: Act) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        backend: Backend = request.app.state.backend
        try:
            try:
                body = msgspec.json.decode(await request.body())
            except msgspec.MsgspecError as error:
                raise _Wrong(INVALID_SCHEMA, "The body is no JSON.") from error
            return _shown(await act(backend.registry, request, body))
        except _Wrong as wrong:
            return _told(wrong)

    return endpoint


def _shown(found: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status, media_type=MEDIA_TYPE)


def _told(wrong: _Wrong) -> Response:
    status = wrong.code if wrong.code < 1_000 else wrong.code // 100
    return _shown({"error_code": wrong.code, "message": str(wrong)}, status)


# -- reading


def _schema(state: RegistryState, request: Request) -> Json:
    return _text(_known(state, request).schema)


def _text(schema: Schema) -> Json:
    return {"schema": schema.text, "schemaType": "AVRO", "guid": str(schema.guid)}


def _by_guid(state: RegistryState, request: Request) -> Json:
    known = state.find_guid(request.path_params["guid"])
    if known is None:
        raise _Wrong(SCHEMA_NOT_FOUND)
    return _text(known.schema)


def _known(state: RegistryState, request: Request) -> Any:
    known = state.find(request.path_params["id"])
    if known is None:
        raise _Wrong(SCHEMA_NOT_FOUND)
    return known


def _uses(state: RegistryState, request: Request) -> list[Json]:
    wanted = _known(state, request).id
    return [
        {"subject": subject, "version": version}
        for subject, versions in sorted(state.subjects.items())
        for version, schema_id in sorted(versions.items())
        if schema_id == wanted
    ]


def _versions(state: RegistryState, request: Request) -> dict[int, int]:
    found = state.subjects.get(request.path_params["subject"])
    if found is None:
        raise _Wrong(SUBJECT_NOT_FOUND)
    return found


def _number(versions: dict[int, int], asked: str) -> int:
    if asked in NEWEST:
        return max(versions)
    if not (asked.isdecimal() and int(asked) > 0):
        raise _Wrong(INVALID_VERSION)
    return int(asked)


def _version(state: RegistryState, request: Request) -> Json:
    versions = _versions(state, request)
    number = _number(versions, request.path_params["version"])
    schema_id = versions.get(number)
    known = state.by_id(schema_id) if schema_id is not None else None
    if known is None:
        raise _Wrong(VERSION_NOT_FOUND)
    return {
        "subject": request.path_params["subject"],
        "version": number,
        "id": known.id,
        **_text(known.schema),
    }


def _level(state: RegistryState, request: Request) -> Json:
    level = state.levels.get(request.path_params["subject"])
    if level is None and request.query_params.get("defaultToGlobal") == "true":
        level = LEVEL
    if level is None:
        raise _Wrong(NO_LEVEL)
    return {"compatibilityLevel": level}


# -- looking up, checking, registering


def _parsed(body: Any) -> Schema:
    """Return the schema of a body; `metadata`, `ruleSet` and `normalize` are taken and not needed."""
    if not isinstance(body, dict) or not isinstance(body.get("schema"), str):
        raise _Wrong(INVALID_SCHEMA, "The body has no schema.")
    if body.get("schemaType") not in (None, "AVRO") or body.get("references"):
        raise _Wrong(INVALID_SCHEMA, "Only Avro schemas that stand by themselves are kept.")
    try:
        return Schema(body["schema"])
    except Unreadable as error:
        raise _Wrong(INVALID_SCHEMA, f"Invalid schema: {error.reason}; {error.hint}.") from error


def _registered(state: RegistryState, subject: str, schema: Schema) -> tuple[int, int] | None:
    """Return version and id that a subject has for a schema, however its names are written."""
    for version, schema_id in sorted(state.subjects.get(subject, {}).items()):
        known = state.by_id(schema_id)
        if known is not None and known.schema.meaning == schema.meaning:
            return version, schema_id
    return None


async def _look_up(state: RegistryState, request: Request, body: Json) -> Json:
    schema = _parsed(body)
    _versions(state, request)
    subject = request.path_params["subject"]
    found = _registered(state, subject, schema)
    if found is None:
        raise _Wrong(SCHEMA_NOT_FOUND)
    known = state.by_id(found[1])
    assert known is not None
    return {
        "subject": subject,
        "version": found[0],
        "id": found[1],
        **_text(known.schema),
    }


async def _check(state: RegistryState, request: Request, body: Json) -> Json:
    schema = _parsed(body)
    subject, asked = request.path_params["subject"], request.path_params.get("version")
    versions = state.subjects.get(subject)
    if versions is None and asked is not None:
        raise _Wrong(SUBJECT_NOT_FOUND)
    before = state.versions(subject) if versions else []
    level = state.levels.get(subject, LEVEL)
    if versions and asked is not None:
        known = state.by_id(versions.get(_number(versions, asked), 0))
        if known is None:
            raise _Wrong(VERSION_NOT_FOUND)
        before = [known.schema]
    found = check_versions(schema, before, level)
    answer: Json = {"is_compatible": not found}
    if request.query_params.get("verbose") == "true":
        answer["messages"] = [f"{v.rule} at {v.path or '/'}: {v.message}" for v in found]
    return answer


async def _register(state: RegistryState, request: Request, body: Json) -> Json:
    schema, subject = _parsed(body), request.path_params["subject"]
    known = _registered(state, subject, schema)
    if known is not None:
        return _given(state, known)
    _demand_no_card(request.app.state.backend.cards, schema.text, subject)
    if state.beyond is not None:
        raise _Wrong(NOT_PERMITTED, "Ids come from another registry: register the schema there.")
    backend: Backend = request.app.state.backend
    topics, tenant = backend.gateway.commands.topics, backend.settings.bank.tenant
    command_id = RandomIds().fresh()
    outgoing = Outgoing(
        schemas.key_for(topics, tenant),
        RegisterSchema(subject=subject, text=schema.text, level=LEVEL),
        command_id,
        "registry",
        command_id,
        Actor("", "registry", "system"),
    )
    try:
        outcome = await request.app.state.answers.ask(outgoing)
    except UsanceError as error:
        raise _Wrong(STORE_FAILED, error.message) from error
    if outcome is None:
        raise _Wrong(STORE_FAILED)
    if outcome.answer != "accepted":
        code = _CODES.get(outcome.code, NOT_PERMITTED)
        raise _Wrong(code, f"{outcome.message} {outcome.hint}".strip())
    state.renew()
    known = _registered(state, subject, schema)
    if known is None:
        raise _Wrong(STORE_FAILED)
    return _given(state, known)


def _demand_no_card(cards: CardPolicy, *texts: str) -> None:
    """Refuse a card's number: a schema is kept for ever, and a token in its place would mean another schema."""
    for data in (text.encode() for text in texts):
        try:
            clean = cards.passed(data) == data
        except Refused:
            clean = False
        if not clean:
            raise _Wrong(INVALID_SCHEMA, f"A card number stands in it [{ARTICLE}]. {HINT}")


def _given(state: RegistryState, registered: tuple[int, int]) -> Json:
    version, schema_id = registered
    known = state.by_id(schema_id)
    assert known is not None
    return {"id": schema_id, "version": version, **_text(known.schema)}


def _nothing(_: RegistryState, __: Request) -> Json:
    raise _Wrong(NO_SUCH_PATH)


def _refused(_: RegistryState, __: Request) -> Json:
    raise _Wrong(NOT_PERMITTED)


READS: dict[str, Read] = {
    "/schemas/types": lambda _, __: ["AVRO"],
    "/schemas/ids/{id:int}": _schema,
    "/schemas/guids/{guid:uuid}": _by_guid,
    "/schemas/ids/{id:int}/schema": lambda s, r: msgspec.Raw(_known(s, r).schema.text.encode()),
    "/schemas/ids/{id:int}/versions": _uses,
    "/schemas/ids/{id:int}/subjects": lambda s, r: [u["subject"] for u in _uses(s, r)],
    "/subjects": lambda s, _: sorted(s.subjects),
    "/subjects/{subject:path}/versions/{version}/schema": lambda s, r: msgspec.Raw(
        _version(s, r)["schema"].encode()
    ),
    "/subjects/{subject:path}/versions/{version}": _version,
    "/subjects/{subject:path}/versions": lambda s, r: sorted(_versions(s, r)),
    "/config": lambda _, __: {"compatibilityLevel": LEVEL},
    "/config/{subject:path}": _level,
    "/mode": lambda _, __: {"mode": "READWRITE"},
    "/mode/{subject:path}": lambda _, __: {"mode": "READWRITE"},
}
POSTS: dict[str, Act] = {
    "/compatibility/subjects/{subject:path}/versions/{version}": _check,
    "/compatibility/subjects/{subject:path}/versions": _check,
    "/subjects/{subject:path}/versions": _register,
    "/subjects/{subject:path}": _look_up,
}


def mount() -> Mount:
    """Return the interface, to be mounted into the application."""
    routes = [Route(path, _reading(answer), methods=["GET"]) for path, answer in READS.items()]
    routes += [Route(path, _acting(act), methods=["POST"]) for path, act in POSTS.items()]
    for path in ("/config", "/config/{subject:path}", "/mode", "/mode/{subject:path}"):
        routes.append(Route(path, _reading(_refused), methods=["PUT"]))
    routes.append(Route("/subjects/{subject:path}", _reading(_refused), methods=["DELETE"]))
    every = ["GET", "POST", "PUT", "DELETE", "PATCH"]
    routes.append(Route("/{path:path}", _reading(_nothing), methods=every))
    return Mount("/registry", routes=routes)
