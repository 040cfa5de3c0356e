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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from usance.adapters import sqlite_store
from usance.adapters.sql_views import FORMAT_VERSION, Run, SqlViews
from usance.adapters.sql_views_read import Dialect, SqlReading, names_of
from usance.engine.projections.projection import (
    Generation,
    Key,
    Row,
    Table,
    Write,
)
from usance.engine.projections.reading import Reading
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Tampered, Unavailable

MARK = 0x55_53_56_57
PARAMETERS_MAX = 32_000
ROWS_PER_STATEMENT = 256
POLL_SECONDS = 0.005
CACHE_KIB = 65_536
PAGE_BYTES = 16_384
"""Twice those of the log: a presentation's row takes 5 KB, and a page of 8 KB would hold one."""

DIALECT = Dialect(
    text="TEXT",
    integer="INTEGER",
    narrow=" WITHOUT ROWID",
    contains="instr(lower({}), lower(?)) > 0",
    among="{} IN (SELECT value FROM json_each(?))",
    beside="{} NOT IN (SELECT value FROM json_each(?))",
    listed=lambda _, values: msgspec.json.encode(values).decode(),
)

MADE_AGAIN = "stop usance, delete the views.sqlite* files: they are made again from the log"


class SqliteViews(SqlViews):
    """The view store on one WAL database, such as `data/views.sqlite`. Safe across threads.

    One projector writes at a time (its connection is behind a lock); readers have their own
    connections. Raises Unavailable or Tampered as `sqlite_store` explains.
    """

    dialect = DIALECT

    def __init__(self, path: Path, *, create: bool = True, clock: Clock | None = None) -> None:
        super().__init__()
        self.name = path.name
        self.path = path
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._commits = 0
        self._pool: deque[sqlite3.Connection] = deque()
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
        connection = sqlite_store.connect(
            self.path, create=create, query_only=query_only, page_bytes=PAGE_BYTES
        )
        connection.execute("PRAGMA synchronous=NORMAL")
        if not query_only:
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return connection

    def _format(self, create: bool) -> None:
        known = sqlite_store.check_format(
            self._writer, self.path, mark=MARK, version=FORMAT_VERSION
        )
        if known:
            return
        if not create:
            raise Unavailable(f"{self.path} holds no views yet", hint="run usance start once")
        with self._writing() as run:
            # Processes that share a folder begin at once: who comes second finds the tables made.
            if sqlite_store.check_format(
                self._writer, self.path, mark=MARK, version=FORMAT_VERSION
            ):
                return
            for statement in self._tables_made().split(";")[:-1]:
                run(statement)
            run(f"PRAGMA application_id={MARK}")
            run(f"PRAGMA user_version={FORMAT_VERSION}")

    # -- for the projector

    def live(self, name: str) -> int:
        """Return the number of the live generation, 0 when there is none."""
        with self._reader() as connection:
            return self._live(connection.execute, name)

    def fetch(self, generation: Generation, table: Table, keys: list[Key]) -> list[Row]:
        """Return the rows of those keys that exist."""
        with self._lock, self._explained("read"):
            return self._rows(self._writer.execute, generation.physical(table), table, keys)

    def _write(self, run: Run, generation: Generation, write: Write) -> None:
        physical = generation.physical(write.table)
        columns = write.table.all_columns
        names, width = names_of(columns), len(columns)
        keys = ", ".join(f'"{k}"' for k in write.table.key)
        others = [c.name for c in columns if c.name not in write.table.key]
        update = ", ".join(f'"{c}"=excluded."{c}"' for c in others)
        head = f'INSERT INTO "{physical}" ({names}) VALUES '
        # a growing table's rows come once: where one is there already, rows and checkpoint disagree
        tail = "" if write.table.grows else f" ON CONFLICT ({keys}) DO UPDATE SET {update}"
        one = f"({', '.join('?' * width)})"
        for part in _chunks(write.rows, width):
            run(head + ", ".join([one] * len(part)) + tail, list(chain.from_iterable(part)))
        where = " AND ".join(f'"{k}"=?' for k in write.table.key)
        for key in write.gone:
            run(f'DELETE FROM "{physical}" WHERE {where}', key)

    def _rows(self, run: Run, physical: str, table: Table, keys: list[Key]) -> list[Row]:
        """Read rows by key as one result row, so that it takes one step."""
        names = [c.name for c in table.all_columns]
        listed = ", ".join(f't."{n}"' for n in names)
        wanted = msgspec.json.encode(keys).decode()
        if "\\u0000" in wanted:  # SQLite's JSON ends a text there
            sought = " AND ".join(f't."{k}"=?' for k in table.key)
            found = [
                run(f'SELECT {listed} FROM "{physical}" t WHERE {sought}', key) for key in keys
            ]
            return [dict(zip(names, r, strict=True)) for one in found for r in one.fetchall()]
        match = " AND ".join(f't."{k}"=json_extract(j.value, \'$[{i}]\')'
                             for i, k in enumerate(table.key))  # fmt: skip
        row = run(
            f"SELECT json_group_array(json_array({listed})) FROM json_each(?) j"
            f' CROSS JOIN "{physical}" t WHERE {match}',
            (wanted,),
        ).fetchone()
        return [dict(zip(names, r, strict=True)) for r in msgspec.json.decode(row[0])]

    # -- the database's own way

    def _show(self, run: Run, tables: Sequence[Table], number: int) -> None:
        for table in tables:
            run(f'DROP VIEW IF EXISTS "{table.name}"')
            run(f'CREATE VIEW "{table.name}" AS SELECT * FROM "{table.name}__v{number}"')

    def _drop_tables(self, run: Run, name: str, number: int, tables: str) -> None:
        for table in tables.split():
            if self._live(run, name) == number:
                run(f'DROP VIEW IF EXISTS "{table}"')
            run(f'DROP TABLE IF EXISTS "{table}__v{number}"')

    # -- reading

    @contextmanager
    def reading(self, *, restricted: bool = False) -> Iterator[Reading]:
        """Lend a consistent picture of all views; `restricted` opens restricted tables too."""
        with self._reader() as connection:
            connection.execute("BEGIN")
            try:
                yield SqlReading(connection.execute, DIALECT, self._shapes, restricted)
            finally:
                connection.execute("ROLLBACK")

    def scrub(self) -> None:
        """Overwrite what deleted rows left in the file and in its WAL: after an erasure."""
        with self._lock:
            self._writer.execute("PRAGMA secure_delete=ON")
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

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
            error = sqlite_store.explained(exc, self.path, doing)
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
