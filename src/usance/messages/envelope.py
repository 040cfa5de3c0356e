"""From messages to records and back: CloudEvents headers, `usance-meta`, framing, envelope hash.

Headers, in this order: `ce_specversion ce_id ce_type ce_source ce_subject ce_time usance-meta`
(hashed; see `usance.audit.chain` for the envelope), then `content-type` and `traceparent` (not
hashed). Values and `usance-meta` are in Confluent wire format V0: 0x00, u32 schema id, Avro.

Identifiers: a command's `ce_id` is its command id; an event's uuid5(command id, ordinal); an
outcome's uuid5(log id, "partition/offset/outcome") of its input position, with "/<answer>" behind it
for interim answers and discards (one input position can have those beside its deciding answer); a
footer's uuid5(log id,
"partition/unit number"). `ce_source` is `/usance/<log id>/<context>`, which keeps the last two
apart between contexts; of a command it is `/usance/<log id>`.

This is the hot path: what repeats (type headers, the meta of one command's outputs, the formatted
instant) is built once, and records are plain tuples.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha1, sha256
from typing import Any, NamedTuple

from usance.audit.chain import ABSENT, envelope, envelope_hash, prefixed
from usance.kernel.clock import Instant, iso
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.kernel.ids import namespace_of
from usance.messages import codec
from usance.messages.avro import encode, unwritable
from usance.messages.avro_codegen import (
    UNWRITABLE,
    Splices,
    Writer,
)
from usance.messages.catalogue import Catalogue
from usance.messages.decoder import Decoded, Decoder
from usance.messages.headers import (
    BIN,
    Headers,
    array_of,
    bin_of,
    packed_name,
    packed_pair,
    unpack_headers,
)
from usance.messages.meta import NO_HASH, InputOffset, InputPosition, Meta
from usance.messages.outcome import Outcome, UnitFooter
from usance.messages.registry import RegistryState, frame
from usance.messages.varints import VARINTS

__all__ = [
    "BODY_KEY_CLEAR",
    "Decoded",
    "Decoder",
    "Encoded",
    "Encoder",
    "InputOffset",
    "InputPosition",
    "Meta",
    "body_hash",
    "envelope",
    "envelope_hash",
]

Wire = tuple[bytes | None, bytes | None, Headers]
"""key, value, headers."""
Encoded = tuple[bytes | None, bytes | None, Headers, bytes]
"""key, value, headers, envelope hash."""
Sealed = tuple[bytes | None, bytes | None, bytes, bytes]
"""key, value, packed headers, envelope hash."""

BODY_KEY_CLEAR = b"usance/body-hash/v1/published-key-of-logs-with-clear-blocks"
"""Key of body hashes in logs that allow clear blocks: published, as nothing is secret there."""

SPEC_VERSION = ("ce_specversion", b"1.0")
CONTENT_TYPE = ("content-type", b"application/avro")
DEAD_LETTER_TYPE = b"usance.system.DeadLetter"

_SUFFIXED = frozenset(("dead-lettered", "parked", "discarded"))
_LENGTHS = [n.to_bytes(4, "big") for n in range(4096)]
_SPEC_AND_ID = prefixed(b"1.0") + _LENGTHS[36]
_TIME_LENGTH = _LENGTHS[24]
_HEADS_MAX = 4_096
_NULLS = b"\x00\x00"
"""A record's own meta carries neither instant nor reply."""
_PACKED_SPEC = packed_pair(*SPEC_VERSION) + packed_name("ce_id") + BIN[36]
_STARTS = [array_of(count) + _PACKED_SPEC for count in range(10)]
_PACKED_SUBJECT = packed_name("ce_subject")
_PACKED_META = packed_name("usance-meta")
_PACKED_END = packed_pair(*CONTENT_TYPE)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _uuid5(namespace: bytes, name: bytes) -> bytes:
    """Return `kernel.ids.uuid5_text` as bytes, with fewer steps: two or more per command."""
    h = sha1(namespace + name, usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}".encode()


_ORDINALS = [str(n).encode() for n in range(64)]


def _length(size: int) -> bytes:
    return _LENGTHS[size] if size < 4096 else size.to_bytes(4, "big")


