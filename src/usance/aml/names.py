"""Names as they are compared: Latin tokens, legal forms set apart, and what was odd in the input.

The same function prepares listed names and screened strings, so a listed name always meets itself.
Input is attacker-controlled: it is bounded, every pattern is linear, and what is removed is flagged.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from anyascii import anyascii
from rapidfuzz import process
from rapidfuzz.distance import OSA

MAX_CHARACTERS = 512
MAX_TOKENS = 200
DATA = Path(__file__).resolve().parent.parent / "data"

EVALUATED_SCRIPTS = frozenset(
    ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "CJK", "HANGUL", "GEORGIAN", "ARMENIAN")
)
"""Scripts whose romanisation is good enough to clear on; any other script is for a person to read."""

ABJADS = frozenset(("ARABIC", "HEBREW"))

_TABLES = [(DATA / "reference" / f).read_bytes() for f in ("words.json", "legal_forms.json.gz")]
_WORDS: dict[str, list[str]] = json.loads(_TABLES[0])

NORMALISER_VERSION = f"names/3.{hashlib.sha256(b''.join(_TABLES)).hexdigest()[:8]}"
"""Changes whenever the same string could give other tokens; part of every snapshot id."""

STOP_TOKENS = frozenset(_WORDS["particles"])
"""Particles that many names share: they count a tenth."""

GENERIC_TOKENS = frozenset(_WORDS["trade"])
"""Trade words that say nothing of who it is: they count a third, and never carry a hit alone."""

_LOOKALIKES = dict(
    zip(
        "АВЕЅІЈКМНОРСТУХабеѕіјкмнорстухΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανκ",
        "ABESIJKMHOPCTYXabesijkmhopctyxABEZHIKMNOPTYXoavk",
        strict=True,
    )
)
_BIDI = frozenset(map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DOTTED = re.compile(r"\b(?:[a-z0-9]\.){2,}[a-z0-9]?\b|\b(?:[a-z]\.){2,}")
_NOT_TOKEN = re.compile(r"[^a-z0-9]+")
_GREEK_SOUND = {"ντ": "d", "μπ": "b", "γκ": "g", "χ": "h", "ου": "u", "ού": "u"}
_GREEK = re.compile("|".join(_GREEK_SOUND))
_INITIAL_ALEF = re.compile(r"\b[\u0622\u0623\u0625\u0627]")
_ARTICLE = re.compile(r"\bال(?=\w{3})")
_APOSTROPHES = str.maketrans("", "", "'`´\"")
_LABEL = re.compile(
    r"^\s*(?:beneficiary|applicant|notify(?: party)?|consignee|shipper|messrs|m/s|attn|attention|c/o"
    r"|(?:for )?account of|(?:to )?(?:the )?order of|owner|buyer|seller|carrier|agent)\b\s*[.:,-]*\s*"
)
_TITLE = re.compile(
    r"^\s*(?:mr|mrs|ms|dr|prof|sheikh|shaikh|shaykh|haji|hajji|mullah|maulavi)\b\.?\s+"
)
_VESSEL = re.compile(
    r"^\s*(?:m/[vt]|s/s|(?:motor|steam) (?:vessel|tanker|ship)|vessel|mv|mt|ss)\b[.: ]*"
)
_SHIP_NUMBER = re.compile(r"[\s,;(]+(?:imo|mmsi)(?:\s*(?:no|number))?[\s.:#-]*\d{7,9}\)?(?=\W|$)")
_VOYAGE = re.compile(r"\s+(?:v\.?|voy\.?|voyage)\s?\d{1,5}[a-z]{0,2}\s*$")


class Name(NamedTuple):
    """A prepared name.

    `core` is the tokens without legal forms, `words` all of them; `forms` the classes of the legal
    forms found; `flags` what was odd; `unread` why part of it could not be evaluated; `abjad`: its
    script writes no vowels.
    """

    core: tuple[str, ...]
    words: tuple[str, ...]
    forms: tuple[str, ...]
    flags: tuple[str, ...]
    unread: tuple[str, ...]
    abjad: bool

    @property
    def joined(self) -> str:
        """The core written without spaces, so that "ABDUL RAHMAN" meets "ABDULRAHMAN"."""
        return "".join(self.core)


@lru_cache(maxsize=8192)
def script_of(char: str) -> str:
    """Return the script word of a letter's Unicode name, such as CYRILLIC; empty for no letter."""
    if not char.isalpha():
        return ""
    name = unicodedata.name(char, "UNKNOWN LETTER")
    word = name.split(" ", 1)[0]
    return {"FULLWIDTH": "LATIN", "HALFWIDTH": "KATAKANA"}.get(word, word).removesuffix("-1")


