"""One tenant's part of the views, where a log holds the books of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from usance.engine.projections.projection import Checkpoint, Projection, Row
from usance.engine.projections.reading import Order, Reading, Where
from usance.log.contract import TopicPartition

KEY = "key"
_AFTER = chr(ord("/") + 1)


def key_columns(projections: Iterable[Projection]) -> dict[str, str]:
    """Return the column of each table that holds an aggregate key; counts and sums of all have none."""
    found = {}
    for table in (table for projection in projections for table in projection.tables):
        named = any(column.name == KEY for column in table.columns)
        if table.stream or named:
            found[table.name] = table.stream or KEY
    return found


def part_of(reading: Reading, tenant: str, columns: Mapping[str, str]) -> Reading:
    """Return a tenant's part of the views: all of them where the log holds no other's book.

    A condition on every question would cost a great book its indexes, and most logs have one tenant.
    """
    own = (f"{tenant}/", f"{tenant}{_AFTER}")
    for where in (Where(KEY, "<", own[0]), Where(KEY, ">=", own[1])):
        if reading.select("streams", (where,), (Order(KEY),), 1):
            return OfTenant(reading, own, columns)
    return reading


class OfTenant:
    """A reading in which other tenants' rows are not."""

    def __init__(self, inner: Reading, own: tuple[str, str], columns: Mapping[str, str]) -> None:
        self.inner, self.own, self.columns = inner, own, columns

    def _narrowed(self, table: str, where: Sequence[Where]) -> Sequence[Where]:
        column = self.columns.get(table)
        if column is None:
            return where
        return (*where, Where(column, ">=", self.own[0]), Where(column, "<", self.own[1]))

    def get(self, table: str, **key: str | int) -> Row | None:
        """Return the row under a key, or None."""
        row, column = self.inner.get(table, **key), self.columns.get(table)
        if row is None or column is None:
            return row
        return row if str(row[column]).startswith(self.own[0]) else None

    def select(
        self,
        table: str,
        where: Sequence[Where] = (),
        order: Sequence[Order] = (),
        limit: int = 0,
        after: Sequence[str | int] = (),
    ) -> list[Row]:
        """Return rows in order."""
        return self.inner.select(table, self._narrowed(table, where), order, limit, after)

    def count(self, table: str, where: Sequence[Where] = (), by: Sequence[str] = ()) -> Any:
        """Return the number of rows, or one per value."""
        return self.inner.count(table, self._narrowed(table, where), by)

    def checkpoints(self) -> dict[str, dict[TopicPartition, Checkpoint]]:
        """Return the checkpoints of all live generations by projection."""
        return self.inner.checkpoints()

    def generations(self) -> list[Row]:
        """Return every generation."""
        return self.inner.generations()

    def parked(self) -> list[Row]:
        """Return the parked keys of projections."""
        return self.inner.parked()

    def log_id(self) -> str:
        """Return the id of the log."""
        return self.inner.log_id()
