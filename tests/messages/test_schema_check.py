"""The checker against Apache's own, on its official cases and on generated pairs, and against a decoder."""

from __future__ import annotations

import copy
import io
import json
import unittest
from typing import Any

import avro.test.test_compatibility as official
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import parse
from fastavro.utils import generate_one
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from schema_pairs import pairs

from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Schema
from usance.messages.compatibility import check
from usance.messages.schema_check import UNREADABLE, judge_line
from usance.messages.schema_lints import lint_versions


def apache(reader: Any, writer: Any) -> bool:
    """Return the verdict of Apache Avro for Python; raises AvroException where it cannot parse."""
    found = ReaderWriterCompatibilityChecker().get_compatibility(
        parse(json.dumps(reader)), parse(json.dumps(writer))
    )
    return found.compatibility is SchemaCompatibilityType.compatible


def ours(reader: Any, writer: Any) -> bool:
    return not check(Schema(json.dumps(reader)), Schema(json.dumps(writer)))


def test_every_official_case_of_apache_avro_gets_its_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs Apache's own suite and asks ours about each pair that it asks about, by the same paths."""
    seen: list[tuple[str, str, bool, set[str]]] = []
    real = ReaderWriterCompatibilityChecker.get_compatibility

    def noting(self: Any, reader: Any, writer: Any, *rest: Any, **more: Any) -> Any:
        found = real(self, reader, writer, *rest, **more)
        if not rest and not more:
            verdict = found.compatibility is SchemaCompatibilityType.compatible
            seen.append((str(reader), str(writer), verdict, found.locations))
        return found

    monkeypatch.setattr(ReaderWriterCompatibilityChecker, "get_compatibility", noting)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(official).run(result)
    assert result.wasSuccessful()
    assert len(seen) > 200
    for reader, writer, verdict, locations in seen:
        found = check(Schema(reader), Schema(writer))
        assert (not found) == verdict, (reader, writer)
        if len(locations) == 1 and not verdict and len(found) == 1:
            assert found[0].path in (locations.pop(), "", *[f"/{i}" for i in range(4)])


R1 = {"type": "record", "name": "R1", "fields": []}
LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}


@settings(max_examples=400)
@given(pairs())
@example((R1, R1 | {"name": "R2", "aliases": ["R1"]}))
@example((LIST, LIST | {"fields": [{"name": "next", "type": ["L"]}]}))
@example(([], "int"))
@example(("int", []))
def test_generated_pairs_get_the_verdict_of_apache_avro_both_ways(pair: Any) -> None:
    for writer, reader in (pair, pair[::-1]):
        try:
            expected = apache(reader, writer)
        except AvroException:
            with pytest.raises(Unreadable):
                ours(reader, writer)
            continue
        assert ours(reader, writer) == expected, (reader, writer)


def unambiguous(reader: Any, writer: Any) -> bool:
    """Tell whether no field has two sources: decoders differ there, which is what the lint says."""
    schemas = [Schema(json.dumps(s)) for s in (reader, writer)]
    return all(
        x.rule != "ALIAS_AMBIGUOUS" for x in lint_versions(schemas[0], schemas[1:], "BACKWARD")
    )


@settings(max_examples=200)
@given(pairs())
def test_what_is_compatible_really_decodes(pair: Any) -> None:
    for writer, reader in (pair, pair[::-1]):
        try:
            assume(ours(reader, writer) and unambiguous(reader, writer))
            parsed = [fastavro.parse_schema(copy.deepcopy(s)) for s in (writer, reader)]
            values = [generate_one(parsed[0]) for _ in range(3)]
        except (Unreadable, RecursionError, ValueError, fastavro.schema.SchemaParseException):
            return  # infinite types and empty unions have no values
        for value in values:
            out = io.BytesIO()
            fastavro.schemaless_writer(out, parsed[0], value)
            out.seek(0)
            try:
                fastavro.schemaless_reader(out, parsed[0], parsed[1])
            except UnicodeDecodeError:
                continue  # bytes read as text: a lint says so
            except TypeError:
                continue  # fastavro cannot follow a reference in a reader's union


NS = {"type": "record", "name": "bank.New", "fields": []}


@pytest.mark.parametrize(
    ("aliases", "written", "fits"),
    [
        (["Old"], "bank.Old", True),  # an unqualified alias is of the reader's namespace
        (["bank.Old"], "bank.Old", True),
        (["Old"], "other.Old", False),
        (["other.Old"], "other.Old", True),
        ([], "other.New", True),
        ([], "bank.Old", False),
    ],
)
def test_aliases_of_types_are_full_names_and_names_match_without_namespace(
    aliases: list[str], written: str, fits: bool
) -> None:
    assert ours(NS | {"aliases": aliases}, NS | {"name": written}) == fits


def test_union_trials_do_not_multiply_with_the_depth() -> None:
    spec: Any = "int"
    for i in range(12):
        spec = [
            {"type": "record", "name": f"{n}.T{i}", "fields": [{"name": "f", "type": spec}]}
            if n == "a"
            else {"type": "record", "name": f"{n}.T{i}", "fields": [{"name": "f", "type": ref}]}
            for n, ref in (("a", None), ("b", f"a.T{i}"))
        ]
    assert ours(spec, spec)


