"""Partitions that wait by themselves before a record that cannot be read yet, as while a registry is down.

Others of the owner go on. Each is tried again after a pause that grows, and that is long beside the time which
the last try took: whoever answers late does not hold the others up either.
"""

from __future__ import annotations

from typing import NamedTuple

from usance.engine.topics import Place

FIRST_S, MOST_S = 0.5, 30.0
"""Seconds of the first pause, and what it grows to."""
SHARE = 10
"""A pause is at least so many times as long as the try before it."""


class _Rest(NamedTuple):
    due: float
    pause: float
    tried: bool


class Rests:
    """When each waiting partition is tried again, in monotonic seconds."""

    def __init__(self) -> None:
        self._rests: dict[Place, _Rest] = {}

    def wait(self, place: Place, now: float, spent: float) -> None:
        """Let a partition wait after a try of `spent` seconds: longer each time."""
        before = self._rests.get(place)
        pause = FIRST_S if before is None else min(MOST_S, 2 * before.pause)
        self._rests[place] = _Rest(now + max(pause, SHARE * spent), pause, tried=False)

    def due(self, now: float) -> list[Place]:
        """Return the partitions to be tried again; each is told once."""
        found = {p: r for p, r in self._rests.items() if not r.tried and r.due <= now}
        self._rests |= {place: rest._replace(tried=True) for place, rest in found.items()}
        return [*found]

    def over(self, place: Place) -> None:
        """Forget a partition: it was read on, or is another's."""
        self._rests.pop(place, None)

    def any(self) -> bool:
        """Tell whether any partition waits."""
        return bool(self._rests)

    def holds(self, place: Place) -> bool:
        """Tell whether a partition waits by itself."""
        return place in self._rests
