"""The proof of a running program's log, for its readers: heads, an event's whole proof, and the tiles as files.

Reads what the notary published, wherever it runs: nothing here signs, and nothing here is to be believed.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from usance.adapters.proof_files import FolderTiles
from usance.audit.chain import envelope
from usance.audit.codes import Detected
from usance.audit.leaf import unpack
from usance.audit.merkle import consistency_proof, inclusion_proof
from usance.audit.note import (
    Checkpoint,
    Verifier,
    b64,
    open_note,
    parse_checkpoint,
    parse_note,
)
from usance.audit.proof import Policy, Proof, parse_policy
from usance.audit.shown import (
    Anchor,
    AuditStanding,
    EventProof,
    Heads,
    Scrubbed,
    Stage,
    TreeHead,
    WitnessSeen,
)
from usance.audit.tiles import CHECKPOINT, Tiles, served
from usance.bootstrap.proof.proving import OWN, Places, Sealing, origins_of, places_of
from usance.bootstrap.proof.safes import open_safe
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.engine.proof.attesting import ANCHORS, HEAD, STAMP
from usance.engine.proof.sealing import Origins, folder_of
from usance.engine.verify import chained
from usance.kernel.clock import SystemClock
from usance.kernel.errors import NotFound, Unavailable
from usance.log.contract import Record, TopicPartition, header

ANCHORS_SHOWN = 8
BUCKET_EVERY_S = 30.0
NO_HEAD = "No head was signed yet: the notary signs the first within a second."
NO_NOTARY = "No head is here: this process runs no notary, and heads and tiles are where one runs (proof.tiles)."
WITNESSES_WITHIN_S = 3.0
LOOK_S = 0.05
LOOK_BACK = 2_000
"""Entries of the log of heads that are looked at for an older head of a tree."""
SCRUBS = "scrub/"
FILE = re.compile(
    r"checkpoint|tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?"
)
"""What a C2SP tlog-tiles log serves."""


class ProofDesk:
    """What one program shows of its log's proof."""

    def __init__(
        self,
        store: Store,
        folder: Folder,
        settings: Settings,
        sealing: Callable[[], Sealing | None],
    ) -> None:
        self.store = store
        self.sealing = sealing
        """The notary of this process, None where another runs it."""
        self.places: Places = places_of(folder, settings)
        self.origins: Origins = origins_of(store.genesis, settings)
        self.tiles = FolderTiles(self.places.tiles)
        self.safe = open_safe(self.places.anchors, settings, SystemClock())
        self._anchored: tuple[float, list[str]] = (float("-inf"), [])
        self._logged = LoggedHeads(self.origins, self.tiles)
        self._real = SystemClock()
        self._safe_every_s = BUCKET_EVERY_S if settings.proof.safe else 0.0
        self._cosigned: tuple[bytes, Checkpoint] | None = None

    # -- heads

    def standing(self, *, compliance: bool) -> AuditStanding:
        """Return where proving stands; `compliance`: with the trees of compliance."""
        sealing = self.sealing()
        trouble: list[str] = []
        raw, head = self._newest()
        policy = self._policy()
        if raw is None:
            trouble.append(NO_HEAD if self.sealing() is not None else NO_NOTARY)
        names = self._anchor_names(trouble)
        found = [n for n in names if n.endswith(HEAD)]
        times = self._times(raw, policy, trouble)
        return AuditStanding(
            origin=self.origins.heads,
            size=head.size,
            root=head.root.hex(),
            key=self._key(policy),
            stages=stages_of(sealing),
            witnesses=[
                WitnessSeen(name=v.name, key=v.vkey, at=times.get(v.name, 0), own=name == OWN)
                for name, v in policy.witnesses.items()
            ],
            quorum=policy.satisfied([v for v in policy.witnesses.values() if v.name in times]),
            safe=self.safe.place,
            anchors=[_anchor(name, names) for name in found[: -ANCHORS_SHOWN - 1 : -1]],
            kept=len(found),
            scrubbed=self._scrubbed(names, policy, trouble),
            trees=self.trees(compliance=compliance),
            trouble=[*trouble, *_troubles(sealing)],
        )

    def heads(self, since: int, *, compliance: bool) -> Heads:
        """Return the newest heads; `since`: with the consistency proof from this size of the log of heads."""
        raw, head = self._attested(since - 1)
        if raw is None:
            raise _unsigned()
        return Heads(
            origin=head.origin,
            size=head.size,
            root=head.root.hex(),
            checkpoint=raw.decode(),
            since=self._since(self.origins.folder(head.origin), since, head.size),
            policy=self._policy().text(),
            trees=self.trees(compliance=compliance),
        )

    def trees(self, *, compliance: bool) -> list[TreeHead]:
        """Return the signed heads of all trees, by their folders."""
        found = [self._tree_head(place) for place in chained(self.store.log)]
        return sorted(
            (t for t in found if t is not None and (compliance or not is_hidden(t.folder))),
            key=lambda tree: tree.folder,
        )

    def _tree_head(self, place: TopicPartition) -> TreeHead | None:
        folder = folder_of(place)
        try:
            raw = self.tiles.read(f"{folder}/{CHECKPOINT}")
            head = parse_checkpoint(parse_note(raw).text)
            last = unpack(self._tree(folder, head.size).entry(head.size - 1))
        except (FileNotFoundError, Detected):  # whoever verifies finds out why
            return None
        return TreeHead(
            folder=folder,
            origin=head.origin,
            size=head.size,
            root=head.root.hex(),
            sealed_at=last.log_time,
            checkpoint=raw.decode(),
        )

    def _newest(self) -> tuple[bytes | None, Checkpoint]:
        return self._logged.newest()

    def _attested(self, least: int) -> tuple[bytes | None, Checkpoint]:
        """Return the newest head with a quorum of witnesses and more than `least` entries.

        A head is shown before its witnesses have answered: that is waited for, a little.
        """
        policy, end = self._policy(), self._real.monotonic() + WITNESSES_WITHIN_S
        while True:
            raw, head = self._newest()
            if raw is None:
                return raw, head
            times = self._times(raw, policy, [])
            if policy.satisfied([v for v in policy.witnesses.values() if v.name in times]):
                self._cosigned = (raw, head)
                return raw, head
            if self._cosigned is not None and least < self._cosigned[1].size <= head.size:
                return self._cosigned
            if self._real.monotonic() >= end:
                return raw, head
            self._real.sleep(LOOK_S)

    def _policy(self) -> Policy:
        try:
            return parse_policy(self.places.policy.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, Detected):
            return Policy({}, {}, {})

    def _key(self, policy: Policy) -> str:
        found = policy.logs.get(self.origins.heads)
        return found.vkey if found else ""

    def _times(self, raw: bytes | None, policy: Policy, trouble: list[str]) -> dict[str, int]:
        if raw is None or not policy.logs:
            return {}
        try:
            return open_note(raw, [*policy.logs.values(), *policy.witnesses.values()]).times
        except Detected as found:
            trouble.append(str(found))
            return {}

    # -- anchors

    def _anchor_names(self, trouble: list[str]) -> list[str]:
        """Return the names of kept heads and scrubs; a bucket is not asked at every look."""
        now, (since, names) = self._real.monotonic(), self._anchored
        if now - since < self._safe_every_s:
            return names
        try:
            names = [*self.safe.names(f"{ANCHORS}/"), *self.safe.names(SCRUBS)]
        except Unavailable as away:
            trouble.append(away.message)
        self._anchored = (now, names)
        return names

    def _scrubbed(self, names: list[str], policy: Policy, trouble: list[str]) -> Scrubbed | None:
        """Return the newest verification that was kept, if the log's key signed it."""
        kept = [n for n in names if n.startswith(SCRUBS)]
        log = policy.logs.get(self.origins.heads)
        if not kept or log is None:
            return None
        name = f"{self.origins.base}/scrub"
        try:
            opened = open_note(self.safe.read(kept[-1]), [Verifier(name, log.public)])
            said: dict[str, Any] = msgspec.json.decode(opened.text.partition("\n")[2])
            return Scrubbed(
                at=said["at"],
                note=kept[-1],
                leaves=said["leaves"],
                heads=said["heads"],
                anchors=said["anchors"],
                findings=[{k: str(v) for k, v in f.items()} for f in said["findings"]],
            )
        except (Detected, msgspec.DecodeError, KeyError, OSError) as broken:
            trouble.append(f"The kept verification {kept[-1]} cannot be relied on: {broken}")
            return None

    # -- one event

    def place(self, topic: str, partition: int, index: int) -> dict[str, str]:
        """Return the names of an event's tree and of the log of heads, and how far its proof is."""
        at = TopicPartition(topic, partition)
        told = {"tree": self.origins.of(at), "heads": self.origins.heads}
        return told | {"stage": self.stage(at, index)}

    def stage(self, place: TopicPartition, index: int) -> str:
        """Return how far an event's proof is: in log | sealed | witnessed | anchored."""
        found = self._logged.covering(self.origins.of(place), index)
        if found is None:
            return "in log"
        at, _ = found
        sealing = self.sealing()
        if sealing is not None and at < sealing.attestor.anchored.size:
            return "anchored"
        raw, head = self._newest()
        if raw is None or at >= head.size:
            return "sealed"
        policy = self._policy()
        times = self._times(raw, policy, [])
        cosigners = [v for v in policy.witnesses.values() if v.name in times]
        return "witnessed" if cosigners and policy.satisfied(cosigners) else "sealed"

    def proof(self, record: Record, since_tree: int, since_heads: int) -> EventProof:
        """Return an event's proof; raises Unavailable while it is not under a logged head."""
        place = TopicPartition(record.topic, record.partition)
        folder, origin = folder_of(place), self.origins.of(place)
        index = self.store.closed.meta(record.headers).index
        newest = self._logged.covering(origin, index)
        raw, top = self._attested(since_heads - 1)
        found = self._logged.covering(origin, index, below=top.size, least=since_tree)
        if newest is not None and found is None:  # too new for the head that witnesses saw last
            raw, top = self._attested(max(newest[0], since_heads - 1))
            found = newest
        if found is None or raw is None:
            raise Unavailable(
                f"event {index} of {folder} is not under a signed head yet",
                hint="Ask again in a second, while the notary runs.",
            )
        at, entry = found
        head = parse_checkpoint(parse_note(entry).text)
        tree, heads = self._tree(folder, head.size), self._heads_tree(top.size)
        path = tuple(inclusion_proof(index, head.size, tree.node))
        up = tuple(inclusion_proof(at, top.size, heads.node))
        context = folder.partition(".")[0]
        return EventProof(
            event_id=_header(record, "ce_id"),
            type=_header(record, "ce_type"),
            stream=_header(record, "ce_subject"),
            instant=record.timestamp,
            place=f"{context}.p{record.partition}#{index}",
            folder=folder,
            origin=origin,
            heads=self.origins.heads,
            index=index,
            stage=self.stage(place, index),
            envelope=b64(envelope(record.key, record.value, record.headers)),
            leaf=b64(tree.entry(index)),
            proof=Proof(index, path, entry).raw().decode(),
            entry=entry.decode(),
            head_proof=Proof(at, up, raw).raw().decode(),
            since_tree=self._since(folder, since_tree, head.size),
            since_heads=self._since(self.origins.folder(self.origins.heads), since_heads, top.size),
            policy=self._policy().text(),
        )

    # -- files

    def file(self, folder: str, path: str, *, compliance: bool) -> bytes:
        """Return a file of a tree as C2SP tlog-tiles names it; raises NotFound."""
        known = {folder_of(place) for place in chained(self.store.log)}
        heads = self.origins.folder(self.origins.heads)
        hidden = is_hidden(folder) and not compliance
        if folder not in {*known, heads} or hidden or not FILE.fullmatch(path):
            raise _no_file(folder, path)
        try:
            return served(path, lambda name: self.tiles.read(f"{folder}/{name}"))
        except (FileNotFoundError, Detected):
            raise _no_file(folder, path) from None

    def policy_text(self) -> str:
        """Return the keys that this program trusts, as a C2SP policy; raises NotFound before the first head."""
        policy = self._policy()
        if not policy.logs:
            raise _unsigned()
        return policy.text()

    def _tree(self, folder: str, size: int) -> Tiles:
        return Tiles(size, lambda path: self.tiles.read(f"{folder}/{path}"))

    def _heads_tree(self, size: int) -> Tiles:
        return self._tree(self.origins.folder(self.origins.heads), size)

    def _since(self, folder: str, old: int, size: int) -> list[str]:
        if not 0 < old < size:
            return []
        return [b64(h) for h in consistency_proof(old, size, self._tree(folder, size).node)]


