"""`usance bench kafka`: what the log on Kafka does here, beside its peers, on one broker, in one run.

The simple job is the same for all, counted by a separate reader; runs go A B C C B A, and ratios are those of
the same round. The full job is ours alone, and said so. A mismatch anywhere gives no numbers at all.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from confluent_kafka import libversion
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from usance.adapters.kafka_settings import TRANSACTION_MS
from usance.engine.owner.owner import BATCH_RECORDS_MAX
from usance.kernel import native
from usance.kernel.clock import SystemClock
from usance.testing.bench import _commit, _version, fdatasync_ms
from usance.testing.bench_kafka_book import full_job
from usance.testing.bench_kafka_job import command
from usance.testing.bench_kafka_runs import (
    PARTITIONS,
    Runner,
    Stage,
    installed,
    open_loop,
    saturate,
)
from usance.testing.kafka_broker import JVM_BENCH, KafkaCluster

BROKER_SETTINGS = {"group.coordinator.append.linger.ms": "0"}
"""The setting that suits the article's loop best; nobody else loses by it."""
RUN_S = 180.0
ONE, TWO = "one process", "two processes"
FLUSHED = "flush.messages={}, batch {}"


class Plan(NamedTuple):
    """How many commands each gets, and how long."""

    fast: int
    slow: int
    article: int
    full: int
    rates: tuple[float, ...]
    compiling_s: float
    """How long small transactions go through the broker, uncounted, before any latency is measured."""
    warm_s: float
    latency_s: float
    flushed: tuple[tuple[int, int], ...]


FULL = Plan(400_000, 150_000, 6_000, 200_000, (200.0, 1_000.0, 5_000.0), 12.0, 2.0, 10.0,
            ((1, 3_000), (100, 60_000), (2_000, 200_000)))  # fmt: skip
QUICK = Plan(30_000, 10_000, 300, 8_000, (200.0,), 8.0, 1.0, 2.0, ())

SATURATION = (
    Runner("usance", "saturation"),
    Runner("streams", "saturation"),
    Runner("quix", "saturation", {"commit_s": 1.0}),
    Runner("aiokafka", "saturation"),
    Runner("article", "saturation"),
)
COMPILING = Runner("usance", "latency, cold broker")
COMPILING_RATE = 500.0
LATENCY = (
    Runner("usance", "latency"),
    Runner("usance", "latency, no gathering", {"gather": False}),
    Runner("streams", "latency, default commit", {"commit_ms": 0}),
    Runner("streams", "latency, 10 ms commit", {"commit_ms": 10}),
)


