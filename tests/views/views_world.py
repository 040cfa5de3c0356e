"""A small bank for tests: a real log, owner, saga router and projector, driven in one thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from usance.adapters.sqlite_views import SqliteViews
from usance.aml.case import CaseDecider
from usance.aml.decision import ScreeningDecider
from usance.domain.deciders import DECIDERS
from usance.engine import genesis
from usance.engine.owner import schemas
from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.engine.projections.projection import Projection
from usance.engine.projections.projector import Projector
from usance.engine.reactors.reactor import Commands, Outgoing, Reactor
from usance.engine.reactors.saga import SagaDecider
from usance.engine.reactors.saga_steps import Definition
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock
from usance.kernel.decider import Actor
from usance.kernel.ids import RandomIds
from usance.log.contract import Log, TopicPartition
from usance.messages.catalogue import Catalogue, default
from usance.messages.envelope import Decoder, Encoder
from usance.testing.sim_log import SimulatedLog
from usance.testing.trade import MONDAY
from usance.views import PROJECTIONS
from usance.views.queries import Queries

MAKER = Actor("amara", "amara", "maker")
CHECKER = Actor("bruno", "bruno", "checker")
COMPLIANCE = Actor("elif", "elif", "compliance")
ENGINEER = Actor("henrik", "henrik", "engineer")


class World:
    """Everything over one log; `views` may be closed and opened again."""

    def __init__(
        self,
        folder: Path,
        *,
        log: Log | None = None,
        partitions: int = 2,
        projections: Sequence[Projection] = PROJECTIONS,
        definitions: tuple[Definition, ...] = (),
    ) -> None:
        self.folder = folder
        self.clock = BookClock(MONDAY)
        self.log: Log = log or SimulatedLog(self.clock)
        self.genesis = genesis.found(
            self.log,
            namespace="usance",
            partitions=partitions,
            clock="book",
            ids=RandomIds(),
            now=MONDAY,
        )
        self.topics = Topics("usance", partitions)
        self.catalogue: Catalogue = default()
        first = dict.fromkeys(self.topics.all_at("commands"), 0)
        self.log.set_positions(OWNER_GROUP, first)
        self.registry = schemas.load(self.log, self.topics, self.catalogue)
        self.decoder = Decoder(catalogue=self.catalogue, registry=self.registry)
        deciders = (*DECIDERS, CaseDecider(), ScreeningDecider(), SagaDecider(definitions))
        self.definitions = definitions
        self.deciders = {d.category: d for d in deciders}
        self.owner = Owner(
            self.log,
            self.topics,
            self.encoder(),
            self.decoder,
            deciders,
            log_id=self.genesis.log_id,
            book_clock=True,
            clock=self.clock,
        )
        self.owner.open()
        self.owner.register(schemas.missing(self.log, self.topics, self.catalogue))
        self.commands = Commands(self.log, self.topics, self.encoder(), book_clock=True)
        self.projections = projections
        self.sent = 0
        self.router: Reactor | None = None
        if definitions:
            from usance.sagas.reactions import SagaRouter

            names = [self.topics.name("trade", k) for k in ("events", "outcomes")]
            router = SagaRouter(definitions, self.decoder)
            self.router = Reactor(
                "sagas", self.log, names, router.react, self.commands, self.clock.now
            )
            self.router.open()
        self.views = SqliteViews(folder / "views.sqlite")
        self.projector = self.new_projector()
        self.projector.open()
        self.queries = self.new_queries()

    def encoder(self) -> Encoder:
        return Encoder(log_id=self.genesis.log_id, catalogue=self.catalogue, registry=self.registry)

    def new_projector(
        self, projections: Sequence[Projection] | None = None, **options: Any
    ) -> Projector:
        return Projector(
            self.log,
            self.topics,
            self.decoder,
            self.views,
            self.projections if projections is None else projections,
            log_id=self.genesis.log_id,
            **options,
        )

    def new_queries(self) -> Queries:
        return Queries(
            self.views,
            self.log,
            self.decoder,
            self.topics,
            self.deciders,
            definitions={d.name: d for d in self.definitions},
        )

    def send(
        self,
        key: str,
        command: Any,
        actor: Actor = MAKER,
        *,
        causation: str = "",
        command_id: str = "",
    ) -> str:
        """Append a command as an input of the API; nothing is decided yet."""
        self.sent += 1
        command_id = command_id or f"00000000-0000-5000-8000-{self.sent:012d}"
        outgoing = Outgoing(
            key,
            command,
            command_id,
            causation or f"api:{command_id}",
            actor=actor,
            instant=self.clock.now(),
        )
        self.commands.append([outgoing], self.clock.now())
        return command_id

    def settle(self) -> None:
        """Decide and route everything that waits; nothing is projected."""
        while True:
            done = self.owner.step()
            done += self.router.step() if self.router else 0
            if done == 0 and self.owner.idle():
                return

    def project(self) -> None:
        """Take everything in."""
        while self.projector.step():
            pass

    def run(self) -> None:
        """Decide, then project."""
        self.settle()
        self.project()

    def do(self, key: str, command: Any, actor: Actor = MAKER, **more: str) -> str:
        """Send, decide and project one command."""
        found = self.send(key, command, actor, **more)
        self.run()
        return found

    def events(self, context: str = "trade") -> list[tuple[str, Any]]:
        """Return (stream, event) of all events of a context, partition by partition."""
        found = []
        for partition in range(self.topics.partitions):
            place = self.topics.at(context, "events", partition)
            for record in self.log.scan(place, 0):
                message = self.decoder.message(record.headers, record.value)
                found.append(((record.key or b"").decode(), message))
        return found

    def place(self, key: str, kind: str = "events") -> TopicPartition:
        """Return the partition of a key."""
        where = self.topics.place(key)
        return self.topics.at(where.context, kind, where.partition)
