"""The SQLite view store: the conformance suite, and what is its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from usance.adapters import sqlite_store
from usance.adapters.sqlite_views import SqliteViews
from usance.kernel.errors import NotFound, Unavailable
from usance.testing.views_conformance import PLACE, VIEW, ViewsConformance, names, written


class TestSqliteViews(ViewsConformance):
    def open_views(self, address: str) -> SqliteViews:
        return SqliteViews(Path(address))


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(Unavailable, match="another program"):
        SqliteViews(other)
    with pytest.raises(Unavailable):
        SqliteViews(tmp_path / "nothing.sqlite", create=False)


def test_a_copy_of_views_in_use_is_whole(tmp_path: Path) -> None:
    store = SqliteViews(tmp_path / "views.sqlite")
    store.open("log-1")
    generation, _ = store.claim(VIEW, [PLACE])
    store.commit([written(generation, [("a", 1)], to=1)])
    store.backup(tmp_path / "copy.sqlite")
    store.close()
    copied = SqliteViews(tmp_path / "copy.sqlite")
    copied.know((VIEW,))
    assert names(copied) == ["a"]
    with pytest.raises(NotFound), copied.reading() as reading:
        reading.select("nothing")
    copied.close()


def test_who_makes_the_views_second_finds_them_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes over one folder begin at once: the second looked before the first one had written."""
    first = SqliteViews(tmp_path / "views.sqlite")
    look, looks = sqlite_store.check_format, [False]
    monkeypatch.setattr(
        sqlite_store,
        "check_format",
        lambda *given, **more: looks.pop() if looks else look(*given, **more),
    )
    second = SqliteViews(tmp_path / "views.sqlite")
    assert not looks
    second.close()
    first.close()
