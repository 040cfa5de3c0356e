"""Projections: what turns records into rows, without knowing any database.

A handler gets one `Fact` and changes `Rows`: it reads and writes rows by key, in memory; what a
batch leaves behind is written with its checkpoint in one database transaction. Handlers see no SQL,
no clock and no log, so a projection can cause no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
CACHED_ROWS_MAX = 10_000
"""Rows per table kept in memory between batches."""
KNOWN_KEYS_MAX = 100_000
"""Keys per table known to exist, so that a table built from nothing is not asked for rows that are new."""


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

    `key` names the first columns (any, where the table `grows`). `restricted` tables are only read for those
    who may see what is in them. A `fold` column holds a struct of type `codec`: an object in memory, JSON in
    the database; `derive` gives the columns that follow from it, once per batch and row, however many events
    changed it. Rows of a `grows` table are written once and never read or changed by handlers.
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


class Fact(msgspec.Struct, gc=False):
    """One record as a handler sees it: its message (None where nothing is decoded), key and instant.

    `key` is the record key as text: the stream, for events. `instant` is the deciding one (`ce_time`), or the
    append time where there is none. What the headers say beside is read when asked for.
    """

    record: Record
    decoder: Decoder
    message: Any
    key: str
    instant: Instant
    _meta: Meta | None = None

    @property
    def meta(self) -> Meta:
        """What `usance-meta` says."""
        if self._meta is None:  # several handlers ask
            self._meta = self.decoder.meta(self.record.headers)
        return self._meta

    @property
    def id(self) -> str:
        """The record's `ce_id`."""
        headers = self.record.headers
        if len(headers) > 1 and headers[1][0] == "ce_id":  # where every record has it
            return headers[1][1].decode()
        return (header(headers, "ce_id") or b"").decode()


def fact_of(record: Record, decoder: Decoder, message: Any = None) -> Fact:
    """Return what handlers get of a record."""
    headers, key = record.headers, record.key
    if len(headers) > 5 and headers[5][0] == "ce_time":  # where every event has it
        time: bytes | None = headers[5][1]
    else:
        time = header(headers, "ce_time")
    return Fact(
        record,
        decoder,
        message,
        "" if key is None else key.decode("utf-8", "replace"),
        record.timestamp if time is None else _instant(time),
    )


Handler = Callable[[Fact, "Rows"], None]
Together = Callable[[Sequence[Fact], "Rows"], None]
"""Does to many facts, in their order, what handlers do to each: it may write once what they write often."""
Ahead = Callable[[Fact], Iterable[tuple[str, Key]]]
"""Tells which rows (table, key) a fact's handler will read."""


class Projection(NamedTuple):
    """A named, versioned set of tables and the handlers that keep them.

    `handlers` are by message class; `raw` by topic kind, for records of that kind that no handler
    names (`fact.message` is decoded for events and outcomes, None for dead letters and parked ones).
    `kinds` and `contexts` say which topics it follows. A changed meaning needs a new `version`.
    `ahead` names rows by message class, so that a batch reads them in one step; rows that are keyed by
    their stream alone need no naming. `together` takes in all that a batch has of a topic kind at once; the
    handlers of that kind, which leave the same rows, take over where one of its records cannot be taken in.
    """

    name: str
    version: int
    tables: tuple[Table, ...]
    handlers: Mapping[type, Handler]
    kinds: tuple[str, ...] = ("events",)
    contexts: tuple[str, ...] = ("trade",)
    raw: Mapping[str, Handler] = {}
    ahead: Mapping[type, Ahead] = {}
    together: Mapping[str, Together] = {}


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
    rows: list[tuple[Any, ...]]
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


_Values = tuple[Any, ...]
"""A row: its values in column order, those of `stale_since` last. It is replaced, never changed."""
_UNREAD: _Values = ("unread",)
"""Stands for a row that the store may have, and memory has not."""

_json = msgspec.json.Encoder().encode


