"""Caring for a data folder: backup, restore, seek, and a look at its health."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from usance.adapters import sqlite_store
from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_store import FolderLock
from usance.bootstrap import proof_care
from usance.bootstrap.backend import demand_embedded, open_log
from usance.bootstrap.desk import clock_of
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.crypto.sealing import LIBRARY
from usance.engine.owner import OWNER_GROUP
from usance.engine.verify import Progress, verify_log
from usance.kernel import native
from usance.kernel.errors import NotFound, Owned, Refused, Tampered, Unavailable, UsanceError
from usance.log.contract import TopicPartition

FREE_BYTES_MIN = 500_000_000
SQLITE_MIN = (3, 37, 0)
KEPT = ("people.json", "usance.toml")
"""Files of a data folder, beside the log, that cannot be made again."""
LISTS = "lists"


class Finding(NamedTuple):
    """One check of `doctor`: what was looked at, what was found, what to do when it is not well."""

    check: str
    well: bool
    found: str
    hint: str = ""
    tampered: bool = False


def backup(
    folder: Folder, settings: Settings, target: Path, progress: Progress | None = None
) -> int:
    """Copy a folder while it is in use, and verify the copy's chain; returns its records.

    Views are not copied: they are made again from the log. Raises Refused where `target` exists,
    Tampered where the copy's chain is broken.
    """
    demand_embedded(settings, "a backup of the data folder")
    if target.exists() and any(target.iterdir()):
        raise Refused(
            "BACKUP_EXISTS", f"{target} is not empty", hint="Backups are never overwritten."
        )
    target.mkdir(parents=True, exist_ok=True)
    log = SqliteLog.open(folder.log, owner=False)
    try:
        log.backup(target / folder.log.name)
    finally:
        log.close()
    _copy_kept(folder.root, target)
    return verified(Folder(target), settings, progress)


def restore(
    source: Path, folder: Folder, settings: Settings, progress: Progress | None = None
) -> int:
    """Make a data folder from a backup after verifying its chain; returns the records.

    Raises Refused where the folder holds a log, Tampered where the backup is damaged.
    """
    demand_embedded(settings, "a restore of the data folder")
    if folder.log.exists():
        raise Refused(
            "BOOK_EXISTS",
            f"{folder.root} holds a book already",
            hint="Restore into an empty folder: --data DIR.",
        )
    if not (source / folder.log.name).exists():
        raise NotFound(f"there is no backup in {source}", hint="Name a folder of `usance backup`.")
    records = verified(Folder(source), settings, progress)
    folder.root.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder.root)
    try:
        log = SqliteLog.open(source / folder.log.name, owner=False)
        try:
            log.backup(folder.log)
        finally:
            log.close()
        _copy_kept(source, folder.root)
    finally:
        lock.close()
    return records


def _copy_kept(source: Path, target: Path) -> None:
    for name in KEPT:
        if (source / name).exists():
            shutil.copy2(source / name, target / name)
    if (source / LISTS).is_dir():
        shutil.copytree(source / LISTS, target / LISTS, dirs_exist_ok=True)


def verified(folder: Folder, settings: Settings, progress: Progress | None = None) -> int:
    """Recompute every chain of a folder's log; returns the records. Raises Tampered at a break."""
    store = Store(folder, settings, clock_of(folder, settings), owner=False)
    try:
        reports = verify_log(store.log, store.genesis.log_id, store.decoder, progress)
    finally:
        store.close()
    for report in reports:
        if report.broken is not None:
            raise Tampered(
                f"{report.topic} partition {report.partition}, offset {report.broken.offset}:"
                f" {report.broken.reason}",
                hint=report.broken.hint,
            )
    return sum(report.records for report in reports)


def seek(
    folder: Folder, settings: Settings, group: str, place: TopicPartition, offset: int
) -> None:
    """Set from where a group reads on; raises Owned while a process runs, Refused for the owner's."""
    if group == OWNER_GROUP:
        raise Refused(
            "OWNER_GROUP",
            "the owner's positions are part of its units and cannot be moved",
            hint="To decide a command again, redrive its dead letter.",
        )
    lock = None if settings.bootstrap_servers else FolderLock(folder.root)
    try:
        log = open_log(folder.log, settings, owner=False)
        try:
            log.set_positions(group, {place: offset})
        finally:
            log.close()
    finally:
        if lock is not None:
            lock.close()


def examine(folder: Folder, settings: Settings) -> Iterator[Finding]:
    """Look at machine and folder without changing them."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    yield Finding("Python", sys.version_info >= (3, 11), version, "Python 3.11 or newer is needed.")
    yield Finding(
        "SQLite",
        sqlite3.sqlite_version_info >= SQLITE_MIN,
        sqlite3.sqlite_version,
        "SQLite 3.37 or newer is needed: use a newer Python.",
    )
    yield Finding("assertions", __debug__, "on" if __debug__ else "off", "Run without -O.")
    yield Finding("codec", True, native.RUNNING)
    yield Finding("cipher", True, LIBRARY)
    root = folder.root if folder.root.exists() else folder.root.absolute().parent
    free = shutil.disk_usage(root).free
    yield Finding("disk", free > FREE_BYTES_MIN, f"{free / 1e9:.1f} GB free", "Free space.")
    yield _told("file system", "local", lambda: sqlite_store.refuse_network(folder.root))
    if settings.views != "sqlite":
        yield from _postgres(settings.views)
    for look in proof_care.examine(folder, settings):
        yield Finding(*look)
    if not folder.log.exists():
        yield Finding("data folder", True, f"no book in {folder.root} yet")
        return
    yield _owner(folder)
    yield _private(folder)
    for path in (folder.log, folder.views):
        if path.exists():
            yield _sound(path)


def _private(folder: Folder) -> Finding:
    """Look whether others on this machine can read what a sealed log's views show."""
    mode = folder.root.stat().st_mode & 0o777
    sealed = (folder.root / "keys.sqlite").exists()
    return Finding(
        "privacy", not (sealed and mode & 0o077), f"rights {mode:o}", f"chmod 700 {folder.root}"
    )


def _postgres(address: str) -> Iterator[Finding]:
    from usance.adapters import postgres_store

    try:
        with postgres_store.connect(address) as connection:
            for look in postgres_store.examine(connection):
                yield Finding(*look)
    except Unavailable as error:
        yield Finding("views", False, error.message, error.hint)


def _told(check: str, well: str, look: object) -> Finding:
    try:
        assert callable(look)
        look()
    except UsanceError as error:
        return Finding(check, False, error.message, error.hint, isinstance(error, Tampered))
    return Finding(check, True, well)


def _owner(folder: Folder) -> Finding:
    try:
        FolderLock(folder.root).close()
    except Owned as owned:
        return Finding("owner", True, f"process {owned.pid}")
    except UsanceError as error:
        return Finding("owner", False, error.message, error.hint)
    return Finding("owner", True, "none runs")


def _sound(path: Path) -> Finding:
    def look() -> None:
        with closing(sqlite_store.connect(path, query_only=True)) as connection:
            try:
                problems = sqlite_store.quick_check(connection)
            except sqlite3.OperationalError as exc:
                raise sqlite_store.explained(exc, path, "check") from exc
        if problems:
            raise Tampered(
                f"{path.name}: {problems[0]}",
                hint="Keep a copy as evidence and restore the last backup.",
            )

    return _told(path.name, "sound", look)
