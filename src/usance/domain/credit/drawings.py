"""Drawings on the balance of a credit, and its end by cancellation, expiry or close."""

from __future__ import annotations

from msgspec.structs import replace

from usance.domain import posting
from usance.domain.credit.amendments import consents_needed
from usance.domain.credit.balances import (
    end_of_last_day,
    expiry_timer,
    last_day,
    pending_terms,
    place_of,
    to_facility,
    voucher,
)
from usance.domain.credit.drawing_messages import (
    CancelCredit,
    CancellationConsentGiven,
    CancellationDeclined,
    CancellationRequested,
    CloseCredit,
    CreditCancelled,
    CreditClosed,
    CreditExpired,
    DrawingHonoured,
    DrawingRegistered,
    DrawingReleased,
    DrawingSettled,
    ExpireCredit,
    HonourDrawing,
    RegisterDrawing,
    ReleaseDrawing,
    RespondToCancellation,
    SettleDrawing,
)
from usance.domain.credit.state import IN_FORCE, OPERATIVE, OVER, CreditState
from usance.domain.dates import day_of
from usance.domain.guards import amount_flaw, local_day, not_now, still_in_process
from usance.domain.posting import Posting
from usance.domain.tolerance import max_liability
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet

Answer = Decision | Refusal

METHODS = ("sight", "acceptance", "deferred", "negotiation")
GRACE_DAYS = 15
"""Days after expiry in which documents presented in time may still be on their way to us."""


def _no_drawing() -> Refusal:
    return Refusal(
        "UNKNOWN_DRAWING",
        "The credit knows no drawing of this presentation.",
        hint="Register the drawing first.",
    )


def register(state: CreditState, command: RegisterDrawing, _context: Context) -> Answer:
    """Put a claim against the balance. Whether it may be drawn, the examination decides.

    Claims under a credit that is over are registered too: they must be examined and refused by a
    notice in time like any other (article 16).
    """
    line = state.drawings.get(command.presentation)
    if line and line.phase != "released":
        return NOTHING
    if state.state not in (*IN_FORCE, *OVER):
        return not_now("credit", state.state, "issued or advised", "Check the credit's number.")
    flaw = amount_flaw(command.currency, command.amount)
    if flaw:
        return flaw
    if day_of(command.presented) is None:
        return Refusal(
            "PRESENTED_UNREADABLE",
            "The day of presentation is no date.",
            hint="Give it as YYYY-MM-DD.",
        )
    terms = state.stipulated
    drawn = state.used + state.claimed
    left = 0 if state.state in OVER else max(0, max_liability(terms) - drawn)
    event = DrawingRegistered(
        presentation=command.presentation,
        currency=command.currency,
        amount=command.amount,
        presented=command.presented,
        available=left,
        drawn=drawn,
        over_drawn=command.amount > left or command.currency != terms.currency,
        terms_version=state.terms_version,
        terms=terms,
        pending=pending_terms(terms, state.amendments),
    )
    return Decision((event,))


def release(state: CreditState, command: ReleaseDrawing, _context: Context) -> Answer:
    """Give a refused or withdrawn claim back."""
    line = state.drawings.get(command.presentation)
    if line is None:
        return _no_drawing()
    if line.phase == "released":
        return NOTHING
    if line.phase != "open":
        return not_now("drawing", line.phase, "undecided", "What was honoured stays drawn.")
    event = DrawingReleased(
        presentation=command.presentation, amount=line.amount, reason=command.reason
    )
    return Decision((event,))


def _honour_flaw(state: CreditState, command: HonourDrawing, amount: int) -> Refusal | None:
    if command.method not in METHODS:
        return Refusal(
            "METHOD_UNKNOWN",
            "A drawing is honoured at sight, by acceptance, deferred or by negotiation.",
            "UCP600-2",
            f"Give one of: {', '.join(METHODS)}.",
        )
    if state.state in OVER:
        return Refusal(
            "CREDIT_CLOSED",
            "The credit is over and its limit is released.",
            "UCP600-7",
            "Settle outside the credit, and record there why.",
        )
    if not 0 < command.amount <= amount:
        return Refusal(
            "AMOUNT_EXCEEDS_CLAIM",
            "No more can be honoured than was claimed in the currency of the credit.",
            "UCP600-7c,18b",
            "Honour the amount of the claim, or less with the presenter's consent.",
        )
    later = command.method in ("acceptance", "deferred")
    if later and day_of(command.maturity) is None:
        return Refusal(
            "MATURITY_MISSING",
            "An acceptance or deferred undertaking needs its due date.",
            "UCP600-7a",
            "Give the maturity as YYYY-MM-DD.",
        )
    return None


