"""Screening: one name, a batch of lines, or every labelled string of an application or message.

A band is read off the score alone (hit from 9,000, review from 8,000, clear below), except that what
could not be evaluated is never clear. Results name the snapshot that made them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from usance.aml import index as compiled
from usance.aml.index import Index
from usance.aml.list_formats import shipped_digest, shipped_lists
from usance.aml.lists import (
    STRONG,
    Entry,
    GateFinding,
    ListInfo,
    ListSnapshot,
    ListSummary,
    check_counts,
    country_code,
)
from usance.aml.match import MATCHER_VERSION, Explanation, Match, Matcher
from usance.aml.names import NORMALISER_VERSION, prepare, readings, text_words
from usance.aml.places import PlaceRule, country_rules, gazetteer, places_in
from usance.aml.qualify import FULL, HIT, REVIEW, Config, Query
from usance.aml.scan import MAX_TEXT, in_text

Kind = Literal["unknown", "person", "organisation", "vessel"]
Band = Literal["hit", "review", "clear"]

_SEVERITY: dict[str, int] = {"clear": 0, "review": 1, "hit": 2}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one string. `score` in basis points; `entry` is the list's own identifier.

    `entry`, `list` and `list_version` are None when nothing reached the floor of 7,000.
    `entry_digest` is the hash of the entry's content, so that a changed entry is new evidence.
    """

    band: Band
    score: int
    entry: str | None
    list: str | None
    list_version: str | None
    explanation: Explanation
    entry_digest: str = ""


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """A string of an application or message and where it stands.

    `kind` is unknown, person, organisation, vessel, bank, place or text (running text);
    `country` a code or name; `birth_date` YYYY-MM-DD or YYYY.
    """

    field: str
    kind: str
    text: str
    birth_date: str = ""
    country: str = ""


class Screened(msgspec.Struct, frozen=True, kw_only=True):
    """One labelled string and all its results, worst first; clear strings have one result."""

    field: str
    kind: str
    text: str
    band: Band
    results: tuple[Result, ...]


class ScreeningReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the screening of all strings of one subject found, and with which snapshot."""

    band: Band
    screened: tuple[Screened, ...]
    snapshot_id: str
    matcher_version: str
    list_versions: tuple[str, ...]

    @property
    def findings(self) -> tuple[Screened, ...]:
        """The strings that are not clear."""
        return tuple(s for s in self.screened if s.band != "clear")


class Screener:
    """Screens against one compiled snapshot. Immutable but for caches; safe to share by threads."""

    def __init__(self, index: Index, config: Config | None = None) -> None:
        self.matcher = Matcher(index, config or Config())
        self.index = index
        self.snapshot_id = index.snapshot_id
        self._cached = lru_cache(maxsize=32_768)(self._screen)

    @property
    def matcher_version(self) -> str:
        """Normaliser, index and matcher versions, as decisions record them."""
        return f"{NORMALISER_VERSION}+{compiled.INDEX_VERSION}+{MATCHER_VERSION}"

    @property
    def lists(self) -> tuple[ListInfo, ...]:
        """The lists in this snapshot, by list id."""
        return self.index.lists

    def snapshots(self) -> tuple[ListSnapshot, ...]:
        """Return the lists in this snapshot, whole."""
        index = self.index
        held: list[list[Entry]] = [[] for _ in index.lists]
        for entry, number in zip(index.entries, index.entry_list, strict=True):
            held[number].append(entry)
        return tuple(
            ListSnapshot(
                list_id=info.list_id,
                source=info.source,
                version=info.version,
                sha256=info.sha256,
                entries=tuple(entries),
                loaded_at=info.loaded_at,
                sample=info.sample,
            )
            for info, entries in zip(index.lists, held, strict=True)
        )

    def summaries(self, instant: int) -> tuple[ListSummary, ...]:
        """Return what is loaded and how old it is at `instant` (ms UTC)."""
        return tuple(info.summary(instant) for info in self.index.lists)

    def screen(
        self,
        name: str,
        type: str = "unknown",  # noqa: A002 - the word of the batch form
        birth_date: str = "",
        country: str = "",
    ) -> Result:
        """Return the best match of a name: a pure function of its arguments and the snapshot."""
        return self._cached(name, type, birth_date or "", country or "")

    def _screen(self, name: str, kind: str, birth_date: str, country: str) -> Result:
        given = prepare(name, kind)
        unread = list(given.unread)
        if not given.unread and not self.matcher.telling(given.core):
            unread.append("no telling word: particles, trade words or one common name only")
        found = [
            match
            for text in readings(name)
            if (match := self.matcher.best(Query(text, kind, birth_date, country))) is not None
        ]
        best = min(found, key=self.matcher.rank) if found else None
        if best is not None and best.explanation.method == "identifier":
            unread = []
        return self._result(best, tuple(unread), given.flags)

    def _result(
        self, match: Match | None, unread: tuple[str, ...], flags: tuple[str, ...]
    ) -> Result:
        score = match.score if match else 0
        band: Band = "hit" if score >= HIT else "review" if score >= REVIEW or unread else "clear"
        explanation = msgspec.structs.replace(
            match.explanation if match else Explanation(), not_evaluated=unread, flags=flags
        )
        if match is None:
            return Result(
                band=band,
                score=0,
                entry=None,
                list=None,
                list_version=None,
                explanation=explanation,
            )
        entry: Entry = self.index.entries[match.entry]
        info = self.index.lists[self.index.entry_list[match.entry]]
        return Result(
            band=band,
            score=score,
            entry=entry.uid,
            list=info.list_id,
            list_version=info.label,
            explanation=explanation,
            entry_digest=entry.digest,
        )

    def screen_parties(self, strings: Sequence[Labelled], on_date: str) -> ScreeningReport:
        """Screen every string of one subject; `on_date` (YYYY-MM-DD) picks the place rules in force."""
        screened = tuple(self._labelled(s, on_date) for s in strings)
        return ScreeningReport(
            band=max((s.band for s in screened), key=_SEVERITY.__getitem__, default="clear"),
            screened=screened,
            snapshot_id=self.snapshot_id,
            matcher_version=self.matcher_version,
            list_versions=(
                *(f"{i.list_id} {i.label}" for i in self.index.lists),
                f"places {gazetteer().version}",
            ),
        )

    def _labelled(self, string: Labelled, on_date: str) -> Screened:
        """Return the results of one labelled string: names, then identifiers, then places."""
        if string.kind == "text":
            results = self._in_text(string.text)
        elif string.kind == "place":
            results = []
        else:
            kind = "organisation" if string.kind == "bank" else string.kind
            results = [self.screen(string.text, kind, string.birth_date, string.country)]
        results += self._places(string, on_date)
        ranked = sorted(
            results,
            key=lambda r: (-_SEVERITY[r.band], -r.score, r.list or "", r.entry or ""),
        )
        kept = (
            [r for r in ranked if r.band != "clear"] or ranked[:1] or [self._result(None, (), ())]
        )
        return Screened(
            field=string.field,
            kind=string.kind,
            text=string.text,
            band=kept[0].band,
            results=tuple(kept),
        )

    def _in_text(self, text: str) -> list[Result]:
        """Return the listed names and identifiers that stand in running text."""
        words, unread, flags = text_words(text[:MAX_TEXT])
        if len(text) > MAX_TEXT:
            unread = (*unread, f"text beyond {MAX_TEXT} characters")
        found = in_text(self.matcher, words, text[:MAX_TEXT])
        results = [self._result(m, unread, flags) for m in found]
        return results or [self._result(None, unread, flags)]

    def _places(self, string: Labelled, on_date: str) -> list[Result]:
        """Return the results of the places and countries that a string names."""
        found: list[tuple[str, PlaceRule]] = []
        if string.kind not in ("person", "vessel"):
            words, _, _ = text_words(string.text[:MAX_TEXT])
            found += [(p.words, p.rule) for p in places_in(words, on_date)]
        codes = [country_code(string.country)] if string.country else []
        if string.kind == "place":
            codes.append(country_code(string.text))
        if string.kind == "bank" and _BIC.match(string.text.strip().upper()):
            codes.append(string.text.strip().upper()[4:6])
        found += [(code, rule) for code in codes for rule in country_rules(code, on_date)]
        by_rule = {rule: words for words, rule in reversed(found)}
        return [_place_result(words, rule) for rule, words in by_rule.items()]


_BIC = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?$")
_PLACE_SCORES: dict[str, int] = {"hit": FULL, "review": REVIEW, "clear": 0}


def _place_result(words: str, rule: PlaceRule) -> Result:
    """Return a place rule in the shape of a result; the entry is the place and its rule."""
    band: Band = rule.band  # type: ignore[assignment]
    return Result(
        band=band,
        score=_PLACE_SCORES[band],
        entry=f"{rule.country}:{rule.place}:{rule.rule}",
        list="places",
        list_version=gazetteer().version,
        explanation=Explanation(
            method="place",
            matched=rule.place,
            primary=rule.place,
            alias=f"{rule.rule} since {rule.since}",
            reading=words,
            similarity=_PLACE_SCORES[band],
        ),
        entry_digest=hashlib.sha256("|".join(rule).encode()).hexdigest(),
    )


def config_digest(config: Config) -> str:
    """Return the SHA-256 of a configuration, for the snapshot id."""
    return hashlib.sha256(msgspec.json.encode(config)).hexdigest()


def open_screener(
    lists: Sequence[ListSnapshot] | Callable[[], Sequence[ListSnapshot]] | None = None,
    *,
    cache: Path | None = None,
    config: Config | None = None,
    named: str = "",
) -> Screener:
    """Return a screener over lists, or over the shipped ones when None; `cache` is a folder for indexes.

    With a warm cache the shipped lists are not even read: their files' hash finds the index. Nor are
    those that a function would read, when `named` says which they are.
    """
    config = config or Config()
    digest = config_digest(config)
    versions = f"{NORMALISER_VERSION}|{compiled.INDEX_VERSION}|{MATCHER_VERSION}|{digest}"
    if lists is None:
        source = f"shipped|{shipped_digest()}"
    elif callable(lists):
        source = f"named|{named}"
    else:
        source = compiled.snapshot_id([s.info for s in lists], MATCHER_VERSION, digest)
    key = hashlib.sha256(f"{versions}|{source}".encode()).hexdigest()

    def make() -> Index:
        read = shipped_lists if lists is None else lists
        return compiled.build(read() if callable(read) else read, MATCHER_VERSION, digest)

    return Screener(compiled.cached(cache, key, make), config)


def self_test(screener: Screener, *, step: int = 1) -> Iterator[GateFinding]:
    """Give a finding for each primary name and strong alias that does not find its own entry.

    Found means: similarity at hit, or an identical name of another entry that ranks first. Every
    `step`-th entry is tried.
    """
    matcher, index = screener.matcher, screener.index
    for number in range(0, len(index.entries), step):
        entry = index.entries[number]
        for place, alias in enumerate(entry.names, start=1):
            if alias.quality != STRONG:
                continue
            best = matcher.best(Query(alias.name, entry.kind, "", ""))
            alike = best.explanation.similarity if best is not None else 0
            own = best is not None and best.entry == number
            if alike < HIT or not (own or alike == FULL):
                list_id = index.lists[index.entry_list[number]].list_id
                text = f"{list_id} {entry.uid}: name {place} does not find its entry"
                yield GateFinding(code="NAME_NOT_FOUND", message=text)


def gate(
    new: ListSnapshot,
    previous: ListInfo | None = None,
    *,
    approve_count: bool = False,
    config: Config | None = None,
) -> tuple[GateFinding, ...]:
    """Return what speaks against activating a list version; it may be used when no finding blocks.

    Nothing is activated here, in part or whole: the caller swaps to the new list only afterwards.
    """
    found = list(check_counts(new, previous, approve_count=approve_count))
    if new.entries:
        found += self_test(open_screener([new], config=config))
    return tuple(found)


class BatchLine(msgspec.Struct, frozen=True):
    """One line of a batch; all but the name may be null or absent."""

    name: str
    id: str | int | None = None
    type: Kind | None = "unknown"
    birth_date: str | None = None
    country: str | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """The answer to one line of a batch."""

    id: str | int | None
    band: Band
    score: int
    entry: str | None
    list: str | None
    list_version: str | None
    explanation: Explanation


class BatchError(msgspec.Struct, frozen=True):
    """The answer to a line that could not be read; `error` carries no value of the line."""

    id: str | int | None
    line: int
    error: str


def screen_batch(screener: Screener, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Screen JSON lines and give one JSON line for each that is not blank; never raises for input."""
    decoder = msgspec.json.Decoder(BatchLine)
    encode = msgspec.json.Encoder().encode
    for number, read in enumerate(lines, start=1):
        if not read.strip():
            continue
        line = read.removeprefix(b"\xef\xbb\xbf") if number == 1 else read
        try:
            asked = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield encode(BatchError(_id_of(line), number, _reason(error)))
            continue
        r = screener.screen(
            asked.name, asked.type or "unknown", asked.birth_date or "", asked.country or ""
        )
        yield encode(
            BatchAnswer(asked.id, r.band, r.score, r.entry, r.list, r.list_version, r.explanation)
        )


def _id_of(line: bytes) -> str | int | None:
    """Return the id of a line whose other fields are wrong, if it can be read."""

    class OnlyId(msgspec.Struct):
        id: str | int | None = None

    try:
        return msgspec.json.decode(line, type=OnlyId).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _reason(error: Exception) -> str:
    """Return why a line was not read, and what to do, without its values."""
    if isinstance(error, msgspec.ValidationError):
        at = re.search(r"\$[.\w]*", str(error))
        return f"a wrong or missing field at {at[0] if at else '$'}; correct it and send the line again"
    return "not a JSON object in UTF-8; send one object on each line"
