"""Documents of people: who is not in the directory, or not in that role, acts nowhere."""

from __future__ import annotations

import json

import pytest

from usance.adapters.intake import input_command, intake_reaction
from usance.bootstrap.people import read_directory
from usance.bootstrap.store import PEOPLE_FILE
from usance.kernel.ids import derived
from usance.log.contract import Record
from usance.messages.outcome import UnreadableInput

PEOPLE = read_directory(PEOPLE_FILE).roles()


def command_of(person: str, role: str) -> object:
    document = {
        "type": "ApproveDisposition", "case": "c", "case_id": "c", "disposition": "clear",
        "evidence_hash": "e", "as": person, "role": role,
    }  # fmt: skip
    found = input_command(
        json.dumps(document).encode(), tenant="albion", our_bic="ALBNGB2L", source="x.json#1",
        file_digest="d", ordinal=1, causation="intake:x", people=PEOPLE,
    )  # fmt: skip
    return found.command


@pytest.mark.parametrize(
    ("person", "role"),
    [
        ("amara.okafor", "compliance"),
        ("Farid.Haddad", "compliance_officer"),
        ("farid.haddad ", "compliance_officer"),
        ("zoe.unknown", "compliance"),
    ],
)
def test_a_document_cannot_invent_a_person_or_a_role(person: str, role: str) -> None:
    found = command_of(person, role)
    assert isinstance(found, UnreadableInput)
    assert found.stage == "validate"
    assert "directory" in found.reason
    assert person not in found.reason


def test_a_person_of_the_directory_acts_in_a_role_of_theirs() -> None:
    assert not isinstance(command_of("farid.haddad", "compliance_officer"), UnreadableInput)


def test_headers_that_are_no_text_make_no_input_unreadable_for_ever() -> None:
    react = intake_reaction("albion", "ALBNGB2L", people=PEOPLE)
    headers = (("usance-file-sha256", b"\xff\xfe"), ("usance-ordinal", b"\xff"))
    record = Record("usance.trade.intake", 0, 7, b"\xff#1", b"rubbish", headers, 1)
    first, again = react(record)[0], react(record)[0]
    assert isinstance(first.command, UnreadableInput)
    assert first.command.received == b"rubbish"
    assert first.id == again.id != derived(first.id, "other")
