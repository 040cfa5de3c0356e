"""`usance chaos`: the real program, killed again and again while a book is fed, then held to account.

The child is `usance start` itself. Inputs come from outside, by the file-drop folder and by appends to the
log, each once to three times. After the last kill the program runs to rest, and the log, the model and the
views must agree: every effect exactly once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from usance.adapters.intake import input_command
from usance.bootstrap.store import Folder, Store
from usance.config import Settings, load
from usance.domain.credit.messages import ApprovalRequested
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import NotFound, Unavailable, Uncertain
from usance.testing.chaos_account import account
from usance.testing.chaos_book import Book, Given
from usance.testing.workload import BANK, TENANT

READY_S = 60.0
STOP_S = 30.0
RUN_MAX_S = 0.9
"""Longest life between being ready and being killed, in seconds."""
APPLICATIONS_PER_LIFE = 4


class Program:
    """The program as a child: started, ready, killed or stopped."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; does not wait."""
        command = [sys.executable, "-m", "usance", "--output", "json", "--data", str(self.data)]
        path = os.pathsep.join(p for p in sys.path if p)
        with (self.data.parent / "stderr.log").open("a") as stderr:
            self.child = subprocess.Popen(  # noqa: S603  our own program
                [*command, "start", "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "USANCE_GATEWAY_LOOPBACK": "true"},
            )

    def ready(self) -> dict[str, Any]:
        """Wait for its first line of output; raises Unavailable when it ends instead."""
        assert self.child is not None and self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            text = (self.data.parent / "stderr.log").read_text(encoding="utf-8")
            raise Unavailable(f"the program did not start: {text[-2000:]}", hint="Read its words.")
        said: dict[str, Any] = json.loads(line)
        return said

    def kill(self) -> None:
        """End it without a word."""
        assert self.child is not None
        self.child.kill()
        self._reap()

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.child is not None and self.child.stdout is not None
        try:
            return self.child.wait(STOP_S)
        finally:
            self.child.stdout.close()


class Feeder:
    """Hands inputs in from outside, each one to three times, by one way or the other."""

    def __init__(
        self, folder: Folder, book: Book, dice: random.Random, settings: Settings | None = None
    ) -> None:
        self.folder = folder
        self.book = book
        self.dice = dice
        self.clock: Clock = SystemClock()
        said = {"data": str(folder.root), "gateway.loopback": "true"}
        self.settings = settings or load(None, said, {}).settings
        self.files = 0
        self.sent = 0
        self.retries = 0

    def give(self, given: list[Given]) -> None:
        """Hand inputs in."""
        for one in given:
            for _ in range(self.dice.choice((1, 1, 2, 3))):
                self.sent += 1
                if self.dice.random() < 0.6 or one.answer == "dead-lettered":
                    self._drop(one.data)
                else:
                    self.append(one)

    def _drop(self, data: bytes) -> None:
        self.files += 1
        inbox = self.folder.gateway / "in"
        inbox.mkdir(parents=True, exist_ok=True)
        part = inbox / f".{self.files:06d}.part"
        part.write_bytes(data)
        part.rename(inbox / f"{self.files:06d}.json")

    def append(self, one: Given) -> None:
        """Append the command from this process, again after an uncertain answer."""
        for _ in range(5):
            try:
                with self.store() as store:
                    outgoing = input_command(
                        one.data,
                        tenant=TENANT,
                        our_bic=BANK,
                        source="outside",
                        file_digest=one.command_id,
                        ordinal=1,
                        causation="outside",
                    )
                    store.commands().append([outgoing], self.clock.now())
                return
            except (Unavailable, Uncertain):
                self.retries += 1
                self.clock.sleep(0.05)
        self._drop(one.data)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Lend the folder's log beside its owner."""
        store = Store(self.folder, self.settings, self.clock, owner=False)
        try:
            yield store
        finally:
            store.log.close()

    def approvals(self, store: Store) -> list[Given]:
        """Return approvals of all credits that wait for one and got none yet."""
        found: list[Given] = []
        for credit in self.book.applications.keys() - self.book.approved:
            try:
                stream = store.history.stream(f"{TENANT}/credit/{credit}")
            except NotFound:
                continue
            asked = [p.message for p in stream if isinstance(p.message, ApprovalRequested)]
            if asked:
                found += self.book.approval(credit, asked[-1].revision, asked[-1].content_hash)
        return found


def run_chaos(kills: int, seed: int = 1, *, folder: Path | None = None) -> dict[str, Any]:
    """Kill the program so often, restart it each time, and return what was found.

    Keys: kills, violations, seed, inputs, sent, retries, restarts, quarantined, events, duplicates,
    credits, and `words` for each violation. `folder` keeps the data; by default it is removed.
    """
    if folder is not None:
        return _run(kills, seed, folder)
    with tempfile.TemporaryDirectory(prefix="usance-chaos-") as made:
        return _run(kills, seed, Path(made))


def _run(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    dice = random.Random(seed)  # noqa: S311  a plan that can be repeated
    book, program = Book(seed), Program(folder / "data")
    program.data.mkdir(parents=True, exist_ok=True)
    feeder = Feeder(Folder(program.data), book, dice)
    program.start()
    try:
        program.ready()
        feeder.give(book.given)
        for life in range(kills):
            _live_and_die(program, feeder, dice, life)
            program.start()
            program.ready()
        feed(feeder, APPLICATIONS_PER_LIFE)
        feeder.clock.sleep(dice.uniform(0.0, RUN_MAX_S))
    finally:
        code = program.stop()
    found = account(feeder, book)
    del found["decided"]
    if code != 0:
        found["violations"] += 1
        found["words"].append(f"a clean end gave exit code {code}")
    return {"kills": kills, "violations": found.pop("violations"), "seed": seed, **found}


def _live_and_die(program: Program, feeder: Feeder, dice: random.Random, life: int) -> None:
    """Feed a part, let it work for a moment, kill it; now and then kill it while it starts."""
    feed(feeder, APPLICATIONS_PER_LIFE)
    feeder.clock.sleep(dice.uniform(0.0, RUN_MAX_S))
    program.kill()
    if life % 4 == 3:
        program.start()
        feeder.clock.sleep(dice.uniform(0.1, 2.0))
        program.kill()


def feed(feeder: Feeder, applications: int) -> None:
    """Hand in some applications and whatever can be approved by now, now and then something bad."""
    book = feeder.book
    given = [one for _ in range(applications) for one in book.application()]
    if feeder.dice.random() < 0.3:
        given += book.conflict()
    if feeder.dice.random() < 0.3:
        given.append(book.garbage())
    with feeder.store() as store:
        given += feeder.approvals(store)
    feeder.dice.shuffle(given)
    feeder.give(given)
