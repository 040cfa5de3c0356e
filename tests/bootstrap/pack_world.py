"""The first days of the sample book, sealed, and packs made of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from book_world import BOOK, START_BEFORE_MS

from usance import config
from usance.audit.note import parse_checkpoint, parse_note
from usance.audit.pack_proofs import Refused
from usance.audit.pack_records import unzipped, zipped
from usance.audit.pack_verify import judge
from usance.bootstrap.book import play, read_book
from usance.bootstrap.packs.auditing import Evidence
from usance.bootstrap.packs.handing import Pack, make_pack, sealing_on
from usance.bootstrap.packs.pack_scope import Request
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import Settings
from usance.kernel.clock import BookClock

INPUTS, LATER = 60, 15
CREDIT = "TF26LC0108"
STREAM = f"albion/credit/{CREDIT}"
AUDITOR, CHECKER, MAKER = "grace.mwangi", "bruno.lindqvist", "amara.okafor"


class PackWorld:
    """A sealed log in a folder, with one process over it."""

    def __init__(
        self, folder: Path, cache: Path, inputs: int = INPUTS, settings: Settings | None = None
    ) -> None:
        book = read_book(BOOK)[:inputs]
        if cache.exists():
            shutil.copytree(cache, folder / "cache")
        self.settings = settings or config.load(environ={}).settings
        self.folder = Folder(folder)
        clock = BookClock(book[0].instant - START_BEFORE_MS)
        self.runtime = Runtime(self.folder, self.settings, clock)
        self.hurry = sealing_on(self.runtime)
        play(self.runtime, book[: inputs - LATER])
        self.hurry()
        self.evidence = Evidence(self.folder, self.settings, None)
        self.early = parse_checkpoint(parse_note(self.evidence.head()).text).size
        """Heads when the last inputs were still to come."""
        play(self.runtime, book[inputs - LATER :])
        if not cache.exists():
            shutil.copytree(folder / "cache", cache)
        self.hurry()
        self.names = {p.id: p.name for p in self.runtime.directory.people.values()}

    def pack(self, request: Request, person: str = AUDITOR, role: str = "") -> Pack:
        """Return a pack that was handed over to a person."""
        viewer = self.runtime.directory.actor(person, role)
        return make_pack(
            self.evidence, viewer, self.names, request, self.runtime.ask, hurry=self.hurry
        )

    def close(self) -> None:
        """Release everything."""
        self.evidence.close()
        self.runtime.close()


def files_of(pack: Pack | bytes) -> dict[str, bytes]:
    """Return the files of a pack."""
    data = pack if isinstance(pack, bytes) else pack.data
    return {name: bytes(content) for name, content in unzipped(memoryview(data)).items()}


def lines(files: dict[str, bytes], kind: str = "trade.events") -> list[dict[str, Any]]:
    """Return the lines of records of one kind, in the order of their trees."""
    names = sorted(n for n in files if n.startswith(f"events/{kind}"))
    return [json.loads(line) for n in names for line in files[n].splitlines()]


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Return files as a pack."""
    return b"".join(zipped(files))


def told(data: bytes, trusted: bytes | str | None = None) -> dict[str, Any] | Refused:
    """Return what the verifier says of a pack."""
    try:
        return judge(memoryview(data), trusted)
    except Refused as refused:
        return refused


def code_of(data: bytes, trusted: bytes | str | None = None) -> str:
    """Return the code with which a pack is refused, empty where it is accepted."""
    found = told(data, trusted)
    return found.code if isinstance(found, Refused) else ""


def alone(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the stand-alone verifier as a stranger would: no site packages, no environment, no usance."""
    command = [sys.executable, "-I", "-S", str(script), *arguments]
    return subprocess.run(
        command, env={}, cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
