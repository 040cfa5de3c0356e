"""What people type is a private block from the first byte on, whichever way it comes in."""

import msgspec
import pytest

from usance.domain.credit.messages import DeclineToAdvise, RejectCredit
from usance.domain.presentation.messages import RaiseDiscrepancy
from usance.engine.reactors.saga_messages import MarkDoneOutside
from usance.kernel.words import Words, text_of
from usance.messages.avro import decode, encode, plain_reader
from usance.messages.catalogue import default
from usance.messages.inputs import decode_input
from usance.messages.words import addressed, command_of, with_words, word_fields
from usance.web.commands import command_type
from usance.web.forms import command_of as of_form

FREE_TEXT = {"reason", "note", "evidence", "explanation", "narrative", "remark", "comment"}
OF_THE_PROGRAM = {
    ("usance.system.TimerSet", "reason"),
    ("usance.system.UnreadableInput", "reason"),
    ("usance.trade.ReleaseDrawing", "reason"),
    ("usance.trade.DrawingReleased", "reason"),
}
"""Fields of such a name that no person fills: words of the program, without values of a record."""


def test_no_message_has_the_words_of_people_at_its_top_level() -> None:
    found = {
        (entry.fullname, field.name)
        for entry in default().types()
        if entry.kind in ("command", "event")
        for field in entry.schema.root.fields
        if field.name in FREE_TEXT
    }
    assert found == OF_THE_PROGRAM


def test_the_words_are_tagged_as_personal_with_subject_and_retention() -> None:
    schema = msgspec.json.decode(default().by_class[Words].text)
    text = next(f for f in schema["fields"] if f["name"] == "text")
    assert text["sensitivity"] == "personal"
    assert text["subject"] == "subject"
    assert text["retain"] == "relationship"


def test_a_plain_text_of_a_document_becomes_a_block_about_its_deal() -> None:
    document = {"type": "RejectCredit", "id": "1", "as": "p", "credit": "TF1", "reason": "no line"}
    found = decode_input(msgspec.json.encode(document), tenant="albion", our_bic="ALBNGB2L")
    assert found.command == RejectCredit(reason=Words(subject="TF1", text="no line"))
    whole = document | {"reason": {"subject": "cust-7", "text": "no line"}}
    found = decode_input(msgspec.json.encode(whole), tenant="albion", our_bic="ALBNGB2L")
    assert found.command.reason.subject == "cust-7"


@pytest.mark.parametrize("body", [b'{"reason": "no line"}', b'{"reason": {"text": "no line"}}'])
def test_the_api_takes_a_plain_text_and_a_block(body: bytes) -> None:
    assert command_type("DeclineToAdvise").decode(body) == DeclineToAdvise(
        reason=Words(text="no line")
    )


@pytest.mark.parametrize("body", [b'{"reason": 7}', b'{"reason": ["x"]}', b"[]", b"{}"])
def test_the_api_still_refuses_what_is_no_text(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        command_type("DeclineToAdvise").decode(body)


def test_a_form_and_the_command_line_make_the_same_block() -> None:
    fields = {"step": "issue", "reason": "line is down", "evidence": "ticket 7"}
    assert of_form(MarkDoneOutside, fields) == MarkDoneOutside(
        step="issue", reason=Words(text="line is down"), evidence=Words(text="ticket 7")
    )
    said = command_of(fields, MarkDoneOutside, "issuance:TF1")
    assert said.evidence == Words(subject="issuance:TF1", text="ticket 7")


def test_nothing_said_is_no_block_unless_something_must_be_said() -> None:
    assert with_words({"reason": " "}, RejectCredit) == {}
    assert text_of(None) == ""
    must = with_words({"article": "UCP600-14d", "explanation": ""}, RaiseDiscrepancy)
    assert must["explanation"] == {"text": ""}
    assert word_fields(RaiseDiscrepancy) == {"explanation": False}
    assert addressed(RejectCredit(cause="x"), "TF1") == RejectCredit(cause="x")


def test_in_the_record_the_words_stand_in_the_private_part_alone() -> None:
    entry = default().by_class[RejectCredit]
    message = RejectCredit(cause="not issued", reason=Words(subject="TF1", text="Mr Wu is unwell"))
    record = decode(plain_reader(entry.text), encode(entry.writer, message, entry.fullname))
    assert "Mr Wu" not in str({k: v for k, v in record.items() if k != "private"})
    assert b"Mr Wu is unwell" in record["private"][0]["block"]
