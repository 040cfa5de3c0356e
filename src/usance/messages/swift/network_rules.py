"""Network rules: what fields of one message demand of each other, and code words.

Each rule is a small pure function from a message's fields to a finding or None; `RULES` lists
them by message type. Codes are SWIFT's where they are known for certain. `52AD` stands for 52A or
52D, as in the layouts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from usance.messages.swift import codes
from usance.messages.swift.fin import Field
from usance.messages.swift.findings import Finding

Rule = Callable[["View"], "Finding | None"]

_CURRENCY = re.compile(r"(?:[0-9]{6})?([A-Z]{3})[0-9]")


class View(msgspec.Struct):
    """The fields of a message as rules look at them."""

    fields: tuple[Field, ...]
    year: int

    def first(self, *patterns: str) -> Field | None:
        """Return the first field that one of the patterns names."""
        return next((f for f in self.fields if any(_named(f.tag, p) for p in patterns)), None)


def _named(tag: str, pattern: str) -> bool:
    return tag == pattern or (tag[:2] == pattern[:2] and len(tag) == 3 and tag[2] in pattern[2:])


def _name(pattern: str) -> str:
    return pattern if len(pattern) < 4 else f"{pattern[:2]}a"


def _names(patterns: tuple[str, ...], word: str) -> str:
    return f" {word} ".join(_name(pattern) for pattern in patterns)


def _found(code: str | None, rule: str, field: Field, text: str, line: int = 0) -> Finding:
    return Finding(code=code, tag=field.tag, line=field.line + line, rule=rule, message=text)


def together(code: str, rule: str, one: str, other: str) -> Rule:
    """Make a rule: both fields or neither."""

    def check(view: View) -> Finding | None:
        left, right = view.first(one), view.first(other)
        present = left or right
        if present is None or (left and right):
            return None
        missing = _name(other if left else one)
        text = f"{_name(one)} and {_name(other)} go together: {missing} is missing"
        return _found(code, rule, present, text)

    return check


def at_most_one(code: str, rule: str, *alternatives: tuple[str, ...]) -> Rule:
    """Make a rule: fields of no more than one of the alternatives."""

    def check(view: View) -> Finding | None:
        used = [field for group in alternatives if (field := view.first(*group))]
        if len(used) < 2:
            return None
        names = ", ".join(_names(group, "or") for group in alternatives)
        second = sorted(used, key=lambda field: field.line)[1]
        return _found(code, rule, second, f"only one of {names} may be used")

    return check


def needs(
    code: str, rule: str, causes: tuple[str, ...], needed: str, *, every: bool = False
) -> Rule:
    """Make a rule: any one of the causes (or all together, if `every`) calls for a field."""

    def check(view: View) -> Finding | None:
        present = [field for cause in causes if (field := view.first(cause))]
        applies = len(present) == len(causes) if every else bool(present)
        if not applies or view.first(needed):
            return None
        cause = min(present, key=lambda field: field.line)
        with_what = _names(causes, "and" if every else "or")
        return _found(code, rule, cause, f"{_name(needed)} is required with {with_what}")

    return check


def _issuer(view: View) -> Finding | None:
    """C06: an issuing bank or a non-bank issuer, and not both."""
    issuers = ("52AD", "50B", "50E")
    if view.first(*issuers) is None and view.fields:
        expiry = view.first("31D")
        behind = (f.line for f in view.fields if expiry and f.line > expiry.line)
        return Finding(
            code="C06",
            tag="52a",
            line=next(behind, view.fields[-1].line),
            rule="one-issuer",
            message="the issuing bank (52a) or a non-bank issuer is required",
        )
    return _ONE_ISSUER(view)


def _amended(view: View) -> Finding | None:
    """C30: an amendment changes something (or asks for cancellation)."""
    purpose = view.first("22A")
    if purpose is None or any(field.line > purpose.line for field in view.fields):
        return None
    return _found("C30", "something-amended", purpose, "at least one field must follow 22A")


def same_currency(one: str, other: str) -> Rule:
    """Make a rule (C02): two amounts are in the same currency."""

    def check(view: View) -> Finding | None:
        left, right = view.first(one), view.first(other)
        if not left or not right:
            return None
        first, second = _CURRENCY.match(left.value), _CURRENCY.match(right.value)
        if not first or not second or first[1] == second[1]:
            return None
        text = f"{_name(one)} and {_name(other)} must be in the same currency"
        return _found("C02", "same-currency", right, text)

    return check


def coded(code: str | None, tag: str, allowed: frozenset[str], *, line: int = 0) -> Rule:
    """Make a rule: the given line of a field (-1: its last) is one of the allowed codes."""

    def check(view: View) -> Finding | None:
        field = view.first(tag)
        if field is None:
            return None
        lines = field.value.split("\n")
        if line >= len(lines) or lines[line] in allowed:
            return None
        text = f"{field.tag}: code is not one of {', '.join(sorted(allowed))}"
        return _found(code, f"code-{_name(tag)}", field, text, len(lines) - 1 if line < 0 else line)

    return check


def _form(view: View) -> Finding | None:
    """40A: the form of the credit (T60); standby forms only before SR2021."""
    allowed = codes.FORMS | codes.STANDBY_FORMS if view.year < 2021 else codes.FORMS
    return coded("T60", "40A", allowed)(view)


def _form_advised(view: View) -> Finding | None:
    """40B, first line: the form of the credit (T64)."""
    allowed = codes.FORMS | codes.STANDBY_FORMS if view.year < 2021 else codes.FORMS
    return coded("T64", "40B", allowed)(view)


def _confirmation_added(view: View) -> Finding | None:
    """40B, second line: whether the sender adds its confirmation (T66)."""
    finding = coded("T66", "40B", codes.CONFIRMATIONS_ADDED, line=1)(view)
    return finding and msgspec.structs.replace(finding, rule="code-40B-confirmation")


def _applicable_rules(view: View) -> Finding | None:
    """40E: the code before the narrative (T59)."""
    field = view.first("40E")
    if field is None or field.value.partition("/")[0] in codes.RULES:
        return None
    text = f"40E: code is not one of {', '.join(sorted(codes.RULES))}"
    return _found("T59", "code-40E", field, text)


def _rules_narrative(view: View) -> Finding | None:
    """40E: a narrative only with OTHR (D81)."""
    field = view.first("40E")
    if field is None or "/" not in field.value or field.value.startswith("OTHR/"):
        return None
    return _found("D81", "rules-narrative", field, "40E: a narrative is for code OTHR only")


def _sequence(first: bool) -> Rule:
    """Make a rule for 27 (T75): number within total, eight at most; the main message is the first."""

    def check(view: View) -> Finding | None:
        field = view.first("27")
        found = field and re.fullmatch("([0-9])/([0-9])", field.value)
        if not field or not found:
            return None
        number, total = int(found[1]), int(found[2])
        if 1 <= number <= total <= 8 and (number == 1) == first:
            return None
        text = "27: number is 1" if first else "27: number is 2 or more"
        return _found(
            "T75", "sequence", field, f"{text}, and at most the total, which is at most 8"
        )

    return check


def _coded_lines(tag: str, allowed: frozenset[str] | None) -> Rule:
    """Make a rule: a line starting with `/` is `/CODE/...`; `//` continues a coded line."""

    def check(view: View) -> Finding | None:
        field = view.first(tag)
        in_code = False
        for number, line in enumerate(field.value.split("\n") if field else ()):
            found = re.match("/([A-Z0-9]{1,8})/", line)
            if found and (allowed is None or found[1] in allowed):
                in_code = True
            elif line.startswith("/") and not (line.startswith("//") and in_code):
                text = f"{tag}: a line starting with '/' must be /CODE/ and text"
                if allowed:
                    text += f", the code one of {', '.join(sorted(allowed))}"
                assert field is not None
                return _found(None, f"lines-{tag}", field, text, number)
        return None

    return check


def _changes(tag: str) -> Rule:
    """Make a rule (T67): an amendment's text, and any line with `/`, begins with a change code."""

    def check(view: View) -> Finding | None:
        field = view.first(tag)
        for number, line in enumerate(field.value.split("\n") if field else ()):
            found = re.match("/([A-Z]*)/", line)
            if (number and not line.startswith("/")) or (found and found[1] in codes.CHANGES):
                continue
            assert field is not None
            text = f"{tag}: text, and any line with '/', begins with /ADD/, /DELETE/ or /REPALL/"
            return _found("T67", f"lines-{tag}", field, text, number)
        return None

    return check


