"""Both codecs against fastavro, and against every kind of damage."""

from __future__ import annotations

import contextlib
import io
import json
import typing
from typing import Any, Literal

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_strategies import schema_and_values

from usance.kernel.errors import Unreadable
from usance.messages.avro import decode, encode
from usance.messages.avro_schema import Schema
from usance.messages.codec import make_reader, make_writer
from usance.messages.varints import VARINTS

pytestmark = pytest.mark.usefixtures("each_codec")


def fast_bytes(text: str, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), value)
    return out.getvalue()


def fast_value(text: str, data: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(data), fastavro.parse_schema(json.loads(text)))


def struct_for(spec: Any) -> Any:
    """Return a type hint for an Avro type, with structs for its records."""
    if isinstance(spec, list):
        return struct_for(next(s for s in spec if s != "null")) | None
    if isinstance(spec, str):
        plain = {"null": type(None), "boolean": bool, "string": str, "bytes": bytes}
        return plain.get(spec) or (float if spec in ("float", "double") else int)
    match spec["type"]:
        case "record":
            fields = [(f["name"], struct_for(f["type"])) for f in spec["fields"]]
            return msgspec.defstruct(spec["name"], fields, frozen=True, kw_only=True)
        case "array":
            return list[struct_for(spec["items"])]
        case "map":
            return dict[str, struct_for(spec["values"])]
        case "enum":
            return str
    return bytes


@given(schema_and_values())
@settings(max_examples=150, deadline=None)
def test_written_bytes_are_those_of_fastavro_and_each_reads_the_other(drawn: Any) -> None:
    text, values = drawn
    root = Schema(text).root
    write, read = make_writer(root), make_reader(root)
    for value in values:
        data = write(value, b"")
        assert data == fast_bytes(text, value)
        assert read(data, 0, None) == fast_value(text, data)
        assert write(value, b"\x00\x00\x00\x00\x07") == b"\x00\x00\x00\x00\x07" + data


@given(schema_and_values())
@settings(max_examples=60, deadline=None)
def test_structs_give_the_same_bytes_as_plain_dicts_and_come_back_equal(drawn: Any) -> None:
    text, values = drawn
    root, cls = Schema(text).root, struct_for(json.loads(text))
    write, read, plain = make_writer(root, cls), make_reader(root, cls), make_writer(root)
    for value in values:
        message = msgspec.convert(value, cls, builtin_types=(bytes,))
        data = write(message, b"")
        assert data == plain(value, b"")
        if "float" not in text:  # a 64-bit float is rounded by a float field
            assert read(data, 0, None) == message


def with_defaults(cls: Any, example: Any) -> Any:
    """Return a struct class as `struct_for` makes it; plain fields have the example's values as default."""
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        return cls
    fields: list[Any] = []
    for field in msgspec.structs.fields(cls):
        collection = typing.get_origin(field.type)
        usual = collection() if collection in (list, dict) else example[field.name]
        plain = collection in (list, dict) or field.type in (str, int, bool)
        fields.append((field.name, field.type, usual) if plain else (field.name, field.type))
    return msgspec.defstruct(cls.__name__, fields, frozen=True, kw_only=True)


