"""Spans and metrics of the log, on the OpenTelemetry API alone.

Names and attributes follow the messaging conventions of semantic-conventions 1.44 (still
*Development* there): `poll T` and `commit T` are CLIENT spans, `process T` is CONSUMER, `send T` is
PRODUCER; durations are seconds. A poll span links to what it read; a record gets a span of its own,
child of the poll and linked to its creation context, only when the record's own trace is sampled.

Nothing recorded costs nothing: whether a provider is configured is asked once, when a `Telemetry` is
made, and each call is then one test of a boolean. Neither keys nor values leave through here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, get_args

from opentelemetry import metrics, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from usance.kernel.clock import Clock, SystemClock
from usance.log.contract import Batch, Record, TopicPartition, header

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCOPE = "usance"
SYSTEM = "usance"
"""`messaging.system` of the embedded log; a Kafka backend says `kafka`."""
LINKS_MAX = 128
"""Links of one poll span (the SDK's own default bound); more are counted, not listed."""
TRACEPARENT = "traceparent"
_SAMPLED = int(TraceFlags.SAMPLED)

Metric = Literal[
    "messaging.client.operation.duration",
    "messaging.process.duration",
    "messaging.client.sent.messages",
    "messaging.client.consumed.messages",
    "usance.commands",
    "usance.duplicates",
    "usance.dead_letters",
    "usance.dead_letters.kept",
    "usance.parked_keys",
    "usance.parked_keys.age",
    "usance.batch.size",
    "usance.units_aborted",
    "usance.timers_fired",
    "usance.consumer.lag",
    "usance.consumer.lag.time",
    "usance.projection.lag",
    "usance.projection.lag.records",
    "usance.owner.partitions",
    "usance.owner.paused",
    "usance.part.age",
    "usance.restore.events",
    "usance.restore.aggregates",
    "usance.log.stable_gap",
    "usance.log.producers_retired",
    "usance.saga.stuck",
    "usance.cases.open",
    "usance.screening.duration",
    "usance.deadline.remaining",
    "usance.proof.leaves",
    "usance.proof.waiting",
    "usance.proof.age",
    "usance.proof.receipts_unmet",
]
"""Every metric that this program may record; another name does not pass the type check."""


class Instrument(NamedTuple):
    """Kind, unit (UCUM) and meaning of a metric."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    description: str


METRICS: Mapping[Metric, Instrument] = {
    "messaging.client.operation.duration": Instrument(
        "histogram", "s", "Duration of a poll, send or commit"
    ),
    "messaging.process.duration": Instrument("histogram", "s", "Duration of handling one record"),
    "messaging.client.sent.messages": Instrument("counter", "{message}", "Records written"),
    "messaging.client.consumed.messages": Instrument("counter", "{message}", "Records delivered"),
    "usance.commands": Instrument("counter", "{command}", "Commands by type and answer"),
    "usance.duplicates": Instrument("counter", "{command}", "Commands answered before"),
    "usance.dead_letters": Instrument("counter", "{record}", "Dead letters by reason"),
    "usance.dead_letters.kept": Instrument("gauge", "{record}", "Dead letters by class and state"),
    "usance.parked_keys": Instrument("gauge", "{key}", "Keys parked now"),
    "usance.parked_keys.age": Instrument(
        "gauge", "s", "Time since the oldest parked key was parked"
    ),
    "usance.batch.size": Instrument("histogram", "{record}", "Records read at once"),
    "usance.units_aborted": Instrument("counter", "{unit}", "Units dropped and decided again"),
    "usance.timers_fired": Instrument("counter", "{timer}", "Timers that came due"),
    "usance.consumer.lag": Instrument("gauge", "{record}", "Offsets a consumer is behind"),
    "usance.consumer.lag.time": Instrument("gauge", "s", "Age of the oldest record not consumed"),
    "usance.projection.lag.records": Instrument("gauge", "{record}", "Offsets a view is behind"),
    "usance.owner.partitions": Instrument("gauge", "{partition}", "Partitions owned here"),
    "usance.owner.paused": Instrument("gauge", "{partition}", "Partitions whose breaker is open"),
    "usance.part.age": Instrument("gauge", "s", "Time since a part last came round"),
    "usance.restore.events": Instrument("gauge", "{event}", "Events read by the last take-over"),
    "usance.restore.aggregates": Instrument(
        "gauge", "{aggregate}", "Aggregates taken from snapshots by the last take-over"
    ),
    "usance.log.stable_gap": Instrument(
        "gauge", "{record}", "Offsets between the last stable one and the end"
    ),
    "usance.log.producers_retired": Instrument(
        "gauge", "{producer}", "Producers given up after a doubt since the start"
    ),
    "usance.projection.lag": Instrument("gauge", "s", "Age of the oldest unprojected event"),
    "usance.saga.stuck": Instrument("gauge", "{saga}", "Sagas past their expected time"),
    "usance.cases.open": Instrument("gauge", "{case}", "Compliance cases open"),
    "usance.screening.duration": Instrument("histogram", "s", "Duration of screening one input"),
    "usance.deadline.remaining": Instrument("gauge", "s", "Time to the next legal deadline"),
    "usance.proof.leaves": Instrument("gauge", "{leaf}", "Leaves below signed heads"),
    "usance.proof.waiting": Instrument("gauge", "{leaf}", "Leaves that have not reached a stage"),
    "usance.proof.receipts_unmet": Instrument(
        "gauge", "{receipt}", "Promised events that are under no head by their deadline"
    ),
    "usance.proof.age": Instrument("gauge", "s", "How long the oldest leaf waits for a stage"),
}

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Histogram boundaries that the conventions advise, in seconds."""

SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000)
"""Histogram boundaries of counts."""
CONSUMER_GROUP = "messaging.consumer.group.name"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"

