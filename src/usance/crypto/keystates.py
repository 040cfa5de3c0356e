"""The life of a key by NIST SP 800-57 part 1 (rev. 5, section 7): states, uses, transitions, and how long.

Pure: events, approvals and clocks are the engine's. Protecting (wrapping, sealing) is for active keys alone;
processing (unwrapping, opening) goes on while the key exists, flagged where it is under suspicion.
Whoever takes power from a key needs nobody else, because haste protects then; whoever gives it power or
destroys it needs two others (PCI DSS 4.0.1 3.7.6: dual control).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from usance.crypto.keyservice import KeyState
from usance.kernel.clock import MS_PER_DAY, Instant
from usance.kernel.errors import Refused

ARTICLE = "SP800-57-7.2"
APPROVALS = 2
"""Persons besides the one who asks, each another one."""


class Kind(Enum):
    """Whose life it is: key-encryption key, data key, tenant's index key, or tenant's token key."""

    KEK = "kek"
    DATA = "data"
    INDEX = "index"
    TOKEN = "token"  # noqa: S105


class Period(NamedTuple):
    """How long a key protects: days from activation, and uses (0: not counted)."""

    days: int
    uses: int

    def over(self, activated: Instant, now: Instant, uses: int = 0) -> bool:
        """Tell whether a key that was activated then must protect nothing more."""
        return now - activated >= self.days * MS_PER_DAY or 0 < self.uses <= uses


PERIODS: Final = {
    Kind.KEK: Period(365, 0),
    Kind.DATA: Period(90, 1 << 24),
    Kind.INDEX: Period(365, 0),
    Kind.TOKEN: Period(365, 1 << 24),
}
"""Originator-usage periods; processing lasts as long as what was protected is kept."""

_S = KeyState
TRANSITIONS: Final[dict[KeyState, frozenset[KeyState]]] = {
    _S.PRE_ACTIVATION: frozenset({_S.ACTIVE, _S.COMPROMISED, _S.DESTROYED}),
    _S.ACTIVE: frozenset({_S.SUSPENDED, _S.DEACTIVATED, _S.COMPROMISED, _S.DESTROYED}),
    _S.SUSPENDED: frozenset({_S.ACTIVE, _S.DEACTIVATED, _S.COMPROMISED, _S.DESTROYED}),
    _S.DEACTIVATED: frozenset({_S.COMPROMISED, _S.DESTROYED}),
    _S.COMPROMISED: frozenset({_S.DESTROYED_COMPROMISED}),
    _S.DESTROYED: frozenset({_S.DESTROYED_COMPROMISED}),
    _S.DESTROYED_COMPROMISED: frozenset(),
}
"""What a state may become. A destroyed key can still be found to have been compromised before."""

PROTECT: Final = frozenset({_S.ACTIVE})
PROCESS: Final = frozenset({_S.ACTIVE, _S.SUSPENDED, _S.DEACTIVATED, _S.COMPROMISED})
FLAGGED: Final = frozenset({_S.SUSPENDED, _S.COMPROMISED})
"""What such a key opened may have been written by somebody else: it is shown as doubtful."""
GONE: Final = frozenset({_S.DESTROYED, _S.DESTROYED_COMPROMISED})
_TAKES_POWER: Final = frozenset({_S.SUSPENDED, _S.COMPROMISED, _S.DESTROYED_COMPROMISED})


def demand_transition(now: KeyState, to: KeyState) -> None:
    """Raise Refused unless a key may go from one state to the other; staying is no transition."""
    if to in TRANSITIONS[now]:
        return
    allowed = ", ".join(sorted(TRANSITIONS[now]))
    raise Refused(
        "KEY_TRANSITION",
        f"a key that is {now} does not become {to}",
        article=ARTICLE,
        hint=f"It may become {allowed}." if allowed else "Nothing follows.",
    )


def demand_protect(state: KeyState, what: str) -> None:
    """Raise Refused unless a key in this state may protect something new."""
    if state not in PROTECT:
        raise Refused(
            "KEY_NOT_ACTIVE",
            f"{what} is {state}: nothing new is protected by it",
            article=ARTICLE,
            hint="Rotate: a new version becomes active.",
        )


def approvals_needed(now: KeyState, to: KeyState) -> int:
    """Return how many others must approve a transition that a person asks for.

    A key destroyed after it was compromised is destroyed like any other: by two more.
    """
    if now is not _S.COMPROMISED and to in _TAKES_POWER:
        return 0
    return APPROVALS


def destroyed(state: KeyState) -> KeyState:
    """Return what a key becomes when it is destroyed; raises Refused where it was already."""
    to = _S.DESTROYED_COMPROMISED if state is _S.COMPROMISED else _S.DESTROYED
    demand_transition(state, to)
    return to
