"""The loop that owner and consumers share: whatever goes wrong in between, no record is passed over."""

from __future__ import annotations

from typing import Any

import pytest
from sim_world import Make, sim, simulated

from usance.engine.owner import unit_loop
from usance.engine.owner.gather import HOLD_MAX_S, Load, Pace
from usance.engine.owner.owner import Owner
from usance.kernel.errors import NotFound, Unavailable, Unreadable
from usance.log.contract import Assigned, Change, Lost, Output
from usance.testing.sim_hazards import CommitFault, Hazards, answer_lost


@pytest.mark.parametrize("error", [NotFound("no such topic"), Unavailable("away")])
def test_what_was_read_when_a_unit_could_not_be_staged_is_read_again(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world = make(batch=2)
    owner = world.owner()
    world.pay("a", [1, 2, 3, 4])
    assert owner.step(20 * world.wait)  # a unit is under way when the next one fails
    stage = world.log.stage
    failing = [error]

    def unwilling(unit: Any) -> Any:
        if failing:
            raise failing.pop()
        return stage(unit)

    monkeypatch.setattr(world.log, "stage", unwilling)
    with pytest.raises(type(error)):
        while failing:
            owner.step(world.wait)
    world.settle(owner)
    assert world.balances() == {"a": 10}
    assert [world.answers(f"a-{n}") for n in range(4)] == [["accepted"]] * 4


def told(owner: Owner, monkeypatch: pytest.MonkeyPatch, *changes: Change) -> None:
    """Have the group tell an owner these changes at its next look, whatever it said itself."""
    member = owner.member
    assert member is not None
    waiting = [list(changes)]
    monkeypatch.setattr(member, "poll", lambda: waiting.pop() if waiting else [])


def test_a_partition_that_cannot_be_restored_yet_holds_no_other_up_and_is_taken_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = simulated(partitions=2)
    owner = world.owner()
    places = list(owner.states)
    keys = {world.topics.place(f"t/purse/{key}").partition: key for key in "abcdefgh"}
    for key in keys.values():
        world.pay(key, [1, 2])
    owner._drop(places)
    told(owner, monkeypatch, Assigned(tuple(owner.topics.input(place) for place in places)))
    restore, dark = owner.takeover.restore, set(places)

    def unwilling(place: Any, seen: Any = None) -> Any:
        if place in dark:
            raise Unavailable("a transaction is still open")
        return restore(place, seen)

    monkeypatch.setattr(owner.takeover, "restore", unwilling)
    with pytest.raises(Unavailable):  # nothing of it can be read: people are told
        owner.step()
    late = world.topics.place(f"t/purse/{keys[0]}")
    dark.intersection_update({late})
    for _ in range(20):
        owner.step()
    assert late not in owner.states and "transaction is still open" in owner.trouble
    assert world.balances() == {keys[1]: 3}
    dark.clear()
    owner.untaken[late] = 0.0  # its time has come
    world.settle(owner)
    assert world.balances() == dict.fromkeys(keys.values(), 3)
    assert not owner.trouble


@pytest.mark.parametrize("fault", [None, answer_lost(applied=True), answer_lost(applied=False)])
def test_who_loses_one_partition_keeps_what_its_unit_did_to_the_others(
    fault: CommitFault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = simulated(partitions=2)
    owner = world.owner()
    keys = {world.topics.place(f"t/purse/{key}").partition: key for key in "abcdefgh"}
    for key in keys.values():
        world.pay(key, [1, 2])
    if fault is not None:
        sim(world).fail_commit(fault)
    owner.step()
    assert owner.flight is not None and len(owner.flight.builder.shares) == 2
    kept, lost = owner.flight.builder.shares
    told(owner, monkeypatch, Lost((owner.topics.input(lost),)))
    world.pay(keys[kept.partition], [4], "later")
    world.settle(owner)
    assert lost not in owner.states
    assert world.answers(f"later{keys[kept.partition]}-0") == ["accepted"]
    assert world.verdict().states[f"t/purse/{keys[kept.partition]}"].balance == 7


class TooLarge:
    """The pending commit of a unit that the log does not take."""

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        raise Unreadable("log", "a record is larger than its topic takes", hint="split it")


def test_a_unit_that_the_log_finds_too_large_when_it_commits_is_bisected(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(batch=4)
    owner = world.owner()
    world.pay("a", [1, 2, 3, 4])
    commit, events = world.log.commit, world.topics.name("trade", "events")

    def large(output: Output) -> bool:
        return output.topic == events and b"a-2" in repr(output.headers).encode()

    def commits(staged: Any, after: Any) -> Any:
        found = any(large(output) for output in staged.unit.outputs)
        return TooLarge() if found else commit(staged, after)

    monkeypatch.setattr(world.log, "commit", commits)
    world.settle(owner)
    assert world.balances() == {"a": 1 + 2}, "the key is parked behind what could not be written"
    assert [world.answers(f"a-{n}") for n in range(4)] == [
        ["accepted"],
        ["accepted"],
        ["dead-lettered"],
        ["parked"],
    ]


def test_only_what_is_still_owned_is_given_back_as_cleanly_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = simulated(hazards=Hazards(shared_groups=True))
    frozen = world.owner()
    sim(world).expel(frozen.member)  # type: ignore[arg-type]
    successor = world.owner()
    assert frozen.member is not None
    monkeypatch.setattr(frozen.member, "owned", frozenset)
    frozen.close()
    place = next(iter(successor.states))
    at = world.topics.at(place.context, "attempts", place.partition)
    last = list(world.log.scan(at, 0))[-1]
    assert (last.key, last.value) == (b"release", b"owned"), "it still runs"


def test_after_a_crash_only_what_was_there_is_taken_one_at_a_time() -> None:
    """What came later cannot have killed the predecessor, and an idle partition holds no other back."""
    world = simulated(partitions=2)
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)  # and it ends without a word
    world.pay("a", [1, 2, 3], "there-")
    heir = world.owner(batch=50)
    assert sorted(c.left for c in heir.cautions.values())[-2:] == [0, 3]
    world.pay("a", range(1, 41), "later-")
    world.settle(heir)
    assert world.balances() == {"a": 1 + 6 + sum(range(1, 41))}
    assert heir.units < 3 + 10


def test_a_unit_over_many_partitions_stays_within_the_logs_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unit_loop, "OUTPUTS_MAX", 60)
    assert most_outputs(monkeypatch) <= 60 + 5


def test_a_unit_of_large_records_stays_within_the_logs_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unit_loop, "VALUES_MAX", 2_000)
    monkeypatch.setattr(unit_loop, "WEIGHED", 4)
    assert most_outputs(monkeypatch) <= 60


