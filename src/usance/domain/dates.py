"""Date words of UCP 600 article 3, dates of shipment (articles 20, 23, 31b) and maturity dates."""

from __future__ import annotations

import calendar as months
from datetime import date
from typing import NamedTuple

TRANSPORT_KINDS = ("bill_of_lading", "air_waybill")
"""Kinds of documents that show a shipment (articles 19 to 25)."""

_YEARS = range(1990, 2200)
_MONTHS = {name.upper(): number for number, name in enumerate(months.month_name) if name}
_MONTHS |= {name.upper(): number for number, name in enumerate(months.month_abbr) if name}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ISO = r"\d{4}-\d{2}-\d{2}"
_DATE = rf"(?:{_ISO}|\d{{1,2}}\s+(?:{_MONTH})\s+\d{{4}}|(?:{_MONTH})\s+\d{{1,2}},?\s+\d{{4}})"
_PARTS = {"BEGINNING": (1, 10), "MIDDLE": (11, 20), "END": (21, 31)}
_HALVES = {"FIRST": (1, 15), "SECOND": (16, 31)}


def day_of(text: str) -> date | None:
    """Return the date of YYYY-MM-DD text; None when it is empty, malformed or out of all reason."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.year in _YEARS else None


class Window(NamedTuple):
    """A period of days, both ends included; None is an open end."""

    first: date | None
    last: date | None

    def __contains__(self, day: object) -> bool:
        """Return whether a date lies in the period."""
        assert isinstance(day, date)
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    def __str__(self) -> str:
        """Return the period in words."""
        if self.first is None or self.last is None:
            return f"until {self.last}" if self.last else f"from {self.first}"
        return f"{self.first} to {self.last}"
