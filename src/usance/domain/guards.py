"""Guards that aggregates share: four eyes, bounds of numbers and dates, digests, uniform refusals."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from usance.domain.calendars import Calendar
from usance.domain.dates import day_of
from usance.domain.terms import Terms
from usance.kernel.authority import tier_missing
from usance.kernel.decider import Actor, Context, Refusal
from usance.kernel.digests import hex_digest
from usance.kernel.money import CURRENCIES, decimals

AMOUNT_MAX = 10**15
"""Above what field 32B can carry; keeps every sum within 64 bits."""

REFERENCE_MAX = 16
IN_PROCESS = "IN_PROCESS"
"""Code of every refusal while checks run."""

DAYS_MAX = 3650
"""Longest tenor or period of presentation that makes sense."""

SENIOR_FROM = {
    "USD": 1_000_000,
    "BHD": 400_000,
    "CLP": 900_000_000,
    "COP": 4_000_000_000,
    "HUF": 350_000_000,
    "IDR": 16_000_000_000,
    "INR": 85_000_000,
    "IQD": 1_300_000_000,
    "IRR": 42_000_000_000,
    "JPY": 150_000_000,
    "KRW": 1_400_000_000,
    "KWD": 300_000,
    "LBP": 90_000_000_000,
    "NGN": 1_500_000_000,
    "OMR": 400_000,
    "PKR": 280_000_000,
    "RUB": 90_000_000,
    "TWD": 32_000_000,
    "UGX": 3_700_000_000,
    "VND": 25_000_000_000,
    "XAF": 600_000_000,
    "XOF": 600_000_000,
}
"""Whole units from which an approval is of the senior tier; the dollar's number holds for the rest.

Round planning values, not rates: the tier must not move with the market between request and approval.
"""

SYSTEM_ROLES = frozenset({"system", "gateway", "network"})
"""Roles of parts of the program; an act that needs a person is refused to them."""

_FIRST_INSTANT, _LAST_INSTANT = 631_152_000_000, 7_226_582_400_000  # 1990 to 2199
_deterministic = msgspec.json.Encoder(order="deterministic").encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def is_person(actor: Actor) -> bool:
    """Return whether a person acts, not a saga, a gateway or another part of the program."""
    return bool(actor.person) and actor.role not in SYSTEM_ROLES and ":" not in actor.person


def signature(actor: Actor) -> str:
    """Return the opaque id of the person who acts; empty when no person does."""
    return actor.person if is_person(actor) else ""


def second_person_missing(actor: Actor, *first: str) -> Refusal | None:
    """Return why `actor` cannot be the second of two people; compares persons, never logins."""
    if not is_person(actor):
        return Refusal(
            "NEEDS_A_PERSON",
            "This act binds the bank: a person must decide it.",
            hint="Let somebody with authority decide.",
        )
    if actor.person in first:
        return Refusal(
            "SELF_APPROVAL",
            "Nobody approves what they entered, examined or proposed themselves.",
            hint="Ask a second person; another login of the same person does not count.",
        )
    return None


def tier_of(amount: int, currency: str) -> str:
    """Return who must approve an amount in minor units: standard, or senior from about a million dollars on."""
    whole = SENIOR_FROM.get(currency, SENIOR_FROM["USD"])
    return "senior" if amount >= whole * 10 ** decimals(currency) else "standard"


def approver_missing(actor: Actor, amount: int, currency: str, *first: str) -> Refusal | None:
    """Return why `actor` cannot be the second of two people for this amount (minor units)."""
    flaw = second_person_missing(actor, *first)
    return flaw or tier_missing(actor, tier_of(amount, currency))


def digest(context: Context, *parts: Any) -> str:
    """Return the digest (hex) of the deterministic JSON of structs and scalars.

    HMAC-SHA256 under the tenant's key, which erased names cannot be guessed against; plain SHA-256 where the
    log has no keys, and in what such a log or an earlier version wrote.
    """
    return hex_digest(context.digest_key, _deterministic(parts))


def unknown_command(command: Any) -> Refusal:
    """Return the answer to a command that an aggregate does not know."""
    return Refusal(
        "UNKNOWN_COMMAND",
        f"{type(command).__name__} means nothing to this aggregate.",
        hint="Check the key: its middle part names the aggregate.",
    )


def wrong_key(context: Context, identity: str) -> Refusal | None:
    """Return a refusal when a message was addressed to another identity's key."""
    if identity and context.key.partition("/")[2].partition("/")[2] == identity:
        return None
    return Refusal(
        "WRONG_KEY",
        "The reference in the message is not the one it was addressed to.",
        hint="Address the message to the key that its reference names.",
    )


