"""What becomes of card numbers at the inlets: refused, replaced by tokens, or let pass.

`passed` is for inlets where somebody waits for an answer (API, forms, command line): nothing is kept of
what is refused. `kept` is for gateways, which must keep what they took in: a refused input is
kept masked, and its dead letter says so. Track data and verification codes are refused under
either action: PCI DSS 4.0.1 3.3 forbids keeping them in any form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from usance.crypto.cards import Found, find, replaced, without_cards
from usance.kernel.errors import Refused

Action = Literal["refuse", "tokenise", "off"]
Tokens = Callable[[str], str]
"""Returns the token of a card number, always the same one."""

CODE = "CARD_NUMBER"
ARTICLE = "PCI-DSS-3.5.1"
ARTICLE_SENSITIVE = "PCI-DSS-3.3.1"
HINT = "Leave it out, or write its first six and last four digits with asterisks between."
PLACE_BACK = 2_000

_PLACE = re.compile(rb'\n:([0-9]{2}[A-Z]?):|"([A-Za-z_]{1,40})"\s*:')


class Kept(NamedTuple):
    """An input as a gateway may keep it; `refusal` is empty unless it must not be acted upon."""

    data: bytes
    refusal: str = ""


class CardPolicy:
    """An action on card numbers; `tokens` where they are replaced."""

    def __init__(self, action: Action = "refuse", tokens: Tokens | None = None) -> None:
        assert (action == "tokenise") == (tokens is not None)
        self.action = action
        self._tokens = tokens

    def passed(self, data: bytes) -> bytes:
        """Return data as it may go on; raises Refused naming the place, never the number."""
        found = find(data) if self.action != "off" else []
        if not found:
            return data
        self._demand(data, found)
        return self._tokenised(data, found)

    def passed_fields(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the fields of a form as they may go on; raises Refused."""
        return {name: self._field(name, text) for name, text in fields.items()}

    def shown_fields(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the fields of a form as they may be shown again: numbers masked."""
        return {name: _shown(name, text) for name, text in fields.items()}

    def kept(self, data: bytes) -> Kept:
        """Return an input as it may be kept, and why it must not be acted upon, if so."""
        found = find(data) if self.action != "off" else []
        if not found:
            return Kept(data)
        try:
            self._demand(data, found)
        except Refused as refusal:
            return Kept(without_cards(data, found), refusal.message)
        return Kept(self._tokenised(data, found))

    def _demand(self, data: bytes, found: list[Found]) -> None:
        sensitive = next((one for one in found if one.sensitive), None)
        if sensitive is not None:
            raise Refused(
                CODE,
                f"card data of the magnetic stripe or a verification code {place(data, sensitive)}",
                article=ARTICLE_SENSITIVE,
                hint="These are kept nowhere. Leave them out.",
            )
        if self._tokens is None:
            raise Refused(
                CODE,
                f"a card number {place(data, found[0])}",
                article=ARTICLE,
                hint=HINT,
            )

    def _tokenised(self, data: bytes, found: list[Found]) -> bytes:
        assert self._tokens is not None
        return replaced(data, found, [self._tokens(one.digits) for one in found])

    def _field(self, name: str, text: str) -> str:
        head, data = _member(name, text)
        return self.passed(data)[head:-1].decode()


def place(data: bytes, one: Found) -> str:
    """Return where a number stands, in words: the field of a FIN message or document, or the byte."""
    begin = max(0, one.start - PLACE_BACK)
    names = list(_PLACE.finditer(data, begin, one.start))
    if not names:
        return f"at byte {one.start}"
    return f"in field {(names[-1][1] or names[-1][2]).decode()}"


def _member(name: str, text: str) -> tuple[int, bytes]:
    """Return a field as a member of a document, whose name counts, and where its text begins there."""
    head = f'"{name.rpartition(".")[2]}": "'.encode()
    return len(head), head + text.encode() + b'"'


def _shown(name: str, text: str) -> str:
    head, data = _member(name, text)
    return without_cards(data, find(data))[head:-1].decode()
