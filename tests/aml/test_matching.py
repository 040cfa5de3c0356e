"""What is found, what is not, and what is left to a person."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.aml.list_formats import read_csv
from usance.aml.qualify import valid_imo
from usance.aml.screening import Result, Screener, open_screener, self_test
from usance.aml.spelling import token_similarity


@pytest.mark.slow
def test_every_primary_name_and_strong_alias_finds_its_entry(screener: Screener) -> None:
    assert list(self_test(screener)) == []


def test_a_sample_of_names_finds_their_entries(screener: Screener) -> None:
    assert list(self_test(screener, step=23)) == []


def best(screener: Screener, name: str, kind: str = "unknown", **known: str) -> Result:
    return screener.screen(name, kind, **known)


@pytest.mark.parametrize(
    ("name", "matched"),
    [
        ("Erik Badege", "BADEGE"),
        ("BADEGE, Eric", "BADEGE"),
        ("Osama bin Laden", "LADEN"),
        ("Abd al-Rahman al-Zahrani Ayman al Zawahiri", ""),
        ("ISLAMIC REPUBLIC OF IRAN SHIPING LINES", "SHIPPING LINES"),
        ("Banco National de Cuba", "BANCO NACIONAL DE CUBA"),
    ],
)
def test_spelling_order_and_slips_do_not_hide_a_listed_name(
    screener: Screener, name: str, matched: str
) -> None:
    result = best(screener, name)
    if matched:
        assert result.band == "hit"
        assert matched in result.explanation.matched.upper()
    else:
        assert result.band != "hit"


@pytest.mark.parametrize(
    ("name", "surname"),
    [
        ("Усама бин Ладен", "LADEN"),
        ("حسن نصر الله", "NASRALLAH"),
        ("أسامة بن لادن", "LADIN"),
        ("김정은", "KIM"),
        ("Ким Чен Ын", "KIM"),
        ("Муаммар Каддафи", "QADDAFI"),
        ("Рособоронэкспорт", "ROSOBORONEKSPORT"),
        ("ხუსეინ ნასრალა", ""),
    ],
)
def test_other_scripts_meet_the_latin_name_or_are_not_hidden(
    screener: Screener, name: str, surname: str
) -> None:
    result = best(screener, name)
    if surname:
        assert result.band in ("hit", "review")
        assert surname in result.explanation.primary.upper() + result.explanation.matched.upper()


@pytest.mark.parametrize(
    "name",
    [
        "CORP", "TRADING", "SHIPPING CO", "GENERAL TRADING COMPANY LTD", "INTERNATIONAL GROUP",
        "BANK", "J. S.", "A B C", "M. A.", "THE COMPANY", "AL", "Mohammed",
    ],
)  # fmt: skip
def test_words_that_say_nothing_are_never_a_hit_nor_clear(screener: Screener, name: str) -> None:
    result = best(screener, name)
    assert result.band == "review"
    assert result.explanation.not_evaluated or result.explanation.qualifiers


@pytest.mark.parametrize("name", ["", " ", "\0", "\u202e", "A", "…", "ไทย", "नमस्ते कंपनी"])
def test_what_cannot_be_read_is_for_a_person(screener: Screener, name: str) -> None:
    result = best(screener, name)
    assert result.band == "review"
    assert result.explanation.not_evaluated


NUMBERED = b"uid,name\n1,Zorgblat Quixun Leasing 3\n2,Number 8 Shipping Of Quixun\n"


@pytest.mark.parametrize(
    "name", ["Zorgblat Quixun Leasing 6", "Number 6 Shipping of Quixun", "Zorgblat Quixun Leasing"]
)
def test_other_numbers_are_other_companies(name: str) -> None:
    own = open_screener([read_csv(NUMBERED, list_id="own", version="2026-01-01")])
    assert own.screen("Zorgblat Quixun Leasing 3", "organisation").band == "hit"
    assert own.screen(name, "organisation").band != "hit"


def test_a_roman_number_counts_as_a_number() -> None:
    text = b"uid,name\n1,Zorgblat Quixun Leasing III\n"
    own = open_screener([read_csv(text, list_id="own", version="2026-01-01")])
    assert own.screen("Zorgblat Quixun Leasing 3").band == "hit"
    assert own.screen("Zorgblat Quixun Leasing IX").band != "hit"
    assert own.screen("Zorgblat Quixun Leasing").band != "hit"


def test_another_legal_form_of_the_same_stem_is_for_review(screener: Screener) -> None:
    result = best(screener, "Gazprom Neft LLC", "organisation")
    assert result.band == "review"
    assert "legal_form_cap" in [q.kind for q in result.explanation.qualifiers]


def test_a_weak_alias_alone_never_holds(screener: Screener) -> None:
    result = best(screener, "AIGLE BLANC PETIT TCHAPORI")
    assert result.band != "hit"
    weak = best(screener, "TCHAPORI, Petit", "person")
    assert weak.explanation.similarity == 10_000
    assert weak.band == "review"


def test_a_short_name_is_review_when_exact_or_one_edit_off_else_clear(screener: Screener) -> None:
    for name in ("HAMAS", "HAMAZ"):
        assert best(screener, name).band == "review"
    assert best(screener, "HERMANNSON").band == "clear"


def test_a_ship_by_name_alone_is_review_and_by_imo_number_a_hit(screener: Screener) -> None:
    assert best(screener, "SAND SWAN", "vessel").band == "review"
    hit = best(screener, "IMO 9187629", "vessel")
    assert (hit.band, hit.explanation.method) == ("hit", "identifier")


def test_a_bank_is_known_by_its_bic_and_branch(screener: Screener) -> None:
    for code in ("HAVIGB2L", "havigb2lxxx"):
        assert best(screener, code).band == "hit"


def test_a_bare_number_in_an_address_is_no_certain_identifier(screener: Screener) -> None:
    result = best(screener, "PO BOX 1084010 CAIRO")  # equals a listed passport
    assert result.band != "hit"


def test_birth_and_country_lower_a_score_but_never_clear_alone(screener: Screener) -> None:
    plain = best(screener, "Eric Badege", "person")
    agrees = best(screener, "Eric Badege", "person", birth_date="1971-05-05", country="Rwanda")
    differs = best(screener, "Eric Badege", "person", birth_date="1999-01-01", country="NO")
    assert plain.score == agrees.score == 10_000
    assert (differs.band, differs.score) == ("review", 8_000)


def test_a_ship_is_not_a_person(screener: Screener) -> None:
    assert best(screener, "Sand Swan", "person").band == "clear"


def test_the_explanation_adds_up(screener: Screener) -> None:
    why = best(screener, "Erik Badege", "person").explanation
    assert {(p.given, p.listed) for p in why.pairs} == {("erik", "eric"), ("badege", "badege")}
    weight = sum(p.weight for p in why.pairs)
    assert why.given_coverage == sum(p.weight * p.similarity for p in why.pairs) // weight


@pytest.mark.parametrize(
    ("given", "listed", "least", "most"),
    [
        ("laden", "laden", 10_000, 10_000),
        ("erik", "eric", 8_000, 9_000),
        ("3", "6", 0, 0),
        ("ab", "cd", 0, 0),
        ("putin", "trump", 0, 0),
        ("marina", "moreno", 0, 8_000),
    ],
)
def test_tokens_are_as_alike_as_they_look(given: str, listed: str, least: int, most: int) -> None:
    assert least <= token_similarity(given, listed) <= most


@given(st.text("abcdefgh", min_size=1, max_size=12), st.text("abcdefgh", min_size=1, max_size=12))
def test_token_similarity_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert token_similarity(a, b) == token_similarity(b, a)
    assert 0 <= token_similarity(a, b) <= 10_000
    assert token_similarity(a, a) == 10_000


@pytest.mark.parametrize(
    ("number", "good"), [("9074729", True), ("9074728", False), ("９０７４７２９", False)]
)
def test_imo_numbers_carry_a_check_digit(number: str, good: bool) -> None:
    assert valid_imo(number) is good


@settings(max_examples=150, deadline=None)
@given(
    name=st.text(max_size=80) | st.text("ABCDEFGHIKLMNOPRSTUVYZ -.,'()&0123456789", max_size=80),
    kind=st.sampled_from(["person", "organisation", "vessel", "unknown"]),
    birth=st.text(max_size=10),
    country=st.text(max_size=10),
)
def test_screening_never_raises_and_band_follows_score(
    screener: Screener, name: str, kind: str, birth: str, country: str
) -> None:
    result = screener.screen(name, kind, birth, country)
    assert 0 <= result.score <= 10_000
    if result.score >= 9_000:
        assert result.band == "hit"
    elif result.score >= 8_000 or result.explanation.not_evaluated:
        assert result.band == "review"
    else:
        assert result.band == "clear"
    assert (result.entry is None) is (result.list_version is None)


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def one_slip(text: str, dice: random.Random) -> str:
    """Return text with a letter replaced, left out, doubled, or swapped with the next."""
    at = dice.choice([n for n, c in enumerate(text) if c.isalpha()])
    return [
        text[:at] + dice.choice(ALPHABET) + text[at + 1 :],
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
        text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
    ][dice.randrange(4)]


def recall(screener: Screener, count: int, seed: int) -> float:
    """Return the share of misspelt primary names of persons and organisations that are not clear."""
    dice = random.Random(seed)
    listed = [e for e in screener.index.entries if e.kind in ("person", "organisation")]
    found = 0
    for entry in dice.sample(listed, count):
        found += screener.screen(one_slip(entry.names[0].name, dice), entry.kind).band != "clear"
    return found / count


def test_misspelt_names_are_found(screener: Screener) -> None:
    assert recall(screener, 600, seed=7) >= 0.98


@pytest.mark.slow
def test_misspelt_names_are_found_in_number(screener: Screener) -> None:
    assert recall(screener, 4_000, seed=11) >= 0.98


GIVEN = (
    "James Mary Robert Patricia Jennifer Michael Linda William Elizabeth Barbara Richard Susan Jessica"
    " Thomas Sarah Karen Lisa Nancy Matthew Anthony Margaret Sandra Ashley Steven Emily Andrew Donna"
    " Joshua Michelle Kevin Amanda Brian Melissa Stephanie Rebecca Laura Hans Ingrid Lars Astrid Pierre"
    " Luca Giulia Marco Sofia Hiroshi Yuki Raj Priya Kofi Chidi Piotr Agnieszka Sven Elsa"
).split()
FAMILY = (
    "Smith Johnson Williams Brown Jones Garcia Miller Davis Wilson Anderson Taylor Moore Jackson Martin"
    " Thompson White Harris Clark Lewis Robinson Walker Allen Wright Scott Nguyen Hill Green Adams"
    " Nelson Baker Hall Campbell Mitchell Roberts Phillips Evans Turner Parker Edwards Collins Stewart"
    " Morris Murphy Cook Rogers Cooper Peterson Bailey Reed Muller Schmidt Fischer Rossi Bianchi Dubois"
    " Jansen Nilsson Kowalski Tanaka Suzuki Sharma Mensah Okafor Hoffmann Lindberg Fitzgerald"
).split()
STEMS = (
    "Nordwind Alpenrose Kestrel Brightwater Saltmarsh Oakhurst Fernhill Lakeshore Silverline Bluepeak"
    " Ironbridge Marigold Tamarind Cobalt Juniper Heron Granite Harrow Vantage Arbor Redwood Northgate"
    " Eastfield Westbrook Highland Pinnacle Evergreen"
).split()
TRADES = "Trading Textiles Logistics Foods Steel Timber Chemicals Packaging Shipping Coffee Seafood".split()
FORMS = ["Ltd", "GmbH", "S.A.", "Pte Ltd", "LLC", "B.V.", "AG", "Inc", "Co., Ltd.", "SpA"]


def test_clean_names_stay_clear(screener: Screener) -> None:
    dice = random.Random(5)
    people = [f"{dice.choice(GIVEN)} {dice.choice(FAMILY)}" for _ in range(1_500)]
    firms = [
        f"{dice.choice(STEMS)} {dice.choice(TRADES)} {dice.choice(FORMS)}" for _ in range(1_000)
    ]
    bands = [screener.screen(p, "person").band for p in people]
    bands += [screener.screen(f, "organisation").band for f in firms]
    assert bands.count("hit") <= len(bands) * 2 // 1000
    assert bands.count("review") <= len(bands) // 100


@pytest.mark.parametrize(
    ("name", "kind", "primary"),
    [
        ("Alexander Lukashenko", "person", "LUKASHEN"),
        ("Александр Лукашенко", "person", "LUKASHEN"),
        ("Viktor Bout", "person", "BOUT"),
        ("Nicolas Maduro", "person", "MADURO MOROS"),
        ("MELLI BANK PLC LONDON", "organisation", "MELLI BANK"),
        ("HUAWEI TECHNOLOGIES (THAILAND) CO.", "organisation", "HUAWEI"),
        ("E. Badege", "person", "BADEGE"),
        ("Hezbollah", "organisation", "HIZBALLAH"),
        ("usamabinladin", "person", "LADIN"),
        ("ERICBADEGE", "unknown", "BADEGE"),
        ("U s a m a  b i n  L a d i n", "unknown", "LADIN"),
        ("A. Al-Senussi", "person", "SENUSSI"),
        ("GAZPROMBANK LDT", "organisation", "GAZPROMBANK"),
        ("Ocean Maritime Management Company Limited Hamburg", "organisation", "OCEAN"),
    ],
)
def test_a_name_cut_short_run_together_or_with_more_around_it_is_for_review(
    screener: Screener, name: str, kind: str, primary: str
) -> None:
    result = best(screener, name, kind)
    assert result.band == "review"
    assert primary in result.explanation.primary.upper()


def test_a_fact_against_a_name_that_only_stands_in_another_clears_it(screener: Screener) -> None:
    assert best(screener, "Alexander Lukashenko", "person").band == "review"
    differs = best(screener, "Alexander Lukashenko", "person", birth_date="1990-01-01")
    assert differs.band == "clear"
    assert "birth_conflict" in [q.kind for q in differs.explanation.qualifiers]


@pytest.mark.parametrize(
    "name",
    ["Société Générale", "Bank of China", "Korea Development Bank", "Export-Import Bank of Korea"],
)
def test_a_great_bank_that_shares_words_with_a_listed_one_is_clear(
    screener: Screener, name: str
) -> None:
    assert best(screener, name, "organisation").band == "clear"


@pytest.mark.parametrize("name", ["AB", "Li", "12345678", "7 7", "😀😀", "BP plc"])
def test_signs_and_two_letters_are_no_name_to_clear_on(screener: Screener, name: str) -> None:
    result = best(screener, name)
    assert result.band == "review"
    assert result.explanation.not_evaluated


def test_a_ship_with_another_good_imo_number_is_clear_with_a_reason_and_with_a_bad_one_for_review(
    screener: Screener,
) -> None:
    other = best(screener, "ARTAVIL IMO 9074729", "vessel")
    assert (other.band, other.explanation.primary) == ("clear", "ARTAVIL")
    assert "imo_conflict" in [q.kind for q in other.explanation.qualifiers]
    assert best(screener, "ARTAVIL (IMO NO. 9187620)", "vessel").band == "review"
    for text in ("IMO9187629", "M/T ARTAVIL IMO9187629", "ARTAVIL, IMO: 9187629"):
        assert best(screener, text, "vessel").band == "hit"


def test_a_birth_date_that_cannot_be_read_agrees_with_nothing(screener: Screener) -> None:
    for birth in ("05.05.1971", "unknown"):
        result = best(screener, "Eric Badege", "person", birth_date=birth)
        assert result.band == "hit"
        assert [q.kind for q in result.explanation.qualifiers] == ["birth_not_read"]


def test_digits_that_pose_as_letters_are_read_as_letters_and_flagged(screener: Screener) -> None:
    result = best(screener, "Viktor Anatolijevitch B0UT", "person")
    assert (result.band, result.explanation.flags) == ("hit", ("lookalike_digits",))
    assert best(screener, "Er1c Badege", "person").band == "hit"


@pytest.mark.parametrize("name", ["M50", "LOT 10", "G5", "PROJECT1", "Area 51", "A100B"])
def test_numbers_in_names_stay_numbers(screener: Screener, name: str) -> None:
    assert "lookalike_digits" not in best(screener, name).explanation.flags


def test_another_syllable_is_another_person_for_review_and_no_hit(screener: Screener) -> None:
    assert best(screener, "PAK, Mun Il", "person").band == "hit"
    assert best(screener, "PAK, Jun Il", "person").band != "hit"
