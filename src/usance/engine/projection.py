"""Projections: what turns records into rows, without knowing any database.

A handler gets one `Fact` and changes `Rows`: it reads and writes rows by key, in memory; what a
batch leaves behind is written with its checkpoint in one database transaction. Handlers see no SQL,
no clock and no log, so a projection can cause no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec

from usance.kernel.clock import MS_PER_SECOND, Instant
from usance.log.contract import Record, TopicPartition, header
from usance.messages.decoder import Decoder
from usance.messages.meta import Meta

Row = dict[str, Any]
Key = tuple[Any, ...]
Scalar = str | int | None

STALE = "stale_since"
"""Column of every table: since when (ms UTC) its row could not follow an event."""
CACHED_ROWS_MAX = 50_000
"""Rows per table kept in memory between batches."""


class Column(NamedTuple):
    """A column. `kind` is text | integer; `personal` marks what may name a person."""

    name: str
    kind: str = "text"
    default: Scalar = ""
    personal: bool = False


def texts(*names: str) -> tuple[Column, ...]:
    """Return text columns, empty by default."""
    return tuple(Column(name) for name in names)


def numbers(*names: str) -> tuple[Column, ...]:
    """Return integer columns, 0 by default."""
    return tuple(Column(name, "integer", 0) for name in names)


def personal(*names: str) -> tuple[Column, ...]:
    """Return text columns that may name a person."""
    return tuple(Column(name, personal=True) for name in names)


class Table(NamedTuple):
    """A table of a projection. `stream` is the column that holds the key of the record it follows.

    `restricted` tables are only read for those who may see what is in them. A `fold` column holds a
    struct of type `codec`: an object in memory, JSON in the database; `derive` gives the columns
    that follow from it, once per batch and row, however many events changed it. Rows of a `grows`
    table are written once and never read or changed by handlers.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    stream: str = ""
    restricted: bool = False
    fold: str = ""
    codec: Any = None
    derive: Callable[[Any], Row] | None = None
    grows: bool = False

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns, `stale_since` last."""
        return (*self.columns, Column(STALE, "integer", None))


@lru_cache(maxsize=8192)
def _second(text: bytes) -> int:
    moment = datetime.fromisoformat(text.decode() + "+00:00")
    return int(moment.timestamp()) * MS_PER_SECOND


@lru_cache(maxsize=8192)
def _instant(text: bytes) -> Instant:
    """Return the instant of a `ce_time`; the events of one command share it."""
    return _second(text[:19]) + int(text[20:23])


class Fact:
    """One record as a handler sees it; everything but the message is read when asked for."""

    __slots__ = ("_decoder", "_instant", "_key", "_meta", "message", "record")

    def __init__(self, record: Record, decoder: Decoder, message: Any = None) -> None:
        self.record = record
        self.message = message
        self._decoder = decoder
        self._meta: Meta | None = None
        self._key: str | None = None
        self._instant: Instant | None = None

    @property
    def meta(self) -> Meta:
        """What `usance-meta` says."""
        if self._meta is None:
            self._meta = self._decoder.meta(self.record.headers)
        return self._meta

    @property
    def key(self) -> str:
        """The record key as text: the stream, for events."""
        if self._key is None:  # several handlers ask
            key = self.record.key
            self._key = "" if key is None else key.decode("utf-8", "replace")
        return self._key

    @property
    def id(self) -> str:
        """The record's `ce_id`."""
        headers = self.record.headers
        if len(headers) > 1 and headers[1][0] == "ce_id":  # where every record has it
            return headers[1][1].decode()
        return (header(self.record.headers, "ce_id") or b"").decode()

    @property
    def type(self) -> str:
        """The record's `ce_type`, a full name."""
        return (header(self.record.headers, "ce_type") or b"").decode()

    @property
    def instant(self) -> Instant:
        """The deciding instant (`ce_time`), or the append time where there is none."""
        if self._instant is None:
            headers = self.record.headers
            if len(headers) > 5 and headers[5][0] == "ce_time":  # where every event has it
                raw: bytes | None = headers[5][1]
            else:
                raw = header(headers, "ce_time")
            self._instant = self.record.timestamp if raw is None else _instant(raw)
        return self._instant


Handler = Callable[[Fact, "Rows"], None]
Ahead = Callable[[Fact], Iterable[tuple[str, Key]]]
"""Tells which rows (table, key) a fact's handler will read."""


