"""Card numbers among the many numbers of a bank's texts."""

from __future__ import annotations

import hashlib
import json
import timeit
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.crypto import cards
from usance.crypto.cards import find, luhn, masked, without_cards

# Numbers that schemes and acquirers publish for tests.
PUBLISHED = [
    "4111111111111111", "4012888888881881", "4242424242424242", "5555555555554444",
    "5105105105105100", "2223003122003222", "378282246310005", "371449635398431", "30569309025904",
    "38520000023237", "6011111111111117", "6011000990139424", "3530111333300000",
    "3566002020360505", "6212345678901265", "6759649826438453", "2200770239097761",
]  # fmt: skip
VISA = "4012888888881881"
BOOK = Path(__file__).parents[2] / "examples" / "book"


def grouped(digits: str, gap: str = " ") -> str:
    sizes = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[len(digits)]
    pieces, at = [], 0
    for size in sizes:
        pieces.append(digits[at : at + size])
        at += size
    return gap.join(pieces)


def digits_in(text: str) -> list[str]:
    return [one.digits for one in find(text.encode())]


@pytest.mark.parametrize("number", PUBLISHED)
def test_a_card_number_is_found_however_it_is_written(number: str) -> None:
    assert luhn(number)
    for text in (
        number,
        grouped(number),
        grouped(number, "-"),
        grouped(number, "."),
        grouped(number, "\u00a0"),
        f"please charge {number}, thank you",
        f"Visa card:{number}",
        f"card no. {number}",
        f'{{"reason": "{number}"}}',
        f'{{"words": {{"text": "we were sent {grouped(number)}\\nand more"}}}}',
        f'{{"text": "line\\n{number}\\nline"}}',
        f"{{1:F01BBBBSGSGAXXX0000000000}}{{4:\n:20:REF\n:79:CARD {number}\nMORE\n-}}",
        f"{{1:F01BBBBSGSGAXXX0000000000}}{{4:\n:20:REF\n:72:/REC/{grouped(number)}\n-}}",
    ):
        assert digits_in(text) == [number], text


def test_numbers_that_are_broken_over_lines_count_where_a_word_says_so() -> None:
    assert digits_in("card 40128888\r\n88881881") == [VISA]
    assert digits_in("card 4012 8888\n8888 1881") == [VISA]
    assert digits_in('{"text":"card 4012 8888\\n8888 1881"}') == [VISA]
    assert digits_in("40128888\r\n88881881") == []


def test_each_of_several_numbers_is_found_where_it_stands() -> None:
    text = b"1234 4111 1111 1111 1111 and 5555555555554444; 4012 8888 8888 1881 999"
    found = find(text)
    assert [f.digits for f in found] == ["4111111111111111", "5555555555554444", VISA]
    assert [text[f.start : f.end] for f in found] == [
        b"4111 1111 1111 1111", b"5555555555554444", b"4012 8888 8888 1881",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "4012888888881882",  # its check digit is wrong
        "9012888888881886",  # no scheme begins so
        "0000000000000000",
        "4444444444444448888",
        "LC4012888888881881",
        "our ref 4012888888881881",
        "OUR REF. NO. 4012888888881881",
        "UNDER L/C NO. 4012888888881881 OF 26 NOV",
        "invoice 4012888888881881",
        "invoice no: 4012888888881881",
        "account 4012888888881881",
        "A/C NO 4012888888881881",
        "tel +4012888888881881",
        "B/L 4012888888881881",
        "container #4012888888881881",
        "EAN 4006381333931 AND 4012345678901",
        "4006381333931",  # a European article number that is no Visa of 13 digits either
        "USD 4012888888881.88",
        "2026-11-28 2026-12-24 2027-01-31",
        "1795857031000",
        "3f1c3c0e-8a57-5d0a-9d51-405288888881",
        '{"reference":"4012888888881881"}',
        '{"credit":"4012888888881881","x":1}',
        '{"amount":4012888888881881}',
        '{"terms":{"amount": 4012888888881881 }}',
        '{"applicant_account": "4012888888881881"}',
        '{"drawing_id" : "4012888888881881"}',
        "{1:F01BBBBSGSGAXXX4012888888881881}{4:\n:20:X\n-}",
        "{1:F01BBBBSGSGAXXX0000000000}{4:\n:20:4012888888881881\n:79:X\n-}",
        "{1:F01BBBBSGSGAXXX0000000000}{4:\n:21:4012888888881881\n:79:X\n-}",
        "{1:F01BBBBSGSGAXXX0000000000}{4:\n:32B:USD4012888888881,\n-}",
        "{1:F01BBBBSGSGAXXX0000000000}{4:\n:59:/4012888888881881\nACME\n-}",
        "{1:F01BBBBSGSGAXXX0000000000}{4:\n:50:ACME\nA/C 4012888888881881\n-}",
    ],
)
def test_numbers_of_other_kinds_are_let_pass(text: str) -> None:
    assert digits_in(text) == []


