"""One broker for all processes of a test run: started by the first that asks, gone with the last.

A keeper process owns the broker and counts the connections to its socket: a user is a connection, so one that
is killed counts no more. Topics are the users' affair: whoever shares a broker gives its topics names of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable
from usance.testing.kafka_broker import READY_S, KafkaCluster

LONELY_S = 2.0
"""How long a keeper that has lost its last user waits for another."""
FIRST_S = 30.0
"""How long it waits for the first."""


class SharedBroker:
    """A use of the shared broker below `folder`: `bootstrap` is its address until `close`."""

    def __init__(self, folder: Path) -> None:
        with _turn(folder):
            # One starts the keeper while the others wait.
            folder.mkdir(parents=True, exist_ok=True)
            self._line = _connect(folder) or _begin(folder)
        self._line.settimeout(READY_S)
        with self._line.makefile("r", encoding="utf-8") as words:
            text = words.readline()
        said = json.loads(text or '{"error": "the keeper ended"}')
        if "error" in said:
            self._line.close()
            raise Unavailable(
                f"the shared broker did not start: {said['error']}",
                hint=f"Read {folder / 'keeper.log'}.",
            )
        self.bootstrap: str = said["bootstrap"]

    def __enter__(self) -> Self:
        """Return itself; it is ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the use back."""
        self.close()

    def close(self) -> None:
        """Give the use back; the broker ends when nobody has one."""
        self._line.close()


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    # Beside the folder, which goes away with the keeper; a dead holder frees the lock.
    with (folder.parent / "usance-kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _socket(folder: Path) -> str:
    return str(folder / "s")  # addresses of such sockets are bounded at about 100 bytes


def _connect(folder: Path) -> socket.socket | None:
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(_socket(folder))
    except OSError:
        line.close()
        return None
    return line


def _begin(folder: Path) -> socket.socket:
    Path(_socket(folder)).unlink(missing_ok=True)
    path = os.pathsep.join(p for p in sys.path if p)
    with (folder / "keeper.log").open("a") as log:
        keeper = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "usance.testing.kafka_shared", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    clock = SystemClock()
    until = clock.monotonic() + FIRST_S
    while clock.monotonic() < until and keeper.poll() is None:
        line = _connect(folder)
        if line is not None:
            # It lives on its own; `wait` would be a lie, and a warning at its end another.
            keeper.returncode = 0
            return line
        clock.sleep(0.05)
    keeper.kill()
    keeper.wait()
    raise Unavailable(
        "the keeper of the shared broker did not start",
        hint=f"Read {folder / 'keeper.log'}.",
    )


def keep(folder: Path) -> None:
    """Run the broker for all who connect to the socket in `folder`, until none is left."""
    with socket.socket(socket.AF_UNIX) as door, selectors.DefaultSelector() as events:
        door.bind(_socket(folder))
        door.listen(64)
        events.register(door, selectors.EVENT_READ)
        cluster = KafkaCluster(folder=folder / "cluster")
        try:
            said = _started(cluster)
            users = 1
            while users:
                _serve(door, events, said)
                with _turn(folder):
                    # Whoever came in the meantime keeps it alive; whoever comes now starts another.
                    users = len(events.select(0))
                    if not users and "error" not in said:
                        shutil.rmtree(folder, ignore_errors=True)
        finally:
            cluster.close()


def _started(cluster: KafkaCluster) -> dict[str, Any]:
    try:
        cluster.start()
    except Unavailable as error:
        return {"error": f"{error.message} {error.hint}"}
    return {"bootstrap": cluster.bootstrap}


def _serve(door: socket.socket, events: selectors.BaseSelector, said: dict[str, Any]) -> None:
    users: set[socket.socket] = set()
    patience = FIRST_S
    while True:
        ready = events.select(None if users else patience)
        if not ready and not users:
            return
        for key, _ in ready:
            if key.fileobj is door:
                user, _ = door.accept()
                users.add(user)
                events.register(user, selectors.EVENT_READ)
                user.sendall(json.dumps(said).encode() + b"\n")
                patience = LONELY_S
                continue
            for user in [one for one in users if one is key.fileobj]:
                # They say nothing: what can be read is their end.
                users.discard(user)
                events.unregister(user)
                user.close()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
