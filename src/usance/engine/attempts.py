"""Attempts and releases, kept in the log: how a record that kills its process is found (rule 15).

The compacted `attempts` topic has two keys per partition: `release`, written by a clean end and
withdrawn at take-over, and `attempt`, the record being tried with its count of deaths so far.
"""

from __future__ import annotations

import msgspec

from usance.engine.topics import Place, Topics
from usance.log.contract import Log, Output

DEATHS_MAX = 2
RELEASE, ATTEMPT = b"release", b"attempt"


class Attempt(msgspec.Struct, frozen=True):
    """A command offset about to be decided, and how often a process began it."""

    offset: int
    begun: int


def _last(log: Log, topics: Topics, place: Place) -> dict[bytes, bytes | None]:
    tp = topics.at(place.context, "attempts", place.partition)
    found: dict[bytes, bytes | None] = {}
    for record in log.scan(tp, log.begin(tp), log.end(tp)):
        if record.key is not None:
            found[record.key] = record.value
    return found


def release(topics: Topics, place: Place) -> Output:
    """Return the record of a clean end."""
    return Output(topics.name(place.context, "attempts"), place.partition, RELEASE, b"clean")


def take(log: Log, topics: Topics, place: Place) -> Attempt | None:
    """Withdraw the predecessor's release; returns None after a clean end or on a new log.

    After an unclean end it returns the last attempt, or one of offset -1 when none was noted.
    """
    last = _last(log, topics, place)
    log.append([Output(topics.name(place.context, "attempts"), place.partition, RELEASE, b"owned")])
    if not last or last.get(RELEASE) == b"clean":
        return None
    value = last.get(ATTEMPT)
    return msgspec.msgpack.decode(value, type=Attempt) if value else Attempt(-1, 0)


def note(topics: Topics, place: Place, attempt: Attempt) -> Output:
    """Return the record saying that a command is about to be decided."""
    topic = topics.name(place.context, "attempts")
    return Output(topic, place.partition, ATTEMPT, msgspec.msgpack.encode(attempt))
