"""Where attacks happen: copies of a data folder, and an attacker with the rights of the disk's owner.

The folder that was named is read once, and only while nobody owns it. Each attack works on a copy of its own;
`yesterday` is the state before the last few commands, `today` the one after them, both sealed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from usance.adapters.proof_files import FolderTiles, read_key
from usance.audit import note
from usance.audit.chain import envelope_hash, link
from usance.audit.leaf import unpack
from usance.audit.note import Checkpoint, SigningKey, Verifier, sign_note
from usance.audit.report import AuditReport
from usance.audit.tiles import CHECKPOINT, Edge, Tiles, bundle_path, pack_bundle
from usance.bootstrap.desk import clock_of
from usance.bootstrap.packs.auditing import Evidence
from usance.bootstrap.proof.proving import Places, places_of
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder, found_log
from usance.config import ProofSettings, Settings
from usance.domain.credit.messages import ApplyForCredit
from usance.domain.facility_messages import SetFacility
from usance.engine.proof.sealing import HEADS, Tree, first_head, folder_of
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import BookClock, Clock, SystemClock
from usance.kernel.decider import Actor, key_of
from usance.kernel.errors import Owned, Refused, Unavailable
from usance.kernel.ids import derived
from usance.log.contract import TopicPartition
from usance.messages.headers import pack_headers, unpack_headers
from usance.messages.varints import VARINTS
from usance.testing import trade

LEAST_EVENTS = 8
"""Events that one partition must have for there to be anything to attack."""
SKIPPED = shutil.ignore_patterns("gateway", "cache", "*.lock", "*.part")
MAKER = Actor("attack-maker", "maker.login", "maker")
CREDIT_OFFICER = Actor("attack-1", "attacker", "credit_officer")
GROWTH = 12
KEYS = "keys.sqlite"
TARGET = "target.json"
"""Where the partition and the index that are attacked are written down."""


class Row(NamedTuple):
    """A record as SQLite keeps it."""

    offset: int
    ts: int
    key: bytes | None
    headers: bytes
    value: bytes | None


class Victim:
    """One copy of a data folder, open to whoever may write its files."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = replace(settings, data=str(root))

    @property
    def folder(self) -> Folder:
        """The data folder."""
        return Folder(self.root)

    @property
    def places(self) -> Places:
        """Where its proof is."""
        return places_of(self.folder, self.settings)

    @property
    def key(self) -> SigningKey:
        """The log's private key: for attacks that begin with its theft."""
        return read_key(self.places.key)

    @contextmanager
    def evidence(
        self, policy: Path | None = None, clock: Clock | None = None
    ) -> Iterator[Evidence]:
        """Open it as an auditor does."""
        found = Evidence(self.folder, self.settings, policy, clock)
        try:
            yield found
        finally:
            found.close()

    def audit(
        self, policy: Path | None = None, clock: Clock | None = None, **more: Any
    ) -> AuditReport:
        """Verify it as an auditor does."""
        with self.evidence(policy, clock) as found:
            return found.audit(**more)

    # -- records

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """Open the log's file past the program."""
        connection = sqlite3.connect(self.folder.log)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def rows(self, place: TopicPartition) -> list[Row]:
        """Return all records of a partition."""
        with self.database() as database:
            found = database.execute(
                f'SELECT "offset", ts, key, headers, value FROM {_table(place)} ORDER BY "offset"'
            )
            return [Row(*row) for row in found]

    def write(self, place: TopicPartition, rows: Sequence[Row]) -> None:
        """Put records in the place of those at their offsets."""
        with self.database() as database:
            database.executemany(
                f"INSERT OR REPLACE INTO {_table(place)} VALUES (?, ?, ?, ?, ?)", rows
            )

    def delete(self, place: TopicPartition, offsets: Sequence[int], end: int | None = None) -> None:
        """Remove records, and let the partition end before offset `end` where that is given."""
        with self.database() as database:
            sql = f'DELETE FROM {_table(place)} WHERE "offset" = ?'
            database.executemany(sql, [(offset,) for offset in offsets])
            if end is not None:
                at = (end, *place)
                database.execute("UPDATE place SET next = ? WHERE topic = ? AND partition = ?", at)

    def begin(self, place: TopicPartition, offset: int) -> None:
        """Let a partition begin at an offset, as retention does."""
        with self.database() as database:
            database.execute(f'DELETE FROM {_table(place)} WHERE "offset" < ?', (offset,))
            at = (offset, *place)
            database.execute("UPDATE place SET start = ? WHERE topic = ? AND partition = ?", at)

    def rechain(self, place: TopicPartition, rows: Sequence[Row]) -> list[Row]:
        """Return records with chains that fit each other, as a careful forger makes them."""
        with self.evidence() as found:
            origin = found.origins.of(place)
            tail = first_head(origin, found.store.genesis.log_id, place).tail
            meta = found.store.closed.meta
            made = []
            for index, row in enumerate(rows):
                pairs = unpack_headers(row.headers)
                said = meta(pairs)
                old = VARINTS[said.index] + b"\x02" + (said.prev or b"")
                new = VARINTS[index] + b"\x02" + tail
                headers = pack_headers(
                    tuple((n, v.replace(old, new) if n == "usance-meta" else v) for n, v in pairs)
                )
                made.append(row._replace(headers=headers))
                tail = link(tail, envelope_hash(row.key, row.value, unpack_headers(headers)))
        return made

    # -- tiles and heads

    def tree(self, place: TopicPartition) -> tuple[Checkpoint, list[bytes]]:
        """Return the published head of a partition and its entries."""
        tiles = FolderTiles(self.places.tiles / folder_of(place))
        head = note.parse_checkpoint(note.parse_note(tiles.read(CHECKPOINT)).text)
        stored = Tiles(head.size, tiles.read)
        return head, [stored.entry(index) for index in range(head.size)]

    def put_entry(self, place: TopicPartition, index: int, entry: bytes) -> None:
        """Put one entry into its bundle, and touch nothing else."""
        head, entries = self.tree(place)
        entries[index] = entry
        number = index // 256
        part = entries[number * 256 : (number + 1) * 256]
        path = bundle_path(number, min(256, head.size - number * 256))
        (self.places.tiles / folder_of(place) / path).write_bytes(pack_bundle(part))

    def derive(self, place: TopicPartition, size: int) -> list[bytes]:
        """Return the entries of the first records, as the notary makes them."""
        with self.evidence() as found:
            log_id = found.store.genesis.log_id
            kind = place.topic.rsplit(".", 1)[1]
            tree = Tree(place, kind, first_head(found.origins.of(place), log_id, place), Edge())
            records = list(found.store.log.scan(place, 0))[:size]
            tree.take(records, lambda record: found.store.closed.meta(record.headers))
            return tree.pending

    def put_tree(self, folder: str, entries: Sequence[bytes]) -> Edge:
        """Write a whole tree of other entries; returns its edge, nothing is signed."""
        target = self.places.tiles / folder
        shutil.rmtree(target / "tile")
        edge = Edge()
        FolderTiles(target).put(edge.extend(entries) | edge.partials())
        return edge

    def publish(self, folder: str, head: Checkpoint, key: SigningKey) -> bytes:
        """Sign a head and publish it."""
        raw = sign_note(head.text(), head.origin, key)
        (self.places.tiles / folder / CHECKPOINT).write_bytes(raw)
        return raw

    def set_last(self, head: Checkpoint) -> None:
        """Put a head into the store of last heads."""
        connection = sqlite3.connect(self.places.last)
        with connection:
            sql = "UPDATE head SET size = ?, root = ? WHERE origin = ?"
            connection.execute(sql, (head.size, head.root, head.origin))
        connection.close()

    def rewrite(
        self,
        place: TopicPartition,
        index: int,
        key: SigningKey,
        change: Callable[[bytes], bytes] | None = None,
    ) -> bytes:
        """Change one sealed event (a bit of its value) and all that follows from it, with the log's key.

        The chain, leaves, tiles, heads, the log of heads, and the last heads: all on the bank's own disks.
        Returns the forged head of the log of heads.
        """
        rows = self.rows(place)
        row = rows[index]
        value = change(row.value or b"") if change else altered(row).value
        assert value != row.value, "nothing was changed"
        rows[index] = row._replace(value=value)
        self.write(place, self.rechain(place, rows))
        head, _ = self.tree(place)
        entries = self.derive(place, head.size)
        folder = folder_of(place)
        edge = self.put_tree(folder, entries)
        forged = head._replace(root=edge.root())
        self.publish(folder, forged, key)
        self.set_last(forged)
        return self._rewrite_heads(head.origin, entries, key)

    def _rewrite_heads(self, origin: str, entries: Sequence[bytes], key: SigningKey) -> bytes:
        tiles = FolderTiles(self.places.tiles / HEADS)
        head = note.parse_checkpoint(note.parse_note(tiles.read(CHECKPOINT)).text)
        stored = Tiles(head.size, tiles.read)
        logged = []
        for number in range(head.size):
            entry = stored.entry(number)
            if entry.startswith(f"{origin}\n".encode()):
                said = note.parse_checkpoint(note.parse_note(entry).text)
                edge = Edge()
                edge.extend(entries[: said.size])
                entry = sign_note(said._replace(root=edge.root()).text(), origin, key)
            logged.append(entry)
        forged = head._replace(root=self.put_tree(HEADS, logged).root())
        self.set_last(forged)
        return self.publish(HEADS, forged, key)

    # -- the program at work

    @contextmanager
    def running(self, clock: Clock | None = None, *, seal: bool = True) -> Iterator[Runtime]:
        """Run the program over it, in one thread."""
        settings = self.settings
        if not seal:
            settings = replace(settings, proof=replace(settings.proof, enabled=False))
        runtime = Runtime(self.folder, settings, clock or clock_of(self.folder, settings))
        try:
            yield runtime
        finally:
            runtime.close()

    def apply(self, count: int) -> None:
        """Let a customer apply for credits: events with private blocks."""
        with self.running() as runtime:
            runtime.drive()
            for number in range(count):
                reference = f"ATTACK{number}"
                key = key_of(self.settings.bank.tenant, "credit", reference)
                command = ApplyForCredit(
                    credit=reference,
                    application=reference,
                    terms=trade.terms(),
                    parties=trade.parties(),
                    facility="ATTACKF",
                )
                asked = Outgoing(key, command, derived(key, "apply"), "attack", actor=MAKER)
                outcome = runtime.ask(asked)
                assert outcome.answer == "accepted", outcome

    def grow(
        self,
        name: str,
        *,
        count: int = GROWTH,
        seal: bool = True,
        place: TopicPartition | None = None,
        apart_ms: int = 0,
    ) -> None:
        """Decide so many commands that record an event each, in one partition or in all.

        Three in turn are about one facility. `apart_ms` moves a book's clock between them.
        """
        with self.running(seal=seal) as runtime:
            runtime.drive()
            done = number = 0
            while done < count:
                number += 1
                facility = f"{name.upper()}{number // 3}"
                key = key_of(self.settings.bank.tenant, "facility", facility)
                if place and runtime.store.topics.place(key).partition != place.partition:
                    continue
                command = SetFacility(
                    facility=facility,
                    customer="party-attack",
                    currency="USD",
                    limit=1_000_00 + number,
                    expiry="2039-12-31",
                )
                asked = Outgoing(
                    key, command, derived(key, name, number), "attack", actor=CREDIT_OFFICER
                )
                outcome = runtime.ask(asked)
                assert outcome.answer == "accepted", outcome
                done += 1
                if apart_ms and isinstance(runtime.clock, BookClock):
                    runtime.clock.advance_to(runtime.clock.now() + apart_ms)


