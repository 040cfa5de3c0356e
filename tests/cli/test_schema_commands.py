"""`usance schema check`: verdicts as text, JSON and lines, and what the exit codes say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from usance.cli.main import usance


def shell(*arguments: Any, **more: Any) -> Result:
    return CliRunner().invoke(usance, [str(a) for a in arguments], **more)


def credit(*fields: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "CreditIssued", "fields": list(fields)} | more


AMOUNT = {"name": "amount", "type": "long"}
OLD = credit(AMOUNT)
WIDER = credit(AMOUNT, {"name": "memo", "type": "string", "default": ""})
LOSSY = credit(AMOUNT | {"type": "double"})
BROKEN = credit(AMOUNT, {"name": "memo", "type": "string"})


@pytest.fixture
def avsc(tmp_path: Path) -> Any:
    def write(name: str, spec: Any) -> Path:
        path = tmp_path / f"{name}.avsc"
        path.write_text(spec if isinstance(spec, str) else json.dumps(spec), encoding="utf-8")
        return path

    return write


def test_a_compatible_version_exits_with_zero_and_says_so(avsc: Any) -> None:
    result = shell("schema", "check", avsc("new", WIDER), avsc("old", OLD))
    assert (result.exit_code, result.stdout) == (0, "Compatible.\n")


def test_an_incompatible_version_exits_with_one_and_says_rule_place_and_remedy(avsc: Any) -> None:
    result = shell("schema", "check", "--mode", "backward", avsc("new", BROKEN), avsc("old", OLD))
    assert result.exit_code == 1
    assert "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1" in result.stdout
    assert "default" in result.stdout
    fits = shell("schema", "check", "--mode", "FORWARD", avsc("new", BROKEN), avsc("old", OLD))
    assert fits.exit_code == 0


def test_a_lint_does_not_change_the_exit_code_unless_asked(avsc: Any) -> None:
    files = ("schema", "check", "--mode", "BACKWARD", avsc("new", LOSSY), avsc("old", OLD))
    assert shell(*files).exit_code == 0
    assert "error PRECISION_LOST at /fields/0/type" in shell(*files).stdout
    assert shell(*files, "--strict").exit_code == 1


def test_json_shows_verdict_violations_and_lints(avsc: Any) -> None:
    files = ("schema", "check", "--mode", "BACKWARD", avsc("new", LOSSY), avsc("old", OLD))
    assert json.loads(shell(*files, "--output", "json").stdout) == {
        "compatible": True,
        "violations": [],
        "lints": [{"rule": "PRECISION_LOST", "path": "/fields/0/type", "severity": "error"}],
    }


def test_older_versions_stand_oldest_first(avsc: Any) -> None:
    bare, filled = avsc("v1", credit()), avsc("v2", credit(AMOUNT | {"default": 0}))
    new = avsc("v3", OLD)
    assert shell("schema", "check", "--mode", "BACKWARD", new, bare, filled).exit_code == 0
    assert shell("schema", "check", "--mode", "BACKWARD", new, filled, bare).exit_code == 1
    every = shell("schema", "check", "--mode", "BACKWARD_TRANSITIVE", new, bare, filled)
    assert every.exit_code == 1 and "earlier version 1" in every.stdout


@pytest.mark.parametrize("spec", ["nonsense", '{"type":"record"}', '"no.such.Type"'])
def test_a_file_that_is_no_schema_exits_with_two_and_names_the_file(avsc: Any, spec: str) -> None:
    result = shell("schema", "check", avsc("new", spec), avsc("old", OLD))
    assert result.exit_code == 2
    assert "new.avsc" in result.stderr and result.stdout == ""


def test_a_batch_answers_every_line_and_exits_with_the_worst(tmp_path: Path) -> None:
    good = {"id": "a", "mode": "FULL", "new": WIDER, "old": [OLD]}
    wrong = {"id": 2, "mode": "FULL", "new": BROKEN, "old": [OLD]}
    bad = {"id": "c", "mode": "FULL", "new": "?", "old": [OLD]}
    file = tmp_path / "pairs.jsonl"

    def batch(*lines: Any) -> tuple[int, list[Any]]:
        file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n", encoding="utf-8")
        result = shell("schema", "check", "--batch", file)
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]

    code, answers = batch(good)
    assert (code, answers) == (0, [{"id": "a", "compatible": True, "violations": [], "lints": []}])
    code, answers = batch(good, wrong)
    assert (code, [a["compatible"] for a in answers]) == (1, [True, False])
    code, answers = batch(bad, wrong, good)
    assert (code, [a["id"] for a in answers]) == (2, ["c", 2, "a"])
    assert answers[0]["violations"][0]["rule"] == "UNREADABLE"


def test_a_batch_may_come_from_standard_input() -> None:
    line = json.dumps({"id": 1, "mode": "NONE", "new": "int", "old": ["string"]})
    result = shell("schema", "check", "--batch", "-", input=line)
    assert json.loads(result.stdout)["compatible"] is True and result.exit_code == 0


def test_files_and_batch_do_not_go_together_and_one_of_them_is_needed(avsc: Any) -> None:
    new = avsc("new", OLD)
    assert shell("schema", "check", new).exit_code == 64
    assert shell("schema", "check").exit_code == 64
    assert shell("schema", "check", new, "--batch", new).exit_code == 64
    assert shell("schema", "check", "--mode", "SIDEWAYS", new, new).exit_code == 64


def test_the_gate_exits_with_zero_and_counts_what_it_looked_at() -> None:
    result = shell("schema", "gate")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("Open: ")
    assert json.loads(shell("schema", "gate", "--output", "json").stdout)["open"] is True
    made = json.loads(shell("schema", "gate", "--format", "sarif").stdout)
    assert made["runs"][0]["tool"]["driver"]["name"] == "usance schema gate"


def test_a_closed_gate_exits_with_one_and_an_unreadable_input_with_two(tmp_path: Path) -> None:
    reads = tmp_path / "reads.json"
    declared = [{"consumer": "feed", "reads": {"usance.trade.CreditExpired": ["gone"]}}]
    reads.write_text(json.dumps(declared), encoding="utf-8")
    result = shell("schema", "gate", "--consumers", reads)
    assert result.exit_code == 1
    assert "error CONSUMER_FIELD_GONE" in result.stdout and "Closed: " in result.stdout
    assert shell("schema", "gate", "--golden", tmp_path / "none").exit_code == 2
    reads.write_text("nonsense", encoding="utf-8")
    assert shell("schema", "gate", "--consumers", reads).exit_code == 2
