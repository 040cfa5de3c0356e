"""Brokers of a test's own: one cluster at a time on this machine, its logs kept when a test failed."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from usance.testing.kafka_broker import KafkaCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here needs a broker."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("kafka")


@contextmanager
def only_one() -> Iterator[None]:
    """Hold the machine's turn for a cluster: three brokers fill its cores."""
    with (Path(tempfile.gettempdir()) / "usance-kafka-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def machine_alone() -> Iterator[None]:
    """Hold the machine's turn for a test that starts its cluster itself."""
    with only_one():
        yield


@pytest.fixture(scope="module")
def cluster_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., KafkaCluster]]:
    """Make a cluster of this module's own: `cluster_of(3, proxied=True)`."""
    made: list[KafkaCluster] = []
    failed = request.session.testsfailed

    def make(brokers: int = 1, **options: Any) -> KafkaCluster:
        made.append(KafkaCluster(brokers, **options))
        made[-1].start()
        return made[-1]

    with only_one():
        try:
            yield make
        finally:
            for cluster in made:
                cluster.close(keep=request.session.testsfailed > failed)
