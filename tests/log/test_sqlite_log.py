"""The embedded log keeps the contract, and its promises hold against the machine it runs on."""

from __future__ import annotations

from pathlib import Path

from usance.adapters.sqlite_log import SqliteLog
from usance.kernel.clock import BookClock
from usance.testing.conformance import LogConformance


class TestConformance(LogConformance):
    """The contract, as every backend keeps it."""

    def open_log(self, folder: Path, clock: BookClock) -> SqliteLog:
        """Return a new log."""
        return SqliteLog.open(folder / "log.sqlite", clock=clock)
