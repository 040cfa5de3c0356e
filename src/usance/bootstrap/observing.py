"""What a running process tells of itself: metrics as Prometheus reads them, and whether it is ready."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from usance.bootstrap.compiling import CompilingScreener
from usance.bootstrap.proof.proving import Sealing
from usance.bootstrap.store import Store
from usance.config import TelemetrySettings
from usance.engine.logs import logger
from usance.engine.owner.owner import Owner
from usance.engine.projections.reading import Views
from usance.engine.reactors.reactor import Reactor
from usance.engine.telemetry import (
    CONSUMER_GROUP,
    DESTINATION,
    PARTITION,
    Attributes,
    Metric,
    Telemetry,
)
from usance.engine.vitals import Vitals
from usance.kernel.clock import MS_PER_SECOND, Clock, Instant
from usance.kernel.errors import UsanceError
from usance.log.contract import Log, TopicPartition

HEAD_AGE_S_MAX = 10.0
"""Seconds that a record may wait for a signed head (PCI DSS 10.7: a critical control has failed)."""
VIEWS_BEHIND_MAX = 10_000
"""Records that views may be behind while their process still calls itself ready."""


class Observed(Protocol):
    """What is asked of a running process."""

    store: Store
    clock: Clock
    owner: Owner
    reactors: dict[str, Reactor]
    views: Views
    vitals: Vitals
    telemetry: Telemetry
    screener: CompilingScreener | None
    sealing: Sealing | None
    threads: list[threading.Thread]
    trouble: dict[str, str]
    stopping: threading.Event


@runtime_checkable
class Transactional(Protocol):
    """A log whose open transactions hide records from readers."""

    def stable_gaps(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return how many offsets before each end are not stable yet."""
        ...

    def retired(self) -> int:
        """Return how many writers were given up after a doubt."""
        ...


Measure = tuple[Metric, float, Attributes]

_provided: list[str] = []
_log = logger("observing")


def provide(settings: TelemetrySettings) -> None:
    """Set the process's providers up, once: metrics for `/metrics`, spans to stderr where wanted.

    A trace is recorded only when its caller sampled it; providers that were set before stay.
    """
    if not settings.enabled or _provided:
        return
    from opentelemetry import metrics, trace
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": "usance"})
    metrics.set_meter_provider(
        MeterProvider(metric_readers=[PrometheusMetricReader()], resource=resource)
    )
    if settings.spans == "stderr":
        from usance.bootstrap.spans import to_stderr

        trace.set_tracer_provider(to_stderr(resource))
    _provided.append("here")


def exposition(runtime: Observed) -> bytes:
    """Return all metrics in Prometheus's text format, gauges as of now; none where none are kept."""
    from prometheus_client import generate_latest

    for gauges in (measured, measured_views):
        try:
            for metric, value, attributes in gauges(runtime):
                runtime.telemetry.record(metric, value, attributes)
        except UsanceError as away:
            _log.warning("part_waits", part="metrics", error_type=type(away).__name__)
    return generate_latest()


def measured(runtime: Observed) -> Iterator[Measure]:
    """Give every gauge of a process; what cannot be asked now is left out."""
    log, now = runtime.store.log, runtime.clock.now()
    owner = runtime.owner
    positions = {runtime.store.topics.at(p.context, "commands", p.partition): at
                 for p, at in list(owner.positions.items())}  # fmt: skip
    yield from lags(log, "usance-owner", positions, now)
    for reactor in list(runtime.reactors.values()):
        yield from lags(log, reactor.group, reactor.positions(), now)
    if isinstance(log, Transactional):
        yield from hidden(log, positions)
    if runtime.sealing is not None and runtime.sealing.notary.is_open:
        yield from sealed(runtime.sealing)
    yield "usance.owner.partitions", len(owner.states), {}
    yield "usance.owner.paused", len(owner.paused), {}
    for at, (events, snapshots) in list(owner.restored.items()):
        restored: Attributes = {"usance.context": at.context, PARTITION: str(at.partition)}
        yield "usance.restore.events", events, restored
        yield "usance.restore.aggregates", snapshots, restored
    for part, age in runtime.vitals.ages().items():
        yield "usance.part.age", age, {"usance.part": part}


