"""Leaves, roots, bundles and hashes, compiled and not: the same bytes, and for what is wrong the same words."""

from __future__ import annotations

from hashlib import sha1, sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.audit import merkle, tiles
from usance.audit.chain import HASHED_HEADERS, envelope, link
from usance.audit.codes import Detected
from usance.audit.leaf import KINDS, unpack
from usance.audit.tiles import Edge
from usance.engine.proof import sealing
from usance.engine.proof.sealing import Tree, first_head
from usance.kernel import native
from usance.kernel.errors import Unreadable
from usance.log.contract import Record, TopicPartition
from usance.messages.varints import VARINTS

pytestmark = pytest.mark.native
CTX = "t.trade."


@pytest.fixture(scope="module", autouse=True)
def switched_on() -> Any:
    """Test the extension even where USANCE_NATIVE switches it off."""
    modules = (sealing, merkle, tiles)
    before = [m.NATIVE for m in modules]
    for module in modules:
        module.NATIVE = native.load()[0]
    yield
    for module, was in zip(modules, before, strict=True):
        module.NATIVE = was


def extension() -> Any:
    return native.load()[0]


@given(st.binary(max_size=700), st.booleans(), st.lists(st.integers(0, 700), max_size=4))
@settings(max_examples=300)
def test_a_digest_is_hashlibs_however_it_is_fed(data: bytes, plainly: bool, cuts: list[int]):
    places = sorted(min(c, len(data)) for c in cuts)
    assert extension().sha256(data, plainly, places) == sha256(data).digest()


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 4_096, 70_000])
@pytest.mark.parametrize("plainly", [False, True])
def test_a_digest_is_hashlibs_at_the_edges_of_blocks(size: int, plainly: bool):
    data = bytes(n * 7 & 255 for n in range(size))
    assert extension().sha256(data, plainly, []) == sha256(data).digest()


@given(st.binary(max_size=60), st.booleans())
def test_an_identifiers_digest_is_hashlibs_up_to_a_block(data: bytes, plainly: bool):
    found = extension().sha1(data, plainly)
    assert found == sha1(data, usedforsecurity=False).digest() if len(data) < 56 else found is None


@given(st.lists(st.binary(max_size=200), max_size=600))
@settings(max_examples=60)
def test_leaf_hashes_and_bundles_are_those_of_the_reference(entries: list[bytes]):
    assert extension().leaf_hashes(entries) == merkle.plain_leaf_hashes(entries)
    assert extension().bundle(entries) == tiles.plain_bundle(entries)


@pytest.mark.parametrize("count", [*range(1, 71), 255, 256, 257, 1_000])
def test_roots_are_those_of_the_reference(count: int):
    hashes = [sha256(n.to_bytes(4, "big")).digest() for n in range(count)]
    assert extension().root_of(hashes) == merkle.plain_root_of(hashes) == merkle.root_of(hashes)


def test_what_is_unusual_is_left_to_the_reference():
    assert extension().root_of([]) is None and merkle.root_of([]) == merkle.EMPTY_ROOT
    assert extension().root_of([b"short"]) is None
    assert extension().leaf_hashes([b"", bytearray()]) is None
    assert merkle.leaf_hashes((b"a",)) == [merkle.leaf_hash(b"a")]
    assert extension().bundle([b"x" * 65_536]) is None
    with pytest.raises(ValueError, match="65535"):
        tiles.pack_bundle([b"x" * 65_536])
    assert extension().leaves([], 0, 1, 0, b"no tail", 0) is None
    assert extension().leaves([("no", "record")], 0, 1, 0, bytes(32), 0) is None


# -- records


class Case:
    """Records of one partition as an owner chains them, then changed in some way."""

    def __init__(self, kind: str, sizes: list[tuple[int | None, int | None, int]], seed: int):
        self.kind, self.place = kind, TopicPartition(CTX + kind, seed % 5)
        self.last = first_head("o", "0" * 32, self.place)
        self.records: list[Record] = []
        tail, time = self.last.tail, 1_700_000_000_000
        for index, (key, value, extra) in enumerate(sizes):
            footer = kind == "outcomes" and extra == 3
            said = b"usance.trade.UnitFooter" if footer else b"usance.trade.Opened"
            meta = b"\x04ab" * extra + VARINTS[index] + b"\x02" + tail + b"\x00rest"
            contents = (b"1.0", b"i" * 36, said, b"/c", b"s" * extra, b"t", meta)
            headers = tuple(zip(HASHED_HEADERS, contents, strict=True))
            if kind == "outcomes":
                headers = tuple(pair for pair in headers if pair[0] != "ce_subject")
            headers += (("traceparent", b"00-x"),) * (extra % 2)
            time += extra
            record = Record(
                self.place.topic,
                self.place.partition,
                index * 2 + seed,
                None if key is None else b"k" * key,
                None if value is None else bytes([extra % 2]) + b"v" * value,
                headers,
                time,
            )
            self.records.append(record)
            tail = link(tail, sha256(envelope(record.key, record.value, record.headers)).digest())

    def outcome(self, compiled: bool, step: int) -> Any:
        """Return what a tree is after the records, and what was found wrong."""
        before = sealing.NATIVE
        sealing.NATIVE = extension() if compiled else None
        tree = Tree(self.place, self.kind, self.last, Edge())
        found = None
        try:
            for at in range(0, len(self.records), step):
                tree.take(self.records[at : at + step], diagnose)
        except Detected as wrong:
            found = (wrong.code, wrong.message, wrong.where)
        finally:
            sealing.NATIVE = before
        return tree.pending, tree.offset, tree.tail, tree.log_time, found


