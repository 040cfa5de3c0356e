"""Layouts: mandatory fields, order, repeats, unknown tags, releases, length."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swift_samples import TEXTS, fin, sample

from usance.kernel.errors import Refused
from usance.messages.swift.fin import parse
from usance.messages.swift.findings import Finding
from usance.messages.swift.layouts import RELEASES, format_of, layout, releases_with
from usance.messages.swift.tables import LAYOUTS
from usance.messages.swift.validation import validate


def findings(kind: str, text: str, release: str = "SR2026") -> list[Finding]:
    return validate(parse(fin(kind, text)), release)


def brief(found: list[Finding]) -> list[tuple[str | None, int | None, str]]:
    return [(finding.code, finding.line, finding.rule) for finding in found]


def without(text: str, tag: str) -> str:
    return re.sub(rf"(?ms)^:{tag}:.*?\n(?=:|\Z)", "", text, count=1)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_each_mandatory_field_is_missed_when_it_is_taken_out(name: str) -> None:
    data, release = sample(name)
    kind, message = name[:3], parse(data)
    table = layout(kind, release)
    assert table
    mandatory = {tag: slot for slot in table.slots if slot.mandatory for tag in slot.tags}
    taken = [field for field in message.fields if field.tag in mandatory]
    assert len({mandatory[field.tag] for field in taken}) >= 3 or kind in (
        "701",
        "711",
        "721",
        "799",
    )
    for field in taken:
        found = findings(kind, without(TEXTS[name], field.tag), release)
        expected = f"mandatory-{mandatory[field.tag].name}"
        if field.tag == "79":
            assert found == []
        elif expected not in [finding.rule for finding in found]:
            # The whole of an optional group may go, never a part of it.
            assert mandatory[field.tag].group in table.optional_groups
            pytest.fail(f"{name} without {field.tag}: {brief(found)}")


def test_a_missing_field_is_reported_where_it_should_have_begun() -> None:
    assert brief(findings("734", without(TEXTS["734"], "21"))) == [("T13", 2, "mandatory-21")]
    assert brief(findings("734", without(TEXTS["734"], "77B"))) == [("T13", 9, "mandatory-77B")]
    assert brief(findings("732", "")) == [
        ("T13", 1, f"mandatory-{tag}") for tag in ("20", "21", "30", "32B")
    ]


def test_an_optional_group_may_be_absent_but_not_in_part() -> None:
    text = TEXTS["720"]
    for tag in ("50E", "50I", "50M", "50W"):
        assert f"mandatory-{tag}" in [f.rule for f in findings("720", without(text, tag))]
    whole = re.sub(r"(?ms)^:50E:.*?(?=:50N:)", ":52A:ALBNGB2L\n", text)
    assert findings("720", whole) == []


def test_one_field_out_of_order_is_blamed_alone() -> None:
    first = ":49:WITHOUT\n" + without(TEXTS["700"], "49")
    assert brief(findings("700", first)) == [("T13", 1, "order-49")]
    last = without(TEXTS["700"], "27") + ":27:1/1\n"
    assert [(f.code, f.rule) for f in findings("700", last)] == [("T13", "order-27")]


def test_a_repeated_field_is_reported_at_its_second_place() -> None:
    text = TEXTS["734"].replace(":21:NOB-BILL-4411\n", ":21:NOB-BILL-4411\n:21:AGAIN\n")
    assert brief(findings("734", text)) == [("T13", 3, "repeat-21")]
    both_options = TEXTS["752"].replace(":33A:", ":33B:USD1,\n:33A:")
    assert [f.rule for f in findings("752", both_options)] == ["repeat-33a"]


def test_narratives_of_mt799_repeat() -> None:
    assert findings("799", ":20:A\n" + ":79:TEXT\n" * 20) == []


def test_an_unknown_tag_names_the_releases_that_have_it() -> None:
    text = TEXTS["700"].replace(":78K:", ":78:")
    (finding,) = findings("700", text)
    assert (finding.code, finding.tag) == ("T13", "78")
    assert "known from SR2018 to SR2025" in finding.message
    (finding,) = findings("700", TEXTS["700"] + ":99Z:X\n")
    assert "known from" not in finding.message


def test_older_messages_are_invalid_at_the_newest_release_and_the_reverse() -> None:
    for name in ("700", "710", "720"):
        old = next(key for key in TEXTS if key.startswith(f"{name} "))
        assert findings(name, TEXTS[old], "SR2026")
        assert findings(name, TEXTS[name], "SR2025")


def test_reference_of_mt708_is_demanded_from_sr2021() -> None:
    text = without(TEXTS["708"], "21")
    assert findings("708", text, "SR2020") == []
    assert brief(findings("708", text, "SR2021")) == [("T13", 3, "mandatory-21")]


def test_ports_have_one_long_line_before_sr2026_and_two_short_ones_since() -> None:
    long = TEXTS["700"].replace(":44E:SINGAPORE", ":44E:" + "S" * 71)
    assert brief(findings("700", long)) == [(None, 24, "format-44E")]
    two = ":44E:SINGAPORE\nOR JOHOR"
    assert findings("700", TEXTS["700"].replace(":44E:SINGAPORE", two)) == []
    old = TEXTS["700 SR2025"]
    assert findings("700", old.replace(":44E:SINGAPORE", ":44E:" + "S" * 140), "SR2025") == []
    assert [f.rule for f in findings("700", old.replace(":44E:SINGAPORE", two), "SR2025")] == [
        "format-44E"
    ]


def test_text_of_more_than_ten_thousand_characters_is_too_long() -> None:
    line = "+" + "G" * 64 + "\n"
    text = f":27:2/2\n:20:A\n:45A:{line * 100}:46A:{line * 40}"
    assert "length" not in [f.rule for f in findings("701", text)]
    text += ":47A:" + line * 10
    assert ("M50", "length") in [(f.code, f.rule) for f in findings("701", text)]


def test_the_length_counts_line_ends_as_two_whatever_they_were() -> None:
    line = "G" * 65 + "\n"
    text = f":27:2/2\n:20:A\n:45A:{line * 100}:46A:{line * 48}"
    # 2 for the first line end, then each line with CRLF.
    filler = 10_000 - (2 + sum(len(part) + 2 for part in text.splitlines()))
    exact = text + ":47A:" + "X" * (filler - 7) + "\n"
    assert 0 < filler - 7 <= 65
    for data in (fin("701", exact), fin("701", exact).replace(b"\r\n", b"\n")):
        assert validate(parse(data)) == []
        longer = data.replace(b":20:A", b":20:AB")
        assert [f.rule for f in validate(parse(longer))] == ["length"]


def test_releases_share_tables_and_unknown_ones_are_refused() -> None:
    assert layout("734", "SR2018") is layout("734", "SR2026")
    assert layout("700", "SR2018") is layout("700", "SR2025")
    assert layout("700", "SR2025") is not layout("700", "SR2026")
    assert layout("103", "SR2026") is None
    assert releases_with("700", "44I") == ("SR2026",)
    with pytest.raises(Refused, match="release"):
        layout("700", "SR2027")


def test_every_field_of_every_layout_has_a_format() -> None:
    for kind in LAYOUTS:
        for release in RELEASES:
            table = layout(kind, release)
            assert table
            for tag in table.index:
                assert format_of(tag, release)[0]


@given(st.permutations(TEXTS["754"].split("\n:")[1:]))
def test_order_is_reported_exactly_when_fields_are_not_in_order(rest: list[str]) -> None:
    text = "\n:".join([":20:X", *[part.rstrip("\n") for part in rest]]) + "\n"
    message = parse(fin("754", text))
    table = layout("754", "SR2026")
    assert table
    places = [table.index[field.tag] for field in message.fields]
    wrong = [f.rule for f in validate(message) if f.rule.startswith("order-")]
    assert bool(wrong) == (places != sorted(places))
    assert len(wrong) < len(places)


def instead(text: str, tags: str, field: str) -> str:
    """Put one field in the place of a run of fields whose tags begin alike."""
    return re.sub(rf"(?ms)(^:{tags}[A-Z]?:.*?\n)+(?=:(?!{tags})|\Z)", field + "\n", text, count=1)


def test_a_party_written_as_in_another_release_is_named_once_and_its_place_once() -> None:
    old = instead(TEXTS["700"], "50", ":50:ALBION IMPORTS\nLONDON")
    assert [f.rule for f in findings("700", old)] == ["unknown-50", "mandatory-50N"]
    assert "use 50N, 50S, 50T, 50P, 50R" in findings("700", old)[0].message
    new = instead(TEXTS["700 SR2025"], "50", ":50N:A\n:50S:B\n:50T:C\n:50R:GB")
    assert [f.rule for f in findings("700", new, "SR2025")] == ["unknown-50N", "mandatory-50"]


def test_a_group_that_is_absent_is_one_mistake_and_says_what_to_add() -> None:
    (finding,) = findings("700", instead(TEXTS["700"], "59", "").replace("\n\n", "\n"))
    assert (finding.tag, finding.rule) == ("59N", "mandatory-59N")
    assert "add 59N, 59S, 59T, 59R" in finding.message


@pytest.mark.parametrize(
    ("tag", "value", "code", "rule"),
    [
        ("49", "MAYBE", "T67", "code-49"),
        ("40A", "IRREVOCABLE AND TRANSFERABLE", "T60", "code-40A"),
        ("41A", "BBBBSGSGXXX", "T68", "code-41a"),
        ("41A", "BBBBSGSGXXX\nBY DEFERRED PAYMENT", "T68", "code-41a"),
        ("40E", "UNIFORM CUSTOMS, LATEST VERSION 2007", "T59", "code-40E"),
        ("49", "CONFIRÉ", "M60", "charset-49"),
        ("43P", "PERHAPS, PERHAPS", "T64", "code-43P"),
    ],
)
def test_a_wrong_code_word_is_one_mistake_whatever_its_length(
    tag: str, value: str, code: str, rule: str
) -> None:
    text = re.sub(rf"(?ms)^:{tag}:.*?\n(?=:)", f":{tag}:{value}\n", TEXTS["700"], count=1)
    assert [(f.code, f.tag, f.rule) for f in findings("700", text)] == [(code, tag, rule)]


@pytest.mark.parametrize(
    ("tag", "value", "at"),
    [
        ("41D", "ANY BANK\n" + "X" * 36 + "\nBY PAYMENT", 1),
        ("42D", "/123\nA\nB\nC\nD\nE", 5),
        ("42D", "A\nB@C", 1),
        ("44I", "CIF\nHERE\n" + "X" * 71, 2),
        ("45A", "+A\n+B\n- C", 2),
    ],
)
def test_the_line_of_a_wrong_line_of_text_is_named(tag: str, value: str, at: int) -> None:
    pattern = rf"(?ms)^:{tag[:2]}[{'AD' if tag in ('41D', '42D') else tag[2]}]:.*?\n(?=:)"
    text = re.sub(pattern, f":{tag}:{value}\n", TEXTS["700"], count=1)
    (finding,) = findings("700", text)
    start = next(f.line for f in parse(fin("700", text)).fields if f.tag == tag)
    assert (finding.rule, finding.line) == (f"format-{tag}", start + at)


def test_the_fields_to_use_instead_are_those_of_the_same_party() -> None:
    text = TEXTS["707"].replace(":31C:", ":50B:ALBION TREASURY\n:31C:", 1)
    (finding,) = [f for f in findings("707", text) if f.rule == "unknown-50B"]
    assert finding.message.endswith("use 50E, 50I, 50M, 50U, 50W")


def test_an_option_that_a_field_does_not_have_is_one_mistake() -> None:
    text = re.sub(r"(?m)^:41[AD]:", ":41B:", TEXTS["700"])
    assert [f.rule for f in findings("700", text)] == ["unknown-41B"]
