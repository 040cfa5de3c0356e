"""The table of attacks: each is done to a real log on disk, and found by its own code."""

from __future__ import annotations

import fcntl
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from usance.adapters.sqlite_store import FolderLock
from usance.bootstrap.store import Folder, found_log
from usance.cli.main import usance
from usance.config import Settings
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Owned
from usance.testing.attack import COUNT, TABLE, run_attacks
from usance.testing.attack_scene import Scene, Victim
from usance.testing.attack_table import result


def small_book(folder: Path) -> None:
    """Make a log with a few dozen events, past the program's own first start."""
    folder.mkdir(parents=True)
    found_log(Folder(folder), Settings(), SystemClock())
    Victim(folder, Settings()).grow("Seed", count=40)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Return the states that attacks begin with, prepared once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    several = "PYTEST_XDIST_TESTRUNUID" in os.environ
    root = (base.parent if several else base) / "attacked"
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "ready").exists():
            small_book(root / "source")
            (root / "work").mkdir()
            Scene.prepare(root / "source", Settings(), root / "work")
            (root / "ready").touch()
    return Scene(root / "work", Settings(), base / "copies")


def test_the_table_is_whole():
    assert set(TABLE) == set(range(1, COUNT + 1))


@pytest.mark.parametrize("number", sorted(TABLE))
def test_an_attack_is_found_by_its_own_code(scene: Scene, number: int):
    found = result(TABLE[number], scene)
    assert found.detected, found
    scene.drop()


def test_what_nobody_attacked_is_whole(scene: Scene):
    assert scene.victim().audit(full=True).findings == []
    assert scene.victim("yesterday").audit(full=True).findings == []


def digest(folder: Path) -> dict[str, str]:
    # The book's own first start may still be compiling its screening index.
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and "cache" not in p.parts)
    return {str(p): sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_command_attacks_copies_and_leaves_what_it_was_given_alone(tmp_path: Path):
    small_book(tmp_path / "book")
    before = digest(tmp_path / "book")
    words = [
        "audit",
        "attack",
        "--id",
        "1",
        "--id",
        "5",
        "--json",
        "--data",
        str(tmp_path / "book"),
    ]
    done = CliRunner().invoke(usance, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["attacks"]
    assert [(a["id"], a["code"], a["detected"]) for a in found] == [
        (1, "LEAF_MISMATCH", True),
        (5, "INDEX_GAP", True),
    ]
    assert all(a["name"] and a["where"] for a in found)
    assert digest(tmp_path / "book") == before


def test_a_folder_in_use_is_not_attacked(tmp_path: Path):
    small_book(tmp_path / "book")
    lock = FolderLock(tmp_path / "book")
    with pytest.raises(Owned):
        run_attacks(tmp_path / "book", Settings(), [1])
    lock.close()
