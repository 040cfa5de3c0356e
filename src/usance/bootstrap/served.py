"""The desk of a running program: what commands do beside an owner, its console does too."""

from __future__ import annotations

from typing import Protocol

from usance.bootstrap.desk import ELSEWHERE, Desk
from usance.bootstrap.packs.pack_serving import Serving
from usance.crypto.card_policy import CardPolicy
from usance.engine.projections.reading import Views
from usance.views.queries import Queries


class Program(Serving, Protocol):
    """The running program, as far as a desk over it needs it."""

    @property
    def views(self) -> Views:
        """Its read models."""
        ...

    @property
    def queries(self) -> Queries:
        """The read side."""
        ...

    @property
    def cards(self) -> CardPolicy:
        """What becomes of card numbers."""
        ...


class ServedDesk(Desk):
    """Appends and follows outcomes like any other process beside an owner; closing it closes nothing."""

    def __init__(self, program: Program) -> None:
        self.folder = program.folder
        self.settings = program.settings
        self.clock = program.clock
        self.runtime = None
        self.owner = ELSEWHERE  # never taken over from: the program is the owner, or knows its own
        self.lag = 0
        self.store = program.store
        self.views = program.views
        self.queries = program.queries
        self.cards = program.cards
        self.directory = program.directory

    def close(self) -> None:
        """Leave everything to the program."""
