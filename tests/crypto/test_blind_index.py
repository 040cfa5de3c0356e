from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.crypto.blind_index import JOINS, BlindIndex, Form, Joins, normalised
from usance.crypto.secret import Secret
from usance.kernel.errors import Refused, Tampered

KEY, OTHER = Secret(bytes(range(32))), Secret(bytes(range(1, 33)))
IBAN = "DE89 3704 0044 0532 0130 00"


def test_an_index_value_never_changes() -> None:
    # Rows of projections are found by these bytes: a change is a rebuild.
    index = BlindIndex("albion", KEY)
    assert index.of("party.iban", Form.CODE, IBAN).hex() == "ae91668123693eca3424af2d0159dc09"
    assert (
        index.of("party.name", Form.NAME, "Société Générale S.A.").hex()
        == "230a70b011b050f56132f3b42bc762cb"
    )


def test_one_value_in_many_spellings_is_found_as_one() -> None:
    index = BlindIndex("albion", KEY)
    for form, spellings in {
        Form.CODE: (
            IBAN,
            "de89370400440532013000",
            "DE89-3704-0044-0532-0130-00",
            "ＤＥ89370400440532013000",
        ),
        Form.NAME: ("Müller  GmbH", "MÜLLER GMBH", "Mu\u0308ller Gmbh.", " müller, gmbh "),
        Form.DIGITS: ("4012 8888 8888 1881", "4012888888881881", "4012-8888-8888-1881"),
        Form.MAIL: ("A.Person@Example.org", " a.person@example.org"),
    }.items():
        assert len({index.of("f", form, s) for s in spellings}) == 1, form


def test_values_fields_tenants_forms_and_keys_are_kept_apart() -> None:
    made = [
        BlindIndex("albion", KEY).of("party.iban", Form.CODE, IBAN),
        BlindIndex("albion", KEY).of("party.iban", Form.CODE, IBAN[:-1] + "1"),
        BlindIndex("albion", KEY).of("party.account", Form.CODE, IBAN),
        BlindIndex("borealis", KEY).of("party.iban", Form.CODE, IBAN),
        BlindIndex("albion", OTHER).of("party.iban", Form.CODE, IBAN),
        BlindIndex("albion", KEY).of("party.iban", Form.DIGITS, IBAN),
        # A moved boundary between tenant and field:
        BlindIndex("albionparty", KEY).of(".iban", Form.CODE, IBAN),
    ]
    assert len(set(made)) == len(made)
    assert {len(m) for m in made} == {16}


def test_an_index_cannot_be_recomputed_without_the_key() -> None:
    import hashlib

    value = normalised(Form.CODE, IBAN).encode()
    plain = {hashlib.new(n, value).digest()[:16] for n in ("sha256", "sha1", "md5", "sha512")}
    assert BlindIndex("albion", KEY).of("party.iban", Form.CODE, IBAN) not in plain


def test_nothing_left_of_a_value_is_refused_rather_than_found_everywhere() -> None:
    index = BlindIndex("albion", KEY)
    for form, empty in (
        (Form.NAME, " .,"),
        (Form.CODE, "--"),
        (Form.DIGITS, "abc"),
        (Form.MAIL, " "),
    ):
        with pytest.raises(Refused, match="nothing is left"):
            index.of("f", form, empty)


@given(st.text(min_size=1, max_size=40), st.sampled_from(Form))
def test_normalising_twice_is_normalising_once(text: str, form: Form) -> None:
    try:
        once = normalised(form, text)
    except Refused:
        return
    assert normalised(form, once) == once


def test_a_value_seen_before_costs_no_hash() -> None:
    index = BlindIndex("albion", KEY)
    index.of("party.iban", Form.CODE, IBAN)
    fresh = min(timeit.repeat(lambda: index._computed("party.iban", Form.CODE, IBAN), number=500))
    known = min(timeit.repeat(lambda: index.of("party.iban", Form.CODE, IBAN), number=500))
    assert known < fresh / 3
    index.forget()
    assert index._cached.cache_info().currsize == 0


@given(st.binary(min_size=1, max_size=100))
def test_a_joined_value_opens_and_is_the_same_block_each_time(value: bytes) -> None:
    joins = Joins("albion", KEY)
    block = joins.seal("party.lei", value)
    assert block == Joins("albion", KEY).seal("party.lei", value)
    assert joins.open("party.lei", block) == value
    assert value not in block or len(value) < 3


def test_a_join_block_of_another_place_does_not_open() -> None:
    declared = {"party.lei": "a", "party.id": "b"}
    joins = Joins("albion", KEY, declared)
    block = joins.seal("party.lei", b"529900T8BM49AURSDO55")
    for other, field in (
        (joins, "party.id"),
        (Joins("borealis", KEY, declared), "party.lei"),
        (Joins("albion", OTHER, declared), "party.lei"),
    ):
        with pytest.raises(Tampered):
            other.open(field, block)
        assert other.seal(field, b"529900T8BM49AURSDO55") != block
    for place in range(len(block)):
        with pytest.raises(Tampered):
            joins.open("party.lei", block[:place] + bytes([block[place] ^ 1]) + block[place + 1 :])
        with pytest.raises(Tampered):
            joins.open("party.lei", block[:place])


def test_a_field_is_joined_only_where_it_is_declared_with_a_reason() -> None:
    joins = Joins("albion", KEY)
    for use in (
        lambda: joins.seal("party.country", b"GB"),
        lambda: joins.open("party.country", b"x" * 20),
    ):
        with pytest.raises(Refused) as refusal:
            use()
        assert refusal.value.code == "JOIN_NOT_DECLARED"
    with pytest.raises(Refused):
        joins.seal("party.lei", b"")
    assert all(len(reason) > 20 for reason in JOINS.values())
    few = ("country", "currency", "sex", "gender", "role", "state", "flag")
    assert not [field for field in JOINS if any(word in field for word in few)]


def test_keys_show_in_no_repr() -> None:
    told = f"{BlindIndex('albion', KEY)!r} {Joins('albion', KEY)!r}"
    assert told == "BlindIndex(albion) Joins(albion)"
