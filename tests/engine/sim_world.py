"""Worlds on the simulated log, and what tests do to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toy_world import (
    NOON,
    World,
)

from usance.kernel.clock import BookClock
from usance.testing.sim_hazards import Hazards
from usance.testing.sim_log import SimulatedLog

Make = Callable[..., World]


def simulated(
    *, seed: int = 0, hazards: Hazards | None = None, clock: BookClock | None = None, **more: Any
) -> World:
    """Return a world on the simulated log."""
    clock = clock or BookClock(NOON)
    return World(SimulatedLog(clock, seed=seed, hazards=hazards), clock, **more)


def sim(world: World) -> SimulatedLog:
    assert isinstance(world.log, SimulatedLog)
    return world.log


def tick(world: World, ms: int) -> None:
    assert isinstance(world.clock, BookClock)
    world.clock.advance_to(world.clock.now() + ms)
