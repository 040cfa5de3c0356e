"""The owner on both logs: answers, order, faults of the commit, restarts, clocks. Rule numbers: docs/protocol.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_world import (
    CLERK,
    DAY,
    NOON,
    Break,
    Forward,
    Pay,
    PayAt,
    World,
    memory,
    sqlite_world,
)

from usance.engine import attempts
from usance.engine import owner as owner_module
from usance.engine.owner import OWNER_GROUP, Owner
from usance.kernel.clock import BookClock
from usance.kernel.errors import Fenced, Tampered, Unavailable
from usance.log.contract import Output
from usance.testing.sim_log import (
    Hazards,
    SimulatedLog,
    answer_lost,
    refused_before_commit,
)

Make = Callable[..., World]


@pytest.fixture(params=["simulated", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return a maker of worlds on either log."""
    made: list[World] = []

    def world(**more: Any) -> World:
        clock = BookClock(NOON)
        if request.param == "simulated":
            found = simulated(clock=clock, **more)
        else:
            found = sqlite_world(tmp_path, clock, **more)
        made.append(found)
        return found

    yield world
    for found in made:
        found.log.close()


def simulated(
    *, seed: int = 0, hazards: Hazards | None = None, clock: BookClock | None = None, **more: Any
) -> World:
    """Return a world on the simulated log."""
    clock = clock or BookClock(NOON)
    return World(SimulatedLog(clock, seed=seed, hazards=hazards), clock, **more)


def sim(world: World) -> SimulatedLog:
    assert isinstance(world.log, SimulatedLog)
    return world.log


def tick(world: World, ms: int) -> None:
    assert isinstance(world.clock, BookClock)
    world.clock.advance_to(world.clock.now() + ms)


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


# --- dead letters, parks (rules 9 and 17)


