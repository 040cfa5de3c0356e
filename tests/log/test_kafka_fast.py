"""The fast way of records into the Kafka client: the same records as the slow way, and nothing it cannot reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kafka_world import batch_of, fresh_prefix, kafka_log, unit_of, with_topics

from usance.adapters import kafka_fast, kafka_producer, kafka_rows
from usance.adapters.kafka_fast import sender
from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_rows import Row
from usance.kernel.errors import Unreadable
from usance.kernel.native import NATIVE
from usance.log.contract import Record
from usance.messages.headers import pack_headers
from usance.testing.conformance import E0, EVENTS, O0, OUTCOMES, Owner, out

needs_native = pytest.mark.skipif(NATIVE is None, reason="needs the compiled extension")

HEADERS = (("ce_id", b"1"), ("empty", b""), ("n" * 40, b"v" * 300), ("long", b"w" * 70_000))
ROWS: list[Row] = [
    ("t", b"value", b"key", 0, pack_headers(HEADERS)),
    ("t", b"", b"", 0, None),
    ("t", None, None, 0, pack_headers((("one", b"1"),))),
    ("t", b"many", None, 0, pack_headers(tuple((f"h{n}", b"%d" % n) for n in range(20)))),
]


@pytest.fixture
def offline() -> Any:
    """A producer with a broker inside of it: what it queues stays there for long."""
    client = Producer({"test.mock.num.brokers": 1, "linger.ms": 250_000, "log_level": 0})
    yield client
    client.purge()
    client.flush(0)


# --- where it runs --------------------------------------------------------------------------


@needs_native
@pytest.mark.parametrize(("version", "runs"), [
    ("2.11.1", False), ("2.12.0", True), ("2.16.1", True), ("2.17.0", False), ("3.0.0", False),
    ("odd", False),
])  # fmt: skip
def test_only_clients_whose_object_was_looked_at_are_reached_through(version, runs):
    assert (sender(NATIVE, version) is not None) is runs


def test_without_the_extension_all_goes_the_slow_way():
    assert sender(None) is None


@needs_native
def test_a_library_that_is_not_the_clients_is_not_taken(tmp_path: Path):
    assert NATIVE.kafka_bind(str(tmp_path / "nothing.so"), Producer) is False
    assert sender() is not None


@needs_native
def test_the_client_that_is_installed_is_one_of_them():
    """After an upgrade of confluent-kafka: look at its Handle, and move KNOWN."""
    assert kafka_fast.SEND is not None


# --- what it refuses ------------------------------------------------------------------------


@needs_native
def test_an_object_that_is_no_open_producer_is_never_looked_into(offline: Producer):
    for other in (object(), "a", Consumer({"group.id": "g"})):
        with pytest.raises(TypeError):
            NATIVE.kafka_send(other, [])
    closed = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    closed.close()
    with pytest.raises(RuntimeError):
        NATIVE.kafka_send(closed, [])
    assert NATIVE.kafka_send(offline, []) == 0


@needs_native
@pytest.mark.parametrize("row", [
    1, ("t", b"v", b"k", 0), ("t", "v", b"k", 0, None), ("t", b"v", "k", 0, None),
    ("t", b"v", b"k", -1, None), ("t", b"v", b"k", 2**40, None), ("t", b"v", b"k", "0", None),
    (None, b"v", b"k", 0, None), ("t", b"v", b"k", 0, [("a", b"b")]),
])  # fmt: skip
def test_a_row_of_another_shape_sends_nothing(offline: Producer, row: Any):
    with pytest.raises((TypeError, OverflowError)):
        NATIVE.kafka_send(offline, [ROWS[0], row])
    assert len(offline) == 0


@needs_native
def test_no_damage_to_packed_headers_is_sent_or_read_beyond(offline: Producer):
    assert kafka_fast.SEND is not None
    whole = pack_headers(HEADERS[:3])
    damaged = [whole[:n] for n in range(1, len(whole))]
    damaged += [whole + b"\0", pack_headers((("a\0b", b""),)), pack_headers((("", b""),)), b"\x80"]
    for packed in damaged:
        with pytest.raises(Unreadable):
            kafka_fast.SEND(offline, [("t", b"v", b"k", 0, packed)])
    assert len(offline) == 0


@needs_native
def test_what_the_client_refuses_is_told_with_its_number(offline: Producer):
    assert kafka_fast.SEND is not None
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        kafka_fast.SEND(offline, [("t", bytes(2_000_000), b"k", 0, None)])


class Read:
    """A message as the client gives it."""

    def __init__(self, **parts: Any) -> None:
        usual = {
            "partition": 3, "offset": 7, "key": b"k", "value": b"v", "timestamp": (1, 1_700_000_000_000),
            "headers": [("a", b"1"), ("b", b"")],
        }  # fmt: skip
        for name, part in {**usual, **parts}.items():
            setattr(self, name, lambda part=part: part)


@needs_native
@pytest.mark.parametrize("parts", [
    {}, {"headers": None}, {"headers": []}, {"headers": [("a", None)]}, {"key": None, "value": None},
    {"headers": [(f"h{n}", b"x" * n) for n in range(40)]}, {"value": b""},
])  # fmt: skip
def test_a_message_becomes_the_same_record_either_way(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]
):
    message: Any = Read(**parts)
    fast = kafka_rows.record(message, "t")
    monkeypatch.setattr(kafka_rows, "NATIVE", None)
    assert fast == kafka_rows.record(message, "t") and type(fast) is Record
    assert fast.headers == tuple(
        (n, v or b"") for n, v in parts.get("headers", Read().headers()) or ()
    )


@needs_native
@pytest.mark.parametrize(
    "parts", [{"timestamp": 5}, {"offset": "7"}, {"value": "v"}, {"headers": [1]}]
)
def test_a_message_that_is_not_as_usual_is_left_to_python(parts: dict[str, Any]):
    assert NATIVE.kafka_record(Record, "t", Read(**parts)) is None
    assert NATIVE.kafka_record(Record, "t", object()) is None


# --- on a broker ----------------------------------------------------------------------------


@pytest.fixture
def log_of(kafka: str) -> Any:
    """Make logs with topics of their own on the shared broker."""
    made: list[KafkaLog] = []

    def make(**more: Any) -> KafkaLog:
        made.append(with_topics(kafka_log(kafka, fresh_prefix(), **more)))
        return made[-1]

    yield make
    for log in made:
        log.remove_topics()
        log.close()


@pytest.mark.kafka
@needs_native
def test_both_ways_give_the_same_records(kafka: str, log_of: Callable[..., KafkaLog]):
    assert kafka_fast.SEND is not None
    log = log_of()
    topic = log.settings.prefix + EVENTS
    rows = [(topic, *row[1:]) for row in ROWS]
    client = Producer({"bootstrap.servers": kafka})
    kafka_fast.SEND(client, rows)
    assert client.flush(30) == 0
    for row in rows:
        client.produce(*row[:4], headers=kafka_producer.pairs(row))
    assert client.flush(30) == 0
    found = [r._replace(offset=0, timestamp=0) for r in log.scan(E0, 0, 2 * len(rows))]
    assert found[: len(rows)] == found[len(rows) :]
    assert found[0].headers == HEADERS
    assert [(r.key, r.value) for r in found[1:3]] == [(b"", b""), (None, None)]


@pytest.mark.kafka
@pytest.mark.parametrize("at", ["records", "footers"])
def test_why_a_record_was_refused_is_told_although_no_report_was_asked_for(
    kafka: str, log_of: Callable[..., KafkaLog], at: str
):
    log = log_of()
    narrow(kafka, log.settings.prefix + (EVENTS if at == "records" else OUTCOMES))
    owner = Owner(log)
    large, small = bytes(40_000), b"small"
    first, last = (large, small) if at == "records" else (small, large)
    staged = log.stage(unit_of(owner, batch_of(owner, 1), [out(E0, first)], out(O0, last)))
    with pytest.raises(Unreadable, match="MSG_SIZE_TOO_LARGE"):
        log.commit(staged, owner.last).result(30)
    log.abort(staged)
    owner.commit(unit_of(owner, batch_of(owner, 1), [out(E0, small)], out(O0, small)))
    assert [r.value for r in log.scan(E0, 0)] == [small]


def narrow(kafka: str, topic: str) -> None:
    """Have a topic take no record above 20 kB."""
    bound = ConfigEntry("max.message.bytes", "20000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource("TOPIC", topic, incremental_configs=[bound])
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)
