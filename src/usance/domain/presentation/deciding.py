"""Waiver, refusal, taking up and settlement (UCP 600 articles 7, 8, 15, 16)."""

from __future__ import annotations

from typing import Any, NamedTuple

from usance.domain import refusal
from usance.domain.calendars import Calendar, calendar_for
from usance.domain.credit.messages import CompleteComplianceCheck, ComplianceCheckCompleted
from usance.domain.dates import day_of, maturity
from usance.domain.guards import (
    approver_missing,
    is_person,
    local_day,
    not_now,
    opening_of,
    second_person_missing,
    still_in_process,
)
from usance.domain.presentation import messages as m
from usance.domain.presentation.examining import (
    DEADLINE,
    DRAFT,
    base_of_tenor,
    timer_after,
)
from usance.domain.presentation.state import BASIS, DISCREPANT, UNDECIDED, PresentationState
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet

Answer = Decision | Refusal

RETURN_DAYS = 3
"""Banking days in which documents go back once the notice said so."""

MATURITY, RETURN = "maturity", "return"


def _not_now(state: PresentationState, needs: str, hint: str = "", article: str = "") -> Refusal:
    return not_now("presentation", state.state, needs, hint, article)


def _silenced(state: PresentationState) -> tuple[TimerCancelled, ...]:
    return tuple(TimerCancelled(timer_id=timer) for timer in state.timers)


def _precluded(state: PresentationState, context: Context) -> Refusal | None:
    if state.state != "PRECLUDED" and (state.notice_given or context.instant <= state.due):
        return None
    if state.role == "nominated" and state.state != "PRECLUDED":
        return None
    return Refusal(
        "PRECLUDED",
        "The fifth banking day after presentation has closed: nothing can be refused any more.",
        "UCP600-16f",
        "Honour the presentation.",
    )


def _stated(state: PresentationState) -> m.Stated:
    return m.Stated(subject=state.credit, sentences=state.draft)


# -- waiver and authority


def seek_waiver(state: PresentationState, _command: m.SeekWaiver, context: Context) -> Answer:
    """Ask the applicant; the time to refuse runs on."""
    if state.state == "WAIVER_SOUGHT":
        return NOTHING
    flaw = _precluded(state, context)
    if flaw:
        return flaw
    if state.state != "DISCREPANT" or state.role != "issuing":
        hint = "Only an issuing bank approaches the applicant, and only on discrepancies."
        return _not_now(state, "discrepant, at the issuing bank", hint, "UCP600-16b")
    return Decision((m.WaiverSought(discrepancies=len(state.findings)),))


def record_waiver(state: PresentationState, command: m.RecordWaiver, _context: Context) -> Answer:
    """Note the applicant's answer; after a notice that holds the documents it may still come."""
    if state.state == ("WAIVED" if command.waived else "NOT_WAIVED"):
        return NOTHING
    held = state.state == "REFUSED" and state.disposal in ("HOLD", "NOTIFY")
    if held and not command.waived:
        return NOTHING
    if state.state not in ("DISCREPANT", "WAIVER_SOUGHT", "NOT_WAIVED") and not held:
        return _not_now(state, "discrepant", article="UCP600-16b")
    if command.waived:
        return Decision((m.DiscrepanciesWaived(reference=command.reference),))
    return Decision((m.WaiverDeclined(reference=command.reference),))


def refer(state: PresentationState, command: m.ReferDiscrepancies, context: Context) -> Answer:
    """As nominated or confirming bank, ask the issuing bank (MT750)."""
    if state.state == "REFERRED":
        return NOTHING
    flaw = _precluded(state, context)
    if flaw:
        return flaw
    if state.role == "issuing" or state.state != "DISCREPANT":
        hint = "An issuing bank asks the applicant instead."
        return _not_now(state, "discrepant, at a nominated or confirming bank", hint, "UCP600-16a")
    event = m.DiscrepanciesReferred(message=command.message, discrepancies=_stated(state))
    return Decision((event,))


def authorise(state: PresentationState, command: m.AuthoriseTakeUp, context: Context) -> Answer:
    """Record the issuing bank's authority: ours (a person gives it) or one received."""
    if state.state == "AUTHORISED":
        return NOTHING
    if state.state not in DISCREPANT:
        return _not_now(state, "discrepant", article="UCP600-16")
    if state.role == "issuing":
        flaw = second_person_missing(context.actor, *state.signers)
        if flaw:
            return flaw
    return Decision((m.TakeUpAuthorised(reference=command.reference, by=command.by),))


