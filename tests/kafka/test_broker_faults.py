"""Three brokers under one owner: whichever of them dies, and whenever, each payment counts once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from payments import AMOUNTS, KEYS, fed, stepped, whole
from toy_world import World, on_broker

from usance.adapters.kafka_producer import UnitProducer
from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable
from usance.kernel.ids import RandomIds
from usance.testing.kafka_broker import KafkaCluster

pytestmark = pytest.mark.slow

clock = SystemClock()
EVERY = len(KEYS) * len(AMOUNTS)
MINUTE = 60.0


@pytest.fixture(scope="module")
def cluster(cluster_of: Callable[..., KafkaCluster]) -> KafkaCluster:
    return cluster_of(3, proxied=True)


@pytest.fixture
def prefix() -> str:
    return f"{RandomIds().fresh()[-12:]}-"


@pytest.fixture
def world(cluster: KafkaCluster, prefix: str) -> Iterator[World]:
    world = on_broker(cluster.bootstrap, prefix, "", clock, copies=3, partitions=2, batch=4)
    yield world
    world.log.close()
    for node in cluster.nodes:
        assert node.proxy is not None
        node.proxy.heal()
        if not node.running():
            node.start()
    cluster.wait_ready()


def at_rest(owner: Owner, world: World) -> None:
    def idle() -> bool:
        try:
            return owner.idle()
        except Unavailable:
            return False

    stepped(owner, world, idle)


def once_before_a_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something when the second unit is wholly written and about to be committed."""
    send, done = UnitProducer._send, [0]

    def sending(self: UnitProducer, client: Any, rows: Any, deadline: float) -> None:
        send(self, client, rows, deadline)
        done[0] += 1
        if done[0] == 4:
            act()

    monkeypatch.setattr(UnitProducer, "_send", sending)


@pytest.mark.parametrize("who", ["leader", "group coordinator", "transaction coordinator"])
def test_a_broker_that_dies_at_a_commit_loses_and_doubles_nothing(
    cluster: KafkaCluster, prefix: str, world: World, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.owner()
    fed(world)
    node = {
        "leader": lambda: cluster.leader(prefix + world.topics.name("trade", "events")),
        "group coordinator": lambda: cluster.coordinator(prefix + OWNER_GROUP),
        "transaction coordinator": lambda: cluster.coordinator(
            f"{prefix}{OWNER_GROUP}-0-1", transactions=True
        ),
    }[who]()
    once_before_a_commit(monkeypatch, node.kill)
    stepped(owner, world, lambda: owner.decided >= EVERY, 90.0)
    assert not node.running()
    at_rest(owner, world)
    whole(world)
    owner.close()


@pytest.mark.parametrize("how", ["latency", "cut", "freeze"])
def test_a_network_that_fails_at_a_commit_loses_and_doubles_nothing(
    cluster: KafkaCluster, world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.owner()
    fed(world)
    ill: list[float] = []

    def harm() -> None:
        ill.append(clock.monotonic())
        for node in cluster.nodes:
            assert node.proxy is not None
            if how == "latency":
                node.proxy.latency(0.4)
            elif how == "cut":
                node.proxy.cut()
            else:
                node.proxy.freeze()

    def healed() -> bool:
        if ill and clock.monotonic() - ill[0] > 6.0:
            for node in cluster.nodes:
                assert node.proxy is not None
                node.proxy.heal()
        return owner.decided >= EVERY

    once_before_a_commit(monkeypatch, harm)
    stepped(owner, world, healed, 90.0)
    assert ill
    at_rest(owner, world)
    whole(world)
    owner.close()


def test_all_brokers_down_for_a_minute_are_waited_for(
    cluster: KafkaCluster, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.owner()
    fed(world)
    down: list[float] = []

    def harm() -> None:
        down.append(clock.monotonic())
        for node in cluster.nodes:
            node.kill()

    def back() -> bool:
        if down and clock.monotonic() - down[0] > MINUTE and not cluster.nodes[0].running():
            for node in cluster.nodes:
                node.start()
        return owner.decided >= EVERY

    once_before_a_commit(monkeypatch, harm)
    stepped(owner, world, back, 4 * MINUTE)
    at_rest(owner, world)
    whole(world)
    owner.close()
