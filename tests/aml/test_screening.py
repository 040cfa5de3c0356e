"""Batches, applications, places, and the same answer every time."""

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usance.aml.places import country_rules, places_in
from usance.aml.screening import Labelled, Screener, open_screener, screen_batch

DAY = "2026-11-24"


def answers(screener: Screener, *lines: bytes) -> list[dict[str, object]]:
    return [json.loads(a) for a in screen_batch(screener, lines)]


def test_a_batch_line_is_answered_with_the_best_match(screener: Screener) -> None:
    line = b'{"id":"q1","name":"Eric Badege","type":"person","birth_date":null,"country":null}'
    (answer,) = answers(screener, line)
    assert list(answer) == ["id", "band", "score", "entry", "list", "list_version", "explanation"]
    assert (answer["id"], answer["band"], answer["score"]) == ("q1", "hit", 10_000)
    assert answer["entry"]
    assert str(answer["list_version"]).count("+") == 2


def test_no_match_is_clear_with_no_entry(screener: Screener) -> None:
    (answer,) = answers(screener, b'{"id":1,"name":"Astrid Lindberg"}')
    assert (answer["band"], answer["entry"], answer["list"]) == ("clear", None, None)


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"id":1}', b'{"id":1,"name":7}',
        b'{"id":1,"name":"x","type":"SECRET"}', b'{"id":[],"name":"x"}', b"[" * 5000,
    ],
)  # fmt: skip
def test_a_bad_line_gives_an_error_object_and_the_next_line_its_answer(
    screener: Screener, line: bytes
) -> None:
    bad, good = answers(screener, line, b'{"id":2,"name":"Astrid Lindberg"}')
    assert set(bad) == {"id", "line", "error"}
    assert "SECRET" not in str(bad["error"])
    assert good["id"] == 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_a_batch_never_raises(screener: Screener, lines: list[bytes]) -> None:
    expected = sum(bool(line.strip()) for line in lines)
    assert len(answers(screener, *lines)) == expected


PROGRAM = """
import sys
from pathlib import Path
from usance.aml.screening import open_screener, screen_batch
screener = open_screener(cache=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
for answer in screen_batch(screener, sys.stdin.buffer):
    sys.stdout.buffer.write(answer + b"\\n")
print(screener.snapshot_id)
"""


def test_answers_are_the_same_bytes_in_every_run(screener: Screener, index_folder: Path) -> None:
    names = [e.names[0].name for e in screener.index.entries[::97]]
    names += ["Ali Hassan", "Maria Lopez", "محمد علي", "김정은", "CORP", "Usama Ladin"]
    lines = b"".join(msgspec.json.encode({"id": n, "name": t}) + b"\n" for n, t in enumerate(names))
    digests = set()
    # One run builds the index from the lists under its own hash seed, the other reads the cache.
    for seed, folder in (("1", []), ("4242", [str(index_folder)])):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, *folder],
            input=lines,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        digests.add(hashlib.sha256(run.stdout).hexdigest())
    here = b"".join(a + b"\n" for a in screen_batch(screener, lines.splitlines()))
    digests.add(hashlib.sha256(here + screener.snapshot_id.encode() + b"\n").hexdigest())
    assert len(digests) == 1


def test_many_threads_get_the_answers_of_one(screener: Screener, index_folder: Path) -> None:
    names = [e.names[0].name for e in screener.index.entries[::211]]
    fresh = open_screener(cache=index_folder)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh.screen, names)) == [screener.screen(n) for n in names]


def test_starting_from_the_cache_is_fast(screener: Screener, index_folder: Path) -> None:
    started = time.process_time()
    again = open_screener(cache=index_folder)
    assert time.process_time() - started < 1.0  # about 0.12 s on an idle core
    assert again.snapshot_id == screener.snapshot_id


def test_throughput_is_that_of_a_stream(index_folder: Path) -> None:
    fresh = open_screener(cache=index_folder)
    names = [f"Astrid {chr(97 + n % 26)}lindberg{chr(97 + n // 26)} Quist" for n in range(600)]
    started = time.process_time()  # whatever else the machine is doing
    for name in names:
        fresh.screen(name, "person")
    assert len(names) / (time.process_time() - started) > 300


def strings(*pairs: tuple[str, str, str]) -> list[Labelled]:
    return [Labelled(field=f, kind=k, text=t) for f, k, t in pairs]


