"""A toy aggregate (a purse) and a log around it: everything the engine's tests need, nothing of the trade."""

from __future__ import annotations

import copy
import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.adapters.sqlite_log import SqliteLog
from usance.engine import genesis
from usance.engine.control import Discard, Redrive
from usance.engine.owner.owner import OWNER_GROUP, Owner
from usance.engine.reactors.reactor import Commands, Outgoing
from usance.engine.topics import Place, Topics
from usance.kernel.clock import Clock
from usance.kernel.decider import NOTHING, Actor, Context, Decision, Refusal, Send
from usance.kernel.ids import RandomIds, sequence_ids
from usance.kernel.timers import TimerCancelled, TimerDue, TimerFired, TimerSet
from usance.kernel.words import Words
from usance.log.contract import Log, Output, Record
from usance.messages.catalogue import Catalogue, build
from usance.messages.envelope import Decoder, Encoder
from usance.messages.outcome import Outcome
from usance.messages.registry import registered
from usance.testing.verify import Verdict, verify_log

NOON = 1_795_521_600_000
DAY = 86_400_000
CLERK = Actor("p-1", "clerk", "officer")


class Pay(msgspec.Struct, frozen=True, kw_only=True):
    """Put money in."""

    amount: int


class PayAt(msgspec.Struct, frozen=True, kw_only=True):
    """Put money in when a timer fires."""

    timer: str
    due: int
    amount: int


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """Pay in, and pay as much into another purse."""

    amount: int
    to: str


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """Meet a bug of the given kind, unless it was repaired."""

    kind: str


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """Money was put in."""

    amount: int
    balance: int


class Odd(msgspec.Struct, frozen=True, kw_only=True):
    """An event that evolve cannot fold."""

    kind: str


class Purse(msgspec.Struct):
    """The balance, and what each armed timer will pay."""

    balance: int = 0
    planned: dict[str, int] = {}


class Repairs:
    """What of the toy was repaired: as a new release would."""

    def __init__(self) -> None:
        self.bugs = False


class PurseDecider:
    """Decides purses; `Break` misbehaves on order."""

    category = "purse"
    fold_id = "purse-1"

    def __init__(self, repairs: Repairs | None = None) -> None:
        self.repairs = repairs or Repairs()

    def initial(self, key: str) -> Purse:
        return Purse()

    def decide(self, state: Purse, command: Any, context: Context) -> Decision | Refusal:
        if isinstance(command, Pay):
            return self._pay(state, command.amount)
        if isinstance(command, Forward):
            paid = self._pay(state, command.amount)
            sends = (Send(command.to, Pay(amount=command.amount)),)
            return paid if isinstance(paid, Refusal) else Decision(paid.events, sends)
        if isinstance(command, PayAt):
            armed = TimerSet(timer_id=command.timer, due=command.due, reason=str(command.amount))
            return Decision((armed,))
        if isinstance(command, TimerDue):
            return self._pay(state, int(command.reason))
        return self._break(command)

    def _pay(self, state: Purse, amount: int) -> Decision | Refusal:
        if amount < 0:
            return Refusal("NEGATIVE", "A payment is positive.", hint="Send a positive amount.")
        if amount == 0:
            return NOTHING
        return Decision((Paid(amount=amount, balance=state.balance + amount),))

    def _break(self, command: Break) -> Decision | Refusal:
        if command.kind == "kill" and not self.repairs.bugs:
            os.kill(os.getpid(), signal.SIGKILL)
        if command.kind == "hang" and not self.repairs.bugs:
            threading.Event().wait()
        if command.kind == "evolve":
            return Decision((Odd(kind="evolve"),))
        if command.kind == "huge" and not self.repairs.bugs:
            return Decision((Odd(kind="x" * 5_000_000),))
        if not self.repairs.bugs:
            raise ZeroDivisionError(command.kind)
        return Decision((Paid(amount=1, balance=-1),))

    def evolve(self, state: Purse, event: Any) -> Purse:
        new = copy.copy(state)
        if isinstance(event, Paid):
            new.balance = state.balance + event.amount
        elif isinstance(event, TimerSet):
            new.planned = {**state.planned, event.timer_id: int(event.reason)}
        elif isinstance(event, TimerFired | TimerCancelled):
            new.planned = {k: v for k, v in state.planned.items() if k != event.timer_id}
        elif isinstance(event, Odd) and event.kind == "evolve":
            raise LookupError("evolve")
        return new


