"""Write the sample book by playing its story: `python tools/make_book.py [FOLDER]`.

The files are what a bank's gateway would have received; nothing in them is marked as made. Run it after
a change of the domain that moves a content hash, look at the difference, and commit both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sample_book import export_side, import_side, strays
from sample_book.scribe import Scribe

from usance import config
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.kernel.clock import BookClock, parse_instant

BOOK = Path(__file__).parent.parent / "examples" / "book"


def main(target: Path) -> None:
    """Write the book into a folder, in place of the one that is there."""
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("2026*Z-*"):
        old.unlink()
    steps = [*import_side.steps(), *export_side.steps(), *strays.steps()]
    with tempfile.TemporaryDirectory() as folder:
        clock = BookClock(parse_instant("2026-11-23T07:00:00Z"))
        runtime = Runtime(Folder(Path(folder)), config.load(environ={}).settings, clock)
        runtime.drop.settle = 0
        try:
            scribe = Scribe(runtime, target, import_side.ANSWERED_BY_STORY)
            scribe.play(steps)
        finally:
            runtime.close()
    print(f"{len(scribe.written)} files in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BOOK)
