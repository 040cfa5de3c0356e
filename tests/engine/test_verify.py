"""The account of a run can say no: evidence with one record lost, doubled or moved is never accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sim_world import simulated
from toy_world import Break, World

from usance.log.contract import Record, TopicPartition
from usance.testing.chaos_account import _check_conflicts, _check_sum
from usance.testing.chaos_book import Book
from usance.testing.verify import Verdict, verify_log

KEYS = "abcd"


def lost(records: list[Record], at: int) -> list[Record]:
    return records[:at] + records[at + 1 :]


def doubled(records: list[Record], at: int) -> list[Record]:
    return [*records[: at + 1], records[at], *records[at + 1 :]]


def exchanged(records: list[Record], at: int) -> list[Record]:
    other = at + 1 if at + 1 < len(records) else at - 1
    found = list(records)
    found[at], found[other] = found[other], found[at]
    return found


class Evidence:
    """A log of which one topic is told otherwise than it is."""

    def __init__(self, log: Any, told: dict[TopicPartition, list[Record]]) -> None:
        self._log = log
        self._told = told

    def scan(
        self, place: TopicPartition, start: int, mark: int | None = None, *more: Any
    ) -> Iterator[Record]:
        if place in self._told:
            return iter(self._told[place])
        return self._log.scan(place, start, mark, *more)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def judged(world: World, log: Any) -> Verdict:
    deciders = {d.category: d for d in world.deciders}
    return verify_log(log, world.topics, world.decoder, deciders, world.genesis.log_id)


@pytest.fixture
def world() -> World:
    world = simulated(partitions=2)
    owner = world.owner(batch=3)
    for key in KEYS:
        world.pay(key, [1, 2, 3])
    world.settle(owner)
    world.send("a", Break(kind="bug"), "broken")
    world.pay("a", [4, 5], "behind-")
    world.settle(owner)
    assert judged(world, world.log).violations == 0
    return world


@pytest.mark.parametrize("harm", [lost, doubled, exchanged])
@pytest.mark.parametrize("kind", ["commands", "events", "outcomes", "dead-letters"])
def test_a_record_that_is_lost_doubled_or_moved_is_a_violation_wherever_it_stands(
    world: World, kind: str, harm: Callable[[list[Record], int], list[Record]]
) -> None:
    tried = 0
    for number in range(2):
        place = world.topics.at("trade", kind, number)
        records = world.records(kind, number)
        if harm is exchanged and (kind == "commands" or len(records) < 2):
            continue  # the log itself keeps the order of commands
        for at in range(len(records)):
            told = {place: harm(records, at)}
            assert judged(world, Evidence(world.log, told)).violations, (place, at)
            tried += 1
    assert tried or harm is exchanged


def test_an_input_without_an_end_and_a_conflict_that_nobody_made_are_violations() -> None:
    book = Book(1)
    (first, *_) = book.conflict()
    clean = Verdict()
    clean.decided = {one.command_id: "accepted" for one in book.given}
    clean.conflicts[first.command_id] = 2  # one id with two limits, on purpose
    _check_sum(clean, book)
    _check_conflicts(clean, book)
    assert clean.violations == 0
    clean.conflicts[book.given[0].command_id] = 1
    _check_conflicts(clean, book)
    assert clean.violations == 1
    del clean.decided[book.given[1].command_id]
    _check_sum(clean, book)
    assert clean.violations == 2
