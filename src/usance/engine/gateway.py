"""The gateway: commands of people and programs go into the log, their outcomes come back.

In the owner's process the answer comes from memory as soon as the unit is on the disk; any other process
appends the command and follows the outcomes topic. Either way nothing is answered before it is durable.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from usance.engine.reactors.reactor import Commands, Outgoing
from usance.engine.topics import Topics
from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable
from usance.log.contract import Log, Output
from usance.messages.outcome import Outcome

QUEUE_MAX = 10_000
APPEND_MAX = 500
ANSWER_TIMEOUT_S = 30.0

OnAnswer = Callable[[Outcome], None]


class Waiters:
    """Who waits for which command's outcome, in the owner's process; safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[OnAnswer]] = {}

    def add(self, command_id: str, on_answer: OnAnswer) -> None:
        """Call `on_answer` once the next outcome of this command id is durable."""
        with self._lock:
            self._waiting.setdefault(command_id, []).append(on_answer)

    def forget(self, command_id: str) -> None:
        """Stop waiting."""
        with self._lock:
            self._waiting.pop(command_id, None)

    def resolve(self, answers: list[tuple[str, Outcome]]) -> None:
        """Tell those who wait; called by the owner after a unit is durable."""
        if not self._waiting:
            return
        told: list[tuple[list[OnAnswer], Outcome]] = []
        with self._lock:
            for command_id, outcome in answers:
                found = self._waiting.pop(command_id, None)
                if found:
                    told.append((found, outcome))
        for callbacks, outcome in told:
            for callback in callbacks:
                callback(outcome)


class Gateway:
    """Gathers commands from many callers into few appends."""

    def __init__(self, commands: Commands, waiters: Waiters, clock: Clock) -> None:
        self.commands = commands
        self.waiters = waiters
        self.clock = clock
        self._queue: deque[tuple[Outgoing, OnAnswer | None, Callable[[Exception], None]]] = deque()
        self._ready = threading.Condition()

    def submit(
        self,
        outgoing: Outgoing,
        on_answer: OnAnswer | None,
        on_error: Callable[[Exception], None],
    ) -> None:
        """Queue a command; raises Unavailable when the queue is full."""
        with self._ready:
            if len(self._queue) >= QUEUE_MAX:
                raise Unavailable(
                    f"{QUEUE_MAX} commands wait to be written", hint="Try again in a moment."
                )
            self._queue.append((outgoing, on_answer, on_error))
            self._ready.notify()

    def step(self, wait: float = 0.0) -> int:
        """Append what is queued; returns how many commands."""
        with self._ready:
            if not self._queue and wait:
                self._ready.wait(wait)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), APPEND_MAX))]
        if not batch:
            return 0
        now = self.clock.now()
        whole: list[tuple[Outgoing, Callable[[Exception], None], Output]] = []
        for outgoing, on_answer, on_error in batch:
            try:
                whole.append((outgoing, on_error, self.commands.output(outgoing, now)))
            except Exception as error:  # noqa: BLE001  one caller's fault is not its neighbours'
                on_error(error)
                continue
            if on_answer is not None:
                self.waiters.add(outgoing.id, on_answer)
        try:
            self.commands.write([output for _, _, output in whole])
        except Exception as error:  # noqa: BLE001  each caller is told, none is left waiting
            for outgoing, on_error, _ in whole:
                self.waiters.forget(outgoing.id)
                on_error(error)
        return len(batch)


class Replies:
    """Follows this process's own partition of the replies topic and tells those who wait.

    No group and no position: whoever waits, waits from now on, and what nobody waits for is dropped.
    """

    def __init__(
        self, log: Log, topics: Topics, decoder: Any, partition: int, waiters: Waiters
    ) -> None:
        self.log = log
        self.decoder = decoder
        self.waiters = waiters
        self.place = topics.at("system", "replies", partition)
        self.seen = log.end(self.place)

    def step(self, wait: float = 0.0) -> int:
        """Resolve what has come; returns how many replies."""
        if wait:
            self.log.wait({self.place: self.seen}, wait)
        told: list[tuple[str, Outcome]] = []
        try:
            for record in self.log.scan(self.place, self.seen):
                self.seen = record.offset + 1
                outcome = self.decoder.value(record.value)
                told.append((outcome.command_id, outcome))
        finally:
            self.waiters.resolve(told)
        return len(told)


def append_and_wait(
    log: Log,
    topics: Topics,
    commands: Commands,
    decoder: Any,
    outgoing: Outgoing,
    now: int,
    *,
    step: Callable[[], int] | None = None,
    timeout: float = ANSWER_TIMEOUT_S,
    clock: Clock,
) -> Outcome:
    """Append a command and follow the outcomes topic until its outcome is there.

    `step` drives an owner of this process meanwhile; without it another process must own the log.
    Raises Unavailable when no outcome came in time: the command is in the log and will be decided once.
    """
    place = topics.place(outgoing.key)
    tp = topics.at(place.context, "outcomes", place.partition)
    seen = log.end(tp)
    commands.append([outgoing], now)
    deadline = clock.monotonic() + timeout
    while clock.monotonic() < deadline:
        if step is not None:
            step()
        elif log.end(tp) <= seen:
            log.wait({tp: seen - 1}, 0.25)
        for record in log.scan(tp, seen):
            seen = record.offset + 1
            message = decoder.message(record.headers, record.value)
            if isinstance(message, Outcome) and message.command_id == outgoing.id:
                return message
    raise Unavailable(
        "no answer came in time",
        hint=f"The command is kept and will be decided once; ask again with id {outgoing.id}.",
    )
