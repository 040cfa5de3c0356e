"""`usance bench proof`: what sealing costs, and what verifying takes, on real records of the owner.

Both arms of the throughput run the same owner over the same workload in turn; the sealed one has a notary at
work beside it, as the program has. Processor seconds are of the thread that works, so that a busy machine
tells little.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from usance.adapters.head_store import SqliteHeads
from usance.adapters.proof_files import FolderTiles
from usance.audit.leaf import unpack
from usance.audit.merkle import inclusion_proof, leaf_hash, verify_inclusion
from usance.audit.note import SigningKey, Verifier
from usance.audit.proof import Policy, Proof
from usance.audit.tiles import CHECKPOINT, TILE_WIDTH, Edge, Tiles
from usance.bootstrap.runtime import SWITCH_INTERVAL_S
from usance.engine.proof.audit_tree import LastHeads, TreeAudit
from usance.engine.proof.following import ScanFollower
from usance.engine.proof.notary import Notary
from usance.engine.proof.sealing import Origins, Tree, first_head, folder_of
from usance.engine.verify import chained
from usance.kernel.clock import SystemClock
from usance.log.contract import Record, TopicPartition
from usance.testing import bench_tessera
from usance.testing.bench_rig import Rig, thread_seconds, warmed
from usance.testing.workload import Workload

SEED = bytes(range(32))
KEY = SigningKey(SEED)
PROOFS = 300


class Plan(NamedTuple):
    """Commands per arm and round, rounds, and leaves for Tessera."""

    commands: int
    rounds: int
    leaves: int


FULL, QUICK = Plan(20_000, 5, 50_000), Plan(1_500, 1, 3_000)


def run_proof_bench(*, quick: bool = False, seed: int = 1) -> dict[str, Any]:
    """Measure and return the numbers by name."""
    plan = QUICK if quick else FULL
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        with tempfile.TemporaryDirectory(prefix="usance-bench-") as made:
            return _measure(plan, Path(made), seed)
    finally:
        sys.setswitchinterval(before)


def _measure(plan: Plan, folder: Path, seed: int) -> dict[str, Any]:
    plain, plain_work = warmed(folder / "plain", seed)
    sealed, sealed_work = warmed(folder / "sealed", seed)
    notary = notary_of(sealed)
    notary.finish()
    rates: list[tuple[float, float]] = []
    heads = Heads(notary)
    for _ in range(plan.rounds):
        unsealed_per_s = _work_off(plain, plain_work, plan.commands)
        with_notary = _beside(heads, lambda: _work_off(sealed, sealed_work, plan.commands))
        rates.append((unsealed_per_s, with_notary))
    notary.finish()
    found = {
        "commands": plan.commands * plan.rounds,
        "unsealed_per_s": round(median(r[0] for r in rates)),
        "sealed_per_s": round(median(r[1] for r in rates)),
        "sealed_ratio": round(median(r[1] / r[0] for r in rates), 3),
        "head_age_p99_ms": heads.age_p99_ms(),
        **_costs(sealed),
        **_verification(sealed, notary),
        **_proofs(sealed),
        **_beside_tessera(sealed, folder, plan.leaves),
    }
    for rig in (plain, sealed):
        rig.verify()
        rig.close()
    notary.heads.close()
    return found


def _beside_tessera(rig: Rig, folder: Path, leaves: int) -> dict[str, Any]:
    """Return what a notary alone seals a second of a log that is there, and what Tessera does of entries sent."""
    notary = notary_of(rig, "alone")
    start = notary.clock.monotonic()
    notary.finish()
    ours = notary.leaves() / (notary.clock.monotonic() - start)
    notary.heads.close()
    theirs = bench_tessera.leaves_per_s(folder / "tessera", SEED, leaves)
    return {
        "sealed_leaves_per_s": round(ours),
        "tessera_leaves_per_s": theirs or "not built: make bench-peers builds it where there is Go",
        "tessera_ratio": round(ours / theirs, 1) if theirs else None,
    }


def notary_of(rig: Rig, name: str = "proof") -> Notary:
    """Return a notary over a rig's log, with tiles and last heads of its own."""
    return Notary(
        rig.log,
        ScanFollower(rig.log),
        Origins("bench.example", "bench", "g1"),
        rig.genesis.log_id,
        FolderTiles(rig.folder / name),
        SqliteHeads(rig.folder / f"{name}-heads.sqlite"),
        KEY,
        SystemClock(),
        diagnose=lambda record: rig.decoder.meta(record.headers),
    )


def _work_off(rig: Rig, work: Workload, count: int) -> float:
    rig.preload(work.take(count))
    gc.collect()
    return rig.work_off().per_s


