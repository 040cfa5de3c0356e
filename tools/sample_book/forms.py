"""The documents of people, as JSON, and the messages of other banks, as FIN."""

from __future__ import annotations

import hashlib
from typing import Any

from usance.messages.swift.fin import (
    Basic,
    Message,
    OutputHeader,
    Pair,
    build,
    numbered,
    terminal_of,
)
from usance.messages.swift.outbound_text import in_order

OUR_BIC = "ALBNGB2LXXX"
KESTREL, VOLTMARK, ANATOL, MERU = "KESTSGSGXXX", "VOLTDEFFXXX", "ANATTRISXXX", "MERUINBBXXX"
PAMPERO, HOSHI, DUNE, FJORD = "PAMPBRSPXXX", "HOSHJPJTXXX", "DUNEAEADXXX", "FJRDNOKKXXX"

MAKER = ("amara.okafor", "maker")
CHECKER = ("bruno.lindqvist", "checker")
EXAMINER = ("chiara.moretti", "examiner")
SENIOR = ("dev.raghavan", "senior_checker")
ANALYST = ("elif.demir", "compliance")
OFFICER = ("farid.haddad", "compliance_officer")

Person = tuple[str, str]
Document = dict[str, Any]


def by(person: Person, kind: str, identity: str, **members: Any) -> Document:
    """Return a JSON document of somebody: the command, its id, who acts, and its members."""
    who, role = person
    return {"type": kind, "id": identity, "as": who, "role": role, **members}


# -- import side


def firm(name: str, address: str, town: str, postcode: str, country: str) -> Document:
    """Return a party."""
    return {
        "name": name, "address": address, "town": town, "postcode": postcode, "country": country,
    }  # fmt: skip


QUILLON = firm("QUILLON MARINE SUPPLIES LTD", "4 TIDE MILL QUAY", "FELIXSTOWE", "IP11 3QX", "GB")
BRAMLEY = firm("BRAMLEY AND FENN FURNITURE LTD", "22 LATHE STREET", "LEEDS", "LS9 8QZ", "GB")
THORNE = firm("THORNE VALLEY FOODS PLC", "THE MALTINGS", "IPSWICH", "IP3 0QY", "GB")
PELHAM = firm("PELHAM ROPE WORKS LTD", "9 HEMP ROW", "BRISTOL", "BS1 6QJ", "GB")
TARVEK = firm("TARVEK WIDGET WORKS PTE LTD", "61 JALAN LOYANG", "SINGAPORE", "508999", "SG")
TANJONG = firm("TANJONG RIMAU TIMBER PTE LTD", "8 SAWMILL LINK", "SINGAPORE", "629999", "SG")
OBERFELD = firm("OBERFELD MASCHINEN GMBH", "DREHBANKWEG 7", "HAMBURG", "20999", "DE")
ANADOLYA = firm("ANADOLYA MERMER SANAYI AS", "MERMER CADDESI 18", "ISTANBUL", "34999", "TR")
MERUDHARA = firm("MERUDHARA SPICES PVT LTD", "14 CARDAMOM ROAD", "MUMBAI", "400099", "IN")
HOSHIKAWA = firm("HOSHIKAWA BEARINGS KK", "3-9 TESTCHO", "YOKOHAMA", "231-9999", "JP")


def required(*, insurance: bool = True) -> list[Document]:
    """Return the documents that our credits call for."""
    found: list[Document] = [
        {"kind": "invoice", "originals": 1, "copies": 2},
        {"kind": "bill_of_lading", "originals": 3, "full_set": True},
        {"kind": "packing_list", "originals": 1, "copies": 1},
    ]
    return [*found, {"kind": "insurance", "originals": 1}] if insurance else found


def terms(amount: int, currency: str = "USD", bank: str = KESTREL, **changes: Any) -> Document:
    """Return the terms of a sight credit; `amount` in minor units."""
    return {
        "currency": currency,
        "amount": amount,
        "expiry_date": "2027-02-15",
        "expiry_place": "SINGAPORE",
        "available_with": bank,
        "available_by": "sight",
        "partial_shipments": "NOT ALLOWED",
        "transhipment": "ALLOWED",
        "port_of_loading": "SINGAPORE",
        "port_of_discharge": "FELIXSTOWE",
        "latest_shipment": "2027-01-25",
        "incoterm": "CIF",
        "incoterm_place": "FELIXSTOWE",
        "hs_code": "8479.89",
        "required_documents": required(),
        "issuing_bank": OUR_BIC,
        "advising_bank": bank,
        **changes,
    }


def application(
    number: str,
    applicant: Document,
    beneficiary: Document,
    facility: str,
    about: Document,
    goods: str,
    *,
    margin: int = 0,
) -> Document:
    """Return an application as the maker enters it."""
    subject = f"cust-{applicant['name'].split()[0].lower()}"
    return by(
        MAKER,
        "ApplyForCredit",
        f"app-{number}",
        credit=number,
        application=f"APP-{number[-4:]}",
        facility=facility,
        margin_percent=margin,
        terms=about,
        parties={"subject": subject, "applicant": applicant, "beneficiary": beneficiary},
        narrative={
            "subject": subject,
            "goods": f"+{goods}",
            "conditions": "+ALL DOCUMENTS IN ENGLISH",
            "charges": "ALL CHARGES OUTSIDE UNITED KINGDOM\nARE FOR THE BENEFICIARY",
        },
    )


def invoice(amount: int, currency: str = "USD", **changes: Any) -> Document:
    """Return an invoice under the terms of `terms()`."""
    return {
        "kind": "invoice", "reference": "INV-1", "originals": 1, "copies": 2, "date": "2026-11-18",
        "currency": currency, "amount": amount, "incoterm": "CIF", "incoterm_place": "FELIXSTOWE",
        **changes,
    }  # fmt: skip


