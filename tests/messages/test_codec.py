"""The compiled codec against its reference, the generated one, and against fastavro: same bytes, values, errors."""

from __future__ import annotations

import contextlib
import gc
import io
import random
import sys
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from message_strategies import damaged, messages
from schema_strategies import schema_and_values

from usance.kernel import native
from usance.kernel.errors import Tampered, Unreadable
from usance.messages import avro_codegen, avro_reader, codec
from usance.messages.avro_codegen import MALFORMED, UNWRITABLE, Reader, Writer
from usance.messages.avro_schema import Schema
from usance.messages.catalogue import MessageType, default
from usance.messages.codec import compiled
from usance.messages.envelope import Decoder
from usance.messages.registry import registered
from usance.messages.varints import VARINTS

pytestmark = pytest.mark.native
GOLDEN = Path(__file__).parent.parent / "golden"
CATALOGUE = default()
TYPES = CATALOGUE.types()
BLOCKS = Decoder(catalogue=CATALOGUE, registry=registered(CATALOGUE))


class Left(Exception):
    """The compiled codec found something unusual."""


def leave(*_: Any) -> Any:
    raise Left


class Pair(NamedTuple):
    """One type's codecs: the reference, the compiled one, and the compiled one without its reference."""

    read: Reader
    write: Writer
    native: Any
    alone: Any


@pytest.fixture(scope="module", autouse=True)
def switched_on() -> Any:
    """Test the extension even where USANCE_NATIVE switches it off."""
    before, codec.NATIVE = codec.NATIVE, native.load()[0]
    yield
    codec.NATIVE = before


def codecs(*schema: Any) -> Pair:
    return Pair(
        avro_reader.make_reader(*schema),
        avro_codegen.make_writer(*schema),
        compiled(*schema),
        compiled(*schema, reader=leave, writer=leave),
    )


@cache
def pair(entry: MessageType) -> Pair:
    return codecs(entry.schema.root, entry.cls, entry.private)


def outcome(read: Reader, data: bytes) -> tuple[Any, str]:
    """Return what reading gives, in words: a value (damage can make it NaN), or the kind of error."""
    try:
        value = read(data, 0, BLOCKS)
    except (Unreadable, Tampered, Left, *MALFORMED) as error:
        return type(error), str(error)
    return None, f"{type(value)} {value!r}"


def same_outcome(both: Pair, data: bytes) -> bool:
    """Hold one reading against the reference; returns whether the bytes were good."""
    expected = outcome(both.read, data)
    assert outcome(both.native.read, data) == expected
    alone = outcome(both.alone.read, data)
    assert alone[0] is Left or alone == expected, "the compiled codec takes what it should leave"
    return expected[0] is None


def test_every_message_class_has_a_compiled_codec() -> None:
    assert len(TYPES) > 150
    assert [t.fullname for t in TYPES if pair(t).native is None] == []


@given(st.sampled_from(TYPES).flatmap(lambda t: st.tuples(st.just(t), messages(t))))
@settings(max_examples=400)
def test_messages_are_written_and_read_as_the_reference_and_fastavro_do(drawn: Any) -> None:
    entry, message = drawn
    both = pair(entry)
    data = both.write(message, b"prefix")
    assert both.alone.write(message, b"prefix") == data
    assert both.native.write(message, b"prefix", {}) == data
    body = data[6:]
    read = both.alone.read(data, 6, BLOCKS)
    assert read == both.read(data, 6, BLOCKS) == message
    assert repr(read) == repr(message)
    schema = fastavro.parse_schema(dict(entry.schema.json))
    again = io.BytesIO()
    fastavro.schemaless_writer(again, schema, fastavro.schemaless_reader(io.BytesIO(body), schema))
    assert again.getvalue() == body


@given(st.sampled_from(TYPES).flatmap(lambda t: st.tuples(st.just(t), messages(t))), st.randoms())
@settings(max_examples=400)
def test_damaged_messages_end_alike_with_both_codecs(drawn: Any, dice: random.Random) -> None:
    entry, message = drawn
    both = pair(entry)
    whole = both.write(message, b"")
    assert same_outcome(both, whole)
    for _ in range(20):
        same_outcome(both, damaged(whole, dice))


