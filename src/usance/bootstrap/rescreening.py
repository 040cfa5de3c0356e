"""Screening again after a list version became active: one process of the bank does it."""

from __future__ import annotations

from collections.abc import Mapping

from usance.aml.activation import ListActivated
from usance.aml.lists import ListSnapshot
from usance.aml.rescreening import labels, narrowed
from usance.aml.screening import Screener
from usance.bootstrap.lists import ActiveLists, ListBook
from usance.bootstrap.store import Store
from usance.engine.logs import logger
from usance.engine.standby import RESCREENING_GROUP, GroupElection, Standby
from usance.kernel.clock import Clock
from usance.kernel.errors import NotFound, Tampered, Unreadable
from usance.sagas.rescreening import Rescreening

Again = Rescreening | Standby
"""The part: this process's own, or one of many that stand by."""
_log = logger("rescreening")


class Versions:
    """What this process screens with, beside what earlier screenings had."""

    def __init__(self, lists: ActiveLists, book: ListBook, store: Store) -> None:
        self.lists, self.book, self.store = lists, book, store
        self._known: dict[tuple[str, ...], Screener | None] = {}
        self._snapshot = ""

    def active(self) -> Mapping[str, str] | None:
        """Return the contents that the screener holds, by list; None while it is being made."""
        return self.lists.contents()

    def since(self, named: tuple[str, ...]) -> Screener | None:
        """Return what finds the entries that a screening under these versions could not; None: there are none."""
        screener = self.lists.screener.screener()
        if screener.snapshot_id != self._snapshot:
            self._snapshot, self._known = screener.snapshot_id, {}
        if named not in self._known:
            self._known[named] = self._made(screener, labels(named))
        return self._known[named]

    def _made(self, screener: Screener, then: dict[str, str]) -> Screener | None:
        now = {s.list_id: s for s in screener.snapshots()}
        had: dict[str, frozenset[str]] = {}
        for list_id, snapshot in now.items():
            label = then.get(list_id, "")
            entries = _digests(snapshot)
            had[list_id] = entries if label == snapshot.info.label else self._had(list_id, label)
        if all(e.digest in had[i] for i, s in now.items() for e in s.entries):
            return None
        return narrowed(screener, had)

    def _had(self, list_id: str, label: str) -> frozenset[str]:
        """Return the digests of a version's entries; none where nobody has it, so that all is looked at."""
        if not label:
            return frozenset()
        for snapshot in self.lists.opened({}).snapshots():
            if (snapshot.list_id, snapshot.info.label) == (list_id, label):
                return _digests(snapshot)
        for past in self.store.history.stream(self.book.key):
            event = past.message
            if not isinstance(event, ListActivated) or event.version.list_id != list_id:
                continue
            if event.version.info.label == label:
                return self._kept(event)
        return frozenset()

    def _kept(self, event: ListActivated) -> frozenset[str]:
        try:
            snapshot = self.book.snapshot(event.version)
        except (NotFound, Tampered, Unreadable) as error:
            _log.warning("part_waits", error_type=type(error).__name__)
            return frozenset()
        return _digests(snapshot)


def _digests(snapshot: ListSnapshot) -> frozenset[str]:
    return frozenset(entry.digest for entry in snapshot.entries)


def make_rescreening(store: Store, lists: ActiveLists, clock: Clock) -> Again:
    """Return the part that screens again: here alone, or where the consumer group says."""
    book = store.lists()
    part = Rescreening(
        store.log,
        store.topics,
        store.decoder,
        store.history,
        store.commands(),
        book,
        Versions(lists, book, store),
        store.deciders["credit"],
        clock,
    )
    if not store.settings.bootstrap_servers:
        return part
    place = store.topics.at("system", "schemas", 0)
    return Standby(part, GroupElection(RESCREENING_GROUP, store.log, place), clock)
