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

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, forks")
SUPERVISED = textwrap.dedent("""
    import sys
    from usance.bootstrap.supervisor import Supervisor, Worker
    from usance.kernel.clock import SystemClock
    kind, *scripts = sys.argv[1:]
    plan = [Worker(f"worker {n}", ["-c", s], {"NUMBER": str(n)}) for n, s in enumerate(scripts)]
    if kind == "forked":
        plan = [one._replace(run=lambda given: exec(given[1], {})) for one in plan]
    sys.exit(Supervisor(plan, SystemClock(), lambda text: print(text, file=sys.stderr)).run())
""")
DIARY = "import os, sys, time, signal; p = os.environ['DIARY'] + os.environ['NUMBER'];"
NOTE = "open(p, 'a').write(f'{os.getpid()}\\n');"


KINDS = ["spawned", pytest.param("forked", marks=ON_LINUX)]


def supervise(folder: Path, kind: str, *scripts: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, kind, *(f"{DIARY} {NOTE} {s}" for s in scripts)],
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


@ON_LINUX
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_is_started_again_beside_its_neighbours(kind: str, tmp_path: Path) -> None:
    boss = supervise(tmp_path, kind, "time.sleep(60)", "time.sleep(60)")
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_people_must_look_at_stays_ended(kind: str, tmp_path: Path) -> None:
    boss = supervise(tmp_path, kind, "sys.exit(5)", "sys.exit(64)")
    try:
        assert boss.wait(20) == 5
        assert len(pids(tmp_path, 0, 1)) == len(pids(tmp_path, 1, 1)) == 1
        assert "worker 0 ended with code 5" in boss.communicate()[1]
    finally:
        boss.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_was_asked_to_end_by_somebody_else_is_started_again(
    kind: str, tmp_path: Path
) -> None:
    patient = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"
    boss = supervise(tmp_path, kind, patient)
    try:
        (first,) = pids(tmp_path, 0, 1)
        time.sleep(0.3)  # it hears signals by now
        os.kill(first, signal.SIGTERM)
        assert pids(tmp_path, 0, 2)[1] != first
    finally:
        boss.terminate()
        boss.communicate(timeout=20)
    assert boss.returncode == 0


@ON_LINUX
@pytest.mark.parametrize("kind", KINDS)
def test_workers_end_with_a_supervisor_that_is_killed(kind: str, tmp_path: Path) -> None:
    boss = supervise(tmp_path, kind, "time.sleep(60)")
    (worker,) = pids(tmp_path, 0, 1)
    boss.kill()
    boss.communicate()
    assert gone(worker)


@ON_LINUX
def test_a_fork_that_fails_without_a_code_ends_as_a_bug_and_never_in_its_supervisors_frames(
    tmp_path: Path,
) -> None:
    boss = supervise(tmp_path, "forked", "raise ValueError('by mistake')", "time.sleep(60)")
    try:
        assert len(set(pids(tmp_path, 0, 2))) == 2, "it is started again"
        (neighbour,) = pids(tmp_path, 1, 1)
        os.kill(neighbour, 0)
        boss.terminate()
        said = boss.communicate(timeout=20)[1]
        assert "ValueError: by mistake" in said and boss.returncode == 0
    finally:
        boss.kill()


@ON_LINUX
def test_what_a_fork_said_is_not_lost_at_its_end(tmp_path: Path) -> None:
    script = "import atexit; atexit.register(print, 'the last word', file=sys.stderr); sys.exit(5)"
    boss = supervise(tmp_path, "forked", script)
    assert "the last word" in boss.communicate(timeout=20)[1] and boss.returncode == 5
