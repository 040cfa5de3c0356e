"""Two people, the evidence they saw, and a saga that hears one word."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.aml.case import (
    AlertAttached,
    ApproveDisposition,
    CaseDecider,
    CaseOpened,
    CaseReopened,
    CaseState,
    DispositionApproved,
    DispositionProposed,
    OpenCase,
    ProposeDisposition,
    Reason,
    ReturnToInvestigation,
    case_identity,
    evidence_hash,
    opening,
)
from usance.aml.screening import Labelled, Screener
from usance.kernel.decider import NOTHING, Actor, Context, Decision, Refusal

CASES = CaseDecider()
CREDIT = "albion/credit/TF26LC000123"
SAGA = "albion/issuance/TF26LC000123"


@pytest.fixture(scope="session")
def alert(screener: Screener) -> OpenCase:
    return alert_for(screener, "e-1", "59")


def alert_for(
    screener: Screener, source: str, field: str, name: str = "Mahan Air", step: str = "screen"
) -> OpenCase:
    strings = [Labelled(field=field, kind="organisation", text=name)]
    report = screener.screen_parties(strings, "2026-11-24")
    assert report.band == "hit"
    return opening(
        report, subject="party-7", subject_stream=CREDIT, saga=SAGA, step=step, source_event=source
    )


def context(person: str, role: str = "compliance") -> Context:
    key = "albion/case/c-1"
    return Context(
        key, 0, 1_800_000_000_000, "albion", Actor(person, person, role), "cmd", "c", "c"
    )


def propose(alert: OpenCase, disposition: str = "clear", text: str = "other entity") -> Any:
    return ProposeDisposition(
        case_id=alert.case_id,
        disposition=disposition,
        evidence_hash=alert.evidence_hash,
        reason=Reason(subject="party-7", text=text),
    )


def approve(alert: OpenCase, disposition: str = "clear", evidence: str = "") -> Any:
    return ApproveDisposition(
        case_id=alert.case_id,
        disposition=disposition,
        evidence_hash=evidence or alert.evidence_hash,
    )


def give_back(alert: OpenCase) -> Any:
    reason = Reason(subject="party-7", text="look at the registry")
    return ReturnToInvestigation(case_id=alert.case_id, reason=reason)


def run(*acts: tuple[Any, Context]) -> tuple[CaseState, Any]:
    state: CaseState = CASES.initial("albion/case/c-1")
    answer: Any = None
    for command, who in acts:
        answer = CASES.decide(state, command, who)
        if isinstance(answer, Decision):
            for event in answer.events:
                state = CASES.evolve(state, event)
    return state, answer


SYSTEM = context("screening", "system")
ANN, BEN = context("ann"), context("ben", "compliance_officer")


def code(answer: Any) -> str:
    assert isinstance(answer, Refusal)
    assert answer.hint
    return answer.code


@pytest.mark.parametrize("disposition", ["clear", "block", "reject"])
def test_two_people_close_a_case(alert: OpenCase, disposition: str) -> None:
    state, answer = run(
        (alert, SYSTEM), (propose(alert, disposition), ANN), (approve(alert, disposition), BEN)
    )
    assert state.stage == "closed"
    (approved,) = answer.events
    assert isinstance(approved, DispositionApproved)
    assert (approved.proposer, approved.approver) == ("ann", "ben")
    assert answer.sends == ()


def test_a_report_is_never_told_and_keeps_the_hold(alert: OpenCase) -> None:
    acts = [(alert, SYSTEM), (propose(alert, "report"), ANN), (approve(alert, "report"), BEN)]
    state, answer = run(*acts)
    assert state.stage == "reported"
    state, answer = run(*acts, (propose(alert, "reject"), BEN), (approve(alert, "reject"), ANN))
    assert state.stage == "closed"
    assert answer.events[0].disposition == "reject"


def test_who_proposes_may_not_approve_even_under_another_role(alert: OpenCase) -> None:
    _, answer = run(
        (alert, SYSTEM),
        (propose(alert), ANN),
        (approve(alert), context("ann", "compliance_officer")),
    )
    assert code(answer) == "SELF_APPROVAL"


def test_others_learn_not_even_that_a_case_exists(alert: OpenCase) -> None:
    operations = context("olga", "operations")
    _, hidden = run((alert, SYSTEM), (propose(alert), operations))
    _, absent = run((propose(alert), operations))
    _, absent_for_compliance = run((propose(alert), ANN))
    assert hidden == absent == absent_for_compliance
    assert code(hidden) == "NOT_FOUND"


def test_an_approval_binds_the_evidence_and_the_proposal_that_were_seen(alert: OpenCase) -> None:
    opened = [(alert, SYSTEM), (propose(alert), ANN)]
    assert code(run(*opened, (approve(alert, evidence="0" * 64), BEN))[1]) == "EVIDENCE_CHANGED"
    assert code(run(*opened, (approve(alert, "block"), BEN))[1]) == "PROPOSAL_CHANGED"


def test_a_returned_proposal_cannot_be_approved(alert: OpenCase) -> None:
    acts = [(alert, SYSTEM), (propose(alert), ANN), (give_back(alert), BEN)]
    assert run(*acts)[0].stage == "open"
    assert code(run(*acts, (approve(alert), BEN))[1]) == "NOTHING_PROPOSED"


def test_a_proposal_needs_a_known_disposition_and_a_reason(alert: OpenCase) -> None:
    assert code(run((alert, SYSTEM), (propose(alert, "ignore"), ANN))[1]) == "UNKNOWN_DISPOSITION"
    assert code(run((alert, SYSTEM), (propose(alert, text="  "), ANN))[1]) == "REASON_MISSING"


def test_repeated_commands_have_one_effect(alert: OpenCase) -> None:
    acts = [(alert, SYSTEM), (alert, SYSTEM)]
    assert run(*acts)[1] == NOTHING
    acts += [(propose(alert), ANN), (propose(alert), ANN)]
    assert run(*acts)[1] == NOTHING
    acts += [(approve(alert), BEN), (approve(alert), BEN)]
    assert run(*acts)[1] == NOTHING
    assert run(*acts, (alert, SYSTEM))[1] == NOTHING


def test_the_same_evidence_joins_the_open_case_and_both_waiting_steps_are_told(
    screener: Screener, alert: OpenCase
) -> None:
    again = alert_for(screener, "e-2", "50", step="amend")
    assert again.case_id == alert.case_id == case_identity(CREDIT, alert.evidence_hash)
    _, answer = run((alert, SYSTEM), (again, SYSTEM))
    assert [type(e) for e in answer.events] == [AlertAttached]
    state, _ = run((alert, SYSTEM), (again, SYSTEM), (propose(alert), ANN), (approve(alert), BEN))
    assert [w.step for w in state.waiting] == ["screen", "amend"]


def test_the_same_evidence_after_the_end_needs_two_people_again(
    screener: Screener, alert: OpenCase
) -> None:
    again = alert_for(screener, "e-3", "59")
    closed = [(alert, SYSTEM), (propose(alert), ANN), (approve(alert), BEN)]
    state, answer = run(*closed, (again, SYSTEM))
    assert [type(e) for e in answer.events] == [CaseReopened]
    assert (state.stage, state.proposer) == ("open", "")
    assert code(run(*closed, (again, SYSTEM), (approve(again), BEN))[1]) == "NOTHING_PROPOSED"


def test_other_evidence_is_another_case(screener: Screener, alert: OpenCase) -> None:
    other = alert_for(screener, "e-4", "59", name="Islamic Republic of Iran Shipping Lines")
    assert other.case_id != alert.case_id
    assert code(run((alert, SYSTEM), (other, SYSTEM))[1]) == "EVIDENCE_DIFFERS"


def test_a_hash_that_is_not_of_the_hits_opens_nothing(alert: OpenCase) -> None:
    forged = msgspec.structs.replace(alert, evidence_hash="0" * 64)
    assert code(run((forged, SYSTEM))[1]) == "EVIDENCE_MISMATCH"


def test_a_changed_list_entry_is_new_evidence(alert: OpenCase) -> None:
    changed = [msgspec.structs.replace(h, entry_digest="0" * 64) for h in alert.hits.hits]
    assert evidence_hash(changed) != alert.evidence_hash
    moved = [msgspec.structs.replace(h, field="77") for h in alert.hits.hits]
    assert evidence_hash(moved) == alert.evidence_hash


def test_evolve_leaves_the_state_it_was_given_alone(alert: OpenCase) -> None:
    fields = {f: getattr(alert, f) for f in CaseOpened.__struct_fields__}
    before = CASES.initial("albion/case/c-1")
    kept = msgspec.json.encode(before)
    after = CASES.evolve(before, CaseOpened(**fields))
    assert msgspec.json.encode(before) == kept
    assert after.waiting
    assert not before.waiting


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_order_of_acts_ends_a_hold_without_two_people(alert: OpenCase, data: Any) -> None:
    people = [ANN, BEN, context("cy", "operations"), context("ann", "compliance_officer")]
    act = st.sampled_from(
        [
            alert, propose(alert), propose(alert, "block"), propose(alert, "report"),
            approve(alert), approve(alert, "block"), approve(alert, "report"), give_back(alert),
            "nonsense",
        ]
    )  # fmt: skip
    state: CaseState = CASES.initial("albion/case/c-1")
    proposer = ""
    for command, who in data.draw(st.lists(st.tuples(act, st.sampled_from(people)), max_size=12)):
        answer = CASES.decide(state, command, who)
        assert isinstance(answer, Decision | Refusal)
        if isinstance(answer, Refusal):
            continue
        for event in answer.events:
            if isinstance(event, DispositionProposed):
                proposer = who.actor.person
            if isinstance(event, DispositionApproved):
                assert who.actor.person != proposer
                assert event.approver != event.proposer == proposer
            state = CASES.evolve(state, event)
        assert not answer.sends
