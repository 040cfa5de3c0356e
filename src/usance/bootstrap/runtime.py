"""One process over one data folder: the parts, driven in one thread or each in its own."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Protocol

from usance.adapters.intake import intake_reaction
from usance.adapters.swift_files import FileDrop, FinOut, Loopback
from usance.aml.screening import Screener
from usance.bootstrap.backend import FolderElection
from usance.bootstrap.compiling import CompilingScreener
from usance.bootstrap.lists import ActiveLists
from usance.bootstrap.observing import exposition, hindrances
from usance.bootstrap.people import Directory, read_directory
from usance.bootstrap.proof.proof_serving import ProofDesk
from usance.bootstrap.proof.proving import Sealing, make_sealing
from usance.bootstrap.rereading import reread
from usance.bootstrap.rescreening import Again, make_rescreening
from usance.bootstrap.roles import ALL, INTAKE, NOTARY, OWNER, PROJECTOR, SAGA_ROUTER, WEB
from usance.bootstrap.standing import Standing, standing
from usance.bootstrap.store import (
    DEFINITIONS,
    Folder,
    Preview,
    Store,
    found_log,
    make_projector,
    make_queries,
    open_views,
    prepare_folder,
    reactor_topics,
)
from usance.bootstrap.vaults import placed
from usance.bootstrap.viewing import ViewsApart
from usance.config import Settings
from usance.crypto.vault import Vault
from usance.engine import collector
from usance.engine import genesis as birth
from usance.engine.gateway import Gateway, Replies, Waiters, append_and_wait
from usance.engine.logs import logger
from usance.engine.owner import schemas
from usance.engine.owner.gather import Pace
from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.engine.projections.projector import Projector
from usance.engine.proof.following import NOTARY_DESK_GROUP
from usance.engine.reactors.reactor import Outgoing, Reactor
from usance.engine.standby import PROJECTOR_GROUP, Election, GroupElection, Standby
from usance.engine.telemetry import SYSTEM, Telemetry
from usance.engine.upkeep import IntakeProgress, Upkeep
from usance.engine.vitals import Vitals
from usance.kernel.clock import BookClock, Clock, SystemClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Fenced, Refused, Tampered, Unavailable, UsanceError
from usance.kernel.ids import partition_of
from usance.log.contract import Membership, TopicPartition
from usance.messages.outcome import Outcome
from usance.messages.registry import RegistryState
from usance.sagas.fin_out import fin_reactions
from usance.sagas.reactions import REACTIONS, Reactions, SagaRouter, merged
from usance.sagas.screening import Screening
from usance.views.results import DeadLetterRow

PART_WAIT_S = 0.2
SCHEMAS_WAIT_S = 60.0
PART_RETRY_S = 0.5
PART_END_S = 10.0
DRIVE_STILL_S = 90.0
"""How long nothing may happen while there is something to do: longer than a dead member's session."""
SWITCH_INTERVAL_S = 0.0005

_log = logger("runtime")


class Part(Protocol):
    """Something that runs: `step` does one bounded piece of work."""

    def step(self, wait: float = 0.0) -> int:
        """Work, waiting at most `wait` seconds for some; returns how much was done."""
        ...


