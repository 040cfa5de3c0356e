"""A customer's facility: one stream, so that two credits can never reserve the same money.

Amounts are absolute totals per credit, which makes every command safe to repeat. Margin held here is a
block on the customer's account; the credit books it (P3) when it is issued.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

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
    ReleaseIncrease,
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
from usance.kernel.undo import CommandUndone, remembered, with_undo

__all__ = ["MESSAGES", "FacilityDecider", "FacilityState", "Reservation"]


ALL_AMENDMENTS = -1
"""Number in a release that stands for every amendment of a credit."""


class Reservation(msgspec.Struct, frozen=True):
    """What one credit takes of the limit, whether it was issued, and the margin held for it."""

    amount: int = 0
    consumed: bool = False
    margin: int = 0
    increases: dict[int, int] = {}

    @property
    def total(self) -> int:
        """What it takes of the limit, amendments that are not issued included."""
        return self.amount + sum(self.increases.values())


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
    undone: tuple[str, ...] = ()

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


def _no_amendment(number: int) -> Refusal | None:
    """Return why a number names no amendment: zero is the credit itself, and less stands for all."""
    if number > 0:
        return None
    return Refusal(
        "AMENDMENT_UNKNOWN",
        "Amendments are numbered from 1.",
        hint="Name the amendment whose increase this is.",
    )


def _increase(state: FacilityState, command: IncreaseReservation, context: Context) -> Answer:
    flaw = _other_currency(state, command.currency) or amount_flaw(command.currency, command.amount)
    flaw = flaw or _no_amendment(command.amendment)
    if flaw:
        return flaw
    held = state.credits.get(command.credit, Reservation())
    before = held.increases.get(command.amendment)
    if before == command.amount:
        return NOTHING
    if before is not None:
        return Refusal(
            "RESERVATION_DIFFERS",
            "Another amount is reserved for this amendment.",
            hint="Release what the amendment reserved, then reserve again.",
        )
    flaw = _lapsed(state, context) or _exceeded(state, command.amount)
    if flaw:
        return flaw
    voucher = _voucher(state, command.credit, context)
    event = ReservationIncreased(
        credit=command.credit,
        amendment=command.amendment,
        currency=command.currency,
        amount=command.amount,
        available=state.available - command.amount,
        postings=posting.limit_reserved(voucher, command.amount, rule="P7"),
    )
    return Decision((event,))


def _release_increase(state: FacilityState, command: ReleaseIncrease, context: Context) -> Answer:
    held = state.credits.get(command.credit, Reservation())
    freed = held.increases.get(command.amendment, 0)
    if not freed:
        return NOTHING
    voucher = _voucher(state, command.credit, context)
    event = ReservationReleased(
        credit=command.credit,
        currency=state.currency,
        amount=freed,
        remaining=held.amount,
        available=state.available + freed,
        amendment=command.amendment,
        postings=posting.limit_released(voucher, freed, rule="P7"),
    )
    return Decision((event,))


def _consume(state: FacilityState, command: ConsumeReservation, _context: Context) -> Answer:
    held = state.credits.get(command.credit, Reservation())
    if command.amendment:
        increase = held.increases.get(command.amendment, 0)
        if not increase:
            return NOTHING
        event = ReservationConsumed(
            credit=command.credit,
            currency=state.currency,
            amount=increase,
            amendment=command.amendment,
        )
        return Decision((event,))
    if held.consumed:
        return NOTHING
    if not held.amount:
        return _not_reserved()
    event = ReservationConsumed(credit=command.credit, currency=state.currency, amount=held.amount)
    return Decision((event,))


def _release(state: FacilityState, command: ReleaseReservation, context: Context) -> Answer:
    held = state.credits.get(command.credit, Reservation())
    over = sum(held.increases.values()) if command.closed else 0
    freed = held.amount - max(0, command.remaining)
    if freed <= 0 and not over:
        return NOTHING
    freed = max(0, freed) + over
    voucher = _voucher(state, command.credit, context)
    rule = "P16" if held.consumed else "P1"
    event = ReservationReleased(
        credit=command.credit,
        currency=state.currency,
        amount=freed,
        remaining=held.amount + over - freed,
        available=state.available + freed,
        amendment=ALL_AMENDMENTS if over else 0,
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
    ReleaseIncrease: _release_increase,
    HoldMargin: _hold_margin,
    ReleaseMargin: _release_margin,
}


def _without(increases: dict[int, int], amendment: int) -> dict[int, int]:
    if amendment == ALL_AMENDMENTS:
        return {}
    return {number: amount for number, amount in increases.items() if number != amendment}


def _consumed(held: Reservation, event: ReservationConsumed) -> Reservation:
    if not event.amendment:
        return replace(held, consumed=True)
    increases = _without(held.increases, event.amendment)
    return replace(held, amount=held.amount + event.amount, consumed=True, increases=increases)


def _released(held: Reservation, event: ReservationReleased) -> Reservation:
    increases = _without(held.increases, event.amendment) if event.amendment else held.increases
    return replace(held, amount=event.remaining, increases=increases)


class FacilityDecider:
    """Decides on limits and margin; keys are `tenant/facility/<reference>`."""

    category = "facility"
    fold_id = "facility/2"

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
        unknown = _unknown(state)
        if unknown:
            return unknown
        return with_undo(handler, state, command, context)

    def evolve(self, state: FacilityState, event: Any) -> FacilityState:
        """Return the facility after an event."""
        new = copy.copy(state)
        if isinstance(event, FacilitySet):
            new.facility, new.customer = event.facility, event.customer
            new.currency, new.limit = event.currency, event.limit
            new.expiry, new.margin_account = event.expiry, event.margin_account
            return new
        if isinstance(event, CommandUndone):
            remembered(new, event)
            return new
        credit = getattr(event, "credit", "")
        held = state.credits.get(credit, Reservation())
        match event:
            case LimitReserved():
                changed = replace(held, amount=event.amount)
            case ReservationIncreased():
                more = {**held.increases, event.amendment: event.amount}
                changed = replace(held, increases=more)
            case ReservationConsumed():
                changed = _consumed(held, event)
            case ReservationReleased():
                changed = _released(held, event)
            case MarginHeld():
                changed = replace(held, margin=event.amount)
            case MarginReleased():
                changed = replace(held, margin=event.remaining)
            case _:
                return state
        new.credits = {**state.credits, credit: changed}
        if not (changed.total or changed.margin):
            del new.credits[credit]
        new.reserved = state.reserved + changed.total - held.total
        return new