def run_bench(
    *,
    bootstrap: str = "",
    quick: bool = False,
    seed: int = 1,
    repeats: int = 1,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Measure everything on the broker at `bootstrap`, or one of our own; raises Mismatch without numbers.

    `tell` hears of each run when it is over, before anybody can know whether all of them are whole.
    """
    plan = QUICK if quick else FULL
    with _stage(bootstrap, seed) as stage:
        runs: list[dict[str, Any]] = []
        for run in _runs(stage, plan, repeats):
            runs.append(run)
            if tell is not None:
                tell(run)
        full = full_job(stage, plan.full, flush=True, batch=BATCH_RECORDS_MAX, seconds=RUN_S)
        return {
            "runs": [*runs, full.run],
            "ratios": ratios(runs),
            "recovery": full.recovery,
            "not_installed": sorted({r.peer for r in SATURATION if not installed(r.peer)}),
            "settings": _settings(stage, plan),
            "machine": _machine(stage),
            "quick": quick,
            "seed": seed,
            "repeats": repeats,
        }


def _runs(stage: Stage, plan: Plan, repeats: int) -> Iterator[dict[str, Any]]:
    yield from _saturation(stage, plan, repeats)
    if plan.rates:
        # Saturation is a few large transactions. What small ones take is that of a cold broker until a thousand or
        # two of them have gone through it: twice as long as afterwards, for whoever is measured first.
        open_loop(stage, COMPILING, COMPILING_RATE, 0.0, plan.compiling_s)
    for rate in plan.rates:
        for runner in _there(LATENCY):
            yield open_loop(stage, runner, rate, plan.warm_s, plan.latency_s)
    yield from _flushed(stage, plan)
    if plan.flushed:
        yield from _two(stage, plan)


@contextmanager
def _stage(bootstrap: str, seed: int) -> Iterator[Stage]:
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="usance-bench-") as made:
        if bootstrap:
            yield Stage(bootstrap, Path(made), clock, 0, seed)
            return
        with KafkaCluster(1, settings=BROKER_SETTINGS, heap="512m", jvm=JVM_BENCH) as cluster:
            yield Stage(cluster.bootstrap, Path(made), clock, cluster.nodes[0].pid, seed)


def _there(runners: tuple[Runner, ...]) -> list[Runner]:
    return [runner for runner in runners if installed(runner.peer)]


def _saturation(stage: Stage, plan: Plan, repeats: int) -> Iterator[dict[str, Any]]:
    """Run all, forth and back: what the machine does meanwhile meets all of them alike."""
    numbers = {"article": plan.article, "quix": plan.slow, "aiokafka": plan.slow}
    runners = _there(SATURATION)
    for turn in range(repeats * 2):
        for runner in runners if turn % 2 == 0 else reversed(runners):
            run = saturate(stage, runner, numbers.get(runner.peer, plan.fast), RUN_S)
            yield run | {"round": turn}


def _flushed(stage: Stage, plan: Plan) -> Iterator[dict[str, Any]]:
    """Show what it costs to have each unit on the only broker's disk, by the size of a unit."""
    for batch, number in plan.flushed:
        for flush in (False, True, True, False):
            mode = FLUSHED.format(1 if flush else "never", batch)
            runner = Runner("usance", mode, {"batch": batch, "flush": flush})
            yield saturate(stage, runner, number, RUN_S)


def _two(stage: Stage, plan: Plan) -> Iterator[dict[str, Any]]:
    """Show one owner process and two on the same partitions."""
    names = {1: ONE, 2: TWO}
    for processes in (1, 2, 2, 1):
        yield saturate(stage, Runner("usance", names[processes], {}, processes), plan.fast, RUN_S)


def ratios(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return medians of ours over theirs: rates of the warm half in the same round, times at the same rate.

    Beside what a second process gains stands how many cores the broker took meanwhile: where they are most of the
    machine, it is the machine's limit and not ours.
    """
    found: dict[str, list[float]] = defaultdict(list)
    by_round: dict[int, dict[str, float]] = defaultdict(dict)
    by_mode: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_mode[run["mode"]].append(run["rate"])
        if "round" in run:
            by_round[run["round"]][run["peer"]] = run["second_half_rate"] or run["rate"]
    for rates in by_round.values():
        for peer, rate in rates.items():
            if peer != "usance" and rate:
                found[f"rate, usance / {peer}"].append(rates["usance"] / rate)
    # What a generator sent late says nothing of whoever answered.
    timed = [r for r in runs if r["p50_ms"] and r.get("generator_in_time", True)]
    times = {(r["peer"], r["mode"], r["rate"]): r["p50_ms"] for r in timed}
    for (peer, mode, rate), p50 in times.items():
        ours = times.get(("usance", "latency", rate))
        if mode != "latency" and ours:
            found[f"p50 at {rate:.0f}/s, {peer} ({mode}) / usance"].append(p50 / ours)
    pairs = [(TWO, ONE, "rate, two processes / one")]
    for batch, _ in FULL.flushed:
        above, below = FLUSHED.format(1, batch), FLUSHED.format("never", batch)
        pairs.append((above, below, f"rate, flushed / not, batch {batch}"))
    for above, below, name in pairs:
        if above in by_mode and below in by_mode:
            found[name].append(median(by_mode[above]) / median(by_mode[below]))
    for mode in (ONE, TWO):
        found[f"broker's cores, {mode}"] = [r["broker_cores"] for r in runs if r["mode"] == mode]
    return {name: round(median(values), 2) for name, values in found.items() if values}


# -- what was measured on what


def _settings(stage: Stage, plan: Plan) -> dict[str, Any]:
    """Return what decides how much a number is worth, as the broker says it."""
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    node = str(next(iter(admin.list_topics(timeout=10.0).brokers)))
    resource = ConfigResource(ResourceType.BROKER, node)
    said = admin.describe_configs([resource])[resource].result(30.0)
    names = (
        "min.insync.replicas",
        "log.flush.interval.messages",
        "group.coordinator.append.linger.ms",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
    )
    return {
        "broker": {name: said[name].value for name in names if name in said},
        "acks": "all",
        "replication": 1,
        "partitions": PARTITIONS,
        "isolation": "read_committed",
        "transaction.version": _features(stage),
        "transaction.timeout.ms": TRANSACTION_MS,
        "simple job": "JSON in, JSON out, state in memory; flush.messages=never, as for all peers",
        "full job": "Avro, events, outcomes, chain, dedupe, timers, replies; flush.messages=1",
        "durability": "one broker acknowledges from its page cache unless flush.messages=1",
        "reader": "counts per key in this process, on the same cores; clock from first to last visible",
        "command_bytes": _command_bytes(),
        "plan": plan._asdict(),
    }


def _features(stage: Stage) -> str:
    """Return the cluster's transaction version; librdkafka speaks the first whatever it is."""
    if not stage.broker_pid:
        return "see kafka-features.sh; librdkafka speaks 1"
    return "2 on the broker (the default of Kafka 4); librdkafka speaks 1, Java 2"


def _command_bytes() -> int:
    import json
    import random

    return len(json.dumps(command(0, random.Random(1)), separators=(",", ":")))  # noqa: S311


def _machine(stage: Stage) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "fdatasync_p50_ms": fdatasync_ms(stage.folder),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "usance": _version("usance"),
        "confluent_kafka": _version("confluent-kafka"),
        "librdkafka": libversion()[0],
        "kafka": "4.4.0" if stage.broker_pid else "as found",
        "codec": native.RUNNING,
        "commit": _commit(),
    }
