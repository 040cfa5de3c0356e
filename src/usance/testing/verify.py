"""What must hold of any log, whoever wrote it and however often it was killed: checked from the records alone.

Bench, chaos and the engine's tests ask the same questions: is every chain whole, is every stream dense,
has every command id one deciding outcome, does every accepted outcome point at its own events, do the
unit footers account for every record, has every command in the log exactly one answer, and do events follow the
order of the commands that caused them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from usance.audit.chain import ChainRecord, ChainVerifier, Links, envelope_hash
from usance.engine.control import Discard, Drain, Redrive, Release
from usance.engine.topics import Place, Topics
from usance.kernel.decider import Decider, key_parts
from usance.kernel.errors import UsanceError
from usance.log.contract import Log, Record
from usance.messages.outcome import ACCEPTED, DECIDING, INTERIM, Outcome, UnitFooter

SCAN_RECORDS = 5_000
ANSWERS_OTHERS = (Redrive, Release, Drain, Discard)
"""Commands that answer others beside themselves."""
VIOLATIONS_MAX = 50
"""Findings kept in words; all are counted."""


class Verdict:
    """What was found: counts by kind, answers and events by command id, states by key, violations in words."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.conflicts: Counter[str] = Counter()
        self.decided: dict[str, str] = {}
        self.interim: dict[str, str] = {}
        self.effects: Counter[str] = Counter()
        self.revisions: dict[str, int] = {}
        self.states: dict[str, Any] = {}
        self.events_by_type: Counter[str] = Counter()
        self.footers: dict[Place, UnitFooter] = {}
        self.violations = 0
        self.words: list[str] = []

    def broken(self, words: str) -> None:
        """Note a violation."""
        self.violations += 1
        if len(self.words) < VIOLATIONS_MAX:
            self.words.append(words)


