"""What an owner remembers of one partition, and the overlay in which a unit changes it.

State moves only on commit (rule 7): a unit works on an `Overlay` whose parent is the committed
state or the overlay of the unit under way before it; commit folds it down, abort forgets it.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import msgspec

from usance.kernel.clock import MS_PER_DAY, Instant
from usance.kernel.ids import namespace_of
from usance.messages.outcome import Answer as AnswerName

OUTCOME_WINDOW_MS = 7 * MS_PER_DAY
TIMERS_MAX = 1_000_000
"""Armed timers of a partition beyond which people are told: each takes 300 bytes or so."""
HEAP_SLACK = 1_024
"""Entries of the heap that may stand for nothing any more, beside as many as there are timers."""
DENIALS_MAX = 1_000
"""Pairs of person and code whose denials a partition counts; the one counted longest ago goes first."""
RECENT_IDS_MAX = 8
RECENT_ID_BYTES = 32


class Denials(msgspec.Struct, frozen=True, gc=False):
    """Denials of one person under one code: of which minute, how many, and how many were not written."""

    minute: int
    number: int
    unrecorded: int


class Packed(msgspec.Struct, frozen=True, gc=False):
    """A state as its snapshot holds it (MessagePack), and its class: opened when it is first needed."""

    data: bytes
    cls: Any


class StateUnreadable(Exception):
    """A packed state does not open: it is another layout than its snapshot said."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One aggregate in memory. `recent` packs the last accepted command ids with their body hashes.

    `kept` is the state, or what a snapshot holds of it: most aggregates are not touched for long.
    """

    kept: Any
    revision: int
    recent: bytes = b""
    timers: tuple[tuple[str, int, str], ...] = ()

    @property
    def state(self) -> Any:
        """The state; raises StateUnreadable where a snapshot's does not open."""
        kept = self.kept
        if type(kept) is not Packed:
            return kept
        try:
            return msgspec.msgpack.decode(kept.data, type=kept.cls)
        except (msgspec.MsgspecError, ValueError) as broken:
            raise StateUnreadable(type(broken).__name__) from broken

    @property
    def packed(self) -> bytes:
        """The state as a snapshot holds it."""
        kept = self.kept
        return kept.data if type(kept) is Packed else msgspec.msgpack.encode(kept)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A remembered outcome: enough to point back to it; `at` is its own index in outcomes-p."""

    body_hash: bytes
    answer: AnswerName
    at: int
    log_time: Instant


class Park(NamedTuple):
    """A parked key: the dead letter that parked it and the sequence numbers queued behind.

    With `due` it was parked by no letter: its record is tried again then, `attempts` were made so far.
    """

    key: str
    reason: str
    since: Instant
    dead_letter_id: str
    command_id: str
    first: int
    next: int
    due: Instant = 0
    attempts: int = 0


class OpenDeadLetter(NamedTuple):
    """A dead letter that still waits for redrive or discard."""

    command_id: str
    body_hash: bytes
    key: str
    parked: bool
    causation: str


class Tail(msgspec.Struct, frozen=True, gc=False):
    """End of a chained partition: the next index and the hash of the last record."""

    next: int
    hash: bytes


class Scalars(NamedTuple):
    """The single values of a partition that a unit moves."""

    position: int
    unit: int
    last_instant: Instant
    range_end: int
    control: int = 0
    """Next offset of a consume group's own commands; an owner's are its input."""


class Layer:
    """Dictionaries of one layer; values of None mean "gone" where the kind can go."""

    __slots__ = (
        "answers",
        "dead_letters",
        "denials",
        "entries",
        "fired",
        "parks",
        "passed",
        "scalars",
        "tails",
        "uses",
    )

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.answers: dict[str, Answer] = {}
        self.parks: dict[str, Park | None] = {}
        self.dead_letters: dict[str, OpenDeadLetter | None] = {}
        self.denials: dict[tuple[str, str], Denials] = {}
        """How often a person was denied something under a code, in the minute of the last time."""
        self.fired: dict[tuple[str, str], int | None] = {}
        self.passed: dict[int, Instant] = {}
        self.tails: dict[str, Tail] = {}
        self.uses: dict[bytes, int] = {}
        """Seals by data key: of an overlay its own, of a partition all (rule 19)."""
        self.scalars: Scalars | None = None


class PartitionState(Layer):
    """The committed state of one partition; `timers` is the pending set by (key, timer id)."""

    __slots__ = ("heap", "oldest_answers", "timers")

    def __init__(self) -> None:
        super().__init__()
        self.heap: list[tuple[int, str, str]] = []
        self.timers: dict[tuple[str, str], tuple[int, str]] = {}
        self.oldest_answers: deque[tuple[Instant, tuple[str, ...]]] = deque()

    def fold(self, layer: Layer) -> None:
        """Take over a committed overlay."""
        for key, entry in layer.entries.items():
            if entry.timers or key in self.entries:
                self.set_timers(key, entry.timers)
        self.entries.update(layer.entries)
        self.answers.update(layer.answers)
        if layer.answers:
            newest = max([a.log_time for a in layer.answers.values()])
            self.oldest_answers.append((newest, tuple(layer.answers)))
        _merge(self.parks, layer.parks)
        _merge(self.dead_letters, layer.dead_letters)
        if layer.denials:
            self.denials.update(layer.denials)
            while len(self.denials) > DENIALS_MAX:
                del self.denials[next(iter(self.denials))]
        _merge(self.fired, layer.fired)
        for (key, timer_id), due in layer.fired.items():
            armed = self.timers.get((key, timer_id))
            if due is None and armed is not None:
                heappush(self.heap, (armed[0], key, timer_id))
        self.passed.update(layer.passed)
        self.tails.update(layer.tails)
        for key_id, n in layer.uses.items():
            self.uses[key_id] = self.uses.get(key_id, 0) + n
        if layer.scalars is not None:
            self.scalars = layer.scalars
            self._forget(layer.scalars.last_instant - OUTCOME_WINDOW_MS)

    def set_timers(self, key: str, timers: tuple[tuple[str, int, str], ...]) -> None:
        """Replace the pending timers of one aggregate."""
        old = self.entries.get(key)
        before = old.timers if old is not None else ()
        if before == timers:
            return
        for timer_id, _, _ in before:
            self.timers.pop((key, timer_id), None)
        for timer_id, due, reason in timers:
            self.timers[(key, timer_id)] = (due, reason)
            heappush(self.heap, (due, key, timer_id))
        if (
            len(self.heap) > 2 * len(self.timers) + HEAP_SLACK
        ):  # timers that were cancelled or moved
            self.heap = [(due, key, timer_id) for (key, timer_id), (due, _) in self.timers.items()]
            heapify(self.heap)

    def first_due(self) -> tuple[int, str, str] | None:
        """Return the earliest timer whose fire is not on its way, as (due, key, timer id)."""
        heap = self.heap
        while heap:
            due, key, timer_id = heap[0]
            armed = self.timers.get((key, timer_id))
            if armed is not None and armed[0] == due and self.fired.get((key, timer_id)) != due:
                return heap[0]
            heappop(heap)
        return None

    def entry(self, key: str) -> Entry | None:
        """Return an aggregate."""
        return self.entries.get(key)

    def answer(self, command_id: str) -> Answer | None:
        """Return the remembered outcome of a command id."""
        return self.answers.get(command_id)

    def park(self, key: str) -> Park | None:
        """Return the park of a key."""
        return self.parks.get(key)

    def dead_letter(self, dead_letter_id: str) -> OpenDeadLetter | None:
        """Return an open dead letter."""
        return self.dead_letters.get(dead_letter_id)

    def denied(self, who: tuple[str, str]) -> Denials | None:
        """Return how often a person was denied something under a code."""
        return self.denials.get(who)

    def tail(self, kind: str) -> Tail:
        """Return the end of a chained partition."""
        return self.tails[kind]

    def used(self, key_id: bytes) -> bool:
        """Tell whether a data key has sealed anything here."""
        return key_id in self.uses

    def _forget(self, before: Instant) -> None:
        """Drop remembered outcomes older than the window, a unit's at a time, oldest first."""
        queue = self.oldest_answers
        while queue and queue[0][0] < before:
            for command_id in queue.popleft()[1]:
                known = self.answers.get(command_id)
                if known is not None and known.log_time < before:
                    del self.answers[command_id]


