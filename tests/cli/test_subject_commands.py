"""Who is shown what is kept of a data subject: nobody without a name, a role and a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from usance.cli.main import usance

OFFICER, MAKER, AUDITOR = "farid.haddad", "amara.okafor", "grace.mwangi"
SENIOR = "dev.raghavan"
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A secure book with one hold, so that there is a subject."""
    folder = tmp_path_factory.mktemp("subjects") / "data"

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(
            usance, ["--data", str(folder), "--profile", "secure", *arguments]
        )

    placed = run("subject", "hold", "party-1", "--reason", "court order", "--as", OFFICER)
    assert placed.exit_code == 0, placed.output
    return run


SHOWING = (
    ("subject", "show", "party-1"),
    ("subject", "erase", "party-1", "--dry-run"),
    ("retention", "list"),
    ("retention", "show", "party-1"),
    ("retention", "letter", "party-1"),
    ("retention", "certificate", "party-1"),
    ("retention", "propose", "party-1", "--reason", "r", "--dry-run"),
    ("retention", "approve", "party-1", "--dry-run"),
    ("retention", "destroy", "party-1", "--dry-run"),
)


@pytest.mark.parametrize("command", SHOWING, ids=" ".join)
def test_what_is_kept_is_shown_to_nobody_without_name_and_role(
    secure: Run, command: tuple[str, ...]
) -> None:
    nameless = secure(*command)
    assert nameless.exit_code == 1 and "ACTING_AS_MISSING" in nameless.output, nameless.output
    denied = secure(*command, "--as", MAKER)
    assert denied.exit_code == 1 and "is for" in denied.output, denied.output


def test_what_is_kept_is_shown_after_it_was_recorded(secure: Run) -> None:
    looks = [c for c in SHOWING if "letter" not in c and "certificate" not in c]
    for command in looks:
        shown = secure(*command, "--as", OFFICER)
        assert shown.exit_code == 0, shown.output
    assert secure("subject", "show", "party-1", "--as", SENIOR).exit_code == 0, "who approves"
    listed = secure("audit", "access", "list", "--as", AUDITOR, "--output", "json")
    rows = json.loads(listed.stdout)["rows"]
    told = [(r["person"], r["action"]) for r in rows if r["kind"] == "look"]
    assert told.count((OFFICER, "subject.view")) == 2
    assert told.count((OFFICER, "retention.view")) == 4
    assert (OFFICER, "retention.list") in told and (SENIOR, "subject.view") in told


def test_who_may_not_approve_an_erasure_does_not_do_one_that_is_approved(secure: Run) -> None:
    asked = secure("subject", "erase", "party-2", "--reason", "letter", "--as", "elif.demir")
    assert asked.exit_code == 0, asked.output
    for person in (OFFICER, SENIOR):
        assert secure("retention", "approve", "party-2", "--as", person).exit_code == 0
    denied = secure("subject", "erase", "party-2", "--as", MAKER)
    assert denied.exit_code == 1 and "ROLE_NEEDED" in denied.output, denied.output
    done = secure("subject", "erase", "party-2", "--as", OFFICER)
    assert done.exit_code == 0 and "certificate" in done.output, done.output


@pytest.mark.parametrize("verb", ["rotate", "rewrap"])
def test_keys_are_moved_by_those_who_may_turn_them(secure: Run, verb: str) -> None:
    denied = secure("key", verb, "--as", MAKER)
    assert denied.exit_code == 1 and "ROLE_NEEDED" in denied.output, denied.output
    assert secure("key", verb, "--as", OFFICER).exit_code == 0