def _held(state: CreditState) -> Refusal | None:
    """Return the neutral answer while a check about all of the credit runs."""
    return still_in_process("credit") if state.held else None


def _entries(state: CreditState, command: HonourDrawing, context: Context) -> list[Posting]:
    entries = voucher(state, context)
    if command.method in ("acceptance", "deferred"):
        return posting.draft_accepted(entries, command.amount, undrawn=state.undrawn)
    return posting.honoured_at_sight(
        entries, command.amount, undrawn=state.undrawn, margin=state.margin
    )


def honour(state: CreditState, command: HonourDrawing, context: Context) -> Answer:
    """Use the credit up by a drawing: P8 when paid, P10 when owed."""
    line = state.drawings.get(command.presentation)
    if line is None:
        return _no_drawing()
    if line.phase in ("owed", "paid", "settled"):
        return NOTHING
    if line.phase != "open":
        return not_now("drawing", line.phase, "undecided", "Register the drawing again first.")
    flaw = _honour_flaw(state, command, line.amount) or _held(state)
    if flaw:
        return flaw
    terms = state.stipulated
    used = state.used + command.amount
    owed = command.method in ("acceptance", "deferred")
    from_margin = 0 if owed else min(command.amount, state.margin)
    event = DrawingHonoured(
        presentation=command.presentation,
        method=command.method,
        currency=terms.currency,
        amount=command.amount,
        maturity=command.maturity,
        fully_drawn=used >= max_liability(terms) or terms.partial_shipments == "NOT ALLOWED",
        from_margin=from_margin if state.books else 0,
        postings=_entries(state, command, context) if state.books else [],
    )
    if owed:
        return Decision((event,))
    left = max(0, state.undrawn - command.amount) + state.owed
    return Decision(
        (event,), to_facility(state, context, left=left, margin=state.margin - from_margin)
    )


def settle(state: CreditState, command: SettleDrawing, context: Context) -> Answer:
    """Pay what fell due (P11), or note a sight drawing as paid."""
    line = state.drawings.get(command.presentation)
    if line is None:
        return _no_drawing()
    if line.phase == "settled":
        return NOTHING
    if line.phase not in ("owed", "paid"):
        return not_now("drawing", line.phase, "honoured", "Honour the drawing first.")
    held = _held(state)
    if held:
        return held
    due = line.phase == "owed" and state.books
    from_margin = min(line.amount, state.margin) if due else 0
    entries = voucher(state, context)
    event = DrawingSettled(
        presentation=command.presentation,
        currency=state.stipulated.currency,
        amount=line.amount,
        from_margin=from_margin,
        postings=posting.paid_at_maturity(entries, line.amount, margin=state.margin) if due else [],
    )
    if not due:
        return Decision((event,))
    left = state.undrawn + state.owed - line.amount
    return Decision(
        (event,), to_facility(state, context, left=left, margin=state.margin - from_margin)
    )


# -- the end


def _ended(state: CreditState, context: Context) -> list[Posting]:
    if not state.books:
        return []
    entries = voucher(state, context)
    return posting.credit_closed(entries, undrawn=state.undrawn, margin=state.margin)


def _silenced(state: CreditState) -> tuple[TimerCancelled, ...]:
    return tuple(TimerCancelled(timer_id=timer) for timer in state.timers)


def cancel(state: CreditState, command: CancelCredit, _context: Context) -> Answer:
    """Ask for the end of the credit; nobody can end it alone (10a)."""
    if state.cancelling or state.state == "CANCELLED":
        return NOTHING
    if state.state not in OPERATIVE:
        return not_now("credit", state.state, "issued and not over", article="UCP600-10a")
    if state.anything_open:
        return _still_open()
    event = CancellationRequested(reason=command.reason, consents=consents_needed(state))
    return Decision((event,))