def test_a_bug_dead_letters_its_command_parks_the_key_and_spares_the_neighbours(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", Pay(amount=1), "before")
    world.send("a", Break(kind="bug"), "bug")
    world.pay("a", [2, 3], "behind-")
    world.pay("b", [7])
    world.settle(owner)
    assert world.balances() == {"a": 1, "b": 7}
    assert world.answers("bug") == ["dead-lettered"]
    assert world.answers("behind-a-1") == ["parked"]
    assert [kind for _, kind in world.letters()] == ["poison"]
    owner.close()


def test_a_redriven_dead_letter_acts_once_and_its_park_drains_in_order(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.pay("a", range(1, 4), "behind-")
    world.settle(owner)
    letter = world.letters()[0][0]
    world.repairs.bugs = True
    for n in range(3):
        world.redrive(letter, "a", f"redrive-{n}")
    world.settle(owner)
    assert world.answers("bug") == ["dead-lettered", "accepted"]
    assert world.answers("behind-a-2") == ["parked", "accepted"]
    assert world.answers("redrive-0") == ["accepted"]
    assert world.answers("redrive-1") == world.answers("redrive-2") == ["refused"]
    assert world.balances() == {"a": 7}
    order = [world.decoder.message(r.headers, r.value).amount for r in world.records("events")]
    assert order == [1, 1, 2, 3], "parked commands keep their order"
    assert not owner.states[world.topics.place("t/purse/a")].parks
    owner.close()


def test_a_redrive_that_fails_again_stays_parked_and_can_be_tried_again(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.pay("a", [5], "behind-")
    world.settle(owner)
    world.redrive(world.letters()[0][0], "a", "too-early")
    world.settle(owner)
    assert world.balances() == {}
    world.repairs.bugs = True
    world.redrive(world.letters()[-1][0], "a", "now")
    world.settle(owner)
    assert world.answers("bug")[-1] == "accepted"
    assert world.balances() == {"a": 6}
    owner.close()


def test_a_discarded_dead_letter_is_decided_as_such_and_its_park_goes_on(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.pay("a", [5], "behind-")
    world.settle(owner)
    world.discard(world.letters()[0][0], "a", "give-up")
    world.settle(owner)
    assert world.answers("bug") == ["dead-lettered", "discarded"]
    world.send("a", Break(kind="bug"), "bug")
    world.settle(owner)
    assert world.answers("bug")[-1] == "duplicate"
    assert world.balances() == {"a": 5}
    owner.close()


def test_bytes_that_are_no_command_are_kept_identical_and_block_nobody(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.raw("a", b"\xff\x00 no command", (("x", b"\x01"),))
    world.pay("a", [1])
    world.settle(owner)
    letter = world.records("dead-letters")[0]
    assert letter.value == b"\xff\x00 no command"
    assert letter.headers[-1] == ("x", b"\x01")
    assert world.balances() == {"a": 1}
    owner.close()


def test_parks_survive_compaction_and_drain_with_a_crash_after_each_unit() -> None:
    """Rows "compaction eats parks" and "park deadlock"."""
    world = simulated(batch=1)
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.pay("a", range(1, 8), "behind-")
    world.settle(owner)
    world.log.compact(world.topics.at("trade", "parked", 0))
    world.repairs.bugs = True
    world.redrive(world.letters()[0][0], "a", "redrive")
    for _ in range(60):
        owner = world.owner()
        owner.step()
        owner.step()
        sim(world).crash()
        world.log.compact(world.topics.at("trade", "parked", 0))
    owner = world.owner()
    world.settle(owner)
    assert world.balances() == {"a": 1 + 28}
    amounts = [world.decoder.message(r.headers, r.value).amount for r in world.records("events")]
    assert amounts == [1, *range(1, 8)]
    assert memory(owner) == memory(world.owner())


def test_a_retry_while_its_target_is_parked_pays_once(make: Make) -> None:
    """Row "double effect of retries"."""
    world = make()
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.send("a", Pay(amount=9), "payment")
    world.settle(owner)
    tick(world, 3 * DAY)
    world.send("a", Pay(amount=9), "payment")
    world.settle(owner)
    world.repairs.bugs = True
    world.redrive(world.letters()[0][0], "a", "redrive")
    world.settle(owner)
    world.send("a", Pay(amount=9), "payment")
    world.settle(owner)
    assert world.balances() == {"a": 10}
    assert world.answers("payment") == ["parked", "duplicate", "accepted", "duplicate"]
    owner.close()


def test_twenty_keys_with_one_error_stop_the_partition_until_someone_says_go_on() -> None:
    world = simulated()
    owner = world.owner(batch=1)
    for n in range(30):
        world.send(f"k{n}", Break(kind="bug"), f"bug-{n}")
    world.pay("z", [1])
    for _ in range(100):
        owner.step()
    assert len(world.letters()) == 20
    assert owner.paused
    owner.resume()
    for _ in range(100):
        owner.step()
    assert len(world.letters()) == 30
    assert world.balances() == {"z": 1}


def test_rare_errors_never_trip_the_breaker() -> None:
    world = simulated()
    owner = world.owner(batch=1)
    for n in range(30):
        tick(world, DAY)
        world.send(f"k{n}", Break(kind="bug"), f"bug-{n}")
        owner.step()
    world.settle(owner)
    assert len(world.letters()) == 30 and not owner.paused


def test_an_event_that_cannot_be_folded_stops_its_partition_and_is_not_written(make: Make) -> None:
    world = make(batch=1)
    owner = world.owner()
    world.pay("a", [1])
    world.send("a", Break(kind="evolve"), "broken")
    world.pay("a", [2], "later-")
    for _ in range(20):
        owner.step()
    assert "evolve" in next(iter(owner.paused.values()))
    assert world.balances() == {"a": 1}
    assert world.answers("broken") == [], "it waits for a new release"
    owner.close()


def test_a_command_whose_outputs_are_too_large_is_dead_lettered_alone(make: Make) -> None:
    world = make(batch=50)
    owner = world.owner()
    world.pay("a", range(1, 20))
    world.send("b", Break(kind="huge"), "huge")
    world.pay("a", range(1, 20), "after-")
    world.settle(owner)
    assert world.answers("huge") == ["dead-lettered"]
    assert [kind for _, kind in world.letters()] == ["limit"]
    assert world.balances() == {"a": 380}
    owner.close()


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
    second = world.owner(batch=2)
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


# --- snapshots (rule 6)


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a round after every ten events, in slices of three."""
    monkeypatch.setattr(owner_module, "ROUND_EVENTS", 10)
    monkeypatch.setattr("usance.engine.snapshots.SLICE_RECORDS", 3)


@pytest.mark.usefixtures("small_rounds")
def test_a_restore_from_snapshots_equals_the_full_fold(make: Make) -> None:
    world = make(batch=4)
    owner = world.owner()
    for n in range(12):
        for name in "abcdefgh":
            world.pay(name, [n + 1], f"{n}-")
        world.settle(owner)
    full = memory(owner)
    owner.close(clean=False)
    again = world.owner()
    place = world.topics.place("t/purse/a")
    read, kept = again.restored[place]
    assert kept == 8 and read < 60, "most events were not read again"
    assert memory(again)[place][0] == full[place][0]
    world.verdict()
    again.close()


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("lie", ["old", "missing", "altered"])
def test_a_lying_snapshot_is_thrown_away_for_the_full_fold(lie: str) -> None:
    """Row "snapshot lies"."""
    world = simulated(batch=4)
    owner = world.owner()
    first: dict[bytes, Any] = {}
    for n in range(12):
        for name in "abcd":
            world.pay(name, [n + 1], f"{n}-")
        world.settle(owner)
        for record in world.records("snapshots"):
            first.setdefault(record.key or b"", record)
    owner.close()
    victim = first[b"t/purse/b"]
    value = {"old": victim.value, "missing": None, "altered": b"\x00" + victim.value}[lie]
    world.log.append([Output(victim.topic, victim.partition, victim.key, value)])
    world.log.compact(world.topics.at("trade", "snapshots", 0))
    again = world.owner()
    place = world.topics.place("t/purse/a")
    assert again.restored[place] == (48, 0)
    assert world.balances()["b"] == 78 == again.states[place].entries["t/purse/b"].state.balance


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("fault", ["refused", "lost", "applied"])
def test_a_snapshot_round_that_fails_costs_time_and_nothing_else(fault: str) -> None:
    world = simulated(batch=4)
    owner = world.owner()
    for n in range(10):
        for name in "abcdefgh":
            world.pay(name, [n + 1], f"{n}-")
        sim(world).fail_commit(
            refused_before_commit()
            if fault == "refused"
            else answer_lost(applied=fault == "applied")
        )
        world.settle(owner)
    owner.close()
    again = world.owner()
    assert world.balances() == dict.fromkeys("abcdefgh", 55)
    assert memory(again)[world.topics.place("t/purse/a")][0].keys() == {
        f"t/purse/{n}" for n in "abcdefgh"
    }


# --- timers and clocks (rules 3 and 22)


def test_a_timer_fires_once_when_it_is_due_and_not_before(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", PayAt(timer="t", due=NOON + 5_000, amount=4), "arm")
    world.settle(owner)
    tick(world, 4_999)
    world.settle(owner)
    assert world.balances() == {"a": 0}
    tick(world, 1)
    world.settle(owner)
    tick(world, DAY)
    world.settle(owner)
    assert world.balances() == {"a": 4}
    owner.close()


def test_a_timer_fires_once_whenever_the_owner_crashes_on_the_way() -> None:
    for steps in range(7):
        world = simulated()
        owner = world.owner()
        world.send("a", PayAt(timer="t", due=NOON + 5_000, amount=4), "arm")
        world.settle(owner)
        tick(world, 6_000)
        for _ in range(steps):
            owner.step()
        sim(world).crash()
        world.settle(world.owner())
        assert world.balances() == {"a": 4}


def test_a_timer_of_a_parked_key_fires_when_the_key_is_drained(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", PayAt(timer="t", due=NOON + 5_000, amount=4), "arm")
    world.send("a", Break(kind="bug"), "bug")
    world.settle(owner)
    tick(world, 6_000)
    world.settle(owner)
    assert world.balances() == {"a": 0}
    world.repairs.bugs = True
    world.redrive(world.letters()[0][0], "a", "redrive")
    world.settle(owner)
    assert world.balances() == {"a": 5}
    owner.close()


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
def test_log_time_never_goes_back_when_the_clock_is_wrong(step: int) -> None:
    """Row "clocks"."""
    world = simulated()
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    clock = world.clock
    assert isinstance(clock, BookClock)
    clock._base += step
    world.pay("a", [2], "later-")
    world.settle(owner)
    times = [world.decoder.message(r.headers, r.value) for r in world.records("outcomes")]
    instants = [o.log_time for o in times if hasattr(o, "log_time")]
    assert instants == sorted(instants)
    again = world.owner()
    assert memory(again) == memory(owner)


def test_a_book_clock_takes_the_instant_that_a_command_carries(make: Make) -> None:
    world = make(book=True)
    owner = world.owner()
    world.send("a", Pay(amount=1), "one", at=NOON + 7)
    world.send("a", Pay(amount=1), "two", at=NOON + 3)
    world.settle(owner)
    found = [world.outcomes(i)[0].log_time for i in ("one", "two")]
    assert found == [NOON + 7, NOON + 7], "never back"
    owner.close()


def test_under_the_log_clock_a_carried_instant_counts_for_nothing(make: Make) -> None:
    world = make()
    owner = world.owner()
    key, value, headers = world.encoder.command(
        Pay(amount=1),
        key="t/purse/a",
        command_id="forged",
        tenant="t",
        actor=CLERK,
        instant=NOON + 365 * DAY,
    )
    topic = world.topics.name("trade", "commands")
    world.log.append([Output(topic, 0, key, value, headers)])
    world.settle(owner)
    assert world.outcomes("forged")[0].log_time == NOON
    owner.close()


# --- process killers (rule 15)


def test_an_unclean_end_is_followed_by_one_record_at_a_time_and_a_clean_one_is_not() -> None:
    world = simulated(batch=10)
    owner = world.owner()
    world.pay("a", range(1, 4))
    world.settle(owner)
    owner.close()
    assert world.owner().cautions[world.topics.place("t/purse/a")].left == 0
    sim(world).crash()
    world.pay("a", range(1, 21), "more-")
    owner = world.owner()
    owner.step()
    assert owner.flight is not None and owner.flight.builder.batch_count == 1
    world.settle(owner)
    assert owner.cautions[world.topics.place("t/purse/a")].left == 0, "trust comes back"
    assert world.balances() == {"a": 216}


def test_a_log_that_is_away_is_no_death_of_the_record_at_hand() -> None:
    world = simulated(batch=10)
    owner = world.owner()
    sim(world).crash()
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    for _ in range(6):
        sim(world).fail_commit(refused_before_commit())
    world.settle(owner)
    assert world.letters() == []
    assert world.balances() == {"a": 6}


def test_attempts_are_kept_per_partition_and_withdrawn_by_a_clean_end() -> None:
    world = simulated()
    place = world.topics.place("t/purse/a")
    assert attempts.take(world.log, world.topics, place) is None, "a new log has no predecessor"
    assert attempts.take(world.log, world.topics, place) == attempts.Attempt(-1, 0)
    world.log.append([attempts.note(world.topics, place, attempts.Attempt(7, 1))])
    assert attempts.take(world.log, world.topics, place) == attempts.Attempt(7, 1)
    world.log.append([attempts.release(world.topics, place)])
    assert attempts.take(world.log, world.topics, place) is None


def test_an_owner_without_a_first_position_does_not_guess() -> None:
    world = simulated()
    sim(world).groups[OWNER_GROUP].positions.clear()
    with pytest.raises(Unavailable, match="first position"):
        world.owner()
