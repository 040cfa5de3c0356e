"""The book driver: feeds a folder of inputs at their own instants, as a bank's week would bring them.

A book is a folder of files named `YYYYMMDDTHHMM[SS]Z-anything`; the name carries the instant (UTC). The next
input is given only when every part is idle and all timers up to its instant have fired.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from usance.bootstrap.runtime import Runtime
from usance.kernel.clock import BookClock
from usance.kernel.errors import NotFound, Unreadable

_NAME = re.compile(r"(\d{8})T(\d{4,6})Z-.+")
AFTER_MS = 1_000


class BookInput(NamedTuple):
    """One file of a book and the instant (ms UTC) at which it arrives."""

    instant: int
    file: Path


def read_book(folder: Path) -> list[BookInput]:
    """Return a book's inputs in order; raises Unreadable when a name carries no instant."""
    found = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md"):
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise Unreadable(
                "validate",
                f"{file.name} does not begin with an instant",
                hint="Name it like 20261123T0900Z-apply.json.",
            )
        text = match[1] + match[2].ljust(6, "0")
        when = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        found.append(BookInput(int(when.timestamp() * 1000), file))
    if not found:
        raise Unreadable("fetch", "the book is empty", hint="Name a folder with inputs.")
    return sorted(found, key=lambda i: (i.instant, i.file.name))


def sample_book() -> Path:
    """Return the folder of the sample book; raises NotFound where it is not installed."""
    for place in (Path("examples/book"), Path(__file__).parents[3] / "examples" / "book"):
        if place.is_dir():
            return place
    raise NotFound("the sample book is not here", hint="Name a book's folder with --book.")


def before(book: list[BookInput]) -> BookClock:
    """Return a clock that stands before a book's first input."""
    return BookClock(book[0].instant - AFTER_MS)


def unplayed(runtime: Runtime, book: list[BookInput]) -> list[BookInput]:
    """Return what of a book has not been handed in yet, so that a broken-off play goes on."""
    gateway = runtime.folder.gateway
    known = {p.name for name in ("in", "archive") for p in (gateway / name).rglob("*")}
    return [item for item in book if item.file.name not in known]


def play(
    runtime: Runtime,
    book: list[BookInput],
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Feed a book through the file-drop gateway, firing timers between the inputs.

    `stop` ends it between two inputs; `unplayed` then says what is left.
    """
    if not book:
        return
    target = runtime.folder.gateway / "in"
    target.mkdir(parents=True, exist_ok=True)
    runtime.drop.settle = 0  # a file that appears by its renaming is whole
    for number, item in enumerate(book, 1):
        if stop is not None and stop.is_set():
            return
        runtime.run_until(item.instant)
        part = target / f".{item.file.name}.part"
        shutil.copyfile(item.file, part)
        part.rename(target / item.file.name)
        runtime.drive()
        if progress is not None:
            progress(number, len(book))
    runtime.run_until(book[-1].instant + AFTER_MS)
    runtime.drive()
