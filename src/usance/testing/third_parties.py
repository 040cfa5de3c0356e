"""Other people's verifiers, built from the Go module proxy: `tools/third_parties` pins them."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from hashlib import sha256
from pathlib import Path

from usance.audit.merkle import EMPTY_ROOT
from usance.audit.note import Verifier, parse_vkey
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable

MODULE = Path(__file__).parents[3] / "tools" / "third_parties"
BUILD_S, RUN_S, START_S = 600, 60, 10
NEEDED = ("fsck", "litewitness", "verify")


def go() -> str | None:
    """Return Go's program, None where there is none."""
    return shutil.which("go") or next(
        (str(p) for p in (Path("/usr/local/go/bin/go"),) if p.exists()), None
    )


def build() -> Path:
    """Return the folder of the built programs: built once per set of versions, kept in the user's cache."""
    program = go()
    assert program is not None, "ask `go` first"
    pinned = [MODULE / "go.mod", MODULE / "go.sum", MODULE / "verify" / "main.go"]
    digest = sha256(b"".join(p.read_bytes() for p in pinned)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "usance" / "third-parties" / digest
    if all((target / name).exists() for name in NEEDED):
        return target
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one test run wait for the first
        if not all((target / name).exists() for name in NEEDED):
            _build(program, target)
    return target


def _build(program: str, target: Path) -> None:
    made = subprocess.run(  # noqa: S603  the program found above
        [program, "build", "-o", f"{target}{os.sep}", "./verify", "tool"],
        cwd=MODULE,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    if made.returncode:
        raise Unavailable("the verifiers cannot be built", hint=made.stderr[-2_000:])


def run(*words: str | Path) -> tuple[int, str]:
    """Run a program; returns its code and all that it said. A time-out is a code of its own: -1."""
    try:
        done = subprocess.run(  # noqa: S603  built above
            [str(w) for w in words], capture_output=True, text=True, timeout=RUN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, "time-out"
    return done.returncode, done.stdout + done.stderr


def fsck(programs: Path, tree: Path) -> bool:
    """Tell whether Tessera's fsck accepts a tree of a folder."""
    return fsck_at(programs, f"file://{tree}/", tree / "log.vkey")


def fsck_at(programs: Path, address: str, key: Path) -> bool:
    """Tell whether Tessera's fsck accepts the tree below an address, with the key of a file.

    Its code says nothing: v1.0.4 ends with 0 on every corruption, and with one worker never ends on some.
    """
    _, said = run(
        programs / "fsck",
        f"--storage_url={address}",
        f"--public_key={key}",
        "--ui=false",
        "--N=4",
    )
    return "Successfully fsck'd log with size" in said


class LiteWitness:
    """The witness of filippo.io/torchwood on a port of this machine, with its own ssh-agent."""

    def __init__(self, programs: Path, folder: Path, logs: list[Verifier]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
        agent = str(folder / "agent")
        self._agent = self._start("ssh-agent", "-D", "-a", agent)
        self._until(Path(agent).exists)
        self._run("ssh-add", "-q", str(folder / "key"), env={"SSH_AUTH_SOCK": agent})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._database = folder / "witness.db"
        print_ = self._run("ssh-keygen", "-l", "-f", str(folder / "key.pub")).split()[1]
        words = ("-db", str(self._database), "-name", "witness.example/w1", "-ssh-agent", agent)
        address = f"127.0.0.1:{self.port}"
        self._witness = self._start(
            str(programs / "litewitness"), *words, "-key", print_, "-listen", address
        )
        self._until(self._listens)
        for log in logs:
            self._know(log)

    @property
    def key(self) -> Verifier:
        """Its cosigner's key."""
        blob = base64.b64decode((self.folder / "key.pub").read_text().split()[1])
        bare = Verifier("witness.example/w1", blob[-32:], 4)
        return parse_vkey(bare.vkey)

    def _know(self, log: Verifier) -> None:
        connection = sqlite3.connect(self._database, timeout=5)
        root = base64.b64encode(EMPTY_ROOT).decode()
        with connection:
            connection.execute(
                "INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (log.name, root)
            )
            connection.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (log.name, log.vkey))
        connection.close()

    def _listens(self) -> bool:
        return listens(self.port)

    def _until(self, done: object) -> None:
        clock = SystemClock()
        deadline = clock.monotonic() + START_S
        assert callable(done)
        while not done():
            if clock.monotonic() > deadline:
                self.close()
                raise Unavailable("the witness does not start", hint="Run it by hand.")
            clock.sleep(0.02)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def _run(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(  # noqa: S603
            words, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=True
        )
        return done.stdout

    def close(self) -> None:
        """End both programs."""
        for name in ("_witness", "_agent"):
            process = getattr(self, name, None)
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.wait(10)


def listens(port: int) -> bool:
    """Tell whether anybody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
