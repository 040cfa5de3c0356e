"""Verifying the log of heads, and holding it against everything that others keep of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from usance.audit.codes import Detected
from usance.audit.merkle import prefix_root
from usance.audit.note import (
    COSIGNATURE,
    Checkpoint,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_note,
)
from usance.audit.ports import LastHead, TileStore, WormStore
from usance.audit.proof import Policy
from usance.audit.report import Finding
from usance.audit.tiles import CHECKPOINT, TILE_WIDTH, Edge, Tiles
from usance.engine.proof.attesting import ANCHORS, HEAD
from usance.engine.proof.audit_tree import LastHeads, rollback, settled_head
from usance.engine.proof.sealing import JournalEntry, Origins, journal_entry
from usance.kernel.clock import MS_PER_SECOND

SKEW_S_MAX = 60
"""Seconds that the log's clock may differ from a witness's."""


class HeadsSeen(NamedTuple):
    """The log of heads as verified: its head, anchors that fit, and when it was last cosigned."""

    size: int
    anchors: int
    witnessed_at: int | None


class HeadsAudit:
    """Verifies the log of heads of one log.

    `heads` are the partitions' heads that hold; `broken` names the trees of which something else is already
    known to be wrong; `present` returns the trees that the log has partitions of now. `pinned` tells that
    keys were pinned when a notary first ran, `own_witness` that our own witness must have cosigned. `witness`
    is the head that it saw last: empty where it saw none, None where nothing is kept of it.
    """

    def __init__(
        self,
        origins: Origins,
        tiles: TileStore,
        policy: Policy,
        last: LastHeads,
        heads: Mapping[str, Checkpoint],
        *,
        broken: Collection[str] = (),
        present: Callable[[], Collection[str]] = tuple,
        safe: WormStore | None = None,
        witness: bytes | None = None,
        pinned: bool = False,
        own_witness: bool = False,
        now_ms: int | None = None,
        max_age_s: int | None = None,
    ) -> None:
        self.origins = origins
        self.tiles = tiles
        self.policy = policy
        self.last = last
        self.heads = heads
        self.broken = broken
        self.present = present
        self.safe = safe
        self.witness = witness
        self.pinned = pinned
        self.own_witness = own_witness
        self.now_ms = now_ms
        self.max_age_s = max_age_s
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.started: JournalEntry | None = None
        """The newest start of the notary that is in the log of heads."""
        self.births: set[bytes] = set()
        """Digests of the genesis record as the notary found it, at all of its starts."""
        self._cosigned: int | None = None
        self._trees: dict[str, Tiles] = {}

    def verify(self) -> HeadsSeen:
        """Return what was seen; what is wrong is in `findings`."""
        size, anchors, at = 0, 0, None
        try:
            origin = self.origins.heads
            head, last = settled_head(self.tiles, self.last, self.policy, origin, self._folder)
            if head is None:
                self._demand_never_sealed()
                return HeadsSeen(0, 0, None)
            size = head.size
            self._demand_last(head, last)
            at = self._cosigned_at(self.tiles.read(f"{self._folder}/{CHECKPOINT}"))
            self._demand_tree(head)
            self._demand_kept(head)
            anchors = self._anchors(head)
            self._find_emptied(head, anchors, at)
        except Detected as found:
            self.findings.append(Finding.of(found, self.origins.heads))
        return HeadsSeen(size, anchors, at)

    @property
    def _folder(self) -> str:
        return self.origins.folder(self.origins.heads)

    def _demand_never_sealed(self) -> None:
        """Raise Detected where there is no head, and somebody knows that there was one."""
        kept = sum(name.endswith(HEAD) for name in self._kept())
        for known, who in (
            (self.witness, "a witness has seen one"),
            (kept, f"{kept} are kept in the safe"),
            (self.pinned, "keys were pinned when the notary first ran"),
        ):
            if known:
                raise rollback(self.origins.heads, f"no head is here, and {who}")
        self.notes.append("No head was ever signed: the notary has not run.")

    def _find_emptied(self, head: Checkpoint, anchors: int, at: int | None) -> None:
        """What a head is held against must be there: who puts an older state in place removes it too."""
        missing = []
        if self.pinned and not self.last.known:
            missing.append("the last heads, which are kept apart from the tiles, are gone")
        if self.own_witness and not self.witness and (self.witness is None or at is not None):
            missing.append("what our own witness saw last is gone")
        if not anchors:
            missing.append("no head is kept in the safe")
        for what in missing:
            why = f"{head.size} heads were signed, and {what}"
            self.findings.append(
                Finding(
                    code="ROLLBACK",
                    where=head.origin,
                    reason=why,
                    hint="Nothing shows that this is the newest state: bring back what is missing, or"
                    " hold this against a head that you kept (--since).",
                )
            )

    def _kept(self) -> list[str]:
        return self.safe.names(f"{ANCHORS}/") if self.safe is not None else []

    def _demand_last(self, head: Checkpoint, last: LastHead | None) -> None:
        if last is None:
            self.notes.append(
                "There are no last heads beside the tiles: a rollback cannot be seen."
            )
        elif last.size != head.size:
            why = f"a head of {head.size} is published, the last one signed has {last.size}"
            raise rollback(head.origin, why)
        elif last.root != head.root:
            raise Detected("FORK", f"two heads have {head.size} leaves", where=head.origin)

    # -- witnesses

    def _cosigned_at(self, raw: bytes) -> int | None:
        """Return when (Unix seconds) the quorum had cosigned; raises Detected(STALE_HEAD) if asked to."""
        key = self.policy.log(self.origins.heads)
        opened = open_note(raw, [key, *self.policy.witnesses.values()])
        cosigners = [v for v in opened.signers if v.kind == COSIGNATURE]
        at = min(opened.times.values(), default=None)
        if not self.policy.satisfied(cosigners):
            self.notes.append("The newest head of heads is not cosigned by a quorum yet.")
            at = None
        if self.max_age_s is not None and self.now_ms is not None:
            age = self.now_ms // MS_PER_SECOND - at if at is not None else None
            if age is None or age > self.max_age_s:
                old = "without cosignatures" if age is None else f"{age} s old"
                raise Detected(
                    "STALE_HEAD",
                    f"the newest head is {old}, {self.max_age_s} s are allowed",
                    where=self.origins.heads,
                    hint="An old head may be shown in the place of the present one: ask a witness.",
                )
        return at

    def _demand_kept(self, head: Checkpoint) -> None:
        """Hold the head against what a witness saw last."""
        if not self.witness:
            return
        seen = open_checkpoint(self.witness, self.policy.log(self.origins.heads))
        if seen.size > head.size:
            why = f"a witness has seen {seen.size} heads, {head.size} are here"
            raise rollback(head.origin, why)
        if self._root_at(seen, head.size) != seen.root:
            raise Detected(
                "WITNESS_REFUSED",
                f"a witness cosigned another history at {seen.size} heads",
                where=head.origin,
            )

    # -- the tree

    def _demand_tree(self, head: Checkpoint) -> None:
        edge, stored = Edge(), self._tiles(head.size)
        for number in range(-(-head.size // TILE_WIDTH)):
            for path, data in edge.extend(self._bundle(stored, number)).items():
                self._demand_file(path, data)
        for path, data in edge.partials().items():
            self._demand_file(path, data)
        if edge.root() != head.root:
            raise self._tile("the heads that were logged do not make the root that was signed")
        newest: dict[str, Checkpoint] = {}
        for index, entry in enumerate(self._entries(stored)):
            newest |= self._demand_entry(index, entry, newest)
        for origin, shown in self.heads.items():
            logged = newest.get(origin)
            if logged is None or logged.size < shown.size:
                self.notes.append(f"The head of {origin} is not in the log of heads yet.")
            elif logged.size == shown.size and logged != shown:
                raise Detected(
                    "FORK", f"the log of heads has {logged.size} leaves of {origin}", where=origin
                )
        self._find_dropped(newest)

    def _find_dropped(self, newest: Mapping[str, Checkpoint]) -> None:
        """A partition whose head was logged must be here still, though nothing else here knows of it."""
        for origin, logged in newest.items():
            if origin in self.heads or origin in self.broken or self._came_meanwhile(logged):
                continue
            why = f"a head of {logged.size} leaves was logged, and neither records nor a head are here"
            self.findings.append(Finding.of(rollback(origin, why)))

    def _came_meanwhile(self, logged: Checkpoint) -> bool:
        """Tell whether a notary at work sealed a partition for the first time after it was looked at."""
        if logged.origin not in self.present():
            return False
        try:
            return self._present(logged.origin) >= logged.size
        except FileNotFoundError:
            return False

    def _bundle(self, stored: Tiles, number: int) -> list[bytes]:
        try:
            return stored.bundle(number)
        except FileNotFoundError as gone:
            raise self._tile(f"a bundle of the log of heads is missing: {gone}") from gone

    def _entries(self, stored: Tiles) -> Iterator[bytes]:
        for number in range(-(-stored.size // TILE_WIDTH)):
            yield from stored.bundle(number)

    def _demand_entry(
        self, index: int, entry: bytes, newest: Mapping[str, Checkpoint]
    ) -> dict[str, Checkpoint]:
        """Check one logged head: signed by its log, larger than the one before, and of its present tree."""
        text = parse_note(entry).text
        if text.startswith(f"{self.origins.journal}\n"):
            self._journal(entry)
            return {}
        old = open_checkpoint(entry, self.policy.log(parse_checkpoint(text).origin))
        before = newest.get(old.origin)
        if before is not None and before.size >= old.size:
            why = f"head {index} of {old.origin} is not larger than the one before it"
            raise Detected("FORK", why, where=f"{self.origins.heads}#{index}")
        now = self.heads.get(old.origin)
        if now is None:
            return {old.origin: old}
        if old.size > now.size and old.size > self._present(old.origin):
            why = f"a head of {old.size} leaves was logged, {now.size} are published"
            raise rollback(old.origin, why)
        if self._root_at(old, max(old.size, now.size)) != old.root:
            raise Detected(
                "FORK",
                f"two signed histories of {old.origin} differ within {old.size} leaves",
                where=f"{self.origins.heads}#{index}",
                hint="Both heads are signed by the log's key: together they prove it. Keep them.",
            )
        return {old.origin: old}

    def _journal(self, entry: bytes) -> None:
        """Take a note of the notary's own: signed by the key of the log of heads, under its own name."""
        key = self.policy.log(self.origins.heads)._replace(name=self.origins.journal)
        self.started = journal_entry(open_note(entry, [key]).text)
        if self.started.genesis:
            self.births.add(self.started.genesis)

    def _present(self, origin: str) -> int:
        """Return the size that is published now: a notary at work may have gone on meanwhile."""
        raw = self.tiles.read(f"{self.origins.folder(origin)}/{CHECKPOINT}")
        return open_checkpoint(raw, self.policy.log(origin)).size

    def _demand_file(self, path: str, data: bytes) -> None:
        folder = self.origins.folder(self.origins.heads)
        for name in (path, path.partition(".p/")[0]):
            try:
                if self.tiles.read(f"{folder}/{name}")[: len(data)] == data:
                    return
            except FileNotFoundError:
                continue
            break
        raise self._tile(f"{folder}/{path} is not what the logged heads make")

    def _tiles(self, size: int) -> Tiles:
        folder = self.origins.folder(self.origins.heads)
        return Tiles(size, lambda path: self.tiles.read(f"{folder}/{path}"))

    def _root_at(self, old: Checkpoint, size: int) -> bytes:
        """Return the root that the present tree, of `size` leaves, had at an old head's size."""
        folder = self.origins.folder(old.origin)
        known = self._trees.get(old.origin)
        if known is None or known.size < size:
            known = Tiles(size, lambda path: self.tiles.read(f"{folder}/{path}"))
            self._trees[old.origin] = known
        try:
            return prefix_root(old.size, known.node)
        except FileNotFoundError as gone:
            raise Detected("TILE_MISMATCH", f"a tile is missing: {gone}", where=folder) from gone

    def _tile(self, why: str) -> Detected:
        return Detected("TILE_MISMATCH", why, where=self.origins.heads)

    # -- anchors

    def _anchors(self, head: Checkpoint) -> int:
        """Hold every kept head against the present tree; returns how many fit."""
        count = 0
        for name in self._kept():
            if not name.endswith(HEAD):
                continue
            assert self.safe is not None
            kept = open_checkpoint(self.safe.read(name), self.policy.log(head.origin))
            if kept.size > head.size:
                why = f"a head of {kept.size} heads is kept in the safe, {head.size} are here"
                raise rollback(head.origin, why, name)
            if self._root_at(kept, head.size) != kept.root:
                raise Detected(
                    "ANCHOR_MISMATCH",
                    f"the history that was anchored at {kept.size} heads is another one",
                    where=name,
                )
            self._demand_clock(name, self.safe.read(name))
            count += 1
        return count

    def _demand_clock(self, name: str, raw: bytes) -> None:
        """Witnesses' times only go on from anchor to anchor."""
        keys = [self.policy.log(self.origins.heads), *self.policy.witnesses.values()]
        at = max(open_note(raw, keys).times.values(), default=None)
        before = self._cosigned
        if at is not None and before is not None and at < before - SKEW_S_MAX:
            raise Detected(
                "CLOCK_SKEW",
                f"this head was cosigned {before - at} s before the one that it extends",
                where=name,
                hint="A clock was set back: what was appended meanwhile is dated too early.",
            )
        self._cosigned = at or before

    # -- an old head that somebody brings along

    def since(self, raw: bytes) -> int:
        """Hold an old head, of any tree of this log, against the present; returns its size."""
        said = parse_checkpoint(parse_note(raw).text)
        old = open_checkpoint(raw, self.policy.log(said.origin))
        folder = self.origins.folder(old.origin)
        now = parse_checkpoint(parse_note(self.tiles.read(f"{folder}/{CHECKPOINT}")).text)
        if old.size > now.size:
            raise rollback(old.origin, f"the old head has {old.size} leaves, {now.size} are here")
        if self._root_at(old, now.size) != old.root:
            raise Detected(
                "FORK",
                f"what is here does not extend the old head of {old.size} leaves",
                where=old.origin,
                hint="Keep both heads: together they prove that two histories were signed.",
            )
        return old.size