# -- refusal


def refuse(state: PresentationState, command: m.RefusePresentation, context: Context) -> Answer:
    """Give the single, complete notice in time, or none."""
    if state.state == "REFUSED" and state.disposal == command.disposal:
        return NOTHING
    flaw = _precluded(state, context)
    if flaw:
        return flaw
    if state.state not in DISCREPANT and state.state != "REFUSED":
        hint = "Examine the documents; a complying presentation must be honoured."
        return _not_now(state, "discrepant and undecided", hint, "UCP600-16a")
    notice = refusal.refuse(
        state.findings,
        command.disposal,
        instant=context.instant,
        deadline=state.deadline,
        notice_given=state.notice_given,
    )
    if isinstance(notice, Refusal):
        return notice
    event = m.PresentationRefused(
        discrepancies=m.Stated(subject=state.credit, sentences=notice.discrepancies),
        disposal=notice.disposal,
        statement=notice.statement,
        given=notice.given,
        due=notice.due,
        message=command.message,
    )
    timers = (_return_timer(state, context),) if command.disposal == "RETURN" else ()
    return Decision((event, *_silenced(state), *timers))


def _return_timer(state: PresentationState, context: Context) -> TimerSet:
    at = calendar_for(state.calendar).deadline_after(context.instant, RETURN_DAYS)
    return TimerSet(
        timer_id=RETURN,
        due=at.due,
        reason="the notice said that the documents go back",
        calendar=at.calendar,
        calendar_version=at.calendar_version,
    )


def return_documents(
    state: PresentationState, command: m.ReturnDocuments, _context: Context
) -> Answer:
    """Send refused documents back, at any time after the notice (16e)."""
    if state.state == "RETURNED":
        return NOTHING
    if state.state != "REFUSED":
        return _not_now(state, "refused", "Give notice of refusal first.", "UCP600-16e")
    return Decision((m.DocumentsReturned(courier=command.courier), *_silenced(state)))


def withdraw(
    state: PresentationState, command: m.WithdrawPresentation, _context: Context
) -> Answer:
    """Give the documents back to a presenter who asks before the decision."""
    if state.state == "WITHDRAWN":
        return NOTHING
    if state.state not in UNDECIDED:
        return _not_now(state, "undecided")
    event = m.PresentationWithdrawn(credit=state.credit, cause=command.cause, reason=command.reason)
    return Decision((event, *_silenced(state)))


# -- taking up


class Method(NamedTuple):
    """A way to take up: its name, the state it leads to, and its event."""

    name: str
    leads_to: str
    event: type


_METHODS: dict[type, Method] = {
    m.HonourPresentation: Method("sight", "HONOURED", m.PresentationHonoured),
    m.AcceptDraft: Method("acceptance", "ACCEPTED", m.DraftAccepted),
    m.IncurDeferred: Method("deferred", "DEFERRED", m.DeferredUndertakingIncurred),
    m.NegotiatePresentation: Method("negotiation", "NEGOTIATED", m.PresentationNegotiated),
}


def methods_allowed(state: PresentationState) -> tuple[str, ...]:
    """Return how the credit lets this bank take up, by its field 41a and the bank's role.

    An issuing bank never negotiates its own credit: it honours the draft, at sight or at its tenor.
    """
    match state.available_by:
        case "mixed":
            return ("sight", "acceptance", "deferred", "negotiation")
        case "negotiation" if state.role == "issuing":
            return ("acceptance", "deferred") if state.tenor_days else ("sight",)
        case other:
            return (other,) if other else ()


def _take_up_flaw(state: PresentationState, method: Method) -> Refusal | None:
    if state.state not in BASIS:
        hint = "Examine first; discrepancies need a waiver or authority before taking up."
        return _not_now(state, "complying, waived, authorised or precluded", hint, "UCP600-15")
    allowed = methods_allowed(state)
    if not allowed:
        return Refusal(
            "NOT_EXAMINED",
            "How the credit is available is known only after the examination.",
            "UCP600-14a",
            "Examine the documents, then take them up.",
        )
    if method.name not in allowed:
        return Refusal(
            "AVAILABILITY_DIFFERS",
            f"The credit is available by {state.available_by}, not by {method.name}, at this bank.",
            "UCP600-6b,7a,8a",
            f"Take up by: {', '.join(allowed)}.",
        )
    return None


