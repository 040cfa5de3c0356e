"""How long to let records gather before a unit begins, where a commit costs a cluster a round of its own.

Below a few milliseconds each commit carries few records, and each costs the brokers half a dozen writes: they,
not the owner, become the queue. At a low rate nobody should wait for that; so the pause follows the load.
"""

from __future__ import annotations

import math
from typing import NamedTuple

RATE_WINDOW_S = 0.1
"""Arrivals are averaged over about this time."""
COMMIT_WEIGHT = 0.2
"""What the newest commit counts in the average of commit times."""
TARGET_P50_S = 0.010
GATHER_MAX_S = 0.005
CROWD = 2.0
"""Records that arrive within one commit from which on gathering pays."""
THRONG = 64.0
"""Records that arrive within one commit from which on they are decided while it is under way: fewer are decided
faster than a commit ends, and those of a unit that waits ready to be sent keep later ones out of it."""
HOLD_MAX_S = 0.02


class Load(NamedTuple):
    """What is known of the load: arrivals per second, seconds per commit."""

    rate: float = 0.0
    commit: float = 0.0

    def arrived(self, records: int, seconds: float) -> Load:
        """Return the load after so many more records in so many seconds."""
        if seconds <= 0.0:
            return self
        old = math.exp(-seconds / RATE_WINDOW_S)
        return self._replace(rate=self.rate * old + records / seconds * (1.0 - old))

    def committed(self, seconds: float) -> Load:
        """Return the load after a commit that took so long."""
        if not self.commit:
            return self._replace(commit=seconds)
        return self._replace(commit=self.commit + COMMIT_WEIGHT * (seconds - self.commit))


def gather(load: Load, target: float = TARGET_P50_S) -> float:
    """Return seconds that a unit should wait for company; `target` is the median latency wanted."""
    if load.rate * load.commit < CROWD:
        return 0.0
    return min(GATHER_MAX_S, target / 3.0)


def hold(load: Load) -> float:
    """Return seconds for which to wait for the unit under way to be written before reading for the next."""
    return HOLD_MAX_S if load.rate * load.commit < THRONG else 0.0


class Pace:
    """The load as a loop meets it, and when it last began a unit."""

    def __init__(self) -> None:
        self.load = Load()
        self._read_at: float | None = None
        self._begun_at: float | None = None
        self._asked_at = 0.0

    def pause(self, now: float) -> float:
        """Return how long to wait before reading, so that units begin at least a gathering apart."""
        if self._begun_at is None:
            return 0.0
        return max(0.0, self._begun_at + gather(self.load) - now)

    def hold(self) -> float:
        """Return how long to wait for the unit under way before more is read."""
        return hold(self.load)

    def read(self, records: int, now: float) -> None:
        """Note a read that ended now."""
        if self._read_at is not None:
            self.load = self.load.arrived(records, now - self._read_at)
        self._read_at = now
        if records:
            self._begun_at = now

    def asked(self, now: float) -> None:
        """Note that a commit was asked for."""
        self._asked_at = now

    def committed(self, now: float) -> None:
        """Note that it is done."""
        self.load = self.load.committed(now - self._asked_at)
