"""A cluster's notary on another machine: the same key, an empty folder, and the log's own last heads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from test_program import settings_on

from usance.bootstrap.packs.auditing import evidence
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, found_log, prepare_folder
from usance.config import ProofSettings, Settings
from usance.engine.verify import chained
from usance.kernel.clock import BookClock, SystemClock
from usance.testing.trade import MONDAY

PATIENCE_S = 120.0


def until(true: Callable[[], bool], step: Callable[[], object]) -> None:
    clock = SystemClock()
    end = clock.monotonic() + PATIENCE_S
    while not true():
        assert clock.monotonic() < end, "it did not come to hold in time"
        step()


def sealed_by(folder: Folder, settings: Settings) -> Runtime:
    """Run a process until its notary has sealed all that is in the log."""
    program = Runtime(folder, settings, BookClock(MONDAY))
    program.drive()
    assert program.sealing is not None and program.desk is not None
    notary, desk = program.sealing.notary, program.desk

    def whole() -> bool:
        log = program.store.log
        records = sum(1 for place in chained(log) for _ in log.scan(place, 0))
        return notary.is_open and notary.leaves() == records > 0

    until(whole, lambda: desk.step(0.2))
    return program


@pytest.mark.slow
def test_a_notary_on_another_machine_goes_on_and_one_without_the_key_does_not(
    kafka: str, tmp_path: Path
) -> None:
    one, two, three = (Folder(tmp_path / name) for name in ("one", "two", "three"))
    settings = settings_on(kafka, one.root)
    for folder in (one, two, three):
        prepare_folder(folder)
    found_log(one, settings, BookClock(MONDAY))
    first = sealed_by(one, settings)
    leaves = first.sealing.notary.leaves() if first.sealing else 0
    first.close()
    assert first.trouble == {}

    shutil.copy2(one.root / "notary.key", two.root / "notary.key")
    elsewhere = replace(settings, data=str(two.root))
    second = sealed_by(two, elsewhere)
    assert second.sealing is not None and second.sealing.notary.leaves() >= leaves
    second.close()
    assert second.trouble == {}
    for checkpoint in (one.root / "proof").rglob("p0*/checkpoint"):
        there = two.root / checkpoint.relative_to(one.root)
        assert there.exists(), "its tiles were made again from the log"
    with evidence(two, elsewhere) as found:
        report = found.audit()
        assert report.whole and report.heads, report

    stranger = Runtime(three, replace(settings, data=str(three.root)), BookClock(MONDAY))
    try:
        with pytest.raises(Exception, match="UNKNOWN_KEY"):
            until(lambda: False, lambda: stranger.desk.step(0.2) if stranger.desk else None)
    finally:
        stranger.close(clean=False)
    assert not (three.root / "proof").exists(), "nothing was signed"


def test_the_heads_topic_is_a_clusters_alone(tmp_path: Path) -> None:
    """An embedded log is one machine's: its last heads stay beside it."""
    settings = Settings(data=str(tmp_path), proof=ProofSettings())
    program = Runtime(Folder(tmp_path), settings, BookClock(MONDAY))
    program.drive()
    heads = program.store.topics.at("system", "heads", 0)
    assert program.store.log.end(heads) == 0
    program.close()
