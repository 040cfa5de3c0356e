"""Snapshots are hints (rule 6): rounds of aggregate states closed by a manifest, thrown away on any doubt.

A round is written inside fenced units: the states changed since the last round, then a manifest
{restart offset, fold ids, unit number, chain tail, revision and state hash per aggregate}. Restore takes the
states that the manifests list and folds all events from the restart offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from usance.engine.owner.state import Entry, Packed, Tail
from usance.kernel import digests
from usance.kernel.decider import Decider
from usance.kernel.errors import Tampered
from usance.log.contract import RECORD_BYTES_MAX, Record

ROUND_EVENTS = 20_000
"""Events between two rounds of a partition."""
SLICE_RECORDS = 1_000
SLICE_BYTES = 2 * 1024 * 1024
"""Bounds on the snapshots that one unit carries."""
LARGEST = RECORD_BYTES_MAX - 64 * 1024
"""Bytes of a snapshot, beside what sealing and the log add: a larger one is no record."""
SLICE_RECORDS_MIN = 100
"""What a slice may always carry: about as long as its own commit takes."""

MANIFEST_KEY = b"manifest/"
FORMAT = 2


def manifest_key(number: int) -> bytes:
    """Return the key of a round's manifest."""
    return MANIFEST_KEY + str(number).encode()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The stored state of one aggregate at a revision."""

    fold_id: str
    revision: int
    state: bytes
    recent: bytes
    timers: list[tuple[str, int, str]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a round contains: `aggregates` maps key to (revision, SHA-256 of the snapshot bytes)."""

    number: int
    base: bool
    restart: int
    unit: int
    events_index: int
    events_tail: bytes
    aggregates: dict[str, tuple[int, bytes]]
    uses: dict[bytes, int] = {}
    """Seals by data key, of the keys used since the last round (rule 19)."""
    format: int = 1
    """1 could begin to fold after events that no round of it holds: those are not trusted."""
    since: int = 0
    """The first round that a restore needs: all that is older is listed again by now. 0 where that is not so."""


SealState = Callable[[str, int, str, bytes], bytes]
"""Seals or opens a snapshot: of stream, revision and fold id, these bytes."""
SEALED_BYTE = 1
"""Begins a sealed snapshot; one in clear begins with MessagePack's mark of a map."""


class Taken(NamedTuple):
    """One aggregate's snapshot as it is written: key, revision, bytes."""

    key: str
    revision: int
    value: bytes


class Round(NamedTuple):
    """Loaded snapshots: entries, the event offset to fold from, and the chain tail there.

    `since` is the first round that was needed, `listed` how many aggregates those needed list.
    """

    entries: dict[str, Entry]
    restart: int
    tail: Tail
    uses: dict[bytes, int]
    since: int = 1
    listed: int = 0


def slice_of(
    dirty: Iterable[str],
    entries: Mapping[str, Entry],
    deciders: Mapping[str, Decider[Any]],
    most: int = SLICE_RECORDS,
    seal: SealState | None = None,
    large: list[str] | None = None,
) -> list[Taken]:
    """Return snapshots of the first changed aggregates, at most `most`, as one unit can carry them.

    Those met on the way that no record can hold are told in `large`.

    A state that holds people's words is sealed where the log seals (`holds_words` of its decider).
    """
    most = min(most, SLICE_RECORDS)
    taken: list[Taken] = []
    size = 0
    for key in dirty:
        entry = entries[key]
        decider = deciders[key.split("/", 2)[1]]
        snapshot = Snapshot(
            fold_id=decider.fold_id,
            revision=entry.revision,
            state=entry.packed,
            recent=entry.recent,
            timers=list(entry.timers),
        )
        value = msgspec.msgpack.encode(snapshot)
        holds = getattr(decider, "holds_words", None) if seal is not None else None
        if seal is not None and holds is not None and holds(entry.state):
            value = seal(key, entry.revision, decider.fold_id, value)
        if len(value) > LARGEST and large is not None:
            large.append(key)
            continue
        size += len(value)
        if taken and size > SLICE_BYTES:
            break
        taken.append(Taken(key, entry.revision, value))
        if len(taken) == most:
            break
    return taken


