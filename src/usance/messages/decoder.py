"""From records back to messages: framing, `usance-meta`, private blocks, older schema versions."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from usance.crypto.sealing import AES_GCM, OVERHEAD, SEALED, tenant_prefix
from usance.crypto.vault import KeyUnavailable, Scope, SubjectErased, Vault
from usance.kernel.decider import Actor
from usance.kernel.errors import Tampered, Unavailable, Unreadable
from usance.kernel.ids import namespace_of
from usance.kernel.native import NATIVE
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
from usance.messages.sealed import Kinds, Looking, Opening, Unopened, stands_in
from usance.messages.upcasting import UPCASTERS
from usance.messages.varints import Read, read_length, read_long

SCHEMA_HEADER = "__value_schema_id"
AHEAD = 500
"""Records whose keys are brought together: as many as a key service takes keys in one call."""
HEADERS_USUAL, LAST_USUAL = 8, "content-type"
"""Headers of a record that we write, without a trace, and the last of them."""


class Valued(Protocol):
    """A record, for whoever looks at its bytes alone."""

    @property
    def value(self) -> bytes | None:
        """Its value."""
        ...


class Sealable(Valued, Protocol):
    """A record, for whoever reads it."""

    @property
    def headers(self) -> Headers:
        """Its headers."""
        ...


R = TypeVar("R", bound=Valued)


class Decoded(NamedTuple):
    """A record read: what its header says, the message, and its type."""

    meta: Meta
    message: Any
    type: MessageType


def identity(command_id: str, body_hash: bytes) -> bytes:
    """Return which command it was: 16 bytes of its id, 16 of its body hash."""
    return namespace_of(command_id) + body_hash[:16]


def _foreign(headers: Headers) -> bool:
    """Tell whether headers may say more than those of our own records do."""
    many = len(headers)
    return many > HEADERS_USUAL or (many == HEADERS_USUAL and headers[-1][0] != LAST_USUAL)


def _meta_among(headers: Headers) -> bytes:
    for name, value in headers:
        if name == "usance-meta":
            return value
    raise Unreadable("decode", "no usance-meta header", hint="send commands through a gateway")


class _Entry(NamedTuple):
    """What the decoder keeps ready per schema id."""

    type: MessageType
    read: Reader
    header: tuple[str, bytes]
    fingerprint: bytes
    old: str | None
    version: int
    kinds: Kinds | None
    """What its sealed blocks are opened by; None where there can be none."""


class Decoder:
    """Reads records. All failures are Unreadable, or Tampered where a block breaks the log's rules.

    `clear_blocks` says whether the genesis allows private blocks in clear. Where it does not, `vault` opens
    them (KeyUnavailable while it cannot); without one each is `Denied`. A block whose key was destroyed is
    `Erased`: both stand in the field of the block.
    """

    open = None

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        registry: RegistryState,
        clear_blocks: bool = True,
        vault: Vault | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.registry = registry
        self.clear = clear_blocks
        self.vault = vault
        self.splices: Splices | None = None
        self._last: tuple[Headers, Meta] | None = None
        self.strict = False
        """Whether a block of an erased subject is refused (SubjectErased), instead of `Erased`."""
        self.counting: dict[bytes, int] | None = None
        """Blocks read by key id, where somebody counts."""
        self.looking: Looking | None = None
        self._reused: _Opening | None = None
        self._entries: dict[bytes, _Entry] = {}
        self._blocks: dict[tuple[str, bytes], Reader] = {}
        self._meta_frame = frame(registry.id_of(catalogue.meta.schema))
        self._meta_reader = catalogue.meta.reader

    def splicing(self) -> Decoder:
        """Return a decoder for one thread that keeps the bytes of public records in `splices`.

        It is the owner's: commands about erased subjects are refused.
        """
        own = self._like(self.vault)
        own.splices = {}
        own.strict = True
        return own

    def counted(self) -> Decoder:
        """Return a decoder for one thread that counts in `counting` how often it met each key."""
        own = self._like(self.vault)
        own.counting = {}
        return own

    def closed(self) -> Decoder:
        """Return a decoder that opens nothing: for whoever may not see what blocks hold."""
        return self._like(None)

    def opened(self, vault: Vault) -> Decoder:
        """Return a decoder that opens what is sealed."""
        return self._like(vault)

    def _like(self, vault: Vault | None) -> Decoder:
        return Decoder(
            catalogue=self.catalogue,
            registry=self.registry,
            clear_blocks=self.clear,
            vault=vault,
        )

    def prefetch(self, runs: Iterable[Sequence[Sealable]]) -> None:
        """Bring the data keys into memory that records need, all in one question to the key service.

        A record whose keys are all there costs a look at its bytes. What fails here, fails again where the
        record is read.
        """
        if self.clear or self.vault is None:
            return
        known, entries = self.vault.open_keys, self._entries
        looking = Looking()
        for record in [run[at] for run in runs for at in cold([r.value for r in run], known)]:
            headers, value = record.headers, record.value
            entry = entries.get(value[:5]) if value else None
            if value is None or (entry is not None and entry.kinds is None):
                continue
            self.looking = looking
            try:
                self.message(headers, value)
            except (Unopened, Unreadable, Tampered, Unavailable, SubjectErased):
                continue
            finally:
                self.looking = None
        if looking.ids:
            self._bring(list(looking.scopes), list(looking.ids))

    def _bring(self, scopes: list[Scope], ids: list[bytes]) -> None:
        assert self.vault is not None
        try:
            self.vault.prepare(scopes, ids)
        except (KeyUnavailable, Tampered):
            return  # told by the record that needs the key

    def with_keys(self, records: Iterable[R]) -> Iterable[R]:
        """Yield records, the keys of each next AHEAD of them brought into memory in one question.

        For whoever reads on: it seals nothing, so that no key is made. Any thread may read so.
        """
        if self.clear or self.vault is None:
            return records
        return self._with_keys(records, self.vault)

    def _with_keys(self, records: Iterable[R], vault: Vault) -> Iterator[R]:
        more = iter(records)
        while part := list(islice(more, AHEAD)):
            unknown: dict[bytes, None] = {}
            for record in part:
                if record.value:
                    for key_id in named_keys(record.value):
                        if key_id not in vault.open_keys:
                            unknown[key_id] = None
            if unknown:
                self._bring([], list(unknown))
            yield from part

    def meta(self, headers: Headers) -> Meta:
        """Return what `usance-meta` says; raises Unreadable when it is missing or malformed."""
        if len(headers) > 6 and headers[6][0] == "usance-meta":
            raw = headers[6][1]
        elif len(headers) > 5 and headers[5][0] == "usance-meta":  # no ce_subject
            raw = headers[5][1]
        else:
            raw = _meta_among(headers)
        try:
            if raw[:5] == self._meta_frame:
                meta: Meta = self._meta_reader(raw, 5, None)
                if not self.clear:
                    self._last = (headers, meta)
                return meta
        except MALFORMED as error:
            raise unreadable(error) from error
        meta = self._value(raw)[1]
        if type(meta) is not Meta:
            raise Unreadable("decode", "usance-meta holds another type", hint="correct the sender")
        return meta

    def skim(self, headers: Headers) -> tuple[int, int, bytes]:
        """Return what a fold needs of `usance-meta`, or raise as `meta` does.

        Revision, index, and which command: 16 bytes of its id, 16 of its body hash.
        """
        if NATIVE and len(headers) > 6 and headers[6][0] == "usance-meta":
            found: tuple[int, int, bytes] | None = NATIVE.skim(headers[6][1], self._meta_frame)
            if found is not None:
                return found
        meta = self.meta(headers)
        return meta.revision, meta.index, identity(meta.command_id, meta.body_hash)

    def message(self, headers: Headers, value: bytes | None) -> Any:
        """Return the message; its schema must be the one that `ce_type` names."""
        if _foreign(headers):
            value = self._framed(headers, value)
        known = self._entries.get(value[:5]) if value else None
        if known is not None and known.old is None:  # nearly always
            blocks = self if known.kinds is None else self._opening(known.kinds, headers)
            try:
                message = known.read(value, 5, blocks)  # type: ignore[arg-type]
            except MALFORMED as error:
                raise unreadable(error) from error
            if len(headers) < 3 or headers[2] != known.header:
                self._check_type(headers, known)
            return message
        entry, message = self._value(value, headers)
        if len(headers) < 3 or headers[2] != entry.header:
            self._check_type(headers, entry)
        return message

    def record(self, key: bytes | None, value: bytes | None, headers: Headers) -> Decoded:  # noqa: ARG002
        """Return meta and message, having checked them against each other."""
        meta = self.meta(headers)
        if _foreign(headers):
            value = self._framed(headers, value)
        entry, message = self._value(value, headers)
        self._check_type(headers, entry)
        if meta.schema != entry.fingerprint:
            raise Unreadable(
                "schema",
                "the schema id means another schema here than where the record was written",
                hint="compare the registries; import schemas with their ids",
            )
        return Decoded(meta, message, entry.type)

    def _framed(self, headers: Headers, value: bytes | None) -> bytes | None:
        """Return a value with its schema id before it, where a foreign client put that into a header.

        The header is `0x00` and u32 id, or `0x01` and a GUID; the value then is the bare Avro body.
        """
        said = next((v for k, v in headers if k == SCHEMA_HEADER), None)
        if said is None or value is None:
            return value
        if len(said) == 5 and said[0] == 0:
            return said + value
        known = None
        if len(said) == 17 and said[0] == 1:
            known = self.registry.find_guid(UUID(bytes=said[1:]))
        if known is None:
            hint = "usance schema list shows all"
            raise Unreadable("schema", "the registry knows no such schema GUID", hint=hint)
        return frame(known.id) + value

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

    def _value(self, value: bytes | None, headers: Headers = ()) -> tuple[_Entry, Any]:
        entry = self._entries.get(value[:5]) if value else None
        if entry is None:
            entry = self._entry(value)
        assert value is not None
        blocks = self if entry.kinds is None else self._opening(entry.kinds, headers)
        try:
            if entry.old is None:
                return entry, entry.read(value, 5, blocks)
        except MALFORMED as error:
            raise unreadable(error) from error
        versions = (entry.version, entry.type.version)
        body = modernise(entry.old, entry.type.schema, value, 5, versions)
        return entry, decode(entry.read, body, 0, blocks)

    def _entry(self, value: bytes | None) -> _Entry:
        if not value or len(value) < 5 or value[0] != 0:
            raise Unreadable("decode", "no schema id before the value", hint="correct the sender")
        frame = value[:5]
        found = self._entries.get(frame)
        if found is not None:
            return found
        known = self.registry.find(int.from_bytes(frame[1:], "big"))
        if known is None:
            raise Unreadable(
                "schema",
                "the registry knows no such schema id",
                hint="usance schema list shows all",
            )
        entry = self.catalogue.by_name.get(known.schema.fullname)
        if entry is None or entry.kind == "block":
            raise Unreadable(
                "schema", "a type this program does not know", hint="upgrade this program"
            )
        # A version of another program, learnt from a registry beyond the log, has no number of ours.
        version = known.version or entry.version
        same = known.schema.canonical == entry.schema.canonical and not UPCASTERS.touch(
            entry.fullname, version, entry.version
        )
        made = self._entries[frame] = _Entry(
            entry,
            entry.reader,
            ("ce_type", entry.fullname.encode()),
            known.schema.fingerprint,
            None if same else known.schema.text,
            version,
            Kinds(entry) if not self.clear and entry.private else None,
        )
        return made

    # -- private blocks

    def _opening(self, kinds: Kinds, headers: Headers) -> Any:
        """Return what opens the blocks of a record: they are bound to what its headers say."""
        last = self._last
        if last is not None and last[0] is headers:
            meta = last[1]
        elif headers:
            meta = self.meta(headers)
        else:
            meta = Meta.bare("", actor=_NOBODY, causation="")
        if len(headers) > 4 and headers[1][0] == "ce_id" and headers[4][0] == "ce_subject":
            record_id, stream = headers[1][1], headers[4][1]
        else:
            stream = next((v for k, v in headers if k == "ce_subject"), b"")
            record_id = next((v for k, v in headers if k == "ce_id"), b"")
        opening = self._reused
        if opening is None or not headers:
            opening = _Opening(self, self.vault if headers else None)
            if self.strict and headers:  # of one thread
                self._reused = opening
        tenant = meta.tenant
        opening.looking, opening.kinds, opening.suffixes = self.looking, kinds, kinds.suffixes
        opening.tenant, opening.stream = tenant, stream
        opening.place = (tenant_prefix(tenant), stream, meta.revision, record_id)
        return opening

    def read(self, read: Read, table: dict[bytes, Private]) -> dict[str, Any]:
        """Read a `private` array, whose blocks must be those of `table`, each once."""
        return read_blocks(read, table, self.in_clear)

    def in_clear(self, spec: Private, subject: bytes, schema: bytes, block: bytes) -> Any:
        """Return the struct of a block in clear, where the log allows that."""
        marker = block[:1]
        if marker != b"\x00":
            raise self._not_clear(marker, spec.field)
        if not self.clear:
            raise Tampered(
                "a private block stands in clear, which this log's genesis forbids",
                hint="find who wrote it: usance log verify",
            )
        return self.inner(spec, subject, schema, block[1:])

    def inner(self, spec: Private, subject: bytes, schema: bytes, plain: bytes) -> Any:
        """Return the struct of a block's Avro, held against the subject that stands before it."""
        if schema == spec.schema.fingerprint:
            reader = self._blocks.get((spec.field, schema)) or self._block_reader(spec)
            inner = reader(plain, 0, None)
        else:
            inner = self._old_block(spec, schema, plain)
        if inner.subject.encode() != subject:
            raise ValueError("a private block belongs to another subject than it says")
        return inner

    def _block_reader(self, spec: Private) -> Reader:
        reader = make_reader(spec.schema.root, spec.cls)
        self._blocks[spec.field, spec.schema.fingerprint] = reader
        return reader

    def _old_block(self, spec: Private, schema: bytes, block: bytes) -> Any:
        known = self.registry.find_fingerprint(schema)
        if known is None or known.schema.fullname != spec.schema.fullname:
            raise ValueError("a private block has an unknown schema")
        newest = self.catalogue.named(spec.schema.fullname).version
        body = modernise(known.schema.text, spec.schema, block, 0, (known.version, newest))
        return decode(self._block_reader(spec), body)

    def _not_clear(self, marker: bytes, name: str) -> Exception:
        if marker == bytes((SEALED,)):
            return Unreadable(
                "decrypt",
                f"sealed blocks need keys ({name})",
                hint="give this program access to the key service",
            )
        if not marker:
            return ValueError("a private block is empty")
        return Tampered(
            "a private block has an unknown marker", hint="find who wrote it: usance log verify"
        )


