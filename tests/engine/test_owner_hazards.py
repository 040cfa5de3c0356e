"""What brokers do behind an owner's back: each hazard is survived, or stopped where the protocol says so."""

from __future__ import annotations

import random
from contextlib import suppress

import msgspec
import pytest
from sim_world import sim, simulated, tick
from toy_world import Break, World

from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.kernel.errors import Fenced, Tampered, Unavailable
from usance.log.contract import Fence, TopicPartition, Unit
from usance.testing.sim_hazards import STEPS, Hazards, LateEnd, answer_lost, refused_before_commit

SURVIVED = {
    "late_offset_commit": Hazards(late_offset_commit=True),
    "offset_expiry": Hazards(offset_expiry=True),
    "markers_per_topic": Hazards(markers_per_topic=True, gap_max=3),
    "last_stable_offset": Hazards(last_stable_offset=True),
    "all_of_them": Hazards(
        late_offset_commit=True,
        offset_expiry=True,
        markers_per_topic=True,
        last_stable_offset=True,
        gap_max=3,
        short_reads=True,
    ),
}


def balances(owner: Owner) -> dict[str, int]:
    """Return what an owner folded the events to: a group's positions may lie, the log does not."""
    entries = [found for state in owner.states.values() for found in state.entries.items()]
    return {key.rpartition("/")[2]: entry.state.balance for key, entry in entries}


class History:
    """One seeded history: payments, a repeat, a bug with its redrive, crashes and lost answers."""

    def __init__(self, seed: int, hazards: Hazards) -> None:
        self.random = random.Random(f"history {seed}")
        self.world = simulated(seed=seed, hazards=hazards, partitions=2)
        self.paid: dict[str, int] = {}
        self.ids: list[str] = []
        self.owner = self.begin()

    def begin(self) -> Owner:
        """Return an owner, as soon as the log can be read."""
        for _ in range(200):
            with suppress(Unavailable):
                return self.world.owner(batch=self.random.randint(1, 8))
        raise AssertionError("no owner could begin")

    def step(self) -> None:
        with suppress(Unavailable):
            self.owner.step(self.random.choice((0.0, 0.001)))

    def pay(self, number: int) -> None:
        purse, amount = self.random.choice("abcd"), self.random.randint(1, 9)
        self.world.pay(purse, [amount], f"{number}-")
        self.ids.append(f"{number}-{purse}-0")
        self.paid[purse] = self.paid.get(purse, 0) + amount

    def play(self, commands: int = 25) -> None:
        self.world.send("z", Break(kind="bug"), "broken")
        for number in range(commands):
            self.pay(number)
            act = self.random.random()
            if act < 0.1:
                sim(self.world).fail_commit(answer_lost(applied=self.random.random() < 0.5))
            elif act < 0.15:
                sim(self.world).fail_commit(refused_before_commit())
            elif act < 0.25:
                sim(self.world).crash()
                self.owner = self.begin()
            elif act < 0.3:
                tick(self.world, 1_000)
            for _ in range(self.random.randint(0, 3)):
                self.step()
        self.world.repairs.bugs = True
        self.rest()
        self.calm()
        for partition in range(2):  # crashes make killers of the innocent, too
            for record in self.world.records("dead-letters", partition):
                letter = dict(record.headers)["usance-dlq-id"].decode()
                key = (record.key or b"").decode().rpartition("/")[2]
                self.world.redrive(letter, key, f"mend-{letter}")
        self.rest()

    def calm(self) -> None:
        """Let other programs end what they have open: from here on everything is to be seen."""
        log = sim(self.world)
        log.hazards = msgspec.structs.replace(log.hazards, last_stable_offset=False)
        for settings in log.topics().values():
            for number in range(settings.partitions):
                log.end_foreign(TopicPartition(settings.name, number))

    def rest(self) -> None:
        for _ in range(2_000):
            with suppress(Unavailable):
                if self.owner.step(0.001) == 0 and self.owner.idle():
                    return
        raise AssertionError("the owner did not come to rest")

    def check(self) -> None:
        """Each payment has its effect once, each id one deciding answer, a restart changes nothing."""
        assert balances(self.owner) == {**self.paid, "z": 1}
        self.check_answers()
        sim(self.world).crash()
        self.owner = self.begin()
        self.rest()
        assert balances(self.owner) == {**self.paid, "z": 1}
        self.check_answers()

    def check_answers(self) -> None:
        for command_id in (*self.ids, "broken"):
            answers = self.world.answers(command_id)
            assert answers[-1] == "accepted" and answers.count("accepted") == 1, answers


