"""Cross-checks between topics: every receipt met, every event caused, every record of the sealed schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from usance.audit.chain import envelope_hash
from usance.audit.codes import Detected
from usance.audit.report import Finding
from usance.engine.owner.snapshots import load_round
from usance.engine.proof.key_audit import moved
from usance.engine.proof.sealing import folder_of
from usance.engine.topics import Topics
from usance.kernel.decider import Decider, key_parts
from usance.kernel.errors import Tampered, UsanceError
from usance.log.contract import Log, Record, TopicPartition
from usance.messages.outcome import Outcome, Receipt


class Crossing:
    """Cross-checks of one log; `findings` holds the first of each kind per partition."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        closed: Any,
        opened: Any | None,
        deciders: Mapping[str, Decider[Any]],
    ) -> None:
        self.log = log
        self.deciders = deciders
        self.topics = topics
        self.decoder = closed
        self.opened = opened
        """Opens sealed blocks, where the keys can be had; without it their content is not judged."""
        self.findings: list[Finding] = []

    def verify(self, sound: Iterable[str]) -> None:
        """Check the partitions of all contexts whose trees (folders) are sound."""
        whole = set(sound)
        for context, number in self.topics.places():
            events = self.topics.at(context, "events", number)
            outcomes = self.topics.at(context, "outcomes", number)
            if {folder_of(events), folder_of(outcomes)} <= whole:
                self._run(events, outcomes)

    def _run(self, events: TopicPartition, outcomes: TopicPartition) -> None:
        self._judge(lambda: self._receipts(events, outcomes), events)
        self._judge(lambda: self._schemas(events), events)
        self._judge(lambda: self._schemas(outcomes), outcomes)
        if self.opened is not None:
            self._judge(lambda: self._snapshots(events), events)

    def _judge(self, check: Callable[[], None], place: TopicPartition) -> None:
        try:
            check()
        except Detected as found:
            self.findings.append(Finding.of(found, folder_of(place)))
        except UsanceError as broken:
            where, why = folder_of(place), broken.message
            self.findings.append(
                Finding(code="RECORD_DAMAGED", where=where, reason=why, hint=broken.hint)
            )

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
            decoder = self.opened or self.decoder
            try:
                decoder.record(record.key, record.value, record.headers)
            except Tampered as block:
                where = f"{folder_of(place)}#{self._index(record)}"
                raise moved(block, where) from block
            except UsanceError as other:
                where = f"{folder_of(place)}#{self._index(record)}"
                raise Detected("SCHEMA_SWAPPED", other.message, where=where) from other

    def _snapshots(self, events: TopicPartition) -> None:
        """A round of snapshots that a start would trust must hold what the events fold to."""
        context = self.topics.context_of(events.topic)
        place = self.topics.at(context, "snapshots", events.partition)
        try:
            there = self.log.scan(place, self.log.begin(place), self.log.end(place))
            taken = load_round(there, self.deciders).round
        except UsanceError:
            taken = None  # a start that cannot read them folds the events instead
        if taken is None:
            return
        opened = self.opened
        assert opened is not None
        due, states = dict(taken.entries), dict[str, tuple[Any, int]]()
        for record in self.log.scan(events, 0):
            key = (record.key or b"").decode()
            if key not in due:
                continue
            decider = self.deciders[key_parts(key).category]
            state, revision = states.get(key) or (decider.initial(key), 0)
            state = decider.evolve(state, opened.message(record.headers, record.value))
            states[key] = (state, revision + 1)
            if due[key].revision == revision + 1 and due.pop(key).state != state:
                raise _snapshot(place, key)
        for key in due:
            raise _snapshot(place, key)


def _snapshot(place: TopicPartition, key: str) -> Detected:
    return Detected(
        "SNAPSHOT_MISMATCH",
        f"the snapshot of {key} is not what its events fold to",
        where=f"{folder_of(place)}:{key}",
        hint="Delete the snapshots: they are hints, and the next start folds the events.",
    )


def complete(found: Sequence[Record], promised: int, decoder: Any) -> Detected | None:
    """Return what is missing from the events of one stream, of which `promised` are said to be there.

    The revisions of a stream are dense from 1; the last is stated by the newest accepted outcome, which is
    sealed in another tree.
    """
    for due, record in enumerate(found, 1):
        said = decoder.meta(record.headers).revision
        if said != due:
            stream = (record.key or b"").decode()
            return Detected(
                "INCOMPLETE", f"revision {due} of {stream} is missing: {said} follows", where=stream
            )
    if len(found) < promised:
        stream = (found[0].key or b"").decode() if found else ""
        return Detected(
            "INCOMPLETE", f"{len(found)} of {promised} events of {stream} are here", where=stream
        )
    return None


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
