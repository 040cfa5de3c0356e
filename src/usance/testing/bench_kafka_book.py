"""The full job on Kafka: real commands through the real owner, and what it takes to come back to them.

Applications and presentations of the embedded bench go in; events, outcomes, chains, dedupe, timers and
replies come out, in Avro, and the whole log is verified before a number is given. Then the owner is started
again, as its supervisor would, on what it left behind.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import msgspec

from usance.adapters.kafka_log import KafkaLog
from usance.bootstrap.store import all_deciders
from usance.engine import genesis as birth
from usance.engine.owner.owner import OWNER_GROUP
from usance.engine.reactors.reactor import Commands
from usance.engine.topics import Topics
from usance.kernel.ids import RandomIds
from usance.messages.catalogue import default
from usance.messages.envelope import Decoder, Encoder
from usance.messages.registry import registered
from usance.testing.bench_kafka_count import Sight, rates
from usance.testing.bench_kafka_ledger import ledger
from usance.testing.bench_kafka_runs import PARTITIONS, Running, Stage, order_of, usage
from usance.testing.bench_kafka_worker import NAMESPACE, Order, open_log
from usance.testing.bench_rig import Mismatch
from usance.testing.verify import Verdict, verify_log
from usance.testing.workload import Workload, batches

PRELOAD = 2_000
AFTER_RESTART = 50


class Book:
    """A founded log on the cluster with a workload that goes on."""

    def __init__(self, stage: Stage, *, flush: bool, batch: int) -> None:
        self.stage = stage
        self.prefix = f"b{RandomIds().fresh()[-10:]}-"
        self.work = Workload(stage.seed)
        self.sent = 0
        self.log: KafkaLog = open_log(order_of(stage, self.prefix, "", flush=flush))
        self.genesis = birth.found(
            self.log,
            namespace=NAMESPACE,
            partitions=PARTITIONS,
            clock="log",
            ids=RandomIds(),
            now=stage.clock.now(),
        )
        self.topics = Topics(NAMESPACE, PARTITIONS)
        self.log.set_positions(OWNER_GROUP, dict.fromkeys(self.topics.all_at("commands"), 0))
        self.decoder = Decoder(catalogue=default(), registry=registered(default()))
        encoder = Encoder(
            log_id=self.genesis.log_id, catalogue=default(), registry=registered(default())
        )
        self.commands = Commands(self.log, self.topics, encoder, book_clock=False, reply=0)
        self.order: Order = order_of(
            stage,
            self.prefix,
            self.genesis.log_id,
            mode="full",
            holds=len(self.topics.places()),
            slot="owner",
            instance="owner",
            batch=batch,
            flush=flush,
        )

    def send(self, number: int) -> None:
        """Append so many commands, as gateways do."""
        for part in batches(self.work.take(number), PRELOAD):
            self.commands.append(part, self.stage.clock.now())
        self.sent += number

    def outcomes(self) -> Sight:
        """Return a reader of the outcomes topic."""
        client = {"bootstrap.servers": self.stage.bootstrap}
        topic = self.prefix + self.topics.name("trade", "outcomes")
        return Sight(client, topic, PARTITIONS, self.stage.clock)

    def owner(self) -> Running:
        """Start the owner's process."""
        order = msgspec.json.encode(self.order).decode()
        command = [sys.executable, "-m", "usance.testing.bench_kafka_worker", order]
        return Running([command], speaks=True, folder=self.stage.folder)

    def verify(self) -> Verdict:
        """Read the whole log back: chains, revisions, one answer each, footers."""
        verdict = verify_log(
            self.log, self.topics, self.decoder, all_deciders(), self.genesis.log_id
        )
        if verdict.violations:
            raise Mismatch(verdict.words[0], hint="There are no numbers.")
        if len(verdict.decided) != self.sent:
            raise Mismatch(
                f"{len(verdict.decided)} of {self.sent} commands were decided",
                hint="There are no numbers.",
            )
        return verdict

    def packed(self) -> int:
        """Return the bytes of all newest snapshots."""
        total = 0
        for partition in range(PARTITIONS):
            tp = self.topics.at("trade", "snapshots", partition)
            newest = {r.key: len(r.value or b"") for r in self.log.scan(tp, self.log.begin(tp))}
            total += sum(newest.values())
        return total

    def close(self) -> None:
        """Delete the log."""
        self.log.remove_topics()
        self.log.close()


