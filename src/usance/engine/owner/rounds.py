"""The snapshot rounds of one partition (rule 6): what the next one carries, and from where a restore then folds.

Nothing here moves before the log has taken a round: what is lost is written again. Rounds list only what changed,
so that their manifests would pile up: now and then everything is listed anew, and what came before is withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from usance.engine.owner.snapshots import (
    SLICE_RECORDS,
    SealState,
    Taken,
    make_round,
    manifest_key,
    slice_of,
)
from usance.engine.owner.state import Entry, Tail
from usance.kernel.decider import Decider

SWEEP_TIMES = 4
SWEEP_LEAST = 10_000
"""Everything is listed anew when so many times as many aggregates were listed as there are, and so many more."""
WITHDRAWN_MAX = 500
"""Manifests that one round withdraws."""


class Slice(NamedTuple):
    """What a round carries of the changed aggregates; `last` says that nothing is left over."""

    taken: list[Taken]
    large: list[str]
    last: bool


class Rounds:
    """What the snapshots of a partition lack."""

    def __init__(
        self,
        number: int,
        restart: tuple[int, Tail],
        changed: Iterable[str],
        *,
        first: int = 1,
        since: int = 0,
        listed: int = 0,
    ) -> None:
        """Begin where the log stands: `changed` is what its rounds from `since` on lack; without any, all."""
        self.number = number
        """Of the last round that was written."""
        self.restart = restart
        self.base = not since
        """Whether the next round owes nothing to those before: the log has none that could be trusted."""
        self.anew = True
        """Whether the next manifest must hold all counts of uses: those since the last one are not known."""
        self.dirty: dict[str, None] = dict.fromkeys(changed)
        """Aggregates that changed since the rounds in the log: before `restart` moves, all of them are in one."""
        self.events = 0
        """Events since the last round."""
        self.since = since or number + 1
        """The first round that a restore needs."""
        self.listed = listed
        """Aggregates listed since then, repetitions included."""
        self.first = first
        """The first round whose manifest is not withdrawn."""
        self.sweep = 0 if since else number + 1
        """The round that began to list everything, 0 for none."""
        self.large: set[str] = set()
        """Aggregates that are too large for a snapshot: their events must be read at every restore."""

    def changed(self, keys: Iterable[str], events: int) -> None:
        """Note aggregates that events have changed."""
        self.dirty.update(dict.fromkeys(keys))
        self.events += events

    def slice(
        self,
        entries: Mapping[str, Entry],
        deciders: Mapping[str, Decider[Any]],
        most: int = SLICE_RECORDS,
        seal: SealState | None = None,
    ) -> Slice:
        """Return what the next round carries."""
        large: list[str] = []
        taken = slice_of(self.dirty, entries, deciders, most, seal, large)
        return Slice(taken, large, len(taken) + len(large) == len(self.dirty))

    def restarts(self, found: Slice) -> bool:
        """Tell whether a restore need not fold what came before, once the log has this slice."""
        return found.last and not found.large and not self.large

    def records(
        self, found: Slice, restart: tuple[int, Tail], unit: int, uses: Mapping[bytes, int]
    ) -> list[tuple[bytes, bytes | None]]:
        """Return the records of the next round; `restart` is where a restore with it begins to fold."""
        number = self.number + 1
        since = self.sweep if found.last else 0
        old = range(self.first, min(since or self.since, self.first + WITHDRAWN_MAX))
        made: list[tuple[bytes, bytes | None]] = [(manifest_key(n), None) for n in old]
        made += make_round(number, self.base, restart, unit, found.taken, uses, since)
        return made

    def everything(self, found: Slice) -> bool:
        """Tell whether the next manifest must hold all that manifests hold, and not only what is new."""
        return self.anew or (found.last and self.sweep > 0)

    def failed(self) -> None:
        """Note that the log did not take a round."""
        self.events = 0
        self.anew = True

    def written(
        self, found: Slice, restart: tuple[int, Tail], entries: Mapping[str, Entry]
    ) -> None:
        """Note that the log has the round, and whether everything is to be listed anew from the next on."""
        self.number += 1
        self.restart = restart
        self.base = self.anew = False
        self.large.difference_update(t.key for t in found.taken)
        self.large.update(found.large)
        for key in (*(t.key for t in found.taken), *found.large):
            del self.dirty[key]
        self.listed += len(found.taken)
        if found.last and self.sweep:
            self.since, self.sweep = self.sweep, 0
            self.listed = len(entries)
        self.first = max(self.first, min(self.since, self.first + WITHDRAWN_MAX))
        if found.last and self.listed > SWEEP_TIMES * len(entries) + SWEEP_LEAST:
            self.sweep = self.number + 1
            self.dirty = dict.fromkeys(entries)

    @property
    def waits(self) -> bool:
        """Tell whether something is left over for the next round, without a new event."""
        return bool(self.dirty)
