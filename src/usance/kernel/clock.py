"""Time as a port. Instants are integer milliseconds since the epoch, UTC; nothing else reads a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

Instant = int
"""Milliseconds since 1970-01-01T00:00:00Z."""

MS_PER_SECOND = 1_000
MS_PER_MINUTE = 60_000
MS_PER_HOUR = 3_600_000
MS_PER_DAY = 86_400_000


class Clock(Protocol):
    """Port of time: wall instants, and a monotonic counter for durations."""

    def now(self) -> Instant:
        """Return the current instant in milliseconds UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Instant:
        """Return the wall clock in milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)


class BookClock:
    """A clock that stands at a book's instant until it is told to move on.

    `start` sets it; `advance_to` jumps forward (never back); `run` lets it tick at real speed from
    where it stands, as the demo does after its last input.
    """

    def __init__(self, start: Instant) -> None:
        self._base = start
        self._ticking_since: float | None = None

    def now(self) -> Instant:
        """Return the book's instant."""
        if self._ticking_since is None:
            return self._base
        return self._base + int((time.monotonic() - self._ticking_since) * 1000)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds: waiting is real even when the book's time is not."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)

    def advance_to(self, instant: Instant) -> None:
        """Jump to `instant` if it lies ahead."""
        if instant > self.now():
            self._base = instant
            if self._ticking_since is not None:
                self._ticking_since = time.monotonic()

    def run(self) -> None:
        """Tick at real speed from here."""
        self._base = self.now()
        self._ticking_since = time.monotonic()


def iso(instant: Instant) -> str:
    """Return an instant as RFC 3339 text with milliseconds and `Z`."""
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_instant(text: str) -> Instant:
    """Return the instant of RFC 3339 text; raises ValueError when it has no zone or is malformed."""
    when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if when.tzinfo is None:
        raise ValueError("an instant needs a zone, such as 2026-11-23T09:00:00Z")
    return round(when.timestamp() * 1000)


def date_text(instant: Instant) -> str:
    """Return the UTC calendar date of an instant as YYYY-MM-DD."""
    return iso(instant)[:10]
