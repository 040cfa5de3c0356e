"""A PostgreSQL server for tests: a folder of its own, a Unix socket in it, one schema per test.

It starts in a second or two from the system's package and ends with the process that started it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import psycopg

from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable

PACKAGE = "on Debian and Ubuntu: apt-get install postgresql"
READY_S = 30.0
UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""For tests in which no server dies."""
SETTINGS = ("shared_buffers=32MB", "max_connections=60", "jit=off",
            "max_wal_size=256MB", "unix_socket_directories=.")  # fmt: skip
USERS = ("postgres", "nobody")


def binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`, the newest; None where nothing is installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3])
    )
    on_path = shutil.which("postgres")
    if found and shutil.which("setpriv"):
        return found[-1].parent
    return Path(on_path).parent if on_path else None


class PostgresServer:
    """One server; `address()` gives a new empty schema of its database.

    With `tcp` it listens on loopback `port` too, where a proxy can stand before it.
    """

    def __init__(self, *, durable: bool = False, tcp: bool = False) -> None:
        bins = binaries()
        if bins is None:
            raise Unavailable("PostgreSQL is missing", hint=PACKAGE)
        self._bins = bins
        self._durable = durable
        self._user = _user()
        self._made = 0
        self.port = _free_port() if tcp else 0
        self._clock = SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="usance-pg-"))
        self._data = self.folder / "data"
        if self._user:
            shutil.chown(self.folder, self._user)
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        # a collation that is not the bytes' own: what depends on it by mistake shows
        words = ["-D", str(self._data), "-U", "usance", "-A", "trust", "-E", "UTF8", "--no-sync",
                 "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]  # fmt: skip
        done = subprocess.run(  # noqa: S603  the system's own program
            self._as_user("initdb", *words), check=False, cwd=self.folder, capture_output=True
        )
        if done.returncode:
            raise Unavailable(
                f"initdb failed: {done.stderr.decode(errors='replace')}", hint=PACKAGE
            )

    def _as_user(self, program: str, *words: str) -> list[str]:
        user = self._user
        change = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        if user == "nobody":
            change[1] = "--regid=nogroup"
        return ["setpriv", *change, "--pdeathsig=INT", str(self._bins / program), *words]

    def start(self) -> None:
        """Start the server and wait until it answers."""
        listen = (
            ("listen_addresses=127.0.0.1", f"port={self.port}")
            if self.port
            else ("listen_addresses=",)
        )
        settings = [*SETTINGS, *listen, *(() if self._durable else UNSAFE)]
        words = [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  the system's own program
                self._as_user("postgres", "-D", str(self._data), *words),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = self._clock.monotonic() + READY_S
        while True:
            try:
                psycopg.connect(self._base()).close()
                return
            except psycopg.OperationalError as error:
                over = self._clock.monotonic() > deadline or self._process.poll() is not None
                if over:
                    told = (self.folder / "log").read_text(errors="replace")[-2_000:]
                    raise Unavailable(f"PostgreSQL did not start: {told}", hint=PACKAGE) from error
            self._clock.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT breaks off what runs, SIGQUIT is as good as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(READY_S)
            self._process = None

    def _base(self, more: str = "", port: int = 0) -> str:
        # the data folder is where the server works, so its socket is there
        host = "127.0.0.1" if port else quote(str(self._data), safe="")
        return f"postgresql://usance@/postgres?host={host}&port={port or self.port or 5432}{more}"

    def address(self, more: str = "", *, port: int = 0) -> str:
        """Return the address of a new empty schema; `more` are settings of its sessions (`-c a=b`).

        `port` is a proxy's before the server.
        """
        self._made += 1
        schema = f"s{os.getpid()}_{self._made}"
        with psycopg.connect(self._base(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        options = quote(f"-c search_path={schema} {more}".strip(), safe="")
        return self._base(f"&options={options}", port)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _user() -> str:
    """Return the user to run as: the server refuses to be root."""
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in known)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
