"""Every screening is a fact: what was screened, with which lists and matcher, and what came out.

One stream per screened stream, in the compliance context. Replaying it never asks a newer list.
"""

from __future__ import annotations

from typing import Any

import msgspec

from usance.aml.screening import ScreeningReport
from usance.kernel.decider import NOTHING, Context, Decision, PrivateBlock, Refusal

CONTEXT = "compliance"
SEEN_MAX = 64


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One screened string with its best result; `explanation` is JSON."""

    field: str
    kind: str
    text: str
    band: str
    score: int
    list_id: str
    entry: str
    explanation: str


class Lines(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """All strings of one screening. `subject` is the party id whose deal it is."""

    subject: str
    lines: list[Line]


class RecordScreening(msgspec.Struct, frozen=True, kw_only=True):
    """Record a screening of the event `source_event` of `subject_stream`; `band` is the worst one."""

    subject_stream: str
    source_event: str
    band: str
    snapshot_id: str
    matcher_version: str
    list_versions: list[str]
    lines: Lines


class ScreeningDecided(msgspec.Struct, frozen=True, kw_only=True):
    """A screening was done: hit and review opened a case, clear let the deal go on."""

    subject_stream: str
    source_event: str
    band: str
    snapshot_id: str
    matcher_version: str
    list_versions: list[str]
    lines: Lines


class ScreeningState(msgspec.Struct):
    """The events whose screening is recorded, newest last."""

    seen: list[str] = []


class ScreeningDecider:
    """Records screenings once per screened event."""

    category = "screening"
    fold_id = "screening/1"

    def initial(self, key: str) -> ScreeningState:  # noqa: ARG002
        """Return the state before any screening."""
        return ScreeningState()

    def decide(
        self,
        state: ScreeningState,
        command: Any,
        context: Context,  # noqa: ARG002
    ) -> Decision | Refusal:
        """Answer a command; never raises."""
        if not isinstance(command, RecordScreening):
            return Refusal("UNKNOWN_COMMAND", "Only screenings are recorded here.")
        if command.source_event in state.seen:
            return NOTHING
        names = ScreeningDecided.__struct_fields__
        return Decision((ScreeningDecided(**{n: getattr(command, n) for n in names}),))

    def evolve(self, state: ScreeningState, event: Any) -> ScreeningState:
        """Return the state after one event."""
        if isinstance(event, ScreeningDecided):
            return ScreeningState(seen=[*state.seen, event.source_event][-SEEN_MAX:])
        return state


def recording(
    report: ScreeningReport, *, subject: str, subject_stream: str, source_event: str
) -> RecordScreening:
    """Return the command that records a report."""
    lines = [
        Line(
            field=s.field,
            kind=s.kind,
            text=s.text,
            band=s.band,
            score=s.results[0].score,
            list_id=s.results[0].list or "",
            entry=s.results[0].entry or "",
            explanation=msgspec.json.encode(s.results[0].explanation).decode(),
        )
        for s in report.screened
    ]
    return RecordScreening(
        subject_stream=subject_stream,
        source_event=source_event,
        band=report.band,
        snapshot_id=report.snapshot_id,
        matcher_version=report.matcher_version,
        list_versions=list(report.list_versions),
        lines=Lines(subject=subject, lines=lines),
    )


MESSAGES: tuple[tuple[type, str], ...] = (
    (RecordScreening, "command"),
    (ScreeningDecided, "event"),
)
"""Every message of screening with its kind."""
