"""What other banks send, as commands: addresses, terms, roles, and what is turned away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swift_samples import TEXTS, fin, sample

from usance.domain.credit.amendment_messages import ReceiveAmendment
from usance.domain.credit.messages import ReceiveCredit, RecordAdvice, RecordCorrespondence
from usance.domain.message_exchange import RecordAck, RecordNak
from usance.domain.presentation.messages import AuthoriseTakeUp
from usance.domain.terms import RequiredDocument
from usance.kernel.errors import Unreadable
from usance.messages.swift.acks import acknowledge
from usance.messages.swift.document_words import (
    document_text,
    insured_percent,
    read_document,
    read_documents,
)
from usance.messages.swift.fin import build, parse
from usance.messages.swift.inbound import Inbound, read_inbound, split_messages

OURS = "BBBBSGSG"
CREDIT = "ALBNGB2L-TF26LC000123"


def read(name: str, *changes: tuple[str, str]) -> Inbound:
    text = TEXTS[name]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_inbound(fin(name.split()[0], text), OURS)


@pytest.mark.parametrize(
    ("name", "key", "command"),
    [
        ("700", ("credit", CREDIT), ReceiveCredit),
        ("700 SR2025", ("credit", CREDIT), ReceiveCredit),
        ("710", ("credit", "ALBNGB2L-ADV1"), ReceiveCredit),
        ("710 SR2025", ("credit", "ALBNGB2L-ADV1"), ReceiveCredit),
        ("720", ("credit", "ALBNGB2L-TRF1"), ReceiveCredit),
        ("720 SR2018", ("credit", "ALBNGB2L-TRF1"), ReceiveCredit),
        ("707", ("credit", CREDIT), ReceiveAmendment),
        ("732", ("credit", "ALBNGB2L-ISB-REF-1"), RecordCorrespondence),
        ("734", ("credit", "ALBNGB2L-ISB-REF-000777"), RecordCorrespondence),
        ("740", ("credit", CREDIT), RecordCorrespondence),
        ("742", ("credit", CREDIT), RecordCorrespondence),
        ("750", ("credit", "TF26LC000123"), RecordCorrespondence),
        ("752", ("presentation", "NOB-BILL-4411"), AuthoriseTakeUp),
        ("754", ("credit", "TF26LC000123"), RecordCorrespondence),
        ("756", ("credit", "ALBNGB2L-ISB-REF-1"), RecordCorrespondence),
        ("799", ("credit", "ALBNGB2L-MSG1"), RecordCorrespondence),
    ],
)
def test_each_message_finds_its_stream_and_its_command(name, key, command):
    found = read_inbound(sample(name)[0], OURS)
    assert (found.category, found.identity) == key
    assert type(found.command) is command
    assert found.notes == ()


def test_a_structured_credit_gives_all_its_terms():
    command = read("700").command
    terms = command.terms
    assert (terms.currency, terms.amount, terms.expiry_date) == ("USD", 100_000_00, "2027-02-15")
    assert (terms.tolerance_plus, terms.tolerance_minus, terms.has_tolerance) == (5, 5, True)
    assert (terms.available_with, terms.available_by) == ("BBBBSGSGXXX", "negotiation")
    assert (terms.incoterm, terms.incoterm_place, terms.hs_code) == ("CIF", "FELIXSTOWE", "8479.89")
    assert (terms.issuing_bank, terms.advising_bank) == ("ALBNGB2L", "BBBBSGSG")
    assert command.parties.applicant.country == "GB"
    assert command.parties.beneficiary.town == "SINGAPORE"
    assert [d.kind for d in terms.required_documents] == ["invoice", "bill_of_lading"]
    assert command.issue_date == "2026-11-23"


def test_an_unstructured_credit_keeps_account_and_address():
    beneficiary = read("700 SR2025").command.parties.beneficiary
    assert beneficiary.account == "12345678"
    assert (beneficiary.name, beneficiary.address) == (
        "ORIENT WIDGETS PTE LTD",
        "22 QUAY STREET, SINGAPORE",
    )


@pytest.mark.parametrize("name", ["700", "700 SR2025", "710", "720", "707"])
def test_every_word_of_a_message_stands_somewhere_in_its_command(name):
    command = read(name).command
    narrative = command.narrative
    assert ":57A:CCCCSGSG" in narrative.sender_to_receiver or name == "707"
    if name == "710":
        assert "WITHOUT OUR CONFIRMATION" in narrative.sender_to_receiver
    if name == "707":
        assert ":71N:APPL" in narrative.sender_to_receiver
        assert "/DELETE/+INSPECTION CERTIFICATE" in narrative.documents


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ((), "nominated"),
        (((":41A:BBBBSGSGXXX", ":41A:DDDDSGSG"),), "advising"),
        (((":49:WITHOUT", ":49:CONFIRM"),), "confirming"),
        (((":49:WITHOUT", ":49:CONFIRM\n:58A:DDDDSGSG"),), "nominated"),
        (((":49:WITHOUT", ":49:MAY ADD\n:58A:BBBBSGSG"),), "confirming"),
    ],
)
def test_our_bic_decides_our_role(changes, role):
    assert read("700", *changes).command.role == role


@pytest.mark.parametrize(
    ("tenor", "expected"),
    [
        (":42C:SIGHT", (0, "")),
        (":42C:90 DAYS AFTER SIGHT", (90, "sight")),
        (":42C:AT 60 DAYS FROM BILL OF\nLADING DATE", (60, "bl_date")),
        (":42C:30 DAYS AFTER SHIPMENT DATE", (30, "shipment")),
        (":42C:AT 45 DAYS AFTER INVOICE DATE", (45, "invoice_date")),
    ],
)
def test_tenors_are_read_from_their_words(tenor, expected):
    terms = read("700", (":42C:SIGHT", tenor)).command.terms
    assert (terms.tenor_days, terms.tenor_from) == expected


def test_continuations_in_the_same_input_are_part_of_the_credit():
    main = fin("700", TEXTS["700"].replace(":27:1/1", ":27:1/2"))
    both = main + fin("701", TEXTS["701"])
    assert split_messages(both) == [both]
    command = read_inbound(both, OURS).command
    assert command.terms.required_documents[-1].kind == "packing_list"
    assert command.narrative.conditions.endswith("+MORE CONDITIONS")


@pytest.mark.parametrize(
    "data",
    [
        fin("700", TEXTS["700"].replace(":27:1/1", ":27:1/2")),
        fin("701", TEXTS["701"]),
        sample("700")[0] + fin("701", TEXTS["701"]),
        fin("700", TEXTS["700"].replace(":27:1/1", ":27:1/2"))
        + fin("701", TEXTS["701"].replace("TF26LC000123", "OTHER")),
        fin("700", TEXTS["700"].replace(":27:1/1", ":27:1/3")) + fin("701", TEXTS["701"]),
    ],
)
def test_parts_that_do_not_belong_together_are_turned_away(data):
    with pytest.raises(Unreadable) as error:
        read_inbound(data, OURS)
    assert error.value.stage == "validate"
    assert "file" in error.value.hint


def test_a_missing_mandatory_field_is_named_without_any_value():
    with pytest.raises(Unreadable) as error:
        read("700", (":31D:270215SINGAPORE\n", ""))
    assert "T13" in error.value.reason
    assert "31D" in error.value.reason
    assert "TF26" not in error.value.reason


def test_an_unreadable_mandatory_field_is_named_without_its_value():
    with pytest.raises(Unreadable) as error:
        read("700", ("USD100000,", "USD1000ZZ"))
    assert error.value.reason == "field 32B cannot be read"


def test_a_small_breach_of_the_format_is_noted_and_let_pass():
    found = read("700", (":49:WITHOUT", ":49:PERHAPS"))
    assert found.notes == ("T67 49",)
    assert found.command.terms.confirmation == "PERHAPS"


def test_a_relayed_amendment_goes_by_the_number_of_the_bank_that_relays_it():
    found = read("707", (":20:TF26LC000123", ":20:ADV1"), (":52A:ALBNGB2L", ":52A:CCCCUS33"))
    assert found.identity == "ALBNGB2L-ADV1"


def test_a_request_to_cancel_is_filed_not_applied():
    found = read("707 SR2025")
    assert found.command.kind == "cancellation"


def test_an_amendment_that_replaces_the_documents_gives_the_new_list():
    found = read(
        "707",
        (
            "/DELETE/+INSPECTION CERTIFICATE\nOF THE BUYER\n/ADD/+WEIGHT LIST IN 2 COPIES",
            "/REPALL/+INVOICE\n+WEIGHT LIST IN 2 COPIES",
        ),
    )
    kinds = [d.kind for d in found.command.changes.required_documents]
    assert kinds == ["invoice", "weight_list"]
    assert found.command.changes.decrease == 10_000_00
    assert found.command.changes.latest_shipment == "2027-02-25"


def test_an_acknowledgement_is_an_advice_and_an_answer_on_an_amendment_keeps_its_words():
    plain = read("730", ("79Z:THE AMENDMENT IS ACCEPTED", "79Z:CONFIRMATION ADDED"))
    assert plain.command == RecordAdvice(
        reference="ADV1", sender="ALBNGB2L", date="2026-11-24", confirmed=True,
        acknowledges="TF26LC000123",
    )  # fmt: skip
    answer = read("730")
    assert "THE AMENDMENT IS ACCEPTED" in answer.command.text.text
    assert plain.name != answer.name


def test_two_free_messages_under_one_reference_are_two():
    one, two = read("799"), read("799", ("LINE TWO", "LINE 2"))
    assert one.name != two.name
    assert one.command.reference != two.command.reference
    assert read("799").name == one.name


def test_a_free_message_goes_to_the_credit_it_names():
    assert read("799", (":21:NONREF", ":21:TF26LC000999")).identity == "TF26LC000999"


def test_a_claim_under_another_banks_credit_is_filed_with_that_credit():
    assert read("742", ("52A:ALBNGB2L", "52A:BBBBSGSG")).identity == "TF26LC000123"


def test_an_authority_without_our_reference_is_filed_with_the_credit():
    found = read("752", (":21:NOB-BILL-4411", ":21:NONREF"))
    assert (found.identity, found.command.kind) == (CREDIT, "authority")


def test_amounts_and_dates_of_what_is_filed_are_read():
    command = read("756").command
    assert (command.currency, command.amount, command.date) == ("USD", 101_250_00, "2026-12-10")
    assert command.presentation == "NOB-BILL-4411"
    assert read("754").command.date == "2027-02-01"


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(("error", "kind"), [("", RecordAck), ("T67", RecordNak)])
def test_answers_of_the_network_go_to_the_message_they_answer(error, kind, copy):
    message = parse(sample("700")[0])
    data = build(acknowledge(message, "2611231200", error=error, line=7))
    found = read_inbound(data + (sample("700")[0] if copy else b""), OURS)
    assert (found.category, found.identity) == ("message", "MUR700")
    assert type(found.command) is kind
    if error:
        assert (found.command.code, found.command.line) == ("T67", 7)


def test_an_answer_that_names_no_message_is_turned_away():
    data = b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:2611231200}{451:0}}"
    with pytest.raises(Unreadable, match="108"):
        read_inbound(data, OURS)


@pytest.mark.parametrize("kind", ["760", "775", "199"])
def test_types_without_a_command_are_turned_away(kind):
    with pytest.raises(Unreadable, match=f"MT{kind}"):
        read_inbound(fin(kind, ":20:X\n"), OURS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("SIGNED COMMERCIAL INVOICE IN 3 COPIES", ("invoice", 1, 2, False)),
        ("INVOICE IN TRIPLICATE", ("invoice", 1, 2, False)),
        ("PACKING LIST 2-FOLD", ("packing_list", 1, 1, False)),
        ("FULL SET (3/3) OF CLEAN ON BOARD OCEAN BILLS OF LADING", ("bill_of_lading", 3, 0, True)),
        ("3/3 MARINE B/L", ("bill_of_lading", 3, 0, True)),
        ("INSURANCE POLICY FOR 110 PCT OF INVOICE VALUE", ("insurance", 1, 0, False)),
        ("CERTIFICATE OF ORIGIN IN ONE ORIGINAL AND TWO COPIES", ("certificate_of_origin", 1, 2, False)),
        ("CERTIFICATE OF WEIGHT", ("weight_list", 1, 0, False)),
        ("BENEFICIARY'S CERTIFICATE THAT ONE COPY OF THE INVOICE WAS SENT", ("other", 1, 0, False)),
        ("DRAFTS AT SIGHT IN DUPLICATE", ("draft", 1, 1, False)),
        ("INSPECTION CERTIFICATE: 2 ORIGINALS", ("inspection_certificate", 2, 0, False)),
        ("AIR WAYBILL", ("air_waybill", 1, 0, False)),
        ("SOMETHING ELSE", ("other", 1, 0, False)),
    ],
)  # fmt: skip
def test_documents_are_known_by_their_words(words, expected):
    found = read_document(words)
    assert (found.kind, found.originals, found.copies, found.full_set) == expected
    assert found.text == words


def test_documents_without_plus_signs_are_told_apart():
    assert len(read_documents("1. INVOICE\n2. PACKING LIST\nSHOWING WEIGHTS")) == 2
    assert len(read_documents("INVOICE\nPACKING LIST\nSHOWING WEIGHTS")) == 2
    assert len(read_documents("+INVOICE\n+PACKING LIST\nINVOICE NUMBER")) == 2


def test_a_percentage_is_read_across_a_line_break():
    (document,) = read_documents("+INSURANCE POLICY FOR 120\nPCT OF CIF VALUE")
    assert insured_percent([document]) == 120


KINDS = (
    "invoice", "bill_of_lading", "insurance", "packing_list", "certificate_of_origin",
    "inspection_certificate", "weight_list", "air_waybill", "draft", "other",
)  # fmt: skip


@given(
    st.builds(
        RequiredDocument,
        kind=st.sampled_from(KINDS),
        originals=st.integers(1, 99),
        copies=st.integers(0, 99),
        full_set=st.booleans(),
    ),
    st.integers(100, 150),
)
def test_a_document_in_words_reads_back_as_itself(document, percent):
    found = read_document(document_text(document, percent))
    assert (found.kind, found.originals, found.copies, found.full_set) == (
        document.kind, document.originals, document.copies, document.full_set,
    )  # fmt: skip
    if document.kind == "insurance":
        assert (insured_percent([found]) or 110) == percent
