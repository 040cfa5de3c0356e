"""The life of a transactional producer as one table, apart from the client that it describes (rule 12).

A producer whose commit or abort was in doubt is never used again: what the broker still has of it on
the way could end the next transaction. It is closed, and another with the same id takes its place,
which raises the id's epoch and so fences whatever comes late.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Where a producer stands."""

    IDLE = auto()
    OPEN = auto()
    COMMITTING = auto()
    UNCERTAIN = auto()
    RETIRED = auto()
    FENCED = auto()


class Event(Enum):
    """What can happen to it.

    `SLOW` is a commit or abort that ended well, but so late or with so much trouble that a copy of
    its request may still be on the way. `LOST` is a fatal error, `DOUBT` an unknown result, `TWIN`
    another process that uses the same id.
    """

    BEGIN = auto()
    COMMIT = auto()
    COMMITTED = auto()
    ABORTED = auto()
    SLOW = auto()
    DOUBT = auto()
    LOST = auto()
    TWIN = auto()
    CLOSED = auto()
    REBUILT = auto()


TABLE: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.BEGIN): State.OPEN,
    (State.IDLE, Event.LOST): State.RETIRED,
    (State.IDLE, Event.TWIN): State.FENCED,
    (State.OPEN, Event.COMMIT): State.COMMITTING,
    (State.OPEN, Event.ABORTED): State.IDLE,
    (State.OPEN, Event.SLOW): State.RETIRED,
    (
        State.OPEN,
        Event.DOUBT,
    ): State.RETIRED,  # nothing was to be committed: only the id is in doubt
    (State.OPEN, Event.LOST): State.RETIRED,
    (State.OPEN, Event.TWIN): State.FENCED,
    (State.COMMITTING, Event.COMMITTED): State.IDLE,
    (State.COMMITTING, Event.ABORTED): State.IDLE,
    (State.COMMITTING, Event.SLOW): State.RETIRED,
    (State.COMMITTING, Event.DOUBT): State.UNCERTAIN,
    (State.COMMITTING, Event.LOST): State.UNCERTAIN,
    (State.COMMITTING, Event.TWIN): State.UNCERTAIN,  # fenced it may be, and committed all the same
    (State.UNCERTAIN, Event.CLOSED): State.RETIRED,
    (State.RETIRED, Event.REBUILT): State.IDLE,
    (State.RETIRED, Event.TWIN): State.FENCED,
}
"""Every move there is; any other is a mistake of ours. FENCED is the end."""


def after(state: State, event: Event) -> State:
    """Return the state that an event leads to."""
    assert (state, event) in TABLE, f"a producer that is {state.name} cannot meet {event.name}"
    return TABLE[state, event]
