"""Banking days, banking hours and deadlines by place (UCP 600 articles 2, 14b, 16d, 29, 33, 36).

The tables are data of this program (`data/calendars/banking.json`, written by a tool from a
holidays library), so that a calendar's version is known and start costs no import of that library.
A table covers the years it names; outside of them only weekends are closed days.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import msgspec

from usance.kernel.decider import Deadline

DEFAULT_PLACE = "GBLON"
"""The calendar of a place or bank that no table names."""

EXAMINATION_DAYS = 5
"""Banking days after the day of presentation to examine and to refuse (articles 14b, 16d)."""

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_BIC = re.compile(r"[A-Z]{4}([A-Z]{2})[A-Z0-9]{2}(?:[A-Z0-9]{3,4})?")
_SATURDAY, _SUNDAY = 5, 6


class _Weekend(msgspec.Struct, frozen=True):
    rule: str
    until: str


class _City(msgspec.Struct, frozen=True):
    zone: str
    opens: str
    closes: str
    countries: list[str]
    names: list[str]
    weekends: list[_Weekend]
    closed: dict[str, str]
    worked: list[str]
    force_majeure: dict[str, str]


class _Table(msgspec.Struct, frozen=True):
    version: str
    first_year: int
    last_year: int
    provenance: str
    cities: dict[str, _City]


@cache
def _table() -> _Table:
    text = files("usance").joinpath("data/calendars/banking.json").read_bytes()
    return msgspec.json.decode(text, type=_Table)


def _second_and_fourth_saturday(day: date) -> bool:
    return day.weekday() == _SATURDAY and (day.day - 1) // 7 in (1, 3)


_WEEKENDS: dict[str, Callable[[date], bool]] = {
    "sat-sun": lambda day: day.weekday() >= _SATURDAY,
    "fri-sat": lambda day: day.weekday() in (_SATURDAY - 1, _SATURDAY),
    "sun-and-2nd-4th-sat": lambda day: day.weekday() == _SUNDAY or _second_and_fourth_saturday(day),
}


class Calendar:
    """The banking days of one place, and its banking hours. Use `calendar(id)` or `calendar_for`.

    `id` is a UN/LOCODE (EUTGT: TARGET days), `version` names table and library. Days are local
    dates, instants ms UTC. Closures by force majeure are closed days that move no expiry date
    (article 36).
    """

    def __init__(self, calendar_id: str, version: str, city: _City) -> None:
        self.id = calendar_id
        self.version = version
        self.zone = ZoneInfo(city.zone)
        self.opens = time.fromisoformat(city.opens)
        self.closes = time.fromisoformat(city.closes)
        self.force_majeure = {date.fromisoformat(d): why for d, why in city.force_majeure.items()}
        self._weekends = [
            (date.fromisoformat(w.until) if w.until else date.max, _WEEKENDS[w.rule])
            for w in city.weekends
        ]
        self._closed = frozenset(
            date.fromisoformat(f"{year}-{day}")
            for year, days in city.closed.items()
            for day in days.split()
        )
        self._worked = frozenset(map(date.fromisoformat, city.worked))
        self._deadlines: dict[tuple[date, int], Deadline] = {}
        self._receiving = (0, 0, date.min)

    def is_weekend(self, day: date) -> bool:
        """Return whether banks rest on this day of the week, by the rule of its time."""
        rests = next(rule for until, rule in self._weekends if day <= until)
        return rests(day) and day not in self._worked

    def is_regularly_open(self, day: date) -> bool:
        """Return whether banks would be open but for force majeure: what article 29 asks."""
        return day not in self._closed and not self.is_weekend(day)

    def is_banking_day(self, day: date) -> bool:
        """Return whether banks are open at this place on that day (article 2)."""
        return self.is_regularly_open(day) and day not in self.force_majeure

    def on_or_after(self, day: date) -> date:
        """Return the day itself when it is a banking day, else the next one."""
        while not self.is_banking_day(day):
            day += _DAY
        return day

    def next_banking_day(self, day: date) -> date:
        """Return the first banking day after a day."""
        return self.on_or_after(day + _DAY)

    def add_banking_days(self, day: date, count: int) -> date:
        """Return the `count`th banking day after day 0, the first banking day on or after `day`."""
        day = self.on_or_after(day)
        for _ in range(count):
            day = self.next_banking_day(day)
        return day

    def roll_forward(self, day: date) -> date:
        """Return the last day of an expiry or presentation date (article 29a).

        A date on a regularly closed day moves to the next regularly open one; force majeure moves
        nothing (article 36). Never to be used for a latest date of shipment (article 29c).
        """
        while not self.is_regularly_open(day):
            day += _DAY
        return day

    def received_on(self, instant: int) -> date:
        """Return the banking day on which a receipt counts.

        After close of business or on a closed day it is the next banking day (article 33).
        """
        after, until, day = self._receiving  # receipts come in the order of time: often this day
        if after < instant <= until:
            return day
        local = (_EPOCH + instant * _MS).astimezone(self.zone)
        day = local.date()
        if local.time() > self.closes:
            day += _DAY
        before = day - _DAY
        day = self.on_or_after(day)
        while not self.is_banking_day(before):
            before -= _DAY
        self._receiving = (self.close_of(before), self.close_of(day), day)
        return day

    def close_of(self, day: date) -> int:
        """Return the local close of business of a day, in ms UTC."""
        return (datetime.combine(day, self.closes, self.zone) - _EPOCH) // _MS

    def deadline_after(self, instant: int, count: int) -> Deadline:
        """Return the close of the `count`th banking day after the day of a receipt."""
        received = self.received_on(instant)
        found = self._deadlines.get((received, count))
        if found is None:
            due = self.close_of(self.add_banking_days(received, count))
            found = self._deadlines[received, count] = Deadline(due, self.id, self.version)
        return found

    def examination_deadline(self, instant: int) -> Deadline:
        """Return until when documents received at an instant may be refused (articles 14b, 16d)."""
        return self.deadline_after(instant, EXAMINATION_DAYS)


@cache
def calendar(calendar_id: str) -> Calendar:
    """Return the calendar of an id of `calendar_ids()`; raises KeyError for any other."""
    table = _table()
    return Calendar(calendar_id, table.version, table.cities[calendar_id])


def calendar_ids() -> list[str]:
    """Return the ids of all calendars, in order."""
    return sorted(_table().cities)


def covered_years() -> tuple[int, int]:
    """Return the first and the last year whose holidays the tables hold."""
    return _table().first_year, _table().last_year


@cache
def _by_country() -> dict[str, str]:
    return {code: key for key, city in _table().cities.items() for code in city.countries}


@cache
def _by_name() -> tuple[re.Pattern[str], dict[str, str]]:
    """Return a pattern of all place names, longest first, and the calendar of each."""
    names = {name: key for key, city in _table().cities.items() for name in city.names}
    names |= {key: key for key in _table().cities}
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b"), names


def find_place(text: str) -> str:
    """Return the calendar id of a text naming a place, a BIC or a calendar id; empty when unknown.

    Names are looked for first, because a place such as SHANGHAI has the form of a BIC.
    """
    text = text.strip().upper()
    pattern, names = _by_name()
    named = pattern.search(text)
    if named:
        return names[named.group(1)]
    bic = _BIC.fullmatch(text)
    return _by_country().get(bic.group(1), "") if bic else ""


@lru_cache(maxsize=4096)
def _resolve(places: tuple[str, ...]) -> str:
    return next((found for place in places if (found := find_place(place))), DEFAULT_PLACE)


def calendar_for(*places: str) -> Calendar:
    """Return the calendar of the first place (text, BIC or calendar id) that a table names.

    Give the most exact first: `calendar_for(terms.expiry_place, presentee_bic)`. When none is
    known the answer is the calendar of `DEFAULT_PLACE`.
    """
    return calendar(_resolve(places))
