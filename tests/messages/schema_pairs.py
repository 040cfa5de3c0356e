"""Pairs of schemas to compare checkers on: small worlds where names, types and promotions often meet."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
FITTING: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "int": 7,
    "long": 7,
    "float": 1.5,
    "double": 2.5,
    "bytes": "b",
    "string": "s",
}


class _World:
    """Names taken so far: a second use is a reference, as Avro demands."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.known: dict[str, str] = {}

    def type(self, depth: int) -> Any:
        kinds = ["primitive", "primitive", "enum", "fixed"]
        if depth:
            kinds += ["array", "map", "record", "union", "union"]
        if self.known:
            kinds.append("reference")
        match self.draw(st.sampled_from(kinds)):
            case "enum":
                return self.named("enum", ["E1", "E2"], depth)
            case "fixed":
                return self.named("fixed", ["X1", "X2"], depth)
            case "record":
                return self.named("record", ["R1", "R2", "R3"], depth)
            case "reference":
                return self.draw(st.sampled_from(sorted(self.known)))
            case "array":
                return {"type": "array", "items": self.type(depth - 1)}
            case "map":
                return {"type": "map", "values": self.type(depth - 1)}
            case "union":
                return self.union(depth - 1)
        return self.draw(st.sampled_from(PRIMITIVES))

    def union(self, depth: int) -> list[Any]:
        branches: list[Any] = []
        met: set[str] = set()
        for _ in range(self.draw(st.integers(0, 4))):
            branch = self.type(depth)
            key = branch if isinstance(branch, str) else "["
            if isinstance(branch, dict):
                key = branch.get("name", branch["type"])
            if isinstance(branch, list) or key in met:
                self.forget(branch)
                continue
            met.add(key)
            branches.append(branch)
        return branches

    def forget(self, spec: Any) -> None:
        """Free the names that a dropped branch had defined."""
        if isinstance(spec, dict):
            self.known.pop(spec.get("name", ""), None)
            for inner in (spec.get("items"), spec.get("values"), *spec.get("fields", ())):
                self.forget(inner["type"] if isinstance(inner, dict) and "type" in inner else inner)
                self.forget(inner)
        elif isinstance(spec, list):
            for branch in spec:
                self.forget(branch)

    def named(self, kind: str, names: list[str], depth: int) -> Any:
        name = self.draw(st.sampled_from(names))
        if name in self.known:
            return name
        self.known[name] = kind
        spec: dict[str, Any] = {"type": kind, "name": name}
        if self.draw(st.integers(0, 3)) == 0:
            spec["aliases"] = [self.draw(st.sampled_from(names))]
        if kind == "fixed":
            return spec | {"size": self.draw(st.integers(1, 2))}
        if kind == "enum":
            symbols = self.draw(st.lists(st.sampled_from("ABC"), min_size=1, unique=True))
            spec["symbols"] = symbols
            if self.draw(st.booleans()):
                spec["default"] = self.draw(st.sampled_from(symbols))
            return spec
        spec["fields"] = self.fields(depth - 1)
        return spec

    def fields(self, depth: int) -> list[dict[str, Any]]:
        names = self.draw(st.lists(st.sampled_from("abcd"), max_size=3, unique=True))
        return [self.field(name, depth) for name in names]

    def field(self, name: str, depth: int) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": name, "type": self.type(max(depth, 0))}
        kind = spec["type"]
        if isinstance(kind, str) and kind in FITTING and self.draw(st.booleans()):
            spec["default"] = FITTING[kind]
        if self.draw(st.integers(0, 4)) == 0:
            spec["aliases"] = [self.draw(st.sampled_from("abcd"))]
        return spec


@st.composite
def pairs(draw: Any) -> tuple[Any, Any]:
    """Draw two schemas as JSON values: independent ones, or one and an edit of it."""
    first = _World(draw).type(2)
    if draw(st.booleans()):
        return first, _World(draw).type(2)
    second = copy.deepcopy(first)
    for _ in range(draw(st.integers(1, 3))):
        second = edited(second, draw)
    return first, second


def edited(spec: Any, draw: Any) -> Any:
    """Return a schema with a change somewhere, as an editor might make it."""
    if isinstance(spec, str):
        wider = {"int": "long", "long": "double", "float": "double", "string": "bytes"}
        return draw(
            st.sampled_from([wider.get(spec, spec), spec, [spec] if spec in FITTING else spec])
        )
    if isinstance(spec, list):
        if not spec:
            return ["null"]
        where = draw(st.integers(0, len(spec) - 1))
        if draw(st.booleans()):
            return [b for i, b in enumerate(spec) if i != where or not isinstance(b, str)]
        changed = edited(spec[where], draw)
        return spec if isinstance(changed, list) else [*spec[:where], changed, *spec[where + 1 :]]
    spec = dict(spec)
    if spec["type"] == "enum":
        spec["symbols"] = draw(st.sampled_from([["A"], ["A", "B"], ["C", "A"]]))
        spec["default"] = "A"
    elif spec["type"] == "fixed":
        spec["size"] = draw(st.integers(1, 2))
    elif spec["type"] == "array":
        spec["items"] = edited(spec["items"], draw)
    elif spec["type"] == "map":
        spec["values"] = edited(spec["values"], draw)
    elif spec["type"] == "record":
        spec["fields"] = _edited_fields(list(spec["fields"]), draw)
    return spec


def _edited_fields(fields: list[dict[str, Any]], draw: Any) -> list[dict[str, Any]]:
    change = draw(st.sampled_from(["add", "drop", "rename", "type", "type"]))
    if change == "add":
        names = {f["name"] for f in fields}
        if "extra" not in names:
            fields.append(
                {"name": "extra", "type": "long"} | draw(st.sampled_from([{}, {"default": 0}]))
            )
        return fields
    if not fields:
        return fields
    where = draw(st.integers(0, len(fields) - 1))
    field = dict(fields[where])
    if change == "drop":
        return [f for i, f in enumerate(fields) if i != where]
    if change == "rename" and all(f["name"] != "renamed" for f in fields):
        field = (
            field | draw(st.sampled_from([{}, {"aliases": [field["name"]]}])) | {"name": "renamed"}
        )
    if change == "type":
        field["type"] = edited(field["type"], draw)
        field.pop("default", None)
    return [*fields[:where], field, *fields[where + 1 :]]