Operation = Literal["poll", "process", "commit", "send"]
_TYPES: Mapping[Operation, str] = {
    "poll": "receive",
    "process": "process",
    "commit": "settle",
    "send": "send",
}
_KINDS: Mapping[Operation, SpanKind] = {
    "poll": SpanKind.CLIENT,
    "process": SpanKind.CONSUMER,
    "commit": SpanKind.CLIENT,
    "send": SpanKind.PRODUCER,
}
_DURATIONS: Mapping[Operation, Metric] = {
    "poll": "messaging.client.operation.duration",
    "process": "messaging.process.duration",
    "commit": "messaging.client.operation.duration",
    "send": "messaging.client.operation.duration",
}

Attributes = dict[str, str | int]
_Recorder = Callable[[float, Attributes | None], None]


class Scope(Protocol):
    """What `with telemetry.poll_span(...)` enters and leaves."""

    def __enter__(self) -> object:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
        /,
    ) -> None:
        """End; an exception goes on its way."""
        ...


class _Nothing:
    """The scope of what is not recorded: one shared object without state."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    # Three named parameters, not `*_`: no tuple is made on the hot path.
    def __exit__(self, kind: object, error: object, tb: object, /) -> None:
        return None


_NOTHING = _Nothing()


def parse_traceparent(value: bytes | None) -> SpanContext | None:
    """Return the span context of a W3C `traceparent` value; None when absent or malformed.

    Versions above 00 are read by the fields of 00, as the recommendation asks; `ff` is invalid.
    """
    if value is None or len(value) < 55 or len(value) > 512:
        return None
    parts = value.split(b"-")
    if len(parts) < 4 or [len(p) for p in parts[:4]] != [2, 32, 16, 2]:
        return None
    if parts[0] == b"ff" or (parts[0] == b"00" and len(parts) != 4):
        return None
    if any(byte not in b"0123456789abcdef" for part in parts[:4] for byte in part):
        return None
    _, trace_id, span_id, flags = (int(part, 16) for part in parts[:4])
    if not trace_id or not span_id:
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def format_traceparent(context: SpanContext) -> bytes:
    """Return the W3C `traceparent` value of a valid span context, version 00."""
    flags = context.trace_flags & 0xFF
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}".encode()


def current_traceparent() -> bytes | None:
    """Return the `traceparent` of the span that is open in this thread, for a record's header."""
    context = trace.get_current_span().get_span_context()
    return format_traceparent(context) if context.is_valid else None


