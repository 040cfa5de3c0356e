"""SQLite with the hygiene that durable commits need, for every database file of a data folder.

Connections are opened here and nowhere else: write-ahead log, `synchronous=FULL`, both read back.
A process that holds a connection must never open the database, its `-wal` or its `-shm` by a file
call: closing any such descriptor drops the process's POSIX locks and with them fsynced commits
(rule 20). `os.stat` opens nothing and is what `FileWatch` uses.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

from usance.kernel.errors import Owned, Tampered, Unavailable, UsanceError

BUSY_TIMEOUT_MS = 5_000
PAGE_BYTES = 8_192
CHECKPOINT_PAGES = 16_000
WRITER_CACHE_KIB = 32_768
READER_CACHE_KIB = 4_096

NETWORK_FILE_SYSTEMS = {
    *("afs", "beegfs", "ceph", "cifs", "davfs", "fuse.davfs2"),
    *("fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre"),
    *("ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"),
}


class FolderLock:
    """The exclusive right to own a data folder: a locked file, held for the life of the process.

    Raises Unavailable naming the holder's pid. The kernel frees the lock when the process ends,
    however it ends; a stopped holder keeps it, so two owners can never run.
    """

    def __init__(self, folder: Path, name: str = "owner.lock") -> None:
        self.path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise Unavailable(
                f"the data folder {folder} cannot be written: {exc.strerror}",
                hint="check its permissions, or choose another folder with --data",
            ) from exc
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Owned(
                f"the data folder {folder} is owned by process {holder or 'unknown'}",
                pid=int(holder) if holder.isdigit() else 0,
                hint="use it through that process, or stop it first",
            ) from exc
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the folder up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def file_system_of(path: Path, mounts: str) -> str:
    """Return the file system type that holds `path`, from the text of /proc/self/mountinfo."""
    best, kind = "", ""
    text = str(path)
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split(" ")[4].replace("\\040", " ")
        inside = text == point or text.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind


def refuse_network(folder: Path) -> None:
    """Raise Unavailable when `folder` lies on a network file system, as far as can be told."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return
    kind = file_system_of(folder.resolve(), mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Unavailable(
            f"{folder} is on a network file system ({kind}), where SQLite's locks do not hold",
            hint="keep the data folder on a local disk",
        )


def connect(
    path: Path, *, create: bool = False, query_only: bool = False, page_bytes: int = PAGE_BYTES
) -> sqlite3.Connection:
    """Open a database in WAL mode with `synchronous=FULL`; both are read back.

    `page_bytes` counts where the database is made: one that exists keeps its own.
    Raises Unavailable (missing, busy, read-only folder) or Tampered (not a database, malformed).
    """
    mode = "rwc" if create else "rw"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=512
        )
    except sqlite3.Error as exc:
        raise explained(exc, path, "open") from exc
    try:
        configure(connection, query_only, page_bytes)
    except sqlite3.Error as exc:
        connection.close()
        raise explained(exc, path, "open") from exc
    except UsanceError:
        connection.close()
        raise
    return connection


