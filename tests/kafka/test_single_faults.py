"""One fault at a time, on a real broker and real processes: what each does to a log, and that it ends there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from owner_child import STAGES
from payments import AMOUNTS, KEYS, fed, stepped, until, whole
from toy_world import Break, PayAt, World, on_broker

from usance.engine import genesis
from usance.engine.owner import attempts
from usance.engine.owner.owner import OWNER_GROUP
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Tampered, Unavailable
from usance.kernel.ids import RandomIds
from usance.log.contract import TopicPartition, TopicSettings

pytestmark = pytest.mark.slow

CHILD = Path(__file__).with_name("owner_child.py")
clock = SystemClock()


@pytest.fixture
def prefix() -> str:
    return f"{RandomIds().fresh()[-12:]}-"


@pytest.fixture
def world(kafka: str, prefix: str) -> Iterator[World]:
    world = on_broker(kafka, prefix, "parent", clock, partitions=2, batch=4)
    yield world
    world.log.close()


def child(
    kafka: str, prefix: str, what: str = "nothing", stage: str = "", slot: str = "child"
) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, str(CHILD), kafka, prefix, slot, what, stage],
        env={**os.environ, "PYTHONPATH": path},
    )


def live(*given: str) -> int:
    return child(*given).wait(90)


def alter(kafka: str, topic: str, **options: str) -> None:
    entries = [
        ConfigEntry(n.replace("_", "."), v, incremental_operation=AlterConfigOpType.SET)
        for n, v in options.items()
    ]
    admin = AdminClient({"bootstrap.servers": kafka})
    asked = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    for done in admin.incremental_alter_configs([asked]).values():
        done.result(10)


# --- processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_an_owner_killed_at_a_stage_of_its_unit_leaves_it_whole_or_absent(
    kafka: str, prefix: str, world: World, stage: str
) -> None:
    fed(world)
    assert live(kafka, prefix, "kill", stage) == -signal.SIGKILL
    assert live(kafka, prefix) == 0
    whole(world)


def test_an_owner_asked_to_end_in_a_batch_finishes_its_unit_and_is_trusted(
    kafka: str, prefix: str, world: World
) -> None:
    fed(world)
    assert live(kafka, prefix, "term", "after-produce") == 0
    done = len(world.records("outcomes")) + len(world.records("outcomes", 1))
    assert 0 < done < len(KEYS) * len(AMOUNTS), "in the middle of it"
    released = {r.key: r.value for r in world.records("attempts")}
    assert released[attempts.RELEASE] == b"clean"
    assert live(kafka, prefix) == 0
    whole(world)


@pytest.mark.parametrize("stage", ["after-produce", "before-commit"])
def test_a_zombies_unit_never_appears(kafka: str, prefix: str, world: World, stage: str) -> None:
    """Frozen for longer than its session, in the middle of a unit; another owner has decided when it wakes."""
    fed(world)
    zombie = child(kafka, prefix, "stop", stage)
    try:
        until(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "T")
        owner = world.owner(alone=False)
        every = len(KEYS) * len(AMOUNTS)
        stepped(
            owner,
            world,
            lambda: len(owner.states) == len(world.topics.places()) and owner.decided >= every - 8,
        )
        world.settle(owner)
        whole(world)
        zombie.send_signal(signal.SIGCONT)
        stepped(owner, world, lambda: zombie.poll() is not None)
    finally:
        zombie.kill()
    whole(world)
    owner.close()


def test_a_unit_that_takes_longer_than_its_transaction_may_is_decided_again(
    kafka: str, prefix: str, world: World
) -> None:
    fed(world)
    assert live(kafka, prefix, "sleep", "after-produce") == 0
    whole(world)


@pytest.mark.parametrize("kind", ["kill", "hang"])
def test_a_record_that_ends_its_process_again_and_again_is_quarantined(
    kafka: str, prefix: str, world: World, kind: str
) -> None:
    fed(world)
    world.send("k", Break(kind=kind), "killer")
    world.pay("k", [1], "behind-")
    codes = [live(kafka, prefix)]
    while codes[-1] != 0:
        codes.append(live(kafka, prefix))
        assert len(codes) < 8
    # The first death meets a whole batch, so no record can be blamed for it yet.
    dead = -signal.SIGKILL if kind == "kill" else Unavailable.exit_code
    assert codes == [dead] * (1 + attempts.DEATHS_MAX) + [0]
    whole(world)
    assert [found for _, found in world.letters()] == ["process-killer"]
    assert world.answers("behind-k-0") == ["parked"]


# --- topics ---------------------------------------------------------------------------------


def test_a_foreign_transaction_left_open_holds_up_one_partition_alone(
    kafka: str, prefix: str, world: World
) -> None:
    fed(world)
    foreign = Producer({"bootstrap.servers": kafka, "transactional.id": f"{prefix}stranger"})
    foreign.init_transactions(10)
    foreign.begin_transaction()
    foreign.produce(prefix + world.topics.name("trade", "outcomes"), b"x", b"y", 0)
    foreign.flush(10)
    owner = world.owner(alone=False)
    stepped(owner, world, lambda: world.topics.place("t/purse/x") and owner.decided >= 10)
    assert {p.partition for p in owner.states if p.context == "trade"} == {1}
    assert "open" in owner.trouble
    foreign.abort_transaction(10)
    stepped(owner, world, lambda: not owner.untaken)
    world.settle(owner)
    whole(world)
    owner.close()


def test_an_event_that_the_topic_does_not_take_is_dead_lettered_and_its_neighbours_are_decided(
    kafka: str, prefix: str, world: World
) -> None:
    alter(kafka, prefix + world.topics.name("trade", "events"), max_message_bytes="20000")
    owner = world.owner()
    fed(world)
    world.send("g", PayAt(timer="x" * 40_000, due=1, amount=1), "large")
    world.pay("g", [5], "behind-")
    stepped(owner, world, lambda: world.answers("large"))
    world.settle(owner)
    whole(world)
    assert world.answers("large") == ["dead-lettered"]
    assert [found for _, found in world.letters()] == ["limit"]
    owner.close()


def poisoned(world: World) -> tuple[TopicPartition, int]:
    """Send a command that meets a bug, and one behind it; returns where, and at which offset."""
    place = world.topics.input(world.topics.place("t/purse/a"))
    end = world.log.end(place)
    world.send("a", Break(kind="bug"), "poison")
    world.pay("a", [100], "behind-")
    return place, end


def test_while_a_dead_letter_cannot_be_written_its_partition_stands_and_others_go_on(
    kafka: str, prefix: str, world: World
) -> None:
    letters = prefix + world.topics.name("trade", "dead-letters")
    owner = world.owner()
    fed(world)
    world.settle(owner)
    alter(kafka, letters, max_message_bytes="100")
    at, offset = poisoned(world)
    stepped(owner, world, lambda: owner.paused)
    assert [p.partition for p in owner.paused] == [at.partition]
    world.pay("abcdef"[next(i for i, k in enumerate(KEYS) if other(world, k, at))], [1], "on-")
    stepped(owner, world, lambda: sum(world.balances().values()) == 6 * sum(AMOUNTS) + 1)
    assert world.log.position(OWNER_GROUP, at) == offset, "never passed"
    assert world.answers("poison") == [] == world.letters()
    alter(kafka, letters, max_message_bytes="5000000")
    owner.resume()
    stepped(owner, world, lambda: world.answers("poison"))
    assert world.answers("poison") == ["dead-lettered"] and len(world.letters()) == 1
    owner.close()


def other(world: World, key: str, at: TopicPartition) -> bool:
    return world.topics.place(f"t/purse/{key}").partition != at.partition


def remove(kafka: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([name])[name].result(10)
    until(lambda: name not in admin.list_topics(timeout=10).topics)


def test_without_a_dead_letter_topic_nothing_is_passed(
    kafka: str, prefix: str, world: World
) -> None:
    owner = world.owner()
    fed(world)
    world.settle(owner)
    remove(kafka, prefix + world.topics.name("trade", "dead-letters"))
    at, offset = poisoned(world)
    stepped(owner, world, lambda: owner.paused)
    assert [p.partition for p in owner.paused] == [at.partition]
    assert world.log.position(OWNER_GROUP, at) == offset, "never passed"
    assert world.answers("poison") == [] == world.answers("behind-a-0")


def test_a_topic_that_was_deleted_and_created_again_stops_the_start(
    kafka: str, prefix: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = world.topics.name("trade", "events")
    kept = world.log.topics()[name]
    assert genesis.check(world.log, "usance", clock)
    remove(kafka, prefix + name)
    monkeypatch.setattr(genesis, "COMPLETE_S", 0.5)
    with pytest.raises(Tampered, match="not the one"):
        genesis.check(world.log, "usance", clock)
    again = on_broker(kafka, prefix, "again", clock)
    again.log.create_topic(TopicSettings(name, kept.kind, kept.partitions))
    with pytest.raises(Tampered, match="not the one"):
        genesis.check(again.log, "usance", clock)
    again.log.close()


def test_a_commands_topic_that_is_replaced_under_a_running_owner_is_never_read_from_its_start(
    kafka: str, prefix: str, world: World
) -> None:
    owner = world.owner()
    fed(world)
    world.settle(owner)
    name = world.topics.name("trade", "commands")
    remove(kafka, prefix + name)
    again = on_broker(kafka, prefix, "again", clock)
    again.log.create_topic(TopicSettings(name, "commands", 2))
    again.pay("a", [1_000], "new-")
    with pytest.raises(Tampered):
        stepped(owner, world, lambda: world.answers("new-a-0"), 60.0)
    assert world.answers("new-a-0") == []
    again.log.close()


def test_retention_that_ate_unread_commands_stops_the_owner(
    kafka: str, prefix: str, world: World
) -> None:
    owner = world.owner()
    fed(world)
    world.settle(owner)
    owner.close()
    world.pay("a", [1, 2, 3], "late-")
    at = world.topics.input(world.topics.place("t/purse/a"))
    world.log.expire(at, world.log.end(at) - 1)
    with pytest.raises(Tampered, match="holds"):
        stepped(world.owner(alone=False), world, lambda: world.answers("late-a-2"))
    assert world.answers("late-a-2") == []
