"""From a kill to the next answer of each partition: a worker that is started again, and a machine that is lost.

Printed beside the sum of rule 11, which bounds it: what the group and the coordinator wait before they believe
that an owner is dead. What is over the sum is the rejoin and the restore.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from usance.adapters.kafka_doctor import CLEANUP_MS, takeover_ms
from usance.adapters.kafka_settings import SESSION_MS, TRANSACTION_MS
from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable
from usance.log.contract import TopicPartition
from usance.messages.outcome import Outcome
from usance.testing.chaos import Feeder
from usance.testing.chaos_book import Given
from usance.testing.chaos_machine import Machine
from usance.testing.workload import TENANT

SHORT = {"USANCE_KAFKA_SESSION_MS": "4000", "USANCE_KAFKA_TRANSACTION_MS": "3000"}
"""Shorter ones, for brokers that allow them."""
UNPROVED = {"USANCE_PROOF_ENABLED": "false"}
"""The log's notary signs with a key that only the first machine has."""
LIMIT = 5_000_00
ANSWER_S = 60.0
POLL_S = 0.02
SETTLE_S = 3.0
STEADY_S = 6.0
"""How long after its workers serve a machine is left alone before it is measured."""


def measure(
    machine: Machine, feeder: Feeder, folder: Path, log: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Kill each worker, then lose the machine beside another one; returns seconds to the last answer.

    `supervised_restart_s`: a worker killed to all partitions answering, by the one that its supervisor starts.
    `machine_lost_s`: supervisor and workers killed to all partitions answering on another machine's workers;
    `machine_lost_short_s` the same with the settings of `SHORT`. Each with the sum of rule 11, which bounds it.
    """
    machine.stop()  # a supervisor of its own time: this one backs off from what was done to its workers
    machine.start()
    machine.ready()
    probe = _Probe(feeder)
    probe.after(lambda: None)  # everything is warm
    machine.clock.sleep(STEADY_S)
    restarted = []
    for number in range(machine.count):  # each holds other partitions: the slowest answer counts
        name = f"worker {number}"
        restarted.append(probe.after(partial(machine.send, name, signal.SIGKILL)))
        machine.ready()
        machine.clock.sleep(SETTLE_S)
    lost = _machine_lost(machine, probe, folder, log, environ)
    short = [int(SHORT[f"USANCE_KAFKA_{name}_MS"]) for name in ("SESSION", "TRANSACTION")]
    machine.stop()
    hasty = Machine(folder, log, machine.slot, machine.count, {**environ, **SHORT})
    hasty.start()
    try:
        hasty.ready()
        sooner = _machine_lost(hasty, probe, folder, log, hasty.environ)
    finally:
        hasty.stop()
    machine.start()
    machine.ready()
    return {
        "supervised_restart_s": max(restarted),
        "machine_lost_s": lost,
        "session_s": SESSION_MS / 1000,
        "transaction_s": TRANSACTION_MS / 1000,
        "cleanup_s": CLEANUP_MS / 1000,
        "rule_11_sum_s": takeover_ms(SESSION_MS, TRANSACTION_MS) / 1000,
        "machine_lost_short_s": sooner,
        "short_session_s": short[0] / 1000,
        "short_transaction_s": short[1] / 1000,
        "short_rule_11_sum_s": takeover_ms(*short) / 1000,
    }


def _machine_lost(
    machine: Machine, probe: _Probe, folder: Path, log: str, environ: Mapping[str, str]
) -> float:
    """Lose the machine while another one stands by, which then has everything, and then that one.

    Each holds what the other does not, and the slower answer counts. The first runs again afterwards.
    """
    other = Machine(folder / "other", log, "b", machine.count, {**environ, **UNPROVED})
    other.start()
    try:
        other.ready()
        probe.after(lambda: None)
        machine.clock.sleep(SETTLE_S)  # its share of the partitions has moved
        seconds = probe.after(machine.kill)
        machine.start()
        machine.ready()
        probe.after(lambda: None)
        machine.clock.sleep(SETTLE_S)
        return max(seconds, probe.after(other.kill))
    except Unavailable as trouble:
        told = f"{trouble.hint} {machine.tail()} Beside it: {other.tail()}"
        raise Unavailable(trouble.message, hint=told) from trouble
    finally:
        other.kill()


class _Probe:
    """A command per partition, and how long until the last of them is answered."""

    def __init__(self, feeder: Feeder) -> None:
        self.feeder = feeder
        self.clock: Clock = feeder.clock
        self.made = 0
        self.read: dict[TopicPartition, int] = {}

    def after(self, harm: Callable[[], object]) -> float:
        """Do harm and return the seconds until every partition has answered a command sent after it."""
        asked = self._made()
        since = self.clock.monotonic()
        harm()
        for given in asked.values():
            self.feeder.append(given)
        self._wait(asked, since + ANSWER_S)
        return round(self.clock.monotonic() - since, 2)

    def _made(self) -> dict[str, Given]:
        """Return a command for each partition of the trade context, by id."""
        found: dict[str, Given] = {}
        with self.feeder.store() as store:
            left = set(range(store.topics.partitions))
            while left:
                self.made += 1
                name = f"PROBE{self.made:05d}"
                place = store.topics.place(f"{TENANT}/facility/{name}")
                if place.partition in left:
                    left.discard(place.partition)
                    given = self.feeder.book.facility(name, LIMIT)
                    found[given.command_id] = given
        return found

    def _wait(self, asked: dict[str, Given], until: float) -> None:
        """Wait until each has its outcome in the log."""
        waiting = set(asked)
        with self.feeder.store() as store:
            log, topics = store.log, store.topics
            while waiting:
                for number in range(topics.partitions):
                    place = topics.at("trade", "outcomes", number)
                    for record in log.scan(place, self.read.get(place, 0)):
                        self.read[place] = record.offset + 1
                        told = store.decoder.message(record.headers, record.value)
                        if isinstance(told, Outcome):
                            waiting.discard(told.command_id)
                if waiting and self.clock.monotonic() > until:
                    raise Unavailable(
                        f"{len(waiting)} partitions do not answer", hint="Look who owns them."
                    )
                self.clock.sleep(POLL_S)
