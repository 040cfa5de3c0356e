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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from usance.adapters.intake import input_command
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, Store
from usance.config import load
from usance.domain.credit.messages import ApprovalRequested
from usance.engine.control import Redrive
from usance.engine.reactor import Outgoing
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Unavailable, Uncertain
from usance.kernel.ids import derived
from usance.kernel.words import Words
from usance.testing.chaos_book import Book, Given
from usance.testing.verify import Verdict, verify_log
from usance.testing.workload import BANK, TENANT
from usance.views.asking_trade import balanced

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

    def __init__(self, folder: Folder, book: Book, dice: random.Random) -> None:
        self.folder = folder
        self.book = book
        self.dice = dice
        self.clock: Clock = SystemClock()
        self.settings = load(None, {"data": str(folder.root)}, {}).settings
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
                    self._append(one)

    def _drop(self, data: bytes) -> None:
        self.files += 1
        inbox = self.folder.gateway / "in"
        inbox.mkdir(parents=True, exist_ok=True)
        part = inbox / f".{self.files:06d}.part"
        part.write_bytes(data)
        part.rename(inbox / f"{self.files:06d}.json")

    def _append(self, one: Given) -> None:
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
        _feed(feeder, APPLICATIONS_PER_LIFE)
        feeder.clock.sleep(dice.uniform(0.0, RUN_MAX_S))
    finally:
        code = program.stop()
    found = _account(feeder, book)
    if code != 0:
        found["violations"] += 1
        found["words"].append(f"a clean end gave exit code {code}")
    return {"kills": kills, "violations": found.pop("violations"), "seed": seed, **found}


def _live_and_die(program: Program, feeder: Feeder, dice: random.Random, life: int) -> None:
    """Feed a part, let it work for a moment, kill it; now and then kill it while it starts."""
    _feed(feeder, APPLICATIONS_PER_LIFE)
    feeder.clock.sleep(dice.uniform(0.0, RUN_MAX_S))
    program.kill()
    if life % 4 == 3:
        program.start()
        feeder.clock.sleep(dice.uniform(0.1, 2.0))
        program.kill()


def _feed(feeder: Feeder, applications: int) -> None:
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


# -- the account


def _account(feeder: Feeder, book: Book) -> dict[str, Any]:
    """Let the program come to rest in this process, and compare log, model and views."""
    settings = load(
        None, {"data": str(feeder.folder.root), "gateway.loopback": "true"}, {}
    ).settings
    runtime = Runtime(feeder.folder, settings)
    try:
        quarantined = 0
        for _ in range(10):
            _rest(runtime)
            approvals = feeder.approvals(runtime.store)
            quarantined += _redrive(runtime, quarantined)
            if not approvals and not runtime.owner.paused and not _killers(runtime):
                break
            feeder.give(approvals)
        verdict = verify_log(
            runtime.store.log,
            runtime.store.topics,
            runtime.store.decoder,
            runtime.store.deciders,
            runtime.store.genesis.log_id,
        )
        _check_inputs(verdict, book)
        _check_books(verdict, book)
        _check_views(verdict, book, runtime)
    finally:
        runtime.close()
    return {
        "violations": verdict.violations,
        "inputs": len(book.given),
        "sent": feeder.sent,
        "retries": feeder.retries,
        "quarantined": quarantined,
        "credits": len(book.applications),
        "issued": len(book.approved),
        "events": verdict.records["events"],
        "duplicates": verdict.answers["duplicate"],
        "conflicts": verdict.answers["conflict"],
        "words": verdict.words,
    }


def _rest(runtime: Runtime) -> None:
    """Drive all parts until none has work and no file waits."""
    clock = SystemClock()
    for _ in range(200):
        done = runtime.drive()
        if done == 0 and runtime.drop.pending() == 0:
            return
        clock.sleep(0.1)  # the gateway looks twice whether a file still grows
    raise Unavailable("the program does not come to rest", hint="Look at its sagas.")


