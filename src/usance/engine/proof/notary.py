"""The notary: follows every sealed partition, grows its tree, and signs heads that only ever extend.

One code for both logs. Embedded, the owner's own transaction writes index and chain into each record, and a
leaf is a function of the stored record alone: nothing else has to be in that transaction, so the leaves are
derived behind it, as they are on Kafka, where a record's offset and time are not known before its commit.

Stages of a leaf: pending -> hashed -> integrated (its tiles are durable) -> signed -> witnessed -> anchored;
the last two are `attesting`. Order of a round, each step durable before the next: tiles; compare-and-set of
the last heads, in a place apart; signature and publication; the same for the log of heads. What a crash
leaves undone is done again from the last heads, with the same bytes. A head is signed only after it has taken
the last one's place, so that two notaries, or one with an old backup, never sign two histories.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from usance.audit import note
from usance.audit.codes import Detected
from usance.audit.leaf import unpack
from usance.audit.note import Checkpoint, Verifier
from usance.audit.ports import HeadStore, LastHead, Signer, TileStore
from usance.audit.tiles import CHECKPOINT, TILE_WIDTH, Edge, Tiles
from usance.engine.logs import logger
from usance.engine.proof.following import Follower
from usance.engine.proof.remaking import remade_heads, remade_tree
from usance.engine.proof.sealing import JournalEntry, Origins, Tree, first_head, folder_of
from usance.engine.verify import chained
from usance.kernel.clock import Clock
from usance.kernel.errors import UsanceError
from usance.log.contract import Log, TopicPartition

HEAD_AGE_S = 0.75
"""A leaf waits no longer for its head than this and the round's own time: with that, and the time until it
was read, 99 of 100 have theirs within a second of their commit."""
HEAD_LEAVES_MAX = 5_000
READ_RECORDS_MAX = 2_500
PROGRESS_MAX = 10_000
TOPICS_EVERY_S = 5.0
"""How often new topics (of consume groups) are looked for."""

_log = logger("notary")


class Progress(NamedTuple):
    """How far a signed head of the log of heads reaches: leaves of all trees below it, and when."""

    size: int
    leaves: int
    since: float


class HeadBoard:
    """The head of the log of heads as others see it: the notary signs it, the attestor adds to it."""

    def __init__(self, tiles: TileStore, folder: str) -> None:
        self.tiles = tiles
        self.path = f"{folder}/{CHECKPOINT}"
        self.progress: list[Progress] = []
        """Signed heads that are not both witnessed and anchored yet, oldest first."""
        self._lock = threading.Lock()

    def show(self, raw: bytes, progress: Progress) -> None:
        """Publish a new head."""
        with self._lock:
            self.tiles.publish(self.path, raw)
            self.progress.append(progress)
            if len(self.progress) > PROGRESS_MAX:  # nobody answers: how old the oldest is, is kept
                del self.progress[1 : PROGRESS_MAX // 2]

    def raw(self) -> bytes | None:
        """Return the published head, None before the first."""
        with suppress(FileNotFoundError):
            return self.tiles.read(self.path)
        return None

    def cosigned(self, raw: bytes, more: Iterable[note.Signature]) -> bytes:
        """Add cosignatures to a head, and publish it unless a newer one is shown; returns it."""
        with self._lock:
            now = self.raw()
            signed = note.with_signatures(raw, more)
            if now is not None and note.parse_note(now).text == note.parse_note(raw).text:
                signed = note.with_signatures(now, note.parse_note(signed).signatures)
                self.tiles.publish(self.path, signed)
            return signed


class Notary:
    """Seals a log; `step` is one bounded piece of work, `close` seals what is hashed."""

    def __init__(
        self,
        log: Log,
        follower: Follower,
        origins: Origins,
        log_id: str,
        tiles: TileStore,
        heads: HeadStore,
        signer: Signer,
        clock: Clock,
        *,
        diagnose: Callable[[Any], Any],
        check: Callable[[Mapping[str, LastHead]], None] | None = None,
        settings: bytes = bytes(32),
        genesis: bytes = b"",
    ) -> None:
        self.log = log
        self.follower = follower
        self.origins = origins
        self.log_id = log_id
        self.tiles = tiles
        self.heads = heads
        self.signer = signer
        self.clock = clock
        self.diagnose = diagnose
        self.settings = settings
        """Digest of the settings that proving runs under: a change is sealed before it takes effect."""
        self.genesis = genesis
        """SHA-256 of the genesis record, which no tree seals."""
        self.check = check
        """Holds our last heads against what others keep; raises Detected where ours are behind."""
        self.board = HeadBoard(tiles, origins.folder(origins.heads))
        self.trees: dict[TopicPartition, Tree] = {}
        self.last: dict[str, LastHead] = {}
        self.rounds = 0
        self._is_open = False
        self._noted = False
        self._places: dict[TopicPartition, str] = {}
        self._offsets: dict[TopicPartition, int] = {}
        self._looked = float("-inf")
        self._hashed_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether the last heads were taken up and hold."""
        return self._is_open

    # -- opening

    def open(self) -> None:
        """Take up the last heads. Raises Detected where tiles, heads or log are behind one another."""
        self._drop_all()
        self.last = self.heads.load()
        self._look()
        self._check_published(self.origins.heads)
        for place in self._places:
            self._check_published(self.origins.of(place))
            self._check_log(place)
        if self.check is not None:
            self.check(self.last)
        self._note_start()
        self._is_open = True
        self._log_heads()

    def _note_start(self) -> None:
        """Put this start, and the settings that hold from now on, into the log of heads.

        The note is kept with the last heads first: what a crash leaves of it is written with the same bytes.
        """
        origin = self.origins.journal
        last = self.last.get(origin)
        if self._noted or (last is not None and last.logged < last.size):
            return
        now = self.clock.now()
        text = JournalEntry(now, self.settings, self.genesis).text(origin)
        raw = sign(text, origin, self.signer)
        before = last or LastHead(origin, 0, bytes(32))
        noted = before._replace(
            size=before.size + 1, root=self.settings, tail=raw, log_time=now, logged=before.size
        )
        self.heads.advance([(last, noted)])
        self.last[origin] = noted
        self._noted = True

    def _look(self) -> None:
        """Learn the sealed partitions; those of groups may come later."""
        now = self.clock.monotonic()
        if now - self._looked < TOPICS_EVERY_S:
            return
        self._looked = now
        kinds = {name: settings.kind for name, settings in self.log.topics().items()}
        for place in chained(self.log):
            if place not in self._places:
                self._places[place] = kinds[place.topic]
                self._offsets[place] = self._last(place).offset

    def _last(self, place: TopicPartition) -> LastHead:
        origin = self.origins.of(place)
        if origin not in self.last:
            return first_head(origin, self.log_id, place)
        return self.last[origin]

    def _check_published(self, origin: str) -> None:
        """Hold the last head against the published one, and publish it where a crash left that undone."""
        last, shown = self.last.get(origin), self._shown(origin)
        if last is None:
            if shown is not None:
                raise _rollback(origin, "a head is published, but the last heads know none")
            return
        if shown is not None and shown.size > last.size:
            why = f"a head of {shown.size} is published, the last heads know {last.size}"
            raise _rollback(origin, why)
        edge = self._edge(last)
        if edge.root() != last.root:
            raise Detected(
                "TILE_MISMATCH",
                f"the tiles of {origin} do not make the last head's root",
                where=f"{self.origins.folder(origin)}#{last.size}",
                hint="Restore the tiles from a copy, or remove them: they are made again from the log.",
            )
        if shown is not None and shown.size == last.size and shown.root != last.root:
            raise Detected("FORK", f"two heads of {origin} have {last.size} leaves", where=origin)
        if shown is None or shown.size < last.size:
            self._publish(last)

    def _shown(self, origin: str) -> Checkpoint | None:
        path = f"{self.origins.folder(origin)}/{CHECKPOINT}"
        try:
            raw = self.tiles.read(path)
        except FileNotFoundError:
            return None
        return note.open_checkpoint(raw, Verifier(origin, self.signer.public))

    def _edge(self, last: LastHead) -> Edge:
        folder = self.origins.folder(last.origin)
        try:
            return Edge.load(last.size, lambda path: self.tiles.read(f"{folder}/{path}"))
        except FileNotFoundError as gone:
            if self.heads.shared:
                return self._remade(last)
            raise _rollback(last.origin, f"a tile of its last head is missing: {gone}") from gone

    def _remade(self, last: LastHead) -> Edge:
        """Make a tree's tiles from the log: another machine's notary has signed its last head."""
        _log.warning("tiles_made_again", where=self.origins.folder(last.origin), count=last.size)
        if last.origin == self.origins.heads:
            edge = remade_heads(last, self.heads, self.tiles, self.origins, self._signed)
        else:
            edge = remade_tree(last, self.log, self._first(last), self.tiles, self.diagnose)
        if (edge.size, edge.root()) != (last.size, last.root):
            why = f"the log makes another tree of {edge.size} leaves than the last head's of {last.size}"
            raise _rollback(last.origin, why)
        return edge

    def _first(self, last: LastHead) -> Tree:
        """Return the empty tree of an origin's partition."""
        place = next(p for p in self._places if self.origins.of(p) == last.origin)
        start = first_head(last.origin, self.log_id, place)
        return Tree(place, self._places[place], start, Edge())

    def _check_log(self, place: TopicPartition) -> None:
        """The log must still hold what the last head covers, up to its last leaf, unchanged."""
        last = self._last(place)
        if last.size == 0:
            return
        bundle, at = divmod(last.size - 1, TILE_WIDTH)
        folder = folder_of(place)
        tiles = Tiles(last.size, lambda path: self.tiles.read(f"{folder}/{path}"))
        entry = unpack(tiles.bundle(bundle)[at])
        found = next(iter(self.log.scan(place, entry.offset, entry.offset + 1, 1)), None)
        if found is None or found.offset != entry.offset:
            if self.log.begin(place) <= entry.offset:
                why = f"{last.size} records were sealed, and the last of them is gone"
                raise _rollback(last.origin, why)
            return
        tree = Tree(place, self._places[place], last._replace(size=0), Edge())
        tree.edge.size = last.size - 1
        with suppress(Detected, UsanceError):
            tree.tail = self.diagnose(found).prev or b""
            tree.take([found], self.diagnose)
        if tree.tail != last.tail:
            raise Detected(
                "LEAF_MISMATCH",
                f"the last sealed record of {folder} is not as it was sealed",
                where=f"{folder}#{last.size - 1}",
            )

    # -- rounds

    def step(self, wait: float = 0.0) -> int:
        """Hash what is new, and sign heads when they are due; returns how many records were hashed."""
        if not self._is_open:
            self.open()
        self._look()
        done = 0
        for run in self.follower.read(self._offsets, READ_RECORDS_MAX, self._patience(wait)):
            if run.records:
                self._tree(run.place).take(run.records, self.diagnose)
                done += len(run.records)
            self._offsets[run.place] = run.next
        if done and self._hashed_since is None:
            self._hashed_since = self.clock.monotonic()
        if self._due():
            self.seal()
        return done

    def _patience(self, wait: float) -> float:
        if self._hashed_since is None:
            return wait
        return max(0.0, min(wait, self._hashed_since + HEAD_AGE_S - self.clock.monotonic()))

    def _due(self) -> bool:
        if self._hashed_since is None:
            return False
        late = self.clock.monotonic() - self._hashed_since >= HEAD_AGE_S
        return late or self.hashed() >= HEAD_LEAVES_MAX

    def _tree(self, place: TopicPartition) -> Tree:
        tree = self.trees.get(place)
        if tree is None:
            last = self._last(place)
            if last.size == 0 and self.log.begin(place) > last.offset:
                raise Detected(
                    "MISSING_PREFIX",
                    f"{place.topic} partition {place.partition} begins at {self.log.begin(place)}",
                    where=f"{folder_of(place)}#0",
                )
            tree = self.trees[place] = Tree(place, self._places[place], last, self._edge(last))
        return tree

    def hashed(self) -> int:
        """Return the leaves that are hashed and in no tree yet."""
        return sum(len(tree.pending) for tree in list(self.trees.values()))

    def seal(self) -> None:
        """Integrate, sign and publish what is hashed. On an error all is taken up from the last heads."""
        grown = [tree for tree in self.trees.values() if tree.pending]
        try:
            self._seal(grown)
            self._log_heads()
        except BaseException:
            self._drop_all()
            raise
        self._hashed_since = None
        self.rounds += 1

    def _seal(self, grown: list[Tree]) -> None:
        files: dict[str, bytes] = {}
        for tree in grown:
            folder = folder_of(tree.place)
            files |= {f"{folder}/{path}": data for path, data in tree.integrate().items()}
        self.tiles.put(files)
        moves = [(self.last.get(tree.last.origin), tree.head()) for tree in grown]
        self.heads.advance(moves)
        for tree, (_, head) in zip(grown, moves, strict=True):
            self.last[head.origin] = tree.last = head
            self._publish(head)
        self._drop_partials(files)

    def _publish(self, last: LastHead) -> None:
        """Sign a head that is the last one already, and show it."""
        text = Checkpoint(last.origin, last.size, last.root).text()
        raw = sign(text, last.origin, self.signer)
        if last.origin == self.origins.heads:
            leaves = sum(h.logged for h in self._sealed())
            self.board.show(raw, Progress(last.size, leaves, self.clock.monotonic()))
            return
        self.tiles.publish(f"{self.origins.folder(last.origin)}/{CHECKPOINT}", raw)

    def _log_heads(self) -> None:
        """Put signed heads of partitions that grew into the log of heads, and sign that one's head."""
        due = [
            h for h in self.last.values() if h.logged < h.size and h.origin != self.origins.heads
        ]
        if not due:
            return
        before = self.last.get(self.origins.heads)
        last = before or LastHead(self.origins.heads, 0, Edge().root())
        edge = self._edge(last)
        entries = [self._signed(h) for h in sorted(due)]
        folder = self.origins.folder(self.origins.heads)
        files = {f"{folder}/{p}": d for p, d in edge.extend(entries).items()}
        files |= {f"{folder}/{p}": d for p, d in edge.partials().items()}
        self.tiles.put(files)
        head = last._replace(size=edge.size, root=edge.root())
        logged = [(h, h._replace(logged=h.size)) for h in due]
        self.heads.advance([(before, head), *logged])
        for _, now in logged:
            self.last[now.origin] = now
        for tree in self.trees.values():
            tree.last = self.last.get(tree.last.origin, tree.last)
        self.last[head.origin] = head
        self._publish(head)
        self._drop_partials(files)

    def _signed(self, last: LastHead) -> bytes:
        if last.origin == self.origins.journal:
            return last.tail
        return sign(Checkpoint(last.origin, last.size, last.root).text(), last.origin, self.signer)

    def _sealed(self) -> list[LastHead]:
        """Return the last heads of partitions."""
        own = (self.origins.heads, self.origins.journal)
        return [head for head in list(self.last.values()) if head.origin not in own]

    def _drop_partials(self, files: dict[str, bytes]) -> None:
        """Remove partial files whose full one is there: heads that needed them are served by it."""
        full = [path for path in files if ".p/" not in path and "/tile/" in path]
        self.tiles.drop([f"{path}.p" for path in full])

    # -- what can be seen

    def waiting(self) -> dict[str, tuple[int, float]]:
        """Return per stage how many leaves have not reached it, and for how long (s) the oldest waits."""
        now = self.clock.monotonic()
        ends = self.log.ends(list(self._offsets)) if self._offsets else {}
        unread = sum(max(0, end - self._offsets.get(place, 0)) for place, end in ends.items())
        hashed = self.hashed()
        since = self._hashed_since
        age = 0.0 if since is None else now - since
        unlogged = sum(h.size - h.logged for h in self._sealed())
        return {
            "hashed": (unread, 0.0),
            "integrated": (unread + hashed, age),
            "signed": (unread + hashed + unlogged, age),
        }

    def leaves(self) -> int:
        """Return the leaves below signed heads."""
        return sum(h.size for h in self._sealed())

    def finish(self) -> None:
        """Seal all that is in the log now."""
        while self.step():
            pass
        if self.hashed():
            self.seal()

    def close(self) -> None:
        """Seal all that is in the log, and let it go; a notary that never began has nothing to seal."""
        try:
            if self._is_open:
                self.finish()
        finally:
            self.follower.close()
            self._drop_all()

    def _drop_all(self) -> None:
        """Forget what is in memory: the next step begins at the last heads."""
        self._is_open = False
        self.trees.clear()
        self._places.clear()
        self._offsets.clear()
        self._looked = float("-inf")
        self._hashed_since = None


def sign(text: str, name: str, signer: Signer) -> bytes:
    """Return a note signed under a log's name."""
    line = note.Signature(
        name, note.key_id(name, note.ED25519, signer.public), signer.sign(text.encode())
    )
    return note.Note(text, (line,)).raw()


def _rollback(origin: str, why: str) -> Detected:
    return Detected(
        "ROLLBACK",
        f"{origin}: {why}",
        where=origin,
        hint="An older state was put in place: bring back the newer one; nothing was signed.",
    )
