"""Verifying, proving and exporting the proof of a log, from files alone: nothing here signs a head."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from usance.adapters.head_store import SqliteHeads, SqliteSeen
from usance.adapters.proof_files import FolderTiles
from usance.audit import note
from usance.audit.codes import Detected
from usance.audit.leaf import unpack
from usance.audit.merkle import inclusion_proof
from usance.audit.note import Checkpoint, Verifier
from usance.audit.ports import HeadStore, LastHead, Signer, WormStore
from usance.audit.proof import SUFFIX, Policy, Proof
from usance.audit.report import AuditReport, Finding
from usance.audit.tiles import CHECKPOINT, Tiles, paths, served
from usance.bootstrap.desk import clock_of
from usance.bootstrap.packs.pack_indexes import wrong_indexes
from usance.bootstrap.proof.proving import (
    OWN,
    Places,
    birth_digest,
    digest_of,
    origins_of,
    places_of,
    read_policy,
)
from usance.bootstrap.proof.safes import existing_safe, open_safe
from usance.bootstrap.proof.signing import has_key, open_signer
from usance.bootstrap.store import Folder, Store, make_projector, open_views
from usance.config import Settings
from usance.engine.proof.audit_cross import Crossing
from usance.engine.proof.audit_heads import HeadsAudit
from usance.engine.proof.audit_tree import LastHeads, TreeAudit
from usance.engine.proof.key_audit import KeyAudit
from usance.engine.proof.log_heads import LogHeads, Unkept
from usance.engine.proof.notary import sign
from usance.engine.proof.sealing import HEADS, Origins, folder_of
from usance.engine.verify import chained
from usance.kernel.clock import MS_PER_SECOND, Clock, SystemClock
from usance.kernel.errors import Conflict, NotFound, Unavailable, Unreadable, UsanceError
from usance.log.contract import TopicPartition, header

PATIENCE_S = 3.0
HEAD_AGE_MS = 10_000
VKEY = "log.vkey"
POLICY = "policy.txt"
LEAF = "leaf.bin"


class Proven(NamedTuple):
    """A record's proof: from its leaf to its partition's head, and from there to the log of heads.

    `head` is the proof of the partition's signed head (`entry`) in the log of heads, None where that is not
    logged yet.
    """

    folder: str
    at: int
    event_id: str
    leaf: bytes
    proof: bytes
    entry: bytes
    head: bytes | None


def _opened(folder: Folder, settings: Settings) -> Store:
    try:
        return Store(folder, settings, clock_of(folder, settings), owner=False)
    except Conflict as other:
        raise Detected("SCHEMA_SWAPPED", other.message, where="system.schemas/p000") from other


class Evidence:
    """The proof of a log beside the log: where things are, and whose keys are trusted."""

    def __init__(
        self, folder: Folder, settings: Settings, policy: Path | None, clock: Clock | None = None
    ) -> None:
        self.clock = clock or SystemClock()
        self.settings = settings
        self.store = _opened(folder, settings)
        self.places: Places = places_of(folder, settings)
        self.origins: Origins = origins_of(self.store.genesis, settings)
        self.tiles = FolderTiles(self.places.tiles)
        self.notes: list[str] = []
        self._signer: Signer | None = None
        self.policy, self.trusted = self._trust(policy)
        self._heads = self._last_heads()

    def _last_heads(self) -> HeadStore | None:
        """Return where the last heads are: this folder's, else those that a cluster's log holds."""
        if self.places.last.exists():
            return SqliteHeads(self.places.last, create=False)
        place = self.store.topics.at("system", HEADS, 0)
        log = self.policy.logs.get(self.origins.heads)
        known = self.settings.bootstrap_servers and place.topic in self.store.log.topics()
        if not known or log is None or not self.store.log.end(place):
            return None
        return LogHeads(self.store.log, place, Unkept(), log.public)

    def _trust(self, said: Path | None) -> tuple[Policy, str]:
        """Return whom to trust: who is named, or the keys pinned at the first start, or the folder's own."""
        if said is not None:
            return read_policy(said), str(said)
        if self.places.policy.exists():
            return read_policy(self.places.policy), str(self.places.policy)
        if not has_key(self.places.key, self.settings):
            raise Unavailable(
                f"there is neither a policy nor a key in {self.places.heads}",
                hint="Name the keys that you trust: --policy FILE. Has the notary ever run?",
            )
        key = self.signer()
        names = [self.origins.heads, *(self.origins.of(p) for p in chained(self.store.log))]
        self.notes.append(
            "The key is the folder's own: name one that you were given, with --policy."
        )
        logs = {name: Verifier(name, key.public) for name in names}
        return Policy(logs, {}, {}), str(self.places.key)

    def signer(self) -> Signer:
        """Return the key that signs heads, opened once; raises Unavailable where it cannot be had."""
        if self._signer is None:
            self._signer = open_signer(self.places.key, self.settings)
        return self._signer

    def safe(self) -> WormStore:
        """Return where anchors are kept."""
        return open_safe(self.places.anchors, self.settings, self.clock)

    def last(self) -> dict[str, LastHead]:
        """Return the last heads."""
        assert self._heads is not None
        return self._heads.load()

    # -- verifying

    def audit(
        self,
        *,
        since: Path | None = None,
        full: bool = False,
        max_age_s: int | None = None,
        clocked: bool | None = None,
    ) -> AuditReport:
        """Verify everything; what is wrong is in the report.

        `clocked`: the log's own time counts towards the age of what is not sealed (None: unless it is a
        book's).
        """
        load = self.last if self._heads is not None else None
        last = LastHeads(load, self.clock, PATIENCE_S if self._owned() else 0.0)
        clocked = self.store.genesis.clock == "log" if clocked is None else clocked
        trees = TreeAudit(
            self.store.log,
            self.store.genesis.log_id,
            self.origins,
            self.tiles,
            self.policy,
            last,
            lambda record: self.store.closed.meta(record.headers),
            head_age_ms=HEAD_AGE_MS if clocked else None,
        )
        kinds = {name: s.kind for name, s in self.store.log.topics().items()}
        reports = [
            found
            for place in chained(self.store.log)
            if (found := trees.verify(place, kinds[place.topic])) is not None
        ]
        heads = HeadsAudit(
            self.origins,
            self.tiles,
            self.policy,
            last,
            trees.heads,
            broken={f"{self.origins.base}/{r.folder}" for r in reports if r.finding is not None},
            present=lambda: {self.origins.of(place) for place in chained(self.store.log)},
            safe=existing_safe(self.places.anchors, self.settings, self.clock),
            witness=self._seen(),
            pinned=self.places.policy.exists(),
            own_witness=OWN in self.policy.witnesses,
            now_ms=self.clock.now(),
            max_age_s=max_age_s,
        )
        seen = heads.verify()
        self._demand_settings(heads)
        self._demand_birth(heads)
        findings = [r.finding for r in reports if r.finding is not None] + heads.findings
        if not seen.size and not heads.findings:
            findings += self._never_sealed(sum(r.unsealed for r in reports))
        extended = self._since(heads, since, findings) if since is not None else None
        if full:
            findings += self._crossed([r.folder for r in reports if r.finding is None])
        return AuditReport(
            trees=reports,
            findings=findings,
            notes=[*self.notes, *heads.notes],
            heads=seen.size,
            anchors=seen.anchors,
            witnessed_at=seen.witnessed_at,
            trusted=self.trusted,
            since=extended,
        )

    def _never_sealed(self, records: int) -> list[Finding]:
        """Records that no head covers are not whole, unless proving is off."""
        if not records or not self.settings.proof.enabled:
            return []
        why = f"{records} records are here and no head was ever signed"
        hint = "Start the notary: `usance start`. Where it had run, its heads were removed."
        return [Finding(code="HEAD_AGE", where=self.origins.heads, reason=why, hint=hint)]

    def _demand_settings(self, heads: HeadsAudit) -> None:
        """The settings that hold now must be the ones that the notary sealed when it started last."""
        if heads.started is not None and heads.started.digest != digest_of(self.settings):
            why = "proving is set otherwise now than when the notary last started"
            heads.findings.append(
                Finding(
                    code="CONFIG_UNSEALED",
                    where=self.origins.journal,
                    reason=why,
                    hint="See `usance config show`. If that is meant, start the notary with it once.",
                )
            )

    def _demand_birth(self, heads: HeadsAudit) -> None:
        """The genesis record, which is in no tree, must be the one of every start of the notary."""
        if heads.started is not None and not heads.births:
            self.notes.append("The genesis record is sealed when the notary starts next.")
        elif heads.births - {birth_digest(self.store.log, self.settings.namespace)}:
            heads.findings.append(
                Finding(
                    code="CONFIG_UNSEALED",
                    where="system.meta/p000",
                    reason="the genesis record is not the one that the notary sealed",
                    hint="It says how the log is read: bring the record back from a backup.",
                )
            )

    def _since(self, heads: HeadsAudit, since: Path, findings: list[Finding]) -> int | None:
        try:
            raw = since.read_bytes()
        except OSError as error:
            raise Unavailable(
                f"the old head {since} cannot be read: {error.strerror}", hint="Name a head's file."
            ) from error
        try:
            return heads.since(raw)
        except Detected as found:
            findings.append(Finding.of(found, str(since)))
        except FileNotFoundError as gone:
            raise NotFound(f"the log of {since} is not here: {gone}") from gone
        return None

    def _crossed(self, sound: list[str]) -> list[Finding]:
        """Hold topics, keys, snapshots and views against each other."""
        store, opened = self.store, self._opened()
        vault = store.vault if opened is not None else None
        kept = vault.store if vault is not None else None
        keys = KeyAudit(store.log, store.topics, store.closed, kept)
        keys.verify()
        if keys.findings:  # what a wrong or missing key makes of blocks says nothing about them
            self.notes.append("Sealed blocks, snapshots and views were not judged: see the keys.")
            opened = None
        crossing = Crossing(store.log, store.topics, store.closed, opened, store.deciders)
        crossing.verify(sound)
        views = self._views() if opened is not None else []
        packs = wrong_indexes(store, self.tiles)
        return [*keys.findings, *crossing.findings, *views, *packs]

    def _opened(self) -> Any | None:
        """Return what opens sealed blocks; an auditor who has no keys judges everything else."""
        try:
            return self.store.decoder
        except UsanceError as closed:
            self.notes.append(
                f"Sealed blocks, snapshots and views were not judged: {closed.message}"
            )
            return None

    def _views(self) -> list[Finding]:
        """Hold every read model against a fold of the log, where nobody keeps them at the moment."""
        if self._owned():
            self.notes.append("The views were not compared: a process keeps them.")
            return []
        if self.settings.views == "sqlite" and not self.store.folder.views.exists():
            return []
        views = open_views(self.store.folder, self.settings)
        projector = make_projector(self.store, views, follow=False)
        found = []
        try:
            projector.open()
            for name in projector.projections:
                for row in projector.verify(name)[:1]:
                    where = f"views:{name}"
                    found.append(_drift(where, str(row)))
        except UsanceError as broken:
            found.append(_drift("views", broken.message))
        finally:
            projector.close()
            views.close()
        return found

    def _seen(self) -> bytes | None:
        """Return what our own witness saw last: empty for nothing yet, None where nothing is kept of it."""
        if not self.places.seen.exists():
            return None
        seen = SqliteSeen(self.places.seen)
        try:
            return seen.checkpoint(self.origins.heads) or b""
        finally:
            seen.close()

    def _owned(self) -> bool:
        from usance.adapters.sqlite_store import FolderLock
        from usance.kernel.errors import Owned

        if self.settings.bootstrap_servers:
            return True
        try:
            FolderLock(self.store.folder.root).close()
        except Owned:
            return True
        return False

    # -- heads and proofs

    def head(self) -> bytes:
        """Return the signed head of the log of heads; raises NotFound before the first."""
        try:
            return self.tiles.read(f"{self.origins.folder(self.origins.heads)}/{CHECKPOINT}")
        except FileNotFoundError:
            raise NotFound(
                "no head was signed yet",
                hint="The notary signs the first a second after it began: `usance start`.",
            ) from None

    def prove(self, wanted: str) -> Proven:
        """Return the proof of a record, named by its id or its place (`trade.p1#17`, of events)."""
        place, index = self._find(wanted)
        folder, origin = folder_of(place), self.origins.of(place)
        raw, head = self._signed(folder, origin)
        if index >= head.size:
            raise Unavailable(
                f"record {index} of {folder} is not sealed yet: its head covers {head.size}",
                hint="Ask again in a second, while the notary runs.",
            )
        tree = self._tree(folder, head.size)
        entry = tree.entry(index)
        offset = unpack(entry).offset
        record = next(iter(self.store.log.scan(place, offset, offset + 1, 1)))
        proof = Proof(index, tuple(inclusion_proof(index, head.size, tree.node)), raw)
        return Proven(
            folder,
            index,
            (header(record.headers, "ce_id") or b"").decode(),
            entry,
            proof.raw(),
            raw,
            self._head_proof(raw),
        )

    def signed(self, folder: str) -> Checkpoint:
        """Return the signed head of a tree by its folder; raises NotFound before the first, Detected."""
        return self._signed(folder, f"{self.origins.base}/{folder}")[1]

    def _signed(self, folder: str, origin: str) -> tuple[bytes, Checkpoint]:
        try:
            raw = self.tiles.read(f"{folder}/{CHECKPOINT}")
        except FileNotFoundError:
            raise NotFound(f"{folder} has no head yet", hint="Has the notary run?") from None
        return raw, note.open_checkpoint(raw, self.policy.log(origin))

    def _tree(self, folder: str, size: int) -> Tiles:
        return Tiles(size, lambda path: self.tiles.read(f"{folder}/{path}"))

    def _head_proof(self, entry: bytes) -> bytes | None:
        """Return the proof that a partition's signed head is in the log of heads."""
        origin = self.origins.heads
        folder = self.origins.folder(origin)
        raw = self.tiles.read(f"{folder}/{CHECKPOINT}")
        head = note.parse_checkpoint(note.parse_note(raw).text)
        tree = self._tree(folder, head.size)
        for index in reversed(range(head.size)):
            if tree.entry(index) == entry:
                return Proof(index, tuple(inclusion_proof(index, head.size, tree.node)), raw).raw()
        return None

    def _find(self, wanted: str) -> tuple[TopicPartition, int]:
        where, gap, index = wanted.partition("#")
        if gap:
            context, _, number = where.rpartition(".p")
            if not number.isdecimal() or not index.isdecimal():
                raise Unreadable("place", f"{wanted} is no place", hint="Such as trade.p1#17.")
            kind = "events" if "." not in context else context.partition(".")[2]
            topic = self.store.topics.name(context.partition(".")[0], kind)
            return TopicPartition(topic, int(number)), int(index)
        for place in chained(self.store.log):
            for record in self.store.log.scan(place, 0):
                if header(record.headers, "ce_id") == wanted.encode():
                    return place, self.store.closed.meta(record.headers).index
        raise NotFound(f"no record {wanted} is in the log", hint="usance event list shows ids.")

    # -- handing over

    def partition(self, text: str) -> TopicPartition:
        """Return the partition that a person names: `trade.events/p001`, or a number (of trade's events)."""
        folders = {folder_of(p): p for p in chained(self.store.log)}
        wanted = f"trade.events/p{int(text):03d}" if text.isdecimal() else text
        if wanted not in folders:
            raise NotFound(
                f"no partition {text} is sealed", hint=f"Such as {next(iter(folders), '')}."
            )
        return folders[wanted]

    def export(
        self, place: TopicPartition | None, target: Path, *, dry_run: bool = False
    ) -> list[str]:
        """Write a tree, or the log of heads, as a folder in tlog-tiles layout with its key; returns files."""
        origin = self.origins.heads if place is None else self.origins.of(place)
        folder = self.origins.folder(origin)
        raw, head = self._signed(folder, origin)
        made: dict[str, bytes] = {CHECKPOINT: raw}
        for path in paths(head.size):
            made[path] = self.file(folder, path)
        made[VKEY] = f"{self.policy.log(origin).vkey}\n".encode()
        alone = self.policy.alone(origin, witnessed=place is None)
        made[POLICY] = alone.text().encode()
        if not dry_run:
            _write(target, made)
        return sorted(made)

    def file(self, folder: str, path: str) -> bytes:
        """Return a file of a head; a partial one that became full since is cut to its old width."""
        return served(path, lambda name: self.tiles.read(f"{folder}/{name}"))

    def scrubbed(self, report: AuditReport) -> bytes:
        """Return a report as a note signed by the log's key, and keep it among the anchors."""
        key = self.signer()
        name = f"{self.origins.base}/scrub"
        now = self.clock.now()
        facts = {
            "at": now // MS_PER_SECOND,
            "leaves": report.leaves,
            "heads": report.heads,
            "anchors": report.anchors,
            "findings": [msgspec.to_builtins(f) for f in report.findings],
        }
        text = f"{name}\n{msgspec.json.encode(facts, order='sorted').decode()}\n"
        raw = sign(text, name, key)
        self.safe().put(f"scrub/{now:015d}.note", raw)
        return raw

    def close(self) -> None:
        """Release the files."""
        if self._heads is not None:
            self._heads.close()
        if self._signer is not None:
            self._signer.close()
        self.store.close()


