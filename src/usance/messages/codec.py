"""Readers and writers of a schema: compiled where the extension is built, else generated Python.

The extension `usance._native` (folder `native`) is optional. It gets a schema paired with a class as nested
tuples, made here from the same parts as the generated code, and handles the usual cases only. Whatever else
it meets, damage above all, it hands to the generated codec, which is the reference: bytes, values and errors
are therefore the same with and without it. `USANCE_NATIVE=0` switches it off.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec

from usance.kernel import native
from usance.kernel.errors import Unreadable
from usance.messages import avro_codegen, avro_reader
from usance.messages.avro_codegen import (
    ITEMS_WITHOUT_BYTES_MAX,
    Blocks,
    Default,
    Private,
    Reader,
    Writer,
    defaults_of,
    field_hints,
    nullable_branch,
    spliceable,
    symbol_values,
    tag,
    unwrap,
)
from usance.messages.avro_reader import takes_bytes
from usance.messages.avro_schema import Field, Node, check_name
from usance.messages.varints import VARINTS

DEPTH_MAX = 40
"""Nodes within nodes; native/native.h allows a few more."""
_OPS = "null boolean long float double string bytes fixed enum nullable array map struct tuple dict".split()
_OP = {name: number for number, name in enumerate(_OPS)} | {"int": 2}
_EXACT = {"string": str, "enum": str, "int": int, "long": int, "boolean": bool}


NATIVE = native.NATIVE
"""The extension, or None: what is made from now on."""


class _Unsuited(Exception):
    """A class that only Python code can fill."""


def make_reader(node: Node, cls: Any = None, private: tuple[Private, ...] = ()) -> Reader:
    """Return the reader of a schema into instances of `cls` (None: plain dicts)."""
    program = compiled(node, cls, private)
    return program.read if program else avro_reader.make_reader(node, cls, private)


def make_writer(node: Node, cls: Any = None, private: tuple[Private, ...] = ()) -> Writer:
    """Return the writer of a schema from instances of `cls` (None: plain dicts)."""
    program = compiled(node, cls, private)
    return program.write if program else avro_codegen.make_writer(node, cls, private)


def compiled(
    node: Node,
    cls: Any = None,
    private: tuple[Private, ...] = (),
    *,
    reader: Reader | None = None,
    writer: Writer | None = None,
) -> Any:
    """Return the program of a schema, None where there can be none.

    `reader` and `writer` get what it finds unusual: by default the generated ones.
    """
    if NATIVE is None:
        return None
    record = node.kind == "record"
    keeps = record and isinstance(cls, type) and issubclass(cls, msgspec.Struct)
    specs = _Specs()
    try:
        spec = specs.record(node, cls, private, keeps) if record else specs.node(node, cls)
    except _Unsuited:
        return None
    return NATIVE.Program(
        spec,
        keeps,
        reader or _late(lambda: avro_reader.make_reader(node, cls, private)),
        writer or _late(lambda: avro_codegen.make_writer(node, cls, private)),
    )


def _late(make: Callable[[], Any]) -> Callable[..., Any]:
    """Return a function that is made when first called: most types never meet anything unusual."""
    made: list[Any] = []

    def call(*args: Any) -> Any:
        if not made:
            made.append(make())
        return made[0](*args)

    return call


class _Specs:
    """Each method returns what `native/program.c` reads: tuples that begin with an operation."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._depth = 0

    def node(self, node: Node, hint: Any) -> tuple[Any, ...]:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _Unsuited
        spec = self._node(node, hint)
        self._depth -= 1
        return spec

    def _node(self, node: Node, hint: Any) -> tuple[Any, ...]:
        hint = unwrap(hint)[0]
        kind = node.kind
        args = typing.get_args(hint)
        if kind == "record":
            return self.record(node, hint)
        if kind == "union":
            inner, index = nullable_branch(node)
            return (_OP["nullable"], index, self.node(inner, hint))
        if kind == "array":
            most = 0 if takes_bytes(node.items) else ITEMS_WITHOUT_BYTES_MAX
            return (_OP["array"], most, self.node(node.items, args[0] if args else None))
        if kind == "map":
            return (_OP["map"], 0, self.node(node.items, args[1] if args else None))
        if kind == "enum":
            values = symbol_values(node, hint)
            table = {values[s]: VARINTS[n] for n, s in enumerate(node.symbols) if s in values}
            return (_OP["enum"], [values.get(s) for s in node.symbols], table)
        return (_OP["fixed"], node.size) if kind == "fixed" else (_OP[kind],)

    def record(
        self, node: Node, cls: Any, private: tuple[Private, ...] = (), top: bool = False
    ) -> tuple[Any, ...]:
        if node.name in self._open:
            raise Unreadable("schema", "a record holds itself", hint="refer to it by an identifier")
        self._open.append(node.name)
        hints = field_hints(node, cls, private)
        known = defaults_of(node.fields, hints, cls)
        fields = tuple(
            self.private(cls, private)
            if private and f.name == "private"
            else self.field(f, cls, hints[f.name], default, top)
            for f, default in zip(node.fields, known, strict=True)
        )
        self._open.pop()
        if cls is None:
            return (_OP["dict"], fields)
        if issubclass(cls, tuple):
            return (_OP["tuple"], cls, fields)
        tracked = any(_holds(f.type) for f in node.fields) or bool(private)
        return (_OP["struct"], cls, _blank(cls, private), tracked, fields)

    def field(
        self, field: Field, cls: Any, hint: Any, default: Default | None, top: bool
    ) -> tuple[Any, ...]:
        kept = top and spliceable(field.type)
        usual: tuple[Any, ...] = ()
        if default is not None and not kept and _is_plain(field.type, default.value):
            usual = (default.value,)
        place = _slot(cls, check_name(field.name))
        data = default.data if default is not None else b""
        return (place, self.node(field.type, hint), usual, data, tag(field.type) if kept else None)

    def private(self, cls: Any, private: tuple[Private, ...]) -> tuple[Any, ...]:
        blocks = tuple(self.block(cls, block) for block in private)
        names = tuple(check_name(p.field) for p in private)
        unusual = _unusual({p.field.encode(): p for p in private})
        return ((unusual, names, blocks), None, (), b"", None)

    def block(self, cls: Any, block: Private) -> tuple[Any, ...]:
        root, name = block.schema.root, block.field.encode()
        owner = root.field("subject")
        if owner is None or owner.type.kind != "string":
            raise _Unsuited
        return (
            _slot(cls, block.field),
            VARINTS[len(name)] + name,
            block.schema.fingerprint,
            block.optional,
            self.record(root, block.cls),
            _slot(block.cls, "subject"),
        )


