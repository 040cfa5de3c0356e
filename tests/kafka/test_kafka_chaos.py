"""The supervised program on real brokers under a random mix of faults, held to account after each run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from usance.testing.chaos_kafka import run_kafka_chaos

MINUTE = 60.0


def clean(found: dict[str, Any], faults: int) -> None:
    assert found["violations"] == 0, found["words"]
    assert found["faults"] >= faults and found["faults"] == sum(found["by_kind"].values())
    assert found["sent"] > found["inputs"] > 0, "inputs arrive more than once"
    assert sum(found["answers"].values()) >= found["commands"] > found["inputs"]
    assert found["issued"] == found["credits"] > 0


def test_a_few_faults_of_workers_under_load_violate_nothing(kafka: str, tmp_path: Path) -> None:
    found = run_kafka_chaos(6.0, 37, log=f"kafka://{kafka}", folder=tmp_path, recovery=False)
    clean(found, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("machine_alone")
def test_a_minute_of_faults_on_one_broker_violates_nothing(tmp_path: Path) -> None:
    clean(run_kafka_chaos(MINUTE, 22, brokers=1, folder=tmp_path, recovery=False), 4)


@pytest.mark.slow
@pytest.mark.usefixtures("machine_alone")
def test_a_minute_of_faults_on_three_brokers_violates_nothing(tmp_path: Path) -> None:
    clean(run_kafka_chaos(MINUTE, 23, brokers=3, folder=tmp_path, recovery=False), 4)


@pytest.mark.nightly
@pytest.mark.usefixtures("machine_alone")
@pytest.mark.parametrize("brokers", [1, 3])
def test_ten_minutes_of_faults_violate_nothing(brokers: int, tmp_path: Path) -> None:
    clean(run_kafka_chaos(10 * MINUTE, 24, brokers=brokers, folder=tmp_path, recovery=False), 40)
