"""The log's schema registry as others ask for it: the reading part of Confluent's REST interface.

Off-the-shelf deserializers read our topics with `http://HOST:PORT/registry` as their registry. Schemas are
registered by the owner alone, from the program that ships them; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from usance.messages.registry import RegistryState
from usance.web.backend import Backend

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40402, 40403
INVALID_VERSION = 42202
READ_ONLY = "READONLY"
_WORDS = {
    SUBJECT_NOT_FOUND: "Subject not found.",
    VERSION_NOT_FOUND: "Version not found.",
    SCHEMA_NOT_FOUND: "Schema not found.",
    INVALID_VERSION: "The version is no number of one or more, and not 'latest'.",
}

Json = dict[str, Any]
Answer = Callable[[RegistryState, Request], Any]


class _Missing(Exception):
    """What was asked for is not registered; `code` is the registry's own."""

    def __init__(self, code: int) -> None:
        super().__init__(_WORDS[code])
        self.code = code


def _endpoint(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        backend: Backend = request.app.state.backend
        try:
            found, status = answer(backend.registry, request), 200
        except _Missing as missing:
            found = {"error_code": missing.code, "message": str(missing)}
            status = missing.code // 100
        return Response(msgspec.json.encode(found), status, media_type=MEDIA_TYPE)

    return endpoint


def _schema(state: RegistryState, request: Request) -> Json:
    return {"schema": _known(state, request).schema.text, "schemaType": "AVRO"}


def _known(state: RegistryState, request: Request) -> Any:
    known = state.by_id(request.path_params["id"])
    if known is None:
        raise _Missing(SCHEMA_NOT_FOUND)
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
        raise _Missing(SUBJECT_NOT_FOUND)
    return found


def _version(state: RegistryState, request: Request) -> Json:
    versions, asked = _versions(state, request), request.path_params["version"]
    if asked != "latest" and not (asked.isdecimal() and int(asked) > 0):
        raise _Missing(INVALID_VERSION)
    number = max(versions) if asked == "latest" else int(asked)
    schema_id = versions.get(number)
    known = state.by_id(schema_id) if schema_id is not None else None
    if known is None:
        raise _Missing(VERSION_NOT_FOUND)
    return {
        "subject": request.path_params["subject"],
        "version": number,
        "id": known.id,
        "schema": known.schema.text,
        "schemaType": "AVRO",
    }


def _level(state: RegistryState, request: Request) -> Json:
    level = state.levels.get(request.path_params["subject"])
    if level is None:
        raise _Missing(SUBJECT_NOT_FOUND)
    return {"compatibilityLevel": level}


ANSWERS: dict[str, Answer] = {
    "/schemas/types": lambda _, __: ["AVRO"],
    "/schemas/ids/{id:int}": _schema,
    "/schemas/ids/{id:int}/versions": _uses,
    "/schemas/ids/{id:int}/subjects": lambda s, r: [u["subject"] for u in _uses(s, r)],
    "/subjects": lambda s, _: sorted(s.subjects),
    "/subjects/{subject:path}/versions/{version}": _version,
    "/subjects/{subject:path}/versions": lambda s, r: sorted(_versions(s, r)),
    "/config/{subject:path}": _level,
    "/mode": lambda _, __: {"mode": READ_ONLY},
}


def mount() -> Mount:
    """Return the interface, to be mounted into the application."""
    routes = [Route(path, _endpoint(answer), methods=["GET"]) for path, answer in ANSWERS.items()]
    return Mount("/registry", routes=routes)
