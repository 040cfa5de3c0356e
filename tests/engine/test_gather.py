"""How long a unit waits for company: not at all at a low rate, a few milliseconds where commits queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.engine.owner.gather import (
    GATHER_MAX_S,
    HOLD_MAX_S,
    TARGET_P50_S,
    Load,
    Pace,
    gather,
    hold,
)


@pytest.mark.parametrize(
    ("rate", "commit", "waits"),
    [(0, 0, 0.0), (200, 0.003, 0.0), (600, 0.003, 0.0), (1_000, 0.003, 1.0), (5_000, 0.006, 1.0)],
)
def test_gathering_begins_where_records_arrive_faster_than_commits_end(
    rate: float, commit: float, waits: float
) -> None:
    assert gather(Load(rate, commit)) == pytest.approx(waits * min(GATHER_MAX_S, TARGET_P50_S / 3))


def test_a_lazier_target_gathers_longer_up_to_a_bound() -> None:
    busy = Load(5_000.0, 0.005)
    assert gather(busy, 0.006) == pytest.approx(0.002)
    assert gather(busy, 1.0) == GATHER_MAX_S


@given(
    st.lists(
        st.tuples(st.integers(0, 2_000), st.floats(0.0, 10.0), st.floats(0.0, 10.0)), max_size=40
    )
)
def test_whatever_happens_the_pause_has_its_bound(history: list[tuple[int, float, float]]) -> None:
    load = Load()
    for records, seconds, commit in history:
        load = load.arrived(records, seconds).committed(commit)
        assert 0.0 <= gather(load) <= GATHER_MAX_S


def test_the_average_follows_the_arrivals_and_forgets_them() -> None:
    load = Load(commit=0.003)
    for _ in range(100):
        load = load.arrived(5, 0.005)
    assert load.rate == pytest.approx(1_000, rel=0.01) and gather(load) > 0
    for _ in range(200):
        load = load.arrived(1, 0.005)
    assert load.rate == pytest.approx(200, rel=0.01) and gather(load) == 0


def test_an_empty_read_begins_no_new_gathering() -> None:
    pace = Pace()
    pace.load = Load(5_000.0, 0.005)
    pace.read(20, 1.0)
    full = pace.pause(1.0)
    pace.read(0, 1.001)
    assert 0 < pace.pause(1.001) == pytest.approx(full - 0.001)


def test_a_steady_trickle_never_waits_and_a_stream_is_read_a_gathering_apart() -> None:
    for rate, expected in ((200, 0.0), (2_000, gather(Load(2_000, 0.003)))):
        pace, now = Pace(), 0.0
        for _ in range(200):
            pause = pace.pause(now)
            now += max(pause, 1 / rate)
            pace.read(max(1, round(max(pause, 1 / rate) * rate)), now)
            pace.asked(now)
            pace.committed(now + 0.003)
        assert pace.pause(now) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rate", "commit", "holds"),
    [
        (0, 0, True),
        (200, 0.004, True),
        (5_000, 0.008, True),
        (20_000, 0.008, False),
        (40_000, 0.03, False),
    ],
)
def test_the_unit_before_is_let_through_first_except_where_deciding_takes_longer(
    rate: float, commit: float, holds: bool
) -> None:
    assert hold(Load(rate, commit)) == (HOLD_MAX_S if holds else 0.0)
