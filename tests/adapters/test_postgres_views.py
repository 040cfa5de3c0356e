"""The PostgreSQL view store on a real server: the conformance suite, and what is its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from usance.adapters import postgres_store, postgres_views
from usance.adapters.postgres_views import PostgresViews
from usance.engine.projections.projection import Checkpoint, Generation
from usance.kernel.errors import Fenced, Unavailable, Uncertain
from usance.testing.postgres_server import PostgresServer
from usance.testing.tcp_proxy import TcpProxy
from usance.testing.views_conformance import (
    PLACE,
    THINGS,
    VIEW,
    ViewsConformance,
    names,
    written,
)

pytestmark = pytest.mark.postgres


class TestPostgresViews(ViewsConformance):
    @pytest.fixture
    def address(self, postgres: PostgresServer) -> str:
        return postgres.address()

    def open_views(self, address: str) -> PostgresViews:
        return PostgresViews(address)


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    server = PostgresServer(durable=True, tcp=True)
    yield server
    server.close()


def tables(address: str) -> set[str]:
    with psycopg.connect(address) as connection:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname=current_schema()"
        return {name for (name,) in connection.execute(sql) if "__v" in name}


def held(store: PostgresViews) -> tuple[Generation, list[str]]:
    store.open("log-1")
    generation, _ = store.claim(VIEW, [PLACE])
    store.commit([written(generation, [("a", 1)], to=1)])
    generation.checkpoints[PLACE] = Checkpoint(1, 1)
    return generation, names(store)


def test_tables_that_a_swap_left_go_when_their_readers_have_gone(postgres: PostgresServer) -> None:
    address = postgres.address()
    store = PostgresViews(address)
    held(store)
    for number in (2, 3):
        green = store.build(VIEW, [PLACE])
        store.commit([written(green, [("b", number)], to=1)])
        with store.reading() as reading:
            reading.count("things")
            assert store.swap(green)
            assert {f"things__v{number - 1}", f"things__v{number}"} <= tables(address)
    store.claim(VIEW, [PLACE])
    assert tables(address) == {"things__v3", "secrets__v3"}
    store.close()


def test_a_server_that_restarts_is_found_again(own: PostgresServer) -> None:
    store = PostgresViews(own.address())
    generation, seen = held(store)
    assert seen == ["a"]
    assert not store.wait(lambda: False, 0.01), "somebody listens"
    for how in (signal.SIGINT, signal.SIGQUIT):
        own.stop(how)
        with pytest.raises(Unavailable, match=r"cannot (read|reach) the views") as told:
            names(store)
        assert "PostgreSQL running" in told.value.hint
        with pytest.raises(Unavailable):
            store.fetch(generation, THINGS, [("a",)])
        own.start()
        assert names(store) == ["a"], "what was committed before a crash is there"
        assert [r["name"] for r in store.fetch(generation, THINGS, [("a",)])] == ["a"]
    store.commit([written(generation, [("b", 1)], to=2, start=1)])
    started = threading.Timer(0.1, lambda: store.claim(VIEW, [PLACE]))
    started.start()
    there = iter([False, True])
    assert store.wait(lambda: next(there), 10), "the listener is back too"
    started.join()
    store.close()


def test_a_connection_that_is_killed_in_a_batch_leaves_nothing_behind(
    postgres: PostgresServer,
) -> None:
    address = postgres.address()
    store = PostgresViews(address)
    generation, _ = held(store)
    with psycopg.connect(address, autocommit=True) as other:
        with pytest.raises(Unavailable) as told, store._writing() as run:
            (pid,) = run("SELECT pg_backend_pid()").fetchone()
            run("UPDATE things__v1 SET size=99")
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            run("UPDATE things__v1 SET size=100")
        assert not isinstance(told.value, Uncertain), "nothing was asked to be committed"
        with pytest.raises(Uncertain), store._writing() as run:
            (pid,) = run("SELECT pg_backend_pid()").fetchone()
            run("UPDATE things__v1 SET size=99")
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    assert [row["size"] for row in store.fetch(generation, THINGS, [("a",)])] == [1]
    store.close()


def test_a_lost_answer_to_a_commit_is_uncertain_and_the_store_tells_what_became_of_it(
    own: PostgresServer,
) -> None:
    with TcpProxy(own.port) as proxy:
        store = PostgresViews(own.address(port=proxy.port))
        generation, _ = held(store)
        proxy.latency(0.3)  # asked after 0.3 s, answered after 0.6 s
        with pytest.raises(Uncertain), store._writing() as run:
            run("UPDATE projection_checkpoint SET position=7")
            threading.Timer(0.45, proxy.cut).start()
        proxy.heal()
        store.again(generation)
        assert generation.checkpoints[PLACE].offset == 7, "it was committed"
        store.claim(VIEW, [PLACE])
        with pytest.raises(Fenced):
            store.again(generation)
        store.close()


def test_what_a_server_refuses_is_told_with_what_to_do(postgres: PostgresServer) -> None:
    address = postgres.address()

    def opened(address: str) -> None:
        with closing(PostgresViews(address)) as store:
            store.open("log-1")

    with (
        closing(PostgresViews(address)) as nothing,
        pytest.raises(Unavailable, match="projection"),
        nothing.reading(),
    ):
        pass
    with pytest.raises(Unavailable, match="cannot be read"):
        opened("postgresql://[::1")
    nowhere = postgres.address("-c search_path=nowhere")
    with pytest.raises(Unavailable) as told:
        opened(nowhere)
    assert "CREATE SCHEMA" in told.value.hint
    with pytest.raises(Unavailable) as told:
        opened(address.replace("/postgres?", "/missing?"))
    assert "CREATE DATABASE" in told.value.hint
    with pytest.raises(Unavailable) as told:
        opened(address.replace("usance@", "nobody:secret@"))
    assert "CREATE ROLE" in told.value.hint and "secret" not in str(told.value)
    reading_only = postgres.address("-c default_transaction_read_only=on")
    with pytest.raises(Unavailable) as told:
        opened(reading_only)
    assert "standby" in told.value.hint
    store = PostgresViews(address)
    held(store)
    with pytest.raises(Unavailable) as told, store.reading() as reading:
        reading._run("SET LOCAL statement_timeout=20")  # type: ignore[attr-defined]
        reading._run("SELECT pg_sleep(5)")  # type: ignore[attr-defined]
    assert "narrow" in told.value.hint
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("UPDATE projection_format SET version=99")
    with pytest.raises(Unavailable, match="format version 99"):
        opened(address)
    store.close()


def test_readers_have_a_bound_and_who_comes_later_waits(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_views, "READER_WAIT_S", 0.05)
    store = PostgresViews(postgres.address())
    held(store)
    with ExitStack() as many:
        for _ in range(postgres_views.READERS_MAX):
            many.enter_context(store.reading())
        with pytest.raises(Unavailable, match="busy"), store.reading():
            pass
    assert names(store) == ["a"]
    store.close()


def test_the_settings_of_a_server_are_looked_at(
    postgres: PostgresServer, own: PostgresServer
) -> None:
    with postgres_store.connect(own.address()) as safe:
        assert [look.check for look in postgres_store.examine(safe) if not look.well] == []
        old = [look for look in postgres_store.examine(safe, version_min=990_000) if not look.well]
        assert [look.check for look in old] == ["PostgreSQL version"]
    with postgres_store.connect(postgres.address()) as unsafe:
        bad = {look.check: look.to_do for look in postgres_store.examine(unsafe) if not look.well}
    assert set(bad) == {"fsync", "full_page_writes", "synchronous_commit"}
    assert "ALTER SYSTEM SET fsync = on" in bad["fsync"]
