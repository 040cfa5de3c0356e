"""How much may be drawn: article 30 and fields 39A and 39C, in whole minor units."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.terms import Terms
from usance.domain.tolerance import (
    amount_tolerance,
    available,
    is_measured,
    least_drawing,
    max_liability,
    may_draw_short,
)

AMOUNTS = st.integers(min_value=0, max_value=10**15)
PERCENTS = st.integers(min_value=0, max_value=99)


def terms(**fields: Any) -> Terms:
    base = {
        "currency": "USD",
        "amount": 10_000,
        "expiry_date": "2026-12-31",
        "expiry_place": "LONDON",
        "available_with": "ANY BANK",
        "available_by": "sight",
    }
    return Terms(**(base | fields))


@pytest.mark.parametrize(
    ("fields", "liability"),
    [
        ({}, 10_000),
        ({"approximate": True}, 11_000),
        ({"has_tolerance": True, "tolerance_plus": 5}, 10_500),
        ({"has_tolerance": True, "tolerance_plus": 5, "approximate": True}, 10_500),
        ({"has_tolerance": True, "approximate": True}, 10_000),  # 0/0 is a statement too
        ({"tolerance_plus": 5}, 10_000),  # 39A absent
        ({"additional_amount": 700}, 10_700),
        ({"approximate": True, "additional_amount": 700}, 11_700),
        ({"amount": 99, "has_tolerance": True, "tolerance_plus": 5}, 103),  # rounded down
    ],
)
def test_the_most_we_may_have_to_pay(fields: dict[str, Any], liability: int) -> None:
    assert max_liability(terms(**fields)) == liability


@pytest.mark.parametrize(
    ("unit", "measured"),
    [("MT", True), ("KGS", True), ("Litres", True), ("PCS", False), ("BAGS", False), ("", False)],
)
def test_measures_are_told_from_packing_units(unit: str, measured: bool) -> None:
    assert is_measured(unit) is measured


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_available_and_drawn_make_the_liability(amount: int, more: int, drawn: int) -> None:
    credit = terms(amount=amount, additional_amount=more)
    left = available(credit, drawn)
    assert left >= 0
    if drawn <= max_liability(credit):
        assert left + drawn == max_liability(credit)


@given(AMOUNTS, PERCENTS, PERCENTS)
def test_an_explicit_tolerance_is_kept_to_the_minor_unit(
    amount: int, plus: int, minus: int
) -> None:
    credit = terms(amount=amount, has_tolerance=True, tolerance_plus=plus, tolerance_minus=minus)
    most, least = max_liability(credit), least_drawing(credit, 0, 0)
    assert most * 100 <= amount * (100 + plus) < (most + 1) * 100
    assert (least - 1) * 100 < amount * (100 - minus) <= least * 100


@given(AMOUNTS, st.integers(0, 1000), st.integers(0, 1000), st.booleans(), st.booleans())
def test_five_per_cent_less_never_meets_a_tolerance_of_the_credit(
    amount: int, shipped: int, price: int, stated: bool, about: bool
) -> None:
    credit = terms(
        amount=amount, quantity=500, unit_price=500, has_tolerance=stated, approximate=about
    )
    short = may_draw_short(credit, shipped, price)
    assert short == (not stated and not about and shipped >= 500 and price >= 500)
    allowed = 5 if short else amount_tolerance(credit).minus
    assert least_drawing(credit, shipped, price) == -(-amount * (100 - allowed) // 100)
