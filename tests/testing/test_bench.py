"""The bench verifies what it measures, and prints nothing when it does not add up."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from usance.adapters.sqlite_log import SqliteUnit
from usance.engine.owner.handling import Handling
from usance.engine.owner.unit import PartitionUnit
from usance.log.contract import Output
from usance.testing.bench import run_bench
from usance.testing.bench_ledger import ledger
from usance.testing.bench_proof import run_proof_bench
from usance.testing.bench_rig import Mismatch, Profile, at_share, warmed
from usance.testing.workload import Workload

KEYS = {
    "commands_per_s",
    "p50_ms",
    "p99_ms",
    "restore_events_per_s",
    "projection_events_per_s",
    "http_commands_per_s",
    "bytes_per_open_credit",
    "peers",
    "ratios",
    "applications_issued_per_s",
}


@pytest.mark.slow
def test_a_quick_bench_has_every_number_and_says_how_it_was_taken() -> None:
    found = run_bench(quick=True, seed=7)
    assert found.keys() >= KEYS
    assert found["machine"]["synchronous"] == "FULL"
    assert all(found[name] > 0 for name in KEYS - {"peers", "ratios"})
    assert found["ratios"]["article_loop"] > 1
    assert found["verified"]["commands"] == sum(found["verified"]["answers"].values())


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["default", "secure"])
def test_the_ledger_names_every_step_and_its_sums_hold(profile: Profile) -> None:
    found = ledger(3, profile)
    assert ("keys ahead" in found) == (profile == "secure")
    parts = {k: v for k, v in found.items() if k not in ("owner", "all threads", "log thread")}
    assert {"decode message", "decide", "record", "stage", "publish"} <= parts.keys()
    assert all(v > 0 for k, v in found.items() if k not in ("between", "first time"))
    assert sum(parts.values()) == pytest.approx(found["owner"], abs=0.2)
    assert found["all threads"] > found["owner"]


def test_a_rig_that_lost_a_command_gives_no_numbers(tmp_path: Path) -> None:
    rig, work = warmed(tmp_path, 3)
    try:
        rig.preload(work.take(100))
        found = rig.work_off()
        assert found.commands == 100 and found.per_s > 0
        rig.verify()
        rig.sent += 1
        with pytest.raises(Mismatch, match="were decided"):
            rig.verify()
        rig.sent -= 1
        tp = rig.topics.at("trade", "events", 0)
        record = next(iter(rig.log.scan(tp, 0)))
        rig.log.append([Output(tp.topic, 0, record.key, record.value, record.headers)])
        with pytest.raises(Mismatch):
            rig.verify()
    finally:
        rig.close()


def test_a_committed_unit_leaves_nothing_for_the_collector(tmp_path: Path) -> None:
    rig, work = warmed(tmp_path, 6)
    gc.collect()
    gc.disable()
    try:
        rig.preload(work.take(100))
        while rig.owner.step(0.0):
            pass
        rig.owner.settle()
        left = [o for o in gc.get_objects() if type(o) in (PartitionUnit, SqliteUnit, Handling)]
        assert not left, "a unit holds itself: its records stay until the collector looks"
    finally:
        gc.enable()
        rig.close()


def test_what_was_restored_is_what_was_there(tmp_path: Path) -> None:
    rig, work = warmed(tmp_path, 4)
    try:
        rig.preload(work.take(200))
        rig.work_off()
        events, _ = rig.restore(snapshots=True)
        assert rig.restore(snapshots=False)[0] == events == rig.project()[0]
        rig.verify()
    finally:
        rig.close()


def test_open_loop_times_count_from_the_intended_start(tmp_path: Path) -> None:
    rig, work = warmed(tmp_path, 5)
    try:
        found = rig.open_loop(work.take(100), 400.0, 1)
        assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms
        rig.verify()
    finally:
        rig.close()


def test_the_same_seed_gives_the_same_commands_of_about_a_kilobyte() -> None:
    first, second = Workload(9).take(40), Workload(9).take(40)
    assert first == second != Workload(10).take(40)
    assert len({c.key for c in first}) == 40
    many = Workload(9).take(2_000, zipf=True)
    assert len({c.key for c in many}) < 1_600, "few keys get many commands"
    assert len({c.id for c in many}) == 2_000


def test_a_share_of_an_ordered_list_is_found_at_its_place() -> None:
    assert at_share([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert at_share([1.0], 0.99) == 1.0


def test_the_proof_bench_counts_what_it_sealed_and_verified():
    found = run_proof_bench(quick=True)
    assert found["verified_leaves"] > found["commands"] * 2
    assert found["bytes_per_event"] <= 100
    assert found["proof_bytes"] <= 1_200
    assert found["head_age_p99_ms"] > 0
