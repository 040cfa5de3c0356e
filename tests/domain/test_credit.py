"""A credit from application to issue, and the export side until advice or confirmation."""

import msgspec
import pytest

from usance.domain.credit import messages as m
from usance.domain.credit.advising import WAIT_MS
from usance.domain.credit.amendment_messages import (
    AmendmentAwaitsCredit,
    AmendmentDropped,
    AmendmentReceived,
    DropAmendment,
    ReceiveAmendment,
    TermsChanges,
)
from usance.domain.credit.decider import CreditDecider
from usance.domain.credit.drawing_messages import (
    DrawingHonoured,
    DrawingRegistered,
    HonourDrawing,
)
from usance.domain.facility_messages import ReleaseMargin, ReleaseReservation
from usance.domain.posting import LC_LIABILITY, MARGIN, balance_of, open_accounts
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet
from usance.kernel.words import Words
from usance.testing.spec import spec
from usance.testing.trade import (
    CHECKER,
    CREDIT_KEY,
    MAKER,
    MONDAY,
    NETWORK,
    SYSTEM,
    application,
    approval,
    awaiting,
    drawing,
    issued,
    received,
    submitted,
)


def test_an_application_keeps_free_text_only_as_a_digest():
    stream = submitted().then(m.CreditApplied)
    assert stream.decided[0].narrative_digest
    kept = msgspec.json.encode(stream.state)
    assert b"TEAK" not in kept and b"Tanjong" not in kept and b"Albion Furniture" not in kept


def test_the_event_says_all_that_the_application_said():
    whole = msgspec.structs.replace(application(), note="a note", margin_percent=7)
    event = spec(CreditDecider(), "albion/credit/LC1", instant=MONDAY).when(whole).decided[0]
    assert all(getattr(event, name) == getattr(whole, name) for name in whole.__struct_fields__)


def test_a_repeated_application_changes_nothing_but_another_under_its_number_is_refused():
    stream = submitted().when(application()).nothing()
    stream.when(application(amount=5_00)).refused("CREDIT_EXISTS")


def test_an_application_sent_to_the_key_of_another_credit_is_refused():
    other = spec(CreditDecider(), "albion/credit/LC2", instant=MONDAY)
    other.when(application()).refused("WRONG_KEY")


@pytest.mark.parametrize(
    ("changes", "code", "article"),
    [
        ({"draft_on": "albion furniture  LTD"}, "DRAFT_ON_APPLICANT", "UCP600-6c"),
        ({"available_with": " "}, "AVAILABLE_WITH_MISSING", "UCP600-6a"),
        ({"available_by": "magic"}, "AVAILABLE_BY_UNKNOWN", "UCP600-6b"),
        ({"available_by": "deferred"}, "TENOR_MISSING", "MT700-42C,42P"),
        ({"available_by": "acceptance", "tenor_days": 90}, "DRAWEE_MISSING", "MT700-42a"),
        ({"expiry_date": "soon"}, "EXPIRY_MISSING", "UCP600-6d-i"),
        ({"expiry_date": "2026-11-29", "latest_shipment": ""}, "EXPIRY_PAST", "UCP600-6d-i"),
        ({"expiry_place": ""}, "EXPIRY_PLACE_MISSING", "UCP600-6d-ii"),
        ({"latest_shipment": "2027-03-01"}, "SHIPMENT_AFTER_EXPIRY", "UCP600-14c"),
        ({"shipment_period": "FIRST HALF OF MAY 2027"}, "SHIPMENT_STATED_TWICE", "MT700-C02"),
        ({"rules": ""}, "RULES_UNKNOWN", "UCP600-1"),
        ({"form": "REVOCABLE"}, "FORM_UNKNOWN", "UCP600-3,10a"),
        ({"confirmation": "PERHAPS"}, "CONFIRMATION_UNKNOWN", "MT700-49"),
        ({"partial_shipments": "MAYBE"}, "SHIPMENT_TERMS_UNKNOWN", "MT700-43P,43T"),
        ({"tolerance_plus": 100}, "TERMS_OUT_OF_RANGE", ""),
        ({"has_tolerance": True, "approximate": True}, "TOLERANCE_STATED_TWICE", ""),
    ],
)
def test_validation_names_the_field_or_article_that_fails(changes, code, article):
    submitted(**changes).when(m.ValidateApplication(), SYSTEM).refused(code, article)


