"""The port through which views are read: conditions by column, order, keyset pages; no SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from usance.engine.projections.projection import Checkpoint, Projection, Row, ViewStore
from usance.log.contract import TopicPartition


class Where(NamedTuple):
    """A condition. `operator`: =, !=, <, <=, >, >=, in, not in (lists) or contains (case aside)."""

    column: str
    operator: str
    value: Any


class Order(NamedTuple):
    """A column to sort by."""

    column: str
    down: bool = False


class Reading(Protocol):
    """One consistent picture of all views, with the checkpoints it was taken at."""

    def get(self, table: str, **key: str | int) -> Row | None:
        """Return the row under a key, or None."""
        ...

    def select(
        self,
        table: str,
        where: Sequence[Where] = (),
        order: Sequence[Order] = (),
        limit: int = 0,
        after: Sequence[str | int] = (),
    ) -> list[Row]:
        """Return rows in order; `after` are the ordered columns of the last row seen (keyset)."""
        ...

    def count(self, table: str, where: Sequence[Where] = (), by: Sequence[str] = ()) -> Any:
        """Return the number of rows; with `by`, a dict from the columns' values to it."""
        ...

    def checkpoints(self) -> dict[str, dict[TopicPartition, Checkpoint]]:
        """Return the checkpoints of all live generations by projection."""
        ...

    def generations(self) -> list[Row]:
        """Return {name, number, version, state, tables, rows, stale} of every generation."""
        ...

    def parked(self) -> list[Row]:
        """Return {name, topic, partition, key, offset, error, since, waiting} per parked key."""
        ...

    def log_id(self) -> str:
        """Return the id of the log that these are the views of, empty when unbound."""
        ...


class ReadStore(Protocol):
    """What queries need of a view store."""

    def reading(self, *, restricted: bool = False) -> AbstractContextManager[Reading]:
        """Lend a consistent picture of all views; `restricted` opens restricted tables too."""
        ...

    def know(self, projections: Iterable[Projection]) -> None:
        """Say which tables there may be, in a process that only reads."""
        ...

    def wait(self, satisfied: Callable[[], bool], timeout: float) -> bool:
        """Ask `satisfied` now and after each change until it is true or `timeout` seconds pass."""
        ...


class Views(ViewStore, ReadStore, Protocol):
    """A view store as a process holds it: one that a projector writes and queries read."""
