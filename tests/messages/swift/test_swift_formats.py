"""Notation compiled to checkers."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.messages.swift.formats import is_bic, problems, read_date
from usance.messages.swift.layouts import format_of

GOOD = [
    ("20", "TF26LC000123"),
    ("20", "A/B"),
    ("20", "-A"),
    ("27", "1/8"),
    ("31D", "280229X"),
    ("32B", "USD0,5"),
    ("32B", "USD100000,"),
    ("32B", "JPY1000,"),
    ("32B", "KWD1,123"),
    ("32B", "USD123456789012,99"),
    ("32A", "261231EUR1,"),
    ("39A", "10/00"),
    ("40E", "OTHR/SOME"),
    ("41A", "BBBBSGSG\nBY PAYMENT"),
    ("41D", "A\nB\nC\nD\nBY PAYMENT"),
    ("44D", "A\nB\nC\nD\nE\nF"),
    ("44I", "EXW"),
    ("44I", "CIF\nHERE\nTHERE"),
    ("48", "21"),
    ("48", "5/AFTER"),
    ("50R", "SG"),
    ("53A", "/C/123\nBBBBSGSG"),
    ("53A", "//XX123\nBBBBSGSGXXX"),
    ("53B", "/123"),
    ("53B", "CITY"),
    ("53B", "/D/123\nCITY"),
    ("53D", "/123\nA\nB\nC\nD"),
    ("59", "/123\nA"),
    ("59", "A\nB\nC\nD"),
    ("45A", "\n".join(["x" * 65] * 100)),
    ("72Z", "A@B {C}".replace("}", "")),
    ("71N", "APPL\nTEXT"),
    ("45H", "8479.89"),
    ("50N", "A & B"),
    ("26E", "12"),
]
BAD = [
    ("20", "", None), ("20", "X" * 17, None), ("20", "/A", "T26"), ("20", "A/", "T26"),
    ("20", "A//B", "T26"), ("20", "A&B", None), ("20", "AÉ", "M60"), ("20", "A\nB", None),
    ("27", "1-1", None), ("27", "11/1", None), ("31C", "260230", "T50"), ("31C", "26023", None),
    ("31D", "261301SINGAPORE", "T50"), ("31D", "260215", None), ("32B", "USD1000", "T43"),
    ("32B", "USD1.000,00", "T43"), ("32B", "USD1,0,0", "T43"), ("32B", "USD,5", "T40"),
    ("32B", "USD1,005", "C03"), ("32B", "JPY1,5", "C03"), ("32B", "KWD1,1234", "C03"),
    ("32B", "XXX1,", "T52"), ("32B", "usd1,", "T52"), ("32B", "USD1234567890123,45", None),
    ("32A", "260231USD1,", "T50"), ("39A", "5/5/5", None), ("40E", "X" * 31, None),
    ("41A", "BBBBSG\nBY PAYMENT", "T27"), ("41A", "BBBBSGSG", None), ("41D", "BY PAYMENT", None),
    ("44D", "A\nB\nC\nD\nE\nF\nG", None), ("44I", "CI", None), ("44I", "CIF HERE", None),
    ("45A", "\n".join(["x"] * 101), None), ("45A", "x" * 66, None), ("45A", "A\n\nB", None),
    ("45A", "A\n-B", None), ("45A", "A\n:B", None), ("45A", ":B", None), ("45A", "A\n", None),
    ("45A", "A[B", "M60"), ("48", "21 DAYS", None), ("50R", "UK", "T73"), ("50R", "sg", "T73"),
    ("53A", "NOTABIC", "T27"), ("53A", "BBBBSGSG\n/123", None), ("53A", "\nBBBBSGSG", None),
    ("53D", "A\nB\nC\nD\nE", None), ("59", "/123", None), ("77B", "A&B", None),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "value"), GOOD)
def test_values_of_the_right_format_have_no_problems(tag: str, value: str) -> None:
    assert problems(value, *format_of(tag, "SR2026")) == []


@pytest.mark.parametrize(("tag", "value", "code"), BAD)
def test_values_of_a_wrong_format_have_one_problem_with_its_code(
    tag: str, value: str, code: str | None
) -> None:
    assert [problem.code for problem in problems(value, *format_of(tag, "SR2026"))] == [code]


def test_a_value_can_be_wrong_in_several_parts() -> None:
    found = problems("261399XXX1000", *format_of("32A", "SR2026"))
    assert [(problem.kind, problem.code) for problem in found] == [
        ("date", "T50"), ("currency", "T52"), ("amount", "T43")
    ]  # fmt: skip


def test_the_line_at_fault_is_named() -> None:
    for value, line in (("A\nB\n-C", 2), ("A\n" + "B" * 51, 1), ("\n".join(["A"] * 71), 70)):
        (problem,) = problems(value, *format_of("77J", "SR2026"))
        assert problem.line == line


def test_drafts_take_the_wider_set_from_sr2026() -> None:
    assert problems("90% OF VALUE", *format_of("42C", "SR2026")) == []
    assert problems("90% OF VALUE", *format_of("42C", "SR2025"))


@given(
    st.text(max_size=40), st.sampled_from(["20", "32A", "41D", "45A", "53A", "53B", "59", "71N"])
)
def test_any_text_is_checked_without_an_exception(value: str, tag: str) -> None:
    for problem in problems(value, *format_of(tag, "SR2026")):
        assert problem.text and value.count("\n") >= problem.line


@given(st.dates(min_value=date(1980, 1, 1), max_value=date(2079, 12, 31)))
def test_every_date_of_the_hundred_years_is_read_back(day: date) -> None:
    assert read_date(day.strftime("%y%m%d")) == day.isoformat()


def test_bics_have_eight_or_eleven_characters_and_a_country() -> None:
    assert is_bic("BBBBSGSG") and is_bic("BBBBSGS1XXX")
    assert not any(
        map(is_bic, ("BBBBSGSGXX", "BBB1SGSG", "BBBBZZSG", "bbbbsgsg", "", "BBBBSGSG\n"))
    )
