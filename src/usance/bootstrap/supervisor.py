"""One supervisor per machine: starts workers as processes of their own and starts again those that die.

A worker that ends with a code that people must look at (damaged log, refused settings) stays ended: to
start it again would hide what happened. One that was asked to end by somebody else is started again, which is
how workers are restarted one after the other. Workers end with their supervisor.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import NamedTuple, NoReturn, Protocol

from usance.engine.logs import logger
from usance.kernel.clock import Clock, SystemClock

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 30.0
STEADY_S = 60.0
"""A worker that ran this long begins its back-off anew."""
STOP_S = 30.0
LOOK_S = 0.05
FINAL_CODES = frozenset({1, 2, 5, 64})
"""Refused, unreadable settings, tampered, usage: starting again changes nothing."""
BUG = 70
"""How a worker ends that fails without a code of its own (EX_SOFTWARE)."""
PR_SET_PDEATHSIG = 1

_log = logger("supervisor")


class Worker(NamedTuple):
    """What to start: a name, arguments of Python, and environment beside the supervisor's.

    With `run` a worker is a fork of the supervisor that calls it with the arguments: it begins with every module
    imported, which takes a new interpreter a second.
    """

    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    run: Callable[[Sequence[str]], object] | None = None


class Process(Protocol):
    """What a supervisor needs of a worker's process; codes are those of `subprocess`."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        ...

    def wait(self, timeout: float) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


class _Running:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.process: Process | None = None
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
        one.process = _forked(one.worker) if one.worker.run else _spawned(one.worker)
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
                process.wait(STOP_S)


def _spawned(worker: Worker) -> Process:
    return subprocess.Popen(  # noqa: S603  our own interpreter and arguments
        [sys.executable, *worker.arguments],
        env={**os.environ, **worker.environ},
        preexec_fn=_end_with_parent,  # noqa: PLW1509  the supervisor has a single thread
        start_new_session=True,
    )


class _Fork:
    """A child of this process, as `subprocess` would tell of it."""

    def __init__(self, pid: int, clock: Clock) -> None:
        self.pid = pid
        self.clock = clock
        self.code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, timeout: float) -> int:
        deadline = self.clock.monotonic() + timeout
        while (code := self.poll()) is None:
            if self.clock.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a worker", timeout)
            self.clock.sleep(LOOK_S)
        return code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:  # once it is reaped its number may be somebody else's
            os.kill(self.pid, number)


def _forked(worker: Worker) -> Process:
    """Start a worker as a fork: the supervisor has one thread, and no client of any server."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return _Fork(pid, SystemClock())
    code = BUG
    try:
        code = _be(worker, parent)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001  it must not go up into the supervisor's own frames
        traceback.print_exc()
    finally:
        _leave(code)


def _be(worker: Worker, parent: int) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    _end_with_parent()
    if os.getppid() != parent:  # it died before it could be noticed
        return 0
    os.environ.update(worker.environ)
    assert worker.run is not None
    worker.run(worker.arguments)
    return 0


def _leave(code: int) -> NoReturn:
    """End as an interpreter does that was started anew, without the supervisor's frames."""
    with suppress(Exception):
        atexit._run_exitfuncs()  # noqa: SLF001  as multiprocessing does for its children
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
