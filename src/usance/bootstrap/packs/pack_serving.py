"""Packs from a process whose parts run: the command goes into the log, its notary or another seals."""

from __future__ import annotations

from typing import Protocol

from usance.bootstrap.packs.auditing import evidence
from usance.bootstrap.packs.handing import Pack, make_pack
from usance.bootstrap.packs.pack_scope import Request
from usance.bootstrap.people import Directory
from usance.bootstrap.store import Folder, Store
from usance.config import Settings
from usance.engine.gateway import append_and_wait
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import Clock
from usance.kernel.decider import Actor
from usance.messages.outcome import Outcome


class Serving(Protocol):
    """The running program, as far as packs need it."""

    @property
    def folder(self) -> Folder:
        """Where its files are."""
        ...

    @property
    def store(self) -> Store:
        """Its log and codecs."""
        ...

    @property
    def settings(self) -> Settings:
        """Its settings."""
        ...

    @property
    def clock(self) -> Clock:
        """Its time."""
        ...

    @property
    def directory(self) -> Directory:
        """Its people."""
        ...


def served_pack(program: Serving, viewer: Actor, request: Request) -> Pack:
    """Return a pack that was handed over to a viewer; takes a second or two. Raises as `make_pack` does."""
    store = program.store

    def ask(outgoing: Outgoing) -> Outcome:
        commands, now = store.commands(), program.clock.now()
        return append_and_wait(
            store.log, store.topics, commands, store.closed, outgoing, now, clock=program.clock
        )

    names = {one.id: one.name for one in program.directory.people.values()}
    with evidence(program.folder, program.settings) as found:
        return make_pack(found, viewer, names, request, ask)
