"""Attacks on heads, keys, proofs and clocks: old states, forks, strangers' keys, hostile files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from usance.adapters.witnesses import OwnWitness
from usance.audit import note
from usance.audit.merkle import consistency_proof, inclusion_proof
from usance.audit.note import SigningKey
from usance.audit.proof import Policy, Proof, parse_policy, parse_proof, verify_proof
from usance.audit.report import Finding
from usance.audit.tiles import CHECKPOINT, Tiles
from usance.bootstrap.proof.proving import make_sealing
from usance.bootstrap.store import Store
from usance.engine.proof.sealing import HEADS, folder_of
from usance.kernel.clock import MS_PER_HOUR, Clock, SystemClock
from usance.testing.attack_scene import Scene, Victim, restore
from usance.testing.attack_table import attack, caught

PROOF = ("log.sqlite", "proof")
ALL = (*PROOF, "heads")
STRANGER = SigningKey(bytes(range(32)))
MINUTE_S = 60


class Late(SystemClock):
    """A clock that is ahead, or behind, by so many milliseconds."""

    def __init__(self, by_ms: int) -> None:
        self.by_ms = by_ms

    def now(self) -> int:
        """Return the machine's time, and the difference."""
        return super().now() + self.by_ms


@attack(10, "puts yesterday's log and tiles back", "ROLLBACK")
def restore_the_disk(scene: Scene) -> list[Finding]:
    """The last heads are kept apart, and are ahead; the notary refuses to start."""
    victim = scene.victim()
    restore(victim, scene.work / "yesterday", *PROOF)
    at_start = caught(lambda: _start(victim))
    assert at_start and at_start[0].code == "ROLLBACK", at_start
    return victim.audit().findings


@attack(11, "puts yesterday's log, tiles and last heads back", "ROLLBACK")
def restore_the_last_heads_too(scene: Scene) -> list[Finding]:
    """A witness has seen more, and so has the safe; the notary refuses to start."""
    victim = scene.victim()
    restore(victim, scene.work / "yesterday", *ALL)
    at_start = caught(lambda: _start(victim))
    assert at_start and at_start[0].code == "ROLLBACK", at_start
    return victim.audit().findings


@attack(12, "shows one auditor another history, signed with the true key", "FORK")
def fork(scene: Scene) -> list[Finding]:
    """The head that the other auditor keeps is not one that the log here extends."""
    other = scene.victim()
    forged = other.rewrite(scene.place, scene.index, other.key)
    kept = other.root / "auditor-b.head"
    kept.write_bytes(forged)
    return scene.victim().audit(since=kept).findings


@attack(13, "signs another root for the same size", "FORK")
def sign_two_roots(scene: Scene) -> list[Finding]:
    """A witness refuses it at once; the last head is another one."""
    victim = scene.victim()
    head, _ = victim.tree(scene.place)
    victim.publish(folder_of(scene.place), head._replace(root=bytes(32)), victim.key)
    refused = caught(lambda: _show_witness(victim))
    assert refused and refused[0].code == "WITNESS_REFUSED", refused
    return victim.audit().findings


@attack(14, "shows an old head as the present one", "STALE_HEAD")
def freeze(scene: Scene) -> list[Finding]:
    """All is consistent, and older than the auditor allows."""
    victim = scene.victim("yesterday")
    shutil.rmtree(victim.places.witness)
    clock = Late(2 * MINUTE_S * 1_000)
    return victim.audit(clock=clock, max_age_s=MINUTE_S).findings


@attack(15, "puts a key of his own in the place of the log's", "UNKNOWN_KEY")
def swap_the_key(scene: Scene) -> list[Finding]:
    """The keys that were pinned are another file's; the notary refuses to start, too."""
    victim = scene.victim()
    for path in victim.places.tiles.rglob(CHECKPOINT):
        text = note.parse_note(path.read_bytes()).text
        origin = text.partition("\n")[0]
        path.write_bytes(note.sign_note(text, origin, STRANGER))
    return victim.audit().findings


@attack(16, "shows the head of another partition as this one's", "WRONG_ORIGIN")
def move_a_head(scene: Scene) -> list[Finding]:
    """The name of the tree is part of what is signed."""
    victim = scene.victim()
    target = victim.places.tiles / folder_of(scene.place) / CHECKPOINT
    others = (p for p in victim.places.tiles.glob("trade.*/p*/checkpoint") if p != target)
    target.write_bytes(next(others).read_bytes())
    return victim.audit().findings


