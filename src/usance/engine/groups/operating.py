"""What operators see of consume groups and ask of them: letters, parked keys, lag, control commands.

Everything is read from the log alone, so it works beside running consumers, on either log; what is asked for
is a command in the group's own topic, and the member that holds the slot obeys it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from usance.engine.groups import groups
from usance.engine.owner.parking import Kept, ParkHead, parked_state
from usance.engine.owner.takeover import CONTROL_KEY
from usance.engine.topics import Place
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.log.contract import Log, Output, Record, TopicPartition
from usance.messages.catalogue import Catalogue
from usance.messages.envelope import Encoder
from usance.messages.outcome import DeadLetterNote, read_dead_letter

COUNT_MAX = 10_000
"""Records behind that are counted one by one; beyond it, offsets stand for records."""


class Lag(NamedTuple):
    """How far a group is behind in one partition: records, and the age of the first unread one."""

    group: str
    topic: str
    partition: int
    position: int
    end: int
    records: int
    seconds: int


class Letter(NamedTuple):
    """A dead letter of a group. `open` until it is redriven or discarded."""

    note: DeadLetterNote
    slot: int
    record: Record
    key: str
    open: bool
    parks: bool


class Parked(NamedTuple):
    """A parked key of a group: what parks it, since when, until when, how many wait behind."""

    group: str
    slot: int
    key: str
    reason: str
    since: int
    due: int
    attempts: int
    dead_letter_id: str
    waiting: int


def lags(log: Log, group: str, topics: Iterable[str], now: int) -> Iterator[Lag]:
    """Yield how far a group is behind in each partition of topics in which it has a position."""
    known = log.topics()
    for topic in topics:
        count = known[topic].partitions if topic in known else 0
        places = [TopicPartition(topic, number) for number in range(count)]
        positions = log.positions(group, places)
        ends = log.ends(positions)
        for tp in sorted(positions):
            yield _lag(log, group, tp, positions[tp], ends[tp], now)


def _lag(log: Log, group: str, tp: TopicPartition, position: int, end: int, now: int) -> Lag:
    records, oldest = 0, 0
    if position < end:
        for record in log.scan(tp, position, None, 1_000):
            oldest = oldest or record.timestamp
            records += 1
            if records == COUNT_MAX:
                records = end - position
                break
    seconds = max(0, now - oldest) // 1_000 if records else 0
    return Lag(group, tp.topic, tp.partition, position, end, records, seconds)


def _parked(log: Log, group: groups.Group, place: Place) -> dict[bytes, bytes | None]:
    tp = group.topics.at(place.context, "parked", place.partition)
    found = {r.key: r.value for r in log.scan(tp, log.begin(tp), log.end(tp)) if r.key is not None}
    found.pop(CONTROL_KEY, None)
    return found


def letters(log: Log, group: groups.Group) -> list[Letter]:
    """Return every dead letter of a group, newest first; one that failed again stands once, as it is now."""
    found: dict[str, Letter] = {}
    for place in group.topics.places():
        _, still = parked_state(_parked(log, group, place))
        tp = group.topics.at(place.context, "dead-letters", place.partition)
        for record in log.scan(tp, log.begin(tp), log.end(tp)):
            note = read_dead_letter(record.headers).note
            waits = still.get(note.id)
            key = (record.key or b"").decode("utf-8", "backslashreplace")
            parks = waits is not None and waits.parked
            found[note.id] = Letter(note, place.partition, record, key, waits is not None, parks)
    return sorted(found.values(), key=lambda one: one.record.timestamp, reverse=True)


def letter(log: Log, group: groups.Group, dead_letter_id: str) -> Letter:
    """Return one dead letter of a group; raises NotFound."""
    for one in letters(log, group):
        if one.note.id == dead_letter_id:
            return one
    hint = f"usance dead-letter list --group {group.name} shows all."
    raise NotFound(f"group {group.name} has no dead letter {dead_letter_id}", hint=hint)


def parks(log: Log, group: groups.Group) -> list[Parked]:
    """Return the parked keys of a group, longest parked first."""
    found = []
    for place in group.topics.places():
        known, _ = parked_state(_parked(log, group, place))
        for key, park in known.items():
            if park is not None:
                waiting = park.next - park.first
                found.append(
                    Parked(
                        group.name,
                        place.partition,
                        key,
                        park.reason,
                        park.since,
                        park.due,
                        park.attempts,
                        park.dead_letter_id,
                        waiting,
                    )
                )
    return sorted(found, key=lambda one: one.since)


def waiting(log: Log, group: groups.Group, parked: Parked) -> list[Kept]:
    """Return the record that parks a key, then those that wait behind it, in order."""
    records = _parked(log, group, Place(group.topics.context, parked.slot))
    head = records.get(f"{parked.key}#head".encode())
    found = [msgspec.msgpack.decode(head, type=ParkHead).parked_by] if head else []
    rows = []
    for name, value in records.items():
        key, _, number = name.decode("utf-8", "replace").rpartition("#")
        if value is not None and key == parked.key and number.isdigit():
            rows.append(msgspec.msgpack.decode(value, type=Kept))
    return found + sorted(rows, key=lambda kept: kept.sequence)


def ask(
    log: Log,
    catalogue: Catalogue,
    group: groups.Group,
    slot: int,
    command: Any,
    *,
    command_id: str,
    actor: Actor,
    tenant: str = "",
) -> None:
    """Append a control command for one slot of a group; its member obeys it."""
    encoder = Encoder(
        log_id=group.log_id, catalogue=catalogue, registry=groups.registry(log, catalogue, group)
    )
    key, value, headers = encoder.command(
        command,
        key=f"{tenant}/group/{group.name}",
        command_id=command_id,
        tenant=tenant,
        actor=actor,
        causation=f"operator:{command_id}",
    )
    topic = group.topics.name(group.topics.context, "commands")
    log.append([Output(topic, slot, key, value, headers)])
