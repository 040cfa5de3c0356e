"""The read models in a process of their own: what people look at costs those who decide nothing.

Python runs one thread at a time, and views are the largest part of what happens after a decision. The
process reads the folder as any other may, follows the log, and ends with its parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from usance.bootstrap.store import Folder, Store, make_projector, open_views
from usance.config import Settings
from usance.engine import collector, logs
from usance.engine.projections.reading import Views
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Tampered, Unavailable, UsanceError
from usance.log.contract import TopicPartition

STOP_S = 10.0
WAIT_S = 0.2
RETRY_S = 0.5
TAMPERED_CODE = 5

_log = logs.logger("viewing")


class ViewsApart:
    """Starts the process that keeps the views, starts it again when it ends, and knows how far it is."""

    def __init__(self, store: Store, views: Views) -> None:
        self.store = store
        self.views = views
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Begin; the process starts with the first step."""

    def step(self, wait: float = 0.0) -> int:
        """Look after the process; raises Unavailable when it ended, Tampered when it must not go on."""
        if self._process is None:
            self._process = self._started()
        try:
            code = self._process.wait(wait)
        except subprocess.TimeoutExpired:
            return 0
        self._put_away(self._process)
        self._process = None
        if code == TAMPERED_CODE:
            raise Tampered(
                "the views do not fit the log, or are damaged", hint="See the line logged before."
            )
        raise Unavailable(
            f"the process that keeps the views ended with code {code}",
            hint="It is started again; look at its log lines if that goes on.",
        )

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and arguments
            [sys.executable, "-m", "usance.bootstrap.viewing", str(self.store.folder.root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(self.store.settings) + b"\n")
        process.stdin.flush()
        self.starts += 1
        return process

    def _put_away(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()

    def lag(self) -> dict[str, int]:
        """Return how many offsets each live projection is behind; 0 where nothing is left to read."""
        with self.views.reading(restricted=True) as reading:
            live = reading.checkpoints()
        log, found = self.store.log, {}
        for name, checkpoints in live.items():
            behind, ends = 0, log.ends(checkpoints)
            for place, checkpoint in checkpoints.items():
                end, at = ends[place], checkpoint.offset
                if at < end and next(iter(log.scan(place, at, end, 1)), None) is not None:
                    behind += end - at
            found[name] = behind
        return found

    def idle(self) -> bool:
        """Tell whether everything is taken in."""
        return not any(self.lag().values())

    def taken_in(self, place: TopicPartition) -> int | None:
        """Return the offset before which every view has read a partition; None where none reads it."""
        with self.views.reading(restricted=True) as reading:
            live = reading.checkpoints().values()
        return min((c[place].offset for c in live if place in c), default=None)

    def close(self) -> None:
        """End the process after the batch under way."""
        process, self._process = self._process, None
        if process is None:
            return
        self._put_away(process)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def keep(root: Path) -> int:
    """Keep the views of a folder until standard input ends; its first line are the settings."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process in its own time
    logs.configure()
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=Settings)
    stopping = threading.Event()

    def watch() -> None:
        while os.read(0, 1):  # unbuffered: a lock held here would break the end of the program
            pass
        stopping.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
    try:
        _follow(Folder(root), settings, stopping)
    except Tampered as damaged:
        _log.error("part_stopped", part="projector", error_type="Tampered", reason=damaged.message)
        return TAMPERED_CODE
    except UsanceError as trouble:
        _log.warning("part_waits", part="projector", error_type=type(trouble).__name__)
        return 4
    return 0


def _follow(folder: Folder, settings: Settings, stopping: threading.Event) -> None:
    store = Store(folder, settings, SystemClock(), owner=False)
    views = open_views(folder, settings)
    projector = make_projector(store, views)
    try:
        projector.open()
        collector.relax()
        vault = store.vault
        if vault is not None:
            vault.enter(f"{os.uname().nodename}:{os.getpid()}")
        while not stopping.is_set():
            try:
                if vault is not None:
                    vault.tick()
                projector.step(WAIT_S)
            except Unavailable as trouble:
                _log.warning("part_waits", part="projector", error_type=type(trouble).__name__)
                stopping.wait(RETRY_S)
    finally:
        projector.close()
        views.close()
        store.close()


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