def test_margin_and_maximum_liability_count_the_plus_tolerance():
    stream = submitted(margin_percent=20, has_tolerance=True, tolerance_plus=10)
    stream.when(m.ValidateApplication(), SYSTEM)
    stream.then(m.ApplicationValidated(max_liability=110_000_00, margin=22_000_00))


def test_a_running_check_answers_neutrally_and_looks_the_same_throughout():
    stream = submitted().when(m.ValidateApplication(), SYSTEM)
    before = stream.state.state
    stream.when(m.BeginComplianceCheck(), SYSTEM)
    stream.when(m.RequestApproval(), SYSTEM).refused("IN_PROCESS")
    assert stream.state.state == before == "IN_PROCESS"
    assert not {"hit", "screen", "sanction", "hold"} & set(stream.answer.message.lower().split())
    stream.when(m.CompleteComplianceCheck(), SYSTEM)
    assert stream.state.state == "IN_PROCESS"
    stream.when(m.RequestApproval(), SYSTEM).then(m.ApprovalRequested)


def test_approval_cannot_be_asked_for_before_checks_were_made():
    stream = submitted().when(m.ValidateApplication(), SYSTEM)
    stream.when(m.RequestApproval(), SYSTEM).refused("NOT_IN_THIS_STATE")


def test_the_approval_request_names_its_own_revision_and_the_tier():
    small, large = awaiting(), awaiting(amount=1_000_000_00)
    assert small.events[-1].revision == small.revision
    assert (small.events[-1].tier, large.events[-1].tier) == ("standard", "senior")


def test_nobody_approves_their_own_application_by_another_login():
    stream = awaiting()
    twin = MAKER._replace(login="other-login")
    stream.when(approval(stream), twin).refused("SELF_APPROVAL")
    stream.when(approval(stream), SYSTEM).refused("NEEDS_A_PERSON")
    stream.when(approval(stream), CHECKER).then(m.CreditApproved)
    stream.when(approval(stream), CHECKER).nothing()


def test_a_large_credit_is_approved_by_a_senior_checker_alone():
    stream = awaiting(amount=1_000_000_00)
    stream.when(approval(stream), CHECKER).refused("TIER_NEEDED")
    senior = CHECKER._replace(role="senior_checker")
    stream.when(approval(stream), senior).then(m.CreditApproved)


@pytest.mark.parametrize("field", ["revision", "content_hash"])
def test_an_approval_of_something_else_than_what_stands_is_stale(field):
    stream = awaiting()
    other = {"revision": stream.revision - 1, "content_hash": "0" * 64}[field]
    stale = msgspec.structs.replace(approval(stream), **{field: other})
    stream.when(stale, CHECKER).refused("STALE_APPROVAL")


def test_issue_needs_approval_books_liability_and_margin_and_arms_the_expiry():
    stream = awaiting(margin_percent=10)
    stream.when(m.IssueCredit(message="MUR1"), SYSTEM).refused("NOT_IN_THIS_STATE")
    stream.when(approval(stream), CHECKER).when(m.IssueCredit(message="MUR1"), SYSTEM)
    stream.then(m.CreditIssued, TimerSet)
    event, timer = stream.decided
    assert event.issue_date == "2026-11-30"
    assert balance_of(event.postings, "LC1", LC_LIABILITY) == 100_000_00
    assert balance_of(event.postings, "LC1", MARGIN) == -10_000_00
    assert (timer.calendar, timer.due) == ("SGSIN", 1_803_657_600_000)  # midnight in Singapore
    stream.when(m.IssueCredit(message="MUR1"), SYSTEM).nothing()


def test_an_application_whose_expiry_passed_while_it_waited_is_not_issued():
    stream = awaiting()
    stream.when(approval(stream), CHECKER).at(1_803_800_000_000)
    stream.when(m.IssueCredit(), SYSTEM).refused("EXPIRY_PAST", "UCP600-6d-i")


