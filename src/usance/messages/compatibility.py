"""Can one schema read what another wrote? The structural rules of Avro 1.12 resolution.

Levels: BACKWARD (new reads old), FORWARD (old reads new), FULL (both), each `_TRANSITIVE` against
every earlier version; NONE checks nothing. What resolution cannot see (a scale, a unit, a rename)
is no matter of this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from usance.messages.avro_schema import MISSING, PRIMITIVES, Field, Node, Schema

_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


MODES = (
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
)
"""Compatibility levels, as Confluent's registry names them."""


class Violation(NamedTuple):
    """One reason why a reader fails on a writer, by the names that Apache Avro gives its rules.

    `path` is a JSON pointer into the reader, references to named types followed; for a branch that a
    union lacks its last part is the place of that branch in the writer.
    """

    rule: str
    path: str
    message: str
    hint: str


def against(earlier: Sequence[Schema], level: str) -> dict[int, Schema]:
    """Return the earlier versions (oldest first) that a level compares with, by number from 1."""
    if level == "NONE":
        return {}
    numbered = dict(enumerate(earlier, start=1))
    if level.endswith("_TRANSITIVE"):
        return numbered
    return {n: numbered[n] for n in list(numbered)[-1:]}


def reads_back(level: str) -> bool:
    """Tell whether a level demands that the new version reads the earlier ones."""
    return level.startswith(("BACKWARD", "FULL"))


def reads_ahead(level: str) -> bool:
    """Tell whether a level demands that the earlier versions read the new one."""
    return level.startswith(("FORWARD", "FULL"))


def check_versions(new: Schema, earlier: Sequence[Schema], level: str) -> list[Violation]:
    """Return the violations of a new version against earlier ones (oldest first) at a level."""
    found: dict[tuple[bool, Violation], list[int]] = {}
    for number, old in reversed(against(earlier, level).items()):
        if reads_back(level):
            for violation in check(reader=new, writer=old):
                found.setdefault((True, violation), []).append(number)
        if reads_ahead(level):
            for violation in check(reader=old, writer=new):
                found.setdefault((False, violation), []).append(number)
    return [
        violation._replace(message=f"{violation.message} ({_who(back, numbers)})")
        for (back, violation), numbers in found.items()
    ]


def _who(back: bool, numbers: list[int]) -> str:
    old = ", ".join(map(str, sorted(numbers)))
    old = f"earlier version{'s' if len(numbers) > 1 else ''} {old}"
    return f"the new version reading {old}" if back else f"{old} reading the new one"


def check(reader: Schema, writer: Schema) -> list[Violation]:
    """Return why `reader` could fail on data of `writer`; empty when it always resolves."""
    return fits(reader.root, writer.root)


def fits(reader: Node, writer: Node) -> list[Violation]:
    """Return why a type could fail on data of another."""
    return list(dict.fromkeys(_Checker().types(reader, writer, "")))


def resolves(kind: str, written: str) -> bool:
    """Tell whether a kind of type is read as another: the same one, or promoted to it."""
    return kind == written or kind in _PROMOTIONS.get(written, ())


def named_alike(r: Node, w: Node) -> bool:
    """Tell whether a reader's named type takes a writer's: unqualified names, or its alias."""
    if r.local == w.local:
        return True
    space = r.name.rpartition(".")[0]
    return any(w.name == (a if "." in a or not space else f"{space}.{a}") for a in r.aliases)


def alike(one: Node, other: Node) -> bool:
    """Tell whether two types are the same primitive one, or unions of the same: most fields never change."""
    if one.kind != other.kind:
        return False
    if one.kind == "union":
        pairs = zip(one.branches, other.branches, strict=False)
        return len(one.branches) == len(other.branches) and all(
            a.kind == b.kind and a.kind in PRIMITIVES for a, b in pairs
        )
    return one.kind in PRIMITIVES


def source(field: Field, w: Node) -> Field | None:
    """Return the writer's field that a reader's field is filled from."""
    names: Iterable[str] = (field.name, *field.aliases)
    return next((f for n in names if (f := w.field(n)) is not None), None)


class _Checker:
    def __init__(self) -> None:
        self._met: set[tuple[int, int]] = set()
        self._failed: set[tuple[int, int]] = set()

    def types(self, r: Node, w: Node, path: str) -> list[Violation]:
        """Compare two types; a pair under comparison further out counts as fitting."""
        if w.kind == "union":
            found: list[Violation] = []
            for i, branch in enumerate(w.branches):
                found += self.types(r, branch, f"{path}/{i}" if r.kind == "union" else path)
            return found
        if r.kind == "union":
            return self._reader_union(r, w, path)
        if r.kind != w.kind:
            return [] if resolves(r.kind, w.kind) else [_type_mismatch(r, w, path)]
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
        if any(not self._trial(branch, w) for branch in r.branches):
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
        if (id(r), id(w)) in self._failed or (
            r.name and r.kind == w.kind and not named_alike(r, w)
        ):
            return [_type_mismatch(r, w, "")]
        met = set(self._met)
        found = self.types(r, w, "")
        if found:
            # Pairs under comparison count as fitting, so what fails even then fails for good; what fitted
            # may have leant on the pair that failed.
            self._met = met
            self._failed.add((id(r), id(w)))
        return found

    def _record(self, r: Node, w: Node, path: str) -> list[Violation]:
        found = _names(r, w, path)
        for i, field in enumerate(r.fields):
            at = f"{path}/fields/{i}"
            written = source(field, w)
            if written is not None:
                if not alike(field.type, written.type):
                    found += self.types(field.type, written.type, f"{at}/type")
            elif field.default is MISSING:
                found.append(
                    Violation(
                        "READER_FIELD_MISSING_DEFAULT_VALUE",
                        at,
                        f"field {field.name} is absent from the writer and has no default",
                        "give the field a default, or an alias if it was renamed",
                    )
                )
        return found

    def _enum(self, r: Node, w: Node, path: str) -> list[Violation]:
        found = _names(r, w, path)
        gone = [s for s in w.symbols if s not in r.symbols]
        if gone and r.default not in r.symbols:
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
    if named_alike(r, w):
        return []
    message = f"{w.name} was written, {r.name} is read"
    hint = f"keep the name, or give the reader the alias {w.name}"
    return [Violation("NAME_MISMATCH", f"{path}/name", message, hint)]


def _type_mismatch(r: Node, w: Node, path: str) -> Violation:
    return Violation(
        "TYPE_MISMATCH",
        path,
        f"{w.kind} was written, {r.kind} is read",
        "add a new field of the new type instead",
    )
