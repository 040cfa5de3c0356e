"""Places and countries that hold a deal by themselves: embargoed territories, FATF call for action.

Both are effective-dated data, so that a decision replayed later sees the list of its own day.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import NamedTuple

from rapidfuzz.distance import OSA

from usance.aml.lists import countries
from usance.aml.names import DATA, prepare

_LONGEST = 5
_BANDS = {
    "embargo": "hit",
    "embargo_partial": "review",
    "countermeasures": "hit",
    "edd": "review",
    "monitoring": "clear",
}


class PlaceRule(NamedTuple):
    """Why a place matters between two ISO dates (inclusive; empty: open). `rule` decides the band."""

    place: str
    rule: str
    country: str
    since: str
    until: str

    @property
    def band(self) -> str:
        """The band that this rule alone gives: hit, review or clear."""
        return _BANDS[self.rule]

    def in_force(self, on_date: str) -> bool:
        """Say whether the rule holds on an ISO date."""
        return self.since <= on_date and (not self.until or on_date <= self.until)


class Gazetteer(NamedTuple):
    """Place rules by normalised spelling and by country code; `version` names the data used."""

    names: dict[str, tuple[PlaceRule, ...]]
    by_country: dict[str, tuple[PlaceRule, ...]]
    version: str


@cache
def gazetteer() -> Gazetteer:
    """Load the places and country lists (data/reference/PROVENANCE.md)."""
    folder = DATA / "reference"
    raw = [(folder / f).read_bytes() for f in ("places.json", "fatf.json", "countries.json")]
    places, fatf = json.loads(raw[0]), json.loads(raw[1])
    by_country: dict[str, tuple[PlaceRule, ...]] = {}
    for row in fatf["rows"]:
        rule = PlaceRule(
            row["country"], row["measure"], row["country"], row["from"], row["to"] or ""
        )
        by_country[rule.country] = (*by_country.get(rule.country, ()), rule)
    names: dict[str, tuple[PlaceRule, ...]] = {}
    for row in places["rows"]:
        measures = by_country.get(row["country"], ()) if row["rule"] == "call_for_action" else ()
        own = PlaceRule(row["place"], row["rule"], row["country"], row["from"], row["to"] or "")
        for name in row["names"]:
            key = " ".join(prepare(name).words)
            names[key] = names.get(key, ()) + (measures or (own,))
    for name, code in countries().items():
        if code in by_country and len(name) > 3:
            names[" ".join(prepare(name).words)] = by_country[code]
    digest = hashlib.sha256(b"".join(raw)).hexdigest()[:16]
    return Gazetteer(names, by_country, f"{places['version']}+{fatf['version']}+{digest}")


class PlaceFinding(NamedTuple):
    """A place found in a text: the words as written, and the rule in force on the day."""

    words: str
    rule: PlaceRule


def places_in(words: tuple[str, ...], on_date: str) -> list[PlaceFinding]:
    """Return the places that normalised words name, with rules in force on an ISO date."""
    names = gazetteer().names
    found = []
    for start in range(len(words)):
        for size in range(1, min(_LONGEST, len(words) - start) + 1):
            phrase = " ".join(words[start : start + size])
            rules = names.get(phrase) or _near(phrase)
            found += [PlaceFinding(phrase, r) for r in rules if r.in_force(on_date)]
    return list(dict.fromkeys(found))


def _near(phrase: str) -> tuple[PlaceRule, ...]:
    """Return the rules of an embargoed place one edit from a long word; countries must be exact."""
    if len(phrase) < 7 or " " in phrase:
        return ()
    for name in _long_places():
        if abs(len(name) - len(phrase)) <= 1 and OSA.distance(phrase, name, score_cutoff=1) <= 1:
            return gazetteer().names[name]
    return ()


@cache
def _long_places() -> tuple[str, ...]:
    names = gazetteer().names
    rules = ("embargo", "embargo_partial")
    return tuple(
        sorted(n for n, r in names.items() if len(n) >= 7 and " " not in n and r[0].rule in rules)
    )


def country_rules(code: str, on_date: str) -> list[PlaceRule]:
    """Return the rules of a country (ISO 3166 alpha-2) in force on an ISO date."""
    return [r for r in gazetteer().by_country.get(code, ()) if r.in_force(on_date)]