class _Partition:
    """One partition's records under verification."""

    def __init__(
        self, log: Log, topics: Topics, decoder: Any, log_id: str, place: Place, verdict: Verdict
    ) -> None:
        self.log = log
        self.topics = topics
        self.decoder = decoder
        self.log_id = log_id
        self.place = place
        self.verdict = verdict
        self.hashes: dict[int, tuple[bytes, str]] = {}
        self.ends: dict[str, tuple[int, bytes]] = {}
        self.answered: Counter[int] = Counter()
        self.settled: Counter[int] = Counter()
        self.behind: list[tuple[str, int, int]] = []

    def chained(self, kind: str) -> list[tuple[Any, Record]]:
        """Return the records of a chained topic with their metas, having verified the chain."""
        tp = self.topics.at(self.place.context, kind, self.place.partition)
        metas: list[Any] = []

        def links(headers: Any) -> Links:
            meta = self.decoder.meta(headers)
            metas.append(meta)
            return Links(meta.index, meta.prev)

        verifier = ChainVerifier(self.log_id, tp.topic, tp.partition, links)
        found: list[tuple[Any, Record]] = []
        for record in self.log.scan(tp, self.log.begin(tp), self.log.end(tp), SCAN_RECORDS):
            if not verifier.feed(
                ChainRecord(record.offset, record.key, record.value, record.headers)
            ):
                break
            found.append((metas[-1], record))
        report = verifier.report()
        if report.broken is not None:
            self.verdict.broken(f"{tp.topic}[{tp.partition}]: {report.broken.reason}")
        self.ends[kind] = (report.next_index, report.tail)
        self.verdict.records[kind] += len(found)
        return found

    def events(self, deciders: Mapping[str, Decider[Any]]) -> None:
        verdict, before = self.verdict, -1
        for meta, record in self.chained("events"):
            at = meta.input.offset if meta.input is not None else before
            if at < before:
                self.behind.append((meta.command_id, at, before))
            before = max(before, at)
            key = (record.key or b"").decode()
            decider = deciders[key_parts(key).category]
            due = verdict.revisions.get(key, 0) + 1
            if meta.revision != due:
                verdict.broken(f"{key}: revision {meta.revision} where {due} was due")
            verdict.revisions[key] = meta.revision
            event = self.decoder.message(record.headers, record.value)
            verdict.events_by_type[type(event).__name__] += 1
            state = verdict.states.get(key)
            state = decider.initial(key) if state is None else state
            verdict.states[key] = decider.evolve(state, event)
            digest = envelope_hash(record.key, record.value, record.headers)
            self.hashes[meta.index] = (digest, meta.command_id)

    def outcomes(self) -> None:
        verdict = self.verdict
        footer: UnitFooter | None = None
        for meta, record in self.chained("outcomes"):
            message = self.decoder.message(record.headers, record.value)
            if isinstance(message, UnitFooter):
                if footer is not None and (
                    message.unit != footer.unit + 1 or message.previous_end != footer.range_end
                ):
                    verdict.broken(f"{self.place}: unit {message.unit} after unit {footer.unit}")
                footer = message
            elif isinstance(message, Outcome):
                self._outcome(message)
                if meta.input is not None:
                    self.answered[meta.input.offset] += 1
                    self.settled[meta.input.offset] += message.answer not in INTERIM
        for command_id, at, before in self.behind:
            if command_id not in verdict.interim:  # what was parked is decided when it is drained
                verdict.broken(f"{self.place}: an event of command {at} behind one of {before}")
        for index, (_, command_id) in self.hashes.items():
            verdict.broken(f"{self.place}: event {index} of {command_id} is in no outcome")
        if footer is not None:
            verdict.footers[self.place] = footer
            if self.ends["events"] != (footer.events_index, footer.events_tail):
                verdict.broken(f"{self.place}: events do not end where the last footer says")

    def inputs(self, end: int) -> None:
        """Hold the commands before an offset against their answers.

        Each has one, or one and before it those that leave it open; and nobody else has any.
        """
        if self.log.begin(self.topics.at(self.place.context, "outcomes", self.place.partition)):
            return  # answers have expired
        tp = self.topics.input(self.place)
        begin = self.log.begin(tp)
        for record in self.log.scan(tp, begin, end, SCAN_RECORDS):
            self.verdict.records["commands"] += 1
            found = self.settled[record.offset]
            if not self.answered.pop(record.offset, 0):
                self.verdict.broken(f"{self.place}: command {record.offset} has no answer")
            elif found > 1 and not self._answers_others(record):
                self.verdict.broken(f"{self.place}: command {record.offset} has {found} answers")
        for offset in self.answered:
            if offset >= begin:
                self.verdict.broken(f"{self.place}: an answer to {offset}, which is no command")

    def _answers_others(self, record: Record) -> bool:
        try:
            message = self.decoder.message(record.headers, record.value)
        except UsanceError:
            return False
        return isinstance(message, ANSWERS_OTHERS)

    def _outcome(self, outcome: Outcome) -> None:
        verdict, command_id = self.verdict, outcome.command_id
        verdict.answers[outcome.answer] += 1
        verdict.effects[command_id] += len(outcome.receipts)
        if outcome.answer in DECIDING:
            if command_id in verdict.decided:
                verdict.broken(f"command {command_id} was decided twice")
            verdict.decided[command_id] = outcome.answer
        elif outcome.answer == "conflict":
            verdict.conflicts[command_id] += 1
        elif outcome.answer != "duplicate":
            verdict.interim[command_id] = outcome.answer
        if outcome.receipts and outcome.answer != ACCEPTED:
            verdict.broken(f"command {command_id} has events and was not accepted")
        for receipt in outcome.receipts:
            if self.hashes.pop(receipt.index, None) != (receipt.envelope_hash, command_id):
                verdict.broken(f"a receipt of {command_id} names another event")


def verify_log(
    log: Log,
    topics: Topics,
    decoder: Any,
    deciders: Mapping[str, Decider[Any]],
    log_id: str,
    group: str = "usance-owner",
) -> Verdict:
    """Read all of a log at rest and return what does not hold of it; `states` are the fold of its events.

    System partitions hold registry work of the owner itself; their footers are verified all the same.
    """
    verdict = Verdict()
    for place in topics.places():
        partition = _Partition(log, topics, decoder, log_id, place, verdict)
        partition.events(deciders)
        partition.outcomes()
        partition.chained("dead-letters")
        footer = verdict.footers.get(place)
        said = (footer.dead_letters_index, footer.dead_letters_tail) if footer else None
        if said is not None and partition.ends["dead-letters"] != said:
            verdict.broken(f"{place}: dead letters do not end where the last footer says")
        position = log.position(group, topics.input(place))
        if footer is not None:
            partition.inputs(footer.range_end)
        if footer is not None and position != footer.range_end:
            verdict.broken(f"{place}: the group stands at {position}, not {footer.range_end}")
    return verdict
