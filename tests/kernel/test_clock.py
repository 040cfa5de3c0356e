"""Instants are exact, and a book's clock moves only forward."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.kernel.clock import (
    MS_PER_DAY,
    BookClock,
    SystemClock,
    date_text,
    iso,
    parse_instant,
)

NOON = parse_instant("2026-03-02T12:00:00Z")


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (NOON, "2026-03-02T12:00:00.000Z"),
    ],
)
def test_an_instant_is_written_in_utc_with_milliseconds(instant: int, text: str) -> None:
    assert iso(instant) == text
    assert date_text(instant) == text[:10]


@given(st.integers(min_value=-62_000_000_000_000, max_value=250_000_000_000_000))
def test_writing_and_reading_an_instant_is_the_identity(instant: int) -> None:
    assert parse_instant(iso(instant)) == instant


def test_other_zones_are_read_as_the_same_moment() -> None:
    assert parse_instant("2026-03-02T20:00:00+08:00") == NOON


@pytest.mark.parametrize("text", ["2026-03-02T12:00:00", "2026-03-02", "noon", ""])
def test_an_instant_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_instant(text)


def test_a_book_clock_stands_still_until_told() -> None:
    clock = BookClock(NOON)
    before = clock.monotonic()
    clock.sleep(0.005)
    assert clock.now() == NOON
    assert clock.monotonic() > before


def test_a_book_clock_jumps_forward_and_never_back() -> None:
    clock = BookClock(NOON)
    clock.advance_to(NOON + MS_PER_DAY)
    clock.advance_to(NOON)
    assert clock.now() == NOON + MS_PER_DAY


def test_a_running_book_clock_ticks_at_real_speed_from_where_it_stands() -> None:
    clock = BookClock(NOON)
    clock.run()
    clock.sleep(0.02)
    first = clock.now()
    assert NOON + 15 <= first < NOON + 10_000
    clock.advance_to(NOON + MS_PER_DAY)
    assert NOON + MS_PER_DAY <= clock.now() < NOON + MS_PER_DAY + 10_000
    clock.run()
    assert clock.now() >= NOON + MS_PER_DAY


def test_the_system_clock_is_near_itself_and_monotonic() -> None:
    clock = SystemClock()
    first, tick = clock.now(), clock.monotonic()
    clock.sleep(0.005)
    assert clock.monotonic() - tick >= 0.004
    assert clock.now() - first < 60_000
