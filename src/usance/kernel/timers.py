"""Timer facts: events in the stream of whoever waits, and the command that tells it the time has come."""

from __future__ import annotations

import msgspec


class TimerSet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A timer was armed. `due` is ms UTC; calendar and version say by which rules it was computed."""

    timer_id: str
    due: int
    reason: str
    calendar: str = ""
    calendar_version: str = ""


class TimerCancelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A timer was disarmed before it fired."""

    timer_id: str


class TimerFired(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A timer fired; `late` is how many ms after its due instant."""

    timer_id: str
    due: int
    late: int


class FireTimer(msgspec.Struct, frozen=True, kw_only=True):
    """Control command from the owner to its own partition: fire this timer if it is armed and due."""

    timer_id: str
    due: int


class TimerDue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a decider is given when its timer fires; never stored."""

    timer_id: str
    due: int
    reason: str