def _disposal(view: View) -> Finding | None:
    """77B: what is done with refused documents, `/CODE/` and text."""
    field = view.first("77B")
    if field is None:
        return None
    found = re.match("/([A-Z]{1,8})/", field.value)
    if found and found[1] in codes.DISPOSALS:
        return None
    text = f"77B: begins with /CODE/, the code one of {', '.join(sorted(codes.DISPOSALS))}"
    return _found(None, "code-77B", field, text)


_ONE_ISSUER = at_most_one("C06", "one-issuer", ("52AD",), ("50B", "50E"))
_DRAFTS: tuple[Rule, ...] = (
    together("C90", "drafts-with-drawee", "42C", "42AD"),
    at_most_one("C90", "one-tenor", ("42C", "42AD"), ("42M",), ("42P",)),
)
_NOTE = _coded_lines("72Z", None)
_DEDUCTED = _coded_lines("71D", codes.CHARGES)
_ADDED = _coded_lines("73A", codes.CHARGES)
_AVAILABLE = coded("T68", "41AD", codes.AVAILABILITY, line=-1)
_TERMS: tuple[Rule, ...] = (
    _applicable_rules,
    _rules_narrative,
    _AVAILABLE,
    coded("T64", "43P", codes.ALLOWANCES),
    coded("T65", "43T", codes.ALLOWANCES),
    at_most_one("D06", "one-shipment-date", ("44C",), ("44D",)),
    coded("T67", "49", codes.CONFIRMATIONS),
    _DEDUCTED,
    _NOTE,
)
_CREDIT: tuple[Rule, ...] = (_sequence(first=True), *_DRAFTS, *_TERMS)
_CHANGE_TEXTS = tuple(_changes(tag) for tag in ("45B", "46B", "47B", "49M", "49N"))

