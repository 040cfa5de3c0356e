"""What we write breaks no network rule, loses no word, and reads back as the same terms."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.domain.credit.amendment_messages import TermsChanges
from usance.domain.refusal import DISPOSALS
from usance.domain.terms import Narrative, Parties, Party, RequiredDocument, Terms
from usance.kernel.errors import Refused
from usance.kernel.money import Money
from usance.messages.swift import outbound
from usance.messages.swift.fin import parse
from usance.messages.swift.inbound import read_inbound, split_messages
from usance.messages.swift.layouts import RELEASES
from usance.messages.swift.outbound_credit import advise_on, amend, issue, reimbursement
from usance.messages.swift.outbound_text import Part, fin_text, plain, reference
from usance.messages.swift.validation import validate

US, THEM = "ALBNGB2L", "BBBBSGSG"
BICS = ("BBBBSGSG", "DDDDUS33XXX", "CCCCDEFF")
WORD = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=10)
WORDS = st.lists(WORD, min_size=1, max_size=5).map(" ".join).filter(lambda t: len(t) <= 29)
PLACE = st.one_of(st.just(""), WORDS)
DATES = st.dates(min_value=__import__("datetime").date(2026, 1, 1),
                 max_value=__import__("datetime").date(2036, 1, 1)).map(str)  # fmt: skip
DOCUMENTS = st.lists(
    st.builds(
        RequiredDocument,
        kind=st.sampled_from(("invoice", "bill_of_lading", "insurance", "packing_list", "draft")),
        originals=st.integers(1, 9),
        copies=st.integers(0, 9),
        full_set=st.booleans(),
    ),
    max_size=5,
)


@st.composite
def all_terms(draw):
    days = draw(st.sampled_from((0, 30, 120)))
    base = draw(st.sampled_from(("sight", "shipment", "bl_date", "invoice_date"))) if days else ""
    shipment = draw(st.sampled_from(("date", "period", "none")))
    incoterm = draw(st.sampled_from(("", "CIF", "FOB")))
    tolerance = draw(st.booleans())
    documents = draw(DOCUMENTS)
    insured = any(d.kind == "insurance" for d in documents)
    transferable = draw(st.booleans())
    quantity = draw(st.integers(0, 10**6))
    return Terms(
        form="IRREVOCABLE TRANSFERABLE" if transferable else "IRREVOCABLE",
        transferable=transferable,
        rules=draw(st.sampled_from(("UCP LATEST VERSION", "EUCP LATEST VERSION"))),
        currency=draw(st.sampled_from(("USD", "JPY", "KWD"))),
        amount=draw(st.integers(1, 10**12)),
        has_tolerance=tolerance,
        tolerance_plus=draw(st.integers(0, 99)) if tolerance else 0,
        tolerance_minus=draw(st.integers(0, 99)) if tolerance else 0,
        approximate=not tolerance and draw(st.booleans()),
        additional_amount=draw(st.integers(0, 10**9)),
        expiry_date=draw(DATES),
        expiry_place=draw(WORDS),
        available_with=draw(st.one_of(st.sampled_from(BICS), WORDS.map(lambda w: f"ANY {w}"))),
        available_by=draw(
            st.sampled_from(("sight", "deferred", "acceptance", "negotiation", "mixed"))
        ),
        tenor_days=days,
        tenor_from=base,
        draft_on=draw(st.sampled_from(("", *BICS))),
        partial_shipments=draw(st.sampled_from(("ALLOWED", "NOT ALLOWED", "CONDITIONAL"))),
        transhipment=draw(st.sampled_from(("ALLOWED", "NOT ALLOWED", "CONDITIONAL"))),
        port_of_loading=draw(PLACE),
        port_of_discharge=draw(PLACE),
        place_of_receipt=draw(PLACE),
        final_destination=draw(PLACE),
        latest_shipment=draw(DATES) if shipment == "date" else "",
        shipment_period=draw(WORDS) if shipment == "period" else "",
        incoterm=incoterm,
        incoterm_place=draw(PLACE) if incoterm else "",
        unit_price=draw(st.integers(0, 10**9)),
        quantity=quantity,
        quantity_unit=draw(WORD) if quantity else "",
        hs_code=draw(st.sampled_from(("", "8479.89"))),
        required_documents=documents,
        presentation_days=draw(st.integers(1, 999)),
        insured_percent=draw(st.integers(100, 150)) if insured else 110,
        confirmation=draw(st.sampled_from(("WITHOUT", "MAY ADD", "CONFIRM"))),
        confirming_bank=draw(st.sampled_from(("", *BICS))),
        reimbursing_bank=draw(st.sampled_from(("", *BICS))),
        issuing_bank=US,
        advising_bank=THEM,
    )


TERMS = Terms(
    currency="USD", amount=100_000_00, expiry_date="2027-02-15", expiry_place="SINGAPORE",
    available_with=THEM, available_by="negotiation", issuing_bank=US, advising_bank=THEM,
    required_documents=[RequiredDocument(kind="invoice"), RequiredDocument(kind="insurance")],
)  # fmt: skip
APPLICANT = Party(name="ALBION IMPORTS LTD", address="1 HARBOUR ROAD", town="FELIXSTOWE",
                  postcode="IP11 3AA", country="GB")  # fmt: skip
BENEFICIARY = Party(name="ORIENT WIDGETS PTE LTD", address="22 QUAY STREET", town="SINGAPORE",
                    country="SG")  # fmt: skip
PARTIES = Parties(subject="C1", applicant=APPLICANT, beneficiary=BENEFICIARY)
ANY_TEXT = st.text(max_size=400)


def texts(parts: list[Part]) -> list[bytes]:
    return [
        fin_text(part, sender=US, receiver=THEM, mur=f"MUR{n}").encode()
        for n, part in enumerate(parts)
    ]


def assert_valid(data: bytes, release: str = "SR2026") -> None:
    assert validate(parse(data), release) == []


def without_words(terms: Terms) -> Terms:
    bare = [msgspec.structs.replace(d, text="") for d in terms.required_documents]
    return msgspec.structs.replace(terms, required_documents=bare)


@settings(max_examples=60, deadline=None)
@given(all_terms(), st.sampled_from(RELEASES))
def test_a_credit_written_and_read_back_has_the_same_terms(terms, release):
    messages = texts(
        issue(credit="TF26LC000123", terms=terms, parties=PARTIES, narrative=None,
              issue_date="2026-11-23", release=release)
    )  # fmt: skip
    for data in messages:
        assert_valid(data, release)
    (joined,) = split_messages(b"".join(messages))
    found = read_inbound(joined, THEM)
    assert found.notes == ()
    assert without_words(found.command.terms) == terms
    if release == "SR2026":
        assert found.command.parties.applicant == APPLICANT
        assert found.command.parties.beneficiary == BENEFICIARY


@settings(max_examples=60, deadline=None)
@given(all_terms(), st.booleans(), st.sampled_from(RELEASES))
def test_a_credit_advised_on_reads_back_as_the_issuing_banks(terms, confirmed, release):
    messages = texts(
        advise_on(own="ADV-77", credit="TF26LC000123", issuer=US, terms=terms, parties=PARTIES,
                  narrative=None, issue_date="2026-11-23", confirmed=confirmed, release=release)
    )  # fmt: skip
    for data in messages:
        assert_valid(data, release)
    first = {f.tag: f.value for f in parse(messages[0]).fields}
    assert (first["20"], first["21"], first["52A"]) == ("ADV-77", "TF26LC000123", US)
    words = "ADDING OUR CONFIRMATION" if confirmed else "WITHOUT OUR CONFIRMATION"
    assert first["40B"].split("\n")[1] == words
    (joined,) = split_messages(b"".join(messages))
    found = read_inbound(joined, THEM)
    assert (found.command.mt, found.command.sender_reference) == ("710", "TF26LC000123")
    kept = msgspec.structs.replace(terms, issuing_bank=US)
    read = msgspec.structs.replace(
        without_words(found.command.terms), advising_bank=terms.advising_bank
    )
    assert read == kept


def test_a_long_credit_is_advised_on_in_mt711_and_what_was_said_to_us_alone_stays_here():
    narrative = Narrative(
        subject="C1",
        goods="\n".join(f"ITEM {n} OF A LONG LIST OF WIDGETS" for n in range(300)),
        conditions="\n".join(f"CONDITION {n}" for n in range(300)),
        bank_instructions="REMIT AS INSTRUCTED",
        sender_to_receiver="FOR YOUR EYES ALONE",
    )
    parts = advise_on(own="ADV-77", credit="TF26LC000123", issuer=US, terms=TERMS, parties=PARTIES,
                      narrative=narrative, issue_date="2026-11-23")  # fmt: skip
    messages = texts(parts)
    for data in messages:
        assert_valid(data)
    kinds = [parse(m).type for m in messages]
    assert kinds[0] == "710" and set(kinds[1:]) == {"711"}
    whole = b"".join(messages)
    assert b"ITEM 299 OF" in whole and b"CONDITION 299" in whole and b"REMIT AS INSTRUCTED" in whole
    assert b"FOR YOUR EYES" not in whole


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Narrative, subject=st.just("C1"), goods=ANY_TEXT, documents=ANY_TEXT, conditions=ANY_TEXT,
        charges=ANY_TEXT, bank_instructions=ANY_TEXT, sender_to_receiver=ANY_TEXT,
    ),
    st.builds(Party, name=st.text(min_size=1, max_size=200).map(lambda t: "A" + t),
              address=ANY_TEXT, town=ANY_TEXT, postcode=ANY_TEXT, account=ANY_TEXT,
              country=st.just("CH")),
    st.sampled_from(("SR2018", "SR2026")),
)  # fmt: skip
def test_whatever_people_write_the_message_breaks_no_rule(narrative, party, release):
    parties = Parties(subject="C1", applicant=party, beneficiary=party)
    for data in texts(
        issue(credit="TF26", terms=TERMS, parties=parties, narrative=narrative,
              issue_date="2026-11-23", release=release)
    ):  # fmt: skip
        assert_valid(data, release)


def test_a_long_credit_goes_on_in_continuations_without_losing_a_line():
    goods = "\n".join(f"+ITEM NUMBER {n} OF THE GOODS" for n in range(330))
    narrative = Narrative(subject="C1", goods=goods, conditions="+SEE GOODS",
                          bank_instructions="I" * 5000, sender_to_receiver="R" * 500)  # fmt: skip
    messages = texts(
        issue(credit="TF26LC000123", terms=TERMS, parties=PARTIES, narrative=narrative,
              issue_date="2026-11-23")
    )  # fmt: skip
    assert [parse(m).type for m in messages] == ["700", "701", "701", "701"]
    for data in messages:
        assert_valid(data)
    (joined,) = split_messages(b"".join(messages))
    found = read_inbound(joined, THEM).command.narrative
    assert found.goods == goods
    assert found.conditions == "+SEE GOODS"
    assert sum(found.sender_to_receiver.count(c) for c in "I") >= 5000


def test_what_even_eight_messages_cannot_hold_is_refused():
    narrative = Narrative(subject="C1", goods="GOODS\n" * 900)
    with pytest.raises(Refused, match="8 messages"):
        issue(credit="T", terms=TERMS, parties=PARTIES, narrative=narrative,
              issue_date="2026-11-23")  # fmt: skip


def test_overflow_of_words_for_banks_never_reaches_the_conditions():
    narrative = Narrative(subject="C1", sender_to_receiver="SECRET " * 100)
    (part,) = issue(credit="T", terms=TERMS, parties=PARTIES, narrative=narrative,
                    issue_date="2026-11-23")  # fmt: skip
    fields = dict(part.fields)
    assert "SECRET" in fields["49H"]
    assert "47A" not in fields


def test_a_party_without_a_country_is_refused_not_invented():
    party = msgspec.structs.replace(BENEFICIARY, country="")
    parties = Parties(subject="C1", applicant=APPLICANT, beneficiary=party)
    with pytest.raises(Refused, match="beneficiary"):
        issue(credit="T", terms=TERMS, parties=parties, narrative=None, issue_date="2026-11-23")


def test_a_required_document_that_the_words_leave_out_is_added():
    narrative = Narrative(subject="C1", documents="+INVOICE IN 3 COPIES")
    (part,) = issue(credit="T", terms=TERMS, parties=PARTIES, narrative=narrative,
                    issue_date="2026-11-23")  # fmt: skip
    lines = dict(part.fields)["46A"].split("\n")
    assert lines[0] == "+INVOICE IN 3 COPIES"
    assert lines[1].startswith("+INSURANCE")
    assert len(lines) == 2


CHANGES = [
    TermsChanges(increase=10_000_00, expiry_date="2027-03-31"),
    TermsChanges(decrease=10_000_00, latest_shipment="2027-01-31"),
    TermsChanges(increase=5_00, decrease=2_00, tolerance_plus=3),
    TermsChanges(available_by="acceptance", tenor_days=60, tenor_from="sight", draft_on=US),
    TermsChanges(required_documents=[RequiredDocument(kind="packing_list", copies=2)]),
    TermsChanges(incoterm="FOB", incoterm_place="SINGAPORE", hs_code="1234.56"),
    TermsChanges(presentation_days=10, confirmation="CONFIRM", confirming_bank=THEM),
    TermsChanges(quantity=7, quantity_unit="PCS", unit_price=5),
    TermsChanges(insured_percent=120),
    TermsChanges(),
]


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("release", ["SR2021", "SR2026"])
def test_every_amendment_breaks_no_rule(changes, release):
    for data in texts(
        amend(credit="TF26LC000123", receiver_reference="", amendment=2, changes=changes,
              terms=TERMS, issue_date="2026-11-23", date="2026-12-01", release=release)
    ):  # fmt: skip
        assert_valid(data, release)


def test_an_amendment_reads_back_as_its_changes():
    changes = TermsChanges(
        increase=10_000_00, expiry_date="2027-03-31", expiry_place="SINGAPORE",
        latest_shipment="2027-02-28", tolerance_plus=10, tolerance_minus=0, presentation_days=15,
        required_documents=[RequiredDocument(kind="invoice", copies=2)],
    )  # fmt: skip
    (data,) = texts(
        amend(credit="TF26LC000123", receiver_reference="ADV1", amendment=1, changes=changes,
              terms=TERMS, issue_date="2026-11-23", date="2026-12-01")
    )  # fmt: skip
    command = read_inbound(data, THEM).command
    documents = [msgspec.structs.replace(d, text="") for d in command.changes.required_documents]
    assert msgspec.structs.replace(command.changes, required_documents=documents) == changes
    assert (command.amendment, command.date) == (1, "2026-12-01")


def test_a_long_list_of_new_documents_reads_back_whole_from_continuations():
    wanted = [
        RequiredDocument(kind="other", text=f"CERTIFICATE {n} " + "X" * 40) for n in range(250)
    ]
    messages = texts(
        amend(credit="T1", receiver_reference="", amendment=1, terms=TERMS,
              changes=TermsChanges(required_documents=wanted),
              issue_date="2026-11-23", date="2026-12-01")
    )  # fmt: skip
    assert len(messages) > 1
    for data in messages:
        assert_valid(data)
    (joined,) = split_messages(b"".join(messages))
    assert len(read_inbound(joined, THEM).command.changes.required_documents) == 250


MONEY = Money("USD", 101_250_00)
OTHERS = {
    "730": outbound.acknowledgement(own="A1", related="B1", date="2026-11-23", words="ADVISED"),
    "732": outbound.discharge(own="A1", related="B1", date="2026-11-23", money=MONEY, words="OK"),
    "734": outbound.refusal(own="A1", related="", date="2026-12-04", money=MONEY,
                            discrepancies=["Late shipment: 20 NOV, latest 15 NOV " * 4, "short {x}"],
                            disposal="NOTIFY"),
    "740": reimbursement(credit="A1", terms=TERMS),
    "750": outbound.discrepancies_advised(own="A1", related="B1", money=MONEY,
                                          discrepancies=["late shipment"]),
    "752": outbound.take_up_authority(own="A1", related="B1", date="2026-12-04", money=MONEY,
                                      by="sight"),
    "754": outbound.honour_advice(own="A1", related="B1", money=MONEY, maturity="2027-02-01",
                                  words="ACCEPTED", claimant=US),
    "756": outbound.payment_advice(own="A1", related="B1", date="2026-12-10", money=MONEY),
}  # fmt: skip


@pytest.mark.parametrize("mt", sorted(OTHERS))
def test_other_messages_break_no_rule_and_find_their_command(mt):
    data = fin_text(OTHERS[mt], sender=US, receiver=THEM, mur="M1").encode()
    assert parse(data).type == mt
    assert_valid(data)
    assert_valid(data, "SR2018")
    assert read_inbound(data, THEM).notes == ()


@pytest.mark.parametrize("disposal", sorted(DISPOSALS))
def test_each_disposal_is_a_valid_notice(disposal):
    part = outbound.refusal(own="A1", related="B1", date="2026-12-04", money=MONEY,
                            discrepancies=["late"], disposal=disposal)  # fmt: skip
    assert_valid(fin_text(part, sender=US, receiver=THEM, mur="M1").encode())


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=3000), st.text(max_size=20), st.text(max_size=20))
def test_free_text_of_any_kind_makes_a_valid_message(narrative, own, related):
    text = outbound.free_message(sender=US, receiver=THEM, reference=own, related=related,
                                 narrative=narrative, mur="M1")  # fmt: skip
    assert_valid(text.encode())


def test_a_free_message_of_an_unknown_sender_still_has_a_header():
    text = outbound.free_message(sender="", receiver=THEM, reference="A", related="",
                                 narrative="HELLO", mur="M1")  # fmt: skip
    assert text.startswith("{1:F01XXXXXXXXXXXX")


def test_brackets_and_foreign_letters_keep_a_likeness():
    assert plain("Zürich [a] {b} C:\\d") == "ZURICH (A) (B) C:/D"
    assert plain("5% & more", "x") == "5 PCT  AND  MORE"


def test_long_references_stay_apart():
    one, two = reference("TF26LC000123456789-A"), reference("TF26LC000123456789-B")
    assert len(one) <= 16
    assert one != two
    assert reference("TF26LC000123") == "TF26LC000123"
    assert reference("//") == "NONREF"
