"""Attacks on what stands beside the trees: keys, views, snapshots, settings, extracts, persons."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from usance.adapters.sqlite_keys import SqliteKeys
from usance.audit.exported import demand_whole
from usance.audit.report import Finding
from usance.bootstrap.runtime import Runtime
from usance.crypto.keystore import Hold
from usance.crypto.sealing import OVERHEAD, SealingKey
from usance.domain.credit import messages as cm
from usance.domain.facility_messages import SetFacility
from usance.engine.owner.snapshots import Taken, make_round, slice_of
from usance.engine.owner.state import Entry, Tail
from usance.engine.proof.audit_cross import complete
from usance.engine.proof.key_audit import BLOCK, KeyAudit
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor, key_of, key_parts
from usance.kernel.errors import Refused
from usance.kernel.ids import derived
from usance.log.contract import Record, TopicPartition
from usance.messages.headers import pack_headers
from usance.messages.outcome import Outcome
from usance.testing import trade
from usance.testing.attack_scene import CREDIT_OFFICER, MAKER, Row, Scene, Victim
from usance.testing.attack_table import attack, caught


@attack(19, "deletes a data key outside the procedure", "KEY_MISSING")
def delete_a_key(scene: Scene) -> list[Finding]:
    """The log says that the key seals; the key store does not have it, and no certificate says why."""
    victim = scene.sealed()
    with _keys(victim) as database:
        database.execute("DELETE FROM keys WHERE key_id = ?", (_key_in_use(victim),))
    return [f for f in victim.audit(full=True).findings if f.code.startswith("KEY")]


@attack(20, "shreds a subject's keys under a legal hold", "SHRED_UNDER_HOLD")
def shred_under_hold(scene: Scene) -> list[Finding]:
    """The key store looks at holds itself, whoever asks; the key is still there."""
    victim = scene.sealed()
    store = SqliteKeys(victim.root / "keys.sqlite")
    try:
        (record,) = store.by_id([_key_in_use(victim)]).values()
        hold = Hold(
            tenant=record.tenant,
            subject=record.subject,
            reason="case 7",
            by="mlro",
            since=1,
            id="H1",
        )
        store.hold(hold)
        try:
            store.destroy(record.tenant, record.subject, 2, "forged-certificate")
        except Refused as held:
            assert held.code == "LEGAL_HOLD"
            assert not store.by_id([record.key_id])[record.key_id].dead
            where = f"keys:{record.key_id.hex()}"
            return [Finding(code="SHRED_UNDER_HOLD", where=where, reason=held.message)]
    finally:
        store.close()
    return []


@attack(21, "puts another key in a key's place, for a second story", "KEY_COMMITMENT")
def swap_a_key(scene: Scene) -> list[Finding]:
    """A block sealed anew under the forger's key: all trees fit, the commitment is another one."""
    victim = scene.sealed()
    place, index, block = _sealed_block(victim)
    forged = SealingKey(block[2:18], bytes(range(32))).seal(bytes(len(block) - OVERHEAD), b"")
    victim.rewrite(place, index, victim.key, lambda value: value.replace(block, forged))
    return [f for f in victim.audit(full=True).findings if f.code.startswith("KEY")]


@attack(22, "copies the private block of one event into another", "AAD_MISMATCH")
def move_a_block(scene: Scene) -> list[Finding]:
    """A block is bound to its event's place and id: with all trees rewritten, it does not open."""
    victim = scene.sealed()
    place, index, block = _sealed_block(victim)
    other = next(b for p, _, b in _sealed_blocks(victim) if b != block and len(b) == len(block))
    victim.rewrite(place, index, victim.key, lambda value: value.replace(block, other))
    # Whoever wrote the history anew with the key is found by witnesses too; this is about the block.
    return [f for f in victim.audit(full=True).findings if f.code == "AAD_MISMATCH"]


@contextmanager
def _keys(victim: Victim) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(victim.root / "keys.sqlite")
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _key_in_use(victim: Victim) -> bytes:
    _, _, block = _sealed_block(victim)
    return block[2:18]


def _sealed_block(victim: Victim) -> tuple[TopicPartition, int, bytes]:
    return next(_sealed_blocks(victim))