# -- one line of a batch


def line(**more: Any) -> Any:
    base = {"id": "p", "mode": "BACKWARD", "new": "long", "old": ["int"]}
    return judge_line(json.dumps(base | more))


def test_a_line_gives_id_and_verdict() -> None:
    name, verdict = line()
    assert name == "p"
    assert verdict.shown() == {"compatible": True, "violations": [], "lints": []}
    shown = line(mode="FORWARD")[1].shown()
    assert shown["compatible"] is False
    assert set(shown["violations"][0]) == {"rule", "path", "message", "hint"}


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"mode": "SIDEWAYS"}, "/mode"),
        ({"mode": None}, "/mode"),
        ({"new": "no.such.Type"}, "/new"),
        ({"new": {"type": "record"}}, "/new"),
        (
            {"new": {"type": "record", "name": "A", "fields": [{"name": "1a", "type": "int"}]}},
            "/new",
        ),
        ({"new": {"type": "fixed", "name": "F", "size": -1}}, "/new"),
        ({"new": {"type": "fixed", "name": "F", "size": True}}, "/new"),
        ({"new": {"type": "enum", "name": "E", "symbols": ["A", "A"]}}, "/new"),
        ({"new": {"type": "enum", "name": "E"}}, "/new"),
        ({"new": {"type": "array"}}, "/new"),
        ({"new": {"type": "record", "name": "A", "fields": "none"}}, "/new"),
        ({"new": {"type": "record", "name": 7, "fields": []}}, "/new"),
        ({"new": {"type": "record", "name": "int", "fields": []}}, "/new"),
        ({"new": {"type": "record", "name": "A", "namespace": 4, "fields": []}}, "/new"),
        ({"new": {"type": "record", "name": "A", "aliases": "B", "fields": []}}, "/new"),
        ({"new": None}, "/new"),
        ({"new": "{"}, "/new"),
        ({"old": ["int", ["int", "int"]]}, "/old/1"),
        ({"old": [{"type": "map", "values": ["null", ["int"]]}]}, "/old/0"),
    ],
)
def test_a_bad_input_is_a_violation_that_says_where_and_what_to_do(more: Any, path: str) -> None:
    name, verdict = line(**more)
    assert name == "p"
    assert [(v.rule, v.path) for v in verdict.violations] == [(UNREADABLE, path)]
    assert verdict.violations[0].hint


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"[]", b"\xff", b"[" * 100_000, b'{"id": 3}'])
def test_no_line_of_a_batch_raises(raw: bytes) -> None:
    verdict = judge_line(raw)[1]
    assert not verdict.readable


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = """type name namespace aliases doc default fields items values symbols size order logicalType precision
scale sensitivity subject retain tags encrypted seal key_scope unit kind pii meanings""".split()


def littered(spec: Any, draw: Any) -> Any:
    """Return a schema with anything at all under some of its keys."""
    if isinstance(spec, list):
        return [littered(s, draw) for s in spec]
    if not isinstance(spec, dict):
        return spec
    found = {k: littered(v, draw) for k, v in spec.items()}
    if draw(st.integers(0, 2)) == 0:
        found[draw(st.sampled_from(KEYS))] = draw(JSON)
    return found


@settings(max_examples=300)
@given(pairs(), st.data())
def test_whatever_stands_in_a_schema_the_batch_goes_on(pair: Any, data: Any) -> None:
    old, new = (littered(spec, data.draw) for spec in pair)
    for mode in ("FULL_TRANSITIVE", "NONE"):
        verdict = line(mode=mode, new=new, old=[old, old])[1]
        json.dumps(verdict.shown())


def test_deep_nesting_is_an_answer_and_no_crash() -> None:
    deep: Any = "int"
    for _ in range(400):
        deep = {"type": "array", "items": deep}
    assert line(new=deep, old=[deep])[1].compatible in (True, False)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_makes_the_line_unreadable(word: str) -> None:
    field = f'{{"name":"a","type":"double","default":{word}}}'
    schema = f'{{"type":"record","name":"R","fields":[{field}]}}'
    _, verdict = judge_line(f'{{"id":1,"mode":"BACKWARD","new":{schema},"old":[{schema}]}}')
    assert not verdict.readable and not verdict.compatible


def test_schemas_may_stand_as_text_within_the_line() -> None:
    assert line(new='{"type": "long"}', old=['"int"'])[1].compatible


@pytest.mark.parametrize("old", ["int", {"type": "int"}, 7, None])
def test_earlier_versions_that_are_no_list_make_the_line_unreadable(old: Any) -> None:
    name, verdict = line(old=old)
    assert name == "p" and not verdict.readable and not verdict.compatible
    assert [v.path for v in verdict.violations] == ["/old"]


def test_an_enums_default_that_is_no_symbol_is_judged_and_not_used() -> None:
    new = {"type": "enum", "name": "E", "symbols": ["A"], "default": "Z"}
    verdict = line(new=new, old=[{"type": "enum", "name": "E", "symbols": ["A", "B"]}])[1]
    assert [v.rule for v in verdict.violations] == ["MISSING_ENUM_SYMBOLS"]
    assert ("DEFAULT_INVALID", "/default") in {(x.rule, x.path) for x in verdict.lints}
