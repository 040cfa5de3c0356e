"""Keys turned by people: two others where it gives power or ends a key, each step an event, shown with the key."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from test_erasing import COMPLIANCE, CREDIT, MAKER, OFFICER, SENIOR, World, compiled, erased

from usance.adapters.sqlite_keys import SqliteKeys
from usance.bootstrap.secrecy import erasing, turning
from usance.cli.main import usance
from usance.crypto.keyservice import KeyState, Wrapped
from usance.crypto.vault import Vault, record_mac
from usance.engine.proof.key_audit import KeyAudit
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused

ENGINEER = Actor("henrik.solberg", "henrik.solberg", "engineer")
assert compiled is not None  # the lists, compiled once for the worlds of a run


@pytest.fixture
def world(tmp_path: Path, compiled: Path) -> Iterator[World]:
    made = World(tmp_path / "data", io.StringIO(), compiled)
    try:
        made.play()
        if not compiled.exists():
            shutil.copytree(tmp_path / "data" / "cache", compiled)
        yield made
    finally:
        made.close()


def vault_of(world: World) -> Vault:
    return erasing.demand_vault(world.store)


def a_key(world: World) -> str:
    vault = vault_of(world)
    mine = vault.pseudonym("albion", "cust-1")
    return next(
        r.key_id.hex()
        for r in vault.store.of_subject("albion", mine)
        if r.retention == "relationship"
    )


def code(outcome: Any) -> str:
    return outcome.code or outcome.answer


def state_of(world: World, key: str) -> KeyState:
    return turning.find(world.store, key).state


def test_power_goes_at_once_and_comes_back_by_two_others(world: World) -> None:
    desk, key = world.desk, a_key(world)
    assert code(turning.turn(desk, key, "suspended", " ", COMPLIANCE)) == "REASON_REQUIRED"
    assert code(turning.turn(desk, key, "suspended", "why", MAKER)) == "ROLE_NEEDED"
    assert code(turning.turn(desk, key, "destroyed", "why", OFFICER)) == "DESTROYED_WITH_SUBJECT"
    assert code(turning.turn(desk, key, "pre-activation", "why", OFFICER)) == "KEY_TRANSITION"
    assert code(turning.turn(desk, key, "sleeping", "why", OFFICER)) == "UNKNOWN_STATE"
    assert code(turning.turn(desk, key, "suspended", "a laptop is lost", COMPLIANCE)) == "accepted"
    assert turning.execute(desk, key)
    assert state_of(world, key) is KeyState.SUSPENDED
    assert bytes.fromhex(key) not in vault_of(world).open_keys  # every process asks anew
    # Waking it is giving it power.
    assert code(turning.turn(desk, key, "active", "it was found", COMPLIANCE)) == "accepted"
    assert not turning.execute(desk, key)
    with pytest.raises(Refused, match="becomes active"):
        turning.turn(desk, key, "deactivated", "why", OFFICER)
    assert code(turning.turn(desk, key, "active", "", COMPLIANCE)) == "SELF_APPROVAL"
    assert code(turning.turn(desk, key, "active", "", OFFICER)) == "accepted"
    assert not turning.execute(desk, key)
    assert code(turning.turn(desk, key, "active", "", OFFICER)) == "SELF_APPROVAL"
    assert state_of(world, key) is KeyState.SUSPENDED
    assert code(turning.turn(desk, key, "active", "", SENIOR)) == "accepted"
    assert turning.execute(desk, key) and not turning.execute(desk, key)
    assert state_of(world, key) is KeyState.ACTIVE
    told = [t["event"] for t in turning.story(world.store, turning.find(world.store, key).stream)]
    asked, agreed, done = "KeyTurnRequested", "KeyTurnApproved", "KeyTurned"
    assert told == [asked, done, asked, agreed, agreed, done]


def test_what_takes_power_waits_for_nothing_that_was_asked_before(world: World) -> None:
    desk, key = world.desk, a_key(world)
    assert code(turning.turn(desk, key, "deactivated", "it is old", ENGINEER)) == "accepted"
    assert not turning.execute(desk, key)
    assert code(turning.turn(desk, key, "compromised", "a disk is gone", COMPLIANCE)) == "accepted"
    assert turning.execute(desk, key)
    assert state_of(world, key) is KeyState.COMPROMISED
    assert code(turning.turn(desk, key, "deactivated", "as asked", OFFICER)) == "KEY_TRANSITION"


def test_another_state_than_the_approved_one_is_never_brought_about_by_asking(
    world: World,
) -> None:
    desk, key = world.desk, a_key(world)
    for person in (ENGINEER, OFFICER, SENIOR):
        assert code(turning.turn(desk, key, "deactivated", "it is old", person)) == "accepted"
    with pytest.raises(Refused, match="becomes deactivated"):
        turning.turn(desk, key, "active", "why", COMPLIANCE)


def test_a_deactivated_key_opens_on_and_seals_nothing_more(world: World) -> None:
    desk, key = world.desk, a_key(world)
    turning.turn(desk, key, "deactivated", "the period is over", ENGINEER)
    turning.turn(desk, key, "deactivated", "", OFFICER)
    turning.turn(desk, key, "deactivated", "", SENIOR)
    assert turning.execute(desk, key)
    vault = vault_of(world)
    event = world.store.history.stream(CREDIT)[0].message
    assert event.parties.applicant.name == world.canaries["name"]
    fresh = vault.seals("albion", "cust-1", "relationship")
    assert fresh.key_id.hex() != key


def test_an_older_record_put_back_is_found_by_what_the_log_says(world: World) -> None:
    """Its MAC is right: the log wrote it, some time ago."""
    desk, key = world.desk, a_key(world)
    keys = world.root / "keys.sqlite"
    assert erasing.hold(desk, "cust-1", "court order", OFFICER).answer == "accepted"

    def row() -> Any:
        with sqlite3.connect(keys) as thief:
            where = "SELECT state, mac FROM keys WHERE key_id = ?"
            return thief.execute(where, (bytes.fromhex(key),)).fetchone()

    def audit() -> list[str]:
        store = world.store
        found = KeyAudit(store.log, store.topics, store.closed, vault_of(world).store)
        found.verify()
        return [f.code for f in found.findings]

    before = row()
    turning.turn(desk, key, "compromised", "a laptop is lost", COMPLIANCE)
    assert turning.execute(desk, key)
    assert audit() == []
    with sqlite3.connect(keys) as thief:
        change = "UPDATE keys SET state = ?, mac = ? WHERE key_id = ?"
        thief.execute(change, (*before, bytes.fromhex(key)))
    assert audit() == ["KEY_STATE"]
    with sqlite3.connect(keys) as thief:
        thief.execute("UPDATE keys SET state = 'suspended' WHERE key_id = ?", (bytes.fromhex(key),))
    assert audit() == ["KEY_RECORD"]


def test_a_hold_taken_from_the_store_alone_is_told_and_adopted_again(world: World) -> None:
    """Whoever writes the store takes a row with its MAC: the log says that the hold stands."""
    assert erasing.hold(world.desk, "cust-1", "court order", OFFICER).answer == "accepted"
    with sqlite3.connect(world.root / "keys.sqlite") as thief:
        thief.execute("DELETE FROM holds")
    thief.close()
    store = world.store

    def audit() -> list[str]:
        found = KeyAudit(store.log, store.topics, store.closed, vault_of(world).store)
        found.verify()
        return [f"{f.code}: {f.reason}" for f in found.findings]

    (told,) = audit()
    assert told.startswith("KEY_RECORD: legal hold H1") and "gone from the key store" in told
    with pytest.raises(Refused, match="AdoptKeys is for"):
        turning.adopt(store, "put back", SENIOR)
    with pytest.raises(Refused, match="a card number"):
        turning.adopt(store, "card 4012 8888 8888 1881", OFFICER)
    assert [h.id for h in turning.adopt(store, "put back", OFFICER).holds] == ["H1"]
    assert audit() == []


def test_a_backup_of_the_key_store_put_back_is_told_by_the_certificate(world: World) -> None:
    """Trap 11: within the horizon a backup brings keys back; the log says that they were destroyed."""
    keys, backup = world.root / "keys.sqlite", world.root / "backup.sqlite"
    with sqlite3.connect(keys) as now, sqlite3.connect(backup) as then:
        now.backup(then)
    made = erased(world)
    assert made.horizon > "2026"
    store = SqliteKeys(backup)
    store.bind(record_mac(vault_of(world)._secret))
    log = world.store
    found = KeyAudit(log.log, log.topics, log.closed, store)
    found.verify()
    assert [f.code for f in found.findings] == ["KEY_STATE"]
    assert "destroyed" in found.findings[0].reason
    store.close()
    now_kept = KeyAudit(log.log, log.topics, log.closed, vault_of(world).store)
    now_kept.verify()
    assert now_kept.findings == []


def test_an_old_version_of_the_kek_goes_by_two_others(world: World) -> None:
    desk, vault = world.desk, vault_of(world)
    with pytest.raises(NotFound):
        turning.find(world.store, "7")
    with pytest.raises(Refused, match="living keys"):
        turning.turn(desk, "1", "destroyed", "why", COMPLIANCE)
    vault.service.rotate("albion")
    records = list(vault.store.records())
    moved = vault.service.rewrap([r.wrapped for r in records])
    done = [
        replace(r, blob=answer.blob, kek=answer.kek.version)
        for r, answer in zip(records, moved, strict=True)
        if isinstance(answer, Wrapped)
    ]
    assert vault.store.rewrap(done) == len(records)
    assert (
        code(turning.turn(desk, "1", "destroyed", "the horizon is over", COMPLIANCE)) == "accepted"
    )
    assert not turning.execute(desk, "1")
    for person in (OFFICER, SENIOR):
        assert code(turning.turn(desk, "1", "destroyed", "", person)) == "accepted"
    assert turning.execute(desk, "1")
    assert turning.find(world.store, "1").state is KeyState.DESTROYED
    assert world.store.history.stream(CREDIT)


def test_the_commands_do_it_and_a_store_of_an_earlier_version_is_adopted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, root = a_key(world), world.root
    erasing.hold(world.desk, "cust-1", "court order", OFFICER)
    world.close()

    def run(*words: str, person: str = "") -> Result:
        who = ["--as", person] if person else []
        return CliRunner().invoke(usance, ["--data", str(root), "--output", "json", *who, *words])

    def read(*words: str, person: str = "") -> Any:
        done = run(*words, person=person)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    reason = ("--reason", "a laptop is lost")
    assert run("key", "turn", key, "active", *reason, person="elif.demir").exit_code == 1
    done = read("key", "turn", key, "suspended", *reason, person="elif.demir")
    assert done == {"key": key, "state": "suspended"}
    assert read("key", "turn", key, "active", *reason, person="elif.demir") is None
    assert read("key", "turn", key, "active", person="farid.haddad") is None
    assert read("key", "turn", key, "active", person="dev.raghavan")["state"] == "active"
    shown = read("key", "show", key)
    assert shown["opens"] is True and len(shown["history"]) == 6
    assert "farid.haddad agrees (1)" in [h["what"] for h in shown["history"]]
    assert read("key", "show", "1")["state"] == "active"
    # A store without MACs, as an earlier version wrote it.
    with sqlite3.connect(root / "keys.sqlite") as old:
        old.execute("UPDATE keys SET mac = x''")
        old.execute("UPDATE holds SET mac = x'', id = ''")
    assert run("key", "list").exit_code == 5
    nobody, maker = run("key", "adopt"), run("key", "adopt", person="amara.okafor")
    assert nobody.exit_code == maker.exit_code == 1
    assert "Nobody is named" in nobody.stderr and "AdoptKeys is for" in maker.stderr
    engineer = "henrik.solberg"
    count = int(read("key", "adopt", "--dry-run", person=engineer)["would sign keys"])
    assert count > 2 and run("key", "list").exit_code == 5
    assert "needs a reason" in run("key", "adopt", person=engineer).stderr
    assert run("key", "list").exit_code == 5, "nothing was signed"
    done = read("key", "adopt", "--reason", "upgrade", person=engineer)
    assert (int(done["signed keys"]), done["signed holds"]) == (count, "1")
    assert len(read("key", "list")) > count, "the record of the adoption is sealed"
    (event,) = read("event", "list", "--stream", "albion/keystate/adoption", person="elif.demir")[
        "rows"
    ]
    assert event["type"] == "KeysAdopted" and engineer in event["actor"]
    # One whose key the log did not announce is not believed.
    with sqlite3.connect(root / "keys.sqlite") as old:
        old.execute("UPDATE keys SET mac = x'', check_value = x'0011223344556677'")
    refused = run("key", "adopt", "--reason", "upgrade", person=engineer)
    assert refused.exit_code == 5 and "not as the log says" in refused.stderr
    monkeypatch.setattr(world, "close", lambda: None)
