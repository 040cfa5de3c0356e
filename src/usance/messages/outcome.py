"""Answers to commands, unit footers, unreadable input, and the headers of dead letters.

Protocol rules 10 (outcomes) and 16 (footers); dead-letter headers carry what a person needs to
decide about a redrive, and never a field value.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, NamedTuple, Protocol

import msgspec

from usance.kernel.errors import Unreadable

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A SHA-256 or HMAC-SHA256 value."""

Answer = Literal[
    "accepted", "refused", "discarded", "duplicate", "conflict", "dead-lettered", "parked"
]
ACCEPTED: Answer = "accepted"
REFUSED: Answer = "refused"
DISCARDED: Answer = "discarded"
DUPLICATE: Answer = "duplicate"
CONFLICT: Answer = "conflict"
DEAD_LETTERED: Answer = "dead-lettered"
PARKED: Answer = "parked"
DECIDING: frozenset[Answer] = frozenset((ACCEPTED, REFUSED, DISCARDED))
"""Answers that decide a command id for good; exactly one of them per id."""
INTERIM: frozenset[Answer] = frozenset((DEAD_LETTERED, PARKED))
"""Answers that leave the id open."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an event stands and what it is: partition of the events topic, index, envelope hash."""

    partition: int
    index: int
    envelope_hash: Hash


class OutcomePointer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The earlier answer, and its index in this partition of outcomes (-1: expired)."""

    index: int
    answer: Answer


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one command; the command's position stands in the record's `usance-meta`.

    `of` is the first answer, to which a duplicate or conflict points. `log_time` is the log's time
    of the command (ms UTC). A refusal says `code`, `article`, `message` and `hint` as
    `kernel.decider.Refusal` does. `revision` is the aggregate's after an accepted command (else -1).
    """

    command_id: str
    body_hash: Hash
    answer: Answer
    code: str = ""
    article: str = ""
    message: str = ""
    hint: str = ""
    receipts: list[Receipt] = []
    of: OutcomePointer | None = None
    log_time: int
    revision: int = -1


class UnitFooter(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit did in one partition, written behind its records (protocol rule 16).

    `range_start` to `range_end` (exclusive) are the offsets of commands-p that the unit settles,
    `previous_end` is the `range_end` of the unit before. Counts are this unit's records per
    co-partitioned topic (`elsewhere`: sent to other partitions, for information). For each chained
    topic, `*_index` is the number of its records so far and `*_tail` the chain behind the last,
    both *before* this footer.
    """

    unit: int
    partition: int
    range_start: int
    range_end: int
    previous_end: int
    events: int
    outcomes: int
    parked: int
    dead_letters: int
    elsewhere: int
    events_index: int
    events_tail: Hash
    outcomes_index: int
    outcomes_tail: Hash
    dead_letters_index: int
    dead_letters_tail: Hash
    last_instant: int


class UnreadableInput(msgspec.Struct, frozen=True, kw_only=True):
    """Command that stands for input that no gateway could decode; the owner dead-letters it.

    `received` are the bytes exactly as they came, `stage` where decoding ended, `reason` why,
    without any value of the input.
    """

    received: bytes
    stage: str
    reason: str
    source: str = ""


DLQ = "usance-dlq-"
"""Prefix of dead-letter headers; it cannot meet a header of the original."""

_END = DLQ + "end"
"""Last of our headers: what follows the first one is the original's own, byte for byte."""

Headers = tuple[tuple[str, bytes], ...]


class Place(Protocol):
    """A record's place: topic, partition, offset."""

    @property
    def topic(self) -> str:
        """Topic name."""
        ...

    @property
    def partition(self) -> int:
        """Partition number."""
        ...

    @property
    def offset(self) -> int:
        """Offset in the partition."""
        ...


class DeadLetterNote(msgspec.Struct, frozen=True, kw_only=True):
    """Why and where a record died; each field is one header `usance-dlq-<field>`, as text.

    `stage` is fetch, decrypt, decode, validate, dedupe, decide, serialize, commit or external;
    `failure` (header `class`) is poison, transient-exhausted, business-rejected, parked-behind,
    process-killer or limit. Instants are ms UTC. `reason` (header `error-message`) never holds a
    value of the record. Optional fields that have nothing to say are left out.
    """

    id: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    stage: str
    failure: str
    reason: str
    key_hash: str
    payload_sha256: str
    group: str = ""
    handler: str = ""
    handler_version: str = ""
    app: str = ""
    host: str = ""
    leader_epoch: int = -1
    error_type: str = ""
    attempts: int = 1
    first_failed_at: int = 0
    last_failed_at: int = 0
    parked_seq: int = -1
    schema_id: int = -1
    schema_subject: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    redrive_count: int = 0


_HEADER_OF = {
    f: DLQ + {"failure": "class", "reason": "error-message"}.get(f, f.replace("_", "-"))
    for f in DeadLetterNote.__struct_fields__
}


class DeadLetter(NamedTuple):
    """A dead letter read back: its note, and the original headers byte for byte."""

    note: DeadLetterNote
    original_headers: Headers


def dead_letter_headers(
    *,
    dead_letter_id: str,
    position: Place,
    timestamp: int,
    stage: str,
    failure: str,
    reason: str,
    key: bytes | None,
    value: bytes | None,
    **more: str | int,
) -> Headers:
    """Return the `usance-dlq-*` headers of a dead letter; `more` are optional fields of the note.

    They stand before the original's headers, which follow unchanged; key and value of the dead
    letter are the original's own.
    """
    note = DeadLetterNote(
        id=dead_letter_id,
        topic=position.topic,
        partition=position.partition,
        offset=position.offset,
        timestamp=timestamp,
        stage=stage,
        failure=failure,
        reason=reason,
        key_hash=hashlib.sha256(key or b"").hexdigest()[:16],
        payload_sha256=hashlib.sha256(value or b"").hexdigest(),
        **more,  # type: ignore[arg-type]
    )
    said = [
        (_HEADER_OF[f.name], str(getattr(note, f.name)).encode())
        for f in msgspec.structs.fields(DeadLetterNote)
        if f.default is msgspec.NODEFAULT or getattr(note, f.name) != f.default
    ]
    return ((DLQ + "v", b"1"), *said, (_END, b""))


def read_dead_letter(headers: Headers) -> DeadLetter:
    """Return note and original headers of a dead letter; raises Unreadable when not whole."""
    names = [name for name, _ in headers]
    try:
        end = names.index(_END)
        found = dict(headers[:end])
        texts = {f: found[h].decode() for f, h in _HEADER_OF.items() if h in found}
        note = msgspec.convert(texts, DeadLetterNote, strict=False)
    except ValueError as error:
        reason = "dead-letter headers are not whole"
        raise Unreadable("decode", reason, hint="it was not written by usance") from error
    return DeadLetter(note, tuple(headers[end + 1 :]))
