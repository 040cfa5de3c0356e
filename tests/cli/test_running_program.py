"""The program as a process: start, serve, a second start, commands beside it, an end without loss."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from small_book import CREDIT, SENIOR, facility_document, program, start_program, write_book

Started = dict[str, Any]


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def wait_ready(started: Started) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if fetch(f"{started['url']}health/ready")["ready"]:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the program did not become ready")


def test_the_demo_prints_exactly_the_summary_that_was_promised(tmp_path: Path) -> None:
    book = write_book(tmp_path / "book")
    ran = program("demo", "--json", "--book", str(book), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert list(found) == [
        *("inputs", "commands", "accepted", "refused", "duplicates", "conflicts", "dead_letters"),
        *("parked", "events", "events_by_type", "credits_by_state", "trial_balance_zero"),
        "chain_verified",
    ]
    assert (found["inputs"], found["accepted"], found["duplicates"]) == (5, 3, 1)
    assert found["chain_verified"] is True and found["trial_balance_zero"] is True
    assert "5 of 5 inputs played" in ran.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["book"]  # nothing is left behind


def test_the_demo_never_plays_into_a_book_that_is_there(data: Path) -> None:
    ran = program("demo", "--data", str(data), cwd=data.parent)
    assert ran.returncode == 1 and "BOOK_EXISTS" in ran.stderr


def test_a_started_program_serves_and_ends_without_loss(started: Started) -> None:
    wait_ready(started)
    assert fetch(f"{started['url']}credits.json")["total"] == 2
    child = started["child"]
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=15)
    assert child.returncode == 0, err
    assert "Stopped" in err and "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith("{")]
    assert all(json.loads(line)["event"] for line in told)


def test_a_program_that_nobody_listens_to_ends_on_the_first_signal(data: Path) -> None:
    found = start_program("--data", str(data), cwd=data.parent)
    child = found["child"]
    try:
        wait_ready(found)
        child.stderr.close()
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 0
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def test_a_second_start_names_the_first_one(running: Started, tmp_path: Path) -> None:
    second = program("start", "--port", "0", "--data", running["data"], cwd=tmp_path)
    assert second.returncode == 4
    assert str(running["pid"]) in second.stderr


def test_a_port_that_is_taken_is_said_so(running: Started, tmp_path: Path) -> None:
    port = running["url"].rsplit(":", 1)[1].strip("/")
    second = program("start", "--port", port, "--data", str(tmp_path / "other"), cwd=tmp_path)
    assert second.returncode == 4 and "--port" in second.stderr


def test_other_addresses_than_loopback_are_refused(tmp_path: Path) -> None:
    ran = program("start", "--host", "0.0.0.0", cwd=tmp_path)
    assert ran.returncode == 1 and "NOT_LOOPBACK" in ran.stderr
    assert not (tmp_path / "data").exists()


def test_commands_beside_a_running_owner_are_decided_by_it(
    running: Started, tmp_path: Path
) -> None:
    wait_ready(running)
    before = fetch(f"{running['url']}health/ready")["owner"]["decided"]
    set_up = (
        *("facility", "set", "FAC-SIDE", "--customer", "c", "--currency", "EUR"),
        *("--limit", "10.00", "--expiry", "2027-01-01", "--as", SENIOR, "--data", running["data"]),
    )
    ran = program(*set_up, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    shown = program("facility", "list", "--data", running["data"], cwd=tmp_path)
    assert "EUR 10.00" in shown.stdout  # what was answered is read at once
    assert fetch(f"{running['url']}health/ready")["owner"]["decided"] > before


def test_files_beside_a_running_owner_go_through_its_gateway(
    running: Started, tmp_path: Path
) -> None:
    wait_ready(running)
    file = tmp_path / "set.json"
    file.write_text(json.dumps(facility_document("FAC-DROP")))
    told = ("--data", running["data"], "--output", "json")
    ran = program("intake", str(file), *told, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    (taken,) = json.loads(ran.stdout)
    assert taken["outcome"] == "accepted" and taken["key"] == "albion/facility/FAC-DROP"


def test_what_a_killed_owner_left_is_decided_by_the_next_command(
    started: Started, data: Path
) -> None:
    wait_ready(started)
    os.kill(started["pid"], signal.SIGKILL)
    started["child"].wait(timeout=10)
    ran = program(
        "credit", "show", CREDIT, "--output", "json", "--data", str(data), cwd=data.parent
    )
    assert ran.returncode == 0, ran.stderr
    withdrawn = program(
        *("credit", "withdraw", CREDIT, "--reason", "asked", "--as", "amara.okafor"),
        *("--data", str(data)),
        cwd=data.parent,
    )
    assert withdrawn.returncode == 0, withdrawn.stderr
    checked = program("log", "verify", "--data", str(data), cwd=data.parent)
    assert checked.returncode == 0, checked.stderr


def test_a_broken_off_play_goes_on_where_it_was(tmp_path: Path) -> None:
    """A start with the book, killed in its middle, and started again plays each input once."""
    book = write_book(tmp_path / "book")
    data = tmp_path / "data"
    first = write_book(tmp_path / "part")
    for file in sorted(first.iterdir())[2:]:
        file.unlink()
    assert program("demo", "--book", str(first), "--data", str(data), cwd=tmp_path).returncode == 0
    child = start_with_book(book, data)
    try:
        wait_played(child, 5)
    finally:
        child["child"].send_signal(signal.SIGTERM)
        child["child"].communicate(timeout=20)
    ran = program("status", "--output", "json", "--data", str(data), cwd=tmp_path)
    found = json.loads(ran.stdout)
    assert (found["inputs"], found["accepted"], found["duplicates"]) == (5, 3, 1)
    assert found["chain_verified"] is True


def start_with_book(book: Path, data: Path) -> Started:
    return start_program("--book", str(book), "--data", str(data), cwd=data.parent)


def wait_played(started: Started, inputs: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if fetch(f"{started['url']}system.json")["inputs"] == inputs:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the book was not played")


def test_a_page_answers_while_the_book_plays(tmp_path: Path) -> None:
    book = write_book(tmp_path / "book")
    began = time.monotonic()
    child = start_with_book(book, tmp_path / "data")
    try:
        page = fetch(f"{child['url']}today.json")
        took = time.monotonic() - began
        assert "work" in page
        assert took < 30  # 2 s on an idle machine; the whole book takes longer
        wait_played(child, 5)
        clock = fetch(f"{child['url']}health/live")
        assert clock["clock"] == "book"
    finally:
        child["child"].kill()
        child["child"].communicate()


def test_a_read_only_folder_is_said_to_be_one(data: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    data.chmod(0o500)
    try:
        ran = program("credit", "list", "--data", str(data), cwd=data.parent)
    finally:
        data.chmod(0o700)
    assert ran.returncode == 4 and "permissions" in ran.stderr


def test_a_corrupt_log_is_evidence_not_a_crash(data: Path) -> None:
    for tail in ("-wal", "-shm"):
        (data / f"log.sqlite{tail}").unlink(missing_ok=True)
    (data / "log.sqlite").write_bytes(b"not a database" * 1_000)
    ran = program("status", "--data", str(data), cwd=data.parent)
    assert ran.returncode == 5 and "Traceback" not in ran.stderr
    assert "backup" in ran.stderr


def test_a_log_of_a_newer_format_is_refused(data: Path) -> None:
    connection = sqlite3.connect(data / "log.sqlite")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    ran = program("status", "--data", str(data), cwd=data.parent)
    assert ran.returncode == 4 and "newer" in ran.stderr


def test_a_copied_folder_is_a_whole_book(data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(data, tmp_path / "copy"))
    ran = program("status", "--output", "json", "--data", str(other), cwd=tmp_path)
    assert ran.returncode == 0 and json.loads(ran.stdout)["inputs"] == 5
