"""Sagas, their steps, incidents and proposed acts; and every armed timer of the trade context."""

from __future__ import annotations

from typing import Any

from usance.engine.projections.projection import (
    Fact,
    Handler,
    Key,
    Projection,
    Rows,
    Table,
    numbers,
    personal,
    texts,
)
from usance.engine.reactors import saga_messages as sm
from usance.kernel.decider import key_parts
from usance.kernel.timers import TimerCancelled, TimerFired, TimerSet
from usance.kernel.words import text_of
from usance.views.book import as_json

SAGAS = Table(
    "sagas",
    (
        *texts("key", "tenant", "definition", "subject", "reference", "phase", "step"),
        *texts("incident", "reason"),
        *numbers("version", "since", "started", "changed"),
    ),
    key=("key",),
    indexes=(("phase", "changed"), ("subject",), ("changed",), ("reference",)),
    stream="key",
)
STEPS = Table(
    "saga_steps",
    (
        *texts("key", "step"),
        *numbers("undo"),
        *texts("kind", "command_id", "target", "command_type", "state", "how", "code", "message"),
        *numbers("n", "started", "ended"),
    ),
    key=("key", "step", "undo"),
    stream="key",
)
INCIDENTS = Table(
    "incidents",
    (
        *texts("id", "key", "definition", "subject", "step", "cause", "suggested", "how"),
        *numbers("since", "open", "closed"),
    ),
    key=("id",),
    indexes=(("open", "since"), ("key",)),
    stream="key",
)
ACTS = Table(
    "saga_acts",
    (
        *texts("act_id", "key", "act", "step", "maker", "approver", "state"),
        *personal("reason", "evidence"),
        *numbers("instant", "revision"),
    ),
    key=("act_id",),
    indexes=(("state",), ("key",)),
    stream="key",
)
TIMERS = Table(
    "timers",
    (*texts("key", "timer_id"), *numbers("due"), *texts("reason", "calendar", "calendar_version")),
    key=("key", "timer_id"),
    indexes=(("due",),),
    stream="key",
)


def _saga(fact: Fact, rows: Rows, **values: Any) -> None:
    rows.patch("sagas", (fact.key,), changed=fact.instant, **values)


def _started(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _saga(
        fact,
        rows,
        tenant=key_parts(fact.key).tenant,
        definition=event.definition,
        version=event.version,
        subject=event.subject,
        reference=key_parts(event.subject).identity,
        phase="running",
        started=fact.instant,
    )


def _step_started(fact: Fact, rows: Rows) -> None:
    event = fact.message
    _saga(fact, rows, step=event.step, since=fact.instant)
    rows.upsert(
        "saga_steps",
        key=fact.key,
        step=event.step,
        undo=int(event.undo),
        kind=event.kind,
        command_id=event.command_id,
        target=event.target,
        command_type=event.command_type,
        state="current",
        n=event.n,
        started=fact.instant,
    )


def _step_done(fact: Fact, rows: Rows) -> None:
    event = fact.message
    skipped = event.how in ("skipped", "unneeded")
    key = (fact.key, event.step, int(event.undo))
    state = "skipped" if skipped else "done"
    rows.patch("saga_steps", key, state=state, how=event.how, ended=fact.instant)
    _saga(fact, rows)


def _step_failed(fact: Fact, rows: Rows) -> None:
    event = fact.message
    rows.patch(
        "saga_steps",
        (fact.key, event.step, int(event.undo)),
        state="failed",
        code=event.code,
        message=event.message,
        ended=fact.instant,
    )
    _saga(fact, rows)


def _turned(fact: Fact, rows: Rows) -> None:
    _saga(fact, rows, phase="compensating", reason=fact.message.cause)


def _ended(fact: Fact, rows: Rows) -> None:
    _saga(fact, rows, phase=fact.message.result, reason=fact.message.cause, step="")


def _incident(fact: Fact, rows: Rows) -> None:
    event = fact.message
    saga = rows.get("sagas", fact.key) or {}
    rows.upsert(
        "incidents",
        id=event.incident_id,
        key=fact.key,
        definition=saga.get("definition", ""),
        subject=saga.get("subject", ""),
        step=event.step,
        cause=event.cause,
        suggested=as_json(event.suggested),
        since=event.since,
        open=1,
    )
    _saga(fact, rows, incident=event.incident_id)


def _incident_over(fact: Fact, rows: Rows) -> None:
    event = fact.message
    rows.patch("incidents", (event.incident_id,), open=0, how=event.how, closed=fact.instant)
    _saga(fact, rows, incident="")


def _proposed(fact: Fact, rows: Rows) -> None:
    event = fact.message
    rows.upsert(
        "saga_acts",
        act_id=event.act_id,
        key=fact.key,
        act=event.act,
        step=event.step,
        reason=text_of(event.reason),
        evidence=text_of(event.evidence),
        maker=event.person,
        state="proposed",
        instant=fact.instant,
        revision=fact.meta.revision,
    )
    _saga(fact, rows)


def _act(state: str) -> Handler:
    def decide(fact: Fact, rows: Rows) -> None:
        event = fact.message
        rows.patch("saga_acts", (event.act_id,), state=state, approver=event.person)
        _saga(fact, rows)

    return decide


def _step(fact: Fact) -> list[tuple[str, Key]]:
    event = fact.message
    return [("saga_steps", (fact.key, event.step, int(event.undo)))]


SAGA_PROGRESS = Projection(
    "sagas",
    2,
    (SAGAS, STEPS, INCIDENTS, ACTS),
    {
        sm.SagaStarted: _started,
        sm.StepStarted: _step_started,
        sm.StepSucceeded: _step_done,
        sm.StepFailed: _step_failed,
        sm.StepHeld: _saga,
        sm.SagaCompensating: _turned,
        sm.SagaEnded: _ended,
        sm.IncidentOpened: _incident,
        sm.IncidentClosed: _incident_over,
        sm.ActProposed: _proposed,
        sm.ActApproved: _act("approved"),
        sm.ActRejected: _act("rejected"),
    },
    ahead={sm.StepSucceeded: _step, sm.StepFailed: _step},
)
"""Sagas."""


def _set(fact: Fact, rows: Rows) -> None:
    event = fact.message
    rows.upsert(
        "timers",
        key=fact.key,
        timer_id=event.timer_id,
        due=event.due,
        reason=event.reason,
        calendar=event.calendar,
        calendar_version=event.calendar_version,
    )


def _gone(fact: Fact, rows: Rows) -> None:
    rows.delete("timers", fact.key, fact.message.timer_id)


def _timer(fact: Fact) -> list[tuple[str, Key]]:
    return [("timers", (fact.key, fact.message.timer_id))]


ARMED_TIMERS = Projection(
    "timers",
    1,
    (TIMERS,),
    {TimerSet: _set, TimerCancelled: _gone, TimerFired: _gone},
    ahead={TimerCancelled: _timer, TimerFired: _timer},
)
"""Timers that are armed."""
