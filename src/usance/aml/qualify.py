"""What beside the spelling speaks for or against a match: numbers, legal forms, dates, countries, ships."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from usance.aml.index import ListedName
from usance.aml.lists import Entry, country_code
from usance.aml.names import Name, number_of

FULL = 10_000
HIT = 9_000
REVIEW = 8_000
BELOW_HIT = HIT - 1


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers a bank may calibrate, all in basis points; part of every snapshot id.

    `floor`: weakest similarity reported at all. Penalties lower a score; `birth`, `country` and
    `kind` never below review, because a difference there may be an error of the document.
    """

    floor: int = 7_000
    birth_conflict: int = 2_500
    country_conflict: int = 1_000
    kind_conflict: int = 1_000
    ship_conflict: int = 3_000
    number_conflict: int = 3_000
    short_names_hit: bool = False


class Qualifier(msgspec.Struct, frozen=True, gc=False):
    """Something beside the spelling that changed the score, or would have; `effect` in basis points."""

    kind: str
    detail: str
    effect: int


class Query(NamedTuple):
    """What is screened: one reading of a string, and what is known of its bearer."""

    text: str
    kind: str
    birth_date: str
    country: str


def company_qualifiers(
    config: Config, name: Name, given: tuple[str, ...], listed: ListedName
) -> Iterable[Qualifier]:
    """Compare numbers and legal forms exactly."""
    ours = tuple(sorted(filter(None, map(number_of, given))))
    if ours != listed.numbers:
        detail = f"{'+'.join(ours) or 'none'} against {'+'.join(listed.numbers) or 'none'}"
        if ours and listed.numbers:
            yield Qualifier("number_conflict", detail, -config.number_conflict)
        else:
            yield Qualifier("number_missing_cap", detail, 0)
    if name.forms and listed.forms and not set(name.forms) & set(listed.forms):
        detail = f"{'+'.join(name.forms)} against {'+'.join(listed.forms)}"
        yield Qualifier("legal_form_cap", detail, 0)


def ship_conflict(config: Config, query: Query, entry: Entry) -> Iterable[Qualifier]:
    """Lower a ship whose name agrees and whose IMO number does not: a sister ship, most often."""
    listed = [i for i in entry.ids if i.startswith("IMO:")]
    given = [n for n in _SEVEN_DIGITS.findall(query.text) if valid_imo(n)]
    if listed and given and not any(f"IMO:{n}" in listed for n in given):
        yield Qualifier("imo_conflict", "another IMO number", -config.ship_conflict)


_SEVEN_DIGITS = re.compile(r"(?<!\d)\d{7}(?!\d)")


def valid_imo(number: str) -> bool:
    """Say whether seven digits are an IMO ship number: weights 7 to 2, the sum's last digit checks."""
    if len(number) != 7 or not number.isdecimal() or not number.isascii():
        return False
    total = sum(int(d) * w for d, w in zip(number, range(7, 1, -1), strict=False))
    return total % 10 == int(number[6])


def lowered(similarity: int, qualifiers: Iterable[Qualifier]) -> int:
    """Apply qualifiers: hard conflicts, caps, then soft ones, which never carry below review.

    A name that stands whole in the other is for review, unless a fact speaks against it.
    """
    score = similarity
    soft = 0
    whole = 0
    capped = False
    for q in qualifiers:
        if q.kind == WHOLE:
            whole = REVIEW
            continue
        if q.kind.endswith("_cap"):
            capped = True
        elif q.kind in ("number_conflict", "imo_conflict", "ship_or_person"):
            score += q.effect
        else:
            soft += q.effect
    if capped:
        score = min(score, BELOW_HIT)
    if not soft:
        score = max(score, min(whole, score + REVIEW - similarity))
    return max(score + soft, min(score, REVIEW))


WHOLE = "stands_whole"
"""Kind of the qualifier of a name all of whose words stand in the other name."""


def known_facts(config: Config, query: Query, entry: Entry) -> Iterable[Qualifier]:
    """Compare birth date, country and kind where both sides state them."""
    if query.birth_date and entry.births:
        if not _YEAR.match(query.birth_date):
            yield Qualifier("birth_not_read", "no date of the form YYYY-MM-DD", 0)
        elif not any(_births_agree(query.birth_date, b) for b in entry.births):
            detail = f"{query.birth_date[:10]} against {', '.join(entry.births)}"
            yield Qualifier("birth_conflict", detail, -config.birth_conflict)
        else:
            yield Qualifier("birth_agrees", "within one year", 0)
    country = country_code(query.country) if query.country else ""
    if country and entry.countries:
        if country not in entry.countries:
            detail = f"{country} against {', '.join(entry.countries)}"
            yield Qualifier("country_conflict", detail, -config.country_conflict)
        else:
            yield Qualifier("country_agrees", country, 0)
    kinds = {query.kind, entry.kind}
    if query.kind != "unknown" and len(kinds) == 2:
        detail = f"{query.kind} against {entry.kind}"
        if "person" in kinds and kinds & {"vessel", "aircraft"}:
            yield Qualifier("ship_or_person", detail, -config.ship_conflict)
        else:
            yield Qualifier("kind_conflict", detail, -config.kind_conflict)


_YEAR = re.compile(r"\d{4}")


def _births_agree(given: str, listed: str) -> bool:
    """Say whether two birth dates lie within one year; YYYY/YYYY is a range of years."""
    ours = _YEAR.match(given)
    years = [int(y[:4]) for y in listed.split("/") if _YEAR.match(y)]
    if ours is None or not years:
        return True
    return min(years) - 1 <= int(ours[0]) <= max(years) + 1
