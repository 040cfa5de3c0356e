"""`usance audit controls`: what rules ask, what the program does about it, and what shows it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from usance.cli.options import Verb

if TYPE_CHECKING:
    from usance.bootstrap.controls import Control

MARKS = {"met": "✓", "partly": "◐", "open": "○"}


@click.command("controls", cls=Verb)
@click.argument("rule", required=False, default="")
@click.option(
    "--state", type=click.Choice(["met", "partly", "open"]), help="Only rows that are so far."
)
@click.option("--cedar", is_flag=True, help="Print the table of roles by act as Cedar policies.")
def controls(rule: str, state: str | None, cedar: bool) -> None:
    """Show the matrix of controls; RULE narrows it to ids and laws that contain it.

    Nothing here claims compliance: rows say what tests show. Example: usance audit controls PCI
    """
    from usance.bootstrap.controls import read_controls
    from usance.cli.show import emit
    from usance.kernel.errors import NotFound

    if cedar:
        from usance.bootstrap.cedar import policies

        text = policies()
        emit({"policies": text}, lambda _: text.rstrip("\n").split("\n"))
        return
    wanted = rule.casefold()
    found = [
        c
        for c in read_controls()
        if wanted in f"{c.id} {c.law}".casefold() and state in (None, c.state)
    ]
    if not found:
        raise NotFound("no control is like that", hint="See them all: usance audit controls")
    emit(found, _lines)


def _lines(rows: Sequence[Control]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        counsel = "" if row.wording == "checked" else "  (wording to be checked by counsel)"
        lines.append(f"{MARKS[row.state]} {row.id}  {row.law}{counsel}")
        told = [("Asks", row.asks), ("Does", row.does), ("Shown by", row.artefact)]
        told += [("Missing", row.missing)] if row.missing else []
        told += [("Test", test) for test in row.tests]
        for name, text in told:
            lines += textwrap.wrap(
                text, 100, initial_indent=f"  {name:9}", subsequent_indent=" " * 11,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        lines.append("")
    states = [row.state for row in rows]
    lines.append(
        f"{states.count('met')} met, {states.count('partly')} partly, {states.count('open')} open."
        " Nothing here claims certification."
    )
    return lines
