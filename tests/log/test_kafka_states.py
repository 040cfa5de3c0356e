"""The producers' table of states, every pair of it."""

from __future__ import annotations

from itertools import product

import pytest
from confluent_kafka import KafkaError, KafkaException

from usance.adapters.kafka_cluster import first_error
from usance.adapters.kafka_producer import UnitProducer
from usance.adapters.kafka_settings import KafkaSettings
from usance.adapters.kafka_states import TABLE, Event, State, after
from usance.kernel.clock import SystemClock


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_is_a_move_of_the_table_or_a_mistake(state: State, event: Event) -> None:
    if (state, event) in TABLE:
        assert after(state, event) is TABLE[state, event]
    else:
        with pytest.raises(AssertionError, match="cannot meet"):
            after(state, event)


def reached(start: State, without: set[Event]) -> set[State]:
    """Return the states that can follow a state, never by these events."""
    found, waiting = set(), [start]
    while waiting:
        state = waiting.pop()
        more = {to for (at, event), to in TABLE.items() if at is state and event not in without}
        waiting += more - found
        found |= more
    return found


def test_a_producer_in_doubt_is_never_used_before_it_is_rebuilt() -> None:
    usable = {State.IDLE, State.OPEN, State.COMMITTING}
    assert not reached(State.UNCERTAIN, {Event.REBUILT}) & usable
    assert not reached(State.RETIRED, {Event.REBUILT}) & usable
    assert {to for (_, event), to in TABLE.items() if event in (Event.DOUBT, Event.SLOW)} <= {
        State.UNCERTAIN,
        State.RETIRED,
    }


def test_only_a_commit_under_way_can_become_uncertain() -> None:
    assert {at for (at, _), to in TABLE.items() if to is State.UNCERTAIN} == {State.COMMITTING}


def test_a_fenced_producer_stays_so_and_all_others_can_come_back() -> None:
    assert reached(State.FENCED, set()) == set()
    assert all(State.IDLE in reached(s, set()) for s in State if s is not State.FENCED)


def test_nothing_commits_that_was_not_begun() -> None:
    assert [pair for pair, to in TABLE.items() if to is State.COMMITTING] == [
        (State.OPEN, Event.COMMIT)
    ]
    assert [pair for pair, to in TABLE.items() if to is State.OPEN] == [(State.IDLE, Event.BEGIN)]


def test_a_fatal_error_that_the_binding_raises_beside_a_result_is_told_as_what_it_is() -> None:
    """As `flush` did when the broker had ended a transaction while its records were awaited."""
    producer = UnitProducer(KafkaSettings(bootstrap="localhost:1"), "g", 0, SystemClock())
    fenced = KafkaException(KafkaError(KafkaError._FENCED, "fenced by a newer one", fatal=True))
    with pytest.raises(KafkaException) as told, producer._call():
        raise SystemError("returned a result with an exception set") from fenced
    assert first_error(told.value).fatal() and producer.called_at is None
    with pytest.raises(SystemError, match="another bug"), producer._call():
        raise SystemError("another bug")
