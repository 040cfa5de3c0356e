"""Network rules: one message that breaks each, and the code, tag and line that say so."""

from __future__ import annotations

import re

import pytest
from swift_samples import TEXTS, fin

from usance.messages.swift.layouts import RELEASES, layout
from usance.messages.swift.network_rules import RULES
from usance.messages.swift.report import validate_report
from usance.messages.swift.tables import LAYOUTS


def put(text: str, tag: str, value: str | None) -> str:
    """Replace a field's value, or take the field out."""
    pattern = rf"(?ms)^:{tag}:.*?\n(?=:|\Z)"
    new = "" if value is None else f":{tag}:{value}\n"
    assert re.search(pattern, text), tag
    return re.sub(pattern, lambda _: new, text, count=1)


def behind(text: str, tag: str, field: str) -> str:
    """Put a field behind another one."""
    return re.sub(
        rf"(?ms)(^:{tag}:.*?\n)(?=:|\Z)", lambda found: f"{found[1]}{field}\n", text, count=1
    )


def rules(name: str, text: str) -> list[tuple[str | None, str | None, str]]:
    kind, _, release = name.partition(" ")
    report, _ = validate_report(fin(kind, text), release or "SR2026")
    return [(error["code"], error["tag"], error["rule"]) for error in report["errors"]]


PUT = [
    ("700", "42A", None, "C90", "42C", "drafts-with-drawee"),
    ("700", "42C", None, "C90", "42A", "drafts-with-drawee"),
    ("700", "40A", "REVOCABLE", "T60", "40A", "code-40A"),
    ("700", "40A", "IRREVOCABLE STANDBY", "T60", "40A", "code-40A"),
    ("700", "40E", "UCP 600", "T59", "40E", "code-40E"),
    ("700", "40E", "UCP LATEST VERSION/ALSO", "D81", "40E", "rules-narrative"),
    ("700", "41A", "BBBBSGSGXXX\nBY MAGIC", "T68", "41A", "code-41a"),
    ("700", "49", "PERHAPS", "T67", "49", "code-49"),
    ("700", "43P", "MAYBE", "T64", "43P", "code-43P"),
    ("700", "43T", "MAYBE", "T65", "43T", "code-43T"),
    ("700", "27", "2/2", "T75", "27", "sequence"),
    ("700", "27", "1/9", "T75", "27", "sequence"),
    ("700", "71D", "/BRIBE/USD5,", None, "71D", "lines-71D"),
    ("700", "71D", "//CONTINUES NOTHING", None, "71D", "lines-71D"),
    ("700", "72Z", "/PHONBEN +65 1", None, "72Z", "lines-72Z"),
    ("701", "27", "1/2", "T75", "27", "sequence"),
    ("701", "27", "3/2", "T75", "27", "sequence"),
    ("711", "27", "1/2", "T75", "27", "sequence"),
    ("721", "27", "1/2", "T75", "27", "sequence"),
    ("707", "22A", "XXXX", None, "22A", "code-22A"),
    ("707", "46B", "+WEIGHT LIST", "T67", "46B", "lines-46B"),
    ("707", "46B", "/ADD/+WEIGHT LIST\n/AND MORE", "T67", "46B", "lines-46B"),
    ("707", "71N", "SELL", None, "71N", "code-71N"),
    ("707 SR2025", "23S", "CANSEL", None, "23S", "code-23S"),
    ("707 SR2025", "23S", None, "C30", "22A", "something-amended"),
    ("708", "47B", "/CHANGE/+X", "T67", "47B", "lines-47B"),
    ("710", "40B", "REVOCABLE\nWITHOUT OUR CONFIRMATION", "T64", "40B", "code-40B"),
    ("710", "40B", "IRREVOCABLE\nPERHAPS", "T66", "40B", "code-40B-confirmation"),
    ("710", "52A", None, "C06", "52a", "one-issuer"),
    ("720 SR2018", "52D", None, "C06", "52a", "one-issuer"),
    ("734", "33B", None, "C17", "73A", "total-with-charges"),
    ("734", "33B", "EUR101250,", "C02", "33B", "same-currency"),
    ("734", "77B", "/BURN/", None, "77B", "code-77B"),
    ("734", "77B", "HELD AT YOUR DISPOSAL", None, "77B", "code-77B"),
    ("734", "73A", "/TIP/USD10,", None, "73A", "lines-73A"),
    ("740", "42D", None, "C90", "42C", "drafts-with-drawee"),
    ("740", "71A", "SHA", "T08", "71A", "code-71A"),
    ("740", "41D", "ANY BANK\nBY MAGIC", "T68", "41D", "code-41a"),
    ("750", "34B", None, "C13", "33B", "total-with-additions"),
    ("750", "34B", "EUR101250,", "C02", "34B", "same-currency"),
    ("752", "33A", None, "C18", "32B", "net-with-charges"),
    ("752", "33A", "261210EUR101200,", "C02", "33A", "same-currency"),
    ("752", "23", "PAY", None, "23", "code-23"),
    ("754", "34B", "EUR101250,", "C02", "34B", "same-currency"),
    ("756", "33A", "261210EUR101250,", "C02", "33A", "same-currency"),
]


