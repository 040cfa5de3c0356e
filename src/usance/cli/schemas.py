"""`usance schema`: what is registered, and whether a new version breaks what is recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from usance.cli.opening import looking
from usance.cli.options import (
    EXIT_REFUSED,
    EXIT_UNREADABLE,
    Noun,
    sentence,
    session,
    verb,
)
from usance.cli.show import Column, clean, emit, emit_json, table
from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Schema
from usance.messages.catalogue import default
from usance.messages.compatibility import MODES
from usance.messages.schema_check import Verdict, judge, judge_line

if TYPE_CHECKING:
    from usance.bootstrap.gate import Report

schema = Noun("schema", help="Registered schemas.")

AVSC = click.Path(exists=True, dir_okay=False, path_type=Path)


@verb(schema, "list")
def list_schemas() -> None:
    """List registered schemas."""
    columns = (
        Column("Subject", lambda s: s.subject),
        Column("Version", lambda s: str(s.version), right=True),
        Column("Id", lambda s: str(s.id), right=True),
        Column("Level", lambda s: s.level),
        Column("Fingerprint", lambda s: s.fingerprint[:16]),
    )
    with looking() as seen:
        emit(seen.queries.schemas(seen.viewer), lambda rows: table(columns, rows))


@verb(schema, "show")
@click.argument("subject")
@click.option("--version", "number", type=click.IntRange(1), help="The newest without it.")
def show_schema(subject: str, number: int | None) -> None:
    """Print one schema."""
    with looking() as seen:
        found = seen.queries.schema(seen.viewer, subject, number or 0)
        emit(found, lambda s: [msgspec.json.format(s.text, indent=2)])


@verb(schema, "export")
def export_schemas() -> None:
    """Print every registered version with its id and text, as JSON: what `registry.service = pinned:FILE` reads.

    Example: usance schema export > ids.json
    """
    with looking() as seen:
        emit_json(seen.queries.decoder.registry.pins())


@verb(schema, "check")
@click.argument("new", required=False, type=AVSC)
@click.argument("old", nargs=-1, type=AVSC)
@click.option(
    "--mode",
    default="FULL_TRANSITIVE",
    show_default=True,
    type=click.Choice(MODES, case_sensitive=False),
    help="Compatibility level.",
)
@click.option(
    "--batch",
    type=click.File("rb"),
    metavar="FILE",
    help='JSON lines {"id", "mode", "new", "old": [...]} instead of files; - is standard input.',
)
@click.option("--strict", is_flag=True, help="Exit with 1 for a lint of severity error as well.")
def check_schema(
    new: Path | None, old: tuple[Path, ...], mode: str, batch: click.File | None, strict: bool
) -> None:
    """Tell whether version NEW of a schema goes with the earlier versions OLD, oldest first.

    Violations break reading; lints read without error and mean something else. Paths are JSON pointers.

    Exit code: 0 compatible, 1 incompatible, 2 where an input is no Avro schema; with --batch, that of the
    worst line. Example: usance schema check --mode BACKWARD v2.avsc v1.avsc
    """
    if batch is not None:
        if new is not None:
            raise click.UsageError("give files or --batch, not both")
        _leave([*_batch(batch)], strict)  # type: ignore[arg-type]  # click opens the file
    if new is None or not old:
        raise click.UsageError("give NEW.avsc and at least one OLD.avsc, or --batch FILE")
    verdict = judge(_schema(new), [_schema(path) for path in old], mode.upper())
    emit(verdict.shown(), lambda _: _lines(verdict))
    _leave([verdict], strict)


@verb(schema, "gate")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "sarif"]),
    help="How findings are printed; --output json is the same as json here.",
)
@click.option(
    "--golden",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of golden records and streams (the checkout's own).",
)
@click.option(
    "--consumers",
    type=AVSC,
    multiple=True,
    help="Further declarations of what consumers read, as JSON.",
)
def gate_schemas(style: str | None, golden: Path | None, consumers: tuple[Path, ...]) -> None:
    """Tell whether this program may go out, without harm to what is stored and to its readers.

    Every schema version is held against every other, both ways; golden records are decoded and golden streams
    folded to the states of their time; fields that consumers declared must be there in every version.

    Exit code: 0 open (warnings do not close it), 1 closed, 2 where an input cannot be read.
    """
    from usance.bootstrap import gate  # dear to import: it knows every decider

    declared = [*gate.consumers()]
    for path in consumers:
        declared += gate.consumers(path)
    report = gate.Gate(default(), golden or gate.GOLDEN, declared).report()
    if style == "sarif":
        emit_json(gate.sarif(report, version("usance")))
    elif style == "json" or session().json:
        emit_json(report)
    else:
        for line in _told(report):
            click.echo(line)
    click.get_current_context().exit(0 if report.open else EXIT_REFUSED)


def _told(report: Report) -> Iterator[str]:
    for found in report.findings:
        place = f"{found.file}#{found.path}" if found.path else found.file
        yield clean(f"{found.severity} {found.rule} {place}")
        yield clean(
            f"  {sentence(found.message)} {sentence(found.hint) if found.hint else ''}".rstrip()
        )
    counts = ", ".join(f"{n} {what}" for what, n in report.checked.items())
    yield f"{'Open' if report.open else 'Closed'}: {counts}."


def _leave(verdicts: list[Verdict], strict: bool) -> NoReturn:
    code = 0
    if any(not v.readable for v in verdicts):
        code = EXIT_UNREADABLE
    elif any(not v.compatible or (strict and not v.clean) for v in verdicts):
        code = EXIT_REFUSED
    click.get_current_context().exit(code)


def _batch(lines: Iterator[bytes]) -> Iterator[Verdict]:
    for line in lines:
        if line.strip():
            name, verdict = judge_line(line)
            answer = msgspec.json.encode({"id": name} | verdict.shown())
            sys.stdout.write(answer.decode() + "\n")
            yield verdict


def _schema(path: Path) -> Schema:
    try:
        return Schema(path.read_text(encoding="utf-8"), lenient=True)
    except UnicodeDecodeError as error:
        raise Unreadable("schema", f"{path} is not UTF-8", hint="save it as UTF-8") from error
    except Unreadable as error:
        raise Unreadable("schema", f"{path}: {error.reason}", hint=error.hint) from error


def _lines(verdict: Verdict) -> Iterator[str]:
    yield "Compatible." if verdict.compatible else "Incompatible."
    for violation in verdict.violations:
        yield clean(f"{violation.rule} at {violation.path or '/'}: {violation.message}")
        yield clean(f"  {violation.hint}")
    for lint in verdict.lints:
        yield clean(f"{lint.severity} {lint.rule} at {lint.path or '/'}: {lint.message}")
        if lint.hint:
            yield clean(f"  {lint.hint}")
