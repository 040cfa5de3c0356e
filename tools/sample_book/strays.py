"""What a gateway also brings: copies, contradictions, strangers, torn files, and no messages at all."""

from __future__ import annotations

from sample_book.export_side import japanese_credit
from sample_book.forms import (
    ANATOL,
    HOSHI,
    HOSHIKAWA,
    KESTREL,
    MAKER,
    QUILLON,
    Document,
    application,
    by,
    fin,
    terms,
)
from sample_book.scribe import Scribe, Step
from usance.messages.swift.fin import Basic, Message, build, numbered
from usance.sagas.facts import mur


def steps() -> list[Step]:
    """Return the strays, in no particular order."""
    return [*_copies(), *_contradictions(), *_strangers(), *_unreadable()]


def _copies() -> list[Step]:
    """Return inputs that come a second time: nothing happens twice."""
    return [
        Step("1123T0917", "ilc4402-700-copy", lambda s: s.again("ilc4402-700.fin")),
        Step("1124T0212", "kestrel-730-batch-copy", lambda s: s.again("kestrel-730-batch.fin")),
        Step("1124T0907", "0116-apply-copy.json", lambda s: s.again("0116-apply.json")),
        Step("1124T1055", "0110-ack-copy", lambda s: s.again("0110-ack.fin")),
        Step("1124T1017", "0104-documents-copy.json", lambda s: s.again("0104-documents.json")),
    ]


def _bearings(amount: int) -> Document:
    about = terms(amount, "JPY", HOSHI, port_of_loading="YOKOHAMA", expiry_place="YOKOHAMA")
    return application(
        "TF26LC0116", QUILLON, HOSHIKAWA, "FAC-QUILLON-JPY", about, "5000 SEALED BEARINGS"
    )


def _contradictions() -> list[Step]:
    """Return known ids with another content (conflicts), and a number that is taken (refused)."""
    taken = {**_bearings(9_900_000), "id": "app-TF26LC0116-second"}
    other = fin("700", HOSHI, "1123T0645", japanese_credit("JPY9400000,"), sequence=5103)
    return [
        Step("1123T0645", "jlc88001-700-other-amount", lambda _: other),
        Step("1124T0908", "0116-apply-other-amount", lambda _: _bearings(9_900_000)),
        Step("1124T1140", "0116-number-taken", lambda _: taken),
    ]


def _acknowledged(message: str, sequence: int, stamp: str) -> bytes:
    pairs = [("177", stamp), ("451", "0"), ("108", message)]
    basic = Basic("F", "21", "ALBNGB2LAXXX", "0087", f"{sequence:06d}")
    fields = numbered(pairs)
    return build(Message(basic=basic, fields=fields, tagged=True)) + b"\r\n"


def _strangers() -> list[Step]:
    """Return references that nobody knows, and an answer to a message that was not sent yet."""
    unknown = [("20", "KEST9901"), ("21", "TF26LC9901"), ("30", "261123")]
    lost = [
        ("20", "ANAT-CL-4471"), ("21", "TF26LC9902"), ("32B", "USD12000,"), ("58A", ANATOL),
    ]  # fmt: skip
    free = [
        ("20", "KEST-Q-0105"),
        ("21", "TF26LC0105"),
        ("79", "PLEASE RETURN DOCUMENTS\nBY COURIER"),
    ]
    mixed = (
        fin("799", KESTREL, "1127T1500", free, sequence=4150)
        + fin("754", ANATOL, "1127T1500", lost, sequence=4151)
        + _torn("1127T1500", 4152)
    )
    presentation = by(MAKER, "SeekWaiver", "waiver-unknown", presentation="P26-9999")
    early = mur("TF26LC0119", "700")
    return [
        Step("1124T0225", "730-unknown-credit",
             lambda _: fin("730", KESTREL, "1124T0225", unknown, sequence=4149)),
        Step("1125T1020", "0119-ack-before-sending",
             lambda _: _acknowledged(early, 9001, "2611251020")),
        Step("1125T1021", "ack-unknown-message",
             lambda _: _acknowledged("U700UNKNOWN00001", 9002, "2611251021")),
        Step("1126T1200", "waiver-unknown-presentation", lambda _: presentation),
        Step("1127T1500", "mixed-batch", lambda _: mixed),
    ]  # fmt: skip


def _torn(when: str, sequence: int) -> bytes:
    """Return an MT700 whose transfer broke off in the middle."""
    whole = fin("700", HOSHI, when, japanese_credit("JPY1200000,"), sequence=sequence)
    return whole[: len(whole) * 2 // 3]


def _unreadable() -> list[Step]:
    """Return what cannot be understood; each ends as a dead letter with its bytes kept."""
    payment = [("20", "PAY-1"), ("23B", "CRED"), ("32A", "261125GBP10,"), ("71A", "SHA")]
    misspelt = {**_bearings(1_000_000), "id": "app-misspelt", "facilty": "FAC-QUILLON-JPY"}
    posing = {
        "type": "CompleteComplianceCheck", "id": "posing", "as": "amara.okafor",
        "role": "system", "credit": "TF26LC0112",
    }  # fmt: skip
    no_type = {"type": "PayNow", "id": "pay-now", "as": "amara.okafor", "role": "maker"}
    incomplete = [("20", "JLC88009"), ("27", "1/1"), ("40A", "IRREVOCABLE")]

    def half(s: Scribe) -> bytes:
        return s.again("0101-apply.json")[:400]

    return [
        Step("1124T0820", "torn-700", lambda _: _torn("1124T0820", 5160)),
        Step("1124T1200", "scan-0001.pdf",
             lambda _: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"),
        Step("1125T0815", "half-a-document.json", half),
        Step("1125T0816", "misspelt-field", lambda _: misspelt),
        Step("1125T0817", "no-such-command", lambda _: no_type),
        Step("1125T0930", "103-not-for-us",
             lambda _: fin("103", KESTREL, "1125T0930", payment, sequence=5161)),
        Step("1126T0700", "700-without-amount",
             lambda _: fin("700", HOSHI, "1126T0700", incomplete, sequence=5162)),
        Step("1202T1200", "posing-as-system", lambda _: posing),
    ]  # fmt: skip
