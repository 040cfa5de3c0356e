"""Data keys in the log: an event where a partition seals with a key for the first time, and who counts uses.

Each partition that seals with a data key says so once, in a stream of its own
(`tenant/key/<key id>@<context>.<partition>`), in the unit of the first use: what the key is, and a check value
by which the right key is known. The stream lies in the partition that uses the key, whatever its own name
hashes to.
"""

from __future__ import annotations

import msgspec

from usance.crypto.keystore import KeyRecord
from usance.engine.topics import Place
from usance.kernel.decider import Context, Decision, Refusal, key_of

CATEGORY = "key"
TAKEOVER_USES = 1 << 16
"""Added to every count at a take-over: what the unit that was lost may have sealed."""
USES_MARGIN = 10_000
"""Kept free below the bound: a unit under way may seal as much before anybody counts it."""


class KeyCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A data key seals here for the first time. `subject` is a pseudonym, `check` and `key` are hex."""

    key: str
    tenant: str
    subject: str
    retention: str
    version: int
    kek: int
    check: str
    created: int


CONTEXT = "system"
MESSAGES: tuple[tuple[type, str], ...] = ((KeyCreated, "event"),)


class KeyState(msgspec.Struct):
    """What a partition knows of a data key: nothing but that it was used."""

    key: str = ""


class KeyDecider:
    """Folds the streams of data keys; nobody sends them commands."""

    category = CATEGORY
    fold_id = "key-1"

    def initial(self, key: str) -> KeyState:  # noqa: ARG002
        """Return the state before any event."""
        return KeyState()

    def decide(self, state: KeyState, command: object, context: Context) -> Decision | Refusal:  # noqa: ARG002
        """Refuse: keys are made where they are used."""
        return Refusal("UNKNOWN_COMMAND", "Data keys take no commands.", hint="See `usance key`.")

    def evolve(self, state: KeyState, event: object) -> KeyState:
        """Return the state after one event."""
        return KeyState(key=event.key) if isinstance(event, KeyCreated) else state


def created(record: KeyRecord, place: Place) -> tuple[str, KeyCreated]:
    """Return the stream of a data key in a partition, and its first event."""
    event = KeyCreated(
        key=record.key_id.hex(),
        tenant=record.tenant,
        subject=record.subject,
        retention=record.retention,
        version=record.version,
        kek=record.kek,
        check=record.check.hex(),
        created=record.created,
    )
    name = f"{event.key}@{place.context}.{place.partition}"
    return key_of(record.tenant, CATEGORY, name), event
