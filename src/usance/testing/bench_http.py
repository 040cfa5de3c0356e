"""Commands over HTTP, answered after their commit: the program's own application in a process of its own.

The server has gateway, owner and API, as `usance start` has them; the other parts rest, so that the number
is that of the door and not of what happens behind it. The client speaks HTTP/1.1 over raw keep-alive sockets.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import SystemClock
from usance.testing.bench_rig import Mismatch, at_share

READY_S = 60.0


class HttpRun(NamedTuple):
    """Closed-loop requests over so many connections."""

    connections: int
    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float


def serve(folder: str) -> None:
    """Run the server until its input ends; prints the port first."""
    from usance.bootstrap.runtime import Runtime
    from usance.bootstrap.store import Folder
    from usance.config import load
    from usance.web.app import create_app, make_server

    settings = load(None, {"data": folder}, {}).settings
    runtime = Runtime(Folder(Path(folder)), settings)
    if runtime.screener is not None:
        runtime.screener.screener()  # compiling the lists takes a core for a while, once a day
    runtime.parts = {name: runtime.parts[name] for name in ("gateway", "owner")}
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    port = listener.getsockname()[1]
    server = make_server(create_app(runtime), "127.0.0.1", port)
    runtime.start()

    def end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])
    runtime.close()


class _Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.since = 0.0

    def send(self, request: bytes, now: float) -> None:
        self.since = now
        self.socket.sendall(request)

    def answer(self) -> int:
        """Read what is there; return the response's code once it is whole, else 0."""
        self.received += self.socket.recv(65_536)
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return 0
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < size:
            return 0
        self.received = body[size:]
        return int(head[9:12])


def requests_of(commands: Sequence[Outgoing]) -> list[bytes]:
    """Return commands as requests."""
    found = []
    for outgoing in commands:
        body = msgspec.json.encode(outgoing.command)
        head = (
            f"POST /commands/{type(outgoing.command).__name__} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Usance-As: amara.okafor:maker\r\nIdempotency-Key: {outgoing.id}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


def drive(port: int, requests: Sequence[bytes], connections: int) -> HttpRun:
    """Send requests over connections, each as soon as the answer before it is there."""
    clock = SystemClock()
    taken: list[float] = []
    waiting = iter(requests)
    with selectors.DefaultSelector() as selector:
        start = clock.monotonic()
        for request in [r for r, _ in zip(waiting, range(connections), strict=False)]:
            connection = _Connection(port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request, clock.monotonic())
        while selector.get_map():
            for key, _ in selector.select(10.0):
                connection = key.data
                code = connection.answer()
                if code == 0:
                    continue
                if code not in (200, 201):
                    raise Mismatch(f"the API answered {code}", hint="Look at the server's log.")
                now = clock.monotonic()
                taken.append((now - connection.since) * 1e3)
                request = next(waiting, b"")
                if request:
                    connection.send(request, now)
                else:
                    selector.unregister(connection.socket)
                    connection.socket.close()
        seconds = clock.monotonic() - start
    taken.sort()
    return HttpRun(
        connections, len(taken), len(taken) / seconds, at_share(taken, 0.5), at_share(taken, 0.99)
    )


def run_http(folder: Path, commands: Sequence[Outgoing], connections: int = 64) -> HttpRun:
    """Start the server, warm it up with a tenth of the commands, measure the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"from usance.testing.bench_http import serve; serve({str(folder)!r})"
    path = os.pathsep.join(p for p in sys.path if p)
    with (folder / "stderr.log").open("w") as stderr:
        server = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path},
        )
    assert server.stdin is not None and server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            text = (folder / "stderr.log").read_text(encoding="utf-8")
            raise Mismatch(f"the server did not start: {text[-500:]}", hint="Read its words.")
        requests = requests_of(commands)
        cut = len(requests) // 10
        drive(int(line), requests[:cut], connections)
        return drive(int(line), requests[cut:], connections)
    finally:
        server.stdin.close()
        server.wait(READY_S)
        server.stdout.close()