@given(schema_and_values(), st.randoms())
@settings(max_examples=60)
def test_plain_records_of_any_schema_end_alike_with_both_codecs(
    drawn: Any, dice: random.Random
) -> None:
    text, records = drawn
    both = codecs(Schema(text).root)
    for record in records:
        whole = both.write(record, b"")
        assert both.alone.write(record, b"") == whole
        assert same_outcome(both, whole)
        for _ in range(5):
            same_outcome(both, damaged(whole, dice))


@pytest.mark.parametrize("entry", TYPES, ids=lambda t: t.fullname)
def test_golden_records_are_read_and_written_without_the_reference(entry: MessageType) -> None:
    both = pair(entry)
    data = (GOLDEN / f"{entry.fullname}.v{entry.version}.bin").read_bytes()
    assert same_outcome(both, data)
    assert both.alone.write(both.alone.read(data, 0, BLOCKS), b"") == data


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_long_run_of_damage_to_golden_records_never_tells_the_codecs_apart(seed: int) -> None:
    dice = random.Random(seed)
    good = bad = 0
    for entry in TYPES:
        whole = (GOLDEN / f"{entry.fullname}.v{entry.version}.bin").read_bytes()
        for _ in range(400):
            if same_outcome(pair(entry), damaged(whole, dice)):
                good += 1
            else:
                bad += 1
    assert good > 1_000 and bad > 10_000


@pytest.mark.parametrize("end", [b"\x80\x00", b"\x80\x80\x00\x00", b"\x01\x00\x00"])
def test_a_zero_of_several_bytes_is_no_end_of_a_collection(end: bytes) -> None:
    both = codecs(LISTED, Listed)
    whole = both.write(Listed(words={"a": "b"}), b"")
    same_outcome(both, whole[:-1] + end)
    for entry in TYPES:
        if entry.private and all(p.optional for p in entry.private):
            data = (GOLDEN / f"{entry.fullname}.v{entry.version}.bin").read_bytes()
            bare = pair(entry).read(data, 0, BLOCKS)
            bare = msgspec.structs.replace(bare, **dict.fromkeys(p.field for p in entry.private))
            same_outcome(pair(entry), pair(entry).write(bare, b"")[:-1] + end)


# -- what is unusual is left to the reference


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line without containers."""

    text: str = ""
    n: int = 0


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A record with all that can be odd."""

    items: list[Item] = []
    n: int = 0
    ok: bool = False
    raw: bytes = b""
    text: str = ""
    words: dict[str, str] = {}


def _spec(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": n, "type": t} for n, t in fields.items()],
    }


ITEM = _spec("Item", text="string", n="long")
LISTED = Schema(
    msgspec.json.encode(
        _spec(
            "Listed",
            items={"type": "array", "items": ITEM},
            n="long",
            ok="boolean",
            raw="bytes",
            text="string",
            words={"type": "map", "values": "string"},
        )
    ).decode()
).root


class Word(str):
    """Text of another type."""

    __slots__ = ()


