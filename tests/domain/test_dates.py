"""Date words of article 3, shipment dates and maturities."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.calendars import calendar
from usance.domain.dates import (
    FAR,
    Window,
    day_of,
    days_after,
    maturity,
    maturity_base,
    on_or_about,
    presentation_shipment_date,
    shipment_window,
)
from usance.domain.terms import PresentedDocument, Terms


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("FIRST HALF OF MARCH 2026", "2026-03-01", "2026-03-15"),
        ("during second half of february 2026", "2026-02-16", "2026-02-28"),
        ("BEGINNING OF APRIL 2026", "2026-04-01", "2026-04-10"),
        ("SHIPMENT TO BE EFFECTED IN THE MIDDLE OF APR 2026", "2026-04-11", "2026-04-20"),
        ("END OF FEBRUARY 2028", "2028-02-21", "2028-02-29"),
        ("ON OR ABOUT 15 MARCH 2026", "2026-03-10", "2026-03-20"),
        ("FROM 2026-03-01 TO 2026-03-31", "2026-03-01", "2026-03-31"),
        ("BETWEEN MARCH 1, 2026 AND MARCH 31, 2026.", "2026-03-01", "2026-03-31"),
        ("UNTIL 15 MAR 2026", None, "2026-03-15"),
        ("FROM 15 MARCH 2026", "2026-03-15", None),
        ("BEFORE 15 MARCH 2026", None, "2026-03-14"),
        ("AFTER 15 MARCH 2026", "2026-03-16", None),
    ],
)
def test_words_of_shipment_mean_the_days_of_article_3(
    text: str, first: str | None, last: str | None
) -> None:
    expected = Window(first and date.fromisoformat(first), last and date.fromisoformat(last))  # type: ignore[arg-type]
    assert shipment_window(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PROMPT",
        "AS SOON AS POSSIBLE",
        "NOT BEFORE 15 MARCH 2026",
        "FIRST HALF OF MARCH 2026 OR SECOND HALF OF APRIL 2026",
        "BETWEEN 2026-03-31 AND 2026-03-01",
        "UNTIL 31 FEBRUARY 2026",
        "FIRST HALF OF MARCH 9026",
    ],
)
def test_words_that_are_not_wholly_understood_mean_nothing(text: str) -> None:
    assert shipment_window(text) is None


@given(st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1)), st.integers(-9, 9))
def test_on_or_about_is_five_days_either_way(day: date, offset: int) -> None:
    other = date.fromordinal(day.toordinal() + offset)
    assert (other in on_or_about(day)) == (abs(offset) <= 5)


@pytest.mark.parametrize("text", ["", "2026-02-30", "20260301", "2026-W10-1", "9999-01-01", "x"])
def test_text_that_is_no_sensible_date_is_none(text: str) -> None:
    assert day_of(text) is None


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert day_of(text) is None or shipment_window(f"UNTIL {text}") is not None
    shipment_window(text)


def test_a_long_period_ends_at_the_far_date() -> None:
    assert days_after(date(2026, 1, 1), 10**12) == FAR
    assert days_after(date(2026, 1, 1), 31) == date(2026, 2, 1)


def bill(noted: str, vessel: str = "EVER GIVEN") -> PresentedDocument:
    return PresentedDocument(
        kind="bill_of_lading", date="2026-01-01", on_board_date=noted, vessel=vessel
    )


def test_bills_of_one_vessel_are_one_shipment_and_of_two_vessels_two() -> None:
    one = [bill("2026-03-01"), bill("2026-03-05", "ever given ")]
    two = [bill("2026-03-01"), bill("2026-03-05", "EVER GOLDEN")]
    assert presentation_shipment_date(one) == date(2026, 3, 5)
    assert presentation_shipment_date(two) == date(2026, 3, 1)
    assert presentation_shipment_date([]) is None


def terms(tenor_from: str) -> Terms:
    return Terms(
        currency="USD",
        amount=1,
        expiry_date="2026-12-31",
        expiry_place="LONDON",
        available_with="ANY BANK",
        available_by="acceptance",
        tenor_from=tenor_from,
    )


@pytest.mark.parametrize(
    ("tenor_from", "base"),
    [
        ("bl_date", date(2026, 3, 5)),
        ("shipment", date(2026, 3, 5)),
        ("sight", date(2026, 3, 20)),
        ("invoice_date", date(2026, 2, 27)),
    ],
)
def test_a_tenor_runs_from_what_the_credit_names(tenor_from: str, base: date) -> None:
    invoice = PresentedDocument(kind="invoice", date="2026-02-27")
    documents = [bill("2026-03-01"), bill("2026-03-05"), invoice]
    assert maturity_base(terms(tenor_from), documents, date(2026, 3, 20)) == base


def test_a_tenor_without_its_date_has_no_maturity() -> None:
    assert maturity_base(terms("invoice_date"), [bill("2026-03-01")], None) is None


@pytest.mark.parametrize(
    ("days", "due"),
    [
        (30, "2026-03-31"),  # the base date itself is excluded
        (33, "2026-04-07"),  # Good Friday moves to the Tuesday after Easter
    ],
)
def test_maturity_excludes_the_base_date_and_falls_on_a_banking_day(days: int, due: str) -> None:
    assert maturity(date(2026, 3, 1), days, calendar("GBLON")) == date.fromisoformat(due)
