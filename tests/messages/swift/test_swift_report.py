"""The two reports: golden outputs, exit codes, and any bytes whatever."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from swift_samples import TEXTS, fin, sample

from usance.kernel.errors import Refused
from usance.messages.swift.report import parse_report, validate_report

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.fin")))
def test_validation_gives_the_recorded_report(name: str) -> None:
    report, code = validate_report(golden(f"{name}.fin"))
    assert report == json.loads(golden(f"{name}.validate.json"))
    assert code == (0 if report["valid"] else 1)


@pytest.mark.parametrize("name", ["mt734", "mt707"])
def test_types_that_sr2026_left_alone_are_valid_in_every_release(name: str) -> None:
    for year in range(2018, 2027):
        assert validate_report(golden(f"{name}.fin"), f"SR{year}")[1] == 0


def test_parse_report_of_an_input_message_has_the_documented_shape() -> None:
    report, code = parse_report(fin("734", TEXTS["734"]))
    assert code == 0
    assert list(report) == ["type", "blocks", "fields"]
    assert report["type"] == "734"
    assert report["blocks"] == {
        "1": {
            "app": "F",
            "service": "01",
            "lt": "ALBNGB2LAXXX",
            "session": "0001",
            "sequence": "000001",
        },
        "2": {"direction": "I", "type": "734", "receiver": "BBBBSGSGXXXX", "priority": "N"},
        "3": [{"tag": "108", "value": "MUR734"}],
        "5": [{"tag": "CHK", "value": "123456789ABC"}],
    }
    assert report["fields"][6:] == [
        {"tag": "77J", "value": "/DISCREP/1. LATE SHIPMENT\n//2. UNDERINSURED", "line": 7},
        {"tag": "77B", "value": "/NOTIFY/", "line": 9},
    ]


def test_parse_report_of_an_output_message_names_the_parts_of_its_header() -> None:
    data = (
        b"{1:F01BBBBSGSGAXXX0002000009}{2:O7991200261123ALBNGB2LAXXX00010000012611231201N}{4:\n"
        b":20:A\n:79:HELLO\n-}"
    )
    report, code = parse_report(data)
    assert code == 0
    assert report["blocks"]["2"] == {
        "direction": "O",
        "type": "799",
        "input_time": "1200",
        "mir": "261123ALBNGB2LAXXX0001000001",
        "output_date": "261123",
        "output_time": "1201",
        "priority": "N",
    }
    assert report["blocks"]["3"] == report["blocks"]["5"] == []


def test_a_service_message_has_no_type_and_its_pairs_are_its_fields() -> None:
    report, code = parse_report(b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:2611231201}{451:0}}")
    assert (code, report["type"], report["blocks"]["2"]) == (0, None, None)
    assert [(f["tag"], f["value"]) for f in report["fields"]] == [
        ("177", "2611231201"),
        ("451", "0"),
    ]


def test_a_leading_nak_is_skipped_and_reported() -> None:
    nak = b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:2611231201}{451:1}{405:T13007}}"
    message = fin("732", TEXTS["732"])
    for between in (b"", b"\r\n", b"$"):
        report, code = parse_report(nak + between + message)
        assert (code, report["type"], len(report["fields"])) == (0, "732", 5)
        answer = report["acknowledgement"]
        assert (answer["accepted"], answer["error_code"], answer["error_line"]) == (False, "T13", 7)
        assert (answer["mur"], answer["reference"]) == ("MUR732", "ISB-REF-1")
        assert "further_messages" not in report


def test_the_first_of_several_messages_is_read_and_the_rest_counted() -> None:
    one, two = fin("732", TEXTS["732"]), fin("756", TEXTS["756"])
    report, code = parse_report(one + b"$" + two + b"\n" + one)
    assert (code, report["type"], report["further_messages"]) == (0, "732", 2)


def test_fields_of_a_type_without_layout_are_readable_but_not_called_valid() -> None:
    data = fin("103", ":20:X\n:23B:CRED\n:32A:261123USD1,\n:50K:/1\nA B\n:59:C D\n:71A:SHA\n")
    report, code = parse_report(data)
    assert (code, len(report["fields"])) == (0, 6)
    report, code = validate_report(data)
    assert (code, report["type"], report["errors"][0]["rule"]) == (1, "103", "layout")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \r\n",
        b"no message at all",
        bytes(range(256)),
        fin("732", TEXTS["732"])[:-40],
        fin("732", TEXTS["732"]).replace(b"TAKEN UP", b"TAKEN\x00UP"),
        fin("732", TEXTS["732"]).replace(b"TAKEN UP", b"TAKEN\xff\xfeUP"),
        fin("732", TEXTS["732"]).replace(b"TAKEN UP", b"X" * 1_000_001),
        b"noise" + fin("732", TEXTS["732"]),
    ],
    ids=["empty", "blank", "text", "binary", "truncated", "nul", "latin", "huge", "noise-first"],
)
def test_unreadable_input_exits_2_with_a_null_type_and_no_values(data: bytes) -> None:
    report, code = parse_report(data)
    assert (code, list(report), report["type"]) == (2, ["type", "error"], None)
    assert "ISB-REF-1" not in report["error"]
    report, code = validate_report(data)
    assert (code, report["type"], report["valid"]) == (2, None, False)
    assert report["error"]


def test_an_unknown_release_is_refused_whatever_the_input() -> None:
    with pytest.raises(Refused, match="release"):
        validate_report(b"", "SR2017")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_sample_is_valid_in_its_release(name: str) -> None:
    data, release = sample(name)
    report, code = validate_report(data, release)
    assert (report["errors"], code) == ([], 0)


_SCRAPS = st.sampled_from(
    [
        b"{1:F01ALBNGB2LAXXX0001000001}",
        b"{1:F21ALBNGB2LAXXX0001000001}",
        b"{2:I700BBBBSGSGXXXXN}",
        b"{4:\n",
        b"{4:",
        b"\n-}",
        b":20:",
        b":32B:USD1,",
        b"{451:0}",
        b"{5:{CHK:1}}",
        b"}",
        b"\n",
        b"/",
    ]
)


@given(st.lists(_SCRAPS | st.binary(max_size=6), max_size=14).map(b"".join))
@example(fin("700", "\n"))
@example(fin("700", ""))
@example(fin("799", ":79:\n\n"))
def test_any_bytes_give_a_report_or_exit_2(data: bytes) -> None:
    for report, code in (parse_report(data), validate_report(data)):
        assert code in (0, 1, 2)
        assert (code == 2) == ("error" in report)
        json.dumps(report)


@given(st.sampled_from(sorted(TEXTS)), st.data())
def test_any_damage_to_a_sample_gives_a_report_or_exit_2(name: str, data: st.DataObject) -> None:
    message, release = sample(name)
    place = data.draw(st.integers(0, len(message)))
    length = data.draw(st.integers(0, 30))
    patch = data.draw(st.binary(max_size=8) | st.text(max_size=8).map(str.encode))
    report, code = validate_report(message[:place] + patch + message[place + length :], release)
    assert code in (0, 1, 2)
    lines = [error["line"] or 0 for error in report["errors"]]
    assert lines == sorted(lines)
    rules = [error["rule"] for error in report["errors"]]
    assert len(rules) == len(set(rules))


def test_validation_starts_up_in_well_under_half_a_second() -> None:
    code = "from usance.messages.swift.report import validate_report as v; print(v(b'')[1])"
    best = 9.0
    for _ in range(3):
        # CPU time, not wall: other tests run beside this one.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout.strip() == "2"
    assert best < 0.4