class Scene:
    """The states that attacks begin with, prepared in a folder, and the partition that is attacked.

    `copies` is where victims are put, so that several can use what was prepared once.
    """

    def __init__(self, work: Path, settings: Settings, copies: Path | None = None) -> None:
        self.work = work
        self.settings = replace(settings, data="", proof=_own(settings.proof))
        self._folder = copies or work / "victims"
        self._copies = 0
        topic, partition, self.index = msgspec.json.decode((work / TARGET).read_bytes())
        self.place = TopicPartition(topic, partition)

    @classmethod
    def prepare(cls, source: Path, settings: Settings, work: Path) -> Scene:
        """Copy a folder at rest, seal it, keep that as yesterday, go on, and keep that as today.

        Raises Owned where it is in use, Refused where there is nothing to attack, or it is tampered with already.
        """
        demand_at_rest(source)
        inner = replace(settings, data="", proof=_own(settings.proof))
        _copy(source, settings, work / "base")
        base = Victim(work / "base", inner)
        with base.running() as runtime:
            runtime.drive()
        shutil.copytree(base.root, work / "yesterday", ignore=SKIPPED)
        base.grow("Grown")
        found = base.audit().findings
        if found:
            raise Refused(
                "ALREADY_TAMPERED",
                f"the copy does not verify as it is: {found[0].code} at {found[0].where}",
                hint="`usance audit verify` says more.",
            )
        place, index = _target(base)
        shutil.copytree(base.root, work / "today", ignore=SKIPPED)
        (work / TARGET).write_bytes(msgspec.json.encode((*place, index)))
        return cls(work, settings)

    def victim(self, state: str = "today") -> Victim:
        """Return a fresh copy of a state."""
        self._copies += 1
        root = self._folder / f"victim-{self._copies}"
        shutil.copytree(self.work / state, root)
        return Victim(root, self.settings)

    def sealed(self) -> Victim:
        """Return a copy of a state whose private blocks are sealed: today's, or a small log made for it."""
        if (self.work / "today" / KEYS).exists():
            return self.victim()
        root = self._folder.with_name(f"{self._folder.name}-sealed")
        if not root.exists():
            root.mkdir(parents=True)
            secure = replace(self.settings, data=str(root), profile="secure")
            found_log(Folder(root), secure, SystemClock())
            Victim(root, self.settings).apply(2)
        self._copies += 1
        copied = self._folder / f"victim-{self._copies}"
        shutil.copytree(root, copied, ignore=SKIPPED)
        return Victim(copied, self.settings)

    def drop(self) -> None:
        """Remove the copies that attacks were done on."""
        shutil.rmtree(self._folder, ignore_errors=True)


