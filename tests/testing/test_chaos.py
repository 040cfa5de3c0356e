"""The real program under SIGKILL; what `usance chaos` says is only worth something if it can say no."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from usance.adapters.sqlite_log import SqliteLog
from usance.bootstrap.store import Folder, Store
from usance.config import load
from usance.kernel.clock import SystemClock
from usance.log.contract import Output, TopicPartition
from usance.testing.chaos import run_chaos
from usance.testing.chaos_book import Book
from usance.testing.verify import verify_log


def test_three_kills_violate_nothing(tmp_path: Path) -> None:
    found = run_chaos(3, seed=11, folder=tmp_path)
    assert found["violations"] == 0, found["words"]
    assert found["kills"] == 3 and found["seed"] == 11
    assert found["sent"] > found["inputs"] > 20, "inputs arrive more than once"
    assert found["issued"] == found["credits"] == 16
    _a_tampered_log_is_found(tmp_path / "data")


def _a_tampered_log_is_found(data: Path) -> None:
    """The same verification on a log with one record that nobody decided."""
    settings = load(None, {"data": str(data)}, {}).settings
    log = SqliteLog.open(Folder(data).log, owner=False)
    topic = "usance.trade.events"
    places = [TopicPartition(topic, n) for n in range(log.topics()[topic].partitions)]
    record = next(r for place in places for r in log.scan(place, 0))
    log.append([Output(topic, record.partition, record.key, record.value, record.headers)])
    log.close()
    store = Store(Folder(data), settings, SystemClock(), owner=False)
    verdict = verify_log(
        store.log, store.topics, store.decoder, store.deciders, store.genesis.log_id
    )
    store.log.close()
    assert verdict.violations > 0


@pytest.mark.slow
def test_fifty_kills_violate_nothing(tmp_path: Path) -> None:
    found = run_chaos(50, seed=3, folder=tmp_path)
    assert found["violations"] == 0, found["words"]
    assert found["issued"] == found["credits"] > 150


def test_the_same_seed_makes_the_same_book_and_another_seed_another() -> None:
    def documents(seed: int) -> list[bytes]:
        book = Book(seed)
        for _ in range(10):
            book.application()
        return [one.data for one in book.given]

    assert documents(4) == documents(4) != documents(5)


def test_the_model_adds_up_what_was_applied_for() -> None:
    book = Book(1)
    for _ in range(10):
        book.application()
    amounts = [
        msgspec.json.decode(one.data)["terms"]["amount"]
        for one in book.given
        if b"ApplyForCredit" in one.data and one.answer == "accepted"
    ]
    assert sum(book.reserved().values()) == sum(amounts)
    assert book.liability() == 0
    book.approval(next(iter(book.applications)), 5, "00")
    assert book.liability() == amounts[0]
