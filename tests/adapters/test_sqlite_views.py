"""The SQLite view store: pages, fences, swaps, restricted tables, and waiting for a change."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from usance.adapters.sqlite_views import SqliteViews
from usance.engine.projection import (
    Changes,
    Checkpoint,
    Generation,
    Move,
    Projection,
    Table,
    Write,
    numbers,
    texts,
)
from usance.engine.reading import Order, Where
from usance.kernel.errors import Fenced, NotFound, Tampered, Unavailable
from usance.log.contract import TopicPartition

PLACE = TopicPartition("usance.trade.events", 0)
THINGS = Table("things", (*texts("name"), *numbers("size")), ("name",), (("size",),), "name")
SECRETS = Table("secrets", texts("name"), ("name",), restricted=True)
VIEW = Projection("things", 1, (THINGS, SECRETS), {})


@pytest.fixture
def store(tmp_path: Path) -> SqliteViews:
    store = SqliteViews(tmp_path / "views.sqlite")
    store.open("log-1")
    return store


def written(
    generation: Generation, rows: list[tuple[str, int]], *, to: int, start: int = 0
) -> Changes:
    full = [(*row, None) for row in rows]
    moves = [Move(PLACE, start, Checkpoint(to, to))]
    return Changes(generation, [Write(THINGS, full, [])], moves, [])


def names(store: SqliteViews) -> list[str]:
    with store.reading() as reading:
        return [row["name"] for row in reading.select("things", (), (Order("name"),))]


def test_rows_of_any_number_are_written_and_overwritten_whole(store: SqliteViews) -> None:
    generation, fits = store.claim(VIEW, [PLACE])
    assert fits
    many = [(f"n{i:05d}", i) for i in range(1_337)]
    store.commit([written(generation, many, to=10)])
    store.commit([written(generation, [(n, s + 1) for n, s in many[:300]], to=20, start=10)])
    with store.reading() as reading:
        assert reading.count("things") == 1_337
        assert reading.get("things", name="n00007") == {
            "name": "n00007",
            "size": 8,
            "stale_since": None,
        }
        large = reading.select("things", (Where("size", ">=", 1_336),))
        assert [row["name"] for row in large] == ["n01336"]


def test_a_checkpoint_that_moved_rolls_back_every_generation_of_the_batch(
    store: SqliteViews,
) -> None:
    other = VIEW._replace(name="others", tables=(THINGS._replace(name="others"),))
    one, _ = store.claim(VIEW, [PLACE])
    two, _ = store.claim(other, [PLACE])
    store.claim(other, [PLACE])  # somebody else takes the second one over
    late = Changes(two, [], [Move(PLACE, 0, Checkpoint(5, 5))], [])
    with pytest.raises(Fenced):
        store.commit([written(one, [("a", 1)], to=5), late])
    assert names(store) == []
    with store.reading() as reading:
        assert reading.checkpoints()["things"][PLACE] == Checkpoint(0, 0)
    with pytest.raises(Fenced):
        store.commit([written(one, [("a", 1)], to=9, start=3)])


def test_restricted_tables_are_not_there_for_those_who_may_not_see_them(
    store: SqliteViews,
) -> None:
    store.claim(VIEW, [PLACE])
    with store.reading() as reading, pytest.raises(NotFound):
        reading.select("secrets")
    with store.reading() as reading, pytest.raises(NotFound):
        reading.count("secrets")
    with store.reading(restricted=True) as reading:
        assert reading.select("secrets") == []


def test_a_swap_waits_until_nothing_is_missing(store: SqliteViews) -> None:
    blue, _ = store.claim(VIEW, [PLACE])
    store.commit([written(blue, [("old", 1)], to=5)])
    green = store.build(VIEW, [PLACE])
    store.commit([written(green, [("new", 1)], to=4)])
    assert not store.swap(green), "one record behind"
    assert names(store) == ["old"]
    store.commit([written(green, [("newer", 1)], to=5, start=4)])
    assert [d.key for d in store.differences(blue, green)] == [("old",), ("new",), ("newer",)]
    assert store.swap(green)
    assert names(store) == ["new", "newer"]
    with pytest.raises(Fenced):
        store.commit([written(blue, [("zombie", 1)], to=6, start=5)])
    assert names(store) == ["new", "newer"]


def test_a_reader_keeps_its_picture_over_a_swap(store: SqliteViews) -> None:
    blue, _ = store.claim(VIEW, [PLACE])
    store.commit([written(blue, [("old", 1)], to=1)])
    with store.reading() as reading:
        assert reading.count("things") == 1
        green = store.build(VIEW, [PLACE])
        store.commit([written(green, [("new", 1), ("more", 1)], to=1)])
        assert store.swap(green)
        assert [row["name"] for row in reading.select("things")] == ["old"]
        assert reading.checkpoints()["things"][PLACE].offset == 1
    assert names(store) == ["more", "new"]


def test_a_later_rebuild_drops_the_one_before(store: SqliteViews) -> None:
    store.claim(VIEW, [PLACE])
    first = store.build(VIEW, [PLACE])
    second = store.build(VIEW, [PLACE])
    with pytest.raises(Fenced):
        store.swap(first)
    assert store.swap(second)
    with pytest.raises(Fenced):
        store.commit([written(first, [("a", 1)], to=5)])


def test_views_are_bound_to_their_log_and_their_format(store: SqliteViews, tmp_path: Path) -> None:
    with pytest.raises(Tampered, match="another log"):
        store.open("log-2")
    store.close()
    with pytest.raises(Unavailable, match="closed"), store.reading():
        pass
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(Unavailable, match="another program"):
        SqliteViews(other)
    with pytest.raises(Unavailable):
        SqliteViews(tmp_path / "nothing.sqlite", create=False)


def test_waiting_ends_with_the_change_that_another_connection_commits(
    store: SqliteViews, tmp_path: Path
) -> None:
    store.claim(VIEW, [PLACE])
    other = SqliteViews(tmp_path / "views.sqlite", create=False)
    other.know((VIEW,))
    generation, _ = store.claim(VIEW, [PLACE])

    def there() -> bool:
        with other.reading() as reading:
            return bool(reading.count("things"))

    assert not other.wait(there, 0.02)
    writer = threading.Timer(0.05, lambda: store.commit([written(generation, [("a", 1)], to=1)]))
    writer.start()
    assert other.wait(there, 5.0)
    writer.join()
    other.close()


def test_a_copy_of_views_in_use_is_whole(store: SqliteViews, tmp_path: Path) -> None:
    generation, _ = store.claim(VIEW, [PLACE])
    store.commit([written(generation, [("a", 1)], to=1)])
    store.backup(tmp_path / "copy.sqlite")
    copied = SqliteViews(tmp_path / "copy.sqlite")
    copied.know((VIEW,))
    assert names(copied) == ["a"]
    with pytest.raises(NotFound), copied.reading() as reading:
        reading.select("nothing")
    copied.close()
