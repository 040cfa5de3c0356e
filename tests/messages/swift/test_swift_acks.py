"""ACK and NAK: written and read back."""

from __future__ import annotations

import msgspec
import pytest
from swift_samples import TEXTS, fin

from usance.messages.swift.acks import acknowledge, read_acknowledgement
from usance.messages.swift.fin import build, parse, split

SENT = parse(fin("734", TEXTS["734"]))


def test_an_ack_names_the_message_it_answers() -> None:
    data = build(acknowledge(SENT, "2611231201"))
    assert data == b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:2611231201}{451:0}{108:MUR734}}"
    answer = read_acknowledgement(parse(data))
    assert answer is not None
    assert answer.accepted
    assert (answer.lt, answer.session, answer.sequence) == ("ALBNGB2LAXXX", "0001", "000001")
    assert (answer.mur, answer.reference, answer.stamp) == ("MUR734", "", "2611231201")


def test_a_nak_carries_code_and_line() -> None:
    answer = read_acknowledgement(acknowledge(SENT, "2611231201", error="C17", line=4))
    assert answer is not None
    assert (answer.accepted, answer.error_code, answer.error_line) == (False, "C17", 4)


def test_an_answer_with_a_copy_of_the_message_names_its_reference() -> None:
    both = msgspec.structs.replace(SENT, acknowledgement=acknowledge(SENT, "2611231201"))
    data = build(both)
    assert split(data) == [data]
    answer = read_acknowledgement(parse(data))
    assert answer is not None
    assert (answer.reference, answer.mur) == ("ISB-REF-000777", "MUR734")


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [("H80", "H80", None), ("E66013", "E66", 13), ("T13(007)", "T13", 7), ("??", "??", None)],
)
def test_error_codes_are_read_with_and_without_line(text: str, code: str, line: int | None) -> None:
    data = b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:2611231201}{451:1}{405:%s}}" % text.encode()
    answer = read_acknowledgement(parse(data))
    assert answer is not None
    assert (answer.error_code, answer.error_line) == (code, line)


def test_other_messages_are_no_answers() -> None:
    assert read_acknowledgement(SENT) is None
    assert read_acknowledgement(parse(b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:1}}")) is None
    assert read_acknowledgement(parse(b"{1:L02ALBNGB2LAXXX0001000001}{4:{451:0}}")) is None
