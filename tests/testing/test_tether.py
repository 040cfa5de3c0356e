"""A tethered command ends with whoever holds it, and does as it is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from usance.testing import tether

WAIT_S = 10.0


@pytest.fixture
def held(tmp_path):
    """A tethered `sleep`, and its process id."""
    one = subprocess.Popen(
        [sys.executable, "-I", "-S", tether.__file__, str(tmp_path / "log"), "sleep", "600"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid = int(one.stdout.readline())
    yield one, pid
    one.kill()
    one.wait()
    one.stdin.close()
    one.stdout.close()


def state(pid):
    """Letter of a process's state, or None when it is gone (or only its entry is left)."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if found in "ZX" else found


def until(wanted):
    """Wait for a condition; false when time is up."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if wanted():
            return True
        time.sleep(0.01)
    return False


def test_a_signal_is_passed_on_and_confirmed(held):
    one, pid = held
    for word, wanted in (("STOP", "T"), ("CONT", "S")):
        one.stdin.write(word + "\n")
        one.stdin.flush()
        assert one.stdout.readline() == "done\n"
        assert until(lambda wanted=wanted: state(pid) == wanted)
    one.stdin.write("TERM\n")
    one.stdin.flush()
    assert one.wait(WAIT_S) == 256 - signal.SIGTERM


def test_a_closed_pipe_ends_the_command_even_when_it_is_stopped(held):
    one, pid = held
    os.kill(pid, signal.SIGSTOP)
    one.stdin.close()
    one.wait(WAIT_S)
    assert until(lambda: state(pid) is None)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_tether_that_is_killed_takes_its_command_along(held):
    one, pid = held
    one.kill()
    assert until(lambda: state(pid) is None)


def test_a_holder_that_is_killed_leaves_nothing_behind(tmp_path):
    # The pipe may live on in another child of the holder: the tether looks at its parent too.
    program = (
        "import subprocess, sys, time\n"
        "one = subprocess.Popen([sys.executable, '-I', '-S', *sys.argv[1:], 'sleep', '600'],"
        " stdin=subprocess.PIPE)\n"
        "time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, tether.__file__, str(tmp_path / "log")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid = int(holder.stdout.readline())
    assert state(pid) is not None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert until(lambda: state(pid) is None)
