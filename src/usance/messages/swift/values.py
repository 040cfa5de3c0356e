"""Field values: what the text of a field says, and the text that says it.

Readers raise ValueError on text that `formats` would have reported; read a value only after
validation, or be ready for it. Amounts are minor units with their currency, dates YYYY-MM-DD.
"""

from __future__ import annotations

import re

import msgspec

from usance.kernel.money import Money, decimals, parse_decimal
from usance.messages.swift.formats import Z_SET, is_bic, read_date

_AMOUNT = re.compile(r"([0-9]{6})?([A-Z]{3})([0-9]+,[0-9]*)")
_ITEM = re.compile(r"(?=^\+)", re.MULTILINE)
_CODE = re.compile(r"/([A-Z0-9]{1,8})/(.*)", re.DOTALL)
_NOT_Z = re.compile(f"[^{Z_SET}]")
_NOT_X = re.compile(r"[^A-Za-z0-9/\-?:().,'+ ]")


class Institution(msgspec.Struct, frozen=True, kw_only=True):
    """A bank as party option A (BIC), B (location) or D (name and address lines)."""

    bic: str = ""
    name: str = ""
    account: str = ""


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """41a: `bank` is a BIC or text such as ANY BANK IN SINGAPORE; `by` is one of SWIFT's codes."""

    bank: str
    by: str


class Coded(msgspec.Struct, frozen=True):
    """A code word and its text; the code is empty for plain text."""

    code: str
    text: str


def date_text(iso: str) -> str:
    """Return YYYY-MM-DD as YYMMDD."""
    return iso[2:4] + iso[5:7] + iso[8:10]


def read_iso_date(text: str) -> str:
    """Return YYMMDD as YYYY-MM-DD; raises ValueError if it is no date."""
    found = read_date(text)
    if found is None:
        raise ValueError("not a date of the form YYMMDD")
    return found


def amount_text(minor: int, currency: str) -> str:
    """Return an amount as SWIFT writes it: comma always, decimals only where they are not zero."""
    whole, fraction = divmod(minor, 10 ** decimals(currency))
    return f"{whole}," + (str(fraction).rjust(decimals(currency), "0") if fraction else "")


def money_text(money: Money) -> str:
    """Return currency and amount, such as `USD100000,` (32B)."""
    return money.currency + amount_text(money.minor, money.currency)


def read_money(text: str) -> Money:
    """Return currency and amount of 32B and its like, or of a value with a date before them."""
    return read_dated_money(text)[1]


def read_dated_money(text: str) -> tuple[str, Money]:
    """Return date (empty if none) and money of 32A or 32B and their like; raises ValueError."""
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise ValueError("not a currency and amount")
    minor = parse_decimal(found[3], found[2], separator=",")
    return (read_iso_date(found[1]) if found[1] else ""), Money(found[2], minor)


def read_expiry(text: str) -> tuple[str, str]:
    """Return date and place of 31D."""
    return read_iso_date(text[:6]), text[6:]


def read_tolerance(text: str) -> tuple[int, int]:
    """Return plus and minus per cent of 39A."""
    plus, _, minus = text.partition("/")
    return int(plus), int(minus)


def read_sequence(text: str) -> tuple[int, int]:
    """Return number and total of 27."""
    number, _, total = text.partition("/")
    return int(number), int(total)


def read_presentation_days(text: str) -> tuple[int, str]:
    """Return days and narrative of 48."""
    days, _, narrative = text.partition("/")
    return int(days), narrative


def read_institution(tag: str, text: str) -> Institution:
    """Return the bank of a party field; the tag's last letter is the option (A, B or D)."""
    lines = text.split("\n")
    account = lines.pop(0)[1:] if lines[0].startswith("/") else ""
    if tag.endswith("A"):
        return Institution(bic="\n".join(lines), account=account)
    return Institution(name="\n".join(lines), account=account)


def institution_field(number: str, bank: Institution) -> tuple[str, str]:
    """Return tag and value of a bank as option A where its BIC is known, else as option D."""
    account = f"/{bank.account}\n" if bank.account else ""
    option, text = ("A", bank.bic) if bank.bic else ("D", bank.name)
    return number + option, account + text


def read_availability(text: str) -> Availability:
    """Return where and how a credit is available (41a)."""
    bank, _, by = text.rpartition("\n")
    return Availability(bank=bank, by=by)


def availability_field(available: Availability) -> tuple[str, str]:
    """Return tag and value of 41a: option A for a BIC, D for text."""
    option = "A" if is_bic(available.bank) else "D"
    return f"41{option}", f"{available.bank}\n{available.by}"


def read_items(text: str) -> list[str]:
    """Return the items of 45A, 46A, 47A: each starts at a line with `+`; lines are kept."""
    pieces = [piece.removesuffix("\n") for piece in _ITEM.split(text) if piece.strip()]
    return [piece[1:].strip() if piece.startswith("+") else piece for piece in pieces]


def items_text(items: list[str], width: int = 65) -> str:
    """Return items as lines of a narrative, each item beginning with `+`."""
    return "\n".join(wrap(f"+{item}", width) for item in items)


def read_coded(text: str) -> list[Coded]:
    """Return the coded parts of 45B, 71D, 72Z, 73A, 77B, 77J and their like, in order.

    A line `/CODE/text` starts a part; `//text` and plain lines continue the part before them. Text
    in front of any code is a part with an empty code.
    """
    parts: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if found := _CODE.fullmatch(line):
            parts.append((found[1], [found[2]]))
        elif parts:
            parts[-1][1].append(line.removeprefix("//"))
        else:
            parts.append(("", [line]))
    return [Coded(code, "\n".join(lines)) for code, lines in parts]


def coded_text(parts: list[Coded], width: int, *, continuation: str = "//") -> str:
    """Return coded parts as lines of at most `width`; further lines begin with `continuation`."""
    lines: list[str] = []
    for part in parts:
        code = f"/{part.code}/" if part.code else ""
        mark = continuation if part.code else ""
        body = wrap(part.text, width - max(len(code), len(mark)), avoid=":-/")
        first, *rest = body.split("\n")
        lines += [code + first, *(mark + line for line in rest)]
    return "\n".join(lines)


def wrap(text: str, width: int, *, avoid: str = ":-") -> str:
    """Return text in lines of at most `width`, broken at spaces where there are any.

    A line that would start with one of `avoid` gets a full stop in front: no line of FIN text may
    start with `:` or `-`, and `/` would read as a code.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        rest = paragraph.strip()
        while rest:
            rest = "." + rest if rest[0] in avoid else rest
            cut = width if len(rest) > width else len(rest)
            space = rest.rfind(" ", 1, width + 1) if len(rest) > width else -1
            lines.append(rest[: space if space > 0 else cut].rstrip())
            rest = rest[space if space > 0 else cut :].lstrip()
    return "\n".join(lines)


def swift_text(text: str, charset: str = "z") -> str:
    """Return text in SWIFT's upper-case x or z set: transliterated, what is left is `?`."""
    from anyascii import anyascii  # a large table, wanted only where messages are written

    outside = _NOT_X if charset == "x" else _NOT_Z
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(outside.sub("?", anyascii(line)).upper() for line in lines)
