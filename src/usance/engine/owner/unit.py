"""A unit under construction: every record that one batch causes, with indexes and chains.

Staging is per record (rule 9): a record's outputs are gathered aside and merged only when the whole
record has succeeded, so one bad command never fails its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from usance.crypto.vault import Vault
from usance.engine.owner.state import Overlay, PartitionState, Scalars, Tail
from usance.engine.topics import Place, Topics
from usance.kernel.clock import Instant
from usance.kernel.decider import Decider
from usance.log.contract import (
    Batch,
    Fence,
    Output,
    Pending,
    Record,
    Staged,
    TopicPartition,
    Unit,
)
from usance.messages.envelope import Encoded, Encoder, InputPosition, Meta
from usance.messages.outcome import Outcome, UnitFooter


class World(NamedTuple):
    """What every partition's work shares."""

    log_id: str
    topics: Topics
    encoder: Encoder
    decoder: Any
    deciders: Mapping[str, Decider[Any]]
    book_clock: bool
    parked: Callable[[Place], dict[bytes, bytes | None]]
    vault: Vault | None = None
    """The data keys, in logs that seal private blocks."""
    schemas: Callable[[], Any] | None = None
    """Gives the `schemas.Desk` of the unit under construction."""


class Halted(Exception):
    """A record must not be passed: its partition stops before it."""


class Waits(Halted):
    """A record cannot be read yet: its partition waits before it, and goes on by itself."""


class UnitLost(Exception):
    """The unit before was lost while this one was being made: both are dropped."""


class RecordHandling(Protocol):
    """What the loop asks of those who handle the records of one partition's share of a unit."""

    def handle(self, record: Record) -> str | None:
        """Handle one record; returns the error's type if that failed. Raises Halted."""

    def quarantine(self, record: Record, failure: str, reason: str) -> None:
        """Dead-letter a record without handling it."""


class PartitionBroken(Exception):
    """What a partition holds cannot be trusted any more: it stops (rule 15)."""

    def __init__(self, place: Place, words: str) -> None:
        super().__init__(words)
        self.place = place


