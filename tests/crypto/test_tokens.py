from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from usance.crypto.cards import find, luhn
from usance.crypto.secret import Secret
from usance.crypto.tokens import DIGITS, CardTokens

KEY, OTHER = Secret(bytes(range(32))), Secret(bytes(range(1, 33)))
VISA = "4012888888881881"
numbers = st.text("0123456789", min_size=13, max_size=19)


def test_a_token_never_changes() -> None:
    # Tokens stand in the log: another one for the same card would be another card.
    assert CardTokens(KEY)(VISA) == "9996615908303881881"


@given(numbers)
def test_a_token_keeps_the_last_four_and_cannot_be_charged(number: str) -> None:
    token = CardTokens(KEY)(number)
    assert (len(token), token[:2], token[-4:]) == (DIGITS, "99", number[-4:])
    assert not luhn(token)
    assert find(f"visa card {token}".encode()) == []
    assert number[:-4] not in token


@given(numbers, numbers)
def test_two_numbers_or_two_keys_give_two_tokens(one: str, other: str) -> None:
    assert (CardTokens(KEY)(one) == CardTokens(KEY)(other)) == (one == other)
    assert CardTokens(KEY)(one) != CardTokens(OTHER)(one)


def test_a_token_is_no_hash_that_a_guess_can_test() -> None:
    token = CardTokens(KEY)(VISA)
    plain = [int(hashlib.new(n, VISA.encode()).hexdigest(), 16) for n in ("sha256", "sha1", "md5")]
    assert token[2:15] not in {f"{n % 10**13:013d}" for n in plain}
    assert repr(CardTokens(KEY)) == "CardTokens()"
