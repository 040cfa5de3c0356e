"""The running program's `/metrics`, as Prometheus reads it, and its health."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_book import start_program


def scraped(web: httpx.Client) -> dict[str, list[Any]]:
    answer = web.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {f.name: f.samples for f in text_string_to_metric_families(answer.text)}


def total(samples: list[Any], suffix: str = "", **labels: str) -> float:
    return sum(
        s.value for s in samples if s.name.endswith(suffix) and labels.items() <= s.labels.items()
    )


@pytest.fixture
def web(started: dict[str, Any]) -> Any:
    headers = {"usance-as": "bruno.lindqvist"}
    with httpx.Client(base_url=started["url"], headers=headers, timeout=30) as client:
        yield client


def test_what_the_program_did_can_be_scraped(web: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while web.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline, web.get("/health/ready").text
        time.sleep(0.2)
    before = scraped(web)
    for number in range(3):
        facility = {
            "facility": f"M{number}", "customer": "party-9", "currency": "USD",
            "limit": 1_000_00, "expiry": "2027-12-31",
        }  # fmt: skip
        said = web.post("/commands/SetFacility", json=facility).json()
        web.get(f"/facilities/M{number}.json", headers={"if-position": said["position"]})
    found = scraped(web)
    owner = {"messaging_consumer_group_name": "usance-owner"}
    consumed = "messaging_client_consumed_messages"
    assert total(found[consumed], "_total") >= total(before.get(consumed, []), "_total") + 3
    commits = {"messaging_operation_name": "commit"}
    durations = "messaging_client_operation_duration_seconds"
    assert total(found[durations], "_count", **commits) > 0
    assert 0 < total(found[durations], "_sum", **commits) < 60
    assert total(found["usance_batch_size"], "_count", **owner) > 0
    assert len(found["usance_consumer_lag"]) > 10
    assert total(found["usance_consumer_lag"], **owner) == 0
    assert total(found["usance_owner_partitions"]) > 4
    assert total(found["usance_owner_paused"]) == 0
    assert max(s.value for s in found["usance_part_age_seconds"]) < 30
    assert {s.labels["usance_projection"] for s in found["usance_projection_lag_seconds"]} > {
        "book"
    }
    assert total(found["usance_restore_events"]) >= 0
    assert found["usance_parked_keys"] and found["usance_parked_keys_age_seconds"]
    text = web.get("/metrics").text
    assert "party-9" not in text and "albion/" not in text, "no value of a record, no key"


def test_a_sampled_trace_has_spans_and_an_unsampled_one_none(data: Path) -> None:
    (data / "usance.toml").write_text('[telemetry]\nspans = "stderr"\n')
    program = start_program("--data", str(data), cwd=data.parent)
    sampled, other = "4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736"
    with httpx.Client(base_url=program["url"], timeout=30) as web:
        for number, (trace, flag) in enumerate([(sampled, "01"), (other, "00")]):
            headers = {
                "usance-as": "bruno.lindqvist",
                "traceparent": f"00-{trace}-00f067aa0ba902b7-{flag}",
            }
            facility = {
                "facility": f"S{number}", "customer": "party-9", "currency": "USD",
                "limit": 1_000_00, "expiry": "2027-12-31",
            }  # fmt: skip
            answer = web.post("/commands/SetFacility", json=facility, headers=headers)
            assert answer.status_code == 200
    time.sleep(1.0)
    program["child"].terminate()
    told = program["child"].communicate(timeout=30)[1]
    spans = [json.loads(line) for line in told.splitlines() if line.startswith('{"name"')]
    process = [s for s in spans if s["name"].startswith("process ")]
    linked = {link["context"]["trace_id"] for s in process for link in s["links"]}
    assert linked == {f"0x{sampled}"}
    topics = {s["attributes"]["messaging.destination.name"].rsplit(".", 1)[1] for s in process}
    assert {"commands", "events"} <= topics, "owner and reactors alike"
    assert "party-9" not in told and "albion/" not in told
