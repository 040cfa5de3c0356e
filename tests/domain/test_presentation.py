"""A presentation from receipt to settlement or refusal (UCP 600 articles 14 to 16)."""

import msgspec
import pytest

from usance.domain.credit.amendment_messages import PendingTerms
from usance.domain.credit.messages import CompleteComplianceCheck, ComplianceCheckCompleted
from usance.domain.presentation import messages as m
from usance.domain.presentation.decider import PresentationDecider
from usance.domain.terms import Drawing, PresentedDocument, RequiredDocument
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import Erased, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet
from usance.kernel.words import Words
from usance.testing.spec import context_of, spec
from usance.testing.trade import (
    CHECKER,
    MAKER,
    MONDAY,
    PRESENTATION_KEY,
    SYSTEM,
    documents,
    terms,
)

THIRD = MAKER._replace(person="p-third", login="third")
NEXT_MONDAY_CLOSE = 1_796_662_800_000
"""7 December 2026, 17:00 in London: the close of the fifth banking day."""


def _received(actor=SYSTEM, **changes):
    stream = spec(PresentationDecider(), PRESENTATION_KEY, instant=MONDAY)
    return stream.when(documents(**changes), actor)


def _examination(available=100_000_00, pending=(), **changes):
    return m.ExaminePresentation(
        terms=terms(**changes),
        terms_version=1,
        drawing=Drawing(available=available, drawn=0),
        pending=list(pending),
    )


def _complying(actor=MAKER, **changes):
    return _received().when(_examination(**changes), actor)


def _discrepant(actor=MAKER):
    return _received().when(_examination(available=1_00), actor)


def _fires(stream, timer_id):
    due = TimerDue(timer_id=timer_id, due=stream.instant, reason="")
    return stream.when(due, SYSTEM)


def test_receipt_starts_the_clock_of_five_banking_days_with_two_warnings():
    stream = _received().then(m.PresentationReceived, TimerSet)
    event, first = stream.decided
    assert (event.presented, event.due, event.calendar) == (
        "2026-11-30",
        NEXT_MONDAY_CLOSE,
        "GBLON",
    )
    assert (first.timer_id, first.due) == ("escalate", NEXT_MONDAY_CLOSE - 4 * MS_PER_DAY)
    stream.when(documents(), SYSTEM).nothing()
    stream.when(documents(amount=1_00), SYSTEM).refused("PRESENTATION_EXISTS")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"presentation": "P2"}, "WRONG_KEY"),
        ({"credit": ""}, "CREDIT_MISSING"),
        ({"role": "applicant"}, "ROLE_UNKNOWN"),
        ({"currency": "ABC"}, "CURRENCY_UNKNOWN"),
        ({"presented_at": MONDAY + 1}, "PRESENTED_IN_FUTURE"),
        ({"presented_at": -(10**18)}, "PRESENTED_IN_FUTURE"),
    ],
)
def test_documents_that_cannot_be_placed_are_refused(changes, code):
    _received(**changes).refused(code)


def test_complying_documents_are_honoured_by_a_second_person():
    stream = _complying()
    assert stream.decided[-1].complies
    stream.when(m.HonourPresentation(), MAKER).refused("SELF_APPROVAL")
    stream.when(m.HonourPresentation(), SYSTEM).refused("NEEDS_A_PERSON")
    stream.when(m.HonourPresentation(), CHECKER)
    stream.then(m.PresentationHonoured, TimerCancelled)
    assert (stream.decided[0].basis, stream.decided[0].amount) == ("complying", 60_000_00)
    stream.when(m.HonourPresentation(), CHECKER).nothing()
    stream.when(m.SettlePresentation(reference="PAY1"), CHECKER).refused("IN_PROCESS")
    stream.when(CompleteComplianceCheck(), SYSTEM).then(ComplianceCheckCompleted)
    stream.when(CompleteComplianceCheck(), SYSTEM).nothing()
    stream.when(m.SettlePresentation(reference="PAY1"), SYSTEM).then(m.PresentationSettled)
    stream.when(m.SettlePresentation(reference="PAY1"), SYSTEM).nothing()


def test_where_only_rules_examined_one_person_proposes_and_another_honours():
    stream = _complying(actor=SYSTEM)
    stream.when(m.HonourPresentation(), MAKER).then(m.TakeUpProposed)
    stream.when(m.HonourPresentation(), MAKER).refused("SELF_APPROVAL")
    stream.when(m.HonourPresentation(), CHECKER)
    assert stream.state.state == "HONOURED"


