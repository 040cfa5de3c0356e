"""Shortcuts of the codec that must never show: defaults known as a whole, records copied as they came."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.kernel.decider import PrivateBlock
from usance.messages.avro_codegen import tag
from usance.messages.catalogue import Catalogue
from usance.messages.codec import make_reader, make_writer
from usance.messages.envelope import Decoder
from usance.messages.registry import registered


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A record with a field without default amid many with one."""

    a: str = ""
    b: int = 0
    c: bool = False
    d: str = "USUAL"
    needed: str
    e: int = 21
    f: int = -70
    g: str | None = None
    h: list[str] = []
    i: dict[str, str] = {}
    j: str = "ü"
    k: int = 300_000
    l: bool = True  # noqa: E741
    m: int = 0


class Secret(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """A private block."""

    subject: str
    name: str = ""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A command with public records and a private one."""

    line: Line
    lines: list[Line] = []
    secret: Secret | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event that takes the records over."""

    before: str = ""
    line: Line
    lines: list[Line] = []


def catalogue() -> Catalogue:
    """Return a catalogue whose readers and writers are yet to be made."""
    made = Catalogue()
    made.register(((Ask, "command"), (Told, "event")))
    return made


CATALOGUE = catalogue()
ASK, TOLD = CATALOGUE.by_class[Ask], CATALOGUE.by_class[Told]


@pytest.fixture(autouse=True, scope="module")
def codec_in_turn(each_codec: str) -> None:
    """Do everything with one codec, then with the other."""
    global CATALOGUE, ASK, TOLD
    CATALOGUE = catalogue()
    ASK, TOLD = CATALOGUE.by_class[Ask], CATALOGUE.by_class[Told]


def decoder() -> Decoder:
    """Return a decoder that keeps bytes."""
    return Decoder(catalogue=CATALOGUE, registry=registered(CATALOGUE)).splicing()


def fast(text: str, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), value)
    return out.getvalue()


texts = st.sampled_from(["", "USUAL", "ü", "x", "é" * 70, "y" * 64, "z" * 9000])
numbers = st.sampled_from([0, 21, -70, 300_000, 1, -1, 63, 64, -65, 2**40, -(2**62)])
lines = st.builds(
    Line,
    a=texts,
    b=numbers,
    c=st.booleans(),
    d=texts,
    needed=texts,
    e=numbers,
    f=numbers,
    g=st.none() | texts,
    h=st.lists(texts, max_size=2),
    i=st.dictionaries(texts, texts, max_size=2),
    j=texts,
    k=numbers,
    l=st.booleans(),
    m=numbers,
)
asks = st.builds(
    Ask,
    line=lines | st.just(Line(needed="n")),
    lines=st.lists(lines | st.just(Line(needed="n")), max_size=3),
    secret=st.none() | st.builds(Secret, subject=texts, name=texts),
)


@given(lines)
def test_fields_at_their_defaults_are_written_as_fastavro_writes_them(line: Line) -> None:
    schema = CATALOGUE.by_name["usance.trade.Told"].schema
    text = json.dumps(next(f["type"] for f in schema.json["fields"] if f["name"] == "line"))
    node = schema.root.field("line").type  # type: ignore[union-attr]
    data = make_writer(node, Line)(line, b"")
    assert data == fast(text, msgspec.to_builtins(line))
    assert make_reader(node, Line)(data, 0, None) == line


@given(asks)
def test_an_event_with_records_of_its_command_has_the_bytes_it_would_have_anyway(ask: Ask) -> None:
    reading = decoder()
    got = ASK.reader(ASK.writer(ask, b""), 0, reading)
    assert got == ask
    told = Told(line=got.line, lines=got.lines)
    assert reading.splices
    assert TOLD.writer(told, b"", reading.splices) == TOLD.writer(told, b"")


@given(asks)
def test_no_private_block_is_ever_kept(ask: Ask) -> None:
    reading = decoder()
    got = ASK.reader(ASK.writer(ask, b""), 0, reading)
    kept = [found for found, _, _ in (reading.splices or {}).values()]
    assert all(not isinstance(found, Secret) for found in kept)
    assert len(kept) <= 2 and got.secret not in kept if got.secret else True


def test_only_the_very_object_is_copied_and_only_under_its_own_schema() -> None:
    reading = decoder()
    got = ASK.reader(ASK.writer(Ask(line=Line(needed="x", a="first")), b""), 0, reading)
    assert reading.splices is not None
    _, mark, data = reading.splices[id(got.line)]
    changed = msgspec.structs.replace(got.line, a="other")
    told = Told(line=changed)
    plain = TOLD.writer(told, b"")
    reused = {id(changed): (got.line, mark, data)}
    assert TOLD.writer(told, b"", reused) == plain, "an id that was given out again proves nothing"
    foreign = {id(changed): (changed, "another schema", b"\xff")}
    assert TOLD.writer(told, b"", foreign) == plain
    mine = {id(changed): (changed, mark, data)}
    assert TOLD.writer(told, b"", mine) != plain, "the shortcut is taken at all"


def test_an_array_and_a_record_of_one_type_are_not_mixed_up() -> None:
    root = ASK.schema.root
    line, many = root.field("line"), root.field("lines")
    assert line is not None and many is not None
    assert tag(line.type) != tag(many.type)
