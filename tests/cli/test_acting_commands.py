"""People act at the command line: outcomes, exit codes, dry runs, approvals, repeats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_book import (
    CHECKER,
    CREDIT,
    MAKER,
    MT700,
    SENIOR,
    application_document,
    facility_document,
)

from usance.messages import inputs

Run = Callable[..., Any]


def seen(read: Run, approval: str = CREDIT) -> str:
    """Return what a person names who looked at an approval."""
    found = read("approval", "show", approval, "--as", SENIOR)
    return str(found["content_hash"][:12])


def test_who_approves_reads_amounts_as_money(run: Run) -> None:
    text = run("approval", "show", CREDIT, "--as", SENIOR).stdout
    (line,) = (row for row in text.splitlines() if row.split()[:1] == ["amount"])
    assert "," in line and "." in line


def test_the_book_is_shown_with_amounts_and_weekdays(run: Run) -> None:
    result = run("credit", "list")
    assert result.exit_code == 0
    line = next(row for row in result.stdout.splitlines() if row.startswith(CREDIT))
    assert "AWAITING_APPROVAL" in line
    assert "USD 100,000.00" in line and "USD 105,000.00" in line and "Mon 15 Feb 2027" in line


def test_a_credit_is_approved_by_a_second_person_who_saw_it(run: Run, read: Run) -> None:
    result = run("credit", "approve", CREDIT, "--as", CHECKER, "--seen", seen(read))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Accepted: ApproveCredit on credit {CREDIT}, revision ")
    assert f"Next: usance credit show {CREDIT}" in result.stderr
    row = read("credit", "show", CREDIT)["row"]
    assert row["state"] == "ISSUED"  # what follows from it was driven to its end, too
    assert read("approval", "list") == []


def test_a_work_item_is_claimed_by_one_person_and_released(run: Run, read: Run) -> None:
    item = read("work", "list", "--as", CHECKER)["rows"][0]["id"]
    result = run("work", "claim", item, "--as", CHECKER)
    assert result.exit_code == 0, result.output
    assert read("work", "list", "--holder", CHECKER)["rows"][0]["holder"] == CHECKER
    second = run("work", "claim", item, "--as", MAKER)
    assert second.exit_code == 1 and "WORK_TAKEN" in second.stderr
    assert run("work", "release", item, "--as", CHECKER).exit_code == 0
    assert read("work", "list", "--holder", CHECKER)["rows"] == []


def test_the_maker_cannot_approve_and_is_told_the_rule(run: Run, read: Run) -> None:
    before = read("credit", "show", CREDIT)["row"]["revision"]
    result = run("credit", "approve", CREDIT, "--as", f"{MAKER}", "--seen", seen(read))
    assert result.exit_code == 1
    assert "SELF_APPROVAL" in result.stderr
    assert read("credit", "show", CREDIT)["row"]["revision"] == before


def test_a_stale_approval_is_a_conflict(run: Run) -> None:
    result = run("approval", "approve", CREDIT, "--as", SENIOR, "--seen", "0123456789ab")
    assert result.exit_code == 3
    assert "usance approval show" in result.stderr


def test_off_a_terminal_nobody_approves_what_they_did_not_name(run: Run) -> None:
    result = run("approval", "approve", CREDIT, "--as", SENIOR)
    assert result.exit_code == 64 and "--seen" in result.stderr


def test_a_dry_run_says_what_would_happen_and_records_nothing(run: Run, read: Run) -> None:
    before = read("status")
    result = run("credit", "approve", CREDIT, "--as", SENIOR, "--dry-run")
    assert result.exit_code == 0
    assert "Would be accepted" in result.stdout and "CreditApproved" in result.stdout
    assert read("status") == before


def test_a_dry_run_of_a_refusal_has_its_exit_code(run: Run) -> None:
    result = run("credit", "approve", CREDIT, "--as", MAKER, "--dry-run")
    assert result.exit_code == 1 and "SELF_APPROVAL" in result.stderr


def test_an_amendment_takes_the_next_number_and_an_amount_in_the_credits_currency(
    run: Run, read: Run
) -> None:
    run("credit", "approve", CREDIT, "--as", SENIOR, "--seen", seen(read))
    asked = run("credit", "amend", CREDIT, "--increase", "12,500.75", "--as", MAKER)
    assert asked.exit_code == 0, asked.output
    (amendment,) = read("credit", "show", CREDIT)["amendments"]
    assert amendment["number"] == 1 and amendment["changes"] == {"increase": "1250075"}
    again = run("credit", "amend", CREDIT, "--expiry-date", "2027-03-15", "--as", MAKER)
    numbers = [a["number"] for a in read("credit", "show", CREDIT)["amendments"]]
    assert (again.exit_code, sorted(numbers)) in ((0, [1, 2]), (1, [1]))


def test_rejecting_needs_a_reason_and_ends_the_application(run: Run, read: Run) -> None:
    assert run("approval", "reject", CREDIT, "--as", SENIOR).exit_code == 64
    result = run("approval", "reject", CREDIT, "--as", SENIOR, "--reason", "limit under review")
    assert result.exit_code == 0, result.output
    assert read("credit", "show", CREDIT)["row"]["state"] == "REJECTED"


def test_nobody_acts_without_a_name(run: Run) -> None:
    result = run("facility", "set", "FAC-NEW", "--customer", "c", "--currency", "USD")
    assert result.exit_code == 1 and "ACTING_AS_MISSING" in result.stderr
    assert MAKER in result.stderr


def test_an_unknown_person_is_told_who_is_known(run: Run) -> None:
    result = run("credit", "close", CREDIT, "--as", "nobody.known")
    assert result.exit_code == 1 and "nobody.known" in result.stderr and MAKER in result.stderr


def test_a_facility_is_set_with_an_amount_as_people_write_it(run: Run, read: Run) -> None:
    result = run(
        *("facility", "set", "FAC-NEW", "--customer", "cust-new", "--currency", "USD"),
        *("--limit", "1,250,000.50", "--expiry", "2027-12-31", "--as", SENIOR),
    )
    assert result.exit_code == 0, result.output
    assert read("facility", "show", "FAC-NEW")["row"]["limit"] == 125_000_050
    assert "USD 1,250,000.50" in run("facility", "list").stdout


def test_an_amount_with_too_many_decimals_is_not_rounded(run: Run) -> None:
    result = run(
        *("facility", "set", "FAC-NEW", "--customer", "c", "--currency", "JPY"),
        *("--limit", "1000.5", "--expiry", "2027-12-31", "--as", SENIOR),
    )
    assert result.exit_code == 64 and "JPY" in result.stderr


def test_a_missing_field_is_named(run: Run) -> None:
    result = run("facility", "set", "FAC-NEW", "--customer", "c", "--as", SENIOR)
    assert result.exit_code == 2
    assert "currency" in result.stderr


def test_an_application_comes_from_a_document(run: Run, read: Run, tmp_path: Path) -> None:
    document = application_document("TF26LC000202")
    file = tmp_path / "apply.json"
    file.write_text(json.dumps(document))
    result = run("credit", "apply", "--file", str(file), "--as", MAKER)
    assert result.exit_code == 0, result.output
    assert read("credit", "show", "TF26LC000202")["row"]["state"] == "AWAITING_APPROVAL"


def test_dotted_fields_complete_a_document(run: Run, read: Run, tmp_path: Path) -> None:
    document = application_document("TF26LC000203")
    del document["terms"]["expiry_date"], document["id"]
    file = tmp_path / "apply.json"
    file.write_text(json.dumps(document))
    assert run("credit", "apply", "--file", str(file), "--as", MAKER).exit_code == 2
    more = ("--field", "terms.expiry_date=2027-03-01")
    result = run("credit", "apply", "TF26LC000204", "--file", str(file), *more, "--as", MAKER)
    assert result.exit_code == 0, result.output
    assert read("credit", "show", "TF26LC000204")["row"]["expiry_date"] == "2027-03-01"


def test_the_same_id_twice_is_one_command_and_answers_alike(run: Run, read: Run) -> None:
    once = ("credit", "withdraw", CREDIT, "--reason", "by mail", "--id", "w-1", "--as", MAKER)
    first, again = read(*once), read(*once)
    assert first["answer"]["outcome"] == again["answer"]["outcome"] == "accepted"
    assert again["repeat"] is True
    assert first["answer"]["command_id"] == again["answer"]["command_id"]


def test_the_same_id_with_another_body_is_a_conflict(run: Run) -> None:
    run("credit", "withdraw", CREDIT, "--reason", "by mail", "--id", "w-1", "--as", MAKER)
    other = run("credit", "withdraw", CREDIT, "--reason", "x", "--id", "w-1", "--as", MAKER)
    assert other.exit_code == 3 and "new id" in other.stderr


def test_any_command_is_sent_by_its_name_to_its_own_kind_alone(run: Run) -> None:
    sent = run(
        *("credit", "act", "WithdrawApplication", CREDIT),
        *("--field", "reason=asked", "--as", MAKER),
    )
    assert sent.exit_code == 0, sent.output
    wrong = run("credit", "act", "SetFacility", CREDIT, "--as", SENIOR)
    assert wrong.exit_code == 1 and "usance facility" in wrong.stderr


def test_a_document_is_sent_by_the_person_in_it(run: Run, read: Run, tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    file.write_text(json.dumps(facility_document("FAC-DOC")))
    assert run("command", "send", str(file)).exit_code == 0
    assert read("facility", "show", "FAC-DOC")["row"]["limit"] == 500_000_000
    (event,) = read("event", "list", "--stream", "albion/facility/FAC-DOC")["rows"]
    assert event["actor"] == SENIOR


def test_a_document_that_is_none_is_unreadable(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"type": "SetFacility", "limit": "many"}')
    assert run("command", "send", str(file), "--as", SENIOR).exit_code == 2
    file.write_text(MT700)
    result = run("command", "send", str(file), "--as", SENIOR)
    assert result.exit_code == 2 and "usance intake" in result.stderr


def test_intake_says_what_became_of_every_input(run: Run, read: Run, tmp_path: Path) -> None:
    good, repeat, noise = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "noise.fin"
    good.write_text(json.dumps(facility_document("FAC-IN")))
    repeat.write_text(json.dumps(application_document()))
    noise.write_bytes(b"no message \xff")
    result = run("intake", str(good), str(repeat), str(noise), "--output", "json")
    taken = json.loads(result.stdout)
    assert [t["outcome"] for t in taken] == ["accepted", "duplicate", "dead-lettered"]
    assert result.exit_code == 2
    counts = read("status")
    assert (counts["accepted"], counts["duplicates"], counts["dead_letters"]) == (4, 2, 2)
    assert counts["inputs"] == 8


def test_a_dry_intake_leaves_the_gateway_alone(run: Run, data: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise.fin"
    noise.write_bytes(b"no message")
    result = run("intake", str(noise), "--dry-run", "--output", "json")
    assert json.loads(result.stdout)[0]["outcome"] == "dead-lettered"
    assert list((data / "gateway" / "in").iterdir()) == []


def test_two_inputs_in_one_file_have_two_answers(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    lines = [json.dumps(facility_document(f"FAC-{n}")) for n in (1, 2)]
    file.write_text("\n".join(lines))
    taken = json.loads(run("intake", str(file), "--output", "json").stdout)
    assert [(t["ordinal"], t["outcome"]) for t in taken] == [(1, "accepted"), (2, "accepted")]


def test_acting_in_an_empty_folder_begins_a_book(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "set.json"
    file.write_text(json.dumps(facility_document()))
    where = ("--data", str(tmp_path / "new"))
    dry = run("command", "send", str(file), *where, "--dry-run")
    assert dry.exit_code == 0 and not (tmp_path / "new").exists()


def test_what_still_cannot_be_read_stays_a_dead_letter(run: Run, read: Run) -> None:
    (letter,) = read("dead-letter", "list")["rows"]
    assert "no message at all" in run("dead-letter", "show", letter["id"]).stdout
    again = run("dead-letter", "redrive", letter["id"], "--reason", "try", "--as", SENIOR)
    assert again.exit_code == 2
    assert read("dead-letter", "list")["rows"][0]["state"] == "open"


def test_an_input_that_a_newer_program_can_read_is_redriven_from_its_bytes(
    run: Run, read: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "set.json"
    file.write_text(json.dumps(facility_document("FAC-LATE")))
    with monkeypatch.context() as older:
        older.setattr(inputs, "INPUT_LIMIT", 100)
        assert run("intake", str(file)).exit_code == 2
    letter = read("dead-letter", "list")["rows"][0]
    before = read("status")

    redrive = ("dead-letter", "redrive", letter["id"], "--reason", "new limit", "--as", SENIOR)
    dry = run(*redrive, "--dry-run")
    assert dry.exit_code == 0 and "FacilitySet" in dry.stdout and read("status") == before
    assert run(*redrive).exit_code == 0
    after = read("status")
    assert after["inputs"] == before["inputs"]  # still the same input, now by its new state
    assert after["dead_letters"] == before["dead_letters"] - 1
    assert after["accepted"] == before["accepted"] + 1
    assert after["dead_letters_open"] == before["dead_letters_open"] - 1
    assert run(*redrive).exit_code == 1  # once is enough


def test_a_dead_letter_is_discarded_with_a_reason(run: Run, read: Run) -> None:
    (letter,) = read("dead-letter", "list")["rows"]
    dry = run("dead-letter", "discard", letter["id"], "--reason", "x", "--as", SENIOR, "--dry-run")
    assert dry.exit_code == 0
    assert read("status")["dead_letters_open"] == 1
    gone = run("dead-letter", "discard", letter["id"], "--reason", "noise", "--as", SENIOR)
    assert gone.exit_code == 0, gone.output
    counts = read("status")
    assert counts["dead_letters_open"] == 0 and counts["dead_letters"] == 1
