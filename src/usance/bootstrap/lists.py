"""Sanctions lists of a log: those that came with the product, or the versions that two people activated since.

A version's bytes lie in the topic `lists`, where each process of a cluster reads them; which version is
active is one stream (`aml.activation`). `ActiveLists` follows it and swaps the index of a running program.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from usance.aml import activation as act
from usance.aml.list_formats import read_csv, read_ofac, read_un_xml
from usance.aml.lists import ListSnapshot, changes, packed, unpack, unpacked
from usance.aml.screening import Screener, gate, open_screener
from usance.bootstrap.compiling import CompilingScreener
from usance.engine import contents
from usance.engine.contents import Kept
from usance.engine.logs import logger
from usance.engine.topics import Topics
from usance.kernel.clock import Clock
from usance.kernel.decider import key_of
from usance.kernel.errors import Refused, Tampered, Unreadable, UsanceError
from usance.log.contract import Log
from usance.messages.decoder import Decoder

FILES_OF_OFAC = 4
AGAIN_S = 5.0
"""After how long a version that could not be loaded is tried again."""

_log = logger("lists")


class ListBook:
    """The stream of list versions of one bank, followed from its partition of the log."""

    def __init__(self, log: Log, topics: Topics, decoder: Decoder, tenant: str) -> None:
        self.log = log
        self.decoder = decoder
        self.key = key_of(tenant, act.ListDecider.category, act.IDENTITY)
        self.contents = topics.at("system", "lists", 0)
        place = topics.place(self.key)
        self.events = topics.at(place.context, "events", place.partition)
        self._decider = act.ListDecider()
        self._state = self._decider.initial(self.key)
        self._at = 0

    @property
    def read_to(self) -> int:
        """How far `state` has read."""
        return self._at

    def moved(self) -> bool:
        """Tell whether there is more in the partition than was read."""
        return self.log.end(self.events) > self._at

    def wait(self, seconds: float) -> None:
        """Block until there is more, or for so long."""
        self.log.wait({self.events: self._at}, seconds)

    def state(self) -> act.ListState:
        """Return what is active and what waits, up to the end of the log."""
        end, key = self.log.end(self.events), self.key.encode()
        start = max(self._at, self.log.begin(self.events))
        for record in self.log.scan(self.events, start, end, 5_000):
            if record.key == key:
                event = self.decoder.message(record.headers, record.value)
                self._state = self._decider.evolve(self._state, event)
            self._at = record.offset + 1
        self._at = max(end, self._at)
        return self._state

    def snapshot(self, version: act.ListVersion) -> ListSnapshot:
        """Return a version whole; raises NotFound, or Tampered where it is not what the event names."""
        kept = Kept(version.content, version.chunks)
        found = unpack(contents.load(self.log, self.contents, kept))
        if found.info != version.info:
            raise Tampered(
                f"the kept {version.list_id} {version.version} is not what was activated",
                hint="Import the publisher's file again, and compare the hashes.",
            )
        return found


def open_active(
    book: ListBook,
    versions: Mapping[str, act.ListVersion],
    *,
    cache: Path | None,
    given: Screener | None = None,
) -> Screener:
    """Return a screener over what came along (or was `given`), versions in the place of their lists."""
    if not versions:
        return given or open_screener(cache=cache)

    def read() -> list[ListSnapshot]:
        base = (given or open_screener(cache=cache)).snapshots()
        lists = {s.list_id: s for s in base} | {i: book.snapshot(v) for i, v in versions.items()}
        return list(lists.values())

    named = "|".join(f"{i}={v.content}" for i, v in sorted(versions.items()))
    base = given.snapshot_id if given is not None else ""
    return open_screener(read, cache=cache, named=f"{base}|{named}")


class ActiveLists:
    """Follows what is active and has the running screener swap to it.

    What cannot be loaded changes nothing: the last good snapshot stays, `trouble` says so, and it is
    tried again. Where there is no good one yet, screening waits.
    """

    def __init__(
        self, book: ListBook, clock: Clock, *, cache: Path | None, given: Screener | None = None
    ) -> None:
        self.book = book
        self.clock = clock
        self.trouble = ""
        self._open = partial(open_active, book, cache=cache, given=given)
        self._active: dict[str, act.ListVersion] | None = None
        self._thread: threading.Thread | None = None
        self._again_at = 0.0
        self.screener = CompilingScreener(self._first)

    def _first(self) -> Screener:
        wanted = dict(self.book.state().active)
        made = self._open(wanted)
        self._active = wanted
        return made

    def opened(self, versions: Mapping[str, act.ListVersion]) -> Screener:
        """Return a screener over versions in the place of the lists that this process began with."""
        return self._open(versions)

    def contents(self) -> dict[str, str] | None:
        """Return the digests of the activated versions that are loaded, by list; None while loading."""
        busy = self._thread is not None and self._thread.is_alive()
        if busy or self._active is None or not self.screener.ready:
            return None
        return {list_id: version.content for list_id, version in self._active.items()}

    def step(self, wait: float = 0.0) -> int:
        """Look once; with `wait` a new version is compiled beside everything else."""
        busy = self._thread is not None and self._thread.is_alive()
        if busy or not self.screener.settled or self.clock.monotonic() < self._again_at:
            self.clock.sleep(wait)
            return 0
        if self._active is not None and not self.book.moved():
            if wait > 0:
                self.book.wait(wait)
            return 0
        wanted = dict(self.book.state().active)
        if wanted == self._active:
            return 0
        self._thread = threading.Thread(
            target=self._swap, args=(wanted,), name="lists-swap", daemon=True
        )
        self._thread.start()
        if wait <= 0:
            self._thread.join()
        return 1

    def _swap(self, wanted: dict[str, act.ListVersion]) -> None:
        """Compile and swap; runs where no other thread of this part does."""
        try:
            made = self._open(wanted)
        except UsanceError as error:
            # None: what is active differs from what is loaded, so that it is looked at again.
            self._active, self.trouble = None, f"{error.message} {error.hint}"
            self._again_at = self.clock.monotonic() + AGAIN_S
            _log.warning("part_waits", error_type=type(error).__name__)
            return
        self.screener.swap(made)
        self._active, self.trouble = wanted, ""
        _log.info("list_loaded", list_version=made.snapshot_id[:16])


class Proposal(NamedTuple):
    """A list version that passed the gate, ready to be kept and proposed."""

    command: act.ProposeList
    data: bytes


def read_list(files: Sequence[bytes], list_id: str, version: str, now: int) -> ListSnapshot:
    """Read a publisher's file: UN XML, the four OFAC files, or our CSV; raises Unreadable.

    OFAC's order is primary, alternate names, addresses, comments; they and CSV do not carry their
    `version` (YYYY-MM-DD), so it has to be given.
    """
    if len(files) == 1 and unpacked(files[0]).lstrip()[:1] == b"<":
        return read_un_xml(files[0], loaded_at=now)
    if not version or not list_id:
        raise Unreadable(
            "list", "this file does not say which list and version it is", hint="--list, --version"
        )
    if len(files) == FILES_OF_OFAC:
        return read_ofac(*files, list_id=list_id, version=version, loaded_at=now)
    if len(files) == 1:
        return read_csv(files[0], list_id=list_id, version=version, loaded_at=now)
    raise Unreadable("list", "one file, or the four of OFAC", hint="See usance list import --help.")


class Listing(Protocol):
    """A running program, as far as importing a list needs it."""

    @property
    def folder(self) -> Any:
        """The data folder, for what is compiled."""
        ...

    @property
    def store(self) -> Any:
        """The log with its codecs."""
        ...

    @property
    def lists(self) -> ActiveLists | None:
        """What is active, in a process that screens."""
        ...


def prepared(
    program: Listing, files: Sequence[bytes], list_id: str, version: str, approve_count: bool
) -> tuple[ListBook, Proposal]:
    """Hold files that came to a running program against the gate; raises Unreadable, Refused."""
    new = read_list(files, list_id, version, program.store.clock.now())
    book: ListBook = program.store.lists()
    state = book.state()
    here = program.lists
    active = (
        here.opened(state.active)
        if here is not None
        else open_active(book, state.active, cache=program.folder.cache)
    )
    return book, propose(new, active, state, approve_count=approve_count)


def keep(book: ListBook, found: Proposal) -> None:
    """Write a version's bytes where every process reads them; before its proposal, always."""
    contents.keep(book.log, book.contents, found.data)


