"""The embedded key store: `keys.sqlite` beside the log, in a file of its own.

Two databases never commit as one, so a key is durable here before the unit that uses it commits: a key without use
is harmless, a record without its key would be lost. What is destroyed leaves the file: secure_delete
overwrites it, the WAL is truncated and the small file rewritten. Every write is fsynced.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from usance.crypto.keyservice import KeyState, Purpose
from usance.crypto.keystore import Hold, KeyRecord, RecordMac, demand_no_hold, destroyed
from usance.kernel.errors import Tampered, Unavailable

FORMAT = 3
"""2: each record with its MAC; 3: each hold with id and MAC. One without is refused until `usance key adopt`."""
IN_ONE_QUESTION = 500

_TABLES = """
CREATE TABLE IF NOT EXISTS keys (
    key_id BLOB PRIMARY KEY, tenant TEXT NOT NULL, subject TEXT NOT NULL, retention TEXT NOT NULL,
    version INTEGER NOT NULL, purpose TEXT NOT NULL, state TEXT NOT NULL, kek INTEGER NOT NULL,
    blob BLOB NOT NULL, check_value BLOB NOT NULL, created INTEGER NOT NULL,
    destroyed INTEGER NOT NULL, certificate TEXT NOT NULL, mac BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_of ON keys (tenant, subject, version);
CREATE TABLE IF NOT EXISTS holds (
    tenant TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, by TEXT NOT NULL,
    since INTEGER NOT NULL, id TEXT NOT NULL, mac BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS acks (instance TEXT PRIMARY KEY, generation INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS generation (number INTEGER NOT NULL);
"""
_COLUMNS = (
    "key_id, tenant, subject, retention, version, purpose, state, kek, blob, check_value, created,"
    " destroyed, certificate, mac"
)
_HOLD_COLUMNS = "tenant, subject, reason, by, since, id, mac"
_CHANGE = (
    "UPDATE keys SET state = ?, kek = ?, blob = ?, destroyed = ?, certificate = ?, mac = ?"
    " WHERE key_id = ?"
)


class SqliteKeys:
    """The key store in a file; any thread and any process of the machine may use it."""

    def __init__(self, path: Path) -> None:
        """Open or make it; raises Unavailable where it cannot be, Tampered where it is of another format."""
        self._path = path
        self._lock = threading.RLock()
        self._mac: RecordMac | None = None
        self._trusted: dict[bytes, KeyRecord] = {}
        try:
            fresh = not path.exists()
            if fresh:
                path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=5.0
            )
            self._set_up()
        except sqlite3.Error as error:
            raise _unavailable(path, error) from error
        except OSError as error:
            raise Unavailable(f"the key store {path} cannot be opened: {error.strerror}") from error

    def _set_up(self) -> None:
        db = self._db
        for pragma in ("secure_delete=ON", "journal_mode=WAL", "synchronous=FULL"):
            db.execute(f"PRAGMA {pragma}")
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
        if (mode, db.execute("PRAGMA synchronous").fetchone()[0]) != ("wal", 2):
            raise Unavailable(
                f"the key store {self._path} would not be durable on this file system"
            )
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 1:
            db.execute("ALTER TABLE keys ADD COLUMN mac BLOB NOT NULL DEFAULT x''")
        if version in (1, 2):
            db.execute("ALTER TABLE holds ADD COLUMN id TEXT NOT NULL DEFAULT ''")
            db.execute("ALTER TABLE holds ADD COLUMN mac BLOB NOT NULL DEFAULT x''")
            db.execute(f"PRAGMA user_version={FORMAT}")
            version = FORMAT
        if version not in (0, FORMAT):
            raise Tampered(
                f"the key store {self._path} has format {version}",
                hint="Install the version of usance that wrote it.",
            )
        if version == 0:
            db.executescript(_TABLES)
            db.execute(
                "INSERT INTO generation SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM generation)"
            )
            db.execute(f"PRAGMA user_version={FORMAT}")

    def bind(self, mac: RecordMac) -> None:
        """Sign and check records from now on."""
        self._mac = mac

    # -- reading

    def by_id(self, ids: Sequence[bytes]) -> dict[bytes, KeyRecord]:
        """Return the records of keys."""
        found: dict[bytes, KeyRecord] = {}
        for at in range(0, len(ids), IN_ONE_QUESTION):
            part = list(ids[at : at + IN_ONE_QUESTION])
            marks = ",".join("?" * len(part))
            for record in self._records(f"WHERE key_id IN ({marks})", part):
                found[record.key_id] = record
        return found

    def of_subject(self, tenant: str, subject: str) -> list[KeyRecord]:
        """Return all records of a pseudonym."""
        where = "WHERE tenant = ? AND subject = ? ORDER BY version"
        return self._records(where, (tenant, subject))

    def of_subjects(self, tenant: str, subjects: Sequence[str]) -> dict[str, list[KeyRecord]]:
        """Return the records of many pseudonyms, in few questions."""
        found: dict[str, list[KeyRecord]] = {name: [] for name in subjects}
        for at in range(0, len(subjects), IN_ONE_QUESTION):
            part = list(subjects[at : at + IN_ONE_QUESTION])
            marks = ",".join("?" * len(part))
            where = f"WHERE tenant = ? AND subject IN ({marks}) ORDER BY version"
            for record in self._records(where, [tenant, *part]):
                found[record.subject].append(record)
        return found

    def records(self) -> Iterator[KeyRecord]:
        """Return every record."""
        yield from self._records("ORDER BY tenant, created, key_id", ())

    def _records(self, where: str, values: Sequence[Any]) -> list[KeyRecord]:
        rows = self._do(f"SELECT {_COLUMNS} FROM keys {where}", values)
        found = [_record(row) for row in rows]
        return [self._checked(record) for record in found]

    def _checked(self, record: KeyRecord) -> KeyRecord:
        if self._mac is None or self._trusted.get(record.key_id) == record:
            return record
        return self._mac.demand(record)

    def trust(self, records: Sequence[KeyRecord]) -> None:
        """Give out unsigned records that somebody held against the log."""
        self._trusted |= {r.key_id: r for r in records}

    def unsigned(self) -> list[KeyRecord]:
        """Return the records that have no MAC, as they are."""
        rows = self._do(f"SELECT {_COLUMNS} FROM keys WHERE mac = x''", ())
        return [_record(row) for row in rows]

    # -- writing

    def sign(self, records: Sequence[KeyRecord]) -> None:
        """Sign records that somebody held against the log."""
        with self._writing():
            self._change(records)

    def put(self, records: Sequence[KeyRecord]) -> None:
        """Keep new records; durable on return. A record that is there already stays as it is."""
        marks = ",".join("?" * len(_COLUMNS.split(",")))
        statement = f"INSERT INTO keys ({_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        with self._writing():
            self._db.executemany(statement, [_row(self._signed(r)) for r in records])

    def outputs(self, records: Sequence[KeyRecord]) -> Sequence[Any]:
        """Keep new records, before the unit that uses them; nothing goes into the unit."""
        self.put(records)
        return ()

    def rewrap(self, records: Sequence[KeyRecord]) -> int:
        """Replace blob and KEK version."""
        blobs = {r.key_id: (r.blob, r.kek) for r in records}
        with self._writing():
            living = [r for r in self.by_id(list(blobs)).values() if not r.dead]
            self._change(
                replace(r, blob=blobs[r.key_id][0], kek=blobs[r.key_id][1]) for r in living
            )
        return len(living)

    def turn(self, ids: Sequence[bytes], state: KeyState) -> None:
        """Set the state of keys."""
        with self._writing():
            living = [r for r in self.by_id(ids).values() if not r.dead]
            self._change(replace(r, state=state) for r in living)
            self._db.execute("UPDATE generation SET number = number + 1")

    def destroy(
        self, tenant: str, subject: str, at: int, certificate: str, obliged: Iterable[str] = ()
    ) -> list[KeyRecord]:
        """Destroy every version of every key of a subject; its bytes leave database and WAL."""
        with self._lock:
            with self._writing():
                demand_no_hold(self.holds(tenant, subject), obliged)
                gone = [destroyed(r, at, certificate) for r in self.of_subject(tenant, subject)]
                self._change(gone)
                self._db.execute("UPDATE generation SET number = number + 1")
            self.scrub()
        return gone

    def _change(self, records: Iterable[KeyRecord]) -> None:
        """Write what may change of records; the rest of each is as it was read, within one transaction."""
        signed = map(self._signed, records)
        self._db.executemany(
            _CHANGE,
            [
                (r.state.value, r.kek, r.blob, r.destroyed, r.certificate, r.mac, r.key_id)
                for r in signed
            ],
        )

    def _signed(self, record: KeyRecord) -> KeyRecord:
        return record if self._mac is None else self._mac.signed(record)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Do all or nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._rolled_back()
                raise _unavailable(self._path, error) from error
            except BaseException:
                self._rolled_back()
                raise

    def scrub(self) -> None:
        """Rewrite the file, so that no freed page holds what was deleted."""
        self._do("VACUUM", ())
        self._do("PRAGMA wal_checkpoint(TRUNCATE)", ())

    # -- holds

    def hold(self, hold: Hold) -> None:
        """Put a legal hold on a subject."""
        with self._writing():
            self._put_hold(hold)

    def _put_hold(self, hold: Hold) -> None:
        self._drop_hold(hold.tenant, hold.subject, hold.id)
        h = hold if self._mac is None else self._mac.signed_hold(hold)
        values = (h.tenant, h.subject, h.reason, h.by, h.since, h.id, h.mac)
        self._db.execute(
            f"INSERT INTO holds ({_HOLD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values
        )

    def _drop_hold(self, tenant: str, subject: str, hold: str) -> None:
        of = "WHERE tenant = ? AND subject = ? AND id = ?"
        self._db.execute(f"DELETE FROM holds {of}", (tenant, subject, hold))

    def release(self, tenant: str, subject: str, hold: str) -> None:
        """Take one hold of a subject away."""
        with self._writing():
            self._drop_hold(tenant, subject, hold)

    def holds(self, tenant: str, subject: str) -> list[Hold]:
        """Return the holds on a subject."""
        found = self._holds("WHERE tenant = ? AND subject = ? ORDER BY since", (tenant, subject))
        return found if self._mac is None else [self._mac.demand_hold(h) for h in found]

    def _holds(self, where: str, values: Sequence[Any]) -> list[Hold]:
        rows = self._do(f"SELECT {_HOLD_COLUMNS} FROM holds {where}", values)
        names = _HOLD_COLUMNS.split(", ")
        return [Hold(**dict(zip(names, row, strict=True))) for row in rows]

    def unsigned_holds(self) -> list[Hold]:
        """Return the holds that have no MAC, as they are."""
        return self._holds("WHERE mac = x''", ())

    def sign_holds(self, holds: Sequence[Hold]) -> None:
        """Put holds, held against the log, in the place of the unsigned ones of their subjects."""
        with self._writing():
            for hold in holds:
                self._drop_hold(hold.tenant, hold.subject, "")
                self._put_hold(hold)

    # -- who has heard of what was destroyed

    def generation(self) -> int:
        """Return a number that grows whenever keys are destroyed or change their state."""
        return int(self._do("SELECT number FROM generation", ())[0][0])

    def acknowledge(self, instance: str, generation: int, at: int) -> None:
        """Say that a process has let go of everything destroyed up to a generation."""
        self._do("INSERT OR REPLACE INTO acks VALUES (?, ?, ?)", (instance, generation, at))

    def acks(self) -> list[tuple[str, int, int]]:
        """Return (instance, generation, instant) of every process that has the store open."""
        return [(str(i), int(g), int(a)) for i, g, a in self._do("SELECT * FROM acks", ())]

    def leave(self, instance: str) -> None:
        """A process ends: nobody waits for it any more."""
        self._do("DELETE FROM acks WHERE instance = ?", (instance,))

    # -- the database

    def _do(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise _unavailable(self._path, error) from error

    def _rolled_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _row(record: KeyRecord) -> tuple[Any, ...]:
    return (
        record.key_id, record.tenant, record.subject, record.retention, record.version,
        record.purpose.value, record.state.value, record.kek, record.blob, record.check,
        record.created, record.destroyed, record.certificate, record.mac,
    )  # fmt: skip


def _record(row: Sequence[Any]) -> KeyRecord:
    return KeyRecord(
        key_id=row[0],
        tenant=row[1],
        subject=row[2],
        retention=row[3],
        version=row[4],
        purpose=Purpose(row[5]),
        state=KeyState(row[6]),
        kek=row[7],
        blob=row[8],
        check=row[9],
        created=row[10],
        destroyed=row[11],
        certificate=row[12],
        mac=row[13],
    )


def _unavailable(path: Path, error: sqlite3.Error) -> Unavailable:
    return Unavailable(
        f"the key store {path} cannot be used: {type(error).__name__}",
        hint="Check space and rights of its folder; nothing is sealed or opened without it.",
    )
