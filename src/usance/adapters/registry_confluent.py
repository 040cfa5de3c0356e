"""A schema registry over Confluent's REST interface: Confluent's own, Apicurio's, and those like them.

Servers differ, so nothing is relied on that one of them lacks: levels are set for each subject, never a mode,
a rule or a GUID; and what was registered is read back, because Apicurio 3.3 answers a schema that differs
from a known one in an alias or an enum's default alone with the old id, and keeps the old text.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import UUID

from usance.kernel.errors import Conflict, Unavailable, Unreadable
from usance.messages.avro_schema import Schema

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40402, 40403
_UNKNOWN = frozenset((SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND))


class ConfluentSettings(NamedTuple):
    """Where the registry is: its address with any path, who asks, and the CA of its certificate."""

    address: str
    username: str = ""
    password: str = ""
    ca_file: str = ""


class _Answer(NamedTuple):
    status: int
    body: Any

    @property
    def code(self) -> int:
        found = self.body.get("error_code") if isinstance(self.body, dict) else None
        return found if isinstance(found, int) else 0

    @property
    def words(self) -> str:
        found = self.body.get("message") if isinstance(self.body, dict) else None
        return str(found or f"HTTP {self.status}")[:500]


class ConfluentRegistry:
    """The `Registry` over REST; safe across threads."""

    def __init__(self, settings: ConfluentSettings) -> None:
        self.settings = settings
        self._url = urlsplit(settings.address)
        self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
        self._levels: dict[str, str] = {}

    def register(self, subject: str, schema: Schema, level: str) -> int:
        """Register a version at a level, read it back, and return its id."""
        path = f"/subjects/{_quoted(subject)}/versions"
        answer = self._call("POST", path, _body(schema))
        if answer.status == 409:
            raise Conflict(
                f"the schema registry refuses {subject}: {answer.words}",
                hint="Compare with `usance schema check`; the level is set for each subject.",
            )
        if answer.status != 200 or type(answer.body.get("id")) is not int:
            raise self._odd(f"register {subject}", answer)
        given: int = answer.body["id"]
        kept = self.by_id(given)
        if kept is None or kept.meaning != schema.meaning:
            raise Conflict(
                f"the schema registry answered {subject} with id {given}, and keeps another text under it",
                hint="It drops changes of aliases and enum defaults (Apicurio 3.3 does): use another one.",
            )
        # The level comes after the first version: some servers have no level of an unknown subject.
        self._set_level(subject, level)
        return given

    def by_id(self, schema_id: int) -> Schema | None:
        """Return the schema of an id; None where the registry itself says that there is none."""
        answer = self._call("GET", f"/schemas/ids/{schema_id}")
        if answer.code in _UNKNOWN:
            return None
        if answer.status != 200:
            raise self._odd(f"read schema {schema_id}", answer)
        return self._schema(answer)

    def by_guid(self, guid: UUID) -> Schema | None:
        """Return the schema of a GUID; None where there is none, or where the server has no GUIDs."""
        try:
            answer = self._call("GET", f"/schemas/guids/{guid}")
        except Unavailable:
            self.by_id(1)  # Apicurio 3.3 hangs here: what answers other questions is not down
            return None
        return self._schema(answer) if answer.status == 200 else None

    def lookup(self, subject: str, schema: Schema) -> int | None:
        """Return the id of a schema that a subject has, or None."""
        answer = self._call("POST", f"/subjects/{_quoted(subject)}", _body(schema))
        if answer.code in _UNKNOWN:
            return None
        if answer.status != 200:
            raise self._odd(f"look up a schema of {subject}", answer)
        same = self._schema(answer).meaning == schema.meaning
        return int(answer.body["id"]) if same else None

    def versions(self, subject: str) -> dict[int, Schema]:
        """Return a subject's versions; empty where there is no such subject."""
        path = f"/subjects/{_quoted(subject)}/versions"
        answer = self._call("GET", path)
        if answer.code in _UNKNOWN:
            return {}
        if answer.status != 200:
            raise self._odd(f"list versions of {subject}", answer)
        found = {}
        for number in answer.body:
            one = self._call("GET", f"{path}/{number}")
            if one.status != 200:
                raise self._odd(f"read version {number} of {subject}", one)
            found[int(number)] = self._schema(one)
        return found

    def check(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return why a schema does not go with a subject's versions, in the server's words."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions?verbose=true"
        answer = self._call("POST", path, _body(schema))
        if answer.code in _UNKNOWN:
            return []
        if answer.status != 200:
            raise self._odd(f"check a schema of {subject}", answer)
        if answer.body.get("is_compatible"):
            return []
        return [str(m) for m in answer.body.get("messages") or ()] or ["the registry says no"]

    def _set_level(self, subject: str, level: str) -> None:
        if self._levels.get(subject) == level:
            return
        answer = self._call("PUT", f"/config/{_quoted(subject)}", {"compatibility": level})
        if answer.status != 200:
            raise self._odd(f"set the level of {subject}", answer)
        self._levels[subject] = level

    def _schema(self, answer: _Answer) -> Schema:
        kind = answer.body.get("schemaType", "AVRO")
        try:
            if kind != "AVRO":
                raise Unreadable("schema", f"a schema of type {kind}", hint="only Avro is read")
            return Schema(str(answer.body["schema"]))
        except KeyError as error:
            raise self._odd("read a schema", answer) from error

    # -- HTTP

    def _call(self, method: str, path: str, body: Any = None) -> _Answer:
        """Ask once, on a connection of its own: a registry is asked at starts, and seldom besides."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": f"{MEDIA_TYPE}, application/json", "Content-Type": MEDIA_TYPE}
        if self.settings.username:
            pair = f"{self.settings.username}:{self.settings.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        connection = self._connected()
        try:
            connection.request(method, self._url.path.rstrip("/") + path, data, headers)
            answer = connection.getresponse()
            status, raw = answer.status, answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._down(error) from error
        finally:
            connection.close()
        if status >= 500 or status in (401, 403, 408, 429):
            raise Unavailable(
                f"the schema registry at {self._where()} answers {status}",
                hint="Look at the registry, and at registry.username and registry.password.",
            )
        try:
            return _Answer(status, json.loads(raw or b"null"))
        except ValueError as error:
            raise self._odd(method, _Answer(status, None)) from error

    def _connected(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def _where(self) -> str:
        return f"{self._url.hostname}:{self._url.port or ''}".rstrip(":")

    def _down(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"the schema registry at {self._where()} cannot be reached ({type(error).__name__})",
            hint="Start it, or correct registry.service; work goes on as soon as it answers.",
        )

    def _odd(self, what: str, answer: _Answer) -> Unavailable:
        return Unavailable(
            f"the schema registry at {self._where()} did not {what}: {answer.words}",
            hint="Look at its log, and whether registry.service names its Confluent interface.",
        )


def _body(schema: Schema) -> dict[str, str]:
    return {"schema": schema.text, "schemaType": "AVRO"}


def _quoted(subject: str) -> str:
    return quote(subject, safe="")
