"""What operators see and do beside the parts that run: lag, consume groups, positions by time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from usance.engine import genesis
from usance.engine.control import Discard, Redrive, Release
from usance.engine.groups import groups, operating
from usance.engine.groups.operating import Lag, Letter
from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.topics import CONTEXTS, Topics
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused, UsanceError
from usance.kernel.ids import RandomIds
from usance.kernel.words import Words
from usance.log.contract import Log, TopicPartition
from usance.messages.catalogue import Catalogue, build, default
from usance.messages.decoder import Decoder
from usance.messages.outcome import read_dead_letter


def program_groups(topics: Topics) -> dict[str, list[str]]:
    """Return the groups of the program's own parts with the topics that each reads."""
    events = [topics.name(c, "events") for c in ("trade", "compliance")]
    trade = topics.name("trade", "events")
    return {
        OWNER_GROUP: [topics.name(c, "commands") for c in CONTEXTS],
        "usance-intake": [topics.name("trade", "intake")],
        "usance-sagas": [trade, topics.name("trade", "outcomes")],
        "usance-reactions": events,
        "usance-screening": [trade],
        "usance-fin-out": [trade],
    }


def lags(log: Log, namespace: str, now: int, only: str = "") -> Iterator[Lag]:
    """Yield how far each group is behind in each partition; raises NotFound for an unknown one."""
    known = dict(program_groups(Topics(namespace, 1)))
    for group in groups.all_groups(log, namespace):
        known[group.name] = [i.topic for i in group.inputs]
    if only and only not in known:
        raise NotFound(f"no group {only}", hint=f"There are: {', '.join(sorted(known))}.")
    for name in [only] if only else sorted(known):
        yield from operating.lags(log, name, known[name], now)


def catalogue_of(log: Log, namespace: str) -> Catalogue:
    """Return the messages that groups of a log are written with."""
    known = genesis.read(log, namespace) is not None
    return default() if known else build(("usance.engine.control",))


def redrive_letter(
    log: Log, namespace: str, group: str, dead_letter_id: str, reason: str, *, person: str
) -> None:
    """Ask a group to try a dead letter again; raises Refused for one that is open no more."""
    _settle(log, namespace, group, dead_letter_id, Redrive, reason, person)


def discard_letter(
    log: Log, namespace: str, group: str, dead_letter_id: str, reason: str, *, person: str
) -> None:
    """Ask a group to give a dead letter up; raises Refused for one that is open no more."""
    _settle(log, namespace, group, dead_letter_id, Discard, reason, person)


def _settle(
    log: Log,
    namespace: str,
    name: str,
    dead_letter_id: str,
    kind: type[Redrive | Discard],
    reason: str,
    person: str,
) -> None:
    group = groups.named(log, namespace, name)
    found = operating.letter(log, group, dead_letter_id)
    if not found.open:
        raise Refused("NO_DEAD_LETTER", "it is settled already", hint="Nothing is left to do.")
    command = kind(dead_letter_id=dead_letter_id, dead_letter_index=0, reason=Words(text=reason))
    _ask(log, namespace, group, found.slot, command, person)


def release_key(
    log: Log, namespace: str, name: str, key: str, reason: str, *, person: str
) -> operating.Parked:
    """Ask a group to try what parks a key again now; raises NotFound for a key that is not parked."""
    group = groups.named(log, namespace, name)
    found = parked_key(log, group, key)
    _ask(log, namespace, group, found.slot, Release(key=key, reason=Words(text=reason)), person)
    return found


def parked_key(log: Log, group: groups.Group, key: str) -> operating.Parked:
    """Return one parked key of a group; raises NotFound."""
    for one in operating.parks(log, group):
        if one.key == key:
            return one
    hint = f"usance park list --group {group.name} shows what is."
    raise NotFound(f"group {group.name} has no parked key {key}", hint=hint)


def _ask(
    log: Log, namespace: str, group: groups.Group, slot: int, command: Any, person: str
) -> None:
    operating.ask(
        log,
        catalogue_of(log, namespace),
        group,
        slot,
        command,
        command_id=RandomIds().fresh(),
        actor=Actor(person, "", "operations"),
    )


def outlook(log: Log, group: groups.Group, letter: Letter) -> str:
    """Say what today's program makes of a dead letter's bytes before it is handed over again."""
    original = read_dead_letter(letter.record.headers).original_headers
    kind = next((v.decode("utf-8", "replace") for n, v in original if n == "ce_type"), "")
    catalogue = catalogue_of(log, group.namespace)
    if kind not in catalogue.by_name:
        return "its bytes are handed over as they are"
    registry = groups.registry(log, catalogue, group)
    try:
        message = Decoder(catalogue=catalogue, registry=registry).message(
            original, letter.record.value
        )
    except UsanceError as broken:
        return f"it would fail again: {broken.message}"
    return f"it decodes as {type(message).__name__} today"


def first_since(log: Log, tp: TopicPartition, instant: int) -> int:
    """Return the offset of the first record appended at or after an instant, or the end."""
    for record in log.scan(tp, log.begin(tp), log.end(tp), 5_000):
        if record.timestamp >= instant:
            return record.offset
    return log.end(tp)
