"""Each change that every structural checker lets pass, and the benign ones that must stay quiet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from usance.messages import schema_changes, schema_lints
from usance.messages.avro_schema import Schema
from usance.messages.compatibility import MODES
from usance.messages.schema_check import judge


def parsed(spec: Any) -> Schema:
    return Schema(json.dumps(spec), lenient=True)


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)} | more


def field(kind: Any, name: str = "f", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind} | more


def one(kind: Any, name: str = "f", **more: Any) -> dict[str, Any]:
    return record(field(kind, name, **more))


def lints(new: Any, *old: Any, mode: str = "BACKWARD_TRANSITIVE", kind: str = "") -> set[Any]:
    verdict = judge(parsed(new), [parsed(s) for s in old], mode, kind)
    assert verdict.compatible, verdict.violations
    return {(x.rule, x.path, x.severity) for x in verdict.lints}


def decimal(precision: int, scale: int, base: Any = "bytes") -> dict[str, Any]:
    base = base if isinstance(base, dict) else {"type": base}
    return base | {"logicalType": "decimal", "precision": precision, "scale": scale}


def time(name: str, base: str = "long") -> dict[str, Any]:
    return {"type": base, "logicalType": name}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Tenor", "symbols": list(symbols)} | more


FIXED = {"type": "fixed", "name": "F", "size": 8}
TYPE = "/fields/0/type"
LOGICAL = f"{TYPE}/logicalType"

CHANGES = [
    ("scale", one(decimal(9, 4)), one(decimal(9, 2)), "DECIMAL_CHANGED", LOGICAL, "error"),
    ("precision", one(decimal(12, 2)), one(decimal(9, 2)), "DECIMAL_CHANGED", LOGICAL, "error"),
    ("decimal to bytes", one("bytes"), one(decimal(9, 2)), "DECIMAL_CHANGED", TYPE, "error"),
    ("bytes to decimal", one(decimal(9, 2)), one("bytes"), "DECIMAL_CHANGED", LOGICAL, "error"),
    (
        "scale within fixed",
        one(decimal(9, 4, FIXED)),
        one(decimal(9, 2, FIXED)),
        "DECIMAL_CHANGED",
        LOGICAL,
        "error",
    ),
    (
        "scale within a union within an array",
        one({"type": "array", "items": ["null", decimal(9, 4)]}),
        one({"type": "array", "items": ["null", decimal(9, 2)]}),
        "DECIMAL_CHANGED",
        f"{TYPE}/items/1/logicalType",
        "error",
    ),
    (
        "time unit",
        one(time("timestamp-micros")),
        one(time("timestamp-millis")),
        "TIME_UNIT_CHANGED",
        LOGICAL,
        "error",
    ),
    (
        "local to instant",
        one(time("timestamp-millis")),
        one(time("local-timestamp-millis")),
        "TIME_UNIT_CHANGED",
        LOGICAL,
        "error",
    ),
    ("date read as long", one("long"), one(time("date", "int")), "TIME_UNIT_CHANGED", TYPE, "error"),
    ("date on long", one(time("date")), one(time("date")), "LOGICAL_TYPE_MISPLACED", LOGICAL, "error"),
    ("unit of its own", one("long", unit="s"), one("long", unit="ms"), "UNIT_CHANGED", "/fields/0", "error"),
    ("money as double", one("double", "amount"), one("long", "amount"), "PRECISION_LOST", TYPE, "error"),
    ("count as float", one("float", "n", tags=["count"]), one("int", "n"), "PRECISION_LOST", TYPE, "error"),
    ("any long as double", one("double"), one("long"), "PRECISION_LOST", TYPE, "warn"),
    (
        "long as double within a union",
        one(["null", "double"]),
        one(["null", "long"]),
        "PRECISION_LOST",
        f"{TYPE}/1",
        "warn",
    ),
    ("first promotable branch", one(["float", "long"]), one("int"), "PRECISION_LOST", f"{TYPE}/0", "warn"),
    ("bytes as text", one("string"), one("bytes"), "BYTES_STRING", TYPE, "error"),
    ("text as bytes", one("bytes"), one("string"), "BYTES_STRING", TYPE, "error"),
    (
        "rename without alias",
        one("string", "applicant", default=""),
        one("string", "buyer"),
        "RENAME_HIDDEN_BY_DEFAULT",
        "/fields/0",
        "error",
    ),
    (
        "rename without alias, nullable",
        one(["null", "string"], "applicant", default=None),
        one("string", "buyer"),
        "RENAME_HIDDEN_BY_DEFAULT",
        "/fields/0",
        "error",
    ),
    (
        "symbol removed",
        one(enum("SIGHT", default="SIGHT")),
        one(enum("SIGHT", "USANCE", default="SIGHT")),
        "ENUM_SYMBOL_REMOVED",
        f"{TYPE}/symbols",
        "error",
    ),
    (
        "symbols reordered with a default",
        one(enum("B", "A", default="A")),
        one(enum("A", "B", default="A")),
        "ENUM_REORDERED",
        f"{TYPE}/symbols",
        "warn",
    ),
    (
        "default symbol changed",
        one(enum("A", "B", default="B")),
        one(enum("A", "B", default="A")),
        "ENUM_DEFAULT_CHANGED",
        f"{TYPE}/default",
        "error",
    ),
    (
        "symbol with another meaning",
        one(enum("A", meanings={"A": "at maturity"})),
        one(enum("A", meanings={"A": "at sight"})),
        "ENUM_SYMBOL_REUSED",
        f"{TYPE}/meanings",
        "error",
    ),
    ("default changed", one("int", default=1), one("int", default=0), "DEFAULT_CHANGED", "/fields/0/default", "warn"),
    ("default of another type", one("int", default="oops"), one("int"), "DEFAULT_INVALID", "/fields/0/default", "error"),
    (
        "default of a later branch",
        one(["null", "int"], default=0),
        one("int"),
        "DEFAULT_NOT_FIRST_BRANCH",
        "/fields/0/default",
        "warn",
    ),
    (
        "aliases swapped",
        record(field("int", "a", aliases=["b"]), field("int", "b", aliases=["a"])),
        record(field("int", "a"), field("int", "b")),
        "ALIAS_AMBIGUOUS",
        "/fields/0/aliases",
        "error",
    ),
    (
        "two readers of one field",
        record(field("int", "a", aliases=["x"]), field("int", "b", aliases=["x"])),
        one("int", "x"),
        "ALIAS_AMBIGUOUS",
        "/fields/1/aliases",
        "error",
    ),
    (
        "sensitivity removed",
        one("string"),
        one("string", sensitivity="personal"),
        "SENSITIVITY_REMOVED",
        "/fields/0",
        "error",
    ),
    (
        "sensitivity lowered on the type",
        one({"type": "string", "sensitivity": "business"}),
        one({"type": "string", "sensitivity": "personal"}),
        "SENSITIVITY_REMOVED",
        "/fields/0",
        "error",
    ),
    (
        "mark of one's own removed",
        one("string"),
        one("string", pii=True),
        "SENSITIVITY_REMOVED",
        "/fields/0",
        "error",
    ),
    (
        "tag removed",
        one("string", **{"confluent:tags": []}),
        one("string", **{"confluent:tags": ["PII"]}),
        "SENSITIVITY_REMOVED",
        "/fields/0",
        "error",
    ),
    ("subject changed", one("string", subject="b"), one("string", subject="a"), "SUBJECT_CHANGED", "/fields/0", "error"),
    ("encrypted becomes clear", one("string"), one("string", encrypted=True), "ENCRYPTION_REMOVED", "/fields/0", "error"),
    (
        "sealing of the record changes",
        record(),
        record(seal="payload"),
        "ENCRYPTION_REMOVED",
        "",
        "error",
    ),
    (
        "key scope changes",
        one("string", key_scope="tenant"),
        one("string", key_scope="subject"),
        "KEY_SCOPE_CHANGED",
        "/fields/0",
        "error",
    ),
    (
        "retention class of a personal field changes",
        one("string", sensitivity="personal", retain="record"),
        one("string", sensitivity="personal", retain="relationship"),
        "KEY_SCOPE_CHANGED",
        "/fields/0",
        "error",
    ),
    (
        "retention class of a field that has a subject changes",
        one("string", subject="customer", retain="aml"),
        one("string", subject="customer", retain="trade"),
        "KEY_SCOPE_CHANGED",
        "/fields/0",
        "error",
    ),
    (
        "uuid dropped",
        one("string"),
        one({"type": "string", "logicalType": "uuid"}),
        "LOGICAL_TYPE_CHANGED",
        TYPE,
        "warn",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("new", "old", "rule", "path", "severity"),
    [c[1:] for c in CHANGES],
    ids=[c[0] for c in CHANGES],
)
def test_a_change_of_meaning_that_resolves_is_named(
    new: Any, old: Any, rule: str, path: str, severity: str
) -> None:
    assert (rule, path, severity) in lints(new, old)
    assert (rule, path, severity) in lints(new, old, mode="NONE")


BENIGN = [
    ("int to nullable long", one(["null", "long"]), one("int")),
    ("union of one unwrapped", one("long"), one(["int"])),
    ("union of one wrapped", one(["int", "string"]), one("int")),
    ("union merged by promotion", one(["long"]), one(["int", "long"])),
    ("int to double", one("double"), one("int")),
    ("float to double", one("double"), one("float")),
    ("exact branch before a lossy one", one(["float", "long"]), one("long")),
    ("field with default added", record(field("int", "a"), field("int", "b", default=0)), one("int", "a")),
    ("field dropped", record(), one("int")),
    ("rename with alias", one("string", "applicant", default="", aliases=["buyer"]), one("string", "buyer")),
    (
        "other type dropped and added",
        one(["null", "long"], "amount", default=None),
        one("string", "buyer"),
    ),
    ("symbol added", one(enum("A", "B")), one(enum("A"))),
    ("enum default added", one(enum("A", "B", default="A")), one(enum("A", "B"))),
    ("symbols reordered, no default", one(enum("B", "A")), one(enum("A", "B"))),
    ("sensitivity raised", one("string", sensitivity="personal"), one("string", sensitivity="business")),
    ("subject said first", one("string", subject="buyer"), one("string", subject="")),
    ("encrypted from now on", one("string", encrypted=True), one("string")),
    ("doc changed", record(field("int", doc="b"), doc="y"), record(field("int", doc="a"), doc="x")),
    ("same decimal", one(decimal(9, 2)), one(decimal(9, 2))),
    ("same decimal, nullable", one(["null", decimal(9, 2)]), one(decimal(9, 2))),
    ("default kept", one("int", default=1), one("int", default=1)),
    ("default given", one("int", default=1), one("int")),
    ("recursive", record(field(["null", "R"])), record(field(["null", "R"]))),
    ("bare types", "long", "int"),
]  # fmt: skip


@pytest.mark.parametrize(("new", "old"), [b[1:] for b in BENIGN], ids=[b[0] for b in BENIGN])
def test_a_benign_change_has_no_lint(new: Any, old: Any) -> None:
    assert lints(new, old) == set()


def test_what_older_readers_make_of_new_records_is_judged_when_they_must_read_them() -> None:
    new, old = one(enum("A", "B", default="A")), one(enum("A", default="A"))
    assert ("ENUM_SYMBOL_SWALLOWED", f"{TYPE}/symbols", "warn") in lints(new, old, mode="FORWARD")
    assert lints(new, old, mode="BACKWARD") == set()
    narrow = lints(one("long"), one("double"), mode="FORWARD")
    assert ("PRECISION_LOST", TYPE, "warn") in narrow
    renamed = one("string", "applicant", aliases=["buyer"], default="")
    found = lints(renamed, one("string", "buyer", default=""), mode="FULL")
    assert found == {("RENAME_HIDDEN_BY_DEFAULT", "/fields/0", "warn")}
    gone = one("string", "applicant")
    assert ("RENAME_HIDDEN_BY_DEFAULT", "/fields/0", "error") in lints(
        gone, one("string", "buyer", default=""), mode="FORWARD"
    )


def test_a_union_that_lost_a_branch_is_named() -> None:
    found = lints(one(["null"]), one(["null", "int"]), mode="FORWARD")
    assert found == {("UNION_NARROWED", TYPE, "warn")}


def test_a_name_that_comes_back_as_something_else_is_named_over_all_versions() -> None:
    bare, text, number = record(), one("string", "x", default=""), one("int", "x")
    expected = {("NAME_REUSED", "/fields/0", "error")}
    for mode in ("BACKWARD", "NONE"):
        assert expected <= lints(text, number, bare, mode=mode)
    assert lints(one("int", "x", default=0), number, bare) == set()
    assert ("NAME_REUSED", "/fields/0", "error") in lints(
        one("int", "x", default=0, doc="now in days"), number, bare, mode="BACKWARD"
    )
    assert ("NAME_REUSED", "/fields/0", "error") in lints(
        one("int", "x", default=0, tags=["money"]), number, bare, mode="BACKWARD"
    )
    back = lints(one(enum("A", "B")), one(enum("A", "B")), one(enum("A")), mode="BACKWARD")
    assert back == {("ENUM_SYMBOL_REUSED", f"{TYPE}/symbols/1", "warn")}


def test_modes_without_transitive_look_at_the_newest_version_alone() -> None:
    olds = one(decimal(9, 4)), one(decimal(9, 2))
    assert lints(one(decimal(9, 2)), *olds, mode="BACKWARD") == set()
    assert lints(one(decimal(9, 2)), *olds) != set()


def test_a_record_of_more_than_a_hundred_fields_is_named() -> None:
    wide = record(*(field("int", f"f{i}", default=0) for i in range(101)))
    assert lints(wide, record()) == {("RECORD_TOO_WIDE", "/fields", "warn")}
    assert lints(record(*wide["fields"][:100]), record()) == set()


@pytest.mark.parametrize(
    ("name", "kind", "named"),
    [
        ("IssueCredit", "", True),
        ("IssueCredit", "command", False),
        ("CreditIssued", "event", False),
        ("CreditLimit", "event", True),
        ("bank.events.CreditLimit", "", True),
        ("bank.commands.IssueCredit", "", False),
        ("CreditLimit", "", False),
        ("TimerSet", "event", False),
        ("SetTimer", "event", True),
        ("R", "", False),
    ],
)
def test_an_event_is_named_in_the_past_tense(name: str, kind: str, named: bool) -> None:
    found = lints(record(name=name), record(name=name), kind=kind)
    assert found == ({("NAME_NOT_PAST_TENSE", "/name", "warn")} if named else set())


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("null", [None], [0, ""]),
        ("boolean", [True], [1, None]),
        ("int", [0, 2**31 - 1, -(2**31)], [2**31, 1.5, True, "1"]),
        ("long", [2**63 - 1], [2**63, 1.0]),
        ("double", [1, 1.5], ["NaN", True]),
        ("string", ["ü"], [1, None]),
        ("bytes", ["\u00ff"], ["\u0100", 7]),
        ({"type": "fixed", "name": "F", "size": 2}, ["ab"], ["a", "abc"]),
        (enum("A"), ["A"], ["B"]),
        ({"type": "array", "items": "int"}, [[], [1]], [["x"], {}]),
        ({"type": "map", "values": "int"}, [{}, {"a": 1}], [{"a": "x"}, []]),
        (
            record(field("int", "a"), field("int", "b", default=1), name="I"),
            [{"a": 1}],
            [{}, {"a": "x"}, 7],
        ),
        (["null", "int"], [None], ["x"]),
        ([], [], [None]),
    ],
)
def test_a_default_must_be_a_value_of_its_type(kind: Any, good: list[Any], bad: list[Any]) -> None:
    wrong = ("DEFAULT_INVALID", "/fields/0/default", "error")
    for value in good:
        assert lints(one(kind, default=value), record()) == set()
    for value in bad:
        assert wrong in lints(one(kind, default=value), record())


@pytest.mark.parametrize(
    "bad", [{}, {"precision": 2, "scale": 3}, {"precision": 0}, {"precision": "9"}]
)
def test_a_decimal_without_sound_digits_is_named(bad: dict[str, Any]) -> None:
    spec = one({"type": "bytes", "logicalType": "decimal"} | bad)
    assert ("DECIMAL_INVALID", LOGICAL, "error") in lints(spec, spec)


def test_every_rule_has_a_case_here() -> None:
    """A lint that nothing here provokes would not be missed."""
    import ast
    from pathlib import Path

    text = Path(__file__).read_text(encoding="utf-8")
    for module in (schema_changes, schema_lints):
        assert module.__file__
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                word = node.value
                if word.isupper() and "_" in word:
                    assert f'"{word}"' in text, word


def test_all_modes_take_any_of_these_pairs() -> None:
    for case in CHANGES:
        for mode in MODES:
            judge(parsed(case[1]), [parsed(case[2])], mode)
