"""A log of payments into accounts, and a small projection of it, for the projector's tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from usance.engine.projections.projection import Fact, Projection, Rows, Table, numbers, texts
from usance.engine.projections.projector import Projector
from usance.engine.projections.reading import Views
from usance.engine.topics import Topics
from usance.kernel.clock import BookClock
from usance.kernel.decider import Actor
from usance.log.contract import Output, TopicPartition, TopicSettings
from usance.messages.catalogue import Catalogue
from usance.messages.envelope import Decoder, Encoder, InputPosition, Meta
from usance.messages.registry import RegistryState, plan
from usance.testing.sim_log import SimulatedLog

LOG_ID = "11111111-1111-4111-8111-111111111111"


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """Money came into an account."""

    amount: int


class Emptied(msgspec.Struct, frozen=True, kw_only=True):
    """An account was closed."""


ACCOUNTS = Table(
    "accounts",
    (*texts("key"), *numbers("balance", "payments")),
    key=("key",),
    indexes=(("balance",),),
    stream="key",
)
TOTALS = Table("totals", (*texts("of"), *numbers("amount")), key=("of",))


def paid_in(fact: Fact, rows: Rows) -> None:
    amount = fact.message.amount
    rows.add("accounts", (fact.key,), balance=amount, payments=1)
    rows.add("totals", ("all",), amount=amount)
    if amount < 0:
        raise ZeroDivisionError(amount)


def emptied(fact: Fact, rows: Rows) -> None:
    rows.delete("accounts", fact.key)


def projection(version: int = 1, name: str = "accounts") -> Projection:
    return Projection(name, version, (ACCOUNTS, TOTALS), {Paid: paid_in, Emptied: emptied})


class Bank:
    """A log with events of accounts, written straight into it."""

    def __init__(self, open_views: Callable[[], Views], partitions: int = 2) -> None:
        self.open_views = open_views
        self.log = SimulatedLog(BookClock(1_796_000_000_000))
        self.topics = Topics("usance", partitions)
        for settings_ in self.topics.settings():
            self.log.create_topic(settings_)
        self.log.create_topic(TopicSettings("other", "events", 1))
        catalogue = Catalogue()
        catalogue.register([(Paid, "event"), (Emptied, "event")])
        registry = RegistryState()
        for event in plan(catalogue, registry):
            registry.apply(event)
        self.decoder = Decoder(catalogue=catalogue, registry=registry)
        self.encoder = Encoder(log_id=LOG_ID, catalogue=catalogue, registry=registry)
        self.count: Counter[TopicPartition] = Counter()
        self.store = open_views()
        self.paid: Counter[str] = Counter()

    def place(self, key: str) -> TopicPartition:
        return self.topics.at("trade", "events", self.topics.place(key).partition)

    def output(self, key: str, event: Any) -> Output:
        place = self.place(key)
        number = self.count[place]
        self.count[place] += 1
        meta = Meta(
            tenant="t", actor=Actor("p", "l", "r"), correlation="c", causation="api:1",
            command_id=f"{key}:{number}", body_hash=bytes(32),
        )  # fmt: skip
        key_, value, headers, _ = self.encoder.event(
            event, meta, stream=key, ordinal=0, revision=number + 1, index=number,
            prev=bytes(32), instant=1_796_000_000_000 + number,
            input=InputPosition("usance.trade.commands", place.partition, number),
        )  # fmt: skip
        return Output(place.topic, place.partition, key_, value, headers)

    def pay(self, key: str, *amounts: int) -> None:
        self.log.append([self.output(key, Paid(amount=a)) for a in amounts])
        self.paid[key] += sum(amounts)

    def projector(self, *projections: Projection, **options: Any) -> Projector:
        made = Projector(
            self.log,
            self.topics,
            self.decoder,
            self.store,
            projections or (projection(),),
            log_id=LOG_ID,
            **options,
        )
        made.open()
        return made

    def balances(self) -> dict[str, int]:
        with self.store.reading() as reading:
            return {row["key"]: row["balance"] for row in reading.select("accounts")}

    def total(self) -> int:
        with self.store.reading() as reading:
            row = reading.get("totals", of="all")
        return row["amount"] if row else 0


def drain(projector: Projector) -> int:
    done = 0
    while worked := projector.step():
        done += worked
    return done


KEYS = [f"t/credit/{n}" for n in range(5)]
