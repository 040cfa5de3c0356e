"""The faults of a chaos run on Kafka: each does its harm, waits, and takes it back.

A fault of the brokers needs brokers of our own; one of the network needs their proxies. Each is named by what
an operator would see.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer

from usance.adapters.kafka_settings import SESSION_MS, TRANSACTION_MS
from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable
from usance.testing.chaos_machine import Machine
from usance.testing.kafka_broker import KafkaCluster, KafkaNode

FREEZE_S = SESSION_MS / 1000 + 2.5
"""Longer than a session: the group gives the frozen worker's partitions to others."""
FOREIGN_S = TRANSACTION_MS / 1000 + 3.0
"""Longer than any transaction of ours may stay open."""
DOWN_S = (1.0, 6.0)
NETWORK_S = (1.0, 4.0)
LATENCY_S = (0.05, 0.3)
ASK_S = 15.0


class Scene(NamedTuple):
    """What faults are done to. `cluster` is None where the brokers are somebody else's."""

    machine: Machine
    cluster: KafkaCluster | None
    bootstrap: str
    topics: tuple[str, ...]
    group: str
    dice: random.Random
    clock: Clock

    def worker(self) -> str:
        """Return any worker."""
        return f"worker {self.dice.randrange(self.machine.count)}"

    def nodes(self) -> list[KafkaNode]:
        """Return the brokers that are ours."""
        assert self.cluster is not None
        return self.cluster.nodes


Fault = Callable[[Scene], None]


def kill_worker(scene: Scene) -> None:
    """SIGKILL: the supervisor starts it again."""
    scene.machine.send(scene.worker(), signal.SIGKILL)
    scene.clock.sleep(scene.dice.uniform(0.5, 4.0))


def end_worker(scene: Scene) -> None:
    """SIGTERM in the middle of its work: it finishes its unit and leaves; it is started again."""
    scene.machine.send(scene.worker(), signal.SIGTERM)
    scene.clock.sleep(scene.dice.uniform(0.5, 4.0))


def freeze_worker(scene: Scene) -> None:
    """SIGSTOP for longer than its session, then SIGCONT: it wakes as a zombie."""
    scene.machine.send(scene.worker(), signal.SIGSTOP)
    scene.clock.sleep(FREEZE_S)
    scene.machine.thaw()


def rolling_restart(scene: Scene) -> None:
    """Restart each worker in turn, the next when the last one serves again."""
    for number in range(scene.machine.count):
        before = scene.machine.starts()
        scene.machine.send(f"worker {number}", signal.SIGTERM)
        deadline = scene.clock.monotonic() + ASK_S
        while scene.machine.starts() == before and scene.clock.monotonic() < deadline:
            scene.clock.sleep(0.1)
        scene.machine.ready()


def foreign_transaction(scene: Scene) -> None:
    """Somebody leaves a transaction open on a topic of ours: readers see nothing beyond it."""
    topic = scene.dice.choice(scene.topics)
    foreign = Producer(
        {
            "bootstrap.servers": scene.bootstrap,
            "transactional.id": f"foreign-{scene.dice.randrange(1_000_000)}",
            "transaction.timeout.ms": 60_000,
            "log_level": 0,
        }
    )
    try:
        foreign.init_transactions(ASK_S)
        foreign.begin_transaction()
        foreign.produce(topic, b"never committed", b"stranger", 0)
        foreign.flush(ASK_S)
        scene.clock.sleep(FOREIGN_S)
        foreign.abort_transaction(ASK_S)
    except KafkaException as trouble:
        raise Unavailable(
            f"the stranger's transaction failed: {trouble}", hint="Is the cluster up?"
        ) from trouble


def broker_killed(scene: Scene) -> None:
    """SIGKILL of a broker, down for a moment; started again. Of one broker alone: all are down.

    Then it stays away until its controller has taken it out. One that comes back earlier believes that it still
    leads, ends transactions, and passes over their markers in the moment when it is taken out (KAFKA-20734).
    """
    _down_and_up(scene, scene.dice.choice(scene.nodes()), KafkaNode.kill)


def broker_stopped(scene: Scene) -> None:
    """The same in order, as for an upgrade: its partitions go to others first.

    Never of one broker alone: while its partitions have no leader it still ends transactions, and passes over
    their markers there (KAFKA-20734), so that a committed unit stays open for ever.
    """
    _down_and_up(scene, scene.dice.choice(scene.nodes()), KafkaNode.stop)


