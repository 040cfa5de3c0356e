"""Decoding with errors the caller can act on, and the one choke point for older schema versions.

Same schema: the generated reader. Older schema: checked by a generated reader of that schema,
resolved to the newest by fastavro (Avro resolution first), raised by upcasters (second), written
again with the newest schema and read like any other record.
"""

from __future__ import annotations

import copy
import io
from functools import lru_cache
from typing import Any

from usance.kernel.errors import Unreadable
from usance.messages.avro_codegen import (
    MALFORMED,
    UNWRITABLE,
    Reader,
    Writer,
)
from usance.messages.avro_schema import Schema
from usance.messages.codec import make_reader, make_writer
from usance.messages.upcasting import UPCASTERS


def unreadable(error: BaseException) -> Unreadable:
    """Return the error for bytes that a reader refused; its words hold no field values."""
    own = type(error) is ValueError
    reason = str(error) if own else f"bytes do not fit the schema ({type(error).__name__})"
    return Unreadable("decode", reason, hint="look at the bytes with its dead letter; send anew")


def unwritable(error: BaseException, fullname: str) -> Unreadable:
    """Return the error for a value that does not fit its schema; its words hold no field values."""
    reason = f"a {fullname} does not fit its schema ({type(error).__name__})"
    return Unreadable("serialize", reason, hint="check types and 64-bit bounds of its fields")


def decode(reader: Reader, data: bytes, start: int = 0, blocks: Any = None) -> Any:
    """Read one value that fills `data` from `start`; raises Unreadable, and nothing else."""
    try:
        return reader(data, start, blocks)
    except MALFORMED as error:
        raise unreadable(error) from error


def encode(writer: Writer, value: Any, fullname: str, prefix: bytes = b"") -> bytes:
    """Write one value; raises Unreadable (stage `serialize`) when it does not fit."""
    try:
        return writer(value, prefix)
    except UNWRITABLE as error:
        raise unwritable(error, fullname) from error


@lru_cache(maxsize=1024)
def plain_reader(text: str) -> Reader:
    """Return the reader of a schema text into plain dicts."""
    return make_reader(Schema(text).root)


@lru_cache(maxsize=1024)
def plain_writer(text: str) -> Writer:
    """Return the writer of a schema text from plain dicts."""
    return make_writer(Schema(text).root)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Any:
    import fastavro  # 40 ms of start-up that only a log with old records needs

    # parse_schema marks the object it is given.
    return fastavro.parse_schema(copy.deepcopy(Schema(text).json))


def resolve(writer: str, reader: str, data: bytes, start: int = 0) -> Any:
    """Read data of schema text `writer` as schema text `reader` sees it; raises Unreadable."""
    import fastavro

    decode(plain_reader(writer), data, start)
    try:
        source = io.BytesIO(data[start:])
        return fastavro.schemaless_reader(source, _parsed(writer), _parsed(reader))
    except (fastavro.read.SchemaResolutionError, *MALFORMED) as error:
        reason = f"an older record does not resolve ({type(error).__name__})"
        raise Unreadable("resolve", reason, hint="add a default or an upcaster") from error


def modernise(
    old: str, newest: Schema, data: bytes, start: int, versions: tuple[int, int]
) -> bytes:
    """Return bytes of an older schema text as bytes of the newest schema, without framing.

    `versions` are the record's and the newest version number; see the module docstring.
    """
    record = resolve(old, newest.text, data, start)
    record = UPCASTERS.raise_to(newest.fullname, *versions, record)
    return encode(plain_writer(newest.text), record, newest.fullname)
