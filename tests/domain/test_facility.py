"""A facility: limits reserved once, never beyond, and given back."""

import msgspec
import pytest

from usance.domain import facility_messages as m
from usance.domain.facility import FacilityDecider
from usance.domain.posting import EARMARK, balance_of
from usance.kernel.undo import CommandUndone
from usance.testing.spec import context_of, spec
from usance.testing.trade import SYSTEM

GRANT = m.SetFacility(
    facility="F1",
    customer="party-1",
    currency="USD",
    limit=1_000,
    expiry="2026-12-31",
    margin_account="GB-1",
)


def _granted():
    return spec(FacilityDecider(), "albion/facility/F1").when(GRANT).then(m.FacilitySet)


def _reserve(credit="LC1", amount=600, currency="USD"):
    return m.ReserveLimit(credit=credit, currency=currency, amount=amount)


def _earmarked(stream, credit="LC1"):
    entries = [p for e in stream.events for p in getattr(e, "postings", [])]
    return balance_of(entries, credit, EARMARK)


def test_two_credits_never_share_the_same_money():
    stream = _granted().when(_reserve(), SYSTEM).then(m.LimitReserved)
    assert stream.decided[0].available == 400
    stream.when(_reserve("LC2", 401), SYSTEM).refused("LIMIT_EXCEEDED")
    stream.when(_reserve("LC2", 400), SYSTEM).then(m.LimitReserved)
    assert (stream.state.available, _earmarked(stream)) == (0, 600)


def test_a_reservation_is_made_once_per_credit():
    stream = _granted().when(_reserve(), SYSTEM)
    stream.when(_reserve(), SYSTEM).nothing()
    stream.when(_reserve(amount=601), SYSTEM).refused("RESERVATION_DIFFERS")
    stream.when(m.ConsumeReservation(credit="LC1"), SYSTEM).then(m.ReservationConsumed)
    stream.when(m.ConsumeReservation(credit="LC1"), SYSTEM).nothing()
    stream.when(m.ConsumeReservation(credit="LC9"), SYSTEM).refused("NOT_RESERVED")


def _more(amendment=1, amount=300):
    return m.IncreaseReservation(credit="LC1", amendment=amendment, currency="USD", amount=amount)


def test_an_amendment_reserves_what_it_adds_within_the_limit_and_joins_the_credit_when_issued():
    stream = _granted().when(_reserve(), SYSTEM).when(m.ConsumeReservation(credit="LC1"), SYSTEM)
    stream.when(_more(), SYSTEM).then(m.ReservationIncreased)
    assert (stream.decided[0].available, _earmarked(stream)) == (100, 900)
    stream.when(_more(), SYSTEM).nothing()
    stream.when(_more(amount=301), SYSTEM).refused("RESERVATION_DIFFERS")
    stream.when(_more(2, 101), SYSTEM).refused("LIMIT_EXCEEDED")
    stream.when(_more(2, 100), SYSTEM).then(m.ReservationIncreased)
    issued = m.ConsumeReservation(credit="LC1", amendment=1)
    stream.when(issued, SYSTEM).then(m.ReservationConsumed)
    stream.when(issued, SYSTEM).nothing()
    line = stream.state.credits["LC1"]
    assert (line.amount, line.increases, _earmarked(stream)) == (900, {2: 100}, 1_000)


def test_what_a_drawing_gives_back_leaves_what_an_amendment_reserved():
    stream = _granted().when(_reserve(), SYSTEM).when(_more(), SYSTEM)
    stream.when(m.ReleaseReservation(credit="LC1"), SYSTEM).then(m.ReservationReleased)
    assert (stream.state.reserved, _earmarked(stream)) == (300, 300)
    stream.when(m.ReleaseIncrease(credit="LC1", amendment=1), SYSTEM).then(m.ReservationReleased)
    stream.when(m.ReleaseIncrease(credit="LC1", amendment=1), SYSTEM).nothing()
    assert (stream.state.credits, stream.state.reserved, _earmarked(stream)) == ({}, 0, 0)


def test_the_end_of_a_credit_gives_back_what_its_amendments_reserved():
    stream = _granted().when(_reserve(), SYSTEM).when(_more(), SYSTEM).when(_more(2, 50), SYSTEM)
    stream.when(m.ReleaseReservation(credit="LC1", closed=True), SYSTEM)
    assert (stream.state.credits, stream.state.available, _earmarked(stream)) == ({}, 1_000, 0)


