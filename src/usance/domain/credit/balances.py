"""The arithmetic of a credit: terms as amended, exposure, what can be drawn, its last day."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from usance.domain.calendars import Calendar, calendar_for
from usance.domain.credit.amendment_messages import PendingTerms, TermsChanges
from usance.domain.credit.state import AmendmentLine, CreditState
from usance.domain.dates import day_of
from usance.domain.facility_messages import ReleaseMargin, ReleaseReservation
from usance.domain.guards import end_of_day
from usance.domain.posting import Voucher
from usance.domain.terms import Terms
from usance.domain.tolerance import max_liability
from usance.kernel.decider import Context, Send, key_of
from usance.kernel.timers import TimerSet

_DELTAS = ("increase", "decrease")


def with_changes(terms: Terms, changes: TermsChanges) -> Terms:
    """Return terms as an amendment makes them. The amount is never below zero."""
    named: dict[str, Any] = {
        name: value
        for name in changes.__struct_fields__
        if name not in _DELTAS and (value := getattr(changes, name)) is not None
    }
    if "tolerance_plus" in named or "tolerance_minus" in named:
        named.update(has_tolerance=True, approximate=False)
    if named.get("shipment_period"):
        named.setdefault("latest_shipment", "")
    elif named.get("latest_shipment"):
        named.setdefault("shipment_period", "")
    amount = max(0, terms.amount + changes.increase - changes.decrease)
    return msgspec.structs.replace(terms, amount=amount, **named)


def pending_terms(terms: Terms, amendments: Mapping[int, AmendmentLine]) -> list[PendingTerms]:
    """Return the terms that acceptance of unanswered amendments would make.

    First each amendment alone, then the first two together, the first three, and so on. Combinations
    that leave no amount are left out.
    """
    waiting = [(n, a.changes) for n, a in sorted(amendments.items()) if a.phase == "pending"]
    found: list[PendingTerms] = []
    together = terms
    numbers: list[int] = []
    alone: list[PendingTerms] = []
    for number, changes in waiting:
        assert changes is not None
        alone.append(PendingTerms(amendments=[number], terms=with_changes(terms, changes)))
        together, numbers = with_changes(together, changes), [*numbers, number]
        if len(numbers) > 1:
            found.append(PendingTerms(amendments=numbers, terms=together))
    return [candidate for candidate in [*alone, *found] if candidate.terms.amount]


def exposure(state: CreditState) -> int:
    """Return the most that is still undrawn, under the terms or any pending amendment.

    An increase therefore counts from its issue (10b), a decrease from its acceptance.
    """
    candidates = pending_terms(state.stipulated, state.amendments)
    most = max([state.stipulated, *(c.terms for c in candidates)], key=max_liability)
    return max(0, max_liability(most) - state.used)


def with_amendment(
    state: CreditState, number: int, line: AmendmentLine, terms: Terms | None = None
) -> CreditState:
    """Return a copy of the state in which an amendment stands otherwise."""
    after = copy.copy(state)
    after.amendments = {**state.amendments, number: line}
    after.terms = terms or state.terms
    return after


def place_of(terms: Terms) -> Calendar:
    """Return the calendar of the place of expiry."""
    return calendar_for(terms.expiry_place, terms.available_with, terms.advising_bank)


def home_of(terms: Terms) -> Calendar:
    """Return the calendar of the issuing bank."""
    return calendar_for(terms.issuing_bank)


def last_day(state: CreditState) -> date | None:
    """Return the last day to present, rolled by article 29a; pending extensions bind us too."""
    candidates = pending_terms(state.stipulated, state.amendments)
    days = [
        place_of(terms).roll_forward(day)
        for terms in [state.stipulated, *(c.terms for c in candidates)]
        if (day := day_of(terms.expiry_date))
    ]
    return max(days, default=None)


def end_of_last_day(state: CreditState, day: date) -> int:
    """Return the end of a day at the place of expiry, in ms UTC."""
    return end_of_day(place_of(state.stipulated), day)


def expiry_timer(state: CreditState) -> tuple[TimerSet, ...]:
    """Return the timer of the end of the last day; nothing when there is no date."""
    day = last_day(state)
    if day is None:
        return ()
    calendar = place_of(state.stipulated)
    timer = TimerSet(
        timer_id="expiry",
        due=end_of_last_day(state, day),
        reason="the credit expires",
        calendar=calendar.id,
        calendar_version=calendar.version,
    )
    return (timer,)


def voucher(state: CreditState, context: Context) -> Voucher:
    """Return what the entries of the coming fact share."""
    return Voucher(
        f"{state.credit}#{context.revision + 1}", state.credit, state.stipulated.currency
    )


def to_facility(
    state: CreditState, context: Context, *, left: int, margin: int, closed: bool = False
) -> tuple[Send, ...]:
    """Return what tells the facility how much exposure and margin are left; safe to repeat."""
    if not (state.books and state.facility):
        return ()
    key = key_of(context.tenant, "facility", state.facility)
    sends = [Send(key, ReleaseReservation(credit=state.credit, remaining=left, closed=closed))]
    if margin < state.margin:
        sends.append(Send(key, ReleaseMargin(credit=state.credit, remaining=margin)))
    return tuple(sends)