def make_round(
    number: int,
    base: bool,
    restart: tuple[int, Tail],
    unit: int,
    snapshots: Iterable[Taken],
    uses: Mapping[bytes, int] | None = None,
    since: int = 0,
) -> list[tuple[bytes, bytes]]:
    """Return the records (key, value) of a round: snapshots, then the manifest.

    A `base` round owes nothing to rounds before it: the first one, and the first after a restore
    that could not use snapshots.
    """
    records = [(s.key.encode(), s.value) for s in snapshots]
    manifest = Manifest(
        number=number,
        base=base,
        restart=restart[0],
        unit=unit,
        events_index=restart[1].next,
        events_tail=restart[1].hash,
        aggregates={s.key: (s.revision, digests.digest(s.value)) for s in snapshots},
        uses=dict(uses or {}),
        format=FORMAT,
        since=since,
    )
    records.append((manifest_key(number), msgspec.msgpack.encode(manifest)))
    return records


class Loaded(NamedTuple):
    """What the snapshots topic offers: a round if it can be trusted, and the numbers of the manifests there."""

    round: Round | None
    number: int
    first: int = 1


def load_round(
    there: Iterable[Record],
    deciders: Mapping[str, Decider[Any]],
    unseal: SealState | None = None,
) -> Loaded:
    """Return the snapshots of a topic's records that the manifests list, or none on anything in doubt.

    Their states stay packed: who touches one finds out whether it opens.
    """
    records: dict[bytes, bytes] = {}
    for record in there:
        if record.key is None:
            continue
        if record.value is not None:
            records[record.key] = record.value
        else:
            records.pop(record.key, None)
    numbers = _numbers(records)
    number, first = max(numbers, default=0), min(numbers, default=1)
    try:
        return Loaded(_round(records, deciders, unseal), number, first)
    except (msgspec.MsgspecError, ValueError, Tampered):  # another layout, or sealed by a key that
        # is gone: fold instead
        return Loaded(None, number, first)


def _numbers(records: Mapping[bytes, bytes]) -> list[int]:
    names = (key.removeprefix(MANIFEST_KEY) for key in records if key.startswith(MANIFEST_KEY))
    return [int(name) for name in names if name.isdigit()]


def _round(
    records: Mapping[bytes, bytes],
    deciders: Mapping[str, Decider[Any]],
    unseal: SealState | None,
) -> Round | None:
    manifests = _manifests(records)
    since = 0
    for manifest in manifests:
        since = manifest.number if manifest.base else manifest.since or since
    manifests = [m for m in manifests if since and m.number >= since]
    whole = bool(manifests) and manifests[0].number == since
    contiguous = all(b.number == a.number + 1 for a, b in pairwise(manifests))
    if not whole or not contiguous or any(m.format != FORMAT for m in manifests):
        return None
    entries = _entries(records, manifests, deciders, unseal)
    if entries is None:
        return None
    last = manifests[-1]
    uses: dict[bytes, int] = {}
    for manifest in manifests:
        uses.update(manifest.uses)
    tail = Tail(last.events_index, last.events_tail)
    listed = sum(len(m.aggregates) for m in manifests)
    return Round(entries, last.restart, tail, uses, since, listed)


def _manifests(records: Mapping[bytes, bytes]) -> list[Manifest]:
    found = [
        msgspec.msgpack.decode(value, type=Manifest)
        for key, value in records.items()
        if key.startswith(MANIFEST_KEY)
    ]
    return sorted(found, key=lambda m: m.number)


def _entries(
    records: Mapping[bytes, bytes],
    manifests: list[Manifest],
    deciders: Mapping[str, Decider[Any]],
    unseal: SealState | None,
) -> dict[str, Entry] | None:
    listed: dict[str, tuple[int, bytes]] = {}
    for manifest in manifests:
        listed.update(manifest.aggregates)
    entries: dict[str, Entry] = {}
    known: dict[str, tuple[str, Any]] = {}
    decode = msgspec.msgpack.Decoder(Snapshot).decode
    for key, (revision, digest) in listed.items():
        value = records.get(key.encode())
        if value is None or digests.digest(value) != digest:
            return None
        category = key.split("/", 2)[1]
        if category not in known:
            decider = deciders.get(category)
            known[category] = ("", None) if decider is None else _shape(decider, key)
        fold_id, cls = known[category]
        if value[:1] == bytes((SEALED_BYTE,)):
            if cls is None or unseal is None:
                return None
            value = unseal(key, revision, fold_id, value)
        found = decode(value)
        if cls is None or found.fold_id != fold_id or found.revision != revision:
            return None
        packed = Packed(found.state, cls)
        entries[key] = Entry(packed, revision, found.recent, tuple(found.timers))
    return entries


def _shape(decider: Decider[Any], key: str) -> tuple[str, Any]:
    """Return a decider's fold id and the class of its states."""
    return decider.fold_id, type(decider.initial(key))
