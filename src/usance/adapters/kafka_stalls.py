"""Partitions that the consumer has silently stopped fetching, though they have more to read.

A client whose brokers failed while it moved can wait for ever for an answer that nobody owes it any more, and
tells nothing. What lies unread the broker itself knows, and a partition that stands still before it is moved anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from usance.kernel.clock import Clock
from usance.log.contract import TopicPartition

LOOK_SECONDS = 5.0
"""Time between two questions of a member that has nothing to read."""
STALL_SECONDS = 10.0
"""How long a partition may stand still before records that it does not hand out."""
STALLS_MAX = 3
"""Moves of one partition in vain, after which the client is given up."""

Unread = Callable[[TopicPartition, int, int], bool]


class Stalls:
    """What one member remembers of partitions that stand still."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked = clock.monotonic()
        self._still: dict[TopicPartition, tuple[int, float]] = {}
        self._moved: Counter[TopicPartition] = Counter()

    def due(self) -> bool:
        """Tell whether it is time to look; asked by whoever found nothing to read."""
        now = self._clock.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        return True

    def look(
        self,
        at: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        unread: Unread,
    ) -> list[TopicPartition]:
        """Return the partitions to be moved anew: they stand at `at` before an end, and records lie between.

        `unread` asks the broker whether a record lies between two offsets; markers are none.
        """
        now = self._clock.monotonic()
        for place in [p for p in self._still if ends.get(p, 0) <= at.get(p, 0)]:
            del self._still[place]
            self._moved.pop(place, None)
        found = []
        for place, end in ends.items():
            if end <= at[place]:
                continue
            offset, since = self._still.get(place, (-1, now))
            if offset != at[place]:
                self._still[place] = (at[place], now)
                self._moved.pop(place, None)
            elif now - since > STALL_SECONDS and unread(place, offset, end):
                self._still[place] = (offset, now)
                self._moved[place] += 1
                found.append(place)
        return found

    def hopeless(self) -> TopicPartition | None:
        """Return a partition that was moved in vain too often, if there is one."""
        return next((p for p, times in self._moved.items() if times > STALLS_MAX), None)