def test_rejection_and_withdrawal_are_possible_until_issue_only():
    awaiting().when(m.RejectCredit(reason=Words(text="no limit")), SYSTEM).then(m.CreditRejected)
    awaiting().when(m.WithdrawApplication()).then(m.ApplicationWithdrawn)
    issued().when(m.RejectCredit(reason=Words(text="late")), SYSTEM).refused(
        "NOT_IN_THIS_STATE", "UCP600-7b"
    )
    issued().when(m.WithdrawApplication()).refused("NOT_IN_THIS_STATE", "UCP600-10a")


def _undelivered():
    stream = awaiting(margin_percent=10)
    stream.when(approval(stream), CHECKER)
    return stream.when(m.IssueCredit(message="MUR1"), SYSTEM)


def test_an_issue_that_never_left_is_voided_by_two_people_and_leaves_no_balance():
    stream = _undelivered()
    stream.when(m.VoidIssue(reason=Words(text="x")), CHECKER).refused("NOT_IN_THIS_STATE")
    stream.when(m.RequestVoid(reason=Words(text="wrong amount"))).then(m.VoidRequested)
    stream.when(m.VoidIssue(reason=Words(text="x")), MAKER).refused("SELF_APPROVAL")
    stream.when(m.VoidIssue(reason=Words(text="x")), CHECKER).then(m.IssueVoided, TimerCancelled)
    stream.sends(ReleaseReservation(credit="LC1", closed=True), ReleaseMargin(credit="LC1"))
    entries = [p for e in stream.events for p in getattr(e, "postings", [])]
    assert entries and open_accounts(entries, "LC1") == {}


def test_nothing_is_voided_once_it_left_the_bank():
    stream = _undelivered().when(m.NoteDelivery(message="MUR1", result="sent"), SYSTEM)
    stream.when(m.RequestVoid(reason=Words(text="x"))).refused("DELIVERY_IN_DOUBT")
    stream.when(m.NoteDelivery(message="MUR1", result="naked", code="C02"), SYSTEM)
    stream.then(m.DeliveryFailed(message="MUR1", code="C02"))
    stream.when(m.RequestVoid(reason=Words(text="x"))).then(m.VoidRequested)
    stream.when(m.NoteDelivery(message="MUR1", result="acked"), SYSTEM).then(m.DeliveryConfirmed)
    stream.when(m.VoidIssue(), CHECKER).refused("ALREADY_DELIVERED", "UCP600-7b,10a")
    stream.when(m.NoteDelivery(message="MUR1", result="naked"), SYSTEM).nothing()


def test_a_delivery_of_an_unknown_message_is_refused():
    issued().when(m.NoteDelivery(message="MUR9", result="acked")).refused("UNKNOWN_MESSAGE")


def test_an_acknowledgement_is_filed_once_and_may_say_that_the_credit_is_confirmed():
    advice = m.RecordAdvice(reference="A1", confirmed=True)
    stream = issued().when(advice, SYSTEM).then(m.AdviceAcknowledged)
    assert stream.state.confirmed
    stream.when(advice, SYSTEM).nothing()
    submitted().when(advice, SYSTEM).refused("NOT_IN_THIS_STATE")


def test_commands_on_a_credit_nobody_knows_say_so():
    unknown = spec(CreditDecider(), CREDIT_KEY)
    unknown.when(m.IssueCredit()).refused("UNKNOWN_CREDIT")
    unknown.when(object()).refused("UNKNOWN_COMMAND")


# -- export side


def test_a_received_credit_is_advised_only_when_it_appears_authentic():
    stream = received().then(m.CreditReceived)
    stream.when(m.AdviseCredit(), SYSTEM).refused("NOT_IN_THIS_STATE", "UCP600-9b,9f")
    stream.when(m.AuthenticateCredit(method=" ")).refused("METHOD_MISSING", "UCP600-9b")
    stream.when(m.AuthenticateCredit(method="fin"), SYSTEM).then(m.CreditAuthenticated)
    stream.when(m.BeginComplianceCheck(), SYSTEM)
    stream.when(m.AdviseCredit(), SYSTEM).refused("IN_PROCESS")
    stream.when(m.CompleteComplianceCheck(), SYSTEM)
    stream.when(m.AdviseCredit(to="somebody"), SYSTEM).refused("RECEIVER_UNKNOWN", "UCP600-9c")
    stream.when(m.AdviseCredit(), SYSTEM).then(m.CreditAdvised, TimerSet)
    stream.when(m.AdviseCredit(), SYSTEM).nothing()
    stream.when(m.DeclineToAdvise(reason=Words(text="x"))).refused("NOT_IN_THIS_STATE", "UCP600-9e")


