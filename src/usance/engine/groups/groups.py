"""Consume groups: their own topics, where their records stand, and the record that says so.

A group has outcomes, parked, dead letters, attempts and commands of its own, one partition per input
partition (its *slot*): the member that reads an input partition is the only writer of its slot. The
group record in the group's `meta` topic fixes the slots for ever, with the ids of the input topics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from usance.engine import genesis
from usance.engine.owner import schemas
from usance.engine.topics import GROUP_PREFIX, Place, Topics
from usance.kernel.errors import NotFound, Refused, Tampered
from usance.kernel.ids import derived
from usance.log.contract import Log, Output, TopicPartition, TopicSettings
from usance.messages.catalogue import Catalogue
from usance.messages.registry import RegistryEvent, RegistryState, history, plan
from usance.messages.registry_events import SchemaRegistered, SubjectConfigured

GROUP_KEY = b"group"
KINDS = ("outcomes", "parked", "dead-letters", "attempts", "commands")
RESTORED = ("outcomes", "parked", "dead-letters")
_CLEANUP = {"parked": "compact", "attempts": "compact"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,80}")

First = Literal["beginning", "end"]


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input topic of a group: its partition p is slot `first` + p."""

    topic: str
    topic_id: str
    partitions: int
    first: int


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a group. `schemas` are registry events, in a log without a registry of its own."""

    name: str
    namespace: str
    log_id: str
    inputs: list[Input]
    schemas: list[dict[str, Any]] = []

    @property
    def slots(self) -> int:
        """How many partitions its own topics have."""
        return sum(i.partitions for i in self.inputs)

    @property
    def topics(self) -> GroupTopics:
        """Where everything of the group is."""
        return GroupTopics(self)


class GroupTopics(Topics):
    """The topics of one group: places are slots, their inputs are partitions of other topics."""

    def __init__(self, group: Group) -> None:
        super().__init__(group.namespace, group.slots)
        self.context = context_of_group(group.name)
        self.group = group
        self._inputs = {i.topic: i for i in group.inputs}
        self._slots = [
            TopicPartition(i.topic, n) for i in group.inputs for n in range(i.partitions)
        ]

    def input(self, place: Place) -> TopicPartition:
        """Return the input partition of a slot."""
        return self._slots[place.partition]

    def place_of(self, tp: TopicPartition) -> Place:
        """Return the slot of an input partition."""
        return Place(self.context, self._inputs[tp.topic].first + tp.partition)

    def places(self) -> list[Place]:
        """Return all slots."""
        return [Place(self.context, n) for n in range(self.partitions)]


def context_of_group(name: str) -> str:
    """Return the middle of the names of a group's topics."""
    return f"{GROUP_PREFIX}{name}"


def read(log: Log, namespace: str, name: str) -> Group | None:
    """Return a group's record, or None for a group that was never begun."""
    meta = _meta(namespace, name)
    if meta.topic not in log.topics():
        return None
    found: Group | None = None
    for record in log.scan(meta, log.begin(meta), log.end(meta)):
        if record.key == GROUP_KEY and record.value:
            found = msgspec.json.decode(record.value, type=Group)
    return found


def all_groups(log: Log, namespace: str) -> list[Group]:
    """Return every group that was ever begun in a log, by name."""
    start, end = f"{namespace}.{GROUP_PREFIX}", ".meta"
    names = [t.removeprefix(start).removesuffix(end) for t in log.topics() if t.startswith(start)]
    known = [read(log, namespace, n) for n in sorted(set(names)) if _NAME.fullmatch(n)]
    return [group for group in known if group is not None]


def named(log: Log, namespace: str, name: str) -> Group:
    """Return a group's record; raises NotFound with the names there are."""
    found = read(log, namespace, name) if _NAME.fullmatch(name) else None
    if found is None:
        known = ", ".join(g.name for g in all_groups(log, namespace)) or "none"
        raise NotFound(f"no consume group {name} in this log", hint=f"There are: {known}.")
    return found


def begin(
    log: Log,
    catalogue: Catalogue,
    *,
    namespace: str,
    name: str,
    inputs: Sequence[str],
    first: First,
) -> Group:
    """Return a group, begun now if it never was: topics, record, first positions.

    Raises Refused for a name that cannot be one, or input topics that the group was not begun with;
    Tampered when an input topic is not the one it was.
    """
    if not _NAME.fullmatch(name):
        raise Refused(
            "BAD_GROUP",
            f"a group cannot be named {name!r}",
            hint="Use lower-case letters, digits, _ and -.",
        )
    found = read(log, namespace, name) or _make(log, namespace, name, inputs)
    _check(log, found, inputs)
    found = _completed(log, catalogue, found)
    _first_positions(log, found, first)
    return found