def test_a_reservation_that_was_undone_before_it_arrived_is_refused_when_it_comes():
    stream = _granted()
    undo = m.ReleaseReservation(credit="LC1", undoes="reserve-1")
    stream.when(undo, SYSTEM).then(CommandUndone).when(undo, SYSTEM).nothing()
    late = msgspec.structs.replace(
        context_of(stream.key, stream.revision, SYSTEM, stream.instant), command_id="reserve-1"
    )
    answer = stream.decider.decide(stream.state, _reserve(), late)
    assert (answer.code, bool(answer.hint)) == ("UNDONE", True)
    stream.when(_reserve(), SYSTEM).then(m.LimitReserved)  # another command is another matter


def test_releasing_to_what_is_left_is_safe_to_repeat_and_forgets_the_credit_at_zero():
    stream = _granted().when(_reserve(), SYSTEM)
    stream.when(m.ReleaseReservation(credit="LC1", remaining=200), SYSTEM)
    assert (stream.decided[0].amount, stream.state.available) == (400, 800)
    stream.when(m.ReleaseReservation(credit="LC1", remaining=200), SYSTEM).nothing()
    stream.when(m.ReleaseReservation(credit="LC1"), SYSTEM).then(m.ReservationReleased)
    stream.when(m.ReleaseReservation(credit="LC1"), SYSTEM).nothing()
    assert (stream.state.credits, stream.state.reserved, _earmarked(stream)) == ({}, 0, 0)


def test_margin_is_held_on_the_named_account_and_released_in_parts():
    hold = m.HoldMargin(credit="LC1", currency="USD", amount=60)
    stream = _granted().when(hold, SYSTEM).refused("NOT_RESERVED")
    stream.when(_reserve(), SYSTEM).when(hold, SYSTEM).then(m.MarginHeld)
    assert stream.decided[0].account == "GB-1"
    stream.when(hold, SYSTEM).nothing()
    stream.when(m.ReleaseMargin(credit="LC1", remaining=10), SYSTEM).then(m.MarginReleased)
    assert stream.state.credits["LC1"].margin == 10
    stream.when(m.ReleaseMargin(credit="LC1"), SYSTEM).then(m.MarginReleased)
    stream.when(m.ReleaseMargin(credit="LC1"), SYSTEM).nothing()


def test_margin_needs_an_account():
    stream = spec(FacilityDecider(), "albion/facility/F1")
    stream.when(msgspec.structs.replace(GRANT, margin_account="")).when(_reserve(), SYSTEM)
    stream.when(m.HoldMargin(credit="LC1", currency="USD", amount=1)).refused("NO_MARGIN_ACCOUNT")


@pytest.mark.parametrize(
    "command",
    [
        _reserve(currency="EUR"),
        m.IncreaseReservation(credit="LC1", amendment=1, currency="EUR", amount=1),
        m.HoldMargin(credit="LC1", currency="EUR", amount=1),
    ],
)
def test_another_currency_is_refused(command):
    _granted().when(command, SYSTEM).refused("CURRENCY_MISMATCH")


def test_an_expired_facility_reserves_nothing_from_the_day_after():
    last_moment = 1_798_761_599_999  # 31 December 2026, 23:59:59.999 UTC
    _granted().at(last_moment).when(_reserve(), SYSTEM).then(m.LimitReserved)
    _granted().at(last_moment + 1).when(_reserve(), SYSTEM).refused("FACILITY_EXPIRED")


def test_a_limit_may_fall_below_what_is_reserved_but_currency_and_customer_stay():
    stream = _granted().when(GRANT).nothing().when(_reserve(), SYSTEM)
    stream.when(msgspec.structs.replace(GRANT, limit=100)).then(m.FacilitySet)
    assert stream.state.available == -500
    stream.when(_reserve("LC2", 1), SYSTEM).refused("LIMIT_EXCEEDED")
    stream.when(msgspec.structs.replace(GRANT, currency="EUR")).refused("CURRENCY_MISMATCH")
    stream.when(msgspec.structs.replace(GRANT, customer="other")).refused("OTHER_CUSTOMER")
    stream.when(msgspec.structs.replace(GRANT, expiry="")).refused("EXPIRY_MISSING")


def test_an_unknown_facility_says_so():
    spec(FacilityDecider(), "albion/facility/F1").when(_reserve()).refused("UNKNOWN_FACILITY")