def _merge(target: dict[Any, Any], changes: dict[Any, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


class Overlay(Layer):
    """The changes of one unit to one partition, over an earlier unit's overlay or the committed state."""

    __slots__ = ("below",)

    def __init__(self, below: Overlay | PartitionState) -> None:
        super().__init__()
        self.below = below
        self.scalars = below.scalars

    def entry(self, key: str) -> Entry | None:
        """Return an aggregate as the unit sees it."""
        return self.entries.get(key) or self.below.entry(key)

    def answer(self, command_id: str) -> Answer | None:
        """Return the remembered outcome of a command id."""
        return self.answers.get(command_id) or self.below.answer(command_id)

    def park(self, key: str) -> Park | None:
        """Return the park of a key."""
        parks = self.parks
        return parks[key] if key in parks else self.below.park(key)

    def dead_letter(self, dead_letter_id: str) -> OpenDeadLetter | None:
        """Return an open dead letter."""
        letters = self.dead_letters
        if dead_letter_id in letters:
            return letters[dead_letter_id]
        return self.below.dead_letter(dead_letter_id)

    def denied(self, who: tuple[str, str]) -> Denials | None:
        """Return how often a person was denied something under a code, as the unit sees it."""
        return self.denials.get(who) or self.below.denied(who)

    def tail(self, kind: str) -> Tail:
        """Return the end of a chained partition."""
        return self.tails.get(kind) or self.below.tail(kind)

    def used(self, key_id: bytes) -> bool:
        """Tell whether a data key has sealed anything here."""
        return key_id in self.uses or self.below.used(key_id)

    @property
    def committed(self) -> PartitionState:
        """The committed state at the bottom."""
        below = self.below
        while isinstance(below, Overlay):
            below = below.below
        return below


def with_recent(recent: bytes, packed: bytes) -> bytes:
    """Append a packed id, keeping the last RECENT_IDS_MAX."""
    return (recent + packed)[-RECENT_IDS_MAX * RECENT_ID_BYTES :]


def find_recent(recent: bytes, command_id: str) -> bytes | None:
    """Return the 16 kept bytes of the body hash of a recent command id, if it is there."""
    if not recent:
        return None
    wanted = namespace_of(command_id)
    for at in range(0, len(recent), RECENT_ID_BYTES):
        if recent[at : at + 16] == wanted:
            return recent[at + 16 : at + RECENT_ID_BYTES]
    return None
