"""`usance audit access list|show`: who looked at what, when and why, and who was denied what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from usance.cli.options import Noun, verb
from usance.cli.trade import cursor_option, limit_option

if TYPE_CHECKING:
    from usance.views import results_access as ra

access = Noun("access", help="Who looked at what, and who was denied what.")


@verb(access, "list")
@click.option("--person", "who", default="", help="Of one person.")
@click.option("--credit", default="", metavar="ID", help="About one credit.")
@click.option(
    "--kind",
    type=click.Choice(["look", "reveal", "export", "denied"]),
    default=None,
    help="One kind only.",
)
@click.option("--action", default="", help="Such as case.view, or the command that was denied.")
@click.option(
    "--since", default="", metavar="TIME", help="From then on: 2026-11-27, or an instant."
)
@click.option("--until", default="", metavar="TIME", help="Before then.")
@cursor_option
@limit_option
def list_accesses(
    who: str,
    credit: str,
    kind: str | None,
    action: str,
    since: str,
    until: str,
    cursor: str,
    limit: int,
) -> None:
    """List accesses, newest first; asking is recorded first. For auditors and the compliance officer.

    Example: usance audit access list --credit TF26LC000101 --as grace.mwangi
    """
    from usance.bootstrap.accessing import Look
    from usance.cli.show import Column, emit, instant, one_line, table
    from usance.cli.watched import watched
    from usance.views import results_access as ra
    from usance.views.asking_access import AUDITORS
    from usance.web.operations import moment

    wanted = ra.AccessFilter(
        person=who,
        credit=credit,
        kind=kind or "",
        action=action,
        since=moment("since", since) if since else 0,
        until=moment("until", until) if until else 0,
    )
    columns = (
        Column("When", lambda a: instant(a.instant)),
        Column("Who", lambda a: a.person),
        Column("As", lambda a: a.role),
        Column("", lambda a: a.kind),
        Column("What", lambda a: one_line(a.action, 32)),
        Column("On", lambda a: one_line(a.resource, 44)),
        Column("Credit", lambda a: a.credit),
        Column("Why not", _why),
        Column("Event", lambda a: a.event_id),
    )
    with watched(Look("access.list", who or credit, credit), AUDITORS) as seen:
        found = seen.queries.accesses(seen.viewer, wanted, cursor, limit)
        emit(found, lambda page: table(columns, page.rows, "No access is like that."))


def _why(row: ra.AccessRow) -> str:
    if not row.code:
        return ""
    more = f" (+{row.unrecorded} counted)" if row.unrecorded else ""
    return f"{row.code}{more}"


@verb(access, "show")
@click.argument("event", metavar="EVENT")
def show_access(event: str) -> None:
    """Show one access: who, what, why, and where its event stands. Looking is recorded first.

    In a log that seals, the reason is sealed: usance reveal EVENT reason --reason WHY.
    Example: usance audit access show EVENT --as grace.mwangi
    """
    from usance.bootstrap.accessing import Look
    from usance.cli.show import emit
    from usance.cli.watched import watched
    from usance.views.asking_access import AUDITORS

    with watched(Look("access.view", event), AUDITORS) as seen:
        emit(seen.queries.access(seen.viewer, event), _lines)


def _lines(found: ra.AccessDetail) -> list[str]:
    from usance.cli.show import facts, instant

    row = found.row
    return facts(
        {
            "when": instant(row.instant),
            "who": f"{row.person}, acting as {row.role}",
            "what": f"{row.kind}: {row.action}",
            "on": row.resource,
            "credit": row.credit,
            "reason": found.reason,
            "denied": f"{row.code}: {row.cause}" if row.code else "",
            "in its minute": f"no. {row.number}" if row.number > 1 else "",
            "only counted": str(row.unrecorded) if row.unrecorded else "",
            "shown by": row.source,
            "place": found.place,
            "stream": found.stream,
            "envelope hash": found.envelope_hash,
        }
    )
