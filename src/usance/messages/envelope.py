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
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from usance.audit.chain import ABSENT, envelope, envelope_hash, prefixed
from usance.kernel.clock import Instant, iso
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.kernel.ids import namespace_of, uuid5_text
from usance.messages.avro import encode, unwritable
from usance.messages.avro_codegen import (
    UNWRITABLE,
    Writer,
)
from usance.messages.catalogue import Catalogue
from usance.messages.decoder import Decoded, Decoder, Sealed
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
    "Sealed",
    "body_hash",
    "envelope",
    "envelope_hash",
]

Headers = tuple[tuple[str, bytes], ...]
Wire = tuple[bytes | None, bytes | None, Headers]
"""key, value, headers."""
Encoded = tuple[bytes | None, bytes | None, Headers, bytes]
"""key, value, headers, envelope hash."""

BODY_KEY_CLEAR = b"usance/body-hash/v1/published-key-of-logs-with-clear-blocks"
"""Key of body hashes in logs that allow clear blocks: published, as nothing is secret there."""

SPEC_VERSION = ("ce_specversion", b"1.0")
CONTENT_TYPE = ("content-type", b"application/avro")
DEAD_LETTER_TYPE = b"usance.system.DeadLetter"

_SUFFIXED = frozenset(("dead-lettered", "parked", "discarded"))
_LENGTHS = {n: n.to_bytes(4, "big") for n in range(4096)}
_SPEC_AND_ID = prefixed(b"1.0") + _LENGTHS[36]
_TIME_LENGTH = _LENGTHS[24]
_HEADS_MAX = 4_096
_NULLS = b"\x00\x00"
"""A record's own meta carries neither instant nor reply."""


def _length(size: int) -> bytes:
    return _LENGTHS.get(size) or size.to_bytes(4, "big")


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


@lru_cache(maxsize=4096)
def _namespace(command_id: str) -> bytes:
    return namespace_of(command_id)


class _Type(NamedTuple):
    """What the encoder keeps ready per message type."""

    writer: Writer
    prefix: bytes
    header: tuple[str, bytes]
    hashed: bytes
    meta_tail: bytes
    fullname: str