class Heads:
    """Signed heads as a notary publishes them: which leaves each covers, and when."""

    def __init__(self, notary: Notary) -> None:
        self.notary = notary
        self.shown: list[tuple[str, int, int, int]] = []
        """Folder of a tree, its leaves before and after, and the instant (ms UTC) of the new head."""

    def step(self, wait: float) -> None:
        """Let the notary do a piece of work, and note the heads that came of it."""
        notary, rounds = self.notary, self.notary.rounds
        before = {place: tree.last.size for place, tree in notary.trees.items()}
        notary.step(wait)
        if notary.rounds == rounds:
            return
        now = notary.clock.now()
        for place, tree in notary.trees.items():
            if tree.last.size > before.get(place, 0):
                self.shown.append((folder_of(place), before.get(place, 0), tree.last.size, now))

    def age_p99_ms(self) -> int:
        """Return how long a leaf waited for its signed head at most, for 99 of 100, from its append on."""
        ages: list[int] = []
        for folder, start, end, instant in self.shown:
            for bundle in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
                first, entries = bundle * TILE_WIDTH, self._bundle(folder, end, bundle)
                own = entries[max(0, start - first) :]
                ages += [instant - unpack(entry).log_time for entry in own]
        ages.sort()
        return ages[len(ages) * 99 // 100] if ages else 0

    def _bundle(self, folder: str, size: int, number: int) -> list[bytes]:
        tiles = Tiles(size, lambda path: self.notary.tiles.read(f"{folder}/{path}"))
        return tiles.bundle(number)


def _beside(heads: Heads, measured: Callable[[], float]) -> float:
    """Measure with a notary at work in a thread of its own, until what was measured has its head."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set() or heads.notary.hashed():
            heads.step(0.2)

    thread = threading.Thread(target=work, name="notary")
    thread.start()
    try:
        return measured()
    finally:
        stop.set()
        thread.join()


def _largest(rig: Rig) -> tuple[TopicPartition, list[Record]]:
    places = [rig.topics.at("trade", "events", n) for n in range(rig.topics.partitions)]
    found = [(place, list(rig.log.scan(place, 0))) for place in places]
    return max(found, key=lambda item: len(item[1]))


def _costs(rig: Rig) -> dict[str, Any]:
    """Return processor time per event, from record to tree, and bytes per event of tiles."""
    place, records = _largest(rig)
    tree = Tree(place, "events", first_head("bench", rig.genesis.log_id, place), Edge())
    used, size = 0.0, 0
    for at in range(0, len(records), 1_000):
        part = records[at : at + 1_000]
        start = thread_seconds()
        tree.take(part, lambda record: rig.decoder.meta(record.headers))
        files = tree.integrate()
        tree.edge.root()
        used += thread_seconds() - start
        size += sum(len(data) for path, data in files.items() if ".p/" not in path)
    return {
        "seal_cpu_us_per_event": round(used / len(records) * 1e6, 2),
        "bytes_per_event": round(size / (tree.edge.size // 256 * 256 or 1), 1),
    }


def _verification(rig: Rig, notary: Notary) -> dict[str, Any]:
    """Return how many records a second are verified from files alone, on one core."""
    origins = notary.origins
    names = [origins.of(place) for place in chained(rig.log)]
    policy = Policy({n: Verifier(n, KEY.public) for n in names}, {}, {})
    heads = LastHeads(notary.heads.load, SystemClock())
    audit = TreeAudit(
        rig.log,
        rig.genesis.log_id,
        origins,
        notary.tiles,
        policy,
        heads,
        lambda record: rig.decoder.meta(record.headers),
    )
    start, leaves = thread_seconds(), 0
    for place in chained(rig.log):
        report = audit.verify(place, place.topic.rsplit(".", 1)[1])
        if report is not None:
            assert report.finding is None, report.finding
            leaves += report.size
    used = thread_seconds() - start
    return {"verified_leaves": leaves, "verified_per_s": round(leaves / used)}


def _proofs(rig: Rig) -> dict[str, Any]:
    """Return the time of making and of checking an inclusion proof from tiles on disk, and its bytes."""
    place, _ = _largest(rig)
    tiles = FolderTiles(rig.folder / "proof" / folder_of(place))
    raw = tiles.read(CHECKPOINT)
    from usance.audit.note import parse_checkpoint, parse_note

    head = parse_checkpoint(parse_note(raw).text)
    tree = Tiles(head.size, tiles.read)
    made, checked, size = [], [], 0
    for number in range(PROOFS):
        index = number * head.size // PROOFS
        start = thread_seconds()
        path = inclusion_proof(index, head.size, tree.node)
        made.append(thread_seconds() - start)
        leaf = leaf_hash(tree.entry(index))
        start = thread_seconds()
        assert verify_inclusion(leaf, index, head.size, path, head.root)
        checked.append(thread_seconds() - start)
        size = max(size, len(Proof(index, tuple(path), raw).raw()))
    made.sort(), checked.sort()
    return {
        "proof_leaves": head.size,
        "proof_make_p99_us": round(made[-PROOFS // 100] * 1e6, 1),
        "proof_check_p99_us": round(checked[-PROOFS // 100] * 1e6, 1),
        "proof_bytes": size,
    }
