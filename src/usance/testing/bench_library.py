"""One aggregate per key on the eventsourcing library's SQLite store; importable only where it is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event

Save = Callable[[str, list[tuple[str, bytes]]], None]
Library = tuple[Save, Callable[[], int], Callable[[], None], str]


class Stream(Aggregate):
    """The facts of one key, as the library's aggregates keep them."""

    @event("Opened")
    def __init__(self, key: str) -> None:
        self.key = key
        self.last = ("", "")

    @staticmethod
    def create_id(key: str) -> UUID:
        """Return the id of a key's aggregate."""
        return uuid5(NAMESPACE_URL, key)

    @event("Recorded")
    def record(self, name: str, body: str) -> None:
        """Record one fact."""
        self.last = (name, body)


def open_library(folder: Path) -> Library:
    """Return how to save the events of one aggregate, how to count all, how to close, and its care."""
    folder.mkdir(parents=True, exist_ok=True)
    environ = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(folder / "library.sqlite"),
        "IS_SNAPSHOTTING_ENABLED": "n",
    }
    application: Any = Application(env={**os.environ, **environ})
    opened = 0

    def save(key: str, events: list[tuple[str, bytes]]) -> None:
        nonlocal opened
        try:
            stream = application.repository.get(Stream.create_id(key))
        except AggregateNotFoundError:
            stream = Stream(key)
            opened += 1
        for name, body in events:
            stream.record(name, body.decode())
        application.save(stream)

    def count() -> int:
        return int(application.recorder.max_notification_id() or 0) - opened

    return save, count, application.close, "WAL; the library's own settings for the rest"
