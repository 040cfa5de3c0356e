"""One machine of a chaos run on Kafka: a supervisor and its workers, as `usance start --workers` makes them.

Faults are signals to its processes; what it says is read from its own output, as an operator would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Unavailable

READY_S = 90.0
STOP_S = 60.0
TAIL = 3_000


class Machine:
    """A supervisor with its workers on a data folder of its own; `slot` names it among the others."""

    def __init__(
        self, folder: Path, log: str, slot: str, workers: int, environ: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = log
        self.slot = slot
        self.count = workers
        self.clock: Clock = SystemClock()
        self.environ = environ
        self.boss: subprocess.Popen[bytes] | None = None
        self.frozen: set[int] = set()
        self.data.mkdir(parents=True, exist_ok=True)

    @property
    def out(self) -> Path:
        """What its processes print: a line of JSON from each worker that serves."""
        return self.folder / "stdout.log"

    @property
    def errors(self) -> Path:
        """What they log."""
        return self.folder / "stderr.log"

    def start(self) -> None:
        """Start it; does not wait."""
        path = os.pathsep.join(p for p in sys.path if p)
        command = [sys.executable, "-m", "usance", "--data", str(self.data), "--log", self.log]
        with self.out.open("ab") as out, self.errors.open("ab") as errors:
            self.boss = subprocess.Popen(  # noqa: S603  our own program
                [*command, "start", "--workers", str(self.count), "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env={
                    **os.environ,
                    **self.environ,
                    "PYTHONPATH": path,
                    "USANCE_OUTPUT": "json",
                    "USANCE_KAFKA_SLOT": self.slot,
                    "USANCE_GATEWAY_LOOPBACK": "true",
                },
            )

    def ready(self, seconds: float = READY_S) -> None:
        """Wait until every worker that was started last serves; raises Unavailable with what was said."""
        deadline = self.clock.monotonic() + seconds
        while True:
            serving = {said["pid"] for said in _lines(self.out)}
            pids = self.workers()
            if len(pids) == self.count and serving.issuperset(pids.values()):
                return
            ended = self.boss is None or self.boss.poll() is not None
            if ended or self.clock.monotonic() > deadline:
                raise Unavailable(
                    f"machine {self.slot} did not get ready: {self.tail()}", hint="Read its words."
                )
            self.clock.sleep(0.1)

    def workers(self) -> dict[str, int]:
        """Return the process of each worker as it was started last, by name."""
        found: dict[str, int] = {}
        for said in _lines(self.errors):
            if said.get("event") == "worker_started":
                found[str(said.get("part"))] = int(said["pid"])
        return found

    def starts(self) -> int:
        """Return how many times workers were started in all."""
        return sum(said.get("event") == "worker_started" for said in _lines(self.errors))

    def url(self) -> str:
        """Return the address of the console of the worker that runs it, empty where none does yet."""
        first = self.workers().get("worker 0", 0)
        urls = [str(said["url"]) for said in _lines(self.out) if said["pid"] == first]
        return urls[-1] if urls else ""

    def final(self) -> list[str]:
        """Return what the supervisor said of workers that it gave up."""
        if not self.errors.exists():
            return []
        text = self.errors.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if "it is not started again" in line]

    def send(self, worker: str, number: signal.Signals) -> int:
        """Send a worker a signal; returns its process id, 0 where it was gone."""
        pid = self.workers().get(worker, 0)
        if pid and _sent(pid, number):
            if number == signal.SIGSTOP:
                self.frozen.add(pid)
            return pid
        return 0

    def thaw(self) -> None:
        """Let frozen processes go on."""
        for pid in self.frozen:
            _sent(pid, signal.SIGCONT)
        self.frozen.clear()

    def kill(self) -> None:
        """Lose the machine: every process at once, the supervisor first."""
        if self.boss is None:
            return
        pids = self.workers().values()
        self.boss.kill()
        for pid in pids:
            _sent(pid, signal.SIGKILL)
        self.boss.wait(STOP_S)
        self.frozen.clear()

    def stop(self) -> int:
        """Ask it to end; returns the supervisor's exit code, -1 where it had to be killed."""
        assert self.boss is not None
        self.thaw()
        self.boss.terminate()
        try:
            return self.boss.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1

    def tail(self) -> str:
        """Return the end of what it logged."""
        if not self.errors.exists():
            return ""
        return self.errors.read_text(encoding="utf-8", errors="replace")[-TAIL:]


def _sent(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of JSON in a file; other lines are for people."""
    if not file.exists():
        return []
    found = []
    for line in file.read_bytes().splitlines():
        if line.startswith(b"{"):
            with suppress(ValueError):
                found.append(json.loads(line))
    return found
