"""The loop that owner and consumers share: whatever goes wrong in between, no record is passed over."""

from __future__ import annotations

from typing import Any

import pytest
from sim_world import Make

from usance.kernel.errors import NotFound, Unavailable


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
