"""Reading views out of a SQL database: conditions, order and keyset pages, as one consistent picture.

Names are checked against the table's columns; values are always parameters. Text is compared by its
bytes and rows that are alike in the order asked for come by their key, so every database gives the
same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from usance.engine.projections.projection import STALE, Checkpoint, Column, Row, Table
from usance.engine.projections.reading import Order, Where
from usance.kernel.errors import NotFound
from usance.log.contract import TopicPartition

OPERATORS = {"=", "!=", "<", "<=", ">", ">="}


class Dialect(NamedTuple):
    """Where the SQL of one database differs: types, and conditions with `{}` for the column."""

    text: str
    integer: str
    narrow: str
    """Ends the definition of a table whose rows may lie in the order of their key."""
    contains: str
    among: str
    beside: str
    listed: Callable[[Column, list[Any]], Any]
    """Makes the value of `among` and `beside`."""
    nulls: tuple[str, str] = ("", "")
    """Puts rows without a value first when going up, last when going down."""


class SqlReading:
    """One consistent picture; see `engine.reading.Reading`. `named` gives the table to read."""

    def __init__(
        self,
        run: Callable[..., Any],
        dialect: Dialect,
        shapes: dict[str, Table],
        restricted: bool,
        named: Callable[[str], str] = str,
    ) -> None:
        self._run = run
        self._dialect = dialect
        self._shapes = shapes
        self._restricted = restricted
        self._named = named

    def get(self, table: str, **key: str | int) -> Row | None:
        """Return the row under a key, or None."""
        rows = self.select(table, tuple(Where(c, "=", v) for c, v in key.items()), limit=1)
        return rows[0] if rows else None

    def select(
        self,
        table: str,
        where: Sequence[Where] = (),
        order: Sequence[Order] = (),
        limit: int = 0,
        after: Sequence[str | int] = (),
    ) -> list[Row]:
        """Return rows in order; `after` are the ordered columns of the last row seen (keyset)."""
        shape = self._shape(table)
        names = [c.name for c in shape.all_columns]
        condition, values = self._conditions(shape, where)
        if after:
            clause, more = _beyond(shape, order, after)
            condition += f" AND {clause}"
            values += more
        name, by = self._named(table), self._by(shape, order)
        sql = f'SELECT {names_of(shape.all_columns)} FROM "{name}" WHERE {condition} ORDER BY {by}'
        sql += f" LIMIT {int(limit)}" if limit else ""
        return [dict(zip(names, row, strict=True)) for row in self._run(sql, values).fetchall()]

    def count(self, table: str, where: Sequence[Where] = (), by: Sequence[str] = ()) -> Any:
        """Return the number of rows; with `by`, a dict from the columns' values to it."""
        shape = self._shape(table)
        condition, values = self._conditions(shape, where)
        name = self._named(table)
        if not by:
            sql = f'SELECT count(*) FROM "{name}" WHERE {condition}'
            return self._run(sql, values).fetchone()[0]
        listed = ", ".join(f'"{_known(shape, c).name}"' for c in by)
        sql = f'SELECT {listed}, count(*) FROM "{name}" WHERE {condition} GROUP BY {listed}'
        rows = self._run(sql, values).fetchall()
        return {(r[0] if len(by) == 1 else tuple(r[:-1])): r[-1] for r in rows}

    def checkpoints(self) -> dict[str, dict[TopicPartition, Checkpoint]]:
        """Return the checkpoints of all live generations by projection."""
        rows = self._run(
            'SELECT c.name, topic, partition, position, "index" FROM projection_checkpoint c'
            " JOIN projection p ON p.name=c.name AND p.live=c.number"
        ).fetchall()
        found: dict[str, dict[TopicPartition, Checkpoint]] = {}
        for name, topic, partition, position, index in rows:
            place = TopicPartition(topic, partition)
            found.setdefault(name, {})[place] = Checkpoint(position, index)
        return found

    def generations(self) -> list[Row]:
        """Return {name, number, version, state, tables, rows, stale} of every generation."""
        found = self._run(
            "SELECT name, number, version, state, tables FROM projection_generation"
            " ORDER BY name, number"
        ).fetchall()
        out = []
        for name, number, version, state, tables in found:
            counts = [
                self._run(f'SELECT count(*), count({STALE}) FROM "{t}__v{number}"').fetchone()
                for t in tables.split()
            ]
            out.append(
                {
                    "name": name,
                    "number": number,
                    "version": version,
                    "state": state,
                    "tables": tables.split(),
                    "rows": sum(c[0] for c in counts),
                    "stale": sum(c[1] for c in counts),
                }
            )
        return out

    def parked(self) -> list[Row]:
        """Return what each live projection cannot follow: one row per key, with how many wait."""
        names = ("name", "topic", "partition", "key", "offset", "error", "since", "waiting")
        rows = self._run(
            'SELECT k.name, topic, partition, key, min("offset"), max(error), min(since),'
            " count(*) - 1 FROM projection_parked k JOIN projection p"
            " ON p.name=k.name AND p.live=k.number GROUP BY k.name, topic, partition, key"
        ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def log_id(self) -> str:
        """Return the id of the log that these are the views of, empty when unbound."""
        found = self._run("SELECT log_id FROM projection_log").fetchone()
        return found[0] if found else ""

    def _shape(self, table: str) -> Table:
        shape = self._shapes.get(table)
        if shape is None or (shape.restricted and not self._restricted):
            raise NotFound(f"no view {table}", hint="usance projection list shows all")
        return shape

    def _by(self, shape: Table, order: Sequence[Order]) -> str:
        asked = {o.column for o in order}
        whole = (*order, *(Order(k) for k in shape.key if k not in asked))
        return ", ".join([self._term(_known(shape, o.column), o.down) for o in whole])

    def _term(self, column: Column, down: bool) -> str:
        nulls = self._dialect.nulls[down] if column.default is None else ""
        return f'"{column.name}"{" DESC" if down else ""}{nulls}'

    def _conditions(self, shape: Table, where: Sequence[Where]) -> tuple[str, list[Any]]:
        parts, values = ["true"], []
        for name, operator, value in where:
            column = _known(shape, name)
            quoted = f'"{name}"'
            if operator in ("in", "not in"):
                form = self._dialect.among if operator == "in" else self._dialect.beside
                parts.append(form.format(quoted))
                values.append(self._dialect.listed(column, list(value)))
            elif operator == "contains":
                parts.append(self._dialect.contains.format(quoted))
                values.append(value)
            else:
                assert operator in OPERATORS, "an operator of reading.Where"
                parts.append(f"{quoted} {operator} ?")
                values.append(value)
        return " AND ".join(parts), values


def _beyond(shape: Table, order: Sequence[Order], after: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the condition "behind this row" for an order of mixed directions."""
    parts, values = [], []
    for n, at in enumerate(order):
        same = [f'"{_known(shape, o.column).name}" = ?' for o in order[:n]]
        parts.append(" AND ".join([*same, f'"{at.column}" {"<" if at.down else ">"} ?']))
        values += [*after[:n], after[n]]
    return f"({' OR '.join(f'({p})' for p in parts)})", values


def _known(shape: Table, name: str) -> Column:
    found = next((c for c in shape.all_columns if c.name == name), None)
    assert found is not None, f"{shape.name} has no {name}"
    return found


def names_of(columns: Sequence[Column]) -> str:
    """Return the quoted names of columns, with commas."""
    return ", ".join(f'"{c.name}"' for c in columns)
