"""OpenAPI 3.1 of commands and pages, generated from the structs themselves."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from usance.web.answers import Answer
from usance.web.api import BATCH_MAX, ROLE_HEADER, Item
from usance.web.commands import CommandType, command_types
from usance.web.every import PAGES
from usance.web.pages import Page
from usance.web.previews import Forecast
from usance.web.problems import Problem
from usance.web.retention import ACTS, Said
from usance.web.revealing import Asked, Revealed

_REF = "#/components/schemas/{name}"
Json = dict[str, Any]


def document(version: str) -> Json:
    """Return the whole description."""
    kinds = command_types()
    classes: list[Any] = [
        *(k.cls for k in kinds.values()),
        Answer,
        Forecast,
        Problem,
        Item,
        Asked,
        Revealed,
        Said,
    ]
    classes += [p.result for p in PAGES if p.result is not dict]
    classes += [p.filters for p in PAGES if p.filters is not None]
    unique = list({repr(c): c for c in classes}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    of = {repr(c): s for c, s in zip(unique, schemas, strict=True)}
    paths: Json = {f"/commands/{name}": _command(kind, of) for name, kind in kinds.items()}
    paths |= {"/commands:batch": _batch(of), "/outcomes/{command_id}": _outcome(of)}
    paths["/dead-letters/{ref}/reread"] = _reread(of)
    paths |= {path: _pack(path, of) for path in ("/credits/{ref}/pack.zip", "/audit/pack.zip")}
    paths |= {"/audit/log/{folder}/{path}": _tile(of), "/audit/policy.txt": _policy(of)}
    paths |= {_path(p): _twin(p, of, components) for p in PAGES}
    paths["/lists"] = _lists(of)
    paths["/events/{ref}/reveal"] = _reveal(of)
    paths |= {f"/retention/{{ref}}/{act}": _retained(act, of) for act in ACTS}
    paths |= {f"/health/{part}": _health(part) for part in ("live", "ready")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "usance",
            "version": version,
            "description": "Commands in, answers after the commit; every page of the console as JSON. "
            "No authentication yet: the program listens on the loopback address only.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _answer(schema: Json, text: str, media: str = "application/json") -> Json:
    return {"description": text, "content": {media: {"schema": schema}}}


def _problems(of: dict[str, Json], *codes: int) -> Json:
    texts = {
        400: "Malformed; the problem names the field",
        404: "Nothing is known under this name",
        409: "The same command is still being decided",
        412: "The position is not reached yet, or the revision of If-Match has moved: `changed` says how",
        413: "The body is too large",
        422: "Refused by a rule, or the Idempotency-Key was used for another body",
        503: "Not available now; try again",
    }
    told = of[repr(Problem)]
    return {str(c): _answer(told, texts[c], "application/problem+json") for c in codes}


def _parameter(place: str, name: str, text: str, schema: Json | None = None) -> Json:
    return {
        "in": place,
        "name": name,
        "required": place == "path",
        "description": text,
        "schema": schema or {"type": "string"},
    }


_DRY_RUN = _parameter("query", "dry_run", "Say what would happen; record nothing")


def _command(kind: CommandType, of: dict[str, Json]) -> Json:
    doc = inspect.getdoc(kind.cls) or ""
    key = "Reference or key of the " + kind.category
    if kind.identity:
        key += f"; taken from `{kind.identity}` where it is left out"
    pending = "No answer in time: ask the Location"
    return {
        "post": {
            "operationId": kind.name,
            "summary": doc.splitlines()[0],
            "description": doc,
            "tags": [kind.category],
            "parameters": [
                _parameter("query", "key", key),
                _parameter("query", "dry_run", "Tell what would happen; record nothing"),
                _parameter("header", "Idempotency-Key", "Makes repeats safe"),
                _parameter("header", ROLE_HEADER, "Who acts: person, or person:role"),
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": of[repr(kind.cls)]}},
            },
            "responses": {
                "200": _answer({"oneOf": [of[repr(Answer)], of[repr(Forecast)]]}, "Committed"),
                "202": _answer(of[repr(Answer)], pending),
                **_problems(of, 400, 404, 409, 412, 413, 422, 503),
            },
        }
    }


def _batch(of: dict[str, Json]) -> Json:
    items = {"type": "array", "maxItems": BATCH_MAX, "items": of[repr(Item)]}
    return {
        "post": {
            "operationId": "batch",
            "summary": f"Up to {BATCH_MAX} commands, each answered by itself, in order.",
            "parameters": [_parameter("header", ROLE_HEADER, "Who acts")],
            "requestBody": {"required": True, "content": {"application/json": {"schema": items}}},
            "responses": {
                "200": _answer({"type": "array"}, "One {status, answer} for each command"),
                **_problems(of, 400, 413, 503),
            },
        }
    }


def _outcome(of: dict[str, Json]) -> Json:
    return {
        "get": {
            "operationId": "outcome",
            "summary": "What became of a command.",
            "parameters": [_parameter("path", "command_id", "The command's id")],
            "responses": {
                "200": _answer(of[repr(Answer)], "Accepted"),
                "202": _answer(of[repr(Answer)], "Not decided yet, or not known yet"),
                **_problems(of, 422),
            },
        }
    }


def _lists(of: dict[str, Json]) -> Json:
    form = {
        "type": "object",
        "required": ["files"],
        "properties": {
            "files": {"type": "array", "maxItems": 4, "items": {"type": "string"}},
            "list": {"type": "string"},
            "version": {"type": "string", "format": "date"},
            "approve_count": {"type": "string"},
        },
    }
    return _post(
        "proposeListFile",
        "Hold a list file against the gate and propose it; a second person activates it.",
        form,
        _committed(of, dry_run=True) | _problems(of, 400, 413, 422, 503),
        [_DRY_RUN, _parameter("header", "Idempotency-Key", "The same key is the same command")],
        media="multipart/form-data",
    )


def _reread(of: dict[str, Json]) -> Json:
    return _post(
        "reread",
        "Read an unreadable input again from the bytes kept, and send what it means.",
        _texts("reason"),
        _committed(of, dry_run=True) | _problems(of, 400, 404, 422, 503),
        [_parameter("path", "ref", "The dead letter's id"), _DRY_RUN],
    )


def _reveal(of: dict[str, Json]) -> Json:
    return _post(
        "reveal",
        "Show a sealed field of an event, once it is recorded who sees it and why; never cached.",
        of[repr(Asked)],
        {"200": _answer(of[repr(Revealed)], "In clear"), **_problems(of, 404, 422, 503)},
        [_parameter("path", "ref", "The event's id")],
    )


def _retained(act: str, of: dict[str, Json]) -> Json:
    return _post(
        f"retention{act.capitalize()}",
        f"{ACTS[act][1]}; a destruction is answered with its certificate.",
        of[repr(Said)],
        _committed(of) | _problems(of, 404, 422, 503),
        [_parameter("path", "ref", "The data subject")],
    )


def _post(
    name: str,
    summary: str,
    body: Json,
    responses: Json,
    parameters: list[Json],
    media: str = "application/json",
) -> Json:
    """Return a posted act that is no command of its own name."""
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": [*parameters, _parameter("header", ROLE_HEADER, "Who acts")],
            "requestBody": {"required": True, "content": {media: {"schema": body}}},
            "responses": responses,
        }
    }


def _committed(of: dict[str, Json], *, dry_run: bool = False) -> Json:
    """Return the answers of what becomes a command."""
    answer = of[repr(Answer)]
    decided = {"oneOf": [answer, of[repr(Forecast)]]} if dry_run else answer
    return {"200": _answer(decided, "Committed"), "202": _answer(answer, "Not decided yet")}


def _texts(*names: str) -> Json:
    """Return a body of texts, all of them needed."""
    said = {name: {"type": "string"} for name in names}
    return {"type": "object", "required": list(names), "properties": said}


def _pack(path: str, of: dict[str, Json]) -> Json:
    named = "{ref}" in path
    given = [_parameter("path", "ref", "The credit")] if named else []
    asked = {} if named else {
        "partition": "A number of trade's events, or a tree's folder",
        "query": "stream, correlation, actor or type = value",
    }  # fmt: skip
    asked |= {
        "as_of": "Only what was decided by then: a day or an instant",
        "known_at": "As of so many heads of the log of heads",
        "case": "The reference of whoever asked for it",
        "reveal": "Open sealed private parts; asks for a reason",
        "reason": "Why they are opened",
    }
    given += [_parameter("query", name, text) for name, text in asked.items()]
    given.append(_parameter("header", ROLE_HEADER, "Who takes it"))
    binary = {"type": "string", "format": "binary"}
    return {
        "get": {
            "operationId": "credit_pack" if named else "pack",
            "summary": "Take out an audit pack; that it is taken is recorded first.",
            "parameters": given,
            "responses": {
                "200": _answer(binary, "The pack", "application/zip"),
                **_problems(of, 400, 404, 422, 503),
            },
        }
    }


def _tile(of: dict[str, Json]) -> Json:
    folder = "A tree: `heads`, or such as `trade.events/p000`; /audit/heads.json lists them"
    path = "C2SP tlog-tiles: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`"
    octets = {"type": "string", "format": "binary"}
    return {
        "get": {
            "operationId": "tile",
            "summary": "A file of a tree, for clients of transparency logs.",
            "parameters": [
                _parameter("path", "folder", folder),
                _parameter("path", "path", path),
                _parameter("header", ROLE_HEADER, "Who asks: trees of compliance are its own"),
            ],
            "responses": {
                "200": _answer(octets, "The file; tiles never change", "application/octet-stream"),
                **_problems(of, 404),
            },
        }
    }


def _policy(of: dict[str, Json]) -> Json:
    text = {"type": "string"}
    return {
        "get": {
            "operationId": "policy",
            "summary": "The keys that this program trusts, as a C2SP policy: compare, do not believe.",
            "parameters": [],
            "responses": {"200": _answer(text, "The policy", "text/plain"), **_problems(of, 404)},
        }
    }


def _path(page: Page) -> str:
    return re.sub(r":path", "", page.path) + ".json"


def _twin(page: Page, of: dict[str, Json], components: Json) -> Json:
    given: list[Json] = []
    if "{ref" in page.path:
        given.append(_parameter("path", "ref", "Reference"))
    if page.filters is not None:
        schema = components[page.filters.__name__]
        for name, kind in schema["properties"].items():
            given.append(_parameter("query", name, f"Filter by {name.replace('_', ' ')}", kind))
        given.append(_parameter("query", "cursor", "Where the list goes on"))
    given.append(_parameter("header", "If-Position", "Wait until this position is taken in"))
    result = {"type": "object"} if page.result is dict else of[repr(page.result)]
    return {
        "get": {
            "operationId": page.show.__name__.strip("_"),
            "summary": (page.show.__doc__ or page.title).splitlines()[0],
            "parameters": given,
            "responses": {
                "200": _answer(result, page.title),
                **_problems(of, 400, 404, 412, 503),
            },
        }
    }


def _health(part: str) -> Json:
    summary = "Whether every part lives." if part == "live" else "Whether commands are answered."
    return {
        "get": {
            "operationId": f"health_{part}",
            "summary": summary,
            "responses": {"200": {"description": "Yes"}, "503": {"description": "No"}},
        }
    }
