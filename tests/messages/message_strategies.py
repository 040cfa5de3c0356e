"""Random messages of the catalogue's classes, and random damage to their bytes."""

from __future__ import annotations

import random
import typing
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from usance.messages.avro_codegen import hints_of, symbol_values, unwrap
from usance.messages.avro_schema import Node
from usance.messages.catalogue import MessageType
from usance.messages.varints import VARINTS

TEXT = st.sampled_from(["", "USD", "ALBNGB2LXXX", "Zürich", "中国银行", "y" * 130]) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=40
)
LONG = st.sampled_from([0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2**31, -(2**63), 2**63 - 1])
LONG |= st.integers(-(2**63), 2**63 - 1)


def values(node: Node, hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of a type's values."""
    hint = unwrap(hint)[0]
    args = typing.get_args(hint)
    match node.kind:
        case "record":
            return st.builds(hint, **_fields(node, hint))
        case "union":
            inner = next(b for b in node.branches if b.kind != "null")
            return st.none() | values(inner, hint)
        case "array":
            return st.lists(values(node.items, args[0]), max_size=3)
        case "map":
            return st.dictionaries(TEXT, values(node.items, args[1]), max_size=3)
        case "enum":
            return st.sampled_from([*symbol_values(node, hint).values()])
        case "fixed":
            return st.binary(min_size=node.size, max_size=node.size)
        case "string":
            return TEXT
        case "boolean":
            return st.booleans()
        case "bytes":
            return st.binary(max_size=80)
    return LONG


def _fields(node: Node, cls: Any) -> dict[str, st.SearchStrategy[Any]]:
    hints = hints_of(cls)
    found = {f.name: values(f.type, hints[f.name]) for f in node.fields if f.name in hints}
    if issubclass(cls, msgspec.Struct):
        for field in msgspec.structs.fields(cls):
            if field.name in found and field.default is not msgspec.NODEFAULT:
                found[field.name] = st.just(field.default) | found[field.name]
    return found


@cache
def messages(entry: MessageType) -> st.SearchStrategy[Any]:
    """Return a strategy of one message type's instances."""
    fields = _fields(entry.schema.root, entry.cls)
    for block in entry.private:
        inner = st.builds(block.cls, **_fields(block.schema.root, block.cls))
        fields[block.field] = st.none() | inner if block.optional else inner
    return st.builds(entry.cls, **fields)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Return bytes with a few bits, bytes or numbers changed, put in, doubled or cut away."""
    raw = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(7):
            case 0 if raw:
                raw[at % len(raw)] ^= 1 << dice.randrange(8)
            case 1 if raw:
                raw[at % len(raw)] = dice.choice((0, 1, 2, 127, 128, 255, dice.randrange(256)))
            case 2:
                del raw[at:]
            case 3:
                del raw[at : at + dice.randint(1, 4)]
            case 4:
                raw[at:at] = VARINTS[dice.choice((-1, 1, 2**31, 2**62, -(2**63), 4096))]
            case 5:
                raw[at:at] = b"\xff" * dice.randint(1, 11)
            case _:
                raw[at:at] = raw[at // 2 : at]
    return bytes(raw)