def take_up(state: PresentationState, command: object, context: Context) -> Answer:
    """Honour, accept, undertake or negotiate; by a second person, the first having signed before.

    Where no person has examined or entered the presentation, the first person's act is a proposal.
    """
    method = _METHODS[type(command)]
    if state.state == method.leads_to:
        return NOTHING
    flaw = _take_up_flaw(state, method)
    if flaw:
        return flaw
    actor = context.actor
    if not state.signers and is_person(actor) and state.proposed != method.name:
        return Decision((m.TakeUpProposed(method=method.name, maker=actor.person),))
    first = (*state.signers, state.proposed_by)
    flaw = approver_missing(actor, state.amount, state.currency, *first)
    if flaw:
        return flaw
    return _taken_up(state, method, context)


def _taken_up(state: PresentationState, method: Method, context: Context) -> Answer:
    about: dict[str, Any] = {
        "credit": state.credit,
        "currency": state.currency,
        "amount": state.amount,
        "basis": BASIS[state.state],
        "approver": context.actor.person,
    }
    if method.name == "sight":
        return Decision((m.PresentationHonoured(**about), *_silenced(state)))
    calendar = calendar_for(state.calendar)
    due = ""
    if state.tenor_days:
        today = local_day(calendar, context.instant).isoformat()
        base = day_of(base_of_tenor(state, today))
        if base is None:
            return Refusal(
                "MATURITY_UNKNOWN",
                "The documents do not show the date that the tenor runs from.",
                "UCP600-3,14a",
                "Ask the presenter for it, or raise a discrepancy while there is time.",
            )
        due = maturity(base, state.tenor_days, calendar).isoformat()
    event = method.event(
        **about, maturity=due, calendar=calendar.id, calendar_version=calendar.version
    )
    return Decision((event, *_silenced(state), *_maturity_timer(calendar, due)))


def _maturity_timer(calendar: Calendar, due: str) -> tuple[TimerSet, ...]:
    day = day_of(due)
    if day is None:
        return ()
    timer = TimerSet(
        timer_id=MATURITY,
        due=opening_of(calendar, day),
        reason="payment falls due",
        calendar=calendar.id,
        calendar_version=calendar.version,
    )
    return (timer,)


def settle(state: PresentationState, command: m.SettlePresentation, _context: Context) -> Answer:
    """Record that the presenter is paid; what was accepted or deferred, not before it is due."""
    if state.state == "SETTLED":
        return NOTHING
    if state.state not in ("HONOURED", "MATURED", "NEGOTIATED"):
        hint = "Take the documents up, and await the maturity."
        return _not_now(state, "honoured, negotiated or matured", hint, "UCP600-7,8")
    if not state.checked:
        return still_in_process("presentation")
    event = m.PresentationSettled(
        credit=state.credit,
        currency=state.currency,
        amount=state.amount,
        reference=command.reference,
    )
    return Decision((event, *_silenced(state)))


def complete_check(
    state: PresentationState, _command: CompleteComplianceCheck, _context: Context
) -> Answer:
    """Note that checks are over: the settlement may go on. They never stop the clock."""
    return NOTHING if state.checked else Decision((ComplianceCheckCompleted(),))


# -- the clock


def timer_due(state: PresentationState, command: TimerDue, _context: Context) -> Answer:
    """Escalate, preclude, or note the maturity; never refused."""
    if command.timer_id == MATURITY:
        if state.state not in ("ACCEPTED", "DEFERRED", "NEGOTIATED"):
            return NOTHING
        event = m.MaturityReached(
            maturity=state.maturity, currency=state.currency, amount=state.amount
        )
        return Decision((event,))
    if command.timer_id == RETURN:
        return _escalated(state, "return_overdue") if state.state == "REFUSED" else NOTHING
    if state.state not in UNDECIDED or state.notice_given:
        return NOTHING
    if command.timer_id != DEADLINE:
        level = "one_day" if command.timer_id == DRAFT else "two_days"
        return _escalated(state, level, *timer_after(state, command.timer_id))
    if state.role == "nominated":
        return _escalated(state, "overdue")
    return Decision((m.PresentationPrecluded(due=state.due),))


def _escalated(state: PresentationState, level: str, *timers: TimerSet) -> Decision:
    event = m.PresentationEscalated(level=level, due=state.due, draft=_stated(state))
    return Decision((event, *timers))
