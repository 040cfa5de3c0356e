"""The read models in a process of their own: kept up, started again, gone with their parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.bootstrap.viewing import ViewsApart
from usance.config import load
from usance.kernel.clock import SystemClock
from usance.testing.workload import Workload

CLOCK = SystemClock()


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something, or fail."""
    deadline = CLOCK.monotonic() + seconds
    while not true():
        assert CLOCK.monotonic() < deadline, "it did not come in time"
        CLOCK.sleep(0.02)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """Give the owner's process with gateway, owner and views, the views apart."""
    made = Runtime(Folder(tmp_path), load(None, {"data": str(tmp_path)}, {}).settings)
    made.parts = {name: made.parts[name] for name in ("gateway", "owner", "projector")}
    made.start(views_apart=True)
    yield made
    made.close()


def shown(runtime: Runtime) -> int:
    """Return how many credits the views show."""
    with runtime.views.reading() as reading:
        count: int = reading.count("credits")
    return count


def test_views_apart_are_kept_started_again_and_end_with_their_parent(runtime: Runtime) -> None:
    apart, work = runtime.projector, Workload(5)
    assert isinstance(apart, ViewsApart)

    def send(count: int) -> None:
        runtime.store.commands().append(work.take(count), runtime.clock.now())

    send(20)
    until(lambda: shown(runtime) == 10 and apart.idle())
    assert apart.lag()["book"] == 0
    place = runtime.store.topics.at("trade", "events", 0)
    assert 0 < (apart.taken_in(place) or 0) <= runtime.store.log.end(place)
    first = apart._process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    send(20)
    until(lambda: shown(runtime) == 20 and apart.idle())
    assert apart.starts == 2
    until(lambda: not runtime.trouble)
    second = apart._process
    assert second is not None
    runtime.close()
    assert second.returncode == 0, "it ended by itself when its parent let go"


def test_views_of_another_log_stop_everything(runtime: Runtime) -> None:
    apart = runtime.projector
    assert isinstance(apart, ViewsApart)
    until(lambda: apart.starts == 1 and runtime.views.live("book") > 0)
    process = apart._process
    assert process is not None
    with runtime.views._writing() as run:
        run("UPDATE projection_log SET log_id='another'")
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: runtime.fatal is not None)
    assert runtime.stopping.is_set()
