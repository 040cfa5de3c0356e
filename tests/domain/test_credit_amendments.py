"""Amendments: bound at issue, in force by consent, whole or not at all (UCP 600 article 10)."""

import msgspec
import pytest

from usance.domain.credit import amendment_messages as m
from usance.domain.credit import messages as cm
from usance.domain.credit.drawing_messages import CancelCredit, RespondToCancellation
from usance.domain.facility_messages import ReleaseReservation
from usance.domain.posting import LC_LIABILITY, balance_of
from usance.kernel.timers import TimerSet
from usance.kernel.undo import CommandUndone
from usance.kernel.words import Words
from usance.testing.spec import context_of
from usance.testing.trade import CHECKER, SYSTEM, amended, checked, drawing, issued, received


def _answer(answer="accept", party="beneficiary", number=1):
    return m.RespondToAmendment(amendment=number, party=party, answer=answer)


def _booked(stream):
    entries = [p for e in stream.events for p in getattr(e, "postings", [])]
    return balance_of(entries, "LC1", LC_LIABILITY)


def test_an_increase_binds_and_is_booked_at_issue_and_undone_when_rejected():
    stream = amended(issued(), increase=20_000_00).then(m.AmendmentIssued)
    assert _booked(stream) == stream.state.undrawn == 120_000_00
    assert stream.state.terms.amount == 100_000_00
    stream.when(_answer("reject"), SYSTEM).then(m.AmendmentRejected)
    stream.sends(ReleaseReservation(credit="LC1", remaining=100_000_00))
    assert _booked(stream) == stream.state.undrawn == 100_000_00


def test_a_decrease_is_booked_only_when_accepted():
    stream = amended(issued(), decrease=30_000_00)
    assert _booked(stream) == 100_000_00
    stream.when(_answer(), SYSTEM).then(m.AmendmentConsentGiven, m.AmendmentAccepted)
    stream.sends(ReleaseReservation(credit="LC1", remaining=70_000_00))
    assert _booked(stream) == stream.state.undrawn == 70_000_00
    assert (stream.state.terms.amount, stream.state.terms_version) == (70_000_00, 2)
    stream.when(_answer(), SYSTEM).nothing()


def test_an_amendment_needs_a_second_person_and_binds_its_content():
    stream = issued().when(m.RequestAmendment(amendment=1, changes=m.TermsChanges(increase=1)))
    line = stream.state.amendments[1]
    stream.when(m.IssueAmendment(amendment=1), SYSTEM).refused("NOT_IN_THIS_STATE", "UCP600-10")
    bound = m.ApproveAmendment(amendment=1, revision=line.revision, content_hash=line.content_hash)
    stream.when(bound, CHECKER).refused("IN_PROCESS")
    ask = m.RequestAmendmentApproval(amendment=1)
    stream.when(ask, SYSTEM).refused("IN_PROCESS")
    stream.when(checked(1), SYSTEM).then(cm.ComplianceCheckCompleted)
    stream.when(checked(1), SYSTEM).nothing()
    stream.when(bound, CHECKER).refused("NOT_IN_THIS_STATE")
    stream.when(ask, SYSTEM).then(m.AmendmentApprovalRequested).when(ask, SYSTEM).nothing()
    line = stream.state.amendments[1]
    assert line.revision == stream.revision
    bound = m.ApproveAmendment(amendment=1, revision=line.revision, content_hash=line.content_hash)
    stream.when(bound).refused("SELF_APPROVAL")
    stale = msgspec.structs.replace(bound, content_hash="0")
    stream.when(stale, CHECKER).refused("STALE_APPROVAL")
    stream.when(bound, CHECKER).then(m.AmendmentApproved)
    stream.when(bound, CHECKER).nothing()


def test_a_dropped_amendment_frees_its_number_and_an_issued_one_cannot_be_dropped():
    changes = m.TermsChanges(increase=1)
    stream = issued().when(m.RequestAmendment(amendment=1, changes=changes))
    stream.when(m.DropAmendment(amendment=1)).then(m.AmendmentDropped)
    amended(stream, increase=5_00).then(m.AmendmentIssued)
    stream.when(m.DropAmendment(amendment=1)).refused("NOT_IN_THIS_STATE")