class Projection(NamedTuple):
    """A named, versioned set of tables and the handlers that keep them.

    `handlers` are by message class; `raw` by topic kind, for records of that kind that no handler
    names (`fact.message` is decoded for events and outcomes, None for dead letters and parked ones).
    `kinds` and `contexts` say which topics it follows. A changed meaning needs a new `version`.
    `ahead` names rows by message class, so that a batch reads them in one step; rows that are keyed by
    their stream alone need no naming.
    """

    name: str
    version: int
    tables: tuple[Table, ...]
    handlers: Mapping[type, Handler]
    kinds: tuple[str, ...] = ("events",)
    contexts: tuple[str, ...] = ("trade",)
    raw: Mapping[str, Handler] = {}
    ahead: Mapping[type, Ahead] = {}


class Checkpoint(NamedTuple):
    """A projection's place in a partition: the next offset, and the next index of chained records."""

    offset: int
    indexed: int


class Parked(NamedTuple):
    """A record that a projection could not take in, or that waits behind one of its key."""

    key: str
    place: TopicPartition
    offset: int
    error: str
    since: Instant


class Generation:
    """One set of tables of a projection, `number` of its rebuilds: live, or building beside it."""

    def __init__(
        self,
        projection: Projection,
        number: int,
        epoch: int,
        state: str,
        checkpoints: dict[TopicPartition, Checkpoint],
        parked: dict[tuple[TopicPartition, str], Instant],
    ) -> None:
        self.projection = projection
        self.number = number
        self.epoch = epoch
        self.state = state
        self.checkpoints = checkpoints
        self.parked = parked

    def physical(self, table: Table) -> str:
        """Return the name of a table of this generation in the database."""
        return f"{table.name}__v{self.number}"


class Write(NamedTuple):
    """What a batch does to one table: whole rows (in column order) and keys of rows that go."""

    table: Table
    rows: list[tuple[Scalar, ...]]
    gone: list[Key]


class Move(NamedTuple):
    """A checkpoint's step: it must stand at `start` for it to be taken."""

    place: TopicPartition
    start: int
    to: Checkpoint


class Changes(NamedTuple):
    """All that one batch changes in one generation."""

    generation: Generation
    writes: list[Write]
    moves: list[Move]
    parked: list[Parked]


class Difference(NamedTuple):
    """A row that a rebuild has otherwise: in `table`, under `key`, one side None where missing."""

    table: str
    key: Key
    live: Row | None
    rebuilt: Row | None


