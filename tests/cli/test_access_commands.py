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
