"""What a member believes of where a partition ends."""

from __future__ import annotations

import pytest

from usance.adapters.kafka_desk import Desk, Reading, Stand
from usance.log.contract import Record, TopicPartition


@pytest.fixture
def reading() -> Reading:
    found = Reading(1)
    found.stand, found.next = Stand.ON, 0
    return found


def test_an_end_beyond_what_was_handed_out_has_the_consumer_moved_once_more(
    reading: Reading,
) -> None:
    desk = Desk()
    assert desk.ended(reading, 2), "records 0 and 1 may lie there, unread"
    assert (reading.stand, reading.eof) == (Stand.ASKED, -1)
    reading.stand = Stand.ON  # moved
    assert not desk.ended(reading, 2), "now the client says it of this place: markers lie there"
    assert reading.eof == 2


def test_an_end_behind_what_was_read_or_where_the_reader_stands_is_believed(
    reading: Reading,
) -> None:
    desk = Desk()
    desk.accept(reading, [Record("t", 0, 0, None, b"v", (), 0)], 1)
    assert not desk.ended(reading, 2), "a marker follows the record"
    assert reading.eof == 2
    other = Reading(1)
    other.stand, other.next = Stand.ON, 5
    assert not desk.ended(other, 5) and other.eof == 5


def test_an_end_of_an_earlier_place_is_not_heard(reading: Reading) -> None:
    reading.stand = Stand.ASKED
    assert not Desk().ended(reading, 2)
    assert reading.eof == -1


def desk_with(*waiting: int) -> Desk:
    """Return a desk with so many records of each partition."""
    desk = Desk()
    for number, count in enumerate(waiting):
        reading = desk.held[TopicPartition("t", number)] = Reading(1)
        reading.stand, reading.next, reading.told = Stand.ON, 0, True
        run = [Record("t", number, n, None, b"v", (), 0) for n in range(count)]
        if run:
            desk.accept(reading, run, count)
    return desk


def sizes(taken: dict[TopicPartition, list[Record]]) -> dict[int, int]:
    return {p.partition: len(run) for p, run in taken.items()}


def test_a_backlog_is_taken_from_one_partition_after_the_other() -> None:
    """Each partition that a unit writes to costs the cluster a request, a marker and a wait for the disk."""
    desk = desk_with(20, 20, 20, 20)
    seen = [sizes(desk.take(10)) for _ in range(4)]
    assert all(list(one.values()) == [10] for one in seen)
    assert sorted(p for one in seen for p in one) == [0, 1, 2, 3], "all of them in turn"


def test_a_partition_with_little_never_waits_for_those_with_much() -> None:
    desk = desk_with(50, 50, 2)
    assert sizes(desk.take(10))[2] == 2
    desk = desk_with(50, 2, 2, 50)
    taken = sizes(desk.take(10))
    assert (taken[1], taken[2], sum(taken.values())) == (2, 2, 10) and len(taken) == 3


def test_no_more_is_taken_than_asked_for_nor_less_than_there_is() -> None:
    for waiting, limit in (((3, 3, 3), 100), ((3, 3, 3), 7), ((1, 1, 1, 1), 2), ((9,), 4), ((), 5)):
        desk = desk_with(*waiting)
        assert sum(sizes(desk.take(limit)).values()) == min(limit, sum(waiting))
    assert sizes(desk_with(5, 5).take(0)) == {}
    desk = desk_with(5, 5, 5)
    order = {p: [] for p in range(3)}  # type: dict[int, list[int]]
    while found := desk.take(4):
        for place, run in found.items():
            order[place.partition] += [record.offset for record in run]
    assert order == {key: [0, 1, 2, 3, 4] for key in range(3)} and desk.count == 0
