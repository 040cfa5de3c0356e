"""The flow strip: what moved in the last fifteen minutes, looked at four times a minute."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from weakref import WeakKeyDictionary

import msgspec
from starlette.concurrency import run_in_threadpool

from usance.bootstrap.observing import behind
from usance.engine.projections.reading import Where
from usance.kernel.clock import MS_PER_SECOND, Clock, SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import UsanceError
from usance.web.backend import Backend

EVERY_S = 15
KEPT = 61
"""Looks that are kept: fifteen minutes and their first."""
NOBODY = Actor("", "", "")
SHOWN = ("trade",)
"""What is counted: how much compliance writes would tell everybody that there is something."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at an instant (ms UTC, the machine's). Rates are of offsets since the look before."""

    at: int
    commands_per_s: int
    events_per_s: int
    lag_s: int
    dead_letters: int
    parked_keys: int


class Flow:
    """The last looks at one program."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.moments: deque[Moment] = deque(maxlen=KEPT)
        self._before: tuple[int, int, int] | None = None

    def take(self, backend: Backend) -> None:
        """Look once; raises as the log and the views do."""
        log, topics = backend.queries.log, backend.queries.topics
        now = self.clock.now()
        commands = sum(log.ends(topics.all_at("commands", SHOWN)).values())
        events = sum(log.ends(topics.all_at("events", SHOWN)).values())
        with backend.queries.reading(NOBODY) as reading:
            letters = reading.count("dead_letters", (Where("state", "=", "open"),))
            parked = reading.count("parked_keys")
            checkpoints = reading.checkpoints()
        late = 0
        for places in checkpoints.values():
            ends = log.ends(places)
            for place, at in places.items():
                _, seconds = behind(log, place, at.offset, ends[place], backend.clock.now())
                late = max(late, round(seconds))
        then, had_commands, had_events = self._before or (now, commands, events)
        elapsed = max(1, now - then)
        self._before = now, commands, events
        self.moments.append(
            Moment(
                at=now,
                commands_per_s=(commands - had_commands) * MS_PER_SECOND // elapsed,
                events_per_s=(events - had_events) * MS_PER_SECOND // elapsed,
                lag_s=late,
                dead_letters=letters,
                parked_keys=parked,
            )
        )


_FLOWS: WeakKeyDictionary[Backend, Flow] = WeakKeyDictionary()


def flow_of(backend: Backend) -> Flow:
    """Return the flow of a program; empty until it is served."""
    return _FLOWS.setdefault(backend, Flow())


async def watch(backend: Backend) -> None:
    """Look again and again, until cancelled; a look that fails is left out."""
    flow = flow_of(backend)
    while True:
        with suppress(UsanceError, ValueError):
            await run_in_threadpool(flow.take, backend)
        await asyncio.sleep(EVERY_S)


def sparkline(values: list[int], width: int = 240, height: int = 36) -> str:
    """Return the points of a polyline, left to right as time goes; the largest value touches the top."""
    top, steps = max([*values, 1]), max(1, len(values) - 1)
    return " ".join(
        f"{n * width // steps},{height - 2 - value * (height - 4) // top}"
        for n, value in enumerate(values)
    )
