"""`usance audit controls` needs no data folder, and tells counsel what is from memory."""

from __future__ import annotations

import json

from click.testing import CliRunner

from usance.cli.main import usance


def test_rows_are_narrowed_by_rule_and_state_and_summed() -> None:
    told = CliRunner().invoke(usance, ["audit", "controls", "pci"])
    assert told.exit_code == 0, told.output
    assert "PCI-10.3" in told.stdout and "SEC-17A4" not in told.stdout
    assert "to be checked by counsel" in told.stdout and "Nothing here claims" in told.stdout
    rows = json.loads(
        CliRunner()
        .invoke(usance, ["audit", "controls", "--state", "met", "--output", "json"])
        .stdout
    )
    assert rows and {row["state"] for row in rows} == {"met"} and all(row["tests"] for row in rows)


def test_a_rule_that_nobody_knows_says_where_to_look() -> None:
    told = CliRunner().invoke(usance, ["audit", "controls", "no such rule"])
    assert told.exit_code == 1 and "usance audit controls" in told.stderr
