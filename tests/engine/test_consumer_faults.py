"""The consumer under attack: kills, signals, twins, lost answers; on real processes and over many seeds."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from consume_world import GROUP, IN, Shop, position, values

import usance
from usance.adapters.sqlite_log import SqliteLog
from usance.engine.groups.consuming import Delivery, Emit
from usance.engine.owner import attempts
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.errors import NotFound, Owned, Unavailable
from usance.testing.sim_hazards import Hazards, answer_lost, refused_before_commit
from usance.testing.sim_log import SimulatedLog

NOON = 1_795_521_600_000
CHILD = Path(__file__).with_name("consumer_child.py")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def child(folder: Path, how: str = "rest", wait_ms: int = 1) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(CHILD.parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), how, str(wait_ms)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def lives(folder: Path, most: int = 12) -> list[int]:
    """Run the child until it ends well; returns its exit codes."""
    codes = []
    while not codes or codes[-1] != 0:
        process = child(folder)
        process.communicate(timeout=60)
        codes.append(process.returncode)
        assert len(codes) < most, codes
    return codes


def real_shop(folder: Path) -> Shop:
    clock: Any = SystemClock()
    return Shop(SqliteLog.open(folder / "log.sqlite", clock=clock), clock)


def test_a_record_that_kills_its_process_is_quarantined_and_its_neighbours_are_handled(
    tmp_path: Path,
) -> None:
    shop = real_shop(tmp_path)
    shop.put("a1", "b1")
    shop.put("kill", key="k")
    shop.put("after", key="k")
    shop.put("a2")
    shop.log.close()
    codes = lives(tmp_path)
    assert codes.count(-signal.SIGKILL) == 1 + attempts.DEATHS_MAX and len(codes) == 4
    shop = real_shop(tmp_path)
    assert [one["class"] for one in shop.letters()] == ["process-killer"]
    assert shop.emitted() == values("A1", "B1", "A2")
    assert shop.answers().count("parked") == 1
    shop.log.close()


def test_a_record_that_kills_only_when_it_is_tried_again_is_quarantined_too(tmp_path: Path) -> None:
    shop = real_shop(tmp_path)
    shop.put("later", key="k")
    shop.put("behind", key="k")
    shop.put("a1")
    shop.log.close()
    codes = [0]
    while not (0 in codes[1:] and len(codes) > 2 and codes[-1] == 0):
        codes += lives(tmp_path)
        assert len(codes) < 12, codes
    shop = real_shop(tmp_path)
    assert [one["class"] for one in shop.letters()] == ["process-killer"]
    assert shop.emitted() == values("A1")
    shop.log.close()


def test_sigterm_finishes_the_unit_and_leaves_cleanly(tmp_path: Path) -> None:
    shop = real_shop(tmp_path)
    shop.put("a1", "b1")
    shop.put("slow", key="s")
    shop.put("c1")
    process = child(tmp_path, "run")
    assert process.stdout is not None and process.stdout.readline() == "slow\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert shop.emitted() == values("A1", "B1", "SLOW", "C1") and position(shop) == 4
    last = {r.key: r.value for r in shop.own("attempts")}
    assert last[attempts.RELEASE] == b"clean"
    shop.log.close()


def test_a_second_consumer_of_a_folder_is_told_whose_turn_it_is(tmp_path: Path) -> None:
    shop = real_shop(tmp_path)  # the owner of the folder: a group stands beside it
    first = usance.consume(IN, GROUP, shop.handle, log=tmp_path)
    with pytest.raises(Owned, match=f"consumed by process {os.getpid()}"):
        usance.consume(IN, GROUP, shop.handle, log=tmp_path)
    other = usance.consume(IN, "audit", shop.handle, log=tmp_path)
    shop.put("a1")
    assert first.step(1.0) and other.step(1.0)
    first.close()
    other.close()
    again = usance.consume(IN, GROUP, shop.handle, log=tmp_path)
    shop.rest(again)
    again.close()
    assert shop.seen == values("a1", "a1")
    shop.log.close()


def test_a_dead_letter_that_cannot_be_written_holds_the_record_and_is_no_loss() -> None:
    clock = BookClock(NOON)
    shop = Shop(SimulatedLog(clock), clock)
    consumer = shop.consumer()
    shop.broken[b"a1"] = ZeroDivisionError()
    shop.put("a1", "b1")
    stage = shop.log.stage
    missing = [True]

    def without_letters(unit: Any) -> Any:
        if missing and any("dead-letters" in o.topic for o in unit.outputs):
            raise NotFound("the log has no dead-letters topic", hint="create it")
        return stage(unit)

    shop.log.stage = without_letters  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(NotFound):
            consumer.step(0.0)
    assert position(shop) == 0 and not shop.emitted()
    missing.clear()
    shop.rest(consumer)
    assert shop.emitted() == values("B1") and len(shop.letters()) == 1


class Storm:
    """Random records, random failures, random ends of the process: one seed, one story."""

    def __init__(self, seed: int, hazards: Hazards | None = None) -> None:
        self.random = random.Random(seed)
        self.clock = BookClock(NOON)
        more = hazards or Hazards(
            gap_max=3, short_reads=True, commit_delay_max=3, delayed_visibility=seed % 3
        )
        self.log = SimulatedLog(self.clock, seed=seed, hazards=more)
        self.shop = Shop(self.log, self.clock)
        self.ill: dict[bytes, Exception | None] = {}
        self.consumer = self.begin()

    def begin(self) -> Any:
        return self.shop.consumer(self.handle, batch_max=self.random.randint(1, 6))

    def handle(self, record: Delivery) -> Emit | None:
        assert record.value is not None
        trouble = self.ill.get(record.value)
        if trouble is not None:
            raise trouble
        return self.shop.handle(record)

    def once(self) -> None:
        act = self.random.random()
        if act < 0.15:
            self.log.fail_commit(answer_lost(applied=self.random.random() < 0.5))
        elif act < 0.2:
            self.log.fail_commit(refused_before_commit())
        elif act < 0.26:
            self.log.crash()
            self.consumer = self.begin()
            return
        elif act < 0.3:
            self.consumer.close(clean=self.random.random() < 0.5)
            self.consumer = self.begin()
        elif act < 0.45:
            self.heal()
        elif act < 0.6:
            self.clock.advance_to(self.clock.now() + self.random.randint(1, 3_000))
        with suppress(Unavailable):
            self.consumer.step(0.0)

    def heal(self) -> None:
        for value in list(self.ill):
            if self.random.random() < 0.5:
                del self.ill[value]
        for letter in {one["id"] for one in self.shop.letters()}:
            self.shop.redrive(letter)

    def play(self, records: int = 30) -> None:
        for n in range(records):
            value = f"{self.random.choice('abcd')}{n:03d}"
            if self.random.random() < 0.25:
                kind = self.random.choice([ZeroDivisionError, ConnectionError])
                self.ill[value.encode()] = kind()
            self.shop.put(value)
            for _ in range(self.random.randint(0, 3)):
                self.once()
        self.ill.clear()
        for _ in range(30):
            self.heal()
            self.clock.advance_to(self.clock.now() + 600_000)
            self.shop.rest(self.consumer)
            if not self.consumer.standing().dead_letters:
                break
        self.check([f"{v!r}" for v in self.shop.emitted()], records)

    def check(self, emitted: list[str], records: int) -> None:
        standing = self.consumer.standing()
        assert not standing.parked_keys and not standing.dead_letters
        assert len(emitted) == records == len(set(emitted)), "each record's effect exactly once"
        for key in "ABCD":
            mine = [text for text in emitted if text[2] == key]
            assert mine == sorted(mine), f"the records of {key} kept their order"
        units = [f.unit for f in self.shop.footers()]
        assert units == list(range(1, len(units) + 1))
        deciding = [a for a in self.shop.answers() if a == "accepted"]
        assert len(deciding) >= records


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_each_record_has_its_effect_once_and_in_order(seed: int) -> None:
    Storm(seed).play()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_thousands_of_stories_end_well(block: int) -> None:
    for seed in range(1_000 + block * 200, 1_200 + block * 200):
        Storm(seed).play(20)
