"""Card numbers at the command line: refused before anything is kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from conftest import Run

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
