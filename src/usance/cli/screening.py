"""`usance screen` and `usance list`: names against the sanctions lists, and the lists themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from usance.cli.options import Noun, Verb, dry_run, say, verb

if TYPE_CHECKING:
    from usance.aml.screening import Screener


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
    from usance.aml.screening import screen_batch
    from usance.kernel.errors import Unreadable

    if (name is None) == (batch is None):
        raise click.UsageError("Give one NAME, or --batch FILE.")
    screener = _screener()
    if batch is not None:
        unread = 0
        out = sys.stdout.buffer
        for line in screen_batch(screener, batch):
            out.write(line + b"\n")
            unread += b'"band":"' not in line
        out.flush()
        if unread:
            raise Unreadable(
                "validate",
                f"{unread} line{'s' if unread > 1 else ''} could not be read; the others are answered",
                hint="Each answer with an error names its line and what to correct.",
            )
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


def _screener() -> Screener:
    """Return what the folder's log has active; where no log is, the lists that came along."""
    from usance.aml.screening import open_screener
    from usance.bootstrap.lists import open_active
    from usance.bootstrap.store import Store
    from usance.cli.opening import folder, settings
    from usance.kernel.clock import SystemClock

    place, said = folder(), settings()
    cache = place.cache if place.root.exists() else _own_cache()
    if not said.bootstrap_servers and not place.log.exists():
        return open_screener(cache=cache)
    store = Store(place, said, SystemClock(), owner=False)
    try:
        book = store.lists()
        return open_active(book, book.state().active, cache=cache)
    finally:
        store.close()


lists = Noun("list", help="Sanctions lists: what is active, what waits for a second person.")


@verb(lists, "show")
@click.argument("proposal", required=False)
def show_lists(proposal: str | None) -> None:
    """Show the active lists (source, version, hash, entries, age), or one PROPOSAL that waits."""
    from usance.cli.show import Column, emit, table
    from usance.kernel.clock import SystemClock

    if proposal:
        _show_proposal(proposal)
        return
    found = _screener().summaries(SystemClock().now())
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
    say("\nNext: usance list list shows what people brought in, and what waits.")


def _show_proposal(reference: str) -> None:
    from usance.cli.approving import find, lines, seen_as
    from usance.cli.opening import looking
    from usance.cli.show import emit

    with looking() as seen:
        found = find(seen.desk, seen.viewer, f"list:{reference}")
        emit(found, lines)
        say(f"\nNext: usance list approve {reference} --seen {seen_as(found)}")


def _screened_again(row: Any) -> str:
    if row.rescreened:
        return f"{row.rescreened_streams:,}, {row.rescreened_cases} cases"
    return "under way" if row.activated else ""


@verb(lists, "list")
def list_lists() -> None:
    """List the versions that people brought in, and those that wait for a second person."""
    from usance.cli.opening import looking
    from usance.cli.show import Column, emit, instant, table

    columns = (
        Column("List", lambda s: s.list_id),
        Column("Active", lambda s: s.version),
        Column("Entries", lambda s: f"{s.entries:,}" if s.entries else "", right=True),
        Column("By", lambda s: f"{s.proposer}, {s.approver}" if s.approver else ""),
        Column("Since", lambda s: instant(s.activated) if s.activated else ""),
        Column("Screened again", _screened_again),
        Column("Waits", lambda s: s.waiting.proposal if s.waiting else ""),
        Column(
            "Brings",
            lambda s: (
                f"+{s.waiting.added} ~{s.waiting.changed} -{s.waiting.removed}" if s.waiting else ""
            ),
        ),
        Column("Last", lambda s: f"{s.answer} by {s.answered_by}" if s.answer else ""),
    )
    with looking() as seen:
        emit(
            seen.queries.lists(seen.viewer),
            lambda rows: table(
                columns, rows, "Nobody brought a list in: what came along is active."
            ),
        )


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
@click.option("--approve-count", is_flag=True, help="Propose a changed number of entries.")
@dry_run
def import_lists(
    files: tuple[Path, ...], list_id: str, version: str, approve_count: bool, dry_run: bool
) -> None:
    """Propose a current list, behind a gate: UN XML, our CSV, or the four files of OFAC.

    The gate looks at the number of entries, and at whether every primary name finds its own entry. A
    second person of compliance activates it: usance list approve.
    Example: usance list import consolidated.xml --as elif.demir
    """
    from usance.bootstrap.lists import keep, open_active, propose, read_list
    from usance.cli.acting import addressed, opened, settle
    from usance.kernel.authority import demand_role
    from usance.kernel.clock import SystemClock
    from usance.kernel.ids import RandomIds

    new = read_list([f.read_bytes() for f in files], list_id, version, SystemClock().now())
    with opened(dry=dry_run) as (desk, person):
        demand_role(person, "ProposeList")
        book = desk.store.lists()
        state = book.state()
        active = open_active(book, state.active, cache=desk.folder.cache)
        say(f"Trying {len(new.entries):,} entries of {new.list_id} against the gate ...")
        found = propose(new, active, state, approve_count=approve_count)
        for finding in found.command.findings:
            say(f"{finding.code}: {finding.message}")
        if not dry_run:
            keep(book, found)
        settle(desk, addressed(book.key, found.command, RandomIds().fresh(), person), dry=dry_run)
        if not dry_run:
            say("A second person activates it. Next: usance list list")


_proposal = click.argument("proposal")


@verb(lists, "approve")
@_proposal
@click.option("--seen", default="", help="What `usance list show PROPOSAL` gave as seen.")
@dry_run
def approve_list(proposal: str, seen: str, dry_run: bool) -> None:
    """Activate a proposed version, as another person: running screeners take it up by themselves.

    Example: usance list approve un-2026-11-20-1f2e3d4c --as farid.haddad
    """
    from usance.cli.approving import answer

    answer(f"list:{proposal}", seen, "", yes=True, dry=dry_run)


@verb(lists, "reject")
@_proposal
@click.option("--reason", required=True, help="Kept with the answer.")
@dry_run
def reject_list(proposal: str, reason: str, dry_run: bool) -> None:
    """Turn a proposed version down; the active one stays."""
    _answer("RejectList", {"proposal": proposal, "reason": reason}, dry=dry_run)


@verb(lists, "withdraw")
@_proposal
@dry_run
def withdraw_list(proposal: str, dry_run: bool) -> None:
    """Take back a version that you proposed."""
    _answer("WithdrawList", {"proposal": proposal}, dry=dry_run)


def _answer(command: str, fields: dict[str, str], *, dry: bool) -> None:
    from usance.aml.activation import IDENTITY
    from usance.cli.acting import perform

    perform({"type": command, "list": IDENTITY, **fields}, "", dry=dry)
