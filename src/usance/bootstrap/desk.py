"""A data folder for one command: as its owner where nobody owns it, else beside the one who does.

Beside an owner a command appends and follows the outcomes; where none is, it runs every part itself
until its outcome and all that follows from it are in the log. A reader takes the folder only for as
long as its views need to catch up.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from usance.adapters.intake import input_command
from usance.adapters.sqlite_store import FolderLock
from usance.adapters.swift_files import FILE_LIMIT, INPUT_MAX, make_folders
from usance.bootstrap.backend import demand_log, log_exists, open_log, owners_running, passing
from usance.bootstrap.breaking import behind_glass, handed_over
from usance.bootstrap.people import Directory, read_directory
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, Preview, Store, make_projector, make_queries, open_views
from usance.config import Settings
from usance.engine import genesis as birth
from usance.engine.reactors.reactor import Commands, Outgoing
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock, Clock, SystemClock, parse_instant
from usance.kernel.decider import Actor
from usance.kernel.errors import Owned, Unavailable, Unreadable
from usance.log.contract import Log, Output, TopicPartition, header
from usance.messages.inputs import split_inputs
from usance.messages.outcome import Outcome
from usance.views.queries import Queries

ANSWER_TIMEOUT_S = 30.0
CATCH_UP_S = 2.0
POLL_S = 0.01
FOOTER_WITHIN = 8
"""Offsets at the end of an outcomes partition among which a unit's footer is."""
ELSEWHERE = -1
"""Stands for the pid of owners on other machines."""
TAKE_OVER_POLLS = 25
"""Polls between looks whether the owner has gone."""

_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]")


class Answered(NamedTuple):
    """One input of a file and what became of it; no outcome: it was not decided in time."""

    ordinal: int
    command_id: str
    outcome: Outcome | None


