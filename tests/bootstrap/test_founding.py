"""Founding a data folder: whatever moment the process dies at, the next start goes on; nothing is founded twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from usance.adapters.sqlite_log import SqliteLog
from usance.bootstrap.store import Folder, Store, found_log
from usance.config import Settings
from usance.engine import genesis as birth
from usance.engine.owner.owner import OWNER_GROUP
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Tampered
from usance.log.contract import TopicPartition

CLOCK = SystemClock()


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def founded(folder: Folder, settings: Settings) -> birth.Genesis:
    store = Store(folder, settings, CLOCK, owner=False)
    try:
        for commands in store.topics.all_at("commands"):
            assert store.log.position(OWNER_GROUP, commands) == 0
        assert folder.people.exists()
        return store.genesis
    finally:
        store.log.close()


@pytest.mark.parametrize("call", ["create_topic", "append", "set_positions"])
@pytest.mark.parametrize("calls_before", [0, 3])
@pytest.mark.parametrize("applied", [False, True])
def test_a_founding_that_dies_anywhere_is_completed_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, calls_before: int, applied: bool
) -> None:
    folder, settings = Folder(tmp_path / "data"), Settings()
    done: list[str] = []
    real: Any = getattr(SqliteLog, call)

    def dying(self: SqliteLog, *args: Any) -> Any:
        if len(done) >= calls_before:
            if applied:
                real(self, *args)
            raise Killed
        done.append(call)
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLog, call, dying)
        try:
            found_log(folder, settings, CLOCK)
        except Killed:
            pass
        else:
            assert calls_before, "this call is made at least once"
    found_log(folder, settings, CLOCK)
    first = founded(folder, settings)
    found_log(folder, settings, CLOCK)
    assert founded(folder, settings) == first


def test_records_without_their_genesis_found_no_new_log(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    found_log(folder, Settings(), CLOCK)
    with pytest.raises(Tampered, match="no genesis of other") as told:
        found_log(folder, Settings(namespace="other"), CLOCK)
    assert "namespace" in told.value.hint
    log = SqliteLog.open(folder.log, owner=False)
    assert not [name for name in log.topics() if name.startswith("other.")]
    log.close()


def test_a_topic_that_a_newer_program_knows_is_added_to_the_log(tmp_path: Path) -> None:
    folder, settings = Folder(tmp_path), Settings()
    found_log(folder, settings, CLOCK)
    log = SqliteLog.open(folder.log, clock=CLOCK)
    name = f"{settings.namespace}.system.lists"
    before = {n for n in log.topics() if n != name}
    log.close()

    class Older(birth.Topics):
        def settings(self) -> list[Any]:
            return [s for s in super().settings() if s.name != name]

    other = Folder(tmp_path / "older")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(birth, "Topics", Older)
        found_log(other, settings, CLOCK)
    log = SqliteLog.open(other.log, owner=False)
    assert set(log.topics()) == before
    log.close()
    found_log(other, settings, CLOCK)
    log = SqliteLog.open(other.log, owner=False)
    assert set(log.topics()) == {*before, name}
    meta = TopicPartition(f"{settings.namespace}.system.meta", 0)
    assert any((r.key or b"").endswith(name.encode()) for r in log.scan(meta, 0))
    log.close()