class KeyCare:
    """Lets go of data keys that were destroyed elsewhere, and says so."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self.vault = vault
        self.clock = clock
        vault.enter(f"{os.uname().nodename}:{os.getpid()}")

    def step(self, wait: float = 0.0) -> int:
        """Look once."""
        self.vault.tick()
        if wait > 0:
            self.clock.sleep(wait)
        return 0


class Runtime:
    """A process that runs some roles, or all of them, over one log and one data folder."""

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        clock: Clock | None = None,
        *,
        screener: Screener | None = None,
        roles: frozenset[str] = ALL,
        early: bool = False,
    ) -> None:
        """Open the log and make the parts; with `early` the owner decides while the others are being made."""
        # Parts hand work to each other through the log, and lists compile while the views open: no
        # thread must wait 5 ms for its turn.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.folder = folder
        self.settings = settings
        self.clock = clock or SystemClock()
        self.roles = roles
        self._given_screener = screener
        if settings.bootstrap_servers:
            prepare_folder(folder)
        else:
            _demand_all(roles)
            found_log(folder, settings, self.clock)
        # Proving is over sealed bytes: whoever does nothing else has no use for keys, and no right to them.
        proving, writes = roles == {NOTARY}, bool(roles - {NOTARY, PROJECTOR})
        self.store = Store(folder, settings, self.clock, owner=True, keyless=proving, writes=writes)
        self.telemetry = Telemetry(
            enabled=settings.telemetry.enabled,
            system="kafka" if settings.bootstrap_servers else SYSTEM,
        )
        end = _end_stuck if settings.bootstrap_servers else None
        self.vitals = Vitals(SystemClock(), settings.telemetry.stuck_after, end)
        self.directory: Directory = read_directory(folder.people)
        self.waiters = Waiters()
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.trouble: dict[str, str] = {}
        self.fatal: UsanceError | None = None
        self.lists: ActiveLists | None = None
        self.screener: CompilingScreener | None = None
        self.rescreening: Again | None = None
        self.standby: Standby | None = None
        self.sealing: Sealing | None = None
        self.desk: Standby | None = None
        self.reactors: dict[str, Reactor] = {}
        self.parts: dict[str, Part] = {}
        try:
            self._make_parts(early=early)
        except BaseException:
            self.stopping.set()
            for thread in self.threads:
                thread.join(PART_END_S)
            self.store.close()
            raise

    # -- parts

    def _make_parts(self, *, early: bool) -> None:
        store = self.store
        here = self._reply_partition()
        self.gateway = Gateway(store.commands(here), self.waiters, self.clock)
        self.views = open_views(self.folder, self.settings)
        self.queries = make_queries(store, self.views)
        self.projector: Projector | ViewsApart = make_projector(store, self.views)
        self.owner = self._owner()
        self.cards = store.cards
        self.drop = FileDrop(
            self.folder.gateway,
            store.log,
            store.topics,
            self.clock,
            cards=self.cards,
            raw=store.raw,
        )
        self.fin_out = FinOut(
            self.folder.gateway, store.decoder, store.history, keeps=store.raw is None
        )
        if OWNER in self.roles:
            self.owner.open()
        self._await_schemas()
        if OWNER in self.roles and early:
            self._begin("owner", self.owner)
        if WEB in self.roles:
            self.parts["gateway"] = self.gateway
            if here is not None:
                self.parts["replies"] = Replies(
                    store.log, store.topics, store.decoder, here, self.waiters
                )
        if INTAKE in self.roles:
            self._make_intake()
        if OWNER in self.roles:
            self.parts["owner"] = self.owner
        if INTAKE in self.roles:
            self.parts["intake"] = self.reactors["intake"]
        if SAGA_ROUTER in self.roles:
            self._make_reactors()
        if PROJECTOR in self.roles:
            self._make_projector()
        if store.genesis.clock == "log":
            self._make_upkeep()
        if store.vault is not None:
            self.parts["keys"] = KeyCare(store.vault, SystemClock())
        if NOTARY in self.roles and self.settings.proof.enabled:
            self._make_notary()

    def _await_schemas(self) -> None:
        """Wait until the log holds this program's schemas: nothing may be written before.

        While an older program owns system partition 0 it registers them on request. Raises Unavailable
        where nobody does.
        """
        store = self.store
        wait = partial(schemas.pending, store.log, store.topics, store.catalogue, store.ids)
        deadline = self.clock.monotonic() + SCHEMAS_WAIT_S
        asked = False
        while due := wait():
            if self.clock.monotonic() > deadline:
                raise Unavailable(
                    f"{len(due)} schemas of this version are not registered yet",
                    hint="Start an owner, or look why that of system partition 0 refuses them:"
                    " `usance schema gate`.",
                )
            if not asked and not store.keyless:
                asked = True
                tenant, log_id = self.settings.bank.tenant, store.genesis.log_id
                given = store.ids is not None
                wanted = schemas.requests(store.topics, tenant, log_id, due, given=given)
                store.commands().append([*wanted], self.clock.now())
            if OWNER in self.roles:
                self.owner.attend()
            self.clock.sleep(PART_WAIT_S)
        schemas.demand_ids(store.log, store.topics, store.catalogue, store.registry)

    def _reply_partition(self) -> int | None:
        """Return where outcomes decided by other processes come; None where there are none.

        Gateways may share a partition: each passes over what it does not wait for.
        """
        if WEB not in self.roles or not self.settings.bootstrap_servers:
            return None
        return partition_of(self.settings.kafka.slot, self.store.topics.partitions)

    def _make_intake(self) -> None:
        bank = self.settings.bank
        self.parts["file-drop"] = self.drop
        people, raw = self.directory.roles(), self.store.raw
        react = intake_reaction(bank.tenant, bank.bic, people=people, cards=self.cards, raw=raw)
        self._reactor("intake", react)
        if self.settings.gateway.loopback:
            self.parts["loopback"] = Loopback(
                self.folder.gateway, self.clock, keeps=self.store.raw is None
            )

    def _make_projector(self) -> None:
        """Keep the views: here alone, or by one of the processes over one data folder."""
        if self.settings.bootstrap_servers:
            election = self._election()
            self.standby = Standby(self.projector, election, self.clock)
            self.parts["projector"] = self.standby
            self.standby.step()
        else:
            self.projector.open()
            self.parts["projector"] = self.projector

    def _election(self) -> Election:
        """Return who keeps the views: a folder's by its lock, a server's by the consumer group."""
        if self.settings.views == "sqlite":
            return FolderElection(self.folder.root)
        place = self.store.topics.at("system", "schemas", 0)
        return GroupElection(PROJECTOR_GROUP, self.store.log, place)

    def _make_reactors(self) -> None:
        store = self.store
        self.lists = ActiveLists(
            store.lists(), SystemClock(), cache=self.folder.cache, given=self._given_screener
        )
        self.screener = self.lists.screener
        table = merged(REACTIONS, fin_reactions(self.settings.bank.bic))
        router = SagaRouter(DEFINITIONS, store.decoder)
        self._reactor("sagas", router.react)
        self._reactor("reactions", Reactions(table, store.decoder, store.history).react)
        screening = Reactions(Screening(self.screener).table(), store.decoder, store.history)
        self._reactor("screening", screening.react)
        self._reactor("fin-out", self.fin_out.react)
        self.parts["lists"] = self.lists
        made = make_rescreening(store, self.lists, self.clock)
        self.rescreening = self.parts["rescreening"] = made
        self.parts |= {n: r for n, r in self.reactors.items() if n != "intake"}

    def _make_notary(self) -> None:
        """Seal the log: last in line, so that what the others write in a round is sealed with it."""
        store = self.store
        sealing = self.sealing = make_sealing(store, self.settings, SystemClock())
        self.parts["notary"] = sealing.notary
        if self.settings.bootstrap_servers:
            place = store.topics.at("system", "schemas", 0)
            election = GroupElection(NOTARY_DESK_GROUP, store.log, place)
            self.desk = self.parts["notary"] = Standby(sealing.notary, election, self.clock)
        self.parts["attestor"] = sealing.attestor
        if store.genesis.clock == "log":
            self.parts["receipts"] = sealing.receipts

    def _make_upkeep(self) -> None:
        store = self.store
        if not self.settings.bootstrap_servers:  # a cluster looks after its topics itself
            groups = (OWNER_GROUP, "usance-intake")
            self.parts["upkeep"] = Upkeep(store.log, self.clock, groups, self._taken_in)
        if INTAKE in self.roles:
            self.parts["intake-progress"] = IntakeProgress(
                store.log,
                store.topics,
                store.commands(),
                self.clock,
                "usance-intake",
                self.owner.deadline_waits if OWNER in self.roles else lambda: True,
            )

    def _taken_in(self, place: TopicPartition) -> int | None:
        return self.projector.taken_in(place)

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
            schemas_due=lambda: schemas.missing(
                store.log, store.topics, store.catalogue, store.ids
            ),
            pace=Pace() if self.settings.owner.gather and self.settings.bootstrap_servers else None,
            alive=lambda: self.vitals.beat("owner"),
        )

    def _reactor(self, name: str, react: Callable[[Any], list[Outgoing]]) -> None:
        store = self.store
        followed = reactor_topics(store.topics)[name]
        reactor = self.reactors[name] = Reactor(
            f"usance-{name}",
            store.log,
            followed,
            react,
            store.commands(),
            self.clock.now,
            self.telemetry,
            store.topics.partitions,
        )
        reactor.with_keys = store.decoder.with_keys
        reactor.open()

    @property
    def genesis(self) -> birth.Genesis:
        """The log's birth record."""
        return self.store.genesis

    @property
    def registry(self) -> RegistryState:
        """The schemas of the log's records."""
        return self.store.registry

    def preview(self, key: str, command: Any, actor: Actor) -> Preview:
        """Return what a command would do now; records nothing."""
        return self.store.preview(key, command, actor)

    def standing(self) -> Standing:
        """Return what this process is and does: its log, roles, partitions, parts, codec, lists."""
        return standing(self)

    @cached_property
    def proofs(self) -> ProofDesk:
        """The proof of the log, for its readers."""
        return ProofDesk(self.store, self.folder, self.settings, lambda: self.sealing)

    def reread(self, row: DeadLetterRow, actor: Actor) -> Outgoing:
        """Return the command of an input that can be read now; raises Unreadable or Refused."""
        return reread(self.store, self.settings.bank, row, actor)

    # -- one thread

    def drive(self, *, rounds_max: int = 100_000) -> int:
        """Run all parts in this thread until none has work; returns how much was done.

        Each part goes on until it has nothing left before the next one begins, and each unit is durable
        before more is read: the order of what they write depends on their input alone, so that a
        book played twice gives the same streams. What waits by itself is tried anew at once; raises
        Unavailable where it waits on.
        """
        done, owner, clock = 0, self.owner, SystemClock()
        owner.try_again()
        until = clock.monotonic() + DRIVE_STILL_S
        for _ in range(rounds_max):
            worked = sum(self._exhaust(part, rounds_max) for part in self.parts.values())
            done += worked
            if worked:
                until = clock.monotonic() + DRIVE_STILL_S
            elif owner.idle():
                return done
            elif owner.rests.any() or owner.paused or clock.monotonic() > until:
                hint = "`usance lag` shows where; a partition that stopped goes on after a repair."
                raise Unavailable(owner.held_up(), hint=hint)
        raise Unavailable(
            "the parts did not come to rest", hint="Look at `usance saga list` for a loop."
        )

    def _exhaust(self, part: Part, steps_max: int) -> int:
        done = 0
        member: Membership | None = getattr(part, "member", None)
        for _ in range(steps_max):
            worked = part.step(0.0)
            if part is self.owner:
                worked += self.owner.settle()
            # A cluster's records may be on their way: an empty read alone is not rest.
            if worked == 0 and (member is None or self.store.log.exhausted(member)):
                break
            if worked == 0:
                worked = part.step(PART_WAIT_S)
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

    def start(self, *, views_apart: bool = False) -> None:
        """Give each part a thread; `views_apart` gives the read models a process."""
        views_apart = views_apart and self._opens_alone()
        if views_apart and PROJECTOR in self.roles and not self.settings.bootstrap_servers:
            self.projector.close()
            self.projector = self.parts["projector"] = ViewsApart(self.store, self.views)
        collector.relax()
        begun = {thread.name for thread in self.threads}
        for name, part in self.parts.items():
            if name not in begun:
                self._begin(name, part)
        watch = threading.Thread(
            target=self.vitals.watch, args=(self.stopping,), name="vitals", daemon=True
        )
        watch.start()
        self.threads.append(watch)

    def _begin(self, name: str, part: Part) -> None:
        thread = threading.Thread(target=self._run, args=(name, part), name=name, daemon=True)
        thread.start()
        self.threads.append(thread)  # only what runs: health asks whether all of these live

    def _opens_alone(self) -> bool:
        """Tell whether another process can open the data keys without asking a person."""
        if self.store.genesis.clear_blocks or not self.settings.keys.service.startswith("file:"):
            return True
        return bool(placed(self.settings, self.folder.root).keys.secret_file)

    def _run(self, name: str, part: Part) -> None:
        while not self.stopping.is_set():
            self.vitals.beat(name)
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
        owner = self.owner
        paused = {f"{p.context}.p{p.partition}": why for p, why in owner.paused.items()}
        stuck = self.vitals.stuck()
        lag = self.projector.lag()
        waits_for = hindrances(self, lag)
        return {
            "ready": not waits_for,
            "live": not stuck and all(t.is_alive() for t in self.threads),
            "waits_for": waits_for,
            "stuck": {part: round(age) for part, age in stuck.items()},
            "roles": sorted(self.roles),
            "owner": {
                "units": owner.units,
                "decided": owner.decided,
                "partitions": len(owner.states),
                "role": "owns" if owner.states else "standby",
                "paused": paused,
            },
            "projector_lag": lag,
            "trouble": {**self._objections(), **self.trouble},
            "log_id": self.store.genesis.log_id,
            "clock": self.store.genesis.clock,
            "now": self.clock.now(),
        }

    def metrics(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return exposition(self)

    def _objections(self) -> dict[str, str]:
        """Return what single files wait for, and bounds that were reached: all else goes on."""
        told = {
            "file-drop": self.drop.trouble,
            "fin-out": self.fin_out.trouble,
            "history": self.store.history.trouble,
            "owner": self.owner.trouble,
        }
        if self.lists is not None:
            told["lists"] = self.lists.trouble
        if self.sealing is not None:
            told["attestor"] = self.sealing.attestor.trouble
            told["receipts"] = self.sealing.receipts.trouble
        return {name: why for name, why in told.items() if why}

    def close(self, *, clean: bool = True) -> None:
        """Finish the unit under way, leave all groups, close log and views."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(PART_END_S)
        self.owner.close(clean=clean)
        for reactor in self.reactors.values():
            reactor.close()
        self._close_sealing(clean=clean)
        if self.rescreening is not None:
            self.rescreening.close()
        (self.standby or self.projector).close()
        self.views.close()
        self.store.close()

    def _close_sealing(self, *, clean: bool) -> None:
        """Seal what is left, unless the log is not what was sealed: then a person must look first."""
        if self.sealing is None:
            return
        try:
            if clean and not isinstance(self.fatal, Tampered):
                self.sealing.close()
            else:
                self.sealing.release()
        except UsanceError as trouble:
            self.trouble["notary"] = f"{trouble.message} {trouble.hint}"
            _log.error("part_stopped", part="notary", error_type=type(trouble).__name__)
        if self.desk is not None:
            self.desk.election.close()


def _end_stuck(part: str, age: float) -> None:
    """End the process at once: its supervisor starts it again, and the log tells where it stood."""
    _log.error("part_stopped", part=part, error_type="Stuck", duration_ms=round(age * 1_000))
    sys.stderr.write(
        f"{part} has been stuck for {age:.0f} s: this process ends, to be started again.\n"
    )
    sys.stderr.flush()
    os._exit(Unavailable.exit_code)


def _demand_all(roles: frozenset[str]) -> None:
    if roles != ALL:
        raise Refused(
            "ROLES_NEED_KAFKA",
            "an embedded log is owned by one process, which runs every role",
            hint="Leave --role out, or name a cluster: --log kafka://HOST:PORT.",
        )
