"""`usance audit deposit` and `usance audit safe`: what is kept where nobody can remove it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from usance.cli.options import EXIT_REFUSED, EXIT_TAMPERED, Verb, dry_run, say


@click.command("deposit", cls=Verb)
@click.option(
    "--pack",
    "packs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An audit pack to keep too.",
)
@dry_run
def deposit(packs: tuple[Path, ...], dry_run: bool) -> None:
    """Put every full tile and bundle into the safe (proof.safe), and packs; heads go there by themselves.

    What is there already is left alone: run it as often as you like. Example: usance audit deposit --pack p.zip
    """
    from usance.bootstrap.packs.depositing import deposit as put
    from usance.cli.audit import opened
    from usance.cli.show import emit, facts

    with opened() as found:
        place, done = found.safe().place, put(found, packs, dry_run=dry_run)
    told = {"safe": place, **done._asdict()}
    emit(
        told,
        lambda _: facts(
            {
                "safe": place,
                "would be put"
                if dry_run
                else "put": f"{done.objects:,} objects, {done.bytes:,} bytes",
                "there already": f"{done.known:,}",
            }
        ),
    )
    if dry_run:
        say("Nothing was changed.")
        return
    say("Next: usance audit safe checks what is kept, and what holds it.")


@click.command("safe", cls=Verb)
@click.option(
    "--probe", is_flag=True, help="Attack an object of the safe's own, kept for a minute."
)
@dry_run
def safe(*, probe: bool, dry_run: bool) -> None:
    """Check the safe: each object's bytes, and that a retention holds it; --probe attacks it.

    Exit code 0 whole, 1 where an attack was not refused, 5 tampered with. Example: usance audit safe --probe
    """
    from usance.bootstrap.packs.depositing import check
    from usance.cli.audit import opened
    from usance.cli.show import Column, emit, table

    with opened() as found:
        report = check(found, found.clock.now())
        tried = found.safe().probe() if probe and not dry_run else []
    told: dict[str, Any] = {
        "safe": report.place,
        "objects": report.objects,
        "bytes": report.bytes,
        "locked": report.locked,
        "findings": [
            {"code": f.code, "where": f.where, "reason": f.reason} for f in report.findings
        ],
        "attacks": [one._asdict() for one in tried],
    }
    if probe and dry_run:
        say(f"Would put an object of its own into {report.place}, and attack it in every way.")
    columns = (
        Column("Attack", lambda one: one["attack"]),
        Column("", lambda one: "refused" if one["refused"] else "NOT REFUSED"),
    )
    emit(told, lambda t: table(columns, t["attacks"], ""))
    say(
        f"{report.place}: {report.objects:,} objects, {report.bytes:,} bytes, {report.locked:,} locked."
    )
    for one in report.findings:
        say(f"{one.code} at {one.where}: {one.reason}")
    if report.findings:
        sys.exit(EXIT_TAMPERED)
    if not all(one.refused for one in tried):
        say("Whoever administers this store can remove what it keeps: it is no safe.")
        sys.exit(EXIT_REFUSED)
