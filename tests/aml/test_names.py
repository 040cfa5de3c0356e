"""Names are prepared the same way on both sides, and oddities are flagged."""

from hypothesis import given
from hypothesis import strategies as st

from usance.aml.names import MAX_TOKENS, number_of, prepare, readings, skeleton, text_words


def test_legal_forms_are_set_apart_as_classes() -> None:
    name = prepare("Consorcio Lunalo, S.A. de C.V.", "organisation")
    assert name.core == ("consorcio", "lunalo")
    assert name.forms == ("JSC",)


def test_a_slip_in_the_legal_form_is_not_part_of_the_name() -> None:
    for text in ("Gazprombank Jonit Stock Company", "Gazprombank Joint Stock Compnay"):
        assert prepare(text, "organisation").core == ("gazprombank",)


def test_cooperation_is_no_misspelt_corporation() -> None:
    assert "cooperation" in prepare("Islamic Cooperation Fund", "organisation").core


def test_a_persons_name_is_never_taken_for_a_legal_form() -> None:
    assert prepare("CO, Ag Sa", "person").core == ("co", "ag", "sa")


def test_a_name_of_legal_forms_alone_keeps_its_words() -> None:
    assert prepare("CORP", "organisation").core == ("corp",)


def test_latin_letters_posed_by_cyrillic_ones_are_folded_and_flagged() -> None:
    name = prepare("Eriс Bаdege")  # Cyrillic es and a
    assert name.core == ("eric", "badege")
    assert name.flags == ("lookalike_letters",)


def test_bidi_and_control_characters_are_removed_and_flagged() -> None:
    name = prepare("Er\u202eic\x00 Bad\u200bege")
    assert name.core == ("eric", "badege")
    assert set(name.flags) >= {"bidi_marks", "control_characters", "invisible_characters"}


def test_an_uncovered_script_is_named() -> None:
    assert prepare("ไทยแลนด์").unread == ("script thai is not covered",)


def test_the_arabic_article_is_a_word_of_its_own() -> None:
    assert prepare("الزهار").core[0] == "al"


def test_consonants_survive_romanisation() -> None:
    assert skeleton("usama") == skeleton("osama")
    assert skeleton("muhammad") == skeleton("mohamed") == skeleton("mhmd")
    assert skeleton("al") == ""


def test_roman_and_arabic_numbers_are_the_same_number() -> None:
    assert number_of("iii") == number_of("3") == number_of("003")
    assert number_of("xi") == ""  # a given name


def test_a_former_name_and_a_cut_address_are_readings_of_their_own() -> None:
    assert "BETA LTD" in readings("ALPHA LTD (EX-BETA LTD)")
    assert "ALPHA LTD" in readings("ALPHA LTD, 12 HIGH STREET")


def test_labels_titles_and_ship_prefixes_are_stripped() -> None:
    assert prepare("Beneficiary: Alpha Beta").core == ("alpha", "beta")
    assert prepare("M/V SAND SWAN V.214W", "vessel").core == ("sand", "swan")


def test_a_cut_text_says_so() -> None:
    assert "text beyond 512 characters" in prepare("x y " * 200).unread


def test_words_of_running_text_are_not_cut_at_the_length_of_a_name() -> None:
    text = "abcdefg " * 300
    assert set(text_words(text)[0]) == {"abcdefg"}


@given(st.text(max_size=700), st.sampled_from(["person", "organisation", "vessel", "unknown"]))
def test_preparing_never_raises_and_stays_bounded(text: str, kind: str) -> None:
    name = prepare(text, kind)
    assert len(name.words) <= MAX_TOKENS
    assert all(w.isascii() and w.isalnum() for w in name.words)
    assert name.words or name.unread


@given(st.text(max_size=200))
def test_a_reading_is_always_given(text: str) -> None:
    assert readings(text)[0] == text
