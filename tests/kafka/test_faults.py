"""Single faults on real brokers: what each does to a log, and that it ends there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from usance.kernel.errors import Unavailable
from usance.testing.conformance import C0
from usance.testing.kafka_broker import KafkaCluster

sys.path.insert(0, str(Path(__file__).parents[1] / "log"))
from kafka_world import fresh_prefix, kafka_log, with_topics


def until(true: Callable[[], bool], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_broker_that_froze_for_longer_than_its_session_answers_again(
    cluster_of: Callable[..., KafkaCluster],
) -> None:
    """Its partitions get another leader epoch: a client that asks with the old one is refused for ever."""
    cluster = cluster_of(1, proxied=True)
    log = with_topics(kafka_log(cluster.bootstrap, fresh_prefix()))
    node = cluster.nodes[0]
    assert log.end(C0) == 4
    node.pause()
    time.sleep(6.0)
    node.resume()
    assert node.proxy is not None
    node.proxy.cut()
    time.sleep(3.0)
    node.proxy.heal()

    def answers() -> bool:
        try:
            return log.end(C0) >= 4
        except Unavailable:
            return False

    until(answers, 20.0)
    log.close()
