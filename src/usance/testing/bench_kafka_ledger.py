"""Where an owner's time on Kafka goes: processor time by thread, what waits for what, and what a unit is made of.

Read off the running process: nothing is taken from the sum, so the parts tell why the whole is what it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from usance.adapters.kafka_commits import KafkaUnit
from usance.adapters.kafka_log import KafkaLog
from usance.adapters.kafka_producer import Sealed, UnitProducer
from usance.engine.owner.unit_loop import UnitLoop
from usance.kernel.clock import Clock

SAMPLE = 16
"""Of so many units the bytes of one are counted."""
THREADS = {"MainThread": "deciding", "kafka-commits": "committing", "kafka-usance-owner": "reading"}


def thread_times() -> dict[str, float]:
    """Return processor seconds by what a thread is for; `client` are librdkafka's own (Linux)."""
    names = {t.native_id: THREADS.get(t.name, "other") for t in threading.enumerate()}
    found = dict.fromkeys((*THREADS.values(), "client", "other"), 0.0)
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            words = (task / "stat").read_text("utf-8").rpartition(")")[2].split()
            spent = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
            found[names.get(int(task.name), "client")] += spent
    return found


class Ledger:
    """Counts what passes through a loop and its log from its making on."""

    def __init__(self, loop: UnitLoop, log: KafkaLog, clock: Clock) -> None:
        self._before = thread_times()
        self.waited = self.wrote = 0.0
        self.records = self.places = self.bytes = self.sampled = 0
        self._staged = 0
        landed, stage, commit = loop._landed, log.stage, UnitProducer.commit  # noqa: SLF001

        def waiting() -> bool:
            start = clock.monotonic()
            try:
                return landed()
            finally:
                self.waited += clock.monotonic() - start

        def staging(unit: Any) -> KafkaUnit:
            staged = stage(unit)
            self._note(staged.sealed)
            return staged

        def committing(producer: UnitProducer, unit: Sealed, written: Callable[[], None]) -> None:
            start = clock.monotonic()
            try:
                commit(producer, unit, written)
            finally:
                self.wrote += clock.monotonic() - start

        loop._landed = waiting  # type: ignore[method-assign]  # noqa: SLF001
        log.stage = staging  # type: ignore[method-assign]
        UnitProducer.commit = committing  # type: ignore[method-assign,assignment]

    def _note(self, sealed: Sealed) -> None:
        rows = (*sealed.rows, *sealed.footers)
        self.records += len(rows)
        self.places += len({(row[0], row[3]) for row in sealed.rows})
        if self._staged % SAMPLE == 0:
            self.sampled += len(rows)
            self.bytes += sum(len(part or b"") for row in rows for part in (*row[1:3], row[4]))
        self._staged += 1

    def told(self) -> dict[str, float]:
        """Return the sums: seconds, records, bytes of a record as sent, places a unit wrote to."""
        spent = thread_times()
        cpu = {f"cpu_{name}_s": spent[name] - self._before[name] for name in spent}
        return cpu | {
            "waited_s": self.waited,
            "wrote_s": self.wrote,
            "records": self.records,
            "record_bytes": self.bytes / max(1, self.sampled),
            "places": self.places / max(1, self._staged),
        }


def ledger(said: dict[str, float], number: int) -> dict[str, float]:
    """Return what a worker said as figures per command and per unit."""
    units = max(1.0, said["units"])
    found = {
        f"{name} us per command": said[f"cpu_{name}_s"] / number * 1e6
        for name in (*THREADS.values(), "client", "other")
    }
    return {name: round(value, 1) for name, value in found.items()} | {
        "units": units,
        "commands per unit": round(number / units, 1),
        "records per unit": round(said["records"] / units, 1),
        "partitions written per unit": round(said["places"], 1),
        "kB per unit": round(said["records"] / units * said["record_bytes"] / 1e3, 1),
        "ms writing per unit": round(said["wrote_s"] / units * 1e3, 2),
        "ms the owner waits per unit": round(said["waited_s"] / units * 1e3, 2),
    }
