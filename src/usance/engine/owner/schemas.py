"""The schema registry's stream: read into state, completed by the owner of system partition 0.

That owner writes what its own program ships, and what is asked for by `RegisterSchema`: by a newer program
that joins the group while an older one owns the partition, and by clients of the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from typing import Any

from usance.audit.chain import chain_start, envelope_hash
from usance.engine.control import RegisterSchema
from usance.engine.owner.unit import PartitionUnit, World
from usance.engine.reactors.reactor import Outgoing
from usance.engine.topics import Place, Topics
from usance.kernel.decider import Actor, Refusal, key_of
from usance.kernel.errors import Conflict, Tampered, Unavailable, Unreadable
from usance.kernel.ids import derived
from usance.log.contract import Log, Output, Record, TopicPartition, header
from usance.messages.avro import decode, modernise
from usance.messages.avro_schema import Schema, parsed
from usance.messages.catalogue import Catalogue
from usance.messages.compatibility import MODES, check_versions
from usance.messages.envelope import InputPosition, Meta
from usance.messages.registry import (
    Registry,
    RegistryState,
    plan,
    registered,
    registration,
)
from usance.messages.registry_events import SchemaRegistered, SubjectConfigured

PLACE = Place("system", 0)
"""Whose owner is the one writer of the stream."""


def stream(topics: Topics) -> TopicPartition:
    """Return the one partition of the schemas topic."""
    return TopicPartition(topics.name("system", "schemas"), 0)


def key_for(topics: Topics, tenant: str) -> str:
    """Return a key whose commands go to the owner of system partition 0."""
    keys = (key_of(tenant, "schema", f"registry-{n}") for n in count())
    return next(key for key in keys if topics.place(key) == PLACE)


# -- reading


def load(log: Log, topics: Topics, catalogue: Catalogue) -> RegistryState:
    """Fold the schemas topic; of a log without any it is what this program would register."""
    state = RegistryState()
    return state if follow(log, topics, catalogue, state) else registered(catalogue)


def follow(log: Log, topics: Topics, catalogue: Catalogue, state: RegistryState) -> int:
    """Bring a state up to the end of the stream; returns how many records it has.

    Raises Tampered where they contradict the state, and what reading the log raises.
    """
    tp = stream(topics)
    seen = 0
    for record in log.scan(tp, log.begin(tp), log.end(tp)):
        state.apply(event_of(record, catalogue, state))
        seen += 1
    return seen


def event_of(record: Record, catalogue: Catalogue, state: RegistryState) -> Any:
    """Read an event of the stream, which must be readable before its own schema ids are known."""
    value = record.value or b""
    entry = catalogue.by_name.get((header(record.headers, "ce_type") or b"").decode())
    if entry is None or entry.kind != "registry" or len(value) < 5:
        raise Unreadable("schema", "no registry event", hint="upgrade this program")
    known = state.by_id(int.from_bytes(value[1:5], "big"))
    ours = known is not None and known.schema.fullname == entry.fullname
    text = known.schema.text if known is not None and ours else entry.versions[1]
    if parsed(text).canonical == entry.schema.canonical:
        return decode(entry.reader, value, 5)
    version = known.version if known is not None and ours else 1
    return decode(entry.reader, modernise(text, entry.schema, value, 5, (version, entry.version)))


def current(
    log: Log, topics: Topics, catalogue: Catalogue, registry: Registry | None = None
) -> RegistryState:
    """Return the registry as it is once this program's schemas are registered.

    Ids are given by a fixed plan (or by `registry`, which gives the same text the same one), so every process
    of one version writes the same ones, whether or not the owner of system partition 0 has registered
    them yet. Of an id that it does not know the state asks the stream again, then `registry`.
    """
    state = load(log, topics, catalogue) if registry is None else RegistryState()
    if registry is not None:
        follow(log, topics, catalogue, state)
    for event in plan(catalogue, state, registry):
        state.apply(event)
    return asking(log, topics, catalogue, state, registry)


def asking(
    log: Log,
    topics: Topics,
    catalogue: Catalogue,
    state: RegistryState,
    registry: Registry | None = None,
) -> RegistryState:
    """Return a state that asks the stream, then `registry`, about an id that it does not know."""
    tp = stream(topics)
    read_to = -1

    def refill(known: RegistryState) -> None:
        nonlocal read_to
        end = log.end(tp)
        if end != read_to:
            follow(log, topics, catalogue, known)
            read_to = end

    state.refill, state.beyond = refill, registry
    return state


def missing(
    log: Log, topics: Topics, catalogue: Catalogue, registry: Registry | None = None
) -> list[Any]:
    """Return the registry events that the log lacks; raises Conflict on an incompatible schema."""
    state = RegistryState()
    follow(log, topics, catalogue, state)
    return plan(catalogue, state, registry)


def requests(
    topics: Topics, tenant: str, log_id: str, events: list[Any], *, given: bool
) -> Iterator[Outgoing]:
    """Yield commands that ask the owner of system partition 0 to write registry events.

    `given` tells that another registry gave their ids; else the owner gives the next free ones.
    Their ids depend on what is asked for alone: many processes may ask, and each is answered once.
    """
    key = key_for(topics, tenant)
    for event in events:
        if isinstance(event, SchemaRegistered):
            digest = parsed(event.text).identity
            command_id = derived(log_id, "register", event.subject, event.version, digest)
            asked = RegisterSchema(
                subject=event.subject,
                text=event.text,
                level=event.level,
                version=event.version,
                id=event.id if given else 0,
            )
            yield Outgoing(key, asked, command_id, "schemas")


def pending(log: Log, topics: Topics, catalogue: Catalogue, registry: Registry | None) -> list[Any]:
    """Return the events that a log in use lacks; of a fresh one every process knows what will be there."""
    tp = stream(topics)
    fresh = log.end(tp) <= log.begin(tp)
    return [] if fresh else missing(log, topics, catalogue, registry)


def demand_ids(log: Log, topics: Topics, catalogue: Catalogue, state: RegistryState) -> None:
    """Check that this program's schemas have the ids that it means to write; raises Unavailable."""
    recorded = RegistryState()
    if not follow(log, topics, catalogue, recorded):
        return
    texts = (text for entry in catalogue.types() for text in entry.versions.values())
    if any(recorded.id_of(s) != state.id_of(s) for s in map(parsed, texts)):
        raise Unavailable(
            "schemas got other ids than this program had reckoned with: another one was registering",
            hint="Start it again.",
        )


