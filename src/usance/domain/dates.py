"""Date words of UCP 600 article 3, dates of shipment (articles 20, 23, 31b) and maturity dates."""

from __future__ import annotations

import calendar as months
import re
from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

from usance.domain.calendars import Calendar
from usance.domain.terms import PresentedDocument, Terms

TRANSPORT_KINDS = ("bill_of_lading", "air_waybill")
"""Kinds of documents that show a shipment (articles 19 to 25)."""

FAR = date(2300, 1, 1)
"""No computed date lies beyond this one, however long a period someone types."""

_YEARS = range(1990, 2200)
_NAMES = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
]
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"SEPT": 9}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATE = (
    rf"(?:{_ISO}|[0-9]{{1,2}}\s+(?:{_MONTH})\s+[0-9]{{4}}"
    rf"|(?:{_MONTH})\s+[0-9]{{1,2}},?\s+[0-9]{{4}})"
)
_PARTS = {"BEGINNING": (1, 10), "MIDDLE": (11, 20), "END": (21, 31)}
_HALVES = {"FIRST": (1, 15), "SECOND": (16, 31)}


@lru_cache(maxsize=4096)
def day_of(text: str) -> date | None:
    """Return the date of YYYY-MM-DD text; None when it is empty, malformed or out of all reason."""
    if not re.fullmatch(_ISO, text):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.year in _YEARS else None


def days_after(day: date, count: int) -> date:
    """Return the date `count` calendar days after a day, `FAR` at most."""
    return FAR if count > (FAR - day).days else day + timedelta(days=max(count, 0))


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


def on_or_about(day: date) -> Window:
    """Return five calendar days before to five after a date, both included (article 3)."""
    return Window(day - timedelta(days=5), day + timedelta(days=5))


def part_of_month(year: int, month: int, first: int, last: int) -> Window:
    """Return the days `first` to `last` of a month, cut at the month's end."""
    length = months.monthrange(year, month)[1]
    return Window(date(year, month, first), date(year, month, min(last, length)))


def _read_date(text: str) -> date | None:
    """Return the date of `2026-03-15`, `15 MARCH 2026` or `MARCH 15, 2026`."""
    words = text.replace(",", " ").split()
    if len(words) == 3:
        number, name = (words[0], words[1]) if words[0].isdigit() else (words[1], words[0])
        text = f"{words[2]}-{_MONTHS[name]:02d}-{int(number):02d}"
    return day_of(text)


def _between(first: date, last: date) -> Window | None:
    return Window(first, last) if first <= last else None


def _month_window(match: re.Match[str]) -> Window | None:
    year = int(match["year"])
    if year not in _YEARS:
        return None
    span = _HALVES[match["half"]] if match["half"] else _PARTS[match["part"]]
    return part_of_month(year, _MONTHS[match["month"]], *span)


_LEAD = r"(?:SHIPMENTS? )?(?:TO BE |MUST BE )?(?:MADE |EFFECTED )?(?:DURING |IN )?(?:THE )?"
_PART = re.compile(
    _LEAD + r"(?:(?P<half>FIRST|SECOND) HALF|(?P<part>BEGINNING|MIDDLE|END)) OF"
    rf" (?P<month>{_MONTH}),? (?P<year>[0-9]{{4}})"
)
_PERIOD = re.compile(
    _LEAD + rf"(?:(?:ON OR ABOUT) (?P<a0>{_DATE})"
    rf"|(?:FROM|BETWEEN) (?P<a1>{_DATE}) (?:TO|UNTIL|TILL|AND) (?P<b1>{_DATE})"
    rf"|(?:TO|UNTIL|TILL|NOT LATER THAN) (?P<a2>{_DATE})"
    rf"|(?:FROM) (?P<a3>{_DATE})"
    rf"|(?:BEFORE) (?P<a4>{_DATE})"
    rf"|(?:AFTER) (?P<a5>{_DATE}))"
)


def shipment_window(text: str) -> Window | None:
    """Return the period of shipment that words describe; None when they are not understood.

    The words of article 3: `to`, `until`, `till`, `from` and `between` include the dates named;
    `before` and `after` exclude them; `on or about` is five days either side. Only whole phrases
    are read, so that nothing said beside the period is lost; `prompt` says nothing.
    """
    text = " ".join(text.upper().rstrip(" .").split())
    if match := _PART.fullmatch(text):
        return _month_window(match)
    match = _PERIOD.fullmatch(text)
    if not match:
        return None
    named = next(group for group in ("a0", "a1", "a2", "a3", "a4", "a5") if match[group])
    first = _read_date(match[named])
    last = _read_date(match["b1"]) if match["b1"] else first
    if first is None or last is None:
        return None
    one_day = timedelta(days=1)
    windows = {
        "a0": on_or_about(first),
        "a1": _between(first, last),
        "a2": Window(None, first),
        "a3": Window(first, None),
        "a4": Window(None, first - one_day),
        "a5": Window(first + one_day, None),
    }
    return windows[named]


def shipment_date_of(document: PresentedDocument) -> date | None:
    """Return the date of shipment a transport document shows (articles 20a-ii, 23a-iii).

    It is the date of the on-board (or flight) notation when there is one, else the date of issue.
    """
    return day_of(document.on_board_date) or day_of(document.date)


def shipment_dates(documents: Iterable[PresentedDocument]) -> list[date]:
    """Return the dates of shipment that the transport documents show, earliest first."""
    shown = (shipment_date_of(d) for d in documents if d.kind in TRANSPORT_KINDS)
    return sorted(day for day in shown if day)


def presentation_shipment_date(documents: Iterable[PresentedDocument]) -> date | None:
    """Return the date from which the period of presentation runs (articles 14c, 31b).

    Several documents of one vessel count as one shipment with the latest date; with different
    vessels, the earliest date counts.
    """
    transport = [d for d in documents if d.kind in TRANSPORT_KINDS]
    dates = shipment_dates(transport)
    if not dates:
        return None
    vessels = {d.vessel.strip().upper() for d in transport if d.vessel.strip()}
    return dates[0] if len(vessels) > 1 else dates[-1]


def maturity_base(
    terms: Terms, documents: Iterable[PresentedDocument], sight: date | None
) -> date | None:
    """Return the date a tenor runs from; None when the documents do not show it.

    `sight` is the day the drawee saw the documents. A bill of lading's date is its date of
    shipment; of several, the latest counts.
    """
    documents = list(documents)
    if terms.tenor_from == "sight":
        return sight
    if terms.tenor_from == "invoice_date":
        invoices = [day for d in documents if d.kind == "invoice" and (day := day_of(d.date))]
        return max(invoices, default=None)
    return max(shipment_dates(documents), default=None)


def maturity(base: date, tenor_days: int, calendar: Calendar) -> date:
    """Return the due date of a tenor: `from` and `after` exclude the base date (article 3).

    A due date on a closed day moves to the next banking day.
    """
    return calendar.on_or_after(days_after(base, tenor_days))
