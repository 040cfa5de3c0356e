"""The reading half of the embedded log: pooled connections, topics, positions, scans, waking up.

Reading runs on the caller's thread. What this process commits wakes those who wait for one of the
partitions it went to; what another process appends is noticed by `PRAGMA data_version`. The newest
records of each partition are kept as they were read, because all parts of a process follow the same.
"""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from usance.adapters import sqlite_rows, sqlite_store
from usance.adapters.sqlite_member import SqliteMember
from usance.adapters.sqlite_store import FileWatch
from usance.kernel.clock import Clock
from usance.kernel.errors import NotFound, Tampered, Unavailable, UsanceError
from usance.log.contract import (
    UNIT_RECORDS_MAX,
    Batch,
    Membership,
    Record,
    TopicPartition,
    TopicSettings,
)

MARK = 0x55_53_4C_47
FORMAT_VERSION = 1
POLL_SECONDS = 0.01
READ_BYTES_MAX = 16 * 1024 * 1024
READ_SECONDS = 0.05
FRESH_SECONDS = 0.001
"""How long bounds read from the database may be used for what other processes append."""

TAIL_RECORDS_MAX = 1_000
"""Newest records of a partition that are kept for the next one who reads them."""
AHEAD_RECORDS = 256
"""Records of a partition that are read at once, whatever the step of the one who reads on."""

_UNKNOWN: tuple[int, float, dict[int, tuple[int, int]]] = (-1, 0.0, {})


class _Tail(NamedTuple):
    """Every record of a partition from offset `start` to before `end`, as it was read."""

    start: int
    end: int
    records: list[Record]


class _Sleeper:
    """Who waits for records of some partitions."""

    __slots__ = ("partitions", "woken")

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        self.woken = threading.Event()