def _make(log: Log, namespace: str, name: str, inputs: Sequence[str]) -> Group:
    known = log.topics()
    listed, first = [], 0
    for topic in dict.fromkeys(inputs):
        if topic not in known:
            raise NotFound(f"the log has no topic {topic}", hint="Create it first.")
        settings = known[topic]
        listed.append(
            Input(
                topic=topic,
                topic_id=settings.topic_id,
                partitions=settings.partitions,
                first=first,
            )
        )
        first += settings.partitions
    if not listed:
        raise Refused("NO_TOPICS", "a group reads at least one topic", hint="Name its topics.")
    meta = _meta(namespace, name)
    born = genesis.read(log, namespace)
    stored = log.create_topic(TopicSettings(meta.topic, "meta", 1, "compact"))
    # Derived, so that two processes that begin a group at once write the same record.
    root = born.log_id if born is not None else stored.topic_id
    return Group(
        name=name, namespace=namespace, log_id=derived(root, "consume", name), inputs=listed
    )


def _check(log: Log, group: Group, inputs: Sequence[str]) -> None:
    known = log.topics()
    for topic in inputs:
        if topic not in {i.topic for i in group.inputs}:
            raise Refused(
                "OTHER_TOPICS",
                f"group {group.name} was begun without topic {topic}",
                hint="Its slots are fixed for ever: read the topic as another group.",
            )
    for one in group.inputs:
        now = known.get(one.topic)
        if one.topic in inputs and (now is None or now.topic_id != one.topic_id):
            raise Tampered(
                f"topic {one.topic} is not the one that group {group.name} was reading",
                hint="It was deleted or created again: begin another group for the new one.",
            )
        if now is not None and now.partitions != one.partitions:
            raise Refused(
                "MORE_PARTITIONS",
                f"topic {one.topic} has {now.partitions} partitions, group {group.name} knows"
                f" {one.partitions}",
                hint="Its slots are fixed for ever: begin another group at the present offsets.",
            )


def _completed(log: Log, catalogue: Catalogue, group: Group) -> Group:
    """Create topics and register schemas that are missing, and write the record if it changes."""
    for kind in KINDS:
        name = group.topics.name(context_of_group(group.name), kind)
        log.create_topic(TopicSettings(name, kind, group.slots, _CLEANUP.get(kind, "keep")))
    meta = _meta(group.namespace, group.name)
    if not _has_registry(log, group.namespace):
        state = _folded(group)
        missing = plan(catalogue, state)
        if missing:
            for event in missing:
                state.apply(event)
            group = msgspec.structs.replace(group, schemas=[_plain(e) for e in history(state)])
    written = msgspec.json.encode(group)
    known = [r.value for r in log.scan(meta, log.begin(meta), log.end(meta)) if r.key == GROUP_KEY]
    if not known or known[-1] != written:
        log.append([Output(meta.topic, 0, GROUP_KEY, written)])
    return group


def _has_registry(log: Log, namespace: str) -> bool:
    return schemas.stream(Topics(namespace, 1)).topic in log.topics()


def registry(log: Log, catalogue: Catalogue, group: Group) -> RegistryState:
    """Return the registry that a group's records are written with."""
    if _has_registry(log, group.namespace):
        topics = Topics(group.namespace, 1)
        return schemas.asking(log, topics, catalogue, schemas.load(log, topics, catalogue))
    return _folded(group)


def _folded(group: Group) -> RegistryState:
    state = RegistryState()
    for plain in group.schemas:
        kind: type[RegistryEvent] = SchemaRegistered if "text" in plain else SubjectConfigured
        state.apply(msgspec.convert(plain, kind, strict=False))
    return state


def _plain(event: RegistryEvent) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(event)
    return found


def _first_positions(log: Log, group: Group, first: First) -> None:
    """Set where a group begins that has done nothing yet: its one explicit start (rule 4)."""
    missing: dict[TopicPartition, int] = {}
    for place in group.topics.places():
        outcomes = group.topics.at(place.context, "outcomes", place.partition)
        tp = group.topics.input(place)
        if not log.end(outcomes) and log.position(group.name, tp) is None:
            missing[tp] = log.begin(tp) if first == "beginning" else log.end(tp)
    if missing:
        log.set_positions(group.name, missing)


def _meta(namespace: str, name: str) -> TopicPartition:
    return TopicPartition(f"{namespace}.{context_of_group(name)}.meta", 0)
