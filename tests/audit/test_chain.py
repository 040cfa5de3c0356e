"""The chain: published vectors, and every way of breaking it named at the right record."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.audit.chain import (
    HASHED_HEADERS,
    ChainRecord,
    ChainVerifier,
    Links,
    chain_start,
    envelope,
    envelope_hash,
    link,
    verify,
)

LOG, TOPIC = "5d2f0c5e-1111-4222-8333-444455556666", "usance.trade.events"
VECTORS = json.loads((Path(__file__).parent / "vectors" / "chain.json").read_text())


def links(headers: tuple[tuple[str, bytes], ...]) -> Links:
    """Read a toy meta: index as u32, then prev."""
    meta = dict(headers).get("usance-meta", b"")
    if len(meta) < 4:
        raise ValueError("too short")
    return Links(int.from_bytes(meta[:4], "big"), meta[4:])


def chain(count: int, partition: int = 0) -> list[ChainRecord]:
    tail, records = chain_start(LOG, TOPIC, partition), []
    for i in range(count):
        headers = (("ce_id", b"id-%d" % i), ("usance-meta", i.to_bytes(4, "big") + tail))
        records.append(ChainRecord(10 * i, b"key", b"value %d" % i, headers))
        tail = link(tail, envelope_hash(b"key", b"value %d" % i, headers))
    return records


def run(records: list[ChainRecord], partition: int = 0) -> Any:
    return verify(ChainVerifier(LOG, TOPIC, partition, links), records)


def test_the_published_vectors_hold() -> None:
    start = VECTORS["chain_start"]
    begin = chain_start(start["log_id"], start["topic"], start["partition"])
    assert begin.hex() == start["c(-1)"]
    tail = begin
    for record in VECTORS["records"]:

        def unhex(text: str | None) -> bytes | None:
            return None if text is None else bytes.fromhex(text)

        headers = tuple((n, bytes.fromhex(v)) for n, v in record["headers"])
        key, value = unhex(record["key"]), unhex(record["value"])
        assert envelope(key, value, headers).hex() == record["envelope"]
        assert envelope_hash(key, value, headers).hex() == record["envelope_hash"]
        tail = link(tail, envelope_hash(key, value, headers))
        assert tail.hex() == record["c"]


def test_the_envelope_is_length_prefixed_values_in_fixed_order_with_absent_marked() -> None:
    headers = (("usance-meta", b"m"), ("traceparent", b"t"), ("ce_id", b"i"), ("ce_id", b"second"))
    absent = b"\xff\xff\xff\xff"
    expected = absent + b"\0\0\0\1i" + absent * 4 + b"\0\0\0\1m" + b"\0\0\0\0" + absent
    assert envelope(b"", None, headers) == expected
    assert len(HASHED_HEADERS) == 7


def test_the_start_binds_log_topic_and_partition_by_length_prefixed_parts() -> None:
    parts = (b"usance/chain/v1", LOG.encode(), TOPIC.encode(), struct.pack(">I", 3))
    packed = b"".join(struct.pack(">I", len(p)) + p for p in parts)
    assert chain_start(LOG, TOPIC, 3) == hashlib.sha256(packed).digest()
    assert chain_start("ab", "c", 0) != chain_start("a", "bc", 0)


def test_a_whole_chain_verifies_from_its_start() -> None:
    report = run(chain(20))
    assert report.whole and report.records == 20 and report.next_index == 20 and not report.note


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_any_altered_hashed_byte_is_found_and_its_record_named(data: Any) -> None:
    records = chain(6)
    i = data.draw(st.integers(0, 4))
    r = records[i]
    part = data.draw(st.sampled_from(["key", "value", "ce_id"]))
    if part == "ce_id":
        headers = (("ce_id", r.headers[0][1] + b"!"), r.headers[1])
        records[i] = r._replace(headers=headers)
    else:
        old = getattr(r, part)
        at = data.draw(st.integers(0, len(old) - 1))
        new = old[:at] + bytes((old[at] ^ data.draw(st.integers(1, 255)),)) + old[at + 1 :]
        records[i] = r._replace(**{part: new})
    report = run(records)
    assert report.broken is not None
    assert (report.broken.index, report.broken.offset) == (i, 10 * i)
    assert "altered" in report.broken.reason and report.broken.hint


@pytest.mark.parametrize(
    ("change", "index", "reason"),
    [
        (lambda r: r[:2] + r[3:], 2, "its index is 3, 2 was due"),
        (lambda r: [r[0], r[2], r[1]], 1, "its index is 2"),
        (lambda r: [*r[:3], r[2]], 3, "its index is 2, 3 was due"),
        (lambda r: [*r[:2], r[2]._replace(headers=r[2].headers[:1])], 2, "usance-meta"),
        (lambda r: [r[0]._replace(headers=(("usance-meta", bytes(36)),))], 0, "chain's start"),
        (lambda r: [r[0]._replace(headers=(("usance-meta", bytes(9)),))], 0, "no index and prev"),
    ],
)
def test_each_break_is_named_at_the_first_broken_record(
    change: Any, index: int, reason: str
) -> None:
    report = run(change(chain(5)))
    assert report.broken is not None
    assert report.broken.index == index and reason in report.broken.reason


def test_records_of_another_partition_or_log_do_not_pass() -> None:
    assert not run(chain(3, partition=1), partition=0).whole


def test_an_expired_prefix_is_taken_on_trust_and_said_so_unless_the_topic_is_kept() -> None:
    records = chain(9)[4:]
    verifier = ChainVerifier(LOG, TOPIC, 0, links)
    report = verify(verifier, records)
    assert report.whole and report.first_index == 4
    assert "before index 4" in report.note
    kept = verifier.report(allow_prefix=False)
    assert kept.broken is not None and "0 to 3 are missing" in kept.broken.reason


def test_a_cut_or_altered_end_shows_against_a_later_proof() -> None:
    records = chain(5)
    whole = run(records)
    end = (whole.next_index, whole.tail)
    cut = ChainVerifier(LOG, TOPIC, 0, links)
    verify(cut, records[:-1])
    assert cut.report().whole
    assert not cut.report(expected_end=end).whole
    last = ChainVerifier(LOG, TOPIC, 0, links)
    verify(last, [*records[:-1], records[-1]._replace(value=b"other")])
    found = last.report(expected_end=end).broken
    assert found is not None and "last record" in found.reason
    assert (found.index, found.offset) == (4, 40)