class SqliteReader:
    """Everything of the log contract that only reads."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._pool: deque[sqlite3.Connection] = deque()
        self._closed = False
        self._sleepers: dict[_Sleeper, None] = {}
        self._tails: dict[TopicPartition, _Tail] = {}
        self._commits = 0
        self._bounds_of = _UNKNOWN
        self._topics: dict[str, TopicSettings] = {}
        self._places: dict[tuple[str, int], int] = {}
        self._fetch: dict[tuple[str, int], str] = {}
        # Held for life: the last connection to close would delete the write-ahead log.
        self._anchor = self._connect()
        self._watch = FileWatch(path)
        self._load_topics()

    def topics(self) -> dict[str, TopicSettings]:
        """Return all topics by name, those that other processes created included."""
        self._load_topics()
        return dict(self._topics)

    def _load_topics(self) -> None:
        with self._reader() as connection:
            topics = connection.execute("SELECT * FROM topic").fetchall()
            places = connection.execute("SELECT topic, partition, id FROM place").fetchall()
        self._topics = {row[0]: TopicSettings(*row) for row in topics}
        for topic, partition, place in places:
            at = (topic, partition)
            self._fetch[at] = sqlite_rows.fetch_statement(sqlite_rows.table(topic, partition))
            self._places[at] = place

    def _place(self, at: tuple[str, int]) -> int:
        if at not in self._places:
            self._load_topics()
        place = self._places.get(at)
        if place is None:
            raise NotFound(
                f"the log has no topic {at[0]} with a partition {at[1]}",
                hint="create the topic first; `usance topic list` shows what exists",
            )
        return place

    def positions(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the committed positions of a group; partitions without one are left out."""
        with self._reader() as connection:
            rows = connection.execute(
                'SELECT topic, partition, "offset" FROM position JOIN place ON place = id'
                " WHERE name = ?",
                (group,),
            ).fetchall()
        found = {TopicPartition(row[0], row[1]): row[2] for row in rows}
        return {p: found[p] for p in partitions if p in found}

    def position(self, group: str, partition: TopicPartition) -> int | None:
        """Return the group's committed position; None means certainly none."""
        return self.positions(group, [partition]).get(partition)

    # --- reading ----------------------------------------------------------------------------

    def read(self, member: Membership, max_records: int, wait: float) -> Batch:
        """Return committed records of the owned, unpaused partitions, at most `max_records`.

        Partitions share the bound fairly; one call spends at most `READ_SECONDS` reading. Raises
        Unavailable (a partition without a position) or Tampered (a position outside the log).
        """
        assert isinstance(member, SqliteMember)
        records: dict[TopicPartition, list[Record]] = {}

        def attempt(connection: sqlite3.Connection) -> bool:
            records.update(self._read_owned(connection, member, max_records, now=wait > 0))
            return bool(records)

        self._until(attempt, wait, member.owned())
        for partition, run in records.items():
            member.seek(partition, run[-1].offset + 1)
        fence = member.fence if member.owned() else member.fence._replace(ownership=())
        return Batch(records, fence)

    def exhausted(self, member: Membership) -> bool:
        """Tell whether the member has read all that was committed before the call."""
        assert isinstance(member, SqliteMember)
        if not member.owned():
            return False
        wanted = member.wanted()
        with self._reader() as connection:
            bounds = self._standing(connection, member.group, wanted, self._bounds)
            return not any(
                self._fetch_run(connection, partition, offset, bounds[partition][1], 1)
                for partition, offset in wanted
                if offset < bounds[partition][1]
            )

    def _read_owned(
        self, connection: sqlite3.Connection, member: SqliteMember, max_records: int, *, now: bool
    ) -> dict[TopicPartition, list[Record]]:
        wanted = member.wanted()
        if not wanted:
            return {}
        bounds_of = (
            self._bounds_now if now else self._bounds
        )  # what is waited for must not be missed
        bounds = self._standing(connection, member.group, wanted, bounds_of)
        ready = [(p, offset, bounds[p][1]) for p, offset in wanted if offset < bounds[p][1]]
        records: dict[TopicPartition, list[Record]] = {}
        deadline = self._clock.monotonic() + READ_SECONDS
        left = min(max_records, UNIT_RECORDS_MAX)
        for done, (partition, offset, end) in enumerate(ready):
            share = -(-left // (len(ready) - done))
            if share <= 0 or (records and self._clock.monotonic() > deadline):
                break
            run = self._fetch_run(connection, partition, offset, end, share, sure=True)
            if run:
                records[partition] = run
                left -= len(run)
            else:
                member.seek(partition, end)
        return records

    def _standing(
        self,
        connection: sqlite3.Connection,
        group: str,
        wanted: Sequence[tuple[TopicPartition, int]],
        bounds_of: Callable[..., dict[TopicPartition, tuple[int, int]]],
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return the bounds of what is to be read; raises Tampered for a reader that stands outside them.

        What memory says of an end may be older than what this reader has read already: who seems to stand
        outside is held against the database.
        """
        partitions = [p for p, _ in wanted]
        bounds = bounds_of(connection, partitions)
        if any(not bounds[p][0] <= offset <= bounds[p][1] for p, offset in wanted):
            bounds = self._bounds_now(connection, partitions)
            _check_places(group, wanted, bounds)
        return bounds

    def _bounds(
        self, connection: sqlite3.Connection, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first kept and the next offset of partitions.

        What this process commits is seen at once, what others append within FRESH_SECONDS: parts at
        rest ask for this thousands of times a second, and ask memory.
        """
        known = self._known_bounds(connection)
        found = {}
        for partition in partitions:
            place = self._place(partition)
            if place not in known:
                known = self._read_bounds(connection)
            found[partition] = known[place]
        return found

    def _bounds_now(
        self, connection: sqlite3.Connection, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return bounds as this connection sees them, its own open changes included."""
        wanted = {self._place(p): p for p in partitions}
        text = msgspec.json.encode(list(wanted)).decode()
        row = connection.execute(
            "SELECT json_group_array(json_array(id, start, next)) FROM place"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (text,),
        ).fetchone()
        return {wanted[i]: (start, end) for i, start, end in msgspec.json.decode(row[0])}

    def _known_bounds(self, connection: sqlite3.Connection) -> dict[int, tuple[int, int]]:
        commits, checked, known = self._bounds_of
        if commits == self._commits and self._clock.monotonic() - checked < FRESH_SECONDS:
            return known
        return self._read_bounds(connection)

    def _read_bounds(self, connection: sqlite3.Connection) -> dict[int, tuple[int, int]]:
        commits, now = self._commits, self._clock.monotonic()
        row = connection.execute(
            "SELECT json_group_array(json_array(id, start, next)) FROM place"
        ).fetchone()
        known = {i: (start, end) for i, start, end in msgspec.json.decode(row[0])}
        self._bounds_of = (commits, now, known)
        return known

    def _fetch_run(
        self,
        connection: sqlite3.Connection,
        partition: TopicPartition,
        start: int,
        mark: int,
        count: int,
        *,
        sure: bool = False,
    ) -> list[Record]:
        """Return records from an offset to before `mark`, from memory where they are in it.

        `sure`: everything before `mark` is committed, so that what is not found will never come.
        """
        tail = self._tails.get(partition)
        if tail is not None and tail.start <= start < tail.end:
            at = bisect_left(tail.records, start, key=_offset)
            run = tail.records[at : at + count]
            if run and run[-1].offset >= mark:
                return [r for r in run if r.offset < mark]
            if len(run) < count and tail.end < mark:
                left = count - len(run)
                run += self._fetch_run(connection, partition, tail.end, mark, left, sure=sure)
            return run
        # A reader that follows in small steps finds the next ones in memory.
        ahead = max(count, AHEAD_RECORDS) if sure else count
        run = self._fetched(connection, partition, start, mark, ahead)
        if len(run) <= TAIL_RECORDS_MAX and (tail is None or start >= tail.end):
            before = tail.records if tail is not None and tail.end == start else []
            kept = [*before[max(0, len(before) + len(run) - TAIL_RECORDS_MAX) :], *run]
            whole = sure and len(run) < ahead and _bytes(run) < READ_BYTES_MAX // 2
            end = mark if whole else run[-1].offset + 1 if run else start
            if kept:
                self._tails[partition] = _Tail(kept[0].offset, end, kept)
        return run[:count]

    def _fetched(
        self,
        connection: sqlite3.Connection,
        partition: TopicPartition,
        start: int,
        mark: int,
        count: int,
    ) -> list[Record]:
        row = connection.execute(
            self._fetch[partition], (start, mark, count, READ_BYTES_MAX)
        ).fetchone()
        try:
            return sqlite_rows.unpack(partition.topic, partition.partition, row)
        except (msgspec.MsgspecError, ValueError, TypeError, AssertionError) as broken:
            if count > 1:  # one by one, so that the first damaged record is the one named
                return self._fetched(connection, partition, start, mark, 1)
            raise Tampered(
                f"a record of {partition.topic} partition {partition.partition}, at offset {start}"
                " or the next one kept, is not as it was written",
                hint="keep a copy of the folder as evidence and restore the last backup",
            ) from broken

    def scan(
        self,
        partition: TopicPartition,
        start: int,
        mark: int | None = None,
        max_records: int = 1_000,
    ) -> Iterator[Record]:
        """Read committed records from `start`, or the first one kept, to before `mark`."""
        self._place(partition)
        stop = self.end(partition) if mark is None else mark
        at = start
        while at < stop:
            with self._reader() as connection:
                run = self._fetch_run(connection, partition, at, stop, max_records)
            if not run:
                return
            yield from run
            at = run[-1].offset + 1

    def begin(self, partition: TopicPartition) -> int:
        """Return the first offset still kept (the log start)."""
        with self._reader() as connection:
            return self._bounds(connection, [partition])[partition][0]

    def end(self, partition: TopicPartition) -> int:
        """Return one past the last offset given out, commit markers included."""
        with self._reader() as connection:
            return self._bounds(connection, [partition])[partition][1]

    def begins(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets still kept."""
        with self._reader() as connection:
            return {p: at[0] for p, at in self._bounds(connection, partitions).items()}

    def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return one past the last offsets given out."""
        with self._reader() as connection:
            return {p: at[1] for p, at in self._bounds(connection, partitions).items()}

    def wait(self, beyond: Mapping[TopicPartition, int], timeout: float) -> bool:
        """Block until any partition's end passes the given offset, or `timeout` seconds."""
        partitions = list(beyond)

        def passed(connection: sqlite3.Connection) -> bool:
            bounds_of = self._bounds_now if timeout > 0 else self._bounds
            bounds = bounds_of(connection, partitions)
            return any(bounds[p][1] > beyond[p] for p in partitions)

        return self._until(passed, timeout, partitions)

    def _until(
        self,
        attempt: Callable[[sqlite3.Connection], bool],
        timeout: float,
        partitions: Iterable[TopicPartition],
    ) -> bool:
        """Try at once and after each change of partitions until true or `timeout` seconds."""
        deadline = self._clock.monotonic() + timeout
        sleeper = _Sleeper(partitions)
        woken = sleeper.woken
        self._sleepers[sleeper] = None
        try:
            with self._reader() as connection:
                while True:
                    woken.clear()
                    version = _data_version(connection)
                    if attempt(connection):
                        return True
                    while not woken.is_set() and _data_version(connection) == version:
                        left = deadline - self._clock.monotonic()
                        if left <= 0 or self._closed:
                            return False
                        woken.wait(min(left, POLL_SECONDS))
                        self._watch.check()
        finally:
            del self._sleepers[sleeper]

    def _notify(self, touched: set[TopicPartition] | None = None) -> None:
        """Wake who waits for one of these partitions; None wakes everybody."""
        self._commits += 1
        for sleeper in list(self._sleepers):
            if touched is None or not touched.isdisjoint(sleeper.partitions):
                sleeper.woken.set()

    # --- connections ------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite_store.connect(self._path, query_only=True)
        try:
            known = sqlite_store.check_format(
                connection, self._path, mark=MARK, version=FORMAT_VERSION
            )
        except sqlite3.Error as exc:
            connection.close()
            raise sqlite_store.explained(exc, self._path, "read") from exc
        except UsanceError:
            connection.close()
            raise
        if not known:
            connection.close()
            raise Unavailable(f"{self._path} is not a log yet", hint="start its owner once")
        return connection

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """Lend a read connection of the pool; errors come out in the words of our tree."""
        if self._closed:
            raise Unavailable("the log is closed", hint="open it again")
        try:
            connection = self._pool.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        except sqlite3.Error as exc:
            connection.close()
            raise sqlite_store.explained(exc, self._path, "read") from exc
        except BaseException:
            self._pool.append(connection)
            raise
        if self._closed:
            connection.close()
        else:
            self._pool.append(connection)

    def _close_readers(self) -> None:
        self._closed = True
        self._notify()
        while self._pool:
            self._pool.pop().close()
        self._anchor.close()

    def integrity(self) -> list[str]:
        """Return the findings of SQLite's quick check; empty when the file is sound."""
        with self._reader() as connection:
            return sqlite_store.quick_check(connection)


def _offset(record: Record) -> int:
    return record.offset


def _bytes(records: list[Record]) -> int:
    return sum([len(r.value or b"") + sum([len(v) for _, v in r.headers]) for r in records])


def _data_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version


def _check_places(
    group: str,
    wanted: Sequence[tuple[TopicPartition, int]],
    bounds: Mapping[TopicPartition, tuple[int, int]],
) -> None:
    """Raise Tampered for a reader that stands outside the log."""
    for partition, offset in wanted:
        start, end = bounds[partition]
        if not start <= offset <= end:
            raise _outside(group, partition, offset, start, end)


def _outside(group: str, partition: TopicPartition, offset: int, start: int, end: int) -> Tampered:
    where = f"{partition.topic} partition {partition.partition}"
    return Tampered(
        f"group {group} stands at offset {offset} of {where}, which holds {start} to {end}",
        hint="the log was cut or replaced: restore it, or move the group with `usance topic seek`",
    )
