"""Credits that our bank issues: applications, approvals, presentations, amendments, faults."""

from __future__ import annotations

from typing import Any

from sample_book.forms import (
    ANADOLYA,
    ANALYST,
    ANATOL,
    BRAMLEY,
    CHECKER,
    DUNE,
    EXAMINER,
    HOSHI,
    HOSHIKAWA,
    KESTREL,
    MAKER,
    MERU,
    MERUDHARA,
    OBERFELD,
    OFFICER,
    OUR_BIC,
    PELHAM,
    QUILLON,
    SENIOR,
    TANJONG,
    TARVEK,
    THORNE,
    VOLTMARK,
    Document,
    Person,
    application,
    by,
    fin,
    firm,
    full_set,
    invoice,
    lading,
    packing,
    policy,
    presented,
    required,
    terms,
)
from sample_book.scribe import Scribe, Step
from usance.sagas.facts import mur

REPAIRED, VOIDED, RETURNED = "TF26LC0110", "TF26LC0114", "TF26LC0122"
ANSWERED_BY_STORY = frozenset(mur(credit, "700") for credit in (REPAIRED, VOIDED, RETURNED))
"""Messages that the network turns away: the story answers them itself."""

BOUTIQUE = firm("BOUTIQUE LA MAISON", "5 RUE DES TISSERANDS", "LYON", "69999", "FR")
CIGARS = firm("CUBAN CIGARS TRADE", "VIA TABACCO 12", "MILANO", "20199", "IT")
"""Names of public list entries, there to be found; all other names are invented."""


def steps() -> list[Step]:
    """Return the import side's steps, in no particular order."""
    return [
        *_facilities(),
        *_issues(),
        *_advices(),
        *_complying(),
        *_usance(),
        *_discrepant(),
        *_precluded(),
        *_amendments(),
        *_network_faults(),
        *_held(),
        *_turned_down(),
        *_left_open(),
    ]


def _tag(number: str) -> str:
    return number[-4:]


def _facility(
    reference: str, customer: str, currency: str, limit: int, number: int = 1
) -> Document:
    return by(
        SENIOR,
        "SetFacility",
        f"fac-{reference.lower()}-{number}",
        facility=reference,
        customer=customer,
        currency=currency,
        limit=limit,
        expiry="2027-12-31",
        margin_account=f"MARGIN-{customer[5:].upper()}-{currency}",
    )


def _facilities() -> list[Step]:
    first = [
        _facility("FAC-QUILLON", "cust-quillon", "USD", 300_000_000),
        _facility("FAC-BRAMLEY", "cust-bramley", "USD", 200_000_000),
        _facility("FAC-THORNE-EUR", "cust-thorne", "EUR", 150_000_000),
        _facility("FAC-QUILLON-JPY", "cust-quillon", "JPY", 50_000_000),
        _facility("FAC-PELHAM", "cust-pelham", "USD", 15_000_000),
    ]
    raised = _facility("FAC-PELHAM", "cust-pelham", "USD", 60_000_000, 2)
    return [
        Step("1123T0800", "facilities", lambda _: first),
        Step("1125T1000", "facility-pelham-raised", lambda _: raised),
    ]


def _approval(s: Scribe, number: str, person: Person = CHECKER) -> Document:
    """Return the approval of what the credit's request shows."""
    state = s.credit(number)
    return by(
        person,
        "ApproveCredit",
        f"apv-{number}-{person[0]}",
        credit=number,
        revision=state.approval_revision,
        content_hash=state.content_hash,
    )


def _apply(number: str, when: str, document: Document) -> Step:
    return Step(when, f"{_tag(number)}-apply", lambda _: document)


def _approve(number: str, when: str, person: Person = CHECKER) -> Step:
    return Step(when, f"{_tag(number)}-approve", lambda s: _approval(s, number, person))


def _issue(number: str, applied: str, approved: str, *about: Any, margin: int = 0) -> list[Step]:
    document = application(number, *about, margin=margin)
    return [_apply(number, applied, document), _approve(number, approved)]