def test_an_issue_that_never_left_the_bank_is_undone_and_its_booking_reversed():
    stream = amended(issued(), increase=20_000_00)
    assert _booked(stream) == 120_000_00
    stream.when(cm.NoteDelivery(message="LC1A1", result="sent"), SYSTEM)
    undo = m.VoidAmendment(amendment=1, undoes="issue-1")
    stream.when(undo, SYSTEM).refused("DELIVERY_IN_DOUBT", "UCP600-10b")
    stream.when(cm.NoteDelivery(message="LC1A1", result="naked", code="T27"), SYSTEM)
    stream.when(undo, SYSTEM).then(m.AmendmentVoided, CommandUndone)
    assert _booked(stream) == stream.state.undrawn == 100_000_00
    stream.when(undo, SYSTEM).nothing()
    amended(stream, 1, increase=5_00).then(m.AmendmentIssued)
    stream.when(cm.NoteDelivery(message="LC1A1", result="acked"), SYSTEM)
    stream.when(m.VoidAmendment(amendment=1), SYSTEM).refused("ALREADY_DELIVERED")


def test_an_issue_undone_before_it_arrived_is_refused_when_it_comes():
    stream = issued().when(m.RequestAmendment(amendment=1, changes=m.TermsChanges(increase=1)))
    stream.when(checked(1), SYSTEM).when(m.RequestAmendmentApproval(amendment=1), SYSTEM)
    line = stream.state.amendments[1]
    approve = m.ApproveAmendment(
        amendment=1, revision=line.revision, content_hash=line.content_hash
    )
    stream.when(approve, CHECKER)
    stream.when(m.VoidAmendment(amendment=1, undoes="late"), SYSTEM).then(CommandUndone)
    late = msgspec.structs.replace(
        context_of(stream.key, stream.revision, SYSTEM, stream.instant), command_id="late"
    )
    answer = stream.decider.decide(stream.state, m.IssueAmendment(amendment=1), late)
    assert answer.code == "UNDONE"
    stream.when(m.IssueAmendment(amendment=1), SYSTEM).then(m.AmendmentIssued)


def test_amendments_are_numbered_without_gaps_and_unknown_numbers_refused():
    stream = issued()
    changes = m.TermsChanges(increase=1)
    stream.when(m.RequestAmendment(amendment=2, changes=changes)).refused("AMENDMENT_NUMBER")
    stream.when(_answer(number=7)).refused("UNKNOWN_AMENDMENT")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"increase": 5, "decrease": 5}, "INCREASE_AND_DECREASE"),
        ({"decrease": 100_000_00}, "AMOUNT_OUT_OF_RANGE"),
        ({"expiry_date": "never"}, "EXPIRY_MISSING"),
        ({"tolerance_plus": 120}, "TERMS_OUT_OF_RANGE"),
    ],
)
def test_changes_that_leave_no_sound_terms_are_refused(changes, code):
    command = m.RequestAmendment(amendment=1, changes=m.TermsChanges(**changes))
    issued().when(command).refused(code)


def test_acceptance_in_part_rejects_the_whole():
    stream = amended(issued(), increase=1_00, latest_shipment="2027-02-20")
    stream.when(_answer("accept_in_part"), SYSTEM).then(m.AmendmentRejected)
    assert stream.decided[0].in_part
    assert stream.state.terms.latest_shipment == "2027-02-05"
    stream.when(_answer("accept"), SYSTEM).refused("NOT_IN_THIS_STATE")


def test_silence_and_other_words_are_no_answer():
    stream = amended(issued(), increase=1_00)
    stream.when(_answer("in force unless rejected")).refused("ANSWER_UNKNOWN", "UCP600-10c")
    stream.when(_answer(party="applicant")).refused("PARTY_UNKNOWN", "UCP600-10a")


def test_a_confirmed_credit_needs_the_confirmer_too():
    stream = amended(issued(confirmation="CONFIRM"), decrease=10_000_00)
    stream.when(_answer(), SYSTEM).then(m.AmendmentConsentGiven)
    assert stream.state.terms.amount == 100_000_00
    stream.when(_answer(), SYSTEM).nothing()
    stream.when(_answer("reject"), SYSTEM).refused("NOT_IN_THIS_STATE")
    confirmer = _answer(party="confirmer")
    stream.when(confirmer, SYSTEM).then(m.AmendmentConsentGiven, m.AmendmentAccepted)
    assert stream.state.terms.amount == 90_000_00


def test_an_extension_moves_the_expiry_as_soon_as_it_binds_and_back_when_rejected():
    stream = amended(issued(), expiry_date="2027-03-31")
    stream.then(m.AmendmentIssued, TimerSet)
    later = stream.decided[1].due
    stream.when(_answer("reject"), SYSTEM).then(m.AmendmentRejected, TimerSet)
    assert stream.decided[1].due < later


