"""The holes of transactions over a consumer group, on a real broker: each closed by the adapter.

Where a rule of docs/protocol.md is what closes it, the test also shows the broker without the rule.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from kafka_world import (
    batch_of,
    end_transaction,
    fresh_prefix,
    kafka_log,
    producer_of,
    with_topics,
)

from usance.adapters import (
    kafka_cluster,
    kafka_commits,
    kafka_endings,
    kafka_settings,
    kafka_stalls,
)
from usance.adapters import kafka_log as kafka_log_module
from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_producer import Sealed, UnitProducer
from usance.adapters.kafka_rows import Row
from usance.adapters.kafka_states import State
from usance.engine.standby import GroupElection
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Fenced, Unavailable, Uncertain
from usance.log.contract import Assigned, Lost, Receipt, Revoked, Unit
from usance.testing.conformance import (
    C0,
    C1,
    COMMANDS,
    E0,
    EVENTS,
    GROUP,
    O0,
    Owner,
    changes,
    gathered,
    out,
    values,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PROTOCOLS = ("classic", "consumer")
clock = SystemClock()


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
def log(kafka: str, prefix: str) -> Iterator[KafkaLog]:
    log = with_topics(kafka_log(kafka, prefix))
    yield log
    log.close()


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = clock.monotonic() + seconds
    while not true():
        assert clock.monotonic() < deadline, "it did not come about"
        clock.sleep(0.01)


def producers(log: KafkaLog) -> list[UnitProducer]:
    (committer,) = log._committers.values()
    return committer._pool._producers


def in_turn(log: KafkaLog, after: int = 0) -> UnitProducer:
    """Return the producer of the next unit, or of one after it."""
    (committer,) = log._committers.values()
    pool = committer._pool
    return pool._producers[(pool._turn + after) % len(pool._producers)]


def on_send(producer: UnitProducer, step: int, act: Callable[[], None]) -> None:
    """Do something once, after a step of the unit: 0 its records are in the log, 1 its footers."""
    real, done = producer._send, [0]

    def send(client: Any, rows: list[Row], deadline: float) -> None:
        real(client, rows, deadline)
        done[0] += 1
        if done[0] == step + 1:
            act()

    producer._send = send  # type: ignore[method-assign,assignment]


def foot(n: int) -> list[Any]:
    return [out(O0, b"foot %d" % n)]


# --- order ----------------------------------------------------------------------------------


def breaks(found: list[int]) -> int:
    return sum(b != a + 1 for a, b in pairwise(found))


def test_units_of_every_size_lie_in_the_log_in_the_order_of_their_receipts(log: KafkaLog) -> None:
    owner = Owner(log)
    sizes = [2_000, 1, 300, 1, 7, 1_999, 1, 1, 40, 2_000, 3, 1] * 2
    log.append([out(C0, b"c")] * len(sizes))
    number, flight = 0, None
    for n, size in enumerate(sizes):
        rows = [out(E0, b"%d" % (number + i)) for i in range(size)]
        number += size
        staged = log.stage(
            owner.unit(batch_of(owner, 1), rows, [out(E0, b"%d" % number), *foot(n)])
        )
        number += 1
        if flight is not None:
            owner.last = flight.result(10.0)
        flight = log.commit(staged, owner.last)
    assert flight is not None and flight.result(10.0)
    found = [int(r.value or b"") for r in log.scan(E0, 0)]
    assert len(found) == number and breaks(found) == 0
    assert log.position(GROUP, C0) == len(sizes)


def test_without_a_barrier_between_units_the_log_is_out_of_order(
    kafka: str, log: KafkaLog, prefix: str
) -> None:
    # What every pipelined loop does that produces unit n+1 while n is on its way.
    made = []
    for n in range(2):
        settings = log.settings.transactional("naive", n) | {"batch.num.messages": 500}
        made.append(Producer(settings))
        made[-1].init_transactions(15)
    number = 0
    for n in range(40):
        first, second = made[n % 2], made[(n + 1) % 2]
        for producer, size in ((first, 1_500), (second, 20)):
            producer.begin_transaction()
            for _ in range(size):
                producer.produce(prefix + EVENTS, b"%d " % number + b"x" * 300, b"k", 0)
                number += 1
        first.commit_transaction(10)
        second.commit_transaction(10)
    found = [int((r.value or b"").split()[0]) for r in log.scan(E0, 0)]
    assert sorted(found) == list(range(number))
    assert breaks(found) > 0


# --- fences ---------------------------------------------------------------------------------


def taken(log: KafkaLog, sealed: Sealed, member: Any) -> bool:
    """Tell whether the broker takes a unit under metadata that are asked for only now."""
    (committer,) = log._committers.values()
    try:
        committer._pool.next().commit(sealed._replace(token=member._fence().token))
    except Unavailable:
        return False
    return True


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_zombie_that_rejoined_cannot_commit_under_the_fence_it_read_with(
    kafka: str, prefix: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_settings, "MAX_POLL_MS", 6_000)
    stalled = with_topics(kafka_log(kafka, prefix, "a", group_protocol=protocol))
    zombie = Owner(stalled)
    batch = batch_of(zombie, 2)
    unit = zombie.unit(batch, [out(E0, b"zombie")], foot(0))
    staged = stalled.stage(unit)
    member: Any = zombie.member
    asleep, real = threading.Event(), member._poll
    member._poll = lambda: asleep.wait(60) and []
    monkeypatch.undo()
    fresh = kafka_log(kafka, prefix, "b", group_protocol=protocol)
    owner = Owner(fresh)  # waits until the stalled member has lost all
    owner.commit(owner.unit(batch_of(owner, 4), [out(E0, b"owner")], foot(0)))
    member._poll = real
    asleep.set()
    until(lambda: any(isinstance(c, Lost) for c in zombie.member.poll()))
    until(lambda: member._fence().epoch > batch.fence.epoch)  # it is a member again
    with pytest.raises(Unavailable, match="changed hands"):
        stalled.commit(staged, zombie.last).result(10.0)
    # Nor would the broker take it, were our own books wrong; with fresh metadata it would.
    with pytest.raises(Unavailable, match="refused"):
        in_turn(stalled).commit(staged.sealed)
    assert values(list(fresh.scan(E0, 0))) == [b"owner"]
    until(lambda: taken(stalled, staged.sealed, member))
    assert values(list(fresh.scan(E0, 0))) == [b"owner", b"zombie"], (
        "the rule is not needed any more"
    )
    stalled.close()
    fresh.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_fence_of_no_member_is_refused_though_the_broker_takes_it(
    kafka: str, prefix: str, protocol: str
) -> None:
    log = with_topics(kafka_log(kafka, prefix, group_protocol=protocol))
    owner = Owner(log)
    unit = owner.unit(batch_of(owner, 2), [out(E0, b"stranger")], foot(0))
    stranger = Consumer({"bootstrap.servers": kafka, "group.id": prefix + GROUP})
    token: Any = stranger.consumer_group_metadata()
    for fence in (
        unit.fence._replace(token=token, epoch=-1, member=""),
        unit.fence._replace(token=b""),
        unit.fence._replace(epoch=-1),
    ):
        with pytest.raises(Unavailable, match="no membership"):
            log.commit(log.stage(unit._replace(fence=fence)), owner.last).result(10.0)
    assert values(list(log.scan(E0, 0))) == []
    in_turn(log).commit(log.stage(unit).sealed._replace(token=token))
    assert values(list(log.scan(E0, 0))) == [b"stranger"], "the rule is not needed any more"
    stranger.close()
    log.close()


# --- the unit before is lost ----------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1])
def test_when_a_unit_is_lost_the_next_one_does_not_commit(log: KafkaLog, step: int) -> None:
    """The broker ends unit n because it took too long; n+1 is on its way behind it."""
    owner = Owner(log)
    first = owner.unit(batch_of(owner, 2), [out(E0, b"1")], foot(1))
    second = owner.unit(batch_of(owner, 2), [out(E0, b"2")], foot(2))
    slow = in_turn(log)
    on_send(slow, step, lambda: clock.sleep(6.5))
    lost = log.commit(log.stage(first), owner.last)
    behind = log.commit(log.stage(second), Receipt(10_000, 0))
    with pytest.raises(Unavailable):
        lost.result(20.0)
    with pytest.raises(Fenced, match="does not follow"):
        behind.result(20.0)
    assert slow.state is State.RETIRED
    assert values(list(log.scan(E0, 0))) == [] and log.position(GROUP, C0) == 0
    owner.last = log.start(owner.member)
    log.abort(log.stage(second))
    log.abort(log.stage(first))
    again = batch_of(owner, 4)
    assert [r.offset for r in again.records[C0]] == [0, 1, 2, 3]
    for n in range(3):  # the id that was retired has its turn again
        starts = {C0: 0} if n == 0 else {C0: 4}
        owner.commit(Unit(again.fence, [out(E0, b"%d" % n)], {C0: 4}, starts, foot(n)))
    assert values(list(log.scan(E0, 0))) == [b"0", b"1", b"2"]
    assert log.position(GROUP, C0) == 4


@pytest.mark.parametrize("step", [0, 1])
def test_a_transaction_ended_behind_our_back_is_noticed(
    kafka: str, log: KafkaLog, prefix: str, step: int
) -> None:
    """A late EndTxn(abort) of the same epoch inside a unit: the unit is lost, and nobody says otherwise."""
    owner = Owner(log)
    name = f"{prefix}{GROUP}-a-0"
    twin = producer_of(kafka, name)
    owner.last = owner.commit(owner.unit(batch_of(owner, 1), [out(E0, b"0")], foot(0)))
    for n in (1, 2):
        owner.commit(Unit(owner.read(0).fence, [], {C0: 1}, {C0: 1}, foot(n)))
    codes: list[int] = []
    on_send(
        in_turn(log), step, lambda: codes.append(end_transaction(kafka, name, twin, commit=False))
    )
    # The footer finds it out where the unit has other records in its partition, as every decision has.
    rows = [out(E0, b"%d" % n) for n in range(10)] + [out(O0, b"outcome")]
    with pytest.raises(Unavailable):
        owner.commit(owner.unit(batch_of(owner, 1), rows, foot(3)))
    assert codes == [0], "the broker ended it"
    found = values(list(log.scan(E0, 0))), values(list(log.scan(O0, 0)))
    assert found == ([b"0"], [b"foot 0", b"foot 1", b"foot 2"])
    assert log.position(GROUP, C0) == 1


# --- uncertain ------------------------------------------------------------------------------


class Mute:
    """A client whose commit loses its answer, after it was applied or before it was sent."""

    def __init__(self, real: Any, applied: bool) -> None:
        self.real = real
        self.applied = applied

    def commit_transaction(self, timeout: float) -> None:
        if self.applied:
            self.real.commit_transaction(timeout)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __len__(self) -> int:
        return len(self.real)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("restart", [True, False])
def test_after_an_uncertain_commit_the_log_says_what_happened(
    kafka: str, log: KafkaLog, prefix: str, applied: bool, restart: bool
) -> None:
    owner = Owner(log)
    unit = owner.unit(batch_of(owner, 2), [out(E0, b"1")], foot(1))
    producer: Any = in_turn(log)
    name = f"{prefix}{GROUP}-a-0"
    twin = producer_of(kafka, name)
    producer._client = Mute(producer._client, applied)
    with pytest.raises(Uncertain):
        owner.commit(unit)
    assert producer.state is State.RETIRED
    with pytest.raises(Fenced):
        owner.commit(unit)
    if restart:
        log.close()
        log = kafka_log(kafka, prefix)
        owner = Owner(log)
    else:
        owner.last = log.start(owner.member)
    assert log.position(GROUP, C0) == (2 if applied else 0)
    assert values(list(log.scan(E0, 0, log.end(E0)))) == ([b"1"] if applied else [])
    # The lost request may still arrive: the id's new epoch refuses it, and the next unit is whole.
    codes: list[int] = []
    on_send(in_turn(log), 0, lambda: codes.append(end_transaction(kafka, name, twin, commit=False)))
    at = 2 if applied else 0
    owner.member.seek(C0, at)
    owner.commit(owner.unit(batch_of(owner, 4 - at), [out(E0, b"2")], foot(2)))
    assert codes and codes[0] != 0
    assert values(list(log.scan(E0, 0))) == ([b"1", b"2"] if applied else [b"2"])
    log.close()


class Hanging:
    """A client that does not come back from sending offsets, however little time it is given."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.go_on = threading.Event()
        self.ended = threading.Event()

    def send_offsets_to_transaction(self, *given: Any) -> None:
        assert self.go_on.wait(60.0)
        self.real.send_offsets_to_transaction(*given)

    def commit_transaction(self, timeout: float) -> None:
        try:
            self.real.commit_transaction(timeout)
        finally:
            self.ended.set()

    def abort_transaction(self, timeout: float) -> None:
        try:
            self.real.abort_transaction(timeout)
        finally:
            self.ended.set()

    def close(self) -> None:
        self.ended.set()
        self.real.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __len__(self) -> int:
        return len(self.real)


