"""A log that seals, on a real broker: nothing in clear in any segment, and no key's bytes after it was destroyed."""

from __future__ import annotations

import io
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from msgspec.structs import replace

from usance import config
from usance.adapters.kafka_settings import KafkaSettings
from usance.bootstrap.backend import open_cluster
from usance.bootstrap.desk import Desk
from usance.bootstrap.kafka import setup
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.secrecy import erasing
from usance.bootstrap.store import Folder
from usance.crypto.vault import SAY_EVERY_MS
from usance.engine import logs
from usance.engine.verify import verify_log
from usance.kernel.clock import SystemClock
from usance.kernel.decider import Erased
from usance.testing.bench_rig import Rig
from usance.testing.kafka_broker import KafkaCluster
from usance.testing.secrecy import Switched
from usance.testing.workload import Workload

sys.path.insert(0, str(Path(__file__).parents[1] / "bootstrap"))
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from test_erasing import CREDIT, World, erased
from test_sealed_owner import STRANGERS, applications, events_of

HURRY = {
    "segment.ms": "100", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.0001",
    "max.compaction.lag.ms": "100", "file.delete.delay.ms": "0",
}  # fmt: skip
"""What makes a broker compact at once what it would within days."""
WAIT_S = 90.0


class ClusterWorld(World):
    """The same customer's book, its log on a broker whose files can be read."""

    def __init__(self, root: Path, cluster: KafkaCluster) -> None:
        self.root, self.out, self.cluster = root, io.StringIO(), cluster
        prefix = f"c{uuid.uuid4().hex[:8]}."
        flags = {"log": f"kafka://{cluster.bootstrap}", "data": str(root), "profile": "secure"}
        more = {"kafka.replication": "1", "kafka.prefix": prefix, "partitions": "2"}
        self.settings = config.load(None, {**flags, **more}, {}).settings
        logs.configure(self.out)
        for _ in setup(self.settings):
            pass
        self.keys_topic = f"{prefix}{self.settings.namespace}.system.keys"
        self.runtime = Runtime(Folder(root), self.settings, SystemClock())
        self.runtime.drop.settle = 0.0
        self.desk = Desk(Folder(root), self.settings, SystemClock(), self.runtime, 0)
        self.canaries: dict[str, str] = {}
        self.events: dict[str, str] = {}

    def segments(self) -> Iterator[tuple[Path, bytes]]:
        """Every file of the broker: segments, indexes, and what it is about to delete."""
        for file in sorted((self.cluster.nodes[0].folder / "data").rglob("*")):
            try:
                if file.is_file():
                    yield file, file.read_bytes()
            except FileNotFoundError:
                continue  # deleted meanwhile

    def holding(self, wanted: list[bytes]) -> list[str]:
        return [str(f) for f, data in self.segments() if any(w in data for w in wanted)]


@pytest.fixture(scope="module")
def cluster(cluster_of: Callable[..., KafkaCluster]) -> KafkaCluster:
    return cluster_of(1, settings={"log.cleaner.backoff.ms": "100"})


@pytest.fixture
def world(cluster: KafkaCluster, tmp_path: Path) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path / "data", cluster)
    try:
        made.play()
        yield made
    finally:
        made.close()


def hurry(cluster: KafkaCluster, topic: str) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in HURRY.items()
    ]
    resource = ConfigResource("topic", topic, incremental_configs=entries)
    admin: AdminClient = cluster.admin()
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


