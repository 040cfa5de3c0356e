"""What a restart sees must be what the owner knew: answers beyond the window, snapshots of another layout."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from toy_world import DAY, NOON, Pay, PayAt, PurseDecider, World, memory

from usance.engine.owner import unit
from usance.engine.owner.snapshots import Snapshot
from usance.engine.topics import Place
from usance.kernel.clock import BookClock
from usance.kernel.errors import Tampered
from usance.log.contract import Output
from usance.testing.sim_log import SimulatedLog


@pytest.fixture
def world() -> World:
    clock = BookClock(NOON)
    return World(SimulatedLog(clock), clock)


def advance(world: World, instant: int) -> None:
    assert isinstance(world.clock, BookClock)
    world.clock.advance_to(instant)


@pytest.mark.parametrize("restart", [False, True])
def test_an_id_decided_again_after_its_window_has_one_answer_whether_or_not_restarted(
    world: World, restart: bool
) -> None:
    owner = world.owner()
    for day in (0, 8):
        advance(world, NOON + day * DAY)
        world.send("a", Pay(amount=-1), "late")
        world.settle(owner)
    assert world.answers("late") == ["refused", "refused"]
    before = memory(owner)
    if restart:
        owner.close(clean=False)
        owner = world.owner()
        assert memory(owner) == before
    advance(world, NOON + 9 * DAY)
    world.send("a", Pay(amount=-1), "late")
    world.settle(owner)
    assert world.answers("late")[-1] == "duplicate"
    of = world.outcomes("late")[-1].of
    assert of is not None
    assert of.index > 0, "it points to the answer of the eighth day"


@pytest.mark.parametrize("what", ["manifest", "state", "snapshot"])
def test_snapshots_that_cannot_be_read_cost_a_full_fold_and_nothing_else(
    world: World, what: str
) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)
    before = memory(owner)
    owner.close()
    tp = world.topics.at("trade", "snapshots", 0)
    kept = {r.key: r.value for r in world.log.scan(tp, 0)}
    if what == "manifest":
        key, value = b"manifest/7", b"\xc1"
    else:
        key = b"t/purse/a"
        stored = msgspec.msgpack.decode(kept[key] or b"", type=Snapshot)
        other = msgspec.structs.replace(stored, state=msgspec.msgpack.encode({"balance": "x"}))
        value = msgspec.msgpack.encode(other) if what == "state" else b"\xc1"
        manifest = msgspec.msgpack.decode(kept[b"manifest/1"] or b"")
        digest = sha256(value).digest()
        manifest["aggregates"]["t/purse/a"] = (stored.revision, digest)
        world.log.append([Output(tp.topic, 0, b"manifest/1", msgspec.msgpack.encode(manifest))])
    world.log.append([Output(tp.topic, 0, key, value)])
    owner = world.owner()
    if what == "state":  # it is opened by whoever touches it first
        assert owner.restored[Place("trade", 0)] == (0, 1)
        world.pay("a", [1], "late-")
        world.pay("b", [5])
        world.settle(owner)
        assert world.balances() == {"a": 7, "b": 5}
        assert world.answers("late-a-0") == world.answers("b-0") == ["accepted"]
    else:
        assert memory(owner)[Place("trade", 0)][0] == before[Place("trade", 0)][0]
    assert owner.restored[Place("trade", 0)] == (3, 0), "all events, no snapshot"
    assert owner.rounds[Place("trade", 0)].number == (7 if what == "manifest" else 1)


def test_a_snapshot_that_does_not_reach_the_next_event_costs_a_full_fold(world: World) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)
    owner.close()
    owner = world.owner()
    world.pay("a", [4], "late-")
    world.settle(owner)
    owner.close(clean=False)
    tp = world.topics.at("trade", "snapshots", 0)
    kept = {r.key: r.value for r in world.log.scan(tp, 0)}
    stored = msgspec.msgpack.decode(kept[b"t/purse/a"] or b"", type=Snapshot)
    assert stored.revision == 3
    older = msgspec.msgpack.encode(msgspec.structs.replace(stored, revision=2))
    manifest = msgspec.msgpack.decode(kept[b"manifest/1"] or b"")
    manifest["aggregates"]["t/purse/a"] = (2, sha256(older).digest())
    for key, value in ((b"manifest/1", msgspec.msgpack.encode(manifest)), (b"t/purse/a", older)):
        world.log.append([Output(tp.topic, 0, key, value)])
    owner = world.owner()
    assert owner.restored[Place("trade", 0)] == (4, 0), "all events, no snapshot"
    assert world.balances() == {"a": 10}


def test_a_changed_fold_drops_older_rounds(world: World) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)
    owner.close()
    newer = PurseDecider(world.repairs)
    newer.fold_id = "purse-2"
    world.deciders = [newer]
    owner = world.owner()
    assert owner.restored[Place("trade", 0)] == (3, 0)
    assert world.balances() == {"a": 6}


# -- rule 16: what footers say of each other and of the records must hold, or nobody decides


@pytest.mark.parametrize(
    ("field", "change"), [("unit", 1), ("previous_end", -1), ("previous_end", 1)]
)
def test_a_footer_that_does_not_follow_the_one_before_stops_the_line(
    world: World, monkeypatch: pytest.MonkeyPatch, field: str, change: int
) -> None:
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    footer = unit.UnitFooter
    with monkeypatch.context() as patch:
        patch.setattr(
            unit, "UnitFooter", lambda **said: footer(**{**said, field: said[field] + change})
        )
        world.pay("a", [2], "next-")
        world.settle(owner)
    with pytest.raises(Tampered, match="does not follow unit 1"):
        world.owner()


def test_records_that_no_footer_closes_stop_the_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.owner()
    made = unit.Unit
    monkeypatch.setattr(unit, "Unit", lambda *parts: made(*parts[:-1], []))
    world.pay("a", [1])
    world.settle(owner)
    with pytest.raises(Tampered, match="records without a unit footer"):
        world.owner()


@pytest.mark.parametrize("cut", ["outcomes", "commands"])
def test_a_log_that_is_cut_where_a_footer_does_not_say_so_stops_the_line(
    world: World, cut: str
) -> None:
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    at = {k: world.topics.at("trade", k, 0) for k in ("commands", "events", "outcomes")}
    first = world.log.ends(list(at.values()))
    world.pay("a", [2], "late-")
    world.settle(owner)
    place = Place("trade", 0)
    seen = owner.takeover.look([place])[place]
    ends = {at["events"]: first[at["events"]], at["outcomes"]: first[at["outcomes"]] + 1}
    if cut == "commands":
        ends = {at["commands"]: first[at["commands"]]}
    words = {"outcomes": "after the last unit footer", "commands": "beyond the end of the commands"}
    with pytest.raises(Tampered, match=words[cut]):
        owner.takeover.restore(place, seen._replace(ends={**seen.ends, **ends}))


def test_a_timer_fires_when_it_is_due_and_not_before(world: World) -> None:
    owner = world.owner()
    world.send("a", PayAt(timer="t", amount=5, due=NOON + DAY), "later")
    world.settle(owner)
    advance(world, NOON + DAY - 1)
    world.settle(owner)
    assert not sum(world.balances().values())
    advance(world, NOON + DAY)
    world.settle(owner)
    assert world.balances() == {"a": 5}
