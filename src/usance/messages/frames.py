"""What surrounds a value: `usance-meta`, packed headers, envelope hash and chain of one record after another.

The reference of `native/sealing.c`, byte for byte; `usance.messages.envelope` says what the parts mean.
Values come ready made, so that whoever makes them may seal what is private in them first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha1, sha256
from typing import Any, NamedTuple

from usance.audit.chain import ABSENT, prefixed
from usance.kernel.clock import Instant, iso
from usance.messages.avro_codegen import Writer
from usance.messages.headers import BIN, array_of, bin_of, packed_name, packed_pair
from usance.messages.sealed import Kinds
from usance.messages.varints import VARINTS

SPEC_VERSION = ("ce_specversion", b"1.0")
CONTENT_TYPE = ("content-type", b"application/avro")

LENGTHS = [n.to_bytes(4, "big") for n in range(4096)]
PACKED_SUBJECT = packed_name("ce_subject")
PACKED_END = packed_pair(*CONTENT_TYPE)
_PACKED_META = packed_name("usance-meta")
_PACKED_SPEC = packed_pair(*SPEC_VERSION) + packed_name("ce_id") + BIN[36]
STARTS = [array_of(count) + _PACKED_SPEC for count in range(10)]
"""The beginning of packed headers by how many there are, up to the record's id."""
_SPEC_AND_ID = prefixed(b"1.0") + LENGTHS[36]
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_ORDINALS = [str(n).encode() for n in range(64)]


class Type(NamedTuple):
    """What is kept ready per message type: its `ce_type` hashed and packed, the end of its meta, and more."""

    hashed: bytes
    packed: bytes
    meta_tail: bytes
    writer: Writer
    prefix: bytes
    header: tuple[str, bytes]
    fullname: str
    kinds: Kinds | None = None
    """What its private blocks are sealed by; None where they stand in clear, or there are none."""


Frame = tuple[bytes, bytes, bytes, bytes, bytes]
"""What stands around type, id and meta of records with one key, context and instant.

Start, packed and hashed headers, hashed key, end.
"""

Destination = tuple[Callable[..., Any], str, int]
"""What makes an output of topic, partition, key, value and packed headers; the topic; the partition."""

Chained = tuple[list[Any], list[Any], bytes]
"""Outputs, receipts (one per output, or none at all), and the chain after them."""


Decided = tuple[list[Any], list[Any], bytes, Any, list[Any], bytes]
"""What an accepted command causes: outputs of its events, receipts, the chain after them; its outcome, that one's
outputs, and the chain after those."""


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return iso(seconds * 1000)[:-4]


def instant_text(instant: Instant) -> bytes:
    """Return an instant as 24 bytes of RFC 3339 text, `2026-11-23T09:00:00.000Z`."""
    return f"{_second(instant // 1000)}{instant % 1000:03d}Z".encode()


def utf8(key: bytes | None) -> bytes | None:
    """Return a key that is UTF-8 text, else None: CloudEvents attributes are text."""
    try:
        return key if key is None or key.decode() is not None else None
    except UnicodeDecodeError:
        return None


def length(size: int) -> bytes:
    """Return a length as four bytes."""
    return LENGTHS[size] if size < 4096 else size.to_bytes(4, "big")


def uuid5(namespace: bytes, name: bytes) -> bytes:
    """Return `kernel.ids.uuid5_text` as bytes, with fewer steps: two or more per command."""
    h = sha1(namespace + name, usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}".encode()


def cause(
    correlation: str,
    causation: str,
    command_id: str,
    body_hash: bytes,
    partition: int | None,
    offset: int,
) -> bytes:
    """Return what stands in `usance-meta` of all records of one command, between `prev` and schema.

    `partition` and `offset` are the command's; a partition of None stands for no command.
    """
    if len(body_hash) != 32:
        raise ValueError("a body hash has 32 bytes")
    texts = [t.encode() for t in (correlation, causation, command_id)]
    parts = [part for t in texts for part in (VARINTS[len(t)], t)]
    where = b"\x00" if partition is None else b"\x02" + VARINTS[partition] + VARINTS[offset]
    return b"".join((*parts, body_hash, where))


def frame(
    source_packed: bytes,
    source_hashed: bytes,
    time_packed: bytes,
    time_hashed: bytes,
    key: bytes | None,
    subject: bytes | None,
    start: bytes,
    end: bytes,
) -> Frame:
    """Return the frame of records with one key, subject, source and time, given those as headers."""
    if subject is None:
        packed = source_packed + time_packed
    else:
        size = len(subject)
        mark = BIN[size] if size < 4096 else bin_of(size)
        packed = b"".join((source_packed, PACKED_SUBJECT, mark, subject, time_packed))
    hashed = b"".join((source_hashed, prefixed(subject), time_hashed))
    return start, packed, hashed, prefixed(key), end


def seal(
    hashed: bytes,
    packed: bytes,
    tail: bytes,
    head: bytes,
    middle: bytes,
    frame: Frame,
    ce_id: bytes,
    prev: bytes,
    value: bytes | None,
    revision: int,
    index: int,
) -> tuple[bytes, bytes]:
    """Return packed headers and envelope hash of a record.

    The first three are those of its type, `head` and `middle` its cause's.
    """
    assert len(prev) == 32, "prev is a chain value"
    assert len(ce_id) == 36, "a ce_id is a UUID"
    start, packed_rest, hashed_rest, key_hashed, end = frame
    meta = b"".join((head, VARINTS[revision], VARINTS[index], b"\x02", prev, middle, tail))
    size = len(meta)
    value_hashed = ABSENT if value is None else length(len(value))
    whole = b"".join(
        (_SPEC_AND_ID, ce_id, hashed, hashed_rest, length(size), meta, key_hashed,
         value_hashed, value or b"")
    )  # fmt: skip
    mark = BIN[size] if size < 4096 else bin_of(size)
    headers = b"".join((start, ce_id, packed, packed_rest, _PACKED_META, mark, meta, end))
    return headers, sha256(whole).digest()


def chain(
    types: Sequence[Type],
    values: Sequence[bytes | None],
    ids: bytes,
    head: bytes,
    middle: bytes,
    frame: Frame,
    key: bytes | None,
    revision: int,
    index: int,
    prev: bytes,
    to: Destination,
    receipt: Callable[..., Any] | None,
) -> Chained:
    """Return the records of values in their order, and the chain after them.

    `ids` is the one record's `ce_id`, or the namespace of 16 bytes under which theirs are derived from
    their ordinals. `revision` and `index` are the first record's, `prev` the chain before it. `receipt`
    makes what acknowledges each record (partition, index, envelope hash); None: nothing does.
    """
    make, topic, partition = to
    outputs, receipts = [], []
    for n, ((hashed, packed, tail, *_), value) in enumerate(zip(types, values, strict=True)):
        ordinal = _ORDINALS[n] if n < 64 else str(n).encode()
        ce_id = ids if len(ids) == 36 else uuid5(ids, ordinal)
        headers, digest = seal(
            hashed, packed, tail, head, middle, frame, ce_id, prev, value, revision + n, index + n
        )
        outputs.append(make(topic, partition, key, value, headers))
        if receipt is not None:
            receipts.append(receipt(partition=partition, index=index + n, envelope_hash=digest))
        prev = sha256(prev + digest).digest()
    return outputs, receipts, prev
