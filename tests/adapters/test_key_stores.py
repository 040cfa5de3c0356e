"""Where wrapped keys are kept: each store signs its records, and gives out none that it did not write so."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from usance.adapters.log_keys import LogKeys
from usance.adapters.sqlite_keys import SqliteKeys
from usance.adapters.sqlite_log import SqliteLog
from usance.crypto.keyservice import KeyState
from usance.crypto.keystore import Hold, KeyRecord, KeyStore, MemoryKeys, RecordMac
from usance.engine.topics import Topics
from usance.kernel.errors import Refused, Tampered, Unavailable
from usance.log.contract import Output

MAC = RecordMac(b"the key of one log")
TENANT, SUBJECT = "albion", "5ubject"
PLACE = Topics("usance", 1).at("system", "keys", 0)
Open = Callable[[], Any]


def record(number: int, **more: Any) -> KeyRecord:
    found: dict[str, Any] = {
        "key_id": number.to_bytes(16, "big"), "tenant": TENANT, "subject": SUBJECT,
        "retention": "relationship", "version": number, "state": KeyState.ACTIVE, "kek": 1,
        "blob": b"wrapped %d" % number, "check": b"checked!", "created": 7,
    }  # fmt: skip
    return KeyRecord(**found | more)


def order(number: int) -> Hold:
    return Hold(
        tenant=TENANT, subject=SUBJECT, reason="order", by="mlro", since=number, id=f"H{number}"
    )


def log_of(tmp_path: Path) -> SqliteLog:
    log = SqliteLog.open(tmp_path / "log.sqlite")
    for topic in Topics("usance", 1).settings():
        if topic.kind == "keys":
            log.create_topic(topic)
    return log


@pytest.fixture(params=["memory", "file", "log"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    log = None
    if request.param == "memory":
        made: Any = MemoryKeys()
    elif request.param == "file":
        made = SqliteKeys(tmp_path / "keys.sqlite")
    else:
        log = log_of(tmp_path)
        made = LogKeys(log, PLACE)
    made.bind(MAC)
    yield made
    made.close()
    if log is not None:
        log.close()


def test_what_was_written_is_given_out_and_everything_about_it_may_change(store: KeyStore) -> None:
    store.put([record(1), record(2)])
    first = record(1).key_id
    assert [r.version for r in store.of_subject(TENANT, SUBJECT)] == [1, 2]
    store.turn([first], KeyState.SUSPENDED)
    store.turn([first], KeyState.ACTIVE)
    assert store.rewrap([record(1, blob=b"anew", kek=2)]) == 1
    found = store.by_id([first])[first]
    assert (found.state, found.kek, found.blob) == (KeyState.ACTIVE, 2, b"anew")
    before = store.generation()
    gone = store.destroy(TENANT, SUBJECT, 9, "certificate")
    assert len(gone) == 2 and store.generation() > before
    assert [(r.dead, r.blob) for r in store.records()] == [(True, b"")] * 2
    assert store.rewrap([record(1, blob=b"back", kek=3)]) == 0
    assert store.by_id([first])[first].dead


def test_a_hold_stands_in_the_store_itself(store: KeyStore) -> None:
    store.put([record(1)])
    for number in (1, 2):
        store.hold(order(number))
    for number in (1, 2):
        assert [h.id for h in store.holds(TENANT, SUBJECT)] == ["H1", "H2"][number - 1 :]
        with pytest.raises(Refused, match="legal hold H" + str(number)):
            store.destroy(TENANT, SUBJECT, 9, "certificate")
        store.release(TENANT, SUBJECT, f"H{number}")
    with pytest.raises(Refused, match="must be kept"):
        store.destroy(TENANT, SUBJECT, 9, "certificate", ["credit LC1 is issued"])
    assert not store.by_id([record(1).key_id])[record(1).key_id].dead


@pytest.mark.parametrize(
    "altered",
    [{"id": "H2"}, {"by": "x"}, {"since": 2}, {"reason": "r"}, {"subject": "s"}, {"tenant": "t"}],
    ids=str,
)
def test_no_part_of_a_hold_can_be_altered(altered: dict[str, Any]) -> None:
    signed = MAC.signed_hold(order(1))
    assert MAC.demand_hold(signed) is signed
    for wrong in (replace(signed, **altered), order(1), replace(signed, mac=bytes(16))):
        with pytest.raises(Tampered, match="legal hold"):
            MAC.demand_hold(wrong)


def test_a_hold_that_somebody_rewrote_stops_the_destruction(tmp_path: Path) -> None:
    store = SqliteKeys(tmp_path / "keys.sqlite")
    store.bind(MAC)
    store.put([record(1)])
    store.hold(order(1))
    with sqlite3.connect(tmp_path / "keys.sqlite") as thief:
        thief.execute("UPDATE holds SET id = 'H9'")
    thief.close()
    with pytest.raises(Tampered, match="legal hold"):
        store.destroy(TENANT, SUBJECT, 9, "certificate")
    store.close()


def test_a_hold_in_the_topic_is_signed_and_its_own(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    one, other = LogKeys(log, PLACE), LogKeys(log, PLACE)
    for store in (one, other):
        store.bind(MAC)
    one.hold(order(1))
    other.hold(order(2))  # by another process at the same time: none of the two is lost
    assert [h.id for h in one.holds(TENANT, SUBJECT)] == ["H1", "H2"]
    forged = msgspec.msgpack.encode(replace(order(1), by="nobody"))
    name = f"order/{TENANT}/{SUBJECT}/H1".encode()
    log.append([Output(*PLACE, name, forged)])
    with pytest.raises(Tampered, match="not as this log wrote it"):
        one.holds(TENANT, SUBJECT)
    log.append([Output(*PLACE, name, msgspec.msgpack.encode(MAC.signed_hold(order(2))))])
    with pytest.raises(Tampered, match="another hold's"):
        one.holds(TENANT, SUBJECT)
    log.close()


def test_holds_of_an_earlier_version_are_believed_once_they_are_signed(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    old = [Hold(tenant=TENANT, subject=SUBJECT, reason="order", by="mlro", since=1)]
    raw = msgspec.msgpack.encode(old)
    log.append([Output(*PLACE, f"hold/{TENANT}/{SUBJECT}".encode(), raw)])
    in_topic = LogKeys(log, PLACE)
    in_file = SqliteKeys(tmp_path / "keys.sqlite")
    in_file.hold(old[0])
    in_memory = MemoryKeys()
    in_memory.hold(old[0])
    for store in (in_topic, in_file, in_memory):
        store.bind(MAC)
        with pytest.raises(Tampered, match="legal hold"):
            store.destroy(TENANT, SUBJECT, 9, "certificate")
        assert len(store.unsigned_holds()) == 1
        store.sign_holds([replace(old[0], id="H0")])
        assert [h.id for h in store.holds(TENANT, SUBJECT)] == ["H0"]
        assert not store.unsigned_holds()
    log.close()
    in_file.close()


ALTERED: list[dict[str, Any]] = [
    {"state": KeyState.SUSPENDED}, {"kek": 2}, {"blob": b"wrapped 2"}, {"check": b"another!"},
    {"created": 8}, {"destroyed": 1}, {"certificate": "c"}, {"version": 9}, {"subject": "other"},
    {"tenant": "other"}, {"retention": "screening"}, {"mac": b""}, {"mac": bytes(16)},
]  # fmt: skip


@pytest.mark.parametrize("altered", ALTERED, ids=str)
def test_no_part_of_a_record_can_be_altered(altered: dict[str, Any]) -> None:
    signed = MAC.signed(record(1))
    assert MAC.demand(signed) is signed
    with pytest.raises(Tampered, match="not as this log wrote it"):
        MAC.demand(replace(signed, **altered))
    with pytest.raises(Tampered):
        RecordMac(b"the key of another log").demand(signed)


def every_way_to_ask(store: KeyStore, key_id: bytes) -> list[Callable[[], Any]]:
    return [
        lambda: store.by_id([key_id]),
        lambda: store.of_subject(TENANT, SUBJECT),
        lambda: store.of_subjects(TENANT, [SUBJECT]),
        lambda: list(store.records()),
        lambda: store.rewrap([record(1, kek=2)]),
        lambda: store.turn([key_id], KeyState.ACTIVE),
        lambda: store.destroy(TENANT, SUBJECT, 9, "certificate"),
    ]


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE keys SET state = 'active' WHERE version = 1",
        "UPDATE keys SET blob = (SELECT blob FROM keys WHERE version = 2) WHERE version = 1",
        "UPDATE keys SET mac = (SELECT mac FROM keys WHERE version = 2) WHERE version = 1",
    ],
)
def test_a_row_that_was_flipped_or_exchanged_is_tampering(tmp_path: Path, attack: str) -> None:
    store = SqliteKeys(tmp_path / "keys.sqlite")
    store.bind(MAC)
    store.put([record(1), record(2)])
    store.turn([record(1).key_id], KeyState.SUSPENDED)
    with sqlite3.connect(tmp_path / "keys.sqlite") as thief:
        thief.execute(attack)
    thief.close()
    for ask in every_way_to_ask(store, record(1).key_id):
        with pytest.raises(Tampered):
            ask()
    assert store.by_id([record(2).key_id])  # the others are as they were
    store.close()


def test_a_record_in_the_topic_that_was_flipped_is_tampering(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    store = LogKeys(log, PLACE)
    store.bind(MAC)
    store.put([record(1), record(2)])
    signed = store.by_id([record(1).key_id])[record(1).key_id]
    flipped = replace(signed, state=KeyState.COMPROMISED)
    log.append([Output(*PLACE, flipped.key_id, msgspec.msgpack.encode(flipped))])
    for ask in every_way_to_ask(store, flipped.key_id):
        with pytest.raises(Tampered):
            ask()
    log.append([Output(*PLACE, record(2).key_id, msgspec.msgpack.encode(signed))])
    with pytest.raises(Tampered, match="is another key's"):
        store.generation()
    log.close()


def test_a_rewrap_that_came_too_late_brings_no_key_back(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    slow, erasing = LogKeys(log, PLACE), LogKeys(log, PLACE)
    for store in (slow, erasing):
        store.bind(MAC)
    slow.put([record(1)])
    living = MAC.signed(slow.by_id([record(1).key_id])[record(1).key_id])
    erasing.destroy(TENANT, SUBJECT, 9, "certificate")
    log.append([Output(*PLACE, living.key_id, msgspec.msgpack.encode(living))])  # read before
    assert erasing.by_id([living.key_id])[living.key_id].dead
    # Compaction keeps the last record of a key alone: it is the end of the key again.
    last = [r.value for r in log.scan(PLACE, 0) if r.key == living.key_id][-1]
    assert last is not None and msgspec.msgpack.decode(last, type=KeyRecord).dead
    fresh = LogKeys(log, PLACE)
    fresh.bind(MAC)
    assert fresh.by_id([living.key_id])[living.key_id].dead
    log.close()


def test_a_process_that_came_later_says_that_it_let_go_in_the_same_words(tmp_path: Path) -> None:
    """A count of changes would differ between one who saw them happen and one who saw what was left."""
    log = log_of(tmp_path)
    early = LogKeys(log, PLACE)
    early.bind(MAC)
    early.put([record(1)])
    early.turn([record(1).key_id], KeyState.SUSPENDED)
    early.destroy(TENANT, SUBJECT, 9, "certificate")
    wanted = early.generation()
    log.compact(PLACE)
    late = LogKeys(log, PLACE)
    late.bind(MAC)
    late.acknowledge("late:1", late.generation(), 10)
    assert [generation >= wanted for _, generation, _ in early.acks()] == [True]
    log.close()


def test_a_file_of_the_first_format_is_opened_and_its_records_are_not_believed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys.sqlite"
    store = SqliteKeys(path)
    store.put([record(1)])
    store.close()
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE keys DROP COLUMN mac")
        old.execute("ALTER TABLE holds DROP COLUMN mac")
        old.execute("ALTER TABLE holds DROP COLUMN id")
        old.execute("PRAGMA user_version=1")
    old.close()
    store = SqliteKeys(path)
    assert store.by_id([record(1).key_id])
    store.bind(MAC)
    with pytest.raises(Tampered) as refused:
        store.by_id([record(1).key_id])
    assert "usance key adopt" in refused.value.hint
    store.close()


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        SqliteKeys(tmp_path / "nowhere" / "keys.sqlite")
