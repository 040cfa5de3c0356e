"""`usance backup|restore|doctor|config|version`: the data folder and the program itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usance.cli.options import EXIT_REFUSED, EXIT_TAMPERED, Noun, Verb, dry_run, say, verb

if TYPE_CHECKING:
    from usance.engine.findings import Finding


@click.command(cls=Verb)
@click.argument("target", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@dry_run
def backup(target: Path, dry_run: bool) -> None:
    """Copy the data folder to DIR while it is in use, and verify the copy's chain.

    Example: usance backup /backups/friday
    """
    from usance.bootstrap import care
    from usance.bootstrap.backend import demand_log
    from usance.cli.opening import folder, settings
    from usance.cli.show import emit

    demand_log(folder().log, settings())
    if dry_run:
        say(f"Would copy the log of {folder().root} to {target} and verify the copy.")
        return
    records = care.backup(folder(), settings(), target, chain_progress)
    emit({"backup": str(target), "records": records, "chain_verified": True}, _done_lines)
    say(f"Next: usance restore {target} --data NEW")


@click.command(cls=Verb)
@click.argument(
    "source", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR"
)
@dry_run
def restore(source: Path, dry_run: bool) -> None:
    """Make the data folder from the backup in DIR, after verifying its chain.

    Example: usance restore /backups/friday --data restored
    """
    from usance.bootstrap import care
    from usance.bootstrap.store import Folder
    from usance.cli.opening import folder, settings
    from usance.cli.show import emit

    if dry_run:
        records = care.verified(Folder(source), settings(), chain_progress)
        say(f"The backup is whole ({records:,} records); would be restored to {folder().root}.")
        return
    records = care.restore(source, folder(), settings(), chain_progress)
    found = {"restored": str(folder().root), "records": records, "chain_verified": True}
    emit(found, _done_lines)
    say(f"Next: usance status --data {folder().root}")


def _done_lines(found: dict[str, Any]) -> list[str]:
    from usance.cli.show import facts

    return facts({name.replace("_", " "): str(value) for name, value in found.items()})


def chain_progress(place: Any, records: int) -> None:
    """Say on a terminal how far the verification is."""
    if sys.stderr.isatty():
        click.echo(f"\r{place.topic} {place.partition}: {records:,} records ", err=True, nl=False)


@click.command(cls=Verb)
@click.option("--all", "every", is_flag=True, help="What is well too.")
def doctor(every: bool) -> None:
    """Check machine, folder, log, clocks, keys, certificates, heads and access, with what mends each finding.

    A cluster is checked too where the log is on one. Exit code 1 when something is wrong, 5 when somebody
    tampered. Example: usance doctor --output json
    """
    from usance.bootstrap.doctor import examine
    from usance.cli.opening import folder, settings
    from usance.cli.show import emit

    findings = list(examine(folder(), settings()))
    emit([f.told() for f in findings], lambda _: finding_lines(findings, every=every))
    if any(f.tampered for f in findings):
        sys.exit(EXIT_TAMPERED)
    if not all(f.well for f in findings):
        sys.exit(EXIT_REFUSED)


MARKS = {"ok": "ok", "warning": "SOON", "wrong": "NOT WELL", "unsafe": "UNSAFE"}


def finding_lines(findings: Sequence[Finding], *, every: bool) -> Iterator[str]:
    """Yield a table of findings, what is to be done first, then the command that mends each."""
    from usance.cli.show import Column, table

    columns = (
        Column("Area", lambda f: f.area),
        Column("Check", lambda f: f.check),
        Column("", lambda f: MARKS.get(f.severity, f.severity.upper())),
        Column("Found", lambda f: f.found),
        Column("Code", lambda f: "" if f.severity == "ok" else f.code),
    )
    bad = [f for f in findings if f.severity != "ok"]
    good = [f for f in findings if f.severity == "ok"]
    yield from table(columns, [*bad, *(good if every or not bad else ())], "")
    if bad and not every:
        yield f"{len(good)} more checks are well: --all shows them."
    for one in bad:
        yield ""
        yield f"{one.code} ({one.check}):"
        yield f"  {one.command}"
        if one.hint:
            yield f"  {one.hint}"


config = Noun("config", help="Settings.")


@verb(config, "show")
def show_config() -> None:
    """Show every setting with its value and where it was set; secrets are masked."""
    from usance.cli.opening import effective
    from usance.cli.show import Column, emit, table
    from usance.config import shown
    from usance.kernel import native

    rows = [*shown(effective()), ("codec", native.RUNNING, native.SOURCE)]
    columns = (
        Column("Setting", lambda r: r[0]),
        Column("Value", lambda r: r[1]),
        Column("Set by", lambda r: r[2]),
    )
    as_json = {name: {"value": value, "source": source} for name, value, source in rows}
    emit(as_json, lambda _: table(columns, rows))


@click.command(cls=Verb)
def version() -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        found = installed("usance")
    except PackageNotFoundError:
        found = "0 (not installed)"
    from usance.cli.options import session

    click.echo(f'{{"version": "{found}"}}' if session().json else f"usance {found}")
