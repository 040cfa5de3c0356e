"""Attacks on records: what is edited, removed, inserted, cut off or written past the owner."""

from __future__ import annotations

import shutil

from usance.audit.report import Finding
from usance.engine.proof.sealing import folder_of
from usance.kernel.clock import MS_PER_DAY
from usance.messages.headers import pack_headers, unpack_headers
from usance.messages.varints import VARINTS
from usance.testing.attack_scene import Scene, altered, resealed
from usance.testing.attack_table import attack, caught

UNSEALED_GAP_MS = 20_000


@attack(1, "flips one byte of a stored event", "LEAF_MISMATCH")
def flip_a_byte(scene: Scene) -> list[Finding]:
    """The bytes of one event are not those that were sealed."""
    victim = scene.victim()
    victim.write(scene.place, [altered(victim.rows(scene.place)[scene.index])])
    return victim.audit().findings


@attack(2, "edits an event and its leaf", "TILE_MISMATCH")
def edit_event_and_leaf(scene: Scene) -> list[Finding]:
    """Event and leaf agree; the tile has the old hash."""
    victim = scene.victim()
    row = altered(victim.rows(scene.place)[scene.index])
    victim.write(scene.place, [row])
    _, entries = victim.tree(scene.place)
    victim.put_entry(scene.place, scene.index, resealed(entries[scene.index], row))
    return victim.audit().findings


@attack(3, "edits an event, its leaf, the tiles and the root, without the key", "BAD_SIGNATURE")
def edit_all_without_the_key(scene: Scene) -> list[Finding]:
    """All agrees but the signature."""
    victim = scene.victim()
    rows = victim.rows(scene.place)
    rows[scene.index] = altered(rows[scene.index])
    victim.write(scene.place, victim.rechain(scene.place, rows))
    head, _ = victim.tree(scene.place)
    folder = folder_of(scene.place)
    edge = victim.put_tree(folder, victim.derive(scene.place, head.size))
    shown = victim.places.tiles / folder / "checkpoint"
    text = shown.read_text()
    shown.write_text(text.replace(head.text(), head._replace(root=edge.root()).text()))
    return victim.audit().findings


@attack(4, "rewrites an event and all that follows from it, with the stolen key", "WITNESS_REFUSED")
def rewrite_with_the_key(scene: Scene) -> list[Finding]:
    """Everything on the bank's disks agrees; a witness cosigned another history, and anchors differ."""
    victim = scene.victim()
    victim.rewrite(scene.place, scene.index, victim.key)
    found = victim.audit().findings
    shutil.rmtree(victim.places.witness)
    without_witness = [f.code for f in victim.audit().findings]
    assert without_witness == ["ANCHOR_MISMATCH"], without_witness
    return found


@attack(5, "deletes an event in the middle", "INDEX_GAP")
def delete_in_the_middle(scene: Scene) -> list[Finding]:
    """An index is missing."""
    victim = scene.victim()
    victim.delete(scene.place, [victim.rows(scene.place)[scene.index].offset])
    return victim.audit().findings


@attack(6, "swaps two events", "CHAIN_BREAK")
def swap_two(scene: Scene) -> list[Finding]:
    """An index comes behind the one that follows it."""
    victim = scene.victim()
    first, second = victim.rows(scene.place)[scene.index : scene.index + 2]
    swapped = [
        second._replace(offset=first.offset, ts=first.ts),
        first._replace(offset=second.offset, ts=second.ts),
    ]
    victim.write(scene.place, swapped)
    return victim.audit().findings


@attack(7, "inserts a back-dated event between two", "TIME_REGRESSION")
def insert_back_dated(scene: Scene) -> list[Finding]:
    """A record is dated before the one in front of it."""
    victim = scene.victim()
    rows = victim.rows(scene.place)
    at = next(n for n in range(1, len(rows)) if rows[n].offset > rows[n - 1].offset + 1)
    forged = rows[at]._replace(offset=rows[at - 1].offset + 1, ts=rows[at - 1].ts - MS_PER_DAY)
    victim.write(scene.place, [forged])
    return victim.audit().findings


