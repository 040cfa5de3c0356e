"""Avro schemas as small trees: parsing, canonical form, fingerprint, identity (Avro 1.12).

Only what our own `.avsc` files need is accepted; every name is checked to be a plain identifier,
because the code generator writes names into source text.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from usance.kernel.errors import Unreadable

PRIMITIVES = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
)
NAMED = frozenset(("record", "enum", "fixed"))
MISSING: Any = object()
"""Mark of a field without default (None is the default `null`)."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Field(NamedTuple):
    """A field of a record. `attributes` holds what Avro does not define (sensitivity, ...)."""

    name: str
    type: Node
    default: Any = MISSING
    aliases: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple default, never changed


class Node:
    """A type of a schema. Which attributes count depends on `kind`: an Avro type or "union"."""

    __slots__ = (
        "aliases",
        "branches",
        "default",
        "fields",
        "items",
        "kind",
        "name",
        "size",
        "symbols",
    )

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.fields: tuple[Field, ...] = ()
        self.symbols: tuple[str, ...] = ()
        self.default: str | None = None
        self.items: Node = self
        self.size = 0
        self.branches: tuple[Node, ...] = ()
        self.aliases: tuple[str, ...] = ()

    @property
    def local(self) -> str:
        """The unqualified name, by which resolution matches; an unnamed type gives its kind."""
        return self.name.rpartition(".")[2] or self.kind

    def field(self, name: str) -> Field | None:
        """Return the field of that name."""
        return next((f for f in self.fields if f.name == name), None)


class Schema:
    """A parsed schema with its text. Two schemas are the same when their identities are."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.json: Any = json.loads(text)
        except ValueError as error:
            raise _bad("not JSON", "write the schema as one JSON object") from error
        self.root = _Parser().parse(self.json, "")

    @property
    def fullname(self) -> str:
        """The root type's full name."""
        return self.root.name

    @cached_property
    def canonical(self) -> str:
        """The Parsing Canonical Form: what decides the bytes on the wire, and nothing else."""
        return canonical_form(self.root)

    @cached_property
    def fingerprint(self) -> bytes:
        """The first 8 bytes of SHA-256 over the canonical form: it stands in headers and blocks."""
        return hashlib.sha256(self.canonical.encode()).digest()[:8]

    @cached_property
    def identity(self) -> str:
        """SHA-256 (hex) over sorted JSON: docs, aliases, defaults and attributes count."""
        packed = json.dumps(self.json, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(packed.encode()).hexdigest()


@lru_cache(maxsize=4_096)
def parsed(text: str) -> Schema:
    """Return the schema of a text, parsed once per process: the registry asks for the same ones often."""
    return Schema(text)


def _bad(reason: str, hint: str) -> Unreadable:
    return Unreadable("schema", reason, hint=hint)


def check_name(name: Any) -> str:
    """Return a name that is safe to write into source text; raises Unreadable otherwise."""
    if not isinstance(name, str) or not _NAME.match(name) or keyword.iskeyword(name):
        raise _bad("a name is no plain identifier", "use letters, digits and _, no Python keyword")
    return name


class _Parser:
    def __init__(self) -> None:
        self.known: dict[str, Node] = {}

    def parse(self, spec: Any, space: str) -> Node:
        if isinstance(spec, str):
            return self._reference(spec, space)
        if isinstance(spec, list):
            return self._union(spec, space)
        if not isinstance(spec, dict) or "type" not in spec:
            raise _bad("a type is neither name, list nor object", "see the Avro specification")
        kind = spec["type"]
        if isinstance(kind, dict | list):
            return self.parse(kind, space)
        if kind in NAMED:
            return self._named(kind, spec, space)
        if kind in ("array", "map"):
            node = Node(kind)
            node.items = self.parse(spec["items" if kind == "array" else "values"], space)
            return node
        return self._reference(kind, space)

    def _reference(self, name: Any, space: str) -> Node:
        if name in PRIMITIVES:
            return Node(name)
        found = self.known.get(name) or self.known.get(f"{space}.{name}")
        if found is None:
            raise _bad("a type name is not defined before its use", "define it at its first use")
        return found

    def _union(self, spec: list[Any], space: str) -> Node:
        node = Node("union")
        node.branches = tuple(self.parse(s, space) for s in spec)
        keys = [b.name or b.kind for b in node.branches]
        if len(set(keys)) != len(keys) or "union" in keys:
            raise _bad("a union repeats a type or holds a union", "name each branch once")
        return node

    def _named(self, kind: str, spec: dict[str, Any], space: str) -> Node:
        own, _, local = spec["name"].rpartition(".")
        space = own or spec.get("namespace", space)
        for part in (*filter(None, space.split(".")), local):
            check_name(part)
        node = Node(kind, f"{space}.{local}" if space else local)
        node.aliases = tuple(spec.get("aliases", ()))
        if node.name in self.known:
            raise _bad("a type is defined twice", "refer to the first definition by name")
        self.known[node.name] = node
        if kind == "record":
            node.fields = tuple(self._field(f, space) for f in spec["fields"])
            names = [f.name for f in node.fields]
            if len(set(names)) != len(names):
                raise _bad("a record has two fields of one name", "rename one")
        elif kind == "enum":
            node.symbols = tuple(check_name(s) for s in spec["symbols"])
            node.default = spec.get("default")
            if node.default is not None and node.default not in node.symbols:
                raise _bad("an enum's default is not one of its symbols", "add the symbol")
        else:
            node.size = int(spec["size"])
        return node

    def _field(self, spec: dict[str, Any], space: str) -> Field:
        known = ("name", "type", "default", "aliases", "doc", "order")
        return Field(
            check_name(spec["name"]),
            self.parse(spec["type"], space),
            spec.get("default", MISSING),
            tuple(spec.get("aliases", ())),
            {k: v for k, v in spec.items() if k not in known},
        )


def canonical_form(node: Node) -> str:
    """Return the Parsing Canonical Form of a type."""
    return _canonical(node, set())


def _canonical(node: Node, seen: set[str]) -> str:
    kind = node.kind
    if kind == "union":
        return "[" + ",".join(_canonical(b, seen) for b in node.branches) + "]"
    if kind == "array":
        return '{"type":"array","items":' + _canonical(node.items, seen) + "}"
    if kind == "map":
        return '{"type":"map","values":' + _canonical(node.items, seen) + "}"
    if kind in PRIMITIVES:
        return f'"{kind}"'
    if node.name in seen:
        return f'"{node.name}"'
    seen.add(node.name)
    head = f'{{"name":"{node.name}","type":"{kind}",'
    if kind == "enum":
        return head + '"symbols":[' + ",".join(f'"{s}"' for s in node.symbols) + "]}"
    if kind == "fixed":
        return head + f'"size":{node.size}}}'
    fields = (f'{{"name":"{f.name}","type":{_canonical(f.type, seen)}}}' for f in node.fields)
    return head + '"fields":[' + ",".join(fields) + "]}"