def _drift(where: str, row: str) -> Finding:
    return Finding(
        code="VIEW_DRIFT",
        where=where,
        reason=f"a row is not what the log's events make: {row}",
        hint="usance projection rebuild makes it again from the log.",
    )


def _write(target: Path, files: dict[str, bytes]) -> None:
    if target.exists() and any(target.iterdir()):
        raise Unavailable(f"{target} is not empty", hint="Name an empty folder with --out.")
    try:
        for path, data in files.items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise Unavailable(
            f"{target} cannot be written: {error.strerror}", hint="Name another folder with --out."
        ) from error


def write_proof(found: Proven, policy: Policy, origins: Origins, target: Path) -> list[str]:
    """Write a proof as files that third-party tools read; returns their names.

    Two steps, each with its policy: the leaf in its partition's tree, that tree's head in the log of heads.
    """
    partition = f"{origins.base}/{found.folder}"
    files = {
        LEAF: found.leaf,
        f"event{SUFFIX}": found.proof,
        "event.policy": policy.alone(partition, witnessed=False).text().encode(),
        "head.note": found.entry,
    }
    if found.head is not None:
        files[f"head{SUFFIX}"] = found.head
        files["head.policy"] = policy.alone(origins.heads, witnessed=True).text().encode()
    _write(target, files)
    return sorted(files)


@contextmanager
def evidence(folder: Folder, settings: Settings, policy: Path | None = None) -> Iterator[Evidence]:
    """Open a log's proof to read it."""
    found = Evidence(folder, settings, policy)
    try:
        yield found
    finally:
        found.close()
