"""What a chaos run must amount to: one checker for every driver, embedded log or cluster.

The log is read as records, the book is a model in plain arithmetic, the views are what people see: all three
must agree, every effect exactly once, and every input must be accounted for.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.engine.control import Redrive
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable
from usance.kernel.ids import derived
from usance.kernel.words import Words
from usance.testing.chaos_book import Book, Given
from usance.testing.verify import Verdict, verify_log
from usance.testing.workload import TENANT
from usance.views.asking_trade import balanced


class Feeding(Protocol):
    """What the account needs of whoever hands inputs in."""

    folder: Folder
    settings: Settings
    sent: int
    retries: int

    def give(self, given: list[Given]) -> None:
        """Hand inputs in."""
        ...

    def approvals(self, store: Store) -> list[Given]:
        """Return approvals that are due."""
        ...


def account(feeder: Feeding, book: Book) -> dict[str, Any]:
    """Let the program come to rest in this process, and compare log, model and views."""
    runtime = Runtime(feeder.folder, feeder.settings)
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
        _check_sum(verdict, book)
        _check_conflicts(verdict, book)
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
        "commands": verdict.records["commands"],
        "answers": dict(sorted(verdict.answers.items())),
        "duplicates": verdict.answers["duplicate"],
        "conflicts": verdict.answers["conflict"],
        "words": verdict.words,
        "decided": verdict.decided,
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
        if one.answer == "powerless" and (
            one.command_id not in verdict.decided or verdict.effects[one.command_id]
        ):
            verdict.broken(
                f"input {one.command_id} was to have no effect and has one, or no answer"
            )
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


def _check_sum(verdict: Verdict, book: Book) -> None:
    """Every input has exactly one end: accepted, refused, dead-lettered or parked; the rest repeat one."""
    ids = {one.command_id for one in book.given if one.answer != "dead-lettered"}
    ended = sum(verdict.decided.get(i, verdict.interim.get(i)) is not None for i in ids)
    garbage = sum(one.answer == "dead-lettered" for one in book.given)
    dead = sum(
        answer == "dead-lettered" and command_id not in verdict.decided and command_id not in ids
        for command_id, answer in verdict.interim.items()
    )
    if ended + dead != len(ids) + garbage:
        verdict.broken(f"{len(ids) + garbage} inputs, and {ended + dead} of them have an end")


def _check_conflicts(verdict: Verdict, book: Book) -> None:
    """A conflict is an id used for two bodies: by intent, or bytes that are no input under two file names."""
    ids = {one.command_id for one in book.given}
    for command_id, times in verdict.conflicts.items():
        garbage = command_id not in ids and verdict.interim.get(command_id) == "dead-lettered"
        if command_id not in book.doubles and not garbage:
            verdict.broken(f"{command_id} met {times} conflicts, and was given one body")


def _check_books(verdict: Verdict, book: Book) -> None:
    """Hold the fold of the events against the model."""
    counts = verdict.events_by_type
    expected = {
        "CreditApplied": len(book.applications),
        "LimitReserved": len(book.applications),
        "CreditApproved": len(book.approved),
        "CreditIssued": len(book.approved),
        "FacilitySet": len(book.facilities),
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