@pytest.mark.parametrize(
    "odd",
    [
        {"n": True},
        {"ok": 1},
        {"text": Word("x")},
        {"raw": bytearray(b"x")},
        {"items": (Item(n=1),)},
        {"words": {Word("a"): "b"}},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_values_of_unusual_types_are_written_by_the_reference(odd: dict[str, Any]) -> None:
    both = codecs(LISTED, Listed)
    message = Listed(**odd)
    assert both.native.write(message, b"") == both.write(message, b"")
    with pytest.raises(Left):
        both.alone.write(message, b"")


@pytest.mark.parametrize(
    "bad",
    [{"n": 2**63}, {"n": "1"}, {"text": None}, {"text": "\ud800"}, {"items": [None]}, {"raw": 5}],
    ids=lambda bad: str(bad),
)
def test_values_that_do_not_fit_raise_what_the_reference_raises(bad: dict[str, Any]) -> None:
    both = codecs(LISTED, Listed)
    with pytest.raises(UNWRITABLE) as expected:
        both.write(Listed(**bad), b"")
    with pytest.raises(type(expected.value)) as found:
        both.native.write(Listed(**bad), b"")
    assert str(found.value) == str(expected.value)


def test_a_class_that_does_something_when_it_is_made_has_no_compiled_codec() -> None:
    class Checked(msgspec.Struct, frozen=True, kw_only=True):
        text: str
        n: int

        def __post_init__(self) -> None:
            if self.n < 0:
                raise ValueError("below zero")

    root = Schema(msgspec.json.encode(ITEM).decode()).root
    assert compiled(root, Checked) is None
    read = codec.make_reader(root, Checked)
    assert read(b"\x02a\x02", 0, None) == Checked(text="a", n=1)
    with pytest.raises(ValueError, match="below zero"):
        read(b"\x02a\x01", 0, None)


def test_schemas_deeper_than_the_bound_have_no_compiled_codec() -> None:
    kind: Any = "long"
    for _ in range(codec.DEPTH_MAX):
        kind = {"type": "array", "items": kind}
    root = Schema(msgspec.json.encode(_spec("Deep", f=kind)).decode()).root
    assert compiled(root) is None
    shallow = Schema(msgspec.json.encode(_spec("Flat", f=kind["items"])).decode()).root
    assert compiled(shallow) is not None


@pytest.mark.parametrize(
    "spec",
    [(), (99,), ("x",), 5, (10, 0), (10, -1, (2,)), (12, int, 5, True, ()), (7, -1), (9, 2, (2,))],
    ids=repr,
)
def test_malformed_programs_are_refused(spec: Any) -> None:
    with pytest.raises(TypeError):
        codec.NATIVE.Program(spec, False, leave, leave)


# -- objects as they should be


def test_fresh_collections_are_nobodys_but_the_messages_own() -> None:
    read = codecs(LISTED, Listed).alone.read
    data = codecs(LISTED, Listed).write(Listed(), b"")
    first, second = read(data, 0, None), read(data, 0, None)
    assert first == second == Listed()
    assert first.items is not second.items and first.words is not second.words
    first.items.append(Item())
    assert read(data, 0, None) == Listed()


def test_the_collector_sees_what_may_hold_others_and_nothing_else() -> None:
    both = codecs(LISTED, Listed)
    message = Listed(items=[Item(text="a")])
    read = both.alone.read(both.write(message, b""), 0, None)
    assert gc.is_tracked(read) and gc.is_tracked(read.items)
    assert not gc.is_tracked(read.items[0])
    items = read.items
    del read
    gc.collect()
    assert items == [Item(text="a")]


def test_the_blank_is_never_given_away() -> None:
    both = codecs(LISTED, Listed)
    data = both.write(Listed(n=5, text="x"), b"")
    assert both.alone.read(data, 0, None) == Listed(n=5, text="x")
    assert both.alone.read(both.write(Listed(), b""), 0, None) == Listed()


def _work(both: Pair, data: bytes, cuts: list[bytes]) -> None:
    for _ in range(300):
        both.alone.write(both.alone.read(data, 0, BLOCKS), b"p" * 5)
        for cut in cuts:
            with contextlib.suppress(Left):
                both.alone.read(cut, 0, BLOCKS)


def test_reading_writing_and_failing_leave_no_memory_behind() -> None:
    dice = random.Random(1)
    for name in ("usance.trade.ApplyForCredit", "usance.trade.ExaminationCompleted", "usance.Meta"):
        entry = CATALOGUE.by_name[name]
        both = pair(entry)
        data = (GOLDEN / f"{name}.v{entry.version}.bin").read_bytes()
        cuts = [data[: len(data) // 2], data[:-1], *(damaged(data, dice) for _ in range(20))]
        _work(both, data, cuts)
        gc.collect()
        before, none = sys.getallocatedblocks(), sys.getrefcount(None)
        _work(both, data, cuts)
        gc.collect()
        assert sys.getallocatedblocks() - before < 60
        assert abs(sys.getrefcount(None) - none) < 60


def test_huge_lengths_and_counts_allocate_nothing() -> None:

    both = codecs(LISTED, Listed)
    huge = VARINTS[2**40]
    hostile = [
        huge,
        VARINTS[-(2**40)] + huge,
        b"\x00\x00\x00" + huge + b"x" * 50,
        b"\x00\x00\x00\x00" + huge + b"x" * 50,
        b"\x00\x00\x00\x00\x00" + huge + b"x" * 50,
    ]
    tracemalloc.start()
    try:
        for data in hostile:
            with pytest.raises(Left):
                both.alone.read(data, 0, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


# -- the switch


def test_the_switch_and_the_layout_decide_which_codec_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.load()[1] == "native"
    assert native.load("0") == (None, "Python, as USANCE_NATIVE says")
    monkeypatch.setattr(native, "LAYOUT", native.LAYOUT + 1)
    module, words = native.load()
    assert module is None and "make setup" in words
