"""Upcasters: what an older record means today, where a field's default alone would say it wrongly.

They run at one choke point, `usance.messages.avro.modernise`, whatever reads: replay, projections, redrive,
export. Resolution comes first, so a step gets a record of the newest shape in which fields that its version
lacked have their defaults, and fills them from what is there. Steps are chained by version.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from usance.kernel.errors import Unreadable
from usance.messages.avro_schema import Node

if TYPE_CHECKING:
    from usance.messages.catalogue import MessageType

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A pure and total function: a record of version n in the newest shape, raised to version n + 1."""

Steps = Mapping[tuple[str, int], Upcaster]


class Upcasters:
    """Steps by full name and the version that they raise."""

    def __init__(self, steps: Steps | None = None) -> None:
        self._steps = dict(steps or {})

    def add(self, fullname: str, version: int, step: Upcaster) -> None:
        """Register the step from `version` to the next; one step per version."""
        assert (fullname, version) not in self._steps, "one upcaster per version"
        self._steps[fullname, version] = step

    def touch(self, fullname: str, version: int, newest: int) -> bool:
        """Tell whether any step lies between two versions."""
        return any((fullname, n) in self._steps for n in range(version, newest))

    def raise_to(
        self, fullname: str, version: int, newest: int, record: dict[str, Any]
    ) -> dict[str, Any]:
        """Apply the steps from `version` up to `newest` in order; raises Unreadable where one fails."""
        for n in range(version, newest):
            step = self._steps.get((fullname, n))
            if step is not None:
                try:
                    record = step(record)
                except Exception as bug:
                    reason = f"the upcaster of version {n} failed ({type(bug).__name__})"
                    hint = "an upcaster must be total: mend it, then redrive"
                    raise Unreadable("upcast", reason, hint=hint) from bug
        return record

    def check(self, types: Mapping[str, MessageType]) -> None:
        """Check every step, on a record with nothing in it, against the versions that exist.

        `types` are those of a catalogue by full name. Raises Unreadable; programs call it at their start.
        """
        for (fullname, version), step in sorted(self._steps.items(), key=lambda s: s[0]):
            entry = types.get(fullname)
            if entry is None or not {version, version + 1} <= set(entry.versions):
                raise _wrong(fullname, version, "raises a version that does not exist")
            before = blank(entry.schema.root)
            given = copy.deepcopy(before)
            try:
                first, second = step(given), step(copy.deepcopy(before))
            except Exception as bug:
                raise _wrong(fullname, version, f"raises {type(bug).__name__}") from bug
            if given != before:
                raise _wrong(fullname, version, "changes the record that it is given")
            if first != second or set(first) != set(before):
                raise _wrong(fullname, version, "is not a function from record to record")


def blank(node: Node) -> Any:
    """Return the emptiest value of a type, as a plain one."""
    match node.kind:
        case "record":
            return {f.name: blank(f.type) for f in node.fields}
        case "union":
            return None if any(b.kind == "null" for b in node.branches) else blank(node.branches[0])
        case "array":
            return []
        case "map":
            return {}
        case "enum":
            return node.symbols[0]
        case "fixed":
            return bytes(node.size)
    return {"string": "", "bytes": b"", "boolean": False, "null": None}.get(node.kind, 0)


def _wrong(fullname: str, version: int, words: str) -> Unreadable:
    hint = "correct usance/messages/upcasting.py"
    return Unreadable("upcast", f"the upcaster of {fullname} version {version} {words}", hint=hint)


def _expired_v1(record: dict[str, Any]) -> dict[str, Any]:
    """Version 1 did not say that article 29a had moved the last day, but held both days."""
    return record | {"extended": record["last_day"] > record["expiry_date"]}


def _hold_v1(record: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew one hold of a subject, without an id: `engine.secrecy.ONLY_HOLD`."""
    return record | {"hold": "H0"}


UPCASTERS = Upcasters(
    {
        ("usance.trade.CreditExpired", 1): _expired_v1,
        ("usance.system.HoldPlaced", 1): _hold_v1,
        ("usance.system.HoldReleased", 1): _hold_v1,
        ("usance.system.LiftHold", 1): _hold_v1,
    }
)
"""The steps of this program's messages."""
