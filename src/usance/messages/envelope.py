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
from typing import Any

from usance.audit.chain import envelope, envelope_hash, prefixed
from usance.crypto.sealing import NO_REVISION
from usance.kernel.clock import Instant
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.kernel.ids import namespace_of
from usance.messages import codec, frames
from usance.messages.avro import encode, unwritable
from usance.messages.avro_codegen import UNWRITABLE, Splices
from usance.messages.catalogue import Catalogue
from usance.messages.decoder import Decoded, Decoder
from usance.messages.frames import (
    CONTENT_TYPE,
    LENGTHS,
    PACKED_END,
    SPEC_VERSION,
    STARTS,
    Chained,
    Decided,
    Destination,
    Frame,
    Type,
    instant_text,
    utf8,
)
from usance.messages.headers import Headers, packed_pair, unpack_headers
from usance.messages.meta import NO_HASH, InputOffset, InputPosition, Meta
from usance.messages.outcome import Outcome, Receipt, UnitFooter
from usance.messages.registry import RegistryState, frame
from usance.messages.sealed import Kinds, Sealer
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
BODY_KEY_CLEAR = b"usance/body-hash/v1/published-key-of-logs-with-clear-blocks"
"""Key of body hashes in logs that allow clear blocks: published, as nothing is secret there."""

DEAD_LETTER_TYPE = b"usance.system.DeadLetter"

_SUFFIXED = frozenset(("dead-lettered", "parked", "discarded"))
_TIME_LENGTH = LENGTHS[24]
_HEADS_MAX = 4_096
_STARTS, _STARTS_TRACED = (STARTS[8], STARTS[7]), (STARTS[9], STARTS[8])
_NULLS = b"\x00\x00"
"""A record's own meta carries neither instant nor reply."""


def body_hash(key: bytes, command_id: str, fullname: str, record_key: str, body: bytes) -> bytes:
    """Return the body hash of a command (protocol rule 10).

    HMAC-SHA256 under the log's body key over command id, full name, record key (UTF-8) and the Avro
    body without framing, private blocks in clear; each part as u32 big-endian length and bytes.
    Instant, trace, correlation and everything else stay outside.
    """
    parts = (command_id.encode(), fullname.encode(), record_key.encode(), body)
    return hmac.digest(key, b"".join([prefixed(p) for p in parts]), "sha256")


_Piece = tuple[tuple[str, bytes], bytes, bytes]
"""A header: as a pair, as it is hashed, as it is packed."""


_Cause = tuple[Meta, InputPosition | None, bytes, bytes]
"""What all records caused by one command share: its meta and place, and the head and middle of theirs."""