def late_ends(seed: int) -> bool:
    """Play a history in which late requests end transactions; returns whether the line was stopped."""
    history = None
    try:
        history = History(seed, Hazards(late_end_txn=True))
        history.play()
        history.check()
    except Tampered as stop:
        assert history is None or sim(history.world).mischief.torn, "stopped without a torn unit"
        assert stop.hint, "and it says what to do"
        return True
    return False


@pytest.mark.parametrize("name", SURVIVED)
def test_what_a_broker_may_do_to_visibility_and_positions_is_survived(name: str) -> None:
    for seed in range(6):
        history = History(seed, SURVIVED[name])
        history.play()
        history.check()


def test_a_late_end_is_survived_or_stops_the_line_and_both_happen() -> None:
    stopped = [late_ends(seed) for seed in range(30)]
    assert 0 < sum(stopped) < len(stopped)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_thousands_of_histories_are_survived_or_stopped(block: int) -> None:
    for seed in range(1_000 + block * 100, 1_100 + block * 100):
        for hazards in SURVIVED.values():
            history = History(seed, hazards)
            history.play(15)
            history.check()
        late_ends(seed)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("commits", [True, False])
def test_a_late_end_at_each_step_of_the_next_unit(step: str, commits: bool) -> None:
    torn = commits and step in ("offsets", "footers")
    world = simulated()
    owner = world.owner()
    world.pay("a", [1])
    world.settle(owner)
    world.pay("a", [2], "next-")
    sim(world).end_late(LateEnd(step, commits))  # type: ignore[arg-type]
    if torn:
        with pytest.raises(Tampered, match=r"last unit footer|without a unit footer|ahead"):
            world.settle(owner)
        with pytest.raises(Tampered):
            world.owner()
        return
    with suppress(Tampered):  # some of the records may have been in the log by then
        world.settle(owner)
        assert world.balances() == {"a": 3}
        assert world.answers("next-a-0") == ["accepted"]
        return
    assert step == "records" and commits


def nobody(world: World) -> Unit:
    """Return a unit of a memberless client that moves the position past an undecided command."""
    places = [world.topics.at("trade", "commands", 0)]
    fence = Fence(OWNER_GROUP, -1, "", tuple((p, 1) for p in places))
    start = world.log.position(OWNER_GROUP, places[0]) or 0
    return Unit(fence, [], {places[0]: start + 1}, {places[0]: start})


def test_a_commit_of_nobody_is_refused_or_found_at_the_next_take_over() -> None:
    for accepted in (False, True):
        world = simulated(hazards=Hazards(memberless_metadata=accepted))
        owner = world.owner()
        world.pay("a", [1])
        world.settle(owner)
        world.pay("a", [2], "next-")
        assert owner.receipt is not None
        pending = world.log.commit(world.log.stage(nobody(world)), owner.receipt)
        if not accepted:
            with pytest.raises(Fenced):
                pending.result()
            world.settle(owner)
            assert world.balances() == {"a": 3}
            continue
        pending.result()
        sim(world).crash()
        with pytest.raises(Tampered, match="ahead"):
            world.owner()


def test_a_zombies_fence_is_of_another_generation_even_where_nobody_checks_ownership() -> None:
    hazards = Hazards(shared_groups=True, unchecked_ownership=True)
    world = simulated(hazards=hazards, partitions=2)
    zombie = world.owner()
    world.pay("a", [1, 2, 3])
    zombie.step()  # its unit is under way when the group gives it up
    assert zombie.flight is not None and zombie.member is not None
    sim(world).expel(zombie.member)  # type: ignore[arg-type]
    heir = world.owner()
    world.settle(heir)
    assert world.balances() == {"a": 6}
    with pytest.raises(Fenced):
        zombie.settle()
    assert [world.answers(f"a-{n}") for n in range(3)] == [["accepted"]] * 3


def test_positions_that_expired_or_went_back_change_nothing_and_ahead_stops() -> None:
    world = simulated(hazards=Hazards(offset_expiry=True))
    owner = world.owner()
    world.pay("a", [1, 2])
    world.settle(owner)
    owner.close()
    place = world.topics.at("trade", "commands", 0)
    for moved in (None, 0):
        if moved is None:
            sim(world).forget_positions(OWNER_GROUP)
        else:
            world.log.set_positions(OWNER_GROUP, {place: moved})
        owner = world.owner()
        world.settle(owner)
        assert balances(owner) == {"a": 3}
        owner.close()
    sim(world).hazards = Hazards()
    world.pay("a", [4], "next-")
    world.log.set_positions(OWNER_GROUP, {place: world.log.end(place)})
    with pytest.raises(Tampered, match="ahead"):
        world.owner()
