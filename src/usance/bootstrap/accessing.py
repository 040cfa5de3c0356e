"""Recording accesses before anything is shown, and denials as they happen, for console, API and command line.

What cannot be recorded is not shown. A denial that cannot be recorded stays a denial. What somebody asked for
is free text: card numbers in it are masked, for a refusal would leave the denial out of the log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from usance.crypto.cards import find, without_cards
from usance.engine.owner.accesses import ACCESS, RecordAccess, RecordDenial, counted
from usance.engine.owner.state import Denials
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor, key_of, key_parts
from usance.kernel.errors import Refused, Unavailable, UsanceError
from usance.kernel.ids import RandomIds
from usance.kernel.words import Words
from usance.messages.outcome import Outcome

ENGINE = Actor("engine", "", "system")
ANYBODY = "anonymous"
"""Stands for whoever is named by nobody."""
COUNTED_MAX = 1_000

Ask = Callable[[Outgoing], Outcome]


class Look(NamedTuple):
    """What somebody is about to see: an action of the registry, on what, about which credit."""

    action: str
    resource: str = ""
    credit: str = ""
    reason: str = ""


def credit_of(stream: str) -> str:
    """Return the reference of the credit that a stream is, empty for another stream."""
    if stream.count("/") < 2 or key_parts(stream).category != "credit":
        return ""
    return key_parts(stream).identity


def looked(tenant: str, viewer: Actor, look: Look, source: str) -> Outgoing:
    """Return the command that records a look."""
    person = viewer.person or ANYBODY
    said = RecordAccess(
        person=person,
        role=viewer.role,
        action=look.action,
        resource=_masked(look.resource),
        credit=_masked(look.credit or credit_of(look.resource)),
        source=source,
        reason=Words(subject=person, text=look.reason) if look.reason else None,
    )
    return _outgoing(tenant, person, said)


def demand_recorded(outcome: Outcome | None) -> None:
    """Raise Unavailable unless a record of an access was accepted: then nothing is shown."""
    if outcome is not None and outcome.answer == "accepted":
        return
    said = "no answer came in time" if outcome is None else outcome.message or outcome.answer
    raise Unavailable(
        f"the access could not be recorded ({said}): nothing is shown",
        hint="See that an owner runs and writes (usance status), then look again.",
    )


def record(ask: Ask, tenant: str, viewer: Actor, look: Look, source: str) -> None:
    """Record a look before it happens; raises Unavailable where it cannot be recorded."""
    demand_recorded(ask(looked(tenant, viewer, look, source)))


class Refusals:
    """Denials outside the deciders, counted as the owner counts its own; safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], Denials] = {}

    def outgoing(
        self, tenant: str, viewer: Actor, look: Look, code: str, source: str, now: int
    ) -> Outgoing | None:
        """Return the command that records a denial; None where it is only counted."""
        person = viewer.person or ANYBODY
        who = (person, code)
        with self._lock:
            before = self._counts.get(who)
            count, told = counted(before, now)
            self._counts[who] = count
            while len(self._counts) > COUNTED_MAX:
                del self._counts[next(iter(self._counts))]
        if not told:
            return None
        said = RecordDenial(
            person=person,
            role=viewer.role,
            act=look.action,
            resource=_masked(look.resource),
            code=code,
            cause=f"{look.action} is not for the role {viewer.role or 'of nobody'}",
            source=source,
            number=count.number,
            unrecorded=before.unrecorded if before is not None else 0,
        )
        return _outgoing(tenant, person, said)

    def record(
        self, ask: Ask, tenant: str, viewer: Actor, look: Look, code: str, source: str, now: int
    ) -> None:
        """Record a denial; what goes wrong with that changes nothing for the one who was denied."""
        made = self.outgoing(tenant, viewer, look, code, source, now)
        if made is not None:
            with suppress(UsanceError):
                ask(made)


REFUSALS = Refusals()
"""The counts of this process."""


def denied(look: Look, roles: frozenset[str]) -> Refused:
    """Return the refusal of a look."""
    return Refused(
        "ROLE_NEEDED",
        f"{look.action} is for: {', '.join(sorted(roles))}.",
        hint="Ask somebody who acts in one of these roles.",
    )


def _masked(text: str) -> str:
    data = text.encode(errors="replace")
    return without_cards(data, found).decode() if (found := find(data)) else text


def _outgoing(tenant: str, person: str, said: RecordAccess | RecordDenial) -> Outgoing:
    command_id = RandomIds().fresh()
    key = key_of(tenant, ACCESS, person)
    return Outgoing(key, said, command_id, f"access:{command_id}", command_id, ENGINE)
