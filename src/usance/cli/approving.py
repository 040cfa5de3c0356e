"""Answering as the second person: exactly what was shown is approved, or nothing is."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from usance.bootstrap.desk import Desk
from usance.cli.acting import addressed, opened, settle
from usance.cli.options import say
from usance.cli.show import amount, clean, facts, instant
from usance.kernel.decider import Actor, key_parts
from usance.kernel.errors import Conflict, NotFound, Refused
from usance.kernel.ids import RandomIds
from usance.messages.words import command_of
from usance.views.results import Approval
from usance.web.acts import approval_acts, case_acts
from usance.web.commands import command_type
from usance.web.render import AMOUNTS


def seen_as(approval: Approval) -> str:
    """Return the short text by which a person says which content they saw."""
    return approval.content_hash[:12] or f"r{approval.revision}"


def lines(approval: Approval) -> Iterable[str]:
    """Return an approval as text: all of what is approved."""
    yield from facts(
        [
            ("Approval", approval.id),
            ("Title", approval.title),
            ("Amount", amount(approval.amount, approval.currency) if approval.amount else ""),
            ("Maker", approval.maker),
            ("Requested", instant(approval.requested)),
            ("Tier", approval.tier),
            ("Bound to", f"revision {approval.revision}, content {approval.content_hash[:12]}"),
            ("Yours", "you made this: another person must answer" if approval.self_made else ""),
        ]
    )
    yield ""
    yield from facts({n: _fact(n, v, approval) for n, v in approval.content.items()}, indent="  ")


def _fact(name: str, value: str, approval: Approval) -> str:
    """Return a field as people read it: money with its currency, never in minor units."""
    is_money = name.rpartition(".")[2] in AMOUNTS and approval.currency
    return amount(int(value), approval.currency) if is_money and value.isdigit() else value


def find(desk: Desk, person: Actor, wanted: str) -> Approval:
    """Return the approval of an id, of a reference, or of `kind:reference`; raises NotFound."""
    waiting = desk.queries.approvals(person)
    kind, _, reference = wanted.rpartition(":")
    found = [a for a in waiting if a.id == wanted] or [
        a
        for a in waiting
        if a.reference == (reference if kind else wanted) and (not kind or a.kind == kind)
    ]
    if len(found) != 1:
        many = f"{len(found)} approvals wait" if found else "no approval waits"
        raise NotFound(f"{many} under this id", hint="usance approval list shows what waits.")
    return found[0]


def answer(wanted: str, seen: str, reason: str, *, yes: bool, dry: bool) -> None:
    """Approve or reject; what was seen is named with --seen, or shown and asked on a terminal."""
    with opened(dry=dry) as (desk, person):
        approval = find(desk, person, wanted)
        if yes and not dry:
            _demand_seen(approval, seen)
        key, name, fields = _act(desk, person, approval, yes=yes)
        if reason:
            fields["reason"] = reason
        command = command_of(fields, command_type(name).cls, key_parts(key).identity)
        settle(desk, addressed(key, command, RandomIds().fresh(), person), dry=dry)


def _act(
    desk: Desk, person: Actor, approval: Approval, *, yes: bool
) -> tuple[str, str, dict[str, Any]]:
    """Return key, name and fields of the command that answers."""
    acts = approval_acts(approval)
    if approval.kind == "case":
        acts = case_acts(desk.queries.case(person, approval.key), person)
    if not yes and len(acts) < 2:
        raise Refused(
            "NO_REJECTION",
            "this proposal lapses by itself when nobody agrees",
            hint=f"Leave it, or act on the {key_parts(approval.key).category} otherwise.",
        )
    act = acts[0] if yes else acts[1]
    bound = {f.name: f.value for f in act.fields if f.kind == "hidden"}
    return act.key, act.command, bound


def _demand_seen(approval: Approval, seen: str) -> None:
    """Raise Conflict when what was seen is not what waits now; ask where nobody said."""
    now = seen_as(approval)
    if seen:
        if seen != now and not (len(seen) >= 8 and approval.content_hash.startswith(seen)):
            raise Conflict(
                "the content is not the one that you saw",
                hint=f"Look at it again: usance approval show {approval.id}",
            )
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"Name what you saw with --seen: `usance approval show {approval.id}` shows it."
        )
    for line in lines(approval):
        say(clean(line))
    click.confirm("\nApprove exactly this?", err=True, abort=True)