class PartitionUnit:
    """One partition's share of a unit: its overlay, its outputs, its counts."""

    def __init__(self, world: World, place: Place, below: Overlay | PartitionState, start: int):
        self.world = world
        self.place = place
        self.overlay = Overlay(below)
        assert self.overlay.scalars is not None, "a partition is restored before it decides"
        self.before: Scalars = self.overlay.scalars
        self.start = start
        self.next = start
        self.control = self.before.control
        self.instant: Instant = self.before.last_instant
        self.trace: bytes | None = None
        self.outputs: list[Output] = []
        self.answers: list[tuple[str, Outcome]] = []
        self.weight = self.weighed = 0
        """Bytes of the first so many outputs' values."""
        self.counts = {"events": 0, "outcomes": 0, "parked": 0, "dead-letters": 0, "elsewhere": 0}
        topics = world.topics
        self.names = {
            kind: topics.name(place.context, kind)
            for kind in ("commands", "events", "outcomes", "parked", "dead-letters", "snapshots")
        }
        self.events_to = (Output, self.names["events"], place.partition)
        self.outcomes_to = (Output, self.names["outcomes"], place.partition)

    def chained(self, kind: str, encoded: Encoded) -> Output:
        """Move the chain of `kind` over an encoded record and return it as an output."""
        tail = self.overlay.tail(kind)
        key, value, headers, envelope_hash = encoded
        self.overlay.tails[kind] = Tail(tail.next + 1, sha256(tail.hash + envelope_hash).digest())
        return Output(self.names[kind], self.place.partition, key, value, headers)

    def outcome(self, outcome: Outcome, meta: Meta, position: InputPosition) -> None:
        """Stage the outcome of one command and keep it for whoever waits."""
        tail = self.overlay.tail("outcomes")
        outputs, _, last = self.world.encoder.answer(
            outcome,
            meta,
            index=tail.next,
            prev=tail.hash,
            instant=self.instant,
            input=position,
            to=self.outcomes_to,
            traceparent=self.trace,
        )
        self.answered(outcome, outputs, Tail(tail.next + 1, last), meta)

    def answered(self, outcome: Outcome, outputs: list[Output], tail: Tail, meta: Meta) -> None:
        """Take over the record of an outcome, and the end of the chain behind it."""
        self.overlay.tails["outcomes"] = tail
        self.outputs += outputs
        self.counts["outcomes"] += 1
        self.answers.append((outcome.command_id, outcome))
        if meta.reply is not None:
            self._reply(outcome, meta.reply, outputs[0].value)

    def _reply(self, outcome: Outcome, partition: int, value: bytes | None) -> None:
        """Send an outcome to the gateway that waits for it; one that names no partition waits in vain."""
        if 0 <= partition < self.world.topics.partitions:
            topic = self.world.topics.name("system", "replies")
            key = outcome.command_id.encode()
            self.merge("elsewhere", [Output(topic, partition, key, value)])

    def merge(self, kind: str, outputs: list[Output]) -> None:
        """Take over the staged outputs of a record that succeeded."""
        self.outputs += outputs
        self.counts[kind] += len(outputs)

    def weigh(self) -> int:
        """Return the bytes of all values so far; each output is looked at once."""
        fresh = self.outputs[self.weighed :] if self.weighed else self.outputs
        self.weight += sum([len(output[3] or b"") for output in fresh])
        self.weighed = len(self.outputs)
        return self.weight

    def footer(self) -> Output:
        """Close the partition's share: fix the scalars and return the unit footer (rule 16)."""
        number = self.before.unit + 1
        tails = {k: self.overlay.tail(k) for k in ("events", "outcomes", "dead-letters")}
        footer = UnitFooter(
            unit=number,
            partition=self.place.partition,
            range_start=self.start,
            range_end=self.next,
            previous_end=self.before.range_end,
            events=self.counts["events"],
            outcomes=self.counts["outcomes"],
            parked=self.counts["parked"],
            dead_letters=self.counts["dead-letters"],
            elsewhere=self.counts["elsewhere"],
            events_index=tails["events"].next,
            events_tail=tails["events"].hash,
            outcomes_index=tails["outcomes"].next,
            outcomes_tail=tails["outcomes"].hash,
            dead_letters_index=tails["dead-letters"].next,
            dead_letters_tail=tails["dead-letters"].hash,
            last_instant=self.instant,
        )
        encoded = self.world.encoder.footer(
            footer,
            context=self.place.context,
            index=tails["outcomes"].next,
            prev=tails["outcomes"].hash,
            instant=self.instant,
        )
        output = self.chained("outcomes", encoded)
        self.overlay.scalars = Scalars(self.next, number, self.instant, self.next, self.control)
        return output


class UnitBuilder:
    """All partitions' shares of one unit, and how to make the log's `Unit` of them."""

    def __init__(self, world: World, fence: Fence, batch: Batch) -> None:
        self.world = world
        self.fence = fence
        self.shares: dict[Place, PartitionUnit] = {}
        self.extra: list[Output] = []
        self.batch_count = batch.count
        self.minted = 0
        """Data keys whose records go with this unit."""

    def share(self, place: Place, below: Overlay | PartitionState, start: int) -> PartitionUnit:
        """Return the share of a partition, beginning it at input offset `start`."""
        found = self.shares.get(place)
        if found is None:
            found = self.shares[place] = PartitionUnit(self.world, place, below, start)
        return found

    def build(self) -> Unit:
        """Return the finished unit: outputs, then positions, then footers."""
        outputs: list[Output] = list(self.extra)
        vault = self.world.vault
        if vault is not None:
            # Durable before the unit, or within it: an event without its key could never be opened.
            kept = vault.staged()
            self.minted = len(kept)
            outputs += kept
        positions: dict[TopicPartition, int] = {}
        starts: dict[TopicPartition, int] = {}
        footers: list[Output] = []
        for place, share in self.shares.items():
            read = self.world.topics.input(place)
            outputs += share.outputs
            positions[read] = share.next
            starts[read] = share.start
            footers.append(share.footer())
        return Unit(self.fence, outputs, positions, starts, footers)

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to commit."""
        return not self.shares


class InFlight(NamedTuple):
    """A unit whose commit is under way."""

    builder: UnitBuilder
    staged: Staged
    pending: Pending
