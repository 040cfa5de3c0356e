"""A book that was played, and what can be asked of its log."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from usance import config
from usance.bootstrap.book import play, read_book
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.kernel.clock import BookClock
from usance.kernel.decider import key_parts
from usance.log.contract import Record
from usance.messages.outcome import Outcome
from usance.messages.swift.fin import Message, parse
from usance.testing.verify import Verdict, verify_log

BOOK = Path(__file__).parents[2] / "examples" / "book"
START_BEFORE_MS = 600_000


class Fact(NamedTuple):
    """One event with its place in its stream."""

    key: str
    revision: int
    message: Any


class Played:
    """A book that was played: the runtime over its log, and what can be asked of the records."""

    def __init__(self, folder: Path, cache: Path) -> None:
        book = read_book(BOOK)
        clock = BookClock(book[0].instant - START_BEFORE_MS)
        if cache.exists():
            shutil.copytree(cache, folder / "cache")
        self.runtime = Runtime(Folder(folder), config.load(environ={}).settings, clock)
        play(self.runtime, book)
        if not cache.exists():
            shutil.copytree(folder / "cache", cache)
        self.store = self.runtime.store

    def verdict(self) -> Verdict:
        """Return what the records say of themselves, with each stream folded."""
        store = self.store
        return verify_log(
            store.log, store.topics, store.decoder, store.deciders, store.genesis.log_id
        )

    def records(self, context: str, kind: str) -> Iterator[Record]:
        """Give the records of a topic, partition after partition."""
        for number in range(self.store.topics.partitions):
            place = self.store.topics.at(context, kind, number)
            yield from self.store.log.scan(place, self.store.log.begin(place))

    def events(self, context: str = "trade") -> list[Fact]:
        """Return all events of a context."""
        decoder = self.store.decoder
        return [
            Fact(
                (r.key or b"").decode(),
                decoder.meta(r.headers).revision,
                decoder.message(r.headers, r.value),
            )
            for r in self.records(context, "events")
        ]

    def answers(self) -> dict[str, list[Outcome]]:
        """Return the outcomes of what the gateway took in, by command id."""
        decoder = self.store.decoder
        found: dict[str, list[Outcome]] = defaultdict(list)
        for context in ("trade", "compliance"):
            for record in self.records(context, "outcomes"):
                outcome = decoder.message(record.headers, record.value)
                from_gateway = decoder.meta(record.headers).causation.startswith("intake:")
                if isinstance(outcome, Outcome) and from_gateway:
                    found[outcome.command_id].append(outcome)
        return found

    def sent(self) -> dict[str, Message]:
        """Return our own messages as they were handed over, by file name."""
        folder = self.runtime.folder.gateway / "out"
        return {path.name: parse(path.read_bytes()) for path in folder.glob("*.fin")}

    def of(self, category: str, states: dict[str, Any]) -> dict[str, Any]:
        """Return the states of a category by identity."""
        return {
            key_parts(key).identity: state
            for key, state in states.items()
            if key_parts(key).category == category
        }
