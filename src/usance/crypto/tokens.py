"""Tokens for card numbers: the same number always gives the same one, and none leads back to a number.

A token has nineteen digits: 99 (which no card scheme uses), thirteen of HMAC-SHA256 under a key of the log, and
the last four of the card, which people know it by. It fails Luhn's check on purpose, so that nobody can
charge it and no detector takes it for a card. The card number itself is kept nowhere: what a
documentary credit needs of it is to be told apart. With the log's key destroyed, tokens tell nothing at all.

Sources: PCI DSS 4.0.1 3.2.1 (keep no more than needed), 3.5.1.1 (keyed hashes of the whole number). Format-
preserving encryption is not used: FF3 was withdrawn, FF1 leaks on small domains, and both lead back.
"""

from __future__ import annotations

import hmac

from usance.crypto.cards import LAST_DIGITS, luhn
from usance.crypto.secret import KEY_BYTES, Secret

PREFIX = "99"
HASHED_DIGITS = 13
DIGITS = len(PREFIX) + HASHED_DIGITS + LAST_DIGITS
KEY_LABEL = "card-tokens"
"""Label under which the log's secret gives the key."""
_LABEL = b"usance/token/v1"


class CardTokens:
    """Gives tokens under one key; call it with the digits of a card number."""

    def __init__(self, key: Secret) -> None:
        assert len(key) == KEY_BYTES
        self._key = key

    def __call__(self, digits: str) -> str:
        """Return the token of a card number."""
        assert digits.isdecimal() and len(digits) > LAST_DIGITS
        digest = hmac.digest(self._key.reveal(), _LABEL + digits.encode(), "sha256")
        hashed = int.from_bytes(digest, "big") % 10**HASHED_DIGITS
        token = _written(hashed, digits)
        return token if not luhn(token) else _written((hashed + 1) % 10**HASHED_DIGITS, digits)

    def __repr__(self) -> str:
        """Show no key."""
        return "CardTokens()"


def _written(hashed: int, digits: str) -> str:
    return f"{PREFIX}{hashed:0{HASHED_DIGITS}d}{digits[-LAST_DIGITS:]}"
