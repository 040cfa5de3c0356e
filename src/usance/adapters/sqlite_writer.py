"""The one thread that writes a SQLite log: it groups jobs and shares one fsync among them.

Each job is atomic by itself (a unit is one statement, and a statement that fails leaves nothing);
the group is one transaction, and no job hears of success before its COMMIT has returned. Jobs that
arrive during a commit form the next group. Only after a group of several does the writer wait, at
most `GATHER_SECONDS`, for as many again: an idle or single-client log never waits.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from usance.adapters import sqlite_store
from usance.adapters.sqlite_store import FileWatch
from usance.kernel.clock import Clock
from usance.kernel.errors import Tampered, Unavailable, Uncertain, UsanceError
from usance.log.contract import UNIT_BYTES_MAX

GATHER_SECONDS = 0.002
CHECKPOINT_BYTES = 4 * 1024 * 1024
JOB_PAGES_BYTES = 5 * sqlite_store.PAGE_BYTES
GROUP_JOBS_MAX = 256
GROUP_BYTES_MAX = 4 * UNIT_BYTES_MAX

T = TypeVar("T")


class Job(Generic[T]):
    """One atomic change waiting for its commit, and the place where its result appears.

    `apply` runs on the writer thread inside the group's transaction and either returns its value or
    raises an error of our tree having changed nothing; `committed` runs there after the COMMIT.
    """

    def __init__(
        self,
        apply: Callable[[sqlite3.Connection], T],
        *,
        size: int = 0,
        committed: Callable[[T], None] | None = None,
    ) -> None:
        self.apply = apply
        self.size = size
        self.committed = committed
        self._value: T | None = None
        self._error: BaseException | None = None
        self._finished = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def done(self) -> bool:
        """Tell whether `result` would return at once."""
        return self._finished

    def written(self, timeout: float) -> bool:
        """Wait for the end: what is written is committed at once."""
        if not self._finished and self._gate.acquire(timeout=timeout):
            self._gate.release()
        return self._finished

    def result(self, timeout: float | None = None) -> T:
        """Wait for the value. Raises the job's error, or Uncertain when `timeout` seconds pass."""
        if not self._finished:
            if not self._gate.acquire(timeout=-1 if timeout is None else timeout):
                raise Uncertain(
                    "the commit has not returned in time",
                    hint="wait longer, or take over again: the log then tells what happened",
                )
            self._gate.release()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def succeed(self, value: T) -> None:
        """Publish the value; called once, after the commit."""
        if self.committed is not None:
            self.committed(value)
        self._value = value
        self._finish()

    def fail(self, error: BaseException) -> None:
        """Publish an error; called once."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        # What the job was made of holds the job: let go, so that a unit's bytes go with the unit.
        self.apply, self.committed = _applied, None
        self._finished = True
        self._gate.release()


def _applied(_connection: sqlite3.Connection) -> NoReturn:
    raise AssertionError("a job is applied once")


class Checkpointer:
    """Moves the write-ahead log into the database beside the writer, so that commits need not.

    SQLite lets a passive checkpoint run while another connection commits. It cannot finish while
    commits go on, so the writer's own automatic checkpoint (`CHECKPOINT_PAGES`) stays as the bound
    on the log's size; by then little is left to move.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = threading.Event()
        self._closing = False
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpoint", daemon=True)
        self._thread.start()

    def wrote(self, size: int) -> None:
        """Count bytes about to be in the log; every `CHECKPOINT_BYTES` a checkpoint becomes due."""
        self._written += size
        if self._written >= CHECKPOINT_BYTES:
            self._written = 0
            self._due.set()

    def close(self) -> None:
        """End the thread after the checkpoint under way."""
        self._closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while self._due.wait() and not self._closing:
            self._due.clear()
            # A failed checkpoint loses nothing: the records are safe in the write-ahead log, and
            # what is wrong with the disk will show, with its cause, at the next commit.
            with suppress(sqlite3.Error, UsanceError):
                connection = connection or sqlite_store.connect(self._path)
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if connection is not None:
            connection.close()


