"""Looking at what every look at is recorded: the record first, then the answer, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from usance.bootstrap.accessing import REFUSALS, Look, denied, record
from usance.cli.opening import Looking, acting, looking
from usance.cli.options import say, session

SOURCE = "cli"


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
        if desk.runtime is not None:
            desk.runtime.drive()
        elif desk.lag:
            say(f"The views are {desk.lag} records behind the log.")
        yield Looking(desk, viewer)
