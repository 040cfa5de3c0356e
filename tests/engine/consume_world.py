"""A log with topics of its own and consumers over it, on either log: what the consumer's tests need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from usance.bootstrap.consuming import consume
from usance.engine.control import Discard, Redrive, Release
from usance.engine.groups import groups
from usance.engine.groups.consumer import Consumer
from usance.engine.groups.consuming import Delivery, Emit, Retry
from usance.kernel.clock import BookClock
from usance.kernel.decider import Actor
from usance.kernel.words import Words
from usance.log.contract import Log, Output, Record, TopicPartition, TopicSettings
from usance.messages.catalogue import build
from usance.messages.envelope import Decoder, Encoder
from usance.messages.outcome import Outcome, UnitFooter

IN, OUT = "orders", "shipments"
IN0 = TopicPartition(IN, 0)
GROUP = "shop"
CATALOGUE = build(("usance.engine.control",))
PATIENT = Retry(in_place=0, wait_ms=1_000, attempts_max=4)
CLERK = Actor("ada", "", "operations")


class Shop:
    """What consumers write down here outlives them; `broken` values raise what they say."""

    def __init__(self, log: Log, clock: BookClock, partitions: int = 1) -> None:
        self.log = log
        self.clock = clock
        self.seen: list[bytes | None] = []
        self.ids: list[str] = []
        self.attempts: list[int] = []
        self.broken: dict[bytes, Exception] = {}
        for name in (IN, OUT):
            log.create_topic(TopicSettings(name, name, partitions))

    def put(self, *values: str, key: str | None = None, headers: Any = ()) -> None:
        """Append records to the input; `a1` has the key `a` unless another is given."""
        self.log.append(
            [Output(IN, 0, (key or v[0]).encode(), v.encode(), headers) for v in values]
        )

    def handle(self, record: Delivery) -> Emit | None:
        """Note a record, fail if it is broken, else pass it on in capitals."""
        self.ids.append(record.id)
        self.attempts.append(record.attempt)
        value = record.value or b""
        if value in self.broken:
            raise self.broken[value]
        self.seen.append(record.value)
        return Emit(OUT, value.upper(), record.key)

    def consumer(self, handler: Callable[[Delivery], Any] | None = None, **more: Any) -> Consumer:
        """Return a joined consumer, as a starting process has it."""
        settings: dict[str, Any] = {"retry": PATIENT, "log": self.log, "clock": self.clock, **more}
        return consume(IN, GROUP, handler or self.handle, **settings)

    def rest(self, consumer: Consumer, steps: int = 5_000) -> None:
        """Step a consumer until it rests."""
        for _ in range(steps):
            if consumer.step(0.001) == 0 and consumer.idle():
                return
        raise AssertionError("the consumer did not come to rest")

    # -- what is there

    @property
    def group(self) -> groups.Group:
        """The group's record."""
        return groups.named(self.log, "usance", GROUP)

    def own(self, kind: str) -> list[Record]:
        """Return the committed records of slot 0 of one of the group's topics."""
        tp = self.group.topics.at(f"consume-{GROUP}", kind, 0)
        return list(self.log.scan(tp, self.log.begin(tp), self.log.end(tp)))

    def emitted(self) -> list[bytes | None]:
        """Return the values that the handler emitted and the log has."""
        tp = TopicPartition(OUT, 0)
        return [r.value for r in self.log.scan(tp, 0, self.log.end(tp))]

    def letters(self) -> list[dict[str, str]]:
        """Return the notes of the group's dead letters."""
        return [
            {k.removeprefix("usance-dlq-"): v.decode() for k, v in r.headers if "usance-dlq" in k}
            for r in self.own("dead-letters")
        ]

    def messages(self) -> list[Any]:
        """Return the group's outcomes and footers, decoded."""
        registry = groups.registry(self.log, CATALOGUE, self.group)
        decoder = Decoder(catalogue=CATALOGUE, registry=registry)
        return [decoder.message(r.headers, r.value) for r in self.own("outcomes")]

    def answers(self) -> list[str]:
        """Return the answers of the group's outcomes, in order."""
        return [m.answer for m in self.messages() if isinstance(m, Outcome)]

    def footers(self) -> list[UnitFooter]:
        """Return the group's unit footers, in order."""
        return [m for m in self.messages() if isinstance(m, UnitFooter)]

    # -- what operators ask for

    def ask(self, *commands: Redrive | Discard | Release) -> None:
        """Append control commands for slot 0."""
        group = self.group
        registry = groups.registry(self.log, CATALOGUE, group)
        encoder = Encoder(log_id=group.log_id, catalogue=CATALOGUE, registry=registry)
        topic = group.topics.name(f"consume-{GROUP}", "commands")
        outputs = []
        for command in commands:
            command_id = f"ask-{self.log.end(TopicPartition(topic, 0))}-{len(outputs)}"
            key, value, headers = encoder.command(
                command, key=f"t/group/{GROUP}", command_id=command_id, tenant="t", actor=CLERK
            )
            outputs.append(Output(topic, 0, key, value, headers))
        self.log.append(outputs)

    def redrive(self, letter: str) -> None:
        """Ask for a dead letter to be tried again."""
        self.ask(Redrive(dead_letter_id=letter, dead_letter_index=0, reason=Words(text="repaired")))

    def discard(self, letter: str) -> None:
        """Give a dead letter up."""
        self.ask(Discard(dead_letter_id=letter, dead_letter_index=0, reason=Words(text="no use")))


def position(shop: Shop) -> int | None:
    """Return how far the group has committed slot 0's input."""
    return shop.log.position(GROUP, IN0)


def values(*texts: str) -> Iterable[bytes]:
    """Return texts as bytes."""
    return [t.encode() for t in texts]
