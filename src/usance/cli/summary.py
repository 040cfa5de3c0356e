"""The account of a data folder: what came in, what became of it, and whether it all adds up."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from usance.audit.chain import ChainReport
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Store
from usance.cli import show
from usance.cli.opening import NOBODY
from usance.cli.options import say
from usance.engine.verify import verify_log
from usance.views.queries import Queries
from usance.views.results import Status

DEMO_KEYS = (
    "inputs",
    "commands",
    "accepted",
    "refused",
    "duplicates",
    "conflicts",
    "dead_letters",
    "parked",
    "events",
    "events_by_type",
    "credits_by_state",
    "trial_balance_zero",
    "chain_verified",
)
INPUT_ENDS = ("accepted", "refused", "duplicates", "conflicts", "dead_letters", "parked")


def chain_reports(store: Store) -> list[ChainReport]:
    """Recompute the chain of every chained partition, with progress on a terminal."""

    def progress(place: Any, records: int) -> None:
        if sys.stderr.isatty():
            click.echo(
                f"\r{place.topic} {place.partition}: {records:,} records ", err=True, nl=False
            )

    reports = verify_log(store.log, store.genesis.log_id, store.decoder, progress)
    if sys.stderr.isatty():
        click.echo("\r" + " " * 60 + "\r", err=True, nl=False)
    return reports


def status_of(queries: Queries, store: Store, *, verify: bool = True) -> Status:
    """Return the counts of a folder, its chain verified."""
    found = queries.status(NOBODY)
    if not verify:
        return found
    whole = all(report.whole for report in chain_reports(store))
    return msgspec.structs.replace(found, chain_verified=whole)


def account_for(runtime: Runtime) -> bool:
    """Print the summary of a played book; tells whether everything holds."""
    found = status_of(runtime.queries, runtime.store)
    show.emit({key: getattr(found, key) for key in DEMO_KEYS}, lambda _: status_lines(found))
    complaints = list(_complaints(found, runtime.projector.idle()))
    for complaint in complaints:
        say(complaint)
    return not complaints


def _complaints(found: Status, caught_up: bool) -> Iterable[str]:
    if found.inputs != sum(getattr(found, name) for name in INPUT_ENDS):
        yield "The inputs do not add up: one was lost or counted twice."
    if not found.trial_balance_zero:
        yield "The trial balance is not zero."
    if found.chain_verified is not True:
        yield "The chain does not verify: `usance log verify` names the first broken record."
    if not caught_up or found.projections_stale:
        yield "A view is not caught up: `usance projection list` says which."


def status_lines(found: Status) -> list[str]:
    """Return the account as text."""
    number = "{:,}".format
    ends = ", ".join(f"{number(getattr(found, n))} {n.replace('_', ' ')}" for n in INPUT_ENDS)
    pairs = [
        ("Inputs", f"{number(found.inputs)} = {ends}"),
        ("Commands", number(found.commands)),
        *((f"  of {k}", number(v)) for k, v in found.other_commands.items()),
        ("Events", number(found.events)),
        *((f"  {k}", number(v)) for k, v in sorted(found.events_by_type.items())),
        ("Credits", number(sum(found.credits_by_state.values()))),
        *((f"  {k}", number(v)) for k, v in sorted(found.credits_by_state.items())),
        ("Sagas", number(sum(found.sagas_by_phase.values()))),
        *((f"  {k}", number(v)) for k, v in sorted(found.sagas_by_phase.items())),
        ("Open incidents", number(found.incidents_open)),
        ("Open dead letters", number(found.dead_letters_open)),
        ("Parked keys", number(found.parked_keys)),
        ("Trial balance", "zero" if found.trial_balance_zero else "NOT ZERO"),
        ("Chain", {True: "verified", False: "BROKEN", None: "not looked at"}[found.chain_verified]),
        ("Views behind", f"{number(found.projection_lag)} records"),
    ]
    return show.facts(pairs)
