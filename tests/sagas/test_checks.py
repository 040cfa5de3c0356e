"""Checks of compliance, as trade meets them: one event at their end, whatever they found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from usance.aml.case import CaseOpened, DispositionApproved, Hits
from usance.aml.screening import ScreeningReport
from usance.domain.credit import amendment_messages as am
from usance.domain.credit import messages as cr
from usance.engine.reactors.saga_messages import ObserveEvent
from usance.sagas.advice import ADVICE
from usance.sagas.reactions import REACTIONS
from usance.sagas.screening import Screening, changes_strings
from usance.testing.trade import received

CREDIT = "albion/credit/HOSHJPJT-J1"
LETTER = cr.CorrespondenceRecorded(mt="799", reference="Q1", kind="free", sender="HOSHJPJT")
AMENDED = am.AmendmentReceived(
    amendment=2,
    changes=am.TermsChanges(port_of_loading="NAMPO", available_with="ANY BANK"),
    sender="HOSHJPJT",
    sender_reference="J1",
    consents=["beneficiary"],
    content_hash="x",
)


class Finding:
    """A screener that finds what it is told to."""

    def __init__(self, band: str) -> None:
        self.band = band
        self.seen: list[str] = []

    def screen_parties(self, strings: Any, on_date: str) -> ScreeningReport:
        self.seen = [s.text for s in strings]
        return ScreeningReport(
            band=self.band, screened=(), snapshot_id="s", matcher_version="1", list_versions=()
        )


def _history(*messages: Any) -> Any:
    past = [
        SimpleNamespace(
            message=message,
            meta=SimpleNamespace(command_id="c", revision=n),
            instant=1_796_000_000_000,
        )
        for n, message in enumerate(messages)
    ]
    return SimpleNamespace(stream=lambda _key: past)


def _screened(band: str, event: Any) -> list[tuple[str, Any]]:
    react = Screening(Finding(band)).table()[type(event)]
    return react(CREDIT, event, _history(event))


@pytest.mark.parametrize(("event", "check"), [(LETTER, "message:799:Q1"), (AMENDED, "amendment:2")])
def test_a_clear_message_ends_its_own_check_and_a_hit_says_nothing_to_trade(
    event: Any, check: str
) -> None:
    told = [c for key, c in _screened("clear", event) if "/credit/" in key]
    assert told == [cr.CompleteComplianceCheck(check=check)]
    found = _screened("review", event)
    assert {key.split("/")[1] for key, _ in found} == {"screening", "case"}
    assert next(c for key, c in found if "/case/" in key).step == check


def test_places_and_banks_that_an_amendment_brings_are_screened() -> None:
    assert [(s.kind, s.text) for s in changes_strings(AMENDED.changes)] == [
        ("bank", "ANY BANK"),
        ("place", "NAMPO"),
    ]


def _closed(disposition: str, step: str, saga: str = "") -> list[tuple[str, Any]]:
    opened = CaseOpened(
        case_id="k", subject_stream=CREDIT, saga=saga, step=step, source_event="e", evidence_hash="h",
        snapshot_id="s", matcher_version="1", list_versions=[], hits=Hits(subject="p", hits=[]),
    )  # fmt: skip
    approved = DispositionApproved(
        case_id="k", disposition=disposition, evidence_hash="h", proposer="a", approver="b"
    )
    return REACTIONS[DispositionApproved]("albion/case/k", approved, _history(opened))


def test_a_cleared_message_goes_on_and_a_rejected_one_is_turned_away() -> None:
    for disposition in ("clear", "reject"):
        assert _closed(disposition, "message:799:Q1") == [
            (CREDIT, cr.CompleteComplianceCheck(check="message:799:Q1"))
        ]
    assert _closed("block", "message:799:Q1") == []
    assert _closed("report", "message:799:Q1") == []


@pytest.mark.parametrize("disposition", ["block", "reject"])
def test_a_blocked_amendment_ends_by_its_saga_in_neutral_words(disposition: str) -> None:
    saga = "albion/saga/amendment:HOSHJPJT-J1:2"
    [(key, told)] = _closed(disposition, "amendment:2", saga)
    assert key == saga
    assert isinstance(told, ObserveEvent)
    assert (told.event_type, told.facts["reason"]) == (
        "ComplianceCheckEnded",
        "the bank does not proceed",
    )


def test_amendments_that_came_early_are_taken_in_when_their_credit_arrives() -> None:
    def early(number: int, port: str) -> am.AmendmentAwaitsCredit:
        return am.AmendmentAwaitsCredit(
            amendment=number, changes=am.TermsChanges(port_of_loading=port), sender="HOSHJPJT",
            sender_reference="J1", content_hash="x",
        )  # fmt: skip

    arrived = received().events[0]
    gone = am.AmendmentDropped(amendment=3)
    history = _history(early(2, "KOBE"), early(1, "OSAKA"), early(3, "NAHA"), gone, arrived)
    told = REACTIONS[cr.CreditReceived](CREDIT, arrived, history)
    assert [(key, c.amendment, c.changes.port_of_loading) for key, c in told] == [
        (CREDIT, 1, "OSAKA"),
        (CREDIT, 2, "KOBE"),
    ]


def test_what_a_document_says_of_a_credit_waits_for_people_to_authenticate_it() -> None:
    step = ADVICE.step("authenticate")
    assert step.action is not None and step.guarded
    assert step.action(CREDIT, {"authentication": ""}) is None
    act = step.action(CREDIT, {"authentication": "fin"})
    assert act is not None and act.command == cr.AuthenticateCredit(method="fin")
