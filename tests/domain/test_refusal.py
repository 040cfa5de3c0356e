"""A notice of refusal is valid or does not exist."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.calendars import calendar
from usance.domain.refusal import (
    DISPOSALS,
    LINE,
    LINES,
    RefusalNotice,
    disposal_lines,
    narrative_lines,
    refuse,
)
from usance.domain.terms import Finding
from usance.kernel.clock import parse_instant
from usance.kernel.decider import Refusal

RECEIVED = parse_instant("2026-03-02T10:00:00Z")
DEADLINE = calendar("GBLON").examination_deadline(RECEIVED)


def finding(explanation: str, verdict: str = "discrepant", rule: str = "EX-01") -> Finding:
    return Finding(
        rule=rule, article="UCP600-14a", inputs={}, verdict=verdict, explanation=explanation
    )


LATE = finding("The documents were presented on 2026-03-02, after the credit expired.")
SHORT = finding("The credit calls for insurance: 1; presented: 0.")
OTHERS = [
    finding("Fine.", verdict)
    for verdict in ("complies", "not_applicable", "disregarded", "only_amended")
]


def code(answer: RefusalNotice | Refusal) -> str:
    return answer.code if isinstance(answer, Refusal) else "notice"


def test_a_notice_states_every_discrepancy_and_nothing_else() -> None:
    notice = refuse([LATE, *OTHERS, SHORT], "HOLD", instant=RECEIVED, deadline=DEADLINE)
    assert isinstance(notice, RefusalNotice)
    assert notice.discrepancies == [LATE.explanation, SHORT.explanation]
    assert (notice.disposal, notice.due) == ("HOLD", DEADLINE.due)
    assert (notice.calendar, notice.calendar_version) == DEADLINE[1:]
    assert "REFUSE" in notice.statement


@pytest.mark.parametrize(("late_by", "expected"), [(0, "notice"), (1, "REFUSAL_PRECLUDED")])
def test_a_notice_is_in_time_until_the_close_of_the_fifth_day(late_by: int, expected: str) -> None:
    answer = refuse([LATE], "RETURN", instant=DEADLINE.due + late_by, deadline=DEADLINE)
    assert code(answer) == expected


def test_there_is_one_notice_only() -> None:
    answer = refuse([LATE], "HOLD", instant=RECEIVED, deadline=DEADLINE, notice_given=True)
    assert code(answer) == "REFUSAL_ALREADY_GIVEN"


@pytest.mark.parametrize("findings", [[], OTHERS, [finding("  ")]])
def test_a_refusal_without_discrepancies_is_none(findings: list[Finding]) -> None:
    answer = refuse(findings, "HOLD", instant=RECEIVED, deadline=DEADLINE)
    assert code(answer) == "REFUSAL_WITHOUT_DISCREPANCY"


@pytest.mark.parametrize("disposal", ["", "hold", "HOLD,RETURN", "KEEP"])
def test_exactly_one_known_disposal_is_stated(disposal: str) -> None:
    answer = refuse([LATE], disposal, instant=RECEIVED, deadline=DEADLINE)
    assert code(answer) == "REFUSAL_WITHOUT_DISPOSAL"
    assert isinstance(answer, Refusal)
    assert "HOLD, NOTIFY, RETURN, PREVINST" in answer.hint


def test_discrepancies_that_do_not_fit_one_message_are_sent_back_for_wording() -> None:
    answer = refuse([finding("X" * 49 + ". ")] * 40, "HOLD", instant=RECEIVED, deadline=DEADLINE)
    assert code(answer) == "REFUSAL_TOO_LONG"


@pytest.mark.parametrize(
    "change",
    [
        {"discrepancies": []},
        {"discrepancies": [""]},
        {"disposal": "BURN"},
        {"given": DEADLINE.due + 1},
        {"statement": " "},
    ],
)
def test_an_invalid_notice_cannot_be_constructed_or_decoded(change: dict[str, object]) -> None:
    notice = refuse([LATE], "HOLD", instant=RECEIVED, deadline=DEADLINE)
    fields = msgspec.structs.asdict(notice) | change  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\w"):
        RefusalNotice(**fields)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, RefusalNotice)


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=5))
def test_narrative_lines_fit_the_field_and_keep_each_number(texts: list[str]) -> None:
    lines = narrative_lines(texts)
    assert all(0 < len(line) <= LINE and line.isascii() and line.isprintable() for line in lines)
    numbered = [line for line in lines if line.startswith("/DISCREP/")]
    assert len(numbered) == len(texts)


def test_a_wrapped_discrepancy_keeps_its_words() -> None:
    lines = narrative_lines([LATE.explanation])
    assert len(lines) < LINES
    words = " ".join(line.removeprefix("//") for line in lines[1:])
    assert words == f"/DISCREP/1. {LATE.explanation.upper()}"


@pytest.mark.parametrize("disposal", list(DISPOSALS))
def test_a_disposal_fits_its_field_and_starts_with_its_code(disposal: str) -> None:
    lines = disposal_lines(disposal)
    assert lines[0].startswith(f"/{disposal}/")
    assert len(lines) <= 3
    assert all(len(line) <= 35 for line in lines)
