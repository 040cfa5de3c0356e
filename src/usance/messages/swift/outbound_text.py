"""How FIN texts are put together: fields in layout order, words fitted, long narratives continued.

No character is dropped: text is transliterated into SWIFT's sets, and what does not fit its field
moves on in full to a narrative, and from there to continuations.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from usance.kernel.errors import Refused
from usance.messages.swift.fin import (
    Basic,
    InputHeader,
    Message,
    Pair,
    build,
    numbered,
    terminal_of,
)
from usance.messages.swift.formats import is_bic
from usance.messages.swift.layouts import CURRENT, layout
from usance.messages.swift.validation import TEXT_LIMIT
from usance.messages.swift.values import swift_text, wrap

NARRATIVE_WIDTH, NARRATIVE_LINES = 65, 100
PARTS_MAX = 8
UNKNOWN_TERMINAL = "XXXXXXXXXXXX"
"""Stands where a bank's BIC is not known: the interface or the network turns it away visibly."""

_CHANGE = re.compile(r"/(ADD|DELETE|REPALL)/")
_CHANGE_WIDTH = NARRATIVE_WIDTH - len("/REPALL/.")

_LIKE = str.maketrans(
    {"{": "(", "}": ")", "[": "(", "]": ")", "|": "/", "\\": "/", "`": "'", "^": "'", "\t": " "}
)
_LIKE_X = str.maketrans(
    {
        "=": "-", "!": ".", '"': "'", "%": " PCT", "&": " AND ", "*": "X", "<": "(", ">": ")",
        ";": ",", "@": "(AT)", "#": "NO.", "_": "-",
    }
)  # fmt: skip

Fields = list[tuple[str, str]]


class Part(NamedTuple):
    """One message's type and fields: the first of several, or a continuation."""

    mt: str
    fields: Fields


def plain(text: str, charset: str = "z") -> str:
    """Return text in upper case and SWIFT's set, brackets and the like by their nearest sign."""
    text = unicodedata.normalize("NFC", text).translate(_LIKE)
    marked = "".join(char if char.isascii() else _likeness(char) for char in text)
    text = swift_text(marked, "z").translate(_LIKE)
    return swift_text(text.translate(_LIKE_X), "x") if charset == "x" else text


def _likeness(char: str) -> str:
    """Return a character unchanged, or `?` for one that transliteration would drop unseen."""
    from anyascii import anyascii  # a large table, wanted only where messages are written

    return char if anyascii(char) or unicodedata.category(char) in ("Mn", "Cf") else "?"


def line_of(text: str, charset: str = "x") -> str:
    """Return text as one line in SWIFT's set."""
    return " ".join(plain(text, charset).split())


def reference(text: str) -> str:
    """Return a reference of at most 16 characters for 20, 21 or 108; NONREF for none.

    One that does not fit keeps its beginning and gets a digest, so that two never become one.
    """
    found = line_of(text).strip("/").replace("//", "/")
    if not found:
        return "NONREF"
    if len(found) <= 16 and found == text:
        return found
    digest = hashlib.sha256(text.encode()).hexdigest()[:6].upper()
    return f"{found[:9].strip('/ ')}-{digest}"


class Draft:
    """The fields of one message being written; `more` are texts that did not fit, in full."""

    def __init__(self) -> None:
        self.fields: Fields = []
        self.more: list[str] = []

    def put(self, tag: str, value: str) -> None:
        """Add a field whose value is known to fit; nothing when it is empty."""
        if value:
            self.fields.append((tag, value))

    def text(
        self, tag: str, text: str, lines: int, width: int, *, charset: str = "x", name: str = ""
    ) -> None:
        """Add a field of words; what does not fit goes on, in full, to `more` under its name."""
        wrapped = wrap(plain(text, charset), width, avoid=":-/").split("\n")
        if not wrapped[0]:
            return
        self.fields.append((tag, "\n".join(wrapped[:lines])))
        if len(wrapped) > lines:
            self.more.append(f"{name or 'FIELD ' + tag} IN FULL: {line_of(text, 'z')}")

    def party(self, number: str, bank: str) -> None:
        """Add a bank by its BIC (option A), or by its words (option D)."""
        if is_bic(bank):
            self.fields.append((f"{number}A", bank))
        else:
            self.text(f"{number}D", bank, 4, 35)