def _sealed_blocks(victim: Victim) -> Iterator[tuple[TopicPartition, int, bytes]]:
    """Yield the sealed blocks of the log's events: partition, index, bytes."""
    with victim.evidence() as found:
        store = found.store
        audit = KeyAudit(store.log, store.topics, store.closed, None)
        audit.verify()
        indices: dict[TopicPartition, int] = {}
        for place, record in audit.records():
            index = indices.get(place, -1) + 1
            indices[place] = index
            value = record.value or b""
            for match in BLOCK.finditer(value):
                if match[1] in audit.created:
                    size, width = read_length_before(value, match.start())
                    if width:
                        yield place, index, value[match.start() : match.start() + size]


def read_length_before(value: bytes, at: int) -> tuple[int, int]:
    """Return the length that the zigzag number in front of a block states, and its width in bytes."""
    for width in (2, 1, 3):
        number = shift = 0
        part = value[at - width : at]
        if any(byte < 128 for byte in part[:-1]) or part[-1] > 127:
            continue
        for byte in part:
            number |= (byte & 127) << shift
            shift += 7
        size = number >> 1
        if OVERHEAD < size <= len(value) - at:
            return size, width
    return 0, 0


@attack(24, "edits a row of a read model", "VIEW_DRIFT")
def edit_a_view(scene: Scene) -> list[Finding]:
    """The row is not what the log's events make."""
    victim = scene.victim()
    database = sqlite3.connect(victim.folder.views)
    with database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%facilit%'"
        ).fetchall()
        for (name,) in names:
            columns = [row[1] for row in database.execute(f'PRAGMA table_info("{name}")')]
            if "limit" in columns:
                database.execute(f'UPDATE "{name}" SET "limit" = "limit" + 1')
    database.close()
    return victim.audit(full=True).findings


@attack(25, "edits a snapshot, so that the fold begins with a lie", "SNAPSHOT_MISMATCH")
def edit_a_snapshot(scene: Scene) -> list[Finding]:
    """A round that a start would trust does not hold what the events fold to."""
    victim = scene.victim()
    with victim.evidence() as found:
        store = found.store
        place = store.topics.at("trade", "snapshots", scene.place.partition)
        records = list(store.log.scan(scene.place, 0))
        key, taken = _lie(records, store)
        tail = Tail(len(records), found.last()[found.origins.of(scene.place)].tail)
        end, ts = store.log.end(place), records[-1].timestamp
        number = 1_000_000
        lies = make_round(number, True, (records[-1].offset + 1, tail), 1, [taken])
    rows = [Row(end + n, ts, k, pack_headers(()), v) for n, (k, v) in enumerate(lies)]
    victim.write(place, rows)
    with victim.database() as database:
        sql = "UPDATE place SET next = ? WHERE topic = ? AND partition = ?"
        database.execute(sql, (end + len(rows), *place))
    assert key
    return victim.audit(full=True).findings


def _lie(records: list[Record], store: Any) -> tuple[str, Taken]:
    """Return a snapshot of the last facility's state with another limit."""
    key = next(k for r in reversed(records) if "/facility/" in (k := (r.key or b"").decode()))
    decider = store.deciders[key_parts(key).category]
    state, revision = decider.initial(key), 0
    for record in records:
        if (record.key or b"").decode() == key:
            state = decider.evolve(state, store.decoder.message(record.headers, record.value))
            revision += 1
    state.limit += 1
    (taken,) = slice_of([key], {key: Entry(state, revision)}, store.deciders)
    return key, taken


@attack(27, "turns witnessing off without telling", "CONFIG_UNSEALED")
def change_the_settings(scene: Scene) -> list[Finding]:
    """The notary seals the settings that it starts under; these are others."""
    victim = scene.victim()
    quiet = replace(victim.settings.proof, enabled=False, own_witness=False)
    victim.settings = replace(victim.settings, proof=quiet)
    return victim.audit().findings