def propose(
    new: ListSnapshot, active: Screener, state: act.ListState, *, approve_count: bool
) -> Proposal:
    """Hold a list against the gate; raises Refused when a finding blocks: the active list then stays."""
    before = next((s for s in active.snapshots() if s.list_id == new.list_id), None)
    found = gate(new, before.info if before else None, approve_count=approve_count)
    blocking = [f for f in found if f.blocks]
    if blocking:
        raise Refused(
            blocking[0].code,
            f"{blocking[0].message} ({len(blocking)} findings); the active list stays",
            hint="Fetch the file again; --approve-count accepts a changed number of entries.",
        )
    data, info, brought = packed(new), new.info, changes(before, new)
    kept, activated = contents.name_of(data), state.active.get(new.list_id)
    command = act.ProposeList(
        version=act.ListVersion(
            list_id=info.list_id,
            source=info.source,
            version=info.version,
            sha256=info.sha256,
            content=kept.digest,
            chunks=kept.chunks,
            entries=info.entries,
            names=info.names,
        ),
        base=activated.content if activated is not None else "",
        added=len(brought.added),
        changed=len(brought.changed),
        removed=len(brought.removed),
        findings=[act.ListFinding(code=f.code, message=f.message) for f in found],
    )
    return Proposal(command, data)