class _Cause:
    """What all records caused by one command share."""

    __slots__ = ("input", "meta", "middle", "namespace")

    def __init__(self, meta: Meta, position: InputPosition | None) -> None:
        self.meta = meta
        self.input = position
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
        self._types: dict[type, _Type] = {}
        self._sources: dict[str, tuple[tuple[str, bytes], bytes]] = {}
        self._instant: Instant = -1
        self._time: tuple[tuple[str, bytes], bytes] = (("ce_time", b""), b"")
        self._last: _Cause | None = None
        self._frame = frame(registry.id_of(catalogue.meta.schema))
        self._heads: dict[tuple[str, Actor], bytes] = {}
        self._outcome = self._type(Outcome)

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
        """Return the record of event number `ordinal` of the command whose meta is given.

        `stream` is the aggregate key, `prev` the chain before this record. Raises Unreadable (stage
        `serialize`), NotFound for an unknown class.
        """
        entry = self._types.get(type(message)) or self._type(type(message))
        cause = self._last
        if cause is None or cause.meta is not meta or cause.input is not input:
            cause = self._cause(meta, input)
        if not cause.namespace:
            cause.namespace = _namespace(meta.command_id)
        ce_id = uuid5_text(cause.namespace, str(ordinal)).encode()
        try:
            value = entry.writer(message, entry.prefix)
        except UNWRITABLE as error:
            raise unwritable(error, entry.fullname) from error
        raw = stream.encode()
        return self._chained(
            entry, cause, ce_id, raw, raw, value, revision, index, prev, instant, input.topic,
            traceparent,
        )  # fmt: skip

    def outcome(
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
    ) -> Encoded:
        """Return an outcome's record; its key is the command id, `stream` the aggregate key."""
        entry = self._outcome
        cause = self._last
        if cause is None or cause.meta is not meta or cause.input is not input:
            cause = self._cause(meta, input)
        name = f"{input.partition}/{input.offset}/outcome"
        if outcome.answer in _SUFFIXED:
            name = f"{name}/{outcome.answer}"
        ce_id = uuid5_text(self._log_namespace, name).encode()
        try:
            value = entry.writer(outcome, entry.prefix)
        except UNWRITABLE as error:
            raise unwritable(error, entry.fullname) from error
        subject = None if stream is None else stream.encode()
        return self._chained(
            entry, cause, ce_id, outcome.command_id.encode(), subject, value, -1, index, prev,
            instant, input.topic, traceparent,
        )  # fmt: skip

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
        ce_id = uuid5_text(self._log_namespace, name)
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
        return self._chained(
            entry, self._cause(meta, None), ce_id.encode(), key, key, value, -1, index, prev,
            instant, f"usance.{context}.outcomes", None,
        )  # fmt: skip

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
            bytes(8) + _NULLS,
            "",
        )
        out = self._chained(
            entry, cause, dead_letter_id.encode(), key, _utf8(key), value, -1, index, prev, instant,
            input.topic, None,
        )  # fmt: skip
        own = tuple(h for h in out[2] if h[0] != "content-type")
        return out[0], out[1], (*own, *headers), out[3]

    def _chained(
        self,
        entry: _Type,
        cause: _Cause,
        ce_id: bytes,
        key: bytes | None,
        subject: bytes | None,
        value: bytes | None,
        revision: int,
        index: int,
        prev: bytes,
        instant: Instant,
        topic: str,
        traceparent: bytes | None,
    ) -> Encoded:
        assert len(prev) == 32, "prev is a chain value"
        assert len(ce_id) == 36, "a ce_id is a UUID"
        of = cause.meta
        meta = b"".join(
            (
                self._heads.get((of.tenant, of.actor)) or self._head(of),
                VARINTS[revision],
                VARINTS[index],
                b"\x02",
                prev,
                cause.middle,
                entry.meta_tail,
            )
        )
        source, source_hashed = self._sources.get(topic) or self._source(topic)
        time, time_hashed = self._time if instant == self._instant else self._at(instant)
        key_hashed = ABSENT if key is None else _length(len(key)) + key
        subject_hashed = key_hashed if subject is key else prefixed(subject)
        value_length = ABSENT if value is None else _length(len(value))
        hashed = (
            _SPEC_AND_ID, ce_id, entry.hashed, source_hashed, subject_hashed, time_hashed,
            _length(len(meta)), meta, key_hashed, value_length, value or b"",
        )  # fmt: skip
        headers: Headers = (
            SPEC_VERSION, ("ce_id", ce_id), entry.header, source, time, ("usance-meta", meta),
            CONTENT_TYPE,
        )  # fmt: skip
        if subject is not None:
            headers = (*headers[:4], ("ce_subject", subject), *headers[4:])
        if traceparent is not None:
            headers = (*headers, ("traceparent", traceparent))
        return key, value, headers, sha256(b"".join(hashed)).digest()

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
            found.schema.fingerprint + _NULLS,
            found.fullname,
        )
        return entry

    def _cause(self, meta: Meta, position: InputPosition | None) -> _Cause:
        try:
            cause = self._last = _Cause(meta, position)
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

    def _source(self, topic: str) -> tuple[tuple[str, bytes], bytes]:
        parts = topic.split(".")
        text = f"/usance/{self.log_id}/{parts[-2] if len(parts) > 1 else topic}".encode()
        made = self._sources[topic] = (("ce_source", text), prefixed(text))
        return made

    def _at(self, instant: Instant) -> tuple[tuple[str, bytes], bytes]:
        text = instant_text(instant)
        self._instant = instant
        self._time = (("ce_time", text), _TIME_LENGTH + text)
        return self._time


def _utf8(key: bytes | None) -> bytes | None:
    """Return a key that is UTF-8 text, else None: CloudEvents attributes are text."""
    try:
        return key if key is None or key.decode() is not None else None
    except UnicodeDecodeError:
        return None