def body_hash(key: bytes, command_id: str, fullname: str, record_key: str, body: bytes) -> bytes:
    """Return the body hash of a command (protocol rule 10).

    HMAC-SHA256 under the log's body key over command id, full name, record key (UTF-8) and the Avro
    body without framing, private blocks in clear; each part as u32 big-endian length and bytes.
    Instant, trace, correlation and everything else stay outside.
    """
    parts = (command_id.encode(), fullname.encode(), record_key.encode(), body)
    return hmac.digest(key, b"".join([prefixed(p) for p in parts]), "sha256")


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return iso(seconds * 1000)[:-4]


def instant_text(instant: Instant) -> bytes:
    """Return an instant as 24 bytes of RFC 3339 text, `2026-11-23T09:00:00.000Z`."""
    return f"{_second(instant // 1000)}{instant % 1000:03d}Z".encode()


_Piece = tuple[tuple[str, bytes], bytes, bytes]
"""A header: as a pair, as it is hashed, as it is packed."""


class _Type(NamedTuple):
    """What the encoder keeps ready per message type."""

    writer: Writer
    prefix: bytes
    header: tuple[str, bytes]
    hashed: bytes
    packed: bytes
    meta_tail: bytes
    fullname: str


class _Cause:
    """What all records caused by one command share: bytes of their meta, and the namespace of ids."""

    __slots__ = ("head", "input", "meta", "middle", "namespace")

    def __init__(self, meta: Meta, position: InputPosition | None, head: bytes) -> None:
        self.meta = meta
        self.input = position
        self.head = head
        self.namespace = b""
        if len(meta.body_hash) != 32:
            raise ValueError("a body hash has 32 bytes")
        correlation = meta.correlation.encode()
        causation = meta.causation.encode()
        command_id = meta.command_id.encode()
        parts = (
            VARINTS[len(correlation)],
            correlation,
            VARINTS[len(causation)],
            causation,
            VARINTS[len(command_id)],
            command_id,
            meta.body_hash,
        )
        if position is None:
            self.middle = b"".join((*parts, b"\x00"))
        else:
            where = (b"\x02", VARINTS[position.partition], VARINTS[position.offset])
            self.middle = b"".join(parts + where)


_Frame = tuple[bytes, bytes, bytes, bytes, bytes]
"""What stands around type, id and meta of records with one key, context and instant.

Start, packed and hashed headers, hashed key, end.
"""