def _slot(cls: Any, name: str) -> Any:
    """Return where a class keeps a field: the descriptor of its slot, or the name itself."""
    if cls is None or issubclass(cls, tuple):
        return name
    return next(vars(base)[name] for base in cls.__mro__ if name in vars(base))


def _blank(cls: Any, private: tuple[Private, ...]) -> Any:
    """Return an instance to copy: defaults where they are plain values, None everywhere else."""
    config = cls.__struct_config__
    if hasattr(cls, "__post_init__") or config.dict or config.cache_hash:
        raise _Unsuited
    blocks = {p.field for p in private}
    empty = (f.name for f in msgspec.structs.fields(cls) if f.default is msgspec.NODEFAULT)
    return cls(**dict.fromkeys([*empty, *blocks]))


def _is_plain(node: Node, value: Any) -> bool:
    """Tell whether a default is just what reading its bytes gives, and may be shared."""
    if node.kind == "union":
        return value is None or _is_plain(nullable_branch(node)[0], value)
    return type(value) is _EXACT.get(node.kind)


def _holds(node: Node) -> bool:
    """Tell whether values of a type may hold others, which the collector must see."""
    return node.kind in ("record", "union", "array", "map")


def _unusual(table: dict[bytes, Private]) -> Any:
    def read(blocks: Blocks, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        source = BytesIO(data)
        source.seek(at)
        return blocks.read(source.read, table), source.tell()

    return read