def configure(
    connection: sqlite3.Connection, query_only: bool, page_bytes: int = PAGE_BYTES
) -> None:
    """Set the pragmas of a new connection and read the two that durability hangs on back."""
    run = connection.execute
    run(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    run(f"PRAGMA page_size={page_bytes}")
    mode = run("PRAGMA journal_mode=WAL").fetchone()[0]
    run("PRAGMA synchronous=FULL")
    run(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES * PAGE_BYTES // page_bytes}")
    run("PRAGMA temp_store=MEMORY")
    run(f"PRAGMA cache_size=-{READER_CACHE_KIB if query_only else WRITER_CACHE_KIB}")
    if query_only:
        run("PRAGMA query_only=ON")
    level = run("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or level != 2:
        raise Unavailable(
            f"SQLite would not give write-ahead log with full sync (got {mode}, {level})",
            hint="keep the data folder on a local disk that supports shared memory",
        )


def check_format(connection: sqlite3.Connection, path: Path, *, mark: int, version: int) -> bool:
    """Return whether the database is already formatted; a foreign or newer one is refused.

    `mark` is the application id in the file's header, `version` the newest format this code knows.
    """
    run = connection.execute
    found: int = run("PRAGMA application_id").fetchone()[0]
    stored: int = run("PRAGMA user_version").fetchone()[0]
    if found == 0 and stored == 0:
        if run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise Unavailable(
                f"{path} is a SQLite database of another program",
                hint="choose another data folder with --data",
            )
        return False
    if found != mark:
        raise Unavailable(
            f"{path} is a SQLite database of another program",
            hint="choose another data folder with --data",
        )
    if stored > version:
        raise Unavailable(
            f"{path} has format version {stored}; this program knows versions up to {version}",
            hint="run the newer program that wrote it, or restore an older backup",
        )
    return True


def explained(exc: sqlite3.Error, path: Path, doing: str) -> UsanceError:
    """Return the error of our tree that says what a SQLite error means for the caller."""
    code = (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
    what = f"cannot {doing} {path.name}: {exc}"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Tampered(
            what, hint="the file is damaged: keep a copy of it and restore the last backup"
        )
    hints = {
        sqlite3.SQLITE_FULL: "the disk is full: free space, then retry; nothing was lost",
        sqlite3.SQLITE_BUSY: "another process holds the write lock: retry, or stop that process",
        sqlite3.SQLITE_READONLY: "the folder is read-only: check its permissions and the mount",
        sqlite3.SQLITE_CANTOPEN: "the folder or file is missing or read-only: check path and permissions",
        sqlite3.SQLITE_IOERR: "the disk failed a read or write: check the system log and the disk",
    }
    return Unavailable(what, hint=hints.get(code, "check the data folder, then retry"))


class FileWatch:
    """Notices that a database or its write-ahead log was removed or replaced under our feet."""

    def __init__(self, path: Path) -> None:
        self._paths = (str(path), f"{path}-wal")
        self._inodes = [self._inode(p) for p in self._paths]

    @staticmethod
    def _inode(path: str) -> tuple[int, int]:
        try:
            found = os.stat(path)  # noqa: PTH116 - on every commit: no Path object, no descriptor
        except OSError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def check(self) -> None:
        """Raise Tampered when either file is gone or another one lies in its place."""
        for path, inode in zip(self._paths, self._inodes, strict=True):
            if inode == (0, 0) or self._inode(path) != inode:
                raise Tampered(
                    f"{Path(path).name} was removed or replaced while in use",
                    hint="stop, find out who touched the data folder, then start again"
                    " or restore the last backup",
                )


def backup(source: sqlite3.Connection, destination: Path) -> None:
    """Copy a live database to `destination` through the backup API and check the copy.

    The copy is one consistent state; writers go on meanwhile. Raises Unavailable or Tampered.
    """
    part = destination.with_name(destination.name + ".part")
    part.unlink(missing_ok=True)
    try:
        target = sqlite3.connect(part, isolation_level=None)
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            problems = quick_check(target)
        finally:
            target.close()
    except sqlite3.Error as exc:
        raise explained(exc, part, "write") from exc
    if problems:
        raise Tampered(
            f"the copy of {destination.name} is damaged: {problems[0]}",
            hint="check the disk, then check the original with `usance doctor`",
        )
    with part.open("rb+") as copied:
        os.fsync(copied.fileno())
    part.replace(destination)
    folder = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def quick_check(connection: sqlite3.Connection) -> list[str]:
    """Return SQLite's findings about a damaged database; empty when it is sound."""
    try:
        rows: list[Any] = connection.execute("PRAGMA quick_check(20)").fetchall()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as exc:  # damage that keeps even the check from going on
        return [str(exc)]
    return [] if rows == [("ok",)] else [row[0] for row in rows]