class Desk:
    """A data folder opened for one command. `owner` is the pid of another owner, 0 without one."""

    def __init__(
        self, folder: Folder, settings: Settings, clock: Clock, runtime: Runtime | None, owner: int
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = clock
        self.runtime = runtime
        self.owner = owner
        self.lag = 0
        self.store = runtime.store if runtime else Store(folder, settings, clock, owner=False)
        self.views = runtime.views if runtime else open_views(folder, settings)
        self.queries: Queries = make_queries(self.store, self.views)
        self.cards = self.store.cards
        self.directory: Directory = read_directory(folder.people)

    def preview(self, key: str, command: Any, actor: Actor) -> Preview:
        """Decide a command against what is recorded; records nothing."""
        return self.store.preview(key, self._without_cards(command), actor)

    def ask(self, outgoing: Outgoing) -> Outcome:
        """Append a command and wait for its outcome; raises Unavailable when none comes in time."""
        outgoing = outgoing._replace(command=self._without_cards(outgoing.command))
        since, now = self._ends(), self.clock.now()
        if behind_glass(outgoing):
            noting, begun = handed_over(outgoing), dict(since)
            self.store.commands().append([noting], now)
            noted = self._await([noting.id], since)[0]
            if noted is not None and noted.answer not in ("accepted", "duplicate"):
                return noted
            since = begun
        else:
            self.store.commands().append([outgoing], now)
        found = self._await([outgoing.id], since)[0]
        if found is None:
            raise Unavailable(
                "no answer came in time",
                hint=f"The command is kept and will be decided once, as {outgoing.id}.",
            )
        return found

    def send_all(
        self, outputs: Sequence[Output], ids: Sequence[str], commands: Commands
    ) -> list[Outcome | None]:
        """Append records and wait for the outcomes of their commands, in order."""
        since = self._ends()
        commands.write(outputs)
        return self._await(ids, since)

    def hand_in(self, name: str, data: bytes, ids: Sequence[str]) -> list[Answered]:
        """Put a file into the gateway's folder and wait for the outcomes of its inputs' commands.

        Raises Unreadable for a file that the gateway would not take. Card numbers are dealt with before.
        """
        inputs = split_inputs(data)
        if len(data) > FILE_LIMIT or any(len(one) > INPUT_MAX for one in inputs):
            raise Unreadable("fetch", f"{name} is larger than one input may be", hint="Split it.")
        since = self._ends()
        self._drop(name, data)
        outcomes = self._await(ids, since)
        return [Answered(n, ids[n - 1], o) for n, o in enumerate(outcomes, 1)]

    def caught_up(self, position: str) -> bool:
        """Wait until the views hold what a command wrote (`trade.p0#12`)."""
        return not position or self.queries.wait_for(position, CATCH_UP_S)

    def _without_cards(self, command: Any) -> Any:
        """Return a command as it may be kept; raises Refused."""
        said = msgspec.json.encode(command)
        clean = self.cards.passed(said)
        return command if clean is said else msgspec.json.decode(clean, type=type(command))

    def close(self) -> None:
        """Release the folder; what was decided is durable already."""
        if self.runtime is not None:
            self.runtime.close()
        if self.runtime is None or self.store is not self.runtime.store:
            self.views.close()
            self.store.close()

    def _drop(self, name: str, data: bytes) -> None:
        inbox, _ = make_folders(self.folder.gateway)
        plain = _FILE_NAME.sub("_", name).lstrip(".") or "input"
        target, number = inbox / plain, 1
        while target.exists():
            number += 1
            target = inbox / f"{number}-{plain}"
        part = inbox / f".{target.name}.part"
        part.write_bytes(data)
        part.rename(target)

    # -- waiting

    def _ends(self) -> dict[TopicPartition, int]:
        return self.store.log.ends(self.store.topics.all_at("outcomes"))

    def _await(self, ids: Sequence[str], since: dict[TopicPartition, int]) -> list[Outcome | None]:
        """Return the outcomes of commands in order, the same id as often as it is asked for."""
        missing, found = Counter(ids), dict[str, list[Outcome]]()
        deadline = self.clock.monotonic() + ANSWER_TIMEOUT_S
        polls = 0
        while missing and self.clock.monotonic() < deadline:
            polls += 1
            self._go_on(polls)
            for outcome in self._read(since):
                if missing[outcome.command_id] > 0:
                    missing[outcome.command_id] -= 1
                    found.setdefault(outcome.command_id, []).append(outcome)
            missing = +missing
        return [found[i].pop(0) if found.get(i) else None for i in ids]

    def _go_on(self, polls: int) -> None:
        """Drive the parts, or give their owner time; take the folder over when he has gone."""
        if self.runtime is not None:
            if self.runtime.drive() == 0 and polls > 1:
                self.clock.sleep(POLL_S)
            return
        self.clock.sleep(POLL_S)
        if polls % TAKE_OVER_POLLS == 0 and self.owner != ELSEWHERE:
            try:
                self.runtime = Runtime(self.folder, self.settings, self.clock)
            except Owned:
                return
            self.runtime.drop.settle = 0

    def _read(self, since: dict[TopicPartition, int]) -> Iterable[Outcome]:
        for place in since:
            for record in self.store.log.scan(place, since[place]):
                since[place] = record.offset + 1
                message = self.store.decoder.message(record.headers, record.value)
                if isinstance(message, Outcome):
                    yield message


def intake_command(desk: Desk, data: bytes, one: bytes, name: str, ordinal: int) -> Outgoing:
    """Return the command that the gateway would make of input `ordinal` (from 1) of a file."""
    bank = desk.settings.bank
    return input_command(
        one,
        tenant=bank.tenant,
        our_bic=bank.bic,
        source=f"{name}#{ordinal}",
        file_digest=sha256(data).hexdigest(),
        ordinal=ordinal,
        causation="",
        people=desk.directory.roles(),
    )


def act(folder: Folder, settings: Settings) -> Desk:
    """Open a folder to act in it; an empty one becomes a log."""
    if settings.bootstrap_servers:
        settings = passing(settings)
        demand_log(folder.log, settings)
    clock = running(clock_of(folder, settings))
    if settings.bootstrap_servers and owners_running(settings):
        return Desk(folder, settings, clock, None, ELSEWHERE)
    try:
        runtime = Runtime(folder, settings, clock)
    except Owned as owned:
        return Desk(folder, settings, clock, None, owned.pid)
    runtime.drop.settle = 0
    return Desk(folder, settings, clock, runtime, 0)


def look(folder: Folder, settings: Settings) -> Desk:
    """Open a folder to read it, its views caught up; `lag` says how far they stayed behind.

    Raises Unavailable where no log is.
    """
    demand_log(folder.log, settings)
    desk = Desk(folder, settings, running(clock_of(folder, settings)), None, 0)
    try:
        _catch_up(desk)
    except BaseException:
        desk.close()
        raise
    return desk


def _catch_up(desk: Desk) -> None:
    projector = make_projector(desk.store, desk.views, follow=True)
    try:
        lock = FolderLock(desk.folder.root)
    except Owned as owned:
        desk.owner = owned.pid
        deadline = desk.clock.monotonic() + CATCH_UP_S
        while (lag := _lag(desk)) and desk.clock.monotonic() < deadline:
            desk.clock.sleep(POLL_S)
        desk.lag = lag
        return
    try:
        projector.open()
        while projector.step(0.0) or not projector.idle():
            pass
        projector.close()
    finally:
        lock.close()


def _lag(desk: Desk) -> int:
    """Return how many offsets the slowest view is behind, control records at an end included."""
    behind = [0]
    with desk.views.reading() as reading:
        for places in reading.checkpoints().values():
            ends = desk.store.log.ends(places)
            for place, at in places.items():
                end = ends[place]
                if at.offset < end and next(iter(desk.store.log.scan(place, at.offset, end, 1)), 0):
                    behind.append(end - at.offset)
    return max(behind)


def running(clock: Clock) -> Clock:
    """Let a book's clock tick from where it stands."""
    if isinstance(clock, BookClock):
        clock.run()
    return clock


def clock_of(folder: Folder, settings: Settings) -> Clock:
    """Return the clock of a log: a book's stands at the last instant of its log."""
    if not log_exists(folder.log, settings):
        return SystemClock()
    log = open_log(folder.log, settings, owner=False)
    try:
        found = birth.read(log, settings.namespace)
        if found is None or found.clock != "book":
            return SystemClock()
        return BookClock(max(found.founded_at, *_last_instants(log, found)))
    finally:
        log.close()


def _last_instants(log: Log, genesis: birth.Genesis) -> Iterable[int]:
    """Return the last deciding instant of each partition, as its newest footer carries it."""
    topics = Topics(genesis.namespace, genesis.partitions).there(log.topics())
    yield genesis.founded_at
    places = topics.all_at("outcomes")
    begins, ends = log.begins(places), log.ends(places)
    for place in places:
        for record in log.scan(place, max(begins[place], ends[place] - FOOTER_WITHIN)):
            told = header(record.headers, "ce_time")
            if told:
                yield parse_instant(told.decode())


def folder_of(settings: Settings) -> Folder:
    """Return the data folder that the settings name."""
    return Folder(Path(settings.data))
