"""Listed names inside running text, such as goods descriptions and conditions.

A name counts when nearly all its weight stands together in the text. Names of one word are not
looked for here: among ordinary words they would only be noise, so such fields get their own label.
"""

from __future__ import annotations

from usance.aml.index import ListedName
from usance.aml.lists import WEAK
from usance.aml.match import Explanation, Match, Matcher, Pair
from usance.aml.names import GENERIC_TOKENS, is_significant
from usance.aml.qualify import BELOW_HIT, FULL, Qualifier, Query
from usance.aml.spelling import token_similarity

MAX_TEXT = 20_000
"""Characters of running text that are read: three times the longest narrative of a FIN message."""

_WHOLE = 9_500
_SLACK = 3


def in_text(matcher: Matcher, words: tuple[str, ...], text: str) -> list[Match]:
    """Return the listed names and identifiers that stand in a text, best first."""
    found = matcher.identifiers(Query(text, "unknown", "", ""))
    seen: set[int] = set()
    for place, word in enumerate(words):
        if not is_significant(word) or word in GENERIC_TOKENS:
            continue
        for number in matcher.holders(word):
            if number not in seen:
                match = _standing(matcher, matcher.index.names[number], words, place)
                if match is not None:
                    seen.add(number)
                    found.append(match)
    return sorted(found, key=matcher.rank)


def _standing(
    matcher: Matcher, listed: ListedName, words: tuple[str, ...], place: int
) -> Match | None:
    """Return the match of a listed name around one of its words in the text, or None."""
    vocabulary = matcher.index.vocabulary
    entry = matcher.index.entries[listed.entry]
    if listed.short or entry.kind in ("vessel", "aircraft"):
        return None
    reach = len(listed.tokens) + _SLACK
    window = list(words[max(0, place - reach) : place + reach + 1])
    pairs = []
    for number in listed.tokens:
        token = vocabulary[number]
        ranked = [(-token_similarity(w, token), at) for at, w in enumerate(window) if len(w) > 1]
        alike, at = min(ranked, default=(0, 0))
        if -alike >= 8_500:
            pairs.append(Pair(window[at], token, -alike, matcher.index.weights[number]))
            window[at] = ""
    matched = sum(p.similarity * p.weight for p in pairs) // max(listed.total, 1)
    if matched < _WHOLE or sum(is_significant(p.listed) for p in pairs) < 2:
        return None
    alias = entry.names[listed.alias]
    weak = alias.quality == WEAK
    loose = sum(len(p.listed) for p in pairs) < 8
    score = min(matched, BELOW_HIT) if weak or loose else matched
    caps = [Qualifier("weak_alias_cap", "a weak alias alone never holds", 0)] if weak else []
    caps += [Qualifier("short_name_cap", "a very short name in running text", 0)] if loose else []
    return Match(
        entry=listed.entry,
        score=score,
        explanation=Explanation(
            method="text",
            matched=alias.name,
            primary=entry.names[0].name,
            alias=f"{alias.kind} ({alias.quality})",
            reading=" ".join(p.given for p in pairs),
            pairs=tuple(pairs),
            given_coverage=FULL,
            listed_coverage=matched,
            similarity=matched,
            qualifiers=tuple(caps),
        ),
    )
