"""Money is whole minor units; nothing is rounded that was not asked to be."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.kernel.money import (
    CURRENCIES,
    MINOR_UNITS,
    Money,
    decimals,
    format_minor,
    parse_decimal,
    percent_of,
    with_percent,
)

MINORS = st.integers(min_value=-(10**18), max_value=10**18)
CODES = st.sampled_from(sorted(CURRENCIES))


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (100_000, "USD", "1,000.00"),
        (5, "USD", "0.05"),
        (-5, "USD", "-0.05"),
        (1_234_567, "JPY", "1,234,567"),
        (1_234_567, "KWD", "1,234.567"),
        (1, "CLF", "0.0001"),
        (0, "JPY", "0"),
    ],
)
def test_amounts_are_written_with_the_decimals_of_their_currency(
    minor: int, currency: str, text: str
) -> None:
    assert format_minor(minor, currency) == text
    assert str(Money(currency, minor)) == f"{currency} {text}"


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("1000", "USD", 100_000),
        ("1000.5", "USD", 100_050),
        ("0.05", "USD", 5),
        ("-0.05", "USD", -5),
        ("1.500", "USD", 150),  # trailing zeros are no decimals
        ("10.000", "JPY", 10),
        ("1.234", "BHD", 1_234),
    ],
)
def test_decimals_become_minor_units(text: str, currency: str, minor: int) -> None:
    assert parse_decimal(text, currency) == minor


def test_a_comma_separates_decimals_in_fin_amounts() -> None:
    assert parse_decimal("100000,", "USD", separator=",") == 10_000_000
    assert parse_decimal("12,5", "USD", separator=",") == 1_250


@pytest.mark.parametrize(
    ("text", "currency"),
    [("", "USD"), ("x", "USD"), ("1.005", "USD"), ("1.5", "JPY"), ("1.2.3", "USD"), (".", "USD"),
     ("1e3", "USD"), ("--1", "USD"), ("²", "USD")],
)  # fmt: skip
def test_text_that_is_no_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_decimal(text, currency)


@given(MINORS, CODES)
def test_writing_and_reading_an_amount_is_the_identity(minor: int, currency: str) -> None:
    plain = format_minor(minor, currency).replace(",", "")
    assert parse_decimal(plain, currency) == minor
    assert Decimal(plain) == Decimal(minor).scaleb(-decimals(currency))


@given(st.integers(min_value=0, max_value=10**18), st.integers(min_value=0, max_value=200))
def test_a_percentage_is_rounded_down_to_the_minor_unit(minor: int, percent: int) -> None:
    part = percent_of(minor, percent)
    assert part * 100 <= minor * percent < (part + 1) * 100
    assert with_percent(minor, percent) == minor + part


def test_every_exceptional_currency_is_a_currency() -> None:
    assert set(MINOR_UNITS) <= CURRENCIES
    assert all(len(code) == 3 and code.isupper() for code in CURRENCIES)
