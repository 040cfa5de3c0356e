"""One process over one data folder: the parts, driven in one thread or each in its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from usance.adapters.intake import intake_reaction
from usance.adapters.sqlite_views import SqliteViews
from usance.adapters.swift_files import FileDrop, FinOut, Loopback
from usance.aml.screening import Screener, open_screener
from usance.bootstrap.compiling import CompilingScreener
from usance.bootstrap.lists import active_lists
from usance.bootstrap.people import Directory, read_directory
from usance.bootstrap.store import (
    DEFINITIONS,
    Folder,
    Preview,
    Store,
    found_log,
    make_projector,
    make_queries,
)
from usance.config import Settings
from usance.engine import collector, schemas
from usance.engine import genesis as birth
from usance.engine.gateway import Gateway, Waiters, append_and_wait
from usance.engine.logs import logger
from usance.engine.owner import OWNER_GROUP, Owner
from usance.engine.reactor import Outgoing, Reactor
from usance.engine.telemetry import Telemetry
from usance.engine.upkeep import IntakeProgress, Upkeep
from usance.kernel.clock import BookClock, Clock, SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Fenced, Tampered, Unavailable, UsanceError
from usance.messages.outcome import Outcome
from usance.sagas.fin_out import fin_reactions
from usance.sagas.reactions import REACTIONS, Reactions, SagaRouter, merged
from usance.sagas.screening import Screening

PART_WAIT_S = 0.2
PART_RETRY_S = 0.5
SWITCH_INTERVAL_S = 0.0005

_log = logger("runtime")


class Part(Protocol):
    """Something that runs: `step` does one bounded piece of work."""

    def step(self, wait: float = 0.0) -> int:
        """Work, waiting at most `wait` seconds for some; returns how much was done."""
        ...


class Runtime:
    """The owner's process: every part of it over one data folder."""

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        clock: Clock | None = None,
        *,
        screener: Screener | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = clock or SystemClock()
        found_log(folder, settings, self.clock)
        self.store = Store(folder, settings, self.clock, owner=True)
        self.telemetry = Telemetry(enabled=settings.telemetry.enabled)
        self.directory: Directory = read_directory(folder.people)
        self.screener = CompilingScreener(
            lambda: screener or open_screener(active_lists(folder.root), cache=folder.cache)
        )
        self.waiters = Waiters()
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.trouble: dict[str, str] = {}
        self.fatal: UsanceError | None = None
        try:
            self._make_parts()
        except BaseException:
            self.store.log.close()
            raise

    # -- parts

    def _make_parts(self) -> None:
        store, settings = self.store, self.settings
        self.owner = self._owner()
        self.owner.open()
        self.owner.register(schemas.missing(store.log, store.topics, store.catalogue))
        self.gateway = Gateway(store.commands(), self.waiters, self.clock)
        self.drop = FileDrop(self.folder.gateway, store.log, store.topics, self.clock)
        events = [store.topics.name(c, "events") for c in ("trade", "compliance")]
        outcomes = [store.topics.name("trade", "outcomes")]
        trade = [store.topics.name("trade", "events")]
        intake = intake_reaction(
            settings.bank.tenant, settings.bank.bic, people=self.directory.roles()
        )
        router = SagaRouter(DEFINITIONS, store.decoder)
        table = merged(REACTIONS, fin_reactions(settings.bank.bic))
        self.fin_out = FinOut(self.folder.gateway, store.decoder, store.history)
        self.reactors = {
            "intake": self._reactor("intake", [store.topics.name("trade", "intake")], intake),
            "sagas": self._reactor("sagas", [*trade, *outcomes], router.react),
            "reactions": self._reactor(
                "reactions", events, Reactions(table, store.decoder, store.history).react
            ),
            "screening": self._reactor(
                "screening",
                trade,
                Reactions(Screening(self.screener).table(), store.decoder, store.history).react,
            ),
            "fin-out": self._reactor("fin-out", trade, self.fin_out.react),
        }
        self.views = SqliteViews(self.folder.views)
        self.projector = make_projector(store, self.views)
        self.projector.open()
        self.queries = make_queries(store, self.views)
        self.parts: dict[str, Part] = {
            "gateway": self.gateway,
            "file-drop": self.drop,
            "owner": self.owner,
            **self.reactors,
            "projector": self.projector,
        }
        if self.store.genesis.clock == "log":
            self.parts["upkeep"] = Upkeep(store.log, self.clock, (OWNER_GROUP, "usance-intake"))
            self.parts["intake-progress"] = IntakeProgress(
                store.log,
                store.topics,
                store.commands(),
                self.clock,
                "usance-intake",
                self.owner.deadline_waits,
            )
        if settings.gateway.loopback:
            self.parts["loopback"] = Loopback(self.folder.gateway, self.clock)

    def _owner(self) -> Owner:
        store = self.store
        return Owner(
            store.log,
            store.topics,
            store.encoder(),
            store.decoder,
            store.deciders.values(),
            log_id=store.genesis.log_id,
            book_clock=store.genesis.clock == "book",
            clock=self.clock,
            telemetry=self.telemetry,
            batch_max=self.settings.owner.batch_max,
            on_outcomes=self.waiters.resolve,
            awaits_intake=store.genesis.clock == "log",
        )

    def _reactor(
        self, name: str, topics: Iterable[str], react: Callable[[Any], list[Outgoing]]
    ) -> Reactor:
        reactor = Reactor(
            f"usance-{name}", self.store.log, topics, react, self.store.commands(), self.clock.now
        )
        reactor.open()
        return reactor

    @property
    def genesis(self) -> birth.Genesis:
        """The log's birth record."""
        return self.store.genesis

    def preview(self, key: str, command: Any, actor: Actor) -> Preview:
        """Return what a command would do now; records nothing."""
        return self.store.preview(key, command, actor)

    # -- one thread

    def drive(self, *, rounds_max: int = 100_000) -> int:
        """Run all parts in this thread until none has work; returns how much was done.

        Each part goes on until it has nothing left before the next one begins, and each unit is durable
        before more is read: the order of what they write depends on their input alone, so that a
        book played twice gives the same streams.
        """
        done = 0
        for _ in range(rounds_max):
            worked = sum(self._exhaust(part, rounds_max) for part in self.parts.values())
            done += worked
            if worked == 0 and self.owner.idle():
                return done
        raise Unavailable(
            "the parts did not come to rest", hint="Look at `usance saga list` for a loop."
        )

    def _exhaust(self, part: Part, steps_max: int) -> int:
        done = 0
        for _ in range(steps_max):
            worked = part.step(0.0)
            if part is self.owner:
                worked += self.owner.settle()
            if worked == 0:
                break
            done += worked
        return done

    def run_until(self, instant: int) -> None:
        """Move a book clock to an instant, firing the timers on the way in their order."""
        assert isinstance(self.clock, BookClock), "only a book clock can be moved"
        self.drive()
        while (due := self.owner.next_due()) is not None and due <= instant:
            self.clock.advance_to(due)
            self.drive()
        self.clock.advance_to(instant)

    def ask(self, outgoing: Outgoing, timeout: float = 30.0) -> Outcome:
        """Append a command and drive all parts until its outcome is durable."""
        return append_and_wait(
            self.store.log,
            self.store.topics,
            self.gateway.commands,
            self.store.decoder,
            outgoing,
            self.clock.now(),
            step=self.drive,
            timeout=timeout,
            clock=self.clock,
        )

    # -- threads

    def start(self) -> None:
        """Give each part a thread."""
        # Parts hand work to each other through the log: a thread must not wait 5 ms for its turn.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        collector.relax()
        for name, part in self.parts.items():
            thread = threading.Thread(target=self._run, args=(name, part), name=name, daemon=True)
            thread.start()
            self.threads.append(thread)  # only what runs: health asks whether all of these live

    def _run(self, name: str, part: Part) -> None:
        while not self.stopping.is_set():
            try:
                part.step(PART_WAIT_S)
                self.trouble.pop(name, None)
            except (Fenced, Tampered) as stop:
                self.trouble[name] = f"{stop.message} {stop.hint}"
                self.fatal = stop
                _log.error("part_stopped", part=name, error_type=type(stop).__name__)
                self.stopping.set()
            except Unavailable as trouble:
                self.trouble[name] = f"{trouble.message} {trouble.hint}"
                _log.warning("part_waits", part=name, error_type=type(trouble).__name__)
                self.stopping.wait(PART_RETRY_S)
            except Exception as bug:  # noqa: BLE001  one part's bug must not end the others
                self.trouble[name] = f"{type(bug).__name__}: see the logs"
                _log.exception("part_failed", part=name, error_type=type(bug).__name__)
                self.stopping.wait(PART_RETRY_S)

    def health(self) -> dict[str, Any]:
        """Return what the light shows: log, owner, lags, trouble."""
        paused = {f"{p.context}.p{p.partition}": why for p, why in self.owner.paused.items()}
        alive = not self.threads or all(t.is_alive() for t in self.threads)
        return {
            "ready": self.screener.ready
            and alive
            and not self.trouble
            and not paused
            and not self.stopping.is_set(),
            "live": alive,
            "owner": {"units": self.owner.units, "decided": self.owner.decided, "paused": paused},
            "projector_lag": self.projector.lag(),
            "trouble": {**self._objections(), **self.trouble},
            "log_id": self.store.genesis.log_id,
            "clock": self.store.genesis.clock,
            "now": self.clock.now(),
        }

    def _objections(self) -> dict[str, str]:
        """Return what single files wait for: everything else goes on meanwhile."""
        told = {"file-drop": self.drop.trouble, "fin-out": self.fin_out.trouble}
        return {name: why for name, why in told.items() if why}

    def close(self, *, clean: bool = True) -> None:
        """Finish the unit under way, leave all groups, close log and views."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=10.0)
        self.owner.close(clean=clean)
        for reactor in self.reactors.values():
            reactor.close()
        self.projector.close()
        self.views.close()
        self.store.log.close()
