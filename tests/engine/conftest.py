"""Worlds on each log for the owner's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sim_world import Make, simulated
from toy_world import (
    NOON,
    World,
    kafka_world,
    sqlite_world,
)

from usance.kernel.clock import BookClock

KAFKA = pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.slow])


@pytest.fixture(params=["simulated", "sqlite", KAFKA])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return a maker of worlds on each log."""
    made: list[World] = []

    def world(**more: Any) -> World:
        clock = BookClock(NOON)
        if request.param == "simulated":
            found = simulated(clock=clock, **more)
        elif request.param == "kafka":
            found = kafka_world(request.getfixturevalue("kafka"), clock, **more)
        else:
            found = sqlite_world(tmp_path, clock, **more)
        made.append(found)
        return found

    yield world
    for found in made:
        found.log.close()
