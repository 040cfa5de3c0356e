"""Whoever reaches a cluster is told the same by the settings: the log, its setup and its doctor."""

from __future__ import annotations

import pytest

from usance.bootstrap.backend import cluster_settings
from usance.bootstrap.kafka import client_options
from usance.config import KafkaSettings, Settings
from usance.kernel.errors import Refused

SECRET = KafkaSettings(
    security="tls",
    ca_file="ca.pem",
    certificate_file="own.pem",
    certificate_key_file="own.key",
    certificate_key_password="opens it",
)


def test_setup_and_doctor_reach_the_cluster_as_the_log_does_with_the_password_of_its_key() -> None:
    settings = Settings(log="kafka://broker:9093", kafka=SECRET)
    said = cluster_settings(settings).client("x")
    assert (said["ssl.key.location"], said["ssl.key.password"]) == ("own.key", "opens it")
    care = client_options(settings)
    same = [name for name in said if name.startswith(("ssl", "sasl", "security", "bootstrap"))]
    assert len(same) == 6
    assert {name: care[name] for name in same} == {name: said[name] for name in same}


def test_without_a_cluster_there_is_nothing_to_care_for() -> None:
    with pytest.raises(Refused, match="no cluster is named"):
        client_options(Settings())