def test_what_a_document_says_needs_two_people_and_none_of_them_is_the_network():
    by_fin = received()
    arrives = m.ReceiveCredit(
        **{name: getattr(by_fin.events[0], name) for name in m.ReceiveCredit.__struct_fields__}
    )
    for who in (MAKER, SYSTEM):
        stream = spec(CreditDecider(), CREDIT_KEY, instant=MONDAY).when(arrives, who)
        assert stream.decided[0].authentication == ""
        for claimer in (SYSTEM, NETWORK, MAKER):
            stream.when(m.AuthenticateCredit(method="fin"), claimer).refused(
                "NOT_BY_FIN", "UCP600-9b"
            )
    by_key = m.AuthenticateCredit(method="key")
    stream.when(by_key, SYSTEM).refused("NEEDS_A_PERSON")
    stream.when(by_key, MAKER).then(m.AuthenticationProposed)
    stream.when(m.AdviseCredit(), SYSTEM).refused("NOT_IN_THIS_STATE", "UCP600-9b,9f")
    stream.when(by_key, MAKER).refused("SELF_APPROVAL")
    stream.when(by_key, CHECKER).then(m.CreditAuthenticated)
    assert stream.decided[0].person == CHECKER.person
    stream.when(by_key, CHECKER).nothing()
    by_fin.when(m.AuthenticateCredit(method="fin"), MAKER).refused("NOT_BY_FIN")


EARLY = ReceiveAmendment(
    amendment=1,
    changes=TermsChanges(increase=10_000_00),
    sender="EXPOHKHHXXX",
    sender_reference="HK123",
)


def test_an_amendment_that_overtakes_its_credit_is_kept_for_a_bounded_time():
    stream = spec(CreditDecider(), CREDIT_KEY, instant=MONDAY)
    stream.when(EARLY, MAKER).refused("UNKNOWN_CREDIT")
    stream.when(EARLY, NETWORK).then(AmendmentAwaitsCredit, TimerSet)
    assert stream.decided[1].due == MONDAY + WAIT_MS
    stream.when(EARLY, NETWORK).nothing()
    other = msgspec.structs.replace(EARLY, changes=TermsChanges(increase=1))
    stream.when(other, NETWORK).refused("AMENDMENT_NUMBER")
    stream.when(m.AdviseCredit(), MAKER).refused("UNKNOWN_CREDIT")
    due = TimerDue(timer_id="awaited", due=MONDAY + WAIT_MS, reason="")
    stream.when(due, SYSTEM).then(m.CreditMissing).when(due, SYSTEM).nothing()
    assert (stream.state.state, stream.state.known) == ("MISSING", False)
    stream.when(DropAmendment(amendment=1), MAKER).then(AmendmentDropped, TimerCancelled)
    assert (stream.state.state, stream.state.early) == ("", {})
    stream.when(DropAmendment(amendment=1), MAKER).refused("UNKNOWN_CREDIT")


def test_the_credit_ends_the_wait_of_its_amendment_whenever_it_comes():
    stream = spec(CreditDecider(), CREDIT_KEY, instant=MONDAY).when(EARLY, NETWORK)
    first = received().events[0]
    arrives = m.ReceiveCredit(
        **{name: getattr(first, name) for name in m.ReceiveCredit.__struct_fields__}
    )
    stream.when(arrives, NETWORK).then(m.CreditReceived, TimerCancelled)
    assert (stream.state.state, stream.state.timers) == ("RECEIVED", ())
    stream.when(EARLY, SYSTEM).then(AmendmentReceived)  # as the reaction hands it in again
    stream.when(EARLY, NETWORK).nothing()


