"""The simulated log keeps the contract, and does the harm that it is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    O0,
    LogConformance,
    Owner,
    out,
    values,
)
from usance.testing.sim_hazards import Hazards, LateEnd, answer_lost, refused_before_commit
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


# What brokers do besides: each hazard does what it says, and nothing without its name.


def held(hazards: Hazards) -> tuple[SimulatedLog, Owner, Unit]:
    """Return a log, its owner, and the unit of a batch that was read."""
    log = simulated(hazards)
    log.create_topic(TopicSettings(O0.topic, "outcomes", 2))
    log.append([out(C0, b"c1"), out(C0, b"c2")])
    owner = Owner(log)
    return log, owner, owner.unit(owner.read(), [out(E0, b"e1"), out(E0, b"e2")], [out(O0, b"f")])


@pytest.mark.parametrize("step", ["records", "offsets", "footers", "end"])
@pytest.mark.parametrize("commits", [True, False])
def test_a_late_end_leaves_what_was_sent_before_it_and_an_owner_who_does_not_know(
    step: Any, commits: bool
) -> None:
    log, owner, unit = held(Hazards())
    log.end_late(LateEnd(step, commits))
    with pytest.raises(Uncertain):
        owner.commit(unit)
    events, footers = values(list(log.scan(E0, 0))), values(list(log.scan(O0, 0)))
    if not commits:
        assert (events, footers, log.position(GROUP, C0)) == ([], [], 0)
    else:
        assert len(events) <= 2 if step == "records" else len(events) == 2
        assert footers == ([b"f"] if step == "end" else [])
        assert log.position(GROUP, C0) == (unit.positions[C0] if step in ("footers", "end") else 0)


def test_an_earlier_units_positions_may_arrive_after_a_later_ones() -> None:
    log = simulated(Hazards(late_offset_commit=True), 3)
    log.append([out(C0, b"%d" % n) for n in range(40)])
    owner, seen = Owner(log), []
    while batch := owner.read(1):
        if not batch.count:
            break
        owner.commit(owner.unit(batch, []))
        seen.append(log.position(GROUP, C0) or 0)
    assert seen != sorted(seen)


def test_a_commit_of_nobody_is_refused_unless_the_broker_accepts_it() -> None:
    for accepted in (False, True):
        log, owner, unit = held(Hazards(memberless_metadata=accepted))
        nobody = unit._replace(fence=unit.fence._replace(epoch=-1, member=""))
        pending = log.commit(log.stage(nobody), owner.last)
        if not accepted:
            with pytest.raises(Fenced):
                pending.result()
        else:
            pending.result()
        assert len(list(log.scan(E0, 0))) == 2 * accepted


def test_a_generation_without_ownership_commits_only_where_nobody_looks() -> None:
    for unchecked in (False, True):
        hazards = Hazards(shared_groups=True, unchecked_ownership=unchecked)
        log, owner, unit = held(hazards)
        log.join(GROUP, [COMMANDS]).poll()
        stale = log.commit(log.stage(unit), owner.last)
        if unchecked:
            with pytest.raises(
                Fenced
            ):  # a fence captured before the rebalance is of another generation
                stale.result()
            fresh = unit._replace(fence=log.read(owner.member, 0, 0.0).fence)
            log.commit(log.stage(fresh), log.start(owner.member)).result()
        else:
            stale.result()
        assert len(list(log.scan(E0, 0))) == 2


def test_a_group_forgets_its_positions_and_answers_none() -> None:
    log, owner, unit = held(Hazards(offset_expiry=True))
    owner.commit(unit)
    log.forget_positions(GROUP)
    assert log.position(GROUP, C0) is None


def test_a_unit_becomes_visible_partition_by_partition_but_a_mark_is_waited_for() -> None:
    log, owner, unit = held(Hazards(markers_per_topic=True))
    seen = set()
    for _ in range(30):
        log.append([out(C0, b"c")])
        batch = log.read(owner.member, 9, 1.0)
        owner.commit(owner.unit(batch, [out(E0, b"e"), out(O0, b"o")]))
        open_ended = (len(list(log.scan(E0, 0))), len(list(log.scan(O0, 0))))
        seen.add(open_ended[0] - open_ended[1])
        assert len(list(log.scan(E0, 0, log.end(E0)))) == len(list(log.scan(O0, 0, log.end(O0))))
    assert len(seen) > 1
    del unit


def test_an_open_transaction_of_another_program_hides_what_comes_after_it() -> None:
    log, owner, unit = held(Hazards())
    log.open_foreign(E0)
    owner.commit(unit)
    assert list(log.scan(E0, 0)) == [] and log.end(E0) > 2
    with pytest.raises(Unavailable, match="another program"):
        list(log.scan(E0, 0, log.end(E0)))
    log.end_foreign(E0)
    assert len(list(log.scan(E0, 0))) == 2