def _issues() -> list[Step]:
    usance: dict[str, Any] = {"available_by": "acceptance", "tenor_days": 7, "tenor_from": "sight"}
    later: dict[str, Any] = {"available_by": "deferred", "tenor_days": 90, "tenor_from": "bl_date"}
    hamburg = {"port_of_loading": "HAMBURG", "expiry_place": "HAMBURG"}
    short = {
        "expiry_date": "2026-11-27",
        "expiry_place": "LONDON",
        "latest_shipment": "2026-11-20",
    }
    quillon = (QUILLON, TARVEK, "FAC-QUILLON")
    bramley = (BRAMLEY, TANJONG, "FAC-BRAMLEY")
    thorne = (THORNE, OBERFELD, "FAC-THORNE-EUR")
    return [
        *_issue("TF26LC0101", "1123T0810", "1123T0840", *quillon,
                terms(10_000_000, tolerance_plus=5, tolerance_minus=5, has_tolerance=True),
                "1000 DECK WIDGETS MODEL K"),
        *_issue("TF26LC0102", "1123T0812", "1123T0842", *bramley,
                terms(25_000_000, draft_on=OUR_BIC, **usance),
                "SAWN TEAK BOARDS, KILN DRIED", margin=20),
        *_issue("TF26LC0103", "1123T0814", "1123T0844", *thorne,
                terms(18_000_000, "EUR", VOLTMARK, **hamburg, **later),
                "TWO FILLING MACHINES TYPE O-7"),
        *_issue("TF26LC0104", "1123T0820", "1123T0850", *quillon,
                terms(6_400_000, latest_shipment="2026-11-15"), "640 MOORING BOLLARDS"),
        *_issue("TF26LC0105", "1123T0822", "1123T0852", *bramley,
                terms(8_800_000, partial_shipments="ALLOWED"), "TEAK OFFCUTS IN BUNDLES"),
        *_issue("TF26LC0106", "1123T0824", "1123T0854", *quillon,
                terms(5_200_000, latest_shipment="2026-11-17"), "520 HATCH COVERS"),
        *_issue("TF26LC0107", "1123T0826", "1123T0856", *bramley,
                terms(12_000_000, latest_shipment="2026-11-20"), "VENEER SHEETS"),
        *_issue("TF26LC0108", "1123T0828", "1123T0858", THORNE, MERUDHARA, "FAC-BRAMLEY",
                terms(9_000_000, bank=MERU, port_of_loading="NHAVA SHEVA", expiry_place="MUMBAI"),
                "CARDAMOM AND TURMERIC IN BAGS"),
        *_issue("TF26LC0115", "1123T0905", "1123T0935", *quillon,
                terms(3_000_000, **short), "SPARE PROPELLER SHAFT"),
        *_issue("TF26LC0116", "1124T0905", "1124T0935", QUILLON, HOSHIKAWA, "FAC-QUILLON-JPY",
                terms(12_500_000, "JPY", HOSHI, port_of_loading="YOKOHAMA",
                      expiry_place="YOKOHAMA"),
                "5000 SEALED BEARINGS"),
        *_issue("TF26LC0118", "1123T0910", "1123T0940", BRAMLEY, ANADOLYA, "FAC-BRAMLEY",
                terms(15_000_000, bank=ANATOL, available_by="negotiation",
                      port_of_loading="ISTANBUL", expiry_place="ISTANBUL",
                      reimbursing_bank="GRANUS33XXX"),
                "POLISHED MARBLE SLABS"),
        *_issue("TF26LC0119", "1125T1015", "1125T1045", PELHAM, TARVEK, "FAC-PELHAM",
                terms(40_000_000), "40 TONNES OF MANILA ROPE"),
        *_issue("TF26LC0120", "1123T0915", "1123T0945", *quillon,
                terms(7_700_000, partial_shipments="ALLOWED"), "DECK CRANE PARTS"),
    ]  # fmt: skip


def _advice(number: str, bank: str, when: str, sequence: int, words: str = "") -> bytes:
    fields = [
        ("20", f"{bank[:4]}{_tag(number)}"),
        ("21", number),
        ("30", "261123"),
        ("79Z", words or "CREDIT ADVISED TO THE BENEFICIARY"),
    ]
    return fin("730", bank, when, fields, sequence=sequence)


