"""What became of inputs and commands, dead letters and parked keys.

An input is one command whose causation begins with `intake:`, `api:` or `cli:`; it counts once, by
its present state. An outcome that decides replaces an interim one; one that only points back
(duplicate, conflict) never replaces anything, so an input forwarded twice still counts once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from usance.engine.owner.parking import ParkHead
from usance.engine.projections.projection import (
    Ahead,
    Fact,
    Handler,
    Key,
    Projection,
    Rows,
    Table,
    numbers,
    texts,
)
from usance.kernel.errors import Unreadable
from usance.messages.outcome import DECIDING, INTERIM, Outcome, read_dead_letter
from usance.views.book import as_json

INPUT_SOURCES = ("intake", "api", "cli")
POINTING_BACK = ("duplicate", "conflict")


def _answer_tables(prefix: str, restricted: bool) -> tuple[Table, Table]:
    inputs = Table(
        f"{prefix}inputs",
        (*texts("causation", "command_id", "answer", "source"), *numbers("instant")),
        key=("causation",),
        indexes=(("answer",),),
    )
    commands = Table(
        f"{prefix}commands",
        (
            *texts("command_id", "causation", "source", "answer", "code", "article", "message"),
            *texts("hint", "actor", "correlation"),
            *numbers("instant", "repeats", "input"),
        ),
        key=("command_id",),
        indexes=(("answer", "instant"), ("instant", "command_id"), ("causation",)),
        restricted=restricted,
    )
    return inputs, commands


def source_of(causation: str) -> str:
    """Return where a command comes from: intake, api, cli, saga, sent, event, timer, ..."""
    return causation.partition(":")[0]


def _replaces(old: str, new: str) -> bool:
    return not old or (old in INTERIM and new not in POINTING_BACK)


def _answering(prefix: str) -> Handler:
    inputs, commands = f"{prefix}inputs", f"{prefix}commands"

    def answer(fact: Fact, rows: Rows) -> None:
        outcome, meta = fact.message, fact.meta
        source = source_of(meta.causation)
        is_input = source in INPUT_SOURCES
        if is_input:
            known = rows.value(inputs, (meta.causation,), "answer")
            if known is None or _replaces(known, outcome.answer):
                told = (outcome.command_id, outcome.answer, source, fact.instant)
                rows.put(inputs, meta.causation, *told)
        command_id = outcome.command_id
        before = rows.value(commands, (command_id,), "answer")
        if outcome.answer in POINTING_BACK and before is not None:
            rows.add(commands, (outcome.command_id,), repeats=1)
            return
        if before is not None and not _replaces(before, outcome.answer):
            return
        rows.put(
            commands,
            *(command_id, meta.causation, source, outcome.answer, outcome.code, outcome.article),
            *(outcome.message, outcome.hint, meta.actor.person, meta.correlation, fact.instant),
            0 if before is None else rows.value(commands, (command_id,), "repeats"),
            int(is_input),
        )

    return answer


def _read_of(prefix: str) -> dict[type, Ahead]:
    inputs, commands = f"{prefix}inputs", f"{prefix}commands"

    def ahead(fact: Fact) -> Iterator[tuple[str, Key]]:
        yield commands, (fact.message.command_id,)
        causation = fact.meta.causation
        if source_of(causation) in INPUT_SOURCES:
            yield inputs, (causation,)

    return {Outcome: ahead}


ANSWERS = Projection(
    "answers",
    1,
    _answer_tables("", restricted=False),
    {Outcome: _answering("")},
    kinds=("outcomes",),
    contexts=("trade", "system"),
    ahead=_read_of(""),
)
"""Inputs and commands of trade and system."""

COMPLIANCE_ANSWERS = Projection(
    "compliance-answers",
    1,
    _answer_tables("compliance_", restricted=True),
    {Outcome: _answering("compliance_")},
    kinds=("outcomes",),
    contexts=("compliance",),
    ahead=_read_of("compliance_"),
)
"""Inputs (counts only are open to everybody) and commands of compliance."""

# -- dead letters and parked keys


def _letter_tables(prefix: str, restricted: bool) -> tuple[Table, ...]:
    letters = Table(
        f"{prefix}dead_letters",
        (
            *texts("id", "context", "topic", "key", "stage", "failure", "reason", "causation"),
            *texts("command_id", "state", "note"),
            *numbers("idx", "partition", "offset", "first_seen", "redrive_count"),
        ),
        key=("id",),
        indexes=(("state", "first_seen"), ("first_seen", "id"), ("command_id",)),
        restricted=restricted,
    )
    by_command = Table(
        f"{prefix}letter_commands",
        texts("command_id", "letters", "answer"),
        key=("command_id",),
        restricted=restricted,
    )
    parks = Table(
        f"{prefix}parked_keys",
        (*texts("key", "reason", "dead_letter_id", "command_id"), *numbers("since")),
        key=("key",),
        indexes=(("dead_letter_id",),),
        restricted=restricted,
    )
    waiting = Table(
        f"{prefix}parked_records",
        (*texts("key"), *numbers("sequence", "since")),
        key=("key", "sequence"),
        restricted=restricted,
    )
    return letters, by_command, parks, waiting


def _dying(prefix: str) -> Handler:
    letters, by_command = f"{prefix}dead_letters", f"{prefix}letter_commands"

    def die(fact: Fact, rows: Rows) -> None:
        record, meta = fact.record, fact.meta
        note = read_dead_letter(record.headers).note
        known = rows.get(by_command, meta.command_id)
        before: list[str] = msgspec.json.decode((known and known["letters"]) or "[]")
        for earlier in before:
            rows.patch(letters, (earlier,), state="redriven")
        decided = known["answer"] if known else ""
        rows.upsert(
            letters,
            id=note.id,
            context=record.topic.rsplit(".", 2)[1],
            topic=record.topic,
            key=fact.key,
            stage=note.stage,
            failure=note.failure,
            reason=note.reason,
            causation=meta.causation,
            command_id=meta.command_id,
            state=_state_of(decided),
            note=as_json(msgspec.structs.asdict(note)),
            idx=meta.index,
            partition=record.partition,
            offset=record.offset,
            first_seen=fact.instant,
            redrive_count=len(before),
        )
        names = as_json([*before, note.id])
        rows.upsert(by_command, command_id=meta.command_id, letters=names, answer=decided)

    return die


def _state_of(answer: str) -> str:
    if answer == "discarded":
        return "discarded"
    return "redriven" if answer else "open"


def _deciding(prefix: str) -> Handler:
    letters, by_command = f"{prefix}dead_letters", f"{prefix}letter_commands"

    def decide(fact: Fact, rows: Rows) -> None:
        outcome = fact.message
        known = rows.get(by_command, outcome.command_id)
        if outcome.answer in INTERIM and known is None:
            rows.upsert(by_command, command_id=outcome.command_id, letters="[]")
        if outcome.answer not in DECIDING or known is None:
            return
        rows.patch(by_command, (outcome.command_id,), answer=outcome.answer)
        names = msgspec.json.decode(known["letters"])
        for letter in names[-1:]:
            rows.patch(letters, (letter,), state=_state_of(outcome.answer))

    return decide


def _parking(prefix: str) -> Handler:
    parks, waiting = f"{prefix}parked_keys", f"{prefix}parked_records"

    def park(fact: Fact, rows: Rows) -> None:
        key, _, place = fact.key.rpartition("#")
        value = fact.record.value
        if place == "open":
            return
        if place != "head":
            if value is None:
                rows.delete(waiting, key, int(place))
            else:
                since = fact.record.timestamp
                rows.upsert(waiting, key=key, sequence=int(place), since=since)
            return
        if value is None:
            rows.delete(parks, key)
            return
        try:
            head = msgspec.msgpack.decode(value, type=ParkHead)
        except msgspec.DecodeError as error:
            raise Unreadable("decode", "a park's head record is malformed") from error
        rows.upsert(
            parks,
            key=key,
            reason=head.reason,
            dead_letter_id=head.dead_letter_id,
            command_id=head.command_id,
            since=head.since,
        )

    return park


def _letters(name: str, prefix: str, contexts: tuple[str, ...], *, restricted: bool) -> Projection:
    return Projection(
        name,
        1,
        _letter_tables(prefix, restricted),
        {Outcome: _deciding(prefix)},
        kinds=("dead-letters", "outcomes", "parked"),
        contexts=contexts,
        raw={"dead-letters": _dying(prefix), "parked": _parking(prefix)},
        ahead={Outcome: lambda fact: [(f"{prefix}letter_commands", (fact.message.command_id,))]},
    )


LETTERS = _letters("dead-letters", "", ("trade", "system"), restricted=False)
"""Dead letters and parked keys of trade and system."""

COMPLIANCE_LETTERS = _letters(
    "compliance-dead-letters", "compliance_", ("compliance",), restricted=True
)
"""Dead letters and parked keys of compliance."""
