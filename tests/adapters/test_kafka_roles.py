"""The table of rights: what each role may touch, and what nobody may."""

from __future__ import annotations

import pytest

from usance.adapters.kafka_roles import ACCESS, ROLES, ROUTER_GROUPS, Right, rights
from usance.adapters.kafka_setup import passwords_in
from usance.adapters.kafka_topics import fits, min_insync, wanted
from usance.bootstrap.roles import ROLES as PROCESS_ROLES
from usance.bootstrap.store import reactor_topics
from usance.engine.proof.following import NOTARY_DESK_GROUP, NOTARY_GROUP
from usance.engine.standby import PROJECTOR_GROUP, RESCREENING_GROUP
from usance.engine.topics import Topics
from usance.kernel.errors import Unreadable
from usance.kernel.ids import RandomIds


def names(role, operation, thing="topic"):
    return {
        r.name
        for r in rights(role, "usance")
        if r.thing == thing and operation in r.operations and not r.prefixed
    }


def test_every_role_of_a_process_has_rights_and_the_auditor_has_them_too():
    assert set(ROLES) == {*PROCESS_ROLES, "auditor"}
    assert ACCESS.keys() == set(ROLES)


def test_the_owner_alone_writes_what_the_log_remembers():
    for kind in (
        "events",
        "outcomes",
        "snapshots",
        "dead-letters",
        "parked",
        "attempts",
        "schemas",
    ):
        writers = {r for r in ROLES for n in names(r, "write") if n.endswith(f".{kind}")}
        assert writers == {"owner"}, kind


def test_who_only_looks_writes_nothing():
    # The projector opens blocks, and says in the topic of keys that it let go of what was destroyed.
    assert names("projector", "write") == {"usance.system.keys"}
    assert names("notary", "write") == {"usance.system.heads"}  # what it signed last, for the next
    assert names("auditor", "write") == set()
    for role in ("projector", "auditor", "notary"):
        assert not any(r.thing == "transactional-id" for r in rights(role, "usance"))


def test_the_auditor_reads_every_topic_of_the_log_but_the_keys():
    every = {t.name for t in Topics("usance", 1).settings()}
    assert names("auditor", "read") == every - {"usance.system.keys"}


def test_the_last_heads_are_the_notarys_alone_to_write():
    assert {role for role in ROLES if "usance.system.heads" in names(role, "write")} == {"notary"}


def test_only_who_seals_or_opens_blocks_touches_wrapped_keys():
    readers = {role for role in ROLES if "usance.system.keys" in names(role, "read")}
    assert readers == {"owner", "intake", "projector", "saga-router", "web"}


def test_nobody_may_alter_delete_or_read_by_prefix():
    for role in ROLES:
        for right in rights(role, "usance"):
            assert set(right.operations) <= {"read", "write", "describe", "describe-configs"}
            if right.prefixed and right.thing == "topic":
                assert set(right.operations) == {"describe", "describe-configs"}


def test_only_the_owner_has_transactions_and_only_in_its_own_name():
    held = {r: [x for x in rights(r, "usance") if x.thing == "transactional-id"] for r in ROLES}
    assert held.pop("owner") == [
        Right("transactional-id", "usance-owner-", ("write", "describe"), prefixed=True)
    ]
    assert not any(held.values())


def test_a_prefix_stands_before_every_name():
    for right in rights("owner", "usance", "bank."):
        assert right.name.startswith("bank.") or right.thing == "cluster"


def test_the_groups_of_the_table_are_those_that_processes_join():
    joined = {f"usance-{name}" for name in reactor_topics(Topics("usance", 1))}
    joined |= {PROJECTOR_GROUP, NOTARY_GROUP, NOTARY_DESK_GROUP, RESCREENING_GROUP}
    assert {
        g for role, access in ACCESS.items() if role != "owner" for g in access.groups
    } == joined
    assert names("intake", "read", "group") == {"usance-scan", "usance-intake"}
    assert names("saga-router", "read", "group") == {
        "usance-scan",
        *ROUTER_GROUPS,
        RESCREENING_GROUP,
    }
    assert names("web", "read", "group") == {"usance-scan"}


def test_events_are_wanted_for_ever_and_never_compacted_and_hints_are_compacted():
    topics = {t.name: wanted(t, 3) for t in Topics("usance", 1).settings()}
    events = topics["usance.trade.events"]
    assert (events["cleanup.policy"].value, events["retention.ms"].value) == ("delete", "-1")
    for kind in ("snapshots", "parked", "attempts"):
        assert topics[f"usance.trade.{kind}"]["cleanup.policy"].value == "compact"
    assert topics["usance.system.meta"]["cleanup.policy"].value == "compact"
    assert {t["message.timestamp.type"].value for t in topics.values()} == {"LogAppendTime"}
    assert {t["min.insync.replicas"].value for t in topics.values()} == {"2"}
    letters, commands = topics["usance.trade.dead-letters"], topics["usance.trade.commands"]
    assert int(letters["max.message.bytes"].value) > int(commands["max.message.bytes"].value)


def test_one_copy_is_flushed_and_two_are_both_waited_for():
    topic = Topics("usance", 1).settings()[0]
    assert wanted(topic, 1)["flush.messages"].value == "1"
    assert "flush.messages" not in wanted(topic, 3)
    assert [min_insync(n) for n in (1, 2, 3, 5)] == [1, 2, 2, 4]


@pytest.mark.parametrize(
    ("name", "found", "well"),
    [
        ("max.message.bytes", "2000", True), ("max.message.bytes", "999", False),
        ("min.insync.replicas", "1000", True), ("retention.ms", "1001", False),
    ],
)  # fmt: skip
def test_more_room_and_more_copies_do_no_harm(name, found, well):
    assert fits(name, found, "1000") is well


def test_passwords_are_made_once_kept_private_and_read_again(tmp_path):
    file = tmp_path / "roles.toml"
    assert not passwords_in(file, RandomIds(), dry_run=True).keys() ^ set(ROLES)
    assert not file.exists()
    made = passwords_in(file, RandomIds())
    assert file.stat().st_mode & 0o777 == 0o600
    assert passwords_in(file, RandomIds()) == made
    assert len(set(made.values())) == len(ROLES)
    assert min(map(len, made.values())) >= 32


@pytest.mark.parametrize("text", ["owner = 5", 'ghost = "x"', "owner", 'owner = ""'])
def test_a_file_that_is_no_list_of_passwords_is_refused(tmp_path, text):
    file = tmp_path / "roles.toml"
    file.write_text(text)
    with pytest.raises(Unreadable) as refused:
        passwords_in(file, RandomIds())
    assert "owner" in refused.value.hint
