from __future__ import annotations

import pytest

from usance.crypto.card_policy import CardPolicy, Kept
from usance.kernel.errors import Refused

VISA, AMEX = "4012888888881881", "378282246310005"
TOKENS = {VISA: "9900000000001882", AMEX: "990000000000005"}


def tokenising() -> CardPolicy:
    return CardPolicy("tokenise", TOKENS.__getitem__)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (f'{{"type":"CloseCredit","words":{{"text":"card {VISA}"}}}}', "in field text"),
        (f"{{1:F01X}}{{4:\n:20:A\n:79:SEE\nCARD {VISA}\n-}}", "in field 79"),
        (f"hello {VISA}", "at byte 6"),
    ],
)
def test_a_refusal_names_the_place_and_never_the_number(data: str, where: str) -> None:
    with pytest.raises(Refused) as error:
        CardPolicy().passed(data.encode())
    assert (error.value.code, error.value.article) == ("CARD_NUMBER", "PCI-DSS-3.5.1")
    assert error.value.message.endswith(where)
    assert VISA[6:12] not in f"{error.value} {error.value.hint}"


def test_what_holds_no_number_goes_on_as_the_same_bytes() -> None:
    data = b'{"type":"CloseCredit"}'
    for policy in (CardPolicy(), CardPolicy("off"), tokenising()):
        assert policy.passed(data) is data
        assert policy.kept(data) == Kept(data)


def test_tokens_take_the_place_of_each_number_and_are_no_numbers_themselves() -> None:
    data = f"pay {VISA} or card {AMEX[:4]} {AMEX[4:10]} {AMEX[10:]}".encode()
    clean = tokenising().passed(data)
    assert clean == f"pay {TOKENS[VISA]} or card {TOKENS[AMEX]}".encode()
    assert CardPolicy().passed(clean) == clean
    assert tokenising().kept(data) == Kept(clean)


def test_a_gateway_keeps_what_it_refuses_masked() -> None:
    kept = CardPolicy().kept(f"card {VISA}".encode())
    assert kept == Kept(b"card 401288******1881", "a card number at byte 5")


def test_stripe_and_code_are_refused_even_where_numbers_become_tokens() -> None:
    for policy in (CardPolicy(), tokenising()):
        with pytest.raises(Refused) as error:
            policy.passed(f"card {VISA} cvv 123".encode())
        assert error.value.article == "PCI-DSS-3.3.1"
        kept = policy.kept(f"card {VISA} cvv 123".encode())
        assert kept.refusal
        assert b"123" not in kept.data


def test_forms_are_read_field_by_field_with_the_field_as_the_place() -> None:
    policy = CardPolicy()
    fields = {"reference": VISA, "terms.reference": VISA, "reason": "by mail"}
    assert policy.passed_fields(fields) == fields
    for bad in (
        {"reason": VISA},
        {"a.text": f"with {VISA} in it"},
        {"json": f'{{"text":"{VISA}"}}'},
    ):
        with pytest.raises(Refused) as error:
            policy.passed_fields(bad)
        assert VISA[6:12] not in error.value.message
        shown = policy.shown_fields(bad)
        assert list(shown) == list(bad)
        assert VISA not in str(shown)
        assert "401288******1881" in str(shown)
    assert tokenising().passed_fields({"reason": VISA}) == {"reason": TOKENS[VISA]}


def test_off_lets_pass_what_it_was_told_to() -> None:
    assert CardPolicy("off").passed(VISA.encode()) == VISA.encode()
    assert CardPolicy("off").kept(VISA.encode()) == Kept(VISA.encode())