def test_a_client_that_hangs_in_a_unit_is_given_up_and_nothing_ever_comes_of_it(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_commits, "HANG_SECONDS", 4.0)
    owner = Owner(log)
    unit = owner.unit(batch_of(owner, 2), [out(E0, b"1")], foot(1))
    producer: Any = in_turn(log)
    hanging = producer._client = Hanging(producer._client)
    with pytest.raises(Uncertain, match="not returned in time"):
        log.commit(log.stage(unit), owner.last).result()
    owner.last = log.start(
        owner.member
    )  # with another thread and other producers, under the same ids
    assert producer not in producers(log)
    assert log.position(GROUP, C0) == 0
    owner.member.seek(C0, 0)
    owner.commit(owner.unit(batch_of(owner, 3), [out(E0, b"2")], foot(2)))
    hanging.go_on.set()
    assert hanging.ended.wait(20.0)
    assert values(list(log.scan(E0, 0))) == [b"2"]
    assert log.position(GROUP, C0) == 3


def test_a_process_whose_clients_hang_again_and_again_is_to_be_started_anew(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(log)
    monkeypatch.setattr(kafka_log_module, "HANGS_MAX", 0)
    (committer,) = log._committers.values()
    committer.give_up()
    with pytest.raises(Fenced, match="hung"):
        log.start(owner.member)


# --- a client that knows too little -----------------------------------------------------------


class Outdated:
    """An admin client that goes on asking with an old leader epoch, and is refused for ever."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def list_offsets(self, asked: dict[Any, Any], **more: Any) -> dict[Any, Any]:
        refused = KafkaError(KafkaError.FENCED_LEADER_EPOCH, "old", retriable=True)
        found: dict[Any, Any] = {}
        for place in asked:
            found[place] = Future[Any]()
            found[place].set_exception(KafkaException(refused))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def test_an_admin_client_that_is_refused_for_ever_is_replaced_by_another(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_cluster, "RENEW_SECONDS", 0.0)
    outdated: Any = Outdated(log.cluster._admin)
    log.cluster._admin = outdated
    with pytest.raises(Unavailable, match="FENCED_LEADER_EPOCH"):
        log.end(C0)
    assert log.end(C0) == 4
    assert log.cluster._admin is not outdated


# --- a reader that stands still ---------------------------------------------------------------


def stop_fetching(owner: Owner) -> None:
    """Have the client fetch no more of partition 0 and say nothing, as after failures of its brokers."""
    member: Any = owner.member
    over = threading.Event()

    def pause() -> None:
        member._consumer.pause([member._cluster.place(C0)])
        over.set()

    with member._changed:
        member._requests.append(pause)
    assert over.wait(10.0)


def test_a_partition_that_the_client_silently_fetches_no_more_is_moved_anew(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_stalls, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(kafka_stalls, "STALL_SECONDS", 0.5)
    owner = Owner(log)
    batch_of(owner, 4)
    stop_fetching(owner)
    log.append([out(C0, b"more")])
    found = []

    def read_on() -> bool:
        found.extend(owner.log.read(owner.member, 10, 0.2).records.get(C0, []))
        return bool(found)

    until(read_on, 10.0)
    assert values(found) == [b"more"]


def test_a_client_that_fetches_no_more_however_often_it_is_moved_is_given_up(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_stalls, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(kafka_stalls, "STALL_SECONDS", 0.2)
    owner = Owner(log)
    batch_of(owner, 4)
    member: Any = owner.member
    monkeypatch.setattr(member, "_store", lambda messages: None)
    log.append([out(C0, b"more")])

    def given_up() -> bool:
        try:
            return owner.log.read(owner.member, 10, 0.1).count > 0
        except Fenced as over:
            return "is over" in over.message

    until(given_up, 20.0)


def test_who_was_elected_by_a_group_hears_that_its_membership_is_over(log: KafkaLog) -> None:
    election = GroupElection("elected", log, C0)
    until(election.held)
    member: Any = election._member
    member._fail(kafka_endings.over("elected", "fenced"))
    with pytest.raises(Fenced, match="is over"):
        election.held()
    election.close()


# --- revoke and lost ------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_revoked_partition_goes_over_with_every_input_decided_once(
    kafka: str, prefix: str, protocol: str
) -> None:
    first = with_topics(kafka_log(kafka, prefix, "a", group_protocol=protocol), commands=3)
    first.append([out(C1, b"x"), out(C1, b"y")])
    owner = Owner(first)
    batch = gathered(first, owner.member)
    one = owner.unit(batch, [out(E0, b"one")], foot(1))
    in_turn(first)
    second = kafka_log(kafka, prefix, "b", group_protocol=protocol)
    joining = second.join(GROUP, [COMMANDS])
    change = changes(owner.member)[0]
    assert isinstance(change, Revoked) and len(change.partitions) == 1
    (moved,) = change.partitions
    assert joining.poll() == []
    # A cooperative group has a new generation by now, so the unit is refused and its input goes over;
    # under KIP-848 the old epoch holds until the revocation is acknowledged.
    done = protocol == "consumer"
    if done:
        owner.commit(one)
    else:
        with pytest.raises(Unavailable):
            owner.commit(one)
    owner.member.settled(change)
    assert changes(joining) == [Assigned((moved,))]
    assert owner.member.owned() == {C0, C1} - {moved}
    with pytest.raises(Unavailable, match="changed hands"):
        late = dict(one.positions) if done else dict(one.starts)
        owner.commit(Unit(batch.fence, [out(E0, b"late")], dict(one.positions), late))
    read = gathered(second, joining)
    assert read.count == (0 if done else len(batch.records[moved]))
    left = {p: n for p, n in one.positions.items() if p != moved}
    starts = left if done else {p: n for p, n in one.starts.items() if p != moved}
    fence = owner.read(0).fence
    assert {p for p, _ in fence.ownership} == set(left)
    owner.commit(Unit(fence, [out(E0, b"two")], left, starts, foot(2)))
    assert values(list(first.scan(E0, 0))) == ([b"one"] if done else []) + [b"two"]
    first.close()
    assert changes(joining) == [Assigned(tuple(left))]
    second.close()
