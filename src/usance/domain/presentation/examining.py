"""Receipt and examination: the clock starts, the rules answer, examiners add what rules cannot see."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from usance.domain import calendars
from usance.domain.calendars import EXAMINATION_DAYS, calendar_for
from usance.domain.dates import day_of, maturity_base
from usance.domain.examination import (
    DISCREPANT,
    PresentationFacts,
    discrepancies,
    examine,
    only_amended,
)
from usance.domain.guards import (
    AMOUNT_MAX,
    amount_flaw,
    digest,
    instant_sound,
    not_now,
    reference_flaw,
    signature,
    terms_flaw,
    wrong_key,
)
from usance.domain.presentation import messages as m
from usance.domain.presentation.state import TAKEN_UP, UNDECIDED, PresentationState
from usance.domain.terms import Finding
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.timers import TimerSet
from usance.kernel.words import text_of

Answer = Decision | Refusal

ROLES = ("issuing", "confirming", "nominated")
ESCALATE, DRAFT, DEADLINE = "escalate", "draft", "deadline"
_WARNINGS = {
    ESCALATE: (EXAMINATION_DAYS - 2, "two banking days are left to decide"),
    DRAFT: (EXAMINATION_DAYS - 1, "one banking day is left: a refusal is drafted"),
    DEADLINE: (EXAMINATION_DAYS, "the time to refuse is over"),
}
_FOLLOWING = {ESCALATE: DRAFT, DRAFT: DEADLINE}
_BY_RULES = "rules"


@lru_cache(maxsize=1024)
def _timer(calendar_id: str, received: date, timer_id: str) -> TimerSet:
    """Return the timer of one warning, or of the deadline: at the close of its banking day.

    Cached: a day's presentations at one place share them.
    """
    calendar = calendars.calendar(calendar_id)
    days, reason = _WARNINGS[timer_id]
    return TimerSet(
        timer_id=timer_id,
        due=calendar.close_of(calendar.add_banking_days(received, days)),
        reason=reason,
        calendar=calendar.id,
        calendar_version=calendar.version,
    )


def timer_after(state: PresentationState, timer_id: str) -> tuple[TimerSet, ...]:
    """Return the timer that one which fired arms: most presentations are decided before the second.

    The deadline is the instant fixed at receipt, whatever calendar a newer program has.
    """
    following = _FOLLOWING.get(timer_id)
    received = day_of(state.presented)
    if following is None or received is None:
        return ()
    timer = _timer(state.calendar, received, following)
    if following != DEADLINE and timer.due < state.due:
        return (timer,)
    return (
        TimerSet(
            timer_id=DEADLINE,
            due=state.due,
            reason=_WARNINGS[DEADLINE][1],
            calendar=state.calendar,
            calendar_version=state.calendar_version,
        ),
    )


def _receipt_flaw(
    command: m.PresentDocuments, context: Context, received_at: int
) -> Refusal | None:
    if command.role not in ROLES:
        return Refusal(
            "ROLE_UNKNOWN",
            "This bank examines as issuing, confirming or nominated bank.",
            "UCP600-14a",
            f"Give one of: {', '.join(ROLES)}.",
        )
    if not command.credit:
        return Refusal(
            "CREDIT_MISSING",
            "A presentation is made under a credit.",
            "UCP600-2",
            "Give the number of the credit.",
        )
    if not instant_sound(received_at) or received_at > context.instant:
        return Refusal(
            "PRESENTED_IN_FUTURE",
            "Documents cannot have been received later than now.",
            "UCP600-14b",
            "Give the instant of receipt, or none for now.",
        )
    for d in command.documents:
        sound = 0 <= d.amount <= AMOUNT_MAX and 0 <= d.unit_price <= AMOUNT_MAX
        if not (sound and 0 <= d.quantity <= AMOUNT_MAX):
            return Refusal(
                "DOCUMENT_OUT_OF_RANGE",
                "A document shows an amount, price or quantity out of all range.",
                hint="Check the figures keyed from the documents.",
            )
    return None


def present(state: PresentationState, command: m.PresentDocuments, context: Context) -> Answer:
    """Take documents in and start the clock of articles 14b and 16d."""
    command = command.apart()
    content = digest(context, command)
    if state.state:
        if content == state.content_hash:
            return NOTHING
        return Refusal(
            "PRESENTATION_EXISTS",
            "Another presentation bears this reference.",
            hint="Give the presentation a reference of its own.",
        )
    received_at = command.presented_at or context.instant
    flaw = wrong_key(context, command.presentation) or reference_flaw(command.presentation)
    flaw = flaw or amount_flaw(command.currency, command.amount)
    flaw = flaw or _receipt_flaw(command, context, received_at)
    if flaw:
        return flaw
    calendar = calendar_for(command.place, command.presentee)
    received = calendar.received_on(received_at)
    deadline = _timer(calendar.id, received, DEADLINE)
    event = m.PresentationReceived(
        presentation=command.presentation,
        credit=command.credit,
        presenter=command.presenter,
        presenter_reference=command.presenter_reference,
        presented_at=received_at,
        presented=received.isoformat(),
        place=command.place,
        presentee=command.presentee,
        currency=command.currency,
        amount=command.amount,
        documents=command.documents,
        role=command.role,
        names=command.names,
        maker=signature(context.actor),
        due=deadline.due,
        calendar=calendar.id,
        calendar_version=calendar.version,
        content_hash=content,
    )
    return Decision((event, _timer(calendar.id, received, ESCALATE)))


def _findings(
    state: PresentationState, command: m.ExaminePresentation
) -> tuple[list[Finding], list[int]]:
    """Return the findings, and the amendments that the presentation accepts (10c).

    Each candidate of pending terms is tried until one is found under which all is well.
    """
    facts = PresentationFacts(
        presented=state.presented,
        presentee=state.presentee,
        place=state.place,
        currency=state.currency,
        amount=state.amount,
        documents=state.documents,
    )
    calendar = calendar_for(state.calendar)
    findings = examine(facts, command.terms, command.drawing, calendar)
    for candidate in command.pending if discrepancies(findings) else []:
        tried = examine(facts, command.terms, command.drawing, calendar, candidate.terms)
        if only_amended(tried):
            return tried, candidate.amendments
        if candidate is command.pending[0]:
            findings = tried
    return findings, []


def _terms_flaw(command: m.ExaminePresentation) -> Refusal | None:
    for terms in (command.terms, *(candidate.terms for candidate in command.pending)):
        flaw = terms_flaw(terms)
        if flaw:
            return flaw
    return None


def examine_documents(
    state: PresentationState, command: m.ExaminePresentation, context: Context
) -> Answer:
    """Apply the rules to the documents, once."""
    if state.examined:
        return NOTHING
    if state.state not in (*UNDECIDED, "PRECLUDED"):
        return not_now("presentation", state.state, "undecided", article="UCP600-14a")
    flaw = _terms_flaw(command)
    if flaw:
        return flaw
    findings, deemed = _findings(state, command)
    terms = command.terms
    if deemed:
        terms = next(c.terms for c in command.pending if c.amendments == deemed)
    found = discrepancies(findings)
    raised = [m.DiscrepancyRaised(finding=finding, by=_BY_RULES) for finding in found]
    base = maturity_base(terms, state.documents, None)
    completed = m.ExaminationCompleted(
        findings=findings,
        complies=not found and not state.findings,
        discrepancies=len(found) + len(state.findings),
        deemed=deemed,
        examiner=signature(context.actor),
        terms_version=command.terms_version,
        available_by=terms.available_by,
        tenor_days=terms.tenor_days,
        tenor_from=terms.tenor_from,
        base_date=base.isoformat() if base else "",
    )
    return Decision((*raised, completed))


def raise_discrepancy(
    state: PresentationState, command: m.RaiseDiscrepancy, context: Context
) -> Answer:
    """Add what an examiner saw; possible until the bank has decided."""
    if state.state in TAKEN_UP or state.state not in (*UNDECIDED, "PRECLUDED"):
        return not_now("presentation", state.state, "undecided", article="UCP600-16c")
    if not (text_of(command.explanation) and command.article.strip()):
        return Refusal(
            "DISCREPANCY_UNEXPLAINED",
            "A discrepancy needs its source and a sentence for the notice.",
            "UCP600-16c-ii",
            "Say what differs from what, and by which article.",
        )
    if command.explanation.text in state.draft:
        return NOTHING
    finding = Finding(
        rule=command.rule,
        article=command.article,
        inputs={},
        verdict=DISCREPANT,
        explanation="",
    )
    by = signature(context.actor)
    return Decision((m.DiscrepancyRaised(finding=finding, by=by, words=command.explanation),))


def base_of_tenor(state: PresentationState, decided_on: str) -> str:
    """Return the day the tenor runs from: as the documents show, else the day of sight.

    Complying documents were seen when presented; others when the bank decides to take them up.
    """
    if state.tenor_from == "sight" or not state.tenor_from:
        return state.presented if state.state == "COMPLYING" else decided_on
    return state.base_date if day_of(state.base_date) else ""
