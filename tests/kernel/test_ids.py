"""Identifiers agree with the standards they claim."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.kernel import native
from usance.kernel.ids import (
    NAMESPACE,
    RandomIds,
    derived,
    murmur2,
    murmur2_in_python,
    namespace_of,
    partition_of,
    sequence_ids,
    uuid5_text,
)


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_values_of_kafkas_java_client(data: bytes, signed: int) -> None:
    assert murmur2(data) == murmur2_in_python(data) == signed & 0xFFFFFFFF


@pytest.mark.native
@given(st.binary(max_size=70))
def test_the_compiled_murmur2_is_that_of_the_reference(data: bytes) -> None:
    compiled = native.load()[0]
    assert compiled.murmur2(data) == murmur2_in_python(data)


@given(st.text(), st.integers(min_value=1, max_value=64))
def test_a_key_has_one_partition_in_range(key: str, partitions: int) -> None:
    partition = partition_of(key, partitions)
    assert 0 <= partition < partitions
    assert partition == partition_of(key, partitions)


def test_keys_spread_over_partitions() -> None:
    counts = Counter(partition_of(f"albion/credit/TF26LC{n:06d}", 4) for n in range(4_000))
    assert len(counts) == 4
    assert min(counts.values()) > 850


@given(st.uuids(), st.text())
def test_our_uuid5_is_that_of_the_standard_library(namespace: uuid.UUID, name: str) -> None:
    try:
        expected = str(uuid.uuid5(namespace, name))
    except UnicodeEncodeError:
        return
    assert uuid5_text(namespace.bytes, name) == expected


def test_derived_identifiers_depend_on_root_and_every_part() -> None:
    root = str(uuid.UUID(int=7))
    assert derived(root, "event", 1) == str(uuid.uuid5(uuid.UUID(int=7), "event/1"))
    ids = {derived(r, kind, n) for r in (root, "text") for kind in "ab" for n in range(3)}
    assert len(ids) == 12


def test_a_root_that_is_no_uuid_gets_a_namespace_of_its_own() -> None:
    assert namespace_of("albion") == uuid.uuid5(NAMESPACE, "albion").bytes
    assert namespace_of(str(NAMESPACE)) == NAMESPACE.bytes


def test_fresh_identifiers_are_random_uuids() -> None:
    ids = RandomIds()
    made = {ids.fresh() for _ in range(100)}
    assert len(made) == 100
    assert {uuid.UUID(text).version for text in made} == {4}


def test_sequences_count_for_themselves() -> None:
    one, other = sequence_ids("a"), sequence_ids("b")
    assert [one(), one(), other()] == ["a-1", "a-2", "b-1"]
