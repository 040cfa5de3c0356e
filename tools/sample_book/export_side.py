"""Credits of other banks that reach us: advised, confirmed, negotiated, declined."""

from __future__ import annotations

from typing import Any

from sample_book.forms import (
    ANADOLYA,
    ANATOL,
    CHECKER,
    DUNE,
    EXAMINER,
    FJORD,
    HOSHI,
    HOSHIKAWA,
    MAKER,
    MERU,
    MERUDHARA,
    OBERFELD,
    OUR_BIC,
    PAMPERO,
    SENIOR,
    THORNE,
    VOLTMARK,
    Document,
    Person,
    by,
    fin,
    firm,
    invoice,
    lading,
    mt700,
    mt707,
    party_groups,
    party_lines,
    presented,
    terms,
)
from sample_book.scribe import Step

CALDER = firm("CALDERWICK TEXTILES LTD", "31 WEAVERS WAY", "HALIFAX", "HX1 9QQ", "GB")
PAMPA = firm("PAMPA VERDE GRAOS LTDA", "RUA DO ARMAZEM 40", "SANTOS", "11099-999", "BR")
LANTERN = firm("DUNE CRESCENT TRADING FZE", "WAREHOUSE 7 NORTH GATE", "DUBAI", "", "AE")
FJELL = firm("FJELLHEIM SALMON AS", "BRYGGEN 3", "BERGEN", "5899", "NO")

HOSHI_LC, VOLT_LC, ANATOL_LC = "HOSHJPJT-JLC88001", "VOLTDEFF-ILC-4402", "ANATTRIS-ANT26771"
MERU_LC, PAMPERO_LC = "MERUINBB-MCB/ADV/5508", "PAMPBRSP-PMP720-19"
DUNE_LC, FJORD_LC = "DUNEAEAD-DCB260094", "FJRDNOKK-FHB-3377"
PAPER_LC = "PAMPBRSP-PAPER-61"


def steps() -> list[Step]:
    """Return the export side's steps, in no particular order."""
    return [
        *_advised(),
        *_confirmed(),
        *_negotiated(),
        *_second_hand(),
        *_crossed(),
        *_sent_on(),
        *_on_paper(),
    ]


def _fin(
    when: str, label: str, mt: str, bank: str, fields: Any, sequence: int, **more: str
) -> Step:
    message = fin(mt, bank, when, fields, sequence=sequence, **more)
    return Step(when, label, lambda _: message)


def _act(when: str, label: str, person: Person, kind: str, **members: Any) -> Step:
    document = by(person, kind, label, **members)
    return Step(when, label, lambda _: document)


def _answer(credit: str, when: str, label: str, answer: str) -> Step:
    return _act(
        when, label, MAKER, "RespondToAmendment", credit=credit, amendment=1, party="beneficiary",
        answer=answer, reference="BENEFICIARY LETTER",
    )  # fmt: skip


def japanese_credit(money: str = "JPY8400000,") -> list[tuple[str, str]]:
    """Return the MT700 of the Japanese bank, for tea and biscuits."""
    return mt700(
        "JLC88001", "261120", money, f"{OUR_BIC}\nBY PAYMENT",
        parties=party_groups(HOSHIKAWA, THORNE),
        f45A="+7000 TINS OF TEA BISCUITS", f44F="YOKOHAMA",
    )  # fmt: skip


def _advised() -> list[Step]:
    """Return JLC88001: advised, its amendment accepted (MT730 twice)."""
    less = mt707(
        "JLC88001", 1, "261120", "261125", party_groups(HOSHIKAWA, THORNE),
        f33B="JPY400000,", f44C="270228", f31D="270331LONDON",
    )  # fmt: skip
    return [
        _fin("1123T0615", "jlc88001-700", "700", HOSHI, japanese_credit(), 5101),
        _act("1123T1010", "jlc88001-advise", CHECKER, "AdviseCredit", credit=HOSHI_LC),
        _fin("1125T0610", "jlc88001-707", "707", HOSHI, less, 5102),
        _answer(HOSHI_LC, "1126T1330", "jlc88001-accept", "accept"),
    ]


def _shown(amount: int, currency: str, port: str, on_board: str = "2026-11-19") -> list[Document]:
    bill = lading("MV HARROW STAR", on_board, port_of_loading="FELIXSTOWE", port_of_discharge=port)
    return [invoice(amount, currency, incoterm="", incoterm_place=""), bill]