def demand_at_rest(source: Path) -> None:
    """Raise Owned where a process owns the folder, Unavailable where it holds no log; writes nothing."""
    if not (source / "log.sqlite").exists():
        raise Unavailable(
            f"there is no log in {source}", hint="--data names a copy of a data folder."
        )
    lock = source / "owner.lock"
    if not lock.exists():
        return
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as held:
        raise Owned(
            f"{source} is in use: attacks are only done on a copy",
            hint="usance backup makes one, or stop the program.",
        ) from held
    finally:
        os.close(descriptor)


def _target(base: Victim) -> tuple[TopicPartition, int]:
    with base.evidence() as found:
        topics = found.store.topics
        places = [topics.at("trade", "events", n) for n in range(topics.partitions)]
    sizes = [(len(base.rows(place)), place) for place in places]
    count, place = max(sizes)
    if count < LEAST_EVENTS:
        raise Refused(
            "TOO_SMALL",
            f"the largest partition has {count} events, attacks need {LEAST_EVENTS}",
            hint="Play a book first: usance start --demo.",
        )
    return place, count // 2


def altered(row: Row) -> Row:
    """Return a record with one bit of its value flipped."""
    value = row.value or b"\x00"
    return row._replace(value=value[:-1] + bytes([value[-1] ^ 1]))


