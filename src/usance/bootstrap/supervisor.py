"""One supervisor per machine: starts workers as processes of their own and starts again those that die.

A worker that ends with a code that people must look at (damaged log, refused settings) stays ended: to
start it again would hide what happened. One that was asked to end by somebody else is started again, which is
how workers are restarted one after the other. Workers end with their supervisor.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import NamedTuple

from usance.engine.logs import logger
from usance.kernel.clock import Clock

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
STEADY_S = 60.0
"""A worker that ran this long begins its back-off anew."""
STOP_S = 30.0
LOOK_S = 0.05
FINAL_CODES = frozenset({1, 2, 5, 64})
"""Refused, unreadable settings, tampered, usage: starting again changes nothing."""
PR_SET_PDEATHSIG = 1

_log = logger("supervisor")


class Worker(NamedTuple):
    """What to start: a name, arguments of Python, and environment beside the supervisor's."""

    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str]


class _Running:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.backoff = BACKOFF_FIRST_S
        self.next_at = 0.0
        self.code: int | None = None
        self.starts = 0


class Supervisor:
    """Keeps workers running until a signal, or until none is left."""

    def __init__(self, workers: Sequence[Worker], clock: Clock, say: Callable[[str], None]) -> None:
        self.clock = clock
        self.say = say
        self.running = [_Running(w) for w in workers]
        self.stopping = False

    def run(self) -> int:
        """Supervise; returns 0 after an orderly end, else the first final code of a worker."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            while not self.stopping and any(one.code is None for one in self.running):
                for one in self.running:
                    self._look(one)
                self.clock.sleep(LOOK_S)
        finally:
            self._end()
        return next((one.code for one in self.running if one.code), 0)

    def _look(self, one: _Running) -> None:
        now = self.clock.monotonic()
        if one.code is not None:
            return
        if one.process is None:
            if now >= one.next_at:
                self._start(one, now)
            return
        code = one.process.poll()
        if code is None:
            return
        one.process = None
        if code in FINAL_CODES:
            one.code = code
            self.say(f"{one.worker.name} ended with code {code}; it is not started again.")
            return
        if now - one.started > STEADY_S:
            one.backoff = BACKOFF_FIRST_S
        one.next_at = now + (0.0 if one.backoff == BACKOFF_FIRST_S else one.backoff)
        one.backoff = min(one.backoff * 2, BACKOFF_MAX_S)
        _log.error("worker_ended", part=one.worker.name, code=code)

    def _start(self, one: _Running, now: float) -> None:
        one.process = subprocess.Popen(  # noqa: S603  our own interpreter and arguments
            [sys.executable, *one.worker.arguments],
            env={**os.environ, **one.worker.environ},
            preexec_fn=_end_with_parent,  # noqa: PLW1509  the supervisor has a single thread
            start_new_session=True,
        )
        one.started = now
        one.starts += 1
        _log.info("worker_started", part=one.worker.name, pid=one.process.pid)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.stopping:
            for one in self.running:
                if one.process is not None:
                    one.process.kill()
        self.stopping = True

    def _end(self) -> None:
        alive = [one.process for one in self.running if one.process is not None]
        for process in alive:
            process.terminate()
        deadline = self.clock.monotonic() + STOP_S
        for process in alive:
            try:
                process.wait(max(0.1, deadline - self.clock.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
