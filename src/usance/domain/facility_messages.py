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
    """Earmark `amount` more for an amendment, before it is issued."""

    credit: str
    amendment: int
    currency: str
    amount: int


class ReservationIncreased(msgspec.Struct, frozen=True, kw_only=True):
    """More of the limit is earmarked for an amendment: `amount` is what it adds."""

    credit: str
    amendment: int
    currency: str
    amount: int
    available: int
    postings: list[Posting] = []


class ConsumeReservation(msgspec.Struct, frozen=True, kw_only=True):
    """The credit (or its amendment, by number) was issued: what was reserved is exposure now."""

    credit: str
    amendment: int = 0


class ReservationConsumed(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation became exposure."""

    credit: str
    currency: str
    amount: int
    amendment: int = 0


class ReleaseReservation(msgspec.Struct, frozen=True, kw_only=True):
    """Give limit back down to `remaining`, the credit's exposure that is left (0: all of it).

    `closed`: nothing of the credit is left, what its amendments reserved included.
    """

    credit: str
    remaining: int = 0
    closed: bool = False
    undoes: str = ""


class ReservationReleased(msgspec.Struct, frozen=True, kw_only=True):
    """Limit was given back: `amount` freed, `remaining` still earmarked."""

    credit: str
    currency: str
    amount: int
    remaining: int
    available: int
    amendment: int = 0
    postings: list[Posting] = []


class ReleaseIncrease(msgspec.Struct, frozen=True, kw_only=True):
    """Give back what an amendment reserved that is not issued."""

    credit: str
    amendment: int
    undoes: str = ""


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
    undoes: str = ""


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
    (ReleaseIncrease, "command"),
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
