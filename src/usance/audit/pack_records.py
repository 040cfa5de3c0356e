"""A pack's zip, the Avro in its records, and what a record says as one line of text."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from usance.audit.pack_proofs import leaf_hash, malformed

# -- the zip: stored files in the order of their names, nothing else, one way to write it

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)
_DATE = 0x21
"""1980-01-01, the first day that zips know."""


def _entry(name: bytes, crc: int, size: int, at: int) -> tuple[bytes, bytes]:
    """Return a file's header and its line in the zip's list of contents."""
    same = (20, 0, 0, 0, _DATE, crc, size, size, len(name), 0)
    local = _LOCAL.pack(b"PK\3\4", *same) + name
    return local, _CENTRAL.pack(b"PK\1\2", 20, *same, 0, 0, 0, 0, at) + name


def zipped(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield the bytes of a zip of files."""
    at, contents = 0, []
    for name in sorted(files):
        local, line = _entry(name.encode(), zlib.crc32(files[name]), len(files[name]), at)
        contents.append(line)
        yield local
        yield files[name]
        at += len(local) + len(files[name])
    whole = b"".join(contents)
    yield whole + _END.pack(b"PK\5\6", 0, 0, len(files), len(files), len(whole), at, 0)


def unzipped(data: memoryview) -> dict[str, memoryview]:
    """Return the files of a zip; raises Refused(MALFORMED) unless `zipped` made just these bytes."""
    end = len(data) - _END.size
    if end < 0 or bytes(data[end : end + 4]) != b"PK\5\6":
        raise malformed("the zip is cut, or something stands behind it")
    _, _, _, _, count, length, start, _ = _END.unpack(data[end:])
    files: dict[str, memoryview] = {}
    at, line, last = 0, start, ""
    for _ in range(count):
        if line + _CENTRAL.size > end:
            raise malformed("the zip's list of contents is cut")
        found = _CENTRAL.unpack(data[line : line + _CENTRAL.size])
        size, long = found[8], found[10]
        raw = bytes(data[line + _CENTRAL.size : line + _CENTRAL.size + long])
        name = raw.decode("ascii", "replace")
        if not _NAME.fullmatch(name) or name <= last:
            raise malformed("names in the zip are not in order, or one stands twice", name)
        body = at + _LOCAL.size + long
        if body + size > start:
            raise malformed("a file in the zip is cut", name)
        files[name] = content = data[body : body + size]
        header, listed = _entry(raw, zlib.crc32(content), size, at)
        if data[at:body] != header or data[line : line + len(listed)] != listed:
            raise malformed("a file in the zip is not stored as it should be", name)
        at, line, last = body + size, line + len(listed), name
    whole = _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)
    if at != start or line != end or start + length != end or data[end:] != whole:
        raise malformed("the zip has bytes that belong to no file")
    return files


# -- records: stored bytes, their leaf, and what they say

_LEAF = struct.Struct(">4sIQQBBI32s")
_KINDS = {"events": 1, "outcomes": 2, "access": 3, "schemas": 7, "dead-letters": 8}
_FOOTER = b"UnitFooter"
_REGISTERED = """{"type": "record", "name": "usance.system.SchemaRegistered", "fields": [
 {"name": "subject", "type": "string"}, {"name": "version", "type": "int"}, {"name": "id", "type": "int"},
 {"name": "fingerprint", "type": {"type": "fixed", "name": "F", "size": 8}},
 {"name": "text", "type": "string"}, {"name": "level", "type": "string"}]}"""
"""Schema 1 of every log, for ever: with it the others are read."""
_Read = Callable[[bytes, int], tuple[Any, int]]


def _long(data: bytes, at: int) -> tuple[int, int]:
    if data[at] < 128:
        return data[at] >> 1 ^ -(data[at] & 1), at + 1
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value >> 1 ^ -(value & 1), at
        if shift > 63:
            raise ValueError("a number is too long")


