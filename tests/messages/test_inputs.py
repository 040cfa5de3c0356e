"""Inputs as commands: addresses, identities, actors, and hostile bytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from usance.domain.credit.messages import ApplyForCredit, ApproveCredit
from usance.domain.facility_messages import ReserveLimit, SetFacility
from usance.kernel.errors import NotFound, Unreadable
from usance.messages.inputs import (
    DEPTH_LIMIT,
    INTERNAL,
    Input,
    address,
    category_of,
    command_class,
    commands,
    decode_input,
    split_inputs,
)

sys.path.insert(0, str(Path(__file__).parent / "swift"))
from swift_samples import TEXTS, fin, sample

APPROVE = {
    "type": "ApproveCredit", "id": "doc-1", "as": "p-2", "role": "checker",
    "credit": "TF26", "revision": 4, "content_hash": "ab",
}  # fmt: skip
FACILITY = {
    "type": "SetFacility", "facility": "F1", "customer": "c", "currency": "USD", "limit": 5,
    "expiry": "2027-01-01", "as": "p-1",
}  # fmt: skip
TERMS = {
    "currency": "USD", "amount": 100, "expiry_date": "2027-01-01", "expiry_place": "X",
    "available_with": "ANY BANK", "available_by": "sight",
}  # fmt: skip
PARTY = {"name": "A"}
APPLY = {
    "type": "ApplyForCredit", "credit": "TF26", "application": "A1", "facility": "F1",
    "terms": TERMS, "parties": {"subject": "s", "applicant": PARTY, "beneficiary": PARTY},
}  # fmt: skip


def decode(document: object) -> Input:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode_input(data, tenant="albion", our_bic="BBBBSGSG")


def test_a_document_names_its_stream_beside_the_commands_own_fields():
    found = decode(APPROVE)
    assert found.key == "albion/credit/TF26"
    assert found.command == ApproveCredit(revision=4, content_hash="ab")
    assert (found.actor.person, found.actor.role, found.kind) == ("p-2", "checker", "json")


def test_a_command_that_holds_its_own_identity_needs_nothing_beside():
    assert decode(FACILITY).key == "albion/facility/F1"
    assert isinstance(decode(APPLY).command, ApplyForCredit)


def test_a_field_of_the_command_is_no_address_of_another_category():
    reserve = ReserveLimit(credit="C9", currency="USD", amount=5)
    assert address(reserve, "albion", "F1") == "albion/facility/F1"


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_no_document_speaks_for_a_part_of_the_program(name: str):
    assert name not in commands()
    document = {"type": name, "id": "d", "as": "p-2", "role": "checker", "credit": "TF26"}
    with pytest.raises(Unreadable, match="names no command"):
        decode(document)


def test_a_banks_role_in_a_credit_is_not_the_role_of_who_acts():
    found = decode(
        {
            "type": "PresentDocuments",
            "presentation": "P1",
            "credit": "C1",
            "presenter": "X",
            "currency": "USD",
            "amount": 5,
            "role": "issuing",
            "as": "p-1",
        }
    )
    assert found.command.role == "issuing"
    assert found.actor.role == "maker"


def test_every_command_has_an_address():
    for name, cls in commands().items():
        assert command_class(name) is cls
        assert category_of(cls) in (
            "credit", "presentation", "facility", "message", "work", "saga", "case", "list",
        )  # fmt: skip
    assert "ObserveEvent" not in commands()
    with pytest.raises(NotFound):
        command_class("TimerFired")


def test_an_address_needs_an_identity():
    approve = ApproveCredit(revision=1, content_hash="")
    assert address(approve, "albion", "TF26") == "albion/credit/TF26"
    for identity in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(Unreadable):
            address(approve, "albion", identity)


def test_the_id_is_the_documents_own_so_that_a_change_becomes_a_conflict():
    first, again = decode(APPROVE), decode({**APPROVE, "revision": 5})
    assert first.command_id == again.command_id
    assert first.command != again.command
    assert decode({**APPROVE, "id": "doc-2"}).command_id != first.command_id
    other = decode_input(json.dumps(APPROVE).encode(), tenant="beta", our_bic="BBBBSGSG")
    assert other.command_id != first.command_id


def test_without_an_id_the_content_is_the_identity_whatever_its_layout():
    data = json.dumps(FACILITY).encode()
    spaced = json.dumps(dict(reversed(FACILITY.items())), indent=3).encode()
    assert decode(data).command_id == decode(spaced).command_id
    assert decode({**FACILITY, "limit": 6}).command_id != decode(data).command_id


def test_the_same_message_twice_is_one_command_and_a_changed_one_a_conflict():
    first, again = decode(sample("700")[0]), decode(sample("700")[0] + b"\r\n")
    assert first == again
    changed = decode(fin("700", TEXTS["700"].replace("USD100000,", "USD200000,")))
    assert changed.command_id == first.command_id
    assert changed.command != first.command
    assert first.actor.person == ""


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"type": "Nothing"}, "$.type"),
        ({"type": 5}, "$.type"),
        ({"revision": "4"}, "$.revision"),
        ({"revision": 4.0}, "$.revision"),
        ({"revision": 2**70}, "$.revision"),
        ({"SECRET-é": 1}, "(unnameable)"),
        ({"misspelt": 1}, "$.misspelt"),
        ({"credit": 7}, "$.credit"),
        ({"credit": ""}, "credit"),
        ({"role": "system"}, "$.role"),
        ({"as": "saga:x"}, "$.as"),
        ({"id": "x" * 300}, "$.id"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(change, place):
    with pytest.raises(Unreadable) as error:
        decode({**APPROVE, **change})
    assert place in error.value.reason
    assert error.value.stage == "validate"
    assert "SECRET" not in error.value.reason


def test_a_misspelt_member_deep_inside_is_named():
    broken = {**APPLY, "terms": {**TERMS, "tolerence": 5}}
    with pytest.raises(Unreadable, match=r"\$\.terms\.tolerence"):
        decode(broken)
    documents = [{"kind": "invoice", "copys": 2}]
    with pytest.raises(Unreadable, match=r"required_documents\[0\]\.copys"):
        decode({**APPLY, "terms": {**TERMS, "required_documents": documents}})


def test_a_missing_field_is_named():
    with pytest.raises(Unreadable, match="content_hash"):
        decode({k: v for k, v in APPROVE.items() if k != "content_hash"})


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b"{}", b"null", b"\x00", b"\xff\xfe", b"{1:", b"{1:F01", b'{"type":',
        b'{"a":' * 100_000, b"[" * 100_000, b'{"x' + b'\\"' * 200_000,
        b'{"type":"ApproveCredit","x":' + b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1) + b"}",
        b'{"type":"' + b"x" * 2_000_000 + b'"}',
        b'{"type": "ApproveCredit", "as": "\\ud800"}',
    ],
)  # fmt: skip
def test_rubbish_is_unreadable_and_nothing_else(data):
    for piece in split_inputs(data):
        with pytest.raises(Unreadable):
            decode(piece)
    with pytest.raises(Unreadable):
        decode(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
@example(b"[]")
def test_any_bytes_split_and_decode_or_are_unreadable(data):
    for piece in split_inputs(data):
        try:
            decode(piece)
        except Unreadable as error:
            assert error.stage


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(TEXTS)), st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 9)
)
def test_a_damaged_message_is_read_or_unreadable(name, place, bytes_, cut):
    data = sample(name)[0]
    damaged = data[:place] + bytes_ + data[place + cut :]
    for piece in split_inputs(damaged):
        try:
            found = decode(piece)
        except Unreadable as error:
            assert error.reason
        else:
            assert len(found.key.split("/", 2)) == 3
            msgspec.json.encode(found.command)


@pytest.mark.parametrize("field", [":48:21", ":32B:USD100000", ":39A:05"])
def test_numbers_that_no_record_can_carry_are_unreadable(field):
    with pytest.raises(Unreadable, match="64 bits"):
        decode(fin("700", TEXTS["700"].replace(field, field + "9" * 40)))


def test_a_file_may_hold_messages_or_documents():
    one, two = sample("799")[0], sample("754")[0]
    assert split_inputs(one + two) == [one, two]
    a, b = json.dumps(FACILITY).encode(), json.dumps(APPROVE).encode()
    assert split_inputs(b"\xef\xbb\xbf[" + a + b", " + b + b"]") == [a, b]
    assert split_inputs(a + b"\n\n" + b + b"\n") == [a, b]
    pretty = json.dumps(APPROVE, indent=2).encode()
    assert split_inputs(pretty) == [pretty]
    assert split_inputs(b"rubbish") == [b"rubbish"]
    assert split_inputs(b" \r\n") == []


def test_a_broken_line_among_documents_stands_alone():
    a = json.dumps(FACILITY).encode()
    pieces = split_inputs(a + b"\n{broken\n" + a)
    assert pieces == [a, b"{broken", a]
    assert decode(pieces[2]).command == decode(pieces[0]).command
    assert isinstance(decode(a).command, SetFacility)
