"""A command that kills its process, on real processes: quarantined in the end, and nobody else suffers (rule 15)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from toy_world import NOON, Break, sqlite_world

from usance.engine.owner import attempts
from usance.kernel.clock import BookClock

CHILD = Path(__file__).with_name("killer_child.py")


def live(folder: Path) -> int:
    """Run one owner's life; returns its exit code, negative for a signal."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, str(CHILD), str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
        check=False,
    )
    return done.returncode


def test_a_killer_is_quarantined_after_two_noted_deaths_and_its_neighbours_are_decided(
    tmp_path: Path,
) -> None:
    world = sqlite_world(tmp_path, BookClock(NOON))
    world.pay("a", range(1, 6))
    world.send("k", Break(kind="kill"), "killer")
    world.pay("a", range(1, 6), "after-")
    world.pay("k", [1], "behind-")
    world.log.close()
    codes = [live(tmp_path)]
    while codes[-1] != 0:
        codes.append(live(tmp_path))
        assert len(codes) < 8
    deaths = codes.count(-signal.SIGKILL)
    # The first death meets a whole batch, so no record can be blamed for it yet.
    assert deaths == 1 + attempts.DEATHS_MAX and len(codes) == deaths + 1
    world = sqlite_world(tmp_path, BookClock(NOON))
    assert world.balances() == {"a": 30}
    assert [kind for _, kind in world.letters()] == ["process-killer"]
    assert world.answers("killer") == ["dead-lettered"]
    assert world.answers("behind-k-0") == ["parked"]
    world.repairs.bugs = True
    owner = world.owner()
    world.redrive(world.letters()[0][0], "k", "redrive")
    world.settle(owner)
    assert world.balances() == {"a": 30, "k": 2}
    owner.close()
    world.log.close()
