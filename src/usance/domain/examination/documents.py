"""Rules on the set: place, completeness, originals, drafts, bills of lading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from usance.domain.calendars import find_place
from usance.domain.examination.facts import DISREGARDED, Case, Rule, counted, same_bank, title
from usance.domain.terms import (
    APPLICANT,
    Finding,
    PresentedDocument,
    RequiredDocument,
    is_code,
)

EX03 = Rule("EX-03", "UCP600-6a,6d-ii")
EX04 = Rule("EX-04", "UCP600-14a,46A")
EX05 = Rule("EX-05", "UCP600-17")
EX06 = Rule("EX-06", "UCP600-14g")
EX13 = Rule("EX-13", "UCP600-6c,42a")
EX28 = Rule("EX-28", "UCP600-20a-ii")
EX31 = Rule("EX-31", "UCP600-20a-iv,28b")

FULL_SET_KINDS = ("bill_of_lading", "insurance")
"""Kinds of which all originals issued must be presented, whatever the credit says."""

_FOLDS = {
    "DUPLICATE": 2, "TRIPLICATE": 3, "QUADRUPLICATE": 4, "QUINTUPLICATE": 5,
    "ONE": 1, "TWO": 2, "THREE": 3, "FOUR": 4, "FIVE": 5, "SIX": 6,
}  # fmt: skip
_NUMBER = r"(\d{1,2}|ONE|TWO|THREE|FOUR|FIVE|SIX)"
_IN_FOLD = re.compile(
    rf"\bIN (?:(\w+PLICATE|DUPLICATE)|{_NUMBER}[ -]?(?:FOLD|COPIES|COPY))\b", re.IGNORECASE
)
_BIC_LENGTHS = (8, 11, 12)


class Count(NamedTuple):
    """How many originals, and how many further originals or copies."""

    originals: int
    copies: int


def stipulated(required: RequiredDocument) -> Count:
    """Return how many originals and copies a requirement asks for.

    Where it states no numbers of its own, words such as `in duplicate` or `in three copies` in its
    text count: one original, the rest copies (article 17e).
    """
    match = _IN_FOLD.search(required.text)
    if match and (required.originals, required.copies) == (1, 0):
        word = (match[1] or match[2]).upper()
        total = int(word) if word.isdigit() else _FOLDS.get(word, 1)
        return Count(1, max(total, 1) - 1)
    return Count(required.originals, required.copies)


def presentation_place(case: Case) -> list[Finding]:
    """EX-03: the presentation is made to a nominated, confirming or the issuing bank."""
    terms, presentee = case.terms, case.facts.presentee
    if not presentee:
        return EX03.skips("The bank to which the presentation was made is not recorded.")
    entitled = (terms.available_with, terms.confirming_bank, terms.issuing_bank)
    inputs = {"presentee": presentee, "available_with": terms.available_with}
    if any(same_bank(presentee, bank) for bank in entitled) or _any_bank(case):
        text = f"Presentation to {presentee} is allowed; the credit is available with"
        return [EX03.holds(f"{text} {terms.available_with} and with the issuing bank.", **inputs)]
    text = f"The presentation was made to {presentee}; the credit is available with"
    return [EX03.fails(f"{text} {terms.available_with} and with the issuing bank.", **inputs)]


def _any_bank(case: Case) -> bool:
    """Return whether `any bank` includes the presentee: everywhere, or in the place it names."""
    words = case.terms.available_with.upper()
    if "ANY BANK" not in words:
        return False
    place = find_place(words)
    return not place or find_place(case.facts.presentee) == place


def complete_set(case: Case) -> list[Finding]:
    """EX-04: every document the credit stipulates is there."""
    required = Counter(r.kind for r in case.terms.required_documents)
    if case.terms.draft_on and "draft" not in required:
        required["draft"] = 1
    if not required:
        return EX04.skips("The credit calls for no documents.")
    presented = Counter(d.kind for d in case.facts.documents)
    failures = (
        EX04.fails(
            f"The credit calls for {title(kind)}: {count}; presented: {presented[kind]}.",
            document=title(kind),
            required=count,
            presented=presented[kind],
        )
        for kind, count in required.items()
        if presented[kind] < count
    )
    text = f"All {required.total()} documents called for were presented."
    return EX04.settle(failures, text, required=required.total())


def _pairs(case: Case) -> Iterator[tuple[RequiredDocument, PresentedDocument]]:
    """Yield each presented document with its requirement: in order, spare ones with the last."""
    for kind in dict.fromkeys(r.kind for r in case.terms.required_documents):
        requirements = case.required_of(kind)
        for index, document in enumerate(case.of_kind(kind)):
            yield requirements[min(index, len(requirements) - 1)], document


def _short_of_originals(case: Case) -> Iterator[Finding]:
    for required, document in _pairs(case):
        asked = stipulated(required)
        total = document.originals + document.copies
        inputs = {
            "document": title(document),
            "required": f"{asked.originals} + {asked.copies}",
            "presented": f"{document.originals} + {document.copies}",
        }
        shown = f"{_set(document.originals, document.copies)} presented"
        if document.originals < asked.originals:
            asks = f"the credit asks for {counted(asked.originals, 'original')}"
            yield EX05.fails(f"Of the {title(document)}, {shown}; {asks}.", **inputs)
        elif total < asked.originals + asked.copies:
            asks = f"the credit asks for {_set(*asked)}"
            yield EX05.fails(f"Of the {title(document)}, {shown}; {asks}.", **inputs)


def _set(originals: int, copies: int) -> str:
    return f"{counted(originals, 'original')} and {counted(copies, 'copy')}"


def originals(case: Case) -> list[Finding]:
    """EX-05: as many originals and copies as stipulated; an original may stand for a copy."""
    if not any(True for _ in _pairs(case)):
        return EX05.skips("No document that the credit calls for was presented.")
    text = "Each document was presented in at least the originals and copies asked for."
    return EX05.settle(_short_of_originals(case), text)


def extra_documents(case: Case) -> list[Finding]:
    """EX-06: documents the credit does not call for are disregarded, never a discrepancy."""
    called_for = case.called_for()
    extra = sorted({d.kind for d in case.facts.documents if d not in called_for})
    if not extra:
        return EX06.skips("Every document presented is called for.")
    kinds = ", ".join(map(title, extra))
    text = f"Not called for and therefore not examined: {kinds}."
    return [EX06.finds(DISREGARDED, text, documents=kinds)]


def _bank_or_party(drawee: str) -> str:
    """Return a drawee's BIC; any other text may name a person, which findings never do."""
    code = drawee.strip().upper()
    return code if len(code) in _BIC_LENGTHS and code.isalnum() else "a party that is not a bank"


