from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.crypto import keystates
from usance.crypto.keyservice import KeyState
from usance.crypto.keystates import (
    FLAGGED,
    GONE,
    PERIODS,
    PROCESS,
    PROTECT,
    TRANSITIONS,
    Kind,
    approvals_needed,
    demand_protect,
    demand_transition,
    destroyed,
)
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.errors import Refused

S = KeyState
states = st.sampled_from(KeyState)


def allowed(now: KeyState, to: KeyState) -> bool:
    try:
        demand_transition(now, to)
    except Refused as refusal:
        assert refusal.code == "KEY_TRANSITION"
        assert refusal.hint
        return False
    return True


def test_the_transitions_are_those_of_the_standard_and_no_other() -> None:
    # SP 800-57 part 1 rev. 5, figure 3; destroyed-compromised as in its earlier revisions.
    drawn = {
        (S.PRE_ACTIVATION, S.DESTROYED), (S.PRE_ACTIVATION, S.COMPROMISED),
        (S.PRE_ACTIVATION, S.ACTIVE), (S.ACTIVE, S.DESTROYED), (S.ACTIVE, S.COMPROMISED),
        (S.ACTIVE, S.SUSPENDED), (S.ACTIVE, S.DEACTIVATED), (S.SUSPENDED, S.ACTIVE),
        (S.SUSPENDED, S.DEACTIVATED), (S.SUSPENDED, S.COMPROMISED), (S.SUSPENDED, S.DESTROYED),
        (S.DEACTIVATED, S.COMPROMISED), (S.DEACTIVATED, S.DESTROYED),
        (S.COMPROMISED, S.DESTROYED_COMPROMISED), (S.DESTROYED, S.DESTROYED_COMPROMISED),
    }  # fmt: skip
    built = {pair for pair in itertools.product(S, S) if allowed(*pair)}
    assert built == drawn
    assert set(TRANSITIONS) == set(S)


@given(st.lists(states, max_size=30))
def test_no_walk_leads_back_from_destruction_or_compromise(walk: list[KeyState]) -> None:
    state, gone, tainted = S.PRE_ACTIVATION, False, False
    for to in walk:
        if allowed(state, to):
            state = to
        gone |= state in GONE
        tainted |= state in (S.COMPROMISED, S.DESTROYED_COMPROMISED)
        assert not (gone and state in PROCESS)
        assert not (tainted and state in PROTECT)


@pytest.mark.parametrize("state", list(S))
def test_only_an_active_key_protects(state: KeyState) -> None:
    if state is S.ACTIVE:
        demand_protect(state, "KEK albion/2")
        return
    with pytest.raises(Refused) as refusal:
        demand_protect(state, "KEK albion/2")
    assert refusal.value.code == "KEY_NOT_ACTIVE"
    assert "albion/2" in refusal.value.message


def test_a_key_processes_while_it_exists_and_flagged_while_in_doubt() -> None:
    assert PROTECT < PROCESS
    assert FLAGGED < PROCESS
    assert not PROCESS & GONE
    assert set(S) - PROCESS - GONE == {S.PRE_ACTIVATION}
    assert not FLAGGED & PROTECT


def test_power_is_taken_by_one_and_given_or_ended_by_two_more() -> None:
    alone = {(n, t) for n in S for t in TRANSITIONS[n] if approvals_needed(n, t) == 0}
    assert {t for _, t in alone} == {S.SUSPENDED, S.COMPROMISED, S.DESTROYED_COMPROMISED}
    assert (S.DESTROYED, S.DESTROYED_COMPROMISED) in alone  # a finding: there is nothing to destroy
    ends = [(n, t) for n in S for t in TRANSITIONS[n] if t in GONE and n not in GONE]
    assert len(ends) == 5
    assert all(approvals_needed(n, t) == keystates.APPROVALS for n, t in ends)
    for pair in ((S.PRE_ACTIVATION, S.ACTIVE), (S.SUSPENDED, S.ACTIVE), (S.ACTIVE, S.DEACTIVATED)):
        assert approvals_needed(*pair) == 2


def test_destruction_keeps_in_mind_whether_the_key_was_compromised() -> None:
    assert destroyed(S.ACTIVE) is S.DESTROYED
    assert destroyed(S.COMPROMISED) is S.DESTROYED_COMPROMISED
    for gone in GONE:
        with pytest.raises(Refused):
            destroyed(gone)


def test_a_period_ends_by_days_or_by_uses() -> None:
    data, kek = PERIODS[Kind.DATA], PERIODS[Kind.KEK]
    start = 1_796_000_000_000
    assert not data.over(start, start + 90 * MS_PER_DAY - 1, (1 << 24) - 1)
    assert data.over(start, start + 90 * MS_PER_DAY, 0)
    assert data.over(start, start, 1 << 24)
    assert not kek.over(start, start + 364 * MS_PER_DAY, 1 << 40)
    assert kek.over(start, start + 365 * MS_PER_DAY)
    assert set(PERIODS) == set(Kind)
