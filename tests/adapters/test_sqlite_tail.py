"""The newest records are kept as they were read: nobody may see more, less or other than the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_read import AHEAD_RECORDS, TAIL_RECORDS_MAX
from usance.kernel.errors import Tampered
from usance.log.contract import Output, TopicPartition, TopicSettings

TP = TopicPartition("usance.trade.snapshots", 0)


def opened(folder: Path) -> SqliteLog:
    log = SqliteLog.open(folder / "log.sqlite")
    log.create_topic(TopicSettings(TP.topic, "snapshots", 1, "compact"))
    return log


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqliteLog, SqliteLog]]:
    """Give the owner's log, and another process's view of it, with a tail that is made anew each time."""
    folder = tmp_path_factory.mktemp("log")
    log = opened(folder)
    plain = SqliteLog.open(folder / "log.sqlite", owner=False)
    yield log, plain
    plain.close()
    log.close()


READS = st.tuples(st.integers(-30, 2), st.integers(1, 30), st.integers(1, 12), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.lists(READS, max_size=6)), max_size=8))
def test_any_order_of_writes_and_reads_gives_what_the_database_holds(
    logs: tuple[SqliteLog, SqliteLog], steps: list[tuple[int, list[tuple[int, int, int, bool]]]]
) -> None:
    log, plain = logs
    for count, reads in steps:
        log.append([Output(TP.topic, 0, b"k%d" % (n % 3), b"v%d" % n) for n in range(count)])
        end = log.end(TP)
        for back, width, size, bounded in reads:
            start = max(0, end + back)
            mark = min(end, start + width) if bounded else None
            plain._tails.clear()
            expected = [*plain.scan(TP, start, end if mark is None else mark, 5_000)]
            assert [*log.scan(TP, start, mark, size)] == expected


def test_a_tail_is_bounded_and_ends_with_what_compaction_and_retention_take(tmp_path: Path) -> None:
    log = opened(tmp_path)
    try:
        for _ in range(3):
            log.append([Output(TP.topic, 0, b"k", b"%d" % n) for n in range(600)])
            assert len([*log.scan(TP, max(0, log.end(TP) - 600))]) == 600
        assert len(log._tails[TP].records) == TAIL_RECORDS_MAX
        log.compact(TP)
        assert [r.value for r in log.scan(TP, log.end(TP) - 50)] == [b"599"]
        log.expire(TP, log.end(TP))
        assert [*log.scan(TP, log.end(TP) - 50)] == []
    finally:
        log.close()


def test_who_follows_in_small_steps_finds_the_next_records_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    asked: list[int] = []
    fetched = log._fetched
    monkeypatch.setattr(log, "_fetched", lambda *a: asked.append(a[-1]) or fetched(*a))
    try:
        count = 2 * AHEAD_RECORDS + 10
        log.append([Output(TP.topic, 0, b"k%d" % n, b"%d" % n) for n in range(count)])
        log.set_positions("g", {TP: 0})
        member = log.join("g", [TP.topic])
        member.poll()
        seen = []
        while (batch := log.read(member, 50, 0.0)).count:
            assert batch.count <= 50
            seen += batch.records[TP]
        assert [r.value for r in seen] == [b"%d" % n for n in range(count)]
        assert len([a for a in asked if a > 1]) <= 4  # and not one question for each step
    finally:
        log.close()


def test_a_reader_ahead_of_the_remembered_end_is_not_outside_the_log(tmp_path: Path) -> None:
    """Another's append is seen by who waits for it before its news has reached who asks memory."""
    log = opened(tmp_path)
    commands = TopicPartition("usance.trade.commands", 0)
    log.create_topic(TopicSettings(commands.topic, "commands", 1, "delete"))
    try:
        log.set_positions("owner", {commands: 0})
        member = log.join("owner", [commands.topic])
        member.poll()
        assert log.end(commands) == 0
        remembered = log._bounds_of[2]
        log.append([Output(commands.topic, 0, b"k", b"v")])
        assert log.read(member, 10, 1.0).count == 1
        for ask in (lambda: log.read(member, 10, 0.0).count == 0, lambda: log.exhausted(member)):
            log._bounds_of = (log._commits, log._clock.monotonic() + 60, remembered)
            assert ask()
        member.seek(commands, 5)
        with pytest.raises(Tampered, match="stands at offset 5"):
            log.read(member, 10, 0.0)
    finally:
        log.close()
