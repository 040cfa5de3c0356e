"""Drawings on the balance, expiry and close."""

import msgspec
import pytest

from usance.domain.credit import drawing_messages as m
from usance.domain.facility_messages import ReleaseMargin, ReleaseReservation
from usance.domain.posting import open_accounts, unbalanced_journals
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.timers import TimerCancelled, TimerDue, TimerFired, TimerSet
from usance.testing.spec import context_of
from usance.testing.trade import SYSTEM, amended, drawing, issued, received, submitted

EXPIRED_AT = 1_803_657_600_000
"""Midnight in Singapore after 26 February 2027."""


def _postings(stream):
    return [p for e in stream.events for p in getattr(e, "postings", [])]


def _honour(amount=60_000_00, method="sight", presentation="P1", **more):
    return m.HonourDrawing(presentation=presentation, method=method, amount=amount, **more)


def test_a_drawing_shows_what_was_available_before_it_and_over_drawing_is_marked():
    stream = issued(has_tolerance=True, tolerance_plus=10).when(drawing(), SYSTEM)
    first = stream.decided[0]
    assert (first.available, first.drawn, first.over_drawn) == (110_000_00, 0, False)
    stream.when(drawing(50_000_01, "P2"), SYSTEM)
    second = stream.decided[0]
    assert (second.available, second.drawn, second.over_drawn) == (50_000_00, 60_000_00, True)
    stream.when(drawing(presentation="P1"), SYSTEM).nothing()


def test_a_claim_in_another_currency_takes_nothing_of_the_balance_and_cannot_be_honoured():
    stream = issued().when(drawing(currency="EUR"), SYSTEM)
    assert stream.decided[0].over_drawn
    assert stream.state.claimed == 0
    stream.when(_honour(), SYSTEM).refused("AMOUNT_EXCEEDS_CLAIM")


def test_a_sight_drawing_is_paid_from_margin_first_and_lowers_the_exposure():
    stream = issued(margin_percent=20).when(drawing(), SYSTEM).when(_honour(), SYSTEM)
    event = stream.decided[0]
    assert (event.from_margin, event.fully_drawn) == (20_000_00, False)
    stream.sends(ReleaseReservation(credit="LC1", remaining=40_000_00), ReleaseMargin(credit="LC1"))
    assert (stream.state.state, stream.state.undrawn) == ("PARTLY_DRAWN", 40_000_00)
    stream.when(_honour(), SYSTEM).nothing()


def test_no_more_than_the_claim_is_honoured_and_a_released_claim_not_at_all():
    stream = issued().when(drawing(), SYSTEM)
    stream.when(_honour(60_000_01), SYSTEM).refused("AMOUNT_EXCEEDS_CLAIM")
    stream.when(_honour(method="gift"), SYSTEM).refused("METHOD_UNKNOWN")
    stream.when(_honour(method="deferred"), SYSTEM).refused("MATURITY_MISSING")
    stream.when(m.ReleaseDrawing(presentation="P1"), SYSTEM).then(m.DrawingReleased)
    stream.when(m.ReleaseDrawing(presentation="P1"), SYSTEM).nothing()
    stream.when(_honour(), SYSTEM).refused("NOT_IN_THIS_STATE")
    assert stream.state.claimed == 0
    stream.when(drawing(), SYSTEM).then(m.DrawingRegistered)
    stream.when(_honour(), SYSTEM).then(m.DrawingHonoured)
    stream.when(m.ReleaseDrawing(presentation="P1"), SYSTEM).refused("NOT_IN_THIS_STATE")


def test_an_acceptance_is_owed_until_maturity_and_then_paid_with_the_margin():
    stream = issued(margin_percent=10).when(drawing(100_000_00), SYSTEM)
    stream.when(_honour(100_000_00, "acceptance", maturity="2027-04-12"), SYSTEM)
    assert (stream.state.owed, stream.state.undrawn) == (100_000_00, 0)
    assert stream.state.state == "FULLY_DRAWN"
    stream.when(m.CloseCredit()).refused("DRAWING_OPEN")
    stream.when(m.SettleDrawing(presentation="P1"), SYSTEM).then(m.DrawingSettled)
    assert stream.decided[0].from_margin == 10_000_00
    stream.sends(ReleaseReservation(credit="LC1", closed=False), ReleaseMargin(credit="LC1"))
    stream.when(m.SettleDrawing(presentation="P1"), SYSTEM).nothing()
    stream.when(m.CloseCredit()).then(m.CreditClosed, TimerCancelled)
    assert open_accounts(_postings(stream), "LC1") == {}
    assert unbalanced_journals(_postings(stream)) == []


def test_one_drawing_completes_a_credit_that_bars_partial_shipments():
    stream = issued(partial_shipments="NOT ALLOWED").when(drawing(98_000_00), SYSTEM)
    stream.when(_honour(98_000_00), SYSTEM)
    assert stream.state.state == "FULLY_DRAWN"
    stream.when(m.CloseCredit()).then(m.CreditClosed, TimerCancelled)
    assert open_accounts(_postings(stream), "LC1") == {}