def test_whoever_entered_the_documents_does_not_honour_them():
    stream = _received(actor=CHECKER).when(_examination(), SYSTEM)
    stream.when(m.HonourPresentation(), CHECKER).refused("SELF_APPROVAL")
    stream.when(m.HonourPresentation(), THIRD)
    assert stream.state.state == "HONOURED"


def test_discrepancies_are_raised_one_by_one_and_forbid_taking_up():
    stream = _discrepant()
    raised = [e for e in stream.decided if isinstance(e, m.DiscrepancyRaised)]
    assert [e.finding.rule for e in raised] == ["EX-09", "EX-20"]
    assert stream.decided[-1].discrepancies == 2
    stream.when(m.HonourPresentation(), CHECKER).refused("NOT_IN_THIS_STATE", "UCP600-15")
    stream.when(_examination(available=1_00), MAKER).nothing()


def test_an_examiner_sees_what_rules_cannot_and_becomes_the_first_signature():
    stream = _complying(actor=SYSTEM)
    seen = m.RaiseDiscrepancy(
        article="UCP600-18c", explanation=Words(text="Goods: PINE instead of TEAK.")
    )
    stream.when(seen, MAKER).then(m.DiscrepancyRaised)
    stream.when(seen, MAKER).nothing()
    stream.when(m.RaiseDiscrepancy(article="", explanation=Words(text=" "))).refused(
        "DISCREPANCY_UNEXPLAINED"
    )
    assert stream.state.state == "DISCREPANT"
    stream.when(m.RecordWaiver(waived=True), SYSTEM)
    stream.when(m.HonourPresentation(), MAKER).refused("SELF_APPROVAL")


def test_a_notice_states_every_discrepancy_with_a_disposal_and_is_given_once():
    stream = _discrepant()
    stream.when(m.RefusePresentation(disposal="KEEP")).refused("REFUSAL_WITHOUT_DISPOSAL")
    stream.when(m.RefusePresentation(disposal="HOLD"))
    stream.then(m.PresentationRefused, TimerCancelled)
    assert len(stream.decided[0].discrepancies.sentences) == 2
    stream.when(m.RefusePresentation(disposal="HOLD")).nothing()
    stream.when(m.RefusePresentation(disposal="RETURN")).refused("REFUSAL_ALREADY_GIVEN")
    stream.when(m.ReturnDocuments(courier="DHL 1")).then(m.DocumentsReturned)
    stream.when(m.ReturnDocuments(courier="DHL 1")).nothing()


def test_complying_documents_cannot_be_refused():
    refuse = m.RefusePresentation(disposal="RETURN")
    _complying().when(refuse).refused("NOT_IN_THIS_STATE", "UCP600-16a")
    _received().when(refuse).refused("NOT_IN_THIS_STATE", "UCP600-16a")


def test_a_notice_is_in_time_at_the_close_and_precluded_a_moment_later():
    refuse = m.RefusePresentation(disposal="HOLD")
    _discrepant().at(NEXT_MONDAY_CLOSE).when(refuse)
    late = _discrepant().at(NEXT_MONDAY_CLOSE + 1).when(refuse)
    late.refused("PRECLUDED", "UCP600-16f")


def test_a_missed_deadline_precludes_and_the_bank_must_honour():
    stream = _discrepant().at(NEXT_MONDAY_CLOSE)
    _fires(stream, "deadline").then(m.PresentationPrecluded(due=NEXT_MONDAY_CLOSE))
    stream.when(m.RefusePresentation(disposal="HOLD")).refused("PRECLUDED", "UCP600-16f")
    stream.when(m.SeekWaiver()).refused("PRECLUDED")
    stream.when(m.WithdrawPresentation()).refused("NOT_IN_THIS_STATE")
    stream.when(m.HonourPresentation(), CHECKER)
    assert stream.decided[0].basis == "precluded"


def test_documents_never_examined_in_time_are_still_honoured_after_finding_how():
    stream = _fires(_received().at(NEXT_MONDAY_CLOSE), "deadline")
    stream.when(m.HonourPresentation(), CHECKER).refused("NOT_EXAMINED")
    stream.when(_examination(available=1_00), MAKER)
    assert stream.state.state == "PRECLUDED"
    stream.when(m.HonourPresentation(), CHECKER)
    assert stream.state.state == "HONOURED"


