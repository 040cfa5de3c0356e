"""How alike two spellings are: words, words run together, words that sound alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from rapidfuzz import process
from rapidfuzz.distance import OSA

from usance.aml.names import number_of, skeleton
from usance.aml.qualify import FULL, HIT

JOINED_LENGTH = 12
"""Letters of a short name, in which a slip weighs most: such names are compared without spaces."""


@lru_cache(maxsize=262_144)
def token_similarity(given: str, listed: str, abjad: bool = False) -> int:
    """Return how alike two tokens are, in basis points; 0 below seven tenths.

    Optimal string alignment (one swap is one edit). Tokens with digits are equal or different; equal
    consonants outweigh differing vowels, and weigh most when one side's script has none (`abjad`).
    """
    if given == listed:
        return FULL
    if number_of(given) and number_of(given) == number_of(listed):
        return FULL
    short, long = sorted((len(given), len(listed)))
    if short == 1 and long > 1 and given[0] == listed[0]:
        return 7_500
    if short < 2 or any(map(str.isdigit, given)) or any(map(str.isdigit, listed)):
        return 0
    edits = OSA.distance(given, listed)
    if edits == 1 and long < 4:
        return 6_500
    bones = skeleton(given)
    if bones and bones == skeleton(listed):
        return 9_300 if abjad else FULL - 4_500 * edits // long
    return FULL - 8_000 * edits // long if 10 * edits <= 3 * long and short > 2 else 0


def same_joined(given: str, listed: str, abjad: bool) -> bool:
    """Say whether a token is two others written as one; an abjad leaves only consonants to compare."""
    return given == listed or (abjad and token_similarity(given, listed, True) >= HIT)


def is_near(token: str, words: Sequence[str]) -> bool:
    """Say whether a token is one edit from one of some words of its length, or a letter more or less."""
    return bool(process.extractOne(token, words, scorer=OSA.distance, score_cutoff=1))


def same_sound(given: str, listed: str) -> bool:
    """Say whether two long names of one word have the same consonants and nearly the same vowels."""
    return (
        min(len(given), len(listed)) >= 7
        and skeleton(given) == skeleton(listed) != ""
        and OSA.distance(given, listed, score_cutoff=2) <= 2
    )


def joined_similarity(given: str, words: Sequence[str], *, turned: bool) -> int:
    """Return how alike two names are when written without spaces: equal, or one edit in five letters.

    `turned`: the listed words may begin at any of them ("LADIN, Usama" is also usamaladin).
    """
    listed = "".join(words)
    if given == listed:
        return 9_800
    if turned and len(given) == len(listed) and given in listed + listed:
        starts = accumulate(map(len, words), initial=0)
        if any(given == listed[at:] + listed[:at] for at in starts):
            return 9_800
    shortest, longest = sorted((len(given), len(listed)))
    comparable = shortest >= 5 and longest <= JOINED_LENGTH + 1
    if comparable and OSA.distance(given, listed, score_cutoff=1) <= 1:
        return FULL - 8_000 // longest
    return 0


def one_edit(given: str, listed: str) -> bool:
    """Say whether short names are equal, or one edit apart when they have four letters or more."""
    if given == listed:
        return True
    return min(len(given), len(listed)) >= 4 and OSA.distance(given, listed, score_cutoff=1) <= 1
