"""Reactions: which fact makes which command. Pure functions of one event; a rebuild never runs them.

Command ids depend on the event alone, so that a reaction done twice is decided once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from usance.aml.case import (
    OUTCOMES,
    AlertAttached,
    CaseOpened,
    CaseReopened,
    DispositionApproved,
)
from usance.domain.credit import amendment_messages as am
from usance.domain.credit import drawing_messages as dr
from usance.domain.credit import messages as cr
from usance.domain.message_exchange import MessageAcked, MessageNaked, MessageSent
from usance.domain.presentation import messages as pr
from usance.domain.terms import Drawing
from usance.engine.history import History
from usance.engine.reactors.reactor import Outgoing
from usance.engine.reactors.saga_messages import ObserveEvent, ObserveOutcome
from usance.engine.reactors.saga_steps import Definition
from usance.kernel.clock import parse_instant
from usance.kernel.decider import Actor
from usance.kernel.ids import derived
from usance.log.contract import Record, header
from usance.messages.outcome import Outcome
from usance.sagas.facts import beside
from usance.sagas.rescreening import AGAIN, credit_of, hold

OWN_CHECK = "check"
ROUTER = Actor("engine", "", "system")
ISSUE_MESSAGES = ("700", "705", "707")
"""Messages by which the bank binds itself: what became of them is noted on the credit."""


class SagaRouter:
    """Routes events and outcomes to the sagas that they concern."""

    def __init__(self, definitions: Sequence[Definition], decoder: Any) -> None:
        self.definitions = definitions
        self.decoder = decoder
        self.wanted = {t for d in definitions for t in (*d.starts, *d.listens)}

    def react(self, record: Record) -> list[Outgoing]:
        """Return the observations that a record of an events or outcomes topic causes."""
        name = (header(record.headers, "ce_type") or b"").decode().rsplit(".", 1)[-1]
        if name == "Outcome":
            return self._outcome(record)
        if name not in self.wanted:
            return []
        stream = (record.key or b"").decode()
        meta = self.decoder.meta(record.headers)
        event = self.decoder.message(record.headers, record.value)
        event_id = (header(record.headers, "ce_id") or b"").decode()
        found = []
        for definition in self.definitions:
            extract = definition.starts.get(name) or definition.listens.get(name)
            identity = definition.identity(stream, name, event) if extract else ""
            if extract is None or not identity:
                continue
            key = beside(stream, "saga", f"{definition.name}:{identity}")
            seen = ObserveEvent(
                event_type=name, stream=stream, event_id=event_id, facts=extract(event)
            )
            found.append(
                Outgoing(
                    key,
                    seen,
                    derived(event_id, key),
                    f"event:{event_id}",
                    meta.correlation,
                    ROUTER,
                    _instant(record),
                )
            )
        return found

    def _outcome(self, record: Record) -> list[Outgoing]:
        meta = self.decoder.meta(record.headers)
        if not meta.causation.startswith("saga:"):
            return []
        outcome = self.decoder.message(record.headers, record.value)
        if not isinstance(outcome, Outcome) or outcome.answer in ("duplicate", "conflict"):
            return []
        key = meta.causation.removeprefix("saga:")
        seen = ObserveOutcome(
            command_id=outcome.command_id,
            answer=outcome.answer,
            code=outcome.code,
            article=outcome.article,
            message=outcome.message,
        )
        outcome_id = (header(record.headers, "ce_id") or b"").decode()
        return [
            Outgoing(
                key,
                seen,
                derived(outcome_id, key),
                f"event:{outcome_id}",
                meta.correlation,
                ROUTER,
                _instant(record),
            )
        ]


Reaction = Callable[[str, Any, History], list[tuple[str, Any]]]


def _examine(stream: str, event: dr.DrawingRegistered, history: History) -> list[tuple[str, Any]]:
    command = pr.ExaminePresentation(
        terms=event.terms,
        terms_version=event.terms_version,
        drawing=Drawing(available=event.available, drawn=event.drawn),
        pending=event.pending,
    )
    return [(beside(stream, "presentation", event.presentation), command)]


def _deem(stream: str, event: pr.ExaminationCompleted, history: History) -> list[tuple[str, Any]]:
    if not event.deemed:
        return []
    received = next(
        p.message for p in history.stream(stream) if isinstance(p.message, pr.PresentationReceived)
    )
    credit = beside(stream, "credit", received.credit)
    return [
        (credit, am.DeemAmendmentAccepted(amendment=n, presentation=received.presentation))
        for n in event.deemed
    ]


def _sent(stream: str, event: MessageSent, history: History) -> list[tuple[str, Any]]:
    return _delivery(stream, event, "sent", "")


def _acked(stream: str, event: MessageAcked, history: History) -> list[tuple[str, Any]]:
    return _delivery(stream, event, "acked", "")


def _naked(stream: str, event: MessageNaked, history: History) -> list[tuple[str, Any]]:
    return _delivery(stream, event, "naked", event.code)


def _delivery(stream: str, event: Any, result: str, code: str) -> list[tuple[str, Any]]:
    if not event.credit or event.mt not in ISSUE_MESSAGES:
        return []
    command = cr.NoteDelivery(message=event.message, result=result, code=code)
    return [(beside(stream, "credit", event.credit), command)]


def _disposed(stream: str, event: DispositionApproved, history: History) -> list[tuple[str, Any]]:
    """A case is closed: trade hears only that the check is over, or that the business ends."""
    if event.disposition not in OUTCOMES:
        return []
    found: list[tuple[str, Any]] = []
    subject = ""
    waiting: list[tuple[str, str]] = []
    for past in history.stream(stream):
        match past.message:
            case CaseOpened():
                subject = past.message.subject_stream
                waiting = [(past.message.saga, past.message.step)]
            case CaseReopened():
                waiting = [(past.message.saga, past.message.step)]
            case AlertAttached():
                waiting.append((past.message.saga, past.message.step))
    for saga, step in dict.fromkeys(waiting):
        # A message that the bank turns away is over; what it was about goes on without it.
        turned_away = event.disposition == "reject" and step.startswith("message:")
        clear = event.disposition == "clear" or turned_away
        about = credit_of(subject, history) if step.startswith(AGAIN) else subject
        found += check_result(about, saga, clear, stream, step)
    return found


def _came_up(stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
    """Hold the credit of a case about an earlier screening; every other case has a saga that waits."""
    if not event.step.startswith(AGAIN):
        return []
    opened = next(p.message for p in history.stream(stream) if isinstance(p.message, CaseOpened))
    return hold(opened.subject_stream, event.step, history)


def check_result(
    subject: str, saga: str, clear: bool, source: str, step: str = OWN_CHECK
) -> list[tuple[str, Any]]:
    """Return the commands that end a compliance check of a stream, in neutral words.

    `step` is `check` for the stream's own, or the name of the check of an amendment or a message.
    """
    if clear:
        check = "" if step == OWN_CHECK else step
        return [(subject, cr.CompleteComplianceCheck(check=check))]
    if not saga:
        return []
    name = "ComplianceCheckEnded"
    facts = {"code": "NOT_PROCEEDING", "reason": "the bank does not proceed"}
    event_id = derived(source, subject, name)
    return [(saga, ObserveEvent(event_type=name, stream=subject, event_id=event_id, facts=facts))]


def _awaited(stream: str, event: cr.CreditReceived, history: History) -> list[tuple[str, Any]]:
    """Take in the amendments that came before their credit, in their order."""
    waiting: dict[int, am.ReceiveAmendment] = {}
    for past in history.stream(stream):
        match past.message:
            case am.AmendmentAwaitsCredit():
                names = am.ReceiveAmendment.__struct_fields__
                fields = {name: getattr(past.message, name) for name in names}
                waiting[past.message.amendment] = am.ReceiveAmendment(**fields)
            case am.AmendmentDropped():
                waiting.pop(past.message.amendment, None)
            case cr.CreditReceived():
                break
    return [(stream, waiting[number]) for number in sorted(waiting)]


REACTIONS: dict[type, Reaction] = {
    cr.CreditReceived: _awaited,
    dr.DrawingRegistered: _examine,
    pr.ExaminationCompleted: _deem,
    MessageSent: _sent,
    MessageAcked: _acked,
    MessageNaked: _naked,
    DispositionApproved: _disposed,
    CaseOpened: _came_up,
    CaseReopened: _came_up,
    AlertAttached: _came_up,
}


def merged(*tables: Mapping[type, Reaction]) -> dict[type, Reaction]:
    """Return one table of several; an event in more than one of them makes the commands of each."""

    def chained(reactions: Sequence[Reaction]) -> Reaction:
        def react(stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
            return [made for reaction in reactions for made in reaction(stream, event, history)]

        return react

    found: dict[type, list[Reaction]] = {}
    for table in tables:
        for cls, reaction in table.items():
            found.setdefault(cls, []).append(reaction)
    return {cls: chained(reactions) for cls, reactions in found.items()}


_NEUTRAL = (cr.BeginComplianceCheck, cr.CompleteComplianceCheck, ObserveEvent)


class Reactions:
    """Turns a table of reactions into what a reactor calls per record."""

    def __init__(self, table: dict[type, Reaction], decoder: Any, history: History) -> None:
        self.table = table
        self.decoder = decoder
        self.history = history
        self.wanted = {cls.__name__ for cls in table}

    def react(self, record: Record) -> list[Outgoing]:
        """Return the commands that a record causes."""
        name = (header(record.headers, "ce_type") or b"").decode().rsplit(".", 1)[-1]
        if name not in self.wanted:
            return []
        event = self.decoder.message(record.headers, record.value)
        reaction = self.table.get(type(event))
        if reaction is None:
            return []
        stream = (record.key or b"").decode()
        meta = self.decoder.meta(record.headers)
        event_id = (header(record.headers, "ce_id") or b"").decode()
        seen: Counter[tuple[str, str]] = Counter()
        found = []
        for key, command in reaction(stream, event, self.history):
            # Several reactors may answer one event: what tells their commands apart is where they go.
            what = (key, type(command).__name__)
            command_id = derived(event_id, *what, seen[what])
            seen[what] += 1
            cause, matter = f"event:{event_id}", meta.correlation
            if isinstance(command, _NEUTRAL):
                cause, matter = f"check:{command_id}", self._matter(key, command)
            found.append(
                Outgoing(key, command, command_id, cause, matter, ROUTER, _instant(record))
            )
        return found

    def _matter(self, key: str, command: Any) -> str:
        """Return the correlation of the business that a check belongs to.

        Trade must not read in a header whether a list was clear or two people closed a case: the end
        of either check names the business and nothing of what went before.
        """
        subject = command.stream if isinstance(command, ObserveEvent) else key
        past = self.history.stream(subject)
        begun = (p for p in past if isinstance(p.message, cr.CreditReceived))
        matter: str = next(begun, past[0]).meta.correlation  # an amendment may have come before it
        return matter


def _instant(record: Record) -> int | None:
    """Return the instant a reaction carries under a book clock: that of the event it answers."""
    raw = header(record.headers, "ce_time")
    return parse_instant(raw.decode()) if raw else None
