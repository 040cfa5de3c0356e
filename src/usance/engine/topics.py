"""Topic names and settings: `<namespace>.<context>.<kind>`, as architecture section 7 lists them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from usance.kernel.clock import MS_PER_DAY
from usance.kernel.ids import partition_of
from usance.log.contract import TopicPartition, TopicSettings

CONTEXTS = ("trade", "compliance", "system", "access")
ACCESS = "access"
"""The context of who looked at what, who was denied what, and who broke the glass: topics and trees of its own."""
ACCESS_PARTITIONS = 1
"""Accesses are of people, and few: one partition keeps them in one order."""
CONTEXT_OF_CATEGORY = {
    "case": "compliance",
    "screening": "compliance",
    "list": "system",
    "export": "system",
    "person": "system",
    "subject": "system",
    "access": ACCESS,
    "glass": ACCESS,
    "keystate": "system",
    "schema": "system",
}
GROUP_PREFIX = "consume-"
"""Begins the middle of the names of a consume group's own topics, where others have their context."""
OWNED_KINDS = ("events", "outcomes", "snapshots", "dead-letters", "parked", "attempts")
COMMANDS_RETENTION_MS = 30 * MS_PER_DAY
REPLIES_RETENTION_MS = MS_PER_DAY

_CLEANUP: dict[str, str] = {
    "intake": "delete",
    "commands": "delete",
    "replies": "delete",
    "events": "keep",
    "outcomes": "keep",  # delete after 30 days only where a notary's head covers it
    "snapshots": "compact",
    "dead-letters": "keep",
    "parked": "compact",
    "attempts": "compact",
    "meta": "compact",
    "schemas": "keep",
    "lists": "compact",
    "keys": "compact",
    "heads": "keep",
}


class Place(NamedTuple):
    """Where an aggregate lives: its context and its partition number in every co-partitioned topic."""

    context: str
    partition: int


class Topics:
    """The topics of one namespace with N partitions per context.

    `contexts` are fewer in a log that an older program founded, until one of today starts on it.
    """

    def __init__(
        self, namespace: str, partitions: int, contexts: tuple[str, ...] = CONTEXTS
    ) -> None:
        self.namespace = namespace
        self.partitions = partitions
        self.contexts = contexts
        self._places: dict[str, Place] = {}

    def name(self, context: str, kind: str) -> str:
        """Return a topic's name."""
        return f"{self.namespace}.{context}.{kind}"

    def at(self, context: str, kind: str, partition: int) -> TopicPartition:
        """Return one partition of a topic."""
        return TopicPartition(self.name(context, kind), partition)

    def there(self, names: Container[str]) -> Topics:
        """Return the topics of the contexts whose topics are among names."""
        contexts = tuple(c for c in CONTEXTS if self.name(c, "events") in names)
        return Topics(self.namespace, self.partitions, contexts)

    def context_of(self, topic: str) -> str:
        """Return the context in a topic's name."""
        return topic.rsplit(".", 2)[1]

    def place(self, key: str) -> Place:
        """Return where an aggregate key lives; raises ValueError on a key without three parts."""
        _tenant, category, _identity = key.split("/", 2)
        context = CONTEXT_OF_CATEGORY.get(category, "trade")
        return Place(context, partition_of(key, self.count(context)))

    def holds(self, place: Place, category: str, key: str) -> bool:
        """Tell whether a place is that of an aggregate key, whose category is given."""
        context = CONTEXT_OF_CATEGORY.get(category, "trade")
        number = partition_of(key, self.count(context))
        return context == place.context and number == place.partition

    def count(self, context: str) -> int:
        """Return how many partitions the topics of a context have."""
        return ACCESS_PARTITIONS if context == ACCESS else self.partitions

    def places(self) -> list[Place]:
        """Return every place that an owner can have, by context and number."""
        return [Place(c, n) for c in self.contexts for n in range(self.count(c))]

    def all_at(self, kind: str, contexts: Iterable[str] = CONTEXTS) -> list[TopicPartition]:
        """Return every partition of the topics of one kind."""
        there = [c for c in contexts if c in self.contexts]
        return [self.at(c, kind, n) for c in there for n in range(self.count(c))]

    def input(self, place: Place) -> TopicPartition:
        """Return the partition that the owner of a place reads."""
        return self.at(place.context, "commands", place.partition)

    def place_of(self, tp: TopicPartition) -> Place:
        """Return the place whose input a partition is."""
        return Place(self.context_of(tp.topic), tp.partition)

    def commands(self) -> list[str]:
        """Return the commands topics of all contexts."""
        return [self.name(c, "commands") for c in CONTEXTS]

    def events(self) -> list[str]:
        """Return the events topics of all contexts."""
        return [self.name(c, "events") for c in CONTEXTS]

    def settings(self) -> list[TopicSettings]:
        """Return every topic with its settings, `meta` first."""
        found = [self._settings("system", "meta", 1)]
        for context in CONTEXTS:
            kinds = ("commands", *OWNED_KINDS)
            found += [self._settings(context, kind, self.count(context)) for kind in kinds]
        found.append(self._settings("trade", "intake", self.partitions))
        found.append(self._settings("system", "replies", self.partitions))
        found.append(self._settings("system", "schemas", 1))
        found.append(self._settings("system", "lists", 1))
        found.append(self._settings("system", "keys", 1))
        found.append(self._settings("system", "heads", 1))
        return found

    def _settings(self, context: str, kind: str, partitions: int) -> TopicSettings:
        cleanup = _CLEANUP[kind]
        kept = REPLIES_RETENTION_MS if kind == "replies" else COMMANDS_RETENTION_MS
        retention = kept if cleanup == "delete" else -1
        return TopicSettings(self.name(context, kind), kind, partitions, cleanup, retention)


CHAINED_KINDS = ("events", "outcomes", "schemas", "dead-letters")
"""Kinds whose partitions carry the hash chain."""
