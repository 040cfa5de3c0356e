"""Verifying the hash chain of every chained partition of a log, by recomputing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from usance.audit.chain import ChainRecord, ChainReport, ChainVerifier, Links
from usance.engine.topics import CHAINED_KINDS, GROUP_PREFIX
from usance.kernel.errors import Unreadable
from usance.kernel.ids import derived
from usance.log.contract import Log, TopicPartition
from usance.messages.outcome import UnitFooter

Progress = Callable[[TopicPartition, int], None]
PROGRESS_RECORDS = 5_000
OUTCOMES = ".outcomes"
FOOTER = b"UnitFooter"


def chained(log: Log) -> list[TopicPartition]:
    """Return all partitions that carry the chain, in order."""
    found = [
        TopicPartition(settings.name, number)
        for settings in log.topics().values()
        if settings.kind in CHAINED_KINDS
        for number in range(settings.partitions)
    ]
    return sorted(found)


def verify_log(
    log: Log, log_id: str, decoder: Any, progress: Progress | None = None
) -> list[ChainReport]:
    """Recompute every chain; each report names its first broken record, if any.

    The last unit footer of a partition states how far its events and dead letters went and their
    chain up to there (protocol rule 16): so a cut or altered *end* is found too.
    """

    def links(headers: Any) -> Links:
        try:
            meta = decoder.meta(headers)
        except Unreadable as broken:
            raise ValueError(broken.message) from broken
        return Links(meta.index, meta.prev)

    partitions = chained(log)
    stated: dict[TopicPartition, tuple[int, bytes]] = {}
    for tp in partitions:
        if tp.topic.endswith(OUTCOMES):
            stated |= _stated(log, decoder, tp)
    reports = []
    for tp in partitions:
        verifier = ChainVerifier(log_id_of(log_id, tp.topic), tp.topic, tp.partition, links)
        reports.append(_verified(verifier, _records(log, tp, progress), stated.get(tp)))
    return reports


def log_id_of(log_id: str, topic: str) -> str:
    """Return the id with which a topic's chain begins: a consume group has its own."""
    context = topic.rsplit(".", 2)[1] if topic.count(".") > 1 else ""
    if not context.startswith(GROUP_PREFIX):
        return log_id
    return derived(log_id, "consume", context.removeprefix(GROUP_PREFIX))


def _stated(log: Log, decoder: Any, tp: TopicPartition) -> dict[TopicPartition, tuple[int, bytes]]:
    """Return the ends that the last footer states for the topics beside it.

    Asked before those topics are read: an owner at work may have added to them since.
    """
    found: UnitFooter | None = None
    for record in log.scan(tp, log.begin(tp)):
        if dict(record.headers).get("ce_type", b"").endswith(FOOTER):
            try:
                message = decoder.message(record.headers, record.value)
            except Unreadable:
                continue  # the chain names it
            found = message if isinstance(message, UnitFooter) else found
    if found is None:
        return {}
    context = tp.topic.removesuffix(OUTCOMES)
    return {
        TopicPartition(f"{context}.events", tp.partition): (
            found.events_index,
            found.events_tail,
        ),
        TopicPartition(f"{context}.dead-letters", tp.partition): (
            found.dead_letters_index,
            found.dead_letters_tail,
        ),
    }


def _verified(
    verifier: ChainVerifier, records: Iterator[ChainRecord], stated: tuple[int, bytes] | None
) -> ChainReport:
    for record in records:
        if not verifier.feed(record):
            return verifier.report()
        if stated is not None and verifier.end[0] == stated[0] and verifier.end != stated:
            return verifier.report(expected_end=stated)
    if stated is not None and verifier.end[0] < stated[0]:
        return verifier.report(expected_end=stated)
    return verifier.report()


def _records(log: Log, tp: TopicPartition, progress: Progress | None) -> Iterator[ChainRecord]:
    for number, record in enumerate(log.scan(tp, log.begin(tp)), 1):
        if progress is not None and number % PROGRESS_RECORDS == 0:
            progress(tp, number)
        yield ChainRecord(record.offset, record.key, record.value, record.headers)
