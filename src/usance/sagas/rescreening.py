"""Screening again: what earlier versions of the lists cleared, held against what is new in the active ones.

Each screening is on record with its strings and its versions. Once two people activated a version, every
record of an older one is looked at again, but only for entries that its version did not have: what people
decided about the others stands. A find opens a case, and the case holds the credit in the neutral words
that any check has. What is screened meanwhile by a process that has not swapped yet is found here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any, NamedTuple, Protocol

import msgspec

from usance.aml import activation as act
from usance.aml.case import opening
from usance.aml.decision import Lines, ScreeningDecided
from usance.aml.rescreening import finds
from usance.aml.screening import Labelled, Screener
from usance.domain.credit import messages as cr
from usance.domain.credit.state import ENDED
from usance.domain.presentation.messages import PresentationReceived
from usance.engine.history import History
from usance.engine.logs import logger
from usance.engine.reactors.reactor import Commands, Outgoing
from usance.engine.topics import Topics
from usance.kernel.clock import Clock, date_text
from usance.kernel.decider import WITHHELD, Actor, key_parts
from usance.kernel.errors import NotFound
from usance.kernel.ids import derived
from usance.log.contract import Log, Record, TopicPartition, header
from usance.sagas.facts import beside

AGAIN = "again:"
"""What a check that came up again is called, before a mark that says nothing of lists or cases."""
STEP_RECORDS = 200
_NAME = ScreeningDecided.__name__
_PROGRAM = Actor("engine", "", "system")
_log = logger("rescreening")


class Book(Protocol):
    """The stream of list versions."""

    key: str

    @property
    def read_to(self) -> int:
        """How far `state` has read."""
        ...

    def moved(self) -> bool:
        """Tell whether there is more than `state` told."""
        ...

    def state(self) -> act.ListState:
        """Return what is active."""
        ...


class Lists(Protocol):
    """What this process screens with, and what earlier versions held."""

    def active(self) -> Mapping[str, str] | None:
        """Return the contents that the screener holds, by list; None while it is being made."""
        ...

    def since(self, named: tuple[str, ...]) -> Screener | None:
        """Return what finds the entries that a screening under these versions could not; None: there are none."""
        ...


class Tally:
    """Counts of one pass."""

    def __init__(self) -> None:
        self.streams = self.strings = self.cases = self.over = self.erased = 0


class Found(NamedTuple):
    """One find: the case to open and what caused it."""

    key: str
    command: Any
    id: str
    correlation: str


class Rescreening:
    """Follows recorded screenings; `closed` when another process does it."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        decoder: Any,
        history: History,
        commands: Commands,
        book: Book,
        lists: Lists,
        credit: Any,
        clock: Clock,
    ) -> None:
        self.log, self.decoder, self.history, self.commands = log, decoder, history, commands
        self.book, self.lists, self.credit, self.clock = book, lists, credit, clock
        numbers = range(topics.partitions)
        self._places = [topics.at("compliance", "events", number) for number in numbers]
        self._state: act.ListState | None = None
        self._contents: dict[str, str] = {}
        self._at: dict[TopicPartition, int] = {}
        self._tally = Tally()
        self._told = True

    def open(self) -> None:
        """Begin, or begin anew: what was done is in the log."""
        self._contents = {}

    def close(self) -> None:
        """End; nothing is kept that the log does not have."""

    def step(self, wait: float = 0.0) -> int:
        """Look at some records again; returns how many were read."""
        if self._state is None or self.book.moved():
            self._state = self.book.state()
        state, wanted = self._state, self._state.contents
        if not wanted or self.lists.active() != wanted:
            self.clock.sleep(wait)
            return 0
        if self._contents != wanted:
            self._begin(wanted, state)
        read = sum(self._look(place) for place in self._places)
        if not read and not self._told:
            self._tell()
            return 1
        if not read and wait > 0:
            self.log.wait(self._at, wait)
        return read

    def _begin(self, wanted: dict[str, str], state: act.ListState) -> None:
        """Begin a pass; what one of these versions was recorded for already is not read again."""
        self._contents, self._tally = wanted, Tally()
        self._told = state.rescreened == wanted
        ends = state.ends if self._told else [0] * len(self._places)
        self._at = dict(zip(self._places, ends, strict=True))

    def _look(self, place: TopicPartition) -> int:
        """Look at the next records of a partition; finds are in the log before its place moves on."""
        start, end = max(self._at[place], self.log.begin(place)), self.log.end(place)
        if start >= end:
            return 0
        scan = self.decoder.with_keys(self.log.scan(place, start, end, STEP_RECORDS))
        records = list(islice(scan, STEP_RECORDS))
        before = copy(self._tally)
        try:
            self._send([case for record in records for case in self._again(record)])
        except BaseException:
            self._tally = before  # they are looked at once more
            raise
        after = records[-1].offset + 1 if len(records) == STEP_RECORDS else end
        self._at[place] = after
        return after - start

    def _send(self, found: Sequence[Found]) -> None:
        sent = [
            Outgoing(f.key, f.command, f.id, f"check:{f.id}", f.correlation, _PROGRAM)
            for f in found
        ]
        if sent:
            self.commands.append(sent, self.clock.now())

    def _again(self, record: Record) -> Iterator[Found]:
        """Give the case that a recorded screening makes under today's versions."""
        name = (header(record.headers, "ce_type") or b"").decode().rsplit(".", 1)[-1]
        if name != _NAME:
            return
        event = self.decoder.message(record.headers, record.value)
        screener = self.lists.since(tuple(event.list_versions))
        if screener is None:
            return
        tally = self._tally
        tally.streams += 1
        if isinstance(event.lines, WITHHELD):
            tally.erased += 1
            return
        yield from self._found(event, event.lines, screener, record)

    def _found(
        self, event: ScreeningDecided, lines: Lines, screener: Screener, record: Record
    ) -> Iterator[Found]:
        tally = self._tally
        strings = [Labelled(field=s.field, kind=s.kind, text=s.text) for s in lines.lines]
        tally.strings += len(strings)
        meta = self.decoder.meta(record.headers)
        report = finds(screener.screen_parties(strings, date_text(self.clock.now())))
        if report.band == "clear":
            return
        if self._over(event.subject_stream):
            tally.over += 1
            return
        tally.cases += 1
        case = opening(
            report,
            subject=lines.subject,
            subject_stream=event.subject_stream,
            saga="",
            step="",
            source_event=event.source_event,
        )
        mark = derived("again", case.case_id).replace("-", "")[:12]
        case = msgspec.structs.replace(case, step=AGAIN + mark)
        key = beside(event.subject_stream, "case", case.case_id)
        made = derived(key, event.source_event, *sorted(self._contents.values()))
        yield Found(key, case, made, meta.correlation)

    def _over(self, stream: str) -> bool:
        """Tell whether nothing can come of the business any more."""
        state = self.history.fold(self.credit, credit_of(stream, self.history))
        return state.state in ENDED

    def _tell(self) -> None:
        """Record the pass; once, whoever else does it too."""
        tally, ends = self._tally, [self._at[place] for place in self._places]
        command = act.RecordRescreening(
            contents=self._contents,
            ends=ends,
            streams=tally.streams,
            strings=tally.strings,
            cases=tally.cases,
            over=tally.over,
            erased=tally.erased,
        )
        # The same versions may be active twice: what tells passes apart is how far the stream of lists was read.
        made = derived("rescreened", self.book.read_to)
        self.commands.append(
            [Outgoing(self.book.key, command, made, f"check:{made}", actor=_PROGRAM)],
            self.clock.now(),
        )
        self._told = True
        _log.info("lists_rescreened", count=tally.streams)


def credit_of(stream: str, history: History) -> str:
    """Return the key of the credit that a screened stream is about; raises NotFound."""
    if key_parts(stream).category == "credit":
        return stream
    for past in history.stream(stream):
        if isinstance(past.message, PresentationReceived):
            return beside(stream, "credit", past.message.credit)
    raise NotFound(f"nothing says which credit {stream} is about", hint="Look at its events.")


def hold(stream: str, step: str, history: History) -> list[tuple[str, Any]]:
    """Return what holds a credit while a case about an earlier screening is open."""
    return [(credit_of(stream, history), cr.BeginComplianceCheck(check=step))]
