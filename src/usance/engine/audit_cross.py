"""Cross-checks between topics: every receipt met, every event caused, every record of the sealed schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from usance.audit.chain import envelope_hash
from usance.audit.codes import Detected
from usance.audit.report import Finding
from usance.engine.sealing import folder_of
from usance.engine.topics import CONTEXTS, Topics
from usance.kernel.errors import UsanceError
from usance.log.contract import Log, Record, TopicPartition
from usance.messages.outcome import Outcome, Receipt


class Crossing:
    """Cross-checks of one log; `findings` holds the first of each kind per partition."""

    def __init__(self, log: Log, topics: Topics, decoder: Any) -> None:
        self.log = log
        self.topics = topics
        self.decoder = decoder
        self.findings: list[Finding] = []

    def verify(self, sound: Iterable[str]) -> None:
        """Check the partitions of all contexts whose trees (folders) are sound."""
        whole = set(sound)
        for context in CONTEXTS:
            for number in range(self.topics.partitions):
                events = self.topics.at(context, "events", number)
                outcomes = self.topics.at(context, "outcomes", number)
                if {folder_of(events), folder_of(outcomes)} <= whole:
                    self._run(events, outcomes)

    def _run(self, events: TopicPartition, outcomes: TopicPartition) -> None:
        try:
            self._receipts(events, outcomes)
            for place in (events, outcomes):
                self._schemas(place)
        except Detected as found:
            self.findings.append(Finding.of(found, folder_of(events)))

    def _receipts(self, events: TopicPartition, outcomes: TopicPartition) -> None:
        """Receipts are exactly the events, in order: one too many is unmet, one too few an orphan."""
        recorded = iter(self.log.scan(events, 0))
        for index, receipt in enumerate(self._promised(outcomes)):
            record = next(recorded, None)
            where = f"{folder_of(events)}#{receipt.index}"
            if record is None:
                raise Detected(
                    "RECEIPT_UNMET",
                    f"an outcome promises event {receipt.index}, which is not in the log",
                    where=where,
                )
            hashed = envelope_hash(record.key, record.value, record.headers)
            if hashed == receipt.envelope_hash and receipt.index == index:
                continue
            if self._index(record) == receipt.index:
                why = f"event {receipt.index} is not the one that its outcome promises"
                raise Detected("RECEIPT_UNMET", why, where=where)
            raise self._orphan(events, record)
        extra = next(recorded, None)
        if extra is not None:
            raise self._orphan(events, extra)

    def _promised(self, outcomes: TopicPartition) -> Iterator[Receipt]:
        for record in self.log.scan(outcomes, 0):
            message = self.decoder.message(record.headers, record.value)
            if isinstance(message, Outcome):
                yield from message.receipts

    def _index(self, record: Record) -> int:
        index: int = self.decoder.meta(record.headers).index
        return index

    def _orphan(self, events: TopicPartition, record: Record) -> Detected:
        return Detected(
            "ORPHAN_EVENT",
            f"no outcome of a command explains the event at offset {record.offset}",
            where=f"{folder_of(events)}#{self._index(record)}",
            hint="Somebody wrote past the owner: see who may write to the topic.",
        )

    def _schemas(self, place: TopicPartition) -> None:
        """Each record must decode by the schema that its writer stated."""
        for record in self.log.scan(place, 0):
            try:
                self.decoder.record(record.key, record.value, record.headers)
            except UsanceError as other:
                where = f"{folder_of(place)}#{self._index(record)}"
                raise Detected("SCHEMA_SWAPPED", other.message, where=where) from other


def unmet(log: Log, topics: Topics, context: str, receipt: Receipt) -> Detected | None:
    """Return what is wrong with one receipt that somebody keeps; None where the event is there."""
    place = topics.at(context, "events", receipt.partition)
    for record in log.scan(place, 0):
        if envelope_hash(record.key, record.value, record.headers) == receipt.envelope_hash:
            return None
    return Detected(
        "RECEIPT_UNMET",
        f"event {receipt.index} was promised and is not in the log",
        where=f"{folder_of(place)}#{receipt.index}",
    )
