"""What every checker of Avro schemas lets pass, and what still loses or changes meaning.

Resolution knows structure alone. A lint names a change (see `schema_changes`) or a property of the new
schema that reads without error and wrongly. `error` means values are lost, altered or uncovered; `warn`
that a person should look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from usance.messages.avro_schema import MISSING, Field, Node, Schema, canonical_form
from usance.messages.compatibility import against, reads_ahead, reads_back
from usance.messages.schema_changes import (
    ERROR,
    WARN,
    Changes,
    Lint,
    attributes_of,
    logical,
    nodes_of,
)

FIELDS_MAX = 100
"""Fields of one record beyond which it should be split."""

_PLACES = {
    "decimal": ("bytes", "fixed"),
    "big-decimal": ("bytes",),
    "uuid": ("string", "fixed"),
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "duration": ("fixed",),
}
_RANGES = {"int": 2**31, "long": 2**63}

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_IRREGULAR = frozenset(
    """begun bought bound broken brought built caught chosen cut done drawn fallen found frozen given gone
    held hit kept known laid led left lost made met overdue overdrawn paid put read repaid risen run said
    seen sent set shown shut sold sought split spoken spent taken told thought undone undertaken withdrawn
    withheld won written""".split()
)
_IMPERATIVE = frozenset(
    """accept activate add advise amend apply approve assign cancel confirm create delete expire fulfil fulfill
    honour issue make modify notify pay publish receive refuse register reject remove reserve send set settle
    submit update validate withdraw""".split()
)
"""Verbs that are no nouns besides: a name of unknown kind that begins with one gives an order."""


def lint_versions(new: Schema, earlier: Sequence[Schema], level: str, kind: str = "") -> list[Lint]:
    """Return the lints of a new version against earlier ones (oldest first) at a level.

    `kind` is "event" or "command" where the caller knows it. A level without TRANSITIVE looks at the newest of
    the earlier versions alone, NONE as BACKWARD does; a name that comes back is looked for in all of them.
    """
    chosen = list(against(earlier, level).values()) if level != "NONE" else list(earlier[-1:])
    back, ahead = reads_back(level) or level == "NONE", reads_ahead(level)
    found = [*static_lints(new, kind)]
    for old in reversed(chosen):
        found += Changes(back=back, ahead=ahead).between(new, old)
    found += _returned(new, earlier)
    kept: dict[tuple[str, str], Lint] = {}
    for lint in found:
        known = kept.get((lint.rule, lint.path))
        if known is None or (known.severity == WARN and lint.severity == ERROR):
            kept[lint.rule, lint.path] = lint
    return sorted(kept.values(), key=lambda lint: (lint.severity, lint.path, lint.rule))


# -- the new schema by itself


def static_lints(new: Schema, kind: str = "") -> Iterator[Lint]:
    """Yield what is wrong or doubtful in a schema whatever came before it."""
    for path, node in nodes_of(new.root):
        yield from _misplaced(path, node)
        if node.kind == "enum" and node.default is not None and node.default not in node.symbols:
            yield Lint("DEFAULT_INVALID", f"{path}/default", ERROR, "the default is no symbol")
        if node.kind == "record":
            yield from _of_record(path, node)
    root = new.root
    if root.kind == "record" and not _past(root, kind):
        message = f"{root.local} does not say that something happened"
        yield Lint("NAME_NOT_PAST_TENSE", "/name", WARN, message, "name events in the past tense")


def _of_record(path: str, node: Node) -> Iterator[Lint]:
    if len(node.fields) > FIELDS_MAX:
        message = f"{len(node.fields)} fields in one record"
        yield Lint(
            "RECORD_TOO_WIDE", f"{path}/fields", WARN, message, "split it by what changes together"
        )
    live = {f.name for f in node.fields}
    taken: dict[str, str] = {}
    for i, field in enumerate(node.fields):
        at = f"{path}/fields/{i}"
        for alias in field.aliases:
            owner = taken.setdefault(alias, field.name)
            if (alias in live and alias != field.name) or owner != field.name:
                message = f"{field.name} and another field both claim {alias}"
                hint = "an alias is a former name of one field only"
                yield Lint("ALIAS_AMBIGUOUS", f"{at}/aliases", ERROR, message, hint)
                break
        if field.default is not MISSING:
            yield from _default(f"{at}/default", field)


def _default(path: str, field: Field) -> Iterator[Lint]:
    node = field.type
    branches = node.branches if node.kind == "union" else (node,)
    fitting = [n for n, branch in enumerate(branches) if not _faulty(branch, field.default)]
    if not fitting:
        message = f"the default of {field.name} is no {node.local}"
        yield Lint("DEFAULT_INVALID", path, ERROR, message, "give a value of the field's type")
    elif fitting[0] > 0:
        message = f"the default of {field.name} is not of the union's first branch"
        hint = "put the default's branch first: readers before Avro 1.12 accept no other"
        yield Lint("DEFAULT_NOT_FIRST_BRANCH", path, WARN, message, hint)


def _faulty(node: Node, value: Any) -> bool:
    """Tell whether a JSON value is no default of a type."""
    match node.kind:
        case "null":
            return value is not None
        case "boolean":
            return type(value) is not bool
        case "int" | "long":
            bound = _RANGES[node.kind]
            return type(value) is not int or not -bound <= value < bound
        case "float" | "double":
            return type(value) not in (int, float)
        case "string":
            return not isinstance(value, str)
        case "bytes" | "fixed":
            bad = not isinstance(value, str) or any(ord(c) > 255 for c in value)
            return bad or (node.kind == "fixed" and len(value) != node.size)
        case "enum":
            return value not in node.symbols
        case "array":
            return not isinstance(value, list) or any(_faulty(node.items, v) for v in value)
        case "map":
            return not isinstance(value, dict) or any(
                _faulty(node.items, v) for v in value.values()
            )
        case "union":
            return all(_faulty(b, value) for b in node.branches)
    return not isinstance(value, dict) or any(
        _faulty(f.type, value[f.name]) if f.name in value else f.default is MISSING
        for f in node.fields
    )


def _misplaced(path: str, node: Node) -> Iterator[Lint]:
    name = logical(node)
    if not name:
        return
    places = _PLACES.get(name)
    if places is None and name.rpartition("timestamp-")[2] in ("millis", "micros", "nanos"):
        places = ("long",)
    at = f"{path}/logicalType"
    if places is not None and node.kind not in places:
        message = f"{name} stands on {node.kind}, where readers ignore it"
        yield Lint("LOGICAL_TYPE_MISPLACED", at, ERROR, message, f"use {' or '.join(places)}")
    elif name == "decimal":
        precision, scale = node.attributes.get("precision"), node.attributes.get("scale", 0)
        good = type(precision) is int and type(scale) is int and 0 <= scale <= precision
        if not good or not precision:
            message = "a decimal needs a precision, and a scale up to it"
            yield Lint("DECIMAL_INVALID", at, ERROR, message, "readers fall back to plain bytes")


def _past(root: Node, kind: str) -> bool:
    kind = kind or str(root.attributes.get("kind", ""))
    space = root.name.rpartition(".")[0].lower()
    words = [w.lower() for w in _WORDS.findall(root.local)]
    if not words or kind not in ("", "event") or "command" in space:
        return True
    orders = words[0] in _IMPERATIVE and len(words) > 1
    told = words[1:] if orders else words
    if any(w in _IRREGULAR or (w.endswith("ed") and len(w) > 3) for w in told):
        return True
    return kind != "event" and not re.search(r"\bevents?\b", space) and not orders


# -- names that come back


def _returned(new: Schema, earlier: Sequence[Schema]) -> Iterator[Lint]:
    """Yield names that were dropped once and now stand for something else."""
    if len(earlier) < 2:
        return
    past = [_names(old) for old in earlier]
    last = past[-1]
    for key, (signature, path) in _names(new).items():
        if key in last or (key[0], "") not in last:
            continue
        before = next((names[key][0] for names in reversed(past) if key in names), None)
        if key[1].startswith("="):
            if before is not None:
                message = f"the symbol {key[1][1:]} was removed once and means what it meant?"
                yield Lint("ENUM_SYMBOL_REUSED", path, WARN, message, "choose a new symbol")
        elif before is not None and before != signature:
            message = f"{key[1]} was dropped once and comes back as something else"
            hint = "choose a name that was never used: old records still carry the former meaning"
            yield Lint("NAME_REUSED", path, ERROR, message, hint)


def _names(schema: Schema) -> dict[tuple[str, str], tuple[Any, str]]:
    """Return fields and symbols (`=SYMBOL`) of the named types, with what a name stood for."""
    found: dict[tuple[str, str], tuple[Any, str]] = {}
    for path, node in nodes_of(schema.root):
        if node.kind == "record":
            found[node.local, ""] = (None, path)
            for i, field in enumerate(node.fields):
                inner = [(logical(n), n.attributes) for _, n in nodes_of(field.type)]
                means = (canonical_form(field.type), inner, field.doc, attributes_of(field))
                found[node.local, field.name] = (means, f"{path}/fields/{i}")
        elif node.kind == "enum":
            found[node.local, ""] = (None, path)
            for i, symbol in enumerate(node.symbols):
                found[node.local, f"={symbol}"] = (symbol, f"{path}/symbols/{i}")
    return found
