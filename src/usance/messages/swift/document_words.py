"""Field 46A in words and back: which documents, how many originals and copies.

"In 3 copies" and "in triplicate" call for one original and further copies (UCP 600 article 17e);
a full set is all originals issued (article 20a-iv).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from usance.domain.terms import RequiredDocument
from usance.messages.swift.values import read_items

_KINDS = {
    "draft": r"DRAFTS?\b|BILLS? OF EXCHANGE",
    "bill_of_lading": r"BILLS? OF LADING|\bB/?LS?\b",
    "air_waybill": r"AIR ?WAY ?BILLS?|\bH?AWB\b",
    "insurance": r"INSURANCE",
    "packing_list": r"PACKING (?:LIST|NOTE)",
    "weight_list": r"WEIGHT (?:LIST|NOTE|CERTIFICATE)|CERTIFICATE OF WEIGHT",
    "certificate_of_origin": r"CERTIFICATES? OF ORIGIN|ORIGIN CERTIFICATE|\bGSP FORM A\b",
    "inspection_certificate": r"INSPECTION|CERTIFICATE OF QUALITY",
    "invoice": r"INVOICE",
    "other": r"BENEFICIARY'?S? (?:SIGNED )?(?:CERTIFICATE|STATEMENT|DECLARATION)",
}
_KIND = re.compile("|".join(f"(?P<{kind}>{words})" for kind, words in _KINDS.items()))
_TITLES = {
    "draft": "DRAFT",
    "bill_of_lading": "CLEAN ON BOARD BILL OF LADING",
    "air_waybill": "AIR WAYBILL",
    "insurance": "INSURANCE POLICY OR CERTIFICATE",
    "packing_list": "PACKING LIST",
    "weight_list": "WEIGHT LIST",
    "certificate_of_origin": "CERTIFICATE OF ORIGIN",
    "inspection_certificate": "INSPECTION CERTIFICATE",
    "invoice": "SIGNED COMMERCIAL INVOICE",
    "other": "DOCUMENT",
}
_WORDS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN")
_FOLDS = ("DUPLICATE", "TRIPLICATE", "QUADRUPLICATE", "QUINTUPLICATE")
_NUMBER = rf"(\d{{1,2}}|{'|'.join(_WORDS)})(?: ?\(\w+\))?"
_ORIGINALS = re.compile(rf"\b(?:{_NUMBER} )?(?:SIGNED )?ORIGINALS?\b")
_COPIES = re.compile(rf"\b(?:{_NUMBER}[ -]?)?(?:NON-NEGOTIABLE )?COP(?:Y|IES)\b")
_IN_ALL = re.compile(rf"\b(?:IN )?(?:({'|'.join(_FOLDS)})|{_NUMBER}[ -]?(?:FOLD|COPIES|COPY)\b)")
_FULL_SET = re.compile(r"\bFULL SET\b")
_OF_SET = re.compile(r"\b(\d)/(\d)\b")
_NUMBERED = re.compile(r"(?=^\d{1,2}[.)] ?)", re.MULTILINE)
_PERCENT = re.compile(r"\b(\d{3}) ?(?:PCT|PERCENT|PER CENT|O/O|%)")
COUNT_MAX = 99


def read_documents(text: str) -> list[RequiredDocument]:
    """Return the documents that 46A calls for, in order; every character stands in some `text`."""
    return [read_document(item) for item in _items(text)]


def read_document(item: str) -> RequiredDocument:
    """Return one document of 46A: its kind by the first words that name one, and its counts."""
    words = " ".join(item.upper().split())
    found = _KIND.search(words)
    originals, copies = _counts(words)
    return RequiredDocument(
        kind=(found.lastgroup if found else None) or "other",
        originals=originals,
        copies=copies,
        full_set=bool(_FULL_SET.search(words)) or bool(_whole_set(words)),
        text=item,
    )


def insured_percent(documents: Iterable[RequiredDocument]) -> int | None:
    """Return the per cent that an insurance document must cover as its words say, or None."""
    for document in documents:
        words = " ".join(document.text.upper().split()) if document.kind == "insurance" else ""
        found = _PERCENT.search(words)
        if found:
            return int(found[1])
    return None


def document_text(document: RequiredDocument, percent: int = 110) -> str:
    """Return a document in words that `read_document` reads back; its own text where it has one.

    What the text does not say of counts, full set and insured percentage is added to it.
    """
    text = document.text.strip() or _TITLES.get(document.kind, "DOCUMENT")
    read = read_document(text)
    if document.full_set and not read.full_set:
        text = f"FULL SET OF {text}"
    if (read.originals, read.copies) != (document.originals, document.copies):
        text = f"{text}: {_count_words(document)}"
    if document.kind == "insurance" and insured_percent([read]) != percent:
        text = f"{text} FOR {percent:03d} PCT OF CIF OR CIP VALUE"
    return text


def _count_words(document: RequiredDocument) -> str:
    originals = f"{document.originals} ORIGINAL{'S' if document.originals != 1 else ''}"
    if not document.copies:
        return originals
    return f"{originals} AND {document.copies} COP{'IES' if document.copies != 1 else 'Y'}"


def _items(text: str) -> list[str]:
    if re.search(r"^\+", text, re.MULTILINE):
        return read_items(text)
    numbered = [piece.strip() for piece in _NUMBERED.split(text) if piece.strip()]
    if len(numbered) > 1:
        return numbered
    items: list[str] = []
    for line in text.split("\n"):
        if items and not _KIND.search(line.upper()):
            items[-1] += "\n" + line
        elif line.strip():
            items.append(line)
    return items


def _number(word: str | None) -> int:
    if not word:
        return 1
    return int(word) if word.isdigit() else _WORDS.index(word) + 1


def _whole_set(words: str) -> int:
    found = _OF_SET.search(words)
    return int(found[1]) if found and found[1] == found[2] else 0


def _counts(words: str) -> tuple[int, int]:
    originals, copies = _ORIGINALS.search(words), _COPIES.search(words)
    if originals:
        further = _number(copies[1]) if copies else 0
        return _number(originals[1]), further
    in_all = _IN_ALL.search(words)
    if in_all:
        total = _FOLDS.index(in_all[1]) + 2 if in_all[1] else _number(in_all[2])
        return 1, max(total, 1) - 1
    return max(_whole_set(words), 1), 0
