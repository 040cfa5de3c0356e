"""`usance.consume`: whatever a handler does, no record is lost, none is passed over, and keys keep their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from consume_world import GROUP, IN, OUT, Shop, position, values

import usance
from usance.adapters.sqlite_log import SqliteLog
from usance.engine.control import Release
from usance.engine.groups import groups
from usance.engine.groups.consuming import Emit, Retry
from usance.kernel.clock import BookClock
from usance.kernel.errors import Refused, Tampered, Unavailable, Unreadable
from usance.kernel.words import Words
from usance.log.contract import TopicPartition, TopicSettings
from usance.testing.sim_hazards import answer_lost, refused_before_commit
from usance.testing.sim_log import SimulatedLog

NOON = 1_795_521_600_000


@pytest.fixture(params=["simulated", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    clock = BookClock(NOON)
    log = (
        SimulatedLog(clock)
        if request.param == "simulated"
        else SqliteLog.open(tmp_path / "log.sqlite", clock=clock)
    )
    yield Shop(log, clock)
    log.close()


def test_what_a_handler_emits_and_how_far_it_read_are_one_commit(shop: Shop) -> None:
    consumer = shop.consumer()
    shop.put("a1", "b1", "a2")
    shop.rest(consumer)
    assert shop.emitted() == values("A1", "B1", "A2")
    assert shop.answers() == ["accepted"] * 3
    assert position(shop) == 3 and shop.footers()[-1].range_end == 3
    assert len(set(shop.ids)) == 3
    consumer.close()
    again = shop.consumer()
    shop.rest(again)
    assert len(shop.seen) == 3, "nothing is delivered twice after a clean end"


def test_an_unknown_error_makes_a_dead_letter_parks_the_key_and_lets_others_flow(
    shop: Shop,
) -> None:
    consumer = shop.consumer()
    shop.broken[b"a1"] = ZeroDivisionError("1/0 with somebody's data in it")
    headers = (("trace", b"\xff\x00"), ("trace", b"twice"))
    shop.put("a1", headers=headers)
    shop.put("b1", "a2", "b2", "a3")
    shop.rest(consumer)
    assert shop.emitted() == values("B1", "B2")
    assert shop.answers() == ["dead-lettered", "accepted", "parked", "accepted", "parked"]
    letter, record = shop.letters()[0], shop.own("dead-letters")[0]
    assert (record.key, record.value) == (b"a", b"a1")
    assert record.headers[-2:] == headers, "the original's own headers follow, byte for byte"
    assert (letter["group"], letter["handler"], letter["class"]) == (GROUP, "Shop.handle", "poison")
    assert letter["error-type"] == "ZeroDivisionError"
    assert not any("somebody" in text for text in letter.values()), "no value of the record leaks"
    shop.broken.clear()
    shop.redrive(letter["id"])
    shop.rest(consumer)
    assert shop.emitted()[2:] == values("A1", "A2", "A3"), "drained in order"
    assert not consumer.standing().parked_keys and not consumer.standing().dead_letters


def test_a_restart_remembers_parks_letters_and_what_was_answered(shop: Shop) -> None:
    consumer = shop.consumer()
    shop.broken[b"a1"] = ZeroDivisionError()
    shop.put("a1", "a2", "b1")
    shop.rest(consumer)
    before = consumer.standing()
    consumer.close(clean=False)
    consumer = shop.consumer()
    shop.rest(consumer)
    assert consumer.standing() == before
    shop.put("a3")
    shop.rest(consumer)
    shop.discard(shop.letters()[0]["id"])
    shop.rest(consumer)
    assert shop.emitted() == values("B1", "A2", "A3")
    wanted = ["dead-lettered", "parked", "accepted", "parked", "accepted", "discarded"]
    assert shop.answers() == [*wanted, "accepted", "accepted", "accepted"]


def test_a_transient_error_is_tried_in_place_then_later_with_its_key_in_order(shop: Shop) -> None:
    consumer = shop.consumer(retry=Retry(in_place=2, pause_ms=1, wait_ms=1_000, attempts_max=99))
    shop.broken[b"a1"] = Unavailable("the archive is down")
    shop.put("a1", "a2", "b1")
    shop.rest(consumer)
    assert shop.attempts == [1, 2, 3, 1], "in place first, then the others"
    assert shop.emitted() == values("B1") and not shop.letters()
    assert shop.answers() == ["parked", "parked", "accepted"]
    consumer.close(clean=False)
    consumer = shop.consumer(retry=Retry(in_place=2, pause_ms=1, wait_ms=1_000, attempts_max=99))
    shop.clock.advance_to(shop.clock.now() + 1_000)
    shop.rest(consumer)
    assert shop.attempts[-3:] == [4, 5, 6] and shop.emitted() == values("B1")
    shop.broken.clear()
    shop.rest(consumer)
    assert shop.emitted() == values("B1"), "not before it is due again"
    shop.clock.advance_to(shop.clock.now() + 2_000)
    shop.rest(consumer)
    assert shop.emitted() == values("B1", "A1", "A2")
    assert not consumer.standing().parked_keys


def test_what_stays_transient_for_too_long_is_a_dead_letter_with_its_key_parked(shop: Shop) -> None:
    consumer = shop.consumer()  # one try a round, four in all
    shop.broken[b"a1"] = ConnectionError()
    shop.put("a1", "a2")
    for _ in range(5):
        shop.rest(consumer)
        shop.clock.advance_to(shop.clock.now() + 60_000)
    assert shop.attempts == [1, 2, 3, 4]
    assert [(one["class"], one["attempts"]) for one in shop.letters()] == [
        ("transient-exhausted", "4")
    ]
    shop.broken.clear()
    shop.redrive(shop.letters()[0]["id"])
    shop.rest(consumer)
    assert shop.emitted() == values("A1", "A2")


def test_a_person_may_release_a_waiting_key_before_it_is_due(shop: Shop) -> None:
    consumer = shop.consumer()
    shop.broken[b"a1"] = ConnectionError()
    shop.put("a1", "a2")
    shop.rest(consumer)
    shop.broken.clear()
    why = Words(text="it is up again")
    shop.ask(Release(key="a", reason=why), Release(key="z", reason=why))
    shop.rest(consumer)
    assert shop.emitted() == values("A1", "A2")
    assert shop.answers().count("refused") == 1


def test_a_refusal_is_an_answer_and_no_failure(shop: Shop) -> None:
    consumer = shop.consumer()
    shop.broken[b"a1"] = Refused("TOO_LATE", "the day is over")
    shop.put("a1", "a2")
    shop.rest(consumer)
    assert shop.answers() == ["refused", "accepted"] and not shop.letters()


def test_poison_goes_to_the_dead_letters_at_once_and_never_reaches_the_handler(shop: Shop) -> None:
    def decode(record: Any) -> str:
        if record.value.startswith(b"\xff"):
            raise Unreadable("decode", "no text")
        return str(record.value.decode())

    consumer = shop.consumer(decode=decode)
    shop.log.append([_raw(b"k", b"\xffjunk"), _raw(None, b"\xff"), _raw(b"\xfe", b"\xff")])
    shop.put("a1")
    shop.rest(consumer)
    assert shop.seen == values("a1")
    found = shop.own("dead-letters")
    assert [(r.key, r.value) for r in found] == [
        (b"k", b"\xffjunk"),
        (None, b"\xff"),
        (b"\xfe", b"\xff"),
    ]
    assert {one["stage"] for one in shop.letters()} == {"decode"}
    assert consumer.standing().parked_keys == 2, "a record without a key holds nobody up"


def _raw(key: bytes | None, value: bytes) -> Any:
    from usance.log.contract import Output

    return Output(IN, 0, key, value)


def test_skip_goes_on_with_the_key_and_a_letter_can_be_redriven_alone(shop: Shop) -> None:
    consumer = shop.consumer(policy="skip")
    shop.broken[b"a1"] = ZeroDivisionError()
    shop.broken[b"b1"] = ConnectionError()
    shop.put("a1", "a2", "b1", "b2")
    shop.rest(consumer)
    assert shop.emitted() == values("A2", "B2")
    consumer.close(clean=False)
    consumer = shop.consumer(policy="skip")
    shop.redrive(shop.letters()[0]["id"])
    shop.rest(consumer)
    assert [one.get("redrive-count") for one in shop.letters()] == [None, "1"], "failed again"
    shop.broken.clear()
    shop.clock.advance_to(shop.clock.now() + 60_000)
    shop.redrive(shop.letters()[0]["id"])
    shop.rest(consumer)
    assert sorted(shop.emitted()) == values("A1", "A2", "B1", "B2")
    assert not consumer.standing().dead_letters and not consumer.standing().parked_keys


def test_what_skip_gives_up_after_its_tries_waits_no_longer(shop: Shop) -> None:
    consumer = shop.consumer(policy="skip")
    shop.broken[b"b1"] = ConnectionError()
    shop.put("b1", "b2")
    for _ in range(6):
        shop.rest(consumer)
        shop.clock.advance_to(shop.clock.now() + 60_000)
    assert [one["class"] for one in shop.letters()] == ["transient-exhausted"]
    assert not consumer.standing().parked_keys and consumer.standing().dead_letters == 1


def test_halt_stops_before_the_record_and_commits_what_stands_before_it(shop: Shop) -> None:
    consumer = shop.consumer(policy="halt")
    shop.broken[b"b1"] = ZeroDivisionError()
    shop.put("a1", "b1", "c1")
    for _ in range(5):
        consumer.step(0.0)
    consumer.settle()
    assert shop.emitted() == values("A1") and position(shop) == 1
    standing = consumer.standing()
    assert not standing.ready and "ZeroDivisionError at offset 1" in standing.paused["orders[0]"]
    assert not shop.letters()
    consumer.close()
    shop.broken.clear()
    consumer = shop.consumer(policy="halt")
    shop.rest(consumer)
    assert shop.emitted() == values("A1", "B1", "C1") and consumer.standing().ready


def test_a_bug_that_meets_many_keys_stops_the_partition_before_it_floods_the_letters(
    shop: Shop,
) -> None:
    keys = [f"{n:03d}" for n in range(60)]
    for key in keys:
        shop.broken[key.encode()] = LookupError()
        shop.put(key, key=key)
    consumer = shop.consumer()
    for _ in range(10):
        consumer.step(0.0)
    consumer.settle()
    assert len(shop.letters()) == 20 and position(shop) == 20
    assert not consumer.standing().ready
    assert consumer.standing().paused == {"orders[0]": "LookupError on 20 different keys"}


def test_an_outage_that_meets_many_keys_pauses_and_one_record_tries_when_it_may_be_over(
    shop: Shop,
) -> None:
    keys = [f"{n:03d}" for n in range(30)]
    for key in keys:
        shop.broken[key.encode()] = ConnectionError()
        shop.put(key, key=key)
    patient = Retry(in_place=0, wait_ms=600_000, attempts_max=9)
    consumer = shop.consumer(retry=patient)
    for _ in range(5):
        consumer.step(0.0)
    consumer.settle()
    assert position(shop) == 20 and not consumer.standing().ready
    shop.clock.advance_to(shop.clock.now() + 31_000)
    for _ in range(5):
        consumer.step(0.0)
    consumer.settle()
    assert position(shop) == 21 and not consumer.standing().ready, "one tried and failed"
    shop.broken.clear()
    shop.clock.advance_to(shop.clock.now() + 700_000)
    shop.rest(consumer)
    shop.clock.advance_to(shop.clock.now() + 700_000)
    shop.rest(consumer)
    assert consumer.standing().ready and not shop.letters()
    assert len(shop.emitted()) == 30 and not consumer.standing().parked_keys


def test_a_record_named_by_source_and_id_is_handled_once_wherever_it_stands(shop: Shop) -> None:
    named = (("ce_source", b"/bank"), ("ce_id", b"7"))
    consumer = shop.consumer()
    shop.put("a1", "a1", headers=named)
    shop.put("a2", headers=named)
    shop.rest(consumer)
    assert shop.emitted() == values("A1")
    assert shop.answers() == ["accepted", "duplicate", "dead-lettered"]
    assert [one["stage"] for one in shop.letters()] == ["dedupe"]


def test_what_is_emitted_has_an_id_that_a_second_handling_repeats(shop: Shop) -> None:
    consumer = shop.consumer()
    shop.put("a1")
    shop.rest(consumer)
    tp = TopicPartition(OUT, 0)
    record = next(iter(shop.log.scan(tp, 0)))
    names = dict(record.headers)
    assert names["ce_id"] and names["ce_source"].endswith(b"/shop")


def test_a_handler_that_emits_nowhere_fails_alone(shop: Shop) -> None:
    def misguided(record: Any) -> list[Emit]:
        if record.value == b"a1":
            return [Emit(OUT, b"kept back"), Emit("nowhere", b"x")]
        if record.value == b"b1":
            return [Emit(OUT, bytes(5_000_000))]
        return [Emit(OUT, record.value), Emit(OUT, b"and more")]

    consumer = shop.consumer(misguided)
    shop.put("a1", "b1", "c1")
    shop.rest(consumer)
    assert shop.emitted() == values("c1", "and more")
    assert {one["stage"] for one in shop.letters()} == {"serialize"}


def test_a_group_keeps_to_the_topics_it_was_begun_with(shop: Shop) -> None:
    shop.consumer().close()
    shop.log.create_topic(TopicSettings("other", "other", 1))
    with pytest.raises(Refused, match="begun without"):
        usance.consume([IN, "other"], GROUP, shop.handle, log=shop.log, clock=shop.clock)
    with pytest.raises(Refused, match="cannot be named"):
        usance.consume(IN, "No Name", shop.handle, log=shop.log, clock=shop.clock)
    assert [g.name for g in groups.all_groups(shop.log, "usance")] == [GROUP]


def test_a_group_that_begins_at_the_end_reads_what_comes_after(shop: Shop) -> None:
    shop.put("a1")
    consumer = shop.consumer(first="end")
    shop.put("a2")
    shop.rest(consumer)
    assert shop.seen == values("a2")


def test_a_position_moved_ahead_stops_the_group_and_one_moved_back_is_overruled(shop: Shop) -> None:
    consumer = shop.consumer()
    shop.put("a1", "a2")
    shop.rest(consumer)
    consumer.close()
    shop.log.set_positions(GROUP, {TopicPartition(IN, 0): 0})
    consumer = shop.consumer()
    shop.rest(consumer)
    assert len(shop.seen) == 2, "the footer wins"
    consumer.close()
    shop.put("a3")
    shop.log.set_positions(GROUP, {TopicPartition(IN, 0): 3})
    with pytest.raises(Tampered, match="ahead"):
        shop.consumer()


@pytest.mark.parametrize("applied", [True, False])
def test_a_commit_of_unknown_end_is_looked_up_and_nothing_is_written_twice(applied: bool) -> None:
    clock = BookClock(NOON)
    shop = Shop(SimulatedLog(clock), clock)
    consumer = shop.consumer(batch_max=1)
    shop.put("a1", "a2", "a3")
    shop.log.fail_commit(answer_lost(applied=applied))
    shop.log.fail_commit(refused_before_commit())
    shop.rest(consumer)
    assert shop.emitted() == values("A1", "A2", "A3")
    assert shop.answers() == ["accepted"] * 3


def test_importing_the_package_imports_neither_engine_nor_adapters() -> None:
    import subprocess
    import sys

    code = "import sys, usance; print([m for m in sys.modules if m.startswith('usance.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