def test_a_duplicate_of_a_received_credit_is_no_second_one():
    stream = received()
    first = stream.events[0]
    fields = {name: getattr(first, name) for name in m.ReceiveCredit.__struct_fields__}
    stream.when(m.ReceiveCredit(**fields), SYSTEM).nothing()
    fields["sender_reference"] = "HK999"
    stream.when(m.ReceiveCredit(**fields), SYSTEM).refused("CREDIT_EXISTS")


def test_a_confirmation_needs_to_be_asked_for_and_binds():
    without = received(confirmation="WITHOUT").when(m.AuthenticateCredit(method="fin"), SYSTEM)
    without.when(m.AddConfirmation(), CHECKER).refused("CONFIRMATION_NOT_ASKED", "UCP600-8d")
    stream = received().when(m.AuthenticateCredit(method="fin"), SYSTEM)
    stream.when(m.AddConfirmation(), SYSTEM).refused("NEEDS_A_PERSON")
    stream.when(m.AddConfirmation(), CHECKER).then(m.ConfirmationAdded, TimerSet)
    assert stream.state.state == "CONFIRMED"
    stream.when(m.DeclineConfirmation(reason=Words(text="x"))).refused(
        "NOT_IN_THIS_STATE", "UCP600-8b,10a"
    )


def test_correspondence_is_filed_once_per_message():
    letter = m.RecordCorrespondence(mt="734", reference="R1", kind="refusal")
    stream = received().when(letter, SYSTEM).then(m.CorrespondenceRecorded)
    stream.when(letter, SYSTEM).nothing()
    stream.when(msgspec.structs.replace(letter, mt="752"), SYSTEM).then(m.CorrespondenceRecorded)


def test_a_message_in_its_check_holds_what_would_leave_the_bank_and_looks_like_any_other():
    stream = received().when(m.AuthenticateCredit(method="fin"), SYSTEM)
    stream.when(m.BeginComplianceCheck(), SYSTEM).when(m.CompleteComplianceCheck(), SYSTEM)
    stream.when(m.RecordCorrespondence(mt="799", reference="R1", kind="free"), SYSTEM)
    for act in (m.AdviseCredit(), m.AddConfirmation()):
        stream.when(act, CHECKER).refused("IN_PROCESS")
    over = m.CompleteComplianceCheck(check="message:799:R1")
    stream.when(over, SYSTEM).then(m.ComplianceCheckCompleted)
    stream.when(over, SYSTEM).nothing()
    stream.when(m.AdviseCredit(), CHECKER).then(m.CreditAdvised, TimerSet)


def test_a_message_in_its_check_holds_the_booking_but_no_examination():
    letter = m.RecordCorrespondence(mt="756", reference="R1", kind="payment")
    stream = issued().when(letter, SYSTEM).when(drawing(), SYSTEM).then(DrawingRegistered)
    book = HonourDrawing(presentation="P1", method="sight", amount=60_000_00)
    stream.when(book, SYSTEM).refused("IN_PROCESS")
    stream.when(m.CompleteComplianceCheck(check="message:756:R1"), SYSTEM)
    stream.when(book, SYSTEM).then(DrawingHonoured)
    stream.when(letter, SYSTEM).nothing()
    stream.when(m.CompleteComplianceCheck(check="amendment:9"), SYSTEM).nothing()


def test_parties_without_name_or_country_cannot_be_issued():
    whole = application()
    nameless = msgspec.structs.replace(whole.parties.beneficiary, country="")
    parties = msgspec.structs.replace(whole.parties, beneficiary=nameless)
    stream = spec(CreditDecider(), CREDIT_KEY, instant=MONDAY)
    stream.when(msgspec.structs.replace(whole, parties=parties)).then(m.CreditApplied)
    stream.when(m.ValidateApplication(), SYSTEM).refused("PARTY_INCOMPLETE")


@pytest.mark.parametrize("number", ["X" * 17, "/LC1", "LC1/", "LC//1"])
def test_a_credit_number_must_fit_field_20(number: str):
    command = msgspec.structs.replace(application(), credit=number)
    stream = spec(CreditDecider(), f"albion/credit/{number}", instant=MONDAY)
    stream.when(command).refused("REFERENCE_UNFIT")
