"""Sending one command for a person: what would happen, what happened, what to do next."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from usance.bootstrap.desk import Desk, act, look
from usance.bootstrap.store import Folder
from usance.cli import show
from usance.cli.opening import acting, actor, folder, settings
from usance.cli.options import (
    EXIT_CONFLICT,
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    EXIT_UNREADABLE,
    say,
    tell_refusal,
)
from usance.cli.watched import recorded
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor, key_parts
from usance.kernel.ids import RandomIds
from usance.messages.inputs import Input, decode_input
from usance.messages.outcome import Outcome
from usance.views.results import EventFilter, TimelineEntry
from usance.web.answers import Answer, answer_of
from usance.web.previews import Forecast, forecast

EXIT_OF = {
    "accepted": 0,
    "refused": EXIT_REFUSED,
    "discarded": EXIT_REFUSED,
    "dead-lettered": EXIT_UNREADABLE,
    "conflict": EXIT_CONFLICT,
    "parked": EXIT_UNAVAILABLE,
}
NOUN_OF = {"message": "message", "saga": "saga", "case": "case"}
SHOWN = ("credit", "presentation", "facility", "message", "saga", "case")


class Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a command. `answer` is what it got before, where this was a repeat of it."""

    command: str
    answer: Answer
    happened: list[str] = []
    repeat: bool = False


def document(fields: dict[str, Any], command_id: str = "") -> bytes:
    """Return a command as the JSON document that any gateway would take."""
    return msgspec.json.encode({**fields, "id": command_id or RandomIds().fresh()})


def read_document(data: bytes, desk: Desk) -> Input:
    """Return the command of a document; raises Unreadable naming the wrong place."""
    bank, data = desk.settings.bank, desk.cards.passed(data)
    return decode_input(data, tenant=bank.tenant, our_bic=bank.bic)


def perform(fields: dict[str, Any], command_id: str, *, dry: bool) -> None:
    """Send the command that a document means, print what became of it, exit with its code."""
    data = document(fields, command_id)
    with opened(dry=dry) as (desk, person):
        found = read_document(data, desk)
        settle(desk, addressed(found.key, found.command, found.command_id, person), dry=dry)


def addressed(key: str, command: Any, command_id: str, person: Actor) -> Outgoing:
    """Return a command of a person at this command line, ready to be sent."""
    return Outgoing(key, command, command_id, f"cli:{command_id}", command_id, person)


@contextmanager
def opened(*, dry: bool) -> Iterator[tuple[Desk, Actor]]:
    """Open the folder to act, or only to look where nothing is to be changed."""
    if not dry:
        with acting() as found:
            yield found
        return
    with _previewing() as desk:
        yield desk, actor(desk.directory)


@contextmanager
def _previewing() -> Iterator[Desk]:
    """Open the folder to look; where no book is, an empty one that goes away again."""
    if settings().bootstrap_servers or folder().log.exists():
        desk = look(folder(), settings())
        try:
            yield desk
        finally:
            desk.close()
        return
    with tempfile.TemporaryDirectory(prefix="usance-dry-") as place:
        desk = act(Folder(Path(place)), settings())
        try:
            yield desk
        finally:
            desk.close()


def settle(desk: Desk, outgoing: Outgoing, *, dry: bool) -> None:
    """Send or preview one command; print it; exit with its code unless that is 0."""
    if dry:
        found = forecast(outgoing.key, desk.preview(outgoing.key, outgoing.command, outgoing.actor))
        show.emit(found, lambda _: would_lines(outgoing, found))
        if found.outcome == "refused":
            tell_refusal(found.message, found.code, found.article, found.hint)
        code = EXIT_OF[found.outcome]
    else:
        code = tell(desk, outgoing, desk.ask(outgoing))
    if code:
        sys.exit(code)


def would_lines(outgoing: Outgoing, found: Forecast) -> Iterable[str]:
    """Return a forecast as text."""
    yield f"Would be {found.outcome}: {_named(outgoing)} (nothing was recorded)"
    for event in found.events:
        yield f"  event    {event.type}"
    for posting in found.postings:
        money = show.amount(posting.amount, posting.currency)
        yield f"  posting  {posting.side} {posting.account} {money} ({posting.rule})"
    for command in found.commands:
        yield f"  command  {command.type} to {command.key}"
    for message in found.messages:
        yield f"  message  {message}"


def tell(desk: Desk, outgoing: Outgoing, outcome: Outcome) -> int:
    """Print what became of a command; returns the exit code."""
    done = _done(desk, outgoing, outcome)
    answer = done.answer
    recorded()  # what is told is what came of one's own act: an event, or a denial
    show.emit(done, lambda _: done_lines(outgoing, done))
    if answer.outcome != "accepted":
        tell_refusal(answer.message, answer.code, answer.article, answer.hint)
    for line in following(outgoing):
        say(line)
    return EXIT_OF[answer.outcome]


def _done(desk: Desk, outgoing: Outgoing, outcome: Outcome) -> Done:
    name = type(outgoing.command).__name__
    answer = answer_of(outcome, outgoing.key)
    desk.caught_up(answer.position)
    if outcome.answer == "duplicate":
        row = desk.queries.command(outgoing.actor, outgoing.id)
        answer = Answer(
            command_id=outgoing.id,
            outcome=row.answer,
            key=outgoing.key,
            code=row.code,
            article=row.article,
            message=row.message,
            hint=row.hint,
        )
    entries = _events(desk, outgoing) if answer.outcome == "accepted" else []
    return Done(
        command=name,
        answer=answer,
        happened=[e.sentence or e.type for e in entries],
        repeat=outcome.answer == "duplicate",
    )


def _events(desk: Desk, outgoing: Outgoing) -> list[TimelineEntry]:
    page = desk.queries.events(outgoing.actor, EventFilter(command_id=outgoing.id))
    return sorted(page.rows, key=lambda e: e.revision)


def done_lines(outgoing: Outgoing, done: Done) -> Iterable[str]:
    """Return what became of a command as text."""
    before = " before" if done.repeat else ""
    at = f", revision {done.answer.revision}" if done.answer.revision >= 0 else ""
    yield f"{done.answer.outcome.capitalize()}{before}: {_named(outgoing)}{at}"
    for sentence in done.happened:
        yield f"  {show.clean(sentence)}"
    yield f"  command {outgoing.id}"


def following(outgoing: Outgoing) -> Iterable[str]:
    """Return the next useful command."""
    parts = key_parts(outgoing.key)
    if parts.category in SHOWN:
        yield f"Next: usance {parts.category} show {parts.identity}"


def _named(outgoing: Outgoing) -> str:
    parts = key_parts(outgoing.key)
    return f"{type(outgoing.command).__name__} on {parts.category} {parts.identity}"