class Telemetry:
    """Records spans and metrics of one part, or nothing at all.

    `enabled` False records nothing, whatever is configured. Providers default to the global ones,
    which a person sets up with the SDK's own means; without one `on` is False.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        system: str = SYSTEM,
        clock: Clock | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        tracers = tracer_provider or trace.get_tracer_provider()
        meters = meter_provider or metrics.get_meter_provider()
        self.tracing = enabled and _is_real(tracers)
        self.metering = enabled and _is_real(meters)
        self.on = self.tracing or self.metering
        self._system = system
        self.clock = clock or SystemClock()
        self.tracer = tracers.get_tracer(SCOPE, schema_url=SCHEMA_URL)
        meter = meters.get_meter(SCOPE, schema_url=SCHEMA_URL)
        made = METRICS if self.metering else {}
        self._record = {name: _recorder(meter, name, spec) for name, spec in made.items()}

    def poll_span(self, batch: Batch) -> Scope:
        """Return the scope of one batch: `poll T`, linked to what was read; counts the deliveries."""
        if not self.on:
            return _NOTHING
        attributes = self._attributes("poll", *_shared(batch.records))
        attributes[CONSUMER_GROUP] = batch.fence.group
        for tp, records in batch.records.items():
            self.record(
                "messaging.client.consumed.messages",
                len(records),
                self._attributes("poll", tp.topic, tp.partition),
            )
        self.record("usance.batch.size", batch.count, {CONSUMER_GROUP: batch.fence.group})
        spanned = dict(attributes)
        spanned["messaging.batch.message_count"] = batch.count
        links = _links(batch) if self.tracing else []
        if len(links) > LINKS_MAX:
            spanned["usance.links_dropped"] = len(links) - LINKS_MAX
        return _Measured(self, "poll", attributes, spanned, links[:LINKS_MAX])

    def process_span(self, record: Record) -> Scope:
        """Return the scope of one record: its duration, and a span when its trace is sampled."""
        if not self.on:
            return _NOTHING
        attributes = self._attributes("process", record.topic, record.partition)
        origin = self.tracing and parse_traceparent(header(record.headers, TRACEPARENT))
        if not origin or not origin.trace_flags & _SAMPLED:
            return _Measured(self, "process", attributes, None, [])
        return _Measured(
            self, "process", attributes, {**attributes, **_identity(record)}, [Link(origin)]
        )

    def commit_span(self, positions: Mapping[TopicPartition, int]) -> Scope:
        """Return the scope of committing next offsets per input partition: `commit T`."""
        return self._client("commit", positions)

    def send_span(self, partitions: Mapping[TopicPartition, int]) -> Scope:
        """Return the scope of writing so many records per partition: `send T`; counts them."""
        if self.on:
            for tp, sent in partitions.items():
                self.record(
                    "messaging.client.sent.messages",
                    sent,
                    self._attributes("send", tp.topic, tp.partition),
                )
        return self._client("send", partitions)

    def record(
        self, metric: Metric, value: float = 1, attributes: Attributes | None = None
    ) -> None:
        """Add to a counter, record a histogram's value, or set a gauge."""
        if self.metering:
            self._record[metric](value, attributes)

    def committed(self, since: float) -> None:
        """Note that a unit is committed that was handed over at `since` (the clock's seconds)."""
        if self.metering:
            self._record["messaging.client.operation.duration"](
                self.clock.monotonic() - since, self._attributes("commit", None, None)
            )

    def _client(self, operation: Operation, partitions: Mapping[TopicPartition, int]) -> Scope:
        if not self.on:
            return _NOTHING
        attributes = self._attributes(operation, *_shared(partitions))
        return _Measured(self, operation, attributes, attributes, [])

    def _attributes(
        self, operation: Operation, topic: str | None, partition: int | None
    ) -> Attributes:
        found: Attributes = {
            "messaging.system": self._system,
            "messaging.operation.name": operation,
            "messaging.operation.type": _TYPES[operation],
        }
        if topic is not None:
            found[DESTINATION] = topic
        if partition is not None:
            found[PARTITION] = str(partition)
        return found


