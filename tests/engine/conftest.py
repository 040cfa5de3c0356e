"""Worlds on each log for the owner's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bank_world import Bank
from sim_world import Make, simulated
from toy_world import (
    NOON,
    World,
    kafka_world,
    sqlite_world,
)

from usance.adapters.postgres_views import PostgresViews
from usance.adapters.sqlite_views import SqliteViews
from usance.engine.projections.reading import Views
from usance.kernel.clock import BookClock
from usance.testing.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_views(request: pytest.FixtureRequest) -> Iterator[Callable[[], Callable[[], Views]]]:
    """Give what opens an empty store, and the same one as often as it is called."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:

        def new() -> Callable[[], Views]:
            made: Callable[[], Views]
            if request.param == "sqlite":
                made = partial(SqliteViews, Path(tempfile.mkdtemp(dir=folder)) / "views.sqlite")
            else:
                server: PostgresServer = request.getfixturevalue("postgres")
                made = partial(PostgresViews, server.address())
            return lambda: opened.enter_context(closing(made()))

        yield new


@pytest.fixture
def bank(new_views: Callable[[], Callable[[], Views]]) -> Bank:
    return Bank(new_views())


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