def _taken(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if not 0 <= size <= len(data) - at:
        raise ValueError("a value is cut")
    return data[at : at + size], at + size


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    return _taken(data, *_long(data, at)[::-1])


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, start = data[at], at + 1  # most texts are short: their length is one byte
    end = start + (size >> 1)
    if size & 0x81 or end > len(data):
        found, end = _bytes(data, at)
        return found.decode(), end
    return data[start:end].decode(), end


def _hex(data: bytes, at: int) -> tuple[str, int]:
    found, at = _bytes(data, at)
    return found.hex(), at


def _bool(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise ValueError("neither true nor false")
    return data[at] == 1, at + 1


_PLAIN: dict[str, _Read] = {
    "null": lambda _, at: (None, at),
    "boolean": _bool,
    "int": _long,
    "long": _long,
    "float": lambda d, at: (struct.unpack("<f", d[at : at + 4])[0], at + 4),
    "double": lambda d, at: (struct.unpack("<d", d[at : at + 8])[0], at + 8),
    "bytes": _hex,
    "string": _text,
}


def avro(schema: Any, names: dict[str, _Read], space: str = "") -> _Read:
    """Return a reader of Avro data by its writer's schema: records as dicts, bytes as hexadecimal."""
    if isinstance(schema, list):
        return _union([avro(one, names, space) for one in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return avro(kind, names, space)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "array":
        return _blocks(avro(schema["items"], names, space), keyed=False)
    if kind == "map":
        return _blocks(avro(schema["values"], names, space), keyed=True)
    if kind not in ("record", "enum", "fixed"):
        full = kind if "." in kind or not space else f"{space}.{kind}"
        return lambda data, at: names[full](data, at)  # noqa: PLW0108  it may come later
    full = schema["name"]
    if "." not in full and schema.get("namespace", space):
        full = f"{schema.get('namespace', space)}.{full}"
    if kind == "record":
        space = full.rpartition(".")[0]
        names[full] = _record(
            [(f["name"], avro(f["type"], names, space)) for f in schema["fields"]]
        )
    elif kind == "enum":
        names[full] = _enum(schema["symbols"])
    else:
        names[full] = _fixed(schema["size"])
    return names[full]


def _union(options: list[_Read]) -> _Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        which, at = _long(data, at)
        if not 0 <= which < len(options):
            raise ValueError("a union has no such branch")
        return options[which](data, at)

    return read


def _record(fields: list[tuple[str, _Read]]) -> _Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        found = {}
        for name, one in fields:
            found[name], at = one(data, at)
        return found, at

    return read


def _enum(symbols: list[str]) -> _Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        which, at = _long(data, at)
        if not 0 <= which < len(symbols):
            raise ValueError("an enum has no such symbol")
        return symbols[which], at

    return read


def _fixed(size: int) -> _Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        found, at = _taken(data, at, size)
        return found.hex(), at

    return read


def _blocks(item: _Read, *, keyed: bool) -> _Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        found: list[Any] = []
        while True:
            count, at = _long(data, at)
            if count == 0:
                return (dict(found) if keyed else found), at
            if count < 0:
                count, at = -count, _long(data, at)[1]
            if count > len(data):
                raise ValueError("a list is longer than its bytes")
            for _ in range(count):
                key, at = _text(data, at) if keyed else ("", at)
                value, at = item(data, at)
                found.append((key, value) if keyed else value)

    return read


class Schemas:
    """The schemas of a log by id and fingerprint, as the records of its registry say."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._by_id: dict[int, _Read] = {1: avro(json.loads(_REGISTERED), {})}
        self._by_fingerprint: dict[str, _Read] = {}

    def register(self, value: bytes) -> int:
        """Take in what a record of the registry registers; returns its id, 0 where it registers nothing."""
        if int.from_bytes(value[1:5], "big") not in self._by_id:
            return 0  # a subject's level: no schema
        said = self.read(value)
        if "text" not in said:
            return 0
        self.texts[said["id"]] = said["text"]
        self._by_id[said["id"]] = read = avro(json.loads(said["text"]), {})
        self._by_fingerprint.setdefault(said["fingerprint"], read)
        return int(said["id"])

    def read(self, framed: bytes) -> Any:
        """Return what a value says: 0x00, the schema's id, Avro."""
        reader = self._by_id.get(int.from_bytes(framed[1:5], "big"))
        if framed[:1] != b"\0" or reader is None:
            raise ValueError("its schema is not in the pack")
        found, end = reader(framed, 5)
        if end != len(framed):
            raise ValueError("it has bytes behind its end")
        return found

    def block(self, fingerprint: str, data: bytes) -> Any:
        """Return what a private block in clear says."""
        if fingerprint not in self._by_fingerprint:
            raise ValueError("the schema of a private block is not in the pack")
        return self._by_fingerprint[fingerprint](data, 1)[0]


class Told(NamedTuple):
    """A record: the line that tells it, and what proves it."""

    line: dict[str, Any]
    leaf: bytes
    prev: bytes
    hashed: bytes


def parts_of(envelope: bytes) -> list[bytes | None]:
    """Return the seven headers, the key and the value of a record's stored bytes."""
    found: list[bytes | None] = []
    at = 0
    while at < len(envelope):
        size = int.from_bytes(envelope[at : at + 4], "big")
        at += 4
        if size == 0xFFFFFFFF:
            found.append(None)
            continue
        if size > len(envelope) - at:
            raise ValueError("a part of its stored bytes is cut")
        found.append(envelope[at : at + size])
        at += size
    if len(found) != 9:
        raise ValueError("its stored bytes have not nine parts")
    return found


@lru_cache(maxsize=64)
def place_of(folder: str) -> tuple[str, str, int]:
    """Return context, kind and partition of a folder such as `trade.events/p003`."""
    found = re.fullmatch(r"([a-z0-9-]+)\.([a-z-]+)/p([0-9]{3,})", folder, re.ASCII)
    if found is None or found[2] not in _KINDS:
        raise malformed("this is not the name of a tree of records", folder)
    return found[1], found[2], int(found[3])


def tell(folder: str, offset: int, log_time: int, envelope: bytes, schemas: Schemas) -> Told:
    """Return a record's line and leaf; raises ValueError or IndexError for bytes that are no record."""
    context, kind, partition = place_of(folder)
    headers = parts_of(envelope)
    value, meta = headers[8], schemas.read(headers[6] or b"")
    said = [(part or b"").decode() for part in headers[:6]]
    framed = value is not None and len(value) > 4 and value[0] == 0
    schema = int.from_bytes(value[1:5], "big") if value and framed else 0
    number = 9 if kind == "outcomes" and said[2].endswith("UnitFooter") else _KINDS[kind]
    hashed = sha256(envelope).digest()
    leaf = _LEAF.pack(b"UL1\0", partition, offset, log_time, number, 0, schema, hashed)
    line = {
        "topic": f"{context}.{kind}",
        "partition": partition,
        "index": meta["index"],
        "offset": offset,
        "log_time": log_time,
        "leaf_hash": leaf_hash(leaf).hex(),
        "envelope_hash": hashed.hex(),
        "id": said[1],
        "type": said[2],
        "stream": said[4],
        "time": said[5],
        "meta": meta,
        "schema": schema,
        "content": None,
        "sealed": [],
    }
    if value is not None and kind != "dead-letters":
        line["content"], line["sealed"] = _content(value, schemas)
    return Told(line, leaf, bytes.fromhex(meta["prev"] or ""), hashed)


def _content(value: bytes, schemas: Schemas) -> tuple[Any, list[dict[str, str]]]:
    """Return what a message says, its private blocks opened where they stand in clear, and the others."""
    content, sealed = schemas.read(value), []
    for block in content.get("private", ()):
        data = bytes.fromhex(block.pop("block"))
        block["clear"] = data[:1] == b"\0"
        if block["clear"]:
            block["content"] = schemas.block(block["schema"], data)
        else:
            block["key"], commit = data[2:18].hex(), data[30:46].hex()
            sealed.append({"name": block["name"], "key": block["key"], "commit": commit})
    return content, sealed


def line_of(told: Mapping[str, Any]) -> bytes:
    """Return a record's line as it stands in a pack."""
    return json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def prefixed(parts: list[bytes]) -> bytes:
    """Return parts one after another, each behind its length as u32 big-endian."""
    return b"".join([p for part in parts for p in (len(part).to_bytes(4, "big"), part)])


def unprefixed(data: bytes, where: str) -> list[bytes]:
    """Return the parts of such bytes."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size > len(data) - at - 4:
            raise malformed("a record's stored bytes are cut", where)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def index_entry(stream: str, count: int, last: int, hashed: bytes) -> bytes:
    """Return a stream's entry in the index of a partition.

    SHA-256 of its name, the number of its events and the index of the last one (u64 each), and that event's
    envelope hash: without knowing the event nobody can guess which stream it is.
    """
    numbers = count.to_bytes(8, "big") + last.to_bytes(8, "big")
    return sha256(stream.encode()).digest() + numbers + hashed
