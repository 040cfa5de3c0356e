"""A position is asked for when no coordinator is there yet, and after it moved: an answer, never a crash."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.kernel.errors import Fenced
from usance.log.contract import TopicPartition, TopicSettings

QUESTIONS = """
import sys
from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.log.contract import TopicPartition, TopicSettings

log = KafkaLog.open(KafkaSettings(bootstrap=sys.argv[1], replication=1, min_insync=1))
log.create_topic(TopicSettings("usance.trade.commands", "commands", 2))
place = TopicPartition("usance.trade.commands", 0)
print(log.position("usance-owner", place), flush=True)
log.set_positions("usance-owner", {place: 0})
print(log.position("usance-owner", place), flush=True)
sys.stdin.readline()
print(log.position("usance-owner", place), flush=True)
log.close()
"""


@pytest.mark.slow
def test_a_position_is_known_on_a_new_cluster_and_after_its_coordinator_was_away(cluster_of):
    cluster = cluster_of()
    # In a process of its own: the library's fault would end this one.
    asking = subprocess.Popen(
        [sys.executable, "-c", QUESTIONS, cluster.bootstrap],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert asking.stdout.readline() == "None\n"
        assert asking.stdout.readline() == "0\n"
        cluster.nodes[0].restart()
        cluster.wait_ready()
        said, _ = asking.communicate("go on\n", timeout=60)
        assert (said, asking.returncode) == ("0\n", 0)
    finally:
        asking.kill()
        asking.wait()
        asking.stdin.close()
        asking.stdout.close()


def test_who_starts_in_a_slot_that_another_process_has_ends_that_one_and_it_knows(
    kafka: str,
) -> None:
    settings = KafkaSettings(
        bootstrap=kafka, prefix="twins-", replication=1, min_insync=1, instance="0"
    )
    logs = [KafkaLog.open(settings) for _ in range(2)]
    place = TopicPartition("usance.trade.commands", 0)
    try:
        logs[0].create_topic(TopicSettings(place.topic, "commands", 1))
        logs[0].set_positions("usance-owner", {place: 0})
        until = time.monotonic() + 30
        first = logs[0].join("usance-owner", [place.topic])
        while not first.owned():
            first.poll()
            assert time.monotonic() < until
        logs[1].join("usance-owner", [place.topic])
        with pytest.raises(Fenced, match="another process"):
            while time.monotonic() < until:
                first.poll()
                logs[0].read(first, 1, 0.1)
    finally:
        for log in logs:
            log.close()
