"""The checker's verdicts: known cases, and no accepted pair that fastavro then fails to decode."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schema_strategies import schema_and_values

from usance.messages.avro_schema import Schema
from usance.messages.compatibility import check, check_versions


def record(*fields: Any, name: str = "R", **more: Any) -> Schema:
    return Schema(json.dumps({"type": "record", "name": name, "fields": list(fields)} | more))


def one(kind: Any, **more: Any) -> Schema:
    return record({"name": "f", "type": kind} | more)


def enum(*symbols: str, **more: Any) -> Schema:
    return one({"type": "enum", "name": "E", "symbols": list(symbols)} | more)


CASES = [
    ("long", "int", None),
    ("int", "long", "TYPE_MISMATCH"),
    ("double", "long", None),
    ("float", "double", "TYPE_MISMATCH"),
    ("string", "bytes", None),
    ("int", "boolean", "TYPE_MISMATCH"),
    (["null", "string"], "string", None),
    ("string", ["null", "string"], "TYPE_MISMATCH"),
    (["null", "long"], ["int", "null"], None),
    (["null", "long"], "string", "MISSING_UNION_BRANCH"),
    ({"type": "array", "items": "long"}, {"type": "array", "items": "string"}, "TYPE_MISMATCH"),
    ({"type": "map", "values": "double"}, {"type": "map", "values": "int"}, None),
    (
        {"type": "fixed", "name": "F", "size": 8},
        {"type": "fixed", "name": "F", "size": 9},
        "FIXED_SIZE_MISMATCH",
    ),
    (
        {"type": "fixed", "name": "F", "size": 8},
        {"type": "fixed", "name": "G", "size": 8},
        "NAME_MISMATCH",
    ),
    (
        {"type": "fixed", "name": "F", "size": 8, "aliases": ["other.G"]},
        {"type": "fixed", "name": "other.G", "size": 8},
        None,
    ),
]


@pytest.mark.parametrize(("reader", "writer", "rule"), CASES)
def test_each_rule_of_resolution_gives_its_verdict(reader: Any, writer: Any, rule: Any) -> None:
    found = check(one(reader), one(writer))
    assert [v.rule for v in found] == ([rule] if rule else [])
    assert all(v.path.startswith("/fields/0") and v.hint for v in found)


def test_a_new_field_needs_a_default_or_the_old_name_as_alias() -> None:
    old = record({"name": "a", "type": "string"})
    assert check(record({"name": "b", "type": "string"}), old)[0].path == "/fields/0"
    assert check(record({"name": "b", "type": "string", "default": ""}), old) == []
    assert check(record({"name": "b", "type": "string", "aliases": ["a"]}), old) == []
    # Aliases of the writer mean nothing.
    assert check(old, record({"name": "b", "type": "string", "aliases": ["a"]}))


def test_a_symbol_may_go_only_where_the_enum_has_a_default() -> None:
    assert check(enum("A"), enum("A", "B"))[0].rule == "MISSING_ENUM_SYMBOLS"
    assert check(enum("A", default="A"), enum("A", "B")) == []
    assert check(enum("A", "B"), enum("A")) == []


def test_levels_say_which_side_must_read_the_other() -> None:
    old, new = one("int"), one("long")
    assert check_versions(new, [old], "BACKWARD_TRANSITIVE") == []
    assert check_versions(new, [old], "FORWARD_TRANSITIVE")
    assert check_versions(new, [old], "FULL_TRANSITIVE")
    assert check_versions(new, [old], "NONE") == []
    assert check_versions(one("int"), [one("string"), one("int")], "FULL") == []
    assert check_versions(one("int"), [one("string"), one("int")], "FULL_TRANSITIVE")


def altered(spec: Any, draw: Any) -> Any:
    """Return a schema with one random change somewhere, as an editor might make it."""
    spec = json.loads(json.dumps(spec))
    fields = spec["fields"]
    change = draw(st.sampled_from(["drop", "add", "bare", "widen", "nullable", "rename", "swap"]))
    target = draw(st.sampled_from(fields)) if fields else None
    if change == "add":
        fields.append({"name": "extra", "type": "long", "default": 7})
    elif change == "bare":
        fields.append({"name": "extra", "type": "long"})
    elif target is not None and change == "drop":
        fields.remove(target)
    elif target is not None and change == "rename":
        target["name"] = "renamed"
    elif target is not None and change == "nullable" and isinstance(target["type"], str):
        target["type"] = ["null", target["type"]] if target["type"] != "null" else "null"
    elif target is not None and change == "widen":
        target["type"] = {"int": "long", "long": "double", "float": "double"}.get(
            json.dumps(target["type"]).strip('"'), target["type"]
        )
    elif target is not None and change == "swap":
        target["type"] = draw(st.sampled_from(["long", "string", "boolean", "null"]))
    return spec


@given(schema_and_values(), st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_accepted_decodes_and_what_fails_to_decode_was_refused(
    drawn: Any, data: Any
) -> None:
    text, values = drawn
    spec = altered(json.loads(text), data.draw)
    assume(spec != json.loads(text))
    accepted = not check(Schema(json.dumps(spec)), Schema(text))
    writer, reader = fastavro.parse_schema(json.loads(text)), fastavro.parse_schema(spec)
    for value in values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, writer, value)
        out.seek(0)
        try:
            fastavro.schemaless_reader(out, writer, reader)
        except UnicodeDecodeError:
            pass  # bytes read as text: structurally allowed, a matter of the lints
        except Exception:  # noqa: BLE001 - fastavro raises several kinds
            assert not accepted