class ViewStore(Protocol):
    """Where generations live. Errors: Unavailable, Fenced (another projector), Tampered."""

    def open(self, log_id: str) -> None:
        """Bind the database to a log; raises Tampered when it belongs to another one."""
        ...

    def claim(
        self, projection: Projection, places: Iterable[TopicPartition], *, look: bool = False
    ) -> tuple[Generation, bool]:
        """Take the live generation (made when there is none) and raise its epoch.

        The flag says whether its tables fit this version of the projection. `look` leaves the epoch
        as it is: for those who will not write.
        """
        ...

    def live(self, name: str) -> int:
        """Return the number of the live generation."""
        ...

    def build(self, projection: Projection, places: Iterable[TopicPartition]) -> Generation:
        """Make empty tables of a new generation; an earlier unfinished one is dropped."""
        ...

    def fetch(self, generation: Generation, table: Table, keys: list[Key]) -> list[Row]:
        """Return the rows of those keys that exist."""
        ...

    def commit(self, changes: list[Changes]) -> None:
        """Write everything or nothing; rows of a parked key that are not stale become so.

        Raises Fenced when a checkpoint is not where it must be, or another epoch holds it.
        """
        ...

    def again(self, generation: Generation) -> None:
        """Read a generation's checkpoints and parked keys again: a commit's answer may be lost.

        Raises Fenced when it is gone, or another epoch holds it.
        """
        ...

    def differences(self, live: Generation, green: Generation) -> list[Difference]:
        """Return up to 100 rows that differ, staleness aside."""
        ...

    def swap(self, green: Generation) -> bool:
        """Make a generation live and drop the one before, in one transaction.

        False when it is behind the live one on any partition. Raises Fenced when it was dropped.
        """
        ...

    def drop(self, green: Generation) -> None:
        """Drop a generation that is not live."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


_UNKNOWN: Row = {}
"""Stands for "not read": nobody knows whether the store has such a row."""


_json = msgspec.json.Encoder().encode


class _Kept:
    """The rows of one table in memory. `whole`: what is not here does not exist."""

    __slots__ = ("by_stream", "dirty", "key", "rows", "table", "template", "whole")

    def __init__(self, table: Table, *, whole: bool) -> None:
        self.table = table
        self.template: Row = {c.name: c.default for c in table.all_columns}
        self.key = table.key
        self.by_stream = table.key == (table.stream,)
        self.rows: dict[Key, Row | None] = {}
        self.dirty: dict[Key, None] = {}
        self.whole = whole

    def stored(self, row: Row) -> Row:
        """Return a row as the database keeps it."""
        fold = self.table.fold
        if not fold or row[fold] == "":
            return row
        state = row[fold]
        derived = self.table.derive(state) if self.table.derive else {}
        full = {**row, **derived, fold: _json(state).decode()}
        assert len(full) == len(row), f"{self.table.name} has no such column"
        return full

    def loaded(self, row: Row) -> Row:
        """Return a row of the database as handlers see it."""
        fold = self.table.fold
        if fold and row[fold]:
            row[fold] = msgspec.json.decode(row[fold], type=self.table.codec)
        return row


class _Growing:
    """The rows of a growing table that a batch adds; those before `settled` stay."""

    __slots__ = ("rows", "settled", "stream", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: list[tuple[Scalar, ...]] = []
        self.settled = 0
        names = [c.name for c in table.columns]
        self.stream = names.index(table.stream) if table.stream else -1


class Rows:
    """The rows that handlers read and change: a batch's memory, read through to the store.

    Handlers change rows through `patch`, `add`, `upsert` and `delete` alone. A row given out is the
    live one: it shows what a later `patch` of the same handler changes.
    """

    def __init__(self, store: ViewStore, generation: Generation, *, empty: bool = False) -> None:
        self._store = store
        self._generation = generation
        tables = generation.projection.tables
        self._kept = {t.name: _Kept(t, whole=empty) for t in tables if not t.grows}
        self._growing = {t.name: _Growing(t) for t in tables if t.grows}
        self._journal: list[tuple[_Kept, Key, Row | None, Row | None]] = []
        self._grown: list[_Growing] = []
        self._stale: dict[str, Instant] = {key: at for (_, key), at in generation.parked.items()}

    def get(self, table: str, *key: Scalar) -> Row | None:
        """Return the row under a key, or None."""
        kept = self._kept[table]
        try:
            return kept.rows[key]
        except KeyError:
            return self._fetch(kept, key)

    def upsert(self, table: str, **values: Scalar) -> None:
        """Write a row whole: columns not named get their defaults."""
        kept = self._kept[table]
        key = tuple([values[name] for name in kept.key])
        self._put(kept, key, kept.rows.get(key, _UNKNOWN), self._made(kept, values))

    def patch(self, table: str, key: Key, **values: Any) -> None:
        """Change columns of a row; a missing row begins with defaults."""
        kept = self._kept[table]
        old = self.get(table, *key)
        if old is None:
            values.update(zip(kept.key, key, strict=True))
            self._put(kept, key, None, self._made(kept, values))
            return
        before = {name: old[name] for name in values}  # a KeyError: no such column
        old.update(values)
        self._journal.append((kept, key, old, before))
        kept.dirty[key] = None

    def add(self, table: str, key: Key, **amounts: int) -> None:
        """Add to numbers of a row; a missing row begins with defaults."""
        kept = self._kept[table]
        old = kept.rows.get(key)
        if old is not None:
            self._journal.append((kept, key, old, {name: old[name] for name in amounts}))
            for name, n in amounts.items():
                old[name] += n
            kept.dirty[key] = None
            return
        old = self.get(table, *key)
        base = kept.template if old is None else old
        self.patch(table, key, **{name: base[name] + n for name, n in amounts.items()})

    def grow(self, table: str, *values: Scalar) -> None:
        """Write a row of a growing table: every column in its order."""
        growing = self._growing[table]
        stale = self._stale.get(str(values[growing.stream])) if self._stale else None
        growing.rows.append((*values, stale))
        self._grown.append(growing)

    def delete(self, table: str, *key: Scalar) -> None:
        """Remove a row, if it is there."""
        kept = self._kept[table]
        old = self.get(table, *key)
        if old is not None:
            self._put(kept, key, old, None)

    # -- for the projector

    def settle(self) -> None:
        """One record is done: its changes stay."""
        if self._journal:
            self._journal.clear()
        if self._grown:
            for growing in self._grown:
                growing.settled = len(growing.rows)
            self._grown.clear()

    def undo(self) -> None:
        """Take back what the record under way has changed."""
        for kept, key, old, before in reversed(self._journal):
            if before is not None and old is not None:
                old.update(before)
            elif old is _UNKNOWN:
                del kept.rows[key], kept.dirty[key]
            else:
                kept.rows[key] = old
        self._journal, self._grown = [], []
        for growing in self._growing.values():
            del growing.rows[growing.settled :]

    def taken(self) -> list[Write]:
        """Return what changed since it was last asked."""
        found = []
        for kept in self._kept.values():
            if kept.dirty:
                rows, gone = [], []
                for key in kept.dirty:
                    row = kept.rows[key]
                    if row is None:
                        gone.append(key)
                    else:
                        rows.append(tuple(kept.stored(row).values()))
                found.append(Write(kept.table, rows, gone))
                kept.dirty = {}
        found += [Write(g.table, g.rows, []) for g in self._growing.values() if g.rows]
        self._emptied()
        return found

    def written(self) -> None:
        """The store has all that was taken: forget rows beyond the bound, but for what changed since."""
        for kept in self._kept.values():
            if len(kept.rows) > CACHED_ROWS_MAX:
                kept.rows = {key: kept.rows[key] for key in kept.dirty}
                kept.whole = False

    def forget(self) -> None:
        """Drop everything that the store may not have."""
        self._journal, self._grown = [], []
        for kept in self._kept.values():
            kept.rows, kept.dirty, kept.whole = {}, {}, False
        self._emptied()

    def _emptied(self) -> None:
        for growing in self._growing.values():
            growing.rows, growing.settled = [], 0

    def expect(self, keys: Iterable[tuple[str, Key]]) -> None:
        """Bring rows into memory that handlers are about to read, in one step per table."""
        missing: dict[str, dict[Key, None]] = {}
        for table, key in keys:
            kept = self._kept[table]
            if not kept.whole and key not in kept.rows:
                missing.setdefault(table, {})[key] = None
        for table, wanted in missing.items():
            kept = self._kept[table]
            kept.rows.update(wanted)
            for row in self._store.fetch(self._generation, kept.table, list(wanted)):
                kept.rows[tuple([row[name] for name in kept.key])] = kept.loaded(row)

    def prefetch(self, keys: list[bytes | None]) -> None:
        """Bring the rows that are kept by stream alone into memory, in one step per table."""
        wanted = [k for k in self._kept.values() if k.by_stream and not k.whole]
        if wanted:
            streams = list({k.decode("utf-8", "replace") for k in keys if k is not None})
            for kept in wanted:
                missing = [(s,) for s in streams if (s,) not in kept.rows]
                if missing:
                    kept.rows.update(dict.fromkeys(missing))
                    for row in self._store.fetch(self._generation, kept.table, list(missing)):
                        kept.rows[(row[kept.table.stream],)] = kept.loaded(row)

    def mark_stale(self, stream: str, since: Instant) -> None:
        """Mark rows of a stream in memory; the store marks those it has."""
        self._stale.setdefault(stream, since)
        for kept in self._kept.values():
            column = kept.table.stream
            for key, row in kept.rows.items():
                if column and row is not None and row[column] == stream and row[STALE] is None:
                    kept.rows[key] = {**row, STALE: since}
                    kept.dirty[key] = None

    def _made(self, kept: _Kept, values: Row) -> Row:
        row = {**kept.template, **values}
        assert len(row) == len(kept.template), f"{kept.table.name} has no such column"
        if self._stale and kept.table.stream:
            row[STALE] = self._stale.get(row[kept.table.stream])
        return row

    def _put(self, kept: _Kept, key: Key, old: Row | None, row: Row | None) -> None:
        self._journal.append((kept, key, old, None))
        kept.rows[key] = row
        kept.dirty[key] = None

    def _fetch(self, kept: _Kept, key: Key) -> Row | None:
        found = None
        if not kept.whole:
            rows = self._store.fetch(self._generation, kept.table, [key])
            found = kept.loaded(rows[0]) if rows else None
        kept.rows[key] = found
        return found