def test_a_word_for_cards_outweighs_a_place_of_other_numbers() -> None:
    assert digits_in(f'{{"reference":"visa card {VISA}"}}') == [VISA]
    assert digits_in(f"account of card {VISA}") == [VISA]
    assert digits_in(f"documentary credit {VISA}") == [VISA]
    assert digits_in(f"credit no {VISA}") == []
    assert digits_in(f"discarded boards: ref {VISA}") == []  # `card` inside a word is none


# Examples of the IBAN registry; and more with a body that looks like a card's.
IBANS = [
    "DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606",
    "NO9386011117947", "BE68539007547034", "CH9300762011623852957", "ES9121000418450200051332",
    "PL61109010140000071219812874", "SA0380000000608010167519", "AE070331234567890123456",
    "LT121000011101001000", "HR1210010051863000160", "MT84MALT011000012345MTLCAST001S",
]  # fmt: skip


def with_check(country: str, body: str) -> str:
    number = int("".join(str(int(c, 36)) for c in f"{body}{country}00"))
    return f"{country}{98 - number % 97:02d}{body}"


def test_an_iban_is_no_card_even_where_its_digits_are() -> None:
    seen_as_card = 0
    for iban in [
        *IBANS,
        with_check("BE", VISA[4:]),
        with_check("XK", VISA),
        with_check("AT", VISA),
    ]:
        spaced = " ".join(iban[n : n + 4] for n in range(0, len(iban), 4))
        for text in (iban, f"pay to {iban} today", spaced, f"pay to {spaced} today"):
            assert digits_in(text) == [], text
        seen_as_card += any(digits_in(iban[n:]) for n in range(4, len(iban)))
    assert seen_as_card >= 2  # so that the rule is what kept them


@given(st.sampled_from(["4", "51", "37", "6011", "2221", "35"]), st.integers(0, 10**15 - 1))
def test_no_reference_account_or_amount_is_a_card_by_its_digits_alone(head: str, rest: int) -> None:
    body = (head + str(rest).zfill(15))[: 14 if head == "37" else 15]
    number = next(body + str(n) for n in range(10) if luhn(body + str(n)))
    document = {
        "type": "ApplyForCredit", "credit": number, "reference": number, "amount": int(number),
        "terms": {"amount": int(number), "currency": "USD"}, "id": number,
    }  # fmt: skip
    assert find(json.dumps(document).encode()) == []
    assert find(json.dumps(document, indent=4).encode()) == []
    fin = f"{{1:F01BBBBSGSGAXXX0000000000}}{{4:\n:27:1/1\n:20:{number}\n:32B:USD{number},\n:59:/{number}\nX\n-}}"
    assert find(fin.encode()) == []


@given(st.text(max_size=200))
def test_no_text_fails_to_be_read_and_what_is_cleaned_is_clean(text: str) -> None:
    data = text.encode("utf-8", "replace")
    clean = without_cards(data, find(data))
    assert find(clean) == []


def test_nothing_in_the_sample_book_is_a_card() -> None:
    files = [f for f in BOOK.rglob("*") if f.is_file()]
    assert len(files) > 50
    assert [f.name for f in files if find(f.read_bytes())] == []


def test_a_mask_shows_at_most_bin_and_last_four() -> None:
    assert masked(VISA) == "401288******1881"
    assert masked("378282246310005") == "378282*****0005"
    assert all(n.isdigit() and len(masked(n)) == len(n) for n in PUBLISHED)
    assert max(sum(c.isdigit() for c in masked(n)) for n in PUBLISHED) == 10
    clean = without_cards(b"a 4012-8888-8888-1881 b", find(b"a 4012-8888-8888-1881 b"))
    assert clean == b"a 401288******1881 b"