def _advices() -> list[Step]:
    """Return the advising banks' MT730: those of Singapore in one file; 0106 and 0115 never come."""
    numbers = ("TF26LC0101", "TF26LC0102", "TF26LC0104", "TF26LC0105", "TF26LC0107", "TF26LC0120")
    batch = [_advice(n, KESTREL, "1124T0210", 4100 + i) for i, n in enumerate(numbers)]
    return [
        Step("1124T0210", "kestrel-730-batch", lambda _: b"".join(batch)),
        Step("1124T0805", "0103-730",
             lambda _: _advice("TF26LC0103", VOLTMARK, "1124T0805", 4120)),
        Step("1124T0620", "0108-730", lambda _: _advice("TF26LC0108", MERU, "1124T0620", 4121)),
        Step("1124T0730", "0118-730", lambda _: _advice("TF26LC0118", ANATOL, "1124T0730", 4122)),
        Step("1125T0130", "0116-730", lambda _: _advice("TF26LC0116", HOSHI, "1125T0130", 4123)),
        Step("1126T0215", "kestrel-730-second-batch", lambda _: b"".join([
            _advice("TF26LC0119", KESTREL, "1126T0215", 4124),
            _advice("TF26LC0110", KESTREL, "1126T0215", 4125),
        ])),
        Step("1127T0805", "0111-730",
             lambda _: _advice("TF26LC0111", VOLTMARK, "1127T0805", 4126)),
    ]  # fmt: skip


def _take_up(kind: str, number: str, when: str, person: Person = CHECKER) -> Step:
    document = by(person, kind, f"{kind.lower()}-{number}-{person[0]}", presentation=number)
    return Step(when, f"{_tag(number)}-{kind.lower()}", lambda _: document)


def _present(number: str, when: str, document: Document) -> Step:
    return Step(when, f"{_tag(number)}-documents", lambda _: document)


def _complying() -> list[Step]:
    """Return 0101: complying documents, paid at sight, closed; 0120: paid, held in settlement."""
    first, second = "TF26LC0101", "TF26LC0120"
    close = by(
        SENIOR, "CloseCredit", f"close-{first}", credit=first, reason="drawn in full and settled"
    )
    whole = full_set(10_000_000, "MV KESTREL DAWN")
    part = full_set(4_000_000, "HERMANN", on_board="2026-11-21")
    return [
        _present("P26-0101", "1124T1000", presented("P26-0101", first, 10_000_000, whole)),
        _take_up("HonourPresentation", "P26-0101", "1125T1100"),
        Step("1204T1000", "0101-close", lambda _: close),
        _present("P26-0120", "1126T0930", presented("P26-0120", second, 4_000_000, part)),
        _take_up("HonourPresentation", "P26-0120", "1127T1130"),
        _by(CHECKER, "SettlePresentation", "P26-0120", "1127T1500", reference="PAID BY HAND"),
        *_case("presentation", "P26-0120", "1130T0910", "1130T1420",
               "ANOTHER VESSEL: BUILT 2019, OTHER FLAG AND IMO NUMBER."),
    ]  # fmt: skip


def _usance() -> list[Step]:
    """Return 0102: a draft accepted that falls due in the book; 0103: due in the new year."""
    draft = {
        "kind": "draft", "reference": "DRAFT-1", "date": "2026-11-23", "currency": "USD",
        "amount": 25_000_000, "drawee": OUR_BIC,
    }  # fmt: skip
    accepted = [*full_set(25_000_000, "MV HARROW STAR"), draft]
    machines = [
        invoice(18_000_000, "EUR"),
        lading("MV ORRIN BAY", port_of_loading="HAMBURG"),
        packing(),
        policy(19_800_000, "EUR"),
    ]
    return [
        _present("P26-0102", "1125T0920", presented("P26-0102", "TF26LC0102", 25_000_000, accepted)),
        _take_up("AcceptDraft", "P26-0102", "1126T1030"),
        _present("P26-0103", "1125T0940", presented(
            "P26-0103", "TF26LC0103", 18_000_000, machines, currency="EUR", presenter=VOLTMARK)),
        _take_up("IncurDeferred", "P26-0103", "1126T1040"),
    ]  # fmt: skip


def _by(person: Person, kind: str, number: str, when: str, **members: Any) -> Step:
    document = by(person, kind, f"{kind.lower()}-{number}", presentation=number, **members)
    return Step(when, f"{_tag(number)}-{kind.lower()}", lambda _: document)


