"""Verifying one partition: every leaf derived again from its record, and held against tiles and signed head.

Nothing is compared with a copy from the same place: leaves come from the log, tiles from the tile store,
the last head from the head store, keys from a policy that the verifier brought along. A difference is named
by the first record that is wrong, with the code of what happened to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from usance.audit.codes import Code, Detected
from usance.audit.merkle import leaf_hash
from usance.audit.note import Checkpoint, open_checkpoint
from usance.audit.ports import LastHead, TileStore
from usance.audit.proof import Policy
from usance.audit.report import Finding, TreeReport
from usance.audit.tiles import CHECKPOINT, TILE_WIDTH, Edge, Tiles
from usance.engine.proof.sealing import Origins, Tree, first_head, folder_of
from usance.kernel.clock import Clock
from usance.kernel.errors import UsanceError
from usance.log.contract import Log, Record, TopicPartition

PORTION = 16 * TILE_WIDTH
"""Records derived and compared at a time."""
LOOK_AHEAD = 2_000
"""Records in which a missing index is looked for: found there, records were swapped, not removed."""


class LastHeads:
    """Last heads read anew while a notary may be at work: it swaps them a moment before it publishes."""

    def __init__(
        self,
        load: Callable[[], Mapping[str, LastHead]] | None,
        clock: Clock,
        patience_s: float = 0.0,
    ) -> None:
        self._load = load
        self._clock = clock
        self._patience_s = patience_s

    @property
    def known(self) -> bool:
        """Tell whether there are any, in a place apart from the tiles."""
        return self._load is not None

    def of(self, origin: str) -> LastHead | None:
        """Return the last head of a tree now."""
        return self._load().get(origin) if self._load else None

    def tries(self) -> Iterator[None]:
        """Yield as often as it is worth looking again."""
        deadline = self._clock.monotonic() + self._patience_s
        yield None
        while self._clock.monotonic() < deadline:
            self._clock.sleep(0.02)
            yield None


def settled_head(
    tiles: TileStore, last: LastHeads, policy: Policy, origin: str, folder: str
) -> tuple[Checkpoint | None, LastHead | None]:
    """Return a tree's published and last head, having given a notary at work time to publish.

    Raises Detected(ROLLBACK) where one is there without the other, and what the signature raises.
    """
    head, kept = None, None
    for _ in last.tries():
        kept = last.of(origin)
        try:
            raw = tiles.read(f"{folder}/{CHECKPOINT}")
        except FileNotFoundError:
            head = None
        else:
            head = open_checkpoint(raw, policy.log(origin))
        if (head.size if head else 0) == (kept.size if kept else 0):
            break
    if head is None and kept is not None:
        raise rollback(origin, f"no head is published, one of {kept.size} was signed")
    if head is not None and kept is None and last.known:
        raise rollback(origin, "a head is published, but the last heads know none")
    return head, kept


class TreeAudit:
    """Verifies partitions of one log."""

    def __init__(
        self,
        log: Log,
        log_id: str,
        origins: Origins,
        tiles: TileStore,
        policy: Policy,
        last: LastHeads,
        diagnose: Callable[[Record], Any],
        *,
        head_age_ms: int | None = None,
    ) -> None:
        self.log = log
        self.log_id = log_id
        self.origins = origins
        self.tiles = tiles
        self.policy = policy
        self.last = last
        self.diagnose = diagnose
        self.head_age_ms = head_age_ms
        self.heads: dict[str, Checkpoint] = {}
        """Heads that hold, by origin."""

    def verify(self, place: TopicPartition, kind: str) -> TreeReport | None:
        """Return the report of a partition; None where there is neither record nor head."""
        folder = folder_of(place)
        tree = Tree(place, kind, first_head(self.origins.of(place), self.log_id, place), Edge())
        head: Checkpoint | None = None
        try:
            head = self._head(place)
            if head is None and self.log.end(place) == 0:
                return None
            self._demand_start(place)
            unsealed = _Derivation(self, tree, head).run()
        except Detected as found:
            size = head.size if head else 0
            finding = Finding.of(found, folder)
            return TreeReport(folder=folder, size=size, root=tree.edge.root(), finding=finding)
        except UsanceError as damaged:
            finding = Finding(
                code="RECORD_DAMAGED", where=folder, reason=damaged.message, hint=damaged.hint
            )
            return TreeReport(folder=folder, size=0, root=b"", finding=finding)
        if head is not None:
            self.heads[head.origin] = head
        return TreeReport(
            folder=folder, size=head.size if head else 0, root=tree.edge.root(), unsealed=unsealed
        )

    def _head(self, place: TopicPartition) -> Checkpoint | None:
        """Return the published head, held against the last one, which is kept elsewhere."""
        origin = self.origins.of(place)
        head, last = settled_head(self.tiles, self.last, self.policy, origin, folder_of(place))
        if head is None:
            return None
        if last is None:
            return head
        if head.size != last.size:
            raise rollback(
                origin, f"a head of {head.size} is published, the last one signed has {last.size}"
            )
        if head.root != last.root:
            raise Detected("FORK", f"two heads of {origin} have {head.size} leaves", where=origin)
        return head

    def _demand_start(self, place: TopicPartition) -> None:
        begin = self.log.begin(place)
        first = next(iter(self.log.scan(place, 0, None, 1)), None)
        index = self.diagnose(first).index if first is not None and begin > 0 else 0
        if index > 0 or (begin > 0 and first is None):
            raise Detected(
                "MISSING_PREFIX",
                f"records before offset {begin} are gone, and no disposition says so",
                where=f"{folder_of(place)}#0",
            )


class _Derivation:
    """One partition's leaves, derived portion by portion."""

    def __init__(self, audit: TreeAudit, tree: Tree, head: Checkpoint | None) -> None:
        self.audit = audit
        self.tree = tree
        self.head = head
        self.place = tree.place
        self.folder = folder_of(tree.place)
        self.stored = Tiles(head.size if head else 0, self._read)
        self.first_unsealed: Record | None = None

    def run(self) -> int:
        """Derive everything; returns how many records are not sealed. Raises Detected."""
        size = self.head.size if self.head else 0
        records = self.audit.log.scan(self.place, 0)
        while self.tree.edge.size < size:
            portion = list(islice(records, min(PORTION, size - self.tree.edge.size)))
            if not portion:
                raise rollback(
                    self.tree.last.origin,
                    f"the head covers {size} records, there are {self.tree.edge.size}",
                    f"{self.folder}#{self.tree.edge.size}",
                )
            self._portion(portion)
        if self.head is not None:
            self._demand_root(self.head)
        return self._rest(records)

    def _portion(self, portion: list[Record]) -> None:
        tree, start = self.tree, (self.tree.tail, self.tree.log_time)
        size, edge = tree.edge.size, tree.edge
        try:
            tree.take(portion, self.audit.diagnose)
        except Detected:
            self._slowly(portion, size, start)
            raise
        derived, tree.pending = tree.pending, []
        files = edge.extend(derived)
        for path, data in files.items():
            if not self._same(path, data):
                self._slowly(portion, size, start)
                raise self._tile(f"{self.folder}/{path} is not what the log's records make")

    def _demand_root(self, head: Checkpoint) -> None:
        for path, data in self.tree.edge.partials().items():
            if not self._same(path, data):
                self._last_partial()
                raise self._tile(f"{self.folder}/{path} is not what the log's records make")
        if self.tree.edge.root() != head.root:
            raise self._tile("the tiles do not make the root that was signed")

    def _same(self, path: str, data: bytes) -> bool:
        try:
            return self._read(path) == data
        except FileNotFoundError:
            pass
        try:  # a full file may have taken a partial one's place
            return self._read(path.partition(".p/")[0])[: len(data)] == data
        except FileNotFoundError:
            return False

    def _read(self, path: str) -> bytes:
        return self.audit.tiles.read(f"{self.folder}/{path}")

    def _last_partial(self) -> None:
        """Look for the wrong record among the last ones, whose bundle is not full."""
        edge = self.tree.edge
        first = edge.size - len(edge.entries)
        try:
            stored = self.stored.bundle(first // TILE_WIDTH)
            hashes = self.stored.tile(0, first // TILE_WIDTH)
        except (FileNotFoundError, Detected):
            return
        for at, entry in enumerate(edge.entries):
            self._hold(entry, stored[at], hashes[at], first + at)

    # -- naming the first wrong record

    def _slowly(self, portion: list[Record], size: int, start: tuple[bytes, int]) -> None:
        """Go through a portion record by record; raises Detected at the first that is wrong."""
        tree = self.tree
        tree.pending, (tree.tail, tree.log_time) = [], start
        tree.edge.size = size
        for at, record in enumerate(portion):
            index = size + at
            self._demand_order(record, index, portion[at + 1 :])
            before = len(tree.pending)
            tree.take([record], self.audit.diagnose)
            entry = tree.pending[before]
            bundle, within = divmod(index, TILE_WIDTH)
            try:
                stored = self.stored.bundle(bundle)[within]
                hashed = self.stored.tile(0, bundle)[within]
            except (FileNotFoundError, IndexError):
                raise self._tile(f"the tile of record {index} is missing", index) from None
            self._hold(entry, stored, hashed, index)

    def _demand_order(self, record: Record, index: int, later: list[Record]) -> None:
        where = f"{self.folder}#{index}"
        at = f"offset {record.offset}"
        if record.timestamp < self.tree.log_time:
            why = f"{at} is dated before the record in front of it"
            raise Detected("TIME_REGRESSION", why, where=where)
        try:
            said = self.audit.diagnose(record).index
        except UsanceError as broken:
            code: Code = "LEAF_MISMATCH"
            raise Detected(code, f"{at}: its meta is {broken.message}", where=where) from broken
        if said > index:
            swapped = any(self._index(r) == index for r in later[:LOOK_AHEAD])
            if swapped:
                why = f"{at} has index {said}, and record {index} comes behind it"
                raise Detected("CHAIN_BREAK", why, where=where)
            raise Detected("INDEX_GAP", f"record {index} is gone: {at} has {said}", where=where)
        if said < index:
            raise Detected("CHAIN_BREAK", f"{at} has index {said} once more", where=where)

    def _index(self, record: Record) -> int:
        try:
            found: int = self.audit.diagnose(record).index
        except UsanceError:
            return -1
        return found

    def _hold(self, derived: bytes, stored: bytes, hashed: bytes, index: int) -> None:
        where = f"{self.folder}#{index}"
        if derived != stored:
            code: Code = "SCHEMA_SWAPPED" if self.tree.kind == "schemas" else "LEAF_MISMATCH"
            raise Detected(code, f"record {index} is not as it was sealed", where=where)
        if leaf_hash(stored) != hashed:
            why = f"record {index} and its leaf were altered: the tile has another hash"
            raise Detected("TILE_MISMATCH", why, where=where)

    def _tile(self, why: str, index: int | None = None) -> Detected:
        where = self.folder if index is None else f"{self.folder}#{index}"
        return Detected("TILE_MISMATCH", why, where=where)

    # -- what is not sealed

    def _rest(self, records: Iterator[Record]) -> int:
        """Follow the chain through what no head covers yet; raises Detected where that is too old."""
        count, first, last = 0, 0, 0
        for record in records:
            self._demand_order(record, self.tree.size, [])
            self.tree.take([record], self.audit.diagnose)
            self.tree.pending.clear()
            self.tree.edge.size += 1
            first, last, count = first or record.timestamp, record.timestamp, count + 1
        limit = self.audit.head_age_ms
        if limit is not None and last - first > limit:
            why = f"{count} records are not sealed, the oldest for {(last - first) / 1000:.0f} s of the log"
            raise Detected("HEAD_AGE", why, where=self.folder, hint="Start the notary.")
        return count


def rollback(origin: str, why: str, where: str = "") -> Detected:
    """Return the finding that an older state was put in place."""
    return Detected(
        "ROLLBACK",
        why,
        where=where or origin,
        hint="An older state was put in place: look for the newer one before anything is written.",
    )
