"""The broker that the tests run: ready when it says so, faulty when told, gone at the end."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from usance.kernel.errors import Unavailable
from usance.testing.kafka_shared import SharedBroker

WAIT_S = 30.0


def topic_on(admin, partitions=1, copies=-1):
    """Make a topic under a name of its own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    admin.create_topics([NewTopic(name, partitions, copies)])[name].result(WAIT_S)
    return name


def send(settings, topic, value, timeout_ms=20_000):
    """Produce one record and return the error that its delivery ended with, if any."""
    ends = []
    producer = Producer(
        {**settings, "acks": "all", "delivery.timeout.ms": timeout_ms, "linger.ms": 0}
    )
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: ends.append(error))
    assert producer.flush(timeout_ms / 1000 + 10) == 0
    return ends[0]


def everything(settings, topic, count):
    """Read the first records of a topic's partition."""
    consumer = Consumer({
        **settings, "group.id": f"reads-{topic}", "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })  # fmt: skip
    consumer.subscribe([topic])
    found, end = [], time.monotonic() + WAIT_S
    try:
        while len(found) < count and time.monotonic() < end:
            found += [m.value() for m in consumer.consume(count, 0.5) if not m.error()]
    finally:
        consumer.close()
    return found


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def test_the_shared_broker_takes_and_gives_records(kafka):
    plain = {"bootstrap.servers": kafka}
    topic = topic_on(AdminClient(plain))
    assert send(plain, topic, b"one") is None
    assert send(plain, topic, b"two") is None
    assert everything(plain, topic, 2) == [b"one", b"two"]


def test_the_shared_broker_is_set_as_the_tests_need_it(kafka):
    admin = AdminClient({"bootstrap.servers": kafka})
    resource = ConfigResource(ResourceType.BROKER, "1")
    found = {
        n: e.value for n, e in admin.describe_configs([resource])[resource].result(WAIT_S).items()
    }
    wanted = {
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "6000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    }
    assert {name: found[name] for name in wanted} == wanted
    found = admin.list_topics("never-made", timeout=WAIT_S).topics["never-made"]
    assert found.error is not None and found.error.name() == "UNKNOWN_TOPIC_OR_PART"


@pytest.mark.slow
def test_users_share_one_broker_that_ends_with_the_last_of_them(tmp_path):
    first = SharedBroker(tmp_path / "run")
    second = SharedBroker(tmp_path / "run")
    assert first.bootstrap == second.bootstrap
    first.close()
    assert AdminClient({"bootstrap.servers": second.bootstrap}).list_topics(timeout=WAIT_S).brokers
    second.close()
    admin = AdminClient({"bootstrap.servers": second.bootstrap, "log_level": 0})
    end = time.monotonic() + WAIT_S
    with pytest.raises(KafkaException):
        while time.monotonic() < end:
            admin.list_topics(timeout=1.0)
            time.sleep(0.2)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_broker_is_paused_resumed_killed_and_restarted_with_its_records(cluster_of):
    cluster = cluster_of(1, proxied=True)
    node = cluster.nodes[0]
    plain = cluster.client()
    topic = topic_on(cluster.admin())
    assert send(plain, topic, b"before") is None

    node.pause()
    assert send(plain, topic, b"lost", timeout_ms=1_500) is not None
    node.resume()

    pid = node.pid
    node.kill()
    assert gone(pid)
    node.start()
    cluster.wait_ready()
    assert node.pid != pid
    assert send(plain, topic, b"after") is None
    node.restart()
    cluster.wait_ready()
    got = everything(plain, topic, 2)
    assert got[0] == b"before"
    assert b"after" in got or b"lost" in got

    node.proxy.cut()
    assert send(plain, topic, b"cut", timeout_ms=1_500) is not None
    node.proxy.heal()
    assert send(plain, topic, b"healed") is None
    node.proxy.latency(0.2)
    started = time.monotonic()
    assert send(plain, topic, b"slow") is None
    assert time.monotonic() - started > 0.4


@pytest.mark.slow
def test_three_brokers_go_on_without_one_and_refuse_with_two_gone(cluster_of):
    cluster = cluster_of(3)
    plain = cluster.client()
    topic = topic_on(cluster.admin())
    assert send(plain, topic, b"three") is None
    assert (
        len(cluster.admin().list_topics(topic, timeout=WAIT_S).topics[topic].partitions[0].isrs)
        == 3
    )

    leader = cluster.leader(topic)
    leader.kill()
    assert send(plain, topic, b"two") is None
    assert cluster.leader(topic) is not leader
    leader.start()
    cluster.wait_ready()
    assert everything(plain, topic, 2) == [b"three", b"two"]
    assert cluster.coordinator(f"reads-{topic}").running()

    others = [node for node in cluster.nodes if node is not cluster.leader(topic)]
    for node in others:
        node.pause()
    assert send(plain, topic, b"one", timeout_ms=4_000) is not None
    for node in others:
        node.resume()
    assert send(plain, topic, b"again") is None


def test_a_setting_that_the_broker_refuses_is_told_with_its_words(cluster_of):
    with pytest.raises(Unavailable, match=r"log\.retention\.ms"):
        cluster_of(1, settings={"log.retention.ms": "never"})
