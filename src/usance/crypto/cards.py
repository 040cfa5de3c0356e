"""Card numbers (PAN) in what comes in: found, masked, and kept out of a log that is read for ever.

A number is a card's when all of this holds: its length and prefix are those of a card scheme (ISO/IEC 7812),
its check digit is right (Luhn), and what stands around it speaks for a card rather than against it. One
number in ten passes Luhn, and a bank's texts are full of long numbers; so a credit's reference, an account,
an amount, an IBAN or a header of a FIN message needs a word such as `card` beside it to count.

Points: grouped as on a card 2, in one piece 1; a card's word nearby +2; a place or a word of other numbers
-2. One point or more is a card number.

Sources: PCI DSS 4.0.1, 3.3 (no track data, no CVV, ever), 3.4.1 (shown: at most BIN and last four), 3.5.1
(stored: unreadable). Evasion is not the enemy here, carelessness is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DIGITS_MIN, DIGITS_MAX = 13, 19
BIN_DIGITS, LAST_DIGITS = 6, 4
MASK = "*"
WORDS_BEFORE, WORDS_AFTER = 40, 24
"""Bytes before and after a number in which words count."""
OTHER_BEFORE = 24
COUNTS_ALONE = frozenset({14, 15, 16})
"""Lengths at which a number in one piece counts without a word; others are rare among cards."""
ENOUGH = 1
KEY_BACK = 80
"""Bytes before a value in which its JSON member is named."""
FIELD_BACK = 8_000
"""Bytes before a number in which its FIN field begins: a FIN message is shorter."""

_MAY_BELONG = frozenset(b"0123456789 \t-.\r\n\\nr\xc2\xa0")
_TO_ZERO = bytes(48 if byte in _MAY_BELONG else 120 for byte in range(256))
_NO_DIGITS = bytes(byte for byte in range(256) if not 48 <= byte <= 57)
_BETWEEN = bytes(_MAY_BELONG - frozenset(b"0123456789"))
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte <= 57 else 120 for byte in range(256))
_LONG_ENOUGH = b"0" * DIGITS_MIN
"""What thirteen digits and what may stand between them look like after `_TO_ZERO`."""

_BREAK = rb"(?:\r?\n|(?:\\r)?\\n)"
_GAP = rb"(?:[ \t.-]|\xc2\xa0|" + _BREAK + rb")"
_CANDIDATE = re.compile(
    rb"(?<![0-9])(?:(?P<run>[0-9]{13,19})"
    rb"|(?P<grouped>[0-9]{4}%(gap)s(?:[0-9]{4}%(gap)s[0-9]{4}%(gap)s[0-9]{4}(?:%(gap)s[0-9]{3})?"
    rb"|[0-9]{6}%(gap)s[0-9]{4,5}))"
    rb"|(?P<broken>[0-9]{2,17}%(line)s[0-9]{2,17}))(?![0-9])" % {b"gap": _GAP, b"line": _BREAK}
)
_SIXTEEN = re.compile(rb"(?P<grouped>(?P<run>(?!))?(?:[0-9]{4}%s){3}[0-9]{4})(?![0-9])" % _GAP)
_CARD_WORDS = re.compile(
    rb"(?<![a-z])(?:cards?|cardholder|visa|master ?card|maestro|amex|american express|diners|jcb"
    rb"|union ?pay|rupay|pan|cvv2?|cvc2?|kreditkarten?|karten?(?:nummer|nr)|carte|tarjeta)(?![a-z])"
)
_OTHER_WORDS = re.compile(
    rb"(?<![a-z])(?:accounts?|acct|a/c|konto|compte|cuenta|iban|ref(?:erence|\.)?|our|your|l/c|lc"
    rb"|credit (?:no|number|nr)|invoice|inv|b/l|bl|awb|order|contract|policy|container|tel|phone|fax"
    rb"|vat|tax|hs|registration|imo|tracking|licen[cs]e|batch|serial|seal|lot|uti|lei|ean|gtin)"
    rb"(?![a-z])[^a-z]{0,12}(?:(?:no|nos|number|nr|num)[^a-z]{0,6})?\Z"
)
_TRACK = re.compile(rb"[0-9]{13,19}(?:=|\^[^^\r\n]{2,26}\^)[0-9]{4}")
_CODE = re.compile(
    rb"(?<![a-z])(?:cvv2?|cvc2?|csc|cav2|cid)(?: ?code)?[^0-9a-z]{0,4}[0-9]{3,4}(?![0-9])"
)
_TAG = re.compile(rb"\n:([0-9]{2}[A-Z]?):")
_ESCAPES = frozenset({b"\\n", b"\\r", b"\\t"})
_KEY = re.compile(rb'"([A-Za-z_]{1,40})"\s*:\s*"?\Z')
_OTHER_TAGS = frozenset(
    b"""11A 11R 11S 20 21 21A 21B 21C 21P 21R 21S 21T 22A 22D 22E 22J 22K 23 23B 23E 23H 23X 25 25A 25P 26E
    27 28 30 31C 31D 31E 31L 31R 31S 31X 32A 32B 32C 32D 33A 33B 34A 34B 39A 39B 39E 40A 40B 40E 40F 44C
    56A 57A 58A 52A 51A 53A 54A 41A 42A 71A""".split()
)
"""FIN fields that hold references, dates, amounts and codes, never words."""
_OTHER_KEYS = re.compile(
    rb"(?:reference|ref|id|uuid|key|credit|presentation|message|account|iban|bic|lei|number|amount|increase"
    rb"|decrease|hash|digest|sha256|position|work|saga|facility|correlation|causation|mur|uetr"
    rb"|.*_(?:id|reference|ref|number|account|amount|minor|key|hash|at))\Z"
)
_SCHEMES = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    rb"|(?:5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d*(?<=^\d{16})"  # Mastercard
    rb"|3[47]\d{13}"  # American Express
    rb"|(?:30[0-5]|36|38|39)\d*(?<=^\d{14})"  # Diners Club
    rb"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    rb"|(?:6011|64[4-9]|65)\d*(?<=^\d{16})"  # Discover
    rb"|(?:62|81)\d{14,17}"  # UnionPay
    rb"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{9,15}"  # Maestro
    rb"|220[0-4]\d{12}"  # Mir
    rb"|(?:508|60|82)\d*(?<=^\d{16})"  # RuPay
)
_PLAIN = bytes(max(0, byte - 48) % 10 for byte in range(256))
_DOUBLED = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[byte] for byte in _PLAIN)


class Found(NamedTuple):
    """A card number: where it stands (bytes, half open), its digits, and what was sent along with it.

    `sensitive` where track data or a card verification code stands there too: PCI DSS 3.3 forbids
    keeping these in any form.
    """

    start: int
    end: int
    digits: str
    sensitive: bool

    def __repr__(self) -> str:
        """Show the mask alone."""
        return f"Found({self.start}:{self.end} {masked(self.digits)})"


def find(data: bytes) -> list[Found]:
    """Return the card numbers in bytes of any form: FIN, JSON, or the text that a person typed.

    Data without thirteen digits in a row, spaces and line breaks apart, costs about a microsecond.
    Elsewhere only stretches that have them are looked at: a number, its gaps included, lies within one.
    """
    marked = data.translate(_TO_ZERO)
    start = marked.find(_LONG_ENOUGH)
    if start < 0 or _LONG_ENOUGH not in data.translate(_DIGITS_TO_ZERO, _BETWEEN):
        return []  # too short, or indented and no more
    found: list[Found] = []
    while start >= 0:
        end = marked.find(b"x", start)
        end = len(data) if end < 0 else end
        if len(data[start:end].translate(None, _NO_DIGITS)) >= DIGITS_MIN:
            found += _found_in(data, start, end)
        start = marked.find(_LONG_ENOUGH, end)
    return found


def _found_in(data: bytes, at: int, end: int) -> list[Found]:
    """Return the card numbers of a stretch that ends where no number goes on."""
    found = []
    while (candidate := _CANDIDATE.search(data, at, end)) is not None:
        card = _card(data, candidate)
        if card is None and candidate["grouped"] is not None:
            shorter = _SIXTEEN.match(data, candidate.start())  # what follows may be another number
            card = _card(data, shorter) if shorter is not None else None
        if card is not None:
            found.append(card)
        # A number that is none may hide the beginning of one that is.
        at = card.end if card is not None else candidate.start() + 1
    return found


def _card(data: bytes, candidate: re.Match[bytes]) -> Found | None:
    digits = candidate[0].translate(None, _NO_DIGITS)
    if not _is_card(digits) or _points(data, candidate, len(digits)) < ENOUGH:
        return None
    start, end = candidate.span()
    near = data[max(0, start - WORDS_BEFORE) : end + WORDS_AFTER].lower()
    sensitive = bool(_CODE.search(near) or _TRACK.match(data, start))
    return Found(start, end, digits.decode(), sensitive)


def luhn(digits: str) -> bool:
    """Tell whether the check digit of a number is right (ISO/IEC 7812-1, annex B)."""
    return _luhn(digits.encode())


def _luhn(digits: bytes) -> bool:
    return (
        sum(digits[-1::-2].translate(_PLAIN)) + sum(digits[-2::-2].translate(_DOUBLED))
    ) % 10 == 0


def masked(digits: str) -> str:
    """Return a card number as it may be shown: BIN and last four, of a short one the last four."""
    shown = BIN_DIGITS if len(digits) > BIN_DIGITS + LAST_DIGITS + 2 else 0
    hidden = len(digits) - shown - LAST_DIGITS
    return digits[:shown] + MASK * hidden + digits[len(digits) - LAST_DIGITS :]


def replaced(data: bytes, found: list[Found], words: list[str]) -> bytes:
    """Return data with the numbers found replaced, each by its word."""
    pieces, at = [], 0
    for one, word in zip(found, words, strict=True):
        pieces += [data[at : one.start], word.encode()]
        at = one.end
    return b"".join([*pieces, data[at:]])


def without_cards(data: bytes, found: list[Found]) -> bytes:
    """Return data with each number masked, and with what PCI DSS 3.3 forbids blotted out beside it."""
    clean = replaced(data, found, [masked(one.digits) for one in found])
    if any(one.sensitive for one in found):
        clean = re.sub(_CODE.pattern, _blotted, clean, flags=re.IGNORECASE)
        clean = re.sub(rb"(\*[0-9]{4})(?:=[0-9]+|\^[^^\r\n]*\^[0-9]*)", rb"\1", clean)
    return clean


def _blotted(code: re.Match[bytes]) -> bytes:
    return re.sub(rb"[0-9](?=[0-9]*\Z)", b"*", code[0])


def _is_card(digits: bytes) -> bool:
    return (
        DIGITS_MIN <= len(digits) <= DIGITS_MAX
        and _luhn(digits)
        and _SCHEMES.fullmatch(digits) is not None
        and len(set(digits)) > 1
    )


def _points(data: bytes, candidate: re.Match[bytes], length: int) -> int:
    start, end = candidate.span()
    before = data[max(0, start - WORDS_BEFORE) : start].lower()
    near = before + b" " + data[end : end + WORDS_AFTER].lower()
    worded = _CARD_WORDS.search(near) is not None or _TRACK.match(data, start) is not None
    if candidate["grouped"] is not None:
        points = 2
    else:
        points = 1 if candidate["run"] is not None and length in COUNTS_ALONE else 0
    if worded:
        points += 2
    slashed = candidate["grouped"] is None and data[max(0, start - 1) : start] == b"/"
    if slashed or _is_other(data, start, end, before):
        points -= 2
    return points


def _is_other(data: bytes, start: int, end: int, before: bytes) -> bool:
    """Tell whether a number stands where numbers of other kinds stand."""
    previous, following = data[max(0, start - 1) : start], data[end : end + 1]
    escaped = data[max(0, start - 2) : start] in _ESCAPES
    if (
        (previous.isalpha() and not escaped)
        or previous in (b"_", b"#", b"+")
        or following.isalpha()
    ):
        return True
    if _OTHER_WORDS.search(before[-OTHER_BEFORE:]) or _is_iban(data, start, end):
        return True
    if data[:16].lstrip(b" \r\n\t\x01$").startswith(b"{1:"):
        return _is_other_fin(data, start)
    return _is_other_json(data[max(0, start - KEY_BACK) : start], previous, following)


def _is_other_fin(data: bytes, start: int) -> bool:
    begin = data.rfind(b"\n:", max(0, start - FIELD_BACK), start)
    tag = _TAG.match(data, begin) if begin >= 0 else None
    return start < FIELD_BACK if tag is None else tag[1] in _OTHER_TAGS


def _is_other_json(head: bytes, previous: bytes, following: bytes) -> bool:
    key = _KEY.search(head)
    if key is None:
        return False
    if previous != b'"':  # a number: minor units, an instant
        return True
    return following == b'"' and _OTHER_KEYS.match(key[1].lower()) is not None


def _is_iban(data: bytes, start: int, end: int) -> bool:
    """Tell whether digits end an IBAN (ISO 13616) that began before them or goes on behind them."""
    head = re.search(
        rb"([A-Z]{2}[0-9]{2}[A-Z0-9 ]{0,24}|[A-Z]{2} ?)\Z", data[max(0, start - 28) : start]
    )
    if head is None:
        return False
    tail = re.match(rb"[A-Z0-9 ]{0,20}", data[end : end + 20])
    rest = tail[0] if tail else b""
    for cut in range(len(rest) + 1):
        text = (head[0] + data[start:end] + rest[:cut]).replace(b" ", b"")
        if 15 <= len(text) <= 34 and text.isalnum() and text[2:4].isdigit():
            moved = (text[4:] + text[:4]).decode()
            if int("".join(str(int(c, 36)) for c in moved)) % 97 == 1:
                return True
    return False
