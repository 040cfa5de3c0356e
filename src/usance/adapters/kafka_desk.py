"""What a member has fetched and not yet handed out, and where each of its readers stands.

No broker is needed to reason about it. Callers hold the member's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum, auto

from usance.kernel.errors import Fenced, Unavailable, UsanceError
from usance.log.contract import Fence, Record, TopicPartition

BUFFER_RECORDS = 8_000
BUFFER_BYTES = 32 * 1024 * 1024


class Stand(Enum):
    """Whether the consumer fetches from where a reader stands.

    OFF: it is elsewhere; ASKED: it is to be moved there; ON: it fetches from here.
    """

    OFF = auto()
    ASKED = auto()
    ON = auto()


class Reading:
    """One held partition."""

    def __init__(self, counter: int) -> None:
        self.counter = counter
        self.stand = Stand.OFF
        self.told = False
        """The owner knows that it holds the partition."""
        self.next: int | None = None
        """The next offset to hand out; None: there is no position."""
        self.committed: int | None = None
        self.waiting: deque[Record] = deque()
        self.last: list[Record] = []
        """What the last read handed out: a seek back into it needs no broker."""
        self.eof = -1
        """Where the broker said that the partition ends."""
        self.sure = False
        """The consumer is known to fetch from here, and not from where its assignment began."""
        self.failure: UsanceError | None = None
        self.served = 0
        """The turn in which it was last handed out: who has waited longest comes first."""

    def after(self) -> int | None:
        """Return the offset after all that was fetched."""
        return self.waiting[-1].offset + 1 if self.waiting else self.next


class Desk:
    """The held partitions of a member with their readers."""

    def __init__(self) -> None:
        self.held: dict[TopicPartition, Reading] = {}
        self.paused: set[TopicPartition] = set()
        self.count = 0
        self.bytes = 0
        self._turn = 0

    def active(self) -> list[tuple[TopicPartition, Reading]]:
        """Return what the owner may read: held, told of and not paused."""
        return [(p, r) for p, r in self.held.items() if r.told and p not in self.paused]

    def ready(self) -> bool:
        """Tell whether a read would return something."""
        return any(r.waiting for _, r in self.active())

    def broken(self) -> bool:
        """Tell whether a read would raise."""
        return any(r.failure for _, r in self.active())

    def check(self) -> None:
        """Raise what keeps an active partition from being read."""
        for _, reading in self.active():
            if reading.failure is not None:
                raise reading.failure

    def full(self) -> bool:
        """Tell whether fetching has to wait."""
        return self.count >= BUFFER_RECORDS or self.bytes >= BUFFER_BYTES

    def roomy(self) -> bool:
        """Tell whether fetching that waited may go on."""
        return self.count <= BUFFER_RECORDS // 2 and self.bytes <= BUFFER_BYTES // 2

    def accept(self, reading: Reading, run: list[Record], size: int) -> None:
        """Keep fetched records, `size` bytes of them; those from another place are dropped."""
        expected = reading.after()
        if reading.stand is not Stand.ON or expected is None:
            return
        if run[0].offset < expected:
            run = [r for r in run if r.offset >= expected]
        reading.sure = True
        reading.waiting.extend(run)
        self.count += len(run)
        self.bytes += size

    def ended(self, reading: Reading, offset: int) -> bool:
        """Note where a partition ends; or tell that the consumer has to be moved to the reader once more.

        An assignment begins at the end. The client may ask for that place while it is moved away, and go there
        when the answer comes: it says that the partition ends, and hands out nothing of what lies before.
        """
        if reading.stand is not Stand.ON:
            return False
        after = reading.after()
        if not reading.sure and after is not None and offset > after:
            reading.sure, reading.stand = True, Stand.ASKED
            return True
        reading.sure, reading.eof = True, offset
        return False

    def _less(self, count: int) -> None:
        """Take records off the count, and their share off the bytes: an estimate that ends at 0."""
        if count:
            self.bytes -= self.bytes * count // self.count
            self.count -= count

    def take(self, limit: int) -> dict[TopicPartition, list[Record]]:
        """Hand records out: all of those partitions that have less than their share, then of one with more.

        The one that has waited longest first. A unit costs a cluster by the partitions that it writes to
        (a request, a marker and, where records are on disk before they are acknowledged, a wait for it,
        each), so a backlog is taken from one after the other; and no partition with little waits for
        those with much.
        """
        ready = [(p, r) for p, r in self.active() if r.waiting]
        self._turn += 1
        even = limit // max(1, len(ready))
        ready.sort(key=lambda one: (len(one[1].waiting) > even, one[1].served))
        found: dict[TopicPartition, list[Record]] = {}
        left = limit
        for partition, reading in ready:
            many = min(len(reading.waiting), left)
            if many <= 0:
                break
            run = [reading.waiting.popleft() for _ in range(many)]
            found[partition] = reading.last = run
            reading.served = self._turn
            reading.next = run[-1].offset + 1
            self._less(many)
            left -= many
        return found

    def move(self, partition: TopicPartition, offset: int) -> None:
        """Set a reader's place: within what it was given last if possible, else anew at the broker."""
        reading = self.held.get(partition)
        if reading is None or not reading.told:
            return
        reading.failure = None
        if reading.stand is Stand.ON and offset == reading.next:
            return
        back = next((n for n, r in enumerate(reading.last) if r.offset == offset), None)
        if reading.stand is Stand.ON and back is not None:
            again = reading.last[back:]
            reading.waiting.extendleft(reversed(again))
            self.count += len(again)
            self.bytes += sum(len(r.value or b"") for r in again)
            reading.last = reading.last[:back]
        else:
            reading.stand = Stand.OFF
            self.drop(reading)
        reading.next = offset

    def rewind(self, starts: Mapping[TopicPartition, int]) -> None:
        """Go back to the starts of a dropped unit, unless already further back."""
        for partition, start in starts.items():
            reading = self.held.get(partition)
            if reading is not None and (reading.next is None or start < reading.next):
                self.move(partition, start)

    def drop(self, reading: Reading) -> None:
        """Forget what was fetched."""
        self._less(len(reading.waiting))
        reading.waiting.clear()
        reading.last = []
        reading.eof = -1

    def let_go(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are held no more."""
        for partition in partitions:
            reading = self.held.pop(partition, None)
            if reading is not None:
                self.drop(reading)

    def rest(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Tell whether nothing but markers lies between each reader and an end."""
        for partition, end in ends.items():
            reading = self.held.get(partition)
            if reading is None or reading.next is None:
                return False
            if max(reading.next, reading.eof) < end:
                return False
        return True

    def check_unit(
        self,
        fence: Fence,
        positions: Mapping[TopicPartition, int],
        starts: Mapping[TopicPartition, int],
    ) -> None:
        """Raise unless a unit may commit under its fence, as far as this process knows."""
        hint = "abort, rewind and read again"
        if not fence.token or fence.epoch < 0 or not fence.member:
            raise Unavailable(f"the fence is no membership of group {fence.group}", hint=hint)
        counters = dict(fence.ownership)
        for partition in positions:
            reading = self.held.get(partition)
            if reading is None or reading.counter != counters.get(partition):
                raise Unavailable(
                    f"{partition.topic} partition {partition.partition} changed hands", hint=hint
                )
            if reading.committed is not None and starts[partition] < reading.committed:
                raise Fenced(
                    "the input position has moved",
                    hint="these inputs were decided already: take over again",
                )

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note positions that were committed."""
        for partition, offset in positions.items():
            if partition in self.held:
                self.held[partition].committed = offset
