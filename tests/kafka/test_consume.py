"""`usance.consume` on a real broker: the article's loop loses a message there too, ours does not."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer as PlainConsumer
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import usance
from usance.bootstrap import operating
from usance.bootstrap.backend import open_cluster
from usance.config import load
from usance.engine.groups import groups
from usance.engine.groups.operating import letters

SAMPLE = ("alice 10", "bob 20", "alice thirty", "alice 5", "bob 1")
NUMBERS = itertools.count(1)


@pytest.fixture
def names(kafka: str) -> tuple[str, str, str]:
    """Return names of two topics, made with the sample paid in, and of a group."""
    tag = f"{os.getpid()}-{next(NUMBERS)}"
    topics = (f"payments-{tag}", f"receipts-{tag}")
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_topics([NewTopic(t, 1, 1) for t in topics]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": kafka})
    for text in SAMPLE:
        producer.produce(topics[0], text.encode(), text.split()[0].encode(), 0)
    assert producer.flush(30) == 0
    return (*topics, f"teller-{tag}")


@pytest.fixture(autouse=True)
def one_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USANCE_KAFKA_REPLICATION", "1")


def receipt(text: str) -> str:
    who, amount = text.split()
    return f"{who} paid {int(amount)}"


def read(kafka: str, topic: str) -> list[str]:
    """Return what a plain read_committed consumer of anybody's sees in a topic."""
    consumer = PlainConsumer(
        {
            "bootstrap.servers": kafka,
            "group.id": f"look-{topic}",
            "isolation.level": "read_committed",
            "enable.partition.eof": False,
        }
    )
    _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found, deadline = [], time.monotonic() + 20
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            if consumer.position([TopicPartition(topic, 0)])[0].offset >= high:
                break
            continue
        assert message.error() is None
        found.append(message.value().decode())
    consumer.close()
    return found


def article_loop(kafka: str, source: str, target: str, group: str) -> None:
    """One message, process, produce, flush, commit; an exception is passed over."""
    consumer = PlainConsumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": kafka})
    consumer.subscribe([source])
    handled, deadline = 0, time.monotonic() + 60
    while handled < len(SAMPLE) and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        handled += 1
        try:
            producer.produce(target, receipt(message.value().decode()).encode())
            producer.flush()
        except ValueError:
            continue
        consumer.commit(message, asynchronous=False)
    assert consumer.committed([TopicPartition(source, 0)], 10)[0].offset == len(SAMPLE)
    consumer.close()


def rest(consumer: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if consumer.step(0.2) == 0 and consumer.states and consumer.idle():
            return
    raise AssertionError("the consumer did not come to rest")


def handling(
    target: str, process: Callable[[str], str]
) -> Callable[[usance.Delivery], usance.Emit]:
    def handle(record: usance.Delivery) -> usance.Emit:
        return usance.Emit(target, process((record.value or b"").decode()).encode(), record.key)

    return handle


def test_the_articles_loop_loses_a_message_where_ours_keeps_it_in_order(
    kafka: str, names: tuple[str, str, str]
) -> None:
    source, target, group = names
    article_loop(kafka, source, target, f"article-{group}")
    assert read(kafka, target) == ["alice paid 10", "bob paid 20", "alice paid 5", "bob paid 1"]

    def ours(process: Callable[[str], str]) -> Any:
        where = f"kafka://{kafka}"
        handle = handling(target, process)
        return usance.consume(source, group, handle, log=where, outputs=[target])

    with ours(receipt) as consumer:
        rest(consumer)
        assert consumer.standing()[:1] + consumer.standing()[2:4] == (True, 1, 1)
    mine = read(kafka, target)[4:]
    assert mine == ["alice paid 10", "bob paid 20", "bob paid 1"]
    settings = load(None, {"log": f"kafka://{kafka}"}).settings
    log = open_cluster(settings)
    record = groups.named(log, "usance", group)
    (letter,) = letters(log, record)
    assert letter.record.value == b"alice thirty" and letter.note.handler.endswith("handle")
    operating.redrive_letter(log, "usance", group, letter.note.id, "read now", person="ada")
    log.close()
    with ours(lambda text: receipt(text.replace("thirty", "30"))) as consumer:
        rest(consumer)
        assert consumer.standing()[2:4] == (0, 0)
    assert read(kafka, target)[7:] == ["alice paid 30", "alice paid 5"]