def resealed(entry: bytes, row: Row) -> bytes:
    """Return the leaf that an altered record would have."""
    hashed = envelope_hash(row.key, row.value, unpack_headers(row.headers))
    return unpack(entry)._replace(envelope_hash=hashed).pack()


def verifier_of(victim: Victim, name: str) -> Verifier:
    """Return a log's key under one of its names."""
    return Verifier(name, victim.key.public)


def restore(victim: Victim, older: Path, *names: str) -> None:
    """Put parts of an older state in the place of the present ones."""
    for name in names:
        target, source = victim.root / name, older / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        for more in ("-wal", "-shm"):
            (victim.root / f"{name}{more}").unlink(missing_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.exists():
            shutil.copy2(source, target)


def _copy(source: Path, settings: Settings, target: Path) -> None:
    """Copy a folder, and what of its proof is elsewhere into its usual places."""
    shutil.copytree(source, target, ignore=SKIPPED)
    places, usual = places_of(Folder(source), settings), places_of(Folder(target), Settings())
    for theirs, ours in zip(places, usual, strict=True):
        if theirs.exists() and not ours.exists():
            copy: Callable[..., Any] = shutil.copytree if theirs.is_dir() else shutil.copy2
            copy(theirs, ours)


def _own(said: ProofSettings) -> ProofSettings:
    """Return proof settings of a copy: everything within it, our own witness, nothing on a network."""
    return ProofSettings(domain=said.domain, env=said.env)


def _table(place: TopicPartition) -> str:
    return f'"log_{place.topic}_{place.partition}"'