@pytest.mark.parametrize(("name", "tag", "value", "code", "at", "rule"), PUT)
def test_a_changed_field_breaks_exactly_its_rule(
    name: str, tag: str, value: str | None, code: str | None, at: str, rule: str
) -> None:
    assert rules(name, put(TEXTS[name], tag, value)) == [(code, at, rule)]


BEHIND = [
    ("700", "42A", ":42M:HALF AT SIGHT", "C90", "42M", "one-tenor"),
    ("700", "42A", ":42P:NEGOTIATION", "C90", "42P", "one-tenor"),
    ("700", "44C", ":44D:IN JANUARY", "D06", "44D", "one-shipment-date"),
    ("707", "44C", ":44D:IN JANUARY", "D06", "44D", "one-shipment-date"),
    ("707", "50R", ":32B:USD10,", "C12", "33B", "increase-or-decrease"),
    ("707", "52A", ":50E:A\n:50I:B\n:50M:C\n:50W:GB", "C06", "50E", "one-issuer"),
    ("707 SR2025", "23", ":52A:ALBNGB2L\n:50B:ALBION TREASURY", "C06", "50B", "one-issuer"),
    ("710", "52A", ":50E:A\n:50I:B\n:50M:C\n:50W:GB", "C06", "50E", "one-issuer"),
    ("720", "31D", ":52A:ALBNGB2L", "C06", "50E", "one-issuer"),
    ("730", "21", ":25:00112233", "C77", "57A", "account-or-bank"),
    ("740", "42D", ":42P:NEGOTIATION", "C90", "42P", "one-tenor"),
    ("740", "58A", ":59N:A\n:59S:B\n:59T:C\n:59R:SG", "D84", "59N", "one-negotiator"),
    ("754", "58A", ":72Z:ALSO", "C19", "77", "one-narrative"),
    ("754", "53A", ":57A:BBBBSGSG", "C14", "57A", "one-way-to-pay"),
]


@pytest.mark.parametrize(("name", "after", "field", "code", "at", "rule"), BEHIND)
def test_an_added_field_breaks_exactly_its_rule(
    name: str, after: str, field: str, code: str, at: str, rule: str
) -> None:
    assert rules(name, behind(TEXTS[name], after, field)) == [(code, at, rule)]


def test_mt730_debited_charges_leave_no_bank_to_pay() -> None:
    text = TEXTS["730"].replace(":32B:USD50,", ":32D:261130USD50,")
    assert rules("730", text) == [("C78", "57A", "no-bank-with-debit")]


def test_mt740_before_sr2026_knows_the_beneficiary_as_field_59() -> None:
    text = behind(TEXTS["740"], "58A", ":59:ORIENT WIDGETS")
    assert rules("740 SR2025", text) == [("D84", "59", "one-negotiator")]


def test_mt750_each_addition_alone_calls_for_a_total() -> None:
    for kept in ("33B", "71D", "73A"):
        text = put(TEXTS["750"], "34B", None)
        for tag in {"33B", "71D", "73A"} - {kept}:
            text = put(text, tag, None)
        assert rules("750", text) == [("C13", kept, "total-with-additions")]


def test_mt752_charges_without_a_total_advised_need_no_net_amount() -> None:
    text = put(put(TEXTS["752"], "33A", None), "32B", None)
    assert rules("752", text) == []


def test_standby_forms_are_known_before_sr2021_only() -> None:
    text = put(TEXTS["700 SR2025"], "40A", "IRREVOCABLE STANDBY")
    assert rules("700 SR2020", text) == []
    assert rules("700 SR2021", text) == [("T60", "40A", "code-40A")]


def test_a_coded_text_may_be_continued_and_mixed_with_plain_lines() -> None:
    for value in (
        "/COMM/USD5,\n//AND MORE",
        "/COMM/USD5,\n/POST/USD1,\nPLAIN",
        "PLAIN\nPLAIN/COMM/",
    ):
        assert rules("700", put(TEXTS["700"], "71D", value)) == []


