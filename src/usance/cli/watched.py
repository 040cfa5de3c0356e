"""Looking at what every look at is recorded: the record first, then the answer, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from usance.bootstrap.accessing import REFUSALS, Look, denied, record
from usance.bootstrap.desk import Desk
from usance.cli.opening import Looking, acting, looking, now_open
from usance.cli.options import say, session
from usance.kernel.clock import SystemClock
from usance.kernel.decider import Actor
from usance.views.asking import COMPLIANCE_ROLES
from usance.views.guarded import is_guarded, roles_for, streams_in

SOURCE = "cli"
LOOK_S = 600.0
"""How long one record covers what a command goes on to show."""
_SINCE = "usance.look.since"


@contextmanager
def watched(look: Look, roles: frozenset[str], *, named: bool = False) -> Iterator[Looking]:
    """Open the folder for somebody whose look is recorded first.

    Raises Refused for other roles, having recorded that, and Unavailable where it cannot be recorded. Nobody in
    particular sees nothing of it, which needs no record; where what is shown does not go by who looks, `named`
    raises Refused for them too.
    """
    if not named and not session().person:
        with looking() as seen:
            yield seen
        return
    with acting() as (desk, viewer):
        tenant = desk.settings.bank.tenant
        if viewer.role not in roles:
            now = desk.clock.now()
            REFUSALS.record(desk.ask, tenant, viewer, look, "ROLE_NEEDED", SOURCE, now)
            raise denied(look, roles)
        record(desk.ask, tenant, viewer, look, SOURCE)
        recorded()
        if desk.runtime is not None:
            desk.runtime.drive()
        elif desk.lag:
            say(f"The views are {desk.lag} records behind the log.")
        yield Looking(desk, viewer)


def recorded() -> None:
    """Note that what this command shows is on record: its look, or the act whose answer it shows."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_SINCE] = SystemClock().monotonic()


def demand_look(result: Any) -> None:
    """Record that a command is about to show data of compliance, unless its look is on record.

    Nobody needs to declare it: what is shown is looked at. Raises Refused for whoever may not see it or is named
    by nobody, Unavailable where it cannot be recorded.
    """
    streams = streams_in(result)
    if streams:
        more = f" and {len(streams) - 1} more" if len(streams) > 1 else ""
        demand_recorded_look(Look(_action(), streams[0] + more), frozenset(COMPLIANCE_ROLES))


def demand_place(place: str) -> None:
    """Record that a topic or a tree of compliance is about to be read; raises as `demand_look`."""
    if is_guarded(place):
        demand_recorded_look(Look(_action(), place), roles_for(place))


def demand_recorded_look(look: Look, roles: frozenset[str]) -> None:
    """Record a look of a command that has opened the folder to read, or nothing at all."""
    context = click.get_current_context(silent=True)
    since = None if context is None else context.meta.get(_SINCE)
    if since is not None and SystemClock().monotonic() - since < LOOK_S:
        return
    seen = now_open()
    if seen is not None:
        _record(seen.desk, seen.viewer, look, roles)
    else:
        with acting() as (desk, viewer):
            _record(desk, viewer, look, roles)


def _record(desk: Desk, viewer: Actor, look: Look, roles: frozenset[str]) -> None:
    tenant = desk.settings.bank.tenant
    if viewer.role not in roles:
        REFUSALS.record(desk.ask, tenant, viewer, look, "ROLE_NEEDED", SOURCE, desk.clock.now())
        raise denied(look, roles)
    record(desk.ask, tenant, viewer, look, SOURCE)
    recorded()


def _action() -> str:
    context = click.get_current_context(silent=True)
    words = context.command_path.split()[1:] if context is not None else []
    return ".".join(words[:3]) or "cli"
