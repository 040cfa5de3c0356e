"""Avro schemas as small trees: parsing, canonical form, fingerprint, identity (Avro 1.12).

Any schema that Avro 1.12 allows is parsed; whoever makes code of one asks `check_name` besides,
because names are written into source text.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from usance.kernel.errors import Unreadable

PRIMITIVES = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
)
NAMED = frozenset(("record", "enum", "fixed"))
MISSING: Any = object()
"""Mark of a field without default (None is the default `null`)."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TYPE_KEYS = frozenset(
    (
        "type",
        "name",
        "namespace",
        "aliases",
        "fields",
        "symbols",
        "items",
        "values",
        "size",
        "default",
    )
)
_FIELD_KEYS = frozenset(("name", "type", "default", "aliases", "doc", "order"))
_NO_ATTRIBUTES: dict[str, Any] = {}


class Field(NamedTuple):
    """A field of a record. `attributes` holds what Avro does not define (sensitivity, ...)."""

    name: str
    type: Node
    default: Any = MISSING
    aliases: tuple[str, ...] = ()
    attributes: dict[str, Any] = _NO_ATTRIBUTES
    doc: str = ""


class Node:
    """A type of a schema. Which attributes count depends on `kind`: an Avro type or "union".

    `attributes` holds what decides no bytes: logical type, doc, and what Avro does not define.
    """

    __slots__ = (
        "_named",
        "aliases",
        "attributes",
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
        self.attributes: dict[str, Any] = _NO_ATTRIBUTES
        self._named: dict[str, Field] | None = None

    @property
    def local(self) -> str:
        """The unqualified name, by which resolution matches; an unnamed type gives its kind."""
        return self.name.rpartition(".")[2] or self.kind

    def field(self, name: str) -> Field | None:
        """Return the field of that name; asked once the fields are set."""
        if self._named is None:
            self._named = {f.name: f for f in self.fields}
        return self._named.get(name)


class Schema:
    """A parsed schema with its text. Two schemas are the same when their identities are.

    Raises Unreadable. `lenient` lets an enum's default pass that is none of its symbols: a checker
    has to judge such schemas, nothing else may use them.
    """

    def __init__(self, text: str, *, lenient: bool = False) -> None:
        self.text = text
        try:
            self.json: Any = json.loads(text)
            self.root = _Parser(lenient).parse(self.json, "")
        except ValueError as error:
            raise _bad("not JSON", "write the schema as one JSON object") from error
        except RecursionError as error:
            raise _bad("types nested too deeply", "name inner types and refer to them") from error

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

    @property
    def guid(self) -> UUID:
        """The identity as a UUID (RFC 9562, version 8): what stands in a GUID header."""
        return UUID(bytes=_version_8(bytes.fromhex(self.identity)[:16]))

    @cached_property
    def meaning(self) -> str:
        """Like the identity, but blind to how names are written: in full, or by the namespace around them."""
        packed = json.dumps(_resolved(self.json, "", set()), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(packed.encode()).hexdigest()


@lru_cache(maxsize=4_096)
def parsed(text: str) -> Schema:
    """Return the schema of a text, parsed once per process: the registry asks for the same ones often."""
    return Schema(text)


def _version_8(raw: bytes) -> bytes:
    return raw[:6] + bytes((raw[6] & 0x0F | 0x80, raw[7], raw[8] & 0x3F | 0x80)) + raw[9:]


def _bad(reason: str, hint: str) -> Unreadable:
    return Unreadable("schema", reason, hint=hint)


def check_name(name: Any) -> str:
    """Return a name that is safe to write into source text; raises Unreadable otherwise."""
    if not isinstance(name, str) or not _NAME.match(name) or keyword.iskeyword(name):
        raise _bad("a name is no plain identifier", "use letters, digits and _, no Python keyword")
    return name


def _plain(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise _bad(f"{_shown(name)} is no name", "use letters, digits and _, no digit first")
    return name


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Parser:
    def __init__(self, lenient: bool) -> None:
        self.known: dict[str, Node] = {}
        self.lenient = lenient

    def parse(self, spec: Any, space: str) -> Node:
        if isinstance(spec, str):
            return self._reference(spec, space)
        if isinstance(spec, list):
            return self._union(spec, space)
        if not isinstance(spec, dict) or "type" not in spec:
            raise _bad(
                f"{_shown(spec)} is no type", "a type is a name, a list, or an object with a type"
            )
        kind = spec["type"]
        if isinstance(kind, dict | list):
            return self.parse(kind, space)
        if kind == "error":
            kind = "record"
        if kind in NAMED:
            return self._named(kind, spec, space)
        if kind in ("array", "map"):
            node = Node(kind)
            node.items = self.parse(_part(spec, "items" if kind == "array" else "values"), space)
        else:
            node = self._reference(kind, space)
            if node.kind not in PRIMITIVES:
                return node
        node.attributes = _others(spec, _TYPE_KEYS)
        return node

    def _reference(self, name: Any, space: str) -> Node:
        if isinstance(name, str):
            if name in PRIMITIVES:
                return Node(name)
            found = self.known.get(f"{space}.{name}") if space and "." not in name else None
            found = found or self.known.get(name)
            if found is not None:
                return found
        raise _bad(f"{_shown(name)} is not defined before its use", "define it at its first use")

    def _union(self, spec: list[Any], space: str) -> Node:
        node = Node("union")
        node.branches = tuple(self.parse(s, space) for s in spec)
        keys = [b.name or b.kind for b in node.branches]
        if len(set(keys)) != len(keys) or "union" in keys:
            raise _bad("a union repeats a type or holds a union", "name each branch once")
        return node

    def _named(self, kind: str, spec: dict[str, Any], space: str) -> Node:
        name = _part(spec, "name")
        own, _, local = name.rpartition(".") if isinstance(name, str) else ("", "", name)
        space = own or spec.get("namespace", space)
        if not isinstance(space, str):
            raise _bad("a namespace is no text", 'write it as "bank.trade"')
        for part in (*filter(None, space.split(".")), local):
            _plain(part)
        if local in PRIMITIVES:
            raise _bad(f"{local} is the name of a primitive type", "choose another name")
        node = Node(kind, f"{space}.{local}" if space else local)
        node.aliases = _texts(spec, "aliases")
        node.attributes = _others(spec, _TYPE_KEYS)
        if node.name in self.known:
            raise _bad(f"{node.name} is defined twice", "refer to the first definition by name")
        self.known[node.name] = node
        if kind == "record":
            fields = _part(spec, "fields")
            if not isinstance(fields, list):
                raise _bad("the fields of a record are no list", "write fields as a list")
            node.fields = tuple(self._field(f, space) for f in fields)
            _unique((f.name for f in node.fields), f"{node.name} has two fields")
        elif kind == "enum":
            node.symbols = tuple(_plain(s) for s in _texts(spec, "symbols", needed=True))
            _unique(node.symbols, f"{node.name} has two symbols")
            node.default = spec.get("default")
            if node.default is not None and node.default not in node.symbols and not self.lenient:
                raise _bad("an enum's default is not one of its symbols", "add the symbol")
        else:
            size = _part(spec, "size")
            if type(size) is not int or size < 0:
                raise _bad("the size of a fixed is no count of bytes", "write it as a number")
            node.size = size
        return node

    def _field(self, spec: Any, space: str) -> Field:
        if not isinstance(spec, dict):
            raise _bad(f"{_shown(spec)} is no field", "a field is an object with name and type")
        doc = spec.get("doc")
        return Field(
            _plain(_part(spec, "name")),
            self.parse(_part(spec, "type"), space),
            spec.get("default", MISSING),
            _texts(spec, "aliases"),
            _others(spec, _FIELD_KEYS),
            doc if isinstance(doc, str) else "",
        )


def _part(spec: dict[str, Any], key: str) -> Any:
    if key not in spec:
        raise _bad(f"{_shown(spec)} has no {key}", f"add {key}")
    return spec[key]


def _texts(spec: dict[str, Any], key: str, *, needed: bool = False) -> tuple[str, ...]:
    found = _part(spec, key) if needed else spec.get(key) or ()
    if not isinstance(found, list | tuple) or not all(isinstance(t, str) for t in found):
        raise _bad(f"{key} are no list of names", f'write {key} as a list such as ["A", "B"]')
    return tuple(found)


def _others(spec: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in spec.items() if k not in known} or _NO_ATTRIBUTES


def _unique(names: Iterable[str], problem: str) -> None:
    met: set[str] = set()
    for name in names:
        if name in met:
            raise _bad(f"{problem} named {name}", "rename one")
        met.add(name)


def _resolved(spec: Any, space: str, known: set[str]) -> Any:
    """Return a schema's JSON with every name in full and no namespaces."""
    if isinstance(spec, str):
        near = f"{space}.{spec}" if space and "." not in spec else spec
        return near if near in known else spec
    if isinstance(spec, list):
        return [_resolved(branch, space, known) for branch in spec]
    found = dict(spec)
    if spec.get("type") in (*NAMED, "error"):
        own, _, local = spec["name"].rpartition(".")
        space = own or spec.get("namespace", space)
        found.pop("namespace", None)
        found["name"] = f"{space}.{local}" if space else local
        known.add(found["name"])
        if "aliases" in spec:
            found["aliases"] = [_in_full(a, space) for a in spec["aliases"]]
        if "fields" in spec:
            found["fields"] = [
                f | {"type": _resolved(f["type"], space, known)} for f in spec["fields"]
            ]
        return found
    for key in ("type", "items", "values"):
        if key in spec:
            found[key] = _resolved(spec[key], space, known)
    return found


def _in_full(name: str, space: str) -> str:
    return f"{space}.{name}" if space and "." not in name else name


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
