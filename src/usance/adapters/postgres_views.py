"""Read models in a PostgreSQL schema: the store of `sql_views` for many machines.

Which generation is live is a row of `projection`, so a swap is one small transaction that waits for
no reader: a reader learns the live numbers with its picture and reads those tables. The tables that
a swap leaves are dropped once nobody can be reading them: a reader holds a share of `projection` for
the time of its picture, and the drop asks for the whole of it.

Text is kept under collation C, so it compares by its bytes as in SQLite. NUL, which PostgreSQL has
no place for, is kept as its visible sign.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from usance.adapters import postgres_store as server
from usance.adapters.postgres_rows import array, copied, plain, without_nul
from usance.adapters.sql_views import FORMAT_VERSION, Cursor, Run, SqlViews, fenced
from usance.adapters.sql_views_read import Dialect, SqlReading, names_of
from usance.engine.projections.projection import (
    Generation,
    Key,
    Move,
    Projection,
    Row,
    Table,
    Write,
)
from usance.engine.projections.reading import Reading
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Unavailable, Uncertain

READERS_MAX = 16
"""Pictures taken at once in this process; who comes later waits."""
READER_WAIT_S = 10.0
DROP_WAIT_MS = 200
RECHECK_S = 0.5
"""How often a waiter asks although nothing was heard."""
CHANNEL = "usance_views"
COMMIT = f"NOTIFY {CHANNEL}; COMMIT"

BEGIN = "BEGIN; LOCK TABLE projection_log IN ROW SHARE MODE"
BEGIN_ORDERING = "BEGIN; SET LOCAL statement_timeout=0; LOCK TABLE projection_log IN EXCLUSIVE MODE"
BEGIN_COMPARING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout=0"
BEGIN_READING = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    " LOCK TABLE projection IN ACCESS SHARE MODE; SELECT name, live FROM projection"
)
BEGIN_DROPPING = (
    f"{BEGIN_ORDERING}; SET LOCAL lock_timeout={DROP_WAIT_MS};"
    " LOCK TABLE projection IN ACCESS EXCLUSIVE MODE"
)

DIALECT = Dialect(
    text='TEXT COLLATE "C"',
    integer="BIGINT",
    narrow="",
    contains='strpos(lower({}), lower(? COLLATE "C")) > 0',
    among="{} = ANY(?)",
    beside="{} <> ALL(?)",
    listed=lambda column, values: array(column.kind, values),
    nulls=(" NULLS FIRST", " NULLS LAST"),
)
Found = TypeVar("Found")
TYPES = {"text": "text[]", "integer": "bigint[]"}


class PostgresViews(SqlViews):
    """The view store on the first schema of an address's search path. Safe across threads.

    One projector writes at a time (its connection is behind a lock); readers have their own
    connections. Nothing is connected before it is needed, so a process that only decides runs without
    the server; a connection that was lost is opened again by the next call. Raises Unavailable or
    Tampered as `postgres_store` explains, Uncertain when a commit's answer was lost.
    """

    dialect = DIALECT

    def __init__(self, address: str, *, clock: Clock | None = None) -> None:
        super().__init__()
        self.name = server.named(address)
        self._address = address
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._commits = 0
        self._pool: deque[server.Connection] = deque()
        self._readers = threading.BoundedSemaphore(READERS_MAX)
        self._owners: dict[str, str] = {}
        self._listener: server.Listener | None = None
        self._closed = False
        self._writer: server.Connection | None = None

    def _format(self, run: Run) -> None:
        run("BEGIN")
        # two processes may come to an empty schema at once
        run("SELECT pg_advisory_xact_lock(hashtext('usance views ' || current_schema()))")
        found = run("SELECT to_regclass('projection_format')").fetchone()[0]
        if found is None:
            run(f"CREATE TABLE projection_format (version {DIALECT.integer} NOT NULL)")
            run("INSERT INTO projection_format VALUES (?)", (FORMAT_VERSION,))
            run(
                f"CREATE TABLE projection_retired (name {DIALECT.text} NOT NULL,"
                f" number {DIALECT.integer} NOT NULL, tables {DIALECT.text} NOT NULL)"
            )
            for statement in self._tables_made().split(";")[:-1]:
                run(statement)
        version = run("SELECT version FROM projection_format").fetchone()[0]
        run("COMMIT")
        if version > FORMAT_VERSION:
            raise Unavailable(
                f"{self.name} has format version {version}; this program knows versions up to"
                f" {FORMAT_VERSION}",
                hint="run the newer program that wrote it, or name another schema",
            )

    # -- for the projector

    def live(self, name: str) -> int:
        """Return the number of the live generation, 0 when there is none."""
        with self._reader("BEGIN READ ONLY") as (connection, _):
            return self._live(_runner(connection), name)

    def fetch(self, generation: Generation, table: Table, keys: list[Key]) -> list[Row]:
        """Return the rows of those keys that exist."""
        physical = generation.physical(table)
        with self._lock, self._explained("read"):
            return self._on_writer(lambda c: self._rows(_runner(c), physical, table, keys))

    def _rows(self, run: Run, physical: str, table: Table, keys: list[Key]) -> list[Row]:
        if not keys:
            return []
        names = [c.name for c in table.all_columns]
        kinds = [next(c.kind for c in table.columns if c.name == k) for k in table.key]
        arrays = ", ".join(f"?::{TYPES[kind]}" for kind in kinds)
        match = " AND ".join(f't."{k}"=k."{k}"' for k in table.key)
        as_keys = ", ".join(f'"{k}"' for k in table.key)
        listed = ", ".join(f't."{n}"' for n in names)
        found = run(
            f'SELECT {listed} FROM unnest({arrays}) AS k({as_keys}) JOIN "{physical}" t ON {match}',
            [array(kind, [key[i] for key in keys]) for i, kind in enumerate(kinds)],
        ).fetchall()
        rows = [dict(zip(names, row, strict=True)) for row in found]
        strange = {tuple(map(without_nul, key)): key for key in keys if not plain(key)}
        if strange:
            for row in rows:
                key = tuple([row[k] for k in table.key])
                row.update(zip(table.key, strange.get(key, key), strict=True))
        return rows

    def _advance(self, run: Run, generation: Generation, moves: Sequence[Move]) -> None:
        name = generation.projection.name
        columns = [(*place, start, *to) for place, start, to in moves]
        topics, *numbers = zip(*columns, strict=True)
        moved = run(
            'UPDATE projection_checkpoint c SET position=m.position, "index"=m."index"'
            " FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[])"
            ' AS m(topic, partition, start, position, "index")'
            " WHERE c.name=? AND c.number=? AND c.epoch=? AND c.topic=m.topic"
            " AND c.partition=m.partition AND c.position=m.start",
            (
                array("text", topics),
                *[array("integer", column) for column in numbers],
                name,
                generation.number,
                generation.epoch,
            ),
        ).rowcount
        if moved != len(moves):
            raise fenced(name)

    def _write(self, run: Run, generation: Generation, write: Write) -> None:
        table, physical = write.table, generation.physical(write.table)
        columns = table.all_columns
        if write.rows and not any(c.offset for c in generation.checkpoints.values()):
            self._copy(physical, table, write.rows)  # the first commit: the tables are empty
        elif write.rows:
            arrays = ", ".join(f"?::{TYPES[c.kind]}" for c in columns)
            keys = ", ".join(f'"{k}"' for k in table.key)
            others = [c.name for c in columns if c.name not in table.key]
            update = ", ".join(f'"{c}"=excluded."{c}"' for c in others)
            run(
                f'INSERT INTO "{physical}" ({names_of(columns)}) SELECT * FROM unnest({arrays})'
                f" ON CONFLICT ({keys}) DO UPDATE SET {update}",
                [
                    array(c.kind, values)
                    for c, values in zip(columns, zip(*write.rows, strict=True), strict=True)
                ],
            )
        if write.gone:
            kinds = [next(c.kind for c in table.columns if c.name == k) for k in table.key]
            arrays = ", ".join(f"?::{TYPES[kind]}" for kind in kinds)
            as_keys = ", ".join(f'"{k}"' for k in table.key)
            match = " AND ".join(f't."{k}"=k."{k}"' for k in table.key)
            run(
                f'DELETE FROM "{physical}" t USING unnest({arrays}) AS k({as_keys}) WHERE {match}',
                [array(kind, [key[i] for key in write.gone]) for i, kind in enumerate(kinds)],
            )

    def _copy(self, physical: str, table: Table, rows: list[tuple[Any, ...]]) -> None:
        columns = table.all_columns
        assert self._writer is not None, "a transaction is under way"
        with (
            self._writer.cursor() as cursor,
            cursor.copy(f'COPY "{physical}" ({names_of(columns)}) FROM STDIN') as copy,
        ):
            copy.write(copied([c.kind for c in columns], rows))

    # -- generations

    def _show(self, run: Run, tables: Sequence[Table], number: int) -> None:
        """Nothing to do: readers ask `projection` which tables are live."""

    def _drop_tables(self, run: Run, name: str, number: int, tables: str) -> None:
        run("INSERT INTO projection_retired VALUES (?, ?, ?)", (name, number, tables))

    def _drop_retired(self) -> None:
        """Drop tables that no reader's picture holds; if one does, the next change tries again."""
        try:
            with self._transaction(BEGIN_DROPPING) as run:
                for number, tables in run(
                    "SELECT number, tables FROM projection_retired"
                ).fetchall():
                    for table in tables.split():
                        run(f'DROP TABLE IF EXISTS "{table}__v{number}"')
                run("DELETE FROM projection_retired")
        except Unavailable:
            return  # they are listed, and nobody reads them any more

    def _learn(self, projection: Projection) -> None:
        super()._learn(projection)
        for table in projection.tables:
            self._owners[table.name] = projection.name

    # -- reading

    @contextmanager
    def reading(self, *, restricted: bool = False) -> Iterator[Reading]:
        """Lend a consistent picture of all views; `restricted` opens restricted tables too."""
        with self._reader(BEGIN_READING) as (connection, begun):
            live: dict[str, int] = dict(begun.fetchall())

            def named(table: str) -> str:
                number = live.get(self._owners[table])
                if not number:
                    raise Unavailable("the views are not built yet", hint="run usance start")
                return f"{table}__v{number}"

            yield SqlReading(_runner(connection), DIALECT, self._shapes, restricted, named)

    def wait(self, satisfied: Callable[[], bool], timeout: float) -> bool:
        """Ask `satisfied` now and after each change until it is true or `timeout` seconds pass."""
        deadline = self._clock.monotonic() + timeout
        self._listen()
        while True:
            seen = self._commits
            if satisfied():
                return True
            recheck = self._clock.monotonic() + RECHECK_S
            with self._changed:
                while self._commits == seen:
                    now = self._clock.monotonic()
                    if now >= deadline or self._closed:
                        return False
                    if now >= recheck:
                        break
                    self._changed.wait(min(deadline, recheck) - now)

    def _listen(self) -> None:
        with self._lock:
            if self._listener is None and not self._closed:
                self._listener = server.Listener(self._address, CHANNEL, self._note)

    def _note(self) -> None:
        with self._changed:
            self._commits += 1
            self._changed.notify_all()

    # -- connections

    def close(self) -> None:
        """Release everything; unfinished transactions never reached the database."""
        self._closed = True
        self._note()
        if self._listener is not None:
            self._listener.close()
        while self._pool:
            self._pool.pop().close()
        with self._lock:
            if self._writer is not None:
                self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[Run]:
        with self._transaction(BEGIN) as run:
            yield run
        self._note()

    @contextmanager
    def _ordering(self) -> Iterator[Run]:
        with self._transaction(BEGIN_ORDERING) as run:
            yield run
        self._note()
        self._drop_retired()

    def _comparing(self) -> AbstractContextManager[Run]:
        return self._transaction(BEGIN_COMPARING, "COMMIT")

    @contextmanager
    def _transaction(self, begin: str, commit: str = COMMIT) -> Iterator[Run]:
        with self._lock, self._explained("write"):
            connection = self._on_writer(lambda c: c.execute(begin).connection)
            try:
                yield _runner(connection)
            except BaseException:
                _roll_back(connection)
                raise
            try:
                connection.execute(commit)
            except psycopg.OperationalError as lost:
                _roll_back(connection)
                raise Uncertain(
                    f"the answer to a commit of the views in {self.name} was lost",
                    hint="the checkpoints tell what happened: they are read again",
                ) from lost

    def _on_writer(self, begin: Callable[[server.Connection], Found]) -> Found:
        """Do a first step on the writer, on a new connection where there is none or it is lost."""
        if self._writer is not None:
            try:
                return begin(self._writer)
            except (errors.LockNotAvailable, errors.QueryCanceled):
                _roll_back(self._writer)
                raise
            except psycopg.OperationalError:
                self._writer.close()
        self._writer = server.connect(self._address)
        try:
            self._format(_runner(self._writer))
        except BaseException:
            self._writer.close()
            raise
        return begin(self._writer)

    @contextmanager
    def _reader(self, begin: str) -> Iterator[tuple[server.Connection, Cursor]]:
        """Lend a connection and the last result of `begin`; its transaction ends with the block."""
        if not self._readers.acquire(timeout=READER_WAIT_S):
            raise Unavailable(
                f"{READERS_MAX} readers of the views are busy", hint="try again in a moment"
            )
        try:
            with self._explained("read"):
                connection, begun = self._begun_reader(begin)
                try:
                    yield connection, begun
                finally:
                    if _roll_back(connection) and not self._closed:
                        self._pool.append(connection)
                    else:
                        connection.close()
        finally:
            self._readers.release()

    def _begun_reader(self, begin: str) -> tuple[server.Connection, Cursor]:
        while True:
            try:
                connection, pooled = self._pool.pop(), True
            except IndexError:
                connection, pooled = server.connect(self._address), False
            try:
                begun = connection.execute(begin)
                while begun.nextset():
                    pass
            except psycopg.Error as error:
                connection.close()
                if not pooled or not isinstance(error, psycopg.OperationalError):
                    raise
            else:
                return connection, begun

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        if self._closed:
            raise Unavailable("the views are closed", hint="open them again")
        try:
            yield
        except psycopg.Error as error:
            raise server.explained(error, self.name, doing) from error


def _runner(connection: server.Connection) -> Run:
    def run(sql: str, values: Sequence[Any] = ()) -> Cursor:
        return connection.execute(server.placed(sql), values)

    return run


def _roll_back(connection: server.Connection) -> bool:
    """End a transaction; False when the connection is of no more use."""
    try:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()
    return not connection.closed
