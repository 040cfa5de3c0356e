"""`usance audit export --out PACK.zip` as a person uses it: one command, and a letter's worth of facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from usance.audit.pack_records import unzipped
from usance.audit.pack_verify import main

AUDITOR = "grace.mwangi"


def _first_credit(read: Any) -> str:
    rows = read("credit", "list")["rows"]
    return str(rows[0]["reference"])


def test_one_command_makes_a_pack_that_verifies(
    run: Any, read: Any, tmp_path: Path, capsys: Any
) -> None:
    credit, out = _first_credit(read), tmp_path / "pack.zip"
    done = run(
        "audit", "export", "--credit", credit, "--out", str(out), "--as", AUDITOR,
        "--case", "FCA 17", "--output", "json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["bytes"] == out.stat().st_size and told["records"] > 5
    assert main([str(out), "--trust", told["fingerprint"]]) == 0
    assert capsys.readouterr().out.startswith(f"ACCEPTED {told['records']} records")
    assert main([str(out), "--trust", "A" * 44]) == 1
    assert "UNKNOWN_KEY" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([str(out), "--trust", "bogus"])
    assert ended.value.code == 2 and "neither a fingerprint" in capsys.readouterr().err
    again = run("audit", "export", "--credit", credit, "--out", str(out), "--as", AUDITOR)
    assert again.exit_code != 0 and "is there already" in again.output


def test_a_saved_head_says_what_was_known_and_a_day_what_had_happened(
    run: Any, read: Any, tmp_path: Path
) -> None:
    credit, out = _first_credit(read), tmp_path / "pack.zip"
    run(
        "audit",
        "export",
        "--query",
        "type=CreditApplied",
        "--out",
        str(tmp_path / "q.zip"),
        "--as",
        AUDITOR,
    )
    head = tmp_path / "monday.head"
    head.write_text(run("audit", "head").stdout)
    done = run(
        "audit", "export", "--credit", credit, "--known-at", str(head), "--as-of", "2026-11-23",
        "--out", str(out), "--as", AUDITOR,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    manifest = json.loads(bytes(unzipped(memoryview(out.read_bytes()))["manifest.json"]))
    assert manifest["known_at"]["heads"] == int(head.read_text().split("\n")[1])
    assert manifest["as_of"] == "2026-11-23T23:59:59.999Z"


def test_what_makes_no_sense_is_refused_before_anything_is_written(
    run: Any, tmp_path: Path
) -> None:
    out = str(tmp_path / "pack.zip")
    for words in (
        ["--out", out],
        ["--heads", "--out", out],
        ["--credit", "X", "--partition", "0", "--out", out],
        ["--credit", "X", "--reveal", "--out", out],
        ["--credit", "X", "--as-of", "soon", "--out", out],
        ["--credit", "X", "--known-at", "no-such-file", "--out", out],
        ["--credit", "X", "--out", str(tmp_path / "folder")],
    ):
        done = run("audit", "export", *words, "--as", AUDITOR)
        assert done.exit_code != 0, words
        assert "Traceback" not in done.output
    assert not any(tmp_path.glob("pack*"))
