"""From an application to an issued credit, or back; every step guarded."""

from __future__ import annotations

from typing import Any

from usance.domain import posting
from usance.domain.credit import messages as m
from usance.domain.credit.balances import expiry_timer, home_of, to_facility, voucher
from usance.domain.credit.state import BEFORE_ISSUE, ENDED, CreditState
from usance.domain.credit.validation import application_flaw, draws_on_applicant, parties_complete
from usance.domain.guards import (
    amount_flaw,
    approver_missing,
    digest,
    is_person,
    local_day,
    not_now,
    reference_flaw,
    second_person_missing,
    still_in_process,
    tier_of,
    wrong_key,
)
from usance.domain.tolerance import max_liability
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.money import percent_of
from usance.kernel.timers import TimerCancelled

Answer = Decision | Refusal


def _not_now(state: CreditState, needs: str, hint: str = "", article: str = "") -> Refusal:
    return not_now("credit", state.state, needs, hint, article)


def apply(state: CreditState, command: m.ApplyForCredit, context: Context) -> Answer:
    """Take an application in; its number is unique."""
    flaw = wrong_key(context, command.credit) or reference_flaw(command.credit)
    flaw = flaw or amount_flaw(command.terms.currency, command.terms.amount)
    if flaw:
        return flaw
    if not 0 <= command.margin_percent <= 100:
        return Refusal(
            "MARGIN_OUT_OF_RANGE",
            "Margin is between 0 and 100 per cent.",
            hint="Give the margin in per cent of the maximum liability.",
        )
    command = command.apart()
    parties, narrative = digest(context, command.parties), digest(context, command.narrative)
    content = digest(
        context,
        command.terms,
        parties,
        narrative,
        command.facility,
        command.margin_percent,
        command.side,
    )
    if state.state:
        if content == state.content_hash:
            return NOTHING
        return Refusal(
            "CREDIT_EXISTS",
            "Another credit bears this number.",
            hint="Give the application a number of its own.",
        )
    if command.side != "import":
        return Refusal(
            "WRONG_SIDE",
            "Applications are for credits that this bank issues.",
            hint="Enter a credit of another bank as received.",
        )
    event = m.CreditApplied(
        credit=command.credit,
        application=command.application,
        side=command.side,
        terms=command.terms,
        parties=command.parties,
        narrative=command.narrative,
        facility=command.facility,
        margin_percent=command.margin_percent,
        note=command.note,
        maker=context.actor.person,
        parties_digest=parties,
        narrative_digest=narrative if command.narrative else "",
        content_hash=content,
        draft_on_applicant=draws_on_applicant(command.terms, command.parties),
        parties_complete=parties_complete(command.parties),
    )
    return Decision((event,))


def _margin(state: CreditState) -> int:
    return percent_of(max_liability(state.stipulated), state.margin_percent)


def _today(state: CreditState, context: Context) -> str:
    return local_day(home_of(state.stipulated), context.instant).isoformat()


def validate(state: CreditState, _command: m.ValidateApplication, context: Context) -> Answer:
    """Check what the rules can check."""
    if state.valid:
        return NOTHING
    if state.state not in BEFORE_ISSUE:
        return _not_now(state, "an application")
    flaw = application_flaw(state, _today(state, context))
    if flaw:
        return flaw
    liability = max_liability(state.stipulated)
    return Decision((m.ApplicationValidated(max_liability=liability, margin=_margin(state)),))


def begin_check(state: CreditState, command: m.BeginComplianceCheck, _context: Context) -> Answer:
    """Note that checks began: the credit's own, or a named one that what is known already must pass again."""
    if command.check:
        if not state.known or state.state in ENDED:
            return _not_now(state, "a credit that is not over")
        begun = m.ComplianceCheckStarted(check=command.check)
        return NOTHING if command.check in state.checks else Decision((begun,))
    if state.check:
        return NOTHING
    if state.state not in ("SUBMITTED", "IN_PROCESS", "RECEIVED", "AUTHENTICATED"):
        return _not_now(state, "an application or a received credit")
    return Decision((m.ComplianceCheckStarted(check=command.check),))


def complete_check(
    state: CreditState, command: m.CompleteComplianceCheck, _context: Context
) -> Answer:
    """Note that checks are over: the credit's own, or that of an amendment or a message."""
    if command.check:
        over = m.ComplianceCheckCompleted(check=command.check)
        return Decision((over,)) if command.check in state.checks else NOTHING
    if state.check == "done":
        return NOTHING
    if not state.check:
        return _not_now(state, "in checks that began", "Begin the checks first.")
    return Decision((m.ComplianceCheckCompleted(check=command.check),))


