"""`usance chaos --log kafka://...`: the supervised program on Kafka under load and a seeded mix of faults.

Inputs come as files, as appends and over HTTP, with retries and duplicates, while workers, brokers and the network
fail one after the other. Then everything is healed, the program must come to rest by itself, and the
account of the embedded chaos is taken: one checker, two drivers.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from usance.bootstrap import kafka as care
from usance.bootstrap.backend import passing
from usance.bootstrap.store import Folder, Store, prepare_folder, reactor_topics
from usance.config import Settings, load
from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.topics import CONTEXTS
from usance.kernel.errors import Unavailable, UsanceError
from usance.log.contract import TopicPartition
from usance.testing import chaos_faults, chaos_recovery
from usance.testing.chaos import Feeder, feed
from usance.testing.chaos_account import account
from usance.testing.chaos_book import Book, Given
from usance.testing.chaos_faults import Scene
from usance.testing.chaos_http import Caller
from usance.testing.chaos_machine import Machine
from usance.testing.kafka_broker import KafkaCluster

WORKERS = 2
PARTITIONS = 4
STILL_S = 75.0
"""How long nothing may move in the healed program while something is left to do."""
REST_S = 600.0
"""How long it may take in all until nothing is."""
SET_UP_S = 90.0
LOOK_S = 0.5
RESTS = 3
"""Looks in a row at which nothing moved: then it is at rest."""
PAUSE_S = (0.5, 1.5)
FEED_S = (0.4, 1.2)
HTTP_SHARE = 0.25
LONE_BROKER = {"broker.session.timeout.ms": "12000"}
"""One that froze is not to lose its partitions: nobody else could lead them (see `broker_stopped`)."""


class ClusterFeeder(Feeder):
    """Hands inputs in as a file, by append or over HTTP; keeps one connection to the log."""

    def __init__(
        self, folder: Folder, book: Book, dice: random.Random, settings: Settings, caller: Caller
    ) -> None:
        super().__init__(folder, book, dice, settings)
        self.caller = caller
        self.held: Store | None = None

    def give(self, given: list[Given]) -> None:
        """Hand inputs in; what goes over HTTP has an id of its own, and goes by no other way."""
        rest = []
        for one in given:
            plain = (
                one.answer in ("accepted", "refused", "powerless")
                and one.command_id not in self.book.doubles
            )
            if plain and self.caller.running and self.dice.random() < HTTP_SHARE:
                self._call(one)
            else:
                rest.append(one)
        super().give(rest)

    def _call(self, one: Given) -> None:
        known = self.caller.give(one, self.dice.choice((1, 1, 2, 3)))
        self.sent += 1
        self.book.given[self.book.given.index(one)] = known

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Lend the log, opened once."""
        if self.held is None:
            self.held = Store(self.folder, passing(self.settings), self.clock, owner=False)
        yield self.held

    def approvals(self, store: Store) -> list[Given]:
        """Return what can be approved; nothing while the cluster does not answer."""
        try:
            return super().approvals(store)
        except Unavailable:
            return []

    def close(self) -> None:
        """Let the connection go."""
        if self.held is not None:
            self.held.log.close()
            self.held = None


class Load(threading.Thread):
    """Feeds the book until it is told to end."""

    def __init__(self, feeder: ClusterFeeder) -> None:
        super().__init__(name="load", daemon=True)
        self.feeder = feeder
        self.over = threading.Event()
        self.trouble: Exception | None = None

    def run(self) -> None:
        """Feed, pause, feed."""
        try:
            while not self.over.is_set():
                try:
                    feed(self.feeder, 1)
                except Unavailable:
                    self.feeder.retries += 1
                self.over.wait(self.feeder.dice.uniform(*FEED_S))
        except Exception as trouble:  # noqa: BLE001  the run raises it
            self.trouble = trouble

    def end(self) -> None:
        """End it and raise what went wrong."""
        self.over.set()
        self.join()
        if self.trouble is not None:
            raise self.trouble