@pytest.mark.slow
def test_segments_hold_no_marker_and_after_an_erasure_no_key(world: ClusterWorld) -> None:
    """Traps 9, 11, 12: files of broker and program, before the erasure and after compaction."""
    markers = [text.encode() for text in world.canaries.values()]
    assert len(markers) >= 15
    assert world.holding([b"CreditApplied"])  # the search finds what is there
    assert world.holding(markers) == []
    assert world.found(views=False) == {}
    vault = erasing.demand_vault(world.store)
    before = {r.key_id.hex(): r.blob for r in vault.store.records() if not r.dead}
    made = erased(world)
    blobs = [before[key] for key in made.keys]
    assert blobs and world.holding(blobs), "not compacted yet, and that is what the horizon is for"
    hurry(world.cluster, world.keys_topic)
    until = time.monotonic() + WAIT_S
    while left := world.holding(blobs):
        assert time.monotonic() < until, f"bytes of destroyed keys are still in {left}"
        vault._said -= SAY_EVERY_MS  # a process that goes on says so from time to time
        vault.hear()
        time.sleep(0.2)
    assert world.holding(markers) == [] and world.found(views=True) == {}
    # What is left tells the law from damage, to whoever reads the compacted topic first.
    store = world.store
    assert all(r.whole for r in verify_log(store.log, store.genesis.log_id, store.decoder))
    world.close()
    again = Runtime(Folder(world.root), world.settings, SystemClock())
    try:
        applied = again.store.history.stream(CREDIT)[0].message
        assert isinstance(applied.parties, Erased)
        assert applied.parties.certificate == made.certificate
    finally:
        world.desk = Desk(Folder(world.root), world.settings, SystemClock(), again, 0)


def test_what_is_sealed_is_not_sent_compressed(cluster: KafkaCluster, tmp_path: Path) -> None:
    """Trap 8: sealed bytes only cost time to compress, and lengths would tell of what is in them (trap 7)."""
    assert KafkaSettings(bootstrap="here:1").compression == "none"
    rig = rig_on(cluster, tmp_path)
    rig.preload(applications(Workload(5, subjects=4), 40))
    rig.work_off(40)
    blocks = [
        record.value[-400:]
        for record, _ in events_of(rig, "CreditApplied")
        if record.value is not None
    ]
    packed = sum(len(zlib.compress(b)) for b in blocks)
    assert packed >= 0.98 * sum(map(len, blocks))
    rig.close()


def rig_on(cluster: KafkaCluster, folder: Path) -> Rig:
    flags = {"log": f"kafka://{cluster.bootstrap}", "kafka.replication": "1"}
    settings = config.load(None, flags, {}).settings
    kafka = replace(settings.kafka, prefix=f"r{uuid.uuid4().hex[:8]}.")
    return Rig(folder, profile="secure", log=open_cluster(replace(settings, kafka=kafka)))


def test_while_the_key_service_is_down_known_subjects_go_on_and_new_ones_wait_in_order(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    rig = rig_on(cluster, tmp_path)
    vault = rig.vault
    assert vault is not None
    service = Switched(vault.service)
    vault.service = service
    known = Workload(1, subjects=2)
    rig.preload(applications(known, 4))
    rig.work_off(4)
    other = Workload(2, subjects=STRANGERS)
    other.take(100)  # streams of their own
    strangers = applications(other, STRANGERS)
    rig.preload(strangers)
    mine = vault.pseudonym("albion", "party-0")
    vault.evict([r.key_id for r in vault.store.records() if r.subject != mine])
    service.up = False
    late = applications(known, 4)
    rig.preload(late)
    until(rig, lambda: {c.id for c in late} <= rig.answered.keys())
    waiting = [c for c in strangers if c.command.parties.subject != "party-0"]
    until(rig, lambda: len(parked(rig)) == len({c.key for c in waiting}))
    assert not any(s.dead_letters for s in rig.owner.states.values())
    service.up = True
    vault.patience()
    until(rig, lambda: not parked(rig) and {c.id for c in waiting} <= rig.answered.keys())
    verdict = rig.verify()  # order and one answer each, read back from the broker
    assert verdict.answers["accepted"] == rig.sent
    # Each key was written in the unit of its first use: none is used that the topic does not hold.
    used = {m.key for _, m in events_of(rig, "KeyCreated")}
    assert used <= {r.key_id.hex() for r in vault.store.records()}
    rig.close()


def parked(rig: Rig) -> set[str]:
    return {p.key for s in rig.owner.states.values() for p in s.parks.values() if p}


def until(rig: Rig, done: Callable[[], Any]) -> None:
    limit = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < limit
        rig.owner.step(0.1)
        rig.owner.settle()