def respond(state: CreditState, command: RespondToCancellation, context: Context) -> Answer:
    """Record a party's answer; the last consent ends the credit, one refusal keeps it."""
    if state.state == "CANCELLED" and command.answer == "accept":
        return NOTHING
    if command.answer not in ("accept", "reject"):
        return Refusal(
            "ANSWER_UNKNOWN",
            "The answer to a cancellation is accept or reject.",
            "UCP600-10a",
            "Silence is no consent; wait for an answer.",
        )
    if command.party not in state.cancelling:
        return not_now(
            "credit",
            state.state,
            "awaiting this party's answer to a cancellation",
            article="UCP600-10a",
        )
    if command.answer == "reject":
        declined = CancellationDeclined(party=command.party, reference=command.reference)
        return Decision((declined,))
    if state.anything_open:
        return _still_open()
    given = CancellationConsentGiven(party=command.party, reference=command.reference)
    if state.cancelling != (command.party,):
        return Decision((given,))
    journal = replace(context, revision=context.revision + 1)
    event = CreditCancelled(postings=_ended(state, journal))
    sends = to_facility(state, context, left=0, margin=0, closed=True)
    return Decision((given, event, *_silenced(state)), sends)


def _still_open() -> Refusal:
    return Refusal(
        "DRAWING_OPEN",
        "A presentation is undecided, an undertaking unpaid, or an amendment unanswered.",
        "UCP600-7,10b",
        "Decide, settle or await it first.",
    )


def expire(state: CreditState, _command: ExpireCredit, context: Context) -> Answer:
    """Expire once the last day is over and no timely presentation is open."""
    if state.expired:
        return NOTHING
    day = last_day(state)
    if state.state not in OPERATIVE or day is None:
        return not_now("credit", state.state, "issued or advised, and not over")
    if context.instant < end_of_last_day(state, day):
        return Refusal(
            "NOT_YET_EXPIRED",
            f"The last day to present documents is {day}.",
            "UCP600-6d-i,29",
            "The credit expires by itself after that day.",
        )
    if any(line.phase == "open" and line.timely for line in state.drawings.values()):
        return _still_open()
    return Decision((_expired(state), _close_timer(state, context)))


def _expired(state: CreditState) -> CreditExpired:
    day = str(last_day(state) or "")
    expiry = state.stipulated.expiry_date
    return CreditExpired(expiry_date=expiry, last_day=day, extended=day > expiry)


def _close_timer(state: CreditState, context: Context) -> TimerSet:
    calendar = place_of(state.stipulated)
    return TimerSet(
        timer_id="close",
        due=context.instant + GRACE_DAYS * MS_PER_DAY,
        reason="the credit can be closed",
        calendar=calendar.id,
        calendar_version=calendar.version,
    )


def close(state: CreditState, command: CloseCredit, context: Context) -> Answer:
    """Close a credit that is drawn or expired and has nothing open (P16)."""
    if state.state == "CLOSED":
        return NOTHING
    if state.state not in ("FULLY_DRAWN", "EXPIRED"):
        return not_now(
            "credit",
            state.state,
            "fully drawn or expired",
            "Until it expires the beneficiary may draw.",
            "UCP600-10a",
        )
    if state.anything_open:
        return _still_open()
    event = CreditClosed(reason=command.reason, postings=_ended(state, context))
    sends = to_facility(state, context, left=0, margin=0, closed=True)
    return Decision((event, *_silenced(state)), sends)


def timer_due(state: CreditState, command: TimerDue, context: Context) -> Answer:
    """Expire or close by the clock. Never refused: what cannot be yet is tried again later."""
    state_without = {t for t in state.timers if t != command.timer_id}
    if command.timer_id == "expiry":
        if state.state == "FULLY_DRAWN" and "close" not in state_without:
            return Decision((_close_timer(state, context),))
        answer = expire(state, ExpireCredit(), context)
        return answer if isinstance(answer, Decision) else _again(state, context)
    if command.timer_id == "close" and state.state in ("FULLY_DRAWN", "EXPIRED"):
        if state.anything_open:
            return Decision((_close_timer(state, context),))
        event = CreditClosed(
            cause="after the days of grace", postings=_ended(state, _late(context))
        )
        return Decision((event,), to_facility(state, context, left=0, margin=0, closed=True))
    return NOTHING


def _late(context: Context) -> Context:
    """Return the context of an event behind the `TimerFired` that the owner puts first."""
    return replace(context, revision=context.revision + 1)


def _again(state: CreditState, context: Context) -> Decision:
    """Try to expire again tomorrow, or when the last day was moved, then."""
    if state.state not in OPERATIVE:
        return NOTHING
    timers = expiry_timer(state)
    if timers and timers[0].due > context.instant:
        return Decision(timers)
    day = local_day(place_of(state.stipulated), context.instant)
    calendar = place_of(state.stipulated)
    timer = TimerSet(
        timer_id="expiry",
        due=end_of_last_day(state, day),
        reason="the credit expires when its last timely presentation is decided",
        calendar=calendar.id,
        calendar_version=calendar.version,
    )
    return Decision((timer,))
