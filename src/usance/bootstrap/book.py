"""The book driver: feeds a folder of inputs at their own instants, as a bank's week would bring them.

A book is a folder of files named `YYYYMMDDTHHMM[SS]Z-anything`; the name carries the instant (UTC). The next
input is given only when every part is idle and all timers up to its instant have fired.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from usance.bootstrap.runtime import Runtime
from usance.kernel.errors import Unreadable

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


def play(
    runtime: Runtime,
    book: list[BookInput],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Feed a book through the file-drop gateway, firing timers between the inputs."""
    target = runtime.folder.gateway / "in"
    target.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(book, 1):
        runtime.run_until(item.instant)
        part = target / f".{item.file.name}.part"
        shutil.copyfile(item.file, part)
        part.rename(target / item.file.name)
        runtime.drive()
        if progress is not None:
            progress(number, len(book))
    runtime.run_until(book[-1].instant + AFTER_MS)
    runtime.drive()