# -- writing


class Desk:
    """Registers schemas on request within one unit; made anew for each, when nothing is under way."""

    def __init__(self, world: World, log: Log, topics: Topics, catalogue: Catalogue) -> None:
        self.world = world
        self.topics = topics
        self.catalogue = catalogue
        tp = self.tp = stream(topics)
        self.index, self.last = 0, chain_start(world.log_id, tp.topic, tp.partition)
        self.state = RegistryState()
        end: Record | None = None
        # To the mark: what was just committed may not be visible to an open-ended scan yet.
        for record in log.scan(tp, log.begin(tp), log.end(tp)):
            self.state.apply(event_of(record, catalogue, self.state))
            end = record
        if end is not None:
            meta = world.decoder.meta(end.headers)
            self.index = meta.index + 1
            digest = envelope_hash(end.key, end.value, end.headers)
            self.last = sha256(meta.prev + digest).digest()

    def staged(self, events: list[Any], instant: int) -> list[Output]:
        """Return events as records that follow each other in the chain."""
        world, tp = self.world, self.tp
        command_id = derived(world.log_id, "schemas", self.index)
        actor = Actor("engine", "", "system")
        cause = Meta.bare(command_id, actor=actor, causation="schemas")
        position = InputPosition(self.topics.name("system", "commands"), 0, 0)
        outputs = []
        for ordinal, event in enumerate(events):
            encoded = world.encoder.event(
                event,
                cause,
                stream=event.subject,
                ordinal=ordinal,
                revision=self.index + 1,
                index=self.index,
                prev=self.last,
                instant=instant,
                input=position,
            )
            self.last = sha256(self.last + encoded[3]).digest()
            self.index += 1
            outputs.append(Output(tp.topic, tp.partition, encoded[0], encoded[1], encoded[2]))
        return outputs

    def register(self, asked: RegisterSchema, share: PartitionUnit) -> Refusal | None:
        """Stage what a request lacks; returns a refusal where it cannot be."""
        if share.place != PLACE:
            words = "Schemas are registered through partition 0 of the context `system`."
            return Refusal("WRONG_PARTITION", words)
        try:
            events = self._events(asked)
        except Unreadable as error:
            return Refusal("INVALID_SCHEMA", f"{error.reason}.", hint=error.hint)
        except Conflict as error:
            return Refusal("INCOMPATIBLE_SCHEMA", error.message, hint=error.hint)
        if events:
            share.merge("elsewhere", self.staged(events, share.instant))
        return None

    def _events(self, asked: RegisterSchema) -> list[Any]:
        state, subject = self.state, asked.subject
        if not subject or asked.level not in MODES:
            hint = f"name a subject, and one of {', '.join(MODES)}"
            raise Unreadable(
                "schema", "the request names no subject or an unknown level", hint=hint
            )
        schema = parsed(asked.text)
        known = state.subjects.get(subject, {})
        if state.id_for(schema) in known.values():
            return []
        version = asked.version or max(known, default=0) + 1
        if version in known:
            raise Conflict(f"version {version} of {subject} has another text", hint="add the next")
        level = state.levels.get(subject) or asked.level
        if not asked.version:
            self._demand_foreign(subject)
        self._demand_compatible(schema, subject, level)
        events: list[Any] = []
        if state.levels.get(subject) != level:
            events.append(SubjectConfigured(subject=subject, level=level))
        schema_id = asked.id or state.id_for(schema)
        events.append(registration(schema_id, subject, version, schema, level))
        try:
            for event in events:
                state.apply(event)
        except Tampered as clash:
            raise Conflict(f"id {schema_id} is another schema's", hint=clash.hint) from clash
        return events

    def _demand_foreign(self, subject: str) -> None:
        if any(subject in entry.subjects() for entry in self.catalogue.types()):
            raise Conflict(
                f"{subject} is a subject of this program, whose versions come with it",
                hint="use the registered schema: lookup, or latest version",
            )

    def _demand_compatible(self, schema: Schema, subject: str, level: str) -> None:
        before = self.state.versions(subject) if subject in self.state.subjects else []
        violations = check_versions(schema, before, level)
        if violations:
            first = violations[0]
            raise Conflict(f"{first.message} at {first.path or '/'}", hint=first.hint)
