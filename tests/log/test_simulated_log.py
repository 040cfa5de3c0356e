"""The simulated log keeps the contract, and does the harm that it is asked to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from usance.kernel.clock import BookClock
from usance.kernel.errors import Fenced, Unavailable, Uncertain
from usance.log.contract import Assigned, Lost, Revoked, TopicSettings, Unit
from usance.testing.conformance import (
    C0,
    C1,
    COMMANDS,
    E0,
    EVENTS,
    GROUP,
    NOON,
    LogConformance,
    Owner,
    out,
    values,
)
from usance.testing.sim_hazards import Hazards, answer_lost, refused_before_commit
from usance.testing.sim_log import SimulatedLog


class TestConformance(LogConformance):
    """The contract, as every backend keeps it."""

    def open_log(self, folder: Path, clock: BookClock) -> SimulatedLog:
        """Return a new log."""
        return SimulatedLog(clock, seed=7)


class TestConformanceWithWideGapsAndSlowCommits(LogConformance):
    """The same under hazards that a user must not notice."""

    def open_log(self, folder: Path, clock: BookClock) -> SimulatedLog:
        """Return a new log."""
        return SimulatedLog(clock, seed=11, hazards=Hazards(gap_max=9, commit_delay_max=5))


def simulated(hazards: Hazards | None = None, seed: int = 1) -> SimulatedLog:
    log = SimulatedLog(BookClock(NOON), seed=seed, hazards=hazards)
    log.create_topic(TopicSettings(COMMANDS, "commands", 2))
    log.create_topic(TopicSettings(EVENTS, "events", 2))
    log.set_positions(GROUP, {C0: 0, C1: 0})
    log.append([out(C0, b"a"), out(C0, b"b"), out(C1, b"x")])
    return log


def test_a_crash_drops_what_was_staged_and_keeps_what_was_committed() -> None:
    log = simulated()
    owner = Owner(log)
    owner.commit(owner.unit(owner.read(1), [out(E0, b"kept")]))
    pending = log.commit(log.stage(owner.unit(owner.read(1), [out(E0, b"lost")])), owner.last)
    log.crash()
    with pytest.raises(Uncertain):
        pending.result()
    assert values(list(log.scan(E0, 0))) == [b"kept"]
    survivor = Owner(log)
    assert survivor.read().count == 2


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_answer_is_uncertain_and_the_log_knows(applied: bool) -> None:
    log = simulated()
    owner = Owner(log)
    log.fail_commit(answer_lost(applied=applied))
    unit = owner.unit(owner.read(), [out(E0, b"e")])
    with pytest.raises(Uncertain):
        owner.commit(unit)
    assert log.position(GROUP, C0) == (2 if applied else 0)
    assert len(list(log.scan(E0, 0))) == int(applied)
    with pytest.raises(Fenced):
        owner.commit(unit)
    owner.last = log.start(owner.member)
    if not applied:
        owner.commit(unit)
    assert values(list(log.scan(E0, 0))) == [b"e"]


def test_an_unavailable_log_commits_nothing_and_takes_the_same_receipt_again() -> None:
    log = simulated()
    owner = Owner(log)
    unit = owner.unit(owner.read(), [out(E0, b"e")])
    log.fail_commit(refused_before_commit())
    with pytest.raises(Unavailable) as caught:
        owner.commit(unit)
    assert not isinstance(caught.value, Uncertain)
    owner.commit(unit)
    assert values(list(log.scan(E0, 0))) == [b"e"]


def test_members_of_a_shared_group_hand_partitions_over() -> None:
    log = simulated(Hazards(shared_groups=True))
    first = Owner(log)
    second = log.join(GROUP, [COMMANDS])
    assert second.poll() == []
    (revoked,) = first.member.poll()
    assert revoked == Revoked((C1,))
    assert first.member.owned() == {C0}
    assert isinstance(revoked, Revoked)
    first.member.settled(revoked)
    assert second.poll() == [Assigned((C1,))]
    assert values(log.read(second, 10, 0.0).records[C1]) == [b"x"]
    assert set(first.read().records) == {C0}
    second.close()
    assert first.member.poll() == [Assigned((C1,))]


def test_an_expelled_member_is_fenced_even_before_it_knows() -> None:
    log = simulated(Hazards(shared_groups=True))
    zombie = Owner(log)
    unit = zombie.unit(zombie.read(), [out(E0, b"zombie")])
    member = zombie.member
    log.expel(log.groups[GROUP].members[0])
    assert member.owned() == {C0, C1}
    with pytest.raises(Fenced):
        zombie.commit(unit)
    assert member.poll() == [Lost((C0, C1))]
    owner = Owner(log)
    owner.commit(owner.unit(owner.read(), [out(E0, b"owner")]))
    assert values(list(log.scan(E0, 0))) == [b"owner"]


def test_a_partition_that_went_and_came_back_is_fenced() -> None:
    log = simulated(Hazards(shared_groups=True))
    first = Owner(log)
    stale = first.unit(first.read(), [out(E0, b"stale")])
    second = log.join(GROUP, [COMMANDS])
    for change in first.member.poll():
        assert isinstance(change, Revoked)
        first.member.settled(change)
    second.close()
    assert first.member.poll() == [Assigned((C1,))]
    with pytest.raises(Fenced, match="changed hands"):
        first.commit(stale)


def test_delayed_records_are_hidden_from_reads_but_not_from_a_marked_scan() -> None:
    log = simulated(Hazards(delayed_visibility=1))
    log.append([out(E0, b"old")])
    log.append([out(E0, b"new")])
    assert values(list(log.scan(E0, 0))) == [b"old"]
    assert values(list(log.scan(E0, 0, log.end(E0)))) == [b"old", b"new"]
    owner = Owner(log)
    assert log.read(owner.member, 10, 0.0).count == 0
    assert log.read(owner.member, 10, 1.0).count == 3


def test_slow_commits_stay_in_flight_and_keep_their_order() -> None:
    log = simulated(Hazards(commit_delay_max=4), seed=5)
    owner = Owner(log)
    unit = owner.unit(owner.read(1), [out(E0, b"1")])
    pending = log.commit(log.stage(unit), owner.last)
    asked = 0
    while not pending.done():
        assert log.end(E0) == 0
        asked += 1
        assert asked <= 4
    assert asked > 0
    follower = Unit(unit.fence, [out(E0, b"2")], unit.positions, unit.positions)
    log.commit(log.stage(follower), pending.result()).result()
    assert values(list(log.scan(E0, 0))) == [b"1", b"2"]


def test_the_same_seed_gives_the_same_log() -> None:
    def story(seed: int) -> list[tuple[int, bytes | None]]:
        log = simulated(Hazards(gap_max=7, short_reads=True), seed)
        owner = Owner(log)
        for _ in range(9):
            batch = owner.read()
            if batch.count:
                made = [out(E0, b"%d" % r.offset) for run in batch.records.values() for r in run]
                owner.commit(owner.unit(batch, made))
        return [(r.offset, r.value) for r in log.scan(E0, 0)]

    assert story(3) == story(3)
    assert len({tuple(story(seed)) for seed in range(8)}) > 1
    assert all(len(story(seed)) == 3 for seed in range(8))


@pytest.mark.parametrize(
    "name",
    [
        "late_end_txn",
        "late_offset_commit",
        "memberless_metadata",
        "offset_expiry",
        "markers_per_topic",
        "last_stable_offset",
    ],
)
def test_hazards_that_nothing_simulates_cannot_be_switched_on(name: str) -> None:
    with pytest.raises(NotImplementedError, match=name):
        Hazards(**{name: True})
