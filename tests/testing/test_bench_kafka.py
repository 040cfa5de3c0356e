"""What the Kafka bench makes of what it saw, without a broker."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from usance.testing import bench_kafka_job as job
from usance.testing.bench_kafka import FLUSHED, ONE, TWO, ratios
from usance.testing.bench_kafka_count import Counted, count, rates

WHOLE = [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
WANTED = {"a": 3, "b": 1}


def test_every_version_once_and_in_order_is_whole() -> None:
    found = count(WANTED, WHOLE)
    assert found == Counted(4, 0, 0, 0) and found.whole


def test_a_lost_a_doubled_a_moved_and_a_strange_event_are_each_found() -> None:
    assert count(WANTED, WHOLE[:-1]) == Counted(3, 0, 1, 0)
    assert count(WANTED, [*WHOLE[:2], ("a", 3)]).missing == 1
    assert count(WANTED, [*WHOLE, ("a", 2)]) == Counted(5, 1, 0, 0)
    assert count(WANTED, [("a", 2), ("a", 1), ("b", 1), ("a", 3)]).misplaced > 0
    assert count(WANTED, [*WHOLE, ("c", 1)]) == Counted(5, 0, 0, 1)
    assert count(WANTED, [*WHOLE, ("a", 4)]).misplaced == 1
    assert not count(WANTED, []).whole


@given(st.integers(0, len(WHOLE) - 1), st.booleans())
def test_no_single_mistake_is_overlooked(at: int, lost: bool) -> None:
    changed = WHOLE[:at] + WHOLE[at + 1 :] if lost else [*WHOLE[: at + 1], *WHOLE[at:]]
    assert not count(WANTED, changed).whole


def test_as_many_events_are_expected_as_commands_are_made() -> None:
    number = job.KEYS + 7
    made = Counter(c["credit"] for c in job.commands(number, 3))
    assert made == job.expected(number) and made.total() == number
    assert job.expected(5).total() == 5


def test_the_job_goes_through_every_action_and_refuses() -> None:
    said = next(job.commands(1, 1))
    now, types = job.NEW, []
    for action in ("pay", *job.ACTIONS, "apply", "apply"):
        now, event = job.decide(now, {**said, "action": action})
        types.append(event["refused"] or event["status"])
        assert event["version"] == now.version == len(types)
    assert types == [
        "CREDIT_UNKNOWN", "issued", "issued", "presented", "examined", "accepted", "paid",
        "issued", "CREDIT_EXISTS",
    ]  # fmt: skip
    assert job.decide(now, {**said, "maker": "x", "checker": "x"})[1]["refused"] == "FOUR_EYES"
    assert job.decide(now, {**said, "amount": 0})[1]["refused"] == "INVALID"
    much = {**said, "action": "present", "amount": 2 * now.amount}
    assert job.decide(now, much)[1]["refused"] == "OVERDRAWN"


def test_a_rate_leaves_the_first_batch_out_and_tells_the_warm_half_apart() -> None:
    found = rates([(10.0, 500), (11.0, 100), (12.0, 100), (12.5, 100), (13.0, 100)])
    assert (found.rate, found.second_half, found.seconds) == (400 / 3, 200.0, 3.0)
    assert rates([(1.0, 5), (2.0, 5)]).rate == 0.0


def test_ratios_are_those_of_the_same_round() -> None:
    def run(peer: str, mode: str, rate: float, **more: object) -> dict[str, object]:
        return {"peer": peer, "mode": mode, "rate": rate, "p50_ms": None, **more}

    found = ratios(
        [
            run("usance", "saturation", 90, second_half_rate=100, round=0),
            run("streams", "saturation", 10, second_half_rate=50, round=0),
            run("streams", "saturation", 10, second_half_rate=20, round=1),
            run("usance", "saturation", 90, second_half_rate=80, round=1),
            run("usance", "latency", 200.0) | {"p50_ms": 5.0},
            run("streams", "latency, default commit", 200.0) | {"p50_ms": 60.0},
            run("streams", "latency, late", 200.0, generator_in_time=False) | {"p50_ms": 900.0},
            run("usance", ONE, 100, broker_cores=0.5),
            run("usance", TWO, 150, broker_cores=0.8), run("usance", TWO, 130, broker_cores=0.9),
            run("usance", FLUSHED.format("never", 100), 10), run("usance", FLUSHED.format(1, 100), 9),
        ]
    )  # fmt: skip
    assert found == {
        "rate, usance / streams": 3.0,
        "p50 at 200/s, streams (latency, default commit) / usance": 12.0,
        "rate, two processes / one": 1.4,
        "rate, flushed / not, batch 100": 0.9,
        "broker's cores, one process": 0.5,
        "broker's cores, two processes": 0.85,
    }