def test_an_application_is_screened_string_by_string(screener: Screener) -> None:
    report = screener.screen_parties(
        strings(
            ("50", "organisation", "Nordwind Textiles GmbH"),
            ("59", "organisation", "Mahan Air"),
            ("44E", "place", "Port of Sevastopol"),
            (
                "45A",
                "text",
                "SPARE PARTS\nON BOARD, CARRIER ISLAMIC REPUBLIC OF IRAN\nSHIPPING LINES",
            ),
            ("57D", "bank", "BKIDIRTH"),
            ("44F", "place", "ROTTERDAM"),
        ),
        DAY,
    )
    assert [s.band for s in report.screened] == ["clear", "hit", "hit", "hit", "hit", "clear"]
    assert report.band == "hit"
    assert [s.field for s in report.findings] == ["59", "44E", "45A", "57D"]
    methods = {r.explanation.method for s in report.findings for r in s.results}
    assert methods == {"tokens", "place", "text"}
    assert len(report.list_versions) == 4
    assert report.snapshot_id == screener.snapshot_id


def test_nothing_to_screen_is_clear_and_a_clear_text_has_a_result(screener: Screener) -> None:
    assert screener.screen_parties([], DAY).band == "clear"
    report = screener.screen_parties(
        strings(("45A", "text", "1000 KG GREEN COFFEE FOB SANTOS")), DAY
    )
    assert (report.band, len(report.screened[0].results)) == ("clear", 1)


def test_ordinary_trade_text_is_clear(screener: Screener) -> None:
    text = (
        "FULL SET OF CLEAN ON BOARD OCEAN BILLS OF LADING MADE OUT TO ORDER AND BLANK ENDORSED, MARKED"
        " FREIGHT PREPAID, NOTIFY APPLICANT. SIGNED COMMERCIAL INVOICE IN TRIPLICATE. PACKING LIST."
        " CERTIFICATE OF ORIGIN ISSUED BY THE CHAMBER OF COMMERCE. INSURANCE FOR 110 PER CENT."
        " ALL BANKING CHARGES OUTSIDE THE ISSUING BANK ARE FOR ACCOUNT OF THE BENEFICIARY."
    )
    assert screener.screen_parties(strings(("46A", "text", text)), DAY).band == "clear"


def test_text_beyond_the_limit_is_for_review(screener: Screener) -> None:
    report = screener.screen_parties(strings(("45A", "text", "coffee beans " * 2_000)), DAY)
    assert report.band == "review"


def test_a_place_holds_only_from_its_day(screener: Screener) -> None:
    port = strings(("44E", "place", "Donetsk"))
    assert screener.screen_parties(port, "2021-01-01").band == "clear"
    assert screener.screen_parties(port, "2022-03-01").band == "hit"


@pytest.mark.parametrize("text", ["севастополь", "Sevastopoll", "Simferopol, Ukraine", "KRYM"])
def test_embargoed_places_are_known_in_other_spellings(screener: Screener, text: str) -> None:
    assert screener.screen_parties(strings(("44A", "place", text)), DAY).band == "hit"


def test_country_measures_differ_in_weight() -> None:
    def bands(code: str) -> set[str]:
        return {r.band for r in country_rules(code, DAY)}

    assert bands("KP") == bands("IR") == {"hit"}
    assert bands("MM") == {"review"}
    assert bands("VN") == {"clear"}
    assert bands("DE") == set()


def test_a_country_may_leave_the_monitored_list() -> None:
    assert country_rules("DZ", "2026-05-01")
    assert not country_rules("DZ", DAY)


def test_a_person_may_be_called_like_a_place() -> None:
    assert places_in(("yalta",), DAY)


def test_a_persons_name_is_not_searched_for_places(screener: Screener) -> None:
    report = screener.screen_parties(strings(("59", "person", "Yalta Brightwater")), DAY)
    assert report.band == "clear"


def test_all_but_the_name_of_a_batch_line_may_be_absent_or_null(screener: Screener) -> None:
    line = b'{"name":"Eric Badege","id":null,"type":null,"birth_date":null,"country":null}'
    full, bare = answers(screener, line, b'{"name":"Eric Badege"}')
    assert full == bare
    assert (bare["id"], bare["band"]) == (None, "hit")


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(screener: Screener) -> None:
    (answer,) = answers(screener, b'\xef\xbb\xbf{"id":1,"name":"Eric Badege"}')
    assert answer["band"] == "hit"
