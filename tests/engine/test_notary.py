"""The notary: every leaf in order, heads that only extend, and a crash between any two of its stages."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sim_world import Make, simulated
from toy_world import NOON, World

from usance.adapters.head_store import SqliteHeads
from usance.adapters.proof_files import FolderTiles
from usance.audit import leaf, note
from usance.audit.chain import envelope_hash
from usance.audit.codes import Detected
from usance.audit.merkle import consistency_proof, verify_consistency
from usance.audit.note import SigningKey, Verifier
from usance.audit.tiles import Tiles
from usance.engine.proof.following import GroupFollower, ScanFollower
from usance.engine.proof.notary import HEAD_LEAVES_MAX, Notary
from usance.engine.proof.receipts import ReceiptsMonitor
from usance.engine.proof.sealing import Origins, folder_of
from usance.engine.verify import chained
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.errors import Fenced, Tampered
from usance.testing.sim_hazards import Hazards

KEY = SigningKey(bytes(range(32)))
ORIGINS = Origins("bank.example", "test", "g1")


class Crash(BaseException):
    """The process ends here."""


class Faults:
    """Ends the process at the n-th step that changes anything outside, before or after the change."""

    def __init__(self, at: int = -1, *, before: bool = True) -> None:
        self.at, self.before, self.count = at, before, 0

    def step(self, change: Any) -> Any:
        self.count += 1
        if self.count - 1 == self.at and self.before:
            raise Crash
        value = change()
        if self.count - 1 == self.at:
            raise Crash
        return value


class FaultyTiles(FolderTiles):
    def __init__(self, root: Path, faults: Faults) -> None:
        super().__init__(root)
        self.faults = faults

    def put(self, files):
        for path, data in files.items():
            self.faults.step(lambda p=path, d=data: super(FaultyTiles, self).put({p: d}))

    def publish(self, path, data):
        self.faults.step(lambda: super(FaultyTiles, self).publish(path, data))

    def drop(self, paths):
        for path in paths:
            self.faults.step(lambda p=path: super(FaultyTiles, self).drop([p]))


class FaultyHeads(SqliteHeads):
    def __init__(self, path: Path, faults: Faults) -> None:
        super().__init__(path)
        self.faults = faults

    def advance(self, moves):
        self.faults.step(lambda: super(FaultyHeads, self).advance(moves))


def notary_of(world: World, root: Path, faults: Faults | None = None, **more: Any) -> Notary:
    faults = faults or Faults()
    follower = more.pop("follower", ScanFollower)(world.log)
    return Notary(
        world.log,
        follower,
        ORIGINS,
        world.genesis.log_id,
        FaultyTiles(root / "proof", faults),
        FaultyHeads(root / "heads" / "last.sqlite", faults),
        more.pop("key", KEY),
        more.pop("clock", SystemClock()),
        diagnose=lambda record: world.decoder.meta(record.headers),
        **more,
    )


def sealed(world: World, root: Path) -> dict[str, int]:
    """Check every published head against the log; returns sizes by folder."""
    tiles, sizes = FolderTiles(root / "proof"), {}
    for place in chained(world.log):
        folder = folder_of(place)
        try:
            raw = tiles.read(f"{folder}/checkpoint")
        except FileNotFoundError:
            continue
        head = note.open_checkpoint(raw, Verifier(ORIGINS.of(place), KEY.public))
        tree = Tiles(head.size, lambda path, folder=folder: tiles.read(f"{folder}/{path}"))
        assert tree.root() == head.root
        records = list(world.log.scan(place, 0))
        assert head.size <= len(records)
        for index, record in enumerate(records[: head.size]):
            said = leaf.unpack(tree.entry(index))
            assert (said.offset, said.log_time) == (record.offset, record.timestamp)
            assert said.envelope_hash == envelope_hash(record.key, record.value, record.headers)
        sizes[folder] = head.size
    return sizes


def counts(world: World) -> dict[str, int]:
    found = {folder_of(p): len(list(world.log.scan(p, 0))) for p in chained(world.log)}
    return {folder: count for folder, count in found.items() if count}


def paid(make: Make, count: int = 12) -> World:
    world = make()
    owner = world.owner()
    for n in range(count):
        world.pay(f"k{n % 3}", [1], prefix=f"{n}-")
        world.settle(owner)
    return world


def test_every_record_of_every_sealed_partition_is_a_leaf_in_order(make: Make, tmp_path: Path):
    world = paid(make)
    world.raw("k9", b"no avro")
    world.settle(world.owner())
    kafka = type(world.log).__name__ == "KafkaLog"
    notary = notary_of(world, tmp_path, follower=GroupFollower if kafka else ScanFollower)
    for _ in range(100 if kafka else 1):
        notary.finish()
        if sum(counts(world).values()) == notary.leaves():
            break
        notary.step(0.2)
    assert sealed(world, tmp_path) == counts(world)
    assert notary.leaves() == sum(counts(world).values())
    assert notary.waiting()["signed"][0] >= 0
    notary.close()
    notary.heads.close()


def world_of(seed: int = 0, hazards: Hazards | None = None) -> World:
    return simulated(clock=BookClock(NOON), seed=seed, hazards=hazards or Hazards())


def grown(world: World, rounds: int) -> None:
    owner = world.owner()
    for n in range(rounds):
        world.pay(
            f"k{n % 3}",
            [1] * 3,
            prefix=f"{world.log.end(world.topics.at('trade', 'commands', 0))}-",
        )
        world.settle(owner)
    owner.close()


def steps_of_a_round(tmp_path: Path) -> int:
    world = world_of()
    grown(world, 3)
    faults = Faults()
    notary = notary_of(world, tmp_path / "count", faults)
    notary.finish()
    first = faults.count
    grown(world, 3)
    notary.finish()
    notary.heads.close()
    return faults.count - first


def test_a_crash_between_any_two_stages_leaves_heads_that_can_be_proved_and_go_on(tmp_path: Path):
    steps = steps_of_a_round(tmp_path)
    assert steps > 8
    for at in range(steps):
        for before in (True, False):
            root = tmp_path / f"{at}-{before}"
            world = world_of()
            grown(world, 3)
            notary = notary_of(world, root)
            notary.finish()
            sealed(world, root)
            grown(world, 3)
            faults = Faults(at, before=before)
            broken = notary_of(world, root, faults)
            with pytest.raises(Crash):
                broken.finish()
            broken.heads.close()
            notary.heads.close()
            sealed(world, root)  # what is published can be proved, whatever was under way
            after = notary_of(world, root)
            after.open()
            sealed(world, root)
            after.finish()
            assert sealed(world, root) == counts(world)
            after.heads.close()


@pytest.mark.parametrize("rounds", [40, pytest.param(1_000, marks=pytest.mark.slow)])
def test_rounds_with_crashes_give_no_false_alarm_and_one_history(tmp_path: Path, rounds: int):
    dice = random.Random(rounds)
    world = world_of(seed=1, hazards=Hazards(gap_max=3, short_reads=True))
    heads: list[note.Checkpoint] = []
    for _ in range(rounds):
        grown(world, dice.randrange(3))
        faults = Faults(dice.randrange(60), before=dice.random() < 0.5)
        notary = notary_of(world, tmp_path, faults)
        with suppress(Crash):
            notary.finish()
        notary.heads.close()
        raw = notary.board.raw()
        if raw is not None:
            heads.append(note.open_checkpoint(raw, Verifier(ORIGINS.heads, KEY.public)))
    notary = notary_of(world, tmp_path)
    notary.finish()
    assert sealed(world, tmp_path) == counts(world)
    tiles = Tiles(
        notary.last[ORIGINS.heads].size,
        lambda p: FolderTiles(tmp_path / "proof").read(f"heads/{p}"),
    )
    for old in heads:
        proof = consistency_proof(old.size, tiles.size, tiles.node)
        assert verify_consistency(old.size, tiles.size, old.root, tiles.root(), proof)
    notary.heads.close()


def test_a_second_notary_loses_the_swap_and_signs_nothing(tmp_path: Path):
    world = world_of()
    grown(world, 3)
    first, second = notary_of(world, tmp_path), notary_of(world, tmp_path)
    first.open(), second.open()
    first.step(), second.step()
    second.seal()
    before = {p: p.read_bytes() for p in (tmp_path / "proof").rglob("checkpoint")}
    assert before
    with pytest.raises(Fenced):
        first.seal()
    assert before == {p: p.read_bytes() for p in (tmp_path / "proof").rglob("checkpoint")}
    first.finish()  # having taken up the other's heads, it has nothing to add
    assert before == {p: p.read_bytes() for p in (tmp_path / "proof").rglob("checkpoint")}


def code_of(call: Any) -> str:
    with pytest.raises(Detected) as found:
        call()
    return found.value.code


def two_states(tmp_path: Path) -> World:
    """Seal twice; keep the first state of tiles and heads as `old-proof` and `old-heads`."""
    world = world_of()
    grown(world, 3)
    notary = notary_of(world, tmp_path)
    notary.finish()
    notary.heads.close()
    for name in ("proof", "heads"):
        shutil.copytree(tmp_path / name, tmp_path / f"old-{name}")
    grown(world, 3)
    again = notary_of(world, tmp_path)
    again.finish()
    again.heads.close()
    return world


def put_back(tmp_path: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(tmp_path / name)
        shutil.copytree(tmp_path / f"old-{name}", tmp_path / name)


def test_an_old_backup_of_the_last_heads_signs_nothing(tmp_path: Path):
    world = two_states(tmp_path)
    put_back(tmp_path, "heads")
    assert code_of(notary_of(world, tmp_path).step) == "ROLLBACK"


def test_lost_last_heads_beside_published_ones_sign_nothing(tmp_path: Path):
    world = two_states(tmp_path)
    shutil.rmtree(tmp_path / "heads")
    assert code_of(notary_of(world, tmp_path).step) == "ROLLBACK"


def test_an_old_backup_of_the_tiles_signs_nothing(tmp_path: Path):
    world = two_states(tmp_path)
    put_back(tmp_path, "proof")
    assert code_of(notary_of(world, tmp_path).step) == "ROLLBACK"


def test_a_log_that_was_cut_behind_its_seal_signs_nothing(tmp_path: Path):
    two_states(tmp_path)
    shorter = world_of()
    grown(shorter, 1)
    shorter.genesis = shorter.genesis
    assert code_of(notary_of(shorter, tmp_path).step) in ("ROLLBACK", "LEAF_MISMATCH")


def test_a_stranger_key_is_refused_at_the_start(tmp_path: Path):
    world = two_states(tmp_path)
    other = notary_of(world, tmp_path, key=SigningKey(bytes(32)))
    assert code_of(other.step) in ("UNKNOWN_KEY", "BAD_SIGNATURE")


def test_an_altered_tile_is_noticed_before_anything_is_signed(tmp_path: Path):
    world = two_states(tmp_path)
    grown(world, 1)
    tile = next((tmp_path / "proof" / "trade.events" / "p000" / "tile" / "0").rglob("1*"))
    for path in tile.parent.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert code_of(notary_of(world, tmp_path).finish) == "TILE_MISMATCH"


def test_heads_are_due_within_a_second_or_after_five_thousand_leaves(tmp_path: Path):
    class Ticking(SystemClock):
        at = 0.0

        def monotonic(self) -> float:
            return self.at

    clock = Ticking()
    world = world_of()
    grown(world, 3)
    notary = notary_of(world, tmp_path, clock=clock)
    assert notary.step() > 0
    assert notary.rounds == 0 and notary.hashed() > 0
    clock.at = 0.7
    notary.step()
    assert notary.rounds == 0
    assert notary.waiting()["integrated"][1] == pytest.approx(0.7)
    clock.at = 0.75
    notary.step()
    assert notary.rounds == 1 and notary.hashed() == 0
    assert HEAD_LEAVES_MAX == 5_000


def test_a_record_that_breaks_the_chain_is_never_sealed(tmp_path: Path):
    world = world_of()
    grown(world, 2)
    notary = notary_of(world, tmp_path)
    notary.open()
    place = world.topics.at("trade", "events", 0)
    records = list(world.log.scan(place, 0))
    tree = notary._tree(place)
    with pytest.raises(Tampered) as gap:
        tree.take([records[0], records[2]], notary.diagnose)
    assert "INDEX_GAP" in str(gap.value)
    tree.pending.clear()
    tree.offset, tree.tail = 0, notary._last(place).tail
    altered = records[0]._replace(value=records[0].value + b"x")
    with pytest.raises(Tampered) as chain:
        tree.take([altered, records[1]], notary.diagnose)
    assert "CHAIN_BREAK" in str(chain.value)


def test_promises_are_met_by_the_tree_and_a_broken_one_stops_the_line(tmp_path: Path):
    class Ticking(SystemClock):
        at = 0.0

        def monotonic(self) -> float:
            return self.at

    clock, world = Ticking(), world_of()
    notary = notary_of(world, tmp_path, clock=clock)
    monitor = ReceiptsMonitor(world.log, world.topics, world.decoder, notary.tiles, clock)
    monitor.step()
    grown(world, 3)
    assert monitor.step() == 0 and monitor.unmet() == 0
    clock.at = 2.1
    monitor.step()
    assert monitor.unmet() == 9 and "RECEIPT_UNMET" in monitor.trouble
    notary.finish()
    assert monitor.step() == 9
    assert (monitor.unmet(), monitor.trouble) == (0, "")
    grown(world, 1)
    monitor.step()
    due = next(d for d in monitor._due.values() if d)
    lie = msgspec.structs.replace(due[0].receipt, envelope_hash=bytes(32))
    due[0] = due[0]._replace(receipt=lie)
    notary.finish()
    assert code_of(monitor.step) == "RECEIPT_UNMET"