def amendment_check(number: int) -> str:
    """Return the name of an amendment's check."""
    return f"amendment:{number}"


def message_check(mt: str, reference: str) -> str:
    """Return the name of the check of a message about a credit."""
    return f"message:{mt}:{reference}"


def in_process(state: CreditState, check: str = "") -> Refusal | None:
    """Return the neutral answer while checks run: the same for a second and for a week.

    What is not about one named `check` waits for the credit's own, and all for those of messages and for
    those that came up again.
    """
    own = check in state.checks if check else state.check == "running"
    if own or state.held:
        return still_in_process("credit")
    return None


def request_approval(state: CreditState, _command: m.RequestApproval, context: Context) -> Answer:
    """Put the application before a second person."""
    if state.state in ("AWAITING_APPROVAL", "APPROVED"):
        return NOTHING
    if state.state != "IN_PROCESS" or not state.valid or not state.check:
        running = state.check == "running"
        return (still_in_process("credit") if running else None) or _not_now(
            state, "validated and checked", "Validate the application and run its checks first."
        )
    held = in_process(state)
    if held:
        return held
    terms = state.stipulated
    liability = max_liability(terms)
    event = m.ApprovalRequested(
        revision=context.revision + 1,
        content_hash=state.content_hash,
        tier=tier_of(liability, terms.currency),
        amount=liability,
        currency=terms.currency,
    )
    return Decision((event,))


def stale_approval() -> Refusal:
    """Return the answer to an approval of something else than what stands."""
    return Refusal(
        "STALE_APPROVAL",
        "What was approved is not what the request shows now.",
        hint="Look at the request again and approve its revision and content hash.",
    )


def approve(state: CreditState, command: m.ApproveCredit, context: Context) -> Answer:
    """Approve by a second person, bound to revision and content."""
    bound = (command.revision, command.content_hash) == (
        state.approval_revision,
        state.content_hash,
    )
    if state.state == "APPROVED" and bound:
        return NOTHING
    if state.state != "AWAITING_APPROVAL":
        return _not_now(state, "awaiting approval")
    held = in_process(state)
    if held:
        return held
    terms = state.stipulated
    flaw = approver_missing(context.actor, max_liability(terms), terms.currency, state.maker)
    if flaw:
        return flaw
    if not bound:
        return stale_approval()
    event = m.CreditApproved(
        revision=command.revision,
        content_hash=command.content_hash,
        approver=context.actor.person,
        reason=command.reason,
    )
    return Decision((event,))


def _why(command: m.RejectCredit | m.VoidIssue) -> dict[str, Any]:
    return {"cause": command.cause, "reason": command.reason}


def reject(state: CreditState, command: m.RejectCredit, context: Context) -> Answer:
    """Turn an application down; after its issue a credit binds and cannot be rejected."""
    if state.state == "REJECTED":
        return NOTHING
    if state.state not in BEFORE_ISSUE:
        hint = "An issued credit can be voided while nothing left the bank, else cancelled."
        return _not_now(state, "an application", hint, "UCP600-7b")
    return Decision((m.CreditRejected(**_why(command), person=context.actor.person),))


def withdraw(state: CreditState, command: m.WithdrawApplication, _context: Context) -> Answer:
    """Let the applicant take the application back."""
    if state.state == "WITHDRAWN":
        return NOTHING
    if state.state not in BEFORE_ISSUE:
        hint = "An issued credit can only be cancelled, with the consent of all parties."
        return _not_now(state, "an application", hint, "UCP600-10a")
    return Decision((m.ApplicationWithdrawn(reason=command.reason),))


