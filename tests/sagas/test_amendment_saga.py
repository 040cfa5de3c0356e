"""The amendment saga: reserve before anybody approves, undo from every step before the ACK."""

from __future__ import annotations

from typing import Any

import pytest

from usance.domain.credit import amendment_messages as am
from usance.domain.credit.messages import ComplianceCheckCompleted
from usance.domain.facility_messages import ReservationIncreased
from usance.domain.message_exchange import MessageAcked
from usance.engine.reactors import saga_messages as m
from usance.engine.reactors.saga import SagaDecider
from usance.kernel.decider import Actor, Context, Decision
from usance.kernel.timers import TimerDue
from usance.kernel.words import Words
from usance.sagas.amendment import AMENDMENT, ANSWER_MS
from usance.sagas.facts import mur
from usance.sagas.issuance import ISSUANCE

SAGAS = SagaDecider((AMENDMENT,))
KEY, CREDIT = "albion/saga/amendment:LC1:2", "albion/credit/LC1"
FACILITY = "albion/facility/F1"
SYSTEM = Actor("engine", "", "system")
ANN, BEN = Actor("ann", "ann", "senior_checker"), Actor("ben", "ben", "checker")
REQUESTED = {
    "amendment": "2",
    "facility": "F1",
    "currency": "USD",
    "liability_change": "500",
    "maker": "ann",
}
ORDER = (
    "AmendmentRequested",
    "ComplianceCheckCompleted",
    "ReservationIncreased",
    "AmendmentApproved",
    "AmendmentIssued",
    "MessageAcked",
    "ReservationConsumed",
    "AmendmentAccepted",
)


class Run:
    def __init__(self, upto: str = "", **facts: str) -> None:
        self.state = SAGAS.initial(KEY)
        self.events: list[Any] = []
        self.sent: list[Any] = []
        for name in ORDER[: ORDER.index(upto) + 1] if upto else ():
            self.fact(name, **facts)

    def tell(self, command: Any, actor: Actor = SYSTEM) -> Run:
        count = len(self.events)
        context = Context(KEY, count, 1_000, "albion", actor, f"c{count}", "", "")
        answer = SAGAS.decide(self.state, command, context)
        assert isinstance(answer, Decision), answer
        for event in answer.events:
            self.state = SAGAS.evolve(self.state, event)
        self.events += answer.events
        self.sent += answer.sends
        return self

    def fact(self, name: str, **facts: str) -> Run:
        said = {**REQUESTED, **facts} if name == "AmendmentRequested" else facts
        return self.tell(m.ObserveEvent(event_type=name, stream=CREDIT, event_id=name, facts=said))

    def outcome(self, answer: str, code: str = "") -> Run:
        command_id = self.state.command_id
        return self.tell(
            m.ObserveOutcome(
                command_id=command_id, answer=answer, code=code, article="", message="no"
            )
        )

    def call_off(self) -> Run:
        self.tell(m.CompensateSaga(reason=Words(text="called off")), ANN)
        (act,) = self.state.acts
        return self.tell(m.ApproveAct(act_id=act), BEN)

    def back(self) -> Run:
        while self.state.phase == "compensating":
            self.outcome("accepted")
        return self

    def names(self) -> list[str]:
        return [type(s.command).__name__ for s in self.sent]


def test_the_limit_is_reserved_before_the_second_person_and_the_issue() -> None:
    run = Run("AmendmentAccepted")
    assert run.names() == [
        "IncreaseReservation", "RequestAmendmentApproval", "IssueAmendment", "ConsumeReservation",
    ]  # fmt: skip
    assert run.state.phase == "completed"
    reserve, _, issue, consume = (s.command for s in run.sent)
    assert (reserve.credit, reserve.amendment, reserve.amount) == ("LC1", 2, 500)
    assert issue.message == mur("LC1/2", "707")
    assert [s.key for s in run.sent] == [FACILITY, CREDIT, CREDIT, FACILITY]
    assert consume.amendment == 2


@pytest.mark.parametrize("change", ["0", "-500"])
def test_what_adds_no_exposure_reserves_nothing_and_a_decrease_is_released_by_its_acceptance(
    change: str,
) -> None:
    run = Run("AmendmentAccepted", liability_change=change)
    assert run.names() == ["RequestAmendmentApproval", "IssueAmendment"]


