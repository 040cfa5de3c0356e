"""What a newer list version finds that an older one could not."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from usance.aml.index import Index
from usance.aml.qualify import REVIEW
from usance.aml.screening import Screened, Screener, ScreeningReport

Fresh = Mapping[str, frozenset[str]]
"""By list, the digests of the entries that a version had; a list that is missing had none."""


def labels(named: tuple[str, ...]) -> dict[str, str]:
    """Return the version label of each list as a screening names them: `un 2026-02-27+...`."""
    return dict(text.split(" ", 1) for text in named if " " in text)


def narrowed(screener: Screener, had: Fresh) -> Screener:
    """Return a screener that finds only entries that are not among those `had`, with the same scores.

    Words, their weights and how common they are stay those of the whole snapshot, and so does its id: only
    what leads to names is left out. To screen with all and drop what was known would lose the new entry
    behind an old one that resembles the string more.
    """
    index = screener.index
    listed = [had.get(info.list_id, frozenset()) for info in index.lists]
    fresh = [
        entry.digest not in listed[number]
        for entry, number in zip(index.entries, index.entry_list, strict=True)
    ]
    names = [fresh[name.entry] for name in index.names]

    def kept(numbers: dict[str, list[int]]) -> dict[str, list[int]]:
        left = {key: [n for n in found if names[n]] for key, found in numbers.items()}
        return {key: found for key, found in left.items() if found}

    identified = {key: [n for n in found if fresh[n]] for key, found in index.identifiers.items()}
    restricted: Index = msgspec.structs.replace(
        index,
        postings=[[n for n in found if names[n]] for found in index.postings],
        joined=kept(index.joined),
        pairs=kept(index.pairs),
        identifiers={key: found for key, found in identified.items() if found},
    )
    return Screener(restricted, screener.matcher.config)


def finds(report: ScreeningReport) -> ScreeningReport:
    """Return a report with entries of lists alone: places and what could not be read were told before."""
    kept = tuple(s for s in map(_listed, report.screened) if s is not None)
    worst = "hit" if any(s.band == "hit" for s in kept) else "review"
    return msgspec.structs.replace(report, band=worst if kept else "clear", screened=kept)


def _listed(screened: Screened) -> Screened | None:
    results = tuple(r for r in screened.results if r.entry_digest and r.score >= REVIEW)
    results = tuple(r for r in results if r.list != "places")
    if not results:
        return None
    return msgspec.structs.replace(screened, band=results[0].band, results=results)
