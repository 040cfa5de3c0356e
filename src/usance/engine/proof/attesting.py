"""Attestation of heads from outside: witnesses cosign them, a time authority and a safe anchor them.

A part of its own, so that a witness that does not answer never holds up a head. Only the log of heads is shown
to witnesses: one request a second, however many partitions there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from usance.audit.codes import Detected
from usance.audit.merkle import consistency_proof, verify_consistency
from usance.audit.note import (
    Checkpoint,
    Signature,
    Verifier,
    open_checkpoint,
    parse_checkpoint,
    parse_note,
)
from usance.audit.ports import LastHead, TileStore, TimeAuthority, Witness, WormStore
from usance.audit.tiles import Tiles
from usance.engine.logs import logger
from usance.engine.proof.notary import HeadBoard, Progress
from usance.engine.proof.sealing import Origins
from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable

ANCHOR_EVERY_S = 3_600.0
RETRY_S = 5.0
LOOK_S = 0.05
TRIES = 3
ANCHORS = "heads"
STAMP = ".tsr"
HEAD = ".checkpoint"

_log = logger("attesting")


def anchor_name(size: int) -> str:
    """Return the name under which a head of the log of heads is kept in a safe."""
    return f"{ANCHORS}/{size:020d}{HEAD}"


class Attestor:
    """Shows each new head to the witnesses, and puts some of them into the safe."""

    def __init__(
        self,
        board: HeadBoard,
        tiles: TileStore,
        origins: Origins,
        log: Verifier,
        clock: Clock,
        *,
        witnesses: Sequence[Witness] = (),
        authority: TimeAuthority | None = None,
        safe: WormStore | None = None,
        active: Callable[[], bool] = lambda: True,
        anchor_every_s: float = ANCHOR_EVERY_S,
    ) -> None:
        self.board = board
        self.tiles = tiles
        self.origins = origins
        self.log = log
        self.clock = clock
        self.witnesses = witnesses
        self.authority = authority
        self.safe = safe
        self.active = active
        self.anchor_every_s = anchor_every_s
        self.trouble = ""
        self.witnessed = Progress(0, 0, 0.0)
        self.anchored = Progress(0, 0, 0.0)
        self._seen: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._signatures: dict[int, list[Signature]] = {}
        self._anchor_due = 0.0

    # -- before anything is signed

    def check(self, last: Mapping[str, LastHead]) -> None:
        """Hold our last head against what others have seen; raises Detected where ours is behind."""
        head = last.get(self.origins.heads)
        size = head.size if head else 0
        if self.safe is not None and (newest := self._newest_anchor()) is not None:
            self._demand(newest, size, "the safe")
        raw = self.board.raw()
        if raw is None:
            return
        for witness in self.witnesses:
            try:
                self._ask(witness, raw)
            except Unavailable as away:
                self.trouble = away.message

    def _newest_anchor(self) -> bytes | None:
        assert self.safe is not None
        names = [n for n in self.safe.names(f"{ANCHORS}/") if n.endswith(HEAD)]
        return self.safe.read(names[-1]) if names else None

    def _demand(self, raw: bytes, size: int, who: str) -> None:
        """Raise Detected unless a head that somebody kept is one of our past."""
        kept = open_checkpoint(raw, self.log)
        if kept.size > size:
            raise Detected(
                "ROLLBACK",
                f"{who} keeps a head of {kept.size} heads, there are {size} here",
                where=self.origins.heads,
                hint="An older state was put in place: bring back the newer one; nothing was signed.",
            )
        tiles = self._tiles(size)
        proof = consistency_proof(kept.size, size, tiles.node)
        if not verify_consistency(kept.size, size, kept.root, tiles.root(), proof):
            raise Detected(
                "ANCHOR_MISMATCH",
                f"the head of {kept.size} heads that {who} keeps is not of this history",
                where=self.origins.heads,
            )

    # -- running

    def step(self, wait: float = 0.0) -> int:
        """Attest the newest head; returns how many heads were witnessed or anchored."""
        raw = self.board.raw() if self.active() else None
        head = parse_checkpoint(parse_note(raw).text) if raw else None
        if raw is None or head is None or not self._work(head):
            if wait:
                self.clock.sleep(min(wait, LOOK_S))
            return 0
        done = 0
        progress = next((p for p in self.board.progress if p.size >= head.size), None)
        for witness in self.witnesses:
            if self._seen.get(witness.name, -1) < head.size and self._may(witness):
                done += self._try(witness, raw)
        if progress and all(self._seen.get(w.name, -1) >= head.size for w in self.witnesses):
            self.witnessed = progress
        if self._anchor_is_due(head):
            done += self._anchor(head, progress)
        return done

    def _work(self, head: Checkpoint) -> bool:
        waits = any(self._seen.get(w.name, -1) < head.size and self._may(w) for w in self.witnesses)
        return waits or head.size > self.witnessed.size or self._anchor_is_due(head)

    def _may(self, witness: Witness) -> bool:
        return self.clock.monotonic() >= self._retry_at.get(witness.name, 0.0)

    def _try(self, witness: Witness, raw: bytes) -> int:
        try:
            signatures = self._ask(witness, raw)
        except Unavailable as away:
            self.trouble = away.message
            self._retry_at[witness.name] = self.clock.monotonic() + RETRY_S
            return 0
        self.trouble = ""
        self.board.cosigned(raw, signatures)
        return 1

    def _ask(self, witness: Witness, raw: bytes) -> tuple[Signature, ...]:
        """Return a witness's signatures of a head, after telling it what it has not seen."""
        head = parse_checkpoint(parse_note(raw).text)
        tiles = self._tiles(head.size)
        for _ in range(TRIES):
            old = self._seen.get(witness.name, 0)
            answer = witness.add_checkpoint(old, consistency_proof(old, head.size, tiles.node), raw)
            if answer.signatures:
                self._seen[witness.name] = head.size
                return answer.signatures
            if answer.size > head.size:
                raise Detected(
                    "ROLLBACK",
                    f"witness {witness.name} has seen {answer.size} heads, there are {head.size} here",
                    where=self.origins.heads,
                    hint="An older state was put in place: bring back the newer one.",
                )
            self._seen[witness.name] = answer.size
        raise Unavailable(
            f"witness {witness.name} names another size each time", hint="Ask its operator."
        )

    def _anchor_is_due(self, head: Checkpoint) -> bool:
        if self.safe is None or head.size == self.anchored.size:
            return False
        return self.clock.monotonic() >= self._anchor_due

    def _anchor(self, head: Checkpoint, progress: Progress | None) -> int:
        """Put a head, with all its cosignatures, into the safe; with a time stamp where there is one."""
        assert self.safe is not None
        raw = self.board.raw()
        if raw is None or parse_checkpoint(parse_note(raw).text).size != head.size:
            return 0
        try:
            name = anchor_name(head.size)
            kept = name in self.safe.names(name)
            if not kept:
                self.safe.put(name, raw)
            if self.authority is not None and not kept:
                self.safe.put(name.removesuffix(HEAD) + STAMP, self.authority.stamp(raw))
        except Unavailable as away:
            self.trouble = away.message
            self._anchor_due = self.clock.monotonic() + RETRY_S
            return 0
        self._anchor_due = self.clock.monotonic() + self.anchor_every_s
        self.anchored = progress or Progress(head.size, 0, self.clock.monotonic())
        reached = min(self.anchored.size, self.witnessed.size)
        self.board.progress[:] = [p for p in self.board.progress if p.size > reached]
        return 1

    def _tiles(self, size: int) -> Tiles:
        folder = self.origins.folder(self.origins.heads)
        return Tiles(size, lambda path: self.tiles.read(f"{folder}/{path}"))

    def waiting(self, leaves: int) -> dict[str, tuple[int, float]]:
        """Return, of the leaves under signed heads, how many no witness and no anchor covers, and age (s)."""
        now = self.clock.monotonic()
        found = {}
        for stage, reached in (("witnessed", self.witnessed), ("anchored", self.anchored)):
            later = [p for p in list(self.board.progress) if p.size > reached.size]
            age = now - later[0].since if later else 0.0
            found[stage] = (max(0, leaves - reached.leaves) if later else 0, age)
        return found

    def close(self) -> None:
        """Attest the last head once more, whatever is due."""
        self._anchor_due = 0.0
        self._retry_at.clear()
        self.step()