def diagnose(record: Record) -> Any:
    raise Unreadable("meta", "not read in this test")


SIZE = st.none() | st.integers(0, 1_500)
SIZES = st.lists(st.tuples(SIZE, SIZE, st.integers(0, 3)), max_size=90)
KIND = st.sampled_from(sorted(KINDS))


@given(KIND, SIZES, st.integers(0, 2**40), st.integers(1, 90))
@settings(max_examples=150)
def test_leaves_are_those_of_the_reference(kind: str, sizes: Any, seed: int, step: int):
    case = Case(kind, sizes, seed)
    compiled = case.outcome(True, step)
    assert compiled == case.outcome(False, step)
    assert compiled[4] is None and len(compiled[0]) == len(sizes)
    if sizes and extension().FAST_HASHES:
        start = (case.place.partition, KINDS[kind], 0, case.last.tail, 0)
        leaves, tail = extension().leaves(case.records, *start)
        assert (leaves, tail) == (compiled[0], compiled[2])
        assert [unpack(leaf).offset for leaf in leaves] == [r.offset for r in case.records]


def flipped(case: Case, at: int, bit: int) -> None:
    record = case.records[at]
    value = bytearray(record.value or b"\x01")
    value[bit // 8 % len(value)] ^= 1 << bit % 8
    case.records[at] = record._replace(value=bytes(value))


def without_a_header(case: Case, at: int, bit: int) -> None:
    record = case.records[at]
    case.records[at] = record._replace(headers=record.headers[: bit % 7])


def headers_turned(case: Case, at: int, bit: int) -> None:
    record = case.records[at]
    case.records[at] = record._replace(headers=record.headers[::-1])


def meta_flipped(case: Case, at: int, bit: int) -> None:
    record = case.records[at]
    found = dict(record.headers)
    meta = bytearray(found["usance-meta"])
    meta[bit // 8 % len(meta)] ^= 1 << bit % 8
    found["usance-meta"] = bytes(meta)
    case.records[at] = record._replace(headers=tuple(found.items()))


def subject_behind(case: Case, at: int, bit: int) -> None:
    """Of headers the first of a name is hashed, wherever it stands."""
    record = case.records[at]
    case.records[at] = record._replace(headers=(*record.headers, ("ce_subject", b"late")))


def subject_missing(case: Case, at: int, bit: int) -> None:
    record = case.records[at]
    headers = tuple(pair for pair in record.headers if pair[0] != "ce_subject")
    case.records[at] = record._replace(headers=headers)


def removed(case: Case, at: int, bit: int) -> None:
    del case.records[at]


def turned(case: Case, at: int, bit: int) -> None:
    case.records[at : at + 2] = case.records[at : at + 2][::-1]


def earlier(case: Case, at: int, bit: int) -> None:
    case.records[at] = case.records[at]._replace(timestamp=bit)


def negative(case: Case, at: int, bit: int) -> None:
    case.records[at] = case.records[at]._replace(timestamp=-1)


CHANGES = [flipped, without_a_header, headers_turned, meta_flipped, subject_behind, subject_missing]
CHANGES += [removed, turned, earlier, negative]


@given(
    st.sampled_from(CHANGES),
    KIND,
    SIZES.filter(bool),
    st.integers(0, 89),
    st.integers(0, 5_000),
    st.integers(1, 90),
)
@settings(max_examples=300)
def test_what_is_wrong_is_told_as_the_reference_tells_it(
    change: Any, kind: str, sizes: Any, at: int, bit: int, step: int
):
    case = Case(kind, sizes, 7)
    change(case, at % len(case.records), bit)
    assert case.outcome(True, step) == case.outcome(False, step)


def test_a_flipped_value_is_found_at_the_record_behind_it():
    case = Case("events", [(1, 10, 0)] * 200, 0)
    flipped(case, 100, 3)
    code, _, where = case.outcome(True, 200)[4]
    assert (code, where) == ("CHAIN_BREAK", "trade.events/p000#101")
