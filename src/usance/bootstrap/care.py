"""Caring for a data folder: backup, restore, and where a group reads on."""

from __future__ import annotations

import shutil
from pathlib import Path

from usance.adapters.sqlite_log import SqliteLog
from usance.adapters.sqlite_store import FolderLock
from usance.bootstrap.backend import demand_embedded, demand_log, open_log
from usance.bootstrap.desk import clock_of
from usance.bootstrap.doctor_log import differs
from usance.bootstrap.store import Folder, Store, complete_log
from usance.config import Settings
from usance.engine import genesis as birth
from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.topics import Topics
from usance.engine.verify import Progress, verify_log
from usance.kernel.clock import SystemClock
from usance.kernel.errors import NotFound, Refused, Tampered
from usance.log.contract import TopicPartition

KEPT = ("people.json", "usance.toml")
"""Files of a data folder, beside the log, that cannot be made again."""
LISTS = "lists"


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


def settle(folder: Folder, settings: Settings, *, dry_run: bool = False) -> list[tuple[str, str]]:
    """Create the topics that an embedded log lacks, and keep each as it must be kept.

    Returns (topic, what was done). Raises Owned while a process runs.
    """
    demand_embedded(settings, "settling topics (usance kafka setup does it there)")
    demand_log(folder.log, settings)
    lock = FolderLock(folder.root)
    try:
        log = SqliteLog.open(folder.log, owner=False)
        try:
            genesis = birth.check(log, settings.namespace)
            there, done = log.topics(), list[tuple[str, str]]()
            for wanted in Topics(genesis.namespace, genesis.partitions).settings():
                found = there.get(wanted.name)
                if found is None:
                    done.append((wanted.name, "created"))
                elif differs(found, wanted):
                    done.append((wanted.name, f"{found.cleanup} -> {wanted.cleanup}"))
                    if not dry_run:
                        log.settle_topic(wanted)
            if not dry_run:
                complete_log(log, settings, SystemClock())
        finally:
            log.close()
    finally:
        lock.close()
    return done
