"""Commands in, outcomes back: in the owner's process and beside it; reactors, history, upkeep, genesis."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from toy_world import DAY, NOON, Break, Pay, World

from usance.adapters.sqlite_log import SqliteLog
from usance.engine import genesis
from usance.engine.control import IntakePassed
from usance.engine.gateway import Gateway, Replies, Waiters, append_and_wait
from usance.engine.history import History, runs_of
from usance.engine.owner.state import HEAP_SLACK, Entry, PartitionState
from usance.engine.reactors.reactor import Commands, Outgoing, Reactor
from usance.engine.upkeep import PASSED_BEHIND_MS, SILENCE_MAX_MS, IntakeProgress, Upkeep
from usance.engine.verify import verify_log
from usance.engine.vitals import Vitals
from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.errors import NotFound, Tampered, Unavailable, Unreadable, UsanceError
from usance.log.contract import Output, Record, TopicPartition
from usance.messages.outcome import Outcome
from usance.testing.sim_hazards import Hazards
from usance.testing.sim_log import SimulatedLog, SimulatedMember


@pytest.fixture
def clock() -> BookClock:
    return BookClock(NOON)


@pytest.fixture
def world(clock: BookClock) -> World:
    return World(SimulatedLog(clock), clock)


def outgoing(amount: int, command_id: str) -> Outgoing:
    return Outgoing("t/purse/a", Pay(amount=amount), command_id, "api:1")


def test_callers_hear_of_their_command_once_it_is_durable(world: World) -> None:
    waiters = Waiters()
    gateway = Gateway(world.commands, waiters, world.clock)
    heard: list[Outcome] = []
    gateway.submit(outgoing(5, "c-1"), heard.append, lambda e: None)
    gateway.submit(outgoing(-5, "c-2"), heard.append, lambda e: None)
    owner = world.owner()
    owner.on_outcomes = waiters.resolve
    assert gateway.step() == 2
    assert heard == []
    world.settle(owner)
    assert [(o.command_id, o.answer) for o in heard] == [("c-1", "accepted"), ("c-2", "refused")]


def test_a_gateway_hears_from_owners_in_other_processes_through_its_own_partition(
    world: World,
) -> None:
    waiters = Waiters()
    here = Commands(world.log, world.topics, world.encoder, book_clock=False, reply=0)
    lost = Commands(world.log, world.topics, world.encoder, book_clock=False, reply=99)
    replies = Replies(world.log, world.topics, world.decoder, 0, waiters)
    heard: list[Outcome] = []
    for commands, command_id in ((here, "c-1"), (lost, "c-2")):
        gateway = Gateway(commands, waiters, world.clock)
        gateway.submit(outgoing(5, command_id), heard.append, lambda e: None)
        gateway.step()
    world.settle(world.owner())
    assert heard == []
    assert replies.step() == 1
    assert [(o.command_id, o.answer) for o in heard] == [("c-1", "accepted")]
    assert replies.step() == 0


def test_when_the_log_is_down_every_caller_is_told(world: World) -> None:
    gateway = Gateway(world.commands, Waiters(), world.clock)
    errors: list[Exception] = []

    def broken(outputs: object) -> list[int]:
        raise Unavailable("disk full", hint="Free some space.")

    world.log.append = broken  # type: ignore[method-assign, assignment]
    for n in range(3):
        gateway.submit(outgoing(1, f"c-{n}"), lambda o: None, errors.append)
    gateway.step()
    assert [type(e) for e in errors] == [Unavailable] * 3
    assert gateway.waiters._waiting == {}


def test_a_command_that_cannot_be_written_fails_its_own_caller_alone(world: World) -> None:
    waiters = Waiters()
    gateway = Gateway(world.commands, waiters, world.clock)
    owner = world.owner()
    owner.on_outcomes = waiters.resolve
    heard: list[Outcome] = []
    failed: list[Exception] = []
    huge = Outgoing("t/purse/b", Break(kind="x" * 5_000_000), "huge", "api:1")
    for one in (outgoing(1, "one"), huge, outgoing(2, "two")):
        gateway.submit(one, heard.append, failed.append)
    assert gateway.step() == 3
    world.settle(owner)
    assert [o.command_id for o in heard] == ["one", "two"]
    assert [type(e) for e in failed] == [Unreadable]


def test_a_guest_process_appends_and_finds_its_outcome_in_the_log(tmp_path: Path) -> None:
    clock = SystemClock()
    log = SqliteLog.open(tmp_path / "log.sqlite", clock=clock)
    world = World(log, clock)
    owner = world.owner()
    guest = SqliteLog.open(tmp_path / "log.sqlite", owner=False, clock=clock)
    beside = World(guest, clock)
    outcome = append_and_wait(
        guest, world.topics, beside.commands, world.decoder, outgoing(7, "g-1"), clock.now(),
        step=lambda: owner.step(0.0), clock=clock,
    )  # fmt: skip
    assert (outcome.answer, outcome.revision) == ("accepted", 1)
    with pytest.raises(Unavailable, match="no answer"):
        append_and_wait(
            guest, world.topics, beside.commands, world.decoder, outgoing(7, "g-2"), clock.now(),
            timeout=0.3, clock=clock,
        )  # fmt: skip
    guest.close()
    owner.close()
    log.close()


def test_a_reaction_done_twice_is_decided_once(world: World) -> None:
    owner = world.owner()
    world.pay("a", [1, 2])
    world.settle(owner)

    def react(record: Record) -> list[Outgoing]:
        return [Outgoing("t/purse/b", Pay(amount=10), f"r-{record.offset}", "event:x")]

    topic = world.topics.name("trade", "events")
    for group in ("one", "one-again"):
        reactor = Reactor(group, world.log, [topic], react, world.commands, world.clock.now)
        reactor.open()
        while reactor.step(0.0) and reactor.handled < 2:
            pass
        reactor.close()
    world.settle(owner)
    assert world.balances()["b"] == 20


def test_a_reactor_that_cannot_write_goes_back_and_loses_nothing(world: World) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)
    tries: list[int] = []

    def react(record: Record) -> list[Outgoing]:
        tries.append(record.offset)
        if len(tries) == 2:
            raise Unavailable("the target is down", hint="Wait.")
        return []

    topic = world.topics.name("trade", "events")
    reactor = Reactor("g", world.log, [topic], react, world.commands, world.clock.now)
    reactor.open()
    with pytest.raises(Unavailable):
        reactor.step()
    while reactor.step(0.0):
        pass
    assert len(set(tries)) == 3
    assert reactor.handled == 3
    assert reactor.lag() == 0


def test_a_fact_that_no_reaction_can_handle_is_dead_lettered_and_its_neighbours_go_on(
    world: World,
) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)

    def react(record: Record) -> list[Outgoing]:
        if record.offset == world.records("events")[1].offset:
            raise LookupError("a bug")
        return [Outgoing("t/purse/b", Pay(amount=10), f"r-{record.offset}", "event:x")]

    topic = world.topics.name("trade", "events")
    for group in ("g", "g"):  # the second time as after a crash before the position was saved
        reactor = Reactor(group, world.log, [topic], react, world.commands, world.clock.now)
        reactor.open()
        while reactor.step(0.0) and reactor.handled < 3:
            pass
        world.log.set_positions("g", {TopicPartition(topic, 0): 0})
    world.settle(owner)
    assert world.balances()["b"] == 20
    letters = world.records("dead-letters")
    assert len(letters) == 1
    assert b"LookupError" in dict(letters[0].headers)["usance-dlq-error-message"]
    assert b"a bug" not in repr(letters).encode()


def test_a_reaction_that_must_wait_loses_nothing_whatever_it_raises(world: World) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)
    waits = [Unreadable("schema", "unknown schema id"), Tampered("x"), Unavailable("down")]

    def react(record: Record) -> list[Outgoing]:
        if waits:
            raise waits.pop()
        return [Outgoing("t/purse/b", Pay(amount=10), f"r-{record.offset}", "event:x")]

    topic = world.topics.name("trade", "events")
    reactor = Reactor("g", world.log, [topic], react, world.commands, world.clock.now)
    reactor.open()
    for _ in range(3):
        with pytest.raises(UsanceError):
            reactor.step()
        assert reactor.trouble
    while reactor.step(0.0):
        pass
    world.settle(owner)
    assert world.balances()["b"] == 30


def test_a_member_that_lost_a_partition_never_moves_the_position_of_the_next_one() -> None:
    log = SimulatedLog(BookClock(NOON), hazards=Hazards(shared_groups=True))
    world = World(log, BookClock(NOON))
    owner = world.owner()
    world.pay("a", [1, 2])
    world.settle(owner)
    topic = world.topics.name("trade", "events")
    frozen, next_one = (
        Reactor("g", log, [topic], lambda record: [], world.commands, world.clock.now)
        for _ in range(2)
    )
    frozen.open()
    while frozen.step(0.0):  # nothing was caused, so nothing is saved yet
        pass
    assert isinstance(frozen.member, SimulatedMember)
    log.expel(frozen.member)
    next_one.open()
    world.pay("a", [3])
    world.settle(owner)
    frozen.step(0.0)
    while next_one.step(0.001):
        pass
    log.set_positions("g", {TopicPartition(topic, 0): log.end(TopicPartition(topic, 0))})
    ahead = log.position("g", TopicPartition(topic, 0))
    frozen.close()
    assert log.position("g", TopicPartition(topic, 0)) == ahead


def test_a_batch_that_causes_more_than_one_append_can_hold_is_written_in_portions(
    world: World,
) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3, 4])
    world.settle(owner)

    def react(record: Record) -> list[Outgoing]:
        size = 4_000_000 if record.offset == world.records("events")[3].offset else 3_000_000
        return [Outgoing("t/purse/b", Break(kind="x" * size), f"r-{record.offset}", "event:x")]

    topic = world.topics.name("trade", "events")
    reactor = Reactor("g", world.log, [topic], react, world.commands, world.clock.now)
    reactor.open()
    while reactor.step(0.0):
        pass
    world.settle(owner)
    assert [n for n in range(3) if world.answers(f"r-{world.records('events')[n].offset}")] == [
        0, 1, 2,
    ]  # fmt: skip
    assert len(world.letters()) == 2  # the first breaks and parks its key; the last was too large


def test_history_counts_each_event_once_when_its_reading_was_cut_short(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.pay("a", [1, 2, 3])
    world.settle(world.owner())
    history = History(world.log, world.topics, world.decoder)
    scan = world.log.scan

    def short(*args: Any) -> Iterator[Record]:
        yield from islice(scan(*args), 2)
        raise Unavailable("the broker went away")

    with monkeypatch.context() as patch:
        patch.setattr(world.log, "scan", short)
        with pytest.raises(Unavailable):
            history.stream("t/purse/a")
    assert [p.meta.revision for p in history.stream("t/purse/a")] == [1, 2, 3]


def test_history_gives_a_stream_up_to_a_revision_and_follows_the_log(world: World) -> None:
    owner = world.owner()
    history = History(world.log, world.topics, world.decoder)
    world.pay("a", [1, 2])
    world.pay("b", [9])
    world.settle(owner)
    assert [p.message.amount for p in history.stream("t/purse/a")] == [1, 2]
    world.pay("a", [4], "later-")
    world.settle(owner)
    assert [p.meta.revision for p in history.stream("t/purse/a")] == [1, 2, 3]
    assert [p.message.amount for p in history.stream("t/purse/a", 2)] == [1, 2]
    assert history.fold(world.deciders[0], "t/purse/a", 2).balance == 3
    with pytest.raises(NotFound):
        history.stream("t/purse/nobody")


def test_upkeep_expires_read_commands_and_never_unread_ones(world: World, clock: BookClock) -> None:
    owner = world.owner()
    world.pay("a", [1, 2, 3])
    world.settle(owner)
    clock.advance_to(NOON + 31 * DAY)
    world.pay("a", [4], "new-")
    upkeep = Upkeep(world.log, clock, ["usance-owner"])
    upkeep.next_at = clock.now()
    while upkeep.step() or upkeep.todo:
        pass
    left = [world.decoder.meta(r.headers).command_id for r in world.records("commands")]
    assert left == ["new-a-0"]
    world.settle(owner)
    owner.close(clean=False)
    again = world.owner()
    assert world.balances() == {"a": 10}
    again.close()


def test_intake_tells_no_instant_beyond_what_still_waits(world: World, clock: BookClock) -> None:
    topic = world.topics.name("trade", "intake")
    world.log.append([Output(topic, 0, b"f", b"x")])
    arrived = clock.now()
    tp = world.topics.at("trade", "intake", 0)
    world.log.set_positions("usance-intake", {tp: 0})
    clock.advance_to(NOON + DAY)
    progress = IntakeProgress(
        world.log, world.topics, world.commands, clock, "usance-intake", lambda: True
    )
    assert progress.step() == 1
    assert progress.told < arrived
    world.log.set_positions("usance-intake", {tp: world.log.end(tp)})
    progress.last_at -= 10
    progress.step()
    assert progress.told == clock.now() - PASSED_BEHIND_MS
    sent = [world.decoder.message(r.headers, r.value) for r in world.records("commands")]
    assert [type(m) for m in sent] == [IntakePassed, IntakePassed]
    owner = world.owner()
    world.settle(owner)
    assert owner.states[world.topics.place("t/purse/a")].passed == {
        0: clock.now() - PASSED_BEHIND_MS
    }


def test_a_deadline_that_waits_for_silent_intake_is_shown_to_people(
    world: World, clock: BookClock
) -> None:
    topic = world.topics.name("trade", "intake")
    world.log.append([Output(topic, 0, b"f", b"x")])
    tp = world.topics.at("trade", "intake", 0)
    world.log.set_positions("usance-intake", {tp: 0})
    clock.advance_to(clock.now() + 2 * PASSED_BEHIND_MS)
    progress = IntakeProgress(
        world.log, world.topics, world.commands, clock, "usance-intake", lambda: True
    )
    assert progress.step() == 1
    clock.advance_to(clock.now() + SILENCE_MAX_MS + 1)
    progress.last_at -= 10
    with pytest.raises(Unavailable, match="stands still"):
        progress.step()
    world.log.set_positions("usance-intake", {tp: world.log.end(tp)})
    progress.last_at -= 10
    assert progress.step() == 1, "it has passed on"


def test_a_log_without_its_genesis_or_with_a_topic_made_anew_is_refused(clock: BookClock) -> None:
    world = World(SimulatedLog(clock), clock)
    assert genesis.check(world.log, "usance").log_id == world.genesis.log_id
    with pytest.raises(Tampered):
        genesis.check(SimulatedLog(clock), "usance")
    topics = dict(world.log.topics())
    name = world.topics.name("trade", "events")
    topics[name] = topics[name]._replace(topic_id="another")
    world.log.topics = lambda: topics  # type: ignore[method-assign]
    with pytest.raises(Tampered, match="not the one"):
        genesis.check(world.log, "usance")


def test_a_cluster_that_lists_its_topics_one_by_one_is_waited_for_and_a_deleted_topic_stops(
    clock: BookClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(SimulatedLog(clock), clock)
    monkeypatch.setattr(genesis, "LOOK_S", 0.0)
    whole = dict(world.log.topics())
    lacking = [
        {},
        {n: t for n, t in whole.items() if not n.endswith("trade.events")},
    ]
    world.log.topics = lambda: lacking.pop(0) if lacking else whole  # type: ignore[method-assign]
    assert genesis.check(world.log, "usance", SystemClock()).log_id == world.genesis.log_id
    assert not lacking
    monkeypatch.setattr(genesis, "COMPLETE_S", 0.05)
    del whole[world.topics.name("trade", "events")]
    with pytest.raises(Tampered, match="not the one"):
        genesis.check(world.log, "usance", SystemClock())


def test_a_part_that_stays_stuck_ends_its_process_and_one_that_comes_round_does_not() -> None:
    ended: list[str] = []
    vitals = Vitals(SystemClock(), 0.05, lambda part, _: ended.append(part))
    vitals.beat("hanging")
    for _ in range(8):
        vitals.beat("well")
        SystemClock().sleep(0.02)
        vitals.look()
    assert set(ended) == {"hanging"}


def test_verification_names_the_first_broken_record(tmp_path: Path) -> None:
    clock = SystemClock()
    path = tmp_path / "log.sqlite"
    log = SqliteLog.open(path, clock=clock)
    world = World(log, clock)
    owner = world.owner()
    world.pay("a", [1, 2, 3, 4])
    world.settle(owner)
    reports = verify_log(log, world.genesis.log_id, world.decoder)
    assert all(r.whole for r in reports)
    assert sum(r.records for r in reports) > 8
    second = world.records("events")[1]
    owner.close()
    log.close()
    with sqlite3.connect(path) as direct:
        tables = direct.execute("select name from sqlite_master where name like 'log_%'").fetchall()
        for (table,) in tables:
            direct.execute(
                f'update "{table}" set value = ? where offset = ? and value = ?',
                (second.value[:-1] + b"\x7f", second.offset, second.value),
            )
    direct.close()
    log = SqliteLog.open(path, clock=clock)
    broken = [r for r in verify_log(log, world.genesis.log_id, world.decoder) if not r.whole]
    assert [b.topic for b in broken] == ["usance.trade.events"]
    assert broken[0].broken is not None
    assert (broken[0].broken.index, broken[0].broken.offset) == (1, second.offset)
    log.close()


@pytest.mark.parametrize("change", ["altered", "cut"])
def test_an_altered_or_cut_last_event_is_found_by_the_footer_behind_it(
    tmp_path: Path, change: str
) -> None:
    clock = SystemClock()
    path = tmp_path / "log.sqlite"
    log = SqliteLog.open(path, clock=clock)
    world = World(log, clock)
    owner = world.owner()
    world.pay("a", [1, 2, 3, 4])
    world.settle(owner)
    last = world.records("events")[-1]
    owner.close()
    log.close()
    with sqlite3.connect(path) as direct:
        names = direct.execute("select name from sqlite_master where name like 'log_%events%'")
        for (table,) in names.fetchall():
            where = f'from "{table}" where "offset" = ? and value = ?'
            if direct.execute(f"select 1 {where}", (last.offset, last.value)).fetchone():
                if change == "cut":
                    direct.execute(f"delete {where}", (last.offset, last.value))
                else:
                    direct.execute(
                        f'update "{table}" set value = ? where "offset" = ?',
                        (last.value[:-1] + b"\x7f", last.offset),
                    )
    direct.close()
    log = SqliteLog.open(path, clock=clock)
    broken = [r for r in verify_log(log, world.genesis.log_id, world.decoder) if not r.whole]
    assert [b.topic for b in broken] == ["usance.trade.events"]
    assert broken[0].broken is not None
    if change == "altered":
        assert broken[0].broken.offset == last.offset
    else:
        assert "was due" in broken[0].broken.reason
    log.close()


def test_history_forgets_old_streams_at_its_bound_says_so_and_still_finds_them(
    world: World,
) -> None:
    owner = world.owner()
    history = History(world.log, world.topics, world.decoder, indexed_max=4)
    world.pay("a", [1, 2])
    world.pay("b", [3])
    world.settle(owner)
    assert [p.message.amount for p in history.stream("t/purse/a")] == [1, 2]
    assert history.trouble == ""
    world.pay("b", [4, 5], "later-")
    world.settle(owner)
    assert [p.message.amount for p in history.stream("t/purse/b")] == [3, 4, 5]
    assert "out of memory" in history.trouble
    assert [p.message.amount for p in history.stream("t/purse/a")] == [1, 2]
    world.pay("a", [6], "again-")
    world.settle(owner)
    assert [p.message.amount for p in history.stream("t/purse/a")] == [1, 2, 6], (
        "a part is no stream"
    )
    assert [p.message.amount for p in history.stream("t/purse/a", 2)] == [1, 2]
    with pytest.raises(NotFound):
        history.stream("t/purse/nobody")


def test_upkeep_keeps_the_word_that_a_key_is_gone_until_every_view_has_it(
    world: World, clock: BookClock
) -> None:
    tp = world.topics.at("trade", "parked", 0)
    for value in (b"x", None):
        world.log.append([Output(tp.topic, 0, b"k", value)])
    taken_in = 1

    def upkeep_after(instant: int) -> int:
        clock.advance_to(instant)
        upkeep = Upkeep(world.log, clock, [], lambda at: taken_in if at == tp else None)
        upkeep.next_at = clock.now()
        while upkeep.step() or upkeep.todo:
            pass
        return sum(1 for _ in world.log.scan(tp, 0))

    assert upkeep_after(NOON + 30 * DAY) == 1, "a view lags: only what was overwritten goes"
    taken_in = 2
    assert upkeep_after(NOON + 30 * DAY) == 0
    world.log.append([Output(tp.topic, 0, b"k", None)])
    taken_in = world.log.end(tp)
    assert upkeep_after(NOON + 30 * DAY + DAY // 2) == 1, "too young, whoever has read it"
    assert upkeep_after(NOON + 32 * DAY) == 0


def test_cancelled_timers_leave_the_heap() -> None:
    state = PartitionState()
    for number in range(3 * HEAP_SLACK):
        timers = (("t", number, "due"),)
        state.set_timers("k", timers)
        state.entries["k"] = Entry(None, number, b"", timers)
    assert len(state.heap) <= HEAP_SLACK + 2
    assert state.first_due() == (3 * HEAP_SLACK - 1, "k", "t")


def test_a_streams_events_are_read_in_runs_and_none_of_others_comes_along() -> None:
    assert [list(run) for run in runs_of([])] == []
    near = [3, 4, 5, 13, 22, 23]
    assert [list(run) for run in runs_of(near)] == [[3, 4, 5, 13], [22, 23]]
