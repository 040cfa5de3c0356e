"""The directory: who a person id is. Names live here, never in the log."""

from __future__ import annotations

from pathlib import Path

import msgspec

from usance.kernel.authority import GLASS
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Unreadable


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person of the bank: `roles` they may act in, the first by default."""

    id: str
    name: str
    roles: list[str]
    title: str = ""
    login: str = ""


class Directory:
    """People by id. Without authentication everybody may act as anybody in it."""

    def __init__(self, people: list[Person]) -> None:
        self.people = {p.id: p for p in people}

    def actor(self, person: str, role: str = "") -> Actor:
        """Return the actor of a person; raises NotFound for an unknown person or a foreign role."""
        found = self.people.get(person)
        if found is None:
            known = ", ".join(sorted(self.people))
            raise NotFound(f"nobody is called {person}", hint=f"Known people: {known}.")
        if role and role not in (*found.roles, GLASS):
            raise NotFound(
                f"{person} does not act as {role}", hint=f"Roles: {', '.join(found.roles)}."
            )
        return Actor(found.id, found.login or found.id, role or found.roles[0])

    def roles(self) -> dict[str, list[str]]:
        """Return the roles of each person by id."""
        return {p.id: p.roles for p in self.people.values()}

    def name(self, person: str) -> str:
        """Return the name of a person, or the id where nobody is known by it."""
        found = self.people.get(person)
        return found.name if found else person


def read_directory(file: Path) -> Directory:
    """Read a directory from JSON; raises Unreadable with what is wrong."""
    try:
        return Directory(msgspec.json.decode(file.read_bytes(), type=list[Person]))
    except (OSError, msgspec.DecodeError) as error:
        raise Unreadable(
            "validate",
            f"the directory of people cannot be read: {error}",
            hint=f"Correct {file.name} in the data folder.",
        ) from error
