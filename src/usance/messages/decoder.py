"""From records back to messages: framing, `usance-meta`, private blocks, older schema versions."""

from __future__ import annotations

from typing import Any, NamedTuple

from usance.kernel.errors import Tampered, Unreadable
from usance.messages.avro import decode, modernise, unreadable
from usance.messages.avro_codegen import (
    MALFORMED,
    Private,
    Reader,
    Splices,
)
from usance.messages.catalogue import Catalogue, MessageType
from usance.messages.codec import make_reader
from usance.messages.meta import Meta
from usance.messages.outcome import Headers
from usance.messages.registry import RegistryState, frame
from usance.messages.upcasting import UPCASTERS
from usance.messages.varints import Read, read_length, read_long


class Sealed(NamedTuple):
    """An encrypted private block: which field of which record, whose data, which inner schema."""

    name: str
    subject: str
    schema: bytes
    block: bytes


class Decoded(NamedTuple):
    """A record read: what its header says, the message, and its type."""

    meta: Meta
    message: Any
    type: MessageType


class _Entry(NamedTuple):
    """What the decoder keeps ready per schema id."""

    type: MessageType
    read: Reader
    header: tuple[str, bytes]
    fingerprint: bytes
    old: str | None
    version: int


class Decoder:
    """Reads records. All failures are Unreadable, or Tampered where a block breaks the log's rules.

    `clear_blocks` says whether the genesis allows private blocks in clear.
    """

    def __init__(
        self, *, catalogue: Catalogue, registry: RegistryState, clear_blocks: bool = True
    ) -> None:
        self.catalogue = catalogue
        self.registry = registry
        self.clear = clear_blocks
        self.splices: Splices | None = None
        self._entries: dict[bytes, _Entry] = {}
        self._blocks: dict[tuple[str, bytes], Reader] = {}
        self._meta_frame = frame(registry.id_of(catalogue.meta.schema))
        self._meta_reader = catalogue.meta.reader

    def splicing(self) -> Decoder:
        """Return a decoder for one thread that keeps the bytes of public records in `splices`."""
        own = Decoder(catalogue=self.catalogue, registry=self.registry, clear_blocks=self.clear)
        own.splices = {}
        return own

    def meta(self, headers: Headers) -> Meta:
        """Return what `usance-meta` says; raises Unreadable when it is missing or malformed."""
        raw = headers[6][1] if len(headers) > 6 and headers[6][0] == "usance-meta" else None
        if raw is None:
            raw = next((v for k, v in headers if k == "usance-meta"), None)
            if raw is None:
                raise Unreadable(
                    "decode", "no usance-meta header", hint="send commands through a gateway"
                )
        try:
            if raw[:5] == self._meta_frame:
                meta: Meta = self._meta_reader(raw, 5, None)
                return meta
        except MALFORMED as error:
            raise unreadable(error) from error
        meta = self._value(raw)[1]
        if type(meta) is not Meta:
            raise Unreadable("decode", "usance-meta holds another type", hint="correct the sender")
        return meta

    def message(self, headers: Headers, value: bytes | None) -> Any:
        """Return the message; its schema must be the one that `ce_type` names."""
        entry, message = self._value(value)
        if len(headers) < 3 or headers[2] != entry.header:
            self._check_type(headers, entry)
        return message

    def record(self, key: bytes | None, value: bytes | None, headers: Headers) -> Decoded:  # noqa: ARG002
        """Return meta and message, having checked them against each other."""
        meta = self.meta(headers)
        entry, message = self._value(value)
        self._check_type(headers, entry)
        if meta.schema != entry.fingerprint:
            raise Unreadable(
                "schema",
                "the schema id means another schema here than where the record was written",
                hint="compare the registries; import schemas with their ids",
            )
        return Decoded(meta, message, entry.type)

    def value(self, value: bytes | None) -> Any:
        """Return the message of a framed value without any headers."""
        return self._value(value)[1]

    def type_of(self, value: bytes | None) -> MessageType:
        """Return the type of a value without decoding it."""
        return self._entry(value).type

    def _check_type(self, headers: Headers, entry: _Entry) -> None:
        said = next((v for k, v in headers if k == "ce_type"), None)
        if said != entry.header[1]:
            raise Unreadable(
                "schema", "ce_type and schema id name two types", hint="correct the sender"
            )

    def _value(self, value: bytes | None) -> tuple[_Entry, Any]:
        entry = self._entries.get(value[:5]) if value else None
        if entry is None:
            entry = self._entry(value)
        assert value is not None
        try:
            if entry.old is None:
                return entry, entry.read(value, 5, self)
        except MALFORMED as error:
            raise unreadable(error) from error
        versions = (entry.version, entry.type.version)
        body = modernise(entry.old, entry.type.schema, value, 5, versions)
        return entry, decode(entry.read, body, 0, self)

    def _entry(self, value: bytes | None) -> _Entry:
        if not value or len(value) < 5 or value[0] != 0:
            raise Unreadable("decode", "no schema id before the value", hint="correct the sender")
        frame = value[:5]
        found = self._entries.get(frame)
        if found is not None:
            return found
        known = self.registry.by_id(int.from_bytes(frame[1:], "big"))
        if known is None:
            raise Unreadable("schema", "unknown schema id", hint="usance schema list shows all")
        entry = self.catalogue.by_name.get(known.schema.fullname)
        if entry is None or entry.kind == "block":
            raise Unreadable(
                "schema", "a type this program does not know", hint="upgrade this program"
            )
        same = known.schema.canonical == entry.schema.canonical and not UPCASTERS.touch(
            entry.fullname, known.version, entry.version
        )
        made = self._entries[frame] = _Entry(
            entry,
            entry.reader,
            ("ce_type", entry.fullname.encode()),
            known.schema.fingerprint,
            None if same else known.schema.text,
            known.version,
        )
        return made

    # -- private blocks

    def read(self, read: Read, table: dict[bytes, Private]) -> dict[str, Any]:
        """Read a `private` array, whose blocks must be those of `table`, each once."""
        found: dict[str, Any] = {}
        while (first := read(1)) != b"\x00":
            n = read_long(read, first)
            if n < 0:
                n = -n
                read_length(read, read(1))
            if n > len(table):
                raise ValueError("more private blocks than the type has")
            for _ in range(n):
                spec = table[read(read_length(read, read(1)))]
                if spec.field in found:
                    raise ValueError("a private block stands twice")
                subject = read(read_length(read, read(1)))
                schema = read(8)
                block = read(read_length(read, read(1)))
                found[spec.field] = self._open(spec, subject, schema, block)
        return found

    def _open(self, spec: Private, subject: bytes, schema: bytes, block: bytes) -> Any:
        marker = block[:1]
        if marker != b"\x00":
            raise self._not_clear(marker, Sealed(spec.field, subject.decode(), schema, block))
        if not self.clear:
            raise Tampered(
                "a private block stands in clear, which this log's genesis forbids",
                hint="find who wrote it: usance log verify",
            )
        if schema == spec.schema.fingerprint:
            reader = self._blocks.get((spec.field, schema)) or self._block_reader(spec)
            inner = reader(block, 1, None)
        else:
            inner = self._old_block(spec, schema, block)
        if inner.subject.encode() != subject:
            raise ValueError("a private block belongs to another subject than it says")
        return inner

    def _block_reader(self, spec: Private) -> Reader:
        reader = make_reader(spec.schema.root, spec.cls)
        self._blocks[spec.field, spec.schema.fingerprint] = reader
        return reader

    def _old_block(self, spec: Private, schema: bytes, block: bytes) -> Any:
        known = self.registry.by_fingerprint(schema)
        if known is None or known.schema.fullname != spec.schema.fullname:
            raise ValueError("a private block has an unknown schema")
        newest = self.catalogue.named(spec.schema.fullname).version
        body = modernise(known.schema.text, spec.schema, block, 1, (known.version, newest))
        return decode(self._block_reader(spec), body)

    def _not_clear(self, marker: bytes, sealed: Sealed) -> Exception:
        if marker == b"\x01":
            return Unreadable(
                "decrypt",
                f"sealed blocks need keys ({sealed.name})",
                hint="give this program access to the key service",
            )
        if not marker:
            return ValueError("a private block is empty")
        return Tampered(
            "a private block has an unknown marker", hint="find who wrote it: usance log verify"
        )
