"""Straight-line Avro writers and readers, generated as Python source per schema and class.

The generated text holds field names that were checked to be identifiers, local names made here,
and nothing else; every other value (symbols, constants, classes) enters through the namespace.
Bytes are those of fastavro's schemaless writer: collections as one block. Readers take any valid
Avro.

What earns its keep: one `bytes.join` per record, small integers from a table, string lengths
and one-byte numbers read through tables, truncation found once at the end (see `END`).
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable
from io import BytesIO
from itertools import count
from typing import Any, NamedTuple, Protocol

import msgspec

from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Field, Node, Schema, check_name
from usance.messages.varints import (
    LENGTHS,
    VARINTS,
    Prefixed,
    Read,
    read_length,
    read_long,
)

Writer = Callable[[Any, bytes], bytes]
"""`write(value, prefix)` returns prefix + Avro bytes."""
Reader = Callable[[bytes, int, Any], Any]
"""`read(data, start, blocks)` returns the value; `blocks` reads private blocks (see `Blocks`)."""

MALFORMED = (IndexError, ValueError, KeyError, OverflowError, struct.error)
"""What a reader may raise on bad bytes; UnicodeDecodeError is a ValueError."""
UNWRITABLE = (AttributeError, TypeError, ValueError, KeyError, OverflowError, struct.error)
"""What a writer may raise on a value that does not fit its schema."""
END = b"\xff"
"""Closing mark behind the bytes that are read: what reads too far swallows it and is found out."""
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
    """What a reader asks about private blocks: may they stand in clear, and what to do if unusual."""

    clear: bool

    def read(self, read: Read, table: dict[bytes, Private]) -> dict[str, Any]:
        """Read a whole `private` array; return the structs by field name."""
        ...


def _block(read: Read, first: bytes, most: int) -> int:
    """Return how many items the array or map block that starts with `first` holds."""
    n = read_long(read, first)
    if n < 0:
        n = -n
        read_length(read, read(1))
    if n > most:
        raise ValueError("a collection claims more items than there are bytes")
    return n


def _fit(size: int) -> bytes:
    raise ValueError(f"a fixed value has not {size} bytes")


def _branch() -> None:
    raise ValueError("a union names no such branch")


def _end() -> None:
    raise ValueError("truncated, or bytes left over after the value")


def _takes_bytes(node: Node) -> bool:
    if node.kind == "record":
        return any(_takes_bytes(f.type) for f in node.fields)
    return node.kind != "null" and not (node.kind == "fixed" and node.size == 0)


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
    "UF": struct.Struct("<f").unpack,
    "UD": struct.Struct("<d").unpack,
    "N0": Prefixed(b"\x00"),
    "N1": Prefixed(b"\x02"),
    "RN": read_long,
    "RL": read_length,
    "LENGTHS": {bytes((n,)): -1 if n & 129 else n >> 1 for n in range(256)},
    "LONGS": {bytes((n,)): None if n > 127 else (n >> 1) ^ -(n & 1) for n in range(256)},
    "FLAGS": {b"\x00": False, b"\x01": True},
    "BYTES": BytesIO,
    "END": END,
    "BLOCK": _block,
    "FIT": _fit,
    "BRANCH": _branch,
    "STOP": _end,
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


class _Source:
    """Lines of a function under construction, and the namespace they need."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 1
        self.names: dict[str, Any] = dict(_BASE)
        self._numbers = count(1)
        self._open: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def fresh(self) -> str:
        return f"v{next(self._numbers)}"

    def constant(self, value: Any) -> str:
        name = f"K{next(self._numbers)}"
        self.names[name] = value
        return name

    def enter(self, node: Node) -> None:
        if node.name in self._open:
            raise Unreadable("schema", "a record holds itself", hint="refer to it by an identifier")
        self._open.append(node.name)

    def leave(self) -> None:
        self._open.pop()

    def function(self, head: str) -> Any:
        text = f"def generated({head}):\n" + "\n".join(self.lines) + "\n"
        # The text holds checked identifiers and our own local names only (module docstring).
        exec(compile(text, "<avro>", "exec"), self.names)  # noqa: S102
        return self.names["generated"]


def _field_hints(node: Node, cls: Any, private: tuple[Private, ...] = ()) -> dict[str, Any]:
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


