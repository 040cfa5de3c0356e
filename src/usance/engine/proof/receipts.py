"""The receipts monitor: what callers were promised must stand in the tree, soon and as it was promised.

An outcome promises its events by index and envelope hash, in the same unit. If a tail is cut off before it is
sealed, no head shows it; the promise does. A promise that a signed tree contradicts stops the line; one that is
only late is told. A busy log is sampled: `usance audit verify --full` holds every receipt against the log.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from usance.audit.codes import Detected
from usance.audit.leaf import unpack
from usance.audit.note import parse_checkpoint, parse_note
from usance.audit.ports import TileStore
from usance.audit.tiles import CHECKPOINT, Tiles
from usance.engine.proof.sealing import folder_of
from usance.engine.topics import Topics
from usance.kernel.clock import Clock
from usance.kernel.errors import Unreadable
from usance.log.contract import Log, TopicPartition
from usance.messages.outcome import Outcome, Receipt

DEADLINE_S = 2.0
"""Seconds within which a promised event must be under a signed head."""
SAMPLE_OUTCOMES = 200
"""Outcomes looked at per partition and step; what a busy log has beyond them is passed over."""
EVERY_S = 0.2


class _Due(NamedTuple):
    receipt: Receipt
    since: float


class ReceiptsMonitor:
    """Follows outcomes from where they ended when it began."""

    def __init__(
        self, log: Log, topics: Topics, decoder: Any, tiles: TileStore, clock: Clock
    ) -> None:
        self.log = log
        self.topics = topics
        self.decoder = decoder
        self.tiles = tiles
        self.clock = clock
        self.trouble = ""
        self.met = 0
        self._offsets: dict[TopicPartition, int] = {}
        self._due: dict[TopicPartition, deque[_Due]] = {}

    def step(self, wait: float = 0.0) -> int:
        """Take new promises up and hold those that are due against the tree; returns how many were met.

        Raises Detected(RECEIPT_UNMET) where a signed tree has another event in a promised place.
        """
        met = 0
        for place in self._outcomes():
            self._follow(place)
        for events, due in self._due.items():
            if due:
                met += self._hold(events, due)
        self.met += met
        late = self.unmet()
        self.trouble = (
            f"RECEIPT_UNMET: {late} promised events are under no head yet" if late else ""
        )
        if wait and not met:
            self.clock.sleep(min(wait, EVERY_S))
        return met

    def unmet(self) -> int:
        """Return how many promises are past their deadline."""
        latest = self.clock.monotonic() - DEADLINE_S
        return sum(1 for due in self._due.values() for one in due if one.since < latest)

    def _outcomes(self) -> dict[TopicPartition, int]:
        if not self._offsets:
            self._offsets = self.log.ends(self.topics.all_at("outcomes"))
        return self._offsets

    def _follow(self, place: TopicPartition) -> None:
        start, end = self._offsets[place], self.log.end(place)
        if start >= end:
            return
        start = max(start, end - SAMPLE_OUTCOMES)
        events = self.topics.at(self.topics.context_of(place.topic), "events", place.partition)
        due = self._due.setdefault(events, deque())
        now = self.clock.monotonic()
        for record in self.log.scan(place, start, end, SAMPLE_OUTCOMES):
            try:
                message = self.decoder.message(record.headers, record.value)
            except Unreadable:
                continue  # the chain, or the tree, names it
            if isinstance(message, Outcome):
                due.extend(_Due(receipt, now) for receipt in message.receipts)
        self._offsets[place] = end

    def _hold(self, events: TopicPartition, due: deque[_Due]) -> int:
        folder, met = folder_of(events), 0
        try:
            raw = self.tiles.read(f"{folder}/{CHECKPOINT}")
        except FileNotFoundError:
            return 0
        size = parse_checkpoint(parse_note(raw).text).size
        tree = Tiles(size, lambda path: self.tiles.read(f"{folder}/{path}"))
        while due and due[0].receipt.index < size:
            receipt = due[0].receipt
            if unpack(tree.entry(receipt.index)).envelope_hash != receipt.envelope_hash:
                raise Detected(
                    "RECEIPT_UNMET",
                    f"event {receipt.index} of {folder} was promised, and another one was sealed",
                    where=f"{folder}#{receipt.index}",
                )
            due.popleft()
            met += 1
        return met
