"""The verdict on a new version of a schema: whether it breaks history or changes its meaning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Schema
from usance.messages.catalogue import default
from usance.messages.compatibility import MODES, Violation, check_versions
from usance.messages.schema_changes import ERROR, Lint
from usance.messages.schema_lints import lint_versions

UNREADABLE = "UNREADABLE"
"""The rule of a violation that says that an input could not be judged."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Violations break reading; lints read and mean something else. Neither list is shortened."""

    compatible: bool
    violations: list[Violation]
    lints: list[Lint]

    @property
    def readable(self) -> bool:
        """Tell whether the schemas could be parsed at all."""
        return all(v.rule != UNREADABLE for v in self.violations)

    @property
    def clean(self) -> bool:
        """Tell whether nothing is lost: compatible, and no lint of severity `error`."""
        return self.compatible and all(lint.severity != ERROR for lint in self.lints)

    def shown(self) -> dict[str, Any]:
        """Return it as it is printed."""
        return {
            "compatible": self.compatible,
            "violations": [v._asdict() for v in self.violations],
            "lints": [{"rule": x.rule, "path": x.path, "severity": x.severity} for x in self.lints],
        }


def judge(new: Schema, earlier: Sequence[Schema], mode: str, kind: str = "") -> Verdict:
    """Return the verdict on a version against earlier ones (oldest first) at a level.

    `kind` is "event" or "command" where the caller knows it; of this program's own messages it is known.
    """
    violations = check_versions(new, earlier, mode)
    if not kind and new.fullname.startswith("usance."):
        known = default().by_name.get(new.fullname)
        kind = known.kind if known is not None else ""
    lints = lint_versions(new, earlier, mode, kind)
    return Verdict(compatible=not violations, violations=violations, lints=lints)


def unreadable(path: str, reason: str, hint: str) -> Verdict:
    """Return the verdict on an input that cannot be judged; `path` says which part of it."""
    violation = Violation(UNREADABLE, path, reason, hint)
    return Verdict(compatible=False, violations=[violation], lints=[])


def judge_line(line: bytes | str) -> tuple[Any, Verdict]:
    """Return id and verdict of one line `{"id", "mode", "new", "old": [oldest, ..., newest]}`; never raises."""
    hint = 'write {"id": ..., "mode": "FULL_TRANSITIVE", "new": {...}, "old": [{...}, ...]}'
    try:
        asked = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None, unreadable("", "the line is not JSON", hint)
    if not isinstance(asked, dict):
        return None, unreadable("", "the line is no JSON object", hint)
    name = asked.get("id")
    mode = asked.get("mode")
    mode = mode.upper() if isinstance(mode, str) else ""
    if mode not in MODES:
        return name, unreadable("/mode", "unknown mode", f"use one of {', '.join(MODES)}")
    if "new" not in asked or "old" not in asked:
        lacking = "new" if "new" not in asked else "old"
        return name, unreadable(f"/{lacking}", f"the line has no {lacking}", hint)
    if not isinstance(asked["old"], list):
        return name, unreadable("/old", "the earlier versions are no list", hint)
    places = {"/new": asked["new"]} | {f"/old/{i}": spec for i, spec in enumerate(asked["old"])}
    schemas = []
    for path, spec in places.items():
        try:
            schemas.append(Schema(_text(spec), lenient=True))
        except Unreadable as error:
            return name, unreadable(path, error.reason, error.hint)
    try:
        return name, judge(schemas[0], schemas[1:], mode)
    except RecursionError:
        return name, unreadable("", "types nested too deeply", "refer to inner types by name")


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _text(spec: Any) -> str:
    """Return a schema's text; one that stands as text within JSON is taken as that text."""
    is_text = isinstance(spec, str) and spec.lstrip()[:1] in ("{", "[", '"')
    return spec if is_text else json.dumps(spec)
