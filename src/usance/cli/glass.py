"""`usance glass break|close|review|list`: acting beyond one's role, on record, for a bounded time."""

from __future__ import annotations

from typing import Any

import click

from usance.cli.options import Noun, dry_run, say, verb

glass = Noun("glass", help="Act beyond your role in an emergency; somebody else reviews it.")


@verb(glass, "break")
@click.option("--act", "acts", multiple=True, required=True, help="A command, such as RetryStep.")
@click.option("--scope", default="", help="A reference or stream that it is for; any without it.")
@click.option("--minutes", type=int, default=60, show_default=True, help="1 to 60.")
@click.option("--incident", required=True, metavar="REF", help="The trouble that calls for it.")
@click.option("--reason", required=True, help="Why; whoever reviews it reads it.")
@dry_run
def break_glass(
    acts: tuple[str, ...], scope: str, minutes: int, incident: str, reason: str, dry_run: bool
) -> None:
    """Break the glass for acts beyond your role; then act as PERSON:break_glass.

    Each act is noted, four eyes and all other rules stand, and somebody else reviews it by the end of the next
    banking day. Example: usance glass break --act RetryStep --incident INC-7 --reason "..." --as grace.mwangi
    """
    from usance.domain.glass import BreakGlass
    from usance.kernel.words import Words

    def made(person: str) -> Any:
        words = Words(subject=person, text=reason)
        return BreakGlass(
            person=person, acts=list(acts), scope=scope, minutes=minutes, incident=incident,
            reason=words,
        )  # fmt: skip

    person = _send(made, "", dry=dry_run)
    say(
        f"Next: act as {person}:break_glass, such as usance credit approve ... --as {person}:break_glass"
    )


@verb(glass, "close")
@dry_run
def close(dry_run: bool) -> None:
    """Close your glass before its time. Example: usance glass close --as henrik.solberg."""
    from usance.domain.glass import CloseGlass

    _send(lambda person: CloseGlass(person=person), "", dry=dry_run)


@verb(glass, "review")
@click.argument("who", metavar="PERSON")
@click.argument("number", type=int)
@click.option("--justified/--not-justified", required=True, default=None, help="What you found.")
@click.option("--reason", required=True, help="Why you found so.")
@dry_run
def review(who: str, number: int, justified: bool, reason: str, dry_run: bool) -> None:
    """Review what somebody else did behind broken glass, once it is closed.

    Example: usance glass review henrik.solberg 1 --justified --reason "..." --as grace.mwangi
    """
    from usance.domain.glass import ReviewGlass
    from usance.kernel.words import Words

    words = Words(subject=who, text=reason)
    said = ReviewGlass(person=who, number=number, justified=justified, reason=words)
    _send(lambda _: said, who, dry=dry_run)


@verb(glass, "list")
def list_glasses() -> None:
    """List who broke the glass, newest first, and what was done behind it."""
    from usance.cli.opening import looking
    from usance.cli.show import Column, emit, instant, one_line, table

    columns = (
        Column("Who", lambda g: g.person),
        Column("No.", lambda g: str(g.number), right=True),
        Column("Since", lambda g: instant(g.since)),
        Column("Until", lambda g: instant(g.closed or g.until)),
        Column("For", lambda g: one_line(f"{g.acts} {g.scope}", 40)),
        Column("Incident", lambda g: g.incident),
        Column("State", lambda g: "review overdue" if g.overdue and not g.reviewer else g.state),
        Column("Done", lambda g: one_line(g.used, 60)),
        Column("Review by", lambda g: g.reviewer or instant(g.review_due)),
    )
    with looking() as seen:
        emit(
            seen.queries.glasses(seen.viewer),
            lambda rows: table(columns, rows, "Nobody has broken the glass."),
        )


def _send(made: Any, stream: str, *, dry: bool) -> str:
    from usance.cli.acting import addressed, opened, settle
    from usance.kernel.decider import key_of
    from usance.kernel.ids import RandomIds

    with opened(dry=dry) as (desk, person):
        key = key_of(desk.settings.bank.tenant, "glass", stream or person.person)
        settle(desk, addressed(key, made(person.person), RandomIds().fresh(), person), dry=dry)
        return person.person
