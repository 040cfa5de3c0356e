"""Commands and events of a customer's facility. Amounts are minor units of its currency."""

from __future__ import annotations

import msgspec

from usance.domain.posting import Posting


class SetFacility(msgspec.Struct, frozen=True, kw_only=True):
    """Grant or change a facility. `customer` is an opaque party id, `expiry` YYYY-MM-DD."""

    facility: str
    customer: str
    currency: str
    limit: int
    expiry: str
    margin_account: str = ""


class FacilitySet(msgspec.Struct, frozen=True, kw_only=True):
    """A facility was granted or changed; a lower limit leaves what is reserved untouched."""

    facility: str
    customer: str
    currency: str
    limit: int
    expiry: str
    margin_account: str = ""
    person: str


class ReserveLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Earmark the maximum liability of a credit."""

    credit: str
    currency: str
    amount: int


class LimitReserved(msgspec.Struct, frozen=True, kw_only=True):
    """The limit is earmarked (P1); `available` is what the facility has left."""

    credit: str
    currency: str
    amount: int
    available: int
    postings: list[Posting] = []


class IncreaseReservation(msgspec.Struct, frozen=True, kw_only=True):
    """Earmark more for an amendment: `amount` is the new total."""

    credit: str
    currency: str
    amount: int


class ReservationIncreased(msgspec.Struct, frozen=True, kw_only=True):
    """More of the limit is earmarked: `amount` is the new total, `increase` the difference."""

    credit: str
    currency: str
    amount: int
    increase: int
    available: int
    postings: list[Posting] = []


class ConsumeReservation(msgspec.Struct, frozen=True, kw_only=True):
    """The credit was issued: its reservation is exposure now."""

    credit: str


class ReservationConsumed(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation became exposure."""

    credit: str
    currency: str
    amount: int


class ReleaseReservation(msgspec.Struct, frozen=True, kw_only=True):
    """Give limit back down to `remaining`, the credit's exposure that is left (0: all of it)."""

    credit: str
    remaining: int = 0


class ReservationReleased(msgspec.Struct, frozen=True, kw_only=True):
    """Limit was given back: `amount` freed, `remaining` still earmarked."""

    credit: str
    currency: str
    amount: int
    remaining: int
    available: int
    postings: list[Posting] = []


class HoldMargin(msgspec.Struct, frozen=True, kw_only=True):
    """Block cash margin on the customer's account; it is booked (P3) when the credit is issued."""

    credit: str
    currency: str
    amount: int


class MarginHeld(msgspec.Struct, frozen=True, kw_only=True):
    """Margin is blocked on the customer's account."""

    credit: str
    currency: str
    amount: int
    account: str


class ReleaseMargin(msgspec.Struct, frozen=True, kw_only=True):
    """Lift the block down to `remaining` (0: all of it)."""

    credit: str
    remaining: int = 0


class MarginReleased(msgspec.Struct, frozen=True, kw_only=True):
    """A block of margin was lifted: `amount` freed, `remaining` still held."""

    credit: str
    currency: str
    amount: int
    remaining: int


MESSAGES: tuple[tuple[type, str], ...] = (
    (SetFacility, "command"),
    (ReserveLimit, "command"),
    (IncreaseReservation, "command"),
    (ConsumeReservation, "command"),
    (ReleaseReservation, "command"),
    (HoldMargin, "command"),
    (ReleaseMargin, "command"),
    (FacilitySet, "event"),
    (LimitReserved, "event"),
    (ReservationIncreased, "event"),
    (ReservationConsumed, "event"),
    (ReservationReleased, "event"),
    (MarginHeld, "event"),
    (MarginReleased, "event"),
)
"""Every message of the facility with its kind."""
