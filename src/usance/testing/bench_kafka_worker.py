"""The process that the Kafka bench measures as ours: the log adapter, the unit loop, fences, footers.

`job` does the simple job of all peers with the engine around it; `full` is the real owner. Says `ready` when
it holds its partitions, begins at a line on its input, ends with it, and then says what it saw of itself.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_settings import KafkaSettings
from usance.bootstrap.store import all_deciders
from usance.engine import collector
from usance.engine.owner.gather import Pace
from usance.engine.owner.owner import Owner
from usance.engine.owner.state import Entry
from usance.engine.owner.takeover import Restored, Seen, Takeover
from usance.engine.owner.unit import PartitionUnit, World
from usance.engine.owner.unit_loop import UnitLoop
from usance.engine.telemetry import Telemetry
from usance.engine.topics import Place, Topics
from usance.kernel.clock import Clock, SystemClock
from usance.kernel.errors import Tampered, Unavailable
from usance.log.contract import Output, Record
from usance.messages.catalogue import default
from usance.messages.envelope import Decoder, Encoder
from usance.messages.registry import registered
from usance.testing.bench_kafka_job import NEW, decide
from usance.testing.bench_kafka_ledger import Ledger

NAMESPACE = "usance"
JOB_GROUP = "usance-job"
SWITCH_INTERVAL_S = 0.0005
ASSIGNED_S = 30.0


class Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a worker is told."""

    mode: str
    bootstrap: str
    prefix: str
    log_id: str
    partitions: int
    holds: int
    slot: str = "a"
    instance: str = ""
    batch: int = 2_000
    flush: bool = False
    gather: bool = True


class JobHandling:
    """The simple job for one partition's share of a unit.

    Its one record per command, what happened or the refusal, is the answer: it stands in the outcomes topic, where
    a unit's footers stand too, as the real owner's do. In a topic of its own it would cost each unit another round
    of adding partitions to its transaction, which the client begins a millisecond late.
    """

    def __init__(self, share: PartitionUnit) -> None:
        self.share = share
        self.entries = share.overlay.entries
        self.entry = share.overlay.entry
        self.decode = msgspec.json.Decoder().decode
        self.encode = msgspec.json.Encoder().encode
        self.topic = share.names["outcomes"]

    def handle(self, record: Record) -> str | None:
        """Decide one command into one event."""
        share = self.share
        share.next = record.offset + 1
        if record.timestamp > share.instant:
            share.instant = record.timestamp
        said = self.decode(record.value or b"")
        key = said["credit"]
        known = self.entry(key)
        after, event = decide(NEW if known is None else known.state, said)
        self.entries[key] = Entry(after, after.version)
        partition = share.place.partition
        share.merge("outcomes", [Output(self.topic, partition, record.key, self.encode(event))])
        return None

    def quarantine(self, record: Record, failure: str, reason: str) -> None:
        """Never: a bench whose process died on a record has failed."""
        raise Tampered(f"record {record.offset} is set aside: {failure} {reason}", hint="Again.")


class JobLoop(UnitLoop):
    """The engine's loop around the simple job."""

    def __init__(
        self, log: KafkaLog, topics: Topics, encoder: Encoder, decoder: Any, order: Order
    ) -> None:
        super().__init__(
            log,
            topics,
            JOB_GROUP,
            [topics.name("trade", "commands")],
            clock=SystemClock(),
            telemetry=Telemetry(enabled=False),
            batch_max=order.batch,
            pace=Pace() if order.gather else None,
        )
        own = decoder.splicing()
        encoder.splices = own.splices
        self.world = World(order.log_id, topics, encoder, own, {}, False, self._parked)
        self.takeover = Takeover(log, topics, decoder, {}, order.log_id, JOB_GROUP)

    def _handling(self, share: PartitionUnit) -> JobHandling:
        return JobHandling(share)


def open_log(order: Order, *, writes: bool = False) -> KafkaLog:
    """Return the log of a worker; one that `writes` is made ready for that, as the program's is."""
    return KafkaLog.open(
        KafkaSettings(
            bootstrap=order.bootstrap,
            prefix=order.prefix,
            slot=order.slot,
            instance=order.instance,
            replication=1,
            min_insync=1,
            flush_single=order.flush,
        ),
        writes=writes,
    )


def loop_of(order: Order, log: KafkaLog) -> UnitLoop:
    """Return what decides, not opened yet."""
    topics = Topics(NAMESPACE, order.partitions)
    catalogue = default()
    registry = registered(catalogue)
    decoder = Decoder(catalogue=catalogue, registry=registry)
    encoder = Encoder(log_id=order.log_id, catalogue=catalogue, registry=registry)
    if order.mode == "job":
        return JobLoop(log, topics, encoder, decoder, order)
    return Owner(
        log,
        topics,
        encoder,
        decoder,
        all_deciders().values(),
        log_id=order.log_id,
        book_clock=False,
        clock=SystemClock(),
        telemetry=Telemetry(enabled=False),
        batch_max=order.batch,
        pace=Pace() if order.gather else None,
    )


def work(order: Order) -> dict[str, float]:
    """Do what was ordered until the input ends; returns what the worker saw of itself."""
    clock = SystemClock()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    log = open_log(order, writes=True)
    loop = loop_of(order, log)
    seen = _take_over(loop, order.holds, clock)
    say("ready")
    sys.stdin.readline()
    ledger = Ledger(loop, log, clock)
    stop = threading.Event()

    def end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=end, daemon=True).start()
    while not stop.is_set():
        loop.step(0.05)
    loop.settle()
    seen |= ledger.told() | {"units": loop.units}
    loop.close(clean=order.mode == "full")
    log.close()
    return seen


def _take_over(loop: UnitLoop, holds: int, clock: Clock) -> dict[str, float]:
    """Join and restore until so many partitions are held; returns times, memory and credits."""
    restoring = 0.0
    restore = loop.takeover.restore

    def timed(place: Place, seen: Seen | None = None) -> Restored:
        nonlocal restoring
        began = clock.monotonic()
        try:
            return restore(place, seen)
        finally:
            restoring += clock.monotonic() - began

    loop.takeover.restore = timed  # type: ignore[method-assign]
    start, memory = clock.monotonic(), resident()
    loop.open()
    while len(loop.states) != holds:
        if clock.monotonic() - start > ASSIGNED_S:
            raise Unavailable(f"{len(loop.states)} of {holds} partitions came", hint="Again.")
        loop._membership()  # noqa: SLF001  to hold the partitions before the clock starts
        clock.sleep(0.005)
    joined = clock.monotonic() - start
    collector.relax()
    return {
        "joined_s": joined,
        "restore_s": restoring,
        "memory_bytes": resident() - memory,
        "aggregates": sum(len(state.entries) for state in loop.states.values()),
    }


def resident() -> int:
    """Return the bytes of memory that this process has (Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def say(words: str) -> None:
    """Write a line to whoever started this process."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    say(msgspec.json.encode(work(msgspec.json.decode(sys.argv[1], type=Order))).decode())
