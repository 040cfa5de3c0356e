"""Runs a command that ends with whoever started it: `python tether.py LOGFILE COMMAND...`.

A death signal of the kernel follows the *thread* that forked, and is Linux's alone; so a process of its own
stands between. It reads signal names from its stdin, a line each, answers `done`, and kills the command when
that pipe closes. It needs the standard library alone, and starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
POLL_S = 0.2


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the reader of our words is gone; returns its exit code."""
    log, *command = arguments
    parent = os.getppid()
    with open(log, "ab") as out:  # noqa: PTH123  pathlib costs more than the rest of the start
        child = subprocess.Popen(  # noqa: S603  the command is our caller's
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  there are no threads here
        )
    _say(str(child.pid))
    while child.poll() is None:
        ready, _, _ = select.select([0], [], [], POLL_S)
        words = os.read(0, 4096).decode() if ready else ""
        if (ready and not words) or os.getppid() != parent:
            child.kill()
            child.wait()
            break
        for word in words.split():
            child.send_signal(signal.Signals[f"SIG{word}"])
            _say("done")
    return child.returncode


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
