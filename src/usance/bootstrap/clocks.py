"""Clocks of retention: the class of what is kept, from when it counts, and when its time is over.

The classes are data (`data/compliance/retention.toml`). An instrument's clock starts when it ended, a person's
when the last of their instruments ended; what belongs to several is kept as long as the longest of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple

import msgspec

from usance.bootstrap.store import Store
from usance.kernel.clock import iso, parse_instant
from usance.kernel.decider import key_parts
from usance.kernel.errors import Unreadable
from usance.log.contract import TopicPartition, header

APPLICATION, TRADE, RELATIONSHIP, SANCTIONS = "application", "trade", "relationship", "sanctions"
NOTHING_CAME = frozenset(("REJECTED", "WITHDRAWN", "VOIDED", "DECLINED"))
"""States of a credit that never bound the bank."""
IN_PROCESS = "a record of compliance"
"""What is said of a case: that there is one is no business of whoever reads why data is kept."""
OPEN = -1
"""A due instant that nobody knows yet."""


class RetentionClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class. `years` -1: for ever; `keys` says whether destroying keys ends it."""

    id: str
    what: str
    years: int
    start: Literal["recorded", "nothing-came", "instrument-end", "case-closed", "relationship-end"]
    rule: str
    law: str
    wording: Literal["checked", "memory"]
    keys: bool


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The classes, and how many days lie between a proposal and a destruction."""

    cooling_off_days: int
    classes: tuple[RetentionClass, ...] = msgspec.field(name="class")

    def of(self, name: str) -> RetentionClass:
        """Return a class by its id."""
        return next(c for c in self.classes if c.id == name)


@cache
def rules() -> Rules:
    """Return the packaged rules."""
    place = resources.files("usance") / "data" / "compliance" / "retention.toml"
    return read_rules(place.read_text(encoding="utf-8"))


def read_rules(text: str) -> Rules:
    """Return the rules of a text; raises Unreadable for one that has none, or lacks a class."""
    try:
        found = msgspec.convert(tomllib.loads(text), Rules)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Unreadable("retention", f"the classes cannot be read: {error}") from error
    known = {c.id for c in found.classes}
    for needed in (APPLICATION, TRADE, RELATIONSHIP, SANCTIONS):
        if needed not in known:
            raise Unreadable("retention", f"there is no class {needed}", hint="add it")
    return found


class Clock(NamedTuple):
    """The clock of one part: its class, since when it counts (0: not yet), when it is over (OPEN: nobody knows).

    `why` says in words without names what keeps it.
    """

    retention: str
    started: int
    due: int
    why: str

    def over(self, now: int) -> bool:
        """Tell whether its time is over."""
        return self.due != OPEN and self.due <= now


def after(started: int, years: int) -> int:
    """Return an instant some years later, on the same day of the year (29 February: the 28th)."""
    if years == 0:
        return started
    moment = datetime.fromtimestamp(started / 1000, UTC)
    try:
        later = moment.replace(year=moment.year + years)
    except ValueError:
        later = moment.replace(year=moment.year + years, day=28)
    return int(later.timestamp() * 1000)


class Book(NamedTuple):
    """What clocks are read from: the last event of each stream, and the credit that a stream is about."""

    last: Mapping[str, int]
    credit: Mapping[str, str]


def read_book(store: Store) -> Book:
    """Read the last instant of every stream, and what it is about."""
    last: dict[str, int] = {}
    credit: dict[str, str] = {}
    for place in store.topics.all_at("events", ("trade", "compliance")):
        _read_place(store, place, last, credit)
    return Book(last, credit)


def _read_place(
    store: Store, place: TopicPartition, last: dict[str, int], credit: dict[str, str]
) -> None:
    closed = store.closed
    for record in store.log.scan(place, store.log.begin(place), None, 5_000):
        stream = (record.key or b"").decode()
        said = header(record.headers, "ce_time")
        last[stream] = parse_instant(said.decode()) if said else record.timestamp
        message = closed.message(record.headers, record.value)
        about = str(getattr(message, "credit", "") or getattr(message, "subject_stream", ""))
        if about and stream not in credit:
            credit[stream] = about


def clock_of_stream(store: Store, book: Book, stream: str, settled: Iterable[str]) -> Clock:
    """Return the clock of one stream."""
    parts, last = key_parts(stream), book.last.get(stream, 0)
    if parts.category == "case":
        case = store.history.fold(store.deciders["case"], stream)
        if case.stage != "closed":
            return Clock(SANCTIONS, 0, OPEN, IN_PROCESS)
        return _counted(SANCTIONS, last, IN_PROCESS)
    about = book.credit.get(stream, "")
    credit = stream if parts.category == "credit" else about
    if credit and credit.count("/") < 2:
        credit = f"{parts.tenant}/credit/{credit}"
    if not credit or credit not in book.last:
        return _counted(TRADE, last, f"{parts.category} {parts.identity}")
    state = store.history.fold(store.deciders["credit"], credit)
    name = f"credit {state.credit or key_parts(credit).identity}"
    if state.state not in settled or state.anything_open:
        now = state.state.lower().replace("_", " ") or "not begun"
        return Clock(TRADE, 0, OPEN, f"{name} is {now}")
    ended = max(last, book.last[credit])
    return _counted(APPLICATION if state.state in NOTHING_CAME else TRADE, ended, name)


def _counted(retention: str, started: int, name: str) -> Clock:
    kept = rules().of(retention)
    due = after(started, kept.years)
    why = f"{name} ended {day(started)}: class {retention} keeps it until {day(due)}"
    return Clock(retention, started, due, why)


def clock_of_person(streams: Iterable[Clock]) -> Clock:
    """Return the clock of a person: from the end of the last instrument, never before what is theirs."""
    found = list(streams)
    if not found:
        return Clock(RELATIONSHIP, 0, 0, "nothing is kept of them")
    running = next((c for c in found if c.due == OPEN), None)
    if running is not None:
        return Clock(RELATIONSHIP, 0, OPEN, running.why)
    bound = [c.started for c in found if c.retention in (TRADE, SANCTIONS)]
    started = max(c.started for c in found)
    related = after(max(bound), rules().of(RELATIONSHIP).years) if bound else started
    longest = max(found, key=lambda c: c.due)
    if longest.due >= related:
        return Clock(RELATIONSHIP, started, longest.due, longest.why)
    why = f"the relationship ended {day(max(bound))}: it is kept until {day(related)}"
    return Clock(RELATIONSHIP, started, related, why)


def day(instant: int) -> str:
    """Return the day of an instant."""
    return iso(instant)[:10] if instant else ""
