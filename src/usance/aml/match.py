"""The matcher: which listed name a string resembles, how much in basis points, and why.

A query's tokens find their neighbours in the vocabulary; names that share enough weight are aligned
token by token; identifiers come first and exactly. Everything is integer arithmetic over sorted
lists: the same string and snapshot give the same bytes on every machine, in every run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec
from rapidfuzz import process
from rapidfuzz.distance import OSA

from usance.aml.index import COMMON_DIVISOR, Index, ListedName
from usance.aml.lists import WEAK, Entry
from usance.aml.names import (
    FORM_WORDS,
    GENERIC_TOKENS,
    STOP_TOKENS,
    Name,
    is_significant,
    prepare,
    skeleton,
)
from usance.aml.qualify import (
    BELOW_HIT,
    FULL,
    HIT,
    REVIEW,
    WHOLE,
    Config,
    Qualifier,
    Query,
    company_qualifiers,
    known_facts,
    lowered,
    ship_conflict,
)
from usance.aml.spelling import (
    JOINED_LENGTH,
    is_near,
    joined_similarity,
    one_edit,
    same_joined,
    same_sound,
    token_similarity,
)

MATCHER_VERSION = "match/3"
"""Changes whenever a score could change; part of every snapshot id."""


class Pair(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A token of the string and the token of the listed name it was aligned with."""

    given: str
    listed: str
    similarity: int
    weight: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a score is what it is: generated from the match itself, never written by hand.

    `method` is identifier, tokens, joined, text or none; coverages say how much weight of each side was
    aligned; `similarity` is the score before qualifiers; `not_evaluated` names what nobody compared.
    """

    method: str = "none"
    matched: str = ""
    primary: str = ""
    alias: str = ""
    reading: str = ""
    pairs: tuple[Pair, ...] = ()
    given_coverage: int = 0
    listed_coverage: int = 0
    similarity: int = 0
    qualifiers: tuple[Qualifier, ...] = ()
    not_evaluated: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A listed entry that a string resembles; `entry` numbers it in the index."""

    entry: int
    score: int
    explanation: Explanation


class Alignment(NamedTuple):
    """Tokens aligned, and the coverage of each side in basis points; `full`: aligned without initials."""

    pairs: tuple[Pair, ...]
    given: int
    listed: int
    full: int
    distinctive: bool

    @property
    def similarity(self) -> int:
        """The worse coverage counts twice: both sides must be explained."""
        low, high = sorted((self.given, self.listed))
        return (2 * low + high) // 3

    def stands_whole(self, given: tuple[str, ...], kind: str) -> bool:
        """Say whether one name stands whole in the other: all its words, near together, two at least.

        A string may also lack the lesser half of a listed person's name, such as a patronymic.
        """
        person = kind == "person" and self.given >= _WHOLE and self.listed >= _MOST
        if self.full < 2 or not (person or self.listed >= _WHOLE):
            return False
        places = [given.index(word) for pair in self.pairs for word in pair.given.split()]
        return max(places) - min(places) < len(places) + _SLACK


_GENERIC = sorted(w for w in GENERIC_TOKENS if len(w) > 4)
_WHOLE = 9_200
_MOST = 5_500
_RARE = 20
"""Listed names that share a word rare enough to tell by it that one name stands whole in another."""
_SLACK = 3
_ENOUGH = 55
"""Per cent of either side's weight without which no name can reach the floor of 7,000."""


