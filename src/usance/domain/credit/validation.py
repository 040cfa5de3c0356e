"""What an application must say before the bank may issue (UCP 600 articles 3, 6; fields of MT700)."""

from __future__ import annotations

from collections.abc import Iterator

from usance.domain.credit.state import CreditState
from usance.domain.dates import day_of
from usance.domain.guards import terms_flaw
from usance.domain.terms import Parties, Terms
from usance.kernel.decider import Refusal

AVAILABLE_BY = ("sight", "deferred", "acceptance", "negotiation", "mixed")
FORMS = ("IRREVOCABLE", "IRREVOCABLE TRANSFERABLE")
RULES = (
    "UCP LATEST VERSION",
    "UCPURR LATEST VERSION",
    "EUCP LATEST VERSION",
    "EUCPURR LATEST VERSION",
)
SHIPMENTS = ("ALLOWED", "NOT ALLOWED", "CONDITIONAL")
CONFIRMATIONS = ("CONFIRM", "MAY ADD", "WITHOUT")


def parties_complete(parties: Parties) -> bool:
    """Return whether both parties have what MT700 demands since SR2026: a name and a country code."""
    one, other = parties.applicant, parties.beneficiary
    named = bool(one.name.strip() and other.name.strip())
    return named and len(one.country.strip()) == len(other.country.strip()) == 2


def draws_on_applicant(terms: Terms, parties: Parties) -> bool:
    """Return whether the draft would be on the applicant, by name or by that word."""
    drawee = " ".join(terms.draft_on.upper().split())
    if not drawee:
        return False
    name = " ".join(parties.applicant.name.upper().split())
    return drawee == name or "APPLICANT" in drawee


def _availability(terms: Terms) -> Iterator[Refusal]:
    if not terms.available_with.strip():
        yield Refusal(
            "AVAILABLE_WITH_MISSING",
            "A credit must state the bank with which it is available, or that any bank is.",
            "UCP600-6a",
            "Give field 41a: a BIC, or words such as ANY BANK IN a place.",
        )
    if terms.available_by not in AVAILABLE_BY:
        yield Refusal(
            "AVAILABLE_BY_UNKNOWN",
            "A credit must be available by sight payment, deferred payment, acceptance or negotiation.",
            "UCP600-6b",
            f"Give field 41a one of: {', '.join(AVAILABLE_BY)}.",
        )
    if terms.available_by in ("deferred", "acceptance") and not terms.tenor_days:
        yield Refusal(
            "TENOR_MISSING",
            "Deferred payment and acceptance need a tenor.",
            "MT700-42C,42P",
            "Give the number of days and what they run from.",
        )
    if terms.available_by == "acceptance" and not terms.draft_on.strip():
        yield Refusal(
            "DRAWEE_MISSING",
            "A credit available by acceptance needs a drawee.",
            "MT700-42a",
            "Give field 42a: the bank on which drafts are drawn.",
        )


def _dates(terms: Terms, today: str) -> Iterator[Refusal]:
    if terms.expiry_date < today:
        yield Refusal(
            "EXPIRY_PAST",
            "The expiry date lies before today.",
            "UCP600-6d-i",
            "Give field 31D a date to come.",
        )
    if not terms.expiry_place.strip():
        yield Refusal(
            "EXPIRY_PLACE_MISSING",
            "A credit must state the place where documents are to be presented.",
            "UCP600-6d-ii",
            "Give the place in field 31D.",
        )
    if terms.latest_shipment and terms.shipment_period:
        yield Refusal(
            "SHIPMENT_STATED_TWICE",
            "A latest date and a period of shipment exclude each other.",
            "MT700-C02",
            "Give 44C or 44D, not both.",
        )
    if terms.latest_shipment and day_of(terms.latest_shipment) is None:
        yield Refusal(
            "SHIPMENT_DATE_UNREADABLE",
            "The latest date of shipment is no date.",
            "MT700-44C",
            "Give field 44C as YYYY-MM-DD.",
        )
    if terms.latest_shipment > terms.expiry_date:
        yield Refusal(
            "SHIPMENT_AFTER_EXPIRY",
            "Goods could be shipped after the last day to present documents.",
            "UCP600-14c",
            "Bring the latest shipment forward or the expiry back.",
        )


def _words(terms: Terms) -> Iterator[Refusal]:
    if terms.form not in FORMS:
        yield Refusal(
            "FORM_UNKNOWN",
            "The bank issues irrevocable credits only.",
            "UCP600-3,10a",
            f"Give field 40A one of: {', '.join(FORMS)}.",
        )
    if terms.rules not in RULES:
        yield Refusal(
            "RULES_UNKNOWN",
            "A credit must say which rules it is subject to.",
            "UCP600-1",
            f"Give field 40E one of: {', '.join(RULES)}.",
        )
    shipments = (terms.partial_shipments, terms.transhipment)
    if any(word not in SHIPMENTS for word in shipments):
        yield Refusal(
            "SHIPMENT_TERMS_UNKNOWN",
            "Partial shipments and transhipment are allowed, not allowed or conditional.",
            "MT700-43P,43T",
            f"Give fields 43P and 43T one of: {', '.join(SHIPMENTS)}.",
        )
    if terms.confirmation not in CONFIRMATIONS:
        yield Refusal(
            "CONFIRMATION_UNKNOWN",
            "The instruction on confirmation is unknown.",
            "MT700-49",
            f"Give field 49 one of: {', '.join(CONFIRMATIONS)}.",
        )
    if terms.confirmation != "WITHOUT" and not (terms.confirming_bank or terms.advising_bank):
        yield Refusal(
            "CONFIRMING_BANK_MISSING",
            "A credit to be confirmed must name the bank that is asked to.",
            "MT700-58a",
            "Give field 58a, or the advising bank.",
        )
    if terms.has_tolerance and terms.approximate:
        yield Refusal(
            "TOLERANCE_STATED_TWICE",
            "A stated tolerance and the word about exclude each other.",
            "UCP600-30a",
            "Give field 39A, or say about, not both.",
        )


def application_flaw(state: CreditState, today: str) -> Refusal | None:
    """Return the first reason why an application cannot be issued; None when it can.

    `today` is YYYY-MM-DD at the issuing bank.
    """
    terms = state.stipulated
    if not state.parties_complete:
        return Refusal(
            "PARTY_INCOMPLETE",
            "Applicant and beneficiary need a name and a country code each.",
            "MT700-50N,50R,59N,59R",
            "Give both in a new application.",
        )
    if state.draft_on_applicant:
        return Refusal(
            "DRAFT_ON_APPLICANT",
            "A credit must not be available by a draft drawn on the applicant.",
            "UCP600-6c",
            "Give field 42a a bank.",
        )
    flaw = terms_flaw(terms)
    if flaw:
        return flaw
    for flaws in (_words(terms), _availability(terms), _dates(terms, today)):
        for found in flaws:
            return found
    return None
