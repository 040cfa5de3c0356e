"""Publishers' files are read whole or refused, and gated."""

import gzip

import pytest

from usance.aml.list_formats import read_csv, read_ofac, read_un_xml
from usance.aml.lists import STRONG, WEAK, ListSnapshot, check_counts, country_code, unpacked
from usance.aml.screening import gate
from usance.kernel.clock import MS_PER_DAY, parse_instant
from usance.kernel.errors import Unreadable


def by_id(lists: tuple[ListSnapshot, ...], list_id: str) -> ListSnapshot:
    return next(s for s in lists if s.list_id == list_id)


def test_the_shipped_lists_are_whole(lists: tuple[ListSnapshot, ...]) -> None:
    counts = {s.list_id: len(s.entries) for s in lists}
    assert counts == {"un": 1003, "ofac-sdn": 8976, "ofac-nonsdn": 442}


def test_un_entries_keep_scripts_and_alias_quality(lists: tuple[ListSnapshot, ...]) -> None:
    un = by_id(lists, "un")
    assert un.version == "2026-02-27"
    kakolele = next(e for e in un.entries if e.uid == "CDi.002")
    assert kakolele.names[0].name == "FRANK KAKOLELE BWAMBALE"
    assert any(a.name == "AIGLE BLANC" and a.quality == STRONG for a in kakolele.names)
    assert sum(a.quality == WEAK for e in un.entries for a in e.names) > 500
    assert any(a.kind == "script" and not a.name.isascii() for e in un.entries for a in e.names)


def test_ofac_remarks_give_weak_names_births_and_identifiers(
    lists: tuple[ListSnapshot, ...],
) -> None:
    sdn = {e.uid: e for e in by_id(lists, "ofac-sdn").entries}
    assert sdn["306"].names[-1].name == "BNC"
    assert sdn["306"].names[-1].quality == WEAK
    assert "1947-03-04" in sdn["7555"].births
    assert sdn["4243"].kind == "vessel"
    assert "CY" in sdn["4243"].countries
    assert sum(i.startswith("IMO:") for e in sdn.values() for i in e.ids) > 400
    dumont = sdn["7831"].births
    assert len(dumont) == 3


def test_summary_says_what_is_loaded_and_that_it_is_stale(lists: tuple[ListSnapshot, ...]) -> None:
    un = by_id(lists, "un")
    summary = un.summary(parse_instant("2026-02-27T00:00:00Z") + 30 * MS_PER_DAY)
    assert (summary.entries, summary.age_days, summary.note) == (1003, 30, "sample data, stale")
    assert summary.sha256 == un.sha256


def test_a_changed_entry_has_another_digest() -> None:
    a, b = (
        read_csv(f"uid,name\n1,{n}\n".encode(), list_id="x", version="2026-01-01") for n in "ab"
    )
    assert a.entries[0].digest != b.entries[0].digest


XML = '<CONSOLIDATED_LIST dateGenerated="2026-01-02T00:00:00Z">{}</CONSOLIDATED_LIST>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<CONSOLIDATED_LIST",
        b"<OTHER/>",
        b"\x1f\x8b broken",
        gzip.compress(XML.format("").encode(), mtime=0)[:-9],
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + XML.format("&b;")).encode(),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + XML.format("")).encode(),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + XML.format("")).encode("utf-16"),
        XML.format("<a>" * 50 + "</a>" * 50).encode(),
    ],
)
def test_broken_or_hostile_xml_is_refused_whole(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        read_un_xml(data)
    assert caught.value.hint


def test_a_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usance.aml.lists.MAX_FILE_BYTES", 1000)
    with pytest.raises(Unreadable):
        unpacked(gzip.compress(b"\0" * 100_000, mtime=0))


def test_an_ofac_row_of_another_width_refuses_the_file() -> None:
    with pytest.raises(Unreadable):
        read_ofac(b'1,"A"\n', b"", b"", b"", list_id="ofac-sdn", version="2026-01-01")


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "uid,name\n1\n", "uid,name\n,x\n", "uid,name,odd\n"]
)
def test_a_plain_file_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_csv(text.encode(), list_id="x", version="2026-01-01")


def test_rows_of_one_uid_are_one_entry_with_its_ids() -> None:
    text = "uid,name,type,quality,ids\n7,Sea Eagle,vessel,,IMO:9074729\n7,Old Eagle,vessel,weak,\n"
    entry = read_csv(text.encode(), list_id="own", version="2026-01-01").entries[0]
    assert [a.quality for a in entry.names] == [STRONG, WEAK]
    assert (entry.kind, entry.ids) == ("vessel", ("IMO:9074729",))


def small(count: int, version: str = "2026-01-02") -> ListSnapshot:
    rows = "".join(f"{n},Zorgblat{chr(97 + n % 26)} Quixu{n:04d}\n" for n in range(count))
    return read_csv(f"uid,name\n{rows}".encode(), list_id="own", version=version)


@pytest.mark.parametrize(
    ("count", "blocked"), [(1000, False), (980, False), (979, True), (1100, False), (1101, True)]
)
def test_the_gate_stops_a_count_outside_the_range_unless_approved(
    count: int, blocked: bool
) -> None:
    before = small(1000, "2026-01-01").info
    found = check_counts(small(count), before)
    assert any(f.blocks for f in found) is blocked
    assert not any(f.blocks for f in check_counts(small(count), before, approve_count=True))


def test_the_gate_stops_an_empty_an_older_and_a_repeating_list() -> None:
    active = small(10, "2026-06-01").info
    empty = read_csv(b"uid,name\n", list_id="own", version="2026-06-02")
    assert "EMPTY_LIST" in [f.code for f in gate(empty, active)]
    assert [f.code for f in gate(small(10), active)] == ["OLDER_THAN_ACTIVE"]


def test_the_gate_finds_a_name_that_nobody_could_hit() -> None:
    poor = read_csv(b"uid,name\n1,Ann Example\n2,!!!\n", list_id="own", version="2026-01-01")
    assert "NAME_NOT_FOUND" in [f.code for f in gate(poor)]
    assert gate(small(30)) == ()


@pytest.mark.parametrize(
    ("name", "code"),
    [("Iran", "IR"), ("Korea, North", "KP"), ("Russian Federation", "RU"), ("uk", "GB"), ("?", "")],
)
def test_countries_are_known_by_their_publishers_spellings(name: str, code: str) -> None:
    assert country_code(name) == code
