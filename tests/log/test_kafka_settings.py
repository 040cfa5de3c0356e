"""Settings for a cluster: what is unsafe is refused, and what cannot be reached is named in seconds."""

from __future__ import annotations

import socket
import threading
from typing import Any

import msgspec
import pytest

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Refused, Unavailable, UsanceError

REMOTE = "broker.bank.example:9093"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"bootstrap": " "}, "no broker"),
        ({"bootstrap": REMOTE}, "in clear"),
        ({"bootstrap": f"127.0.0.1:1,{REMOTE}"}, "in clear"),
        ({"bootstrap": REMOTE, "security": "SASL_SSL"}, "without user name"),
        ({"bootstrap": REMOTE, "security": "SASL_SSL", "username": "u"}, "without user name"),
        ({"bootstrap": REMOTE, "security": "SSL", "password": "p"}, "would not use it"),
        ({"bootstrap": "localhost:1", "username": "u", "password": "p"}, "would not use it"),
        ({"bootstrap": REMOTE, "security": "SSL", "certificate_file": "c"}, "needs its key"),
        ({"bootstrap": "localhost:1", "ca_file": "c"}, "would not use them"),
        ({"bootstrap": "localhost:1", "replication": 1}, "min_insync 2"),
        ({"bootstrap": "localhost:1", "min_insync": 1}, "one broker only"),
    ],
)
def test_unsafe_settings_are_refused_before_anything_is_opened(said: Any, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        KafkaLog.open(KafkaSettings(**said))
    assert refused.value.hint


@pytest.mark.parametrize(
    "address", ["localhost:1", "127.0.0.1:1", "[::1]:1", "127.0.0.1:1,127.0.0.2:2"]
)
def test_on_this_machine_no_encryption_is_asked_for(address: str) -> None:
    KafkaSettings(bootstrap=address).check()


def test_session_and_transaction_are_as_long_as_was_said() -> None:
    said = KafkaSettings(bootstrap="localhost:1", session_ms=4_000, transaction_ms=3_000)
    member, unit = said.member("g"), said.transactional("g", 0)
    assert (member["session.timeout.ms"], member["heartbeat.interval.ms"]) == (4_000, 666)
    assert (unit["transaction.timeout.ms"], unit["message.timeout.ms"]) == (3_000, 2_500)


def test_security_reaches_every_client() -> None:
    settings = KafkaSettings(
        bootstrap=REMOTE, security="SASL_SSL", username="usance", password="secret",
        ca_file="ca.pem", certificate_file="me.pem", key_file="me.key", key_password="more",
    )  # fmt: skip
    settings.check()
    for options in (
        settings.client("x"),
        settings.member("g"),
        settings.consumer("x"),
        settings.producer("x"),
        settings.transactional("g", 0),
    ):
        assert options["security.protocol"] == "SASL_SSL"
        assert options["sasl.mechanism"] == "SCRAM-SHA-512"
        assert (options["sasl.username"], options["sasl.password"]) == ("usance", "secret")
        assert options["ssl.ca.location"] == "ca.pem"
        assert options["ssl.certificate.location"] == "me.pem"


def test_a_word_that_means_nothing_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"bootstrap": "localhost:1", "sasl": "x"}, KafkaSettings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"bootstrap": "localhost:1", "slot": "a b"}, KafkaSettings)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fails_within_seconds(settings: KafkaSettings) -> UsanceError:
    clock = SystemClock()
    began = clock.monotonic()
    with pytest.raises(UsanceError) as raised:
        KafkaLog.open(settings)
    assert clock.monotonic() - began < 8.0
    return raised.value


def test_a_cluster_that_is_not_there_is_named_within_seconds() -> None:
    address = f"127.0.0.1:{free_port()}"
    error = fails_within_seconds(KafkaSettings(bootstrap=address))
    assert isinstance(error, Unavailable)
    assert address in error.message and "refused" in error.message and error.hint


def test_a_cluster_without_encryption_is_named_when_encryption_is_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            try:
                while True:
                    line, _ = server.accept()
                    line.sendall(b"no tls here\r\n")
                    line.close()
            except OSError:
                return

        threading.Thread(target=refuse, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        error = fails_within_seconds(KafkaSettings(bootstrap=address, security="SSL"))
    assert isinstance(error, Refused)
    assert "does not speak TLS" in error.message and error.hint