def _romanise(char: str) -> str:
    """Return a character in Latin letters, set apart where its script writes one word per sign."""
    script = script_of(char)
    if script == "CJK":
        return f" {anyascii(char)} "
    if script == "HANGUL":
        return f" {_korean(anyascii(char).lower())} "
    if script in ABJADS:
        # Ayn opens many names; without it Ali would shrink to one consonant.
        return anyascii(char).replace("`", "a")
    return anyascii(char)


def _korean(syllable: str) -> str:
    """Return a Revised Romanisation syllable in the spelling that lists and passports use."""
    if syllable == "i":
        return "ri"
    voiced = {"g": "k", "b": "p", "d": "t"}
    syllable = voiced.get(syllable[:1], syllable[:1]) + syllable[1:]
    return syllable.replace("yeo", "yo").replace("eo", "o").replace("eu", "u")


_KOREAN = {
    russian: korean
    for pair in (
        "бом:pom бон:pong ван:wang гён:kyong ги:ki гук:kuk гын:kun ген:kyong дэ:tae ё:yo ён:yong ен:yong"
        " и:ri ир:il ким:kim кан:kang квон:kwon ли:ri мён:myong мен:myong мин:min мун:mun нам:nam о:o ок:ok"
        " пак:pak рён:ryong рен:ryong ри:ri рим:rim рю:ryu сен:song сён:song син:sin сок:sok сон:song"
        " су:su сун:sun тхэ:thae тэ:tae ук:uk ун:un хак:hak ха:ha хам:ham хван:hwang хе:hye хи:hui хо:ho"
        " хон:hong хун:hun хёк:hyok хек:hyok чан:chang чен:jong чён:jong чо:jo чон:jong чу:ju чун:jun"
        " чхве:choe чхоль:chol чхун:chun ын:un юн:yun"
    ).split()
    for russian, korean in [pair.split(":")]
}
"""Korean syllables as Russian writes them (Kontsevich), in the spelling that lists use."""


def _korean_in_cyrillic(text: str) -> str:
    """Return a name of Korean syllables in Cyrillic in Latin letters, or the text."""
    words = text.lower().replace("-", " ").split()
    if 2 <= len(words) <= 4 and all(word in _KOREAN for word in words):
        return " ".join(_KOREAN[word] for word in words)
    return text


def _fold_lookalikes(text: str) -> tuple[str, bool]:
    """Replace Cyrillic and Greek letters that pose as Latin ones inside a Latin name."""
    folded, found = [], False
    for word in text.split(" "):
        scripts = {script_of(c) for c in word} - {""}
        foreign = scripts & {"CYRILLIC", "GREEK"}
        posing = foreign and ("LATIN" in scripts or all(c in _LOOKALIKES for c in word))
        folded.append("".join(_LOOKALIKES.get(c, c) for c in word) if posing else word)
        found = found or bool(posing)
    return " ".join(folded), found


_POSING_DIGIT = re.compile(r"(?<![0-9])(?:0(?![0-9])|(?<=[a-z])[15](?=[a-z]))", re.IGNORECASE)
_MIXED = re.compile(r"\b[a-z]*[015][a-z015]*\b", re.IGNORECASE)


