"""The log contract: Kafka's semantics as one small port, with three backends behind it.

Semantics, for every backend: order holds only inside a partition; offsets grow but may have gaps;
records of a unit become visible at its commit and never before; a unit is atomic or absent. The
rule numbers in this floor are those of docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]

UNIT_RECORDS_MAX = 4_000
UNIT_BYTES_MAX = 8 * 1024 * 1024
RECORD_BYTES_MAX = 4 * 1024 * 1024


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """A committed record. `timestamp` is the append time (ms UTC), non-decreasing per partition."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class Output(NamedTuple):
    """A record to be written: the log gives offset and timestamp.

    `headers` are pairs, or the same packed by `usance.messages.headers`, as the hot path has them.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers | bytes = ()


class TopicSettings(NamedTuple):
    """A topic: `cleanup` is keep | delete | compact; `retention_ms` counts only for delete."""

    name: str
    kind: str
    partitions: int
    cleanup: str = "keep"
    retention_ms: int = -1
    topic_id: str = ""


class Fence(NamedTuple):
    """The right to commit for some partitions, captured when their records were read (rule 3).

    `token` is what a backend shows its group for it; nobody else looks into it.
    """

    group: str
    epoch: int
    member: str
    ownership: tuple[tuple[TopicPartition, int], ...]
    token: bytes = b""


class Assigned(NamedTuple):
    """Partitions given to this member."""

    partitions: tuple[TopicPartition, ...]


class Revoked(NamedTuple):
    """Partitions asked back: settle their units, then call `settled`."""

    partitions: tuple[TopicPartition, ...]


class Lost(NamedTuple):
    """Partitions already gone: abort what is open for them, never finish it."""

    partitions: tuple[TopicPartition, ...]


Change = Assigned | Revoked | Lost


class Batch(NamedTuple):
    """Records read per owned partition, with the fence under which their unit may commit."""

    records: dict[TopicPartition, list[Record]]
    fence: Fence

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of records in the batch."""
        return sum(len(r) for r in self.records.values())


class Unit(NamedTuple):
    """Everything one batch causes.

    `positions` are the next offsets to read per input partition (present position when nothing was
    read), `starts` the offsets to which an abort rewinds, for the same partitions; `footers` are
    written after the positions. A start below the committed position is fenced at commit: those
    inputs were decided already. In each partition the outputs keep their order, footers last.
    """

    fence: Fence
    outputs: Sequence[Output]
    positions: Mapping[TopicPartition, int]
    starts: Mapping[TopicPartition, int]
    footers: Sequence[Output] = ()


class Start(NamedTuple):
    """The receipt of a take-over: what the first unit of an owner commits after."""

    fence_epoch: int


class Receipt(NamedTuple):
    """Proof that a unit is in the log for good; `number` grows with each unit of this process."""

    number: int
    timestamp: int


class Staged(Protocol):
    """A unit sent but not visible."""

    unit: Unit


class Pending(Protocol):
    """A commit under way."""

    def done(self) -> bool:
        """Tell whether `result` would return at once."""
        ...

    def written(self, timeout: float) -> bool:
        """Wait at most so many seconds until all of the unit is written, or it is over; tells whether that is so.

        What is left then is to end it: whoever reads and decides meanwhile has the next unit ready in time.
        """
        ...

    def result(self, timeout: float | None = None) -> Receipt:
        """Wait for the receipt.

        Raises Fenced (dropped for good), Unavailable (certainly not committed), Uncertain (take the
        take-over path), Unreadable (the data itself cannot be written: bisect).
        """
        ...


class Membership(Protocol):
    """This member's place in a consumer group."""

    group: str

    def poll(self) -> list[Change]:
        """Return ownership changes since the last poll, in order.

        An assignment precedes its records: nothing is owned, so nothing is read, before the poll
        that returns it. The reader then stands at the group's committed positions.
        """
        ...

    def owned(self) -> frozenset[TopicPartition]:
        """Return the partitions held now."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read next from `offset`; no effect on a partition that is not held."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop reading partitions until `resume`; kept across assignments (rule 11)."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read paused partitions again."""
        ...

    def settled(self, revoked: Revoked) -> None:
        """Acknowledge a revocation: no unit of these partitions is open any more."""
        ...

    def close(self) -> None:
        """Leave the group: no unit of this member commits any more."""
        ...