MESSAGES = (
    (Pay, "command"),
    (PayAt, "command"),
    (Forward, "command"),
    (Break, "command"),
    (Paid, "event"),
    (Odd, "event"),
)


def catalogue() -> Catalogue:
    """Return the engine's own messages and the toy's."""
    found = build(("usance.engine.control",))
    found.register(MESSAGES)
    return found


CATALOGUE = catalogue()


class World:
    """A log with its topics, and owners that come and go."""

    def __init__(
        self, log: Log, clock: Clock, *, book: bool = False, partitions: int = 1, batch: int = 100
    ) -> None:
        self.log = log
        self.clock = clock
        self.batch = batch
        self.wait = 0.0
        self.repairs = Repairs()
        self.deciders: list[Any] = [PurseDecider(self.repairs)]
        found = genesis.read(log, "usance")
        if found is None:
            found = self._found("book" if book else "log", partitions)
        self.genesis = found
        self.topics = Topics("usance", found.partitions)
        registry = registered(CATALOGUE)
        self.encoder = Encoder(log_id=found.log_id, catalogue=CATALOGUE, registry=registry)
        self.decoder = Decoder(catalogue=CATALOGUE, registry=registry)
        self.commands = Commands(log, self.topics, self.encoder, book_clock=found.clock == "book")
        self.resolved: list[tuple[str, Outcome]] = []

    def _found(self, clock: str, partitions: int) -> genesis.Genesis:
        class Fixed:
            def fresh(self) -> str:
                return "6f1c3c0e-8a57-5d0a-9d51-5c7b1f0d2a11"

        now = self.clock.now()
        made = genesis.found(
            self.log, namespace="usance", partitions=partitions, clock=clock, ids=Fixed(), now=now
        )
        topics = Topics("usance", partitions)
        places = topics.all_at("commands")
        self.log.set_positions(OWNER_GROUP, dict.fromkeys(places, 0))
        return made

    # -- owners

    def owner(self, *, batch: int | None = None, alone: bool = True) -> Owner:
        """Return an opened owner, as a starting process has it; `alone` it has every partition."""
        owner = Owner(
            self.log,
            self.topics,
            Encoder(
                log_id=self.genesis.log_id, catalogue=CATALOGUE, registry=self.encoder.registry
            ),
            self.decoder,
            self.deciders,
            log_id=self.genesis.log_id,
            book_clock=self.genesis.clock == "book",
            clock=self.clock,
            batch_max=batch or self.batch,
            on_outcomes=self.resolved.extend,
        )
        owner.open()
        while alone and len(owner.states) < len(self.topics.places()):
            owner.step(self.wait)  # a cluster takes a moment to hand partitions out
        return owner

    def settle(self, owner: Owner, steps: int = 10_000) -> None:
        """Step an owner until it rests."""
        for _ in range(steps):
            if owner.step(self.wait) == 0 and owner.idle():
                return
        raise AssertionError("the owner did not come to rest")

    # -- commands

    def send(
        self,
        key: str,
        command: Any,
        command_id: str,
        *,
        at: int | None = None,
        actor: Actor = CLERK,
    ) -> None:
        """Append one command."""
        outgoing = Outgoing(f"t/purse/{key}", command, command_id, "test", actor=actor, instant=at)
        self.commands.append([outgoing], self.clock.now())

    def pay(self, key: str, amounts: Iterable[int], prefix: str = "") -> None:
        """Append payments with ids made from key, prefix and number."""
        now = self.clock.now()
        found = [
            Outgoing(f"t/purse/{key}", Pay(amount=a), f"{prefix}{key}-{n}", "test", actor=CLERK)
            for n, a in enumerate(amounts)
        ]
        self.commands.append(found, now)

    def raw(self, key: str, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Append bytes that no encoder made."""
        place = self.topics.place(f"t/purse/{key}")
        topic = self.topics.name("trade", "commands")
        self.log.append([Output(topic, place.partition, f"t/purse/{key}".encode(), value, headers)])

    def redrive(self, letter: str, key: str, command_id: str, reason: str = "repaired") -> None:
        """Ask for a dead letter to be tried again."""
        self.send(
            key,
            Redrive(dead_letter_id=letter, dead_letter_index=0, reason=Words(text=reason)),
            command_id,
        )

    def discard(self, letter: str, key: str, command_id: str) -> None:
        """Give a dead letter up."""
        self.send(
            key,
            Discard(dead_letter_id=letter, dead_letter_index=0, reason=Words(text="no")),
            command_id,
        )

    # -- what is there

    def records(self, kind: str, partition: int = 0) -> list[Record]:
        """Return the committed records of a trade topic."""
        tp = self.topics.at("trade", kind, partition)
        return list(self.log.scan(tp, self.log.begin(tp), self.log.end(tp)))

    def outcomes(self, command_id: str) -> list[Outcome]:
        """Return every outcome of a command id, in order."""
        found = []
        for partition in range(self.topics.partitions):
            for record in self.records("outcomes", partition):
                message = self.decoder.message(record.headers, record.value)
                if isinstance(message, Outcome) and message.command_id == command_id:
                    found.append(message)
        return found

    def answers(self, command_id: str) -> list[str]:
        """Return the answers given to a command id, in order."""
        return [o.answer for o in self.outcomes(command_id)]

    def letters(self) -> list[tuple[str, str]]:
        """Return (dead letter id, class) of every dead letter."""
        found = []
        for partition in range(self.topics.partitions):
            for record in self.records("dead-letters", partition):
                names = dict(record.headers)
                found.append((names["usance-dlq-id"].decode(), names["usance-dlq-class"].decode()))
        return found

    def verdict(self) -> Verdict:
        """Verify the whole log; fails on any violation."""
        deciders = {d.category: d for d in self.deciders}
        found = verify_log(self.log, self.topics, self.decoder, deciders, self.genesis.log_id)
        assert found.violations == 0, found.words
        return found

    def balances(self) -> dict[str, int]:
        """Return the balances that the events fold to."""
        states = self.verdict().states
        return {key.rpartition("/")[2]: state.balance for key, state in states.items()}

    def dump(self) -> dict[tuple[str, int], list[tuple[Any, ...]]]:
        """Return the written topics without offsets and timestamps: what two runs can be compared by."""
        found = {}
        for kind in ("events", "outcomes", "dead-letters", "parked"):
            for tp in self.topics.all_at(kind):
                records = self.log.scan(tp, self.log.begin(tp), self.log.end(tp))
                found[tp.topic, tp.partition] = [(r.key, r.value, r.headers) for r in records]
        return found


def memory(owner: Owner) -> dict[Place, Any]:
    """Return what an owner remembers, comparable between owners."""
    return {
        place: (
            {
                k: (msgspec.msgpack.encode(e.state), e.revision, e.recent, e.timers)
                for k, e in state.entries.items()
            },
            state.answers,
            state.parks,
            state.dead_letters,
            state.timers,
            state.tails,
            state.scalars,
        )
        for place, state in owner.states.items()
    }


def sqlite_world(folder: Path, clock: Clock, **more: Any) -> World:
    """Return a world on the embedded log."""
    ids = sequence_ids("t")

    class Ids:
        def fresh(self) -> str:
            return ids()

    return World(SqliteLog.open(folder / "log.sqlite", clock=clock, ids=Ids()), clock, **more)


def kafka_world(kafka: str, clock: Clock, **more: Any) -> World:
    """Return a world on a broker, under a prefix that this test alone uses."""
    return on_broker(kafka, f"{RandomIds().fresh()[-12:]}-", "", clock, **more)


def on_broker(
    kafka: str, prefix: str, instance: str, clock: Clock, *, copies: int = 1, **more: Any
) -> World:
    """Return the world that has this prefix on a broker, as a process with a slot opens it."""
    settings = KafkaSettings(
        bootstrap=kafka,
        prefix=prefix,
        slot=instance or "0",
        instance=instance,
        replication=copies,
        min_insync=min(2, copies),
    )
    world = World(KafkaLog.open(settings, clock=clock), clock, **more)
    world.wait = 0.05
    return world
