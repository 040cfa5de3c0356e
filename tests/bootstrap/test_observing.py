"""What a running program tells of itself: over HTTP, with a part that hangs, with a breaker open."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import Settings, TelemetrySettings
from usance.web.app import create_app


class Hanging:
    """A part that does not come back until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def step(self, wait: float = 0.0) -> int:
        self.go.wait(30)
        time.sleep(0.01)
        return 0


@pytest.fixture
def runtime(tmp_path: Path, screening_cache: Path) -> Iterator[Runtime]:
    settings = Settings(telemetry=TelemetrySettings(stuck_after=1))
    made = Runtime(Folder(tmp_path), settings)
    yield made
    made.close()


def ask(runtime: Runtime, path: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(runtime))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    return asyncio.run(asked())


def test_a_part_that_hangs_ends_liveness_and_its_stack_is_logged_once(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # import-linter, where it has run in this process, has switched every logger off
    monkeypatch.setattr(logging.getLogger("usance.vitals"), "disabled", False)
    part = Hanging()
    runtime.parts["hanging"] = part
    runtime.start()
    deadline = time.monotonic() + 40
    while ask(runtime, "/health/live").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    told = ask(runtime, "/health/live").json()
    assert told["live"] is False and list(told["stuck"]) == ["hanging"]
    assert "hanging is stuck" in ask(runtime, "/health/ready").json()["waits_for"]

    def logged() -> list[dict[str, Any]]:
        lines = [r.msg for r in caplog.records if isinstance(r.msg, dict)]
        return [one for one in lines if (one["event"], one["part"]) == ("part_stuck", "hanging")]

    while not logged() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    stuck = logged()
    (own,) = [one for one in stuck if one["thread"] == "hanging"]  # once, however long it lasts
    assert "bootstrap/test_observing.py" in own["where"] and " step" in own["where"]
    assert {"owner", "projector", "MainThread"} <= {one["thread"] for one in stuck}
    part.go.set()
    while ask(runtime, "/health/live").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ask(runtime, "/health/live").status_code == 200, "it came round again"


def test_readiness_says_in_words_what_it_waits_for(runtime: Runtime) -> None:
    runtime.start()
    deadline = time.monotonic() + 60
    while (found := ask(runtime, "/health/ready")).status_code != 200:
        assert found.json()["waits_for"], "not ready without a reason"
        assert time.monotonic() < deadline, found.json()
        time.sleep(0.2)
    assert found.json()["owner"]["role"] == "owns"
    place = next(iter(runtime.owner.states))
    runtime.owner.paused[place] = "the same error on many keys"
    found = ask(runtime, "/health/ready")
    assert found.status_code == 503
    assert found.json()["waits_for"] == [
        f"{place.context}.p{place.partition} is paused: the same error on many keys"
    ]
    assert ask(runtime, "/health/live").status_code == 200, "a paused owner lives"
    del runtime.owner.paused[place]
    runtime.stopping.set()
    assert "it is stopping" in ask(runtime, "/health/ready").json()["waits_for"]
