"""The one write-side idea: a decider folds events into state and decides commands against it.

`decide` is pure and total: same state, command and context give the same answer, and every command
gets one. `evolve` is pure: it returns a new state and never changes the one it was given.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec


class PrivateBlock:
    """Mark of a struct that is stored as one private block of its message.

    A private block holds the classified fields of one data subject. It needs a `subject: str` field
    (whose data it is: an opaque party id). The codec keeps it out of the top level of the record.
    """

    __slots__ = ()


class Erased(NamedTuple):
    """Stands in the field of a private block whose key was destroyed: for good, and lawfully.

    `at` is ms UTC, `certificate` the erasure's.
    """

    name: str
    subject: str
    key_id: bytes
    at: int
    certificate: str


class Denied(NamedTuple):
    """Stands in the field of a private block that whoever reads may not open."""

    name: str
    subject: str


WITHHELD = (Erased, Denied)
"""What may stand in the field of a private block, instead of the block."""


class Actor(NamedTuple):
    """Who acts: an opaque person id (four-eyes compares this), a login, and the role used."""

    person: str
    login: str
    role: str


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a decider may know beside state and command. `instant` is ms UTC and never goes back.

    `digest_key` is the tenant's own in a log that seals: a digest of names that anybody can make confirms a guess.
    """

    key: str
    revision: int
    instant: int
    tenant: str
    actor: Actor
    command_id: str
    correlation: str
    causation: str
    digest_key: bytes = b""


class Send(NamedTuple):
    """A command to another aggregate, written in the same unit.

    `key` is the target's aggregate key; `id` is the command id, given by sagas; when empty it is
    derived from the deciding command and the ordinal.
    """

    key: str
    command: Any
    id: str = ""


class Refusal(NamedTuple):
    """A business no: a stable code, the words for the person, the rule's source, the next move."""

    code: str
    message: str
    article: str = ""
    hint: str = ""


class Decision(NamedTuple):
    """A yes: events to record, and commands to others. No events at all means "already so"."""

    events: tuple[Any, ...] = ()
    sends: tuple[Send, ...] = ()


NOTHING = Decision()
"""The answer to a command whose effect already stands."""

S = TypeVar("S")


class Decider(Protocol[S]):
    """An aggregate or a saga. `category` is the middle part of its keys; `fold_id` versions `evolve`."""

    category: str
    fold_id: str

    def initial(self, key: str) -> S:
        """Return the state before any event."""
        ...

    def decide(self, state: S, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command; never raises."""
        ...

    def evolve(self, state: S, event: Any) -> S:
        """Return the state after one event."""
        ...


def key_of(tenant: str, category: str, identity: str) -> str:
    """Return an aggregate key: `tenant/category/identity`."""
    return f"{tenant}/{category}/{identity}"


class KeyParts(NamedTuple):
    """The three parts of an aggregate key."""

    tenant: str
    category: str
    identity: str


def key_parts(key: str) -> KeyParts:
    """Split an aggregate key; raises ValueError when it has not three parts."""
    tenant, category, identity = key.split("/", 2)
    return KeyParts(tenant, category, identity)


# Timers: the owner keeps the pending set from these events and sends TimerDue through the
# partition's own commands, so that a timer fires once, in order, and replays.


class Deadline(NamedTuple):
    """A due instant and the calendar that made it, so that replay never asks a newer calendar."""

    due: int
    calendar: str
    calendar_version: str
