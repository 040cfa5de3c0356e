"""A caller's trace goes with its command through the log: events, answers, and what a saga does next."""

from __future__ import annotations

import time
from collections import defaultdict

import httpx
import msgspec
from world import MAKER, World

from usance.domain.credit import messages as cm
from usance.engine.verify import verify_log
from usance.log.contract import Record, TopicPartition, header
from usance.testing.trade import parties, terms

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def traced(world: World, trace: bytes) -> dict[str, list[Record]]:
    """Return the records that carry a trace, by kind of topic."""
    log, found = world.program.store.log, defaultdict(list)
    for name, settings in log.topics().items():
        for number in range(settings.partitions):
            place = TopicPartition(name, number)
            for record in log.scan(place, log.begin(place)):
                if header(record.headers, "traceparent") == trace:
                    found[name.rsplit(".", 1)[1]].append(record)
    return found


def apply(web: httpx.Client, credit: str, trace: str) -> None:
    command = cm.ApplyForCredit(
        credit=credit, application=f"APP-{credit}", terms=terms(), parties=parties(), facility="F1"
    )
    headers = {"traceparent": trace, "usance-as": MAKER}
    said = web.post("/commands/ApplyForCredit", json=msgspec.to_builtins(command), headers=headers)
    assert said.status_code == 200, said.text


def test_a_trace_rides_from_the_request_to_the_sagas_next_command(
    web: httpx.Client, world: World
) -> None:
    apply(web, "TF26LC000777", TRACE)
    deadline = time.monotonic() + 60
    sagas: list[Record] = []
    keys: set[str] = set()
    # The saga's events come after the command that causes them: wait for both.
    while not (sagas and "saga" in keys) and time.monotonic() < deadline:
        found = traced(world, TRACE.encode())
        sagas = [r for r in found["commands"] if (r.key or b"").startswith(b"albion/saga/")]
        keys = {(r.key or b"").decode().split("/")[1] for r in found["events"]}
        time.sleep(0.1)
    assert sagas, "the saga's command carries the trace of the application"
    assert {"credit", "saga"} <= keys
    assert found["outcomes"], "the answer carries it too"
    store = world.program.store
    reports = verify_log(store.log, store.genesis.log_id, store.decoder)
    assert [r for r in reports if r.broken is not None] == [], "it rides along, not hashed"


def test_what_is_no_trace_goes_nowhere(web: httpx.Client, world: World) -> None:
    hostile = "00-" + "z" * 32 + "-00f067aa0ba902b7-01"
    apply(web, "TF26LC000778", hostile)
    assert not traced(world, hostile.encode())
