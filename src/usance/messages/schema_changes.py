"""What changed in meaning between two versions of a schema, where resolution sees nothing wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from usance.messages.avro_schema import MISSING, Field, Node, Schema
from usance.messages.compatibility import alike, fits, named_alike, resolves, source

ERROR, WARN = "error", "warn"

SENSITIVITIES = ("public", "business", "personal", "secret")
"""From least to most sensitive."""

_EXACT_NAMES = frozenset(
    """amount balance count fee id identifier margin minor number price quantity sequence sum total""".split()
)
_EXACT_TAGS = frozenset(("money", "count", "id", "amount", "identifier"))
_INEXACT = frozenset((("long", "float"), ("long", "double"), ("int", "float")))
_TIMES = ("date", "time", "timestamp", "local-timestamp")
_SEALING = re.compile(r"encrypt|seal|cipher", re.IGNORECASE)
_PRIVACY = re.compile(r"sensitiv|classif|confidential|priva|pii|personal", re.IGNORECASE)
_TAGS = re.compile(r"\btags?\b|_tags?\b", re.IGNORECASE)
_SCOPE = re.compile(r"\bkey|_key|scope|\b[kd]ek\b", re.IGNORECASE)
_CLASS = re.compile(r"retain|retention", re.IGNORECASE)
_UNITS = ("unit", "units", "currency")
_OF_TYPES = ("doc", "logicalType", "precision", "scale")


class Lint(NamedTuple):
    """One finding: `path` is a JSON pointer into the new schema, references to named types followed."""

    rule: str
    path: str
    severity: str
    message: str
    hint: str = ""


def logical(node: Node) -> str:
    """Return a type's logical type, or nothing."""
    found = node.attributes.get("logicalType", "")
    return found if isinstance(found, str) else ""


def attributes_of(field: Field) -> dict[str, Any]:
    """Return what is said of a field: on itself, on its type, and on the branches of its type."""
    found: dict[str, Any] = {}
    for node in (*field.type.branches, field.type):
        if not node.fields:
            found |= {k: v for k, v in node.attributes.items() if k not in _OF_TYPES}
    return found | field.attributes


