"""Straight-line Avro writers, generated as Python source per schema and class; readers in `avro_reader`.

The generated text holds field names that were checked to be identifiers, local names made here,
and nothing else; every other value (symbols, constants, classes) enters through the namespace.
Bytes are those of fastavro's schemaless writer: collections as one block. Readers take any valid
Avro.

What earns its keep: one `bytes.join` per record, small integers and lengths from tables, fields that
stand at their defaults known as a whole, and values that go unchanged from one message into another
copied as the bytes they came in (see `Splices`).
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from sys import intern
from typing import Any, NamedTuple, Protocol

import msgspec

from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Field, Node, Schema, canonical_form, check_name
from usance.messages.varints import (
    LENGTHS,
    VARINTS,
    Prefixed,
    Read,
)

Writer = Callable[..., bytes]
"""`write(value, prefix)` returns prefix + Avro bytes; a third argument are the `Splices` at hand.

A fourth one seals private blocks: `seal(number of the block in its class, subject, Avro)` returns what
stands in the block's place; without it they stand in clear, as 0x00 and Avro.
"""
Splices = dict[int, tuple[Any, str, bytes]]
"""Public records as they were read: by `id`, the object, its schema's tag, and its Avro bytes.

A writer that meets the very object under the very schema copies the bytes. The object is kept here,
so its `id` stays its own; whoever holds the dictionary clears it after each batch.
"""
Reader = Callable[[bytes, int, Any], Any]
"""`read(data, start, blocks)` returns the value; `blocks` reads private blocks (see `Blocks`)."""

MALFORMED = (IndexError, ValueError, KeyError, OverflowError, struct.error)
"""What a reader may raise on bad bytes; UnicodeDecodeError is a ValueError."""
UNWRITABLE = (AttributeError, TypeError, ValueError, KeyError, OverflowError, struct.error)
"""What a writer may raise on a value that does not fit its schema."""
RUN_MIN = 3
"""Fields in a row with defaults that are worth looking at as a whole."""
ITEMS_WITHOUT_BYTES_MAX = 4_096
"""Bound on collections whose items take no bytes, so that a count cannot claim all memory."""
UNKNOWN = "unknown"
"""Enum default that stands for "a symbol newer than this reader"; it never reaches a class."""


class Private(NamedTuple):
    """A private block of a message: the field that holds it, its struct and its schema."""

    field: str
    cls: type
    schema: Schema
    optional: bool


class Blocks(Protocol):
    """What a reader asks of its caller: may private blocks stand in clear, what if they are unusual."""

    clear: bool
    splices: Splices | None

    def read(self, read: Read, table: dict[bytes, Private]) -> dict[str, Any]:
        """Read a whole `private` array; return the structs by field name."""
        ...


def _fit(size: int) -> bytes:
    raise ValueError(f"a fixed value has not {size} bytes")


_BASE: dict[str, Any] = {
    "J": b"".join,
    "V": VARINTS,
    "X": VARINTS,
    "Z": b"\x00",
    "O": b"\x01",
    "E": b"",
    "B0": b"\x02",
    "PF": struct.Struct("<f").pack,
    "PD": struct.Struct("<d").pack,
    "N0": Prefixed(b"\x00"),
    "N1": Prefixed(b"\x02"),
    "FIT": _fit,
    "EMPTY": {},
}


def unwrap(hint: Any) -> tuple[Any, bool]:
    """Return a type hint without `| None` and `Annotated`, and whether None was allowed."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = hint.__origin__
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        if len(rest) == 1:
            return unwrap(rest[0])[0], True
    return hint, False


def hints_of(cls: Any) -> dict[str, Any]:
    """Return the type hints of a struct or named tuple, in field order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    names = cls.__struct_fields__ if issubclass(cls, msgspec.Struct) else cls._fields
    return {name: hints[name] for name in names}


class Source:
    """Lines of a function under construction, and the namespace they need."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self.depth = 1
        self.names: dict[str, Any] = dict(names)
        self._numbers = count(1)
        self._open: list[str] = []

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self.lines.append("    " * self.depth + text)

    def fresh(self) -> str:
        """Return a local name of its own."""
        return f"v{next(self._numbers)}"

    def constant(self, value: Any) -> str:
        """Return the name under which generated code finds a value."""
        name = f"K{next(self._numbers)}"
        self.names[name] = value
        return name

    def enter(self, node: Node) -> None:
        """Begin a record; raises Unreadable when it stands inside itself."""
        if node.name in self._open:
            raise Unreadable("schema", "a record holds itself", hint="refer to it by an identifier")
        self._open.append(node.name)

    def leave(self) -> None:
        """End a record."""
        self._open.pop()

    def function(self, head: str) -> Any:
        """Return the function of the lines so far."""
        text = f"def generated({head}):\n" + "\n".join(self.lines) + "\n"
        # The text holds checked identifiers and our own local names only (module docstring).
        exec(compile(text, "<avro>", "exec"), self.names)  # noqa: S102
        return self.names["generated"]


