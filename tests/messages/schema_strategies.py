"""Random schemas with values that fit them, as Avro JSON and plain Python values."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=90)


class _Names:
    def __init__(self) -> None:
        self.count = 0

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"


def _scalars() -> list[tuple[Any, Any]]:
    return [
        ("null", st.none()),
        ("boolean", st.booleans()),
        ("int", st.integers(-(2**31), 2**31 - 1)),
        ("long", LONG),
        ("string", TEXT),
        ("bytes", st.binary(max_size=90)),
        ("float", st.floats(width=32, allow_nan=False)),
        ("double", st.floats(allow_nan=False)),
    ]


@st.composite
def typed(draw: Any, names: _Names, depth: int) -> tuple[Any, Any]:
    """Draw (Avro type, strategy of its values)."""
    kinds = ["scalar", "scalar", "fixed", "enum"]
    if depth:
        kinds += ["array", "map", "record", "nullable"]
    match draw(st.sampled_from(kinds)):
        case "scalar":
            return draw(st.sampled_from(_scalars()))
        case "fixed":
            size = draw(st.integers(0, 33))
            spec = {"type": "fixed", "name": names.fresh("F"), "size": size}
            return spec, st.binary(min_size=size, max_size=size)
        case "enum":
            symbols = [f"S{i}" for i in range(draw(st.integers(1, 80)))]
            spec = {"type": "enum", "name": names.fresh("E"), "symbols": symbols}
            return spec, st.sampled_from(symbols)
        case "array":
            items, values = draw(typed(names, depth - 1))
            return {"type": "array", "items": items}, st.lists(values, max_size=4)
        case "map":
            items, values = draw(typed(names, depth - 1))
            return {"type": "map", "values": items}, st.dictionaries(TEXT, values, max_size=4)
        case "nullable":
            items, values = draw(typed(names, depth - 1))
            if items == "null" or isinstance(items, list):
                return items, values
            union = ["null", items] if draw(st.booleans()) else [items, "null"]
            return union, st.none() | values
    return draw(records(names, depth - 1))


@st.composite
def records(draw: Any, names: _Names, depth: int) -> tuple[Any, Any]:
    """Draw a record type with the strategy of its values (dicts)."""
    fields, values = [], {}
    for i in range(draw(st.integers(0 if depth < 2 else 1, 5))):
        kind, value = draw(typed(names, depth))
        fields.append({"name": f"f{i}", "type": kind})
        values[f"f{i}"] = value
    name = names.fresh("R")
    return {"type": "record", "name": name, "fields": fields}, st.fixed_dictionaries(values)


@st.composite
def schema_and_values(draw: Any) -> tuple[str, list[Any]]:
    """Draw a record schema's text and some values of it."""
    spec, values = draw(records(_Names(), 3))
    return json.dumps(spec), draw(st.lists(values, min_size=1, max_size=3))
