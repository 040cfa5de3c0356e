"""Payments fed to the toy log on a broker, and that each counts once: what tests of faults have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from toy_world import World

from usance.engine.owner.owner import Owner
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable

KEYS = "abcdef"
AMOUNTS = tuple(range(1, 11))
clock = SystemClock()


def until(true: Callable[[], object], seconds: float = 40.0) -> None:
    deadline = clock.monotonic() + seconds
    while not true():
        assert clock.monotonic() < deadline, "it did not come about"
        clock.sleep(0.05)


def fed(world: World) -> World:
    for key in KEYS:
        world.pay(key, AMOUNTS)
    return world


def whole(world: World) -> None:
    """Every payment counts once, was answered once, and the log is whole."""
    assert world.balances() == dict.fromkeys(KEYS, sum(AMOUNTS))
    for key in KEYS:
        for number in range(len(AMOUNTS)):
            assert world.answers(f"{key}-{number}") == ["accepted"]


def stepped(owner: Owner, world: World, until: Callable[[], object], seconds: float = 40.0) -> None:
    """Step an owner, through troubles that pass, until something is so."""
    deadline = clock.monotonic() + seconds
    while not until():
        assert clock.monotonic() < deadline, "it did not come about"
        try:
            owner.step(world.wait)
        except Unavailable:
            clock.sleep(0.1)