def most_outputs(monkeypatch: pytest.MonkeyPatch) -> int:
    """Decide 320 payments in four partitions; return the most outputs of a unit."""
    world = simulated(partitions=4)
    keys = "abcdefghijklmnop"
    for key in keys:
        world.pay(key, [1] * 20)
    assert len({world.topics.place(f"t/purse/{key}").partition for key in keys}) == 4
    stage, sizes = world.log.stage, list[int]()

    def staging(unit: Any) -> Any:
        sizes.append(len(unit.outputs))
        return stage(unit)

    monkeypatch.setattr(world.log, "stage", staging)
    owner = world.owner(batch=1_000)
    world.settle(owner)
    assert world.balances() == dict.fromkeys(keys, 20)
    assert sum(sizes) >= 640
    return max(sizes)


class Writing:
    """A pending commit that notes how long its loop waits for it to be written, and what is done meanwhile."""

    def __init__(self, pending: Any, meanwhile: Any) -> None:
        self.pending = pending
        self.meanwhile = meanwhile
        self.waits: list[float] = []

    def done(self) -> bool:
        return bool(self.pending.done())

    def written(self, timeout: float) -> bool:
        self.waits.append(timeout)
        if timeout:
            self.meanwhile()
        return True

    def result(self, timeout: float | None = None) -> Any:
        return self.pending.result(timeout)


@pytest.mark.parametrize(("load", "together"), [(Load(), True), (Load(50_000.0, 0.03), False)])
def test_what_comes_while_a_unit_is_written_is_in_the_next_one_at_a_low_rate(
    load: Load, together: bool
) -> None:
    """Read at once it would stand ready and wait for its turn, and what comes then would wait for two units."""
    world = simulated(batch=10)
    owner = world.owner()
    owner.pace = Pace()
    world.pay("a", [1])
    while owner.flight is None:
        owner.step()
    world.pay("a", [2], "next")
    owner.pace.load = load
    writing = Writing(owner.flight.pending, lambda: world.pay("a", [4], "late"))
    owner.flight = owner.flight._replace(pending=writing)
    owner.step()
    assert writing.waits == [HOLD_MAX_S if together else 0.0]
    assert owner.flight is not None and owner.flight.builder.batch_count == (2 if together else 1)
    world.settle(owner)
    assert world.balances() == {"a": 7 if together else 3}


def test_a_unit_is_sent_before_the_one_that_it_follows_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log would have nothing to do meanwhile."""
    world = simulated(batch=1)
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    done: list[str] = []
    commit, publish = world.log.commit, owner._publish
    monkeypatch.setattr(world.log, "commit", lambda *unit: (done.append("sent"), commit(*unit))[1])
    monkeypatch.setattr(owner, "_publish", lambda unit: (done.append("published"), publish(unit)))
    while owner.decided < 3:
        owner.step()
    assert done == ["sent", "sent", "published", "sent", "published", "published"]
    assert world.balances() == {"a": 6}


def test_a_unit_that_is_in_the_log_is_published_though_the_next_one_cannot_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = simulated(batch=1)
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    while owner.flight is None:
        owner.step()
    commit, failing = world.log.commit, [Unavailable("away")]

    def unwilling(*unit: Any) -> Any:
        if failing:
            raise failing.pop()
        return commit(*unit)

    monkeypatch.setattr(world.log, "commit", unwilling)
    with pytest.raises(Unavailable):
        while failing:
            owner.step()
    assert owner.decided == 1
    world.settle(owner)
    assert world.balances() == {"a": 6}
    assert [world.answers(f"a-{n}") for n in range(3)] == [["accepted"]] * 3
