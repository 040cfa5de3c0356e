"""The embedded log: every topic of a data folder in one SQLite database, one table per partition.

This half writes: units, appends, positions, epochs, retention. Every change is a job of the writer
thread; reading is in `sqlite_read`. Rule numbers are those of protocol.md.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from usance.adapters import sqlite_rows, sqlite_store
from usance.adapters.sqlite_member import SqliteMember
from usance.adapters.sqlite_read import FORMAT_VERSION, MARK, SqliteReader
from usance.adapters.sqlite_rows import Packed
from usance.adapters.sqlite_store import FolderLock
from usance.adapters.sqlite_writer import Job, Writer
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Conflict, Fenced, Refused, Unavailable
from usance.kernel.ids import Ids, RandomIds
from usance.log.contract import (
    Membership,
    Output,
    Pending,
    Receipt,
    Staged,
    Start,
    TopicPartition,
    TopicSettings,
    Unit,
)

DELETE_ROWS = 10_000
OFFSET_MAX = (1 << 63) - 1
TOPIC_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")

T = TypeVar("T")


class SqliteUnit:
    """A unit packed for the writer; nothing of it is in the database before its commit."""

    def __init__(self, unit: Unit, packed: Packed) -> None:
        self.unit = unit
        self.packed = packed
        self.pending: Job[Receipt] | None = None


class SqliteLog(SqliteReader):
    """The log contract on one WAL database. See `open`."""

    def __init__(self, path: Path, clock: Clock, ids: Ids, lock: FolderLock | None) -> None:
        super().__init__(path, clock)
        self._ids = ids
        self._lock = lock
        self._owns_lock = False
        self._triggers: set[int] = set()
        self._members: dict[str, SqliteMember] = {}
        self._chains: dict[str, _Chain] = {}
        self._receipts = 0
        self._touched: set[TopicPartition] = set()
        self._writer = Writer(
            path,
            clock,
            prepare=self._prepare,
            uncertain=self._chains.clear,
            committed=self._committed,
        )

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        owner: bool = True,
        lock: FolderLock | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> SqliteLog:
        """Open the log at `path`, such as `data/log.sqlite`.

        An owner creates it when missing, holds the folder's lock (`lock`, or one taken here) and
        may join groups; others (`owner=False`) read, append and set positions beside it. Raises
        Unavailable (owned by another process, network file system, newer format, no log, read-only
        folder) or Tampered (damaged file).
        """
        clock, ids = clock or SystemClock(), ids or RandomIds()
        sqlite_store.refuse_network(path.parent)
        if not owner:
            return cls(path, clock, ids, None)
        held = lock or FolderLock(path.parent)
        try:
            _format(path)
            log = cls(path, clock, ids, held)
        except BaseException:
            if lock is None:
                held.close()
            raise
        log._owns_lock = lock is None
        return log

    # --- topics -----------------------------------------------------------------------------

    def create_topic(self, settings: TopicSettings) -> TopicSettings:
        """Create a topic unless it exists; returns it as stored, with its topic id."""
        if not TOPIC_NAME.fullmatch(settings.name) or settings.partitions < 1:
            raise Refused(
                "BAD_TOPIC",
                f"a topic cannot be named {settings.name!r} with {settings.partitions} partitions",
                hint="use lower-case letters, digits, dots and dashes, and one partition or more",
            )
        if settings.name not in self._topics:
            fresh = settings._replace(topic_id=settings.topic_id or self._ids.fresh())
            self._do(lambda connection: _insert_topic(connection, fresh))
            self._load_topics()
        return self._topics[settings.name]

    def settle_topic(self, wanted: TopicSettings) -> None:
        """Keep an existing topic as it must be kept; its partitions and its id stay."""
        sql = "UPDATE topic SET cleanup = ?, retention_ms = ? WHERE name = ?"
        said = (wanted.cleanup, wanted.retention_ms, wanted.name)
        self._do(lambda connection: connection.execute(sql, said) and None)
        self._load_topics()

    # --- groups -----------------------------------------------------------------------------

    def join(self, group: str, topics: Sequence[str]) -> Membership:
        """Enter a consumer group as its only member; an earlier member is fenced and loses all.

        Raises Unavailable without the folder lock, NotFound for an unknown topic.
        """
        if self._lock is None:
            raise Unavailable(
                f"group {group} can only be joined by the process that owns the data folder",
                hint="open the log as its owner, or read with `scan`",
            )
        known = self.topics()
        for topic in topics:
            self._place((topic, 0))
        partitions = tuple(
            TopicPartition(topic, p) for topic in topics for p in range(known[topic].partitions)
        )
        epoch = self._do(lambda connection: _raise_epoch(connection, group))
        member = SqliteMember(self, group, epoch, partitions)
        earlier = self._members.get(group)
        if earlier is not None:
            earlier.lose()
        self._members[group] = member
        self._chains.pop(group, None)
        return member

    def leave(self, member: SqliteMember) -> None:
        """Forget a member that closes: what it has handed over commits, nothing of it after that."""
        if self._members.get(member.group) is member:
            del self._members[member.group]
            with suppress(Unavailable):  # the log is closed, and its chains with it
                self._do(lambda _: self._chains.pop(member.group, None))

    def set_positions(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Record positions outside a unit, durably before this returns."""
        rows = [(group, self._place(p), offset) for p, offset in positions.items()]
        sql = "INSERT OR REPLACE INTO position VALUES (?, ?, ?)"
        self._do(lambda connection: connection.executemany(sql, rows) and None)
        member = self._members.get(group)
        if member is not None:
            member.given(positions)

    # --- writing ----------------------------------------------------------------------------

    def start(self, member: Membership) -> Start:
        """Begin a receipt chain for the group's member. Raises Fenced for an earlier member."""
        assert isinstance(member, SqliteMember)
        group, epoch = member.group, member.fence.epoch

        def begin(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "SELECT epoch, units FROM owner WHERE name = ?", (group,)
            ).fetchone()
            if row is None or row[0] != epoch:
                raise Fenced(sqlite_rows.FENCED_EPOCH, hint="rejoin the group and take over again")
            self._chains[group] = _Chain(epoch, row[1])

        self._do(begin)
        return Start(epoch)

    def stage(self, unit: Unit) -> SqliteUnit:
        """Pack a unit's outputs on the caller's thread; nothing is visible.

        Raises Unreadable (a bound is passed: bisect) or NotFound (unknown topic or partition).
        """
        held = {partition for partition, _ in unit.fence.ownership}
        assert held.issuperset(unit.positions), "positions outside the fence"
        assert unit.positions.keys() == unit.starts.keys(), "positions and starts differ"
        packed = sqlite_rows.pack((*unit.outputs, *unit.footers), self._place, "a unit")
        return SqliteUnit(unit, packed)

    def commit(self, staged: Staged, after: Receipt | Start) -> Pending:
        """Commit outputs, positions and fence as one statement in the writer's next group.

        `after` must be the last receipt of the group's chain, or its start; anything else is
        answered with Fenced, which is how a mistake in pipelining shows.
        """
        assert isinstance(staged, SqliteUnit) and staged.pending is None, (
            "staged elsewhere or twice"
        )
        job: Job[Receipt] = Job(
            lambda connection: self._apply(connection, staged, after),
            size=len(staged.packed.body),
            committed=lambda receipt: self._advance(staged.unit.fence.group, receipt),
        )
        staged.pending = self._writer.submit(job)
        return job

    def _apply(
        self, connection: sqlite3.Connection, staged: SqliteUnit, after: Receipt | Start
    ) -> Receipt:
        unit, packed = staged.unit, staged.packed
        chain = self._chains.get(unit.fence.group)
        expected = after.number if isinstance(after, Receipt) else -after.fence_epoch
        if chain is None or chain.last != expected:
            raise Fenced(
                "the unit does not follow the last receipt of its owner",
                hint="abort, rewind and take over again",
            )
        now = self._clock.now()
        positions = [(self._place(p), unit.starts[p], n) for p, n in unit.positions.items()]
        moved = msgspec.json.encode(positions).decode()
        group, epoch = unit.fence.group, unit.fence.epoch
        row = (group, epoch, chain.units + 1, moved, now, packed.plan, packed.body)
        self._put(connection, sqlite_rows.PUT_UNIT, row, packed, 1 + len(positions))
        self._receipts += 1
        return Receipt(self._receipts, now)

    def _put(
        self,
        connection: sqlite3.Connection,
        statement: str,
        row: tuple[object, ...],
        packed: Packed,
        others: int = 0,
    ) -> None:
        """Run the one statement of a unit or append, and count what it changed."""
        self._ready(connection, packed)
        self._touched.update(packed.counts)
        before = connection.total_changes
        try:
            connection.execute(statement, row)
        except sqlite3.IntegrityError as exc:
            raise Fenced(str(exc), hint="abort, rewind and take over again") from exc
        expected = sum(packed.counts.values()) + len(packed.counts) + others
        assert connection.total_changes - before == expected, "a trigger lost or doubled records"

    def _committed(self) -> None:
        """Wake those who wait for what a group of jobs has written; runs on the writer thread."""
        touched, self._touched = self._touched, set()
        self._notify(touched)

    def _advance(self, group: str, receipt: Receipt) -> None:
        chain = self._chains.get(group)
        if chain is not None:
            chain.units += 1
            chain.last = receipt.number

    def abort(self, staged: Staged) -> None:
        """Drop a staged unit and rewind the group's reader to the unit's starts."""
        assert isinstance(staged, SqliteUnit)
        if staged.pending is not None and not staged.pending.done():
            raise Conflict("the unit's commit is under way", hint="wait for its result first")
        member = self._members.get(staged.unit.fence.group)
        if member is not None and member.fence.epoch == staged.unit.fence.epoch:
            member.rewind(staged.unit.starts)

    def append(self, outputs: Sequence[Output]) -> list[int]:
        """Write acknowledged records without a unit, all or none; returns their offsets.

        The bounds of a unit hold. Raises Unreadable, NotFound, Unavailable or Uncertain.
        """
        if not outputs:
            return []
        packed = sqlite_rows.pack(outputs, self._place, "an append")
        ends: dict[TopicPartition, tuple[int, int]] = {}

        def put(connection: sqlite3.Connection) -> None:
            row = (self._clock.now(), packed.plan, packed.body)
            self._put(connection, sqlite_rows.PUT_RECORDS, row, packed)
            ends.update(self._bounds_now(connection, list(packed.counts)))

        self._writer.submit(Job(put, size=len(packed.body))).result()
        following = {p: ends[p][1] - count for p, count in packed.counts.items()}
        offsets = []
        for output in outputs:
            at = TopicPartition(output.topic, output.partition)
            offsets.append(following[at])
            following[at] += 1
        return offsets

    # --- retention, copies ------------------------------------------------------------------

    def expire(self, partition: TopicPartition, before: int) -> int:
        """Delete records below offset `before`, in bounded steps; returns how many went."""
        place, name = self._place(partition), sqlite_rows.table(*partition)
        self._tails.pop(partition, None)

        def step(connection: sqlite3.Connection) -> int:
            connection.execute(
                "UPDATE place SET start = max(start, min(?, next)) WHERE id = ?", (before, place)
            )
            return connection.execute(
                f'DELETE FROM {name} WHERE "offset" IN (SELECT "offset" FROM {name} WHERE "offset"'
                ' < (SELECT start FROM place WHERE id = ?) ORDER BY "offset" LIMIT ?)',
                (place, DELETE_ROWS),
            ).rowcount

        gone = 0
        while True:
            deleted = self._do(step)
            gone += deleted
            if deleted < DELETE_ROWS:
                return gone

    def compact(self, partition: TopicPartition, unread: int | None = None) -> int:
        """Keep the last record per key and no key whose last value is None; returns how many went.

        Records without a key stay, and values of None from offset `unread` on. Raises Refused for
        a topic that is not compacted.
        """
        self._place(partition)
        if self.topics()[partition.topic].cleanup != "compact":
            raise Refused(
                "NOT_COMPACTED",
                f"topic {partition.topic} keeps every record",
                hint="compact only topics whose cleanup is `compact`",
            )
        name = sqlite_rows.table(*partition)
        with self._reader() as connection:
            doomed = connection.execute(
                f'SELECT "offset" FROM (SELECT "offset", value, "offset" = max("offset")'
                f" OVER (PARTITION BY key) AS newest FROM {name} WHERE key IS NOT NULL)"
                ' WHERE NOT newest OR (value IS NULL AND "offset" < ?)',
                (OFFSET_MAX if unread is None else unread,),
            ).fetchall()
        self._tails.pop(partition, None)
        for at in range(0, len(doomed), DELETE_ROWS):
            part = msgspec.json.encode([row[0] for row in doomed[at : at + DELETE_ROWS]]).decode()
            sql = f'DELETE FROM {name} WHERE "offset" IN (SELECT value FROM json_each(?))'
            self._do(lambda c, sql=sql, part=part: c.execute(sql, (part,)) and None)  # type: ignore[misc]
        return len(doomed)

    def backup(self, destination: Path) -> None:
        """Copy the log to the file `destination` while it runs: one consistent, checked state."""
        if destination.exists():
            raise Refused(
                "BACKUP_EXISTS",
                f"{destination} exists already",
                hint="choose a new destination; backups are never overwritten",
            )
        with self._reader() as connection:
            sqlite_store.backup(connection, destination)

    def close(self) -> None:
        """Finish pending commits and release everything."""
        if self._closed:
            return
        self._writer.close()
        self._close_readers()
        if self._lock is not None and self._owns_lock:
            self._lock.close()

    def _do(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change on the writer thread as one atomic job and wait for its commit."""

        def atomic(connection: sqlite3.Connection) -> T:
            connection.execute("SAVEPOINT job")
            try:
                value = change(connection)
            except Exception:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO job")
                    connection.execute("RELEASE job")
                raise
            connection.execute("RELEASE job")
            return value

        return self._writer.submit(Job(atomic)).result()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Ready a new write connection."""
        self._triggers.clear()
        connection.execute(sqlite_rows.INTAKE)
        connection.execute(sqlite_rows.FENCE)

    def _ready(self, connection: sqlite3.Connection, packed: Packed) -> None:
        """Make the triggers of places that this connection writes for the first time."""
        for at in packed.counts:
            place = self._places[at]
            if place not in self._triggers:
                name = sqlite_rows.table(*at)
                connection.execute(sqlite_rows.unpack_trigger(place, name))
                self._triggers.add(place)


class _Chain:
    """A group's receipts: units in the log, and the last receipt's number or minus the epoch."""

    def __init__(self, epoch: int, units: int) -> None:
        self.units = units
        self.last = -epoch


def _format(path: Path) -> None:
    """Create the log's tables in a new database; an existing one is checked by its readers."""
    connection = sqlite_store.connect(path, create=True)
    try:
        if not sqlite_store.check_format(connection, path, mark=MARK, version=FORMAT_VERSION):
            connection.executescript(
                f"BEGIN IMMEDIATE; {sqlite_rows.SCHEMA} PRAGMA application_id={MARK};"
                f" PRAGMA user_version={FORMAT_VERSION}; COMMIT;"
            )
    except sqlite3.Error as exc:
        raise sqlite_store.explained(exc, path, "create") from exc
    finally:
        connection.close()


def _insert_topic(connection: sqlite3.Connection, settings: TopicSettings) -> None:
    found = connection.execute("SELECT 1 FROM topic WHERE name = ?", (settings.name,)).fetchone()
    if found:
        return
    connection.execute("INSERT INTO topic VALUES (?, ?, ?, ?, ?, ?)", settings)
    for partition in range(settings.partitions):
        connection.execute(sqlite_rows.create_table(settings.name, partition))
        connection.execute(
            "INSERT INTO place (topic, partition) VALUES (?, ?)", (settings.name, partition)
        )


def _raise_epoch(connection: sqlite3.Connection, group: str) -> int:
    row = connection.execute(
        "INSERT INTO owner VALUES (?, 1, 0) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1"
        " RETURNING epoch",
        (group,),
    ).fetchall()
    epoch: int = row[0][0]
    return epoch