def leader_killed(scene: Scene) -> None:
    """SIGKILL of the broker that leads a partition being written to."""
    assert scene.cluster is not None
    _down_and_up(scene, scene.cluster.leader(scene.dice.choice(scene.topics)), KafkaNode.kill)


def coordinator_killed(scene: Scene) -> None:
    """SIGKILL of the broker that coordinates the owners' group."""
    assert scene.cluster is not None
    _down_and_up(scene, scene.cluster.coordinator(scene.group), KafkaNode.kill)


def transaction_coordinator_killed(scene: Scene) -> None:
    """SIGKILL of the broker that ends the units of a worker."""
    assert scene.cluster is not None
    worker = scene.dice.randrange(scene.machine.count)
    name = f"{scene.group}-{scene.machine.slot}-{worker}-0"
    _down_and_up(scene, scene.cluster.coordinator(name, transactions=True), KafkaNode.kill)


def all_killed(scene: Scene) -> None:
    """SIGKILL of every broker at once: nobody answers until they are back."""
    assert scene.cluster is not None
    for node in scene.nodes():
        node.kill()
    scene.clock.sleep(max(scene.dice.uniform(*DOWN_S), scene.cluster.fence_s()))
    for node in scene.nodes():
        node.start()
    scene.cluster.wait_ready()


def controller_killed(scene: Scene) -> None:
    """SIGKILL of the controller: brokers serve on, and nothing about them can change meanwhile."""
    assert scene.cluster is not None and scene.cluster.controller is not None
    scene.cluster.controller.kill()
    scene.clock.sleep(scene.dice.uniform(*DOWN_S))
    scene.cluster.controller.start()


def broker_frozen(scene: Scene) -> None:
    """A broker that hangs: connections stay, nothing is answered."""
    node = scene.dice.choice(scene.nodes())
    node.pause()
    scene.clock.sleep(scene.dice.uniform(*DOWN_S))
    node.resume()


def slow_network(scene: Scene) -> None:
    """Every byte is late."""
    for node in scene.nodes():
        assert node.proxy is not None
        node.proxy.latency(scene.dice.uniform(*LATENCY_S))
    _pass_by(scene)


def cut_network(scene: Scene) -> None:
    """Connections are reset and refused: answers to commits are lost on the way."""
    for node in scene.nodes():
        assert node.proxy is not None
        node.proxy.cut()
    _pass_by(scene)


def half_open(scene: Scene) -> None:
    """Connections stay open and move nothing."""
    for node in scene.nodes():
        assert node.proxy is not None
        node.proxy.freeze()
    _pass_by(scene)


def _pass_by(scene: Scene) -> None:
    scene.clock.sleep(scene.dice.uniform(*NETWORK_S))
    for node in scene.nodes():
        assert node.proxy is not None
        node.proxy.heal()


def _down_and_up(scene: Scene, node: KafkaNode, how: Callable[[KafkaNode], None]) -> None:
    assert scene.cluster is not None
    how(node)
    alone = len(scene.cluster.nodes) == 1
    scene.clock.sleep(max(scene.dice.uniform(*DOWN_S), scene.cluster.fence_s() if alone else 0.0))
    node.start()
    scene.cluster.wait_ready()


OF_WORKERS: tuple[Fault, ...] = (
    kill_worker,
    kill_worker,
    end_worker,
    freeze_worker,
    rolling_restart,
    foreign_transaction,
)
OF_BROKERS: tuple[Fault, ...] = (
    broker_killed,
    controller_killed,
    broker_frozen,
    slow_network,
    cut_network,
    half_open,
)
OF_MANY: tuple[Fault, ...] = (
    broker_stopped,
    leader_killed,
    coordinator_killed,
    transaction_coordinator_killed,
    all_killed,
)
"""For clusters that live on without one broker."""


def plan(scene: Scene) -> list[Fault]:
    """Return the faults that can be done here, in a random order, each once (some twice)."""
    found = [*OF_WORKERS]
    if scene.cluster is not None:
        found += OF_BROKERS
        if len(scene.cluster.nodes) > 1:
            found += OF_MANY
    scene.dice.shuffle(found)
    return found


def heal(scene: Scene) -> None:
    """Take everything back: every broker runs, the network is whole, nobody is frozen."""
    scene.machine.thaw()
    if scene.cluster is None:
        return
    controller = scene.cluster.controller
    if controller is not None and not controller.running():
        controller.start()
    for node in scene.cluster.nodes:
        if node.proxy is not None:
            node.proxy.heal()
        node.resume()
        if not node.running():
            node.start()
    scene.cluster.wait_ready()
