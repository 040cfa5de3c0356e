"""`usance kafka setup|doctor`: a cluster made ready, and what is wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from usance.bootstrap import kafka as care
from usance.cli.opening import effective
from usance.cli.options import EXIT_REFUSED, Noun, dry_run, say, verb
from usance.cli.show import Column, emit, table

kafka = Noun("kafka", help="The Kafka cluster that holds the log.")

_WOULD = {"create": "would create", "change": "would change", "keep": "ok", "skip": "skipped"}
_DID = {"create": "created", "change": "changed", "keep": "ok", "skip": "skipped"}


@verb(kafka, "setup")
@click.option("--partitions", type=click.IntRange(1, 64), help="Per context, for life (12).")
@click.option(
    "--passwords",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML with a password per role; made with fresh ones when missing. Without it no user is"
    " made: for certificates, or on an open cluster.",
)
@dry_run
def setup(partitions: int | None, passwords: Path | None, dry_run: bool) -> None:
    """Create or mend topics, users and rights; run it again at will.

    Example: usance kafka setup --log kafka://broker:9093 --passwords roles.toml
    """
    found = effective(partitions=partitions)
    if found.sources["partitions"] == "default":
        found = effective(partitions=care.PARTITIONS)
    words = _WOULD if dry_run else _DID
    steps = list(care.setup(found.settings, passwords=passwords, dry_run=dry_run))
    columns = (
        Column("Thing", lambda s: s.thing),
        Column("Name", lambda s: s.name),
        Column("", lambda s: words[s.done]),
        Column("Detail", lambda s: s.detail),
    )
    emit([s._asdict() for s in steps], lambda _: table(columns, steps))
    if dry_run:
        say("Nothing was changed.")
        return
    if passwords is not None:
        say(f"The passwords are in {passwords}: hand each process its own (kafka.password).")
    say("Next: usance kafka doctor")


@verb(kafka, "rights")
def rights() -> None:
    """Print the rights of each role on the cluster, as `setup` grants them."""
    rows = care.rights_table(effective().settings)
    columns = (
        Column("User", lambda r: r[0]),
        Column("Thing", lambda r: r[1].thing),
        Column("Name", lambda r: r[1].name + ("*" if r[1].prefixed else "")),
        Column("May", lambda r: ", ".join(r[1].operations)),
    )
    emit(
        [{"user": user, **right._asdict()} for user, right in rows], lambda _: table(columns, rows)
    )


@verb(kafka, "doctor")
@click.option("--all", "every", is_flag=True, help="What is well too.")
def doctor(every: bool) -> None:
    """Check the cluster: settings, rights, open transactions, lag; exit code 1 when something is not well."""
    from usance.cli.folder import finding_lines

    findings = list(care.examine(effective().settings))
    emit([f.told() for f in findings], lambda _: finding_lines(findings, every=every))
    if not all(f.well for f in findings):
        sys.exit(EXIT_REFUSED)
