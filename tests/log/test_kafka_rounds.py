"""What a unit costs a cluster in requests, counted on a real broker by the client itself.

At a low rate these are the latency: each is a round trip, and one after the other.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from kafka_world import batch_of, fresh_prefix, kafka_log, unit_of, with_topics

from usance.adapters.kafka_commits import KafkaPending
from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.adapters.kafka_states import State
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Unavailable
from usance.log.contract import Receipt
from usance.testing.conformance import E0, O0, Owner, out

UNITS = 12
STATISTICS_MS = 50
PER_UNIT = {
    "AddPartitionsToTxn": 1,
    "Produce": 3,  # events, outcomes, footer
    "AddOffsetsToTxn": 1,
    "TxnOffsetCommit": 1,
    "EndTxn": 1,
}


def requests(log: KafkaLog, told: dict[str, Counter[str]]) -> Counter[str]:
    """Return what all clients of a log have asked for, once each has told of the units it committed."""
    clock, total = SystemClock(), Counter[str]()
    deadline = clock.monotonic() + 60.0
    while clock.monotonic() < deadline:
        for producer in next(iter(log._committers.values()))._pool._producers:
            assert producer._client is not None
            producer._client.poll(STATISTICS_MS / 1_000)
        total = sum(told.values(), Counter[str]())
        if total["EndTxn"] >= UNITS:
            break
    return total


@pytest.mark.kafka
def test_a_unit_takes_one_round_of_each_request(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more of any, a footer in a partition of its own above all, is half a millisecond for everybody.

    What a client has to ask again, on a machine that is busy, is less than once a unit.
    """
    told: dict[str, Counter[str]] = {}

    def statistics(text: str) -> None:
        said = json.loads(text)
        found = Counter[str]()
        for broker in said["brokers"].values():
            found.update({name: broker["req"].get(name, 0) for name in PER_UNIT})
        told[said["name"]] = found

    usual = KafkaSettings.transactional

    def counting(self: KafkaSettings, group: str, number: int) -> dict[str, Any]:
        more = {"statistics.interval.ms": STATISTICS_MS, "stats_cb": statistics}
        return usual(self, group, number) | more

    monkeypatch.setattr(KafkaSettings, "transactional", counting)
    log = with_topics(kafka_log(kafka, fresh_prefix()), UNITS)
    try:
        owner = Owner(log)
        for n in range(UNITS):
            batch = batch_of(owner, 1)
            made = [out(E0, b"event"), out(O0, b"outcome")]
            owner.commit(unit_of(owner, batch, made, out(O0, b"footer %d" % n)))
        found = requests(log, told)
    finally:
        log.close()
    few = {name: (UNITS * times, UNITS * (times + 1)) for name, times in PER_UNIT.items()}
    assert all(least <= found[name] < most for name, (least, most) in few.items()), found


@pytest.mark.kafka
def test_whoever_waits_hears_that_a_unit_is_written_before_it_is_committed(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = with_topics(kafka_log(kafka, fresh_prefix()))
    heard: list[tuple[list[State], bool]] = []
    ends = KafkaPending.ends

    def ending(self: KafkaPending) -> None:
        pool = next(iter(log._committers.values()))._pool
        heard.append(([producer.state for producer in pool._producers], self.done()))
        ends(self)

    monkeypatch.setattr(KafkaPending, "ends", ending)
    try:
        owner = Owner(log)
        owner.commit(unit_of(owner, batch_of(owner, 1), [out(E0, b"event")], out(O0, b"footer")))
        assert heard == [([State.COMMITTING, State.IDLE, State.IDLE], False)]
    finally:
        log.close()


def test_a_commit_that_is_over_is_written_however_it_ended() -> None:
    for end in (
        lambda p: p.succeed(Receipt(1, 0)),
        lambda p: p.fail(Unavailable("away")),
        KafkaPending.ends,
    ):
        pending = KafkaPending()
        assert not pending.written(0.0)
        end(pending)
        assert pending.written(0.0)