def _drawn_on(drawee: str, draft: PresentedDocument) -> bool:
    """Tell whether a draft is drawn on the drawee; of the applicant the rules know no more than that word."""
    if drawee == APPLICANT:
        return bool(draft.drawee) and not is_code(draft.drawee)
    return same_bank(drawee, draft.drawee)


def draft_drawee(case: Case) -> list[Finding]:
    """EX-13: drafts are drawn on the drawee of the credit, never on the applicant."""
    drafts = case.of_kind("draft")
    if not case.terms.draft_on or not drafts:
        return EX13.skips("The credit calls for no draft, or none was presented.")
    expected = _bank_or_party(case.terms.draft_on)
    failures = (
        EX13.fails(
            f"The {title(draft)} is drawn on {_bank_or_party(draft.drawee)};"
            f" the credit asks for drafts on {expected}.",
            document=title(draft),
            drawee=_bank_or_party(draft.drawee),
            credit=expected,
        )
        for draft in drafts
        if not _drawn_on(case.terms.draft_on, draft)
    )
    return EX13.settle(failures, f"Drafts are drawn on {expected}.", credit=expected)


def _not_on_board(bill: PresentedDocument) -> str:
    """Return what keeps a bill of lading from showing goods on board; empty when nothing does."""
    if not bill.on_board:
        return "does not show the goods shipped on board"
    if not (bill.received_for_shipment or bill.intended_vessel):
        return ""
    form = "is in received-for-shipment form" if bill.received_for_shipment else ""
    form = form or "names an intended vessel"
    if not bill.on_board_date:
        return f"{form} and its on-board notation is not dated"
    if not bill.vessel.strip():
        return f"{form} and its on-board notation names no vessel"
    return ""


def on_board(case: Case) -> list[Finding]:
    """EX-28: bills of lading show the goods on board a named vessel."""
    bills = case.of_kind("bill_of_lading")
    if not bills:
        return EX28.skips("No bill of lading that the credit calls for was presented.")
    failures = (
        EX28.fails(
            f"The {title(bill)} {flaw}.",
            document=title(bill),
            on_board_date=bill.on_board_date or "none",
            vessel=bill.vessel or "none",
        )
        for bill in bills
        if (flaw := _not_on_board(bill))
    )
    return EX28.settle(failures, "Each bill of lading shows the goods shipped on board.")


def full_set(case: Case) -> list[Finding]:
    """EX-31: all originals that a bill of lading or insurance document counts are there.

    Of an air waybill the shipper's original is enough, even where a full set is asked (23a-v).
    """
    examined = [
        document
        for required, document in _pairs(case)
        if document.kind in FULL_SET_KINDS or (required.full_set and document.kind != "air_waybill")
    ]
    if not examined:
        return EX31.skips("No document of which a full set is due was presented.")
    failures = (
        EX31.fails(
            f"Of the {title(document)}, {counted(document.originals, 'original')} presented;"
            f" issued according to the document: {document.originals_issued or 'not stated'}.",
            document=title(document),
            presented=document.originals,
            issued=document.originals_issued,
        )
        for document in examined
        if document.originals < document.originals_issued or _silent_bill(document)
    )
    return EX31.settle(failures, "All originals issued were presented.")


def _silent_bill(document: PresentedDocument) -> bool:
    """Return whether a bill of lading does not say how many originals were issued."""
    return document.kind == "bill_of_lading" and not document.originals_issued