def issue(state: CreditState, command: m.IssueCredit, context: Context) -> Answer:
    """Undertake: P2, P3, and the timer of the expiry."""
    if state.message and state.message == (command.message or state.credit):
        return NOTHING
    if state.state != "APPROVED":
        return _not_now(state, "approved", "A second person must approve first.")
    held = in_process(state)
    if held:
        return held
    terms = state.stipulated
    if terms.expiry_date < _today(state, context):
        return Refusal(
            "EXPIRY_PAST",
            "The expiry date passed while the application waited.",
            "UCP600-6d-i",
            "Reject the application and apply again with a later date.",
        )
    margin, liability = _margin(state), max_liability(terms)
    if command.margin and not margin <= command.margin <= liability:
        return Refusal(
            "MARGIN_SHORT",
            "The margin held is less than the application agreed, or more than the liability.",
            hint="Hold the margin that ApplicationValidated names.",
        )
    margin = command.margin or margin
    entries = voucher(state, context)
    event = m.CreditIssued(
        credit=state.credit,
        issue_date=_today(state, context),
        message=command.message or state.credit,
        currency=terms.currency,
        liability=liability,
        margin=margin,
        content_hash=state.content_hash,
        facility=state.facility,
        postings=[
            *posting.credit_issued(entries, liability),
            *posting.margin_held(entries, margin),
        ],
    )
    return Decision((event, *expiry_timer(state)))


_DELIVERIES = {"sent": "pending", "acked": "confirmed", "naked": "failed"}


def note_delivery(state: CreditState, command: m.NoteDelivery, _context: Context) -> Answer:
    """Note what became of the message of the issue or of an amendment."""
    delivery = _DELIVERIES.get(command.result)
    if delivery is None:
        return Refusal(
            "DELIVERY_UNKNOWN",
            "A delivery is sent, acked or naked.",
            hint="Give one of these three.",
        )
    known = {line.message: line.delivery for line in state.amendments.values() if line.message}
    if state.message:
        known[state.message] = state.delivery
    if command.message not in known:
        return Refusal(
            "UNKNOWN_MESSAGE",
            "The credit has sent no such message.",
            hint="Check the reference (MUR) of the message.",
        )
    before = known[command.message]
    if before == delivery or before == "confirmed":
        return NOTHING
    match delivery:
        case "pending":
            return Decision((m.DeliveryPending(message=command.message),))
        case "confirmed":
            return Decision((m.DeliveryConfirmed(message=command.message),))
    return Decision((m.DeliveryFailed(message=command.message, code=command.code),))


def _left_the_bank(state: CreditState) -> Refusal | None:
    if state.state != "ISSUED" or state.drawings or state.amendments:
        return _not_now(state, "issued and untouched", article="UCP600-7b,10a")
    if state.delivery == "confirmed":
        return Refusal(
            "ALREADY_DELIVERED",
            "The network took the credit: the bank is bound.",
            "UCP600-7b,10a",
            "Ask all parties to agree to a cancellation.",
        )
    if state.delivery == "pending":
        return Refusal(
            "DELIVERY_IN_DOUBT",
            "The credit left the bank and the network has not answered.",
            "UCP600-7b",
            "Wait for ACK or NAK, or ask the gateway, before deciding.",
        )
    return None


def request_void(state: CreditState, command: m.RequestVoid, context: Context) -> Answer:
    """Propose to void, as the first of two people."""
    if state.state == "VOIDED" or state.void_maker:
        return NOTHING
    flaw = _left_the_bank(state)
    if flaw:
        return flaw
    return Decision((m.VoidRequested(reason=command.reason, maker=context.actor.person),))


def void(state: CreditState, command: m.VoidIssue, context: Context) -> Answer:
    """Void an issue of which nothing left the bank: two people, or a saga that they agreed to."""
    if state.state == "VOIDED" or (command.undoes and state.state in BEFORE_ISSUE):
        return NOTHING
    flaw = _left_the_bank(state)
    if flaw:
        return flaw
    if is_person(context.actor):
        if not state.void_maker:
            return _not_now(
                state, "proposed to be voided", "Request the void; a second person then voids."
            )
        flaw = second_person_missing(context.actor, state.void_maker)
        if flaw:
            return flaw
    entries = voucher(state, context)
    event = m.IssueVoided(
        **_why(command),
        person=context.actor.person,
        postings=posting.credit_closed(entries, undrawn=state.undrawn, margin=state.margin),
    )
    timers = tuple(TimerCancelled(timer_id=timer) for timer in state.timers)
    return Decision((event, *timers), to_facility(state, context, left=0, margin=0, closed=True))


def record_advice(state: CreditState, command: m.RecordAdvice, _context: Context) -> Answer:
    """File an acknowledgement (MT730); nothing ever waits for it."""
    if f"730:{command.reference}" in state.correspondence:
        return NOTHING
    if state.side != "import" or state.state in (*BEFORE_ISSUE, "REJECTED", "WITHDRAWN", "VOIDED"):
        return _not_now(state, "issued")
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    return Decision((m.AdviceAcknowledged(**fields),))
