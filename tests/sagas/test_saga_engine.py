"""The saga engine and the issuance saga: order, pivot, compensation from every step, people."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usance.engine.reactors import saga_messages as m
from usance.engine.reactors.saga import SagaDecider
from usance.engine.reactors.saga_steps import SagaState
from usance.kernel.clock import MS_PER_HOUR
from usance.kernel.decider import Actor, Context, Decision, Refusal
from usance.kernel.timers import TimerDue
from usance.kernel.words import Words
from usance.sagas.advice import ADVICE
from usance.sagas.amendment import AMENDMENT
from usance.sagas.facts import mur
from usance.sagas.issuance import ISSUANCE
from usance.sagas.settlement import SETTLEMENT

SAGAS = SagaDecider((ISSUANCE, ADVICE, AMENDMENT, SETTLEMENT))
KEY = "albion/saga/issuance:LC1"
CREDIT, FACILITY = "albion/credit/LC1", "albion/facility/F1"
SYSTEM = Actor("engine", "", "system")
ANN, BEN = Actor("ann", "ann", "senior_checker"), Actor("ben", "ben", "checker")

FACTS: dict[str, tuple[str, dict[str, str]]] = {
    "CreditApplied": (
        CREDIT,
        {
            "credit": "LC1",
            "facility": "F1",
            "maker": "ann",
            "currency": "USD",
            "receiver": "BBBBSGSG",
        },
    ),
    "ApplicationValidated": (CREDIT, {"max_liability": "105000", "margin": "10500"}),
    "ComplianceCheckCompleted": (CREDIT, {}),
    "LimitReserved": (FACILITY, {}),
    "MarginHeld": (FACILITY, {"amount": "10500"}),
    "CreditApproved": (CREDIT, {"approver": "ben"}),
    "CreditIssued": (CREDIT, {"message": mur("LC1", "700")}),
    "MessageAcked": ("albion/message/X", {"acked": mur("LC1", "700")}),
    "ReservationConsumed": (FACILITY, {}),
    "AdviceAcknowledged": (CREDIT, {"reference": "R"}),
}
ORDER = list(FACTS)


class Run:
    """One saga, driven by hand."""

    def __init__(self, key: str = KEY) -> None:
        self.key = key
        self.state: SagaState = SAGAS.initial(key)
        self.events: list[Any] = []
        self.sent: list[tuple[str, Any, str]] = []
        self.answer: Decision | Refusal | None = None

    def tell(self, command: Any, actor: Actor = SYSTEM, instant: int = 1_000) -> Run:
        context = Context(
            self.key, len(self.events), instant, "albion", actor, f"c{len(self.events)}", "", ""
        )
        self.answer = SAGAS.decide(self.state, command, context)
        if isinstance(self.answer, Decision):
            for event in self.answer.events:
                self.state = SAGAS.evolve(self.state, event)
                self.events.append(event)
            self.sent += [(s.key, s.command, s.id) for s in self.answer.sends]
        return self

    def fact(self, name: str, **more: str) -> Run:
        stream, facts = FACTS.get(name, (CREDIT, {}))
        seen = m.ObserveEvent(
            event_type=name, stream=stream, event_id=name, facts={**facts, **more}
        )
        return self.tell(seen)

    def outcome(self, answer: str, code: str = "") -> Run:
        seen = m.ObserveOutcome(
            command_id=self.state.command_id, answer=answer, code=code, article="", message="no"
        )
        return self.tell(seen)

    def upto(self, name: str) -> Run:
        for step in ORDER[: ORDER.index(name) + 1]:
            self.fact(step)
        return self

    def names(self) -> list[str]:
        return [type(c).__name__ for _, c, _ in self.sent]

    def refused(self) -> str:
        assert isinstance(self.answer, Refusal)
        assert self.answer.hint
        return self.answer.code


def test_issuance_runs_from_application_to_acknowledgement_in_order() -> None:
    run = Run().upto("AdviceAcknowledged")
    assert run.names() == [
        "ValidateApplication", "BeginComplianceCheck", "ReserveLimit", "HoldMargin",
        "RequestApproval", "IssueCredit", "ConsumeReservation",
    ]  # fmt: skip
    assert run.state.phase == "completed"
    reserve = next(c for _, c, _ in run.sent if type(c).__name__ == "ReserveLimit")
    assert (reserve.amount, reserve.currency, reserve.credit) == (105000, "USD", "LC1")


def test_a_step_without_need_is_passed_and_recorded() -> None:
    run = Run().fact("CreditApplied").fact("ApplicationValidated", margin="0")
    run.fact("ComplianceCheckCompleted").fact("LimitReserved")
    assert "HoldMargin" not in run.names()
    assert run.names()[-1] == "RequestApproval"
    assert any(isinstance(e, m.StepSucceeded) and e.how == "unneeded" for e in run.events)


BEFORE_PIVOT = [
    ("CreditApplied", ["RejectCredit"]),
    ("ApplicationValidated", ["RejectCredit"]),
    ("ComplianceCheckCompleted", ["RejectCredit"]),
    ("LimitReserved", ["ReleaseReservation", "RejectCredit"]),
    ("MarginHeld", ["ReleaseMargin", "ReleaseReservation", "RejectCredit"]),
    ("CreditApproved", ["ReleaseMargin", "ReleaseReservation", "RejectCredit"]),
]


@pytest.mark.parametrize(("last", "undone"), BEFORE_PIVOT)
def test_a_refusal_before_the_pivot_undoes_in_reverse(last: str, undone: list[str]) -> None:
    run = Run().upto(last)
    before = len(run.sent)
    run.outcome("refused", "NO")
    while run.state.phase == "compensating":
        run.outcome("accepted")
    assert run.names()[before:] == undone
    assert run.state.phase == "compensated"


def test_compensation_from_every_step_leaves_nothing_done_that_could_be_undone() -> None:
    for last in ORDER[: ORDER.index("CreditIssued") + 1]:
        run = Run().upto(last)
        run.tell(m.CompensateSaga(reason=Words(text="called off")), ANN)
        act = next(e for e in run.events if isinstance(e, m.ActProposed))
        run.tell(m.ApproveAct(act_id=act.act_id), BEN)
        while run.state.phase == "compensating":
            run.outcome("accepted")
        assert run.state.phase == "compensated", last
        undoable = [
            n for n in run.state.done if ISSUANCE.step(n).compensation and n != "application"
        ]
        assert set(undoable) <= set(run.state.undone), last


def test_a_command_still_on_its_way_is_undone_too() -> None:
    run = Run().upto("ComplianceCheckCompleted")
    assert run.names()[-1] == "ReserveLimit"
    run.tell(m.CompensateSaga(reason=Words(text="called off")), ANN)
    act = next(e for e in run.events if isinstance(e, m.ActProposed))
    run.tell(m.ApproveAct(act_id=act.act_id), BEN)
    assert run.names()[-1] == "ReleaseReservation"


def test_after_the_pivot_there_is_no_way_back() -> None:
    run = Run().upto("MessageAcked")
    assert run.state.after_pivot
    run.tell(m.CompensateSaga(reason=Words(text="regret")), ANN)
    assert run.refused() == "AFTER_PIVOT"
    run.outcome("refused", "FACILITY_GONE")
    assert run.state.phase == "running"
    incident = next(e for e in run.events if isinstance(e, m.IncidentOpened))
    assert "compensate" not in incident.suggested


def test_a_nak_is_an_incident_and_a_later_ack_closes_it() -> None:
    run = Run().upto("CreditIssued").fact("MessageNaked", code="T52", reason="the network said T52")
    assert run.state.incident
    run.fact("MessageAcked")
    assert not run.state.incident
    assert run.state.step == "consume"


def test_nothing_waits_for_the_mt730_but_a_chaser_asks() -> None:
    run = Run().upto("ReservationConsumed")
    for number in (1, 2):
        run.tell(TimerDue(timer_id=run.state.timer, due=1, reason=""))
        assert run.names()[-1] == "QueueMessage", number
        run.state.chases = number
    run.tell(TimerDue(timer_id=run.state.timer, due=1, reason=""))
    assert run.state.phase == "completed"


def test_command_ids_grow_only_with_steps_and_repeat_never() -> None:
    run = Run().upto("AdviceAcknowledged")
    ids = [i for _, _, i in run.sent]
    assert len(set(ids)) == len(ids)
    again = Run().upto("AdviceAcknowledged")
    assert [i for _, _, i in again.sent] == ids


def test_a_retry_repeats_the_id_until_it_is_decided_and_then_takes_a_new_one() -> None:
    run = Run().upto("LimitReserved")
    run.tell(TimerDue(timer_id=run.state.timer, due=1, reason=""))
    assert run.state.incident
    first = run.sent[-1][2]
    run.tell(m.RetryStep(reason=Words(text="facility was down")), ANN)
    assert run.names()[-1] == "HoldMargin"
    assert run.sent[-1][2] == first, "the first may still take effect: never a second one beside it"
    assert not run.state.incident
    run.upto("MessageAcked").outcome("refused", "FACILITY_GONE")
    assert run.names()[-1] == "ConsumeReservation"
    run.tell(m.RetryStep(reason=Words(text="the facility is back")), ANN)
    assert run.sent[-1][2] != run.sent[-2][2]


def test_a_retry_of_a_command_whose_target_is_parked_cannot_act_twice() -> None:
    run = Run().upto("ComplianceCheckCompleted").outcome("parked")
    run.tell(m.RetryStep(reason=Words(text="try again")), ANN)
    assert run.names()[-2:] == ["ReserveLimit", "ReserveLimit"]
    assert run.sent[-1] == run.sent[-2]
    run.outcome("accepted").fact("LimitReserved")
    assert run.state.step == "margin"


def propose(run: Run, command: Any) -> m.ActProposed:
    run.tell(command, ANN)
    return next(e for e in reversed(run.events) if isinstance(e, m.ActProposed))


def test_an_act_agreed_on_a_step_is_no_act_on_its_undoing() -> None:
    run = Run().upto("ComplianceCheckCompleted")
    skip = propose(run, m.SkipStep(step="reserve", reason=Words(text="reserved by hand")))
    back = propose(run, m.CompensateSaga(reason=Words(text="called off")))
    run.tell(m.ApproveAct(act_id=back.act_id), BEN)
    assert (run.state.phase, run.state.step) == ("compensating", "reserve")
    run.tell(m.ApproveAct(act_id=skip.act_id), BEN)
    assert run.refused() == "STEP_MOVED_ON"
    assert "reserve" not in run.state.undone


def test_nothing_happens_to_a_saga_that_is_over() -> None:
    run = Run().upto("ReservationConsumed")
    act = propose(run, m.SkipStep(step="acknowledge", reason=Words(text="no answer comes")))
    run.fact("AdviceAcknowledged")
    assert run.state.phase == "completed"
    assert run.state.acts == {}
    before = len(run.events)
    run.tell(m.ApproveAct(act_id=act.act_id), BEN)
    assert run.refused() == "NO_SUCH_ACT"
    run.tell(TimerDue(timer_id="acknowledge:9:0", due=1, reason=""))
    run.tell(m.RetryStep(reason=Words(text="again")), ANN)
    assert run.refused() == "SAGA_NOT_OPEN"
    assert len(run.events) == before


@pytest.mark.parametrize(
    "nobody",
    [Actor("", "file", "gateway"), Actor("", "swift", "network"), Actor("saga:x", "", "maker"), SYSTEM],
)  # fmt: skip
def test_nobody_is_no_second_person_and_no_first_one(nobody: Actor) -> None:
    run = Run().upto("LimitReserved")
    act = propose(run, m.SkipStep(step="margin", reason=Words(text="waived")))
    for command in (
        m.ApproveAct(act_id=act.act_id),
        m.RejectAct(act_id=act.act_id, reason=Words(text="no")),
    ):
        run.tell(command, nobody)
        assert run.refused() == "NEEDS_A_PERSON"
    run.tell(m.CompensateSaga(reason=Words(text="called off")), nobody)
    assert run.refused() == "NEEDS_A_PERSON"
    assert run.state.step == "margin"


@pytest.mark.parametrize(
    "command",
    [
        m.SkipStep(step="check", reason=Words(text="takes too long")),
        m.MarkDoneOutside(
            step="check", reason=Words(text="was looked at"), evidence=Words(text="mail of today")
        ),
    ],
)
def test_nobody_passes_the_compliance_check_by_an_operator_act(command: Any) -> None:
    issuance = Run().upto("ApplicationValidated")
    settlement = Run("albion/saga/settlement:P1")
    start = {"presentation": "P1", "credit": "LC1", "currency": "USD", "amount": "5"}
    settlement.fact("PresentationReceived", **start, presented="2026-11-24")
    settlement.fact("DrawingRegistered").fact("ExaminationCompleted")
    settlement.fact("PresentationHonoured", method="sight", taken="5", maturity="", ended="")
    for run in (issuance, settlement):
        assert run.state.step == "check"
        run.tell(command, ANN)
        assert run.refused() == "STEP_ENDS_BY_ITSELF"
        run.tell(TimerDue(timer_id=run.state.timer, due=1, reason=""))
        incident = next(e for e in run.events if isinstance(e, m.IncidentOpened))
        assert not {"skip", "done-outside"} & set(incident.suggested)


def _taken_up() -> Run:
    """Return a settlement whose documents were honoured; its check is not over."""
    run = Run("albion/saga/settlement:P1")
    start = {"presentation": "P1", "credit": "LC1", "currency": "USD", "amount": "5"}
    run.fact("PresentationReceived", **start, presented="2026-11-24")
    run.fact("DrawingRegistered").fact("ExaminationCompleted")
    return run.fact("PresentationHonoured", method="sight", taken="5", maturity="", ended="")


NO = {"code": "NOT_PROCEEDING", "reason": "the bank does not proceed"}


def test_a_settlement_that_compliance_ends_is_an_incident_at_once() -> None:
    run = _taken_up().fact("ComplianceCheckEnded", **NO)
    incident = next(e for e in run.events if isinstance(e, m.IncidentOpened))
    assert incident.cause == "NOT_PROCEEDING: the bank does not proceed"
    assert incident.suggested == ["retry"]
    assert run.names() == ["RegisterDrawing"]
    run.fact("ComplianceCheckCompleted")
    assert not run.state.incident
    assert run.names()[-1] == "HonourDrawing"


def test_a_check_that_ended_before_the_saga_came_to_it_is_not_waited_for() -> None:
    run = Run("albion/saga/settlement:P1")
    start = {"presentation": "P1", "credit": "LC1", "currency": "USD", "amount": "5"}
    run.fact("PresentationReceived", **start, presented="2026-11-24").fact("DrawingRegistered")
    run.fact("ComplianceCheckEnded", **NO).fact("ExaminationCompleted")
    assert not run.state.incident  # whether to honour is decided by the clock of article 14b
    run.fact("PresentationHonoured", method="sight", taken="5", maturity="", ended="")
    assert (run.state.step, bool(run.state.incident)) == ("check", True)


def test_a_step_told_not_yet_is_tried_again_each_hour_and_fails_nothing() -> None:
    run = _taken_up().fact("ComplianceCheckCompleted")
    first = run.state.command_id
    run.outcome("refused", "IN_PROCESS")
    assert run.state.timer == "book:5:held"
    assert not run.state.incident
    assert not any(isinstance(e, m.StepFailed) for e in run.events)
    due = TimerDue(timer_id=run.state.timer, due=1, reason="")
    run.tell(due)
    assert run.names()[-2:] == ["HonourDrawing", "HonourDrawing"]
    assert run.state.command_id not in ("", first)  # the first was decided: the next is another
    run.outcome("refused", "IN_PROCESS").tell(due).tell(due)
    later = m.ObserveOutcome(
        command_id=run.state.command_id, answer="refused", code="IN_PROCESS", article="", message=""
    )
    run.tell(later, instant=1_000 + MS_PER_HOUR)
    assert run.state.incident
    run.tell(due).fact("DrawingHonoured")
    assert (run.state.step, run.state.incident, run.state.since) == ("settle", "", 0)


def test_what_was_done_outside_names_its_evidence() -> None:
    run = Run().upto("LimitReserved")
    run.tell(
        m.MarkDoneOutside(
            step="margin", reason=Words(text="held by hand"), evidence=Words(text=" ")
        ),
        ANN,
    )
    assert run.refused() == "EVIDENCE_REQUIRED"


def test_who_proposes_an_act_cannot_approve_it() -> None:
    run = Run().upto("LimitReserved")
    run.tell(m.SkipStep(step="margin", reason=Words(text="waived by credit committee")), ANN)
    act = next(e for e in run.events if isinstance(e, m.ActProposed))
    run.tell(m.ApproveAct(act_id=act.act_id), ANN._replace(login="other", role="checker"))
    assert run.refused() == "SELF_APPROVAL"
    run.tell(m.ApproveAct(act_id=act.act_id), BEN)
    assert run.state.step == "approve"


def test_who_has_no_authority_moves_nothing_and_hears_which_role_may() -> None:
    run = Run().upto("LimitReserved")
    skip = m.SkipStep(step="margin", reason=Words(text="waived"))
    for role in ("maker", "examiner", "auditor", "compliance_officer"):
        for command in (skip, m.RetryStep(reason=Words(text="again"))):
            run.tell(command, ANN._replace(role=role))
            assert run.refused() == "ROLE_NEEDED"
            assert isinstance(run.answer, Refusal) and "senior_checker" in run.answer.message
    run.tell(skip, ANN)
    (act,) = run.state.acts
    run.tell(m.ApproveAct(act_id=act), BEN._replace(role="maker"))
    assert run.refused() == "ROLE_NEEDED"
    run.tell(m.ApproveAct(act_id=act), BEN._replace(role="engineer"))
    assert run.state.step == "approve"


def test_an_act_on_a_step_that_moved_on_is_refused() -> None:
    run = Run().upto("MarginHeld")
    run.tell(m.SkipStep(step="margin", reason=Words(text="late")), ANN)
    assert run.refused() == "STEP_MOVED_ON"


def test_a_fact_for_no_saga_begins_none() -> None:
    run = Run().fact("LimitReserved")
    assert run.refused() == "UNMATCHED"
    assert run.state.phase == "new"


def test_a_parked_target_is_an_incident_not_a_failure() -> None:
    run = Run().upto("ComplianceCheckCompleted").outcome("parked")
    assert run.state.incident
    assert run.state.phase == "running"
    run.fact("LimitReserved")
    assert not run.state.incident


def test_a_held_presentation_waits_before_booking_and_never_before_deciding() -> None:
    run = Run("albion/saga/settlement:P1")
    start = {
        "presentation": "P1", "credit": "LC1", "currency": "USD", "amount": "5",
        "presented": "2026-11-24", "role": "issuing", "due": "9",
    }  # fmt: skip
    run.fact("PresentationReceived", **start).fact("DrawingRegistered").fact("ExaminationCompleted")
    assert run.state.step == "decide"
    run.fact("PresentationHonoured", method="sight", taken="5", maturity="", ended="")
    assert run.state.step == "check"
    assert "HonourDrawing" not in run.names()
    run.fact("ComplianceCheckCompleted")
    assert run.names()[-1] == "HonourDrawing"


ACTS = st.one_of(
    st.sampled_from(
        [("fact", n) for n in [*ORDER, "CreditRejected", "MessageNaked", "IssueVoided"]]
    ),
    st.sampled_from([("outcome", a) for a in ("accepted", "refused", "parked", "discarded")]),
    st.sampled_from(
        [("timer", ""), ("retry", ""), ("skip", ""), ("compensate", ""), ("approve", "")]
    ),
)


@given(st.lists(ACTS, max_size=40))
def test_any_history_decides_without_error_and_replays_to_the_same_state(
    acts: list[tuple[str, str]],
) -> None:
    run = Run().fact("CreditApplied")
    for kind, name in acts:
        if kind == "fact":
            run.fact(name)
        elif kind == "outcome":
            run.outcome(name, "X")
        elif kind == "timer":
            run.tell(TimerDue(timer_id=run.state.timer, due=1, reason=""))
        elif kind == "approve":
            act = next(iter(run.state.acts), "none")
            run.tell(m.ApproveAct(act_id=act), BEN)
        else:
            command = {
                "retry": m.RetryStep(reason=Words(text="r")),
                "skip": m.SkipStep(step=run.state.step, reason=Words(text="r")),
                "compensate": m.CompensateSaga(reason=Words(text="r")),
            }[kind]
            run.tell(command, ANN)
    state = SAGAS.initial(KEY)
    for event in run.events:
        copy = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=SagaState)
        state = SAGAS.evolve(copy, event)
    assert state == run.state or run.state.chases != state.chases
    bodies: dict[str, Any] = {}
    for sent in run.sent:
        assert bodies.setdefault(sent[2], sent) == sent, "a command id was used for two commands"
    if run.state.phase == "compensated":
        assert not run.state.after_pivot


def test_a_step_whose_facts_were_skipped_is_an_incident_not_an_error() -> None:
    run = Run().fact("CreditApplied")
    run.tell(m.SkipStep(step="validate", reason=Words(text="trusted")), ANN)
    run.tell(m.ApproveAct(act_id=next(iter(run.state.acts))), BEN)
    run.fact("ComplianceCheckCompleted")
    assert run.state.step == "reserve"
    incident = next(e for e in run.events if isinstance(e, m.IncidentOpened))
    assert "max_liability" in incident.cause
