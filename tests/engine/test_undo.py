"""Row "double effect of retries": what a compensation undid has no effect when it comes after all."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import toy_world
from sim_world import Make
from toy_world import Break, Paid, Pay, Purse, PurseDecider, World

from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.undo import CommandUndone, remembered, with_undo


class TakeBack(msgspec.Struct, frozen=True, kw_only=True):
    """Undo a payment: take out what was put in by the command that it names, if anything was."""

    amount: int
    undoes: str


toy_world.CATALOGUE.register(((TakeBack, "command"),))


class Ledger(Purse):
    """A purse that remembers what was undone, and what was paid by which command."""

    undone: tuple[str, ...] = ()


class UndoingPurse(PurseDecider):
    """A purse whose payments can be undone by name."""

    fold_id = "purse-undo"

    def initial(self, key: str) -> Ledger:
        return Ledger()

    def decide(self, state: Any, command: Any, context: Context) -> Decision | Refusal:
        return with_undo(self._decided, state, command, context)

    def _decided(self, state: Any, command: Any, context: Context) -> Decision | Refusal:
        if isinstance(command, TakeBack):
            if not state.balance:
                return NOTHING
            return Decision((Paid(amount=-command.amount, balance=state.balance - command.amount),))
        return super().decide(state, command, context)

    def evolve(self, state: Any, event: Any) -> Any:
        if isinstance(event, CommandUndone):
            new = copy.copy(state)
            remembered(new, event)
            return new
        return super().evolve(state, event)


def _world(make: Make) -> World:
    world = make()
    world.deciders = [UndoingPurse(world.repairs)]
    return world


def test_a_command_undone_before_it_arrived_is_refused_when_it_comes(make: Make) -> None:
    world = _world(make)
    owner = world.owner()
    world.send("a", TakeBack(amount=5, undoes="pay-1"), "undo-1")
    world.send("a", Pay(amount=5), "pay-1")
    world.settle(owner)
    assert world.answers("pay-1") == ["refused"]
    assert world.outcomes("pay-1")[0].code == "UNDONE"
    world.send("a", Pay(amount=5), "pay-2")
    world.settle(owner)
    assert world.balances() == {"a": 5}
    owner.close()


def test_what_was_undone_is_known_after_a_restart_and_beyond_the_window(make: Make) -> None:
    world = _world(make)
    owner = world.owner()
    world.send("a", TakeBack(amount=5, undoes="pay-1"), "undo-1")
    world.settle(owner)
    owner.close()
    owner = world.owner()
    world.send("a", Pay(amount=5), "pay-1")
    world.settle(owner)
    assert world.outcomes("pay-1")[0].code == "UNDONE"
    assert world.balances() == {"a": 0}
    owner.close()


def test_a_target_parked_for_days_pays_once_although_its_saga_gave_up_meanwhile(make: Make) -> None:
    world = _world(make)
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.send("a", Pay(amount=5), "pay-1")  # what the saga sent, behind the park
    world.settle(owner)
    assert world.answers("pay-1") == ["parked"]
    world.clock.advance_to(world.clock.now() + 3 * MS_PER_DAY)  # type: ignore[attr-defined]
    world.send("a", TakeBack(amount=5, undoes="pay-1"), "undo-1")  # it timed out and turned back
    world.send("a", Pay(amount=5), "pay-2")  # the business was started again
    world.settle(owner)
    world.repairs.bugs = True
    world.redrive(world.letters()[0][0], "a", "redrive")
    world.settle(owner)
    world.send("a", Pay(amount=5), "pay-1")  # and somebody sends the first one again
    world.settle(owner)
    assert world.answers("pay-1") == ["parked", "accepted", "duplicate"]
    paid = [e.amount for e in _events(world) if isinstance(e, Paid)]
    assert paid == [1, 5, -5, 5]  # the repaired one, then paid, undone, and paid for good
    owner.close()


def test_a_dead_letter_redriven_after_its_undoing_acts_once_in_order(make: Make) -> None:
    world = _world(make)
    owner = world.owner()
    world.send("a", Break(kind="bug"), "bug")
    world.send("a", TakeBack(amount=1, undoes="bug"), "undo-bug")
    world.settle(owner)
    world.repairs.bugs = True
    letter = world.letters()[0][0]
    for n in range(2):
        world.redrive(letter, "a", f"redrive-{n}")
    world.settle(owner)
    assert world.answers("redrive-1") == ["refused"]
    assert len([e for e in _events(world) if isinstance(e, Paid) and e.amount == 1]) == 1
    assert len([e for e in _events(world) if isinstance(e, CommandUndone)]) == 1
    world.send("a", Break(kind="bug"), "bug")
    world.settle(owner)
    assert world.answers("bug")[-1] == "duplicate"
    owner.close()


def _events(world: World) -> list[Any]:
    return [world.decoder.message(r.headers, r.value) for r in world.records("events")]