@pytest.mark.parametrize(
    "text",
    [
        f";{VISA}=26121011000012300000?",
        f"%B{VISA}^HOLDER/A^2612101100001230000?",
        f"{VISA} cvv 123",
        f"card {VISA}, CVC2: 1234",
        f"cvv 123 for {VISA}",
    ],
)
def test_track_data_and_codes_beside_a_number_are_marked_and_blotted_out(text: str) -> None:
    [found] = find(text.encode())
    assert found.sensitive
    clean = without_cards(text.encode(), [found]).decode()
    for secret in (VISA, "123", "1234", "26121011", "2612101100001230000"):
        assert secret not in clean, clean


def test_a_number_found_shows_itself_masked_alone() -> None:
    assert VISA not in repr(find(VISA.encode()))
    assert VISA[6:12] not in f"{find(VISA.encode())[0]!r}"


def _seconds(data: bytes, times: int) -> float:
    return min(timeit.repeat(lambda: find(data), number=times, repeat=7)) / times


def test_looking_costs_a_command_less_than_hashing_it_thrice() -> None:
    body = json.dumps(
        {
            "type": "ApplyForCredit", "credit": "TF26LC000123", "applicant": "ACME TRADING LTD",
            "terms": {"amount": 125_000_000, "currency": "USD", "expiry_date": "2026-12-31"},
            "goods": "10,000 PCS WIDGETS AS PER PROFORMA 2026-1123 DATED 2026-11-01 CIF LONDON",
            "beneficiary": "NINGBO EXPORT CO, 200 ZHONGSHAN RD, NINGBO 315000",
        }
    ).encode()  # fmt: skip
    looking = _seconds(body, 2_000)
    hashing = (
        min(timeit.repeat(lambda: hashlib.sha256(body).digest(), number=2_000, repeat=7)) / 2_000
    )
    assert looking < 3 * hashing


@pytest.mark.parametrize(
    "data",
    [
        b"4111 " * 100_000,
        b"4111111111111112 " * 30_000,
        b"1" * 500_000,
        b" " * 500_000,
        b"12\n" * 150_000,
        b"{1:" + b"4012888888881881 " * 20_000,
        b'"a":' * 50_000 + b"4012888888881881" * 3_000,
        b"AB12 " * 80_000 + b"4012888888881881",
    ],
    ids=["groups", "almost", "digits", "blanks", "broken", "fin", "members", "ibans"],
)
def test_hostile_bytes_cost_no_more_than_their_length(data: bytes) -> None:
    half = timeit.timeit(lambda: find(data[: len(data) // 2]), number=1)
    whole = timeit.timeit(lambda: find(data), number=1)
    assert whole < max(8 * half, 1.5)
    assert whole < 15


# -- only stretches with digits enough are looked at: the same is found as when everything is


def found_everywhere(data: bytes) -> list[cards.Found]:
    """Return what a search over the whole of the data finds."""
    return cards._found_in(data, 0, len(data))


PIECES = st.sampled_from(
    [b"0", b"1", b"4", b"88", b"999", b"00000", b" ", b"-", b".", b"\t", b"\n", b"\r\n", b"\\n", b"\\r"]
    + [b"\xc2\xa0", b"\xc2", b"a", b"f", b"n", b"r", b"x", b'"', b":", b"{1:", b"\n:20:", b"\n:79:", b"="]
    + [b"card ", b"ref ", b"cvv 123", b"4012 8888 8888 1881", b"40128888", b"88881881", b"2512"]
    + [b"DE89 3704 0044 0532 0130 00", b"e3b0c44298fc1c149afbf4c8996fb924", b'{"amount":', b'"text": "']
    + [number.encode() for number in PUBLISHED]
    + [grouped(number).encode() for number in PUBLISHED if len(number) in (14, 15, 16)]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=3), max_size=25).map(b"".join))
@settings(max_examples=600)
def test_no_number_is_missed_outside_the_stretches_that_are_looked_at(data: bytes) -> None:
    assert find(data) == found_everywhere(data)


@pytest.mark.parametrize("name", sorted(p.name for p in BOOK.rglob("*") if p.is_file()))
def test_the_books_files_hold_what_a_search_over_all_of_them_finds(name: str) -> None:
    path = next(BOOK.rglob(name))
    data = path.read_bytes()
    assert find(data) == found_everywhere(data)
