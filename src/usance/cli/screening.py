"""`usance screen` and `usance list`: names against the sanctions lists, and the lists themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from usance.cli.options import Noun, Verb, dry_run, say, verb


@click.command(cls=Verb)
@click.argument("name", required=False)
@click.option("--batch", type=click.File("rb"), help="JSON lines to screen; - is stdin.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["person", "organisation", "vessel", "unknown"]),
    default="unknown",
    show_default=True,
)
@click.option("--birth-date", default="", metavar="YYYY[-MM-DD]")
@click.option("--country", default="", help="Code or name.")
def screen(
    name: str | None, batch: BinaryIO | None, kind: str, birth_date: str, country: str
) -> None:
    """Screen one NAME, or many with --batch.

    A line of a batch is {"id","name","type","birth_date","country"}; its answer is {"id","band",
    "score","entry","list","list_version","explanation"}. Example: usance screen "KIM YONG CHOL"
    """
    from usance.aml.screening import open_screener, screen_batch
    from usance.bootstrap.lists import active_lists
    from usance.cli.opening import folder

    if (name is None) == (batch is None):
        raise click.UsageError("Give one NAME, or --batch FILE.")
    place = folder()
    cache = place.cache if place.root.exists() else _own_cache()
    screener = open_screener(active_lists(place.root), cache=cache)
    if batch is not None:
        out = sys.stdout.buffer
        for line in screen_batch(screener, batch):
            out.write(line + b"\n")
        out.flush()
        return
    from usance.aml.screening import Result
    from usance.cli.show import emit, facts

    def lines(found: Result) -> list[str]:
        why = found.explanation
        return facts(
            [
                ("Band", found.band),
                ("Score", f"{found.score / 100:.2f}"),
                ("Entry", f"{found.list} {found.entry}" if found.entry else ""),
                ("List", found.list_version or ""),
                ("Listed name", why.primary),
                ("Matched", f"{why.matched} ({why.alias})" if why.matched else ""),
                *((f"  {p.given}", f"{p.listed} {p.similarity / 100:.0f}") for p in why.pairs),
                *((q.kind, q.detail) for q in why.qualifiers),
                ("Not evaluated", "; ".join(why.not_evaluated)),
            ]
        )

    emit(screener.screen(name or "", kind, birth_date, country), lines)


def _own_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "usance"


lists = Noun("list", help="Sanctions lists.")


@verb(lists, "show")
def show_lists() -> None:
    """Show the active lists: source, version, hash, entries, age."""
    from usance.aml.screening import open_screener
    from usance.bootstrap.lists import active_lists
    from usance.cli.opening import folder
    from usance.cli.show import Column, emit, table
    from usance.kernel.clock import SystemClock

    place = folder()
    cache = place.cache if place.root.exists() else _own_cache()
    found = open_screener(active_lists(place.root), cache=cache).summaries(SystemClock().now())
    columns = (
        Column("List", lambda s: s.list_id),
        Column("Source", lambda s: s.source),
        Column("Version", lambda s: s.version),
        Column("SHA-256", lambda s: s.sha256[:16]),
        Column("Entries", lambda s: f"{s.entries:,}", right=True),
        Column("Names", lambda s: f"{s.names:,}", right=True),
        Column("Age", lambda s: f"{s.age_days} days", right=True),
        Column("", lambda s: s.note),
    )
    emit(found, lambda rows: table(columns, rows))


@verb(lists, "import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE...",
)
@click.option("--list", "list_id", default="", help="Such as ofac-sdn; UN XML says it itself.")
@click.option("--version", default="", metavar="YYYY-MM-DD", help="Date of publication.")
@click.option("--approve-count", is_flag=True, help="Accept a changed number of entries.")
@dry_run
def import_lists(
    files: tuple[Path, ...], list_id: str, version: str, approve_count: bool, dry_run: bool
) -> None:
    """Load a current list behind a gate: UN XML, our CSV, or the four files of OFAC.

    The gate looks at the number of entries, and at whether every primary name finds its own entry.
    Example: usance list import consolidated.xml
    """
    from usance.bootstrap.lists import import_list, read_list
    from usance.cli.opening import folder
    from usance.cli.show import emit, facts
    from usance.kernel.clock import SystemClock

    now = SystemClock().now()
    new = read_list(files, list_id, version, now)
    say(f"Trying {len(new.entries):,} entries of {new.list_id} against the gate ...")
    found = import_list(folder().root, new, approve_count=approve_count, keep=not dry_run)
    for finding in found:
        say(f"{finding.code}: {finding.message}")
    summary = new.summary(now)
    rows = {n: str(getattr(summary, n)) for n in summary.__struct_fields__}
    emit(summary, lambda _: facts(rows))
    say(
        "Passed; nothing was changed."
        if dry_run
        else "Active from the next start. Next: usance list show"
    )
