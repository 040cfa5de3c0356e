"""Old and new program in turn on one log: each reads what the other wrote, and neither loses a record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from usance.kernel.clock import MS_PER_DAY
from usance.testing.trade import MONDAY

CHILD = Path(__file__).with_name("upgrade_child.py")
WEEKS = [MONDAY + 21 * MS_PER_DAY * n for n in range(5)]
SATURDAYS = ["2026-12-05", "2026-12-26", "2027-01-16", "2027-02-06"]


def start(*arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    words = [sys.executable, str(CHILD), *arguments]
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finish(child: subprocess.Popen[str], said: str = "") -> Any:
    out, errors = child.communicate(said, timeout=120)
    assert child.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def play(age: str, root: Path, turn: int) -> dict[str, Any]:
    begin, until = (str(w) for w in WEEKS[turn : turn + 2])
    child = start(age, "play", str(root), f"LC{turn}", SATURDAYS[turn], begin, until)
    found: dict[str, Any] = finish(child)
    return found


def test_old_and_new_program_read_each_other_on_one_log(tmp_path: Path) -> None:
    root = tmp_path / "data"
    first = play("old", root, 0)
    assert first["version"] == 1 and "extended" not in first["expiry"]
    watcher = start("old", "watch", str(root), "LC1")
    assert watcher.stdout is not None and watcher.stdout.readline() == "ready\n"
    second = play("new", root, 1)
    assert second["version"] == 2 and second["expiry"]["extended"] is True
    # It opened the log before version 2 was registered: it asks the registry again, and reads on.
    [seen] = finish(watcher, "now\n")
    assert seen["version"] == 2 and seen["state"] == "EXPIRED" and "extended" not in seen["expiry"]
    third = play("old", root, 2)
    assert third["version"] == 1
    fourth = play("new", root, 3)
    assert fourth["version"] == 2
    played = (first, second, third, fourth)
    assert [(p["state"], p["chain"], p["letters"]) for p in played] == [("EXPIRED", True, 0)] * 4
    names = [f"LC{turn}" for turn in range(4)]
    for age in ("new", "old"):
        read = finish(start(age, "watch", str(root), *names), "now\n")
        assert [r["version"] for r in read] == [1, 2, 1, 2]
        said = [r["expiry"].get("extended") for r in read]
        assert said == ([True] * 4 if age == "new" else [None] * 4)
