"""Packing and unpacking of records: the compiled way against its reference, and what no way takes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.adapters import sqlite_rows as rows
from usance.kernel.errors import Unreadable
from usance.kernel.native import NATIVE
from usance.log.contract import RECORD_BYTES_MAX, Output, Record
from usance.messages.headers import pack_headers

NAMES = st.one_of(
    st.sampled_from(["ce_id", "usance-meta", "traceparent", ""]), st.text(max_size=40)
)
CONTENTS = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"", b"x" * 255, b"y" * 256, b"z" * 70_000])
)
HEADERS = st.lists(st.tuples(NAMES, CONTENTS), max_size=18).map(tuple)
BYTES = st.none() | st.binary(max_size=30) | st.sampled_from([b"v" * 4_095, b"v" * 4_096])
OUTPUTS = st.lists(
    st.builds(
        Output,
        topic=st.sampled_from(["a.events", "a.outcomes", "b.events"]),
        partition=st.integers(0, 2),
        key=BYTES,
        value=BYTES,
        headers=HEADERS | HEADERS.map(pack_headers),
    ),
    max_size=20,
)
Columns = tuple[list[int], list[int], list[int | None], list[int], list[int | None]]


def laid_out(outputs: list[Output]) -> tuple[Columns, bytes]:
    """Return columns and body of outputs, as the database gives them back."""
    heads = [
        o.headers if isinstance(o.headers, bytes) else pack_headers(o.headers) for o in outputs
    ]
    columns = (
        [7 + 2 * n for n in range(len(outputs))],
        [1_000_000_000_000 + n for n in range(len(outputs))],
        [None if o.key is None else len(o.key) for o in outputs],
        [len(h) for h in heads],
        [None if o.value is None else len(o.value) for o in outputs],
    )
    parts = [(o.key or b"") + h + (o.value or b"") for o, h in zip(outputs, heads, strict=True)]
    return columns, b"".join(parts)


def native_cut(topic: str, partition: int, columns: Columns, body: bytes) -> Any:
    assert NATIVE is not None
    return NATIVE.records(Record, topic, partition, *columns, body)


@pytest.mark.native
@given(OUTPUTS)
def test_outputs_are_packed_as_the_reference_packs_them(outputs: list[Output]) -> None:
    assert NATIVE is not None
    found = NATIVE.packed(tuple(outputs), pack_headers, RECORD_BYTES_MAX)
    assert found == rows.grouped(outputs)


@pytest.mark.native
@given(OUTPUTS)
def test_rows_become_the_records_that_the_reference_makes(outputs: list[Output]) -> None:
    columns, body = laid_out(outputs)
    expected = rows.cut("a.events", 1, columns, body)
    found = native_cut("a.events", 1, columns, body)
    if any(_unusual(rows.unpack_headers(_head(o))) for o in outputs):
        assert found is None  # left to the reference
        return
    assert found == expected
    assert all(type(r) is Record for r in found)


def _unusual(headers: Any) -> bool:
    return len(headers) > 15 or any(len(name.encode()) > 31 for name, _ in headers)


def _head(output: Output) -> bytes:
    return output.headers if isinstance(output.headers, bytes) else pack_headers(output.headers)


@pytest.mark.native
@settings(max_examples=300)
@given(OUTPUTS, st.randoms(use_true_random=False))
def test_damaged_rows_are_left_to_the_reference_or_read_alike(
    outputs: list[Output], dice: Any
) -> None:
    columns, body = laid_out(outputs)
    spoilt = bytearray(body)
    for _ in range(dice.randrange(4)):
        if spoilt:
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
    damaged = bytes(spoilt[: dice.randrange(len(spoilt) + 1)] if dice.random() < 0.3 else spoilt)
    found = native_cut("a.events", 1, columns, damaged)
    if found is not None:
        assert found == rows.cut("a.events", 1, columns, damaged)


@pytest.mark.native
def test_rows_that_fit_no_body_are_left_to_the_reference() -> None:
    columns, body = laid_out([Output("t", 0, b"k", b"v", (("a", b"b"),))])
    assert native_cut("t", 0, columns, body) is not None
    for at, wrong in enumerate(([], [1, 2], [-1], ["1"], [None], [2**70])):
        changed: Any = [*columns]
        changed[at % 3 + 2] = wrong
        found = native_cut("t", 0, tuple(changed), body)  # type: ignore[arg-type]
        assert found is None or found == rows.cut("t", 0, tuple(changed), body)  # type: ignore[arg-type]
    assert NATIVE is not None
    assert NATIVE.records(Record, "t", 0) is None
    assert NATIVE.records(dict, "t", 0, *columns, body) is None
    assert NATIVE.packed([], pack_headers, 10) is None
    assert NATIVE.packed((1,), pack_headers, 10) is None
    assert NATIVE.packed((("t", 0, "k", b"v", b""),), pack_headers, 10) is None


@pytest.mark.native
def test_records_share_what_is_equal_and_leave_no_memory_behind() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("usance-meta", b"m" * 100))
    outputs = [Output("t", 0, b"k", b"v", headers) for _ in range(3)]
    columns, body = laid_out(outputs)
    first, second, _ = native_cut("t", 0, columns, body)
    assert first.headers[0] is second.headers[0]
    before = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else sys.getrefcount(None)
    for _ in range(500):
        native_cut("t", 0, columns, body)
        native_cut("t", 0, columns, body[:-1])
        assert NATIVE is not None
        NATIVE.packed(tuple(outputs), pack_headers, RECORD_BYTES_MAX)
        NATIVE.packed((*outputs, 1), pack_headers, RECORD_BYTES_MAX)
    after = sys.gettotalrefcount() if hasattr(sys, "gettotalrefcount") else sys.getrefcount(None)
    assert abs(after - before) < 100


@pytest.mark.parametrize("size", [RECORD_BYTES_MAX - 2, RECORD_BYTES_MAX - 1])
def test_a_record_over_the_bound_is_refused_and_one_at_it_is_taken(size: int) -> None:
    output = Output("t", 0, b"k", bytes(size), b"\x90")
    if size + 2 <= RECORD_BYTES_MAX:
        assert rows.pack([output], lambda _: 1, "a unit").counts == {("t", 0): 1}
    else:
        with pytest.raises(Unreadable, match="over the bound"):
            rows.pack([output], lambda _: 1, "a unit")
