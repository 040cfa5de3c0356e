"""The same random histories on every backend: they answer alike, call by call."""

from __future__ import annotations

from pathlib import Path

import pytest
from histories import Answer, Player, drawn
from kafka_world import fresh_prefix, kafka_log

from usance.adapters.sqlite_log import SqliteLog
from usance.kernel.clock import BookClock
from usance.log.contract import Log
from usance.testing.conformance import NOON
from usance.testing.sim_log import SimulatedLog

PATIENT = {"session_ms": 60_000, "transaction_ms": 60_000}
"""The simulated log's clock stands still: a machine that is busy for seconds must lose nothing here either."""


def on_the_simulated_log(seed: int, length: int) -> list[Answer]:
    def opened(before: Log | None) -> Log:
        if before is None:
            return SimulatedLog(BookClock(NOON), seed=seed)
        assert isinstance(before, SimulatedLog)
        before.close()
        before.crash()
        return before

    player = Player(opened)
    return player.play(drawn(seed, length))


def on_sqlite(folder: Path, seed: int, length: int) -> list[Answer]:
    def opened(before: Log | None) -> Log:
        if before is not None:
            before.close()
        return SqliteLog.open(folder / f"{seed}.db", clock=BookClock(NOON))

    player = Player(opened)
    try:
        return player.play(drawn(seed, length))
    finally:
        player.close()


def on_a_broker(kafka: str, protocol: str, seed: int, length: int) -> list[Answer]:
    prefix = fresh_prefix()

    def opened(before: Log | None) -> Log:
        if before is not None:
            before.close()
        return kafka_log(kafka, prefix, group_protocol=protocol, **PATIENT)

    player = Player(opened)
    try:
        return player.play(drawn(seed, length))
    finally:
        player.close()


def compare(seed: int, length: int, real: list[Answer]) -> None:
    simulated = on_the_simulated_log(seed, length)
    for number, (here, there) in enumerate(zip(simulated, real, strict=True)):
        assert here == there, f"call {number} of history {seed}: simulated {here}, real {there}"


def test_histories_reach_every_outcome() -> None:
    """A history whose calls all fail, or never do, would compare nothing."""
    told = {(a[0], repr(a[-1])) for seed in range(60) for a in on_the_simulated_log(seed, 100)}
    for outcome in ("committed", "Fenced"):
        assert {("commit", repr(outcome)), ("again", repr(outcome))} <= told
    assert {("read", "'Tampered'"), ("unit", "'NotFound'"), ("unit", "'Unreadable'")} <= told
    assert {("start", "'Fenced'"), ("exhausted", "True"), ("exhausted", "False")} <= told


@pytest.mark.parametrize("seed", range(20))
def test_histories_on_the_embedded_log(tmp_path: Path, seed: int) -> None:
    compare(seed, 80, on_sqlite(tmp_path, seed, 80))


@pytest.mark.kafka
@pytest.mark.parametrize("seed", range(2))
def test_short_histories_on_a_broker(kafka: str, seed: int) -> None:
    compare(seed, 60, on_a_broker(kafka, "classic", seed, 60))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_long_histories_on_the_embedded_log(tmp_path: Path, seed: int) -> None:
    compare(seed, 200, on_sqlite(tmp_path, seed, 200))


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("seed", range(100, 115))
def test_long_histories_on_a_broker(kafka: str, protocol: str, seed: int) -> None:
    compare(seed, 150, on_a_broker(kafka, protocol, seed, 150))