class _Kept:
    """The rows of one table in memory; None is a row that does not exist.

    `others` is what is known of a row that is not here: None as long as every key is. `changed` are the rows
    that the store does not have so, `held` counts what came into memory since rows were let go. `complete`:
    none ever was.
    """

    __slots__ = (
        *(
            "at",
            "blank",
            "by_stream",
            "changed",
            "complete",
            "fold",
            "held",
            "others",
            "rows",
            "stream",
        ),
        *("table", "width"),
    )

    def __init__(self, table: Table, *, empty: bool) -> None:
        columns = table.all_columns
        names = tuple([c.name for c in columns])
        self.table = table
        self.at = {name: n for n, name in enumerate(names)}
        self.width = len(table.key)
        assert table.grows or names[: self.width] == table.key, f"{table.name} begins with its key"
        self.blank: _Values = tuple([c.default for c in columns])
        self.stream = self.at.get(table.stream, -1)
        self.fold = self.at.get(table.fold, -1)
        self.by_stream = table.key == (table.stream,)
        self.rows: dict[Key, _Values | None] = {}
        self.changed: dict[Key, _Values | None] = {}
        self.others: _Values | None = None if empty else _UNREAD
        self.complete = empty or table.grows
        self.held = 0

    def stored(self, row: _Values) -> _Values:
        """Return a row of a table with a fold as the database keeps it."""
        state = row[self.fold]
        if state == "":
            return row
        full = list(row)
        if self.table.derive is not None:
            at = self.at
            for name, value in self.table.derive(state).items():
                full[at[name]] = value
        full[self.fold] = _json(state).decode()
        return tuple(full)

    def unread(self, keys: Iterable[Key]) -> dict[Key, None]:
        """Return those keys whose rows only the store may have."""
        known, others = self.rows, self.others
        return dict.fromkeys([key for key in keys if known.get(key, others) is _UNREAD])

    def load(self, missing: dict[Key, None], found: Iterable[Row]) -> None:
        """Take in what the database has of the rows that were missing."""
        self.rows.update(missing)
        self.held += len(missing)
        for row in found:
            values = [row[name] for name in self.at]
            if self.fold >= 0 and values[self.fold]:
                values[self.fold] = msgspec.json.decode(values[self.fold], type=self.table.codec)
            self.rows[tuple(values[: self.width])] = tuple(values)

    def let_go(self) -> None:
        """Keep no more rows than the bound allows; those that changed stay."""
        if self.table.grows or self.held <= CACHED_ROWS_MAX:
            return
        if len(self.rows) > KNOWN_KEYS_MAX:
            self.others = _UNREAD
        known = dict.fromkeys(self.rows, _UNREAD) if self.others is None else {}
        self.rows = {**known, **self.changed}
        self.complete, self.held = False, len(self.changed)


