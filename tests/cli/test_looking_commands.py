"""Looking at a played book: lists, states, history, chain, topics, views, settings."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_book import CREDIT, MAKER, SENIOR

from usance.cli.show import Column, clean, table
from usance.crypto import sealing
from usance.kernel import native

Run = Callable[..., Any]


def test_status_adds_up_and_verifies_the_chain(read: Run) -> None:
    found = read("status")
    ends = ("accepted", "refused", "duplicates", "conflicts", "dead_letters", "parked")
    assert found["inputs"] == sum(found[e] for e in ends) == 5
    assert found["chain_verified"] is True and found["trial_balance_zero"] is True
    assert found["credits_by_state"] == {"AUTHENTICATED": 1, "AWAITING_APPROVAL": 1}


def test_the_state_at_a_revision_says_what_it_changed(read: Run, run: Run) -> None:
    first = read("credit", "state", CREDIT, "--at", "1")
    latest = read("credit", "state", CREDIT)
    assert first["revision"] == 1 and latest["revision"] == latest["latest"] > 1
    assert {c["field"] for c in latest["changed"]}
    assert "Before" in run("credit", "state", CREDIT, "--at", "2").stdout


def test_an_unknown_credit_is_said_to_be_unknown(run: Run) -> None:
    result = run("credit", "show", "TF00")
    assert result.exit_code == 1 and result.stdout == "" and "usance credit list" in result.stderr


def test_the_timeline_tells_the_story_in_sentences(run: Run) -> None:
    lines = run("credit", "timeline", CREDIT).stdout.splitlines()
    assert lines[1].lstrip().startswith("1  Mon 23 Nov 2026 09:00Z")
    assert MAKER in lines[1] and "USD 100,000.00" in lines[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("presentation", "list"),
        ("facility", "list"),
        ("message", "list"),
        ("work", "list"),
        ("approval", "list"),
        ("case", "list"),
        ("saga", "list"),
        ("incident", "list"),
        ("schema", "list"),
        ("projection", "list"),
        ("dead-letter", "list"),
        ("topic", "list"),
        ("event", "list"),
        ("config", "show"),
        ("list", "show"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_every_list_reads_as_text_and_as_json(arguments: tuple[str, ...], run: Run) -> None:
    assert run(*arguments).exit_code == 0
    as_json = run(*arguments, "--output", "json")
    assert as_json.exit_code == 0
    json.loads(as_json.stdout)


def test_a_saga_shows_where_it_stands(run: Run) -> None:
    text = run("saga", "show", f"issuance:{CREDIT}").stdout
    assert "running at approve" in text
    assert "✓  validate" in text


def test_an_act_on_a_saga_needs_a_reason_and_may_be_refused(run: Run) -> None:
    reference = f"issuance:{CREDIT}"
    assert run("saga", "retry", reference, "--as", SENIOR).exit_code == 64
    dry = run("saga", "skip", reference, "--reason", "x", "--as", SENIOR, "--dry-run")
    assert dry.exit_code in (0, 1) and "SkipStep" in dry.stdout


def test_trade_people_do_not_see_that_compliance_looked(run: Run, read: Run) -> None:
    streams = {e["stream"] for e in read("event", "list", "--as", MAKER, "--limit", "500")["rows"]}
    assert not [s for s in streams if "/screening/" in s or "/case/" in s]
    hidden = run("topic", "read", "usance.compliance.events", "--partition", "1", "--as", MAKER)
    assert hidden.exit_code == 1 and "ScreeningDecided" not in hidden.output


def test_a_topic_is_read_as_decoded_json_lines(run: Run) -> None:
    found = []
    for partition in range(4):
        shown = run("topic", "read", "usance.trade.events", "--partition", str(partition))
        found += [json.loads(line) for line in shown.stdout.splitlines()]
    assert {"CreditApplied", "FacilitySet", "CreditReceived"} <= {r["type"] for r in found}
    limited = run("topic", "read", "usance.trade.events", "--limit", "1")
    assert len(limited.stdout.splitlines()) <= 1


def test_a_group_seeks_back_and_nothing_happens_twice(run: Run, read: Run) -> None:
    before = read("status", "--no-verify")
    for partition in range(4):
        sought = run(
            *("topic", "seek", "usance-reactions", "usance.trade.events"),
            *("--partition", str(partition), "--to", "0"),
        )
        assert sought.exit_code == 0, sought.output
    run("facility", "set", "FAC-QUI", "--field", "x=1", "--as", SENIOR)  # drives all parts
    after = read("status")
    assert after["events_by_type"] == before["events_by_type"]
    assert after["chain_verified"] is True


def test_the_owners_group_does_not_seek(run: Run) -> None:
    result = run(
        *("topic", "seek", "usance-owner", "usance.trade.commands", "--partition", "0", "--to", "0")
    )
    assert result.exit_code == 1 and "OWNER_GROUP" in result.stderr


def test_events_are_followed_from_the_start(run: Run) -> None:
    result = run("event", "tail", "--from-start", "--count", "3", "--output", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 3 and all(line["type"] and line["revision"] for line in lines)


def test_one_event_is_shown_with_content_and_hash(read: Run) -> None:
    row = read("event", "list", "--type", "CreditApplied")["rows"][0]
    found = read("event", "show", row["event_id"])
    assert found["content"]["credit"] == CREDIT and len(found["envelope_hash"]) == 64


def test_a_view_is_rebuilt_and_is_the_same(run: Run, read: Run) -> None:
    before = read("credit", "list")["rows"]
    assert run("projection", "rebuild", "book", "--dry-run").exit_code == 0
    result = run("projection", "rebuild", "book", "--output", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differences"] == []
    assert read("credit", "list")["rows"] == before
    assert run("projection", "rebuild", "nothing").exit_code == 1


def test_deleted_views_are_made_again_by_looking(run: Run, read: Run, data: Path) -> None:
    before = read("credit", "show", CREDIT)
    for file in data.glob("views.sqlite*"):
        file.unlink()
    assert read("credit", "show", CREDIT)["row"] == before["row"]


def test_an_altered_record_is_found_and_named(run: Run, data: Path) -> None:
    assert run("log", "verify").exit_code == 0
    connection = sqlite3.connect(data / "log.sqlite")
    altered = 0
    for partition in range(4):
        name = f"log_usance.trade.events_{partition}"
        sql = f'UPDATE "{name}" SET value = value || x\'00\' WHERE "offset" = 0'
        altered += connection.execute(sql).rowcount
    connection.commit()
    connection.close()
    assert altered
    result = run("log", "verify", "--output", "json")
    assert result.exit_code == 5
    broken = [r for r in json.loads(result.stdout) if not r["whole"]]
    assert broken and all(r["topic"] == "usance.trade.events" for r in broken)
    assert "BROKEN at usance.trade.events" in result.stderr and "offset 0," in result.stderr
    assert run("status").exit_code == 5


def test_damaged_views_are_no_damaged_book_and_it_says_what_to_do(run: Run, data: Path) -> None:
    (data / "views.sqlite").write_bytes(b"no database at all" * 1000)
    result = run("credit", "list")
    assert result.exit_code == 5
    assert "made again from the log" in result.stderr and "backup" not in result.stderr


def test_saga_line_of_an_ended_saga_names_no_step(run: Run) -> None:
    text = run("credit", "show", CREDIT).stdout
    assert not any(line.rstrip().endswith(" at") for line in text.splitlines())


def test_names_begin_no_sentence_with_a_capital(run: Run) -> None:
    result = run("credit", "state", CREDIT, "--at", "5000")
    assert result.exit_code == 1 and "Albion/" not in result.stderr


def test_a_backup_is_verified_and_restores_the_same_book(
    run: Run, read: Run, tmp_path: Path
) -> None:
    before = read("status")
    target = tmp_path / "backup"
    made = run("backup", str(target), "--output", "json")
    assert made.exit_code == 0 and json.loads(made.stdout)["chain_verified"] is True
    assert run("backup", str(target)).exit_code == 1  # never overwritten
    assert run("restore", str(target)).exit_code == 1  # nor a book that is there
    new = ("--data", str(tmp_path / "restored"))
    assert run("restore", str(target), *new).exit_code == 0
    after = json.loads(run("status", "--output", "json", *new).stdout)
    assert after == before


def test_a_damaged_backup_is_not_restored(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    run("backup", str(target))
    raw = bytearray((target / "log.sqlite").read_bytes())
    raw[8_192 * 5 : 8_192 * 40] = b"\x00" * (8_192 * 35)
    (target / "log.sqlite").write_bytes(raw)
    result = run("restore", str(target), "--data", str(tmp_path / "restored"))
    assert result.exit_code == 5
    assert not (tmp_path / "restored" / "log.sqlite").exists()


def test_doctor_names_a_damaged_database(run: Run, data: Path) -> None:
    assert run("doctor").exit_code == 0
    (data / "views.sqlite").write_bytes(b"no database" * 1_000)
    for tail in ("-wal", "-shm"):
        (data / f"views.sqlite{tail}").unlink(missing_ok=True)
    result = run("doctor")
    assert result.exit_code == 5 and "views.sqlite" in result.stdout


def test_where_no_book_is_the_reader_is_told_how_to_get_one(run: Run, tmp_path: Path) -> None:
    result = run("status", "--data", str(tmp_path / "none"))
    assert result.exit_code == 4 and "usance start --demo" in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_misspelt_setting_is_named(run: Run, data: Path) -> None:
    (data / "usance.toml").write_text("[web]\nprot = 1\n")
    result = run("config", "show")
    assert result.exit_code == 2 and "web.port" in result.stderr


def test_settings_say_where_they_were_set(read: Run, data: Path) -> None:
    (data / "usance.toml").write_text("[web]\nport = 8123\n")
    found = read("config", "show")
    assert found["web.port"]["value"] == "8123" and "usance.toml" in found["web.port"]["source"]
    assert found["data"]["source"] == "flag" and found["partitions"]["source"] == "default"


def test_doctor_tells_of_damage_that_stops_the_check_itself(run: Run, data: Path) -> None:
    file = data / "log.sqlite"
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 2)
        damaged.write(b"\xff" * 20_000)
    result = run("doctor")
    assert result.exit_code == 5, result.output
    assert "restore the last backup" in result.stdout


def test_settings_and_doctor_say_which_codec_runs(read: Run, data: Path) -> None:
    shown = read("config", "show")["codec"]["value"]
    assert shown == native.RUNNING
    found = {f["check"]: f["found"] for f in read("doctor")}
    assert found["codec"] == shown
    assert found["cipher"] == sealing.LIBRARY
    assert ("hashlib" in found["cipher"]) == (sealing.COMPILED is not None)


def test_names_of_parties_cannot_steer_the_terminal() -> None:
    hostile = "ACME \x1b]0;owned\x07\x1b[2J\r\n\u202eLTD"
    (_, row) = table((Column("Name", lambda r: r),), [hostile])
    assert "\x1b" not in row and "\x07" not in row and "\u202e" not in row
    assert clean("two\nlines\tand tabs") == "two\nlines\tand tabs"


def test_a_name_is_screened_in_bands(read: Run, run: Run) -> None:
    listed = read("screen", "OSAMA BIN LADEN", "--type", "person")
    assert listed["band"] == "hit" and listed["entry"]
    clear = read("screen", "QUILLON MARINE SUPPLIES LTD", "--type", "organisation")
    assert clear["band"] == "clear"
    lines = '{"id": 1, "name": "Osama bin Laden", "type": "person"}\n{"id": 2}\n'
    batch = run("screen", "--batch", "-", input=lines)
    answers = [json.loads(line) for line in batch.stdout.splitlines()]
    assert answers[0]["id"] == 1 and answers[0]["band"] == "hit"
    assert answers[1]["id"] == 2 and answers[1]["line"] == 2
    assert run("screen").exit_code == 64


def test_a_list_is_imported_behind_a_gate_and_activated_by_a_second_person(
    run: Run, read: Run, tmp_path: Path
) -> None:
    file = tmp_path / "house.csv"
    file.write_text("uid,name,type\nH-1,GRELLVANDER ODOBAS SHIPPING,organisation\n")
    elif_, farid = ("--as", "elif.demir"), ("--as", "farid.haddad")
    said = ("list", "import", str(file), "--list", "house", "--version", "2026-11-20")
    assert run("list", "import", str(file), *elif_).exit_code == 2  # which list, and of which day
    assert run(*said, "--as", "amara.okafor").exit_code == 1  # not compliance
    assert run(*said, *elif_, "--dry-run").exit_code == 0
    assert read("list", "list") == []
    assert run(*said, *elif_).exit_code == 0
    (row,) = read("list", "list")
    proposal, seen = row["waiting"]["proposal"], row["waiting"]["content"][:12]
    shown = run("list", "show", proposal, *farid)
    assert f"--seen {seen}" in shown.stderr
    assert run("list", "approve", proposal, "--seen", seen, *elif_).exit_code == 1
    assert run("list", "approve", proposal, "--seen", "0" * 12, *farid).exit_code == 3
    assert run("list", "approve", proposal, "--seen", seen, *farid, "--dry-run").exit_code == 0
    assert read("screen", "Grellvander Odobas Shipping")["band"] == "clear"
    assert run("list", "approve", proposal, "--seen", seen, *farid).exit_code == 0
    assert {row["list_id"] for row in read("list", "show")} >= {"house", "un", "ofac-sdn"}
    assert read("screen", "Grellvander Odobas Shipping")["list"] == "house"
    older = run("list", "import", str(file), "--list", "house", "--version", "2026-10-01", *elif_)
    assert older.exit_code == 1 and "OLDER_THAN_ACTIVE" in older.stderr


def test_a_proposed_list_is_turned_down_or_taken_back(run: Run, read: Run, tmp_path: Path) -> None:
    file = tmp_path / "house.csv"
    file.write_text("uid,name,type\nH-1,GRELLVANDER ODOBAS SHIPPING,organisation\n")
    elif_, farid = ("--as", "elif.demir"), ("--as", "farid.haddad")
    said = ("list", "import", str(file), "--list", "house", "--version", "2026-11-20", *elif_)
    assert run(*said).exit_code == 0
    proposal = read("list", "list")[0]["waiting"]["proposal"]
    assert run("list", "withdraw", proposal, *farid).exit_code == 1  # not the one who proposed it
    assert run("list", "reject", proposal, "--reason", "names are missing", *farid).exit_code == 0
    (row,) = read("list", "list")
    assert (row["answer"], row["waiting"]) == ("rejected", None)
    assert run(*said).exit_code == 0
    assert run("list", "withdraw", proposal, *elif_).exit_code == 0
    assert read("list", "list")[0]["answer"] == "withdrawn"


def test_exported_ids_are_all_that_is_registered(read: Run) -> None:
    rows = read("schema", "export")
    listed = read("schema", "list")
    assert {(r["subject"], r["version"], r["id"]) for r in rows} == {
        (s["subject"], s["version"], s["id"]) for s in listed
    }
    assert all(json.loads(r["schema"]) for r in rows)


@pytest.mark.parametrize(
    "noun",
    "credit presentation facility message work approval saga incident event dead-letter".split(),
)
def test_another_tenant_sees_nothing_of_a_book(noun: str, read: Run) -> None:
    own = read(noun, "list")
    found = read(noun, "list", "--tenant", "other")
    rows = found if isinstance(found, list) else found["rows"]
    assert rows == []
    if noun in ("credit", "facility", "event", "message", "saga"):
        assert own if isinstance(own, list) else own["rows"]


def test_another_tenant_reaches_nothing_by_its_whole_key(run: Run, read: Run) -> None:
    event = read("event", "list")["rows"][0]["event_id"]
    for said in (
        ("credit", "show", f"albion/credit/{CREDIT}"),
        ("credit", "timeline", f"albion/credit/{CREDIT}"),
        ("approval", "show", f"credit:albion/credit/{CREDIT}"),
        ("event", "show", event),
    ):
        assert run(*said).exit_code == 0, said
        assert run(*said, "--tenant", "other").exit_code == 1, said
    acted = ("approval", "approve", f"credit:albion/credit/{CREDIT}", "--dry-run")
    assert run(*acted, "--tenant", "other", "--as", SENIOR).exit_code == 1


@pytest.mark.parametrize("address", ["foo", "kafka://"])
def test_a_log_that_is_none_is_wrong_usage_and_says_what_is_taken(address: str, run: Run) -> None:
    result = run("status", "--log", address)
    assert result.exit_code == 64 and "kafka://HOST:PORT" in result.stderr


def test_a_batch_with_a_line_that_cannot_be_read_answers_the_others(run: Run) -> None:
    result = run("screen", "--batch", "-", input='abc\n{"id":"1","name":"Zzyzx Qwolten"}\n')
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["line"] == 1 and first["error"] and second["band"] == "clear"
    assert result.exit_code == 2 and "1 line" in result.stderr
