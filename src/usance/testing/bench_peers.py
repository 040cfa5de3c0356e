"""The peers of the bench, on the same commands, deciders and machine, each as its authors show it.

`article_loop` is the loop that this project starts from: poll one message, parse JSON, decide, write the
event and the new offset, one synchronous commit. `event_sourcing` is the library of that name on its SQLite
store, one aggregate loaded and saved per command. Both write one JSON event per fact and verify their counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from usance.adapters import sqlite_store
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.decider import Context, Decider, Decision, key_parts
from usance.testing.bench_rig import Mismatch


class PeerRun(NamedTuple):
    """What a peer did in its time."""

    commands: int
    seconds: float
    per_s: float
    durability: str


def _document(outgoing: Outgoing) -> bytes:
    said = {"id": outgoing.id, "key": outgoing.key, "type": type(outgoing.command).__name__}
    return msgspec.json.encode({**said, "command": msgspec.to_builtins(outgoing.command)})


class _Bank:
    """Decides documents against states in memory, as both peers do."""

    def __init__(self, deciders: dict[str, Decider[Any]], sample: Sequence[Outgoing]) -> None:
        self.deciders = deciders
        self.types = {type(o.command).__name__: type(o.command) for o in sample}
        self.states: dict[str, Any] = {}
        self.clock: Clock = SystemClock()

    def decide(self, document: Any, outgoing: Outgoing) -> tuple[str, list[tuple[str, bytes]]]:
        key = document["key"]
        parts = key_parts(key)
        decider = self.deciders[parts.category]
        command = msgspec.convert(document["command"], self.types[document["type"]])
        state = self.states.get(key) or decider.initial(key)
        name = document["id"]
        context = Context(
            key, 0, self.clock.now(), parts.tenant, outgoing.actor, name, name, "article"
        )
        answer = decider.decide(state, command, context)
        if not isinstance(answer, Decision):
            return key, []
        for event in answer.events:
            state = decider.evolve(state, event)
        self.states[key] = state
        return key, [(type(e).__name__, msgspec.json.encode(e)) for e in answer.events]


def article_loop(
    folder: Path, commands: Sequence[Outgoing], deciders: dict[str, Decider[Any]], seconds: float
) -> PeerRun:
    """Run the article's loop for a time."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    clock, bank = SystemClock(), _Bank(deciders, commands)
    with closing(sqlite_store.connect(folder / "article.sqlite", create=True)) as db:
        db.execute("CREATE TABLE inbox (at INTEGER PRIMARY KEY, body BLOB)")
        db.execute("CREATE TABLE events (at INTEGER PRIMARY KEY, key TEXT, type TEXT, body BLOB)")
        db.execute("CREATE TABLE place (name TEXT PRIMARY KEY, at INTEGER)")
        db.execute("INSERT INTO place VALUES ('loop', 0)")
        db.execute("BEGIN")
        rows = [(n, _document(o)) for n, o in enumerate(commands, 1)]
        db.executemany("INSERT INTO inbox VALUES (?, ?)", rows)
        db.execute("COMMIT")
        start, done, written = clock.monotonic(), 0, 0
        while done < len(commands) and clock.monotonic() - start < seconds:
            at, body = db.execute("SELECT at, body FROM inbox WHERE at = ?", (done + 1,)).fetchone()
            key, events = bank.decide(json.loads(body), commands[at - 1])
            db.execute("BEGIN IMMEDIATE")
            for name, event in events:
                db.execute(
                    "INSERT INTO events (key, type, body) VALUES (?, ?, ?)", (key, name, event)
                )
            db.execute("UPDATE place SET at = ? WHERE name = 'loop'", (at,))
            db.execute("COMMIT")
            done, written = at, written + len(events)
        used = clock.monotonic() - start
        kept = db.execute("SELECT count(*) FROM events").fetchone()[0]
        place = db.execute("SELECT at FROM place").fetchone()[0]
        if (kept, place) != (written, done):
            raise Mismatch("the article's loop lost events", hint="Run the bench again.")
        level = db.execute("PRAGMA synchronous").fetchone()[0]
    return PeerRun(done, used, done / used, f"WAL, synchronous={level}")


def event_sourcing(
    folder: Path, commands: Sequence[Outgoing], deciders: dict[str, Decider[Any]], seconds: float
) -> PeerRun | None:
    """Run the eventsourcing library for a time; None where it is not installed."""
    try:
        from usance.testing.bench_library import open_library
    except ImportError:
        return None
    save, count, close, durability = open_library(folder)
    clock, bank = SystemClock(), _Bank(deciders, commands)
    bodies = [_document(o) for o in commands]
    start, done, written = clock.monotonic(), 0, 0
    while done < len(commands) and clock.monotonic() - start < seconds:
        key, events = bank.decide(msgspec.json.decode(bodies[done]), commands[done])
        save(key, events)
        done, written = done + 1, written + len(events)
    used = clock.monotonic() - start
    if count() != written:
        raise Mismatch("eventsourcing kept another number of events", hint="Run the bench again.")
    close()
    return PeerRun(done, used, done / used, durability)