def _fold_digits(text: str, flags: list[str]) -> str:
    """Replace 0, 1 and 5 that pose as letters inside a word of letters ("BUEN0"), and flag it."""
    if not ("0" in text or "1" in text or "5" in text):
        return text

    def folded(word: re.Match[str]) -> str:
        if sum(map(str.isalpha, word[0])) < 3:
            return word[0]
        return _POSING_DIGIT.sub(lambda d: "ois"["015".index(d[0])], word[0])

    changed = _MIXED.sub(folded, text)
    if changed != text:
        flags.append("lookalike_digits")
    return changed


def _clean(text: str) -> tuple[str, list[str], list[str], bool]:
    """Return Latin text, flags, what could not be read, and whether the script writes no vowels."""
    flags: list[str] = []
    unread: list[str] = []
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS]
        unread.append(f"text beyond {MAX_CHARACTERS} characters")
    if _CONTROL.search(text):
        flags.append("control_characters")
        text = _CONTROL.sub("", text)
    if text.isascii():
        return _fold_digits(text, flags), flags, unread, False
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if char in _BIDI:
            flags.append("bidi_marks")
        elif category in ("Cc", "Cf", "Cs", "Co", "Cn") and char not in "\t\r\n":
            flags.append("invisible_characters")
        elif category == "So" and unicodedata.normalize("NFKC", char) == char:
            flags.append("pictures")  # emoji have English names, which are no one's
            kept.append(" ")
        else:
            kept.append(char)
    text = unicodedata.normalize("NFKC", "".join(kept))[: 4 * MAX_CHARACTERS]
    scripts = {script_of(c) for c in text} - {""}
    if "LATIN" in scripts and scripts & {"CYRILLIC", "GREEK"}:
        text, posing = _fold_lookalikes(text)
        if posing:
            flags.append("lookalike_letters")
            scripts = {script_of(c) for c in text} - {""}
    unread += [f"script {s.lower()} is not covered" for s in sorted(scripts - EVALUATED_SCRIPTS)]
    if scripts & {"HIRAGANA", "KATAKANA"} and "CJK" in scripts:
        unread.append("Japanese readings of Han signs")
    if scripts == {"CYRILLIC"}:
        text = _korean_in_cyrillic(text)
    if "GREEK" in scripts:
        text = _GREEK.sub(lambda m: _GREEK_SOUND[m[0]], text.lower())
    if "ARABIC" in scripts:
        text = _INITIAL_ALEF.sub("a", _ARTICLE.sub("al ", text))
    latin = _fold_digits("".join(map(_romanise, text)), flags)
    return latin, sorted(set(flags)), unread, bool(scripts & ABJADS)


def words_of(text: str) -> tuple[str, ...]:
    """Return the lower-case Latin tokens of text that `_clean` has romanised."""
    text = text.lower().translate(_APOSTROPHES).replace("&", " and ")
    text = _DOTTED.sub(lambda m: m[0].replace(".", "") + " ", text)
    return tuple(_NOT_TOKEN.sub(" ", text).split()[:MAX_TOKENS])


_PIECES = re.compile(r".{1,511}(?:\s|\Z)|.{512}", re.DOTALL)


