"""Signs of life: when each part last came round, and what a part that does not is doing.

A part beats once per step. One that has not for longer than a bound is stuck: the program no longer
lives, as its health says, and the stacks of all threads go to the log once, a line for each: files,
line numbers and functions, never a value. One that stays stuck ends its process where a supervisor starts it
again: a call that hangs can be left in no other way, and a record whose handling hangs is then met one at a time
(rule 15).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType

from usance.engine.logs import logger
from usance.kernel.clock import Clock

STUCK_S = 60.0
LOOK_S = 1.0
FRAMES_MAX = 30
END_AFTER = 2.0
"""Times the bound after which a stuck part ends its process."""

_log = logger("vitals")


class Vitals:
    """The heartbeats of a process; safe across threads."""

    def __init__(
        self,
        clock: Clock,
        stuck_after: float = STUCK_S,
        end: Callable[[str, float], None] | None = None,
    ) -> None:
        self._clock = clock
        self._stuck_after = stuck_after
        self._end = end
        self._beats: dict[str, float] = {}
        self._told: set[str] = set()

    def beat(self, part: str) -> None:
        """Say that a part has come round."""
        self._beats[part] = self._clock.monotonic()

    def ended(self, part: str) -> None:
        """Say that a part will not come round any more, and need not."""
        self._beats.pop(part, None)

    def ages(self) -> dict[str, float]:
        """Return the seconds since each part came round."""
        now = self._clock.monotonic()
        return {part: now - at for part, at in list(self._beats.items())}

    def stuck(self) -> dict[str, float]:
        """Return the parts that have not come round for too long, with the seconds since."""
        return {part: age for part, age in self.ages().items() if age > self._stuck_after}

    def watch(self, stopping: threading.Event) -> None:
        """Look now and then until `stopping`; tell of each part that gets stuck, once."""
        while not stopping.wait(min(LOOK_S, self._stuck_after / 2)):
            self.look()

    def look(self) -> None:
        """Log the stacks of all threads for each part that got stuck since the last look; end what stays so."""
        stuck = self.stuck()
        for part in stuck.keys() - self._told:
            for thread, where in stacks().items():
                since = round(stuck[part] * 1_000)
                _log.error("part_stuck", part=part, duration_ms=since, thread=thread, where=where)
        self._told = set(stuck)
        for part, age in stuck.items():
            if self._end is not None and age > END_AFTER * self._stuck_after:
                self._end(part, age)


def stacks() -> dict[str, str]:
    """Return where each thread of this process is, innermost first, by the thread's name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, str(ident)): _walked(frame)
        for ident, frame in sys._current_frames().items()  # noqa: SLF001  there is no other way
    }


def _walked(frame: FrameType | None) -> str:
    found: list[str] = []
    while frame is not None and len(found) < FRAMES_MAX:
        code = frame.f_code
        file = "/".join(code.co_filename.rsplit("/", 2)[-2:])
        found.append(f"{file}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(found)