def narrative_lines(
    text: str, items: Iterable[str] = (), *, width: int = NARRATIVE_WIDTH
) -> list[str]:
    """Return the lines of a narrative: text as it is, then each item on its own with a `+`."""
    lines = wrap(plain(text), width).split("\n")
    for item in items:
        lines += wrap("+" + line_of(item, "z"), width).split("\n")
    return [line for line in lines if line]


def change_lines(text: str, items: Iterable[str] = (), *, code: str = "ADD") -> list[str]:
    """Return the lines of 45B, 46B or 47B, each part behind its code.

    Text may bear codes of its own; what bears none, and the items, get `code`.
    """
    lines = [
        f".{line}" if line[0] == "/" and not _CHANGE.match(line) else line
        for line in narrative_lines(text, items, width=_CHANGE_WIDTH)
    ]
    if lines and not _CHANGE.match(lines[0]):
        lines[0] = f"/{code}/{lines[0]}"
    return lines


def in_order(mt: str, fields: Fields, release: str = CURRENT) -> Fields:
    """Return fields in the order of a type's layout."""
    table = layout(mt, release)
    places = table.index if table else {}
    return sorted(fields, key=lambda field: places.get(field[0], len(places)))


def parts_of(
    mt: str,
    further: str,
    fields: Fields,
    repeated: Sequence[str],
    narratives: Sequence[tuple[str, list[str]]],
    release: str = CURRENT,
) -> list[Part]:
    """Return a message with its narratives, spread over continuations as far as it is too long.

    `further` is the type of continuations, `repeated` the tags that each of them states again.
    Raises Refused("FIN_TOO_LONG") when eight messages cannot hold it.
    """
    again = [field for field in fields if field[0] in repeated]
    parts, texts, size = [Part(mt, list(fields))], [dict[str, list[str]]()], _size(fields)
    for tag, lines in narratives:
        for line in lines:
            present = texts[-1].get(tag)
            cost = len(line) + (2 if present else len(tag) + 4)
            if size + cost > TEXT_LIMIT or len(present or ()) == NARRATIVE_LINES:
                line = _carried_on(line, present or []) if further == "708" else line
                parts.append(Part(further, list(again)))
                texts.append({})
                size = _size(again)
                cost = len(line) + len(tag) + 4
            texts[-1].setdefault(tag, []).append(line)
            size += cost
    if len(parts) > PARTS_MAX:
        raise Refused(
            "FIN_TOO_LONG",
            f"the text needs more than {PARTS_MAX} messages",
            hint="Shorten goods, documents or conditions.",
        )
    for number, (part, text) in enumerate(zip(parts, texts, strict=True), 1):
        part.fields.append(("27", f"{number}/{len(parts)}"))
        part.fields.extend((tag, "\n".join(lines)) for tag, lines in text.items())
    return [Part(part.mt, in_order(part.mt, part.fields, release)) for part in parts]


def _carried_on(line: str, before: list[str]) -> str:
    """Return the first line of a narrative's next part, behind the code that it goes on with."""
    codes = [found[1] for text in before if (found := _CHANGE.match(text))]
    if not codes or _CHANGE.match(line):
        return line
    # The whole list was replaced by the first part: what follows is added to it.
    return f"/{'ADD' if codes[-1] == 'REPALL' else codes[-1]}/{line}"


def fin_text(part: Part, *, sender: str, receiver: str, mur: str) -> str:
    """Return a whole message, blocks 1 to 5, to be handed to the interface.

    Session and sequence are zero: the interface gives them. CHK is a digest of block 4 that tells
    our own copies apart; the interface replaces it. Raises Refused("FIN_TEXT") when a value would
    break the message.
    """
    text = "\r\n".join(f":{tag}:{value}" for tag, value in part.fields)
    check = hashlib.sha256(text.encode()).hexdigest()[:12].upper()
    message = Message(
        basic=Basic("F", "01", _terminal(sender, "A"), "0000", "000000"),
        application=InputHeader(part.mt, _terminal(receiver, "X"), "N"),
        user=(Pair("108", reference(mur)),),
        fields=numbered(part.fields),
        trailer=(Pair("CHK", check),),
    )
    return build(message).decode()


def _terminal(bic: str, terminal: str) -> str:
    return terminal_of(bic, terminal) if is_bic(bic) else UNKNOWN_TERMINAL


def _size(fields: Fields) -> int:
    """Return the characters of block 4, field 27 and the line ends of the block included."""
    return 13 + sum(len(tag) + len(value) + value.count("\n") + 4 for tag, value in fields)
