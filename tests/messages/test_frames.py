"""What surrounds a value, compiled and not: frames, chains, identifiers, hashes, and what is skimmed of them."""

from __future__ import annotations

import contextlib
import random
import string
import tracemalloc
import uuid
from hashlib import sha256
from typing import Any

import pytest
import sample_messages as samples
from hypothesis import given, settings
from hypothesis import strategies as st
from message_strategies import LONG, damaged

from usance.audit.chain import HASHED_HEADERS, envelope
from usance.kernel import native
from usance.kernel.decider import Actor
from usance.log.contract import Output
from usance.messages import codec, frames
from usance.messages.avro_codegen import MALFORMED
from usance.messages.catalogue import default
from usance.messages.decoder import identity
from usance.messages.meta import InputOffset, Meta
from usance.messages.outcome import Receipt

pytestmark = pytest.mark.native
CATALOGUE = default()


@pytest.fixture(scope="module", autouse=True)
def switched_on() -> Any:
    """Test the extension even where USANCE_NATIVE switches it off."""
    before, codec.NATIVE = codec.NATIVE, native.load()[0]
    yield
    codec.NATIVE = before


SIZES = st.sampled_from([0, 1, 60, 130, 200, 255, 256, 3_500, 4_096, 66_000])


@given(SIZES, SIZES, st.none() | SIZES, LONG, LONG, st.booleans(), st.booleans())
@settings(max_examples=150)
def test_records_are_sealed_as_the_reference_seals_them(
    cause: int, key: int, value: int | None, revision: int, index: int, traced: bool, keyed: bool
) -> None:
    encoder, _, _ = samples.codec()
    meta = Meta.bare("c" * cause, actor=samples.MAKER, causation="")
    raw = b"k" * key if keyed else None
    trace = b"00-trace" if traced else None
    instant = samples.INSTANT
    arguments = (
        encoder._type(samples.FileOpened),
        encoder._cause(meta, samples.INPUT),
        encoder._frame_of(raw, raw, samples.INPUT.topic, instant, trace),
        b"0b0e4c1a-53a4-5d4e-9b1e-1f2e3d4c5b6a",
        None if value is None else b"v" * value,
        revision,
        index,
        samples.PREV,
    )
    assert encoder._native is not None
    sealed = encoder._sealed(*arguments)
    encoder._native = None
    assert encoder._sealed(*arguments) == sealed


@pytest.mark.parametrize(
    "change",
    [{6: b"short"}, {7: bytes(31)}, {9: 2**63}, {10: "1"}, {5: ()}, {0: "text"}, {8: "text"}],
    ids=str,
)
def test_what_cannot_be_sealed_is_left_to_the_reference(change: dict[int, Any]) -> None:
    frame = (b"", b"", b"", b"", b"")
    good = [b"", b"", b"", b"", b"", frame, bytes(36), bytes(32), b"", 1, 2]
    assert codec.NATIVE.seal(*good) is not None
    for at, odd in change.items():
        good[at] = odd
    assert codec.NATIVE.seal(*good) is None
    assert codec.NATIVE.seal(*good[:-1]) is None


@given(st.binary(min_size=16, max_size=16), st.text(st.characters(codec="utf-8"), max_size=90))
def test_identifiers_are_those_of_the_standard_library(namespace: bytes, name: str) -> None:
    made = codec.NATIVE.uuid5(namespace, name.encode())
    assert made.decode() == str(uuid.uuid5(uuid.UUID(bytes=namespace), name))


FRAME = (b"f", b"g", b"h", b"i", b"j")


def chained(**changes: Any) -> list[Any]:
    """Return the arguments of a chain of two records, some of them changed."""
    types = [frames.Type(b"a", b"b", b"c" * 10, lambda *_: b"", b"", ("", b""), "")] * 2
    good: dict[str, Any] = {
        "types": types, "values": [b"one", b"v" * 3_000], "ids": bytes(16), "head": b"head",
        "middle": b"middle", "frame": FRAME, "key": b"key", "revision": 7, "index": 300,
        "prev": bytes(32), "to": (Output, "t.events", 2), "receipt": Receipt,
    }  # fmt: skip
    return list((good | changes).values())


@given(
    st.lists(st.none() | st.binary(max_size=300), max_size=70), LONG, LONG, st.binary(max_size=99)
)
def test_chains_are_those_of_the_reference(
    values: list[bytes | None], revision: int, index: int, piece: bytes
) -> None:
    types = chained()[0][:1] * len(values)
    frame = (piece, piece, b"", piece, piece)
    parts = chained(
        types=types, values=values, head=piece, revision=revision, index=index, frame=frame
    )
    found = codec.NATIVE.chain(*parts)
    if found is None:  # numbers at the end of their range
        assert max(revision, index) > 2**61
        return
    assert found == frames.chain(*parts)
    assert all(type(made) is Output for made in found[0])


@pytest.mark.parametrize(
    ("ids", "receipt"), [(b"i" * 36, Receipt), (b"i" * 36, None), (b"n" * 16, None)]
)
def test_a_chain_of_one_takes_an_identifier_of_its_own(ids: bytes, receipt: Any) -> None:
    parts = chained(types=chained()[0][:1], values=[b"v"], ids=ids, receipt=receipt, key=None)
    assert codec.NATIVE.chain(*parts) == frames.chain(*parts)


