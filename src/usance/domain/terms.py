"""What a credit says: its terms, parties, and the documents it calls for and gets.

Words follow UCP 600; field numbers in comments are those of MT700 under SR2026. Public terms carry no
personal data; parties and free text that may name people are private blocks.
"""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from usance.kernel.decider import PrivateBlock

APPLICANT = "APPLICANT"
"""Stands for the applicant's name where terms would name them: names are in the private block of parties."""
_CODE = re.compile("[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?")


def is_code(text: str) -> bool:
    """Tell whether a text has the shape of a BIC (ISO 9362); everything else may name a person."""
    return _CODE.fullmatch(text) is not None


class Party(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A name and structured address (SR2026 50N/S/T/P/R, 59N/S/T/P/R)."""

    name: str
    address: str = ""
    town: str = ""
    postcode: str = ""
    country: str = ""
    account: str = ""


class Parties(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True, gc=False):
    """Applicant and beneficiary. `subject` is the party id of the bank's customer."""

    subject: str
    applicant: Party
    beneficiary: Party


class Narrative(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True, gc=False):
    """Free text of the credit: kept in the log, never in memory (state holds digests)."""

    subject: str
    goods: str = ""  # 45A
    documents: str = ""  # 46A
    conditions: str = ""  # 47A
    charges: str = ""  # 71D
    bank_instructions: str = ""  # 78K
    sender_to_receiver: str = ""  # 72Z


class RequiredDocument(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A document the credit stipulates.

    `kind` is one of invoice, bill_of_lading, insurance, packing_list, certificate_of_origin,
    inspection_certificate, weight_list, air_waybill, draft, other. `full_set`: all originals issued.
    """

    kind: str
    originals: int = 1
    copies: int = 0
    full_set: bool = False
    text: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The terms of a credit that rules read. Amounts are minor units of `currency`; dates YYYY-MM-DD."""

    form: str = "IRREVOCABLE"  # 40A
    rules: str = "UCP LATEST VERSION"  # 40E
    currency: str  # 32B
    amount: int
    tolerance_plus: int = 0  # 39A, per cent
    tolerance_minus: int = 0
    has_tolerance: bool = False  # 39A present (0/0 is a statement too)
    approximate: bool = False  # "about", "approximately" on the amount (30a)
    additional_amount: int = 0  # 39C
    expiry_date: str  # 31D
    expiry_place: str
    available_with: str  # 41a: a BIC, or text such as ANY BANK IN SINGAPORE
    available_by: str  # sight | deferred | acceptance | negotiation | mixed
    tenor_days: int = 0
    tenor_from: str = ""  # shipment | sight | bl_date | invoice_date
    draft_on: str = ""  # 42a drawee: a bank, or APPLICANT
    partial_shipments: str = "ALLOWED"  # 43P: ALLOWED | NOT ALLOWED | CONDITIONAL
    transhipment: str = "ALLOWED"  # 43T
    port_of_loading: str = ""  # 44E
    port_of_discharge: str = ""  # 44F
    place_of_receipt: str = ""  # 44A
    final_destination: str = ""  # 44B
    latest_shipment: str = ""  # 44C
    shipment_period: str = ""  # 44D
    incoterm: str = ""  # 44I code
    incoterm_place: str = ""
    unit_price: int = 0  # minor units, 0: none stated
    quantity: int = 0  # 0: none stated
    quantity_unit: str = ""
    hs_code: str = ""  # 45H
    required_documents: list[RequiredDocument] = []
    presentation_days: int = 21  # 48; default of UCP 600 article 14(c)
    insured_percent: int = 110  # of CIF or CIP value
    confirmation: str = "WITHOUT"  # 49
    confirming_bank: str = ""  # 58a
    reimbursing_bank: str = ""  # 53a
    issuing_bank: str = ""  # BIC
    advising_bank: str = ""  # BIC of the receiver
    transferable: bool = False


def impersonal(terms: Terms, parties: Parties) -> Terms:
    """Return terms in which the drawee is not the applicant's name, but that word."""
    drawee = " ".join(terms.draft_on.upper().split())
    if not drawee or drawee != " ".join(parties.applicant.name.upper().split()):
        return terms
    return replace(terms, draft_on=APPLICANT)


class PresentedDocument(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A document as presented: what the rules read of it, and the digest of the whole.

    Fields that do not apply stay empty; dates YYYY-MM-DD; amounts are minor units of `currency`.
    """

    kind: str
    reference: str = ""
    digest: str = ""  # SHA-256 of the document as received, hex
    originals: int = 1
    copies: int = 0
    originals_issued: int = 0  # transport and insurance documents: how many originals it says exist
    date: str = ""
    currency: str = ""
    amount: int = 0
    unit_price: int = 0
    quantity: int = 0
    incoterm: str = ""
    incoterm_place: str = ""
    drawee: str = ""  # drafts
    on_board: bool = False  # a dated on-board notation, or a shipped bill
    on_board_date: str = ""
    intended_vessel: bool = False
    vessel: str = ""
    port_of_loading: str = ""
    port_of_discharge: str = ""
    received_for_shipment: bool = False


class Drawing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the credit says of a presentation: how much can still be drawn, and what has been drawn.

    Minor units; `available` is before this drawing, tolerance and 39C included; `drawn` is honoured or
    in presentation elsewhere.
    """

    available: int
    drawn: int


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rule's answer. `verdict` is complies | discrepant | not_applicable | disregarded | only_amended.

    `inputs` are the compared facts by name; `explanation` is a sentence for the examiner; only_amended
    means: complies under the pending amendment alone.
    """

    rule: str
    article: str
    inputs: dict[str, str]
    verdict: str
    explanation: str