_NOBODY = Actor("", "", "system")


class _Opening(Opening):
    """Opens the blocks of one record, those that are not as usual included."""

    __slots__ = ("_decoder",)

    def __init__(self, decoder: Decoder, vault: Vault | None) -> None:
        super().__init__(vault, decoder.splices, strict=decoder.strict, counting=decoder.counting)
        self._decoder = decoder

    def read(self, read: Read, table: dict[bytes, Private]) -> dict[str, Any]:
        """Read a `private` array of sealed blocks; raises Tampered for one in clear."""
        return read_blocks(read, table, self._one)

    def _one(self, spec: Private, subject: bytes, schema: bytes, block: bytes) -> Any:
        if block[:1] != bytes((SEALED,)):
            return self._decoder.in_clear(spec, subject, schema, block)
        if schema == spec.schema.fingerprint:
            plain = self.open(self.kinds.names.index(spec.field), subject.decode(), block)
        else:
            plain = self.open_old(spec.field, subject.decode(), schema, block)
        if stands_in(plain):
            return plain
        return self._decoder.inner(spec, subject, schema, plain)


_HEADS = bytes((SEALED, AES_GCM))


def named_keys(value: bytes) -> Iterator[bytes]:
    """Yield the ids of keys that a record's bytes name; among them what only looks like one."""
    at = value.find(_HEADS)
    while at >= 0:
        yield value[at + 2 : at + 18]
        # A chance likeness must not hide what begins within it.
        at = value.find(_HEADS, at + 1)


def warm(value: bytes, known: Container[bytes]) -> bool:
    """Tell whether all keys that a record's bytes name are at hand; a chance likeness tells no."""
    at = value.find(_HEADS)
    while at >= 0:
        if value[at + 2 : at + 18] not in known:
            return False
        at = value.find(_HEADS, at + OVERHEAD)
    return True


def plain_cold(values: list[bytes | None], known: Container[bytes]) -> list[int]:
    """Return the places of the values that may name a key which is not at hand."""
    return [at for at, value in enumerate(values) if value is not None and not warm(value, known)]


cold: Callable[[list[bytes | None], Any], list[int]] = NATIVE.cold if NATIVE else plain_cold
"""The same, compiled where that is built."""


def read_blocks(
    read: Read, table: dict[bytes, Private], open_one: Callable[..., Any]
) -> dict[str, Any]:
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
            found[spec.field] = open_one(spec, subject, schema, block)
    return found