def run_kafka_chaos(
    seconds: float,
    seed: int = 1,
    *,
    log: str = "",
    brokers: int = 3,
    folder: Path | None = None,
    recovery: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Do so many seconds of faults and return what was found; `tell` hears what is being done.

    Without `log` it starts `brokers` brokers of its own, behind proxies; with it, only workers and transactions
    fail. Keys: faults, violations, seed, seconds, by_kind, inputs, sent, retries, answered, events, credits,
    recovery and `words` for each violation.
    """
    with ExitStack() as stack:
        if folder is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="usance-chaos-"))
            folder = Path(made)
        cluster = None
        if not log:
            alone = LONE_BROKER if brokers == 1 else None
            cluster = stack.enter_context(
                KafkaCluster(brokers, proxied=True, apart=True, settings=alone)
            )
            log = f"kafka://{cluster.bootstrap}"
        run = _Run(seed, log, folder, cluster, tell)
        stack.callback(run.close)
        return run.all(seconds, recovery=recovery)


class _Run:
    """One run: the machine, who feeds it, and what is done to it."""

    def __init__(
        self,
        seed: int,
        log: str,
        folder: Path,
        cluster: KafkaCluster | None,
        tell: Callable[[str], None],
    ) -> None:
        self.seed = seed
        self.tell = tell
        self.log = log
        self.folder = folder
        self.cluster = cluster
        copies = min(3, len(cluster.nodes)) if cluster else 1
        self.environ = {
            "USANCE_NAMESPACE": f"chaos{seed}-{os.getpid()}",
            "USANCE_PARTITIONS": str(PARTITIONS),
            "USANCE_KAFKA_REPLICATION": str(copies),
        }
        if copies == 1:  # brokers are killed, machines are not: what the kernel has is written
            self.environ["USANCE_KAFKA_I_ACCEPT_LOSS"] = "true"
        self.machine = Machine(folder, log, "a", WORKERS, self.environ)
        said = {"data": str(self.machine.data), "log": log, "gateway.loopback": "true"}
        self.settings = load(None, said, self.environ).settings
        dice = random.Random(seed)  # noqa: S311  a plan that can be repeated
        self.book = Book(seed)
        self.caller = Caller(self.machine.url)
        data = Folder(self.machine.data)
        self.feeder = ClusterFeeder(data, self.book, dice, self.settings, self.caller)
        name = self.settings.namespace
        self.scene = Scene(
            self.machine,
            cluster,
            self.settings.bootstrap_servers,
            tuple(f"{name}.trade.{kind}" for kind in ("commands", "events", "outcomes")),
            OWNER_GROUP,
            random.Random(seed + 1),  # noqa: S311  a plan that can be repeated
            self.feeder.clock,
        )
        self.counts: Counter[str] = Counter()
        self.words: list[str] = []

    def all(self, seconds: float, *, recovery: bool) -> dict[str, Any]:
        """Set up, feed, harm, heal, wait, account."""
        self.tell(f"starting {WORKERS} workers on {self.log}")
        self._set_up()
        prepare_folder(self.feeder.folder)
        self.machine.start()
        self.machine.ready()
        self.feeder.give(self.book.given)
        self.rest(approving=False)
        self.caller.start()
        clock = self.feeder.clock
        began = clock.monotonic()
        self.harm(seconds)
        harmed = clock.monotonic() - began
        self.tell(f"healing after {self.counts.total()} faults, then waiting for rest")
        chaos_faults.heal(self.scene)
        self.machine.ready()
        self.rest(approving=True)
        measured: dict[str, Any] = {}
        if recovery:
            self.tell("measuring recovery")
            measured = chaos_recovery.measure(
                self.machine, self.feeder, self.folder, self.log, self.environ
            )
            self.rest(approving=True)
        self.tell("ending the program and taking the account")
        self._end()
        found = account(self.feeder, self.book)
        self._answers_hold(found)
        told: dict[str, Any] = {
            "faults": self.counts.total(),
            "violations": found.pop("violations"),
        }
        told["violations"] += len(self.words)
        more: dict[str, Any] = {"seed": self.seed, "seconds": round(harmed, 1)}
        more |= {"by_kind": dict(self.counts), "starts": self.machine.starts()}
        more |= {"answered": len(self.caller.answers), "recovery": measured}
        words = self.words + found.pop("words")
        return {**told, **more, **found, "words": words}

    def _set_up(self) -> None:
        """Make the cluster ready, again where brokers that have just started are too busy to answer in time."""
        until = self.feeder.clock.monotonic() + SET_UP_S
        while True:
            try:
                for _ in care.setup(self.settings):
                    pass
                return
            except Unavailable:
                if self.feeder.clock.monotonic() > until:
                    raise

    def harm(self, seconds: float) -> None:
        """Do one fault after the other until the time is over, the program being fed."""
        clock, scene = self.feeder.clock, self.scene
        until = clock.monotonic() + seconds
        load = Load(self.feeder)
        load.start()
        try:
            while clock.monotonic() < until:
                for fault in chaos_faults.plan(scene):
                    if clock.monotonic() >= until:
                        break
                    self.counts[fault.__name__] += 1
                    left = max(0.0, until - clock.monotonic())
                    self.tell(f"{fault.__name__}, {left:.0f} s of {seconds:.0f} left")
                    try:
                        fault(scene)
                    except (Unavailable, KafkaException) as trouble:
                        self.words.append(f"{fault.__name__}: {trouble}")
                    clock.sleep(scene.dice.uniform(*PAUSE_S))
        finally:
            load.end()

    def rest(self, *, approving: bool) -> None:
        """Wait until the program has nothing left to do, by itself; approve what can be approved."""
        clock = self.feeder.clock
        until, quiet, left = clock.monotonic() + REST_S, 0, "nothing was seen"
        moved, before = clock.monotonic(), left
        while quiet < RESTS:
            if left != before:
                moved, before = clock.monotonic(), left
            if clock.monotonic() > min(until, moved + STILL_S):
                raise Unavailable(
                    f"the program does not come to rest after {dict(self.counts)}: {left}",
                    hint=self.machine.tail(),
                )
            clock.sleep(LOOK_S)
            try:
                left = self.left()
                due = []
                if approving and not left:
                    with self.feeder.store() as store:
                        due = self.feeder.approvals(store)
                    self.feeder.give(due)
            except (UsanceError, KafkaException) as trouble:
                left, due = f"{trouble}", []
            quiet = 0 if left or due else quiet + 1

    def left(self) -> str:
        """Return what is left to do, empty for nothing."""
        inbox = self.feeder.folder.gateway / "in"
        files = sum(not p.name.startswith(".") for p in inbox.glob("*"))
        if files:
            return f"{files} files wait"
        with self.feeder.store() as store:
            log, topics = store.log, store.topics
            groups = {OWNER_GROUP: [topics.name(c, "commands") for c in CONTEXTS]}
            groups |= {f"usance-{n}": names for n, names in reactor_topics(topics).items()}
            for group, names in groups.items():
                for place in (
                    TopicPartition(t, n)
                    for t in names
                    for n in range(topics.count(topics.context_of(t)))
                ):
                    at, end = log.position(group, place) or 0, log.end(place)
                    if at < end and next(iter(log.scan(place, at, end, 1)), None) is not None:
                        return (
                            f"{group} stands at {at} of {end} in {place.topic}[{place.partition}]"
                        )
        return ""

    def _end(self) -> None:
        self.caller.end()
        code = self.machine.stop()
        if code != 0:
            self.words.append(f"the supervisor ended with code {code}")
        self.words += self.machine.final()

    def _answers_hold(self, found: dict[str, Any]) -> None:
        """What was answered over HTTP must be what the log says."""
        decided = found.pop("decided")
        for command_id, answers in self.caller.answers.items():
            if answers != {decided.get(command_id)}:
                was = decided.get(command_id)
                self.words.append(f"{command_id} was answered {sorted(answers)}, decided {was}")

    def close(self) -> None:
        """End whatever still runs, and leave nothing on a cluster that is not ours."""
        self.caller.end()
        self.machine.kill()
        if self.cluster is None:
            with suppress(UsanceError), self.feeder.store() as store:
                store.log.remove_topics()  # type: ignore[attr-defined]
        self.feeder.close()
