"""The first version of a schema from its class: types, defaults and the marks every field carries.

`str` -> string, `int` -> long, `bool` -> boolean, `bytes` -> bytes, `Annotated[bytes,
Meta(min_length=n, max_length=n)]` -> fixed(n), `Literal[...]` -> enum, `list[X]` -> array,
`dict[str, X]` -> map, struct -> record, `X | None` -> ["null", X]. Fields that are private blocks
become the `private` array.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from typing import Any

import msgspec

from usance.kernel.decider import PrivateBlock
from usance.kernel.errors import Unreadable
from usance.messages.avro_codegen import UNKNOWN, hints_of, unwrap

PRIVATE_FIELD = "private"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SCALARS = {str: "string", int: "long", bool: "boolean", bytes: "bytes"}
_BUSINESS = {"sensitivity": "business", "subject": "", "retain": "record"}
_PERSONAL = {"sensitivity": "personal", "subject": "subject", "retain": "relationship"}
PRIVATE_MARKS = {"sensitivity": "personal", "subject": "private.subject", "retain": "relationship"}


def is_block(hint: Any) -> bool:
    """Tell whether a type hint names a private block (or one that may be absent)."""
    inner = unwrap(hint)[0]
    return isinstance(inner, type) and issubclass(inner, PrivateBlock)


def schema_text(cls: type, fullname: str) -> str:
    """Return the schema of a class as deterministic, indented JSON with a final newline."""
    return json.dumps(_Deriver(fullname).record(cls), indent=2, ensure_ascii=False) + "\n"


class _Deriver:
    def __init__(self, fullname: str) -> None:
        self.fullname = fullname
        self.space = fullname.rpartition(".")[0]
        self.seen: dict[str, Any] = {}

    def record(self, cls: Any, fullname: str = "") -> dict[str, Any]:
        root = not fullname
        fullname = fullname or self.fullname
        space, _, name = fullname.rpartition(".")
        personal = root and issubclass(cls, PrivateBlock)
        defaults = _defaults(cls)
        fields: list[dict[str, Any]] = []
        for field, hint in hints_of(cls).items():
            if is_block(hint):
                self._check_block(cls, root)
                continue
            marks = _PERSONAL if personal and field != "subject" else _BUSINESS
            kind = self.type_of(hint)
            fields.append({"name": field, "type": kind, **_default(kind, defaults, field), **marks})
        if any(is_block(h) for h in hints_of(cls).values()):
            fields.append(self._private())
        doc = (inspect.getdoc(cls) or name).splitlines()[0]
        return {"type": "record", "name": name, "namespace": space, "doc": doc, "fields": fields}

    def _check_block(self, cls: Any, root: bool) -> None:
        if not root or issubclass(cls, PrivateBlock):
            raise Unreadable(
                "schema",
                f"{cls.__name__} holds a private block below a message's top level",
                hint="make the block a field of the message itself",
            )

    def _private(self) -> dict[str, Any]:
        entry = {
            "type": "record",
            "name": "PrivateEntry",
            "namespace": "usance",
            "fields": [
                {"name": "name", "type": "string"} | _BUSINESS,
                {"name": "subject", "type": "string"} | _BUSINESS,
                {"name": "schema", "type": self._fixed(8)} | _BUSINESS,
                {"name": "block", "type": "bytes"} | PRIVATE_MARKS,
            ],
        }
        items = {"type": "array", "items": entry}
        return {"name": PRIVATE_FIELD, "type": items, "default": [], **PRIVATE_MARKS}

    def type_of(self, hint: Any) -> Any:
        size = _fixed_size(hint)
        hint, optional = unwrap(hint)
        kind = self._fixed(size) if size else self._plain(hint)
        return ["null", kind] if optional else kind

    def _plain(self, hint: Any) -> Any:
        if hint in _SCALARS:
            return _SCALARS[hint]
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin is list:
            return {"type": "array", "items": self.type_of(args[0])}
        if origin is dict and args[0] is str:
            return {"type": "map", "values": self.type_of(args[1])}
        if origin is typing.Literal:
            return self._enum(args)
        if isinstance(hint, type) and (
            issubclass(hint, msgspec.Struct) or hasattr(hint, "_fields")
        ):
            if is_block(hint):
                self._check_block(hint, root=False)
            return self._named(f"usance.{hint.__name__}" if hasattr(hint, "_fields") else "", hint)
        raise Unreadable(
            "schema", f"a field of type {hint} has no Avro form", hint="see BUILDING.md"
        )

    def _named(self, fullname: str, cls: Any) -> Any:
        fullname = fullname or f"{self.space}.{cls.__name__}"
        if self.seen.setdefault(fullname, cls) is not cls:
            raise Unreadable("schema", f"two structs are named {fullname}", hint="rename one")
        if fullname in self._written:
            return fullname
        self._written.add(fullname)
        return self.record(cls, fullname)

    @property
    def _written(self) -> set[str]:
        return typing.cast(set[str], self.__dict__.setdefault("written", set()))

    def _fixed(self, size: int) -> Any:
        fullname = f"usance.Fixed{size}"
        if fullname in self._written:
            return fullname
        self._written.add(fullname)
        return {"type": "fixed", "name": f"Fixed{size}", "namespace": "usance", "size": size}

    def _enum(self, values: tuple[Any, ...]) -> Any:
        symbols = [str(v).replace("-", "_") for v in values]
        if not all(_NAME.match(s) for s in symbols) or len(set(symbols)) != len(symbols):
            return "string"
        if UNKNOWN not in symbols:
            symbols.append(UNKNOWN)
        words = "".join(part.capitalize() for part in "_".join(symbols[:2]).split("_"))
        fullname = f"{self.space}.{words}Etc"
        known = self.seen.setdefault(fullname, symbols)
        if known != symbols:
            raise Unreadable("schema", "two enums begin alike", hint="reorder one's values")
        if fullname in self._written:
            return fullname
        self._written.add(fullname)
        return {"type": "enum", "name": fullname, "symbols": symbols, "default": UNKNOWN}


def _fixed_size(hint: Any) -> int:
    """Return n of a bytes hint whose length is exactly n, else 0."""
    for part in (hint, *typing.get_args(hint)):
        if typing.get_origin(part) is typing.Annotated and part.__origin__ is bytes:
            for meta in part.__metadata__:
                if isinstance(meta, msgspec.Meta) and meta.min_length == meta.max_length:
                    return meta.min_length or 0
    return 0


def _defaults(cls: Any) -> dict[str, Any]:
    if not issubclass(cls, msgspec.Struct):
        return dict(cls._field_defaults)
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        if field.default is not msgspec.NODEFAULT:
            found[field.name] = field.default
        elif field.default_factory in (list, dict):
            found[field.name] = field.default_factory()
    return found


def _default(kind: Any, defaults: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the Avro default of a field, when the class has one that Avro can say."""
    if isinstance(kind, list) and defaults.get(name, ...) is None:
        return {"default": None}
    value = defaults.get(name)
    plain = isinstance(value, str | bool | int) or value in ([], {})
    if name not in defaults or not plain or isinstance(kind, list):
        return {}
    is_enum = isinstance(kind, dict) and kind.get("type") == "enum"
    return {"default": str(value).replace("-", "_") if is_enum else value}
