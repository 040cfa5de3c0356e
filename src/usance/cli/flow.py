"""`usance projection`: read models and how far they are."""

from __future__ import annotations

from collections.abc import Iterable

import click

from usance.bootstrap.store import make_projector
from usance.cli.opening import looking
from usance.cli.options import Noun, dry_run, say, verb
from usance.cli.show import Column, emit, progress_on, table
from usance.engine.projections.projector import OnProgress, RebuildProgress, RebuildReport

projection = Noun("projection", help="Read models.")


@verb(projection, "list")
def list_projections() -> None:
    """List read models: position, lag, rows that could not follow."""
    columns = (
        Column("Projection", lambda p: p.name),
        Column("Version", lambda p: str(p.version), right=True),
        Column("State", lambda p: p.state),
        Column("Rows", lambda p: f"{p.rows:,}", right=True),
        Column("Behind", lambda p: f"{p.lag:,}", right=True),
        Column("Stale rows", lambda p: str(p.stale_rows or ""), right=True),
        Column("Parked keys", lambda p: str(len(p.parked) or ""), right=True),
    )
    with looking() as seen:
        emit(seen.queries.projections(seen.viewer), lambda rows: table(columns, rows))


@verb(projection, "rebuild")
@click.argument("name")
@dry_run
def rebuild(name: str, dry_run: bool) -> None:
    """Build a read model anew from the first event, compare, then swap; --dry-run compares only.

    Example: usance projection rebuild book
    """
    with looking() as seen:
        projector = make_projector(seen.desk.store, seen.desk.views, follow=False)
        projector.open()
        try:
            if dry_run:
                differences = projector.verify(name)
                say(f"{len(differences)} rows differ from a fold of the log; nothing was swapped.")
                emit(differences, lambda rows: [str(row) for row in rows])
                return
            report = projector.rebuild(name, _progress())
            emit(report._asdict(), lambda _: _rebuilt(report))
        finally:
            projector.close()


def _progress() -> OnProgress:
    tell_parts = progress_on("offsets read")

    def told(progress: RebuildProgress) -> None:
        tell_parts(progress.done, max(progress.total, 1))

    return told


def _rebuilt(report: RebuildReport) -> Iterable[str]:
    yield f"{report.name}: generation {report.generation} is live"
    if report.compared:
        unexpected = len(report.differences) - report.mended
        yield f"  {report.mended} stale rows mended, {unexpected} rows unlike the old ones"
    else:
        yield "  the tables were of another version: not compared"
