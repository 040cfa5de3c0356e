"""Acts behind broken glass: each goes to the aggregate that notes it and sends it on."""

from __future__ import annotations

import msgspec

from usance.domain.glass import UseGlass
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.authority import GLASS
from usance.kernel.decider import key_of
from usance.kernel.ids import derived
from usance.kernel.words import Words


def behind_glass(outgoing: Outgoing) -> bool:
    """Tell whether a command is an act behind broken glass that was not handed over yet."""
    return outgoing.actor.role == GLASS and not isinstance(outgoing.command, UseGlass)


def handed_over(outgoing: Outgoing) -> Outgoing:
    """Return the command that has an act noted and sent on, under the id that it has now."""
    person = outgoing.actor.person
    said = UseGlass(
        person=person,
        act=type(outgoing.command).__name__,
        target=outgoing.key,
        command=outgoing.id,
        body=Words(subject=person, text=msgspec.json.encode(outgoing.command).decode()),
    )
    tenant = outgoing.key.split("/", 1)[0]
    return outgoing._replace(
        key=key_of(tenant, "glass", person), command=said, id=derived(outgoing.id, "glass")
    )
