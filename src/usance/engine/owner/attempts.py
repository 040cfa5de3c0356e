"""Attempts and releases, kept in the log: how a record that kills its process is found (rule 15).

The compacted `attempts` topic has two keys per partition: `release`, written by a clean end and
withdrawn at take-over, and `attempt`, the record being tried with its count of deaths so far.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from usance.engine.topics import Place, Topics
from usance.log.contract import Log, Output, TopicPartition

DEATHS_MAX = 2
RELEASE, ATTEMPT = b"release", b"attempt"


class Attempt(msgspec.Struct, frozen=True):
    """A command offset about to be decided, and how often a process began it."""

    offset: int
    begun: int


def _last(log: Log, tp: TopicPartition, begin: int, end: int) -> dict[bytes, bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for record in log.scan(tp, begin, end) if begin < end else ():
        if record.key is not None:
            found[record.key] = record.value
    return found


def release(topics: Topics, place: Place) -> Output:
    """Return the record of a clean end."""
    return Output(topics.name(place.context, "attempts"), place.partition, RELEASE, b"clean")


def take(log: Log, topics: Topics, places: Collection[Place]) -> dict[Place, Attempt | None]:
    """Withdraw the predecessors' releases; a partition has None after a clean end or on a new log.

    After an unclean end it has the last attempt, or one of offset -1 when none was noted.
    """
    at = {p: topics.at(p.context, "attempts", p.partition) for p in places}
    if not at:
        return {}
    begins, ends = log.begins(at.values()), log.ends(at.values())
    last = {p: _last(log, tp, begins[tp], ends[tp]) for p, tp in at.items()}
    log.append([Output(tp.topic, tp.partition, RELEASE, b"owned") for tp in at.values()])
    return {place: _attempt(found) for place, found in last.items()}


def _attempt(last: dict[bytes, bytes | None]) -> Attempt | None:
    if not last or last.get(RELEASE) == b"clean":
        return None
    value = last.get(ATTEMPT)
    return msgspec.msgpack.decode(value, type=Attempt) if value else Attempt(-1, 0)


def note(topics: Topics, place: Place, attempt: Attempt) -> Output:
    """Return the record saying that a command is about to be decided."""
    topic = topics.name(place.context, "attempts")
    return Output(topic, place.partition, ATTEMPT, msgspec.msgpack.encode(attempt))
