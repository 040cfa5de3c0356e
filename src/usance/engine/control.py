"""Control commands: what the engine says to itself through the log. They never queue behind a park."""

from __future__ import annotations

import msgspec

from usance.kernel.timers import FireTimer
from usance.kernel.words import Words

CONTEXT = "system"


class IntakePassed(msgspec.Struct, frozen=True, kw_only=True):
    """An intake worker has forwarded everything that arrived up to `instant` (rule 22)."""

    intake_partition: int
    instant: int


class Redrive(msgspec.Struct, frozen=True, kw_only=True):
    """Try a dead letter again under its original command id, then drain its key's park in order."""

    dead_letter_id: str
    dead_letter_index: int
    reason: Words


class Discard(msgspec.Struct, frozen=True, kw_only=True):
    """Give a dead letter up for good: its command id gets the deciding outcome `discarded`."""

    dead_letter_id: str
    dead_letter_index: int
    reason: Words


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Try what parks a key again now, by letter or by waiting for its instant; then drain in order."""

    key: str
    reason: Words


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """Continue draining a parked key from `sequence`; written by the unit that drained what came before."""

    key: str
    sequence: int


class RegisterSchema(msgspec.Struct, frozen=True, kw_only=True):
    """Write a schema into the registry's stream, which the owner of system partition 0 alone may do.

    `version` 0 is the subject's next one, `id` 0 the next free one; a program that ships a version names it,
    and the id where another registry gave that.
    """

    subject: str
    text: str
    level: str = "FULL_TRANSITIVE"
    version: int = 0
    id: int = 0


class SealBarrier(msgspec.Struct, frozen=True, kw_only=True):
    """Seal nothing more for these subjects (pseudonyms): an erasure goes on once every partition has this."""

    subjects: list[str]


CONTROL = (FireTimer, IntakePassed, Redrive, Discard, Release, Drain, RegisterSchema, SealBarrier)
"""Commands that pass a park."""

MESSAGES: tuple[tuple[type, str], ...] = (
    (IntakePassed, "command"),
    (Redrive, "command"),
    (Discard, "command"),
    (Release, "command"),
    (Drain, "command"),
    (RegisterSchema, "command"),
    (SealBarrier, "command"),
)
