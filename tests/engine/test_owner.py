"""The owner on both logs: answers, order, faults of the commit, restarts, clocks. Rule numbers: docs/protocol.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sim_world import Make, sim, simulated, tick
from toy_world import (
    DAY,
    NOON,
    Break,
    Forward,
    Pay,
    PayAt,
    World,
    memory,
)

from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.kernel.errors import Fenced, Tampered
from usance.log.contract import Output
from usance.testing.sim_hazards import Hazards, answer_lost, refused_before_commit

# --- answers (rules 8 and 10)


def test_commands_of_one_key_are_decided_in_order_and_each_once(make: Make) -> None:
    world = make(batch=7)
    owner = world.owner()
    world.pay("a", range(1, 40))
    world.pay("b", [5, -1, 0, 5])
    world.settle(owner)
    assert world.balances() == {"a": 780, "b": 10}
    assert world.answers("b-1") == ["refused"]
    assert world.answers("b-2") == ["accepted"], "nothing to do is a yes without events"
    assert len(world.resolved) == 43
    owner.close()


def test_the_same_id_and_body_gets_the_first_answer_and_another_body_a_conflict(make: Make) -> None:
    world = make()
    owner = world.owner()
    for amount in (3, 3, 4):
        world.send("a", Pay(amount=amount), "id-1")
    world.settle(owner)
    assert world.answers("id-1") == ["accepted", "duplicate", "conflict"]
    first, again, other = world.outcomes("id-1")
    assert again.of is not None and again.of.index == 0 and again.of.answer == "accepted"
    assert first.body_hash == again.body_hash != other.body_hash
    assert world.balances() == {"a": 3}
    owner.close()


def test_a_refusal_is_remembered_like_an_acceptance(make: Make) -> None:
    world = make()
    owner = world.owner()
    for _ in range(2):
        world.send("a", Pay(amount=-1), "no")
    world.settle(owner)
    assert world.answers("no") == ["refused", "duplicate"]
    owner.close()


def test_a_command_sent_to_another_aggregate_arrives_once(make: Make) -> None:
    world = make(partitions=3)
    owner = world.owner()
    for name in "abcdef":
        world.send(name, Forward(amount=2, to="t/purse/z"), f"fwd-{name}")
    world.settle(owner)
    assert world.balances()["z"] == 12
    owner.close()


def test_a_key_that_no_decider_knows_is_refused(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("../credit/x", Pay(amount=1), "odd")
    world.settle(owner)
    world.verdict()
    owner.close()


@pytest.mark.parametrize("days", [0, 6, 8, 31])
def test_a_restart_never_changes_an_answer(days: int) -> None:
    """Row "answers change with restarts": the same id with and without a restart in between."""

    def answers(restart: bool) -> dict[str, list[str]]:
        world = simulated()
        owner = world.owner()
        world.pay("a", range(1, 12))
        world.send("b", Pay(amount=-1), "refused")
        world.send("c", Break(kind="bug"), "bug")
        world.send("c", Pay(amount=1), "behind")
        world.settle(owner)
        tick(world, days * DAY)
        world.pay("d", [1])
        world.settle(owner)
        if restart:
            owner.close()
            owner = world.owner()
        ids = ["a-0", "a-10", "refused", "bug", "behind"]
        world.send("a", Pay(amount=11), "a-10")
        world.send("a", Pay(amount=1), "a-0")
        world.send("b", Pay(amount=-1), "refused")
        world.send("c", Break(kind="bug"), "bug")
        world.send("c", Pay(amount=1), "behind")
        world.settle(owner)
        found = {i: world.answers(i) for i in ids}
        if days >= 7:
            assert found["a-10"] == ["accepted", "duplicate"], "the last accepted ids are kept"
        return found

    assert answers(restart=False) == answers(restart=True)


@pytest.mark.parametrize("busy", [True, False])
def test_beyond_the_window_an_answer_depends_on_time_and_not_on_traffic(busy: bool) -> None:
    world = simulated()
    owner = world.owner()
    world.send("a", Pay(amount=-1), "no")
    world.settle(owner)
    tick(world, 8 * DAY)
    if busy:
        world.pay("b", range(1, 5))
        world.settle(owner)
    world.send("a", Pay(amount=-1), "no")
    world.settle(owner)
    assert world.answers("no") == ["refused", "refused"]


def test_an_id_within_the_window_is_a_duplicate_also_when_the_owner_was_long_down() -> None:
    world = simulated()
    owner = world.owner()
    world.send("a", Pay(amount=-1), "no")
    world.settle(owner)
    owner.close()
    world.send("a", Pay(amount=-1), "no")
    tick(world, 25 * DAY)
    owner = world.owner()
    world.settle(owner)
    assert world.answers("no") == ["refused", "duplicate"], "log time counts, not the outage"


# --- units: aborts, uncertain answers, takeovers (rules 5, 7, 11, 12, 16)


def traffic(world: World, rounds: int = 8) -> None:
    for n in range(rounds):
        world.pay("a", [n + 1], f"r{n}-")
        world.send("b", Forward(amount=1, to="t/purse/c"), f"f{n}")
        if n == 3:
            world.send("d", Break(kind="bug"), "bug")
        world.send("d", Pay(amount=1), f"d{n}")


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("fault", ["refused", "lost", "applied"])
def test_whatever_happens_to_a_commit_the_log_ends_the_same(after: int, fault: str) -> None:
    """Rows "n aborted, n+1 commits" and "uncertain", in process."""

    def run(faulty: bool) -> dict[Any, Any]:
        world = simulated()
        owner = world.owner(batch=3)
        for step in range(8):
            if faulty and step == after:
                sim(world).fail_commit(
                    refused_before_commit()
                    if fault == "refused"
                    else answer_lost(applied=fault == "applied")
                )
            world.pay("a", [step + 1], f"r{step}-")
            world.send("b", Forward(amount=1, to="t/purse/c"), f"f{step}")
            owner.step()
        world.settle(owner)
        world.verdict()
        assert memory(owner) == memory(world.owner())
        return {k: len(v) for k, v in world.dump().items() if "events" in k[0]} | world.balances()

    assert run(faulty=True) == run(faulty=False)


@given(
    faults=st.lists(st.sampled_from(["refused", "lost", "applied", "crash", "none"]), max_size=30),
    seed=st.integers(0, 1000),
    batch=st.integers(1, 5),
)
@example(  # two killers of one key: the second finds it parked, and can be redriven all the same
    faults=[
        *["refused", "crash", "crash", "refused", "refused", "crash", "refused"],
        "applied",
        *["applied", "refused", "refused", "refused", "crash", "crash", "crash"],
    ],
    seed=1,
    batch=1,
)
@settings(max_examples=60)
def test_no_mixture_of_faults_changes_the_books(faults: list[str], seed: int, batch: int) -> None:
    hazards = Hazards(gap_max=3, short_reads=True, delayed_visibility=1)
    world = simulated(seed=seed, hazards=hazards, partitions=2)
    owner = world.owner(batch=batch)
    traffic(world)
    for fault in faults:
        if fault == "crash":
            sim(world).crash()
            owner = world.owner(batch=batch)
        elif fault == "refused":
            sim(world).fail_commit(refused_before_commit())
        elif fault != "none":
            sim(world).fail_commit(answer_lost(applied=fault == "applied"))
        owner.step()
    for _ in range(300):
        owner.step(0.1)
    world.repairs.bugs = True
    redrive_all(world, owner)
    verdict = world.verdict()
    assert verdict.states["t/purse/a"].balance == 36
    assert verdict.states["t/purse/c"].balance == 8
    assert verdict.states["t/purse/d"].balance == 9
    assert memory(owner) == memory(world.owner())


def redrive_all(world: World, owner: Owner) -> None:
    """Redrive what is open, as an operator does: crashes in a row make a record look like a killer."""
    for attempt in range(5):
        open_letters = {
            letter: found.key.rpartition("/")[2]
            for state in owner.states.values()
            for letter, found in state.dead_letters.items()
            if found is not None
        }
        if not open_letters:
            return
        for letter, key in open_letters.items():
            world.redrive(letter, key, f"redrive-{letter}-{attempt}")
        for _ in range(100):
            owner.step(0.1)
    raise AssertionError("dead letters stay open")


def test_a_dropped_unit_leaves_nothing_in_memory(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    before = memory(owner)
    world.send("a", Break(kind="bug"), "bug")
    world.send("b", PayAt(timer="t", due=NOON + DAY, amount=3), "timer")
    builder = owner._decide(world.log.read(owner.member, 10, 0.0))  # type: ignore[arg-type]
    owner.log.stage(builder.build())
    owner.building = None
    assert memory(owner) == before, "deciding changes nothing but the overlay"
    owner._rewind()
    world.settle(owner)
    assert world.answers("bug") == ["dead-lettered"]
    owner.close()


def test_a_long_backlog_does_not_pile_up_overlays() -> None:
    world = simulated()
    owner = world.owner(batch=1)
    world.pay("a", range(1, 60))
    depth = 0
    for _ in range(59):
        owner.step()
        layer = owner.flight.builder.shares[world.topics.place("t/purse/a")].overlay  # type: ignore[union-attr]
        depth = 0
        below = layer.below
        while hasattr(below, "below"):
            depth, below = depth + 1, below.below
        assert depth <= 1
    world.settle(owner)


def test_revoked_partitions_are_settled_before_they_are_given_away() -> None:
    world = simulated(hazards=Hazards(shared_groups=True), partitions=2)
    first = world.owner(batch=2)
    for name in "abcdefgh":
        world.pay(name, range(1, 9))
    first.step()
    first.step()
    second = world.owner(batch=2, alone=False)
    for _ in range(200):
        first.step()
        second.step()
    assert first.states.keys() | second.states.keys() >= {
        world.topics.place(f"t/purse/{n}") for n in "abcdefgh"
    }
    assert first.states and second.states
    assert world.balances() == dict.fromkeys("abcdefgh", 36)


def test_a_member_that_lost_its_partitions_can_commit_nothing_more() -> None:
    world = simulated()
    zombie = world.owner(batch=2)
    world.pay("a", range(1, 9))
    zombie.step()
    assert zombie.flight is not None
    successor = world.owner()
    with pytest.raises(Fenced):
        zombie._settled()
    world.settle(successor)
    assert world.balances() == {"a": 36}


@pytest.mark.parametrize("change", ["deleted", "rewound"])
def test_a_group_offset_that_was_lost_or_moved_back_changes_nothing(change: str) -> None:
    """Row "position only in the group"."""
    world = simulated()
    owner = world.owner()
    world.pay("a", range(1, 9))
    world.settle(owner)
    owner.close()
    tp = world.topics.at("trade", "commands", 0)
    positions = sim(world).groups[OWNER_GROUP].positions
    if change == "deleted":
        del positions[tp]
    else:
        positions[tp] = 0
    owner = world.owner()
    positions.setdefault(tp, 0)
    world.pay("a", [1], "more-")
    world.settle(owner)
    assert world.balances() == {"a": 37}


def test_a_group_offset_ahead_of_the_log_stops_the_line() -> None:
    world = simulated()
    owner = world.owner()
    world.pay("a", range(1, 9))
    world.settle(owner)
    owner.close()
    world.pay("a", range(1, 9), "skipped-")
    tp = world.topics.at("trade", "commands", 0)
    world.log.set_positions(OWNER_GROUP, {tp: world.log.end(tp)})
    with pytest.raises(Tampered, match="ahead"):
        world.owner()


@pytest.mark.parametrize("kind", ["events", "outcomes"])
def test_records_that_no_footer_accounts_for_stop_the_line(kind: str) -> None:
    world = simulated()
    owner = world.owner()
    world.pay("a", [1, 2])
    world.settle(owner)
    owner.close()
    last = world.records(kind)[-1]
    world.log.append([Output(last.topic, last.partition, last.key, last.value, last.headers)])
    with pytest.raises(Tampered):
        world.owner()


def test_a_cut_commands_topic_stops_the_line() -> None:
    """Row "retention and recreation"."""
    world = simulated()
    owner = world.owner()
    world.pay("a", range(1, 9))
    world.settle(owner)
    owner.close()
    world.pay("a", range(1, 9), "more-")
    tp = world.topics.at("trade", "commands", 0)
    world.log.expire(tp, world.log.end(tp))
    with pytest.raises(Tampered):
        world.settle(world.owner())


def test_a_quiet_partition_writes_a_footer_a_day() -> None:
    world = simulated()
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    before = len(world.records("outcomes"))
    for _ in range(60):
        tick(world, DAY + 1)
        owner.step()
        owner.step()
    assert 55 <= len(world.records("outcomes")) - before <= 62
    assert memory(owner) == memory(world.owner())