@given(schema_and_values())
@settings(max_examples=150, deadline=None)
def test_fields_with_defaults_are_written_and_read_like_any_other(drawn: Any) -> None:
    text, values = drawn
    root, cls = Schema(text).root, with_defaults(struct_for(json.loads(text)), values[0])
    write, read, plain = make_writer(root, cls), make_reader(root, cls), make_writer(root)
    for value in values:
        message = msgspec.convert(value, cls, builtin_types=(bytes,))
        data = write(message, b"")
        assert data == plain(value, b"")
        if "float" not in text:
            assert read(data, 0, None) == message


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A record within records."""

    text: str


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """Records first, then one field with a default: too few in a row to be known as a whole."""

    lines: list[Line] = []
    role: str = "issuing"


def test_a_field_behind_records_is_not_lost() -> None:
    line = {"type": "record", "name": "Line", "fields": [{"name": "text", "type": "string"}]}
    schema = {
        "type": "record",
        "name": "Sheet",
        "fields": [
            {"name": "lines", "type": {"type": "array", "items": line}},
            {"name": "role", "type": "string"},
        ],
    }
    root = Schema(json.dumps(schema)).root
    sheet = Sheet(lines=[Line(text="a")], role="nominated")
    data = make_writer(root, Sheet)(sheet, b"")
    assert data == fast_bytes(json.dumps(schema), msgspec.to_builtins(sheet))
    assert make_reader(root, Sheet)(data, 0, None) == sheet


@given(schema_and_values(), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_are_unreadable_or_another_value_and_nothing_else(
    drawn: Any, data: Any
) -> None:
    text, values = drawn
    root = Schema(text).root
    read = make_reader(root)
    whole = make_writer(root)(values[0], b"")
    for cut in range(len(whole)):
        with pytest.raises(Unreadable):
            decode(read, whole[:cut])
    with pytest.raises(Unreadable):
        decode(read, whole + b"\x00")
    damaged = bytearray(whole)
    for _ in range(3 if whole else 0):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(read, bytes(damaged))
    except Unreadable as error:
        assert error.stage == "decode" and error.hint


@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_raise_anything_but_unreadable(data: bytes) -> None:
    text = json.dumps(
        {
            "type": "record",
            "name": "A",
            "fields": [
                {"name": "s", "type": {"type": "array", "items": "string"}},
                {"name": "m", "type": {"type": "map", "values": ["null", "long"]}},
                {"name": "n", "type": {"type": "array", "items": "null"}},
            ],
        }
    )
    with contextlib.suppress(Unreadable):
        decode(make_reader(Schema(text).root), data)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("string", b"\x01"),  # length -1
        ("bytes", VARINTS[2**62] + b"x"),  # length far beyond the data
        ("string", b"\x04\xc3\x28"),  # not UTF-8
        ("string", b"\x06\xed\xa0\x80"),  # a surrogate
        ("long", b"\xff" * 9 + b"\x02"),  # 65 bits
        ("long", b"\x80" * 10 + b"\x00"),  # eleven bytes
        ("boolean", b"\x02"),
        (["null", "string"], b"\x04\x02a"),  # no third branch
        ({"type": "array", "items": "null"}, VARINTS[2**40] + b"\x00"),
        ({"type": "array", "items": "long"}, VARINTS[2**40] + b"\x00"),
        ({"type": "array", "items": "long"}, VARINTS[-(2**40)] + b"\x02\x02\x00"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01"),
        ({"type": "fixed", "name": "F", "size": 4}, b"abc"),
    ],
)
def test_each_kind_of_malformed_bytes_is_refused(kind: Any, data: bytes) -> None:
    text = json.dumps({"type": "record", "name": "A", "fields": [{"name": "f", "type": kind}]})
    with pytest.raises(Unreadable):
        decode(make_reader(Schema(text).root), data)


def test_collections_in_several_blocks_and_with_byte_sizes_are_read() -> None:
    text = '{"type":"record","name":"A","fields":[{"name":"f","type":{"type":"array","items":"long"}}]}'
    several = b"\x02\x02" + b"\x03\x04\x04\x06" + b"\x00"  # [1], then [2, 3] with its size
    assert decode(make_reader(Schema(text).root), several) == {"f": [1, 2, 3]}


def test_texts_longer_than_the_table_of_lengths_are_written_like_any_other() -> None:
    text = '{"type":"record","name":"A","fields":[{"name":"f","type":"string"},{"name":"g","type":["null","bytes"]}]}'
    for size in (4095, 4096, 70_000):
        value = {"f": "é" * size, "g": b"x" * size}
        data = make_writer(Schema(text).root)(value, b"")
        assert data == fast_bytes(text, value)
        assert decode(make_reader(Schema(text).root), data) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("long", 2**63),
        ("long", -(2**63) - 1),
        ("long", "12"),
        ("string", None),
        ("string", "\ud800"),
        ({"type": "fixed", "name": "F", "size": 4}, b"abc"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "B"),
        ({"type": "array", "items": "string"}, [1]),
    ],
)
def test_a_value_that_does_not_fit_is_refused_without_showing_it(kind: Any, value: Any) -> None:
    text = json.dumps({"type": "record", "name": "A", "fields": [{"name": "f", "type": kind}]})
    with pytest.raises(Unreadable) as caught:
        encode(make_writer(Schema(text).root), {"f": value}, "A")
    assert caught.value.stage == "serialize"
    assert str(value) not in caught.value.reason or value is None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A message with a literal that has a hyphen."""

    answer: Literal["accepted", "dead-lettered"]


def test_a_hyphen_in_a_literal_is_an_underscore_in_the_symbol() -> None:
    enum = {"type": "enum", "name": "E", "symbols": ["accepted", "dead_lettered", "unknown"]}
    spec = {"type": "record", "name": "Answered", "fields": [{"name": "answer", "type": enum}]}
    root = Schema(json.dumps(spec)).root
    data = make_writer(root, Answered)(Answered(answer="dead-lettered"), b"")
    assert data == b"\x02"
    assert make_reader(root, Answered)(data, 0, None) == Answered(answer="dead-lettered")
    with pytest.raises(Unreadable):  # a symbol that only a newer program knows
        decode(make_reader(root, Answered), b"\x04")


@pytest.mark.parametrize("name", ["a b", "class", "f'); import os", "", "ä", "f\n"])
def test_names_that_could_become_code_are_refused(name: str) -> None:
    spec = {"type": "record", "name": "A", "fields": [{"name": name, "type": "long"}]}
    for make in (make_reader, make_writer):
        with pytest.raises(Unreadable):
            make(Schema(json.dumps(spec)).root)


def test_class_and_schema_with_different_fields_are_refused_by_name() -> None:
    spec = {"type": "record", "name": "A", "fields": [{"name": "question", "type": "string"}]}
    with pytest.raises(Unreadable, match="answer, question"):
        make_writer(Schema(json.dumps(spec)).root, Answered)
