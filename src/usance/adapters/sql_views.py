"""What view stores on a SQL database have in common: generations of tables and their checkpoints.

A table of generation n is `<table>__v<n>`; which generation is live is one row of `projection`. A
store for one database is a subclass that connects, begins and ends transactions, and says in a
`Dialect` where its SQL differs. Statements name their values `?`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from usance.adapters.sql_views_read import Dialect, names_of
from usance.engine.projections.projection import (
    STALE,
    Changes,
    Checkpoint,
    Difference,
    Generation,
    Key,
    Move,
    Parked,
    Projection,
    Row,
    Table,
    Write,
)
from usance.kernel.errors import Fenced, Tampered
from usance.log.contract import TopicPartition

FORMAT_VERSION = 1
DIFFERENCES_MAX = 100
NARROW_COLUMNS = 10

SCHEMA = """
CREATE TABLE projection_log (log_id {text} NOT NULL);
CREATE TABLE projection (
  name {text} PRIMARY KEY, live {integer} NOT NULL, made {integer} NOT NULL){narrow};
CREATE TABLE projection_generation (
  name {text} NOT NULL, number {integer} NOT NULL, version {integer} NOT NULL, shape {text} NOT NULL,
  tables {text} NOT NULL, epoch {integer} NOT NULL, state {text} NOT NULL,
  PRIMARY KEY (name, number)){narrow};
CREATE TABLE projection_checkpoint (
  name {text} NOT NULL, number {integer} NOT NULL, topic {text} NOT NULL, partition {integer} NOT NULL,
  position {integer} NOT NULL, "index" {integer} NOT NULL, epoch {integer} NOT NULL,
  PRIMARY KEY (name, number, topic, partition)){narrow};
CREATE TABLE projection_parked (
  name {text} NOT NULL, number {integer} NOT NULL, topic {text} NOT NULL, partition {integer} NOT NULL,
  "offset" {integer} NOT NULL, key {text} NOT NULL, error {text} NOT NULL, since {integer} NOT NULL,
  PRIMARY KEY (name, number, topic, partition, "offset")){narrow};
"""


class Cursor(Protocol):
    """What a statement gives back."""

    @property
    def rowcount(self) -> int:
        """Rows that it changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...


Run = Callable[..., Cursor]
"""Runs one statement with its values."""