def lading(vessel: str, on_board: str = "2026-11-19", **changes: Any) -> Document:
    """Return a full set of bills of lading."""
    return {
        "kind": "bill_of_lading", "reference": "BL-1", "originals": 3, "originals_issued": 3,
        "date": on_board, "on_board": True, "on_board_date": on_board, "vessel": vessel,
        "port_of_loading": "SINGAPORE", "port_of_discharge": "FELIXSTOWE", **changes,
    }  # fmt: skip


def packing() -> Document:
    """Return a packing list."""
    return {"kind": "packing_list", "originals": 1, "copies": 1, "date": "2026-11-18"}


def policy(amount: int, currency: str = "USD", date: str = "2026-11-18") -> Document:
    """Return an insurance policy in a single original."""
    return {
        "kind": "insurance", "reference": "POL-1", "originals": 1, "originals_issued": 1,
        "date": date, "currency": currency, "amount": amount,
    }  # fmt: skip


def full_set(
    amount: int, vessel: str, currency: str = "USD", on_board: str = "2026-11-19"
) -> list[Document]:
    """Return a set of documents that complies with `terms()`."""
    cover = policy(amount * 110 // 100, currency, min(on_board, "2026-11-18"))
    return [invoice(amount, currency), lading(vessel, on_board), packing(), cover]


def presented(
    number: str,
    credit: str,
    amount: int,
    documents: list[Document],
    *,
    currency: str = "USD",
    presenter: str = KESTREL,
    reference: str = "",
    role: str = "issuing",
) -> Document:
    """Return documents as the examiner enters them at our counter in London."""
    return by(
        EXAMINER,
        "PresentDocuments",
        f"pre-{number}",
        presentation=number,
        credit=credit,
        presenter=presenter,
        presenter_reference=reference or f"BILL{number[-4:]}",
        place="LONDON",
        presentee=OUR_BIC,
        currency=currency,
        amount=amount,
        documents=documents,
        role=role,
    )


# -- messages of other banks

Fields = list[tuple[str, str]]


def fin(
    mt: str, sender: str, when: str, fields: Fields, *, sequence: int, release: str = "SR2026"
) -> bytes:
    """Return a delivered message; `when` is MMDDTHHMM, fields in any order that keeps repeats."""
    day, hour = "26" + when[:4], when[5:]
    mir = f"{day}{terminal_of(sender, 'A')}0412{sequence:06d}"
    check = hashlib.sha256(repr(fields).encode()).hexdigest()[:12].upper()
    message = Message(
        basic=Basic("F", "01", terminal_of(OUR_BIC, "A"), "0087", f"{sequence:06d}"),
        application=OutputHeader(mt, hour, mir, day, hour),
        user=(Pair("108", f"{sender[:4]}{sequence:06d}"),),
        fields=numbered(in_order(mt, fields, release)),
        trailer=(Pair("CHK", check),),
    )
    return build(message) + b"\r\n"


def party_groups(applicant: Document, beneficiary: Document) -> Fields:
    """Return applicant and beneficiary as SR2026 groups."""
    parts = (("N", "name"), ("S", "address"), ("T", "town"), ("P", "postcode"), ("R", "country"))
    return [
        (f"{number}{letter}", party[name])
        for number, party in (("50", applicant), ("59", beneficiary))
        for letter, name in parts
    ]


def party_lines(applicant: Document, beneficiary: Document) -> Fields:
    """Return applicant and beneficiary as lines, as before SR2026."""
    return [
        (number, f"{party['name']}\n{party['address']}\n{party['town']} {party['postcode']}")
        for number, party in (("50", applicant), ("59", beneficiary))
    ]


def mt700(
    number: str, issued: str, money: str, with_bank: str, *, parties: Fields, **changes: str
) -> Fields:
    """Return the fields of an MT700; `with_bank` is 41A, changes by tag (`f49="CONFIRM"`)."""
    fields = {
        "27": "1/1",
        "40A": "IRREVOCABLE",
        "20": number,
        "31C": issued,
        "40E": "UCP LATEST VERSION",
        "31D": "270228LONDON",
        "32B": money,
        "41A": with_bank,
        "43P": "ALLOWED",
        "43T": "ALLOWED",
        "44E": "FELIXSTOWE",
        "44C": "270131",
        "46A": "+SIGNED COMMERCIAL INVOICE IN 3 COPIES\n+FULL SET CLEAN ON BOARD BILL OF LADING",
        "47A": "+ALL DOCUMENTS IN ENGLISH",
        "71D": "ALL CHARGES OUTSIDE OUR COUNTRY\nARE FOR THE BENEFICIARY",
        "48": "21/AFTER SHIPMENT DATE",
        "49": "WITHOUT",
    }
    fields |= {tag.removeprefix("f"): value for tag, value in changes.items()}
    return [*((tag, value) for tag, value in fields.items() if value), *parties]


def mt707(
    number: str, amendment: int, issued: str, date: str, parties: Fields, **changes: str
) -> Fields:
    """Return the fields of an MT707 of an issuing bank; of the parties it names the applicant."""
    fields = {
        "27": "1/1", "20": number, "21": "NONREF", "23": number, "31C": issued,
        "26E": str(amendment), "30": date, "22A": "ISSU",
    }  # fmt: skip
    fields |= {tag.removeprefix("f"): value for tag, value in changes.items()}
    return [*fields.items(), *(pair for pair in parties if pair[0].startswith("50"))]