def _killers(runtime: Runtime) -> dict[str, str]:
    """Return key by id of open dead letters that park a key: records met by several kills in a row."""
    return {
        letter: found.key
        for state in runtime.owner.states.values()
        for letter, found in state.dead_letters.items()
        if found is not None and found.parked
    }


def _redrive(runtime: Runtime, number: int) -> int:
    """Redrive them, as an operator does who knows that the program was killed from outside."""
    found = _killers(runtime)
    operator = Actor("henrik.solberg", "henrik.solberg", "engineer")
    for letter, key in found.items():
        command = Redrive(
            dead_letter_id=letter, dead_letter_index=0, reason=Words(text="killed from outside")
        )
        name = derived(letter, "chaos", number)
        runtime.store.commands().append(
            [Outgoing(key, command, name, "chaos", actor=operator)], runtime.clock.now()
        )
    return len(found)


def _check_inputs(verdict: Verdict, book: Book) -> None:
    for one in book.given:
        if one.answer not in ("accepted", "refused"):
            continue
        answer = verdict.decided.get(one.command_id, "nothing")
        racing = answer == "accepted" and one.answer == ""
        if answer != one.answer and not racing:
            verdict.broken(f"input {one.command_id} was to be {one.answer} and is {answer}")
    garbage = sum(one.answer == "dead-lettered" for one in book.given)
    dead = sum(answer == "dead-lettered" for answer in verdict.interim.values())
    if verdict.records["dead-letters"] < garbage or dead < garbage:
        verdict.broken(f"{garbage} unreadable inputs, {dead} dead letters")


def _check_books(verdict: Verdict, book: Book) -> None:
    """Hold the fold of the events against the model."""
    counts = verdict.events_by_type
    expected = {
        "CreditApplied": len(book.applications),
        "LimitReserved": len(book.applications),
        "CreditApproved": len(book.approved),
        "CreditIssued": len(book.approved),
        "FacilitySet": 3 + len(book.racing),
    }
    for name, wanted in expected.items():
        if counts[name] != wanted:
            verdict.broken(f"{counts[name]} events {name} where {wanted} were due")
    for facility, wanted in book.reserved().items():
        state = verdict.states[f"{TENANT}/facility/{facility}"]
        if state.reserved != wanted:
            verdict.broken(f"{facility}: {state.reserved} taken, the model says {wanted}")
    lines = {k.rpartition("/")[2]: s for k, s in verdict.states.items() if "/credit/" in k}
    undrawn = sum(state.undrawn for state in lines.values())
    if undrawn != book.liability():
        verdict.broken(f"contingent liability {undrawn}, the model says {book.liability()}")
    for credit in book.applications:
        due = "ISSUED" if credit in book.approved else "AWAITING_APPROVAL"
        if lines[credit].state != due:
            verdict.broken(f"{credit} is {lines[credit].state}, {due} was due")


def _check_views(verdict: Verdict, book: Book, runtime: Runtime) -> None:
    """Hold the views against the fold, and the sent messages against the issued credits."""
    with runtime.views.reading(restricted=True) as reading:
        lines = {row["key"]: row for row in reading.select("credits")}
        facilities = {row["key"]: row for row in reading.select("facilities")}
        balances = reading.select("balances")
        messages = [row for row in reading.select("fin_messages") if row["mt"] == "700"]
    for key, state in verdict.states.items():
        if "/credit/" in key and (key not in lines or lines[key]["state"] != state.state):
            verdict.broken(f"{key}: the view of credits differs from the fold")
        if "/facility/" in key and facilities[key]["available"] != state.available:
            verdict.broken(f"{key}: the view of facilities differs from the fold")
    if not balanced(balances):
        verdict.broken("the trial balance is not zero")
    sent = Counter(row["credit"].rpartition("/")[2] for row in messages)
    for credit in book.approved:
        if sent[credit] != 1:
            verdict.broken(f"{credit}: {sent[credit]} messages MT700 instead of one")
