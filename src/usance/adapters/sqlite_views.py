"""Read models in one SQLite database: generations of tables, checkpoints, and reading them.

A table of generation n is `<table>__v<n>`; the name without suffix is a SQL view of the live one,
so a swap is one transaction and readers never see half of it. Rows are written many to a statement,
because sqlite3 must win the interpreter back after each step (see `sqlite_rows`).

`synchronous=NORMAL` here, unlike the log: a power cut may lose the last commits, never tear one,
and what is lost is read from the log again, for checkpoint and rows go together.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from usance.adapters import sqlite_store
from usance.adapters.sqlite_views_read import SqliteReading, names_of
from usance.engine.projection import (
    STALE,
    Changes,
    Checkpoint,
    Difference,
    Generation,
    Key,
    Parked,
    Projection,
    Row,
    Table,
    Write,
)
from usance.engine.reading import Reading
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Fenced, Tampered, Unavailable
from usance.log.contract import TopicPartition

MARK = 0x55_53_56_57
FORMAT_VERSION = 1
PARAMETERS_MAX = 32_000
ROWS_PER_STATEMENT = 256
DIFFERENCES_MAX = 100
POLL_SECONDS = 0.005
CACHE_KIB = 65_536
NARROW_COLUMNS = 10

SCHEMA = """
CREATE TABLE projection_log (log_id TEXT NOT NULL);
CREATE TABLE projection (
  name TEXT PRIMARY KEY, live INTEGER NOT NULL, made INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE projection_generation (
  name TEXT NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL, shape TEXT NOT NULL,
  tables TEXT NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (name, number)) WITHOUT ROWID;
CREATE TABLE projection_checkpoint (
  name TEXT NOT NULL, number INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  position INTEGER NOT NULL, "index" INTEGER NOT NULL, epoch INTEGER NOT NULL,
  PRIMARY KEY (name, number, topic, partition)) WITHOUT ROWID;
CREATE TABLE projection_parked (
  name TEXT NOT NULL, number INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  "offset" INTEGER NOT NULL, key TEXT NOT NULL, error TEXT NOT NULL, since INTEGER NOT NULL,
  PRIMARY KEY (name, number, topic, partition, "offset")) WITHOUT ROWID;
"""

Run = Callable[..., sqlite3.Cursor]


MADE_AGAIN = "stop usance, delete the views.sqlite* files: they are made again from the log"


class SqliteViews:
    """The view store on one WAL database, such as `data/views.sqlite`. Safe across threads.

    One projector writes at a time (its connection is behind a lock); readers have their own
    connections. Raises Unavailable or Tampered as `sqlite_store` explains.
    """

    def __init__(self, path: Path, *, create: bool = True, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._commits = 0
        self._pool: deque[sqlite3.Connection] = deque()
        self._shapes: dict[str, Table] = {}
        self._closed = False
        if create:
            sqlite_store.refuse_network(path.parent)
        try:
            self._writer = self._connect(create=create)
        except Tampered as damaged:
            raise Tampered(damaged.message, hint=MADE_AGAIN) from damaged
        try:
            self._format(create)
        except BaseException:
            self._writer.close()
            raise

    def _connect(self, *, create: bool = False, query_only: bool = False) -> sqlite3.Connection:
        connection = sqlite_store.connect(self._path, create=create, query_only=query_only)
        connection.execute("PRAGMA synchronous=NORMAL")
        if not query_only:
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection

    def _format(self, create: bool) -> None:
        known = sqlite_store.check_format(
            self._writer, self._path, mark=MARK, version=FORMAT_VERSION
        )
        if known:
            return
        if not create:
            raise Unavailable(f"{self._path} holds no views yet", hint="run usance start once")
        with self._writing() as run:
            for statement in SCHEMA.split(";")[:-1]:
                run(statement)
            run(f"PRAGMA application_id={MARK}")
            run(f"PRAGMA user_version={FORMAT_VERSION}")

    # -- for the projector: generations

    def open(self, log_id: str) -> None:
        """Bind the database to a log; raises Tampered when it belongs to another one."""
        with self._writing() as run:
            found = run("SELECT log_id FROM projection_log").fetchone()
            if found is None:
                run("INSERT INTO projection_log VALUES (?)", (log_id,))
            elif found[0] != log_id:
                raise Tampered(
                    f"{self._path.name} holds the views of another log",
                    hint="restore the log that belongs to it, or delete the views database to have"
                    " it built from this log",
                )

    def claim(
        self, projection: Projection, places: Iterable[TopicPartition], *, look: bool = False
    ) -> tuple[Generation, bool]:
        """Take the live generation (made when there is none) and raise its epoch.

        The flag says whether its tables fit this version of the projection. `look` leaves the epoch
        as it is: for those who will not write.
        """
        self._learn(projection)
        with self._writing() as run:
            live = self._live(run, projection.name)
            if not live:
                live = self._make(run, projection, list(places), "live")
                run("UPDATE projection SET live=? WHERE name=?", (live, projection.name))
                self._point_views(run, projection.tables, live)
            of = (projection.name, live)
            version, shape = run(
                "SELECT version, shape FROM projection_generation WHERE name=? AND number=?", of
            ).fetchone()
            fits = (version, shape) == (projection.version, _shape(projection))
            if not look:
                run("UPDATE projection_generation SET epoch=epoch+1 WHERE name=? AND number=?", of)
                run("UPDATE projection_checkpoint SET epoch=epoch+1 WHERE name=? AND number=?", of)
            if fits and not look:
                self._add_places(run, projection.name, live, list(places))
            generation = self._load(run, projection, live)
        if version != projection.version:
            generation.projection = projection._replace(version=version)
        return generation, fits

    def live(self, name: str) -> int:
        """Return the number of the live generation, 0 when there is none."""
        with self._reader() as connection:
            return self._live(connection.execute, name)

    def build(self, projection: Projection, places: Iterable[TopicPartition]) -> Generation:
        """Make empty tables of a new generation; an earlier unfinished one is dropped."""
        self._learn(projection)
        with self._writing() as run:
            left = run(
                "SELECT number, tables FROM projection_generation WHERE name=? AND state='building'",
                (projection.name,),
            ).fetchall()
            for number, tables in left:
                self._forget(run, projection.name, number, tables)
            number = self._make(run, projection, list(places), "building")
            return self._load(run, projection, number)

    def drop(self, green: Generation) -> None:
        """Drop a generation that is not live."""
        name, number = green.projection.name, green.number
        with self._writing() as run:
            found = run(
                "SELECT tables FROM projection_generation"
                " WHERE name=? AND number=? AND state='building'",
                (name, number),
            ).fetchone()
            if found is not None:
                self._forget(run, name, number, found[0])

    def swap(self, green: Generation) -> bool:
        """Make a generation live and drop the one before, in one transaction.

        False when it is behind the live one on any partition. Raises Fenced when it was dropped.
        """
        projection, name = green.projection, green.projection.name
        with self._writing() as run:
            state = run(
                "SELECT state FROM projection_generation WHERE name=? AND number=?",
                (name, green.number),
            ).fetchone()
            if state != ("building",):
                raise Fenced(
                    f"the rebuild of {name} was dropped by a later one",
                    hint="usance projection list shows who is live; rebuild again if needed",
                )
            blue = self._live(run, name)
            behind = run(
                "SELECT count(*) FROM projection_checkpoint b LEFT JOIN projection_checkpoint g"
                " ON g.name=b.name AND g.number=? AND g.topic=b.topic AND g.partition=b.partition"
                " WHERE b.name=? AND b.number=? AND ifnull(g.position, -1) < b.position"
                " AND b.topic IN (SELECT topic FROM projection_checkpoint"
                " WHERE name=b.name AND number=?)",
                (green.number, name, blue, green.number),
            ).fetchone()[0]
            if behind:
                return False
            epoch, tables = run(
                "SELECT epoch, tables FROM projection_generation WHERE name=? AND number=?",
                (name, blue),
            ).fetchone()
            self._forget(run, name, blue, tables)
            self._point_views(run, projection.tables, green.number)
            of = (epoch + 1, name, green.number)
            run(
                "UPDATE projection_generation SET state='live', epoch=? WHERE name=? AND number=?",
                of,
            )
            run("UPDATE projection_checkpoint SET epoch=? WHERE name=? AND number=?", of)
            run("UPDATE projection SET live=? WHERE name=?", (green.number, name))
        green.state, green.epoch = "live", epoch + 1
        return True

    def differences(self, live: Generation, green: Generation) -> list[Difference]:
        """Return up to 100 rows that differ, staleness aside."""
        found: list[Difference] = []
        with self._writing() as run:
            for table in green.projection.tables:
                room = DIFFERENCES_MAX - len(found)
                if room > 0:
                    found += self._different(run, table, live, green, room)
        return found

    def _different(
        self, run: Run, table: Table, live: Generation, green: Generation, room: int
    ) -> list[Difference]:
        columns = names_of(table.columns)
        one, other = (f'"{g.physical(table)}"' for g in (live, green))
        keys: dict[Key, None] = {}
        width = [c.name for c in table.columns]
        at = [width.index(name) for name in table.key]
        for left, right in ((one, other), (other, one)):
            rows = run(
                f"SELECT {columns} FROM {left} EXCEPT SELECT {columns} FROM {right} LIMIT {room}"
            )
            for row in rows.fetchall():
                keys[tuple([row[i] for i in at])] = None
        wanted = list(keys)[:room]
        sides = [
            {_key_of(table, r): r for r in self._rows(run, g.physical(table), table, wanted)}
            for g in (live, green)
        ]
        return [Difference(table.name, k, sides[0].get(k), sides[1].get(k)) for k in wanted]

    # -- for the projector: rows

    def fetch(self, generation: Generation, table: Table, keys: list[Key]) -> list[Row]:
        """Return the rows of those keys that exist."""
        with self._lock, self._explained("read"):
            return self._rows(self._writer.execute, generation.physical(table), table, keys)

    def commit(self, changes: list[Changes]) -> None:
        """Write everything or nothing; rows of a parked key that are not stale become so.

        Raises Fenced when a checkpoint is not where it must be, or another epoch holds it.
        """
        with self._writing() as run:
            for change in changes:
                generation = change.generation
                for move in change.moves:
                    self._step(run, generation, move.place, move.start, move.to)
                for write in change.writes:
                    self._write(run, generation.physical(write.table), write)
                for parked in change.parked:
                    self._park(run, generation, parked)

    def _step(
        self,
        run: Run,
        generation: Generation,
        place: TopicPartition,
        start: int,
        to: Checkpoint,
    ) -> None:
        name = generation.projection.name
        moved = run(
            'UPDATE projection_checkpoint SET position=?, "index"=? WHERE name=? AND number=?'
            " AND topic=? AND partition=? AND position=? AND epoch=?",
            (*to, name, generation.number, *place, start, generation.epoch),
        ).rowcount
        if moved != 1:
            raise Fenced(
                f"another projector keeps {name} now",
                hint="only one process may follow; stop this one or the other",
            )

    def _write(self, run: Run, physical: str, write: Write) -> None:
        columns = write.table.all_columns
        names, width = names_of(columns), len(columns)
        keys = ", ".join(f'"{k}"' for k in write.table.key)
        others = [c.name for c in columns if c.name not in write.table.key]
        update = ", ".join(f'"{c}"=excluded."{c}"' for c in others)
        head = f'INSERT INTO "{physical}" ({names}) VALUES '
        tail = f" ON CONFLICT ({keys}) DO UPDATE SET {update}"
        one = f"({', '.join('?' * width)})"
        for part in _chunks(write.rows, width):
            values = [value for row in part for value in row]
            run(head + ", ".join([one] * len(part)) + tail, values)
        where = " AND ".join(f'"{k}"=?' for k in write.table.key)
        for key in write.gone:
            run(f'DELETE FROM "{physical}" WHERE {where}', key)

    def _park(self, run: Run, generation: Generation, parked: Parked) -> None:
        run(
            "INSERT INTO projection_parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                generation.projection.name,
                generation.number,
                *parked.place,
                parked.offset,
                parked.key,
                parked.error,
                parked.since,
            ),
        )
        for table in generation.projection.tables:
            if table.stream and parked.error:
                run(
                    f'UPDATE "{generation.physical(table)}" SET {STALE}=?'
                    f' WHERE "{table.stream}"=? AND {STALE} IS NULL',
                    (parked.since, parked.key),
                )

    def _rows(self, run: Run, physical: str, table: Table, keys: list[Key]) -> list[Row]:
        """Read rows by key as one result row, so that it takes one step."""
        names = [c.name for c in table.all_columns]
        listed = ", ".join(f't."{n}"' for n in names)
        match = " AND ".join(f't."{k}"=json_extract(j.value, \'$[{i}]\')'
                             for i, k in enumerate(table.key))  # fmt: skip
        row = run(
            f"SELECT json_group_array(json_array({listed})) FROM json_each(?) j"
            f' CROSS JOIN "{physical}" t WHERE {match}',
            (msgspec.json.encode(keys).decode(),),
        ).fetchone()
        return [dict(zip(names, r, strict=True)) for r in msgspec.json.decode(row[0])]

    # -- generations in the database

    def _live(self, run: Run, name: str) -> int:
        found = run("SELECT live FROM projection WHERE name=?", (name,)).fetchone()
        return found[0] if found else 0

    def _make(
        self, run: Run, projection: Projection, places: list[TopicPartition], state: str
    ) -> int:
        name = projection.name
        # counted, not found: the number of a dropped generation is never given again
        run("INSERT OR IGNORE INTO projection VALUES (?, 0, 0)", (name,))
        run("UPDATE projection SET made=made+1 WHERE name=?", (name,))
        number: int = run("SELECT made FROM projection WHERE name=?", (name,)).fetchone()[0]
        tables = " ".join(t.name for t in projection.tables)
        run(
            "INSERT INTO projection_generation VALUES (?, ?, ?, ?, ?, 1, ?)",
            (name, number, projection.version, _shape(projection), tables, state),
        )
        self._add_places(run, name, number, places)
        for table in projection.tables:
            physical = f"{table.name}__v{number}"
            columns = ", ".join(
                f'"{c.name}" {"INTEGER" if c.kind == "integer" else "TEXT"}'
                for c in table.all_columns
            )
            keys = ", ".join(f'"{k}"' for k in table.key)
            # wide rows in a key-ordered tree would make it deep, and each insert dear
            narrow = len(table.columns) <= NARROW_COLUMNS and not table.fold
            kind = " WITHOUT ROWID" if narrow else ""
            run(f'CREATE TABLE "{physical}" ({columns}, PRIMARY KEY ({keys})){kind}')
            stream = ((table.stream,),) if table.stream and table.stream != table.key[0] else ()
            for n, index in enumerate((*table.indexes, *stream)):
                listed = ", ".join(f'"{c}"' for c in index)
                run(f'CREATE INDEX "{physical}__{n}" ON "{physical}" ({listed})')
        return number

    def _add_places(self, run: Run, name: str, number: int, places: list[TopicPartition]) -> None:
        for place in places:
            run(
                "INSERT OR IGNORE INTO projection_checkpoint SELECT ?, ?, ?, ?, 0, 0, epoch"
                " FROM projection_generation WHERE name=? AND number=?",
                (name, number, *place, name, number),
            )

    def _load(self, run: Run, projection: Projection, number: int) -> Generation:
        of = (projection.name, number)
        epoch, state = run(
            "SELECT epoch, state FROM projection_generation WHERE name=? AND number=?", of
        ).fetchone()
        checkpoints = {
            TopicPartition(topic, partition): Checkpoint(position, index)
            for topic, partition, position, index in run(
                'SELECT topic, partition, position, "index" FROM projection_checkpoint'
                " WHERE name=? AND number=?",
                of,
            ).fetchall()
        }
        parked = {
            (TopicPartition(topic, partition), key): since
            for topic, partition, key, since in run(
                "SELECT topic, partition, key, min(since) FROM projection_parked"
                " WHERE name=? AND number=? GROUP BY topic, partition, key",
                of,
            ).fetchall()
        }
        return Generation(projection, number, epoch, state, checkpoints, parked)

    def _point_views(self, run: Run, tables: Sequence[Table], number: int) -> None:
        for table in tables:
            run(f'DROP VIEW IF EXISTS "{table.name}"')
            run(f'CREATE VIEW "{table.name}" AS SELECT * FROM "{table.name}__v{number}"')

    def _forget(self, run: Run, name: str, number: int, tables: str) -> None:
        for table in tables.split():
            if self._live(run, name) == number:
                run(f'DROP VIEW IF EXISTS "{table}"')
            run(f'DROP TABLE IF EXISTS "{table}__v{number}"')
        for owned in ("projection_generation", "projection_checkpoint", "projection_parked"):
            run(f"DELETE FROM {owned} WHERE name=? AND number=?", (name, number))

    def _learn(self, projection: Projection) -> None:
        for table in projection.tables:
            self._shapes[table.name] = table

    # -- reading

    @contextmanager
    def reading(self, *, restricted: bool = False) -> Iterator[Reading]:
        """Lend a consistent picture of all views; `restricted` opens restricted tables too."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                yield SqliteReading(connection, self._shapes, restricted)
            finally:
                connection.execute("ROLLBACK")

    def know(self, projections: Iterable[Projection]) -> None:
        """Say which tables there may be, in a process that only reads."""
        for projection in projections:
            self._learn(projection)

    def wait(self, satisfied: Callable[[], bool], timeout: float) -> bool:
        """Ask `satisfied` now and after each change until it is true or `timeout` seconds pass."""
        deadline = self._clock.monotonic() + timeout
        with self._reader() as connection:
            while True:
                seen, version = self._commits, _version(connection)
                if satisfied():
                    return True
                while self._commits == seen and _version(connection) == version:
                    left = deadline - self._clock.monotonic()
                    if left <= 0 or self._closed:
                        return False
                    with self._changed:
                        if self._commits == seen:
                            self._changed.wait(min(left, POLL_SECONDS))

    # -- connections

    def close(self) -> None:
        """Release everything; unfinished transactions never reached the database."""
        self._closed = True
        with self._changed:
            self._changed.notify_all()
        while self._pool:
            self._pool.pop().close()
        with self._lock:
            self._writer.close()

    def backup(self, destination: Path) -> None:
        """Copy the database while it is in use."""
        with self._reader() as connection:
            sqlite_store.backup(connection, destination)

    @contextmanager
    def _writing(self) -> Iterator[Run]:
        with self._lock, self._explained("write"):
            run: Run = self._writer.execute
            run("BEGIN IMMEDIATE")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    run("ROLLBACK")
                raise
        with self._changed:
            self._commits += 1
            self._changed.notify_all()

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        if self._closed:
            raise Unavailable("the views are closed", hint="open them again")
        try:
            yield
        except sqlite3.Error as exc:
            error = sqlite_store.explained(exc, self._path, doing)
            if isinstance(error, Tampered):
                error = Tampered(error.message, hint=MADE_AGAIN)
            raise error from exc

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._explained("read"):
            try:
                connection = self._pool.pop()
            except IndexError:
                connection = self._connect(query_only=True)
            try:
                yield connection
            except sqlite3.Error:
                connection.close()
                raise
            except BaseException:
                self._pool.append(connection)
                raise
        if self._closed:
            connection.close()
        else:
            self._pool.append(connection)


def _key_of(table: Table, row: Row) -> Key:
    return tuple([row[k] for k in table.key])


def _shape(projection: Projection) -> str:
    """Return what must be equal for tables to fit: columns, kinds, keys, indexes."""
    return repr([(t.name, t.columns, t.key, t.indexes, t.stream) for t in projection.tables])


def _chunks(rows: list[tuple[Any, ...]], width: int) -> Iterator[list[tuple[Any, ...]]]:
    """Cut rows into runs of few different lengths, so that statements are prepared once."""
    size = min(ROWS_PER_STATEMENT, PARAMETERS_MAX // width)
    at = 0
    while at < len(rows):
        while size > len(rows) - at:
            size //= 2
        yield rows[at : at + size]
        at += size


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version