def test_every_type_with_a_layout_has_its_row_of_rules() -> None:
    assert set(RULES) == set(LAYOUTS)


def test_rules_name_only_fields_that_some_layout_has() -> None:
    known = {tag for kind in LAYOUTS for r in RELEASES for tag in layout(kind, r).index}  # type: ignore[union-attr]
    assert {tag for *_, tag, _ in PUT} - {"52a"} <= known


# -- a rule that several types share holds in each of them


MAIN = ("700", "707", "710", "720")
CHARGED = (*MAIN, "730", "740", "742", "750", "752", "754")
NOTED = (*CHARGED, "732", "734", "756")
DRAWN = ("700", "710", "720", "740")
SHARED: list[tuple[tuple[str, ...], dict[str, str | None], str | None, str]] = [
    (MAIN, {"27": "2/2"}, "T75", "sequence"),
    (("701", "708", "711", "721"), {"27": "1/2"}, "T75", "sequence"),
    (("700", "707"), {"40A": "REVOCABLE"}, "T60", "code-40A"),
    (("710", "720"), {"40B": "REVOCABLE\nWITHOUT OUR CONFIRMATION"}, "T64", "code-40B"),
    (("710", "720"), {"40B": "IRREVOCABLE\nPERHAPS"}, "T66", "code-40B-confirmation"),
    (MAIN, {"40E": "UCP 600"}, "T59", "code-40E"),
    (MAIN, {"40E": "UCP LATEST VERSION/ALSO"}, "D81", "rules-narrative"),
    ((*MAIN, "740"), {"41D": None, "41A": "BBBBSGSGXXX\nBY MAGIC"}, "T68", "code-41a"),
    (DRAWN, {"42C": "SIGHT", "42A": None, "42D": None}, "C90", "drafts-with-drawee"),
    (DRAWN, {"42C": None, "42D": None, "42A": "BBBBSGSG"}, "C90", "drafts-with-drawee"),
    (DRAWN, {"42C": "SIGHT", "42D": "A BANK", "42M": "HALF AT SIGHT"}, "C90", "one-tenor"),
    (DRAWN, {"42M": "HALF AT SIGHT", "42P": "NEGOTIATION"}, "C90", "one-tenor"),
    (MAIN, {"43P": "MAYBE"}, "T64", "code-43P"),
    (MAIN, {"43T": "MAYBE"}, "T65", "code-43T"),
    (MAIN, {"44C": "270105", "44D": "IN JANUARY"}, "D06", "one-shipment-date"),
    (MAIN, {"49": "PERHAPS"}, "T67", "code-49"),
    (CHARGED, {"71D": "/BRIBE/USD5,"}, None, "lines-71D"),
    (NOTED, {"72Z": "/PHONBEN +65 1", "77": None}, None, "lines-72Z"),
    (("734", "750", "754"), {"73A": "/TIP/USD10,"}, None, "lines-73A"),
    (("710", "720"), {"52A": None, "52D": None, "50E": None}, "C06", "one-issuer"),
    *(
        (("707", "708"), {tag: "+WEIGHT LIST"}, "T67", f"lines-{tag}")
        for tag in ("45B", "46B", "47B", "49M", "49N")
    ),
]


def with_fields(kind: str, text: str, changes: dict[str, str | None]) -> str:
    """Put fields at the places that the type's layout gives them, or take them out (None)."""
    places = layout(kind, "SR2026").index
    found = re.findall(r"(?ms)^:(\w+):(.*?)\n(?=:|\Z)", text)
    kept = [field for field in found if field[0] not in changes]
    for tag, value in changes.items():
        if value is not None:
            after = [n for n, field in enumerate(kept) if places[field[0]] > places[tag]]
            kept.insert(after[0] if after else len(kept), (tag, value))
    return "".join(f":{tag}:{value}\n" for tag, value in kept)


@pytest.mark.parametrize(
    ("kind", "changes", "code", "rule"),
    [(kind, changes, code, rule) for kinds, changes, code, rule in SHARED for kind in kinds],
)
def test_a_rule_that_types_share_holds_in_each(
    kind: str, changes: dict[str, str | None], code: str | None, rule: str
) -> None:
    broken = rules(kind, with_fields(kind, TEXTS[kind], changes))
    assert (code, rule) in {(found[0], found[2]) for found in broken}, broken


@pytest.mark.parametrize("kind", sorted({kind for kinds, *_ in SHARED for kind in kinds}))
def test_the_samples_break_no_rule_as_they_stand(kind: str) -> None:
    assert rules(kind, with_fields(kind, TEXTS[kind], {})) == []