def text_words(text: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the words of running text with what could not be read, and what was odd.

    The caller bounds the text; it is cleaned in pieces cut at spaces, as long as a name may be.
    """
    words: list[str] = []
    unread: dict[str, None] = {}
    flags: dict[str, None] = {}
    for piece in _PIECES.findall(text):
        latin, odd, missing, _ = _clean(piece)
        words += words_of(latin)
        unread |= dict.fromkeys(missing)
        flags |= dict.fromkeys(odd)
    return tuple(words), tuple(unread), tuple(flags)


def _stripped(text: str, kind: str) -> str:
    """Remove a party label, a title or a ship's prefix and voyage number, if a name remains."""
    text = text.lower()
    patterns = [_LABEL]
    if kind in ("vessel", "unknown"):
        patterns += [_SHIP_NUMBER, _VESSEL, _VOYAGE]
    if kind in ("person", "unknown"):
        patterns.append(_TITLE)
    for pattern in patterns:
        shorter = pattern.sub("", text)
        if len(_NOT_TOKEN.sub("", shorter)) > 1:
            text = shorter
    return text


@lru_cache(maxsize=65536)
def prepare(text: str, kind: str = "unknown") -> Name:
    """Return a name ready to compare; `kind` is person, organisation, vessel, aircraft or unknown."""
    latin, flags, unread, abjad = _clean(text)
    words = words_of(_stripped(latin, kind))
    if len(latin.split()) > MAX_TOKENS:
        unread.append(f"text beyond {MAX_TOKENS} words")
    if not words:
        unread.append("no letters or digits")
    core, forms = (words, ()) if kind == "person" else split_forms(_respelt_ends(words))
    return Name(core or words, words, forms, tuple(flags), tuple(unread), abjad)


FORM_WORDS = tuple(_WORDS["forms"])
"""Legal words long enough to be known when misspelt."""

_SWAPPED = {"icn": "inc", "jcs": "jsc", "lcl": "llc", "ldt": "ltd", "nic": "inc", "tld": "ltd"}
"""Legal forms of three letters with two of them swapped, at a name's end."""

_LONG_FORMS = ("company", "corporation", "incorporated", "liability", "limited", "partnership")


@lru_cache(maxsize=65536)
def _respelt(word: str) -> str:
    """Return a long legal word with its one slip of the pen put right, or the word."""
    if len(word) < 6 or word in _LONG_FORMS or word == "cooperation":
        return word
    near = (form for form in _LONG_FORMS if OSA.distance(word, form, score_cutoff=1) <= 1)
    return next(near, word)


def _respelt_ends(words: tuple[str, ...]) -> tuple[str, ...]:
    """Put right one slip in the legal form before or after a name ("S.Z. DE C.V.", "JONIT STOCK CO")."""
    words = tuple(map(_respelt, words))
    if len(words) > 1 and words[-1] in _SWAPPED:
        return (*words[:-1], _SWAPPED[words[-1]])
    for size in range(min(5, len(words) - 1), 1, -1):
        tail = _near_phrase("".join(words[-size:]))
        if tail:
            return words[:-size] + tail
        head = _near_phrase("".join(words[:size]))
        if head:
            return head + words[size:]
    return words


@lru_cache(maxsize=65536)
def _near_phrase(joined: str) -> tuple[str, ...]:
    """Return the words of the legal form that is at most one edit from this text, spaces aside."""
    if len(joined) < 6:
        return ()
    for size in (len(joined), len(joined) - 1, len(joined) + 1):
        phrases = legal_forms().phrases.get(size, {})
        near = process.extractOne(joined, phrases.keys(), scorer=OSA.distance, score_cutoff=1)
        if near:
            return phrases[near[0]]
    return ()


def split_forms(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words that are no legal form, and the classes of the legal forms among them."""
    forms = legal_forms()
    core: list[str] = []
    classes: set[str] = set()
    at = 0
    while at < len(words):
        for size in range(min(forms.longest, len(words) - at), 0, -1):
            found = forms.classes.get(" ".join(words[at : at + size]))
            if found is not None:
                classes.add(found)
                at += size
                break
        else:
            core.append(words[at])
            at += 1
    return tuple(core), tuple(sorted(classes - {"COMPANY"}))


class LegalForms(NamedTuple):
    """Legal forms by their normalised spelling; `longest` is the number of words of the longest.

    `phrases`: those of several words, by length and spelling without spaces.
    """

    classes: dict[str, str]
    longest: int
    phrases: dict[int, dict[str, tuple[str, ...]]]


@cache
def legal_forms() -> LegalForms:
    """Load the table of legal forms (data/reference/PROVENANCE.md)."""
    raw = json.loads(gzip.decompress(_TABLES[1]))
    classes: dict[str, str] = {}
    for spelling, form in raw.items():
        words = words_of("".join(map(_romanise, spelling)))
        # Longer spellings are prose that could swallow a name; most two letters are words elsewhere.
        short = len(words) == 1 and len(words[0]) < 3 and words[0] not in _SHORT_FORMS
        if words and len(words) <= 5 and not short:
            classes.setdefault(" ".join(words), form)
    phrases: dict[int, dict[str, tuple[str, ...]]] = {}
    for spelling in sorted(classes):
        parts = tuple(spelling.split())
        if len(parts) > 1:
            joined = "".join(parts)
            phrases.setdefault(len(joined), {})[joined] = parts
    return LegalForms(classes, max(len(k.split()) for k in classes), phrases)


_SHORT_FORMS = frozenset(_WORDS["short_forms"])

_DIGRAPHS = re.compile(r"sch|tch|ch|kh|gh|dh|th|zh|dj|sh|ph|ts|tz|ck|ou")
_DIGRAPH_SOUND = {
    "sch": "s", "tch": "C", "ch": "C", "kh": "h", "gh": "g", "dh": "d", "th": "t", "zh": "j",
    "dj": "j", "sh": "s", "ph": "f", "ts": "C", "tz": "C", "ck": "k", "ou": "u",
}  # fmt: skip
_SOUNDS = str.maketrans({"q": "k", "c": "k", "x": "k", "v": "f", "z": "s"})
_VOWELS = str.maketrans("", "", "aeiouyw")
_DOUBLED = re.compile(r"(.)\1+")


@lru_cache(maxsize=65536)
def skeleton(token: str) -> str:
    """Return the consonants of a token as they sound; empty when fewer than three signs remain.

    Vowels differ most between romanisations (Usama, Osama), and Arabic and Hebrew write none.
    """
    sounds = _DIGRAPHS.sub(lambda m: _DIGRAPH_SOUND[m[0]], token).translate(_SOUNDS)
    head = "A" if sounds[:1] in "aeiouy" else sounds[:1]
    tail = sounds[1:].translate(_VOWELS).removesuffix("h")
    bones = _DOUBLED.sub(r"\1", head + tail)
    return bones if len(bones) >= 3 else ""


_ROMAN = {
    r: n + 1
    for n, r in enumerate(_WORDS["roman"])
    if r not in ("i", "v", "x", "vi", "xi")  # initials and Asian given names
}


def number_of(token: str) -> str:
    """Return the number that a token states (digits, or Roman from II on), or empty text."""
    if token in _ROMAN:
        return str(_ROMAN[token])
    return token.lstrip("0") or "0" if token.isdigit() else ""


def is_significant(token: str) -> bool:
    """Say whether a token can identify anyone: no particle and no lone letter."""
    return len(token) > 1 and token not in STOP_TOKENS


_FORMER = re.compile(
    r"[(\[,;/ ]\s*(?:ex|formerly|f/?k/?a|a/?k/?a|now|d/?b/?a)[-. :]+", re.IGNORECASE
)


def readings(text: str) -> tuple[str, ...]:
    """Return the strings to screen for one field: as given, its former names, and cut before an address.

    "ALPHA LTD (EX-BETA LTD)" gives both names; "ALPHA LTD, 12 HIGH ST" also gives "ALPHA LTD".
    """
    given = text[: MAX_CHARACTERS + 1]
    found = [given]
    parts = _FORMER.split(given)
    if len(parts) > 1:
        found += [p.strip(" ()[];,") for p in parts]
    head, comma, tail = given.partition(",")
    if comma and any(c.isdigit() for c in tail):
        found.append(head)
    return tuple(dict.fromkeys(r for r in found if r.strip() or r is given))
