"""Each examination rule: complies, discrepant, not applicable, and the boundaries between."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.domain.calendars import calendar
from usance.domain.examination import (
    COMPLIES,
    DISCREPANT,
    DISREGARDED,
    NOT_APPLICABLE,
    ONLY_AMENDED,
    RULES,
    PresentationFacts,
    discrepancies,
    examine,
    only_amended,
)
from usance.domain.terms import Drawing, Finding, PresentedDocument, RequiredDocument, Terms

OURS, NOMINATED, STRANGER = "ALBNGB2LXXX", "HBUKGB4BXXX", "DEUTDEFFXXX"
LONDON = calendar("GBLON")

TERMS = Terms(
    currency="USD",
    amount=10_000_000,
    expiry_date="2026-04-30",
    expiry_place="LONDON",
    available_with=NOMINATED,
    available_by="sight",
    draft_on=OURS,
    issuing_bank=OURS,
    partial_shipments="NOT ALLOWED",
    latest_shipment="2026-03-31",
    incoterm="CIF",
    incoterm_place="FELIXSTOWE",
    unit_price=100_000,
    quantity=100,
    quantity_unit="PCS",
    required_documents=[
        RequiredDocument(kind="invoice", text="SIGNED COMMERCIAL INVOICE IN TRIPLICATE"),
        RequiredDocument(kind="bill_of_lading", originals=3, full_set=True),
        RequiredDocument(kind="insurance", originals=2),
    ],
)

DRAFT = PresentedDocument(kind="draft", drawee=OURS, date="2026-03-18")
INVOICE = PresentedDocument(
    kind="invoice",
    reference="INV-7",
    copies=2,
    date="2026-03-05",
    currency="USD",
    amount=10_000_000,
    unit_price=100_000,
    quantity=100,
    incoterm="CIF",
    incoterm_place="Felixstowe",
)
BILL = PresentedDocument(
    kind="bill_of_lading",
    reference="BL-1",
    originals=3,
    originals_issued=3,
    date="2026-03-09",
    on_board=True,
    on_board_date="2026-03-10",
    vessel="EVER GIVEN",
)
POLICY = PresentedDocument(
    kind="insurance",
    originals=2,
    originals_issued=2,
    date="2026-03-08",
    currency="USD",
    amount=11_000_000,
)
PLAIN = {"draft": DRAFT, "invoice": INVOICE, "bill_of_lading": BILL, "insurance": POLICY}


def edit(struct: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(struct, **changes)


def documents(**changed: PresentedDocument | None) -> list[PresentedDocument]:
    """Return the complying set with some documents replaced, or left out by None."""
    return [document for document in (PLAIN | changed).values() if document]


def examined(
    *,
    terms: dict[str, Any] | None = None,
    pending: dict[str, Any] | None = None,
    drawing: Drawing | None = None,
    place: str = "GBLON",
    **facts: Any,
) -> list[Finding]:
    base = {
        "presented": "2026-03-20",
        "presentee": NOMINATED,
        "currency": "USD",
        "amount": 10_000_000,
        "documents": documents(),
    }
    agreed = edit(TERMS, **(terms or {}))
    return examine(
        PresentationFacts(**(base | facts)),
        agreed,
        drawing or Drawing(available=10_000_000, drawn=0),
        calendar(place),
        edit(agreed, **pending) if pending is not None else None,
    )


def of(rule: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.rule == rule]


def verdict(rule: str, **change: Any) -> str:
    verdicts = {finding.verdict for finding in of(rule, examined(**change))}
    assert len(verdicts) == 1, verdicts
    return verdicts.pop()


def test_a_complying_presentation_has_no_discrepancy_and_an_answer_from_every_rule() -> None:
    findings = examined()
    assert discrepancies(findings) == []
    assert {finding.rule for finding in findings} == {*RULES, "EX-59"}


def required(kind: str, **fields: Any) -> dict[str, Any]:
    return {"required_documents": [RequiredDocument(kind=kind, **fields)]}


NO_DOCUMENTS: dict[str, Any] = {"required_documents": [], "draft_on": ""}


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("EX-01", {"terms": {"expiry_date": ""}}),
        ("EX-02", {"terms": required("invoice")}),
        ("EX-02", {"terms": required("bill_of_lading", originals=0, copies=1)}),
        ("EX-02", {"documents": documents(bill_of_lading=None)}),
        ("EX-03", {"presentee": ""}),
        ("EX-04", {"terms": NO_DOCUMENTS}),
        ("EX-05", {"terms": NO_DOCUMENTS}),
        ("EX-06", {}),
        ("EX-08", {"terms": NO_DOCUMENTS}),
        ("EX-10", {"terms": {"partial_shipments": "ALLOWED"}, "amount": 1}),
        ("EX-10", {"currency": "EUR"}),
        ("EX-13", {"terms": {"draft_on": ""}}),
        ("EX-18", {"terms": NO_DOCUMENTS}),
        ("EX-20", {"documents": documents(invoice=None)}),
        ("EX-22", {"terms": {"unit_price": 0, "incoterm": "", "incoterm_place": ""}}),
        ("EX-28", {"documents": documents(bill_of_lading=None)}),
        ("EX-29", {"terms": {"latest_shipment": "", "shipment_period": "PROMPT SHIPMENT"}}),
        ("EX-29", {"documents": documents(bill_of_lading=None)}),
        ("EX-31", {"terms": required("invoice")}),
        ("EX-48", {"terms": required("invoice")}),
        ("EX-49", {"terms": required("invoice")}),
        ("EX-49", {"documents": documents(insurance=edit(POLICY, currency="EUR"))}),
        ("EX-59", {}),
    ],
)
def test_a_rule_says_when_it_does_not_apply(rule: str, change: dict[str, Any]) -> None:
    assert verdict(rule, **change) == NOT_APPLICABLE


@pytest.mark.parametrize(
    ("expiry", "presented", "expected"),
    [
        ("2026-03-20", "2026-03-20", COMPLIES),
        ("2026-03-19", "2026-03-20", DISCREPANT),
        ("2026-04-03", "2026-04-07", COMPLIES),  # Good Friday to the Tuesday after Easter
        ("2026-04-03", "2026-04-08", DISCREPANT),
        ("2026-04-02", "2026-04-07", DISCREPANT),  # expired on an open Thursday
    ],
)
def test_expiry_rolls_over_closed_days_only(expiry: str, presented: str, expected: str) -> None:
    assert verdict("EX-01", terms={"expiry_date": expiry}, presented=presented) == expected


def test_expiry_is_not_extended_by_force_majeure() -> None:
    change = {"terms": {"expiry_date": "2023-09-01"}, "place": "HKHKG"}
    assert verdict("EX-01", presented="2023-09-04", **change) == DISCREPANT


def test_a_rolled_expiry_is_explained_with_both_dates() -> None:
    change = {"terms": {"expiry_date": "2026-04-03"}, "presented": "2026-04-08"}
    [finding] = of("EX-01", examined(**change))
    assert "presented on 2026-04-08" in finding.explanation
    assert "2026-04-07, which article 29 moves from 2026-04-03" in finding.explanation
    assert finding.inputs["last_day"] == "2026-04-07"


@pytest.mark.parametrize(
    ("shipped", "presented", "days", "expected"),
    [
        ("2026-03-10", "2026-03-31", 21, COMPLIES),  # the 21st day
        ("2026-03-10", "2026-04-01", 21, DISCREPANT),
        ("2026-03-13", "2026-04-07", 21, COMPLIES),  # the 21st day is Good Friday
        ("2026-03-13", "2026-04-08", 21, DISCREPANT),
        ("2026-03-10", "2026-03-25", 15, COMPLIES),
        ("2026-03-10", "2026-03-26", 15, DISCREPANT),
    ],
)
def test_documents_are_stale_after_the_period_of_presentation(
    shipped: str, presented: str, days: int, expected: str
) -> None:
    bill = edit(BILL, on_board_date=shipped)
    change = {"presented": presented, "documents": documents(bill_of_lading=bill)}
    assert verdict("EX-02", terms={"presentation_days": days}, **change) == expected


@pytest.mark.parametrize(
    ("vessel", "expected"), [("EVER GIVEN", COMPLIES), ("EVER GOLDEN", DISCREPANT)]
)
def test_the_period_runs_from_the_last_bill_of_one_vessel_and_the_first_of_two(
    vessel: str, expected: str
) -> None:
    other = edit(BILL, on_board_date="2026-03-20", vessel=vessel)
    change = {"presented": "2026-04-09", "documents": [*documents(), other]}
    assert verdict("EX-02", **change) == expected


@pytest.mark.parametrize(
    ("presentee", "available_with", "expected"),
    [
        (NOMINATED, NOMINATED, COMPLIES),
        ("HBUKGB4BLON", NOMINATED, COMPLIES),  # another desk of the same bank
        (OURS, NOMINATED, COMPLIES),  # the issuer's counter is always open
        (STRANGER, NOMINATED, DISCREPANT),
        (STRANGER, "ANY BANK", COMPLIES),
        (STRANGER, "ANY BANK IN GERMANY", COMPLIES),
        (STRANGER, "ANY BANK IN SINGAPORE", DISCREPANT),
    ],
)
def test_presentation_is_made_where_the_credit_is_available(
    presentee: str, available_with: str, expected: str
) -> None:
    terms = {"available_with": available_with}
    assert verdict("EX-03", presentee=presentee, terms=terms) == expected


def test_each_missing_document_is_a_discrepancy_of_its_own() -> None:
    found = of("EX-04", examined(documents=[INVOICE, DRAFT]))
    assert [finding.inputs["document"] for finding in found] == ["bill of lading", "insurance"]
    assert all(finding.verdict == DISCREPANT for finding in found)


def test_a_draft_the_credit_asks_for_must_be_presented() -> None:
    assert verdict("EX-04", documents=documents(draft=None)) == DISCREPANT
    assert verdict("EX-04", documents=documents(draft=None), terms={"draft_on": ""}) == COMPLIES


@pytest.mark.parametrize(
    ("text", "originals", "copies", "presented", "expected"),
    [
        ("IN DUPLICATE", 1, 0, (1, 1), COMPLIES),
        ("IN DUPLICATE", 1, 0, (2, 0), COMPLIES),
        ("IN DUPLICATE", 1, 0, (1, 0), DISCREPANT),
        ("IN DUPLICATE", 1, 0, (0, 2), DISCREPANT),
        ("in three copies", 1, 0, (1, 2), COMPLIES),
        ("IN 3-FOLD", 1, 0, (1, 1), DISCREPANT),
        ("", 2, 1, (2, 1), COMPLIES),
        ("", 2, 1, (3, 0), COMPLIES),  # an original may stand for a copy
        ("", 2, 1, (1, 2), DISCREPANT),
        ("", 0, 1, (0, 1), COMPLIES),  # copies alone when copies are asked for
        ("", 1, 0, (0, 1), DISCREPANT),  # else at least one original of each document
    ],
)
def test_originals_and_copies_are_counted(
    text: str, originals: int, copies: int, presented: tuple[int, int], expected: str
) -> None:
    terms = required("invoice", text=text, originals=originals, copies=copies)
    invoice = edit(INVOICE, originals=presented[0], copies=presented[1])
    assert verdict("EX-05", terms=terms, documents=[invoice]) == expected


def test_extra_documents_are_disregarded_even_when_something_is_wrong_with_them() -> None:
    weights = PresentedDocument(kind="weight_list", date="2027-01-01", originals=0)
    findings = examined(documents=[*documents(), weights])
    assert discrepancies(findings) == []
    assert [finding.verdict for finding in of("EX-06", findings)] == [DISREGARDED]


@pytest.mark.parametrize(
    ("dated", "expected"),
    [("2026-03-20", COMPLIES), ("2026-03-21", DISCREPANT), ("2024-01-01", COMPLIES)],
)
def test_a_document_is_not_dated_after_presentation(dated: str, expected: str) -> None:
    invoice = edit(INVOICE, date=dated)
    assert verdict("EX-08", documents=documents(invoice=invoice)) == expected
    bill = edit(BILL, on_board_date=dated)
    assert verdict("EX-08", documents=documents(bill_of_lading=bill)) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (10_000_000, "USD", COMPLIES),
        (10_000_001, "USD", DISCREPANT),
        (1, "EUR", DISCREPANT),
    ],
)
def test_a_claim_stays_within_what_is_available(amount: int, currency: str, expected: str) -> None:
    assert verdict("EX-09", amount=amount, currency=currency) == expected


def test_an_over_drawing_is_explained_with_both_amounts_and_the_excess() -> None:
    [finding] = of("EX-09", examined(amount=10_250_000))
    assert finding.explanation == (
        "The claim of USD 102,500.00 exceeds the USD 100,000.00 available by USD 2,500.00."
    )


@pytest.mark.parametrize(
    ("amount", "terms", "invoice", "expected"),
    [
        (9_500_000, {}, {}, COMPLIES),  # exactly 5 per cent less
        (9_499_999, {}, {}, DISCREPANT),
        (9_500_000, {}, {"quantity": 99}, DISCREPANT),  # not the full quantity
        (9_500_000, {}, {"unit_price": 99_999}, DISCREPANT),  # a reduced unit price
        (9_500_000, {"quantity": 0, "unit_price": 0}, {"quantity": 5}, COMPLIES),
        (9_500_000, {"quantity_unit": "MT"}, {"quantity": 95}, COMPLIES),  # 30b on bulk
        (9_500_000, {"quantity_unit": "MT"}, {"quantity": 94}, DISCREPANT),
        (9_500_000, {"has_tolerance": True}, {}, DISCREPANT),  # 39A 0/0 leaves no 5 per cent
        (9_800_000, {"has_tolerance": True, "tolerance_minus": 2}, {}, COMPLIES),
        (9_799_999, {"has_tolerance": True, "tolerance_minus": 2}, {}, DISCREPANT),
        (9_000_000, {"approximate": True}, {"quantity": 90}, COMPLIES),
        (8_999_999, {"approximate": True}, {}, DISCREPANT),
    ],
)
def test_a_credit_that_bars_partials_is_drawn_in_full_or_nearly(
    amount: int, terms: dict[str, Any], invoice: dict[str, Any], expected: str
) -> None:
    documents_ = documents(invoice=edit(INVOICE, **invoice))
    assert verdict("EX-10", terms=terms, amount=amount, documents=documents_) == expected


def test_earlier_drawings_count_towards_the_least_drawing() -> None:
    drawing = Drawing(available=5_000_000, drawn=5_000_000)
    assert verdict("EX-10", amount=5_000_000, drawing=drawing) == COMPLIES
    assert verdict("EX-10", amount=4_000_000, drawing=drawing) == DISCREPANT


@pytest.mark.parametrize(
    ("drawee", "expected"),
    [
        (OURS, COMPLIES),
        ("ALBNGB2L", COMPLIES),
        (NOMINATED, DISCREPANT),
        ("", DISCREPANT),
    ],
)
def test_drafts_are_drawn_on_the_drawee_of_the_credit(drawee: str, expected: str) -> None:
    drafts = documents(draft=edit(DRAFT, drawee=drawee))
    assert verdict("EX-13", documents=drafts) == expected


def test_a_draft_on_a_person_fails_without_naming_the_person() -> None:
    drafts = documents(draft=edit(DRAFT, drawee="Jane Applicant"))
    [finding] = of("EX-13", examined(documents=drafts))
    assert finding.verdict == DISCREPANT
    assert "JANE" not in str(finding).upper()


@pytest.mark.parametrize("currency", ["EUR", ""])
def test_invoices_and_insurance_are_in_the_currency_of_the_credit(currency: str) -> None:
    assert verdict("EX-18") == verdict("EX-48") == COMPLIES
    invoice = documents(invoice=edit(INVOICE, currency=currency))
    assert verdict("EX-18", documents=invoice) == DISCREPANT
    policy = documents(insurance=edit(POLICY, currency=currency))
    assert verdict("EX-48", documents=policy) == DISCREPANT


@pytest.mark.parametrize(
    ("invoiced", "claim", "expected"),
    [
        (10_000_000, 10_000_000, COMPLIES),
        (10_000_001, 10_000_000, COMPLIES),  # the bank may accept it; the claim does not exceed
        (10_000_001, 10_000_001, DISCREPANT),
    ],
)
def test_an_invoice_over_the_amount_fails_only_when_the_claim_exceeds_too(
    invoiced: int, claim: int, expected: str
) -> None:
    documents_ = documents(invoice=edit(INVOICE, amount=invoiced))
    assert verdict("EX-20", amount=claim, documents=documents_) == expected


def test_several_invoices_are_added_up() -> None:
    parts = [edit(INVOICE, amount=6_000_000), edit(INVOICE, amount=6_000_000)]
    change = {"amount": 12_000_000, "documents": [*documents(invoice=None), *parts]}
    [finding] = of("EX-20", examined(**change))
    assert finding.inputs["invoiced"] == "USD 120,000.00"
    assert finding.verdict == DISCREPANT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unit_price", 99_000),
        ("unit_price", 0),
        ("incoterm", "FOB"),
        ("incoterm", ""),
        ("incoterm_place", "SOUTHAMPTON"),
    ],
)
def test_price_and_trade_term_are_those_of_the_credit(field: str, value: object) -> None:
    assert verdict("EX-22") == COMPLIES
    documents_ = documents(invoice=edit(INVOICE, **{field: value}))
    assert verdict("EX-22", documents=documents_) == DISCREPANT


@pytest.mark.parametrize(
    ("bill", "expected"),
    [
        ({}, COMPLIES),
        ({"on_board_date": ""}, COMPLIES),  # a pre-printed shipped bill
        ({"on_board": False}, DISCREPANT),
        ({"received_for_shipment": True}, COMPLIES),
        ({"received_for_shipment": True, "on_board_date": ""}, DISCREPANT),
        ({"received_for_shipment": True, "vessel": ""}, DISCREPANT),
        ({"intended_vessel": True}, COMPLIES),
        ({"intended_vessel": True, "on_board_date": ""}, DISCREPANT),
    ],
)
def test_a_bill_of_lading_shows_goods_on_board_a_named_vessel(
    bill: dict[str, Any], expected: str
) -> None:
    documents_ = documents(bill_of_lading=edit(BILL, **bill))
    assert verdict("EX-28", documents=documents_) == expected


@pytest.mark.parametrize(
    ("issued", "noted", "expected"),
    [
        ("2026-03-09", "2026-03-31", COMPLIES),
        ("2026-03-09", "2026-04-01", DISCREPANT),
        ("2026-04-02", "2026-03-31", COMPLIES),  # the notation counts, not the date of issue
        ("2026-04-01", "", DISCREPANT),
        ("", "", DISCREPANT),
    ],
)
def test_shipment_date_is_that_of_the_on_board_notation(
    issued: str, noted: str, expected: str
) -> None:
    bill = edit(BILL, date=issued, on_board_date=noted)
    assert verdict("EX-29", documents=documents(bill_of_lading=bill)) == expected


def test_latest_shipment_never_rolls_over_a_closed_day() -> None:
    bill = edit(BILL, on_board_date="2026-04-07")
    change = {"terms": {"latest_shipment": "2026-04-03"}, "presented": "2026-04-10"}
    assert verdict("EX-29", documents=documents(bill_of_lading=bill), **change) == DISCREPANT


def test_shipment_lies_in_the_period_of_shipment() -> None:
    terms = {"latest_shipment": "", "shipment_period": "DURING SECOND HALF OF MARCH 2026"}
    assert verdict("EX-29", terms=terms) == DISCREPANT
    bill = documents(bill_of_lading=edit(BILL, on_board_date="2026-03-16"))
    assert verdict("EX-29", terms=terms, documents=bill) == COMPLIES


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("bill_of_lading", {"originals": 2}, DISCREPANT),
        ("bill_of_lading", {"originals": 1, "originals_issued": 1}, COMPLIES),
        ("bill_of_lading", {"originals_issued": 0}, DISCREPANT),  # it must say how many
        ("insurance", {"originals": 1}, DISCREPANT),
        ("insurance", {"originals_issued": 0}, COMPLIES),
    ],
)
def test_a_full_set_is_all_originals_issued(
    kind: str, change: dict[str, Any], expected: str
) -> None:
    documents_ = documents(**{kind: edit(PLAIN[kind], **change)})
    assert verdict("EX-31", documents=documents_) == expected


def test_one_original_air_waybill_is_enough_even_when_a_full_set_is_asked() -> None:
    waybill = PresentedDocument(kind="air_waybill", originals_issued=3, date="2026-03-10")
    terms = required("air_waybill", full_set=True)
    assert verdict("EX-31", terms=terms, documents=[waybill]) == NOT_APPLICABLE


@pytest.mark.parametrize(
    ("cover", "terms", "invoiced", "claim", "expected"),
    [
        (11_000_000, {}, 10_000_000, 10_000_000, COMPLIES),
        (10_999_999, {}, 10_000_000, 10_000_000, DISCREPANT),
        (99_000_000, {}, 10_000_000, 10_000_000, COMPLIES),  # the percentage is a minimum
        (11_000_000, {"insured_percent": 120}, 10_000_000, 10_000_000, DISCREPANT),
        (11_000_000, {"incoterm": "FOB"}, 10_000_000, 10_000_001, DISCREPANT),  # claim is greater
        (8_800_000, {}, 8_000_000, 10_000_000, COMPLIES),  # a CIF value is known
    ],
)
def test_cover_is_the_percentage_of_the_insured_value(
    cover: int, terms: dict[str, Any], invoiced: int, claim: int, expected: str
) -> None:
    invoice, policy = edit(INVOICE, amount=invoiced), edit(POLICY, amount=cover)
    documents_ = documents(invoice=invoice, insurance=policy)
    assert verdict("EX-49", terms=terms, amount=claim, documents=documents_) == expected


def test_a_presentation_that_complies_only_as_amended_accepts_the_amendment() -> None:
    late = documents(bill_of_lading=edit(BILL, on_board_date="2026-04-02"))
    change = {"presented": "2026-04-10", "documents": late}
    findings = examined(pending={"latest_shipment": "2026-04-15"}, **change)
    assert only_amended(findings)
    assert discrepancies(findings) == []
    assert {f.verdict for f in of("EX-29", findings)} == {ONLY_AMENDED}
    assert discrepancies(examined(**change)) != []


def test_a_pending_increase_makes_more_available() -> None:
    findings = examined(amount=12_000_000, pending={"amount": 12_000_000})
    assert only_amended(findings)
    again = examined(amount=12_000_001, pending={"amount": 12_000_000})
    assert not only_amended(again)
    assert [f.rule for f in discrepancies(again)] == ["EX-09"]
    assert {f.verdict for f in of("EX-59", again)} == {NOT_APPLICABLE}


def test_a_presentation_complying_with_the_terms_in_force_accepts_no_amendment() -> None:
    findings = examined(pending={"latest_shipment": "2026-01-01"})
    assert not only_amended(findings)
    assert discrepancies(findings) == []
    assert {f.verdict for f in of("EX-59", findings)} == {COMPLIES}


def test_explanations_are_sentences() -> None:
    wrong = documents(
        invoice=edit(INVOICE, currency="EUR", incoterm="FOB", originals=0),
        bill_of_lading=edit(BILL, on_board=False, originals=1),
        insurance=None,
        draft=edit(DRAFT, drawee=""),
    )
    findings = examined(presented="2026-09-01", amount=99_999_999, documents=wrong)
    for finding in findings + examined():
        assert finding.explanation[0].isupper()
        assert finding.explanation.endswith(".")
        assert "None" not in finding.explanation


TEXTS = st.sampled_from(
    ["", "USD", "EUR", "2026-03-10", "2026-02-30", "9999-12-31", "ANY BANK", "CIF"]
)
AMOUNTS = st.integers(min_value=-(10**15), max_value=10**15)
ANY_DOCUMENT = st.builds(
    PresentedDocument,
    kind=st.sampled_from(["invoice", "bill_of_lading", "air_waybill", "insurance", "draft", "x"]),
    date=TEXTS,
    on_board_date=TEXTS,
    currency=TEXTS,
    amount=AMOUNTS,
    originals=AMOUNTS,
    drawee=TEXTS,
    vessel=TEXTS,
    on_board=st.booleans(),
)


@given(
    facts=st.builds(
        PresentationFacts,
        presented=TEXTS,
        presentee=TEXTS,
        currency=TEXTS,
        amount=AMOUNTS,
        documents=st.lists(ANY_DOCUMENT, max_size=6),
    ),
    amount=AMOUNTS,
    days=AMOUNTS,
    text=TEXTS,
)
def test_examination_answers_every_input(
    facts: PresentationFacts, amount: int, days: int, text: str
) -> None:
    terms = edit(TERMS, presentation_days=days, expiry_date=text, latest_shipment=text)
    pending = edit(terms, amount=amount, available_with=text)
    findings = examine(facts, terms, Drawing(available=amount, drawn=0), LONDON, pending)
    assert {finding.rule for finding in findings} == {*RULES, "EX-59"}
    assert findings == examine(facts, terms, Drawing(available=amount, drawn=0), LONDON, pending)
