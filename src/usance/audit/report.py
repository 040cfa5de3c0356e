"""What a verification found: one report per tree, and the first wrong record of each."""

from __future__ import annotations

import msgspec

from usance.audit.codes import Code, Detected


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence: a stable code, where (`trade.events/p000#17` is index 17), what, and what to do."""

    code: Code
    where: str
    reason: str
    hint: str = ""

    @classmethod
    def of(cls, found: Detected, where: str = "") -> Finding:
        """Return a finding from what a check raised."""
        return cls(
            code=found.code,
            where=found.where or where,
            reason=found.reason,
            hint=found.hint,
        )


class TreeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One tree: leaves under its signed head that were derived again, and records not sealed yet."""

    folder: str
    size: int
    root: bytes
    unsealed: int = 0
    finding: Finding | None = None


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole: trees, what else is wrong, and notes about what could not be judged.

    `trusted` says where the keys come from; `since` is the size of the old head that was extended.
    """

    trees: list[TreeReport]
    findings: list[Finding]
    notes: list[str]
    heads: int
    anchors: int
    witnessed_at: int | None
    trusted: str
    since: int | None = None

    @property
    def whole(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.findings

    @property
    def leaves(self) -> int:
        """Leaves derived again from the log."""
        return sum(tree.size for tree in self.trees)
