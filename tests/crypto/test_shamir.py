from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.crypto.secret import Secret
from usance.crypto.shamir import (
    Share,
    combine,
    commitment_of,
    divide,
    interpolated,
    multiply,
    read_share,
    split,
)
from usance.kernel.errors import Refused, Unreadable

SECRET = Secret(bytes(range(1, 33)))

# Made by pyshamir 1.1.0, a port of HashiCorp Vault's shamir package: index last, any 3 of 5.
VAULT_SHARES = [
    "d081db2cd86f2b2a5d383c3b56b3ae709b93cb6ea9a3984a3499e786437f18a319",
    "2ad19ac273bb7f473568263f264658d1b252b2b274153651030a898534e46c5999",
    "48230769a10ab5ea3387ddf88bb88a18209e5fa2547131b88165347b17d703e428",
    "f28ff36c2d6218ed29d45d55cdd48f10fe4fff4e5c349bb33d7b104efe849df83b",
    "2e7d41f28df9eb55330218945a9beff1d759c8fa4adcd6dae0947312501929f7e6",
]


def test_another_programs_shares_give_the_secret_in_any_three() -> None:
    points = [(raw[-1], raw[:-1]) for raw in map(bytes.fromhex, VAULT_SHARES)]
    for three in itertools.permutations(points, 3):
        assert interpolated(three) == SECRET.reveal()
    assert all(interpolated(two) != SECRET.reveal() for two in itertools.combinations(points, 2))


def test_the_field_is_that_of_aes() -> None:
    # FIPS 197 section 4.2: {57} x {83} = {c1}, {57} x {13} = {fe}.
    assert (multiply(0x57, 0x83), multiply(0x57, 0x13)) == (0xC1, 0xFE)
    for a in range(256):
        for b in range(1, 256):
            assert divide(multiply(a, b), b) == a
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)


@given(
    st.binary(min_size=1, max_size=64),
    st.integers(2, 6).flatmap(lambda k: st.tuples(st.just(k), st.integers(k, 8))),
    st.randoms(use_true_random=False),
)
def test_any_threshold_of_shares_gives_any_secret(
    plain: bytes, sizes: tuple[int, int], dice: object
) -> None:
    threshold, count = sizes
    secret = Secret(plain)
    shares = split(secret, threshold=threshold, shares=count)
    dice.shuffle(shares)  # type: ignore[attr-defined]
    assert combine(shares[:threshold]) == secret
    assert combine(shares) == secret
    assert [read_share(s.text()) for s in shares] == shares
    with pytest.raises(Refused) as few:
        combine(shares[: threshold - 1])
    assert few.value.code == "SHARES_TOO_FEW"


def test_two_shares_fit_every_secret() -> None:
    # Perfect secrecy: for each byte the secret could be, some third share completes the two to it.
    one, two, _ = split(Secret(b"\x2a"), threshold=3, shares=3)
    known = [(one.index, one.value), (two.index, two.value)]
    possible = {interpolated([*known, (3, bytes([third]))]) for third in range(256)}
    assert possible == {bytes([n]) for n in range(256)}


def test_polynomials_are_drawn_for_each_byte_apart() -> None:
    shares = split(Secret(b"\x07" * 32))
    assert all(len(set(s.value)) > 16 for s in shares)


def test_a_share_altered_in_any_bit_does_not_pass_for_one() -> None:
    shares = split(SECRET)
    for place, bit in itertools.product(range(32), range(8)):
        bad = bytearray(shares[1].value)
        bad[place] ^= 1 << bit
        wrong = replace(shares[1], value=bytes(bad))
        for given_ in ([shares[0], wrong, shares[2]], [*shares[2:], wrong]):
            with pytest.raises(Refused) as error:
                combine(given_)
            assert error.value.code == "SHARES_WRONG"


def test_shares_of_two_ceremonies_are_told_apart() -> None:
    ours, theirs = split(SECRET), split(Secret(b"\x01" * 32))
    again = split(SECRET)
    with pytest.raises(Refused) as error:
        combine([*ours[:2], theirs[2]])
    assert error.value.code == "SHARES_MIXED"
    with pytest.raises(Refused) as error:
        combine([*ours[:2], again[2]])  # the same secret, shared out twice
    assert error.value.code == "SHARES_WRONG"
    with pytest.raises(Refused) as error:
        combine([ours[0], ours[0], ours[0]])
    assert error.value.code == "SHARES_TOO_FEW"
    with pytest.raises(Refused):
        combine([])


def test_a_share_as_text_is_found_wrong_in_each_place() -> None:
    text = split(SECRET)[3].text()
    assert read_share(f"  {text.upper()}\n") == split_of(text)
    for place, character in enumerate(text):
        other = "0" if character != "0" else "1"
        with pytest.raises(Unreadable) as error:
            read_share(text[:place] + other + text[place + 1 :])
        assert text[60:80] not in str(error.value)
    for bad in ("", "hello", text[:-1], text + "0"):
        with pytest.raises(Unreadable):
            read_share(bad)


def split_of(text: str) -> Share:
    _, commitment, threshold, index, value, _ = text.split(".")
    return Share(int(index), bytes.fromhex(value), int(threshold), bytes.fromhex(commitment))


def test_a_share_shows_no_value_of_itself() -> None:
    share = split(SECRET)[0]
    assert share.value.hex() not in f"{share!r} {share} {[share]}"


def test_the_commitment_names_a_secret_for_ever() -> None:
    assert commitment_of(SECRET).hex() == "7c5c0cff0042e05a75c6e512310ac26b"
