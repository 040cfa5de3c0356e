"""Banking days, rolling and deadlines at several places."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.calendars import (
    DEFAULT_PLACE,
    calendar,
    calendar_for,
    calendar_ids,
    covered_years,
    find_place,
)
from usance.kernel.clock import iso, parse_instant

DAYS = st.dates(min_value=date(2018, 1, 1), max_value=date(2035, 11, 1))
PLACES = st.sampled_from(calendar_ids())


@pytest.mark.parametrize(
    ("place", "closed", "open_"),
    [
        ("GBLON", "2026-04-06", "2026-04-07"),  # Easter Monday
        ("USNYC", "2026-11-26", "2026-11-27"),  # Thanksgiving
        ("SGSIN", "2026-02-17", "2026-02-19"),  # Chinese New Year
        ("HKHKG", "2026-10-01", "2026-10-02"),
        ("DEFRA", "2026-06-04", "2026-06-05"),  # Corpus Christi, a holiday of Hesse
        ("EUTGT", "2026-05-01", "2026-06-04"),  # TARGET knows no Corpus Christi
        ("JPTYO", "2026-12-31", "2026-12-30"),  # a bank holiday beside the public ones
        ("AEDXB", "2026-12-02", "2026-12-04"),
        ("INBOM", "2026-04-01", "2026-04-02"),  # annual closing
        ("BDDAC", "2026-07-01", "2026-07-02"),  # bank holiday
        ("CHZRH", "2026-01-02", "2026-01-05"),
        ("CNSHA", "2026-10-05", "2026-10-10"),  # Golden Week, and the Saturday worked for it
    ],
)
def test_each_place_keeps_its_own_holidays(place: str, closed: str, open_: str) -> None:
    banks = calendar(place)
    assert not banks.is_banking_day(date.fromisoformat(closed))
    assert banks.is_banking_day(date.fromisoformat(open_))


@pytest.mark.parametrize(
    ("place", "day", "rests"),
    [
        ("AEDXB", "2021-12-24", True),  # Friday, before the week changed
        ("AEDXB", "2021-12-26", False),
        ("AEDXB", "2021-12-31", True),  # the last Friday of rest
        ("AEDXB", "2022-01-07", False),  # Friday, after
        ("AEDXB", "2022-01-09", True),
        ("BDDAC", "2026-06-05", True),
        ("BDDAC", "2026-06-07", False),
        ("INBOM", "2026-06-06", False),  # first Saturday of the month
        ("INBOM", "2026-06-13", True),  # second
        ("INBOM", "2026-06-27", True),  # fourth
        ("INBOM", "2026-05-30", False),  # fifth
        ("INBOM", "2026-06-07", True),
    ],
)
def test_weekends_follow_place_and_time(place: str, day: str, rests: bool) -> None:
    assert calendar(place).is_weekend(date.fromisoformat(day)) is rests


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-03-02T10:00:00Z", "2026-03-09T17:00:00.000Z"),
        ("2026-03-02T06:00:00Z", "2026-03-09T17:00:00.000Z"),  # before opening, same day
        ("2026-03-02T17:00:00Z", "2026-03-09T17:00:00.000Z"),  # the last moment of the day
        ("2026-03-02T17:00:00.001Z", "2026-03-10T17:00:00.000Z"),  # after close of business
        ("2026-03-07T12:00:00Z", "2026-03-16T17:00:00.000Z"),  # a Saturday counts as Monday
        ("2026-03-26T10:00:00Z", "2026-04-02T16:00:00.000Z"),  # summer time begins on the 29th
        ("2026-04-02T10:00:00Z", "2026-04-13T16:00:00.000Z"),  # over Easter
    ],
)
def test_the_refusal_deadline_is_the_close_of_the_fifth_banking_day(
    received: str, due: str
) -> None:
    deadline = calendar("GBLON").examination_deadline(parse_instant(received))
    assert iso(deadline.due) == due
    assert deadline.calendar == "GBLON"
    assert deadline.calendar_version == calendar("GBLON").version


@pytest.mark.parametrize("place", ["GBLON", "AEDXB", "SGSIN"])
@given(steps=st.lists(st.integers(-3 * 86_400_000, 3 * 86_400_000), max_size=30))
def test_a_receipt_counts_alike_whatever_was_asked_before(place: str, steps: list[int]) -> None:
    banks, at = calendar.__wrapped__(place), parse_instant("2026-12-24T16:59:59.999Z")
    for step in steps:
        at += step
        assert banks.received_on(at) == calendar.__wrapped__(place).received_on(at)
        for near in (banks.close_of(banks.received_on(at)) + d for d in (-1, 0, 1)):
            assert banks.received_on(near) == calendar.__wrapped__(place).received_on(near)


def test_a_receipt_falls_on_the_local_day() -> None:
    late_in_london = parse_instant("2026-03-02T20:00:00Z")
    assert calendar("SGSIN").received_on(late_in_london) == date(2026, 3, 3)
    assert calendar("USNYC").received_on(late_in_london) == date(2026, 3, 2)


def test_force_majeure_closes_banks_but_moves_no_expiry() -> None:
    banks = calendar("HKHKG")
    typhoon = date(2023, 9, 1)
    assert not banks.is_banking_day(typhoon)
    assert banks.roll_forward(typhoon) == typhoon
    assert banks.on_or_after(typhoon) == date(2023, 9, 4)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ALBNGB2LXXX", "GBLON"),
        ("DBSSSGSG", "SGSIN"),
        ("HSBCBDDHAXXX", "BDDAC"),  # a logical terminal
        ("ANY BANK IN SINGAPORE", "SGSIN"),
        ("at the counters of the bank, Hong Kong", "HKHKG"),
        ("SHANGHAI", "CNSHA"),  # a name in the form of a BIC
        ("INBOM", "INBOM"),
        ("INDIANAPOLIS", ""),
        ("ATLANTIS", ""),
        ("", ""),
    ],
)
def test_a_place_is_found_by_name_or_bic(text: str, place: str) -> None:
    assert find_place(text) == place


def test_the_first_place_known_wins_and_none_gives_the_default() -> None:
    assert calendar_for("ATLANTIS", "DBSSSGSG").id == "SGSIN"
    assert calendar_for("LONDON", "DBSSSGSG").id == "GBLON"
    assert calendar_for("ATLANTIS", "").id == DEFAULT_PLACE


@given(PLACES, DAYS, st.integers(min_value=0, max_value=12))
def test_adding_banking_days_passes_exactly_that_many(place: str, day: date, count: int) -> None:
    banks = calendar(place)
    start, end = banks.on_or_after(day), banks.add_banking_days(day, count)
    between = [start + timedelta(days=n) for n in range(1, (end - start).days + 1)]
    assert sum(map(banks.is_banking_day, between)) == count
    assert banks.is_banking_day(end)


@given(PLACES, DAYS)
def test_rolling_ends_on_the_nearest_open_day(place: str, day: date) -> None:
    banks = calendar(place)
    rolled = banks.roll_forward(day)
    passed = [day + timedelta(days=n) for n in range((rolled - day).days)]
    assert banks.is_regularly_open(rolled)
    assert not any(map(banks.is_regularly_open, passed))


@given(PLACES, st.integers(min_value=1_530_000_000_000, max_value=2_070_000_000_000))
def test_a_deadline_is_a_local_close_of_business_after_its_receipt(place: str, at: int) -> None:
    banks = calendar(place)
    received = banks.received_on(at)
    assert banks.close_of(received) >= at
    assert banks.examination_deadline(at).due == banks.close_of(banks.add_banking_days(received, 5))


@pytest.mark.parametrize("place", calendar_ids())
def test_every_covered_year_has_holidays_on_weekdays(place: str) -> None:
    banks = calendar(place)
    first, last = covered_years()
    for year in range(first, last + 1):
        days = [date(year, 1, 1) + timedelta(days=n) for n in range(365)]
        closed = [d for d in days if not banks.is_regularly_open(d) and not banks.is_weekend(d)]
        assert 2 <= len(closed) <= 35, (year, len(closed))


@pytest.mark.slow
def test_the_tables_are_what_the_tool_writes() -> None:
    tool = Path(__file__).parents[2] / "tools" / "build_calendars.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