@attack(8, "cuts the tail off after it was sealed", "ROLLBACK")
def cut_the_sealed_tail(scene: Scene) -> list[Finding]:
    """A head covers more than is there; the notary finds it at its next start, too."""
    victim = scene.victim()
    rows = victim.rows(scene.place)[-3:]
    victim.delete(scene.place, [row.offset for row in rows], rows[0].offset)
    return victim.audit().findings


@attack(9, "cuts the tail off before it was sealed", "RECEIPT_UNMET")
def cut_the_unsealed_tail(scene: Scene) -> list[Finding]:
    """No head covers the event yet, but an outcome promises it."""
    victim = scene.victim()
    before = len(victim.rows(scene.place))
    victim.grow("Cut", count=2, seal=False, place=scene.place)
    rows = victim.rows(scene.place)[before:]
    victim.delete(scene.place, [row.offset for row in rows], rows[0].offset)
    return victim.audit(full=True).findings


@attack(26, "stops the notary without a word", "HEAD_AGE")
def stop_the_notary(scene: Scene) -> list[Finding]:
    """The log goes on, its head does not."""
    victim = scene.victim()
    before = len(victim.rows(scene.place))
    victim.grow("Quiet", count=2, seal=False, place=scene.place, apart_ms=UNSEALED_GAP_MS)
    rows = victim.rows(scene.place)
    late = [
        row._replace(ts=rows[before - 1].ts + UNSEALED_GAP_MS * n)
        for n, row in enumerate(rows[before:])
    ]
    victim.write(scene.place, late)
    return victim.audit(clocked=True).findings


@attack(28, "deletes records of who looked at what", "INDEX_GAP")
def delete_access_records(scene: Scene) -> list[Finding]:
    """Access records have topics of their own, sealed like any other."""
    victim = scene.victim()
    with victim.evidence() as found:
        topics = found.store.topics
        places = topics.all_at("events", ("access",)) + topics.all_at("outcomes", ("access",))
        places += topics.all_at("events", ("system",)) + topics.all_at("outcomes", ("system",))
        places.append(topics.at("system", "schemas", 0))
    place = next(p for p in places if len(victim.rows(p)) > 1)
    victim.delete(place, [victim.rows(place)[0].offset])
    return victim.audit().findings


@attack(29, "writes an event past the owner", "ORPHAN_EVENT")
def write_past_the_owner(scene: Scene) -> list[Finding]:
    """The chain fits, and no command's outcome explains the event."""
    victim = scene.victim()
    with victim.evidence() as found:
        tree = found.last()[found.origins.of(scene.place)]
        said = found.store.closed.meta(unpack_headers(victim.rows(scene.place)[-1].headers))
    last = victim.rows(scene.place)[-1]
    old = VARINTS[said.index] + b"\x02" + (said.prev or b"")
    new = VARINTS[said.index + 1] + b"\x02" + tree.tail
    pairs = unpack_headers(last.headers)
    headers = pack_headers(
        tuple((n, v.replace(old, new) if n == "usance-meta" else v) for n, v in pairs)
    )
    forged = last._replace(offset=last.offset + 1, headers=headers)
    victim.write(scene.place, [forged])
    with victim.database() as database:
        sql = "UPDATE place SET next = max(next, ?) WHERE topic = ? AND partition = ?"
        database.execute(sql, (forged.offset + 1, *scene.place))
    return victim.audit(full=True).findings


@attack(30, "lets a prefix expire, or compacts the topic", "MISSING_PREFIX")
def expire_a_prefix(scene: Scene) -> list[Finding]:
    """Records are gone from the front, and no disposition says so."""
    victim = scene.victim()
    victim.begin(scene.place, victim.rows(scene.place)[2].offset)
    return victim.audit().findings


@attack(34, "swaps a schema, so that the same bytes read otherwise", "SCHEMA_SWAPPED")
def swap_a_schema(scene: Scene) -> list[Finding]:
    """Schemas are records of the log, and sealed."""
    victim = scene.victim()
    with victim.evidence() as found:
        place = found.store.topics.at("system", "schemas", 0)
    rows = victim.rows(place)
    at = next(n for n, row in enumerate(rows) if b"business" in (row.value or b""))
    value = rows[at].value or b""
    victim.write(place, [rows[at]._replace(value=value.replace(b"business", b"personal", 1))])
    return caught(lambda: victim.audit().findings)