def field_hints(node: Node, cls: Any, private: tuple[Private, ...] = ()) -> dict[str, Any]:
    """Return hints by field name, having checked that class and schema name the same fields."""
    if cls is None:
        return {f.name: None for f in node.fields}
    hints = hints_of(cls)
    blocks = {p.field for p in private}
    want = set(hints) - blocks | ({"private"} if blocks else set())
    have = {f.name for f in node.fields}
    if want != have:
        names = ", ".join(sorted(want ^ have))
        raise Unreadable(
            "schema",
            f"{node.name} and its class differ in: {names}",
            hint="write a new version of the schema file, or correct the class",
        )
    return hints | {"private": None}


def symbol_values(node: Node, hint: Any) -> dict[str, str]:
    """Return the class's value per symbol: a hyphen in a Literal is an underscore in a symbol."""
    if typing.get_origin(hint) is not typing.Literal:
        return {s: s for s in node.symbols}
    values = {v.replace("-", "_"): v for v in typing.get_args(hint)}
    return {s: values[s] for s in node.symbols if s in values}


class _WriterSource(Source):
    """Each method returns the expressions whose values, joined, are the Avro bytes."""

    def with_fallback(self, head: str) -> Any:
        """Return the function over a list of lengths, which falls back to the unbounded table."""
        slow = self.function(head)
        self.lines = ["    try:", *("    " + line for line in self.lines)]
        self.line("except IndexError: return SLOW(m, prefix, splices, seal)")
        self.names = self.names | {"X": LENGTHS, "SLOW": slow}
        return self.function(head)

    def value(self, node: Node, expr: str, hint: Any) -> list[str]:
        hint = unwrap(hint)[0]
        kind = node.kind
        if kind in ("int", "long"):
            return [f"V[{expr}]"]
        if kind == "null":
            return []
        if kind == "boolean":
            return [f"(O if {expr} else Z)"]
        if kind in ("float", "double"):
            return [f"P{kind[0].upper()}({expr})"]
        if kind == "enum":
            values = symbol_values(node, hint)
            table = {values[s]: VARINTS[i] for i, s in enumerate(node.symbols) if s in values}
            return [f"{self.constant(table)}[{expr}]"]
        if kind == "record":
            return self.record(node, expr, hint)
        if kind == "union":
            return self.nullable(node, expr, hint)
        if kind == "array":
            return self.array(node, expr, hint)
        if kind == "map":
            return self.map(node, expr, hint)
        name = self.fresh()
        self.line(f"{name} = {expr}.encode()" if kind == "string" else f"{name} = {expr}")
        if kind == "fixed":
            self.line(f"if len({name}) != {node.size}: FIT({node.size})")
            return [name]
        return [f"X[len({name})]", name]

    def record(self, node: Node, expr: str, cls: Any) -> list[str]:
        self.enter(node)
        hints = field_hints(node, cls)
        parts = self.fields(node.fields, expr, hints, cls)
        self.leave()
        return parts

    def fields(
        self, fields: Sequence[Field], expr: str, hints: dict[str, Any], cls: Any
    ) -> list[str]:
        """Write fields one by one, but those in a row that all stand at their defaults as one."""
        parts: list[str] = []
        for run, known in runs(fields, hints, cls):
            inner: list[str] = []
            if known is None:
                for field in run:
                    parts += self.field(field, expr, hints[field.name], cls)
                continue
            out = self.fresh()
            values = ", ".join(f"{expr}.{check_name(f.name)}" for f in run)
            usual = self.constant(tuple(d.value for d in known))
            self.line(f"if ({values}) == {usual}: {out} = {self.constant(joined_bytes(known))}")
            self.line("else:")
            self.depth += 1
            for field in run:
                inner += self.field(field, expr, hints[field.name], cls)
            self.line(f"{out} = {self.joined(inner)}")
            self.depth -= 1
            parts.append(out)
        return parts

    def spliced(self, field: Field, expr: str, hint: Any) -> list[str]:
        """Write a field of records, or copy the bytes it came in."""
        local, out, found = self.fresh(), self.fresh(), self.fresh()
        self.line(f"{local} = {expr}.{check_name(field.name)}")
        self.line(f"{found} = splices.get(id({local}))")
        mine = f"{found}[0] is {local} and {found}[1] is {self.constant(tag(field.type))}"
        self.line(f"if {found} is not None and {mine}: {out} = {found}[2]")
        self.line("else:")
        self.depth += 1
        parts = self.value(field.type, local, hint)
        self.line(f"{out} = {self.joined(parts)}")
        self.depth -= 1
        return [out]

    def field(self, field: Field, expr: str, hint: Any, cls: Any) -> list[str]:
        name = check_name(field.name)
        access = f'{expr}["{name}"]' if cls is None else f"{expr}.{name}"
        if field.type.kind in ("record", "union", "array", "map"):
            local = self.fresh()
            self.line(f"{local} = {access}")
            access = local
        return self.value(field.type, access, hint)

    def nullable(self, node: Node, expr: str, hint: Any) -> list[str]:
        inner, index = nullable_branch(node)
        null = "Z" if index else "B0"
        mark = "B0" if index else "Z"
        if inner.kind in ("string", "bytes"):
            head, body = self.fresh(), self.fresh()
            self.line(f"if {expr} is None: {head} = {null}; {body} = E")
            encode = ".encode()" if inner.kind == "string" else ""
            self.line(f"else: {body} = {expr}{encode}; {head} = N{index}[len({body})]")
            return [head, body]
        out = self.fresh()
        self.line(f"if {expr} is None: {out} = {null}")
        self.line("else:")
        self.depth += 1
        parts = self.value(inner, expr, hint)
        one = inner.kind in ("int", "long")
        whole = f"N{index}[{expr}]" if one else self.joined([mark, *parts])
        self.line(f"{out} = {whole}")
        self.depth -= 1
        return [out]

    def joined(self, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else f"J(({', '.join(parts)}))"

    def array(self, node: Node, expr: str, hint: Any) -> list[str]:
        args = typing.get_args(hint)
        item = self.fresh()
        hint = args[0] if args else None
        loop = f"for {item} in {expr}:"
        return self.collection(expr, loop, lambda: self.value(node.items, item, hint))

    def map(self, node: Node, expr: str, hint: Any) -> list[str]:
        args = typing.get_args(hint)
        key, item = self.fresh(), self.fresh()

        def parts() -> list[str]:
            self.line(f"{key} = {key}.encode()")
            return [f"X[len({key})]", key, *self.value(node.items, item, args[1] if args else None)]

        return self.collection(expr, f"for {key}, {item} in {expr}.items():", parts)

    def collection(self, expr: str, loop: str, parts: Callable[[], list[str]]) -> list[str]:
        out = self.fresh()
        self.line(f"if {expr}:")
        self.depth += 1
        self.line(f"{out} = [V[len({expr})]]")
        self.line(loop)
        self.depth += 1
        inner = parts()
        self.line(f"{out} += ({', '.join(inner)},)" if inner else "pass")
        self.depth -= 1
        self.line(f"{out}.append(Z)")
        self.line(f"{out} = J({out})")
        self.depth -= 1
        self.line(f"else: {out} = Z")
        return [out]

    def private(self, blocks: tuple[Private, ...]) -> list[str]:
        """Write the `private` array: per block {name, subject, schema, 0x00 | Avro}."""
        names = [self.fresh() for _ in blocks]
        for local, block in zip(names, blocks, strict=True):
            self.line(f"{local} = m.{check_name(block.field)}")
        fixed = sum(not b.optional for b in blocks)
        dynamic = [f"({n} is not None)" for n, b in zip(names, blocks, strict=True) if b.optional]
        total = self.fresh()
        self.line(f"{total} = {' + '.join([str(fixed), *dynamic])}")
        parts = [f"V[{total}]"]
        for local, block in zip(names, blocks, strict=True):
            number = blocks.index(block)
            if not block.optional:
                parts += self.block(local, block, number)
                continue
            out = self.fresh()
            self.line(f"if {local} is None: {out} = E")
            self.line("else:")
            self.depth += 1
            inner = self.block(local, block, number)
            self.line(f"{out} = {self.joined(inner)}")
            self.depth -= 1
            parts.append(out)
        return [*parts, "Z" if fixed else f"(Z if {total} else E)"]

    def block(self, local: str, block: Private, number: int) -> list[str]:
        node = block.schema.root
        hints = field_hints(node, block.cls)
        parts: list[str] = []
        subject: list[str] = []
        for field in node.fields:
            own = self.field(field, local, hints[field.name], block.cls)
            if field.name == "subject":
                subject = own
            parts += own
        body = self.fresh()
        text = f"J(({', '.join(parts)},))"
        self.line(f"if seal is None: {body} = Z + {text}")
        self.line(f"else: {body} = seal({number}, {local}.subject, {text})")
        name = block.field.encode()
        head = self.constant(VARINTS[len(name)] + name)
        return [head, *subject, self.constant(block.schema.fingerprint), f"X[len({body})]", body]


def nullable_branch(node: Node) -> tuple[Node, int]:
    """Return the branch beside null and its index; only such unions are generated."""
    kinds = [b.kind for b in node.branches]
    if len(kinds) != 2 or "null" not in kinds:
        raise Unreadable("schema", "a union is not null and one type", hint="use ['null', X]")
    index = 1 - kinds.index("null")
    return node.branches[index], index


class Default(NamedTuple):
    """What a field has when nothing was said: the value, and its Avro bytes."""

    value: Any
    data: bytes


def joined_bytes(known: Sequence[Default]) -> bytes:
    """Return the bytes of defaults in a row."""
    return b"".join(d.data for d in known)


def defaults_of(fields: Sequence[Field], hints: dict[str, Any], cls: Any) -> list[Default | None]:
    """Return per field the class's default with its bytes; None where it has none to look for."""
    if cls is None or not issubclass(cls, msgspec.Struct):
        return [None] * len(fields)
    known = {f.name: f for f in msgspec.structs.fields(cls)}
    return [_default(f, known[f.name], hints[f.name]) if f.name in known else None for f in fields]


def _default(field: Field, info: Any, hint: Any) -> Default | None:
    value = info.default
    if value is msgspec.NODEFAULT and info.default_factory in (list, dict):
        value = info.default_factory()
    if value is msgspec.NODEFAULT or not (
        value is None or value == [] or value == {} or type(value) in (str, int, bool)
    ):
        return None
    return Default(value, make_writer(field.type, hint)(value, b""))


def runs(
    fields: Sequence[Field], hints: dict[str, Any], cls: Any, top: bool = False
) -> Iterator[tuple[list[Field], list[Default] | None]]:
    """Cut fields into runs of RUN_MIN or more with their defaults; others stand alone, with None.

    At the `top` of a message, fields of records stand alone: their bytes are worth keeping.
    """
    run: list[tuple[Field, Default]] = []
    for field, known in zip(fields, defaults_of(fields, hints, cls), strict=True):
        if known is not None and not (top and spliceable(field.type)):
            run.append((field, known))
            continue
        yield from _run(run)
        run = []
        yield [field], None
    yield from _run(run)


def _run(
    run: list[tuple[Field, Default]],
) -> Iterator[tuple[list[Field], list[Default] | None]]:
    if len(run) >= RUN_MIN:
        yield [f for f, _ in run], [d for _, d in run]
    else:
        yield from (([f], None) for f, _ in run)


def spliceable(node: Node) -> bool:
    """Tell whether a field's bytes are worth keeping: a record, or an array of records."""
    return node.kind == "record" or (node.kind == "array" and node.items.kind == "record")


def tag(node: Node) -> str:
    """Return what two schemas must share for bytes of one to be bytes of the other."""
    return intern(canonical_form(node))


def make_writer(node: Node, cls: Any = None, private: tuple[Private, ...] = ()) -> Writer:
    """Return the writer of a schema from instances of `cls` (None: plain dicts)."""
    source = _WriterSource(_BASE)
    if node.kind == "record" and cls is not None:
        hints = field_hints(node, cls, private)
        parts: list[str] = []
        for run, known in runs(node.fields, hints, cls, top=True):
            field = run[0]
            if private and field.name == "private":
                parts += source.private(private)
            elif known is None and spliceable(field.type):
                parts += source.spliced(field, "m", hints[field.name])
            else:
                parts += source.fields(run, "m", hints, cls)
    else:
        parts = source.value(node, "m", cls)
    source.line(f"return J((prefix, {', '.join(parts)}))" if parts else "return prefix")
    return typing.cast(Writer, source.with_fallback("m, prefix, splices=EMPTY, seal=None"))