@attack(17, "shows the proof of one event with another", "PROOF_INVALID")
def move_a_proof(scene: Scene) -> list[Finding]:
    """A proof holds for its own leaf and index alone."""
    raw, entries, policy, origin = _proof(scene)
    return caught(lambda: verify_proof(raw, entries[scene.index + 1], policy, origin))


@attack(18, "shows an inner node of the tree as if it were a leaf", "NODE_AS_LEAF")
def node_as_leaf(scene: Scene) -> list[Finding]:
    """Leaves and nodes are hashed with different first bytes."""
    victim = scene.victim()
    head, _ = victim.tree(scene.place)
    tiles = Tiles(head.size, lambda p: _file(victim, scene, p))
    even = scene.index // 2 * 2
    path = inclusion_proof(even, head.size, tiles.node)
    inner = tiles.node(0, even) + tiles.node(0, even + 1)
    raw, _, policy, origin = _proof(scene)
    proof = parse_proof(raw)._replace(at=even // 2, hashes=tuple(path[1:]))
    return caught(lambda: verify_proof(proof.raw(), inner, policy, origin))


@attack(23, "sets the clocks back and goes on", "CLOCK_SKEW")
def set_the_clock_back(scene: Scene) -> list[Finding]:
    """Cosignatures are dated before those of the heads that they extend."""
    victim = scene.victim()
    victim.grow("Clock", seal=False)
    _start(victim, Late(-MS_PER_HOUR))
    return victim.audit().findings


@attack(33, "hands in malformed proofs, notes and policies", "MALFORMED")
def malformed_files(scene: Scene) -> list[Finding]:
    """Each is refused as such, and none ends the verifier."""
    raw, entries, policy, origin = _proof(scene)
    proof = parse_proof(raw)
    hostile = [
        b"",
        b"\x00" * 64,
        proof._replace(hashes=(bytes(32),) * 64).raw(),
        proof._replace(hashes=(bytes(31),)).raw(),
        proof._replace(at=1 << 63).raw(),
        raw.replace(b"\n", b"\r\n"),
        raw.replace(b"index", b"ind\x00x"),
        proof._replace(checkpoint=proof.checkpoint.replace(b"usance", b"us\x00nce", 1)).raw(),
    ]
    found = []
    for one in hostile:
        found += caught(lambda one=one: verify_proof(one, entries[0], policy, origin))  # type: ignore[misc]
    found += caught(lambda: parse_policy("witness w1 nonsense"))
    assert [f.code for f in found] == ["MALFORMED"] * (len(hostile) + 1), found
    return found


def _proof(scene: Scene) -> tuple[bytes, list[bytes], Policy, str]:
    victim = scene.victim()
    head, entries = victim.tree(scene.place)
    raw = _file(victim, scene, CHECKPOINT)
    tiles = Tiles(head.size, lambda p: _file(victim, scene, p))
    path = tuple(inclusion_proof(scene.index, head.size, tiles.node))
    with victim.evidence() as found:
        policy = found.policy.alone(head.origin, witnessed=False)
    return Proof(scene.index, path, raw).raw(), entries, policy, head.origin


def _file(victim: Victim, scene: Scene, path: str) -> bytes:
    return (Path(victim.places.tiles) / folder_of(scene.place) / path).read_bytes()


def _sealing(victim: Victim, clock: Clock) -> tuple[Store, Any]:
    store = Store(victim.folder, victim.settings, clock, owner=False)
    return store, make_sealing(store, victim.settings, clock)


def _start(victim: Victim, clock: Clock | None = None) -> None:
    """Start the notary, let it seal what there is, and attest it."""
    store, sealing = _sealing(victim, clock or SystemClock())
    try:
        sealing.notary.open()
        sealing.notary.finish()
        sealing.attestor.close()
    finally:
        sealing.release()
        store.log.close()


def _show_witness(victim: Victim) -> None:
    """Offer our own witness a second head of the size that it saw last."""
    store, sealing = _sealing(victim, SystemClock())
    try:
        raw = (victim.places.tiles / HEADS / CHECKPOINT).read_bytes()
        head = note.parse_checkpoint(note.parse_note(raw).text)
        forged = note.sign_note(head._replace(root=bytes(32)).text(), head.origin, victim.key)
        (witness,) = sealing.attestor.witnesses
        assert isinstance(witness, OwnWitness)
        proof = consistency_proof(head.size, head.size, lambda *_: b"")
        witness.add_checkpoint(head.size, proof, forged)
    finally:
        sealing.release()
        store.log.close()
