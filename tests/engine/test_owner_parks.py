"""The owner on both logs: dead letters, parks, snapshots, timers, killers. Rule numbers: docs/protocol.md."""

from __future__ import annotations

from typing import Any

import pytest
from sim_world import Make, sim, simulated, tick
from toy_world import (
    CLERK,
    DAY,
    NOON,
    Break,
    Pay,
    PayAt,
    memory,
)

from usance.engine.control import Discard, Redrive, Release
from usance.engine.owner import attempts
from usance.engine.owner import owner as owner_module
from usance.engine.owner.owner import OWNER_GROUP
from usance.kernel.clock import BookClock
from usance.kernel.errors import Unavailable
from usance.kernel.words import Words
from usance.log.contract import Output
from usance.testing.sim_hazards import Hazards, answer_lost, refused_before_commit

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


def test_who_has_no_authority_discards_nothing(make: Make) -> None:
    world = make()
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.settle(owner)
    letter = world.letters()[0][0]
    give_up = Discard(dead_letter_id=letter, dead_letter_index=0, reason=Words(text="no"))
    world.send("a", give_up, "by-a-maker", actor=CLERK._replace(role="maker"))
    world.settle(owner)
    assert world.answers("by-a-maker") == ["refused"]
    assert world.outcomes("by-a-maker")[0].code == "ROLE_NEEDED"
    assert world.answers("bug") == ["dead-lettered"]
    owner.close()


@pytest.mark.parametrize("kind", ["redrive", "release"])
def test_who_has_no_authority_moves_nothing_that_is_stuck(make: Make, kind: str) -> None:
    world = make()
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.settle(owner)
    why = Words(text="again")
    again: Any = Redrive(dead_letter_id=world.letters()[0][0], dead_letter_index=0, reason=why)
    if kind == "release":
        again = Release(key="a", reason=why)
    world.send("a", again, "by-a-maker", actor=CLERK._replace(role="maker"))
    world.settle(owner)
    assert world.outcomes("by-a-maker")[0].code == "ROLE_NEEDED"
    assert world.answers("bug") == ["dead-lettered"]
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
        owner.step(world.wait)
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


# --- snapshots (rule 6)


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a round after every ten events, in slices of three."""
    monkeypatch.setattr(owner_module, "ROUND_EVENTS", 10)
    monkeypatch.setattr("usance.engine.owner.snapshots.SLICE_RECORDS", 3)


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


def test_a_round_is_written_in_slices_as_small_as_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "ROUND_EVENTS", 10)
    monkeypatch.setattr(owner_module, "SLICE_RECORDS_MIN", 2)
    world = simulated(batch=4)
    owner = world.owner()
    for name in "abcdefghijkl":
        world.pay(name, [1])
    sizes, written = [], 0
    for _ in range(20):
        owner.step(0.0)
        records = len(world.records("snapshots"))
        if records > written:
            sizes.append(records - written - 1)  # one is the manifest
            written = records
    assert sum(sizes) == 12 and sizes[0] == 8 and sizes[-1] == 2, sizes
    owner.close()


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
    (written,) = world.records("commands")
    assert world.outcomes("forged")[0].log_time == written.timestamp != NOON + 365 * DAY
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

    def taken() -> attempts.Attempt | None:
        return attempts.take(world.log, world.topics, [place])[place]

    assert taken() is None, "a new log has no predecessor"
    assert taken() == attempts.Attempt(-1, 0)
    world.log.append([attempts.note(world.topics, place, attempts.Attempt(7, 1))])
    assert taken() == attempts.Attempt(7, 1)
    world.log.append([attempts.release(world.topics, place)])
    assert taken() is None


@pytest.mark.parametrize("crashed", [False, True])
def test_a_partition_that_moves_to_another_owner_is_distrusted_only_after_a_crash(
    crashed: bool,
) -> None:
    world = simulated(batch=10, partitions=4, hazards=Hazards(shared_groups=True))
    first = world.owner()
    world.pay("a", [1])
    world.settle(first)
    for key in "abcdefgh":  # what the crashed one may have met, in every partition
        world.pay(key, [1] * 100, "met-")
    if crashed:
        sim(world).crash()
        first = world.owner()
        first.step()
        assert any(caution.left for caution in first.cautions.values())
    second = world.owner(alone=False)
    distrusted = False
    for _ in range(20):
        first.step()
        second.step()
        distrusted |= any(caution.left for caution in second.cautions.values())
    assert first.states and second.states, "they share"
    assert distrusted is crashed


def test_an_owner_without_a_first_position_does_not_guess() -> None:
    world = simulated()
    sim(world).groups[OWNER_GROUP].positions.clear()
    with pytest.raises(Unavailable, match="first position"):
        world.owner()