def test_each_warning_arms_the_next_one_up_to_the_deadline_fixed_at_receipt():
    stream = _fires(_received(), "escalate").then(m.PresentationEscalated, TimerSet)
    draft = stream.decided[1]
    assert (draft.timer_id, draft.due) == ("draft", NEXT_MONDAY_CLOSE - 3 * MS_PER_DAY)
    stream = _fires(stream, "draft").then(m.PresentationEscalated, TimerSet)
    last = stream.decided[1]
    assert (last.timer_id, last.due, last.calendar) == ("deadline", stream.state.due, "GBLON")
    _fires(stream, "deadline").then(m.PresentationPrecluded(due=NEXT_MONDAY_CLOSE))


def test_a_warning_that_a_newer_calendar_moves_past_the_deadline_gives_way_to_it():
    stream = _received()
    stream.state = msgspec.structs.replace(stream.state, due=NEXT_MONDAY_CLOSE - 3 * MS_PER_DAY)
    _fires(stream, "escalate").then(m.PresentationEscalated, TimerSet)
    assert (stream.decided[1].timer_id, stream.decided[1].due) == ("deadline", stream.state.due)


def test_warnings_draft_the_notice_and_fall_silent_after_the_decision():
    stream = _fires(_discrepant(), "draft").then(m.PresentationEscalated, TimerSet)
    assert (stream.decided[0].level, len(stream.decided[0].draft.sentences)) == ("one_day", 2)
    _fires(stream, "escalate").then(m.PresentationEscalated, TimerSet)
    stream.when(m.RefusePresentation(disposal="NOTIFY"))
    for timer in ("escalate", "draft", "deadline"):
        _fires(stream, timer).nothing()


def test_a_nominated_bank_that_is_late_is_not_bound_to_honour():
    stream = _received(role="nominated").at(NEXT_MONDAY_CLOSE)
    assert _fires(stream, "deadline").decided[0].level == "overdue"
    assert stream.state.state == "RECEIVED"


def test_documents_promised_back_and_not_sent_are_noticed():
    stream = _discrepant().when(m.RefusePresentation(disposal="RETURN"))
    assert stream.decided[-1].timer_id == "return"
    assert _fires(stream, "return").decided[0].level == "return_overdue"
    stream.when(m.ReturnDocuments())
    _fires(stream, "return").nothing()


def test_a_waiver_lets_the_bank_take_up_but_it_may_still_refuse():
    stream = _discrepant().when(m.SeekWaiver()).then(m.WaiverSought(discrepancies=2))
    stream.when(m.SeekWaiver()).nothing()
    stream.when(m.RecordWaiver(waived=True, reference="W1"), SYSTEM).then(m.DiscrepanciesWaived)
    assert stream.state.timers == ("escalate",)
    stream.when(m.HonourPresentation(), CHECKER)
    assert stream.decided[0].basis == "waived"
    other = _discrepant().when(m.RecordWaiver(waived=True), SYSTEM)
    other.when(m.RefusePresentation(disposal="HOLD"))
    assert other.state.state == "REFUSED"


def test_a_declined_waiver_leaves_refusal_as_the_way_and_a_late_waiver_still_counts():
    stream = _discrepant().when(m.SeekWaiver()).when(m.RecordWaiver(waived=False), SYSTEM)
    stream.when(m.HonourPresentation(), CHECKER).refused("NOT_IN_THIS_STATE")
    stream.when(m.RefusePresentation(disposal="NOTIFY"))
    stream.when(m.RecordWaiver(waived=True), SYSTEM).then(m.DiscrepanciesWaived)
    stream.at(NEXT_MONDAY_CLOSE + MS_PER_DAY).when(m.HonourPresentation(), CHECKER)
    assert stream.state.state == "HONOURED"


def test_a_nominated_bank_refers_and_takes_up_with_authority():
    stream = _received(role="nominated").when(_examination(available=1_00), MAKER)
    stream.when(m.SeekWaiver()).refused("NOT_IN_THIS_STATE", "UCP600-16b")
    stream.when(m.ReferDiscrepancies(message="M1")).then(m.DiscrepanciesReferred)
    stream.when(m.AuthoriseTakeUp(reference="752-1"), SYSTEM).then(m.TakeUpAuthorised)
    stream.when(m.HonourPresentation(), CHECKER)
    assert stream.decided[0].basis == "authorised"


