"""`doctor`: everything about machine, folder, log, keys, proof and people that can be wrong, and what mends it.

Nothing here changes anything. Areas have modules of their own, `doctor_*`; a cluster's own findings are
`adapters.kafka_doctor`'s, `kafka_flow`'s and `kafka_rights`'.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from usance.adapters import sqlite_store
from usance.adapters.sqlite_store import FolderLock
from usance.bootstrap import doctor_access, doctor_heads, doctor_keys, doctor_log
from usance.bootstrap.backend import log_exists
from usance.bootstrap.desk import clock_of
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.crypto.sealing import LIBRARY
from usance.engine.findings import AREAS, SEVERITIES, Finding, held, ok
from usance.kernel import native
from usance.kernel.clock import Clock
from usance.kernel.errors import Owned, Tampered, Unavailable, UsanceError

FREE_BYTES_MIN = 500_000_000
SQLITE_MIN = (3, 37, 0)


def examine(folder: Folder, settings: Settings) -> Iterator[Finding]:
    """Look at everything from outside, as a command does: the log is opened to be read."""
    yield from machine(folder, settings)
    if log_exists(folder.log, settings):
        yield from _log(folder, settings)
    else:
        yield ok("data", "NO_BOOK", "data folder", f"no book in {folder.root} yet")
    yield from doctor_keys.certificates(settings)
    if settings.bootstrap_servers:
        from usance.bootstrap import kafka

        yield from kafka.examine(settings)


def _log(folder: Folder, settings: Settings) -> Iterator[Finding]:
    """Look at files and at what is in them."""
    if not settings.bootstrap_servers:
        yield _owner(folder)
    for path in (folder.log, folder.views):
        if path.exists():
            yield _sound(path)
    try:
        clock = clock_of(folder, settings)
        store = Store(folder, settings, clock, owner=False)
    except UsanceError as error:
        yield troubled("data", "LOG_CLOSED", "log", error, _restored(folder))
        return
    try:
        yield from inside(store, settings, clock)
    finally:
        store.close()


def inside(store: Store, settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Look at an open log: topics, clocks, keys, heads, who may do what."""
    yield from doctor_log.topics(store)
    yield from doctor_log.clocks(store, clock)
    yield from doctor_keys.keys(store, settings)
    yield from doctor_heads.examine(store, settings, clock)
    yield from doctor_access.examine(store.folder)


def served(store: Store, settings: Settings, clock: Clock) -> list[Finding]:
    """Look from within a running program, what is worst first.

    Whole files and open transactions are for the command: that takes its time.
    """
    found = [*machine(store.folder, settings), *inside(store, settings, clock)]
    found += doctor_keys.certificates(settings)
    if settings.bootstrap_servers:
        found += _cluster(settings)
    return sorted(found, key=lambda f: (-SEVERITIES.index(f.severity), AREAS.index(f.area)))


def _cluster(settings: Settings) -> list[Finding]:
    """Look at a cluster with the rights of this process, which may be too few."""
    from usance.bootstrap import kafka

    try:
        return list(kafka.quick(settings))
    except UsanceError as error:
        return [troubled("topics", "CLUSTER_UNSEEN", "cluster", error, "usance kafka doctor")]


def machine(folder: Folder, settings: Settings) -> Iterator[Finding]:
    """Look at the machine and where the folder is."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    yield held(
        "machine",
        "PYTHON_OLD",
        "Python",
        version,
        well=sys.version_info >= (3, 11),
        command="make setup PYTHON=python3.11",
        hint="Python 3.11 or newer is needed",
    )
    yield held(
        "machine",
        "SQLITE_OLD",
        "SQLite",
        sqlite3.sqlite_version,
        well=sqlite3.sqlite_version_info >= SQLITE_MIN,
        command="make setup PYTHON=python3.11",
        hint="SQLite 3.37 or newer is needed: it comes with a newer Python",
    )
    yield held(
        "machine",
        "ASSERTIONS_OFF",
        "assertions",
        "on" if __debug__ else "off",
        well=__debug__,
        command="unset PYTHONOPTIMIZE",
        hint="and run without -O",
    )
    yield ok("machine", "CODEC", "codec", native.RUNNING)
    yield ok("machine", "CIPHER", "cipher", LIBRARY)
    root = folder.root if folder.root.exists() else folder.root.absolute().parent
    free = shutil.disk_usage(root).free
    yield held(
        "machine",
        "DISK_LOW",
        "disk",
        f"{free // 100_000_000 / 10} GB free",
        well=free > FREE_BYTES_MIN,
        command=f"rm -r {folder.cache}",
        hint="what is there is made again; or give it a larger disk",
    )
    yield _told(
        "data",
        "NETWORK_FOLDER",
        "file system",
        lambda: _local(folder.root),
        f"usance backup /var/lib/usance --data {folder.root}",
    )
    if settings.views != "sqlite":
        yield from _postgres(settings.views)


def _postgres(address: str) -> Iterator[Finding]:
    from usance.adapters import postgres_store

    try:
        with postgres_store.connect(address) as connection:
            yield from postgres_store.examine(connection)
    except Unavailable as error:
        yield troubled("data", "VIEWS_AWAY", "views", error, "usance config show")


def troubled(area: str, code: str, check: str, error: UsanceError, command: str) -> Finding:
    """Return what an error says as a finding."""
    severity = "tampered" if isinstance(error, Tampered) else "wrong"
    return Finding(area, code, severity, check, error.message, command, error.hint)


def _told(area: str, code: str, check: str, look: Callable[[], object], command: str) -> Finding:
    try:
        return ok(area, code, check, str(look()))
    except UsanceError as error:
        return troubled(area, code, check, error, command)


def _local(root: Path) -> str:
    sqlite_store.refuse_network(root)
    return "local"


def _owner(folder: Folder) -> Finding:
    try:
        FolderLock(folder.root).close()
    except Owned as owned:
        return ok("data", "OWNER", "owner", f"process {owned.pid}")
    except UsanceError as error:
        return troubled("data", "OWNER", "owner", error, f"chmod u+rwx {folder.root}")
    return ok("data", "OWNER", "owner", "none runs")


def _sound(path: Path) -> Finding:
    views = path.name.startswith("views")

    def look() -> str:
        with closing(sqlite_store.connect(path, query_only=True)) as connection:
            try:
                problems = sqlite_store.quick_check(connection)
            except sqlite3.OperationalError as exc:
                raise sqlite_store.explained(exc, path, "check") from exc
        if problems:
            raise Tampered(
                f"{path.name}: {problems[0]}",
                hint="keep a copy as evidence first",
            )
        return "sound"

    again = f"rm {path} && usance status --data {path.parent}"
    mend = again if views else _restored(Folder(path.parent))
    return _told("data", "FILE_DAMAGED", path.name, look, mend)


def _restored(folder: Folder) -> str:
    return f"mv {folder.root} {folder.root}.damaged && usance restore BACKUP --data {folder.root}"
