"""Who may do what, by the role in which a person acts: the first such table, small on purpose.

Four eyes compare persons; authority looks at the role. Amounts, products and countries come later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from usance.kernel.decider import Refusal

OPERATORS = frozenset(("engineer", "checker", "senior_checker", "officer"))
"""Roles that may move what is stuck."""

AUTHORITY: Mapping[str, frozenset[str]] = {
    "Discard": OPERATORS,
    "RetryStep": OPERATORS,
    "SkipStep": OPERATORS,
    "MarkDoneOutside": OPERATORS,
    "CompensateSaga": OPERATORS,
    "ApproveAct": OPERATORS,
    "RejectAct": OPERATORS,
}
"""Roles by the name of the command; a command that is not named needs none."""


class Acting(Protocol):
    """Anybody who acts in a role."""

    @property
    def role(self) -> str:
        """The role used."""
        ...


def role_missing(actor: Acting, act: str) -> Refusal | None:
    """Return why an actor may not do this in their role; it names the roles that may."""
    roles = AUTHORITY.get(act)
    if roles is None or actor.role in roles:
        return None
    needed = ", ".join(sorted(roles))
    return Refusal(
        "ROLE_NEEDED",
        f"{act} is for: {needed}.",
        hint="Ask somebody who acts in one of these roles.",
    )
