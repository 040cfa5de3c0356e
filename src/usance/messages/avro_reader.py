"""Straight-line Avro readers, generated as Python source per schema and class; see `avro_codegen`.

They walk the bytes by an index. Slices beyond the end are short and numbers there raise, so one
comparison of the index with the length, at the end, finds every truncation. Fields in a row that
stand at their defaults are recognised by one comparison: most records leave most fields alone.
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import msgspec

from usance.messages.avro_codegen import (
    Default,
    Private,
    Reader,
    Source,
    field_hints,
    joined_bytes,
    nullable_branch,
    runs,
    spliceable,
    symbol_values,
    tag,
    unwrap,
)
from usance.messages.avro_schema import Field, Node, check_name
from usance.messages.varints import VARINTS, long_at, span_at

ITEMS_WITHOUT_BYTES_MAX = 4_096
"""Bound on collections whose items take no bytes, so that a count cannot claim all memory."""
CHUNK_FIELDS = 7
"""Fields in a row that are compared with their defaults at once: more would rarely all be usual."""
_BEYOND = 1 << 62
"""Where a negative length leads: behind any end."""


def _block(data: bytes, at: int, most: int) -> tuple[int, int]:
    """Return how many items the array or map block at an index holds, and where they begin."""
    n, at = long_at(data, at)
    if n < 0:
        n = -n
        at = span_at(data, at)[0]
    if n > most:
        raise ValueError("a collection claims more items than there are bytes")
    return n, at


def _branch() -> None:
    raise ValueError("a union names no such branch")


def _end() -> None:
    raise ValueError("truncated, or bytes left over after the value")


def takes_bytes(node: Node) -> bool:
    """Tell whether a value of a type takes any bytes."""
    if node.kind == "record":
        return any(takes_bytes(f.type) for f in node.fields)
    return node.kind != "null" and not (node.kind == "fixed" and node.size == 0)


_Chunk = tuple[Sequence[Field], Sequence[Default] | None]


def _chunks(fields: Sequence[Field], known: Sequence[Default] | None) -> list[_Chunk]:
    """Cut a run with defaults into chunks of about equal size."""
    if known is None:
        return [(fields, None)]
    count = -(-len(fields) // CHUNK_FIELDS)
    cuts = [len(fields) * n // count for n in range(count + 1)]
    return [(fields[a:b], known[a:b]) for a, b in pairwise(cuts)]


_BASE: dict[str, Any] = {
    "E": b"",
    "T": "",
    "UF": struct.Struct("<f").unpack,
    "UD": struct.Struct("<d").unpack,
    "LONG": long_at,
    "SPAN": span_at,
    "AFTER": [_BEYOND if n & 1 else (n >> 1) + 1 for n in range(128)],
    "LONGS": [(n >> 1) ^ -(n & 1) for n in range(128)],
    "FLAGS": [False, True],
    "BYTES": BytesIO,
    "BLOCK": _block,
    "BRANCH": _branch,
    "STOP": _end,
}


class _ReaderSource(Source):
    """Each method writes lines that read on from index `i`, and returns the value's expression."""

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
            text = ".decode()" if kind == "string" else ""
            self.line("n = b[i]")
            self.line(f"if not n: i += 1; {out} = {'T' if text else 'E'}")
            self.line(f"elif n < 128: j = i + AFTER[n]; {out} = b[i + 1:j]{text}; i = j")
            self.line(f"else: j, i = SPAN(b, i); {out} = b[j:i]{text}")
        elif kind in ("int", "long"):
            self.number(out)
        elif kind == "boolean":
            self.line(f"{out} = FLAGS[b[i]]; i += 1")
        elif kind == "fixed":
            self.line(f"j = i + {node.size}; {out} = b[i:j]; i = j")
        elif kind == "enum":
            values = symbol_values(node, hint)
            table = {i: values[s] for i, s in enumerate(node.symbols) if s in values}
            self.number(out)
            self.line(f"{out} = {self.constant(table)}[{out}]")
        else:
            size = 4 if kind == "float" else 8
            self.line(f"{out} = U{kind[0].upper()}(b[i:i + {size}])[0]; i += {size}")
        return out

    def number(self, out: str) -> None:
        self.line("n = b[i]")
        self.line(f"if n < 128: {out} = LONGS[n]; i += 1")
        self.line(f"else: {out}, i = LONG(b, i)")

    def nullable(self, node: Node, hint: Any) -> str:
        inner, index = nullable_branch(node)
        out = self.fresh()
        self.line("n = b[i]; i += 1")
        self.line(f"if n == {0 if index else 2}: {out} = None")
        self.line("else:")
        self.depth += 1
        self.line(f"if n != {2 if index else 0}: BRANCH()")
        self.line(f"{out} = {self.value(inner, hint)}")
        self.depth -= 1
        return out

    def record(
        self, node: Node, cls: Any, private: tuple[Private, ...] = (), top: bool = False
    ) -> str:
        self.enter(node)
        hints = field_hints(node, cls, private)
        values: list[tuple[str, str]] = []
        parts = [c for run in runs(node.fields, hints, cls, top) for c in _chunks(*run)]
        last = parts.pop() if parts and parts[-1][1] is not None else None
        for fields, known in parts:
            field = fields[0]
            if private and field.name == "private":
                values += self.private(private)
            elif known is not None:
                values += self.chunk(fields, known, hints)
            elif top and spliceable(field.type):
                values.append((check_name(field.name), self.kept(field, hints[field.name])))
            else:
                values += self.each(fields, hints)
        self.leave()
        if cls is None:
            return "{" + ", ".join(f'"{n}": {v}' for n, v in values) + "}"
        return self.made(cls, values, last, hints)

    def each(self, fields: Sequence[Field], hints: dict[str, Any]) -> list[tuple[str, str]]:
        return [(check_name(f.name), self.value(f.type, hints[f.name])) for f in fields]

    def made(
        self, cls: Any, values: list[tuple[str, str]], last: _Chunk | None, hints: dict[str, Any]
    ) -> str:
        """Construct; fields at the end that stand at their defaults are left to the class itself."""
        name = self.constant(cls)
        if last is None or last[1] is None:
            return f"{name}({', '.join(f'{n}={v}' for n, v in values)})"
        out, data = self.fresh(), joined_bytes(last[1])
        self.line(f"j = i + {len(data)}")
        given = ", ".join(f"{n}={v}" for n, v in values)
        self.line(f"if b[i:j] == {self.constant(data)}: i = j; {out} = {name}({given})")
        self.line("else:")
        self.depth += 1
        values = values + self.each(last[0], hints)
        self.line(f"{out} = {name}({', '.join(f'{n}={v}' for n, v in values)})")
        self.depth -= 1
        return out

    def chunk(
        self, fields: Sequence[Field], known: Sequence[Default], hints: dict[str, Any]
    ) -> list[tuple[str, str]]:
        """Read fields in a row: all at their defaults, or one by one."""
        names, data = [self.fresh() for _ in fields], joined_bytes(known)
        self.line(f"j = i + {len(data)}")
        self.line(f"if b[i:j] == {self.constant(data)}:")
        self.depth += 1
        self.line("i = j")
        for name, default in zip(names, known, strict=True):
            empty = "[]" if default.value == [] else "{}" if default.value == {} else ""
            self.line(f"{name} = {empty or self.constant(default.value)}")
        self.depth -= 1
        self.line("else:")
        self.depth += 1
        for name, field in zip(names, fields, strict=True):
            self.line(f"{name} = {self.value(field.type, hints[field.name])}")
        self.depth -= 1
        return [(check_name(f.name), n) for f, n in zip(fields, names, strict=True)]

    def kept(self, field: Field, hint: Any) -> str:
        """Read a field of records, and keep its bytes where a writer may want them."""
        out, start = self.fresh(), self.fresh()
        self.line(f"{start} = i")
        self.line(f"{out} = {self.value(field.type, hint)}")
        mine = f"({out}, {self.constant(tag(field.type))}, b[{start}:i])"
        self.line(f"if keep is not None: keep[id({out})] = {mine}")
        return out

    def private(self, private: tuple[Private, ...]) -> list[tuple[str, str]]:
        table = {p.field.encode(): p for p in private}
        opened, ok, at, left = self.fresh(), self.fresh(), self.fresh(), self.fresh()
        names = [self.fresh() for _ in private]
        self.line(f"{at} = i; {ok} = False")
        self.line("while blocks.clear:")
        self.depth += 1
        self.line(f"{left} = b[i]; i += 1")
        none = "; ".join(f"{name} = None" for name in names)
        self.line(f"if {left} == 0: {none if all(p.optional for p in private) else 'break'}")
        self.line("else:")
        self.depth += 1
        for local, block in zip(names, private, strict=True):
            self._expected(local, block, left)
        self.line(f"if {left} or b[i]: break")
        self.line("i += 1")
        self.depth -= 1
        self.line(f"{ok} = True; break")
        self.depth -= 1
        self.line(f"if not {ok}:")
        self.depth += 1
        self.line(f"s = BYTES(b); s.seek({at})")
        self.line(f"{opened} = blocks.read(s.read, {self.constant(table)}); i = s.tell()")
        for local, block in zip(names, private, strict=True):
            name = check_name(block.field)
            got = f'.get("{name}")' if block.optional else f'["{name}"]'
            self.line(f"{local} = {opened}{got}")
        self.depth -= 1
        return [(check_name(p.field), n) for p, n in zip(private, names, strict=True)]

    def _expected(self, local: str, block: Private, left: str) -> None:
        """Read a clear block of the newest schema in its usual place, or leave the loop.

        `left` counts down the blocks that follow, as the byte before the first one said. Whatever is
        not as usual (another order of blocks, an older schema, a sealed block, one that is missing)
        is left to `blocks.read`.
        """
        name = block.field.encode()
        head = VARINTS[len(name)] + name
        self.line(f"j = i + {len(head)}")
        self.line(f"if b[i:j] != {self.constant(head)}:")
        self.line(f"    {f'{local} = None' if block.optional else 'break'}")
        self.line("else:")
        self.depth += 1
        self.line(f"i = j; {left} -= 2")
        subject = self.scalar(Node("bytes"), None)
        self.line("j = i + 8")
        self.line(f"if b[i:j] != {self.constant(block.schema.fingerprint)}: break")
        end = self.fresh()
        self.line(f"i, {end} = SPAN(b, j)")
        self.line("if b[i] != 0: break")
        self.line("i += 1")
        self.line(f"{local} = {self.record(block.schema.root, block.cls)}")
        self.line(f"if i != {end} or {local}.subject.encode() != {subject}: break")
        self.depth -= 1

    def collection(self, node: Node, hint: Any) -> str:
        out, counter = self.fresh(), self.fresh()
        args = typing.get_args(hint)
        empty = node.kind == "array" and not takes_bytes(node.items)
        self.line(f"{out} = {'[]' if node.kind == 'array' else '{}'}")
        most = ITEMS_WITHOUT_BYTES_MAX if empty else "len(b)"
        self.line(f"while {counter} := b[i]:")
        self.depth += 1
        self.line(f"if {counter} & 129: {counter}, i = BLOCK(b, i, {most})")
        self.line(f"else: {counter} >>= 1; i += 1")
        self.line(f"for _ in range({counter}):")
        self.depth += 1
        if node.kind == "array":
            self.line(f"{out}.append({self.value(node.items, args[0] if args else None)})")
        else:
            key = self.scalar(Node("string"), None)
            item = self.value(node.items, args[1] if args else None)
            self.line(f"{out}[{key}] = {item}")
        self.depth -= 2
        self.line("i += 1")
        return out


def make_reader(node: Node, cls: Any = None, private: tuple[Private, ...] = ()) -> Reader:
    """Return the reader of a schema into instances of `cls` (None: plain dicts).

    It raises one of MALFORMED on bad bytes, and ValueError when bytes are left over.
    """
    source = _ReaderSource(_BASE)
    record = node.kind == "record"
    keeps = cls is not None and record and issubclass(cls, msgspec.Struct)
    source.line("i = start")
    source.line("keep = None if blocks is None else blocks.splices")
    result = source.record(node, cls, private, keeps) if record else source.value(node, cls)
    source.line(f"m = {result}")
    source.line("if i != len(b): STOP()")
    source.line("return m")
    return typing.cast(Reader, source.function("b, start, blocks"))
