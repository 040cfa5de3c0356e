"""What a member believes of where a partition ends."""

from __future__ import annotations

import pytest

from usance.adapters.kafka_desk import Desk, Reading, Stand
from usance.log.contract import Record


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
