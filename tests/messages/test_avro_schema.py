"""Canonical form and fingerprint against fastavro; identity against everything that may change."""

from __future__ import annotations

import copy
import json
from typing import Any

import fastavro.schema
import pytest
from hypothesis import given, settings
from schema_strategies import schema_and_values

from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Schema

BASE: dict[str, Any] = {
    "type": "record",
    "name": "usance.trade.A",
    "fields": [{"name": "f", "type": ["null", "string"], "default": None}],
}


@given(schema_and_values())
@settings(max_examples=80, deadline=None)
def test_the_canonical_form_is_that_of_the_specification(drawn: Any) -> None:
    spec = json.loads(drawn[0])
    expected = fastavro.schema.to_parsing_canonical_form(copy.deepcopy(spec))
    assert Schema(drawn[0]).canonical == expected


@pytest.mark.parametrize(
    "change",
    [
        {"doc": "other"},
        {"aliases": ["B"]},
        {"fields": [{"name": "f", "type": ["null", "string"]}]},
        {"fields": [BASE["fields"][0] | {"sensitivity": "personal"}]},
    ],
)
def test_doc_alias_default_and_attribute_change_the_identity_but_not_the_bytes(change: Any) -> None:
    one, other = Schema(json.dumps(BASE)), Schema(json.dumps(BASE | change))
    assert one.identity != other.identity
    assert one.fingerprint == other.fingerprint


def test_whitespace_and_order_of_keys_do_not_change_the_identity() -> None:
    other = json.dumps(dict(reversed(BASE.items())), indent=7)
    assert Schema(json.dumps(BASE)).identity == Schema(other).identity


def test_two_ways_to_write_names_have_one_meaning_and_every_real_change_another() -> None:
    inner = {"type": "fixed", "name": "F", "size": 4}
    fields = [{"name": "a", "type": inner}, {"name": "b", "type": ["null", "F"]}]
    spec: dict[str, Any] = {"type": "record", "name": "bank.R", "aliases": ["Q"], "fields": fields}
    long = json.loads(json.dumps(spec)) | {"name": "R", "namespace": "bank", "aliases": ["bank.Q"]}
    long["fields"][0]["type"]["namespace"] = "bank"
    long["fields"][1]["type"][1] = "bank.F"
    first, second = Schema(json.dumps(spec)), Schema(json.dumps(long))
    assert first.meaning == second.meaning and first.identity != second.identity
    for change in (
        {"aliases": ["P"]},
        {"doc": "x"},
        {"tag": 1},
        {"namespace": "other", "name": "R"},
    ):
        assert Schema(json.dumps(spec | change)).meaning != first.meaning


@pytest.mark.parametrize(
    "spec",
    [
        "not json",
        '"unheard"',
        '{"type":"enum","name":"E","symbols":["A"],"default":"B"}',
        '["null","null"]',
        '["null",["string"]]',
        '{"type":"record","name":"A","fields":[{"name":"f","type":"long"},{"name":"f","type":"long"}]}',
        '{"type":"array","items":7}',
    ],
)
def test_an_invalid_schema_is_refused_with_what_to_do(spec: str) -> None:
    with pytest.raises(Unreadable) as caught:
        Schema(spec)
    assert caught.value.hint