def _discrepant() -> list[Step]:
    """Return 0104 waived, 0105 refused in time and sent back, 0118 authorised (MT750, MT752, MT742)."""
    under = [*full_set(8_800_000, "MV LANTERN HILL")[:3], policy(8_800_000)]
    shipped = {"port_of_loading": "ISTANBUL"}
    marble = [invoice(15_000_000), lading("MV SALLOW REACH", **shipped), policy(16_500_000)]
    asked = [
        ("20", "ANAT-BILL-0118"), ("21", "TF26LC0118"), ("32B", "USD150000,"),
        ("77J", "PACKING LIST NOT PRESENTED"),
    ]  # fmt: skip
    claim = [
        ("20", "ANAT-CLM-0118"), ("21", "TF26LC0118"), ("31C", "261123"), ("52A", OUR_BIC),
        ("32B", "USD150000,"), ("34A", "261203USD150000,"), ("58A", ANATOL),
    ]  # fmt: skip
    return [
        _present("P26-0104", "1124T1015", presented(
            "P26-0104", "TF26LC0104", 6_400_000, full_set(6_400_000, "MV ORRIN BAY"))),
        _by(EXAMINER, "SeekWaiver", "P26-0104", "1124T1430"),
        _by(EXAMINER, "RecordWaiver", "P26-0104", "1126T0915", waived=True,
            reference="QUILLON LETTER 26/11"),
        _take_up("HonourPresentation", "P26-0104", "1126T1130"),
        _present("P26-0105", "1124T1030", presented(
            "P26-0105", "TF26LC0105", 8_800_000, under)),
        _by(EXAMINER, "RaiseDiscrepancy", "P26-0105", "1125T1400", article="UCP600-14d",
            explanation="The packing list shows another grade of timber than the invoice."),
        _by(CHECKER, "RefusePresentation", "P26-0105", "1127T1000", disposal="RETURN"),
        _by(EXAMINER, "ReturnDocuments", "P26-0105", "1201T1100", courier="COURIER 7781-20"),
        Step("1125T0900", "0118-750", lambda _: fin("750", ANATOL, "1125T0900", asked, sequence=4130)),
        _present("P26-0118", "1126T1000", presented(
            "P26-0118", "TF26LC0118", 15_000_000, marble, presenter=ANATOL,
            reference="ANAT-BILL-0118")),
        _by(CHECKER, "AuthoriseTakeUp", "P26-0118", "1127T0930", reference="OUR MT752"),
        _take_up("HonourPresentation", "P26-0118", "1201T1020"),
        Step("1202T0815", "0118-742", lambda _: fin("742", ANATOL, "1202T0815", claim, sequence=4131)),
    ]  # fmt: skip


def _precluded() -> list[Step]:
    """Return 0106: nobody decides for five banking days, so the bank must honour (article 16f)."""
    number = "P26-0106"
    late = presented(
        number, "TF26LC0106", 5_200_000, full_set(5_200_000, "MV HARROW STAR"), reference="BILL0106"
    )
    refuse = by(CHECKER, "RefusePresentation", "refuse-0106", presentation=number, disposal="HOLD")
    return [
        _present(number, "1124T1045", late),
        Step("1202T0900", "0106-refusal-too-late", lambda _: refuse),
        _take_up("HonourPresentation", number, "1202T1000"),
    ]


def _request(credit: str, number: int, when: str, **changes: Any) -> Step:
    request = by(
        MAKER,
        "RequestAmendment",
        f"amd-{credit}-{number}",
        credit=credit,
        amendment=number,
        changes=changes,
        reason="AT THE APPLICANT'S REQUEST",
    )
    return Step(when, f"{_tag(credit)}-amendment-{number}-request", lambda _: request)


def _amendment(credit: str, number: int, asked: str, approved: str, **changes: Any) -> list[Step]:
    def approve(s: Scribe) -> Document:
        line = s.credit(credit).amendments[number]
        return by(
            CHECKER,
            "ApproveAmendment",
            f"amd-approve-{credit}-{number}",
            credit=credit,
            amendment=number,
            revision=line.revision,
            content_hash=line.content_hash,
        )

    tag = f"{_tag(credit)}-amendment-{number}"
    return [
        _request(credit, number, asked, **changes),
        Step(approved, f"{tag}-approve", approve),
    ]


def _respond(credit: str, number: int, when: str, answer: str) -> Step:
    document = by(
        MAKER,
        "RespondToAmendment",
        f"amd-answer-{credit}-{number}",
        credit=credit,
        amendment=number,
        party="beneficiary",
        answer=answer,
        reference=f"{MERU[:4]} MT730",
    )
    return Step(when, f"{_tag(credit)}-amendment-{number}-{answer}", lambda _: document)


