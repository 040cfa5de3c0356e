"""A customer's facility: one stream, so that two credits can never reserve the same money.

Amounts are absolute totals per credit, which makes every command safe to repeat. Margin held here is a
block on the customer's account; the credit books it (P3) when it is issued.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from usance.domain import posting
from usance.domain.dates import day_of
from usance.domain.facility_messages import (
    MESSAGES,
    ConsumeReservation,
    FacilitySet,
    HoldMargin,
    IncreaseReservation,
    LimitReserved,
    MarginHeld,
    MarginReleased,
    ReleaseMargin,
    ReleaseReservation,
    ReservationConsumed,
    ReservationIncreased,
    ReservationReleased,
    ReserveLimit,
    SetFacility,
)
from usance.domain.guards import AMOUNT_MAX, amount_flaw, unknown_command, wrong_key
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.money import Money
from usance.kernel.timers import TimerDue

__all__ = ["MESSAGES", "FacilityDecider", "FacilityState", "Reservation"]


class Reservation(msgspec.Struct, frozen=True):
    """What one credit takes of the limit, whether it was issued, and the margin held for it."""

    amount: int = 0
    consumed: bool = False
    margin: int = 0


class FacilityState(msgspec.Struct):
    """A facility as its stream tells it. `reserved` is the sum over all credits."""

    facility: str = ""
    customer: str = ""
    currency: str = ""
    limit: int = 0
    expiry: str = ""
    margin_account: str = ""
    reserved: int = 0
    credits: dict[str, Reservation] = {}

    @property
    def available(self) -> int:
        """What can still be reserved, in minor units; below zero after the limit was cut."""
        return self.limit - self.reserved


Answer = Decision | Refusal


def _unknown(state: FacilityState) -> Refusal | None:
    if state.facility:
        return None
    return Refusal(
        "UNKNOWN_FACILITY",
        "No facility is kept under this reference.",
        hint="Set the facility first, or check its reference.",
    )


def _other_currency(state: FacilityState, currency: str) -> Refusal | None:
    if currency == state.currency:
        return None
    return Refusal(
        "CURRENCY_MISMATCH",
        f"The facility is in {state.currency}.",
        hint="Use a facility in the currency of the credit.",
    )


def _not_reserved() -> Refusal:
    return Refusal(
        "NOT_RESERVED",
        "Nothing is reserved for this credit.",
        hint="Reserve the limit first, or check the number of the credit.",
    )


def _lapsed(state: FacilityState, context: Context) -> Refusal | None:
    """Return why nothing new can be reserved; the last day counts to its end in UTC."""
    last = day_of(state.expiry)
    ends = (last.toordinal() - 719_163 + 1) * MS_PER_DAY if last else 0
    if context.instant < ends:
        return None
    return Refusal(
        "FACILITY_EXPIRED",
        f"The facility ended on {state.expiry}.",
        hint="Renew the facility, or use another.",
    )


def _exceeded(state: FacilityState, more: int) -> Refusal | None:
    if more <= state.available:
        return None
    left = Money(state.currency, max(0, state.available))
    return Refusal(
        "LIMIT_EXCEEDED",
        f"The facility has {left} left; {Money(state.currency, more)} is asked for.",
        hint="Raise the limit, free reservations, or lower the amount.",
    )


def _set(state: FacilityState, command: SetFacility, context: Context) -> Answer:
    flaw = wrong_key(context, command.facility) or amount_flaw(command.currency, command.limit)
    if flaw:
        return flaw
    if day_of(command.expiry) is None:
        return Refusal(
            "EXPIRY_MISSING",
            "A facility needs the date it ends.",
            hint="Give the expiry as YYYY-MM-DD.",
        )
    if state.reserved and command.currency != state.currency:
        return Refusal(
            "CURRENCY_MISMATCH",
            "The currency cannot change while credits use the facility.",
            hint="Set another facility, or wait until nothing is reserved.",
        )
    if state.customer and command.customer != state.customer:
        return Refusal(
            "OTHER_CUSTOMER",
            "A facility belongs to one customer for good.",
            hint="Set another facility for the other customer.",
        )
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    if all(getattr(state, name) == value for name, value in fields.items()):
        return NOTHING
    return Decision((FacilitySet(**fields, person=context.actor.person),))


def _voucher(state: FacilityState, credit: str, context: Context) -> posting.Voucher:
    return posting.Voucher(f"{state.facility}#{context.revision + 1}", credit, state.currency)


def _reserve(state: FacilityState, command: ReserveLimit, context: Context) -> Answer:
    flaw = _other_currency(state, command.currency) or amount_flaw(command.currency, command.amount)
    if flaw:
        return flaw
    held = state.credits.get(command.credit, Reservation())
    if held.amount == command.amount:
        return NOTHING
    if held.amount or held.consumed:
        return Refusal(
            "RESERVATION_DIFFERS",
            "Another amount is reserved for this credit, or it was issued before.",
            hint="Increase or release the reservation instead.",
        )
    flaw = _lapsed(state, context) or _exceeded(state, command.amount)
    if flaw:
        return flaw
    voucher = _voucher(state, command.credit, context)
    event = LimitReserved(
        credit=command.credit,
        currency=command.currency,
        amount=command.amount,
        available=state.available - command.amount,
        postings=posting.limit_reserved(voucher, command.amount),
    )
    return Decision((event,))


def _increase(state: FacilityState, command: IncreaseReservation, context: Context) -> Answer:
    flaw = _other_currency(state, command.currency) or amount_flaw(command.currency, command.amount)
    if flaw:
        return flaw
    held = state.credits.get(command.credit, Reservation())
    if not held.amount:
        return _not_reserved()
    more = command.amount - held.amount
    if more <= 0:
        return NOTHING
    flaw = _lapsed(state, context) or _exceeded(state, more)
    if flaw:
        return flaw
    voucher = _voucher(state, command.credit, context)
    event = ReservationIncreased(
        credit=command.credit,
        currency=command.currency,
        amount=command.amount,
        increase=more,
        available=state.available - more,
        postings=posting.limit_reserved(voucher, more, rule="P7"),
    )
    return Decision((event,))


def _consume(state: FacilityState, command: ConsumeReservation, _context: Context) -> Answer:
    held = state.credits.get(command.credit, Reservation())
    if held.consumed:
        return NOTHING
    if not held.amount:
        return _not_reserved()
    event = ReservationConsumed(credit=command.credit, currency=state.currency, amount=held.amount)
    return Decision((event,))


def _release(state: FacilityState, command: ReleaseReservation, context: Context) -> Answer:
    held = state.credits.get(command.credit, Reservation())
    freed = held.amount - max(0, command.remaining)
    if freed <= 0:
        return NOTHING
    voucher = _voucher(state, command.credit, context)
    rule = "P16" if held.consumed else "P1"
    event = ReservationReleased(
        credit=command.credit,
        currency=state.currency,
        amount=freed,
        remaining=held.amount - freed,
        available=state.available + freed,
        postings=posting.limit_released(voucher, freed, rule=rule),
    )
    return Decision((event,))


def _hold_margin(state: FacilityState, command: HoldMargin, _context: Context) -> Answer:
    flaw = _other_currency(state, command.currency)
    if flaw:
        return flaw
    held = state.credits.get(command.credit, Reservation())
    if not 0 <= command.amount <= AMOUNT_MAX:
        return amount_flaw(command.currency, command.amount) or NOTHING
    if held.margin >= command.amount:
        return NOTHING
    if not state.margin_account:
        return Refusal(
            "NO_MARGIN_ACCOUNT",
            "The facility names no account to hold margin on.",
            hint="Set the facility's margin account.",
        )
    if not held.amount:
        return _not_reserved()
    event = MarginHeld(
        credit=command.credit,
        currency=command.currency,
        amount=command.amount,
        account=state.margin_account,
    )
    return Decision((event,))


def _release_margin(state: FacilityState, command: ReleaseMargin, _context: Context) -> Answer:
    held = state.credits.get(command.credit, Reservation())
    freed = held.margin - max(0, command.remaining)
    if freed <= 0:
        return NOTHING
    event = MarginReleased(
        credit=command.credit,
        currency=state.currency,
        amount=freed,
        remaining=held.margin - freed,
    )
    return Decision((event,))


_DECIDE: dict[type, Callable[[FacilityState, Any, Context], Answer]] = {
    ReserveLimit: _reserve,
    IncreaseReservation: _increase,
    ConsumeReservation: _consume,
    ReleaseReservation: _release,
    HoldMargin: _hold_margin,
    ReleaseMargin: _release_margin,
}


class FacilityDecider:
    """Decides on limits and margin; keys are `tenant/facility/<reference>`."""

    category = "facility"
    fold_id = "facility/1"

    def initial(self, key: str) -> FacilityState:  # noqa: ARG002 - all start alike
        """Return the state of a facility never granted."""
        return FacilityState()

    def decide(self, state: FacilityState, command: Any, context: Context) -> Answer:
        """Answer a command on the facility."""
        if isinstance(command, SetFacility):
            return _set(state, command, context)
        if isinstance(command, TimerDue):
            return NOTHING
        handler = _DECIDE.get(type(command))
        if handler is None:
            return unknown_command(command)
        return _unknown(state) or handler(state, command, context)

    def evolve(self, state: FacilityState, event: Any) -> FacilityState:
        """Return the facility after an event."""
        new = copy.copy(state)
        if isinstance(event, FacilitySet):
            new.facility, new.customer = event.facility, event.customer
            new.currency, new.limit = event.currency, event.limit
            new.expiry, new.margin_account = event.expiry, event.margin_account
            return new
        credit = getattr(event, "credit", "")
        held = state.credits.get(credit, Reservation())
        match event:
            case LimitReserved() | ReservationIncreased():
                changed = Reservation(event.amount, held.consumed, held.margin)
            case ReservationConsumed():
                changed = Reservation(held.amount, True, held.margin)
            case ReservationReleased():
                changed = Reservation(event.remaining, held.consumed, held.margin)
            case MarginHeld():
                changed = Reservation(held.amount, held.consumed, event.amount)
            case MarginReleased():
                changed = Reservation(held.amount, held.consumed, event.remaining)
            case _:
                return state
        new.credits = {**state.credits, credit: changed}
        if not (changed.amount or changed.margin):
            del new.credits[credit]
        new.reserved = state.reserved + changed.amount - held.amount
        return new
