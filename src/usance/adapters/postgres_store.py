"""PostgreSQL connections as this program wants them: bounded waits, errors in words, a server looked at.

A password may stand in an address: addresses are never printed, `named` is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import conninfo, errors

from usance.engine.findings import Finding, held
from usance.kernel.errors import Tampered, Unavailable, UsanceError

Connection = psycopg.Connection[Any]

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_TIMEOUT_MS = 60_000
"""For a transaction that nobody goes on with: it would hold back the server's cleaning."""
LISTEN_S = 0.2
RECONNECT_S = 0.5
SILENCE_MS = 20_000
"""How long a host may leave bytes unanswered before its connection counts as lost."""
VERSION_MIN = 140_000
CONNECTIONS_MIN = 30

SESSION = (
    f"SET statement_timeout={STATEMENT_TIMEOUT_MS}; SET lock_timeout={LOCK_TIMEOUT_MS};"
    f" SET idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}; SET client_encoding='UTF8';"
    " SET client_min_messages=warning"
)
MADE_AGAIN = "stop usance, drop the schema of its views: they are made again from the log"


def named(address: str) -> str:
    """Return how messages call a database: its name and host, nothing secret."""
    try:
        parts = conninfo.conninfo_to_dict(address)
    except psycopg.Error as error:
        raise Unavailable(
            "the address of the views cannot be read",
            hint="Write it like postgresql://user@host:5432/database.",
        ) from error
    return f"database {parts.get('dbname') or 'default'} on {parts.get('host') or 'localhost'}"


def connect(address: str) -> Connection:
    """Open a connection in autocommit mode with every wait bounded. Raises Unavailable."""
    name = named(address)
    try:
        connection = psycopg.connect(
            address,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            fallback_application_name="usance",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=SILENCE_MS,
        )
    except psycopg.Error as error:
        raise explained(error, name, "reach") from error
    try:
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise Unavailable(
                f"{name} is not encoded in UTF8",
                hint="Make one that is: CREATE DATABASE usance ENCODING 'UTF8' TEMPLATE template0.",
            )
        connection.execute(SESSION)
    except psycopg.Error as error:
        connection.close()
        raise explained(error, name, "reach") from error
    except BaseException:
        connection.close()
        raise
    return connection


@lru_cache(maxsize=1_024)
def placed(sql: str) -> str:
    """Return a statement whose values are named `?` as psycopg wants it."""
    return sql.replace("%", "%%").replace("?", "%s")


HINTS: dict[type[psycopg.Error], str] = {
    errors.QueryCanceled: "the server is busy or the question too wide: retry, or narrow it",
    errors.LockNotAvailable: "another session holds a lock: look at pg_stat_activity, then retry",
    errors.DeadlockDetected: "retry: nothing was written",
    errors.DiskFull: "the server's disk is full: free space, then retry; nothing was lost",
    errors.OutOfMemory: "the server is out of memory: retry, or give it more",
    errors.InsufficientPrivilege: "give the user a schema of its own:"
    " CREATE SCHEMA usance AUTHORIZATION its_name",
    errors.InvalidSchemaName: "create the schema: CREATE SCHEMA usance AUTHORIZATION its_name",
    errors.ReadOnlySqlTransaction: "this is a standby: name the primary, or add"
    " target_session_attrs=read-write to the address",
    errors.UndefinedTable: "the views are being built: wait, or run usance start",
    errors.UndefinedColumn: "the views of this version are being built: wait for them",
}

AT_THE_DOOR = {
    "pg_hba.conf": "allow this host, user and database in the server's pg_hba.conf",
    "database": "create the database: CREATE DATABASE usance ENCODING 'UTF8'",
    "role": "create the user: CREATE ROLE its_name LOGIN",
    "password": "check user and password of the address, or the password file",
    "too many clients": "the server has no connection left: raise max_connections",
    "starting up": "the server is starting: usance goes on when it has",
}
"""What to do by a word of a refusal to connect, which comes without an error code."""


def explained(error: psycopg.Error, name: str, doing: str) -> UsanceError:
    """Return the error of our tree that says what a PostgreSQL error means for the caller."""
    told = (error.diag.message_primary or str(error) or type(error).__name__).strip()
    what = f"cannot {doing} the views in {name}: {told.splitlines()[0]}"
    if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
        return Tampered(what, hint=f"the database is damaged: {MADE_AGAIN}")
    known = [hint for kind, hint in HINTS.items() if isinstance(error, kind)]
    if error.sqlstate is None and "FATAL:" in told:
        refusal = told.rpartition("FATAL:")[2]
        known += [hint for word, hint in AT_THE_DOOR.items() if word in refusal]
    lost = "is PostgreSQL running, and can it be reached? usance goes on when it is back"
    return Unavailable(what, hint=next(iter(known), lost))


def _setting(name: str, value: str) -> str:
    change = f"ALTER SYSTEM SET {name} = {value}"
    return f"psql -c '{change}' -c 'SELECT pg_reload_conf()'"


def examine(connection: Connection, *, version_min: int = VERSION_MIN) -> Iterator[Finding]:
    """Look at a server's settings without changing them; commands are for its administrator."""

    def show(name: str) -> str:
        row = connection.execute(f"SHOW {name}").fetchone()
        return str(row[0]) if row else ""

    version = connection.info.server_version
    yield held(
        "data",
        "POSTGRES_OLD",
        "PostgreSQL version",
        show("server_version"),
        well=version >= version_min,
        command="pg_upgrade",
        hint=f"PostgreSQL {version_min // 10_000} or newer is needed",
    )
    for name, why in (
        ("fsync", "a crash of the server can tear the views"),
        ("full_page_writes", "a power cut can tear pages"),
        ("synchronous_commit", "a crash can take back what readers saw"),
    ):
        found = show(name)
        off = found == "off"
        mend, told = _setting(name, "on"), f"{found}: {why}" if off else found
        yield held("data", "POSTGRES_SETTING", name, told, well=not off, command=mend)
    standby = show("transaction_read_only") == "on"
    yield held(
        "data",
        "POSTGRES_STANDBY",
        "PostgreSQL role",
        "read-only" if standby else "read-write",
        well=not standby,
        command="export USANCE_VIEWS=postgresql://PRIMARY/...",
        hint="name the primary, or add target_session_attrs=read-write to the address",
    )
    room = int(show("max_connections"))
    yield held(
        "data",
        "POSTGRES_CONNECTIONS",
        "max_connections",
        str(room),
        well=room >= CONNECTIONS_MIN,
        command=_setting("max_connections", "100"),
        hint="then restart the server",
    )
    row = connection.execute(
        "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE'), current_user"
    ).fetchone()
    schema, may, user = row or (None, False, "")
    yield held(
        "data",
        "POSTGRES_SCHEMA",
        "views schema",
        str(schema or "none"),
        well=bool(may),
        command=f"psql -c 'GRANT CREATE ON SCHEMA {schema or 'public'} TO {user}'",
        hint=HINTS[errors.InsufficientPrivilege],
    )


class Listener:
    """Hears a channel in a thread of its own; calls back for each note and each new connection."""

    def __init__(self, address: str, channel: str, heard: Callable[[], None]) -> None:
        self._address = address
        self._channel = channel
        self._heard = heard
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="views-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=CONNECT_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                connection = connect(self._address)
                try:
                    connection.execute(f"LISTEN {self._channel}")
                    self._heard()
                    while not self._stop.is_set():
                        for _ in connection.notifies(timeout=LISTEN_S, stop_after=1):
                            self._heard()
                finally:
                    connection.close()
            except (psycopg.Error, UsanceError):
                self._stop.wait(RECONNECT_S)
