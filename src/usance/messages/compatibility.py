"""Can one schema read what another wrote? The structural rules of Avro 1.12 resolution.

Levels: BACKWARD (new reads old), FORWARD (old reads new), FULL (both), each `_TRANSITIVE` against
every earlier version; NONE checks nothing. What resolution cannot see (a scale, a unit, a rename)
is no matter of this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from usance.messages.avro_schema import MISSING, Field, Node, Schema

_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


class Violation(NamedTuple):
    """One reason why a reader fails on a writer; `path` is a JSON pointer into the reader."""

    rule: str
    path: str
    message: str
    hint: str


def check_versions(new: Schema, earlier: list[Schema], level: str) -> list[Violation]:
    """Return the violations of a new version against earlier ones (oldest first) at a level."""
    if level == "NONE":
        return []
    against = earlier if level.endswith("_TRANSITIVE") else earlier[-1:]
    found: list[Violation] = []
    for old in reversed(against):
        if level.startswith(("BACKWARD", "FULL")):
            found += check(reader=new, writer=old)
        if level.startswith(("FORWARD", "FULL")):
            found += check(reader=old, writer=new)
    return list(dict.fromkeys(found))


def check(reader: Schema, writer: Schema) -> list[Violation]:
    """Return why `reader` could fail on data of `writer`; empty when it always resolves."""
    return _Checker().types(reader.root, writer.root, "")


class _Checker:
    def __init__(self) -> None:
        self._met: set[tuple[int, int]] = set()

    def types(self, r: Node, w: Node, path: str) -> list[Violation]:
        """Compare two types; a pair under comparison further out counts as fitting."""
        if w.kind == "union":
            found: list[Violation] = []
            for branch in w.branches:
                found += self.types(r, branch, path)
            return found
        if r.kind == "union":
            return self._reader_union(r, w, path)
        if r.kind != w.kind:
            if r.kind in _PROMOTIONS.get(w.kind, ()):
                return []
            return [_type_mismatch(r, w, path)]
        if (id(r), id(w)) in self._met:
            return []
        self._met.add((id(r), id(w)))
        return self._same_kind(r, w, path)

    def _same_kind(self, r: Node, w: Node, path: str) -> list[Violation]:
        match r.kind:
            case "array":
                return self.types(r.items, w.items, f"{path}/items")
            case "map":
                return self.types(r.items, w.items, f"{path}/values")
            case "record":
                return self._record(r, w, path)
            case "enum":
                return self._enum(r, w, path)
            case "fixed":
                return self._fixed(r, w, path)
        return []

    def _reader_union(self, r: Node, w: Node, path: str) -> list[Violation]:
        fits = any(not self._trial(branch, w) for branch in r.branches)
        if fits:
            return []
        return [
            Violation(
                "MISSING_UNION_BRANCH",
                path,
                f"no branch of the reader's union takes {w.local}",
                "keep every branch that was ever written",
            )
        ]

    def _trial(self, r: Node, w: Node) -> list[Violation]:
        met = set(self._met)
        found = self.types(r, w, "")
        if found:
            self._met = met
        return found

    def _record(self, r: Node, w: Node, path: str) -> list[Violation]:
        found = _names(r, w, path)
        for i, field in enumerate(r.fields):
            at = f"{path}/fields/{i}"
            source = _source(field, w)
            if source is not None:
                found += self.types(field.type, source.type, f"{at}/type")
            elif field.default is MISSING:
                found.append(
                    Violation(
                        "READER_FIELD_MISSING_DEFAULT",
                        at,
                        f"field {field.name} is absent from the writer and has no default",
                        "give the field a default, or an alias if it was renamed",
                    )
                )
        return found

    def _enum(self, r: Node, w: Node, path: str) -> list[Violation]:
        found = _names(r, w, path)
        gone = [s for s in w.symbols if s not in r.symbols]
        if gone and r.default is None:
            found.append(
                Violation(
                    "MISSING_ENUM_SYMBOLS",
                    f"{path}/symbols",
                    f"the reader's enum lacks {', '.join(gone)}",
                    "never remove a symbol, or give the enum a default symbol",
                )
            )
        return found

    def _fixed(self, r: Node, w: Node, path: str) -> list[Violation]:
        found = _names(r, w, path)
        if r.size != w.size:
            message = f"{w.size} bytes were written, {r.size} are read"
            found.append(
                Violation(
                    "FIXED_SIZE_MISMATCH", f"{path}/size", message, "use a new name and field"
                )
            )
        return found


def _names(r: Node, w: Node, path: str) -> list[Violation]:
    aliases = {a.rpartition(".")[2] for a in r.aliases}
    if r.local == w.local or w.local in aliases:
        return []
    message = f"{w.local} was written, {r.local} is read"
    hint = "keep the name, or give the reader the old name as an alias"
    return [Violation("NAME_MISMATCH", f"{path}/name", message, hint)]


def _source(field: Field, w: Node) -> Field | None:
    names: Iterable[str] = (field.name, *field.aliases)
    return next((f for n in names if (f := w.field(n)) is not None), None)


def _type_mismatch(r: Node, w: Node, path: str) -> Violation:
    return Violation(
        "TYPE_MISMATCH",
        path,
        f"{w.kind} was written, {r.kind} is read",
        "add a new field of the new type instead",
    )