def test_two_pending_increases_are_booked_together_and_each_may_be_answered_alone():
    stream = amended(amended(issued(), 1, increase=10_000_00), 2, increase=5_000_00)
    assert _booked(stream) == 115_000_00
    stream.when(_answer("reject", number=1), SYSTEM)
    assert _booked(stream) == 105_000_00
    stream.when(_answer(number=2), SYSTEM)
    assert _booked(stream) == stream.state.terms.amount == 105_000_00


def test_a_drawing_shows_the_terms_of_each_pending_amendment_and_of_them_together():
    stream = amended(amended(issued(), 1, increase=10_000_00), 2, latest_shipment="2027-02-20")
    stream.when(drawing(), SYSTEM)
    pending = stream.decided[0].pending
    assert [p.amendments for p in pending] == [[1], [2], [1, 2]]
    assert [p.terms.amount for p in pending] == [110_000_00, 100_000_00, 110_000_00]
    assert pending[2].terms.latest_shipment == "2027-02-20"


def test_a_presentation_accepts_an_amendment_only_while_it_is_examined():
    stream = amended(issued(), decrease=10_000_00)
    deem = m.DeemAmendmentAccepted(amendment=1, presentation="P1")
    stream.when(deem, SYSTEM).refused("DRAWING_NOT_OPEN", "UCP600-10c")
    stream.when(drawing(), SYSTEM).when(deem, SYSTEM).then(m.AmendmentDeemedAccepted)
    assert stream.state.terms.amount == _booked(stream) == 90_000_00
    stream.when(deem, SYSTEM).nothing()
    stream.when(_answer("accept"), SYSTEM).nothing()
    stream.when(_answer("reject"), SYSTEM).refused("NOT_IN_THIS_STATE")


def test_delivery_of_an_amendment_leaves_the_delivery_of_the_issue_alone():
    stream = amended(issued(), increase=1_00)
    stream.when(cm.NoteDelivery(message="LC1A1", result="naked", code="C23"), SYSTEM)
    assert stream.state.delivery == "confirmed"
    assert stream.state.amendments[1].delivery == "failed"


def test_a_received_amendment_waits_for_the_beneficiary_and_books_nothing():
    stream = received().when(cm.AuthenticateCredit(method="fin"), SYSTEM)
    stream.when(cm.AddConfirmation(), CHECKER)
    arrives = m.ReceiveAmendment(
        amendment=1,
        changes=m.TermsChanges(increase=10_000_00),
        sender="EXPOHKHHXXX",
        sender_reference="HK123",
    )
    stream.when(arrives, SYSTEM).then(m.AmendmentReceived)
    assert stream.decided[0].consents == ["beneficiary", "confirmer"]
    stream.when(arrives, SYSTEM).nothing()
    other = msgspec.structs.replace(arrives, changes=m.TermsChanges(increase=1))
    stream.when(other, SYSTEM).refused("AMENDMENT_NUMBER")
    stream.when(_answer(), SYSTEM).refused("IN_PROCESS")
    stream.when(checked(1), SYSTEM)
    stream.when(_answer(), SYSTEM).when(_answer(party="confirmer"), CHECKER)
    assert stream.state.terms.amount == 110_000_00
    assert _booked(stream) == 0
    issued().when(arrives, SYSTEM).refused("NOT_IN_THIS_STATE")


def test_cancellation_needs_every_party_and_one_refusal_keeps_the_credit():
    stream = issued(confirmation="CONFIRM").when(CancelCredit(reason=Words(text="sold")))
    stream.when(RespondToCancellation(party="beneficiary", answer="accept"), SYSTEM)
    assert stream.state.state == "ISSUED"
    stream.when(RespondToCancellation(party="confirmer", answer="reject"), SYSTEM)
    stream.when(RespondToCancellation(party="beneficiary", answer="accept"), SYSTEM)
    stream.refused("NOT_IN_THIS_STATE", "UCP600-10a")
    stream.when(CancelCredit(reason=Words(text="again")))
    stream.when(RespondToCancellation(party="confirmer", answer="accept"), SYSTEM)
    stream.when(RespondToCancellation(party="beneficiary", answer="accept"), SYSTEM)
    assert stream.state.state == "CANCELLED"
    assert _booked(stream) == 0
    stream.sends(ReleaseReservation(credit="LC1", closed=True))
