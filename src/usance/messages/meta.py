"""What the `usance-meta` header says about a record (its Avro record `usance.Meta`)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from usance.kernel.decider import Actor
from usance.messages.outcome import Hash

Fingerprint = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
"""The first 8 bytes of SHA-256 over a schema's canonical form."""

NO_HASH = bytes(32)
"""Body hash of records that no command caused (unit footers)."""


class InputPosition(msgspec.Struct, frozen=True, gc=False):
    """The place of a command in the log: topic, partition, offset."""

    topic: str
    partition: int
    offset: int


class InputOffset(NamedTuple):
    """What a record stores of its input position; the topic is that of the record's own context."""

    partition: int
    offset: int


class Meta(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The header `usance-meta`. Commands have neither revision nor index (-1), prev nor input.

    `revision` is the place in the aggregate's stream, `index` the dense number in the partition,
    `prev` the chain before this record, `schema` the fingerprint of the value's schema. `instant`
    (ms UTC) is carried by commands under a book clock only, `reply` is the partition for a remote
    reply.
    """

    tenant: str
    actor: Actor
    revision: int = -1
    index: int = -1
    prev: Hash | None = None
    correlation: str
    causation: str
    command_id: str
    body_hash: Hash
    input: InputOffset | None = None
    schema: Fingerprint = bytes(8)
    instant: int | None = None
    reply: int | None = None

    @classmethod
    def bare(cls, command_id: str, *, actor: Actor, causation: str) -> Meta:
        """Return the meta of a command whose own cannot be read."""
        return cls(
            tenant="",
            actor=actor,
            correlation=command_id,
            causation=causation,
            command_id=command_id,
            body_hash=NO_HASH,
        )

    def decides(self, command_id: str, body_hash: bytes, causation: str) -> Meta:
        """Return this meta for the answer to another command, which this one settles."""
        return msgspec.structs.replace(
            self, command_id=command_id, body_hash=body_hash, causation=causation
        )