class SqlViews:
    """A view store but for its connections; see `engine.projection.ViewStore`."""

    dialect: Dialect
    name: str
    """How messages call the database."""

    def __init__(self) -> None:
        self._shapes: dict[str, Table] = {}

    # -- what each database does its own way

    def _writing(self) -> AbstractContextManager[Run]:
        """Lend the writer in a transaction that ends with the block."""
        raise NotImplementedError

    def _ordering(self) -> AbstractContextManager[Run]:
        """Lend the writer to change generations, which nobody else does meanwhile."""
        return self._writing()

    def _comparing(self) -> AbstractContextManager[Run]:
        """Lend one picture in which two generations are compared."""
        return self._writing()

    def _rows(self, run: Run, physical: str, table: Table, keys: list[Key]) -> list[Row]:
        """Read rows by key."""
        raise NotImplementedError

    def _write(self, run: Run, generation: Generation, write: Write) -> None:
        """Write and delete the rows of one table."""
        raise NotImplementedError

    def _show(self, run: Run, tables: Sequence[Table], number: int) -> None:
        """Let the names of tables mean those of a generation."""
        raise NotImplementedError

    def _drop_tables(self, run: Run, name: str, number: int, tables: str) -> None:
        """Drop the tables of a generation that nobody shall read from now on."""
        raise NotImplementedError

    def _tables_made(self) -> str:
        return SCHEMA.format(
            text=self.dialect.text, integer=self.dialect.integer, narrow=self.dialect.narrow
        )

    # -- for the projector: generations

    def open(self, log_id: str) -> None:
        """Bind the database to a log; raises Tampered when it belongs to another one."""
        with self._ordering() as run:
            found = run("SELECT log_id FROM projection_log").fetchone()
            if found is None:
                run("INSERT INTO projection_log VALUES (?)", (log_id,))
            elif found[0] != log_id:
                raise Tampered(
                    f"{self.name} holds the views of another log",
                    hint="restore the log that belongs to it, or delete the views database to have"
                    " it built from this log",
                )

    def claim(
        self, projection: Projection, places: Iterable[TopicPartition], *, look: bool = False
    ) -> tuple[Generation, bool]:
        """Take the live generation (made when there is none) and raise its epoch.

        The flag says whether its tables fit this version of the projection. `look` leaves the epoch
        as it is: for those who will not write.
        """
        self._learn(projection)
        with self._ordering() as run:
            live = self._live(run, projection.name)
            if not live:
                live = self._make(run, projection, list(places), "live")
                self._index(run, projection, live)
                run("UPDATE projection SET live=? WHERE name=?", (live, projection.name))
                self._show(run, projection.tables, live)
            of = (projection.name, live)
            version, shape = run(
                "SELECT version, shape FROM projection_generation WHERE name=? AND number=?", of
            ).fetchone()
            fits = (version, shape) == (projection.version, _shape(projection))
            if not look:
                run("UPDATE projection_generation SET epoch=epoch+1 WHERE name=? AND number=?", of)
                run("UPDATE projection_checkpoint SET epoch=epoch+1 WHERE name=? AND number=?", of)
            if fits and not look:
                self._add_places(run, projection.name, live, list(places))
            generation = self._load(run, projection, live)
        if version != projection.version:
            generation.projection = projection._replace(version=version)
        return generation, fits

    def build(self, projection: Projection, places: Iterable[TopicPartition]) -> Generation:
        """Make empty tables of a new generation; an earlier unfinished one is dropped.

        They are filled without indexes, which `swap` makes: sorting once is cheaper than finding the
        place of each row.
        """
        self._learn(projection)
        with self._ordering() as run:
            left = run(
                "SELECT number, tables FROM projection_generation WHERE name=? AND state='building'",
                (projection.name,),
            ).fetchall()
            for number, tables in left:
                self._forget(run, projection.name, number, tables)
            number = self._make(run, projection, list(places), "building")
            return self._load(run, projection, number)

    def drop(self, green: Generation) -> None:
        """Drop a generation that is not live."""
        name, number = green.projection.name, green.number
        with self._ordering() as run:
            found = run(
                "SELECT tables FROM projection_generation"
                " WHERE name=? AND number=? AND state='building'",
                (name, number),
            ).fetchone()
            if found is not None:
                self._forget(run, name, number, found[0])

    def swap(self, green: Generation) -> bool:
        """Make a generation live and drop the one before, in one transaction.

        False when it is behind the live one on any partition. Raises Fenced when it was dropped.
        """
        projection, name = green.projection, green.projection.name
        with self._ordering() as run:
            state = run(
                "SELECT state FROM projection_generation WHERE name=? AND number=?",
                (name, green.number),
            ).fetchone()
            if state != ("building",):
                raise Fenced(
                    f"the rebuild of {name} was dropped by a later one",
                    hint="usance projection list shows who is live; rebuild again if needed",
                )
            blue = self._live(run, name)
            behind = run(
                "SELECT count(*) FROM projection_checkpoint b LEFT JOIN projection_checkpoint g"
                " ON g.name=b.name AND g.number=? AND g.topic=b.topic AND g.partition=b.partition"
                " WHERE b.name=? AND b.number=? AND coalesce(g.position, -1) < b.position"
                " AND b.topic IN (SELECT topic FROM projection_checkpoint"
                " WHERE name=b.name AND number=?)",
                (green.number, name, blue, green.number),
            ).fetchone()[0]
            if behind:
                return False
            epoch, tables = run(
                "SELECT epoch, tables FROM projection_generation WHERE name=? AND number=?",
                (name, blue),
            ).fetchone()
            self._forget(run, name, blue, tables)
            self._index(run, projection, green.number)
            self._show(run, projection.tables, green.number)
            of = (epoch + 1, name, green.number)
            run(
                "UPDATE projection_generation SET state='live', epoch=? WHERE name=? AND number=?",
                of,
            )
            run("UPDATE projection_checkpoint SET epoch=? WHERE name=? AND number=?", of)
            run("UPDATE projection SET live=? WHERE name=?", (green.number, name))
        green.state, green.epoch = "live", epoch + 1
        return True

    def again(self, generation: Generation) -> None:
        """Read a generation's checkpoints and parked keys again: a commit's answer may be lost.

        Raises Fenced when it is gone, or another epoch holds it.
        """
        projection, number = generation.projection, generation.number
        with self._writing() as run:
            found = run(
                "SELECT epoch FROM projection_generation WHERE name=? AND number=?",
                (projection.name, number),
            ).fetchone()
            if found != (generation.epoch,):
                raise fenced(projection.name)
            known = self._load(run, projection, number)
        generation.checkpoints, generation.parked = known.checkpoints, known.parked

    def differences(self, live: Generation, green: Generation) -> list[Difference]:
        """Return up to 100 rows that differ, staleness aside."""
        found: list[Difference] = []
        with self._comparing() as run:
            for table in green.projection.tables:
                room = DIFFERENCES_MAX - len(found)
                if room > 0:
                    found += self._different(run, table, live, green, room)
        return found

    def _different(
        self, run: Run, table: Table, live: Generation, green: Generation, room: int
    ) -> list[Difference]:
        columns = names_of(table.columns)
        one, other = (f'"{g.physical(table)}"' for g in (live, green))
        keys: dict[Key, None] = {}
        width = [c.name for c in table.columns]
        at = [width.index(name) for name in table.key]
        for left, right in ((one, other), (other, one)):
            rows = run(
                f"SELECT {columns} FROM {left} EXCEPT SELECT {columns} FROM {right} LIMIT {room}"
            )
            for row in rows.fetchall():
                keys[tuple([row[i] for i in at])] = None
        wanted = list(keys)[:room]
        sides = [
            {_key_of(table, r): r for r in self._rows(run, g.physical(table), table, wanted)}
            for g in (live, green)
        ]
        return [Difference(table.name, k, sides[0].get(k), sides[1].get(k)) for k in wanted]

    # -- for the projector: rows

    def commit(self, changes: list[Changes]) -> None:
        """Write everything or nothing; rows of a parked key that are not stale become so.

        Raises Fenced when a checkpoint is not where it must be, or another epoch holds it.
        """
        with self._writing() as run:
            for change in changes:
                self._advance(run, change.generation, change.moves)
                for write in change.writes:
                    self._write(run, change.generation, write)
                for parked in change.parked:
                    self._park(run, change.generation, parked)

    def _advance(self, run: Run, generation: Generation, moves: Sequence[Move]) -> None:
        """Move checkpoints, each from where it must be."""
        name = generation.projection.name
        for place, start, to in moves:
            moved = run(
                'UPDATE projection_checkpoint SET position=?, "index"=? WHERE name=? AND number=?'
                " AND topic=? AND partition=? AND position=? AND epoch=?",
                (*to, name, generation.number, *place, start, generation.epoch),
            ).rowcount
            if moved != 1:
                raise fenced(name)

    def _park(self, run: Run, generation: Generation, parked: Parked) -> None:
        run(
            "INSERT INTO projection_parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                generation.projection.name,
                generation.number,
                *parked.place,
                parked.offset,
                parked.key,
                parked.error,
                parked.since,
            ),
        )
        for table in generation.projection.tables:
            if table.stream and parked.error:
                run(
                    f'UPDATE "{generation.physical(table)}" SET {STALE}=?'
                    f' WHERE "{table.stream}"=? AND {STALE} IS NULL',
                    (parked.since, parked.key),
                )

    # -- generations in the database

    def _live(self, run: Run, name: str) -> int:
        found = run("SELECT live FROM projection WHERE name=?", (name,)).fetchone()
        return found[0] if found else 0

    def _make(
        self, run: Run, projection: Projection, places: list[TopicPartition], state: str
    ) -> int:
        name = projection.name
        # counted, not found: the number of a dropped generation is never given again
        run("INSERT INTO projection VALUES (?, 0, 0) ON CONFLICT DO NOTHING", (name,))
        run("UPDATE projection SET made=made+1 WHERE name=?", (name,))
        number: int = run("SELECT made FROM projection WHERE name=?", (name,)).fetchone()[0]
        tables = " ".join(t.name for t in projection.tables)
        run(
            "INSERT INTO projection_generation VALUES (?, ?, ?, ?, ?, 1, ?)",
            (name, number, projection.version, _shape(projection), tables, state),
        )
        self._add_places(run, name, number, places)
        kinds = {"text": self.dialect.text, "integer": self.dialect.integer}
        for table in projection.tables:
            physical = f"{table.name}__v{number}"
            columns = ", ".join(f'"{c.name}" {kinds[c.kind]}' for c in table.all_columns)
            keys = ", ".join(f'"{k}"' for k in table.key)
            # wide rows in a key-ordered tree would make it deep, and each insert dear
            narrow = len(table.columns) <= NARROW_COLUMNS and not table.fold
            kind = self.dialect.narrow if narrow else ""
            run(f'CREATE TABLE "{physical}" ({columns}, PRIMARY KEY ({keys})){kind}')
        return number

    def _index(self, run: Run, projection: Projection, number: int) -> None:
        """Make the indexes of a generation's tables."""
        for table in projection.tables:
            physical = f"{table.name}__v{number}"
            stream = ((table.stream,),) if table.stream and table.stream != table.key[0] else ()
            for n, index in enumerate((*table.indexes, *stream)):
                listed = ", ".join(f'"{c}"' for c in index)
                run(f'CREATE INDEX "{physical}__{n}" ON "{physical}" ({listed})')

    def _add_places(self, run: Run, name: str, number: int, places: list[TopicPartition]) -> None:
        for place in places:
            run(
                "INSERT INTO projection_checkpoint SELECT name, number, ?, ?, 0, 0, epoch"
                " FROM projection_generation WHERE name=? AND number=? ON CONFLICT DO NOTHING",
                (*place, name, number),
            )

    def _load(self, run: Run, projection: Projection, number: int) -> Generation:
        of = (projection.name, number)
        epoch, state = run(
            "SELECT epoch, state FROM projection_generation WHERE name=? AND number=?", of
        ).fetchone()
        checkpoints = {
            TopicPartition(topic, partition): Checkpoint(position, index)
            for topic, partition, position, index in run(
                'SELECT topic, partition, position, "index" FROM projection_checkpoint'
                " WHERE name=? AND number=?",
                of,
            ).fetchall()
        }
        parked = {
            (TopicPartition(topic, partition), key): since
            for topic, partition, key, since in run(
                "SELECT topic, partition, key, min(since) FROM projection_parked"
                " WHERE name=? AND number=? GROUP BY topic, partition, key",
                of,
            ).fetchall()
        }
        return Generation(projection, number, epoch, state, checkpoints, parked)

    def _forget(self, run: Run, name: str, number: int, tables: str) -> None:
        self._drop_tables(run, name, number, tables)
        for owned in ("projection_generation", "projection_checkpoint", "projection_parked"):
            run(f"DELETE FROM {owned} WHERE name=? AND number=?", (name, number))

    def _learn(self, projection: Projection) -> None:
        for table in projection.tables:
            self._shapes[table.name] = table

    def know(self, projections: Iterable[Projection]) -> None:
        """Say which tables there may be, in a process that only reads."""
        for projection in projections:
            self._learn(projection)


def fenced(name: str) -> Fenced:
    """Return the error of a projector whose checkpoints another one holds."""
    return Fenced(
        f"another projector keeps {name} now",
        hint="only one process may follow; stop this one or the other",
    )


def _key_of(table: Table, row: Row) -> Key:
    return tuple([row[k] for k in table.key])


def _shape(projection: Projection) -> str:
    """Return what must be equal for tables to fit: columns, kinds, keys, indexes."""
    return repr([(t.name, t.columns, t.key, t.indexes, t.stream) for t in projection.tables])
