"""Bytes of any size lie in a topic under their digest, and what was altered there is not given out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from usance.adapters.sqlite_log import SqliteLog
from usance.engine import contents
from usance.engine.contents import CHUNK_BYTES, keep, load, name_of
from usance.kernel.errors import NotFound, Tampered
from usance.log.contract import Log, Output, TopicPartition, TopicSettings

PLACE = TopicPartition("usance.system.lists", 0)
DATA = bytes(range(256)) * (CHUNK_BYTES // 128) + b"the end"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = SqliteLog.open(tmp_path / "log.sqlite")
    made.create_topic(TopicSettings(PLACE.topic, "lists", 1, "compact", -1))
    yield made
    made.close()


def written(log: Log) -> list[bytes]:
    return [r.key or b"" for r in log.scan(PLACE, 0)]


def test_a_content_of_several_records_comes_back_and_is_written_once(log: Log) -> None:
    kept = keep(log, PLACE, DATA)
    assert kept == name_of(DATA) and kept.chunks == 3
    assert load(log, PLACE, kept) == DATA
    assert keep(log, PLACE, DATA) == kept
    assert len(written(log)) == 3


def test_compaction_keeps_it(log: Log) -> None:
    kept = keep(log, PLACE, DATA)
    keep(log, PLACE, b"another")
    log.compact(PLACE)
    assert load(log, PLACE, kept) == DATA


def test_what_is_missing_or_altered_is_told_and_healed_by_keeping_it_again(log: Log) -> None:
    kept = name_of(DATA)
    with pytest.raises(NotFound):
        load(log, PLACE, kept)
    keep(log, PLACE, DATA)
    second = written(log)[1]
    log.append([Output(PLACE.topic, 0, second, b"other bytes", ())])
    with pytest.raises(Tampered):
        load(log, PLACE, kept)
    assert keep(log, PLACE, DATA) == kept
    assert load(log, PLACE, kept) == DATA


def test_a_part_stays_far_below_what_a_record_may_have() -> None:
    from usance.log.contract import RECORD_BYTES_MAX

    assert 2 * contents.CHUNK_BYTES < RECORD_BYTES_MAX
