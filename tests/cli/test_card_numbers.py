"""Card numbers at the command line: refused before anything is kept."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import Run
from usance.cli.main import usance

VISA = "4012888888881881"
MAKER = "amara.okafor"
CREDIT = "TF26LC000101"


@pytest.mark.parametrize(
    "arguments",
    [
        ("credit", "withdraw", CREDIT, "--reason", f"charge {VISA}", "--as", MAKER),
        ("credit", "withdraw", CREDIT, "--reason", f"charge {VISA}", "--as", MAKER, "--dry-run"),
        ("credit", "withdraw", CREDIT, "--field", f"reason=card {VISA}", "--as", MAKER),
        ("approval", "reject", CREDIT, "--reason", f"card {VISA}", "--as", "bruno.lindqvist"),
        (
            "audit",
            "export",
            "--credit",
            CREDIT,
            "--out",
            "p.zip",
            "--as",
            "grace.mwangi",
            "--case",
            VISA,
        ),
        ("intake", "document.json"),
        ("intake", "document.json", "--dry-run"),
        ("command", "send", "document.json", "--as", MAKER),
    ],
)
def test_each_way_in_refuses_a_card_number_and_keeps_nothing(
    run: Run, data: Path, arguments: tuple[str, ...]
) -> None:
    document = {"type": "CloseCredit", "credit": CREDIT, "reason": f"card {VISA}", "id": "doc-1"}
    (data.parent / "document.json").write_text(json.dumps(document))
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert "CARD_NUMBER PCI-DSS-3.5.1" in result.stderr
    assert VISA[6:12] not in result.output
    assert subprocess.run(["grep", "-rlF", VISA, data], capture_output=True, text=True).stdout == ""


def test_a_setting_lets_them_pass(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USANCE_CARDS_ACTION", "off")
    result = run(
        "credit", "withdraw", CREDIT, "--reason", f"charge {VISA}", "--as", MAKER, "--dry-run"
    )
    assert "CARD_NUMBER" not in result.output


def test_tokens_need_a_log_that_has_a_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USANCE_CARDS_ACTION", "tokenise")
    refused = run("credit", "withdraw", CREDIT, "--reason", "by mail", "--as", MAKER, "--dry-run")
    assert "TOKENS_NEED_KEYS" in refused.stderr


def test_a_sealing_log_keeps_tokens_of_cards_and_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USANCE_CARDS_ACTION", "tokenise")
    folder = tmp_path / "sealed"
    everywhere = ["--data", str(folder), "--profile", "secure", "--output", "json"]
    facility = {
        "type": "SetFacility", "facility": "F1", "customer": f"ACME card {VISA}", "currency": "USD",
        "limit": 100_000_000, "expiry": "2027-12-31", "id": "f1", "as": "bruno.lindqvist", "role": "checker",
    }  # fmt: skip
    (tmp_path / "f.json").write_text(json.dumps(facility))
    seen = CliRunner().invoke(usance, [*everywhere, "intake", "f.json"])
    assert VISA not in seen.output
    assert json.loads(seen.stdout)[0]["outcome"] == "accepted"
    shown = CliRunner().invoke(
        usance, [*everywhere, "facility", "show", "F1", "--as", "bruno.lindqvist"]
    )
    token = re.search(r"ACME card (99[0-9]{13}1881)", shown.output)
    assert token is not None, shown.output
    assert VISA not in shown.output
    again = facility | {
        "id": "f2",
        "facility": "F2",
        "customer": f"BETA card {VISA[:4]} 8888 8888 1881",
    }
    (tmp_path / "g.json").write_text(json.dumps(again))
    sent = CliRunner().invoke(usance, [*everywhere, "command", "send", "g.json"])
    assert sent.exit_code == 0, sent.output
    other = CliRunner().invoke(
        usance, [*everywhere, "facility", "show", "F2", "--as", "bruno.lindqvist"]
    )
    assert token[1] in other.output  # the same card, the same token
    for number in (VISA, "4012 8888 8888 1881"):
        found = subprocess.run(["grep", "-rlF", number, folder], capture_output=True, text=True)
        assert found.stdout == ""