class _Measured:
    """One operation: its duration always, its span when `spanned` is given."""

    __slots__ = ("_attributes", "_entered", "_links", "_operation", "_owner", "_since", "_spanned")

    def __init__(
        self,
        owner: Telemetry,
        operation: Operation,
        attributes: Attributes,
        spanned: Attributes | None,
        links: list[Link],
    ) -> None:
        self._owner = owner
        self._operation = operation
        self._attributes = attributes
        self._spanned = spanned if owner.tracing else None
        self._links = links

    def __enter__(self) -> Self:
        self._since = self._owner.clock.monotonic()
        if self._spanned is not None:
            topic = self._attributes.get("messaging.destination.name")
            self._entered = self._owner.tracer.start_as_current_span(
                f"{self._operation} {topic}" if topic else self._operation,
                kind=_KINDS[self._operation],
                attributes=self._spanned,
                links=self._links,
                # An exception's message may hold personal data: only its type is told.
                record_exception=False,
                set_status_on_exception=False,
            )
            self._entered.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._attributes["error.type"] = kind.__name__
        if self._spanned is not None:
            if kind is not None:
                span = trace.get_current_span()
                span.set_attribute("error.type", kind.__name__)
                span.set_status(Status(StatusCode.ERROR))
            self._entered.__exit__(kind, error, tb)
        seconds = self._owner.clock.monotonic() - self._since
        self._owner.record(_DURATIONS[self._operation], seconds, self._attributes)


def _is_real(provider: object) -> bool:
    """Tell whether a provider records: the API's own stand-ins and no-ops do not."""
    return not type(provider).__module__.startswith(
        ("opentelemetry.trace", "opentelemetry.metrics")
    )


def _recorder(meter: metrics.Meter, name: Metric, spec: Instrument) -> _Recorder:
    if spec.kind == "counter":
        return meter.create_counter(name, spec.unit, spec.description).add
    if spec.kind == "gauge":
        return meter.create_gauge(name, spec.unit, spec.description).set
    buckets = SECONDS_BUCKETS if spec.unit == "s" else SIZE_BUCKETS
    return meter.create_histogram(
        name, spec.unit, spec.description, explicit_bucket_boundaries_advisory=buckets
    ).record


def _shared(partitions: Mapping[TopicPartition, object]) -> tuple[str | None, int | None]:
    """Return the one topic and the one partition of an operation; None where there are several."""
    topics = {tp.topic for tp in partitions}
    numbers = {tp.partition for tp in partitions}
    one = len(topics) == 1
    return (
        next(iter(topics)) if one else None,
        next(iter(numbers)) if one and len(numbers) == 1 else None,
    )


def _links(batch: Batch) -> list[Link]:
    found = []
    for records in batch.records.values():
        for record in records:
            origin = parse_traceparent(header(record.headers, TRACEPARENT))
            if origin is not None:
                found.append(Link(origin, _identity(record)))
    # A bound that cuts should cut what nobody will look at.
    found.sort(key=lambda link: not link.context.trace_flags & _SAMPLED)
    return found


def _identity(record: Record) -> Attributes:
    """Return which record this is: never its key, which names a customer's credit."""
    found: Attributes = {
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }
    for name, attribute in (
        ("ce_id", "messaging.message.id"),
        ("ce_id", "cloudevents.event_id"),
        ("ce_type", "cloudevents.event_type"),
        ("ce_source", "cloudevents.event_source"),
    ):
        value = header(record.headers, name)
        if value is not None:
            found[attribute] = value.decode("utf-8", "replace")
    if record.value is None:
        found["messaging.kafka.message.tombstone"] = "true"
    return found


assert set(METRICS) == set(get_args(Metric)), "each registered metric is described, and no other"
