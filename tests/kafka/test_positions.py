"""A position is asked for when no coordinator is there yet, and after it moved: an answer, never a crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