def test_a_waived_over_drawing_never_takes_the_liability_below_zero():
    stream = issued().when(drawing(130_000_00), SYSTEM).when(_honour(130_000_00), SYSTEM)
    assert stream.state.undrawn == 0
    stream.when(m.CloseCredit())
    assert open_accounts(_postings(stream), "LC1") == {}


def test_an_amendment_revives_a_drawn_credit():
    stream = issued().when(drawing(100_000_00), SYSTEM).when(_honour(100_000_00), SYSTEM)
    amended(stream, increase=10_000_00)
    assert stream.state.undrawn == 10_000_00
    stream.when(m.CloseCredit()).refused("DRAWING_OPEN")


def test_a_credit_expires_after_its_rolled_last_day_and_never_before():
    stream = issued()
    stream.at(EXPIRED_AT - 1).when(m.ExpireCredit()).refused("NOT_YET_EXPIRED", "UCP600-6d-i,29")
    stream.at(EXPIRED_AT).when(m.ExpireCredit()).then(m.CreditExpired, TimerSet)
    stream.when(m.ExpireCredit()).nothing()
    sunday = issued(expiry_date="2027-02-28").at(EXPIRED_AT + 2 * MS_PER_DAY)
    sunday.when(m.ExpireCredit()).refused("NOT_YET_EXPIRED")


def test_an_unexpired_credit_cannot_be_closed_over_the_beneficiary():
    issued().when(m.CloseCredit()).refused("NOT_IN_THIS_STATE", "UCP600-10a")
    submitted().when(m.CloseCredit()).refused("NOT_IN_THIS_STATE")


def _fires(stream, timer_id, instant):
    """Fire as the owner does: the timer's own event stands first."""
    stream.at(instant)
    due = TimerDue(timer_id=timer_id, due=instant, reason="")
    answer = stream.decider.decide(stream.state, due, _context(stream))
    fired = TimerFired(timer_id=timer_id, due=instant, late=0)
    return stream.given(fired, *answer.events), answer.events


def _context(stream):
    return context_of(stream.key, stream.revision, SYSTEM, stream.instant)


def test_the_clock_expires_then_closes_and_everything_is_zero():
    stream, events = _fires(issued(margin_percent=10), "expiry", EXPIRED_AT)
    assert [type(e) for e in events] == [m.CreditExpired, TimerSet]
    stream, events = _fires(stream, "close", events[1].due)
    assert [type(e) for e in events] == [m.CreditClosed]
    assert {p.journal for p in events[0].postings} == {f"LC1#{stream.revision}"}
    assert open_accounts(_postings(stream), "LC1") == {}
    assert stream.state.timers == ()


def test_a_timely_presentation_holds_the_expiry_and_a_late_one_does_not():
    held = issued().when(drawing(presented="2027-02-26"), SYSTEM)
    held.at(EXPIRED_AT).when(m.ExpireCredit()).refused("DRAWING_OPEN")
    held, events = _fires(held, "expiry", EXPIRED_AT)
    assert [type(e) for e in events] == [TimerSet]
    assert events[0].due > EXPIRED_AT
    late = issued().when(drawing(presented="2027-02-27"), SYSTEM).at(EXPIRED_AT)
    late.when(m.ExpireCredit()).then(m.CreditExpired, TimerSet)


def test_claims_under_a_closed_credit_are_registered_for_a_notice_but_never_honoured():
    stream, events = _fires(issued(), "expiry", EXPIRED_AT)
    stream, _ = _fires(stream, "close", events[1].due)
    stream.when(drawing(presented="2027-03-30"), SYSTEM)
    event = stream.decided[0]
    assert (event.available, event.over_drawn) == (0, True)
    stream.when(_honour(), SYSTEM).refused("CREDIT_CLOSED")


def test_closing_waits_while_an_acceptance_is_unpaid():
    stream = issued().when(drawing(), SYSTEM)
    stream.when(_honour(method="deferred", maturity="2027-06-01"), SYSTEM)
    stream, events = _fires(stream, "expiry", EXPIRED_AT)
    stream, events = _fires(stream, "close", events[1].due)
    assert [type(e) for e in events] == [TimerSet]
    assert stream.state.state == "EXPIRED"


def test_drawings_need_a_credit_that_was_issued_or_advised():
    submitted().when(drawing()).refused("NOT_IN_THIS_STATE")
    received().when(drawing()).refused("NOT_IN_THIS_STATE")
    issued().when(m.HonourDrawing(presentation="P9", method="sight", amount=1)).refused(
        "UNKNOWN_DRAWING"
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 0}, "AMOUNT_OUT_OF_RANGE"),
        ({"currency": "XXX"}, "CURRENCY_UNKNOWN"),
        ({"presented": "today"}, "PRESENTED_UNREADABLE"),
    ],
)
def test_a_claim_without_money_or_date_is_refused(change, code):
    issued().when(msgspec.structs.replace(drawing(), **change)).refused(code)
