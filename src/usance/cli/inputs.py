"""`usance intake` and `usance command send`: whole inputs from files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from usance.bootstrap.desk import Desk, act, folder_of, intake_command
from usance.cli.acting import EXIT_OF, addressed, opened, read_document, settle
from usance.cli.opening import looking, settings
from usance.cli.options import Noun, Verb, dry_run, say, session, tell_refusal, verb
from usance.cli.show import Column, emit, table
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.errors import Unavailable, Unreadable
from usance.messages.inputs import decode_input, split_inputs
from usance.messages.outcome import UnreadableInput

UNDECIDED = "undecided"


class Taken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input of a file and what became of it."""

    file: str
    ordinal: int
    command: str
    key: str
    outcome: str
    command_id: str
    code: str = ""
    article: str = ""
    message: str = ""
    hint: str = ""


@click.command(cls=Verb)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE...",
)
@dry_run
def intake(files: tuple[Path, ...], dry_run: bool) -> None:
    """Hand in files as the FIN gateway would: FIN messages or JSON documents, one or many.

    Exit code: that of the worst input. Example: usance intake mt700.fin
    """
    taken: list[Taken] = []
    if dry_run:
        with looking() as seen:
            for file in files:
                taken += _would_take(seen.desk, file)
    else:
        desk = act(folder_of(settings()), settings())
        try:
            for file in files:
                taken += _take(desk, file)
        finally:
            desk.close()
    emit(taken, lambda rows: _lines(rows, dry=dry_run))
    for row in taken:
        if row.message and row.outcome != "accepted":
            tell_refusal(
                f"{row.file} {row.ordinal}: {row.message}", row.code, row.article, row.hint
            )
    if not dry_run:
        say("Next: usance status")
    code = max((EXIT_OF.get(row.outcome, 0) for row in taken), default=0)
    if any(row.outcome == UNDECIDED for row in taken):
        raise Unavailable(
            "not every input was decided in time",
            hint="They are kept and will be decided once: look at `usance status`.",
        )
    if code:
        sys.exit(code)


def _take(desk: Desk, file: Path) -> list[Taken]:
    data = desk.cards.passed(file.read_bytes())
    commands = _commands(desk, file.name, data)
    answered = desk.hand_in(file.name, data, [c.id for c in commands])
    taken = []
    for outgoing, one in zip(commands, answered, strict=True):
        outcome = one.outcome
        taken.append(
            Taken(
                file=file.name,
                ordinal=one.ordinal,
                command=type(outgoing.command).__name__,
                key=outgoing.key,
                outcome=outcome.answer if outcome else UNDECIDED,
                command_id=outgoing.id,
                code=outcome.code if outcome else "",
                article=outcome.article if outcome else "",
                message=outcome.message if outcome else "",
                hint=outcome.hint if outcome else "",
            )
        )
    return taken


def _commands(desk: Desk, name: str, data: bytes) -> list[Outgoing]:
    return [
        intake_command(desk, data, one, name, ordinal)
        for ordinal, one in enumerate(split_inputs(data), 1)
    ]


def _would_take(desk: Desk, file: Path) -> list[Taken]:
    taken = []
    data = desk.cards.passed(file.read_bytes())
    for ordinal, outgoing in enumerate(_commands(desk, file.name, data), 1):
        if isinstance(outgoing.command, UnreadableInput):
            found, message, code, article, hint = (
                "dead-lettered",
                f"{outgoing.command.stage}: {outgoing.command.reason}",
                "DEAD_LETTER",
                "",
                "",
            )
        else:
            refusal = desk.preview(outgoing.key, outgoing.command, outgoing.actor).refusal
            found = "refused" if refusal else "accepted"
            message = refusal.message if refusal else ""
            code, article, hint = (
                (refusal.code, refusal.article, refusal.hint) if refusal else ("", "", "")
            )
        taken.append(
            Taken(
                file=file.name,
                ordinal=ordinal,
                command=type(outgoing.command).__name__,
                key=outgoing.key,
                outcome=found,
                command_id=outgoing.id,
                code=code,
                article=article,
                message=message,
                hint=hint,
            )
        )
    return taken


def _lines(rows: list[Taken], *, dry: bool) -> Iterable[str]:
    columns = (
        Column("File", lambda t: t.file),
        Column("", lambda t: str(t.ordinal), right=True),
        Column("Would be" if dry else "Outcome", lambda t: t.outcome),
        Column("Command", lambda t: t.command),
        Column("Key", lambda t: t.key),
        Column("Rule", lambda t: " ".join(p for p in (t.code, t.article) if p)),
    )
    return table(columns, rows, "No input in these files.")


command = Noun("command", help="Commands as documents.")


@verb(command, "send")
@click.argument("file", type=click.File("rb"))
@dry_run
def send(file: BinaryIO, dry_run: bool) -> None:
    """Send the command of a JSON document; `-` is stdin. Its `as` acts, or --as.

    Example: usance command send approve.json --as bruno.lindqvist
    """
    data: bytes = file.read()
    inputs = split_inputs(data)
    if len(inputs) != 1 or data.lstrip()[:1] != b"{" or data.lstrip()[:2] == b"{1":
        raise Unreadable(
            "validate",
            "a command is one JSON document",
            hint="usance intake takes files of many inputs and FIN messages.",
        )
    bank = settings().bank
    found = decode_input(data, tenant=bank.tenant, our_bic=bank.bic)
    if found.actor.person:
        session().said["person"] = f"{found.actor.person}:{found.actor.role}"
    with opened(dry=dry_run) as (desk, person):
        found = read_document(data, desk)
        settle(desk, addressed(found.key, found.command, found.command_id, person), dry=dry_run)
