"""The database of last heads: workers that begin at the same moment make it once."""

from __future__ import annotations

from pathlib import Path

import pytest

from usance.adapters import sqlite_store
from usance.adapters.head_store import SqliteHeads, SqliteSeen


def test_two_workers_that_both_found_no_database_both_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SqliteSeen(tmp_path / "heads.db")
    monkeypatch.setattr(sqlite_store, "check_format", lambda *_args, **_named: False)
    SqliteHeads(tmp_path / "heads.db")  # it had looked before the first one was done
    monkeypatch.undo()
    assert SqliteHeads(tmp_path / "heads.db").load() == {}
    assert first.last("nobody")[0] == 0