class Rows:
    """The rows that handlers read and change: a batch's memory, read through to the store.

    Handlers write rows by `put`, `upsert`, `patch`, `add`, `delete` and `grow`; a row that they change many
    times in a batch is written once.
    """

    def __init__(self, store: ViewStore, generation: Generation, *, empty: bool = False) -> None:
        self._store = store
        self._generation = generation
        self._kept = {t.name: _Kept(t, empty=empty) for t in generation.projection.tables}
        self._journal: list[tuple[_Kept, Key, _Values | None]] = []
        self._stale: dict[str, Instant] = {key: at for (_, key), at in generation.parked.items()}

    def get(self, table: str, *key: Scalar) -> Row | None:
        """Return a copy of the row under a key, or None."""
        kept = self._kept[table]
        row = self._read(kept, key)
        return None if row is None else dict(zip(kept.at, row, strict=True))

    def value(self, table: str, key: Key, column: str) -> Any:
        """Return one column of the row under a key; None where there is no row."""
        kept = self._kept[table]
        row = self._read(kept, key)
        return None if row is None else row[kept.at[column]]

    def put(self, table: str, *values: Any) -> None:
        """Write a row whole: every column in its order, so the key first."""
        kept = self._kept[table]
        key = values[: kept.width]
        self._journal.append((kept, key, kept.rows.get(key, kept.others)))
        kept.rows[key] = kept.changed[key] = (*values, self._since(kept, values))

    def upsert(self, table: str, **values: Any) -> None:
        """Write a row whole: columns not named get their defaults."""
        kept = self._kept[table]
        key = tuple([values[name] for name in kept.table.key])
        old = kept.rows.get(key, kept.others)
        self._write(kept, key, old, self._new(kept, key), values)

    def patch(self, table: str, key: Key, **values: Any) -> None:
        """Change columns of a row; a missing row begins with defaults."""
        kept = self._kept[table]
        old = self._read(kept, key)
        row = self._new(kept, key) if old is None else list(old)
        self._write(kept, key, old, row, values)

    def add(self, table: str, key: Key, **amounts: int) -> None:
        """Add to numbers of a row; a missing row begins with defaults."""
        kept = self._kept[table]
        old = self._read(kept, key)
        row, at = self._new(kept, key) if old is None else list(old), kept.at
        for name, amount in amounts.items():
            row[at[name]] += amount
        self._write(kept, key, old, row, {})

    def grow(self, table: str, *values: Scalar) -> None:
        """Write a row of a growing table: every column in its order."""
        kept = self._kept[table]
        key = (len(kept.changed),)
        self._journal.append((kept, key, _UNREAD))
        kept.changed[key] = (*values, self._since(kept, values))

    def grow_by(self, table: str, rows: Sequence[_Values]) -> None:
        """Write rows of a growing table, each as `grow` does."""
        kept = self._kept[table]
        if self._stale:
            for row in rows:
                self.grow(table, *row)
            return
        first = len(kept.changed)
        keys = [(n,) for n in range(first, first + len(rows))]
        self._journal += [(kept, key, _UNREAD) for key in keys]
        kept.changed.update(zip(keys, [(*row, None) for row in rows], strict=True))

    def delete(self, table: str, *key: Scalar) -> None:
        """Remove a row, if it is there."""
        kept = self._kept[table]
        old = self._read(kept, key)
        if old is not None:
            self._journal.append((kept, key, old))
            kept.rows[key] = kept.changed[key] = None

    def _read(self, kept: _Kept, key: Key) -> _Values | None:
        row = kept.rows.get(key, kept.others)
        if row is _UNREAD:
            self._bring(kept, {key: None})
            row = kept.rows[key]
        return row

    @staticmethod
    def _new(kept: _Kept, key: Key) -> list[Any]:
        row = list(kept.blank)
        row[: kept.width] = key
        return row

    def _write(
        self, kept: _Kept, key: Key, old: _Values | None, row: list[Any], values: Row
    ) -> None:
        at = kept.at
        for name, value in values.items():  # a KeyError: no such column
            row[at[name]] = value
        if self._stale and row[-1] is None:
            row[-1] = self._since(kept, row)
        self._journal.append((kept, key, old))
        kept.rows[key] = kept.changed[key] = tuple(row)

    def _since(self, kept: _Kept, values: Sequence[Any]) -> Instant | None:
        """Return since when a new row is stale."""
        return self._stale.get(values[kept.stream]) if self._stale and kept.stream >= 0 else None

    # -- for the projector

    def mark(self) -> int:
        """Return what `undo` goes back to."""
        return len(self._journal)

    def undo(self, mark: int) -> None:
        """Take back what was changed since a mark."""
        for kept, key, old in reversed(self._journal[mark:]):
            kept.rows[key] = kept.changed[key] = old
            if old is _UNREAD:
                del kept.changed[key]
        del self._journal[mark:]

    def taken(self) -> list[Write]:
        """Return what changed since it was last asked."""
        found = []
        for kept in self._kept.values():
            if kept.changed:
                rows = [row for row in kept.changed.values() if row is not None]
                gone = [key for key, row in kept.changed.items() if row is None]
                if kept.fold >= 0:
                    rows = [kept.stored(row) for row in rows]
                kept.held += len(rows)
                found.append(Write(kept.table, rows, gone))
        self._settle()
        return found

    def written(self) -> None:
        """The store has all that was taken: forget rows beyond the bound, but for what changed since."""
        for kept in self._kept.values():
            kept.let_go()

    def forget(self) -> None:
        """Drop everything that the store may not have."""
        self._settle()
        for kept in self._kept.values():
            kept.rows, kept.others, kept.held = {}, _UNREAD, 0
            kept.complete = kept.table.grows

    def _settle(self) -> None:
        self._journal.clear()
        for kept in self._kept.values():
            kept.changed = {}

    def expect(self, keys: Iterable[tuple[str, Key]]) -> None:
        """Bring rows into memory that handlers are about to read, in one step per table."""
        asked: dict[str, list[Key]] = {}
        for table, key in keys:
            asked.setdefault(table, []).append(key)
        for table, wanted in asked.items():
            self._bring(self._kept[table], self._kept[table].unread(wanted))

    @property
    def complete(self) -> bool:
        """Whether every row there is stands in memory, so that there is nothing to expect."""
        return all(kept.complete for kept in self._kept.values())

    def prefetch(self, keys: Iterable[bytes | None]) -> None:
        """Bring the rows that are kept by stream alone into memory, in one step per table."""
        wanted = [kept for kept in self._kept.values() if kept.by_stream]
        if wanted:
            streams = [(k.decode("utf-8", "replace"),) for k in {*keys} if k is not None]
            for kept in wanted:
                self._bring(kept, kept.unread(streams))

    def _bring(self, kept: _Kept, missing: dict[Key, None]) -> None:
        if missing:
            kept.load(missing, self._store.fetch(self._generation, kept.table, list(missing)))

    def mark_stale(self, stream: str, since: Instant) -> None:
        """Mark rows of a stream in memory; the store marks those it has."""
        self._stale.setdefault(stream, since)
        for kept in self._kept.values():
            for key, row in kept.rows.items() if kept.stream >= 0 else ():
                if row and row is not _UNREAD and row[kept.stream] == stream and row[-1] is None:
                    kept.rows[key] = kept.changed[key] = (*row[:-1], since)
