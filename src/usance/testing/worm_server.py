"""A real S3 server with Object Lock for tests: Versity's gateway over a folder, built from the Go module proxy."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable
from usance.testing.third_parties import go

MODULE = Path(__file__).parents[3] / "tools" / "worm_server"
PROGRAM = "versitygw"
BUILD_S, READY_S = 900, 30.0
REGION = "eu-west-1"
ACCESS, SECRET = "of-a-test", "secret-of-a-test"


def build() -> Path:
    """Return the built program: built once per version, kept in the user's cache; raises Unavailable."""
    found = go()
    if found is None:
        raise Unavailable("Go is missing", hint="Install Go 1.25 or newer.")
    pinned = sha256(b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum")))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "usance" / "worm-server" / pinned.hexdigest()[:16]
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one test run wait for the first
        if not (target / PROGRAM).exists():
            made = subprocess.run(  # noqa: S603  the program found above
                [found, "build", "-o", f"{target}{os.sep}", "tool"],
                cwd=MODULE, capture_output=True, text=True, timeout=BUILD_S, check=False,
            )  # fmt: skip
            if made.returncode:
                raise Unavailable("the S3 server cannot be built", hint=made.stderr[-2_000:])
    return target / PROGRAM


class WormServer:
    """The gateway on a loopback port of its own, over a folder."""

    def __init__(self, folder: Path) -> None:
        program = build()
        for name in ("data", "versions"):
            (folder / name).mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port: int = taken.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [
            str(program), "--port", f"127.0.0.1:{port}", "--region", REGION, "posix",
            "--versioning-dir", str(folder / "versions"), str(folder / "data"),
        ]  # fmt: skip
        self._tether = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")),
             str(folder / "server.log"), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET},
        )  # fmt: skip
        self._log = folder / "server.log"
        self._await_ready(port)

    def _await_ready(self, port: int) -> None:
        clock = SystemClock()
        end = clock.monotonic() + READY_S
        while clock.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                clock.sleep(0.05)
            else:
                return
        self.close()
        said = self._log.read_text(errors="replace")[-2_000:] if self._log.exists() else ""
        raise Unavailable("the S3 server does not come up", hint=said)

    def client(self) -> Any:
        """Return a client of it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=self.address,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )

    def close(self) -> None:
        """Stop it."""
        assert self._tether.stdin is not None
        self._tether.stdin.close()
        self._tether.wait(timeout=READY_S)
        if self._tether.stdout is not None:
            self._tether.stdout.close()