def _amendments() -> list[Step]:
    """Return 0107: accepted by presenting under it (10c); 0108: one accepted, one rejected.

    Of 0119 one is over the limit; of 0105 one names a port that compliance turns down: neither is issued.
    """
    tenth = "TF26LC0107"
    eighth = "TF26LC0108"
    answer = _advice(eighth, MERU, "1126T0630", 4140, "AMENDMENT 1 IS ACCEPTED")
    return [
        *_amendment(tenth, 1, "1124T1100", "1124T1130",
                    latest_shipment="2026-12-05", increase=1_000_000),
        _present("P26-0107", "1126T1045", presented(
            "P26-0107", tenth, 13_000_000,
            full_set(13_000_000, "MV LANTERN HILL", on_board="2026-11-23"))),
        _take_up("HonourPresentation", "P26-0107", "1127T1200"),
        *_amendment(eighth, 1, "1125T1110", "1125T1140", increase=2_000_000),
        Step("1126T0630", "0108-730-amendment-1", lambda _: answer),
        _respond(eighth, 1, "1126T0900", "accept"),
        *_amendment(eighth, 2, "1127T0915", "1127T0945", decrease=5_000_000),
        _respond(eighth, 2, "1201T0940", "reject"),
        _request("TF26LC0119", 1, "1201T1330", increase=30_000_000),
        _request("TF26LC0105", 1, "1202T0930", port_of_loading="NAMPO"),
        *_case("credit", "TF26LC0105", "1202T1015", "1202T1130",
               "THE PORT LIES IN AN EMBARGOED COUNTRY.", "reject"),
    ]  # fmt: skip


def _network_faults() -> list[Step]:
    """Return 0110: self-approval, NAK, repair, ACK; 0114: NAK and the issue undone by two people."""
    branch = terms(11_000_000, available_with="KESTSGSGTRD")
    gone = terms(4_500_000, bank=DUNE, port_of_loading="JEBEL ALI", expiry_place="DUBAI")
    repaired, voided = mur(REPAIRED, "700"), mur(VOIDED, "700")
    saga = f"issuance:{VOIDED}"

    def repair(s: Scribe) -> Document:
        text = s.text(repaired).replace("KESTSGSGTRD", "KESTSGSGXXX")
        body = {"subject": "cust-quillon", "text": text}
        return by(MAKER, "RepairMessage", "repair-0110", message=repaired, text=body)

    def approve_act(s: Scribe) -> Document:
        act = next(iter(s.saga(saga).acts))
        return by(CHECKER, "ApproveAct", "act-0114", saga=saga, act_id=act)

    compensate = by(
        SENIOR, "CompensateSaga", "undo-0114", saga=saga, reason="no route to the advising bank"
    )
    abandon = by(
        SENIOR, "AbandonMessage", "abandon-0114", message=voided, reason="no route to the bank"
    )
    return [
        _apply(REPAIRED, "1124T0910", application(
            REPAIRED, QUILLON, TARVEK, "FAC-QUILLON", branch, "110 ANCHOR CHAINS")),
        Step("1124T0915", "0110-self-approval", lambda s: _approval(s, REPAIRED, MAKER)),
        _approve(REPAIRED, "1124T0940"),
        Step("1124T0943", "0110-nak", lambda s: s.answer(
            s.text(repaired).encode(), error="T27", tag="41A")),
        Step("1124T1050", "0110-repair", repair),
        Step("1124T1053", "0110-ack", lambda s: s.answer(s.text(repaired).encode())),
        *_issue(VOIDED, "1125T0905", "1125T0930", QUILLON, TARVEK, "FAC-QUILLON", gone,
                "45 CARGO WINCHES", margin=10),
        Step("1125T0932", "0114-nak", lambda s: s.answer(
            s.text(voided).encode(), error="T27", tag="41A")),
        Step("1125T1300", "0114-abandon", lambda _: abandon),
        Step("1125T1310", "0114-undo-proposed", lambda _: compensate),
        Step("1125T1405", "0114-undo-approved", approve_act),
    ]  # fmt: skip


def _proposal(
    category: str, number: str, when: str, reason: str, disposition: str = "clear"
) -> Step:
    """Return the disposition of a case as the first person of compliance proposes it."""

    def propose(s: Scribe) -> Document:
        case, evidence = s.case(category, number)
        why = {"subject": number, "text": reason}
        return by(
            ANALYST, "ProposeDisposition", f"case-propose-{number}", case_id=case, case=case,
            disposition=disposition, evidence_hash=evidence, reason=why,
        )  # fmt: skip

    return Step(when, f"check-{_tag(number)}-a", propose)


def _case(
    category: str,
    number: str,
    proposed: str,
    approved: str,
    reason: str,
    disposition: str = "clear",
) -> list[Step]:
    """Return a case that two people of compliance close."""

    def approve(s: Scribe) -> Document:
        case, evidence = s.case(category, number)
        return by(
            OFFICER, "ApproveDisposition", f"case-approve-{number}", case_id=case, case=case,
            disposition=disposition, evidence_hash=evidence,
        )  # fmt: skip

    return [
        _proposal(category, number, proposed, reason, disposition),
        Step(approved, f"check-{_tag(number)}-b", approve),
    ]