def _symbol_values(node: Node, hint: Any) -> dict[str, str]:
    """Return the class's value per symbol: a hyphen in a Literal is an underscore in a symbol."""
    if typing.get_origin(hint) is not typing.Literal:
        return {s: s for s in node.symbols}
    values = {v.replace("-", "_"): v for v in typing.get_args(hint)}
    return {s: values[s] for s in node.symbols if s in values}


class _WriterSource(_Source):
    """Each method returns the expressions whose values, joined, are the Avro bytes."""

    def with_fallback(self, head: str) -> Any:
        """Return the function over a list of lengths, which falls back to the unbounded table."""
        slow = self.function(head)
        self.lines = ["    try:", *("    " + line for line in self.lines)]
        self.line(f"except IndexError: return SLOW({head})")
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
            values = _symbol_values(node, hint)
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
        hints = _field_hints(node, cls)
        parts: list[str] = []
        for field in node.fields:
            parts += self.field(field, expr, hints[field.name], cls)
        self.leave()
        return parts

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
            if not block.optional:
                parts += self.block(local, block)
                continue
            out = self.fresh()
            self.line(f"if {local} is None: {out} = E")
            self.line("else:")
            self.depth += 1
            inner = self.block(local, block)
            self.line(f"{out} = {self.joined(inner)}")
            self.depth -= 1
            parts.append(out)
        return [*parts, "Z" if fixed else f"(Z if {total} else E)"]

    def block(self, local: str, block: Private) -> list[str]:
        node = block.schema.root
        hints = _field_hints(node, block.cls)
        parts: list[str] = []
        subject: list[str] = []
        for field in node.fields:
            own = self.field(field, local, hints[field.name], block.cls)
            if field.name == "subject":
                subject = own
            parts += own
        body = self.fresh()
        self.line(f"{body} = J((Z, {', '.join(parts)}))")
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