RULES: dict[str, tuple[Rule, ...]] = {
    "700": (_form, *_CREDIT),
    "701": (_sequence(first=False),),
    "707": (
        _sequence(first=True),
        _form,
        *_TERMS,
        *_CHANGE_TEXTS,
        _ONE_ISSUER,
        _amended,
        at_most_one("C12", "increase-or-decrease", ("32B",), ("33B",)),
        coded(None, "22A", codes.AMENDMENT_PURPOSES),
        coded(None, "23S", frozenset({"CANCEL"})),
        coded(None, "71N", codes.AMENDMENT_CHARGES),
    ),
    "708": (_sequence(first=False), *_CHANGE_TEXTS),
    "710": (*_CREDIT, _form_advised, _confirmation_added, _issuer),
    "711": (_sequence(first=False),),
    "720": (*_CREDIT, _form_advised, _confirmation_added, _issuer),
    "721": (_sequence(first=False),),
    "730": (
        at_most_one("C77", "account-or-bank", ("25",), ("57AD",)),
        at_most_one("C78", "no-bank-with-debit", ("32D",), ("57AD",)),
        _DEDUCTED,
        _NOTE,
    ),
    "732": (_NOTE,),
    "734": (
        needs("C17", "total-with-charges", ("73A",), "33AB"),
        same_currency("32A", "33AB"),
        _ADDED,
        _disposal,
        _NOTE,
    ),
    "740": (
        *_DRAFTS,
        at_most_one("D84", "one-negotiator", ("58AD",), ("59", "59N")),
        _AVAILABLE,
        coded("T08", "71A", codes.REIMBURSEMENT_CHARGES),
        _DEDUCTED,
        _NOTE,
    ),
    "742": (_DEDUCTED, _NOTE),
    "750": (
        needs("C13", "total-with-additions", ("33B", "71D", "73A"), "34B"),
        same_currency("32B", "34B"),
        _DEDUCTED,
        _ADDED,
        _NOTE,
    ),
    "752": (
        needs("C18", "net-with-charges", ("32B", "71D"), "33AB", every=True),
        same_currency("32B", "33AB"),
        coded(None, "23", codes.TAKE_UPS),
        _DEDUCTED,
        _NOTE,
    ),
    "754": (
        at_most_one("C19", "one-narrative", ("72Z",), ("77",)),
        at_most_one("C14", "one-way-to-pay", ("53ABD",), ("57ABD",)),
        same_currency("32AB", "34AB"),
        _DEDUCTED,
        _ADDED,
        _NOTE,
    ),
    "756": (same_currency("32B", "33A"), _NOTE),
    "799": (),
}
"""Message type to its rules."""