def _held() -> list[Step]:
    """Return 0111: held, cleared by two people, issued; 0112: held, and still so at the end."""
    lyon = terms(2_600_000, "EUR", VOLTMARK, port_of_loading="MARSEILLE", expiry_place="LYON",
                 required_documents=required(insurance=False))  # fmt: skip
    milan = terms(1_900_000, "EUR", VOLTMARK, port_of_loading="GENOA", expiry_place="MILANO")
    return [
        _apply("TF26LC0111", "1124T0920", application(
            "TF26LC0111", THORNE, BOUTIQUE, "FAC-THORNE-EUR", lyon, "LINEN TABLECLOTHS")),
        *_case("credit", "TF26LC0111", "1125T1120", "1126T1010",
               "SAME NAME ONLY: A WEAVER IN LYON, REGISTER EXTRACT ON FILE."),
        _approve("TF26LC0111", "1126T1110"),
        _apply("TF26LC0112", "1201T1130", application(
            "TF26LC0112", THORNE, CIGARS, "FAC-THORNE-EUR", milan, "HUMIDORS")),
    ]  # fmt: skip


def _turned_down() -> list[Step]:
    """Return 0109 over its limit, 0113 rejected by the second person, 0117 against article 6c."""
    rejected = by(
        CHECKER, "RejectCredit", "reject-0113", credit="TF26LC0113",
        reason="the goods are not those of the sales contract",
    )  # fmt: skip
    drawee = terms(2_000_000, draft_on=QUILLON["name"])
    return [
        _apply("TF26LC0109", "1124T0925", application(
            "TF26LC0109", PELHAM, TARVEK, "FAC-PELHAM", terms(40_000_000), "MANILA ROPE")),
        _apply("TF26LC0113", "1125T0910", application(
            "TF26LC0113", BRAMLEY, TANJONG, "FAC-BRAMLEY", terms(30_000_000), "ROSEWOOD LOGS",
            margin=15)),
        Step("1125T1530", "0113-reject", lambda _: rejected),
        _apply("TF26LC0117", "1124T0930", application(
            "TF26LC0117", QUILLON, TARVEK, "FAC-QUILLON", drawee, "BRASS CLEATS")),
    ]  # fmt: skip


def _left_open() -> list[Step]:
    """Return what waits when the book ends: decisions, second persons, a repair, a case.

    P26-0110 (due on 7 December) and P26-0119 (due on the 10th) are undecided; 0121 and an amendment of
    0116 wait for a second person, 0122 for a repair, 0123 for the second person of compliance.
    """
    rope = [*full_set(40_000_000, "MV SALLOW REACH")[:3], policy(40_000_000)]
    branch = terms(5_800_000, available_with="KESTSGSGTRD")
    lyon = terms(3_100_000, "EUR", VOLTMARK, port_of_loading="MARSEILLE", expiry_place="LYON",
                 required_documents=required(insurance=False))  # fmt: skip
    quillon = (QUILLON, TARVEK, "FAC-QUILLON")
    return [
        _present("P26-0110", "1130T1015", presented(
            "P26-0110", REPAIRED, 11_000_000, full_set(11_000_000, "MV ORRIN BAY"))),
        _present("P26-0119", "1203T1030", presented(
            "P26-0119", "TF26LC0119", 40_000_000, rope)),
        _request("TF26LC0116", 1, "1203T1110", latest_shipment="2027-02-05"),
        _apply("TF26LC0123", "1203T1125", application(
            "TF26LC0123", THORNE, BOUTIQUE, "FAC-THORNE-EUR", lyon, "LINEN NAPKINS")),
        *_issue(RETURNED, "1203T1400", "1203T1440", *quillon, branch, "58 CAPSTAN BARS"),
        Step("1203T1443", "0122-nak", lambda s: s.answer(
            s.text(mur(RETURNED, "700")).encode(), error="T27", tag="41A")),
        _proposal("credit", "TF26LC0123", "1203T1520",
                  "SAME NAME ONLY: THE WEAVER IN LYON OF OUR EARLIER CREDIT."),
        _apply("TF26LC0121", "1204T0915", application(
            "TF26LC0121", *quillon, terms(7_200_000), "720 FENDERS WITH CHAINS")),
    ]  # fmt: skip
