"""How much a credit lets be drawn (UCP 600 article 30, fields 39A and 39C), in minor units."""

from __future__ import annotations

import re
from typing import NamedTuple

from usance.domain.terms import Terms
from usance.kernel.money import percent_of, with_percent

ABOUT_PERCENT = 10
"""What "about" and "approximately" allow either way (article 30a)."""

SHORT_PERCENT = 5
"""What article 30b allows on bulk quantities and 30c on an amount not qualified otherwise."""

_MEASURES = re.compile(r"\b(?:M?TS?|MTS|TONNES?|TONS?|KGS?|KILOGRAMS?|LBS?|L|LITRES?|LITERS?|BBLS?|"
                       r"BARRELS?|GALLONS?|CBM|M3|METRES?|METERS?|YARDS?)\b")  # fmt: skip


class Percents(NamedTuple):
    """How far an amount may be exceeded and undercut, in per cent."""

    plus: int
    minus: int


def amount_tolerance(terms: Terms) -> Percents:
    """Return the tolerance on the amount: field 39A when present, else `about`, else none."""
    if terms.has_tolerance:
        return Percents(terms.tolerance_plus, terms.tolerance_minus)
    if terms.approximate:
        return Percents(ABOUT_PERCENT, ABOUT_PERCENT)
    return Percents(0, 0)


def max_liability(terms: Terms) -> int:
    """Return the most the bank may have to pay: amount, plus tolerance, and additional amounts."""
    return with_percent(terms.amount, amount_tolerance(terms).plus) + terms.additional_amount


def available(terms: Terms, drawn: int) -> int:
    """Return what may still be drawn after drawings of `drawn`; never below zero."""
    return max(0, max_liability(terms) - drawn)


def is_measured(unit: str) -> bool:
    """Return whether a quantity's unit is a measure, not packing units or items (article 30b)."""
    return bool(_MEASURES.search(unit.upper()))


def quantity_in_full(terms: Terms, shipped: int) -> bool:
    """Return whether a shipment delivers the credit's quantity, with the 5 per cent of 30b."""
    short = SHORT_PERCENT if is_measured(terms.quantity_unit) else 0
    return shipped * 100 >= terms.quantity * (100 - short)


def may_draw_short(terms: Terms, shipped: int, unit_price: int) -> bool:
    """Return whether article 30c allows 5 per cent less than the amount.

    It asks for the full quantity (when stated) and an unreduced unit price (when stated), and does
    not apply beside a tolerance of the credit's own.
    """
    if terms.has_tolerance or terms.approximate:
        return False
    full = not terms.quantity or quantity_in_full(terms, shipped)
    return full and (not terms.unit_price or unit_price >= terms.unit_price)


def least_drawing(terms: Terms, shipped: int, unit_price: int) -> int:
    """Return the least total drawing when partial shipments are barred."""
    minus = amount_tolerance(terms).minus
    if may_draw_short(terms, shipped, unit_price):
        minus = SHORT_PERCENT
    return terms.amount - percent_of(terms.amount, minus)