class Writer:
    """Owns the write connection and its thread.

    `prepare` readies a fresh connection (temporary triggers); `uncertain` is told when a commit's
    result is unknown, after the connection was closed: the next job opens a new one.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        prepare: Callable[[sqlite3.Connection], None],
        uncertain: Callable[[], None],
        committed: Callable[[], None],
    ) -> None:
        self._path = path
        self._clock = clock
        self._prepare = prepare
        self._uncertain = uncertain
        self._committed = committed
        self._jobs: queue.SimpleQueue[Job[object] | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._watch: FileWatch | None = None
        self._fatal: Tampered | None = None
        self._closing = False
        self._last_group = 0
        self._checkpointer = Checkpointer(path)
        self.groups = 0
        self._thread = threading.Thread(target=self._run, name="sqlite-log-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job[T]) -> Job[T]:
        """Queue a job; jobs of one caller keep their order."""
        if self._closing:
            job.fail(Unavailable("the log is closed", hint="open it again"))
        else:
            self._jobs.put(job)  # type: ignore[arg-type]
        return job

    def check(self) -> None:
        """Raise what stopped the writer for good, if anything did."""
        if self._fatal is not None:
            raise self._fatal

    def close(self) -> None:
        """Commit what is queued, then end the thread and the connection."""
        if not self._closing:
            self._closing = True
            self._jobs.put(None)
        self._thread.join()
        self._checkpointer.close()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = self._gather(first)
            try:
                self._commit(group)
            except BaseException as exc:  # noqa: BLE001 - a bug: whoever waits must hear of it
                self._disconnect()
                _fail(group, exc)
        while not self._jobs.empty():
            late = self._jobs.get()
            if late is not None:
                late.fail(Unavailable("the log is closed", hint="open it again"))
        self._disconnect()

    def _gather(self, first: Job[object]) -> list[Job[object]]:
        group, size = [first], first.size
        deadline: float | None = None
        while len(group) < GROUP_JOBS_MAX and size < GROUP_BYTES_MAX:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                if len(group) >= self._last_group:
                    break
                now = self._clock.monotonic()
                deadline = now + GATHER_SECONDS if deadline is None else deadline
                if now >= deadline:
                    break
                try:
                    job = self._jobs.get(timeout=deadline - now)
                except queue.Empty:
                    break
            if job is None:
                self._jobs.put(None)
                break
            group.append(job)
            size += job.size
        self._last_group = len(group)
        return group

    def _commit(self, group: list[Job[object]]) -> None:
        """Run one group to its commit; every job ends with a value or an error."""
        try:
            connection = self._begin()
        except UsanceError as exc:
            _fail(group, exc)
            return
        applied: list[tuple[Job[object], object]] = []
        try:
            for job in group:
                try:
                    applied.append((job, job.apply(connection)))
                except UsanceError as exc:
                    job.fail(exc)
            if self._watch is not None:
                self._watch.check()
        except (sqlite3.Error, Tampered) as exc:
            self._give_up(group, exc)
            return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as exc:
            self._commit_failed(applied, exc)
            return
        self.groups += 1
        self._checkpointer.wrote(sum(job.size + JOB_PAGES_BYTES for job, _ in applied))
        self._committed()  # before the receipts: who has one must see the new bounds
        for job, value in applied:
            job.succeed(value)

    def _begin(self) -> sqlite3.Connection:
        self.check()
        try:
            if self._connection is None:
                self._connection = sqlite_store.connect(self._path)
                self._prepare(self._connection)
                self._connection.execute("BEGIN IMMEDIATE")
                self._watch = FileWatch(self._path)
            else:
                self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            self._disconnect()
            raise self._stopping(sqlite_store.explained(exc, self._path, "write")) from exc
        return self._connection

    def _stopping(self, error: UsanceError) -> UsanceError:
        if isinstance(error, Tampered):
            self._fatal = error
        return error

    def _give_up(self, group: list[Job[object]], exc: sqlite3.Error | Tampered) -> None:
        """Before COMMIT: roll back; certainly nothing of the group is in the log."""
        error = (
            exc if isinstance(exc, Tampered) else sqlite_store.explained(exc, self._path, "write")
        )
        self._disconnect()
        _fail(group, self._stopping(error))

    def _commit_failed(self, applied: list[tuple[Job[object], object]], exc: sqlite3.Error) -> None:
        """COMMIT itself failed: a full disk or a lock is certain, anything else is not."""
        group = [job for job, _ in applied]
        code = (exc.sqlite_errorcode or 0) & 0xFF
        error = sqlite_store.explained(exc, self._path, "commit to")
        self._disconnect()
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
            _fail(group, error)
            return
        self._stopping(error)
        self._uncertain()
        _fail(
            group,
            Uncertain(error.message, hint="take over again: the log then tells what happened"),
        )

    def _disconnect(self) -> None:
        connection, self._connection, self._watch = self._connection, None, None
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # closing rolls back too; the error that led here is the one to report
        finally:
            connection.close()


def _fail(group: list[Job[object]], error: BaseException) -> None:
    for job in group:
        if not job.done():
            job.fail(error)