@attack(31, "edits an exported folder", "PACK_ALTERED")
def edit_an_export(scene: Scene) -> list[Finding]:
    """Every file of it follows from the signed head; what does not belong to it is named."""
    victim = scene.victim()
    target = victim.root / "export"
    with victim.evidence() as found:
        found.export(scene.place, target)
        key = found.policy.log(found.origins.of(scene.place))

    def names() -> Iterator[str]:
        for path in target.rglob("*"):
            if path.is_file():
                yield path.relative_to(target).as_posix()

    def check() -> None:
        demand_whole(lambda name: (target / name).read_bytes(), names(), key)

    check()
    bundle = next(p for p in (target / "tile" / "entries").rglob("*") if p.is_file())
    data = bytearray(bundle.read_bytes())
    data[40] ^= 1
    bundle.write_bytes(bytes(data))
    return caught(check)


@attack(32, "leaves one event out of an extract of a whole stream", "INCOMPLETE")
def leave_one_out(scene: Scene) -> list[Finding]:
    """Revisions of a stream are dense, and a sealed outcome states the last."""
    victim = scene.victim()
    with victim.evidence() as found:
        store, streams = found.store, dict[str, list[Record]]()
        for record in store.log.scan(scene.place, 0):
            streams.setdefault((record.key or b"").decode(), []).append(record)
        key, events = max(streams.items(), key=lambda item: len(item[1]))
        promised = _promised(store, scene, key)
        assert complete(events, promised, store.decoder) is None
        cut = complete(events[:-1], promised, store.decoder)
        gap = complete([*events[:1], *events[2:]], promised, store.decoder)
    assert cut is not None and gap is not None
    return [Finding.of(gap), Finding.of(cut)]


def _promised(store: Any, scene: Scene, key: str) -> int:
    """Return the last revision that a stream's outcomes state."""
    outcomes = store.topics.at("trade", "outcomes", scene.place.partition)
    last = 0
    events = {
        store.decoder.meta(r.headers).command_id
        for r in store.log.scan(scene.place, 0)
        if (r.key or b"").decode() == key
    }
    for record in store.log.scan(outcomes, 0):
        said = store.decoder.message(record.headers, record.value)
        if isinstance(said, Outcome) and said.command_id in events:
            last = max(last, said.revision)
    return last


# -- persons


SAME_PERSON = Actor("attack-maker", "second.login", "senior_checker")


@attack(35, "approves his own item with a second account", "SAME_PERSON")
def approve_ones_own(scene: Scene) -> list[Finding]:
    """Persons are compared, not logins; the denial is an outcome, and sealed."""
    victim = scene.victim()
    with _asking(victim) as (runtime, ask):
        credit = key_of(victim.settings.bank.tenant, "credit", "ATTACK1")
        facility = key_of(victim.settings.bank.tenant, "facility", "ATTACKF")
        limit = SetFacility(
            facility="ATTACKF",
            customer="party-1",
            currency="USD",
            limit=10_000_000_00,
            expiry="2039-12-31",
        )
        assert ask(facility, limit, CREDIT_OFFICER).answer == "accepted"
        applied = cm.ApplyForCredit(
            credit="ATTACK1",
            application="A1",
            terms=trade.terms(),
            parties=trade.parties(),
            facility="ATTACKF",
        )
        assert ask(credit, applied, MAKER).answer == "accepted"
        runtime.drive()
        asked = next(
            p.message
            for p in runtime.store.history.stream(credit)
            if isinstance(p.message, cm.ApprovalRequested)
        )
        approval = cm.ApproveCredit(revision=asked.revision, content_hash=asked.content_hash)
        denied = ask(credit, approval, SAME_PERSON)
    assert victim.audit().whole
    if (denied.answer, denied.code) != ("refused", "SELF_APPROVAL"):
        return []
    where = f"{credit}: {denied.message}"
    return [Finding(code="SAME_PERSON", where=where, reason=denied.code, hint=denied.hint)]


@contextmanager
def _asking(victim: Victim) -> Iterator[tuple[Runtime, Any]]:
    with victim.running() as runtime:
        runtime.drive()

        def ask(key: str, command: Any, actor: Actor) -> Outcome:
            command_id = derived(key, type(command).__name__)
            return runtime.ask(Outgoing(key, command, command_id, "attack", actor=actor))

        yield runtime, ask
