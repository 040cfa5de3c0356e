"""Gathering an audit pack from a log and its proof: which records, proven at which heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from usance.audit.chain import HASHED_HEADERS
from usance.audit.codes import Detected
from usance.audit.leaf import unpack
from usance.audit.merkle import prefix_root
from usance.audit.note import Checkpoint, b64, open_checkpoint
from usance.audit.pack import (
    Draft,
    Part,
    Stored,
    as_json,
    draft,
    schema_files,
    schemas_of,
    tree_files,
    trees_of,
    verifier,
)
from usance.audit.pack_records import Schemas, line_of, parts_of, tell
from usance.audit.pack_verify import REGISTRY
from usance.audit.proof import Policy
from usance.audit.tiles import CHECKPOINT, TILE_WIDTH, Tiles, paths
from usance.bootstrap.packs.auditing import Evidence
from usance.bootstrap.packs.pack_scope import Request, Scan, scope_of
from usance.bootstrap.proof.safes import existing_safe
from usance.bootstrap.vaults import open_store
from usance.crypto.keystore import KeyRecord
from usance.domain.export import PackExported, StreamIndex
from usance.engine.proof.attesting import ANCHORS, HEAD, STAMP
from usance.engine.proof.sealing import folder_of
from usance.engine.secrecy.keys import CATEGORY as KEY
from usance.kernel.decider import WITHHELD, Actor, key_parts
from usance.kernel.errors import NotFound, Refused, Unavailable, UsanceError
from usance.log.contract import Record, TopicPartition
from usance.views.asking import sees_compliance
from usance.views.pack_pages import Story, history_of, instant_text, readme_page, timeline_page

OWN_TREES = ("trade.", "compliance.", "system.", "heads")


class Found(NamedTuple):
    """A head as the log of heads holds it: where, its bytes, how many leaves."""

    at: int
    raw: bytes
    size: int


class Gathered(NamedTuple):
    """A pack before it is handed over, and what the hand-over says of it."""

    draft: Draft
    indexes: list[StreamIndex]
    known_at: int
    records: int
    revealed: int
    heads: dict[str, Found]
    anchors: list[int]


class Selected(NamedTuple):
    """Parts of a pack, the streams in scope, and the indexes that show that all of them are there."""

    parts: list[Part]
    streams: list[str]
    indexes: list[StreamIndex]
    shown: dict[str, Any]


class Packer:
    """Gathers packs of one log for one person; `names` are people's by id."""

    def __init__(self, evidence: Evidence, viewer: Actor, names: Mapping[str, str]) -> None:
        self.evidence = evidence
        self.store = evidence.store
        self.origins = evidence.origins
        self.viewer = viewer
        self.names = names
        base = self.origins.base + "/"
        # The log's own trees alone, so that all packs of a log have one fingerprint.
        logs = {
            name: key
            for name, key in sorted(evidence.policy.logs.items())
            if name.removeprefix(base).startswith(OWN_TREES)
        }
        self.policy: Policy = evidence.policy._replace(logs=logs, urls=None)
        self.heads_folder = self.origins.folder(self.origins.heads)
        self._read: tuple[int, dict[str, Found]] = (0, {})

    # -- heads

    def top(self) -> tuple[bytes, Checkpoint]:
        """Return the newest head of the log of heads."""
        raw = self.evidence.head()
        return raw, open_checkpoint(raw, self.policy.log(self.origins.heads))

    def tree(self, folder: str, size: int) -> Tiles:
        """Return a stored tree."""
        tiles = self.evidence.tiles
        return Tiles(size, lambda path: tiles.read(f"{folder}/{path}"))

    def heads(self, first: int, size: int) -> dict[str, Found]:
        """Return the newest head of each tree among the first `first` of the log of heads.

        What was read is kept: whoever waits for a head asks again and again, and the log is long. Entries are
        only told apart here; their signatures are verified with the pack.
        """
        start, known = self._read if self._read[0] <= first else (0, {})
        tree, found = self.tree(self.heads_folder, size), dict(known)
        for number in range(start // TILE_WIDTH, -(-first // TILE_WIDTH)):
            for at, raw in enumerate(tree.bundle(number), number * TILE_WIDTH):
                origin, count, _ = raw.decode().split("\n", 2)
                if start <= at < first and origin != self.origins.journal:
                    found[self.origins.folder(origin)] = Found(at, raw, int(count))
        self._read = (first, found)
        return dict(found)

    def known(self, wanted: int | bytes, top: Checkpoint) -> int:
        """Return how many heads are meant; raises Refused for more than there are, Detected for a fork."""
        if isinstance(wanted, bytes):
            head = open_checkpoint(wanted, self.policy.log(self.origins.heads))
            if head.size <= top.size and self._root_of_heads(head.size, top.size) != head.root:
                raise Detected("FORK", f"the log of heads has another history at {head.size} heads")
            wanted = head.size
        if wanted < 0:
            return top.size
        if not 0 < wanted <= top.size:
            raise Refused(
                "UNKNOWN_HEAD",
                f"the log of heads has {top.size} heads, not {wanted}",
                hint="--known-at takes a number of heads, or a file of `usance audit head`.",
            )
        return wanted

    def _root_of_heads(self, size: int, top: int) -> bytes:
        """Return the root that the log of heads had at a size: by the tiles of today, which hold every prefix."""
        return prefix_root(size, self.tree(self.heads_folder, top).node)

    # -- gathering

    def gather(self, request: Request) -> Gathered:
        """Return a pack's draft. Raises NotFound for nothing, Unavailable where nothing is sealed yet."""
        _, top = self.top()
        known = self.known(request.known_at, top)
        heads = self.heads(known, top.size)
        registry = self.heads(top.size, top.size).get(REGISTRY)
        if registry is None:
            raise Unavailable("the registry of schemas is not sealed yet", hint="Start the notary.")
        whole = request.kind == "partition"
        chosen = self._whole(request, heads) if whole else self._selected(request, heads)
        parts = [p for p in chosen.parts if p.folder != REGISTRY]
        parts.append(chosen.parts[0] if whole and not parts else self._registry(parts, registry))
        files, told = self._files(parts, schemas_of(parts))
        files |= self._pages(request, self._stories(parts, told, request), known)
        anchors = self._anchors(known, top)
        files |= anchors
        if chosen.shown:
            files["streams.json"] = as_json(chosen.shown)
        scope: dict[str, Any] = {"kind": request.kind, "value": request.value}
        if not whole:
            scope["contexts"] = list(self._contexts())
        facts = {
            "base": self.origins.base,
            "log_id": self.store.genesis.log_id,
            "scope": scope,
            "streams": chosen.streams,
            "as_of": request.as_of,
            "known_at": {"heads": known, "root": b64(self._root_of_heads(known, top.size))},
            "trees": trees_of(parts),
        }
        return Gathered(
            draft(files, facts),
            chosen.indexes,
            known,
            sum(len(part.records) for part in parts),
            sum(len(r.revealed) for part in parts for r in part.records),
            {
                p.folder: registry if p.checkpoint == registry.raw else heads[p.folder]
                for p in parts
            },
            sorted(int(n[8:28]) for n in anchors if n.endswith(HEAD)),
        )

    def _contexts(self) -> tuple[str, ...]:
        """Return the contexts that the one who asks may see."""
        return ("trade", "compliance") if sees_compliance(self.viewer) else ("trade",)

    def _whole(self, request: Request, heads: Mapping[str, Found]) -> Selected:
        place = self.evidence.partition(request.value)
        folder = folder_of(place)
        if folder.startswith(("compliance.", "access.")) and not sees_compliance(self.viewer):
            raise NotFound(f"no partition {request.value} is sealed", hint="Ask compliance.")
        if request.as_of:
            raise Refused(
                "AS_OF_WHOLE",
                "a whole partition has no as-of: every record of it is in the pack",
                hint="Use --known-at, or name a credit or a query.",
            )
        if folder not in heads:
            raise Unavailable(
                f"{folder} had no signed head by then",
                hint="Ask for a later head, or again in a second while the notary runs.",
            )
        found = heads[folder]
        records = [Stored.of(r, self._opened(r, request)) for r in self._first(folder, found.size)]
        if len(records) < found.size:
            raise Detected(
                "ROLLBACK", f"{found.size} records were sealed, {len(records)} are there"
            )
        files = {path: self.evidence.file(folder, path) for path in paths(found.size)}
        files[CHECKPOINT] = found.raw
        tree = self.tree(folder, found.size)
        part = Part(folder, found.raw, found.size, tree, records, whole=True, files=files)
        return Selected([part], [], [], {})

    def _selected(self, request: Request, heads: Mapping[str, Found]) -> Selected:
        """Return the parts of all streams in scope, and the index of each partition that has some."""
        topics, scans = self.store.topics, []
        for context in self._contexts():
            for number in range(topics.partitions):
                folder = folder_of(topics.at(context, "events", number))
                if folder in heads:
                    size = heads[folder].size
                    records = self._first(folder, size)
                    tree = self.tree(folder, size)
                    scans.append(Scan(folder, tree, records, self.store.closed, request))
        wanted = scope_of(request, scans, self.store.settings.bank.tenant)
        made = Selected([], [], [], {})
        for scan in scans:
            here = wanted & scan.streams.keys()
            if not here:
                continue
            events, commands = self._events(scan, here, heads, request)
            outcomes = self._outcomes(scan.folder, commands, heads, request)
            keys = self._keys_made(scan, events.tiles, outcomes)
            if keys - here:
                events, _ = self._events(scan, here | keys, heads, request)
            index = scan.index()
            said = StreamIndex(
                tree=scan.folder, size=index.size, entries=index.entries, root=index.root
            )
            made.indexes.append(said)
            made.shown[scan.folder] = {
                "entries": index.entries,
                "root": index.root.hex(),
                "streams": [index.shown(stream) for stream in sorted(here | keys)],
            }
            made.parts.extend([events, *outcomes])
            wanted |= keys
        return made._replace(streams=sorted(wanted))

    def _keys_made(self, scan: Scan, tree: Tiles, outcomes: list[Part]) -> set[str]:
        """Return the streams of data keys that the commands of some streams made: their receipts say so."""
        place, found = self.place(scan.folder), set[str]()
        for record in (r for part in outcomes for r in part.records):
            outcome = self.store.closed.value(parts_of(record.envelope)[8])
            for receipt in getattr(outcome, "receipts", ()):
                if receipt.index < tree.size:
                    offset = unpack(tree.entry(receipt.index)).offset
                    (event,) = self.store.log.scan(place, offset, offset + 1, 1)
                    found.add((event.key or b"").decode())
        return {stream for stream in found if key_parts(stream).category == KEY}

    def _events(
        self, scan: Scan, streams: Iterable[str], heads: Mapping[str, Found], request: Request
    ) -> tuple[Part, set[bytes]]:
        """Return the events of some streams, and the ids of the commands that they answer."""
        folder, place = scan.folder, self.place(scan.folder)
        records, commands = [], set[bytes]()
        for offset in sorted(o for stream in streams for o in scan.streams[stream].offsets):
            record = next(iter(self.store.log.scan(place, offset, offset + 1, 1)))
            if not request.later(record):
                records.append(Stored.of(record, self._opened(record, request)))
                commands.add(self.store.closed.meta(record.headers).command_id.encode())
        tree = self.tree(folder, scan.size)
        return Part(folder, heads[folder].raw, scan.size, tree, records), commands

    def _outcomes(
        self, events: str, commands: set[bytes], heads: Mapping[str, Found], request: Request
    ) -> list[Part]:
        """Return the answers to some commands."""
        folder = events.replace(".events/", ".outcomes/")
        if folder not in heads:
            return []
        size = heads[folder].size
        found = [
            Stored.of(record)
            for record in self._first(folder, size)
            if record.key in commands and not request.later(record)
        ]
        return [Part(folder, heads[folder].raw, size, self.tree(folder, size), found)]

    def _first(self, folder: str, size: int) -> Iterator[Record]:
        """Return the first records of a tree."""
        return islice(self.store.log.scan(self.place(folder), 0, None, 5_000), size)

    def place(self, folder: str) -> TopicPartition:
        """Return the partition of a folder such as `trade.events/p003`."""
        topic, _, number = folder.partition("/p")
        context, _, kind = topic.partition(".")
        return self.store.topics.at(context, kind, int(number))

    def _opened(self, record: Record, request: Request) -> list[dict[str, Any]]:
        """Return the sealed private blocks of a record that are revealed in this pack."""
        if not request.reveal or self.store.genesis.clear_blocks:
            return []
        message = self.store.decoder.message(record.headers, record.value)
        blocks = self.store.catalogue.type_of(message).blocks
        opened = {name: getattr(message, name) for name in blocks}
        return [
            {"name": name, "content": msgspec.to_builtins(value)}
            for name, value in opened.items()
            if value is not None and not isinstance(value, WITHHELD)
        ]

    # -- schemas

    @cached_property
    def schemas(self) -> Schemas:
        """All schemas of the log."""
        found = Schemas()
        for record in self.store.log.scan(self.place(REGISTRY), 0):
            found.register(record.value or b"")
        return found

    def _registry(self, parts: Iterable[Part], head: Found) -> Part:
        """Return the records that register the schemas which a pack needs."""
        registry = self.store.registry
        exported = self.store.catalogue.by_class[PackExported]
        kinds = [exported, self.store.catalogue.meta, *exported.blocks.values()]
        needed = {1, *(registry.id_of(kind.schema) for kind in kinds)}
        fingerprints = set[str]()
        for part in parts:
            for record in part.records:
                try:
                    line = tell(part.folder, 0, 0, record.envelope, self.schemas).line
                except (ValueError, LookupError):
                    continue  # no record any more: it is named when it is held against its leaf
                needed |= {line["schema"], _meta_schema(parts_of(record.envelope)[6])}
                fingerprints |= {b["schema"] for b in (line["content"] or {}).get("private", ())}
        for fingerprint in fingerprints:
            known = registry.by_fingerprint(bytes.fromhex(fingerprint))
            needed |= {known.id} if known is not None else set()
        records = []
        for found in self._first(REGISTRY, head.size):
            registered = Schemas().register(found.value or b"")
            if registered in needed:
                needed.discard(registered)
                records.append(Stored.of(found))
        if registry.id_of(exported.schema) in needed:
            raise Unavailable(
                "this log does not know packs yet",
                hint="Start the owner of this version once: it registers its schemas.",
            )
        return Part(REGISTRY, head.raw, head.size, self.tree(REGISTRY, head.size), records)

    # -- files

    def _files(
        self, parts: Iterable[Part], schemas: Schemas
    ) -> tuple[dict[str, bytes], dict[str, list[dict[str, Any]]]]:
        files = {"policy.txt": self.policy.text().encode(), **schema_files(schemas)}
        told: dict[str, list[dict[str, Any]]] = {}
        for part in parts:
            made, told[part.folder] = tree_files(part, schemas)
            files |= made
        blocks: dict[str, int] = {}
        for line in (one for lines in told.values() for one in lines):
            for block in line["sealed"]:
                blocks[block["key"]] = blocks.get(block["key"], 0) + 1
        return files | {"keys.json": as_json({"keys": self._keys(blocks)})}, told

    def _keys(self, blocks: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return what the key store says of the keys that sealed some blocks; no key is in it."""
        if not blocks:
            return []
        store = open_store(
            self.store.settings, self.store.folder.root, self.store.log, self.store.topics
        )
        try:
            found = store.by_id([bytes.fromhex(key) for key in blocks])
        finally:
            store.close()
        return [
            {"key": key, "blocks": count, **_register(found.get(bytes.fromhex(key)))}
            for key, count in sorted(blocks.items())
        ]

    def _stories(
        self, parts: Iterable[Part], told: Mapping[str, list[dict[str, Any]]], request: Request
    ) -> list[Story]:
        """Return the history of every stream in the pack."""
        lines: dict[str, list[Any]] = {}
        messages: dict[str, list[Any]] = {}
        for part in parts:
            if ".events/" not in part.folder:
                continue
            for record, line in zip(part.records, told[part.folder], strict=True):
                lines.setdefault(line["stream"], []).append(line)
                messages.setdefault(line["stream"], []).append(self._message(record, request))
        deciders = self.store.deciders
        return [
            history_of(s, deciders.get(key_parts(s).category), lines[s], messages[s])
            for s in sorted(lines)
        ]

    def _message(self, record: Stored, request: Request) -> Any:
        """Return what a record says, None where it cannot be read; its sealed blocks only where revealed."""
        decoder = self.store.decoder if request.reveal else self.store.closed
        parts = parts_of(record.envelope)
        headers = tuple(
            (n, p) for n, p in zip(HASHED_HEADERS, parts, strict=False) if p is not None
        )
        try:
            return decoder.message(headers, parts[8])
        except UsanceError:
            return None

    def _pages(self, request: Request, stories: list[Story], known: int) -> dict[str, bytes]:
        """Return what people read: the timeline, each stream's history, custody, the first page."""
        name = self.names.get(self.viewer.person, self.viewer.person)
        facts = {
            "Scope": request.told,
            "Case": request.case,
            "Known at": f"{known} signed heads of {self.origins.heads}",
            "As of": instant_text(request.as_of) if request.as_of else "",
            "Streams": str(len(stories)),
            "Events": str(sum(len(story.facts) for story in stories)),
            "Asked for by": f"{name} ({self.viewer.role})",
            "Made by": program(),
        }
        custody = {
            "asked_by": self.viewer.person,
            "role": self.viewer.role,
            "case": request.case,
            "scope": request.told,
            "built_by": program(),
            "reveal": request.reveal,
        }
        title = f"Audit pack: {request.told}"
        fingerprint = b64(sha256(self.policy.text().encode()).digest())
        script = sha256(verifier()).hexdigest()
        return {
            "README.html": readme_page(title, facts, fingerprint, script),
            "index.html": timeline_page(title, facts, stories, self.names),
            "record-history.json": as_json(stories),
            "custody.jsonl": line_of(custody) + b"\n",
        }

    def _anchors(self, known: int, top: Checkpoint) -> dict[str, bytes]:
        """Return the heads that were put into the safe around what is known: one before, one after."""
        evidence = self.evidence
        safe = existing_safe(evidence.places.anchors, evidence.settings, evidence.clock)
        if safe is None:
            return {}
        names = safe.names(f"{ANCHORS}/")
        sizes = [int(n.removeprefix(f"{ANCHORS}/")[:20]) for n in names if n.endswith(HEAD)]
        near = [s for s in sizes if s <= known][-1:] + [s for s in sizes if known < s <= top.size][
            :1
        ]
        return {
            f"anchors/{size:020d}{suffix}": safe.read(f"{ANCHORS}/{size:020d}{suffix}")
            for size in near
            for suffix in (HEAD, STAMP)
            if f"{ANCHORS}/{size:020d}{suffix}" in names
        }


def _meta_schema(meta: bytes | None) -> int:
    return int.from_bytes((meta or b"")[1:5], "big")


def _register(record: KeyRecord | None) -> dict[str, Any]:
    """Return a key's entry in the register: everything about it but the key."""
    if record is None:
        return {"state": "unknown"}
    return {
        "subject": record.subject,
        "retention": record.retention,
        "version": record.version,
        "state": record.state.value,
        "kek": record.kek,
        "check": record.check.hex(),
        "created": record.created,
        "destroyed": record.destroyed,
        "certificate": record.certificate,
    }


def program() -> str:
    """Return this program's name and version."""
    try:
        return f"usance {version('usance')}"
    except PackageNotFoundError:
        return "usance"
