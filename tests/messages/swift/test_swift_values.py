"""Values of fields: read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.kernel.money import Money
from usance.messages.swift import values
from usance.messages.swift.formats import problems
from usance.messages.swift.layouts import format_of
from usance.messages.swift.values import Availability, Coded, Institution


@given(st.integers(0, 10**11), st.sampled_from(["USD", "JPY", "KWD", "EUR"]))
def test_amounts_are_valid_and_read_back(minor: int, currency: str) -> None:
    text = values.money_text(Money(currency, minor))
    assert problems(text, *format_of("32B", "SR2026")) == []
    assert values.read_money(text) == Money(currency, minor)


def test_amounts_are_written_as_swift_writes_them() -> None:
    assert values.amount_text(10_000_000, "USD") == "100000,"
    assert values.amount_text(10_125_005, "USD") == "101250,05"
    assert values.amount_text(1000, "JPY") == "1000,"
    assert values.amount_text(5, "KWD") == "0,005"


def test_dated_amounts_give_date_and_money() -> None:
    assert values.read_dated_money("261204USD101250,00") == ("2026-12-04", Money("USD", 10_125_000))
    assert values.read_dated_money("USD1,") == ("", Money("USD", 100))


@pytest.mark.parametrize("text", ["USD1", "USD,1", "260230USD1,", "USD1,005", "", "1,"])
def test_amounts_that_are_none_raise_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|date|decimals"):
        values.read_dated_money(text)


def test_small_values_are_read() -> None:
    assert values.read_expiry("270215SINGAPORE") == ("2027-02-15", "SINGAPORE")
    assert values.date_text("2027-02-15") == "270215"
    assert values.read_tolerance("05/10") == (5, 10)
    assert values.read_sequence("1/3") == (1, 3)
    assert values.read_presentation_days("21/AFTER SHIPMENT") == (21, "AFTER SHIPMENT")
    assert values.read_presentation_days("21") == (21, "")


@pytest.mark.parametrize(
    "bank",
    [
        Institution(bic="BBBBSGSG"),
        Institution(bic="BBBBSGSGXXX", account="D/123"),
        Institution(name="BANK OF NOWHERE\nLONDON"),
        Institution(name="BANK", account="123"),
    ],
)
def test_banks_are_written_as_option_a_or_d_and_read_back(bank: Institution) -> None:
    tag, text = values.institution_field("53", bank)
    assert tag == ("53A" if bank.bic else "53D")
    assert problems(text, *format_of(tag, "SR2026")) == []
    assert values.read_institution(tag, text) == bank


def test_availability_with_a_bic_or_with_any_bank() -> None:
    for available, tag in (
        (Availability(bank="BBBBSGSGXXX", by="BY NEGOTIATION"), "41A"),
        (Availability(bank="ANY BANK\nIN SINGAPORE", by="BY PAYMENT"), "41D"),
    ):
        assert values.availability_field(available)[0] == tag
        assert values.read_availability(values.availability_field(available)[1]) == available


def test_items_are_told_apart_by_their_plus_signs() -> None:
    text = "+INVOICE IN 3\nCOPIES\n+BILL OF LADING\n+ PACKING LIST"
    assert values.read_items(text) == ["INVOICE IN 3\nCOPIES", "BILL OF LADING", "PACKING LIST"]
    assert values.read_items("PLAIN TEXT\nTWO LINES") == ["PLAIN TEXT\nTWO LINES"]
    assert values.read_items("") == []
    assert values.read_items(values.items_text(["A B", "C"])) == ["A B", "C"]


def test_coded_text_is_read_with_its_continuations() -> None:
    assert values.read_coded("/DISCREP/1. LATE\n//2 DAYS\n/NOTIFY/") == [
        Coded("DISCREP", "1. LATE\n2 DAYS"),
        Coded("NOTIFY", ""),
    ]
    assert values.read_coded("/DELETE/+X\nOF Y\n/ADD/+Z") == [
        Coded("DELETE", "+X\nOF Y"),
        Coded("ADD", "+Z"),
    ]
    assert values.read_coded("PLAIN") == [Coded("", "PLAIN")]


def test_coded_text_is_written_in_lines_that_fit() -> None:
    text = values.coded_text([Coded("DISCREP", "LATE SHIPMENT " * 9), Coded("NOTIFY", "")], 50)
    first, second, *_, last = text.split("\n")
    assert first.startswith("/DISCREP/LATE") and second.startswith("//") and last == "/NOTIFY/"
    assert problems(text, *format_of("77J", "SR2026")) == []
    added = values.coded_text([Coded("ADD", "+A /B " + "C" * 60 + " /D")], 65, continuation="")
    assert not any(line.startswith("/") for line in added.split("\n")[1:])


@given(st.text(st.sampled_from("AB :-/+.\n"), max_size=200), st.integers(5, 65))
def test_wrapped_text_fits_and_loses_no_word(text: str, width: int) -> None:
    lines = values.wrap(text, width).split("\n")
    assert all(len(line) <= width and not line.startswith((":", "-")) for line in lines)

    def letters(some: str) -> str:
        return "".join(character for character in some if character in "AB:-/+")

    assert letters("".join(lines)) == letters(text)


@given(st.text(max_size=60), st.sampled_from(["x", "z"]))
def test_text_is_transliterated_into_the_set(text: str, charset: str) -> None:
    written = values.swift_text(text, charset)
    tag = "79" if charset == "x" else "79Z"
    for line in filter(None, written.split("\n")):
        assert problems("." + line[:40], *format_of(tag, "SR2026")) == []


def test_transliteration_keeps_what_letters_say() -> None:
    assert values.swift_text("Müller & Søn, 東京") == "MULLER & SON, DONGJING"
    assert values.swift_text("50% [net]", "x") == "50? ?NET?"
