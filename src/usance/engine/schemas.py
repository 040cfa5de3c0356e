"""The embedded schema registry's stream: read into state, completed by the owner of system partition 0."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from usance.audit.chain import chain_start, envelope_hash
from usance.engine.topics import Topics
from usance.engine.unit import UnitBuilder
from usance.kernel.decider import Actor
from usance.kernel.ids import derived
from usance.log.contract import Log, Output, Record, TopicPartition
from usance.messages.catalogue import Catalogue
from usance.messages.envelope import Decoder, InputPosition, Meta
from usance.messages.registry import RegistryState, plan, registered


def stream(topics: Topics) -> TopicPartition:
    """Return the one partition of the schemas topic."""
    return TopicPartition(topics.name("system", "schemas"), 0)


def load(log: Log, topics: Topics, catalogue: Catalogue) -> RegistryState:
    """Fold the schemas topic; of a log without any it is what this program would register."""
    tp = stream(topics)
    first = registered(catalogue)
    own = Decoder(catalogue=catalogue, registry=first)
    state = RegistryState()
    empty = True
    for record in log.scan(tp, log.begin(tp)):
        state.apply(own.value(record.value))
        empty = False
    return first if empty else state


def current(log: Log, topics: Topics, catalogue: Catalogue) -> RegistryState:
    """Return the registry as it is once this program's schemas are registered.

    Ids are given by a fixed plan, so every process of one version writes the same ones, whether or
    not the owner of system partition 0 has registered them yet.
    """
    state = load(log, topics, catalogue)
    for event in plan(catalogue, state):
        state.apply(event)
    return state


def missing(log: Log, topics: Topics, catalogue: Catalogue) -> list[Any]:
    """Return the registry events that the log lacks; raises Conflict on an incompatible schema."""
    tp = stream(topics)
    if next(iter(log.scan(tp, log.begin(tp), None, 1)), None) is None:
        return plan(catalogue, RegistryState())
    return plan(catalogue, load(log, topics, catalogue))


def stage(builder: UnitBuilder, log: Log, topics: Topics, events: list[Any], instant: int) -> None:
    """Stage registry events, chained, into a unit of the owner of system partition 0."""
    world = builder.world
    tp = stream(topics)
    index, last = 0, chain_start(world.log_id, tp.topic, tp.partition)
    end: Record | None = None
    for record in log.scan(tp, log.begin(tp)):
        end = record
    if end is not None:
        meta = world.decoder.meta(end.headers)
        index = meta.index + 1
        digest = envelope_hash(end.key, end.value, end.headers)
        last = sha256(meta.prev + digest).digest()
    command_id = derived(world.log_id, "schemas", index)
    actor = Actor("engine", "", "system")
    cause = Meta.bare(command_id, actor=actor, causation="schemas")
    position = InputPosition(topics.name("system", "commands"), 0, 0)
    for ordinal, event in enumerate(events):
        encoded = world.encoder.event(
            event,
            cause,
            stream=event.subject,
            ordinal=ordinal,
            revision=index + 1,
            index=index,
            prev=last,
            instant=instant,
            input=position,
        )
        last = sha256(last + encoded[3]).digest()
        index += 1
        builder.extra.append(Output(tp.topic, tp.partition, encoded[0], encoded[1], encoded[2]))