class LoggedHeads:
    """The newest head of each tree in the log of heads, read once as that log grows."""

    def __init__(self, origins: Origins, tiles: FolderTiles) -> None:
        self.origins = origins
        self.tiles = tiles
        self._folder = origins.folder(origins.heads)
        self._found: dict[str, tuple[int, bytes]] = {}
        self._low = self._high = 0
        self._lock = threading.Lock()

    def newest(self) -> tuple[bytes | None, Checkpoint]:
        """Return the published head of the log of heads, None and an empty one before the first."""
        try:
            raw = self.tiles.read(f"{self._folder}/{CHECKPOINT}")
        except FileNotFoundError:
            return None, Checkpoint(self.origins.heads, 0, bytes(32))
        return raw, parse_checkpoint(parse_note(raw).text)

    def covering(
        self, origin: str, index: int, *, below: int | None = None, least: int = 0
    ) -> tuple[int, bytes] | None:
        """Return where the newest logged head of a tree stands, and that head, if it covers an index.

        `below`: among so many first entries; `least`: a head of at least so many leaves.
        """
        with self._lock:
            size = self.newest()[1].size
            if size:
                self._read(origin, size)
            found = self._found.get(origin)
        if found is not None and below is not None and found[0] >= below:
            found = self._before(origin, below)
        if found is None:
            return None
        leaves = parse_checkpoint(parse_note(found[1]).text).size
        return found if leaves > index and leaves >= least else None

    def _before(self, origin: str, below: int) -> tuple[int, bytes] | None:
        tree = self._tree(below)
        for at in range(below - 1, max(0, below - LOOK_BACK) - 1, -1):
            entry = tree.entry(at)
            if _origin(entry) == origin:
                return at, entry
        return None

    def _tree(self, size: int) -> Tiles:
        return Tiles(size, lambda path: self.tiles.read(f"{self._folder}/{path}"))

    def _read(self, origin: str, size: int) -> None:
        """Take in what came since, then look back until the tree is met."""
        if self._high > size:  # other tiles were put in place
            self._found, self._low, self._high = {}, 0, 0
        if self._high == 0:
            self._low = self._high = size
        tree = self._tree(size)
        for at in range(self._high, size):
            self._take(at, tree.entry(at), newer=True)
        self._high = size
        while origin not in self._found and self._low > 0:
            self._low -= 1
            self._take(self._low, tree.entry(self._low), newer=False)

    def _take(self, at: int, entry: bytes, *, newer: bool) -> None:
        origin = _origin(entry)
        if newer or origin not in self._found:
            self._found[origin] = (at, entry)


