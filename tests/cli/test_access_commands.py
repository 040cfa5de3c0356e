"""`usance audit access`: who looked at what, asked at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]
AUDITOR, OFFICER, MAKER = "grace.mwangi", "farid.haddad", "amara.okafor"


def rows(run: Run, *more: str) -> list[dict[str, Any]]:
    result = run("audit", "access", "list", *more, "--as", AUDITOR, "--output", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return found


def test_looking_at_cases_is_listed_with_who_and_when_and_so_is_the_asking(run: Run) -> None:
    assert run("case", "list", "--as", OFFICER).exit_code == 0
    found = rows(run)
    assert [(r["person"], r["action"]) for r in found[:2]] == [
        (AUDITOR, "access.list"),
        (OFFICER, "case.list"),
    ]
    assert [r["person"] for r in rows(run, "--action", "case.list")] == [OFFICER]
    assert rows(run, "--person", OFFICER, "--until", "2020-01-01") == []


def test_who_may_not_look_gets_nothing_and_is_listed(run: Run) -> None:
    for arguments in (("case", "list"), ("audit", "access", "list")):
        result = run(*arguments, "--as", MAKER)
        assert result.exit_code == 1
        assert "is for" in result.stderr and not result.stdout
    found = rows(run, "--kind", "denied", "--person", MAKER)
    assert {r["action"] for r in found} >= {"case.list", "access.list"}
    shown = run("audit", "access", "show", found[0]["event_id"], "--as", AUDITOR)
    assert shown.exit_code == 0 and "ROLE_NEEDED" in shown.stdout and "access.p0#" in shown.stdout


def test_nobody_in_particular_is_told_nothing(run: Run) -> None:
    assert run("audit", "access", "list").exit_code == 1
    listed = run("case", "list")
    assert listed.exit_code == 0 and "TF26" not in listed.stdout


def test_the_glass_is_broken_used_closed_and_reviewed(run: Run) -> None:
    engineer, behind = "henrik.solberg", "henrik.solberg:break_glass"
    facility = ("facility", "set", "FAC-GLASS", "--customer", "c", "--currency", "USD",
                "--limit", "10", "--expiry", "2027-12-31", "--margin-account", "M")  # fmt: skip
    assert run(*facility, "--as", engineer).exit_code == 1
    assert run(*facility, "--as", behind).exit_code == 1, "the glass is not broken"
    why = ("--incident", "INC-7", "--reason", "nobody of credit is in")
    broken = run("glass", "break", "--act", "SetFacility", *why, "--as", engineer)
    assert broken.exit_code == 0, broken.output
    done = run(*facility, "--as", behind)
    assert done.exit_code == 0 and "Accepted: SetFacility" in done.stdout, done.output
    assert run("glass", "close", "--as", engineer).exit_code == 0
    review = ("glass", "review", engineer, "1", "--justified", "--reason", "read it")
    assert run(*review, "--as", f"{engineer}").exit_code == 1
    assert run(*review, "--as", AUDITOR).exit_code == 0
    listed = json.loads(run("glass", "list", "--output", "json").stdout)
    assert [(g["state"], g["reviewer"], g["used"]) for g in listed] == [
        ("reviewed", AUDITOR, "SetFacility on albion/facility/FAC-GLASS")
    ]
