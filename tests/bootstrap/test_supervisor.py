"""One supervisor, real child processes: who dies is started again, who must be looked at is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

SUPERVISED = textwrap.dedent("""
    import sys
    from usance.bootstrap.supervisor import Supervisor, Worker
    from usance.kernel.clock import SystemClock
    scripts = sys.argv[1:]
    plan = [Worker(f"worker {n}", ["-c", s], {"NUMBER": str(n)}) for n, s in enumerate(scripts)]
    sys.exit(Supervisor(plan, SystemClock(), lambda text: print(text, file=sys.stderr)).run())
""")
DIARY = "import os, sys, time, signal; p = os.environ['DIARY'] + os.environ['NUMBER'];"
NOTE = "open(p, 'a').write(f'{os.getpid()}\\n');"


def supervise(folder: Path, *scripts: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, *(f"{DIARY} {NOTE} {s}" for s in scripts)],
        env={"DIARY": str(folder / "diary"), "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
    )


def pids(folder: Path, number: int, count: int) -> list[int]:
    """Return the processes that a worker has been, once there are `count` of them."""
    diary = folder / f"diary{number}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = diary.read_text().split() if diary.exists() else []
        if len(lines) >= count:
            return [int(line) for line in lines]
        time.sleep(0.02)
    raise AssertionError(f"worker {number} did not start {count} times")


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_worker_is_started_again_beside_its_neighbours(tmp_path: Path) -> None:
    boss = supervise(tmp_path, "time.sleep(60)", "time.sleep(60)")
    try:
        (first,), (neighbour,) = pids(tmp_path, 0, 1), pids(tmp_path, 1, 1)
        os.kill(first, signal.SIGKILL)
        assert pids(tmp_path, 0, 2)[1] != first
        assert pids(tmp_path, 1, 1) == [neighbour]
        boss.terminate()
        assert boss.wait(20) == 0
        assert all(gone(pid) for pid in (*pids(tmp_path, 0, 2), neighbour))
    finally:
        boss.kill()
        boss.communicate()


def test_a_worker_that_people_must_look_at_stays_ended(tmp_path: Path) -> None:
    boss = supervise(tmp_path, "sys.exit(5)", "sys.exit(64)")
    try:
        assert boss.wait(20) == 5
        assert len(pids(tmp_path, 0, 1)) == len(pids(tmp_path, 1, 1)) == 1
        assert "worker 0 ended with code 5" in boss.communicate()[1]
    finally:
        boss.kill()


def test_a_worker_that_was_asked_to_end_by_somebody_else_is_started_again(tmp_path: Path) -> None:
    patient = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"
    boss = supervise(tmp_path, patient)
    try:
        (first,) = pids(tmp_path, 0, 1)
        time.sleep(0.3)  # it hears signals by now
        os.kill(first, signal.SIGTERM)
        assert pids(tmp_path, 0, 2)[1] != first
    finally:
        boss.terminate()
        boss.communicate(timeout=20)
    assert boss.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    boss = supervise(tmp_path, "time.sleep(60)")
    (worker,) = pids(tmp_path, 0, 1)
    boss.kill()
    boss.communicate()
    assert gone(worker)
