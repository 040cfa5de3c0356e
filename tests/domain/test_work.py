"""Claims: one holder at a time, a release by the holder or a lead, and no right from either."""

from __future__ import annotations

from typing import Any

import pytest

from usance.domain.work import (
    ClaimWork,
    ReleaseWork,
    WorkClaimed,
    WorkDecider,
    WorkReleased,
    WorkState,
)
from usance.kernel.decider import NOTHING, Actor, Context, Refusal

ITEM = "examine:albion/presentation/P1"
AMARA, BRUNO, LEAD = (
    Actor("amara", "amara", "maker"),
    Actor("bruno", "bruno", "checker"),
    Actor("dev", "dev", "senior_checker"),
)
DECIDER = WorkDecider()


def decide(state: WorkState, command: Any, actor: Actor, key: str = f"albion/work/{ITEM}") -> Any:
    return DECIDER.decide(state, command, Context(key, 0, 1, "albion", actor, "c", "c", ""))


def test_a_free_item_is_claimed_and_claiming_again_changes_nothing() -> None:
    answer = decide(WorkState(), ClaimWork(work=ITEM), AMARA)
    assert answer.events == (WorkClaimed(work=ITEM, person="amara"),)
    held = DECIDER.evolve(WorkState(), answer.events[0])
    assert decide(held, ClaimWork(work=ITEM), AMARA) == NOTHING
    taken = decide(held, ClaimWork(work=ITEM), BRUNO)
    assert isinstance(taken, Refusal) and taken.code == "WORK_TAKEN" and "amara" in taken.message


@pytest.mark.parametrize(("actor", "may"), [(AMARA, True), (BRUNO, False), (LEAD, True)])
def test_the_holder_or_a_lead_releases(actor: Actor, may: bool) -> None:
    answer = decide(WorkState(holder="amara"), ReleaseWork(work=ITEM), actor)
    if may:
        assert answer.events == (WorkReleased(work=ITEM, person="amara"),)
        assert DECIDER.evolve(WorkState(holder="amara"), answer.events[0]) == WorkState()
    else:
        assert answer.code == "NOT_THE_HOLDER"
    assert decide(WorkState(), ReleaseWork(work=ITEM), actor) == NOTHING


def test_no_program_claims_no_case_is_claimed_and_the_key_must_be_the_items() -> None:
    saga = Actor("saga:issuance", "", "system")
    assert decide(WorkState(), ClaimWork(work=ITEM), saga).code == "NEEDS_A_PERSON"
    case = "case:albion/case/K1"
    hidden = decide(WorkState(), ClaimWork(work=case), AMARA, f"albion/work/{case}")
    assert hidden.code == "NOT_CLAIMABLE"
    assert decide(WorkState(), ClaimWork(work="void:other"), AMARA).code == "WRONG_KEY"
