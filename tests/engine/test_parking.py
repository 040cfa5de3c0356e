"""Parks under attack: a second poison, a restart in the middle of a drain, fires that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_world import (
    CLERK,
    NOON,
    Break,
    Pay,
    PayAt,
    Purse,
    PurseDecider,
    World,
    memory,
    sqlite_world,
)

from usance.engine.owner.parking import DRAIN_RECORDS_MAX
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import BookClock
from usance.kernel.decider import Context, Decision, Refusal
from usance.kernel.timers import TimerDue
from usance.testing.sim_log import SimulatedLog


@pytest.fixture(params=["simulated", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    clock = BookClock(NOON)
    if request.param == "sqlite":
        return sqlite_world(tmp_path, clock)
    return World(SimulatedLog(clock), clock)


def broken_body(world: World, key: str, command_id: str) -> None:
    """Append a command of a known sender whose body cannot be decoded."""
    whole = world.commands.output(
        Outgoing(f"t/purse/{key}", Pay(amount=5), command_id, "test", actor=CLERK), NOON
    )
    assert whole.value is not None
    world.log.append([whole._replace(value=whole.value[:5] + b"\xff\xff\xff")])


def test_poison_on_a_parked_key_waits_its_turn_and_pushes_nobody_out(world: World) -> None:
    owner = world.owner()
    world.send("a", Break(kind="bug"), "first")
    world.pay("a", [1])
    broken_body(world, "a", "second")
    world.pay("a", [10], prefix="later-")
    world.settle(owner)
    assert len(world.letters()) == 1
    assert world.answers("second") == ["parked"]
    before = memory(owner)
    owner.close(clean=False)
    owner = world.owner()
    assert memory(owner) == before
    world.repairs.bugs = True
    world.redrive(world.letters()[0][0], "a", "redrive-1")
    world.settle(owner)
    assert world.answers("first") == ["dead-lettered", "accepted"]
    assert world.answers("second") == ["parked", "dead-lettered"]
    assert world.answers("later-a-0") == ["parked"]
    world.discard(world.letters()[1][0], "a", "discard-1")
    world.settle(owner)
    assert world.answers("second")[-1] == "discarded"
    assert world.balances() == {"a": 12}
    assert not any(state.parks or state.dead_letters for state in owner.states.values())


def test_a_restart_in_the_middle_of_a_drain_opens_no_settled_letter_again(world: World) -> None:
    owner = world.owner(batch=1)
    world.send("a", Break(kind="bug"), "first")
    world.pay("a", [1] * (2 * DRAIN_RECORDS_MAX + 5))
    world.settle(owner)
    world.repairs.bugs = True
    letter = world.letters()[0][0]
    world.redrive(letter, "a", "redrive-1")
    for _ in range(2):
        owner.step()
    owner.settle()
    assert world.answers("first")[-1] == "accepted"
    before = memory(owner)
    assert any(state.parks for state in owner.states.values()), "the drain is under way"
    owner.close(clean=False)
    owner = world.owner(batch=1)
    assert memory(owner) == before
    world.redrive(letter, "a", "redrive-2")
    world.discard(letter, "a", "discard-2")
    world.settle(owner)
    assert world.answers("redrive-2") == world.answers("discard-2") == ["refused"]
    assert world.answers("first") == ["dead-lettered", "accepted"]
    assert world.balances() == {"a": 2 * DRAIN_RECORDS_MAX + 6}


class FailsAtFire(PurseDecider):
    """A purse whose timers meet a bug until it is repaired."""

    def decide(self, state: Purse, command: Any, context: Context) -> Decision | Refusal:
        if isinstance(command, TimerDue) and not self.repairs.bugs:
            raise ZeroDivisionError
        return super().decide(state, command, context)


def test_a_fire_that_met_a_bug_fires_once_after_its_redrive(world: World) -> None:
    world.deciders = [FailsAtFire(world.repairs)]
    owner = world.owner()
    world.send("a", PayAt(timer="x", due=NOON + 1_000, amount=7), "plan")
    world.settle(owner)
    assert isinstance(world.clock, BookClock)
    world.clock.advance_to(NOON + 2_000)
    world.settle(owner)
    assert [c for _, c in world.letters()] == ["poison"]
    owner.close(clean=False)
    owner = world.owner()
    world.settle(owner)
    world.repairs.bugs = True
    world.redrive(world.letters()[0][0], "a", "redrive-1")
    world.settle(owner)
    assert world.balances() == {"a": 7}
    assert len(world.letters()) == 1
    assert not any(state.parks for state in owner.states.values())
