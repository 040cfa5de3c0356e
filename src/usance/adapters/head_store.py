"""Last heads, and what a witness saw last, in SQLite databases of their own: compare-and-set, durable."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from usance.adapters import sqlite_store
from usance.audit.merkle import EMPTY_ROOT
from usance.audit.note import Checkpoint
from usance.audit.ports import LastHead
from usance.kernel.errors import Fenced, Unavailable

MARK = 0x75736864  # "ushd"
VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS head (
  origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, "offset" INTEGER NOT NULL,
  tail BLOB NOT NULL, log_time INTEGER NOT NULL, logged INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
  origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, checkpoint BLOB NOT NULL
  ) WITHOUT ROWID;
"""

T = TypeVar("T")


class _Database:
    """One connection for the threads of one process."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"{path.parent} cannot be made: {error.strerror}", hint="Check its permissions."
            ) from error
        self._connection = sqlite_store.connect(path, create=create)
        try:
            if not sqlite_store.check_format(self._connection, path, mark=MARK, version=VERSION):
                # Workers that begin together may all come here: the first one makes it.
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id={MARK};"
                    f" PRAGMA user_version={VERSION}; COMMIT;"
                )
        except BaseException:
            self._connection.close()
            raise

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction; all of it is on disk on return, or none."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                value = work(self._connection)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise sqlite_store.explained(error, self.path, "write") from error
            except BaseException:
                self._undo()
                raise
            return value

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._connection.close()


class SqliteHeads:
    """A HeadStore in one file."""

    shared = False

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._database = _Database(path, create=create)

    def load(self) -> dict[str, LastHead]:
        """Return all last heads by origin."""
        rows = self._database.run(lambda c: c.execute("SELECT * FROM head").fetchall())
        return {row[0]: LastHead(*row) for row in rows}

    def advance(self, moves: Sequence[tuple[LastHead | None, LastHead]]) -> None:
        """Replace heads by their successors: all or none, and only where the old ones stand."""

        def swap(connection: sqlite3.Connection) -> None:
            for old, new in moves:
                found = connection.execute(
                    "SELECT * FROM head WHERE origin = ?", (new.origin,)
                ).fetchone()
                if (found and tuple(found)) != (old and tuple(old)):
                    raise Fenced(
                        f"another notary has signed a head of {new.origin}",
                        hint="Run one notary: this one stops, and nothing of it was signed.",
                    )
                connection.execute("INSERT OR REPLACE INTO head VALUES (?,?,?,?,?,?,?)", new)

        self._database.run(swap)

    def replay(self) -> list[list[LastHead]]:
        """Return nothing: only the last heads are kept."""
        return []

    def close(self) -> None:
        """Release the file."""
        self._database.close()


class SqliteSeen:
    """What a witness saw last, in one file."""

    def __init__(self, path: Path) -> None:
        self._database = _Database(path)

    def last(self, origin: str) -> tuple[int, bytes]:
        """Return size and root of the last head cosigned."""
        sql = "SELECT size, root FROM seen WHERE origin = ?"
        row = self._database.run(lambda c: c.execute(sql, (origin,)).fetchone())
        return (row[0], row[1]) if row else (0, EMPTY_ROOT)

    def advance(self, origin: str, old: tuple[int, bytes], raw: bytes, head: Checkpoint) -> bool:
        """Store a head in the place of `old`."""

        def swap(connection: sqlite3.Connection) -> bool:
            sql = "SELECT size, root FROM seen WHERE origin = ?"
            row = connection.execute(sql, (origin,)).fetchone()
            if ((row[0], row[1]) if row else (0, EMPTY_ROOT)) != old:
                return False
            values = (origin, head.size, head.root, raw)
            connection.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", values)
            return True

        return self._database.run(swap)

    def checkpoint(self, origin: str) -> bytes | None:
        """Return the last head as its log signed it."""
        sql = "SELECT checkpoint FROM seen WHERE origin = ?"
        row = self._database.run(lambda c: c.execute(sql, (origin,)).fetchone())
        return row[0] if row else None

    def close(self) -> None:
        """Release the file."""
        self._database.close()
