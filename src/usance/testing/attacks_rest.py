"""Attacks on what stands beside the trees: keys, views, snapshots, settings, extracts, persons."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from msgspec.structs import replace

from usance.audit.exported import demand_whole
from usance.audit.report import Finding
from usance.bootstrap.runtime import Runtime
from usance.crypto.sealing import Place, SealingKey, place_aad
from usance.domain.credit import messages as cm
from usance.domain.facility_messages import SetFacility
from usance.engine.audit_cross import complete
from usance.engine.key_audit import KeyRegister, kcv_of
from usance.engine.reactor import Outgoing
from usance.engine.sealing import folder_of
from usance.engine.snapshots import Taken, make_round, slice_of
from usance.engine.state import Entry, Tail
from usance.kernel.decider import Actor, key_of, key_parts
from usance.kernel.ids import derived
from usance.log.contract import Record
from usance.messages.headers import pack_headers
from usance.messages.outcome import Outcome
from usance.testing import trade
from usance.testing.attack_scene import CREDIT_OFFICER, Row, Scene, Victim
from usance.testing.attack_table import attack, caught

FIELD, SCHEMA = "parties", bytes(8)


class Block(NamedTuple):
    """A sealed block of one of the log's own events, and the key that sealed it."""

    place: Place
    secret: bytes
    block: bytes
    where: str


def _blocks(scene: Scene) -> list[Block]:
    """Seal a block for each of two events of the log, each under a key of its own."""
    found = []
    with scene.victim().evidence() as evidence:
        store = evidence.store
        for index, record in enumerate(store.log.scan(scene.place, 0)):
            if index not in (scene.index, scene.index + 1):
                continue
            meta = store.decoder.meta(record.headers)
            headers = dict(record.headers)
            place = Place(
                meta.tenant,
                (record.key or b"").decode(),
                meta.revision,
                headers["ce_id"].decode(),
                headers["ce_type"].decode(),
            )
            secret = bytes([index & 255]) * 32
            key = SealingKey(secret[:16], secret)
            block = key.seal(b"Tanjong Timber", place_aad(place, FIELD, SCHEMA))
            found.append(Block(place, secret, block, f"{folder_of(scene.place)}#{index}"))
    return found


def _register(blocks: list[Block]) -> KeyRegister:
    return KeyRegister({b.block[2:18]: kcv_of(b.secret) for b in blocks})


@attack(19, "deletes a data key outside the procedure", "KEY_MISSING")
def delete_a_key(scene: Scene) -> list[Finding]:
    """No certificate of its destruction is sealed; with one, the same is no finding."""
    one, other = _blocks(scene)
    register = _register([one, other])
    register.shredded.add(other.block[2:18])
    register.demand(other.block[2:18], None)
    return caught(lambda: register.demand(one.block[2:18], None, one.where))


@attack(21, "puts another key in a key's place", "KEY_COMMITMENT")
def swap_a_key(scene: Scene) -> list[Finding]:
    """A block that the forger sealed anew opens under his key; its check value is another one."""
    one, other = _blocks(scene)
    register = _register([one, other])
    forged = SealingKey(one.block[2:18], other.secret)
    block = forged.seal(b"another story", place_aad(one.place, FIELD, SCHEMA))
    return caught(lambda: register.opened(other.secret, block, one.place, FIELD, SCHEMA, one.where))


@attack(22, "copies the private block of one event into another", "AAD_MISMATCH")
def move_a_block(scene: Scene) -> list[Finding]:
    """A block is bound to its event's place and id."""
    one, other = _blocks(scene)
    register = _register([one, other])
    assert register.opened(one.secret, one.block, one.place, FIELD, SCHEMA)
    return caught(
        lambda: register.opened(one.secret, one.block, other.place, FIELD, SCHEMA, other.where)
    )


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


MAKER = Actor("attack-maker", "maker.login", "maker")
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