class Log(Protocol):
    """The port. Errors: Unavailable (try later), Tampered (storage damaged), Fenced, Uncertain."""

    def create_topic(self, settings: TopicSettings) -> TopicSettings:
        """Create a topic unless it exists; returns it as stored, with its topic id."""
        ...

    def topics(self) -> dict[str, TopicSettings]:
        """Return all topics by name."""
        ...

    def join(self, group: str, topics: Sequence[str]) -> Membership:
        """Enter a consumer group of existing topics.

        First positions must have been set (`set_positions`, or `seek` for a reader that keeps its
        place elsewhere), or reading raises Unavailable: there is no automatic reset (rule 4).
        """
        ...

    def read(self, member: Membership, max_records: int, wait: float) -> Batch:
        """Return committed records of the owned, unpaused partitions, at most `max_records`.

        Blocks at most `wait` seconds and returns as soon as anything is there. The reader moves on
        by what it returned. A position outside the log (expired, replaced) is Tampered (rule 18).
        """
        ...

    def exhausted(self, member: Membership) -> bool:
        """Tell whether the member has read all that was committed before the call.

        Paused partitions do not count. False while the group still hands out partitions. Raises what
        `read` would raise: a place that cannot be read is not read to its end.
        """
        ...

    def stage(self, unit: Unit) -> Staged:
        """Send a unit's outputs; nothing is visible.

        Raises Unreadable when a record or the unit passes its bound (bisect), NotFound for an
        unknown topic or partition.
        """
        ...

    def commit(self, staged: Staged, after: Receipt | Start) -> Pending:
        """Commit outputs, positions and fence as one; `after` is the receipt of the unit before.

        Never raises for the unit's sake: what went wrong is in the result. A unit that does not
        follow the last receipt of its owner is Fenced. After Uncertain the chain is broken until
        the next `start`; after Unavailable the same receipt still holds.
        """
        ...

    def abort(self, staged: Staged) -> None:
        """Drop a staged unit and rewind the reader to the unit's starts."""
        ...

    def start(self, member: Membership) -> Start:
        """Begin an owner's receipt chain (the take-over path of rule 5)."""
        ...

    def position(self, group: str, partition: TopicPartition) -> int | None:
        """Return the group's stable committed position; None means certainly none."""
        ...

    def positions(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the group's stable committed positions in one question; those without are left out."""
        ...

    def set_positions(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Record positions outside a unit.

        For groups without transactions, and the explicit first start of an owner; moving an
        owner's position later is an operator's act. A member's reader that has no place yet begins
        there; one that has a place stays.
        """
        ...

    def scan(
        self,
        partition: TopicPartition,
        start: int,
        mark: int | None = None,
        max_records: int = 1_000,
    ) -> Iterator[Record]:
        """Read committed records from offset `start` up to but not including `mark`, without a group.

        `mark` None means the end when the scan began. Expired offsets are skipped: compare with
        `begin` where that matters. `max_records` bounds each fetch, not the scan.
        """
        ...

    def append(self, outputs: Sequence[Output]) -> list[int]:
        """Write acknowledged records without a unit, all or none; returns their offsets.

        The bounds of a unit hold; errors are those of `stage` and of a commit's result.
        """
        ...

    def begin(self, partition: TopicPartition) -> int:
        """Return the first offset still kept (the log start)."""
        ...

    def end(self, partition: TopicPartition) -> int:
        """Return the true high watermark: one past the last offset given out, markers included."""
        ...

    def begins(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the log starts of partitions, in one question to each broker."""
        ...

    def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the true high watermarks of partitions, in one question to each broker."""
        ...

    def wait(self, beyond: Mapping[TopicPartition, int], timeout: float) -> bool:
        """Block until any partition's end passes the given offset, or `timeout` seconds."""
        ...

    def expire(self, partition: TopicPartition, before: int) -> int:
        """Delete records below offset `before` (retention, decided elsewhere); returns how many."""
        ...

    def compact(self, partition: TopicPartition, unread: int | None = None) -> int:
        """Keep the last record per key, and no key whose last value is None; returns how many went.

        Records without a key stay, and so do values of None from offset `unread` on: a reader who has
        not met them would never learn that the key is gone. Refused for a topic whose cleanup is not `compact`.
        """
        ...

    def close(self) -> None:
        """Finish pending commits and release everything."""
        ...


def header(headers: Headers, name: str) -> bytes | None:
    """Return the first header of that name."""
    for key, value in headers:
        if key == name:
            return value
    return None


LogDetails = dict[str, Any]
