"""Where spans go, and which are kept: those of traces that their callers sampled, no other."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

EXPORT_MS = 200


class CallersChoice(Sampler):
    """Keeps a span whose parent is kept, or that links to a sampled trace: a batch has many callers."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide for one span."""
        del trace_id, name, kind, trace_state
        parent = trace.get_current_span(parent_context).get_span_context()
        wanted = any(link.context.trace_flags.sampled for link in links or ())
        if wanted or (parent.is_valid and parent.trace_flags.sampled):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        """Name the rule."""
        return "callers choice"


def to_stderr(resource: Resource) -> TracerProvider:
    """Return a provider that writes each span as a line of JSON to stderr."""
    provider = TracerProvider(sampler=CallersChoice(), resource=resource)
    exporter = ConsoleSpanExporter(
        out=sys.stderr, formatter=lambda span: f"{span.to_json(indent=None)}\n"
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MS))
    return provider