def _confirmed() -> list[Step]:
    """Return ILC-4402: advised, confirmed, paid under our confirmation, reimbursed (MT754, 756)."""
    fields = mt700(
        "ILC-4402", "261120", "EUR92000,", f"{OUR_BIC}\nBY PAYMENT",
        parties=party_groups(OBERFELD, CALDER),
        f45A="+WOOLLEN CLOTH, 40 BALES", f44F="HAMBURG", f49="CONFIRM", f58A=OUR_BIC,
    )  # fmt: skip
    paid = [
        ("20", "ILC-4402"), ("21", "P26-4402"), ("32B", "EUR92000,"),
        ("33A", "261201EUR92000,"),
    ]  # fmt: skip
    return [
        _fin("1123T0905", "ilc4402-700", "700", VOLTMARK, fields, 5110),
        _act("1123T1100", "ilc4402-advise", CHECKER, "AdviseCredit", credit=VOLT_LC),
        _act("1123T1130", "ilc4402-confirm", SENIOR, "AddConfirmation", credit=VOLT_LC,
             reason="LINE FOR VOLTMARK OPEN"),
        Step("1125T1015", "ilc4402-documents", lambda _: presented(
            "P26-4402", VOLT_LC, 9_200_000, _shown(9_200_000, "EUR", "HAMBURG"),
            currency="EUR", presenter=CALDER["name"], role="confirming")),
        _act("1126T1400", "ilc4402-honour", CHECKER, "HonourPresentation",
             presentation="P26-4402"),
        _fin("1201T0830", "ilc4402-756", "756", VOLTMARK, paid, 5111),
    ]  # fmt: skip


def _negotiated() -> list[Step]:
    """Return ANT26771 (form of before SR2026): discrepant, MT750 out, MT752 in, negotiated."""
    fields = mt700(
        "ANT26771", "261116", "USD61500,", f"{OUR_BIC}\nBY NEGOTIATION",
        parties=party_lines(ANADOLYA, THORNE),
        f45A="+MALT EXTRACT IN DRUMS", f44F="ISTANBUL", f44C="261115",
        f78="WE SHALL REMIT AS PER YOUR INSTRUCTIONS",
    )  # fmt: skip
    allowed = [
        ("20", "ANT26771"), ("21", "P26-0771"), ("23", "NEGOTIATE"), ("30", "261126"),
        ("32B", "USD61500,"),
    ]  # fmt: skip
    paid = [
        ("20", "ANT26771"), ("21", "P26-0771"), ("32B", "USD61500,"), ("33A", "261203USD61500,"),
    ]  # fmt: skip
    return [
        _fin("1123T0920", "ant26771-700", "700", ANATOL, fields, 5120, release="SR2025"),
        _act("1123T1430", "ant26771-advise", CHECKER, "AdviseCredit", credit=ANATOL_LC),
        Step("1125T1130", "ant26771-documents", lambda _: presented(
            "P26-0771", ANATOL_LC, 6_150_000, _shown(6_150_000, "USD", "ISTANBUL"),
            presenter=THORNE["name"], role="nominated")),
        _act("1126T0940", "ant26771-refer", EXAMINER, "ReferDiscrepancies",
             presentation="P26-0771"),
        _fin("1127T0705", "ant26771-752", "752", ANATOL, allowed, 5121),
        _act("1127T1010", "ant26771-negotiate", CHECKER, "NegotiatePresentation",
             presentation="P26-0771"),
        _fin("1203T0710", "ant26771-756", "756", ANATOL, paid, 5122),
    ]  # fmt: skip


def _second_hand() -> list[Step]:
    """Return an MT710 that another bank advises through us, and an MT720 that we do not advise."""
    passed = [
        *mt700("MCB/ADV/5508", "261119", "USD47000,", f"{MERU}\nBY PAYMENT",
               parties=party_groups(MERUDHARA, CALDER), f45A="+CARDED WOOL", f44F="NHAVA SHEVA"),
        ("40B", "IRREVOCABLE\nWITHOUT OUR CONFIRMATION"), ("21", "DCB-OUT-7701"), ("52A", DUNE),
    ]  # fmt: skip
    transferred = [
        *mt700("PMP720-19", "261121", "USD30000,", f"{PAMPERO}\nBY PAYMENT",
               parties=party_groups(PAMPA, CALDER), f45A="+SADDLE BLANKETS", f44F="SANTOS"),
        ("40B", "IRREVOCABLE TRANSFERABLE\nWITHOUT OUR CONFIRMATION"), ("21", "PMP-LC-880"),
        ("50E", "PAMPERO TRADE FINANCE DESK"), ("50I", "PRACA DO PORTO 1"), ("50M", "SANTOS"),
        ("50W", "BR"),
    ]  # fmt: skip
    drop = ("40A",)
    return [
        _fin("1124T0705", "mcb5508-710", "710", MERU, [f for f in passed if f[0] not in drop], 5130),
        _act("1124T1300", "mcb5508-advise", CHECKER, "AdviseCredit", credit=MERU_LC),
        _fin("1124T1320", "pmp720-720", "720", PAMPERO,
             [f for f in transferred if f[0] not in drop], 5131),
        _act("1125T1500", "pmp720-decline", SENIOR, "DeclineToAdvise", credit=PAMPERO_LC,
             reason="THE BENEFICIARY IS NOT KNOWN TO US"),
    ]  # fmt: skip


