"""Verifying the hash chain of every chained partition of a log, by recomputing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from usance.audit.chain import ChainRecord, ChainReport, ChainVerifier, Links, verify
from usance.engine.topics import CHAINED_KINDS
from usance.kernel.errors import Unreadable
from usance.log.contract import Log, TopicPartition

Progress = Callable[[TopicPartition, int], None]
PROGRESS_RECORDS = 5_000


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
    """Recompute every chain; each report names its first broken record, if any."""

    def links(headers: Any) -> Links:
        try:
            meta = decoder.meta(headers)
        except Unreadable as broken:
            raise ValueError(broken.message) from broken
        return Links(meta.index, meta.prev)

    reports = []
    for tp in chained(log):
        verifier = ChainVerifier(log_id, tp.topic, tp.partition, links)
        reports.append(verify(verifier, _records(log, tp, progress)))
    return reports


def _records(log: Log, tp: TopicPartition, progress: Progress | None) -> Iterator[ChainRecord]:
    for number, record in enumerate(log.scan(tp, log.begin(tp)), 1):
        if progress is not None and number % PROGRESS_RECORDS == 0:
            progress(tp, number)
        yield ChainRecord(record.offset, record.key, record.value, record.headers)
