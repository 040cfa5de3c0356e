"""Snapshot rounds over many lives of an owner: whatever was in one, a restore is the fold of the events."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from sim_world import sim, simulated
from toy_world import World, memory

from usance.engine.owner import owner as owner_module
from usance.engine.owner import rounds as rounds_module
from usance.engine.owner import snapshots
from usance.engine.owner.owner import Owner
from usance.engine.owner.snapshots import MANIFEST_KEY, Manifest
from usance.engine.topics import Place
from usance.log.contract import Output
from usance.testing.sim_hazards import answer_lost, refused_before_commit

PLACE = Place("trade", 0)


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a round after every ten events, in slices of three."""
    monkeypatch.setattr(owner_module, "ROUND_EVENTS", 10)
    monkeypatch.setattr(snapshots, "SLICE_RECORDS", 3)


def folded(world: World) -> dict[str, Any]:
    """What the events alone amount to, by the key of each purse."""
    return {f"t/purse/{name}": balance for name, balance in world.balances().items()}


def held(owner: Owner) -> dict[str, Any]:
    return {key: entry.state.balance for key, entry in owner.states[PLACE].entries.items()}


def manifests(world: World) -> list[int]:
    """Numbers of the manifests that are not withdrawn."""
    last = {r.key: r.value for r in world.records("snapshots")}
    found = [
        msgspec.msgpack.decode(v, type=Manifest)
        for k, v in last.items()
        if v and k.startswith(MANIFEST_KEY)
    ]
    return sorted(m.number for m in found)


def test_what_a_killed_owner_left_to_be_folded_is_in_the_next_round() -> None:
    """Else the next restart would begin behind it, with the state of the round before."""
    world = simulated(batch=4)
    owner = world.owner()
    for name in "abcd":
        world.pay(name, [1])
    world.settle(owner)
    owner.close()
    owner = world.owner()
    world.pay("a", [2], "killed-")
    world.settle(owner)
    owner.close(clean=False)
    owner = world.owner()
    world.pay("b", [3], "clean-")
    world.settle(owner)
    owner.close()
    owner = world.owner()
    assert owner.restored[PLACE] == (0, 4), "all of it came from snapshots"
    assert (
        held(owner)
        == folded(world)
        == {"t/purse/a": 3, "t/purse/b": 4, "t/purse/c": 1, "t/purse/d": 1}
    )
    world.pay("a", [5], "again-")
    world.settle(owner)
    owner.close()
    world.verdict()


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("seed", range(12))
def test_many_lives_with_kills_clean_ends_and_lost_rounds_are_the_fold(seed: int) -> None:
    dice = random.Random(seed)
    world = simulated(batch=4)
    owner = world.owner()
    for life in range(12):
        for n in range(dice.randrange(4)):
            names = dice.sample("abcdefgh", dice.randrange(1, 6))
            for name in names:
                world.pay(name, [dice.randrange(1, 9)], f"{life}-{n}-{name}-")
            if dice.random() < 0.3:
                sim(world).fail_commit(
                    dice.choice(
                        [
                            refused_before_commit(),
                            answer_lost(applied=True),
                            answer_lost(applied=False),
                        ]
                    )
                )
            world.settle(owner)
        assert held(owner) == folded(world)
        owner.close(clean=dice.random() < 0.5)
        owner = world.owner()
        assert held(owner) == folded(world), f"life {life}"
    world.settle(owner)
    owner.close()
    world.verdict()


@pytest.mark.usefixtures("small_rounds")
def test_manifests_do_not_pile_up_and_a_restore_needs_none_that_was_withdrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds_module, "SWEEP_LEAST", 10)
    world = simulated(batch=4)
    owner = world.owner()
    most = 0
    for n in range(60):
        for name in "abcdefgh":
            world.pay(name, [1], f"{n}-")
        world.settle(owner)
        most = max(most, len(manifests(world)))
    assert owner.rounds[PLACE].number > 60 > 2 * most, (owner.rounds[PLACE].number, most)
    owner.close(clean=False)
    world.log.compact(world.topics.at("trade", "snapshots", 0))
    again = world.owner()
    read, kept = again.restored[PLACE]
    assert kept == 8 and read < 60
    assert held(again) == folded(world)
    before = memory(again)
    again.close()
    assert memory(world.owner())[PLACE][0] == before[PLACE][0]


def test_an_aggregate_too_large_for_a_snapshot_is_folded_and_no_command_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = simulated(batch=4)
    owner = world.owner()
    for name in "abcd":
        world.pay(name, [1])
    world.settle(owner)
    small = max(len(e.packed) for e in owner.states[PLACE].entries.values())
    monkeypatch.setattr(snapshots, "LARGEST", small + 120)
    state = owner.states[PLACE].entries["t/purse/b"].state
    state.planned = {f"timer{n}": 1 for n in range(100)}  # what it holds counts, not what it means
    owner.close()
    assert [r.key for r in world.records("snapshots")] == [
        b"t/purse/a",
        b"t/purse/c",
        b"t/purse/d",
        b"manifest/1",
    ]
    assert owner.paused == {}
    monkeypatch.undo()
    again = world.owner()
    assert again.restored[PLACE] == (4, 3), "its events are read, and so are all"
    assert held(again) == folded(world)
    again.close()
    assert world.owner().restored[PLACE] == (0, 4)


def test_rounds_of_the_layout_that_could_miss_events_are_not_trusted() -> None:
    world = simulated(batch=4)
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    owner.close()
    last = world.records("snapshots")[-1]
    older = msgspec.msgpack.decode(last.value or b"")
    del older["format"]
    world.log.append([Output(last.topic, last.partition, last.key, msgspec.msgpack.encode(older))])
    again = world.owner()
    assert again.restored[PLACE] == (1, 0)
    again.close()
    assert world.owner().restored[PLACE] == (0, 1)