def measured_views(runtime: Observed) -> Iterator[Measure]:
    """Give the gauges that the read models know."""
    log, now = runtime.store.log, runtime.clock.now()
    with runtime.views.reading() as reading:
        parked = reading.select("parked_keys")
        letters = reading.count("dead_letters", (), ("failure", "state"))
        checkpoints = reading.checkpoints()
    for name, places in checkpoints.items():
        ends = log.ends(places)
        late = [behind(log, place, at.offset, ends[place], now) for place, at in places.items()]
        told: Attributes = {"usance.projection": name}
        yield "usance.projection.lag.records", sum(records for records, _ in late), told
        yield "usance.projection.lag", max([seconds for _, seconds in late], default=0.0), told
    since = min([row["since"] for row in parked], default=now)
    yield "usance.parked_keys", len(parked), {}
    yield "usance.parked_keys.age", max(0, now - since) / MS_PER_SECOND, {}
    for (failure, state), count in letters.items():
        yield "usance.dead_letters.kept", count, {"class": failure, "state": state}


def sealed(sealing: Sealing) -> Iterator[Measure]:
    """Give how far the notary is: leaves under heads, and per stage what waits for it."""
    notary = sealing.notary
    leaves = notary.leaves()
    yield "usance.proof.leaves", leaves, {}
    yield "usance.proof.receipts_unmet", sealing.receipts.unmet(), {}
    stages = {**notary.waiting(), **sealing.attestor.waiting(leaves)}
    for stage, (count, age) in stages.items():
        yield "usance.proof.waiting", count, {"usance.stage": stage}
        yield "usance.proof.age", age, {"usance.stage": stage}


def lags(
    log: Log, group: str, positions: Mapping[TopicPartition, int], now: Instant
) -> Iterator[Measure]:
    """Give how far a group is behind per partition, in records and in seconds."""
    ends = log.ends(positions)
    for place, at in positions.items():
        records, seconds = behind(log, place, at, ends[place], now)
        told: Attributes = {CONSUMER_GROUP: group, **_at(place)}
        yield "usance.consumer.lag", records, told
        yield "usance.consumer.lag.time", seconds, told


def hidden(log: Transactional, positions: Mapping[TopicPartition, int]) -> Iterator[Measure]:
    """Give what a log with transactions hides from readers, and how many of its writers were given up."""
    for place, gap in log.stable_gaps(list(positions)).items():
        yield "usance.log.stable_gap", gap, _at(place)
    yield "usance.log.producers_retired", log.retired(), {}


def behind(log: Log, place: TopicPartition, at: int, end: int, now: Instant) -> tuple[int, float]:
    """Return offsets left to read, and the age of the first of them in seconds; 0 at rest."""
    first = next(iter(log.scan(place, at, end, 1)), None) if at < end else None
    if first is None:
        return 0, 0.0
    return end - at, max(0, now - first.timestamp) / MS_PER_SECOND


def _at(place: TopicPartition) -> Attributes:
    return {DESTINATION: place.topic, PARTITION: str(place.partition)}


def hindrances(runtime: Observed, lag: Mapping[str, int]) -> list[str]:
    """Return why a process is not ready, in words; empty when it is."""
    found = [f"{part} is stuck" for part in runtime.vitals.stuck()]
    found += [f"{t.name} has ended" for t in runtime.threads if not t.is_alive()]
    found += [f"{part} waits: {why}" for part, why in list(runtime.trouble.items())]
    found += [
        f"{place.context}.p{place.partition} is paused: {why}"
        for place, why in list(runtime.owner.paused.items())
    ]
    if runtime.owner.untaken:
        why = runtime.owner.untaken_why
        found.append(f"{len(runtime.owner.untaken)} partitions wait to be restored: {why}")
    if runtime.screener is not None and not runtime.screener.ready:
        found.append("screening lists are being compiled")
    if runtime.stopping.is_set():
        found.append("it is stopping")
    if runtime.sealing is not None and runtime.sealing.notary.is_open:
        waits = runtime.sealing.notary.waiting()["signed"][1]
        if waits > HEAD_AGE_S_MAX:
            found.append(f"HEAD_AGE: a record waits {waits:.0f} s for its signed head")
    for name, records in lag.items():
        if records > VIEWS_BEHIND_MAX:
            found.append(f"view {name} is {records:,} records behind")
    return found