@pytest.mark.parametrize(
    "change",
    [
        {"types": ()}, {"types": [1, 2]}, {"types": [(b"", b"")] * 2}, {"types": [("", b"", b"")] * 2},
        {"values": [b""]}, {"values": ["", ""]}, {"ids": b"i" * 36}, {"ids": b""}, {"head": ""},
        {"frame": ()}, {"key": "k"}, {"revision": 2**63}, {"index": None}, {"prev": bytes(31)},
        {"to": (dict, "t", 1)}, {"to": (Output, b"t", 1)}, {"to": ()}, {"receipt": len},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_chained_is_left_to_the_reference(change: dict[str, Any]) -> None:
    assert codec.NATIVE.chain(*chained()) is not None
    assert codec.NATIVE.chain(*chained(**change)) is None
    assert codec.NATIVE.chain(*chained()[:-1]) is None


def test_chains_leave_no_memory_behind() -> None:
    parts, wrong = chained(), chained(values=[b"v", "w"])
    codec.NATIVE.chain(*parts)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            codec.NATIVE.chain(*parts)
            codec.NATIVE.chain(*wrong)
            codec.NATIVE.cause("c", "d", "e", bytes(32), 1, 2)
            codec.NATIVE.cause("c", "d", "e", bytes(32), 1, "2")
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


PIECES = st.sampled_from(
    [b"", b"a", b"k" * 60, b"k" * 255, b"k" * 256, b"k" * 4_096, b"k" * 70_000]
)


@given(PIECES, PIECES, st.none() | PIECES, st.none() | PIECES)
def test_frames_are_those_of_the_reference(
    source: bytes, time: bytes, key: bytes | None, subject: bytes | None
) -> None:
    parts: list[Any] = [source, b"h", time, b"i", key, subject, b"start", b"end"]
    assert codec.NATIVE.frame(*parts) == frames.frame(*parts)
    for at in range(8):
        assert codec.NATIVE.frame(*[7 if n == at else p for n, p in enumerate(parts)]) is None
    assert codec.NATIVE.frame(*parts[:-1]) is None


@given(st.lists(st.text(max_size=200), min_size=3, max_size=3), st.none() | LONG, LONG)
def test_the_cause_of_records_is_written_as_the_reference_writes_it(
    texts: list[str], partition: int | None, offset: int
) -> None:
    found = codec.NATIVE.cause(*texts, bytes(32), partition, offset)
    if found is None:
        assert not all(t.isascii() for t in texts)
        return
    assert found == frames.cause(*texts, bytes(32), partition, offset)


def test_a_cause_that_is_not_as_usual_is_left_to_the_reference() -> None:
    good: list[Any] = ["a", "b", "c", bytes(32), 1, 2]
    assert codec.NATIVE.cause(*good) is not None
    for at, odd in enumerate([b"a", None, "\xe9", bytes(31), "1", 2**63]):
        assert codec.NATIVE.cause(*[odd if n == at else g for n, g in enumerate(good)]) is None
    assert codec.NATIVE.cause(*good[:-1]) is None


@given(st.uuids().map(str) | st.text(max_size=40))
def test_namespaces_are_the_bytes_of_usual_identifiers(text: str) -> None:
    found = codec.NATIVE.namespace(text)
    if found is not None:
        assert found == uuid.UUID(text).bytes
    elif len(text) == 36:
        assert text.count("-") != 4 or not text.isascii() or set(text) - set(string.hexdigits + "-")


@given(st.lists(st.none() | st.binary(max_size=99), min_size=9, max_size=9), st.integers(0, 9))
def test_envelope_hashes_are_those_of_the_reference(parts: list[Any], wrong: int) -> None:
    headers = [(name, part or b"") for name, part in zip(HASHED_HEADERS, parts, strict=False)]
    headers.append(("traceparent", b"00"))
    key, value = parts[7:]
    found = codec.NATIVE.envelope_hash(key, value, tuple(headers))
    if found is None:
        assert key is None or value is None
    else:
        assert found == sha256(envelope(key, value, headers)).digest()
    headers[wrong % 7] = ("else", b"")
    assert codec.NATIVE.envelope_hash(key, value, tuple(headers)) is None
    assert codec.NATIVE.envelope_hash(key, value, headers) is None
    assert codec.NATIVE.envelope_hash(b"", b"", ((1, b""),) * 7) is None
    assert codec.NATIVE.envelope_hash(b"", b"", tuple(headers[:3])) is None


METAS = st.builds(
    Meta,
    tenant=st.text(max_size=9),
    actor=st.builds(Actor, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)),
    revision=LONG,
    index=LONG,
    prev=st.none() | st.binary(min_size=32, max_size=32),
    correlation=st.text(max_size=99),
    causation=st.text(max_size=99),
    command_id=st.uuids().map(str) | st.text(max_size=40),
    body_hash=st.binary(min_size=32, max_size=32),
    input=st.none() | st.builds(InputOffset, st.integers(0, 99), LONG),
    schema=st.binary(min_size=8, max_size=8),
    instant=st.none() | LONG,
    reply=st.none() | st.integers(0, 99),
)


@given(METAS, st.randoms(use_true_random=False))
def test_what_is_skimmed_of_a_meta_is_what_reading_it_gives(
    meta: Meta, dice: random.Random
) -> None:
    frame = b"\x00\x00\x00\x00\x01"
    raw = CATALOGUE.meta.writer(meta, frame)
    found = codec.NATIVE.skim(raw, frame)
    if found is None:
        assert meta.prev is None or not usual(meta.command_id)
    else:
        assert found == (meta.revision, meta.index, identity(meta.command_id, meta.body_hash))
    spoilt = damaged(raw[5:], dice)
    found = codec.NATIVE.skim(frame + spoilt, frame)
    if found is not None:
        with contextlib.suppress(*MALFORMED):  # it looks at no text
            read = CATALOGUE.meta.reader(frame + spoilt, 5, None)
            assert found == (read.revision, read.index, identity(read.command_id, read.body_hash))


def usual(text: str) -> bool:
    return len(text) == 36 and set(text) <= set(string.hexdigits + "-") and text.count("-") == 4
