"""Cedar as the oracle: a policy engine of somebody else decides every combination as our table does."""

from __future__ import annotations

import pytest
from cedarpy import AuthzResult, is_authorized_batch

from usance.bootstrap.cedar import policies
from usance.kernel.authority import AUTHORITY, GLASS, SECOND_PERSON, TIERED, allowed

ROLES = sorted(frozenset().union(*AUTHORITY.values()) | {"system", GLASS, "", "admin", "MAKER"})
ACTS = [*sorted(AUTHORITY), "NoSuchAct"]


def asked(role: str, act: str, *, own: bool, tier: str) -> dict[str, object]:
    return {
        "principal": 'Person::"p-1"',
        "action": f'Action::"{act}"',
        "resource": 'Stream::"albion/credit/X"',
        "context": {"role": role, "own": own, "tier": tier},
    }


@pytest.mark.parametrize("tier", ["standard", "senior"])
@pytest.mark.parametrize("own", [False, True])
def test_cedar_decides_every_role_act_and_ownership_as_the_table_does(own: bool, tier: str) -> None:
    pairs = [(role, act) for role in ROLES for act in ACTS]
    requests = [asked(role, act, own=own, tier=tier) for role, act in pairs]
    answers: list[AuthzResult] = is_authorized_batch(requests, policies(), [])
    wrong = [
        (role, act)
        for (role, act), answer in zip(pairs, answers, strict=True)
        if answer.allowed != allowed(role, act, own=own, tier=tier)
    ]
    assert not wrong
    assert not [a.diagnostics.errors for a in answers if a.diagnostics.errors]
    assert any(a.allowed for a in answers) and not all(a.allowed for a in answers)


def test_the_oracle_notices_a_row_that_is_missing_or_too_many() -> None:
    """Without this a batch that decides nothing would pass as agreement."""
    text = policies()
    without = text.replace('["compliance_officer"].contains(context.role)', "false")
    assert without != text
    request = asked("compliance_officer", "ApproveDisposition", own=False, tier="standard")
    assert is_authorized_batch([request], text, [])[0].allowed
    assert not is_authorized_batch([request], without, [])[0].allowed


def test_nobody_acts_on_their_own_work_in_any_role() -> None:
    people = [role for role in ROLES if role]
    for act in SECOND_PERSON:
        assert not [role for role in people if allowed(role, act, own=True)], act
    assert TIERED <= SECOND_PERSON
