"""From gateway to event loop: many answers of other threads, one wake-up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from usance.engine.reactors.reactor import Outgoing
from usance.engine.topics import CONTEXT_OF_CATEGORY
from usance.kernel.decider import key_parts
from usance.kernel.errors import Conflict, Refused
from usance.messages.outcome import Outcome

RECENT_MAX = 4_096
SWEEP_S = 0.25
ANSWER_TIMEOUT_S = 10.0


class EventAt(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event stands (`trade.p1#9241`) and the envelope hash it has there (hex)."""

    position: str
    hash: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a command: the same for every repeat. `revision` is the aggregate's after it.

    `outcome`: accepted | refused | discarded decide; dead-lettered | parked wait for a person.
    `position` is the last event's: give it as `If-Position` to read what was written.
    """

    command_id: str
    outcome: str
    key: str = ""
    revision: int = -1
    events: list[EventAt] = []
    position: str = ""
    code: str = ""
    article: str = ""
    message: str = ""
    hint: str = ""


class Submits(Protocol):
    """The part of the gateway that is used here."""

    def submit(
        self,
        outgoing: Outgoing,
        on_answer: Callable[[Outcome], None] | None,
        on_error: Callable[[Exception], None],
    ) -> None:
        """Queue a command; answers come from other threads."""
        ...


class _Asked:
    __slots__ = ("deadline", "future", "outgoing")

    def __init__(self, outgoing: Outgoing, future: asyncio.Future[Any], deadline: float) -> None:
        self.outgoing = outgoing
        self.future = future
        self.deadline = deadline


class Answers:
    """Sends commands and awaits their outcomes; used from one event loop."""

    def __init__(self, gateway: Submits, *, timeout: float = ANSWER_TIMEOUT_S) -> None:
        self.gateway = gateway
        self.timeout = timeout
        self.recent: OrderedDict[str, Answer] = OrderedDict()
        self._open: dict[str, _Asked] = {}
        self._arrived: deque[tuple[str, Outcome | Exception]] = deque()
        self._scheduled = False
        self._sweeping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, outgoing: Outgoing) -> asyncio.Future[Outcome | None]:
        """Send a command; the future gives its outcome, or None when none came in time.

        Raises Conflict while the same id is under way, Refused where its body is another one,
        Unavailable when the gateway is full.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._scheduled, self._sweeping = loop, False, False
            self._open.clear()
        command_id = outgoing.id
        before = self._open.get(command_id)
        if before is not None:
            raise _under_way(before.outgoing, outgoing)
        future: asyncio.Future[Outcome | None] = loop.create_future()
        self._open[command_id] = _Asked(outgoing, future, loop.time() + self.timeout)
        try:
            self.gateway.submit(
                outgoing,
                lambda outcome: self._arrive(command_id, outcome),
                lambda error: self._arrive(command_id, error),
            )
        except BaseException:
            del self._open[command_id]
            raise
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep)
        return future

    def _arrive(self, command_id: str, result: Outcome | Exception) -> None:
        """Called by other threads. The flag may be read late: a second wake-up does no harm."""
        self._arrived.append((command_id, result))
        if not self._scheduled:
            self._scheduled = True
            loop = self._loop
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._scheduled = False
        arrived, opened = self._arrived, self._open
        while arrived:
            command_id, result = arrived.popleft()
            asked = opened.pop(command_id, None)
            if asked is None or asked.future.done():
                continue
            if isinstance(result, Exception):
                asked.future.set_exception(result)
            else:
                asked.future.set_result(result)

    def _sweep(self) -> None:
        """End the waits that are over; waits begin in order, so the first ones end first."""
        assert self._loop is not None
        now = self._loop.time()
        late = []
        for command_id, asked in self._open.items():
            if asked.deadline > now:
                break
            late.append(command_id)
        for command_id in late:
            asked = self._open.pop(command_id)
            if not asked.future.done():
                asked.future.set_result(None)
        self._sweeping = bool(self._open)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

    def remember(self, answer: Answer) -> None:
        """Keep an answer for repeats of its command."""
        self.recent[answer.command_id] = answer
        if len(self.recent) > RECENT_MAX:
            self.recent.popitem(last=False)


def _under_way(before: Outgoing, now: Outgoing) -> Exception:
    if (before.key, before.command) == (now.key, now.command):
        return Conflict(
            "this command is still being decided",
            hint=f"Ask /outcomes/{now.id} for its answer; sending again is safe.",
        )
    return key_reused()


def key_reused() -> Refused:
    """Return the refusal of a second body under one idempotency key."""
    return Refused(
        "IDEMPOTENCY_KEY_REUSED",
        "Another command was sent with this Idempotency-Key.",
        hint="Use a fresh key for each command; repeat a key only with the same body.",
    )


def answer_of(outcome: Outcome, key: str) -> Answer:
    """Return an outcome as callers see it."""
    events = [
        EventAt(position=position(key, r.partition, r.index), hash=r.envelope_hash.hex())
        for r in outcome.receipts
    ]
    return Answer(
        command_id=outcome.command_id,
        outcome=outcome.answer,
        key=key,
        revision=outcome.revision,
        events=events,
        position=events[-1].position if events else "",
        code=outcome.code,
        article=outcome.article,
        message=outcome.message,
        hint=outcome.hint,
    )


def position(key: str, partition: int, index: int) -> str:
    """Return a position token such as `trade.p1#9241`."""
    context = CONTEXT_OF_CATEGORY.get(key_parts(key).category, "trade")
    return f"{context}.p{partition}#{index}"