def nodes_of(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield each type of a schema once, with its JSON pointer."""
    pending, met = [("", root)], set()
    while pending:
        path, node = pending.pop()
        if id(node) in met:
            continue
        met.add(id(node))
        yield path, node
        pending += [(f"{path}/{i}", b) for i, b in enumerate(node.branches)]
        pending += [(f"{path}/fields/{i}/type", f.type) for i, f in enumerate(node.fields)]
        if node.items is not node:
            pending.append((f"{path}/{'items' if node.kind == 'array' else 'values'}", node.items))


class Changes:
    """Compares a new version with an old one. `back`: new reads old; `ahead`: old reads new."""

    def __init__(self, *, back: bool, ahead: bool) -> None:
        self.back, self.ahead = back, ahead
        self._met: set[tuple[int, int]] = set()
        self._found: list[Lint] = []

    def between(self, new: Schema, old: Schema) -> list[Lint]:
        """Return what changed in meaning."""
        self._sealing("", new.root.attributes, old.root.attributes)
        self._types(new.root, old.root, "", exact=False)
        return self._found

    def _add(self, rule: str, path: str, severity: str, message: str, hint: str = "") -> None:
        self._found.append(Lint(rule, path, severity, message, hint))

    def _types(self, new: Node, old: Node, path: str, *, exact: bool) -> None:
        if new.kind == "union" or old.kind == "union":
            self._unions(new, old, path, exact=exact)
            return
        if (id(new), id(old)) in self._met:
            return
        self._met.add((id(new), id(old)))
        if new.kind != old.kind:
            self._promotion(new, old, path, exact=exact)
            return
        self._logical(new, old, path)
        if new.kind == "array":
            self._types(new.items, old.items, f"{path}/items", exact=exact)
        elif new.kind == "map":
            self._types(new.items, old.items, f"{path}/values", exact=exact)
        elif new.kind == "enum":
            self._enum(new, old, path)
        elif new.kind == "record":
            self._record(new, old, path)

    def _unions(self, new: Node, old: Node, path: str, *, exact: bool) -> None:
        union = new.kind == "union"
        now = [(b, f"{path}/{i}") for i, b in enumerate(new.branches)] if union else [(new, path)]
        for branch in old.branches if old.kind == "union" else (old,):
            partner = _partner(branch, now)
            if partner is not None:
                self._types(partner[0], branch, partner[1], exact=exact)
            if old.kind == "union" and all(fits(n, branch) for n, _ in now):
                message = f"the union lost {branch.local}"
                self._add("UNION_NARROWED", path, WARN, message, "keep branches that were written")

    def _promotion(self, new: Node, old: Node, path: str, *, exact: bool) -> None:
        read = [(old.kind, new.kind)] if self.back and resolves(new.kind, old.kind) else []
        read += [(new.kind, old.kind)] if self.ahead and resolves(old.kind, new.kind) else []
        if any(pair in _INEXACT for pair in read):
            message = f"{old.kind} and {new.kind}: large numbers lose their last digits"
            hint = "keep whole numbers, or a decimal"
            self._add("PRECISION_LOST", path, ERROR if exact else WARN, message, hint)
        if {new.kind, old.kind} == {"bytes", "string"}:
            message = f"{old.kind} became {new.kind}: bytes that are no UTF-8 stop the reader"
            self._add("BYTES_STRING", path, ERROR, message, "add a field of the new type instead")
        if resolves(new.kind, old.kind) or resolves(old.kind, new.kind):
            self._logical(new, old, path)

    def _logical(self, new: Node, old: Node, path: str) -> None:
        now, then = logical(new), logical(old)
        at = f"{path}/logicalType" if now else path
        decimal = {"decimal", "big-decimal"} & {now, then}
        if now != then:
            rule, severity = "LOGICAL_TYPE_CHANGED", WARN
            if decimal:
                rule, severity = "DECIMAL_CHANGED", ERROR
            elif _is_time(now) or _is_time(then):
                rule, severity = "TIME_UNIT_CHANGED", ERROR
            message = f"{then or 'plain ' + old.kind} became {now or 'plain ' + new.kind}"
            self._add(rule, at, severity, message, "add a new field instead")
        elif decimal and _digits(new) != _digits(old):
            message = f"precision and scale were {_digits(old)} and are {_digits(new)}"
            hint = "readers differ by a power of ten: add a new field instead"
            self._add("DECIMAL_CHANGED", at, ERROR, message, hint)

    def _enum(self, new: Node, old: Node, path: str) -> None:
        gone = [s for s in old.symbols if s not in new.symbols]
        fresh = [s for s in new.symbols if s not in old.symbols]
        if gone:
            swallowed = new.default is not None or self.back
            message = f"{', '.join(gone)} went"
            message += f" and is read as {new.default}" if new.default is not None else ""
            severity = ERROR if swallowed else WARN
            hint = "never remove a symbol"
            self._add("ENUM_SYMBOL_REMOVED", f"{path}/symbols", severity, message, hint)
        if fresh and self.ahead and old.default is not None:
            message = f"older readers take {', '.join(fresh)} for {old.default}"
            hint = "let readers go first, or add a field"
            self._add("ENUM_SYMBOL_SWALLOWED", f"{path}/symbols", WARN, message, hint)
        kept = [s for s in old.symbols if s in new.symbols]
        if new.default is not None and kept != [s for s in new.symbols if s in old.symbols]:
            message = "symbols changed places in an enum with a default"
            self._add("ENUM_REORDERED", f"{path}/symbols", WARN, message, "add symbols at the end")
        if old.default is not None and new.default != old.default:
            message = f"unknown symbols were read as {old.default}, now as {new.default}"
            severity = ERROR if new.default is not None else WARN
            hint = "keep the default symbol"
            self._add("ENUM_DEFAULT_CHANGED", f"{path}/default", severity, message, hint)
        for name, words in new.attributes.items():
            before = old.attributes.get(name)
            if isinstance(words, dict) and isinstance(before, dict):
                other = [s for s in kept if s in before and words.get(s) != before[s]]
                if other:
                    message = f"{', '.join(other)} got another meaning in {name}"
                    self._add(
                        "ENUM_SYMBOL_REUSED", f"{path}/{name}", ERROR, message, "add a symbol"
                    )

    def _record(self, new: Node, old: Node, path: str) -> None:
        sources = [source(f, old) for f in new.fields]
        readers: dict[str, list[Field]] = {}
        for field, before in zip(new.fields, sources, strict=True):
            if before is not None:
                readers.setdefault(before.name, []).append(field)
        vanished = [f for f in old.fields if f.name not in readers]
        for i, (field, before) in enumerate(zip(new.fields, sources, strict=True)):
            at = f"{path}/fields/{i}"
            if before is None:
                self._renamed(field, vanished, at)
                continue
            self._aliases(field, before, readers[before.name], old, at)
            self._defaults(field, before, at)
            now, then = attributes_of(field), attributes_of(before)
            if now != then:
                self._sensitivity(at, now, then)
                self._sealing(at, now, then)
                self._units(at, now, then)
            if not _plain(field.type, before.type):
                exact = _is_exact(field, now) or _is_exact(before, then)
                self._types(field.type, before.type, f"{at}/type", exact=exact)

    def _renamed(self, field: Field, vanished: list[Field], at: str) -> None:
        """Find a field that appeared where one of its type went, so that a default hides the loss."""
        for gone in vanished:
            hides = (self.back and field.default is not MISSING) or (
                self.ahead and gone.default is not MISSING
            )
            if hides and _same_type(field.type, gone.type):
                message = (
                    f"{gone.name} went and {field.name} came with a default: a rename loses values"
                )
                hint = f'give {field.name} "aliases": ["{gone.name}"] if it was renamed'
                self._add("RENAME_HIDDEN_BY_DEFAULT", at, ERROR, message, hint)
                return

    def _aliases(
        self, field: Field, before: Field, readers: list[Field], old: Node, at: str
    ) -> None:
        claimed = [n for n in dict.fromkeys((field.name, *field.aliases)) if old.field(n)]
        twice = [f for f in readers if f is not field]
        if len(claimed) > 1 or twice:
            message = f"{field.name} could be read from {' or '.join(claimed)}"
            if twice:
                message = f"{field.name} and {twice[0].name} are both read from {before.name}"
            hint = "an alias is a former name of one field only"
            self._add("ALIAS_AMBIGUOUS", f"{at}/aliases", ERROR, message, hint)
        if self.ahead and before.name != field.name and before.default is not MISSING:
            message = (
                f"older readers do not know {field.name} and take the default of {before.name}"
            )
            hint = "write both names until no older reader is left"
            self._add("RENAME_HIDDEN_BY_DEFAULT", at, WARN, message, hint)

    def _defaults(self, field: Field, before: Field, at: str) -> None:
        both = field.default is not MISSING and before.default is not MISSING
        if both and (
            field.default != before.default or type(field.default) is not type(before.default)
        ):
            message = f"{before.default!r} became {field.default!r} where the field is missing"
            hint = "records without the field change their meaning: add a new field instead"
            self._add("DEFAULT_CHANGED", f"{at}/default", WARN, message, hint)

    def _sensitivity(self, at: str, now: dict[str, Any], then: dict[str, Any]) -> None:
        said, before = now.get("sensitivity"), then.get("sensitivity")
        known = said in SENSITIVITIES and before in SENSITIVITIES
        lost = [str(before)] if before and said != before else []
        if known and SENSITIVITIES.index(said) > SENSITIVITIES.index(before):
            lost = []
        for name in then:
            if _TAGS.search(name):
                lost += _lost(now.get(name), then[name])
            elif (
                _PRIVACY.search(name) and name != "sensitivity" and then[name] and not now.get(name)
            ):
                lost.append(name)
        if lost:
            message = f"the field was {', '.join(lost)}: plaintext would begin to flow"
            hint = "keep the tag, or have a second person approve the change"
            self._add("SENSITIVITY_REMOVED", at, ERROR, message, hint)
        if then.get("subject") and now.get("subject") != then["subject"]:
            message = (
                f"whose data it is was said by {then['subject']!r}, now {now.get('subject')!r}"
            )
            self._add("SUBJECT_CHANGED", at, ERROR, message, "have a second person approve it")

    def _sealing(self, at: str, now: dict[str, Any], then: dict[str, Any]) -> None:
        for name, before in then.items():
            if now.get(name) == before or not before:
                continue
            if _SEALING.search(name):
                if now.get(name):
                    message = f"{name} was {before!r} and is {now[name]!r}"
                    self._add("KEY_SCOPE_CHANGED", at, ERROR, message, "have it approved")
                else:
                    message = f"{name} went: the field would stand in clear"
                    self._add("ENCRYPTION_REMOVED", at, ERROR, message, "keep it sealed")
            elif _SCOPE.search(name) or _CLASS.search(name):
                keyed = _SCOPE.search(name) or then.get("sensitivity") in SENSITIVITIES[2:]
                message = (
                    f"{name} was {before!r} and is {now.get(name)!r}: another key would seal it"
                )
                owned = "subject" in then or any(map(_SEALING.search, then))
                severity = ERROR if keyed or owned else WARN
                self._add("KEY_SCOPE_CHANGED", at, severity, message, "add a new field instead")

    def _units(self, at: str, now: dict[str, Any], then: dict[str, Any]) -> None:
        for name in _UNITS:
            if name in then and now.get(name) != then[name]:
                message = f"{name} was {then[name]!r} and is {now.get(name)!r}"
                self._add("UNIT_CHANGED", at, ERROR, message, "add a new field instead")


def _plain(new: Node, old: Node) -> bool:
    """Tell whether two types are alike and nothing more is said of them."""
    if not alike(new, old):
        return False
    return not any(n.attributes for n in (new, old, *new.branches, *old.branches))


def _partner(old: Node, now: list[tuple[Node, str]]) -> tuple[Node, str] | None:
    """Return the branch that takes an old one: the same type first, then a promotion either way."""
    for new, path in now:
        if new.kind == old.kind and (not old.name or named_alike(new, old)):
            return new, path
    back = (pair for pair in now if resolves(pair[0].kind, old.kind))
    ahead = (pair for pair in now if resolves(old.kind, pair[0].kind))
    return next((p for p in (*back, *ahead) if p[0].kind != old.kind), None)


def _is_time(name: str) -> bool:
    return name == "duration" or any(name == t or name.startswith(f"{t}-") for t in _TIMES)


def _digits(node: Node) -> tuple[Any, Any]:
    return node.attributes.get("precision"), node.attributes.get("scale", 0)


def _core(node: Node) -> list[Node]:
    return [b for b in (node.branches or (node,)) if b.kind != "null"]


def _same_type(new: Node, old: Node) -> bool:
    """Tell whether two fields may be one renamed: the same type, null aside."""
    now, then = _core(new), _core(old)
    if not now or not then or new.kind == old.kind == "null":
        return new.kind == old.kind
    return all(
        any(n.kind == o.kind and (not o.name or named_alike(n, o)) and _like(n, o) for n in now)
        for o in then
    )


def _like(new: Node, old: Node) -> bool:
    if logical(new) != logical(old):
        return False
    return new.items is new or old.items is old or _same_type(new.items, old.items)


def _is_exact(field: Field, attributes: dict[str, Any]) -> bool:
    """Tell whether a field holds money, a count or an id: by its tags, or by its name."""
    words = set(re.split(r"_|(?<=[a-z])(?=[A-Z])", field.name))
    if _EXACT_NAMES & {w.lower() for w in words}:
        return True
    said = [t for v in attributes.values() for t in (v if isinstance(v, list) else [v])]
    return any(isinstance(t, str) and t.lower() in _EXACT_TAGS for t in said)


def _lost(now: Any, then: Any) -> list[str]:
    """Return the tags that went, where tags are one text or a list of them."""
    before, after = (v if isinstance(v, list) else [v] for v in (then or [], now or []))
    return [str(t) for t in before if t not in after]
