"""`usance lag|park|topic|dead-letter` over a book and over a consume group beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import usance
from usance.adapters.sqlite_log import SqliteLog
from usance.log.contract import Output, TopicSettings

Run = Callable[..., Any]
SENIOR = "bruno.lindqvist"
EVENTS = "usance.trade.events"


def consumer(data: Path, handler: Callable[[Any], Any], topics: Any = EVENTS) -> Any:
    return usance.consume(topics, "reports", handler, log=data, first="beginning")


def rest(consumer: Any) -> None:
    while consumer.step(0.01) or not consumer.idle():
        pass


@pytest.fixture
def failed(data: Path) -> Path:
    """Return a book beside which a group has met a bug on one credit's first event."""
    seen: list[str] = []

    def handle(record: usance.Delivery) -> None:
        assert record.message is not None, "events of the book are decoded"
        key = (record.key or b"").decode()
        if not seen or key == seen[0]:
            seen.append(key)
            if len(seen) == 1:
                raise LookupError

    with consumer(data, handle) as one:
        rest(one)
    return data


def test_lag_tells_records_and_seconds_per_group_and_partition(run: Run, data: Path) -> None:
    rows = json.loads(run("lag", "--output", "json").stdout)
    groups = {row["group"] for row in rows}
    assert {"usance-owner", "usance-intake", "usance-sagas"} <= groups
    assert all(row["records"] == 0 for row in rows if row["group"] == "usance-owner")
    consumer(data, lambda _: None).close()
    rows = json.loads(run("lag", "--group", "reports", "--output", "json").stdout)
    assert {row["topic"] for row in rows} == {EVENTS}
    assert any(row["records"] > 0 and row["seconds"] > 0 for row in rows)
    assert run("lag", "--group", "nobody").exit_code == 1


def test_a_groups_letters_are_listed_shown_and_redriven_after_a_look(
    run: Run, failed: Path
) -> None:
    group = ("--group", "reports")
    rows = json.loads(run("dead-letter", "list", *group, "--output", "json").stdout)
    assert [row["reason"] for row in rows] == ["LookupError"] and rows[0]["parks"]
    letter = rows[0]["id"]
    for flags in (["--class", "limit"], ["--key", "nowhere"], ["--handler", "other"],
                  ["--until", "2026-01-01"], ["--reason-like", "timeout"]):  # fmt: skip
        found = run("dead-letter", "list", *group, *flags, "--output", "json")
        assert json.loads(found.stdout) == [], flags
    shown = run("dead-letter", "show", letter, *group)
    assert "it decodes as" in shown.stdout and "LookupError" in shown.stdout
    parked = json.loads(run("park", "list", *group, "--output", "json").stdout)
    assert parked[0]["waiting"] > 0 and parked[0]["dead_letter_id"] == letter
    key = parked[0]["key"]
    listed = json.loads(run("park", "show", key, *group, "--output", "json").stdout)
    assert len(listed["records"]) == parked[0]["waiting"] + 1
    dry = run("dead-letter", "redrive", "--class", "poison", *group, "--reason", "x", "--dry-run")
    assert "Would redrive" in dry.stdout and "decodes as" in dry.stdout
    nobody = run("dead-letter", "redrive", letter, *group, "--reason", "x")
    assert nobody.exit_code == 1
    seen: list[Any] = []
    with consumer(failed, lambda r: seen.append(r.offset)) as one:
        rest(one)
        assert seen == [], "nothing was asked for yet"
        done = run("dead-letter", "redrive", letter, *group, "--reason", "mended", "--as", SENIOR)
        assert done.exit_code == 0
        rest(one)
    assert len(seen) == parked[0]["waiting"] + 1 and seen == sorted(seen)
    assert json.loads(run("park", "list", *group, "--output", "json").stdout) == []
    assert run("log", "verify").exit_code == 0, "the group's chain is verified beside the book's"


def test_a_waiting_key_of_a_group_is_released_before_its_time(run: Run, data: Path) -> None:
    log = SqliteLog.open(data / "log.sqlite", owner=False)
    log.create_topic(TopicSettings("feed", "feed", 1))
    log.append([Output("feed", 0, b"k", b"1")])
    log.close()

    def down(_: Any) -> None:
        raise ConnectionError

    hasty = usance.Retry(in_place=0, wait_ms=600_000)
    with usance.consume("feed", "feeders", down, log=data, retry=hasty) as one:
        rest(one)
    group = ("--group", "feeders")
    dry = run("park", "release", "k", *group, "--reason", "up", "--dry-run")
    assert dry.exit_code == 0 and "Would try k again" in dry.stdout
    assert run("park", "release", "zz", *group, "--reason", "up", "--as", SENIOR).exit_code == 1
    run("park", "release", "k", *group, "--reason", "up", "--as", SENIOR)
    seen: list[Any] = []
    with usance.consume("feed", "feeders", lambda r: seen.append(r.value), log=data) as one:
        rest(one)
    assert seen == [b"1"]


def test_a_topic_is_described_with_who_reads_it_from_where(run: Run) -> None:
    found = json.loads(run("topic", "describe", EVENTS, "--output", "json").stdout)
    assert found["cleanup"] == "keep" and len(found["partitions"]) == 4
    assert {"usance-sagas", "usance-reactions"} <= {g["group"] for g in found["groups"]}
    assert run("topic", "describe", "nowhere").exit_code == 1


def unread(run: Run) -> int:
    """Return how many events the reactions have not saved as read."""
    rows = json.loads(run("lag", "--group", "usance-reactions", "--output", "json").stdout)
    return sum(row["records"] for row in rows if row["topic"] == EVENTS)


def test_a_replay_moves_a_group_back_by_time_and_only_when_it_is_meant(
    run: Run, data: Path
) -> None:
    words = ("topic", "replay", "usance-reactions", EVENTS, "--since", "2026-01-01")
    dry = run(*words, "--dry-run", "--output", "json")
    moves = json.loads(dry.stdout)
    assert sum(move["again"] for move in moves) > 0
    before = unread(run)
    assert run(*words).exit_code == 0
    assert unread(run) > before
    consumer(data, lambda _: None).close()
    refused = run("topic", "replay", "reports", EVENTS, "--since", "2026-01-01")
    assert refused.exit_code == 1 and "another group" in refused.output


def test_letters_of_the_book_are_chosen_by_class_key_and_time(run: Run) -> None:
    (letter,) = json.loads(run("dead-letter", "list", "--output", "json").stdout)["rows"]
    chosen = ("--class", letter["failure"], "--since", "2026-01-01", "--until", "2027-01-01")
    assert (
        len(json.loads(run("dead-letter", "list", *chosen, "--output", "json").stdout)["rows"]) == 1
    )
    for other in (["--class", "limit"], ["--since", "2027-01-01"], ["--key", "nowhere"]):
        found = run("dead-letter", "list", *other, "--output", "json")
        assert json.loads(found.stdout)["rows"] == [], other
    refused = run("dead-letter", "list", "--handler", "h")
    assert refused.exit_code == 1 and "--group" in refused.output
    nothing = run("dead-letter", "discard", "--reason", "x", "--as", SENIOR)
    assert nothing.exit_code == 1
    gone = run("dead-letter", "discard", *chosen, "--reason", "noise", "--as", SENIOR)
    assert gone.exit_code == 0
    assert run("dead-letter", "list", "--state", "open").stdout == ""