def test_an_issuing_bank_gives_authority_by_a_second_person():
    stream = _discrepant()
    stream.when(m.ReferDiscrepancies()).refused("NOT_IN_THIS_STATE", "UCP600-16a")
    stream.when(m.AuthoriseTakeUp(), MAKER).refused("SELF_APPROVAL")
    stream.when(m.AuthoriseTakeUp(), CHECKER).then(m.TakeUpAuthorised)


def test_a_discrepancy_found_after_the_waiver_needs_a_new_one():
    stream = _discrepant().when(m.RecordWaiver(waived=True), SYSTEM)
    stream.when(
        m.RaiseDiscrepancy(article="UCP600-14d", explanation=Words(text="Weights conflict."))
    )
    stream.when(m.HonourPresentation(), CHECKER).refused("NOT_IN_THIS_STATE")


@pytest.mark.parametrize(
    ("role", "by", "tenor", "allowed"),
    [
        ("issuing", "sight", 0, m.HonourPresentation),
        ("issuing", "acceptance", 90, m.AcceptDraft),
        ("issuing", "deferred", 90, m.IncurDeferred),
        ("issuing", "negotiation", 0, m.HonourPresentation),
        ("confirming", "negotiation", 0, m.NegotiatePresentation),
    ],
)
def test_taking_up_matches_field_41a_and_the_role(role, by, tenor, allowed):
    ways = (m.HonourPresentation, m.AcceptDraft, m.IncurDeferred, m.NegotiatePresentation)
    exam = _examination(available_by=by, tenor_days=tenor, tenor_from="sight" if tenor else "")
    for way in ways:
        stream = _received(role=role).when(exam, MAKER).when(way(), CHECKER)
        refused = isinstance(stream.answer, Refusal)
        assert refused == (way is not allowed)
        if refused:
            stream.refused("AVAILABILITY_DIFFERS", "UCP600-6b,7a,8a")


def test_a_check_that_holds_the_settlement_stops_no_legal_clock():
    stream = _discrepant()
    assert not stream.state.checked
    assert "escalate" in stream.state.timers
    _fires(stream, "deadline").then(m.PresentationPrecluded)
    stream.when(m.HonourPresentation(), CHECKER)
    stream.when(m.SettlePresentation(reference="X"), CHECKER).refused("IN_PROCESS")


def test_a_tenor_after_sight_runs_from_presentation_and_matures_on_a_banking_day():
    stream = _complying(available_by="acceptance", tenor_days=26, tenor_from="sight")
    stream.when(m.AcceptDraft(), CHECKER)
    event = stream.decided[0]
    assert event.maturity == "2026-12-29"  # the 26th to the 28th are closed in London
    assert stream.state.timers == ("maturity",)
    stream.when(m.SettlePresentation(), SYSTEM).refused("NOT_IN_THIS_STATE")
    _fires(stream, "maturity").then(m.MaturityReached)
    _fires(stream, "maturity").nothing()
    stream.when(CompleteComplianceCheck(), SYSTEM)
    stream.when(m.SettlePresentation(), SYSTEM).then(m.PresentationSettled, TimerCancelled)


def test_a_tenor_whose_base_no_document_shows_has_no_maturity():
    stream = _complying(available_by="deferred", tenor_days=30, tenor_from="bl_date")
    stream.when(m.IncurDeferred(), CHECKER).refused("MATURITY_UNKNOWN")
    shown = _complying(available_by="deferred", tenor_days=30, tenor_from="invoice_date")
    shown.when(m.IncurDeferred(), CHECKER)
    assert shown.decided[0].maturity == "2026-12-21"  # the 20th is a Sunday


def test_a_presentation_accepts_the_pending_amendment_under_which_alone_it_complies():
    asked = [RequiredDocument(kind="invoice"), RequiredDocument(kind="packing_list")]
    eased = [RequiredDocument(kind="invoice")]
    pending = [
        PendingTerms(amendments=[1], terms=terms(required_documents=asked, amount=110_000_00)),
        PendingTerms(amendments=[2], terms=terms(required_documents=eased)),
    ]
    exam = _examination(pending=pending, required_documents=asked)
    stream = _received().when(exam, SYSTEM).then(m.ExaminationCompleted)
    assert (stream.decided[0].complies, stream.decided[0].deemed) == (True, [2])
    verdicts = {f.rule: f.verdict for f in stream.decided[0].findings}
    assert verdicts["EX-04"] == verdicts["EX-59"] == "only_amended"
    plain = _received().when(_examination(pending=pending), SYSTEM)
    assert plain.decided[0].deemed == []