class Encoder:
    """Makes records. One per thread: it remembers the last command and the last instant."""

    def __init__(
        self,
        *,
        log_id: str,
        catalogue: Catalogue,
        registry: RegistryState,
        body_key: bytes = BODY_KEY_CLEAR,
    ) -> None:
        self.log_id = log_id
        self.catalogue = catalogue
        self.registry = registry
        self.body_key = body_key
        self._log_namespace = namespace_of(log_id)
        native = codec.NATIVE
        self._seal = native.seal if native else None
        self._uuid5: Callable[[bytes, bytes], bytes] = native.uuid5 if native else _uuid5
        self._types: dict[type, _Type] = {}
        self._sources: dict[str, _Piece] = {}
        self._instant: Instant = -1
        self._time: _Piece = (("ce_time", b""), b"", b"")
        self._last: _Cause | None = None
        self._frame = frame(registry.id_of(catalogue.meta.schema))
        self._heads: dict[tuple[str, Actor], bytes] = {}
        self._outcome = self._type(Outcome)
        self.splices: Splices = {}
        """The bytes of public records just read, where the decoder of this thread keeps them."""

    # -- commands

    def command(
        self,
        message: Any,
        *,
        key: str,
        command_id: str,
        tenant: str,
        actor: Actor,
        correlation: str = "",
        causation: str = "",
        at: Instant | None = None,
        instant: Instant | None = None,
        reply: int | None = None,
        traceparent: bytes | None = None,
    ) -> Wire:
        """Return a command's record; `correlation` defaults to the command id.

        `at` (ms UTC) is written as `ce_time`; `instant` is the book clock's, in logs that have one.
        The body hash is made here: call this where the command is first accepted, and copy the
        record afterwards. Raises Unreadable (stage `serialize`), NotFound for an unknown class.
        """
        entry = self._types.get(type(message)) or self._type(type(message))
        raw_key = key.encode()
        value = encode(entry.writer, message, entry.fullname, entry.prefix)
        meta = Meta(
            tenant=tenant,
            actor=actor,
            correlation=correlation or command_id,
            causation=causation,
            command_id=command_id,
            body_hash=body_hash(self.body_key, command_id, entry.fullname, key, value[5:]),
            schema=entry.meta_tail[:8],
            instant=instant,
            reply=reply,
        )
        meta_bytes = encode(self.catalogue.meta.writer, meta, "usance.Meta", self._frame)
        headers: Headers = (
            SPEC_VERSION,
            ("ce_id", command_id.encode()),
            entry.header,
            ("ce_source", f"/usance/{self.log_id}".encode()),
            ("ce_subject", raw_key),
            *(() if at is None else (self._at(at)[0],)),
            ("usance-meta", meta_bytes),
            CONTENT_TYPE,
        )
        if traceparent is not None:
            headers = (*headers, ("traceparent", traceparent))
        return raw_key, value, headers

    # -- chained records

    def events(
        self,
        messages: Sequence[Any],
        meta: Meta,
        *,
        stream: str,
        revision: int,
        index: int,
        prev: bytes,
        instant: Instant,
        input: InputPosition,  # noqa: A002 - the protocol's word
        traceparent: bytes | None = None,
    ) -> tuple[list[Sealed], bytes]:
        """Return the records of all events of the command whose meta is given, and the chain after.

        `stream` is the aggregate key, `revision` and `index` those of the first event, `prev` the
        chain before it. Raises Unreadable (stage `serialize`), NotFound for an unknown class.
        """
        cause = self._caused(meta, input)
        namespace = cause.namespace = cause.namespace or namespace_of(meta.command_id)
        key = stream.encode()
        frame = self._frame_of(key, key, input.topic, instant, traceparent)
        out: list[Sealed] = []
        for ordinal, message in enumerate(messages):
            entry = self._types.get(type(message)) or self._type(type(message))
            name = _ORDINALS[ordinal] if ordinal < 64 else str(ordinal).encode()
            try:
                value = entry.writer(message, entry.prefix, self.splices)
            except UNWRITABLE as error:
                raise unwritable(error, entry.fullname) from error
            ce_id = self._uuid5(namespace, name)
            packed, digest = self._sealed(
                entry, cause, frame, ce_id, value, revision + ordinal, index + ordinal, prev
            )
            prev = sha256(prev + digest).digest()
            out.append((key, value, packed, digest))
        return out, prev

    def event(
        self,
        message: Any,
        meta: Meta,
        *,
        stream: str,
        ordinal: int,
        revision: int,
        index: int,
        prev: bytes,
        instant: Instant,
        input: InputPosition,  # noqa: A002 - the protocol's word
        traceparent: bytes | None = None,
    ) -> Encoded:
        """Return the record of event number `ordinal` alone; see `events`."""
        cause = self._caused(meta, input)
        key = stream.encode()
        entry = self._types.get(type(message)) or self._type(type(message))
        value = encode(entry.writer, message, entry.fullname, entry.prefix)
        ce_id = self._uuid5(namespace_of(meta.command_id), str(ordinal).encode())
        frame = self._frame_of(key, key, input.topic, instant, traceparent)
        sealed = self._sealed(entry, cause, frame, ce_id, value, revision, index, prev)
        return key, value, unpack_headers(sealed[0]), sealed[1]

    def answer(
        self,
        outcome: Outcome,
        meta: Meta,
        *,
        index: int,
        prev: bytes,
        instant: Instant,
        input: InputPosition,  # noqa: A002 - the protocol's word
        stream: str | None = None,
        traceparent: bytes | None = None,
    ) -> Sealed:
        """Return an outcome's record; its key is the command id, `stream` the aggregate key."""
        entry = self._outcome
        cause = self._caused(meta, input)
        name = f"{input.partition}/{input.offset}/outcome"
        if outcome.answer in _SUFFIXED:
            name = f"{name}/{outcome.answer}"
        ce_id = self._uuid5(self._log_namespace, name.encode())
        try:
            value = entry.writer(outcome, entry.prefix)
        except UNWRITABLE as error:
            raise unwritable(error, entry.fullname) from error
        key = outcome.command_id.encode()
        subject = None if stream is None else stream.encode()
        frame = self._frame_of(key, subject, input.topic, instant, traceparent)
        packed, digest = self._sealed(entry, cause, frame, ce_id, value, -1, index, prev)
        return key, value, packed, digest

    def outcome(self, outcome: Outcome, meta: Meta, **place: Any) -> Encoded:
        """Return an outcome's record with its headers as pairs; see `answer`."""
        key, value, packed, digest = self.answer(outcome, meta, **place)
        return key, value, unpack_headers(packed), digest

    def footer(
        self,
        footer: UnitFooter,
        *,
        context: str,
        index: int,
        prev: bytes,
        instant: Instant,
        log_id: str = "",
    ) -> Encoded:
        """Return the record of a unit footer: key and subject `footer/p`."""
        assert log_id in ("", self.log_id), "an encoder serves one log"
        entry = self._types.get(UnitFooter) or self._type(UnitFooter)
        name = f"{footer.partition}/{footer.unit}"
        ce_id = self._uuid5(self._log_namespace, name.encode())
        meta = Meta(
            tenant="",
            actor=Actor("engine", "", "system"),
            correlation="",
            causation="",
            command_id="",
            body_hash=NO_HASH,
        )
        value = encode(entry.writer, footer, entry.fullname, entry.prefix)
        key = f"footer/{footer.partition}".encode()
        frame = self._frame_of(key, key, f"usance.{context}.outcomes", instant, None)
        packed, digest = self._sealed(
            entry, self._cause(meta, None), frame, ce_id, value, -1, index, prev
        )
        return key, value, unpack_headers(packed), digest

    def dead_letter(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        meta: Meta,
        *,
        dead_letter_id: str,
        index: int,
        prev: bytes,
        instant: Instant,
        input: InputPosition,  # noqa: A002 - the protocol's word
    ) -> Encoded:
        """Return a dead letter: key and value as received, `headers` behind its own.

        `headers` are those of `outcome.dead_letter_headers` followed by the original's, unchanged.
        Its `ce_id` is the dead letter's id, its subject the original key where that is UTF-8 text.
        """
        cause = self._cause(meta, input)
        entry = _Type(
            self._outcome.writer,
            b"",
            ("ce_type", DEAD_LETTER_TYPE),
            prefixed(DEAD_LETTER_TYPE),
            packed_pair("ce_type", DEAD_LETTER_TYPE),
            bytes(8) + _NULLS,
            "",
        )
        frame = self._frame_of(key, _utf8(key), input.topic, instant, None)
        packed, digest = self._sealed(
            entry, cause, frame, dead_letter_id.encode(), value, -1, index, prev
        )
        own = tuple(h for h in unpack_headers(packed) if h[0] != "content-type")
        return key, value, (*own, *headers), digest

    def _frame_of(
        self,
        key: bytes | None,
        subject: bytes | None,
        topic: str,
        instant: Instant,
        traceparent: bytes | None,
    ) -> _Frame:
        source = self._sources.get(topic) or self._source(topic)
        time = self._time if instant == self._instant else self._at(instant)
        key_hashed = ABSENT if key is None else _length(len(key)) + key
        if subject is None:
            packed, subject_hashed, count = source[2] + time[2], ABSENT, 7
        else:
            size = len(subject)
            mark = BIN[size] if size < 4096 else bin_of(size)
            packed = b"".join((source[2], _PACKED_SUBJECT, mark, subject, time[2]))
            subject_hashed = key_hashed if subject is key else prefixed(subject)
            count = 8
        end = _PACKED_END
        if traceparent is not None:
            end += packed_pair("traceparent", traceparent)
            count += 1
        hashed = source[1] + subject_hashed + time[1]
        return _STARTS[count], packed, hashed, key_hashed, end

    def _sealed(
        self,
        entry: _Type,
        cause: _Cause,
        frame: _Frame,
        ce_id: bytes,
        value: bytes | None,
        revision: int,
        index: int,
        prev: bytes,
    ) -> tuple[bytes, bytes]:
        """Return packed headers and envelope hash of a record."""
        if self._seal is not None:
            sealed: tuple[bytes, bytes] | None = self._seal(
                entry.hashed, entry.packed, entry.meta_tail, cause.head, cause.middle, frame, ce_id,
                prev, value, revision, index,
            )  # fmt: skip
            if sealed is not None:
                return sealed
        assert len(prev) == 32, "prev is a chain value"
        assert len(ce_id) == 36, "a ce_id is a UUID"
        start, packed, hashed, key_hashed, end = frame
        meta = b"".join(
            (
                cause.head,
                VARINTS[revision],
                VARINTS[index],
                b"\x02",
                prev,
                cause.middle,
                entry.meta_tail,
            )
        )
        size = len(meta)
        length = _LENGTHS[size] if size < 4096 else size.to_bytes(4, "big")
        if value is None:
            value_hashed = ABSENT
        else:
            n = len(value)
            value_hashed = _LENGTHS[n] if n < 4096 else n.to_bytes(4, "big")
        whole = b"".join(
            (_SPEC_AND_ID, ce_id, entry.hashed, hashed, length, meta, key_hashed,
             value_hashed, value or b"")
        )  # fmt: skip
        mark = BIN[size] if size < 4096 else bin_of(size)
        headers = b"".join((start, ce_id, entry.packed, packed, _PACKED_META, mark, meta, end))
        return headers, sha256(whole).digest()

    # -- what is kept ready

    def _type(self, cls: type) -> _Type:
        found = self.catalogue.by_class.get(cls)
        if found is None:
            raise NotFound(
                f"{cls.__name__} is no message type",
                hint="list its class in MESSAGES of its module, and the module in the catalogue",
            )
        name = found.fullname.encode()
        entry = self._types[cls] = _Type(
            found.writer,
            frame(self.registry.id_of(found.schema)),
            ("ce_type", name),
            prefixed(name),
            packed_pair("ce_type", name),
            found.schema.fingerprint + _NULLS,
            found.fullname,
        )
        return entry

    def _caused(self, meta: Meta, position: InputPosition) -> _Cause:
        last = self._last
        if last is not None and last.meta is meta and last.input is position:
            return last
        return self._cause(meta, position)

    def _cause(self, meta: Meta, position: InputPosition | None) -> _Cause:
        try:
            head = self._heads.get((meta.tenant, meta.actor)) or self._head(meta)
            cause = self._last = _Cause(meta, position, head)
        except UNWRITABLE as error:
            raise unwritable(error, "usance.Meta") from error
        return cause

    def _head(self, meta: Meta) -> bytes:
        """Return framing, tenant and actor as they begin `usance-meta`; bounded: people are few."""
        if len(self._heads) >= _HEADS_MAX:
            self._heads.clear()
        actor = meta.actor
        texts = [t.encode() for t in (meta.tenant, actor.person, actor.login, actor.role)]
        head = self._frame + b"".join([VARINTS[len(t)] + t for t in texts])
        self._heads[meta.tenant, actor] = head
        return head

    def _source(self, topic: str) -> _Piece:
        parts = topic.split(".")
        text = f"/usance/{self.log_id}/{parts[-2] if len(parts) > 1 else topic}".encode()
        pair = ("ce_source", text)
        made = self._sources[topic] = (pair, prefixed(text), packed_pair(*pair))
        return made

    def _at(self, instant: Instant) -> _Piece:
        text = instant_text(instant)
        self._instant = instant
        pair = ("ce_time", text)
        self._time = (pair, _TIME_LENGTH + text, packed_pair(*pair))
        return self._time


def _utf8(key: bytes | None) -> bytes | None:
    """Return a key that is UTF-8 text, else None: CloudEvents attributes are text."""
    try:
        return key if key is None or key.decode() is not None else None
    except UnicodeDecodeError:
        return None