class Encoder:
    """Makes records. One per thread: it remembers the last command and the last instant."""

    def __init__(
        self,
        *,
        log_id: str,
        catalogue: Catalogue,
        registry: RegistryState,
        body_key: bytes = BODY_KEY_CLEAR,
        sealer: Sealer | None = None,
    ) -> None:
        self.log_id = log_id
        self.catalogue = catalogue
        self.registry = registry
        self.body_key = body_key
        self.sealer = sealer
        """Seals private blocks; None in logs where they stand in clear."""
        self._log_namespace = namespace_of(log_id)
        native = codec.NATIVE
        self._native = native
        self._uuid5: Callable[[bytes, bytes], bytes] = native.uuid5 if native else frames.uuid5
        self._types: dict[type, Type] = {}
        self._sources: dict[str, _Piece] = {}
        self._instant: Instant = -1
        self._time: _Piece = (("ce_time", b""), b"", b"")
        self._last: _Cause | None = None
        self._frame = frame(registry.id_of(catalogue.meta.schema))
        self._heads: dict[tuple[str, Actor], bytes] = {}
        self._outcome = self._type(Outcome)
        self._outcome_made = (self._outcome, Outcome, Receipt)
        self.splices: Splices = {}
        """The bytes of public records just read, where the decoder of this thread keeps them."""

    def keep_keys(self) -> None:
        """Make data keys durable that were minted here, before what they sealed is appended."""
        if self.sealer is not None:
            self.sealer.vault.save()

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
        apart = getattr(message, "apart", None)
        if apart is not None:  # names that stand among codes go into its private block
            message = apart()
        raw_key = key.encode()
        value = encode(entry.writer, message, entry.fullname, entry.prefix)
        body = value[5:]
        if entry.kinds is not None:
            value = self._value(
                entry, message, tenant, raw_key, NO_REVISION, command_id.encode(), {}
            )
        meta = Meta(
            tenant=tenant,
            actor=actor,
            correlation=correlation or command_id,
            causation=causation,
            command_id=command_id,
            body_hash=body_hash(self.body_key, command_id, entry.fullname, key, body),
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
        stream: bytes,
        revision: int,
        index: int,
        prev: bytes,
        instant: Instant,
        input: InputPosition,  # noqa: A002 - the protocol's word
        to: Destination,
        traceparent: bytes | None = None,
        values: list[bytes] | None = None,
    ) -> Chained:
        """Return the records of all events of the command whose meta is given, and the chain after.

        `stream` is the aggregate key, `revision` and `index` those of the first event, `prev` the
        chain before it; `values` are theirs where they were made before. Raises Unreadable
        (stage `serialize`), NotFound for an unknown class.
        """
        if values is None:
            values = self.values(messages, meta, stream, revision)
        types = [self._types[type(message)] for message in messages]
        ids = namespace_of(meta.command_id)
        frame = self._frame_of(stream, stream, input.topic, instant, traceparent)
        cause = self._caused(meta, input)
        return self._chain(
            types, values, ids, cause, frame, stream, revision, index, prev, to, Receipt
        )

    def values(
        self, messages: Sequence[Any], meta: Meta, stream: bytes, revision: int
    ) -> list[bytes]:
        """Return the framed Avro of a command's events, their private blocks sealed; raises as `events`."""
        values: list[bytes] = []
        ids = namespace_of(meta.command_id)
        for n, message in enumerate(messages):
            entry = self._types.get(type(message)) or self._type(type(message))
            ce_id = b"" if entry.kinds is None else self._uuid5(ids, str(n).encode())
            values.append(
                self._value(entry, message, meta.tenant, stream, revision + n, ce_id, self.splices)
            )
        return values

    def decided(
        self,
        messages: tuple[Any, ...],
        values: list[bytes] | None,
        meta: Meta,
        input: InputPosition,  # noqa: A002 - the protocol's word
        stream: bytes,
        revision: int,
        instant: Instant,
        traceparent: bytes | None,
        events: tuple[int, bytes, Destination],
        outcomes: tuple[int, bytes, Destination],
    ) -> Decided | None:
        """Return what `events` and then `answer` make, in one step of C; None where it has to go by those.

        Private blocks are sealed in that step, by keys that are at hand and have sealed here before; where
        one is missing nothing counts as sealed, and `values` are made first. `events` and `outcomes` are
        next index, chain before, and destination of each.
        """
        if self._native is None:
            return None
        starts, end = _STARTS, PACKED_END
        if traceparent is not None:
            starts, end = _STARTS_TRACED, end + packed_pair("traceparent", traceparent)
        topic = input.topic
        try:
            head = self._heads.get((meta.tenant, meta.actor)) or self._head(meta)
        except UNWRITABLE:
            return None
        made: Decided | None = self._native.decided(
            self._types,
            messages,
            values,
            self.splices,
            self._log_namespace,
            head,
            meta,
            input,
            self._sources.get(topic) or self._source(topic),
            self._time if instant == self._instant else self._at(instant),
            stream,
            starts,
            end,
            revision,
            *events,
            *outcomes,
            instant,
            self._outcome_made,
            None if self.sealer is None or values is not None else self.sealer.for_all(meta.tenant),
        )
        return made

    def aside(
        self,
        message: Any,
        meta: Meta,
        *,
        stream: bytes,
        ordinal: int,
        index: int,
        prev: bytes,
        instant: Instant,
        input: InputPosition,  # noqa: A002 - the protocol's word
        to: Destination,
    ) -> Chained:
        """Return the first event of another stream that a command causes, and the chain after.

        `ordinal` counts all events of the command; the message holds no private blocks.
        """
        entry = self._types.get(type(message)) or self._type(type(message))
        value = encode(entry.writer, message, entry.fullname, entry.prefix)
        ce_id = self._uuid5(namespace_of(meta.command_id), str(ordinal).encode())
        frame = self._frame_of(stream, stream, input.topic, instant, None)
        cause = self._caused(meta, input)
        return self._chain(
            [entry], [value], ce_id, cause, frame, stream, 1, index, prev, to, Receipt
        )

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
        ce_id = self._uuid5(namespace_of(meta.command_id), str(ordinal).encode())
        value = self._value(entry, message, meta.tenant, key, revision, ce_id, {})
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
        to: Destination,
        stream: str | None = None,
        traceparent: bytes | None = None,
    ) -> Chained:
        """Return an outcome's record and the chain after it.

        Its key is the command id, `stream` the aggregate key.
        """
        entry = self._outcome
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
        cause = self._caused(meta, input)
        return self._chain([entry], [value], ce_id, cause, frame, key, -1, index, prev, to, None)

    def outcome(self, outcome: Outcome, meta: Meta, **place: Any) -> Encoded:
        """Return an outcome's record with its headers as pairs; see `answer`."""
        to = (lambda *parts: parts, "", 0)
        ((_, _, key, value, packed),), _, _ = self.answer(outcome, meta, to=to, **place)
        headers = unpack_headers(packed)
        return key, value, headers, envelope_hash(key, value, headers)

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
        entry = Type(
            prefixed(DEAD_LETTER_TYPE),
            packed_pair("ce_type", DEAD_LETTER_TYPE),
            bytes(8) + _NULLS,
            self._outcome.writer,
            b"",
            ("ce_type", DEAD_LETTER_TYPE),
            "",
        )
        frame = self._frame_of(key, utf8(key), input.topic, instant, None)
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
    ) -> Frame:
        source = self._sources.get(topic) or self._source(topic)
        time = self._time if instant == self._instant else self._at(instant)
        count, end = (7 if subject is None else 8), PACKED_END
        if traceparent is not None:
            end += packed_pair("traceparent", traceparent)
            count += 1
        native = self._native
        parts = (source[2], source[1], time[2], time[1], key, subject, STARTS[count], end)
        made: Frame | None = native.frame(*parts) if native is not None else None
        return made or frames.frame(*parts)

    def _sealed(
        self,
        entry: Type,
        cause: _Cause,
        frame: Frame,
        ce_id: bytes,
        value: bytes | None,
        revision: int,
        index: int,
        prev: bytes,
    ) -> tuple[bytes, bytes]:
        """Return packed headers and envelope hash of a record."""
        parts = (*entry[:3], *cause[2:], frame, ce_id, prev, value, revision, index)
        sealed: tuple[bytes, bytes] | None = self._native.seal(*parts) if self._native else None
        return sealed or frames.seal(*parts)

    def _chain(
        self,
        types: list[Type],
        values: list[bytes],
        ids: bytes,
        cause: _Cause,
        *rest: Any,
    ) -> Chained:
        """Return the records of values, as `frames.chain` does."""
        _, _, head, middle = cause
        native = self._native
        if native is not None:
            made: Chained | None = native.chain(types, values, ids, head, middle, *rest)
            if made is not None:
                return made
        return frames.chain(types, values, ids, head, middle, *rest)

    def _value(
        self,
        entry: Type,
        message: Any,
        tenant: str,
        stream: bytes,
        revision: int,
        record_id: bytes,
        splices: Splices,
    ) -> bytes:
        """Return a message's framed Avro, its private blocks sealed for the record it stands in."""
        kinds, sealer = entry.kinds, self.sealer
        try:
            if kinds is None or sealer is None:
                return entry.writer(message, entry.prefix, splices)
            seal = sealer.at(tenant, stream, revision, record_id, kinds)
            return entry.writer(
                message, entry.prefix, splices, seal if self._native else sealer.seal
            )
        except UNWRITABLE as error:
            raise unwritable(error, entry.fullname) from error

    # -- what is kept ready

    def _type(self, cls: type) -> Type:
        found = self.catalogue.by_class.get(cls)
        if found is None:
            raise NotFound(
                f"{cls.__name__} is no message type",
                hint="list its class in MESSAGES of its module, and the module in the catalogue",
            )
        name = found.fullname.encode()
        entry = self._types[cls] = Type(
            prefixed(name),
            packed_pair("ce_type", name),
            found.schema.fingerprint + _NULLS,
            found.writer,
            frame(self.registry.id_of(found.schema)),
            ("ce_type", name),
            found.fullname,
            Kinds(found) if self.sealer is not None and found.private else None,
        )
        return entry

    def _caused(self, meta: Meta, position: InputPosition) -> _Cause:
        last = self._last
        if last is not None and last[0] is meta and last[1] is position:
            return last
        return self._cause(meta, position)

    def _cause(self, meta: Meta, position: InputPosition | None) -> _Cause:
        where = (None, 0) if position is None else (position.partition, position.offset)
        parts = (meta.correlation, meta.causation, meta.command_id, meta.body_hash, *where)
        try:
            head = self._heads.get((meta.tenant, meta.actor)) or self._head(meta)
            middle: bytes | None = self._native.cause(*parts) if self._native else None
            made = self._last = (meta, position, head, middle or frames.cause(*parts))
        except UNWRITABLE as error:
            raise unwritable(error, "usance.Meta") from error
        return made

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