def not_now(what: str, now: str, needs: str, hint: str = "", article: str = "") -> Refusal:
    """Return the uniform answer to an act out of its turn; state names are for people too."""
    return Refusal(
        "NOT_IN_THIS_STATE",
        f"The {what} is {now.replace('_', ' ').lower()}; this needs it to be {needs}.",
        article,
        hint or f"Look at the timeline of the {what}.",
    )


def still_in_process(what: str) -> Refusal:
    """Return the neutral answer while checks run: trade may not read in it what they found."""
    return Refusal(
        IN_PROCESS,
        f"The {what} is in process.",
        hint="It goes on by itself; no action is needed now.",
    )


def amount_flaw(currency: str, amount: int) -> Refusal | None:
    """Return why (currency, amount) is no sum of money to act on."""
    if currency not in CURRENCIES:
        return Refusal(
            "CURRENCY_UNKNOWN",
            "The currency is not in ISO 4217.",
            "MT700-32B",
            "Give its three-letter code.",
        )
    if not 0 < amount <= AMOUNT_MAX:
        return Refusal(
            "AMOUNT_OUT_OF_RANGE",
            "The amount is zero, negative, or more than a message can carry.",
            "MT700-32B",
            "Give the amount in minor units, above zero.",
        )
    return None


def reference_flaw(reference: str) -> Refusal | None:
    """Return why a number cannot stand in a FIN message (field 20: 16x, no slash at an end, no `//`)."""
    sound = 1 <= len(reference) <= REFERENCE_MAX and "//" not in reference
    if sound and not (reference.startswith("/") or reference.endswith("/")):
        return None
    return Refusal(
        "REFERENCE_UNFIT",
        "The number cannot stand in a SWIFT message.",
        "MT700-20 T26",
        f"Use at most {REFERENCE_MAX} characters, no slash at either end and no double slash.",
    )


def terms_flaw(terms: Terms) -> Refusal | None:
    """Return why terms cannot be reckoned with at all: money, percentages, days, expiry date."""
    flaw = amount_flaw(terms.currency, terms.amount)
    if flaw:
        return flaw
    sound = (
        0 <= terms.tolerance_plus <= 99
        and 0 <= terms.tolerance_minus <= 99
        and 0 <= terms.additional_amount <= AMOUNT_MAX
        and 0 <= terms.unit_price <= AMOUNT_MAX
        and 0 <= terms.quantity <= AMOUNT_MAX
        and 0 <= terms.insured_percent <= DAYS_MAX
        and 0 <= terms.tenor_days <= DAYS_MAX
        and 0 <= terms.presentation_days <= DAYS_MAX
    )
    if not sound:
        return Refusal(
            "TERMS_OUT_OF_RANGE",
            "A percentage, a number of days or an additional amount is out of all range.",
            "MT700-39A,39C,42C,48",
            "Check fields 39A, 39C, 42C and 48.",
        )
    if day_of(terms.expiry_date) is None:
        return Refusal(
            "EXPIRY_MISSING",
            "A credit must state an expiry date for presentation.",
            "UCP600-6d-i",
            "Give field 31D as a date, YYYY-MM-DD.",
        )
    return None


def instant_sound(instant: int) -> bool:
    """Return whether an instant (ms UTC) lies in the years that dates are read in."""
    return _FIRST_INSTANT <= instant <= _LAST_INSTANT


def local_day(calendar: Calendar, instant: int) -> date:
    """Return the date at a place at an instant (ms UTC)."""
    return (_EPOCH + instant * _MS).astimezone(calendar.zone).date()


def opening_of(calendar: Calendar, day: date) -> int:
    """Return when banks open at a place on a day, in ms UTC."""
    return (datetime.combine(day, calendar.opens, calendar.zone) - _EPOCH) // _MS


def end_of_day(calendar: Calendar, day: date) -> int:
    """Return the midnight that ends a day at a place, in ms UTC."""
    after = datetime.combine(day + timedelta(days=1), time(), calendar.zone)
    return (after - _EPOCH) // _MS