class Full(NamedTuple):
    """What the full job gave."""

    run: dict[str, Any]
    recovery: dict[str, Any]


def full_job(stage: Stage, number: int, *, flush: bool, batch: int, seconds: float) -> Full:
    """Work real commands off, verify the log, start again on it; raises Mismatch without numbers."""
    book = Book(stage, flush=flush, batch=batch)
    try:
        book.send(number)
        run = _saturate(book, number, seconds)
        run["mode"] = f"full job, flush.messages={1 if flush else 'never'}"
        recovery = _recover(book, seconds)
        verdict = book.verify()
        run["counted"] = len(verdict.decided) - AFTER_RESTART
        run["events"] = verdict.records["events"]
        return Full(run, recovery)
    finally:
        book.close()


def _saturate(book: Book, number: int, seconds: float) -> dict[str, Any]:
    stage, sight = book.stage, book.outcomes()
    running = book.owner()
    try:
        running.ready()
        running.go()
        while not sight.look(0.05):
            running.alive()
        before, broker = usage(running.pids), usage([stage.broker_pid])
        first = sight.total
        sight.until(number, seconds)
        after, broken = usage(running.pids), usage([stage.broker_pid])
        said = running.end()
    finally:
        running.kill()
        sight.close()
    if sight.total != number:
        raise Mismatch(f"{sight.total} outcomes of {number} commands", hint="There are no numbers.")
    speed = rates([(when, len(messages)) for when, messages in sight.batches])
    span = sight.batches[-1][0] - sight.batches[0][0]
    broker_cores = round((broken.seconds - broker.seconds) / span, 2)
    return {
        "peer": "usance",
        "rate": round(speed.rate),
        "second_half_rate": round(speed.second_half),
        "seconds": round(speed.seconds, 2),
        "p50_ms": None,
        "p99_ms": None,
        "cpu_us_per_event": round((after.seconds - before.seconds) / (number - first) * 1e6, 1),
        "rss_mb": round(after.rss_mb),
        "duplicates": 0,
        "missing": 0,
        "broker_cores": broker_cores,
        "box_bound": broker_cores > 0.8 * (os.cpu_count() or 1) / 2,
        "units": int(said[0].get("units", 0)) if said else None,
        "broker_cpu_us_per_event": round(
            (broken.seconds - broker.seconds) / (number - first) * 1e6, 1
        ),
        "ledger": ledger(said[0], number) if said and "units" in said[0] else {},
    }


def _recover(book: Book, seconds: float) -> dict[str, Any]:
    """Start the owner on what it left; times from the start of its process."""
    stage, sight = book.stage, book.outcomes()
    sight.until(book.sent, seconds)
    before = sight.total
    book.send(AFTER_RESTART)
    packed = book.packed()
    start = stage.clock.monotonic()
    running = book.owner()
    try:
        running.ready()
        ready = stage.clock.monotonic() - start
        running.go()
        while sight.total == before:
            sight.look(0.01)
            running.alive()
        deciding = stage.clock.monotonic() - start
        sight.until(before + AFTER_RESTART, seconds)
        said = running.end()[0]
    finally:
        running.kill()
        sight.close()
    aggregates = max(1, int(said["aggregates"]))
    return {
        "restart_to_ready_s": round(ready, 2),
        "restart_to_first_visible_s": round(deciding, 2),
        "joined_and_restored_s": round(said["joined_s"], 2),
        "restore_s": round(said["restore_s"], 2),
        "packed_mb": round(packed / 1e6, 1),
        "restore_mb_per_s": round(packed / 1e6 / max(said["restore_s"], 1e-6), 1),
        "aggregates": aggregates,
        "packed_bytes_each": round(packed / aggregates),
        "memory_bytes_each": round(said["memory_bytes"] / aggregates),
        "note": "an aggregate is a credit or a presentation; memory has its answer's id and body hash too",
    }
