"""A content of several records on a cluster: one process keeps it, another reads it back, whole or not at all."""

from __future__ import annotations

import pytest

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.engine.contents import CHUNK_BYTES, keep, load
from usance.kernel.errors import Tampered
from usance.log.contract import Output, TopicPartition, TopicSettings

PLACE = TopicPartition("usance.system.lists", 0)
DATA = bytes(range(256)) * (CHUNK_BYTES // 128) + b"the end"


def opened(kafka: str) -> KafkaLog:
    return KafkaLog.open(
        KafkaSettings(bootstrap=kafka, prefix="contents-", replication=1, min_insync=1)
    )


def test_another_process_reads_what_one_kept_and_notices_what_was_altered(kafka: str) -> None:
    writer, reader = opened(kafka), opened(kafka)
    try:
        writer.create_topic(TopicSettings(PLACE.topic, "lists", 1, "compact", -1))
        kept = keep(writer, PLACE, DATA)
        assert kept.chunks == 3
        assert load(reader, PLACE, kept) == DATA
        writer.append([Output(PLACE.topic, 0, f"{kept.digest}/1".encode(), b"other bytes", ())])
        with pytest.raises(Tampered):
            load(reader, PLACE, kept)
        assert keep(reader, PLACE, DATA) == kept
        assert load(writer, PLACE, kept) == DATA
    finally:
        writer.close()
        reader.close()