def test_terms_that_no_reckoning_bears_are_refused_not_raised():
    _received().when(_examination(presentation_days=10**9)).refused("TERMS_OUT_OF_RANGE")


def test_a_presenter_may_withdraw_until_the_decision():
    stream = _received().when(m.WithdrawPresentation(reason=Words(text="asked")), SYSTEM)
    stream.then(m.PresentationWithdrawn, TimerCancelled)
    stream.when(m.WithdrawPresentation(), SYSTEM).nothing()
    stream.when(_examination(), SYSTEM).refused("NOT_IN_THIS_STATE")


def test_a_decided_presentation_keeps_no_documents_in_memory():
    stream = _complying().when(m.HonourPresentation(), CHECKER)
    assert stream.state.documents == []
    assert len(msgspec.msgpack.encode(stream.state)) < 1000


def test_commands_on_unknown_documents_say_so():
    stream = spec(PresentationDecider(), PRESENTATION_KEY)
    stream.when(m.SeekWaiver()).refused("UNKNOWN_PRESENTATION")
    stream.when("no command").refused("UNKNOWN_COMMAND")
    assert context_of(PRESENTATION_KEY, 0, MAKER, 0).tenant == "albion"


NAMED = {
    "presenter": "THORNE VALLEY FOODS PLC",
    "documents": [
        PresentedDocument(kind="invoice", reference="7"),
        PresentedDocument(kind="draft", drawee="QUILLON MARINE SUPPLIES LTD"),
        PresentedDocument(kind="draft", drawee="MERLSGSGXXX"),
    ],
}


def test_a_presenter_and_a_drawee_that_are_no_banks_stand_in_the_private_block():
    """Decided so from whatever command: an older program wrote names among the codes."""
    stream = _received(**NAMED)
    event = stream.decided[0]
    clear = msgspec.json.encode(msgspec.structs.replace(event, names=None))
    assert b"THORNE" not in clear and b"QUILLON" not in clear and b"MERLSGSGXXX" in clear
    assert event.presented_by() == "THORNE VALLEY FOODS PLC"
    assert event.names.subject == event.credit
    # Rules see drawees as they were presented.
    drawees = ["", "QUILLON MARINE SUPPLIES LTD", "MERLSGSGXXX"]
    assert [d.drawee for d in stream.state.documents] == drawees
    assert [d.drawee for d in event.whole()] == drawees
    stream.when(documents(**NAMED).apart(), SYSTEM).nothing()  # the same again, by whoever wrote it


def test_a_bank_that_presents_stands_in_clear_and_an_older_event_says_who_it_was():
    event = _received().decided[0]
    assert event.names is None and event.presented_by() == event.presenter
    older = msgspec.structs.replace(event, presenter="THORNE VALLEY FOODS PLC")
    assert older.presented_by() == "THORNE VALLEY FOODS PLC" and older.whole() == older.documents


def test_erased_names_are_told_as_erased_and_drawees_stay_away():
    event = _received(**NAMED).decided[0]
    gone = msgspec.structs.replace(event, names=Erased("names", "LC1", bytes(16), 5, "certificate"))
    assert gone.presented_by() == "[erased]"
    assert [d.drawee for d in gone.whole()] == ["", "", "MERLSGSGXXX"]


@pytest.mark.parametrize("drawees", [[], ["X"], ["", "A NAME", "", "", "TOO MANY"]])
def test_names_that_do_not_fit_the_documents_stop_nothing(drawees):
    names = m.PresentedNames(subject="LC1", presenter="A NAME", drawees=drawees)
    stream = _received(presenter="", names=names)
    assert stream.state.state == "RECEIVED"


@pytest.mark.parametrize(
    ("drawee", "complies"), [("QUILLON MARINE SUPPLIES LTD", True), ("MERLSGSGXXX", False)]
)
def test_a_draft_on_the_applicant_is_known_by_being_on_no_bank(drawee, complies):
    """The credit says that word alone: whose name it is stands sealed."""
    given = [PresentedDocument(kind="draft", drawee=drawee)]
    exam = _examination(draft_on="APPLICANT", required_documents=[])
    stream = _received(documents=given).when(exam, SYSTEM)
    raised = {e.finding.rule for e in stream.decided if isinstance(e, m.DiscrepancyRaised)}
    assert ("EX-13" not in raised) is complies
