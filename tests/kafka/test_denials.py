"""The twelve denials: who has no business on the cluster is told so within five seconds, and what to do next.

The brokers ask for TLS 1.3 with user and password, or for a certificate; users and rights are those that
`usance kafka setup` makes.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    ResourcePatternType,
)

from usance.adapters import kafka_doctor, kafka_rights
from usance.adapters.kafka_access import connect, named
from usance.adapters.kafka_doctor import Ward
from usance.adapters.kafka_roles import ACCESS, ROLES, SCAN_GROUP, rights, user
from usance.adapters.kafka_setup import (
    _filter,
    bindings,
    options_of,
    settle_rights,
    settle_topics,
    settle_users,
)
from usance.engine.topics import Topics
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Refused
from usance.testing.certificates import Authority
from usance.testing.kafka_realm import Realm

CLOCK = SystemClock()
TOPICS = Topics("usance", 1)
EVENTS = TOPICS.name("trade", "events")
COMMANDS = TOPICS.name("trade", "commands")
KEYS = "usance.system.keys"
TOLD_S = 5.0


@pytest.fixture(scope="module")
def realm(tmp_path_factory):
    return Realm(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def secured(cluster_of, realm):
    """A secured broker, set up: topics, users and rights of all roles."""
    cluster = cluster_of(1, realm=realm)
    options = {**cluster.client(), **realm.scram()}
    admin = connect(options, CLOCK)
    settle_topics(admin, TOPICS.settings(), replication=1, clock=CLOCK)
    passwords = {role: f"{role}-password" for role in ROLES}
    realm.passwords |= {user("usance", role): word for role, word in passwords.items()}
    settle_users(admin, "usance", passwords)
    settle_rights(admin, "usance")
    at = f"127.0.0.1:{cluster.nodes[0].ports['MTLS']}"
    plain = {n: v for n, v in cluster.client().items() if not n.startswith(("sasl", "ssl", "sec"))}
    made = SimpleNamespace(
        plain=plain,
        admin=admin,
        scram=lambda name, word=None: {**plain, **realm.scram(name, word)},
        mutual=lambda shown: {**plain, "bootstrap.servers": at, **realm.mutual(shown)},
    )
    made.role = lambda role: made.scram(user("usance", role))
    return made


@pytest.fixture
def told():
    """Run what must be denied, within time; returns the refusal."""

    def run(what):
        began = time.monotonic()
        with pytest.raises(Refused) as denied:
            what()
        assert time.monotonic() - began < TOLD_S
        assert denied.value.hint
        return denied.value

    return run


# -- doing what a client does, with the client's error in our words


def produce(options, topic):
    ends = []
    producer = Producer({**options, "acks": "all", "linger.ms": 0})
    producer.produce(topic, b"x", partition=0, on_delivery=lambda error, _: ends.append(error))
    producer.flush(20)
    assert ends, "nothing was said"
    if ends[0] is not None:
        raise named(ends[0], f"writing to {topic}", options.get("sasl.username", ""))


def consume(options, topic, group="", wait=20.0):
    """Read the first record, by a group or without."""
    consumer = Consumer({
        **options, "group.id": group or SCAN_GROUP, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "enable.partition.eof": True,
    })  # fmt: skip
    try:
        if group:
            consumer.subscribe([topic])
        else:
            consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(wait)
        assert message is not None, "nothing was said"
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise named(error, f"reading {topic}", options.get("sasl.username", ""))
    finally:
        consumer.close()


def transact(options, transactional_id):
    producer = Producer({**options, "transactional.id": transactional_id, "linger.ms": 0})
    try:
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(EVENTS, b"x", partition=0)
        producer.commit_transaction(20)
    except KafkaException as error:
        raise named(error.args[0], f"transactions of {transactional_id}") from error


# -- who is let in


def test_users_and_certificates_that_are_known_come_in(secured, realm):
    connect(secured.scram("admin"), CLOCK)
    connect(secured.role("auditor"), CLOCK)
    connect(secured.mutual(realm.authority.client("usance-owner")), CLOCK)


def test_denial_1_a_wrong_password_is_named(secured, told):
    said = told(lambda: connect(secured.scram("usance-owner", "guess"), CLOCK))
    assert said.code == "KAFKA_LOGIN"
    assert "usance-owner" in said.message and "guess" not in str(said.__dict__)
    assert "kafka.password" in said.hint


def test_denial_2_an_unknown_user_is_named(secured, told):
    said = told(lambda: connect(secured.scram("nobody", "guess"), CLOCK))
    assert said.code == "KAFKA_LOGIN"
    assert "nobody" in said.message and "kafka.username" in said.hint


def test_denial_3_a_wrong_authority_is_named(secured, told, tmp_path):
    other = Authority(tmp_path, "another").ca_file
    said = told(lambda: connect(secured.scram("admin") | {"ssl.ca.location": str(other)}, CLOCK))
    assert said.code == "KAFKA_AUTHORITY"
    assert str(other) in said.message and "kafka.ca_file" in said.hint


def test_denial_4_a_missing_client_certificate_is_named(secured, realm, told):
    options = secured.mutual(realm.authority.client("usance-owner"))
    bare = {n: v for n, v in options.items() if "certificate" not in n and "key" not in n}
    said = told(lambda: connect(bare, CLOCK))
    assert said.code == "KAFKA_CERTIFICATE"
    # Which of the two words comes depends on the version of TLS that the handshake failed in.
    assert "missing" in said.message or "none was shown" in said.message
    assert "kafka.certificate_file" in said.hint


def test_denial_5_an_expired_certificate_is_named(secured, realm, told):
    expired = realm.authority.client("usance-owner", expired=True)
    said = told(lambda: connect(secured.mutual(expired), CLOCK))
    assert said.code == "KAFKA_CERTIFICATE"
    assert "expired" in said.message


def test_a_certificate_of_another_authority_is_named(secured, told, tmp_path):
    foreign = Authority(tmp_path, "another").client("usance-owner")
    said = told(lambda: connect(secured.mutual(foreign), CLOCK))
    assert said.code == "KAFKA_CERTIFICATE"


def test_denial_6_a_plaintext_client_is_told_that_the_listener_speaks_tls(secured, told):
    said = told(lambda: connect(secured.plain, CLOCK))
    assert said.code == "KAFKA_PROTOCOL"
    assert "speaks TLS" in said.message and "kafka.security" in said.hint


def test_a_tls_client_on_a_plaintext_listener_is_told_so(kafka, realm, told):
    options = {**realm.scram("admin"), "bootstrap.servers": kafka, "log_level": 0}
    said = told(lambda: connect(options, CLOCK))
    assert said.code == "KAFKA_PROTOCOL"
    assert "does not speak TLS" in said.message


def test_a_tls_client_without_a_user_is_told_that_one_is_asked_for(secured, told, realm):
    options = {n: v for n, v in secured.scram("admin").items() if not n.startswith("sasl")}
    said = told(lambda: connect(options | {"security.protocol": "SSL"}, CLOCK))
    assert said.code == "KAFKA_PROTOCOL"
    assert "user and password" in said.message


# -- what each may do


def test_each_role_does_what_is_its_own(secured, realm):
    owner = secured.role("owner")
    transact(owner, "usance-owner-a-0")
    consume(owner, COMMANDS, "usance-owner")
    produce(secured.role("intake"), COMMANDS)
    consume(secured.role("projector"), EVENTS)
    consume(secured.role("saga-router"), EVENTS, "usance-sagas")
    produce(secured.role("web"), COMMANDS)
    consume(secured.role("auditor"), EVENTS)
    by_certificate = secured.mutual(realm.authority.client("usance-owner"))
    transact(by_certificate, "usance-owner-b-0")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_look_whether_the_cluster_is_safe(secured, role):
    options = secured.role(role)
    ward = Ward(connect(options, CLOCK), options, TOPICS.settings(), CLOCK)
    found = {f.check: f for f in kafka_doctor.settings(ward)}
    assert [f for f in found.values() if not f.well] == []
    assert found["authorizer"].found == "StandardAuthorizer"


def test_denial_7_an_owner_with_a_foreign_transactional_id_is_named(secured, told):
    said = told(lambda: transact(secured.role("owner"), "payments-0"))
    assert said.code == "KAFKA_TRANSACTIONAL_ID_FORBIDDEN"
    assert "payments-0" in said.message and "usance kafka setup" in said.hint


def test_denial_8_an_owner_in_a_foreign_group_is_named(secured, told):
    said = told(lambda: consume(secured.role("owner"), COMMANDS, "usance-intake"))
    assert said.code == "KAFKA_GROUP_FORBIDDEN"


@pytest.mark.parametrize("role", ["projector", "auditor"])
def test_denials_9_and_10_who_only_reads_cannot_write_events(secured, told, role):
    said = told(lambda: produce(secured.role(role), EVENTS))
    assert said.code == "KAFKA_TOPIC_FORBIDDEN"
    assert EVENTS in said.message and f"usance-{role}" in said.message


def test_denial_11_a_stranger_reads_no_keys_and_does_not_even_see_them(secured, realm, told):
    stranger = secured.mutual(realm.authority.client("stranger"))
    admin = connect(stranger, CLOCK)
    assert not admin.list_topics(timeout=10).topics

    def look() -> None:
        raise named(admin.list_topics(KEYS, timeout=10).topics[KEYS].error, f"looking for {KEYS}")

    assert told(look).code == "KAFKA_TOPIC_FORBIDDEN"
    assert told(lambda: consume(stranger, KEYS, SCAN_GROUP)).code == "KAFKA_GROUP_FORBIDDEN"


@pytest.mark.parametrize("role", [role for role in ROLES if "keys" not in ACCESS[role].reads])
def test_who_opens_no_block_reads_no_keys(secured, told, role):
    said = told(lambda: consume(secured.role(role), KEYS))
    assert said.code == "KAFKA_TOPIC_FORBIDDEN"
    assert KEYS in said.message


@pytest.mark.parametrize("role", ROLES)
def test_denial_12_nobody_but_the_administrator_alters_the_events_topic(secured, told, role):
    admin = connect(secured.role(role), CLOCK)
    short = [
        t._replace(cleanup="delete", retention_ms=1) for t in TOPICS.settings() if t.name == EVENTS
    ]
    said = told(lambda: settle_topics(admin, short, replication=1, clock=CLOCK))
    assert said.code == "KAFKA_TOPIC_FORBIDDEN"
    kept = options_of(secured.admin, ConfigResource.Type.TOPIC, [EVENTS])[EVENTS]
    assert kept["retention.ms"] == "-1"


def test_a_right_beyond_the_table_is_taken_again(secured):
    extra = AclBinding(
        ConfigResource.Type.TOPIC, KEYS, ResourcePatternType.LITERAL, "User:usance-auditor", "*",
        AclOperation.READ, AclPermissionType.ALLOW,
    )  # fmt: skip
    secured.admin.create_acls([extra])[extra].result(10)
    looked = {s.name: s for s in settle_rights(secured.admin, "usance", dry_run=True)}
    assert looked["usance-auditor"].detail == "0 granted, 1 taken"
    assert looked["usance-owner"].done == "keep"
    settle_rights(secured.admin, "usance")
    assert {s.done for s in settle_rights(secured.admin, "usance")} == {"keep"}


def test_the_effective_access_lists_are_held_against_the_table(secured):
    """A right too many, one too few, and a stranger's: each has its code and the command that mends it."""
    ward = Ward(secured.admin, secured.scram("admin"), TOPICS.settings(), CLOCK)

    def found():
        return {(f.code, f.check): f for f in kafka_rights.examine(ward, "usance")}

    settle_rights(secured.admin, "usance")
    assert {code for code, _ in found()} == {"ACCESS_LIST", "RIGHTS_FOREIGN"}
    assert all(f.severity == "ok" for f in found().values())
    line, missing = bindings("usance-web", rights("web", "usance")[-1])[0]
    assert line
    stranger, auditor = (
        AclBinding(
            ConfigResource.Type.TOPIC, name, ResourcePatternType.PREFIXED, f"User:{who}", "*",
            AclOperation.WRITE, AclPermissionType.ALLOW,
        )
        for name, who in (("usance.", "stranger"), ("usance.trade.", "usance-auditor"))
    )  # fmt: skip
    secured.admin.create_acls([stranger, auditor])[stranger].result(10)
    asked = _filter(missing)
    secured.admin.delete_acls([asked])[asked].result(10)
    wrong = {key: f for key, f in found().items() if f.severity != "ok"}
    assert set(wrong) == {
        ("RIGHTS_MISSING", "rights of usance-web"),
        ("RIGHTS_EXCESS", "rights of usance-auditor"),
        ("RIGHTS_FOREIGN", "rights of others"),
    }
    theirs = wrong["RIGHTS_FOREIGN", "rights of others"].command
    assert "--allow-principal User:stranger" in theirs and "--operation Write" in theirs
    assert wrong["RIGHTS_MISSING", "rights of usance-web"].command == "usance kafka setup"
    settle_rights(secured.admin, "usance")
    gone = _filter(stranger)
    secured.admin.delete_acls([gone])[gone].result(10)
    assert all(f.severity == "ok" for f in found().values())
