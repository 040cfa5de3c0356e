from __future__ import annotations

import itertools

import pytest

from usance.crypto.keyservice import KekId, KeyContext, Purpose, length_prefixed
from usance.testing.key_conformance import context


def test_parts_do_not_run_into_each_other() -> None:
    assert length_prefixed(b"ab", b"c") != length_prefixed(b"a", b"bc")
    assert length_prefixed(b"", b"a") != length_prefixed(b"a", b"")
    assert length_prefixed(b"a") == b"\x00\x01a"
    with pytest.raises(ValueError, match="65536 bytes"):
        length_prefixed(b"x" * 65_536)


def test_every_part_of_a_context_is_bound() -> None:
    own = context(1)
    variants = [
        own,
        own._replace(subject="s-10"),
        own._replace(retention="trade-10"),
        own._replace(subject="", retention=own.subject + own.retention),
        own._replace(key_id=b"k" * 16),
        own._replace(version=2),
        *(own._replace(purpose=p) for p in Purpose if p is not Purpose.DATA),
    ]
    bound = [v.aad(KekId("albion", n)) for v in variants for n in (1, 2)]
    bound.append(own._replace(tenant="albio").aad(KekId("albio", 1)))
    assert all(a != b for a, b in itertools.combinations(bound, 2))


def test_a_context_as_bytes_never_changes() -> None:
    # Stored keys are opened by these bytes for ever.
    own = KeyContext("albion", "c0ffee", "trade-10y", bytes(range(16)), 3)
    assert own.aad(KekId("albion", 2)).hex() == (
        "000d7573616e63652e777261702e310006616c62696f6e0004000000020006633066666565"
        "000974726164652d3130790010000102030405060708090a0b0c0d0e0f0004000000030004"
        "64617461"
    )  # fmt: skip


def test_a_tenants_keys_are_bound_to_its_own_kek_alone() -> None:
    with pytest.raises(AssertionError):
        context(1).aad(KekId("borealis", 1))
