"""What one broken command may not do to others: rules 1, 8, 14 and 22 of docs/protocol.md."""

from toy_world import CLERK, DAY, NOON, Break, Forward, Pay, PayAt, World

from usance.engine.reactors.reactor import Commands, Outgoing
from usance.kernel.clock import BookClock
from usance.kernel.errors import Tampered
from usance.kernel.timers import FireTimer
from usance.log.contract import TopicPartition
from usance.messages.frames import uuid5
from usance.testing.sim_log import SimulatedLog


def make(**k):
    clock = BookClock(NOON)
    return World(SimulatedLog(clock), clock, **k)


def test_a_control_command_with_a_key_that_is_no_text_stops_nobody():
    w = make()
    o = w.owner()
    out = w.commands.output(Outgoing("t/purse/a", FireTimer(timer_id="x", due=1), "f1", "x"), NOON)
    w.log.append([out._replace(key=b"\xff\xfe/a/b")])
    w.pay("b", [1])
    w.settle(o)
    assert w.balances() == {"b": 1}


def test_a_command_in_a_partition_that_is_not_its_keys_begins_no_second_aggregate():
    w = make(partitions=2)
    o = w.owner()
    out = w.commands.output(Outgoing("t/purse/a", Pay(amount=5), "f1", "x"), NOON)
    two = w.commands.output(Outgoing("t/purse/a", Pay(amount=5), "f2", "x"), NOON)
    w.log.append([out, two._replace(partition=1 - out.partition)])
    w.settle(o)
    assert w.answers("f1") == ["accepted"] and w.answers("f2") == ["refused"]


def test_the_breaker_stops_at_its_count_and_floods_nothing():
    w = make()
    o = w.owner()
    for n in range(60):
        w.send(f"k{n}", Break(kind="x"), f"b{n}")
    for _ in range(50):
        o.step()
    assert len(w.letters()) == 20 and o.paused


def test_a_tampered_block_in_a_command_is_that_commands_fault_alone():
    w = make()
    o = w.owner()
    real = o.world.decoder.message

    def message(headers, value):
        found = real(headers, value)
        if isinstance(found, Pay) and found.amount == 66:
            raise Tampered("a private block has an unknown marker")
        return found

    o.world.decoder.message = message
    w.pay("a", [66])
    w.pay("b", [1])
    w.settle(o)
    assert w.answers("a-0") == ["dead-lettered"] and w.answers("b-0") == ["accepted"]


def test_a_carried_instant_is_refused_under_the_log_clock():
    w = make()
    o = w.owner()
    book = Commands(w.log, w.topics, w.encoder, book_clock=True)
    book.append(
        [Outgoing("t/purse/a", Pay(amount=1), "i1", "x", actor=CLERK, instant=NOON + DAY)], NOON
    )
    w.settle(o)
    assert w.answers("i1") == ["refused"]


def all_records(compiled):
    w = make(partitions=2)
    o = w.owner()
    if not compiled:
        o.world.encoder._native, o.world.encoder._uuid5 = None, uuid5
    for n in range(12):
        w.pay(f"k{n % 5}", [n, -n, 0, n])
        w.send(f"k{n % 5}", PayAt(timer="t", due=NOON + 60_000 + n, amount=n), f"at-{n}")
        w.send(f"k{n % 3}", Forward(amount=n, to=f"t/purse/k{n % 4}"), f"to-{n}")
        w.settle(o)
        w.clock.advance_to(w.clock.now() + 60_000)
        w.settle(o)
    places = [
        TopicPartition(t.name, n) for t in w.log.topics().values() for n in range(t.partitions)
    ]
    found = {place: list(w.log.scan(place, 0)) for place in places}
    assert sum(len(records) for records in found.values()) > 200
    return found, w.balances()


def test_what_is_decided_is_recorded_alike_at_once_and_step_by_step():
    assert all_records(compiled=True) == all_records(compiled=False)
