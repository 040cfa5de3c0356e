"""Last heads in the log: two notaries on two machines, one history, whoever dies and whenever."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sim_world import Make
from test_notary import (
    KEY,
    Crash,
    Faults,
    FaultyHeads,
    counts,
    grown,
    notary_of,
    paid,
    sealed,
    world_of,
)
from toy_world import World

from usance.audit.codes import Detected
from usance.audit.note import SigningKey
from usance.audit.ports import LastHead
from usance.engine.proof.following import GroupFollower, ScanFollower
from usance.engine.proof.log_heads import LogHeads, Unkept
from usance.engine.proof.notary import Notary
from usance.kernel.errors import Fenced
from usance.log.contract import Output, TopicPartition, TopicSettings

ORIGIN = "bank.example/usance/test/g1/trade.events/p000"


def place_of(world: World) -> TopicPartition:
    place = world.topics.at("system", "heads", 0)
    if place.topic not in world.log.topics():
        world.log.create_topic(TopicSettings(place.topic, "heads", 1))
    return place


def heads_of(world: World, root: Path, faults: Faults | None = None, key: Any = KEY) -> LogHeads:
    own = FaultyHeads(root / "heads" / "last.sqlite", faults or Faults())
    return LogHeads(world.log, place_of(world), own, key.public)


def shared(world: World, root: Path, faults: Faults | None = None, key: Any = KEY) -> Notary:
    """Return a notary of one machine: its folder, and last heads that the log holds for all."""
    kafka = type(world.log).__name__ == "KafkaLog"
    notary = notary_of(
        world, root, faults, key=key, follower=GroupFollower if kafka else ScanFollower
    )
    notary.heads.close()
    notary.heads = heads_of(world, root, faults, key)
    return notary


def whole(notary: Notary, world: World) -> None:
    """Seal until every record is under a head: a cluster hands partitions out when it likes."""
    for _ in range(300):
        notary.finish()
        if notary.leaves() == sum(counts(world).values()):
            return
        notary.step(0.1)
    raise AssertionError("not everything was sealed")


def head(size: int) -> LastHead:
    return LastHead(ORIGIN, size, bytes([size]) * 32, size, b"tail", 1_000 + size, 0)


# -- the store


def test_heads_are_replaced_where_the_old_ones_stand_and_are_what_another_machine_loads(
    make: Make, tmp_path: Path
):
    world = make()
    one = heads_of(world, tmp_path / "one")
    assert one.load() == {}
    one.advance([(None, head(3))])
    one.advance([(head(3), head(5))])
    two = heads_of(world, tmp_path / "two")
    assert two.load() == {ORIGIN: head(5)}
    two.advance([(head(5), head(8))])
    assert heads_of(world, tmp_path / "one").load() == {ORIGIN: head(8)}
    assert [m for moved in two.replay() for m in moved] == [head(3), head(5), head(8)]


def test_of_two_that_advance_from_one_head_the_first_in_the_log_counts(make: Make, tmp_path: Path):
    world = make()
    one, two = heads_of(world, tmp_path / "one"), heads_of(world, tmp_path / "two")
    one.load()
    two.load()
    one.advance([(None, head(3))])
    with pytest.raises(Fenced):
        two.advance([(None, head(4))])
    with pytest.raises(Fenced):
        two.advance([(None, head(4))])
    for machine in ("one", "two", "three"):
        assert heads_of(world, tmp_path / machine).load() == {ORIGIN: head(3)}
    two.load()
    two.advance([(head(3), head(4))])


def test_another_key_is_refused_before_anything_is_signed(tmp_path: Path):
    world = world_of()
    heads_of(world, tmp_path / "one").load()
    one = heads_of(world, tmp_path / "one")
    one.load()
    one.advance([(None, head(3))])
    with pytest.raises(Detected, match="UNKNOWN_KEY"):
        heads_of(world, tmp_path / "two", key=SigningKey(bytes(32))).load()


def test_a_topic_that_is_not_what_it_was_is_refused(tmp_path: Path):
    world = world_of()
    one = heads_of(world, tmp_path / "one")
    one.load()
    one.advance([(None, head(3))])
    place = place_of(world)
    world.log.append([Output(*place, b"heads", b"no advance")])
    with pytest.raises(Detected, match="RECORD_DAMAGED"):
        heads_of(world, tmp_path / "two").load()
    world.log.expire(place, 1)
    with pytest.raises(Detected, match="MISSING_PREFIX"):
        heads_of(world, tmp_path / "three").load()


def test_a_topic_that_knows_less_than_the_folder_is_a_rollback(tmp_path: Path):
    world, other = world_of(), world_of()
    one = heads_of(world, tmp_path / "one")
    one.load()
    one.advance([(None, head(3))])
    with pytest.raises(Detected, match="ROLLBACK"):
        heads_of(other, tmp_path / "one").load()  # an empty topic in the place of the one it read


def test_heads_that_a_folder_kept_before_there_was_a_topic_are_brought_into_it(tmp_path: Path):
    world = world_of()
    own = FaultyHeads(tmp_path / "one" / "heads" / "last.sqlite", Faults())
    own.advance([(None, head(3))])
    own.close()
    one = heads_of(world, tmp_path / "one")
    assert one.load() == {ORIGIN: head(3)}
    one.advance([(head(3), head(4))])
    assert heads_of(world, tmp_path / "two").load() == {ORIGIN: head(4)}
    behind = FaultyHeads(tmp_path / "three" / "heads" / "last.sqlite", Faults())
    behind.advance([(None, head(9))])
    behind.close()
    with pytest.raises(Detected, match="ROLLBACK"):
        heads_of(world, tmp_path / "three").load()


def test_a_reader_follows_the_topic_and_writes_nothing(tmp_path: Path):
    world = world_of()
    one = heads_of(world, tmp_path / "one")
    one.load()
    one.advance([(None, head(3))])
    reader = LogHeads(world.log, place_of(world), Unkept(), KEY.public)
    assert reader.load() == {ORIGIN: head(3)}
    one.advance([(head(3), head(5))])
    end = world.log.end(place_of(world))
    assert reader.load() == {ORIGIN: head(5)}
    assert world.log.end(place_of(world)) == end
    stranger = LogHeads(world.log, place_of(world), Unkept(), SigningKey(bytes(32)).public)
    with pytest.raises(Detected, match="UNKNOWN_KEY"):
        stranger.load()


# -- notaries on two machines


def test_another_machine_goes_on_where_the_first_ended_with_the_same_history(
    make: Make, tmp_path: Path
):
    world = paid(make)
    first = shared(world, tmp_path / "one")
    whole(first, world)
    first.close()
    world.pay("k1", [1, 2, 3], prefix="later-")
    world.settle(world.owner())
    second = shared(world, tmp_path / "two")
    whole(second, world)
    assert sealed(world, tmp_path / "two") == counts(world)
    second.close()
    again = shared(world, tmp_path / "one")  # the first comes back: its tiles are behind
    again.open()
    whole(again, world)
    assert sealed(world, tmp_path / "one") == counts(world)
    again.close()
    for tree in (tmp_path / "one" / "proof").rglob("checkpoint"):
        other = tmp_path / "two" / "proof" / tree.relative_to(tmp_path / "one" / "proof")
        if "heads" not in tree.parent.name:  # the log of heads took in the third start
            assert other.read_bytes() == tree.read_bytes()


def test_a_log_that_is_behind_its_last_heads_is_not_made_again(tmp_path: Path):
    """The log was put back, and with it no tiles: what another machine signed is not there any more."""
    world, older = world_of(), world_of()
    grown(world, 6)
    grown(older, 2)
    first = shared(world, tmp_path / "one")
    first.finish()
    place = place_of(world)
    for record in world.log.scan(place, 0):
        older.log.append([Output(*place_of(older), record.key, record.value)])
    second = shared(older, tmp_path / "two")
    second.log_id = first.log_id
    with pytest.raises(Detected):
        second.open()
    shown = [p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("checkpoint")]
    assert [str(p) for p in shown] == ["proof/heads/checkpoint"], (
        "the heads that were signed before"
    )
    assert (tmp_path / "two" / shown[0]).read_bytes() == (tmp_path / "one" / shown[0]).read_bytes()


def test_two_that_run_at_once_sign_one_history(tmp_path: Path):
    """The one that lost finds out before it signs; then it goes on from what the other signed."""
    world = world_of()
    grown(world, 2)
    notaries = [shared(world, tmp_path / name) for name in ("one", "two")]
    for turn in range(6):
        grown(world, 1)
        for notary in notaries if turn % 2 else notaries[::-1]:
            with suppress(Fenced):
                notary.finish()
    for name, notary in zip(("one", "two"), notaries, strict=True):
        while True:
            with suppress(Fenced):
                notary.finish()
                break
        sealed(world, tmp_path / name)
    assert sealed(world, tmp_path / "two") == counts(world)


@pytest.mark.parametrize("seed", range(6))
def test_rounds_with_crashes_on_either_machine_end_in_one_history(seed: int, tmp_path: Path):
    """Either machine dies anywhere, loses its disk at times, and the other goes on."""
    dice = random.Random(seed)
    world = world_of()
    for _ in range(12):
        grown(world, 1)
        root = tmp_path / dice.choice(["one", "two"])
        if dice.random() < 0.15:
            shutil.rmtree(root, ignore_errors=True)
        notary = shared(world, root, Faults(dice.randrange(40), before=dice.random() < 0.5))
        with suppress(Crash):
            notary.finish()
        with suppress(Exception):
            notary.heads.close()
    for name in ("one", "two"):
        notary = shared(world, tmp_path / name)
        notary.finish()
        assert sealed(world, tmp_path / name) == counts(world)
        notary.heads.close()
