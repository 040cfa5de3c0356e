"""The schemas that a log knows: a fold of events, and the plan of what a catalogue still lacks.

Subjects are `<topic>-<full name>` (TopicRecordNameStrategy). The same text has the same id in every subject.
Ids are dense from 1, given by the one writer, unless another registry gives them (`Registry`): what it gave is
recorded all the same, so that the log can be read without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from usance.kernel.errors import Conflict, NotFound, Tampered
from usance.messages.avro_schema import Schema, parsed
from usance.messages.catalogue import Catalogue
from usance.messages.compatibility import check_versions
from usance.messages.registry_events import SchemaRegistered, SubjectConfigured

RegistryEvent = SubjectConfigured | SchemaRegistered

_OWN = ("usance.system.SchemaRegistered", "usance.system.SubjectConfigured")


def frame(schema_id: int) -> bytes:
    """Return the framing before an Avro body: 0x00 and u32 id (Confluent wire format V0)."""
    return b"\x00" + schema_id.to_bytes(4, "big")


class Known(NamedTuple):
    """A registered schema: its id, text, full name, and its version number in its subjects."""

    id: int
    schema: Schema
    version: int


class Registry(Protocol):
    """A schema registry that is asked while programs start, and when a record names an unknown id.

    Every method raises Unavailable while it cannot be reached: then nothing is known, and the caller waits.
    """

    def register(self, subject: str, schema: Schema, level: str) -> int:
        """Register a version at a level, read it back, and return its id.

        Raises Conflict where it is refused, or kept otherwise than it was given.
        """
        ...

    def by_id(self, schema_id: int) -> Schema | None:
        """Return the schema of an id; None is the registry's own word that there is none."""
        ...

    def by_guid(self, guid: UUID) -> Schema | None:
        """Return the schema of a GUID; None where the registry knows none, or no GUIDs at all."""
        ...

    def lookup(self, subject: str, schema: Schema) -> int | None:
        """Return the id of a schema that a subject has, or None."""
        ...

    def versions(self, subject: str) -> dict[int, Schema]:
        """Return a subject's versions; empty where there is no such subject."""
        ...

    def check(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return why a schema does not go with a subject's versions; empty where it does."""
        ...


Refill = Callable[["RegistryState"], None]
"""Brings a state up to what its source knows now; raises Unavailable where that cannot be asked."""


class RegistryState:
    """Subjects, versions and ids; changed by `apply` only, or by `find` where the source knows more."""

    def __init__(self) -> None:
        self.refill: Refill | None = None
        self.beyond: Registry | None = None
        self._lock = threading.Lock()
        self._guids: dict[UUID, int] = {}
        self._given: dict[UUID, int] = {}
        self.levels: dict[str, str] = {}
        self.subjects: dict[str, dict[int, int]] = {}
        self._by_id: dict[int, Known] = {}
        self._by_identity: dict[str, int] = {}
        self._by_fingerprint: dict[bytes, Known] = {}

    def apply(self, event: RegistryEvent) -> None:
        """Fold one event; raises Tampered when it contradicts what is known."""
        if isinstance(event, SubjectConfigured):
            self.levels[event.subject] = event.level
            return
        schema = parsed(event.text)
        known = self._by_id.get(event.id)
        told = known is None or known.schema.identity == schema.identity
        same = self._by_identity.get(schema.identity, event.id) == event.id
        if not told or not same or event.fingerprint != schema.fingerprint:
            raise Tampered(
                f"schema {event.id} of {event.subject} has another id or fingerprint than its text",
                hint="run `usance log verify`; the registry's topic was altered or mixed",
            )
        self.subjects.setdefault(event.subject, {})[event.version] = event.id
        if known is None:
            self._learn(event.id, schema, event.version)

    def _learn(self, schema_id: int, schema: Schema, version: int) -> None:
        known = Known(schema_id, schema, version)
        self._by_id[schema_id] = known
        self._by_identity[schema.identity] = schema_id
        self._by_fingerprint.setdefault(schema.fingerprint, known)

    def id_for(self, schema: Schema) -> int:
        """Return the id of a schema text: the one it has, or the next free one."""
        return self._by_identity.get(schema.identity) or max(self._by_id, default=0) + 1

    def find(self, schema_id: int) -> Known | None:
        """Return what is registered under an id, having asked the source about one not known here.

        None: the registry says that there is no such id. Raises Unavailable where it cannot be asked.
        """
        if schema_id not in self._by_id:
            self._ask(schema_id)
        return self._by_id.get(schema_id)

    def find_fingerprint(self, fingerprint: bytes) -> Known | None:
        """Return the first schema of a fingerprint, having asked the source about one not known here."""
        if fingerprint not in self._by_fingerprint:
            self.renew()
        return self._by_fingerprint.get(fingerprint)

    def find_guid(self, guid: UUID) -> Known | None:
        """Return what is registered under a GUID: ours, or one that the registry beyond the log gave."""
        if guid not in self._guids:
            self.renew()
            self._guids = {k.schema.guid: k.id for k in list(self._by_id.values())} | self._given
        if guid not in self._guids and self.beyond is not None:
            schema = self.beyond.by_guid(guid)
            known = self._by_identity.get(schema.identity) if schema is not None else None
            if known is not None:
                self._guids[guid] = self._given[guid] = known
        return self._by_id.get(self._guids.get(guid, 0))

    def renew(self) -> None:
        """Learn what the source knows now; raises Unavailable where it cannot be asked."""
        with self._lock:
            if self.refill is not None:
                self.refill(self)

    def _ask(self, schema_id: int) -> None:
        with self._lock:
            if self.refill is not None and schema_id not in self._by_id:
                self.refill(self)
            if self.beyond is not None and schema_id not in self._by_id:
                schema = self.beyond.by_id(schema_id)
                if schema is not None and schema.identity not in self._by_identity:
                    self._learn(schema_id, schema, 0)

    def id_of(self, schema: Schema) -> int:
        """Return the id of a registered schema; raises NotFound."""
        found = self._by_identity.get(schema.identity)
        if found is None:
            raise NotFound(
                f"{schema.fullname} is not registered in this log",
                hint="start the owner of this version once: it registers its schemas",
            )
        return found

    def by_id(self, schema_id: int) -> Known | None:
        """Return what is registered under an id."""
        return self._by_id.get(schema_id)

    def by_fingerprint(self, fingerprint: bytes) -> Known | None:
        """Return the first schema registered with that fingerprint."""
        return self._by_fingerprint.get(fingerprint)

    def ids(self) -> list[int]:
        """Return all ids in order."""
        return sorted(self._by_id)

    def pins(self) -> list[dict[str, str | int]]:
        """Return every version of every subject with its id and text: what another log can be given."""
        return [
            {"subject": subject, "version": n, "id": i, "schema": self._by_id[i].schema.text}
            for subject, versions in sorted(self.subjects.items())
            for n, i in sorted(versions.items())
        ]

    def versions(self, subject: str) -> list[Schema]:
        """Return a subject's schemas, oldest first; raises NotFound."""
        found = self.subjects.get(subject)
        if found is None:
            raise NotFound(f"no subject {subject}", hint="usance schema list shows all subjects")
        return [self._by_id[found[v]].schema for v in sorted(found)]


def plan(
    catalogue: Catalogue, state: RegistryState, registry: Registry | None = None
) -> list[RegistryEvent]:
    """Return the events to write so that `state` knows every schema version of the catalogue.

    Ids come from `registry` where there is one, which then knows the schemas too. Deterministic, and empty when
    nothing is missing; `state` itself is not changed. Raises Conflict when a new version is not
    compatible with the recorded ones, or differs from the recorded text.
    """
    events: list[RegistryEvent] = []
    ahead = RegistryState()
    for event in history(state):
        ahead.apply(event)
    types = sorted(catalogue.types(), key=lambda t: (t.fullname not in _OWN, t.fullname))
    for entry in types:
        for subject in entry.subjects():
            for event in _subject(ahead, subject, entry.level, entry.versions, registry):
                ahead.apply(event)
                events.append(event)
    return events


def history(state: RegistryState) -> Iterable[RegistryEvent]:
    """Return events that fold to an equal state."""
    for subject, level in state.levels.items():
        yield SubjectConfigured(subject=subject, level=level)
    rows = [
        (schema_id, subject, version)
        for subject, versions in state.subjects.items()
        for version, schema_id in versions.items()
    ]
    for schema_id, subject, version in sorted(rows):
        known = state.by_id(schema_id)
        assert known is not None
        level = state.levels.get(subject, "")
        yield registration(schema_id, subject, version, known.schema, level)


def registration(
    schema_id: int, subject: str, version: int, schema: Schema, level: str
) -> SchemaRegistered:
    """Return the event that says that a subject got a version."""
    return SchemaRegistered(
        subject=subject,
        version=version,
        id=schema_id,
        fingerprint=schema.fingerprint,
        text=schema.text,
        level=level,
    )


def _subject(
    state: RegistryState,
    subject: str,
    level: str,
    versions: dict[int, str],
    registry: Registry | None,
) -> Iterable[RegistryEvent]:
    """Yield what one subject lacks; the caller applies each event before it asks for the next."""
    if state.levels.get(subject) != level:
        yield SubjectConfigured(subject=subject, level=level)
    for version in sorted(versions):
        schema = parsed(versions[version])
        recorded = state.subjects.get(subject, {}).get(version)
        if recorded is not None:
            known = state.by_id(recorded)
            if known is None or known.schema.identity != schema.identity:
                raise Conflict(
                    f"version {version} of {subject} is recorded with another text",
                    hint="never edit a shipped .avsc file: add the next version",
                )
            continue
        before = state.versions(subject) if subject in state.subjects else []
        violations = check_versions(schema, before, level)
        if violations:
            first = violations[0]
            raise Conflict(
                f"version {version} of {subject}: {first.message} at {first.path}",
                hint=first.hint,
            )
        given = (
            state.id_for(schema) if registry is None else registry.register(subject, schema, level)
        )
        yield registration(given, subject, version, schema, level)


def registered(catalogue: Catalogue) -> RegistryState:
    """Return the state of a log that holds this catalogue and nothing else (set-up and tests)."""
    state = RegistryState()
    for event in plan(catalogue, state):
        state.apply(event)
    return state
