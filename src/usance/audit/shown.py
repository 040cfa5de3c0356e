"""What a program shows of its log's proof: heads, witnesses, anchors, stages, and one event's whole proof.

Nothing here is to be believed: each answer carries what its reader needs to verify it, and no key that he
should trust. Binary values are base64, roots in hex where people read them.
"""

from __future__ import annotations

import msgspec


class TreeHead(msgspec.Struct, frozen=True, kw_only=True):
    """One tree: its name, its files (`/audit/log/<folder>/`), its signed head, when its last leaf was kept.

    `sealed_at` is the append time (ms UTC) of the last record below the head, 0 for none.
    """

    folder: str
    origin: str
    size: int
    root: str
    sealed_at: int = 0
    checkpoint: str = ""


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """The signed head of the log of heads, and those of all trees.

    `since` is the consistency proof from the size that was asked for; empty where there is none. `policy` says
    which keys the program itself trusts: compare them with those you were given.
    """

    origin: str
    size: int
    root: str
    checkpoint: str
    since: list[str]
    policy: str
    trees: list[TreeHead]


class EventProof(msgspec.Struct, frozen=True, kw_only=True):
    """One event's proof: its stored bytes, its leaf, the leaf in its tree, that tree's head in the log of heads.

    `proof` and `head_proof` are C2SP tlog-proofs with their checkpoints; the second's entry is the first's
    checkpoint. `envelope` is the stored bytes that the leaf commits to. `since_tree` and `since_heads` are the
    consistency proofs from the sizes that were asked for. `stage`: sealed | witnessed | anchored.
    """

    event_id: str
    type: str
    stream: str
    instant: int
    place: str
    folder: str
    origin: str
    heads: str
    index: int
    stage: str
    envelope: str
    leaf: str
    proof: str
    entry: str
    head_proof: str
    since_tree: list[str]
    since_heads: list[str]
    policy: str


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """How many records have not reached a stage, and for how long (s) the oldest of them waits."""

    name: str
    waiting: int
    age: float


class WitnessSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A witness that the policy names; `at` is when (s UTC) it cosigned the newest head, 0 for not yet."""

    name: str
    key: str
    at: int
    own: bool


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """A head in the safe; `stamped`: with a time stamp of a third party."""

    name: str
    size: int
    stamped: bool


class Scrubbed(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest kept verification found, and when (s UTC); `note` is its name in the safe."""

    at: int
    note: str
    leaves: int
    heads: int
    anchors: int
    findings: list[dict[str, str]]


class AuditStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where proving stands. `stages` is empty where this process runs no notary; `trouble` says what is wrong.

    `kept` counts the anchors, of which `anchors` are the newest; `quorum` tells whether enough of the policy's
    witnesses cosigned the newest head.
    """

    origin: str
    size: int
    root: str
    key: str
    stages: list[Stage]
    witnesses: list[WitnessSeen]
    quorum: bool
    safe: str
    anchors: list[Anchor]
    kept: int
    scrubbed: Scrubbed | None
    trees: list[TreeHead]
    trouble: list[str]