class _ReaderSource(_Source):
    """Each method writes lines that read on with `r`, and returns the value's expression."""

    def value(self, node: Node, hint: Any) -> str:
        hint = unwrap(hint)[0]
        kind = node.kind
        if kind == "null":
            return "None"
        if kind == "record":
            return self.record(node, hint)
        if kind == "union":
            return self.nullable(node, hint)
        if kind in ("array", "map"):
            return self.collection(node, hint)
        return self.scalar(node, hint)

    def scalar(self, node: Node, hint: Any) -> str:
        out, kind = self.fresh(), node.kind
        if kind in ("string", "bytes"):
            self.line("n = LENGTHS[h := r(1)]")
            self.line("if n < 0: n = RL(r, h)")
            self.line(f"{out} = r(n){'.decode()' if kind == 'string' else ''}")
        elif kind in ("int", "long"):
            self.number(out)
        elif kind == "boolean":
            self.line(f"{out} = FLAGS[r(1)]")
        elif kind == "fixed":
            self.line(f"{out} = r({node.size})")
        elif kind == "enum":
            values = _symbol_values(node, hint)
            table = {i: values[s] for i, s in enumerate(node.symbols) if s in values}
            self.number(out)
            self.line(f"{out} = {self.constant(table)}[{out}]")
        else:
            self.line(f"{out} = U{kind[0].upper()}(r({4 if kind == 'float' else 8}))[0]")
        return out

    def number(self, out: str) -> None:
        self.line("n = r(1)")
        self.line(f"{out} = LONGS[n]")
        self.line(f"if {out} is None: {out} = RN(r, n)")

    def nullable(self, node: Node, hint: Any) -> str:
        inner, index = nullable_branch(node)
        out = self.fresh()
        self.line("n = r(1)")
        self.line(f"if n == {'Z' if index else 'B0'}: {out} = None")
        self.line("else:")
        self.depth += 1
        self.line(f"if n != {'B0' if index else 'Z'}: BRANCH()")
        self.line(f"{out} = {self.value(inner, hint)}")
        self.depth -= 1
        return out

    def record(self, node: Node, cls: Any, private: tuple[Private, ...] = ()) -> str:
        self.enter(node)
        hints = _field_hints(node, cls, private)
        values: list[tuple[str, str]] = []
        for field in node.fields:
            if private and field.name == "private":
                values += self.private(private)
            else:
                values.append((check_name(field.name), self.value(field.type, hints[field.name])))
        self.leave()
        if cls is None:
            return "{" + ", ".join(f'"{n}": {v}' for n, v in values) + "}"
        return f"{self.constant(cls)}({', '.join(f'{n}={v}' for n, v in values)})"

    def private(self, private: tuple[Private, ...]) -> list[tuple[str, str]]:
        table = {p.field.encode(): p for p in private}
        opened, ok, at = self.fresh(), self.fresh(), self.fresh()
        names = [self.fresh() for _ in private]
        self.line("tell = r.__self__.tell")
        self.line(f"{at} = tell(); {ok} = False")
        self.line("while blocks.clear:")
        self.depth += 1
        for n, (local, block) in enumerate(zip(names, private, strict=True)):
            self._expected(local, block, VARINTS[len(private)] if n == 0 else b"")
        self.line(f"{ok} = r(1) == Z; break")
        self.depth -= 1
        self.line(f"if not {ok}:")
        self.depth += 1
        self.line(f"r.__self__.seek({at})")
        self.line(f"{opened} = blocks.read(r, {self.constant(table)})")
        for local, block in zip(names, private, strict=True):
            name = check_name(block.field)
            got = f'.get("{name}")' if block.optional else f'["{name}"]'
            self.line(f"{local} = {opened}{got}")
        self.depth -= 1
        return [(check_name(p.field), n) for p, n in zip(private, names, strict=True)]

    def _expected(self, local: str, block: Private, total: bytes) -> None:
        """Read a clear block of the newest schema in its usual place, or leave the loop.

        `total` is the count that stands before the first block. Whatever is not as usual (another
        number or order of blocks, an older schema, a sealed block) is left to `blocks.read`.
        """
        name = block.field.encode()
        head = total + VARINTS[len(name)] + name
        self.line(f"if r({len(head)}) != {self.constant(head)}: break")
        subject = self.scalar(Node("bytes"), None)
        self.line(f"if r(8) != {self.constant(block.schema.fingerprint)}: break")
        self.line("n = LENGTHS[h := r(1)]")
        self.line("if n < 0: n = RL(r, h)")
        end = self.fresh()
        self.line(f"{end} = tell() + n")
        self.line("if r(1) != Z: break")
        self.line(f"{local} = {self.record(block.schema.root, block.cls)}")
        self.line(f"if tell() != {end} or {local}.subject.encode() != {subject}: break")

    def collection(self, node: Node, hint: Any) -> str:
        out, counter = self.fresh(), self.fresh()
        args = typing.get_args(hint)
        empty = node.kind == "array" and not _takes_bytes(node.items)
        self.line(f"{out} = {'[]' if node.kind == 'array' else '{}'}")
        most = ITEMS_WITHOUT_BYTES_MAX if empty else "len(b)"
        self.line("while (h := r(1)) != Z:")
        self.depth += 1
        self.line(f"{counter} = BLOCK(r, h, {most})")
        self.line(f"for _ in range({counter}):")
        self.depth += 1
        if node.kind == "array":
            self.line(f"{out}.append({self.value(node.items, args[0] if args else None)})")
        else:
            key = self.scalar(Node("string"), None)
            item = self.value(node.items, args[1] if args else None)
            self.line(f"{out}[{key}] = {item}")
        self.depth -= 2
        return out


def make_writer(node: Node, cls: Any = None, private: tuple[Private, ...] = ()) -> Writer:
    """Return the writer of a schema from instances of `cls` (None: plain dicts)."""
    source = _WriterSource()
    if private:
        hints = _field_hints(node, cls, private)
        parts: list[str] = []
        for field in node.fields:
            own = field.name == "private"
            hint = hints[field.name]
            parts += source.private(private) if own else source.field(field, "m", hint, cls)
    else:
        parts = source.value(node, "m", cls)
    source.line(f"return J((prefix, {', '.join(parts)}))" if parts else "return prefix")
    return typing.cast(Writer, source.with_fallback("m, prefix"))


def make_reader(node: Node, cls: Any = None, private: tuple[Private, ...] = ()) -> Reader:
    """Return the reader of a schema into instances of `cls` (None: plain dicts).

    It raises one of MALFORMED on bad bytes, and ValueError when bytes are left over.
    """
    source = _ReaderSource()
    source.line("r = BYTES(b + END).read")
    source.line("r(start)")
    record = node.kind == "record"
    result = source.record(node, cls, private) if record else source.value(node, cls)
    source.line(f"m = {result}")
    source.line("if r() != END: STOP()")
    source.line("return m")
    return typing.cast(Reader, source.function("b, start, blocks"))