def _origin(entry: bytes) -> str:
    return entry.partition(b"\n")[0].decode("utf-8", "replace")


def is_hidden(folder: str) -> bool:
    """Tell whether a tree is compliance's: its leaves tell when compliance acted."""
    return folder.startswith("compliance.")


def stages_of(sealing: Sealing | None) -> list[Stage]:
    """Return what waits for each stage; nothing where another process runs the notary."""
    if sealing is None or not sealing.notary.is_open:
        return []
    waiting = {**sealing.notary.waiting(), **sealing.attestor.waiting(sealing.notary.leaves())}
    return [
        Stage(name=name, waiting=count, age=round(age, 1)) for name, (count, age) in waiting.items()
    ]


def _troubles(sealing: Sealing | None) -> Sequence[str]:
    if sealing is None:
        return ()
    return [t for t in (sealing.attestor.trouble, sealing.receipts.trouble) if t]


def _anchor(name: str, names: Sequence[str]) -> Anchor:
    size = 0
    with suppress(ValueError):
        size = int(name.rpartition("/")[2].removesuffix(HEAD))
    return Anchor(name=name, size=size, stamped=name.removesuffix(HEAD) + STAMP in names)


def _header(record: Record, name: str) -> str:
    return (header(record.headers, name) or b"").decode("utf-8", "replace")


def _unsigned() -> NotFound:
    return NotFound(
        "no head was signed yet",
        hint="The notary signs the first a second after it began: `usance start`.",
    )


def _no_file(folder: str, path: str) -> NotFound:
    return NotFound(
        f"{folder}/{path} is no file of this log",
        hint="/audit/heads.json names the trees; C2SP tlog-tiles names their files.",
    )