def _crossed() -> list[Step]:
    """Return DCB260094: its amendment comes before it, and again after it; the beneficiary rejects.

    The credit of another amendment, DCB260101, never comes.
    """
    parties = party_lines(LANTERN, CALDER)
    credit = mt700(
        "DCB260094", "261123", "USD55000,", f"{DUNE}\nBY PAYMENT", parties=parties,
        f45A="+TWEED, 25 BALES", f44F="JEBEL ALI",
    )  # fmt: skip
    early = mt707("DCB260094", 1, "261123", "261124", parties, f33B="USD15000,")
    onward = [("20", "DCB260094"), ("79", "PLEASE SAY WHETHER YOU MAY FORWARD\nTHE GOODS TO NAMPO")]
    orphan = mt707("DCB260101", 1, "261120", "261124", parties, f33B="USD4000,")
    again = mt707("DCB260094", 1, "261123", "261125", parties, f33B="USD15000,")
    return [
        _fin("1124T0515", "dcb260094-707-before-its-credit", "707", DUNE, early, 5141,
             release="SR2025"),
        _fin("1124T0520", "dcb260101-707-without-a-credit", "707", DUNE, orphan, 5144,
             release="SR2025"),
        _fin("1124T0640", "dcb260094-700", "700", DUNE, credit, 5140, release="SR2025"),
        _act("1124T1340", "dcb260094-advise", CHECKER, "AdviseCredit", credit=DUNE_LC),
        _fin("1125T0520", "dcb260094-707-again", "707", DUNE, again, 5142, release="SR2025"),
        _answer(DUNE_LC, "1127T1410", "dcb260094-reject", "reject"),
        _fin("1203T0550", "dcb260094-799", "799", DUNE, onward, 5143, release="SR2025"),
    ]  # fmt: skip


def _on_paper() -> list[Step]:
    """Return PAPER-61: a credit on paper, typed in; two people have to find it authentic."""
    wool = terms(
        2_200_000, "USD", PAMPERO, expiry_place="LONDON", available_with=OUR_BIC,
        port_of_loading="FELIXSTOWE", port_of_discharge="SANTOS", issuing_bank=PAMPERO,
        advising_bank=OUR_BIC,
    )  # fmt: skip
    parties = {"subject": "cust-calderwick", "applicant": PAMPA, "beneficiary": CALDER}
    return [
        _act("1125T1200", "paper61-received", MAKER, "ReceiveCredit", credit=PAPER_LC, mt="700",
             role="advising", sender=PAMPERO, sender_reference="PAPER-61", terms=wool, parties=parties),
        _act("1125T1215", "paper61-by-fin", MAKER, "AuthenticateCredit", credit=PAPER_LC,
             method="fin"),
        _act("1125T1220", "paper61-by-key-first", MAKER, "AuthenticateCredit", credit=PAPER_LC,
             method="key"),
        _act("1125T1500", "paper61-by-key-second", CHECKER, "AuthenticateCredit",
             credit=PAPER_LC, method="key"),
        _act("1126T1015", "paper61-advise", CHECKER, "AdviseCredit", credit=PAPER_LC),
    ]  # fmt: skip


def _sent_on() -> list[Step]:
    """Return FHB-3377: long (MT700 and MT701), advised; our documents refused abroad, then taken up."""
    first = mt700(
        "FHB-3377", "261123", "EUR38000,", f"{FJORD}\nBY DEF PAYMENT",
        parties=party_groups(FJELL, THORNE), f27="1/2", f42P="60 DAYS AFTER DATE OF SHIPMENT",
        f45A="+FISH FEED PELLETS", f44F="OSLO",
    )  # fmt: skip
    rest = [("27", "2/2"), ("20", "FHB-3377"), ("47A", "+FEED TO BE FREE OF DYES")]
    long = fin("700", FJORD, "1124T0810", first, sequence=5150) + fin(
        "701", FJORD, "1124T0810", rest, sequence=5151
    )
    refused = [
        ("20", "FHB-3377"), ("21", "THORNE-OUT-12"), ("32A", "261201EUR38000,"),
        ("77J", "/DISCREP/1. CERTIFICATE OF ANALYSIS\n//NOT SIGNED"), ("77B", "/NOTIFY/"),
    ]  # fmt: skip
    taken = [
        ("20", "FHB-3377"), ("21", "THORNE-OUT-12"), ("30", "261127"), ("32B", "EUR38000,"),
        ("72Z", "DISCREPANCIES WAIVED"),
    ]  # fmt: skip
    note = [("20", "FHB-3377"), ("79", "PLEASE CONFIRM DISPATCH BY COURIER")]
    return [
        Step("1124T0810", "fhb3377-700-701", lambda _: long),
        _act("1124T1350", "fhb3377-advise", CHECKER, "AdviseCredit", credit=FJORD_LC),
        _fin("1126T0845", "fhb3377-799", "799", FJORD, note, 5152),
        _fin("1201T0915", "fhb3377-734", "734", FJORD, refused, 5153),
        _fin("1203T0915", "fhb3377-732", "732", FJORD, taken, 5154),
    ]  # fmt: skip
