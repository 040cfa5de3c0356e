"""The Kafka bench counts for itself: a lost or doubled event leaves it without numbers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from usance.kernel.clock import SystemClock
from usance.kernel.ids import RandomIds
from usance.testing import bench_kafka_job as job
from usance.testing.bench_kafka_book import full_job
from usance.testing.bench_kafka_count import Sight, count
from usance.testing.bench_kafka_runs import Runner, Stage, open_loop, saturate
from usance.testing.bench_rig import Mismatch

NUMBER = 300


@pytest.fixture
def stage(kafka: str, tmp_path: Path) -> Stage:
    return Stage(kafka, tmp_path, SystemClock(), 0, 1)


def test_our_loop_and_the_articles_make_the_same_events_once_each(stage: Stage) -> None:
    for peer, units in (("usance", True), ("article", False)):
        found = saturate(stage, Runner(peer, "saturation"), NUMBER, 30.0)
        assert (found["counted"], found["duplicates"], found["missing"]) == (NUMBER, 0, 0)
        assert bool(found["units"]) is units


def test_an_event_too_many_leaves_no_numbers(kafka: str, stage: Stage) -> None:
    def again(topic: str) -> None:
        producer = Producer({"bootstrap.servers": kafka})
        said = next(job.commands(1, 1))
        _, event = job.decide(job.NEW, said)
        producer.produce(topic, msgspec.json.encode(event), said["credit"].encode(), 0)
        assert producer.flush(10) == 0

    with pytest.raises(Mismatch, match="duplicates=1"):
        saturate(stage, Runner("usance", "saturation"), NUMBER, 30.0, again)


def test_an_event_that_was_not_committed_is_missing_for_the_reader(kafka: str) -> None:
    topic = f"bench-{RandomIds().fresh()[-12:]}"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(30)
    now, wanted = job.NEW, 3
    for said in job.commands(wanted, 1):
        now, event = job.decide(now, {**said, "credit": "one"})
        producer.begin_transaction()
        producer.produce(topic, msgspec.json.encode(event), b"one", 0)
        if now.version == 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    sight = Sight({"bootstrap.servers": kafka}, topic, 1, SystemClock())
    sight.until(wanted, 3.0)
    found = count({"one": wanted}, ((key, version) for _, key, version, _ in sight.events()))
    sight.close()
    assert (found.counted, found.missing, found.duplicates) == (2, 1, 0) and not found.whole


def test_open_loop_times_run_from_the_intended_send(stage: Stage) -> None:
    found = open_loop(stage, Runner("usance", "latency"), 300.0, 0.2, 0.6)
    assert found["counted"] == 240 and 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert 0 < found["units"] <= 240


@pytest.mark.slow
def test_the_full_job_is_verified_and_its_owner_comes_back(stage: Stage) -> None:
    found = full_job(stage, 2_000, flush=False, batch=500, seconds=60.0)
    assert found.run["counted"] == 2_000 and found.run["rate"] > 0
    ledger = found.run["ledger"]
    assert ledger["commands per unit"] * ledger["units"] == pytest.approx(2_000, rel=0.01)
    assert ledger["records per unit"] > 3 * ledger["commands per unit"]  # events, outcome, reply
    assert ledger["partitions written per unit"] >= 3 and ledger["kB per unit"] > 0
    assert found.recovery["aggregates"] == 2_000 and found.recovery["packed_bytes_each"] > 100