class Matcher:
    """Finds the listed names that a string resembles. Holds one index; safe to use from threads."""

    def __init__(self, index: Index, config: Config) -> None:
        self.index = index
        self.config = config
        self._numbers = {t: n for n, t in enumerate(index.vocabulary)}
        buckets: dict[int, list[int]] = {}
        for n, token in enumerate(index.vocabulary):
            if len(token) > 2 and not any(map(str.isdigit, token)):
                buckets.setdefault(len(token), []).append(n)
        self._buckets = {
            size: (tuple(members), [index.vocabulary[n] for n in members])
            for size, members in buckets.items()
        }
        keys: dict[int, list[str]] = {}
        for key in index.joined:
            if len(key) <= JOINED_LENGTH:
                keys.setdefault(len(key), []).append(key)
        self._joined_keys = keys
        self._common = max(20, len(index.names) // COMMON_DIVISOR)
        self.neighbours = lru_cache(maxsize=65_536)(self._neighbours)
        self.joined_neighbours = lru_cache(maxsize=65_536)(self._joined_neighbours)
        self.weight = lru_cache(maxsize=65_536)(self._weight)

    def _neighbours(self, token: str) -> tuple[int, ...]:
        """Return the vocabulary tokens like this one, ascending."""
        found = set(self.index.skeletons.get(skeleton(token), ()))
        exact = self._numbers.get(token)
        if exact is not None:
            found.add(exact)
        size = len(token)
        if size > 2 and not any(map(str.isdigit, token)):
            for other in range(7 * size // 10, 10 * size // 7 + 1):
                members, texts = self._buckets.get(other, ((), []))
                most = 3 * max(size, other) // 10
                if members and most >= abs(size - other):
                    near = process.extract(
                        token, texts, scorer=OSA.distance, score_cutoff=most, limit=None,
                        processor=None,
                    )  # fmt: skip
                    found.update(members[at] for _, _, at in near)
        return tuple(sorted(found))

    def holders(self, token: str) -> list[int]:
        """Return the names that hold exactly this token, if few do; ascending."""
        number = self._numbers.get(token)
        if number is None or self.index.counts[number] > self._common:
            return []
        return self.index.postings[number]

    def telling(self, words: tuple[str, ...]) -> bool:
        """Say whether words can identify anyone: a rare word of three signs, or two with a name among them.

        Digits alone name nobody.
        """
        said = [w for w in self._telling(words) if not w.isdigit()]
        names = [w for w in said if w not in GENERIC_TOKENS]
        rare = any(len(w) > 2 and self._distinctive(w) for w in names)
        return rare or (len(said) > 1 and bool(names))

    def _joined_neighbours(self, joined: str) -> tuple[int, ...]:
        """Return the short names one edit from this one, spaces aside: a slip weighs most in them."""
        size = len(joined)
        if not 5 <= size <= JOINED_LENGTH:
            return ()
        near = [
            key
            for other in (size - 1, size, size + 1)
            for key, _, _ in process.extract(
                joined, self._joined_keys.get(other, []), scorer=OSA.distance, score_cutoff=1,
                limit=None, processor=None,
            )
        ]  # fmt: skip
        return tuple(n for key in near for n in self.index.joined[key])

    def _weight(self, token: str) -> int:
        """Return a token's weight; one that no list knows is as telling as the rarest.

        A misspelt trade word or legal form ("COMPNAY") is still one.
        """
        number = self._numbers.get(token)
        if number is not None:
            return self.index.weights[number]
        top = self.index.top_weight
        if len(token) < 3 or not is_significant(token) or is_near(token, FORM_WORDS):
            return top // 10
        if token in GENERIC_TOKENS or is_near(token, _GENERIC):
            return top // 3
        return top

    def best(self, query: Query) -> Match | None:
        """Return the entry a string resembles most: by score, then list, then uid; None below the floor."""
        found = self.identifiers(query)
        name = prepare(query.text, query.kind)
        if not found or max(m.score for m in found) < HIT:
            found += [
                m
                for n in sorted(self._candidates(name))
                if (m := self._scored(query, name, self.index.names[n])) is not None
            ]
        return min(found, key=self.rank) if found else None

    def rank(self, match: Match) -> tuple[int, int, int, str, str]:
        """Return the place of a match among others: a total order, so that ties are stable."""
        entry = self.index.entries[match.entry]
        listed = self.index.lists[self.index.entry_list[match.entry]].list_id
        text = match.explanation
        return (
            -match.score,
            -text.similarity,
            -len(text.pairs),
            f"{listed}/{entry.uid}",
            text.matched,
        )

    def _candidates(self, name: Name) -> set[int]:
        """Return the names that may reach the floor: both sides enough of their weight in near tokens.

        A name at the floor must match one of the heaviest tokens, so only those bring in names;
        the other tokens only add to names already found.
        """
        index = self.index
        tokens = sorted(dict.fromkeys(name.core), key=lambda t: (-self.weight(t), t))
        weights = [self.weight(t) for t in tokens]
        rest = sum(weights)
        enough = _ENOUGH * rest // 100
        reached: dict[int, int] = {}
        near_any: set[int] = set()
        for token, weight in zip(tokens, weights, strict=True):
            near = self.neighbours(token)
            near_any.update(near)
            holders = set(index.pairs.get(token, ())).union(*(index.postings[n] for n in near))
            for number in holders if rest >= enough else reached.keys() & holders:
                reached[number] = reached.get(number, 0) + weight
            rest -= weight
        totals, names = index.weights, index.names
        found = {
            n
            for n, weight in reached.items()
            if weight >= enough
            and 100 * sum([totals[t] for t in names[n].tokens if t in near_any])
            >= _ENOUGH * names[n].total
        }
        return found.union(self._joined_candidates(name), self._whole_candidates(name))

    def _whole_candidates(self, name: Name) -> set[int]:
        """Return the names with a rare word of this one that hold all its words, or the reverse."""
        index, numbers = self.index, self._numbers
        core = {numbers.get(word, -1) for word in name.core if len(word) > 1}
        words = core.union(numbers.get(word, -1) for word in name.words)
        return {
            n
            for word in dict.fromkeys(name.core)
            if is_significant(word) and word not in GENERIC_TOKENS
            for n in self.holders(word)
            if core.issubset(index.names[n].tokens) or words.issuperset(index.names[n].tokens)
        }

    def _joined_candidates(self, name: Name) -> set[int]:
        """Return the names that are this one with a space more or less."""
        index = self.index
        found = set(index.joined.get(name.joined, ()))
        found.update(index.joined.get("".join(name.words), ()))
        found.update(self.joined_neighbours(name.joined))
        for token in name.core:
            found.update(index.pairs.get(token, ()))
        for first, second in zip(name.core, name.core[1:], strict=False):
            joined = first + second
            alike = index.skeletons.get(skeleton(joined), []) if name.abjad else []
            number = self._numbers.get(joined)
            for n in alike if number is None else [*alike, number]:
                found.update(index.postings[n])
        return found

    def _scored(self, query: Query, name: Name, listed: ListedName) -> Match | None:
        """Return the match of a query with one listed name, or None below the floor."""
        entry = self.index.entries[listed.entry]
        given = name.words if entry.kind == "person" else name.core
        significant = self._telling(given)
        short = listed.short or len(significant) < 2
        theirs = list(map(self.index.vocabulary.__getitem__, listed.tokens))
        joined = joined_similarity("".join(given), theirs, turned=entry.kind == "person")
        if short and not joined and not self._comparable(given, significant, listed):
            return None
        aligned = self._aligned(given, listed, name.abjad or listed.abjad)
        similarity, method = aligned.similarity, "tokens"
        if joined > similarity:
            similarity, method = joined, "joined"
        whole = (
            entry.kind in ("person", "organisation")
            and aligned.stands_whole(given, entry.kind)
            and self._tells_alone(aligned)
        )
        if similarity < self.config.floor and not whole:
            return None
        qualifiers = list(
            self._qualifiers(query, name, given, listed, entry, aligned, method, short)
        )
        if whole and similarity < REVIEW:
            detail = "all words of one name stand in the other"
            qualifiers.append(Qualifier(WHOLE, detail, REVIEW - similarity))
        score = lowered(similarity, qualifiers)
        if score < self.config.floor:
            return None
        alias = entry.names[listed.alias]
        return Match(
            entry=listed.entry,
            score=score,
            explanation=Explanation(
                method=method,
                matched=alias.name,
                primary=entry.names[0].name,
                alias=f"{alias.kind} ({alias.quality})",
                reading=query.text,
                pairs=aligned.pairs,
                given_coverage=aligned.given,
                listed_coverage=aligned.listed,
                similarity=similarity,
                qualifiers=tuple(qualifiers),
            ),
        )

    def _comparable(
        self, given: tuple[str, ...], significant: list[str], listed: ListedName
    ) -> bool:
        """Say whether a name with fewer than two telling words is near enough to be aligned at all.

        Equal, one edit apart, or long and equal in consonants; or a rare word and an initial, which
        alignment judges.
        """
        ours = "".join(significant)
        if one_edit(ours, listed.significant) or same_sound(ours, listed.significant):
            return True
        initials = [w for w in given if len(w) == 1 and w.isalpha() and w not in significant]
        theirs = [n for n in listed.tokens if self.index.vocabulary[n] not in STOP_TOKENS]
        return (
            len(significant) == 1
            and len(theirs) == len(initials) + 1 > 1
            and self._distinctive(significant[0])
            and self._numbers.get(significant[0], -1) in listed.tokens
        )

    def _telling(self, given: tuple[str, ...]) -> list[str]:
        """Return the tokens that can identify someone: no particles, letters or misspelt legal forms."""
        least = self.index.top_weight // 10
        return [w for w in given if is_significant(w) and self.weight(w) > least]

    def _aligned(self, given: tuple[str, ...], listed: ListedName, abjad: bool) -> Alignment:
        """Align tokens greedily, the most alike and heaviest first; ties go by place."""
        index = self.index
        theirs = listed.tokens
        ranked = []
        for i, token in enumerate(given):
            for j, number in enumerate(theirs):
                alike = token_similarity(token, index.vocabulary[number], abjad)
                if alike:
                    ranked.append((-alike, -index.weights[number], i, j))
        ranked.sort()
        ours_left = dict.fromkeys(range(len(given)))
        theirs_left = dict.fromkeys(range(len(theirs)))
        pairs = []
        for alike, weight, i, j in ranked:
            if i in ours_left and j in theirs_left:
                del ours_left[i], theirs_left[j]
                pairs.append(Pair(given[i], index.vocabulary[theirs[j]], -alike, -weight))
        if ours_left and theirs_left:
            pairs += self._rejoined(given, theirs, ours_left, theirs_left, abjad)
        matched = sum(p.weight * p.similarity for p in pairs)
        weight = sum(p.weight for p in pairs)
        ours = weight + sum(self.weight(given[i]) for i in ours_left)
        whole = weight + sum(index.weights[theirs[j]] for j in theirs_left)
        full = [p for p in pairs if len(p.given) > 1 and is_significant(p.listed)]
        return Alignment(
            tuple(pairs),
            matched // ours if ours else 0,
            matched // whole if whole else 0,
            len(full),
            any(self._distinctive(p.listed) for p in full),
        )

    def _distinctive(self, token: str) -> bool:
        """Say whether few listed names have this token; a joined pair of tokens counts as rare."""
        number = self._numbers.get(token)
        known = self.index.counts[number] if number is not None else 0
        return known <= self._common and token not in GENERIC_TOKENS

    def _syllable_differs(self, given: tuple[str, ...], listed: ListedName) -> bool:
        """Say whether as many words stand on both sides and one short one has another letter.

        "Jun" is another name than "Mun"; "Ari" is "Air" with two letters swapped.
        """
        theirs = {self.index.vocabulary[n] for n in listed.tokens}
        ours = [word for word in given if word not in theirs]
        return len(given) == len(listed.tokens) and any(
            len(word) == len(other) < 4 and sorted(word) != sorted(other)
            for word in ours
            for other in theirs.difference(given)
        )

    def _tells_alone(self, aligned: Alignment) -> bool:
        """Say whether the words that agree suffice: a rare one among them, or three not all common."""
        return (aligned.full > 2 and aligned.distinctive) or any(
            len(p.listed) > 2
            and p.listed not in GENERIC_TOKENS
            and self.index.counts[self._numbers[p.listed]] <= _RARE
            for p in aligned.pairs
            if p.listed in self._numbers
        )

    def _rejoined(
        self,
        given: tuple[str, ...],
        theirs: tuple[int, ...],
        ours_left: dict[int, None],
        theirs_left: dict[int, None],
        abjad: bool,
    ) -> list[Pair]:
        """Align one token left over with two neighbours left over that spell it when joined."""
        words = [self.index.vocabulary[n] for n in theirs]
        pairs = []
        for i in list(ours_left):
            for j in list(theirs_left):
                both = j in theirs_left and j + 1 in theirs_left
                if both and same_joined(given[i], words[j] + words[j + 1], abjad):
                    weight = self.index.weights[theirs[j]] + self.index.weights[theirs[j + 1]]
                    pairs.append(Pair(given[i], f"{words[j]} {words[j + 1]}", 9_800, weight))
                    del ours_left[i], theirs_left[j], theirs_left[j + 1]
                    break
        for j in list(theirs_left):
            for i in list(ours_left):
                both = i in ours_left and i + 1 in ours_left
                if both and same_joined(given[i] + given[i + 1], words[j], abjad):
                    weight = self.index.weights[theirs[j]]
                    pairs.append(Pair(f"{given[i]} {given[i + 1]}", words[j], 9_800, weight))
                    del theirs_left[j], ours_left[i], ours_left[i + 1]
                    break
        return pairs

    def _qualifiers(
        self,
        query: Query,
        name: Name,
        given: tuple[str, ...],
        listed: ListedName,
        entry: Entry,
        aligned: Alignment,
        method: str,
        short: bool,
    ) -> Iterable[Qualifier]:
        """Give what beside the spelling lowers the score; effect 0 with a kind ending in `cap` caps it."""
        if entry.names[listed.alias].quality == WEAK:
            yield Qualifier("weak_alias_cap", "a weak alias alone never holds", 0)
        if short and not self.config.short_names_hit:
            yield Qualifier("short_name_cap", "fewer than two telling words", 0)
        elif method == "tokens" and aligned.full < 2:
            yield Qualifier("initials_cap", "fewer than two whole words agree", 0)
        elif method == "joined" and self._syllable_differs(given, listed):
            yield Qualifier(
                "short_word_cap", "a word of three letters or fewer has another letter", 0
            )
        elif method == "tokens" and not aligned.distinctive and aligned.similarity < FULL:
            yield Qualifier("common_words_cap", "only common words agree, and not all of them", 0)
        if entry.kind in ("vessel", "aircraft"):
            yield Qualifier("name_only_cap", f"a {entry.kind} by its name alone", 0)
        if entry.kind != "person":
            yield from company_qualifiers(self.config, name, given, listed)
        yield from known_facts(self.config, query, entry)
        yield from ship_conflict(self.config, query, entry)

    def identifiers(self, query: Query) -> list[Match]:
        """Return the entries that an identifier in the string names exactly."""
        text = _ID_LABEL.sub(r"\1 ", query.text.upper())
        return [
            self._identified(query, key, number)
            for token in dict.fromkeys(_ID_TOKEN.findall(text))
            for key in dict.fromkeys((token, token[:8] if len(token) == 11 else token))
            for number in self.index.identifiers.get(key, ())
        ]

    def _identified(self, query: Query, value: str, number: int) -> Match:
        """Return the match by an identifier; a bare number in running text is for review."""
        entry = self.index.entries[number]
        kind = next(i.split(":")[0] for i in entry.ids if i.split(":", 1)[1].upper() == value)
        alone = query.text.strip().upper() == value
        said = kind in query.text.upper() or query.kind == "vessel"
        certain = kind in ("BIC", "LEI", "CRYPTO") or alone or (kind == "IMO" and said)
        qualifiers = () if certain else (Qualifier("identifier_cap", f"{kind} not named", 0),)
        return Match(
            entry=number,
            score=FULL if certain else BELOW_HIT,
            explanation=Explanation(
                method="identifier",
                matched=f"{kind} {value}",
                primary=entry.names[0].name,
                alias="identifier",
                reading=query.text,
                given_coverage=FULL,
                listed_coverage=FULL,
                similarity=FULL,
                qualifiers=qualifiers,
            ),
        )


_ID_TOKEN = re.compile(r"[A-Z0-9]{7,120}")
_ID_LABEL = re.compile(r"\b(IMO|MMSI)(?=\d{7})")
