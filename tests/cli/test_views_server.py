"""The command line and the program over read models on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from small_book import start_program

from usance.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.postgres


@pytest.fixture
def views(postgres: PostgresServer) -> str:
    return postgres.address()


def test_every_look_is_the_same_over_a_server(
    read: Callable[..., Any], views: str, data: Path
) -> None:
    for words in (["credit", "list"], ["status"], ["work", "list"], ["saga", "list"]):
        assert read(*words, "--views", views) == read(*words), words
    (data / "views.sqlite").unlink()
    report = read("projection", "rebuild", "book", "--views", views)
    assert report["swapped"] and report["differences"] == []
    assert not (data / "views.sqlite").exists(), "nothing is kept in the folder"


def test_doctor_names_unsafe_settings_and_a_server_that_is_away(
    run: Callable[..., Result], views: str, postgres: PostgresServer
) -> None:
    found = run("doctor", "--views", views)
    assert found.exit_code == 1 and "ALTER SYSTEM SET fsync = on" in found.stdout
    away = views.replace("/postgres?", "/nowhere?")
    found = run("doctor", "--views", away)
    assert found.exit_code == 1 and "CREATE DATABASE" in found.stdout
    found = run("credit", "list", "--views", away)
    assert found.exit_code == 4 and "CREATE DATABASE" in found.stderr


def test_a_password_in_the_address_is_not_shown(run: Callable[..., Result]) -> None:
    for address in ("postgresql://me:s3cret@db/x", "postgresql://db/x?user=me&password=s3cret"):
        found = run("config", "show", "--views", address)
        assert "db/x" in found.stdout and "s3cret" not in found.stdout


@pytest.fixture
def program(data: Path, views: str) -> Iterator[dict[str, Any]]:
    found = start_program("--data", str(data), "--views", views, cwd=data.parent)
    try:
        yield found
    finally:
        found["child"].kill()
        found["child"].communicate()


def test_a_writer_reads_its_own_write_from_the_server(program: dict[str, Any]) -> None:
    headers = {"usance-as": "bruno.lindqvist"}
    with httpx.Client(base_url=program["url"], headers=headers, timeout=30) as web:
        for number in range(5):
            facility = {
                "facility": f"PG{number}", "customer": "party-9", "currency": "USD",
                "limit": 1_000_00 + number, "expiry": "2027-12-31",
            }  # fmt: skip
            said = web.post("/commands/SetFacility", json=facility).json()
            assert said["outcome"] == "accepted", said
            at = {"if-position": said["position"]}
            seen = web.get(f"/facilities/PG{number}.json", headers=at)
            for _ in range(10):  # a loaded machine says "not yet", and never an older row
                if seen.status_code != 503:
                    break
                seen = web.get(f"/facilities/PG{number}.json", headers=at)
            assert seen.json()["row"]["limit"] == 1_000_00 + number, seen.text