BACK = {
    "AmendmentRequested": ["DropAmendment"],
    "ComplianceCheckCompleted": ["ReleaseIncrease", "DropAmendment"],
    "ReservationIncreased": ["ReleaseIncrease", "DropAmendment"],
    "AmendmentApproved": ["VoidAmendment", "ReleaseIncrease", "DropAmendment"],
    "AmendmentIssued": ["VoidAmendment", "ReleaseIncrease", "DropAmendment"],
}


@pytest.mark.parametrize("last", BACK)
def test_compensation_from_every_step_undoes_in_reverse_and_names_what_it_undoes(last: str) -> None:
    run = Run(last)
    before = len(run.sent)
    ids = {type(s.command).__name__: s.id for s in run.sent}
    run.call_off().back()
    assert run.state.phase == "compensated"
    undone = run.sent[before:]
    assert [type(s.command).__name__ for s in undone] == BACK[last]
    named = {type(s.command).__name__: getattr(s.command, "undoes", "") for s in undone}
    assert named.get("ReleaseIncrease", "") == ids.get("IncreaseReservation", "")
    assert named.get("VoidAmendment", "") == ids.get("IssueAmendment", "")


def test_after_the_network_took_it_only_forward_is_left() -> None:
    run = Run("MessageAcked")
    assert run.state.after_pivot
    assert run.names()[-1] == "ConsumeReservation"
    run.outcome("refused", "FACILITY_GONE")
    assert run.state.phase == "running" and run.state.incident


def test_a_limit_that_is_too_small_ends_the_amendment_before_anybody_approved_it() -> None:
    run = Run("ComplianceCheckCompleted").outcome("refused", "LIMIT_EXCEEDED").back()
    assert run.names() == ["IncreaseReservation", "DropAmendment"]
    drop = run.sent[-1].command
    assert (drop.amendment, run.state.phase) == (2, "compensated")


def test_a_nak_is_an_incident_that_two_people_may_turn_back() -> None:
    run = Run("AmendmentIssued").fact("MessageNaked", code="T27", reason="the network answered T27")
    assert run.state.incident
    run.call_off().back()
    assert run.names()[-3:] == ["VoidAmendment", "ReleaseIncrease", "DropAmendment"]


def test_a_check_that_compliance_ends_drops_the_amendment_in_neutral_words() -> None:
    no = {"code": "NOT_PROCEEDING", "reason": "the bank does not proceed"}
    run = Run("AmendmentRequested").fact("ComplianceCheckEnded", **no)
    assert run.names() == ["DropAmendment"]
    assert run.sent[0].command.cause == "the bank does not proceed"


def test_who_drops_a_request_by_hand_ends_its_saga_and_frees_its_limit() -> None:
    run = Run("ReservationIncreased").fact("AmendmentDropped", dropped="yes", reason="turned down")
    run.back()
    assert run.names()[-1] == "ReleaseIncrease"
    assert run.state.phase == "compensated"


def test_silence_accepts_nothing_and_the_saga_does_not_wait_for_ever() -> None:
    run = Run("ReservationConsumed")
    assert run.state.step == "answer"
    armed = next(e for e in reversed(run.events) if type(e).__name__ == "TimerSet")
    assert armed.due - 1_000 == ANSWER_MS
    run.tell(TimerDue(timer_id=run.state.timer, due=1, reason=""))
    assert run.state.phase == "completed"
    assert "AmendmentAccepted" not in run.names()


ABOUT = {
    (CREDIT, "AmendmentApproved"): am.AmendmentApproved(amendment=2, approver="ben"),
    (CREDIT, "ComplianceCheckCompleted"): ComplianceCheckCompleted(check="amendment:2"),
    (FACILITY, "ReservationIncreased"): ReservationIncreased(
        credit="LC1", amendment=2, currency="USD", amount=5, available=0
    ),
    ("albion/message/M", "MessageAcked"): MessageAcked(
        message="M", mt="707", credit="LC1", amendment=2
    ),
}


@pytest.mark.parametrize("about", ABOUT)
def test_facts_reach_the_saga_of_their_amendment_and_no_issuance(about: tuple[str, str]) -> None:
    stream, name = about
    assert AMENDMENT.identity(stream, name, ABOUT[about]) == "LC1:2"
    if name != "AmendmentApproved":
        assert ISSUANCE.identity(stream, name, ABOUT[about]) == ""


def test_facts_of_the_credit_itself_reach_no_amendment() -> None:
    own = ComplianceCheckCompleted()
    assert AMENDMENT.identity(CREDIT, "ComplianceCheckCompleted", own) == ""
    issue = MessageAcked(message="M", mt="700", credit="LC1")
    assert AMENDMENT.identity("albion/message/M", "MessageAcked", issue) == ""
