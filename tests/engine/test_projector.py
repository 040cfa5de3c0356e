"""The projector on a small projection of its own: checkpoints, fences, parked keys, rebuilds."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest
from bank_world import (
    ACCOUNTS,
    KEYS,
    TOTALS,
    Bank,
    Emptied,
    Paid,
    drain,
    emptied,
    paid_in,
    projection,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usance.adapters.postgres_views import PostgresViews
from usance.adapters.sqlite_views import SqliteViews
from usance.engine.projections.projection import (
    STALE,
    Changes,
    Fact,
    Projection,
    Rows,
    Table,
    numbers,
)
from usance.engine.projections.projector import Projector
from usance.engine.projections.reading import Order, Views, Where
from usance.kernel.errors import Fenced, NotFound, Tampered, Unavailable, Uncertain
from usance.testing.postgres_server import PostgresServer
from usance.testing.tcp_proxy import TcpProxy


def test_rows_and_checkpoints_move_together_over_restarts(bank: Bank) -> None:
    for key in KEYS:
        bank.pay(key, 10, 20)
    projector = bank.projector()
    assert drain(projector) == 10
    assert bank.balances() == dict.fromkeys(KEYS, 30)
    bank.store.close()
    bank.pay(KEYS[0], 5)
    bank.store = bank.open_views()
    again = bank.projector()
    assert again.lag()["accounts"] > 0 and not again.idle()
    assert drain(again) == 1, "what was taken in before is not read again"
    assert bank.balances()[KEYS[0]] == 35
    assert bank.total() == 155
    assert again.idle()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(1, 9)), max_size=60),
    st.sets(st.integers(0, 59)),
    st.integers(1, 7),
)
def test_a_crash_between_any_two_batches_changes_nothing(
    new_views: Callable[[], Callable[[], Views]],
    payments: list[tuple[str, int]],
    crashes: set[int],
    batch: int,
) -> None:
    bank = Bank(new_views())
    projector = bank.projector(batch_max=batch)
    for number, (key, amount) in enumerate(payments):
        bank.pay(key, amount)
        if number in crashes:  # one batch, then all memory is gone
            projector.step()
            projector = bank.projector(batch_max=batch)
    drain(projector)
    assert bank.balances() == dict(bank.paid)
    assert bank.total() == sum(bank.paid.values())
    assert projector.verify("accounts") == []
    bank.store.close()


def test_a_commit_that_fails_leaves_the_batch_to_be_done_again(
    bank: Bank, monkeypatch: Any
) -> None:
    bank.pay(KEYS[0], 10)
    projector = bank.projector()
    real = bank.store.commit
    calls: list[int] = []

    def failing(changes: list[Changes]) -> None:
        if not calls:
            calls.append(1)
            raise Unavailable("the disk is full", hint="free space")
        real(changes)

    monkeypatch.setattr(bank.store, "commit", failing)
    with pytest.raises(Unavailable):
        projector.step()
    assert drain(projector) == 1
    assert bank.balances() == {KEYS[0]: 10}


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize(("cached", "known"), [(1, 3), (1, 50_000), (50_000, 50_000)])
def test_a_batch_that_fails_in_flight_takes_the_next_one_with_it(
    bank: Bank, monkeypatch: Any, at: int, cached: int, known: int
) -> None:
    """While a batch is written the next one is folded on it: neither may count twice, or not at all.

    Nor with rows that memory has let go meanwhile, whether or not their keys are still known.
    """
    monkeypatch.setattr("usance.engine.projections.projection.CACHED_ROWS_MAX", cached)
    monkeypatch.setattr("usance.engine.projections.projection.KNOWN_KEYS_MAX", known)
    for n in range(40):
        bank.pay(f"t/credit/{n % 17}", n)
    projector = bank.projector(batch_max=3)
    real = bank.store.commit
    threads: list[str] = []

    def failing(changes: list[Changes]) -> None:
        threads.append(threading.current_thread().name)
        if len(threads) == at + 1:
            raise Unavailable("the disk is full", hint="free space")
        real(changes)

    monkeypatch.setattr(bank.store, "commit", failing)
    with pytest.raises(Unavailable):
        drain(projector)
    drain(projector)
    assert bank.balances() == dict(bank.paid)
    assert projector.verify("accounts") == []
    assert any("views-writer" in name for name in threads), "nothing was written beside the fold"
    bank.pay(KEYS[0], 1)
    projector.step()
    projector.close()
    assert bank.balances() == dict(bank.paid), "what is in flight lands before the end"


@pytest.mark.postgres
@pytest.mark.parametrize("rebuilding", [False, True])
def test_a_commit_whose_answer_is_lost_counts_once(rebuilding: bool) -> None:
    server = PostgresServer(durable=True, tcp=True)
    with ExitStack() as opened:
        opened.callback(server.close)
        proxy = opened.enter_context(TcpProxy(server.port))
        bank = Bank(partial(PostgresViews, server.address(port=proxy.port)))
        opened.callback(bank.store.close)
        bank.pay(KEYS[0], 10)
        projector = bank.projector()
        drain(projector)
        lost = answers = 0
        while True:  # each answer of the conversation in turn, until none is left to lose
            answers += 1
            bank.pay(KEYS[0], 1)
            if rebuilding:
                projector.begin_rebuild("accounts")
            proxy.cut_at_answer(answers)
            try:
                drain(projector)
            except Unavailable as trouble:
                lost += isinstance(trouble, Uncertain)
            if proxy.cutting:
                break
            proxy.heal()
            try:
                drain(projector)
            except (
                Fenced
            ):  # its own commit ended after it had asked where it stands: it starts again
                projector = bank.projector()
                drain(projector)
            assert bank.total() == bank.paid[KEYS[0]]
        assert lost, "no answer to a commit was lost"
        proxy.heal()
        assert projector.verify("accounts") == []


def test_a_zombie_projector_is_fenced_and_its_batch_is_rolled_back(bank: Bank) -> None:
    zombie = bank.projector()
    bank.pay(KEYS[0], 10)
    drain(zombie)
    owner = bank.projector()
    bank.pay(KEYS[0], 5)
    with pytest.raises(Fenced):
        zombie.step()
    assert bank.balances() == {KEYS[0]: 10}, "nothing of the zombie's batch is kept"
    drain(owner)
    assert bank.balances() == {KEYS[0]: 15}
    with pytest.raises(Fenced):
        drain(zombie)


def test_a_poison_event_parks_its_key_and_nothing_else(bank: Bank) -> None:
    same = [k for k in KEYS if bank.place(k) == bank.place(KEYS[0])]
    assert len(same) > 1, "a neighbour on the same partition"
    bank.pay(KEYS[0], 10)
    bank.pay(KEYS[0], -1)  # this one the handler cannot take in
    bank.pay(KEYS[0], 7, 8)
    for key in KEYS[1:]:
        bank.pay(key, 3)
    drain(bank.projector())
    with bank.store.reading() as reading:
        rows = {row["key"]: row for row in reading.select("accounts")}
        parked = reading.parked()
        stale = next(g["stale"] for g in reading.generations())
    assert rows[KEYS[0]]["balance"] == 10, "half a change of the poison event is undone"
    assert rows[KEYS[0]][STALE] is not None
    assert [(p["key"], p["waiting"], p["error"]) for p in parked] == [
        (KEYS[0], 2, "handle: ZeroDivisionError")
    ]
    assert stale == 1
    for key in KEYS[1:]:
        assert (rows[key]["balance"], rows[key][STALE]) == (3, None)
    assert bank.total() == 10 + 3 * 4
    # it stays parked over a restart, and later records queue behind it
    bank.pay(KEYS[0], 1)
    drain(bank.projector())
    assert bank.balances()[KEYS[0]] == 10


def test_bytes_that_cannot_be_decoded_park_their_key(bank: Bank) -> None:
    bank.pay(KEYS[0], 10)
    broken = bank.output(KEYS[0], Paid(amount=1))
    bank.log.append([broken._replace(value=(broken.value or b"")[:6] + b"\xff\xff")])
    headless = bank.output(KEYS[1], Paid(amount=1))
    bank.log.append([headless._replace(headers=())])
    bank.pay(KEYS[2], 4)
    drain(bank.projector())
    with bank.store.reading() as reading:
        assert {p["key"] for p in reading.parked()} == {KEYS[0], KEYS[1]}
        row = reading.get("accounts", key=KEYS[0])
    assert row is not None and row["balance"] == 10 and row[STALE] is not None
    assert bank.balances()[KEYS[2]] == 4


def test_an_empty_view_of_a_long_log_is_built_aside_and_then_followed(
    bank: Bank, monkeypatch: Any
) -> None:
    monkeypatch.setattr("usance.engine.projections.projector.BUILD_ASIDE_RECORDS", 40)
    for key in KEYS:
        bank.pay(key, *([1] * 20))
    projector = bank.projector(batch_max=15)
    projector.step()
    assert bank.balances() == {} and not projector.idle(), "half of it is in nobody's sight"
    drain(projector)
    assert bank.balances() == dict.fromkeys(KEYS, 20) and projector.idle()
    with bank.store.reading() as reading:
        assert [g["number"] for g in reading.generations()] == [2]
    names = "SELECT name FROM sqlite_master WHERE type='index' AND sql IS NOT NULL"
    if isinstance(bank.store, SqliteViews):
        with closing(sqlite3.connect(bank.store.path)) as database:
            assert database.execute(names).fetchall() == [("accounts__v2__0",)]
    bank.pay(KEYS[0], 5)
    drain(projector)
    assert bank.balances()[KEYS[0]] == 25


def test_rows_named_ahead_are_read_in_one_step(bank: Bank, monkeypatch: Any) -> None:
    def ahead(fact: Fact) -> list[tuple[str, tuple[Any, ...]]]:
        assert fact.message.amount != 9, "what cannot be told beforehand is read when it is needed"
        return [("accounts", (fact.key,)), ("totals", ("all",))]

    for key in KEYS:
        bank.pay(key, 1)
    drain(bank.projector())
    for key in KEYS:
        bank.pay(key, 2)
    asked: list[tuple[str, int]] = []
    real = bank.store.fetch

    def counted(generation: Any, table: Table, keys: list[Any]) -> Any:
        asked.append((table.name, len(keys)))
        return real(generation, table, keys)

    monkeypatch.setattr(bank.store, "fetch", counted)
    drain(bank.projector(projection()._replace(ahead={Paid: ahead})))
    assert bank.balances() == dict.fromkeys(KEYS, 3) and bank.total() == 15
    assert [a for a in asked if a[0] == "totals"] == [("totals", 1)]
    assert len([a for a in asked if a[0] == "accounts"]) == 2, "one step per partition"
    bank.pay(KEYS[0], 9)
    drain(bank.projector(projection()._replace(ahead={Paid: ahead})))
    assert bank.balances()[KEYS[0]] == 12


def test_a_rebuild_after_a_fix_mends_a_parked_key(bank: Bank) -> None:
    bank.pay(KEYS[0], 10, -1, 5)
    drain(bank.projector())
    fixed = Projection("accounts", 1, (ACCOUNTS, TOTALS), {Paid: _fixed, Emptied: emptied})
    projector = bank.projector(fixed)
    seen: list[int] = []
    report = projector.rebuild("accounts", lambda progress: seen.append(progress.done))
    assert report.swapped and report.compared and report.mended == 1
    assert [d.key for d in report.differences if d.table == "accounts"] == [(KEYS[0],)]
    assert bank.balances() == {KEYS[0]: 14}
    assert seen and seen[-1] > 0
    with bank.store.reading() as reading:
        assert reading.parked() == []
        assert [g["number"] for g in reading.generations()] == [2]
    bank.pay(KEYS[0], 1)
    drain(projector)
    assert bank.balances() == {KEYS[0]: 15}, "the rebuilt tables go on"


def _fixed(fact: Fact, rows: Rows) -> None:
    rows.add("accounts", (fact.key,), balance=fact.message.amount, payments=1)
    rows.add("totals", ("all",), amount=fact.message.amount)


def test_a_rebuild_under_load_swaps_with_no_reader_seeing_half_of_it(bank: Bank) -> None:
    for key in KEYS:
        bank.pay(key, *([1] * 40))
    projector = bank.projector(batch_max=7)
    drain(projector)
    before = bank.total()
    rebuild = projector.begin_rebuild("accounts")
    rounds = 0
    while rebuild.report is None:
        bank.pay(KEYS[rounds % 5], 1)
        projector.step()
        rounds += 1
        assert bank.total() >= before, "readers see the live tables until the swap"
        before = bank.total()
    assert rounds > 3, "the live tables were kept up while it ran"
    assert rebuild.report.differences == []
    drain(projector)
    assert bank.total() == sum(bank.paid.values())
    assert bank.balances() == dict(bank.paid)


def test_an_aborted_rebuild_leaves_the_live_tables_alone(bank: Bank) -> None:
    bank.pay(KEYS[0], 1, 2, 3)
    projector = bank.projector(batch_max=1)
    drain(projector)

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        projector.rebuild("accounts", stop)
    with bank.store.reading() as reading:
        assert [(g["number"], g["state"]) for g in reading.generations()] == [(1, "live")]
    bank.pay(KEYS[0], 4)
    drain(projector)
    assert bank.balances() == {KEYS[0]: 10}
    with pytest.raises(NotFound):
        projector.rebuild("no such")


def test_another_process_rebuilds_and_the_follower_takes_the_new_tables_over(bank: Bank) -> None:
    bank.pay(KEYS[0], 1, 2)
    follower = bank.projector()
    drain(follower)
    other = bank.projector(follow=False)
    report = other.rebuild("accounts")
    assert report.swapped and report.differences == []
    other.close()
    bank.pay(KEYS[0], 4)
    drain(follower)
    assert bank.balances() == {KEYS[0]: 7}


def test_a_new_version_is_rebuilt_when_the_program_starts(bank: Bank) -> None:
    bank.pay(KEYS[0], 1, 2)
    drain(bank.projector())
    wider = ACCOUNTS._replace(columns=(*ACCOUNTS.columns, *numbers("largest")))

    def paid(fact: Fact, rows: Rows) -> None:
        paid_in(fact, rows)
        row = rows.get("accounts", fact.key)
        assert row is not None
        largest = max(row["largest"], fact.message.amount)
        rows.patch("accounts", (fact.key,), largest=largest)

    newer = Projection("accounts", 2, (wider, TOTALS), {Paid: paid, Emptied: emptied})
    projector = bank.projector(newer)
    drain(projector)
    with bank.store.reading() as reading:
        row = reading.get("accounts", key=KEYS[0])
    assert row is not None and (row["balance"], row["largest"]) == (3, 2)


def test_a_deleted_row_stays_deleted_and_can_come_again(bank: Bank) -> None:
    bank.pay(KEYS[0], 5)
    projector = bank.projector()
    drain(projector)
    bank.log.append([bank.output(KEYS[0], Emptied())])
    drain(projector)
    assert bank.balances() == {}
    bank.pay(KEYS[0], 2)
    drain(bank.projector())
    assert bank.balances() == {KEYS[0]: 2}


def test_yesterdays_log_under_todays_views_is_refused(bank: Bank) -> None:
    bank.pay(KEYS[0], 1, 2, 3)
    drain(bank.projector())
    young = Bank(bank.open_views)
    with pytest.raises(Tampered, match="stands at"):
        young.projector()


def test_views_of_another_log_are_refused(bank: Bank) -> None:
    drain(bank.projector())
    stranger = Projector(
        bank.log, bank.topics, bank.decoder, bank.store, (projection(),), log_id="another"
    )
    with pytest.raises(Tampered, match="another log"):
        stranger.open()


def test_records_are_read_by_key_order_and_page(bank: Bank) -> None:
    for number, key in enumerate(KEYS):
        bank.pay(key, (number % 3) + 1)
    drain(bank.projector())
    order = (Order("balance", down=True), Order("key"))
    with bank.store.reading() as reading:
        whole = reading.select("accounts", (), order)
        seen, after = [], []
        while page := reading.select("accounts", (), order, 2, after):
            seen += page
            after = [page[-1]["balance"], page[-1]["key"]]
        assert seen == whole and len(whole) == 5
        some = reading.select("accounts", (Where("key", "in", KEYS[:2]),))
        assert {row["key"] for row in some} == set(KEYS[:2])
        assert reading.count("accounts", (Where("balance", ">", 1),)) == 3
        assert reading.count("accounts", (), ("balance",)) == {1: 2, 2: 2, 3: 1}
