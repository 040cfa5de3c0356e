"""`usance kafka setup|doctor`: what is wrong is named with the command that mends it, and setup mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from msgspec.structs import replace

from usance.adapters import kafka_doctor
from usance.adapters.kafka_setup import options_of
from usance.bootstrap import kafka as care
from usance.config import load
from usance.kernel.errors import Refused, Unavailable
from usance.testing.kafka_broker import free_ports


def settings_for(servers, **more):
    """Settings of a log of its own on a cluster; dots are written as double underscores."""
    flags = {"log": f"kafka://{servers}", "namespace": f"t{uuid.uuid4().hex[:8]}"}
    flags |= {name.replace("__", "."): value for name, value in more.items()}
    return load(None, {"kafka.replication": "1", "partitions": "2", **flags}, {}).settings


@pytest.fixture
def settings(kafka):
    """A log on the shared broker, set up."""
    found, deadline = settings_for(kafka), time.monotonic() + 60
    while True:
        try:
            assert {s.done for s in care.setup(found)} <= {"create", "keep", "skip"}
            return found
        except Unavailable:  # on a busy machine a question may take longer than one is given
            assert time.monotonic() < deadline


@pytest.fixture
def alter(kafka):
    """Change a topic's setting behind our back; returns nothing."""
    admin = AdminClient({"bootstrap.servers": kafka})

    def change(topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(10)
        while options_of(admin, ConfigResource.Type.TOPIC, [topic])[topic][name] != value:
            time.sleep(0.02)  # the controller has it before the broker does

    return change


def wrong(settings):
    """Findings that are not well, by check."""
    return {f.check: f for f in care.examine(settings) if not f.well}


def test_a_cluster_that_was_set_up_is_well_and_stays_as_it_is(settings):
    assert wrong(settings) == {}
    assert care.check_safe(settings) == []
    assert {s.done for s in care.setup(settings)} == {"keep", "skip"}


@pytest.mark.parametrize(
    ("session", "transaction", "sum_"),
    [(6_000, 4_000, "6"), (4_000, 3_000, "4"), (4_000, 5_000, "6")],
)
def test_the_doctor_says_how_long_the_work_of_a_lost_machine_waits(
    settings, session, transaction, sum_
):
    times = replace(settings.kafka, session_ms=session, transaction_ms=transaction)
    found = {f.check: f.found for f in care.examine(replace(settings, kafka=times))}
    assert found["work of a lost machine waits"].startswith(f"{sum_} s, then")
    assert f"session ({session / 1000:g} s)" in found["work of a lost machine waits"]


def test_positions_that_brokers_forget_early_and_sessions_that_they_refuse_are_named(
    settings, monkeypatch
):
    seen = options_of

    def others(admin, kind, names):
        found = seen(admin, kind, names)
        if kind == ConfigResource.Type.BROKER:
            found[names[0]] |= {
                "offsets.retention.minutes": "10080",
                "group.min.session.timeout.ms": "6000",
            }
        return found

    monkeypatch.setattr(kafka_doctor, "options_of", others)
    told = {f.check: f for f in care.examine(settings) if not f.well}
    assert set(told) == {"offsets.retention.minutes"}
    assert "offsets.retention.minutes=43200" in told["offsets.retention.minutes"].to_do
    hasty = replace(settings, kafka=replace(settings.kafka, session_ms=4_000))
    told = {f.check: f for f in care.examine(hasty) if not f.well}
    assert "session of 4 s" in told["group.min.session.timeout.ms"].found


def test_a_rehearsal_changes_nothing_and_missing_topics_are_named(kafka):
    settings = settings_for(kafka)
    rehearsed = [*care.setup(settings, dry_run=True)]
    assert {s.done for s in rehearsed} == {"create", "skip"}
    found = wrong(settings)
    assert set(found) == {"topics"}
    assert "usance kafka setup" in found["topics"].command


@pytest.mark.parametrize(
    ("kind", "setting", "value", "unsafe"),
    [
        ("trade.events", "retention.ms", "604800000", True),
        ("trade.events", "cleanup.policy", "compact", True),
        ("trade.snapshots", "cleanup.policy", "delete", True),
        ("system.meta", "cleanup.policy", "delete", True),
        ("trade.outcomes", "retention.bytes", "1000000", True),
        ("trade.commands", "message.timestamp.type", "CreateTime", True),
        ("trade.commands", "retention.ms", "-1", True),
        ("trade.events", "unclean.leader.election.enable", "true", True),
        ("trade.parked", "max.message.bytes", "1000000", False),
        ("trade.events", "compression.type", "gzip", False),
    ],
)
def test_a_wrong_topic_setting_is_named_refused_and_mended(
    settings, alter, kind, setting, value, unsafe
):
    topic = f"{settings.namespace}.{kind}"
    alter(topic, setting, value)
    found = wrong(settings)
    assert set(found) == {setting}
    said = found[setting]
    assert topic in said.found and value in said.found
    assert said.unsafe is unsafe
    assert "kafka-configs.sh" in said.to_do and topic in said.to_do and f"{setting}=" in said.to_do
    if unsafe:
        with pytest.raises(Refused, match=setting.replace(".", r"\.")) as refused:
            care.check_safe(settings)
        assert "i_accept_loss" in refused.value.hint
    else:
        assert care.check_safe(settings) == []
    changed = [s for s in care.setup(settings) if s.done == "change"]
    assert [s.name for s in changed] == [topic]
    assert wrong(settings) == {}


def test_a_dead_letter_topic_that_is_too_small_for_a_command_is_named(settings, alter):
    topic = f"{settings.namespace}.trade.dead-letters"
    alter(topic, "max.message.bytes", "4260000")
    found = wrong(settings)
    assert set(found) == {f"room in {topic}"}
    assert "pauses its partition" in found[f"room in {topic}"].found


def test_a_single_copy_that_is_not_flushed_is_said_plainly_and_accepted_only_in_words(
    settings, alter
):
    topic = f"{settings.namespace}.trade.events"
    alter(topic, "flush.messages", "10000")
    said = wrong(settings)["durability"]
    assert "loses its power" in said.found and topic in said.found
    assert "flush.messages=1" in said.to_do
    with pytest.raises(Refused, match="one copy only"):
        care.check_safe(settings)
    accepting = settings_for(
        settings.bootstrap_servers, namespace=settings.namespace, kafka__i_accept_loss="true"
    )
    assert [f.check for f in care.check_safe(accepting)] == ["durability"]


def test_more_copies_than_brokers_are_refused_before_anything_is_made(kafka):
    settings = settings_for(kafka, kafka__replication="3")
    with pytest.raises(Refused, match=r"3 copies .* 1 brokers") as refused:
        list(care.setup(settings))
    assert "kafka.replication = 1" in refused.value.hint
    assert "topics" in wrong(settings)


def test_a_cluster_that_is_down_is_unavailable_within_seconds():
    settings = settings_for(f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(Unavailable, match="no broker answers"):
        list(care.examine(settings))


def test_lag_is_told_in_records_and_seconds_with_what_to_start(settings, kafka):
    topic = f"{settings.namespace}.trade.intake"
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
    for _ in range(5):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(20) == 0
    reader = Consumer({"bootstrap.servers": kafka, "group.id": "usance-intake"})
    reader.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    reader.close()
    said = wrong(settings)["group usance-intake"]
    assert said.found.startswith("3 records and ") and "s behind, 0 members" in said.found
    assert said.to_do == "usance start --role intake"
    reader = Consumer({"bootstrap.servers": kafka, "group.id": "usance-intake"})
    reader.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    reader.close()
    assert wrong(settings) == {}


@pytest.mark.slow
def test_a_foreign_transaction_that_hangs_is_found_with_its_age_and_an_end(settings, kafka):
    topic = f"{settings.namespace}.trade.events"
    foreign = Producer({
        "bootstrap.servers": kafka, "transactional.id": f"foreign-{settings.namespace}",
        "transaction.timeout.ms": 60_000, "linger.ms": 0,
    })  # fmt: skip
    foreign.init_transactions(20)
    foreign.begin_transaction()
    foreign.produce(topic, b"x", partition=1)
    foreign.flush(20)
    said = wrong(settings)[f"open transaction in {topic} 1"]
    assert said.found.startswith("a foreign client holds one open since ")
    assert f"abort --topic {topic} --partition 1 --start-offset 0" in said.to_do
    foreign.abort_transaction(20)
    assert wrong(settings) == {}


# -- brokers that are set wrongly


@pytest.fixture(scope="module")
def careless(cluster_of):
    """A broker with what comes along, or worse."""
    return cluster_of(
        settings={
            "auto.create.topics.enable": "true",
            "unclean.leader.election.enable": "true",
            "transaction.partition.verification.enable": "false",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
            "group.min.session.timeout.ms": "10000",
            "group.consumer.min.session.timeout.ms": "45000",
            "group.consumer.session.timeout.ms": "45000",
        }
    )


def test_every_wrong_broker_setting_is_named_with_its_remedy(careless):
    settings = settings_for(careless.bootstrap, kafka__group_protocol="consumer")
    list(care.setup(settings))
    found = wrong(settings)
    static = {
        "auto.create.topics.enable": "auto.create.topics.enable=false",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "cleanup.interval.ms=1000",
        "group.min.session.timeout.ms": "group.min.session.timeout.ms=6000",
        "group.consumer.session.timeout.ms": "group.consumer.session.timeout.ms=6000",
    }
    dynamic = {
        "unclean.leader.election.enable": "--add-config unclean.leader.election.enable=false",
        "transaction.partition.verification.enable": "verification.enable=true",
    }
    assert set(found) == static.keys() | dynamic.keys()
    for check, remedy in static.items():
        assert remedy in found[check].to_do and "server.properties" in found[check].to_do
    for check, remedy in dynamic.items():
        assert remedy in found[check].to_do and "kafka-configs.sh" in found[check].to_do
    assert {check for check, f in found.items() if f.unsafe} == {
        "auto.create.topics.enable", "unclean.leader.election.enable",
        "transaction.partition.verification.enable",
    }  # fmt: skip
    with pytest.raises(Refused, match=r"auto\.create\.topics\.enable"):
        care.check_safe(settings)


def test_with_the_classic_protocol_the_new_session_setting_is_told_and_not_blamed(careless):
    settings = settings_for(careless.bootstrap)
    found = {f.check: f for f in care.examine(settings)}
    told = found["group.consumer.session.timeout.ms"]
    assert told.well and told.found.startswith("45000")


@pytest.mark.slow
def test_three_brokers_that_acknowledge_on_one_are_named(cluster_of):
    cluster = cluster_of(
        3, settings={"min.insync.replicas": "1", "transaction.state.log.min.isr": "1"}
    )
    settings = settings_for(cluster.bootstrap, kafka__replication="3")
    list(care.setup(settings))
    found = wrong(settings)
    assert set(found) == {"min.insync.replicas", "transaction.state.log.min.isr"}
    assert all(f.unsafe for f in found.values())
    cluster.nodes[0].kill()
    until = time.monotonic() + 30
    while "in sync" not in (found := wrong(settings)):
        assert time.monotonic() < until
    assert "brokers that are down" in found["in sync"].to_do


# -- the command line


def run(kafka, *arguments):
    """Run a command; returns its exit code, what it printed, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "usance", "--log", f"kafka://{kafka}", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "USANCE_KAFKA_REPLICATION": "1", "USANCE_NAMESPACE": f"c{os.getpid()}"},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_commands_print_tables_and_json_and_end_with_the_codes_of_the_program(kafka, tmp_path):
    code, out, _ = run(kafka, "kafka", "doctor", "--output", "json")
    assert code == 1
    topics = next(f for f in json.loads(out) if f["check"] == "topics")
    assert not topics["well"] and topics["hint"] == "usance kafka setup"
    code, out, said = run(kafka, "kafka", "setup", "--partitions", "2")
    assert code == 0 and "created" in out and "kept for ever" in out and "Next:" in said
    code, out, _ = run(kafka, "kafka", "doctor")
    assert code == 0 and "NOT WELL" not in out and "durability" in out


def test_without_a_cluster_the_commands_say_how_to_name_one():
    done = subprocess.run(
        [sys.executable, "-m", "usance", "kafka", "doctor"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "kafka://HOST:PORT" in done.stderr
