"""The gate is open for the program as it stands, and each harm to history closes it by name."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from usance.bootstrap.gate import GOLDEN, Consumer, Finding, Gate, Report, consumers, sarif
from usance.bootstrap.gate_streams import Stream, differences
from usance.kernel.errors import Unreadable
from usance.messages import upcasting
from usance.messages.catalogue import Catalogue, build, default, schema_files
from usance.messages.upcasting import Upcasters

EXPIRED, OUTCOME = "usance.trade.CreditExpired", "usance.system.Outcome"


def test_the_gate_is_open_for_this_program() -> None:
    """This is the run in CI: `usance schema gate` on the checkout."""
    report = Gate(default(), GOLDEN, consumers()).report()
    assert [f for f in report.findings if f.severity == "error"] == []
    assert report.open
    assert report.checked["versions"] == report.checked["records"] > 200
    assert min(report.checked.values()) > 0


def with_version(name: str, change: Callable[[dict[str, Any]], Any]) -> Catalogue:
    """Return a catalogue in which a message has one more version, made of its newest."""
    files = {n: dict(v) for n, v in schema_files().items()}
    newest = max(files[name])
    spec = json.loads(files[name][newest])
    files[name][newest + 1] = json.dumps(change(spec) or spec)
    return build(files=files)


def closed(report: Report, *rules: str) -> list[Finding]:
    found = [f for f in report.findings if f.severity == "error"]
    assert not report.open
    assert {f.rule for f in found} >= set(rules), [(f.rule, f.message) for f in found]
    assert all(f.hint and f.file for f in found)
    return found


def _add_bare(spec: dict[str, Any]) -> None:
    spec["fields"].append({"name": "more", "type": "string"})


def _drop_first(spec: dict[str, Any]) -> None:
    del spec["fields"][0]


def _rename_first(spec: dict[str, Any]) -> None:
    spec["fields"][0] |= {"name": "other", "default": ""}


def _lower(spec: dict[str, Any]) -> None:
    spec["fields"][0]["subject"] = "someone"
    spec["fields"][0]["sensitivity"] = "public"


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        (EXPIRED, _add_bare, "READER_FIELD_MISSING_DEFAULT_VALUE"),
        (EXPIRED, _drop_first, "READER_FIELD_MISSING_DEFAULT_VALUE"),
        (EXPIRED, _rename_first, "RENAME_HIDDEN_BY_DEFAULT"),
        (EXPIRED, _lower, "SENSITIVITY_REMOVED"),
        (EXPIRED, lambda spec: spec | {"fields": "none"}, "UNREADABLE"),
        (EXPIRED, lambda spec: spec | {"name": "CreditOver"}, "NAME_MISMATCH"),
        (OUTCOME, _drop_first, "READER_FIELD_MISSING_DEFAULT_VALUE"),
    ],
)
def test_a_version_that_breaks_history_closes_it(name: str, change: Any, rule: str) -> None:
    found = closed(Gate(with_version(name, change)).report(), rule)
    assert f"{name}.v" in found[0].file


def test_outcomes_need_only_be_read_by_those_who_came_before() -> None:
    report = Gate(with_version(OUTCOME, _add_bare)).report()
    rules = {f.rule for f in report.findings if f.severity == "error"}
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" not in rules
    assert "CLASS_DIFFERS" in rules  # the class has no such field


def test_a_missing_version_and_a_file_without_a_class_close_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {n: dict(v) for n, v in schema_files().items()}
    del files[EXPIRED][1]
    closed(Gate(build(files=files)).report(), "VERSION_MISSING")
    catalogue = build()
    del catalogue.by_name[EXPIRED]
    closed(Gate(catalogue).report(), "CLASS_MISSING")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def test_a_golden_record_that_is_gone_changed_or_unreadable_closes_it(golden: Path) -> None:
    names = {v: golden / f"{EXPIRED}.v{v}.bin" for v in (1, 2)}
    first = names[1].read_bytes()
    names[1].unlink()
    assert [f.rule for f in closed(Gate(default(), golden).report())] == ["RECORD_MISSING"]
    names[1].write_bytes(names[2].read_bytes())
    closed(Gate(default(), golden).report(), "RECORD_UNREADABLE")
    names[1].write_bytes(first.replace(b"Bristol", b"Bremen "))
    closed(Gate(default(), golden).report(), "RECORD_CHANGED")


def test_a_stream_that_folds_to_another_state_or_not_at_all_closes_it(golden: Path) -> None:
    path = golden / "streams.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if f'"{EXPIRED}"' in line)
    kept = json.loads(lines[at])

    def rewritten(change: Callable[[dict[str, Any]], Any]) -> list[Finding]:
        line = json.loads(lines[at])
        change(line)
        text = "\n".join([*lines[:at], json.dumps(line), *lines[at + 1 :]])
        path.write_text(text, encoding="utf-8")
        return closed(Gate(default(), golden).report())

    found = rewritten(lambda line: line["state"].update(state="ISSUED"))
    assert [(f.rule, f.path) for f in found] == [("STATE_CHANGED", "/state")]
    found = rewritten(lambda line: line["state"].update(gone=1))
    assert [(f.rule, f.path) for f in found] == [("STATE_CHANGED", "/gone")]
    found = rewritten(lambda line: line["events"].pop())
    assert {f.rule for f in found} == {"STATE_CHANGED"}
    damaged = base64.b64encode(b"\xff").decode()
    found = rewritten(lambda line: line["events"][0].update(body=damaged))
    assert [f.rule for f in found] == ["STREAM_BROKEN"]
    assert kept["stream"] in found[0].message


def test_the_golden_streams_hold_the_version_that_was_shipped_first() -> None:
    lines = (GOLDEN / "streams.jsonl").read_text(encoding="utf-8").splitlines()
    streams = [msgspec.json.decode(line, type=Stream) for line in lines]
    shown = {(e.type, e.version) for s in streams for e in s.events}
    assert (EXPIRED, 1) in shown
    assert {s.stream.split("/")[1] for s in streams} >= {"credit", "presentation", "case", "saga"}


def test_a_state_may_have_new_fields_and_lose_none() -> None:
    assert [*differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4})] == []
    assert [*differences({"a": [1]}, {"a": [1, 2]})] == ["/a"]
    assert [*differences({"a": {"b": 1}}, {"a": {}})] == ["/a/b"]


def test_a_broken_upcaster_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Upcasters({(EXPIRED, 1): lambda r: {}})
    monkeypatch.setattr(upcasting.UPCASTERS, "_steps", broken._steps)
    found = closed(Gate(default()).report(), "UPCASTER")
    assert found[0].file == "src/usance/messages/upcasting.py"


def test_a_field_that_a_consumer_declared_must_be_there_in_every_version() -> None:
    def reads(name: str, *fields: str) -> Report:
        return Gate(
            default(), GOLDEN, [Consumer(consumer="c", reads={name: list(fields)})]
        ).report()

    assert reads(EXPIRED, "expiry_date", "extended").open
    assert reads("usance.trade.CreditIssued", "postings.account").open
    closed(reads(EXPIRED, "gone"), "CONSUMER_FIELD_GONE")
    closed(reads("usance.trade.CreditIssued", "postings.gone"), "CONSUMER_FIELD_GONE")
    closed(reads("usance.trade.Gone", "a"), "CONSUMER_TYPE_GONE")


def test_the_timelines_sentences_are_a_consumer_too() -> None:
    made = Gate(default()).consumers[-1]
    assert made.consumer == "timeline"
    assert made.reads[EXPIRED] == ["last_day"]


def test_declarations_that_cannot_be_read_are_said_so(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(Unreadable, match="cannot be read"):
        consumers(path)
    with pytest.raises(Unreadable, match="no golden records"):
        Gate(default(), tmp_path / "none").report()
    (tmp_path / "streams.jsonl").write_text("nonsense", encoding="utf-8")
    with pytest.raises(Unreadable, match="streams"):
        [*Gate(default(), tmp_path)._streams()]


def test_sarif_gives_rule_level_file_and_place() -> None:
    report = Gate(with_version(EXPIRED, _lower)).report()
    made = sarif(report, "1")
    assert made["version"] == "2.1.0"
    run = made["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning") and result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert place.startswith("src/usance/messages/schemas/")
    assert {r["level"] for r in run["results"]} == {"error", "warning"}
