"""The stable codes by which evidence of tampering is named; see `docs/proof.md` for the attacks."""

from __future__ import annotations

from typing import Literal

from usance.kernel.errors import Tampered

Code = Literal[
    "AAD_MISMATCH",
    "ANCHOR_MISMATCH",
    "BAD_SIGNATURE",
    "CHAIN_BREAK",
    "CLOCK_SKEW",
    "CONFIG_UNSEALED",
    "FORK",
    "HEAD_AGE",
    "INDEX_GAP",
    "INCOMPLETE",
    "KEY_COMMITMENT",
    "KEY_MISSING",
    "KEY_RECORD",
    "KEY_STATE",
    "LEAF_MISMATCH",
    "MALFORMED",
    "MISSING_PREFIX",
    "NODE_AS_LEAF",
    "ORPHAN_EVENT",
    "PACK_ALTERED",
    "PROOF_INVALID",
    "RECEIPT_UNMET",
    "RECORD_DAMAGED",
    "ROLLBACK",
    "SAME_PERSON",
    "SCHEMA_SWAPPED",
    "SHRED_UNDER_HOLD",
    "SNAPSHOT_MISMATCH",
    "STALE_HEAD",
    "TILE_MISMATCH",
    "TIME_REGRESSION",
    "UNKNOWN_KEY",
    "VIEW_DRIFT",
    "WITNESS_REFUSED",
    "WRONG_ORIGIN",
]


class Detected(Tampered):
    """Evidence of tampering: a stable code, where it was found, what is wrong, what to do."""

    def __init__(self, code: Code, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(
            f"{code}: {message}",
            hint=hint or "Keep a copy of everything as evidence before anything is restored.",
        )
        self.code: Code = code
        self.reason = message
        self.where = where


def malformed(what: str) -> Detected:
    """Return the finding for bytes that no honest writer makes."""
    return Detected("MALFORMED", what, hint="Ask for the file again, from its author.")
