"""Amendments: bound when issued, in force when all agree, whole or not at all (UCP 600 article 10)."""

from __future__ import annotations

from msgspec.structs import replace

from usance.domain import posting
from usance.domain.credit import amendment_messages as m
from usance.domain.credit.application import amendment_check, in_process, stale_approval
from usance.domain.credit.balances import (
    expiry_timer,
    exposure,
    home_of,
    to_facility,
    voucher,
    with_amendment,
    with_changes,
)
from usance.domain.credit.state import IN_FORCE, OPERATIVE, OVER, AmendmentLine, CreditState
from usance.domain.guards import approver_missing, digest, local_day, not_now, terms_flaw, tier_of
from usance.domain.posting import Posting
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.timers import TimerSet

Answer = Decision | Refusal

BENEFICIARY, CONFIRMER = "beneficiary", "confirmer"
SETTLED = ("accepted", "deemed", "rejected", "dropped")
UNISSUED = ("requested", "awaiting", "approved")


def consents_needed(state: CreditState) -> list[str]:
    """Return who must agree to a change beside the issuing bank (10a)."""
    confirmed = state.confirmed or state.stipulated.confirmation == "CONFIRM"
    return [BENEFICIARY, CONFIRMER] if confirmed else [BENEFICIARY]


def _unknown(number: int) -> Refusal:
    return Refusal(
        "UNKNOWN_AMENDMENT",
        f"The credit has no amendment {number}.",
        "UCP600-10",
        "Look at the amendments of the credit and take one of their numbers.",
    )


def _not_now(line: AmendmentLine, needs: str, hint: str = "") -> Refusal:
    return not_now("amendment", line.phase, needs, hint, "UCP600-10")


def _changes_flaw(state: CreditState, changes: m.TermsChanges) -> Refusal | None:
    """Return why the terms would make no sense with these changes."""
    terms = state.stipulated
    after = with_changes(terms, changes)
    if changes.increase < 0 or changes.decrease < 0 or (changes.increase and changes.decrease):
        return Refusal(
            "INCREASE_AND_DECREASE",
            "An amendment increases or decreases the amount, never both, by an amount above zero.",
            "MT707-32B,33B",
            "Give one of them.",
        )
    if after == terms:
        return None
    return terms_flaw(after)


def _number_flaw(state: CreditState, number: int) -> Refusal | None:
    used = (n for n, line in state.amendments.items() if line.phase != "dropped")
    expected = max(used, default=0) + 1
    if number == expected:
        return None
    return Refusal(
        "AMENDMENT_NUMBER",
        f"The next amendment of this credit is number {expected}.",
        "MT707-26E",
        "Number amendments from 1 without gaps.",
    )


def request(state: CreditState, command: m.RequestAmendment, context: Context) -> Answer:
    """Take a request for an amendment in; its approval binds what it shows."""
    content = digest(
        context, command.changes, command.parties, command.narrative, command.amendment
    )
    known = state.amendments.get(command.amendment)
    if known and known.phase != "dropped" and known.content_hash == content:
        return NOTHING
    if not state.books or state.state not in (*OPERATIVE, "FULLY_DRAWN"):
        return not_now("credit", state.state, "issued by us and not over", article="UCP600-10a")
    flaw = _number_flaw(state, command.amendment) or _changes_flaw(state, command.changes)
    if flaw:
        return flaw
    pending = AmendmentLine("pending", changes=command.changes)
    liability = exposure(with_amendment(state, command.amendment, pending))
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    event = m.AmendmentRequested(
        **fields,
        maker=context.actor.person,
        facility=state.facility,
        revision=context.revision + 1,
        content_hash=content,
        currency=state.stipulated.currency,
        liability=liability + state.owed,
        liability_change=liability - state.undrawn,
    )
    return Decision((event,))


def _held(state: CreditState, number: int) -> Refusal | None:
    return in_process(state, amendment_check(number))


def _change(state: CreditState, number: int, line: AmendmentLine) -> int:
    """Return by how much an amendment would move the exposure, in minor units."""
    pending = AmendmentLine("pending", changes=line.changes)
    return exposure(with_amendment(state, number, pending)) - state.undrawn


def request_approval(
    state: CreditState, command: m.RequestAmendmentApproval, context: Context
) -> Answer:
    """Put an amendment before a second person, once its check is over."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    if line.phase in ("awaiting", "approved"):
        return NOTHING
    if line.phase != "requested" or line.changes is None:
        return _not_now(line, "requested")
    held = _held(state, command.amendment)
    if held:
        return held
    change = _change(state, command.amendment, line)
    currency = state.stipulated.currency
    event = m.AmendmentApprovalRequested(
        amendment=command.amendment,
        revision=context.revision + 1,
        content_hash=line.content_hash,
        tier=tier_of(abs(change), currency),
        amount=change,
        currency=currency,
    )
    return Decision((event,))


def approve(state: CreditState, command: m.ApproveAmendment, context: Context) -> Answer:
    """Approve by a second person, bound to revision and content."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    bound = (command.revision, command.content_hash) == (line.revision, line.content_hash)
    if line.phase == "approved" and bound:
        return NOTHING
    if line.phase != "awaiting":
        held = _held(state, command.amendment)
        return held or _not_now(line, "awaiting approval", "It is put up for approval by itself.")
    amount = abs(_change(state, command.amendment, line))
    currency = state.stipulated.currency
    flaw = _held(state, command.amendment)
    flaw = flaw or approver_missing(context.actor, amount, currency, line.maker)
    if flaw:
        return flaw
    if not bound:
        return stale_approval()
    event = m.AmendmentApproved(
        amendment=command.amendment, approver=context.actor.person, reason=command.reason
    )
    return Decision((event,))


def drop(state: CreditState, command: m.DropAmendment, _context: Context) -> Answer:
    """Turn a requested amendment down before its issue."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    if line.phase == "dropped":
        return NOTHING
    if line.phase not in UNISSUED:
        return _not_now(line, "not issued yet", "The bank is bound: await the parties' answer.")
    return Decision(
        (
            m.AmendmentDropped(
                amendment=command.amendment, cause=command.cause, reason=command.reason
            ),
        )
    )


def _booked(state: CreditState, change: int, context: Context) -> list[Posting]:
    return posting.amendment_booked(voucher(state, context), change) if state.books else []


def issue(state: CreditState, command: m.IssueAmendment, context: Context) -> Answer:
    """Issue an approved amendment; what it adds to the exposure is booked at once."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    if line.phase == "pending" or line.phase in SETTLED[:3]:
        return NOTHING
    if line.phase != "approved" or line.changes is None:
        return _not_now(line, "approved", "A second person must approve first.")
    if state.state not in (*OPERATIVE, "FULLY_DRAWN"):
        return not_now("credit", state.state, "issued by us and not over", article="UCP600-10a")
    held = _held(state, command.amendment)
    if held:
        return held
    after = with_amendment(state, command.amendment, AmendmentLine("pending", changes=line.changes))
    liability = exposure(after)
    change = liability - state.undrawn
    event = m.AmendmentIssued(
        amendment=command.amendment,
        changes=line.changes,
        message=command.message or f"{state.credit}A{command.amendment}",
        date=local_day(home_of(state.stipulated), context.instant).isoformat(),
        consents=consents_needed(state),
        currency=state.stipulated.currency,
        liability=liability,
        liability_change=change,
        postings=_booked(state, change, context),
    )
    return Decision((event, *_rearmed(state, after)))


def void(state: CreditState, command: m.VoidAmendment, context: Context) -> Answer:
    """Undo an issue of which nothing left the bank."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    if line.phase == "dropped" or (command.undoes and line.phase in UNISSUED):
        return NOTHING
    if line.phase != "pending":
        return _not_now(line, "issued and unanswered")
    if line.delivery in ("pending", "confirmed"):
        return Refusal(
            "ALREADY_DELIVERED" if line.delivery == "confirmed" else "DELIVERY_IN_DOUBT",
            "The amendment left the bank: the bank is bound, or may be.",
            "UCP600-10b",
            "Wait for ACK or NAK; after an ACK only another amendment changes it.",
        )
    after = with_amendment(state, command.amendment, AmendmentLine("dropped"))
    liability = exposure(after) if state.books else 0
    change = liability - state.undrawn
    event = m.AmendmentVoided(
        amendment=command.amendment,
        cause=command.cause,
        liability=liability,
        liability_change=change,
        postings=_booked(state, change, context),
    )
    return Decision((event, *_rearmed(state, after)))


def receive(state: CreditState, command: m.ReceiveAmendment, context: Context) -> Answer:
    """Take in an amendment of the issuing bank."""
    content = digest(context, command.changes, command.sender_reference)
    known = state.amendments.get(command.amendment)
    if known and known.content_hash == content:
        return NOTHING
    if state.side != "export" or state.state in ("", "DECLINED", "CLOSED", "CANCELLED"):
        return not_now("credit", state.state, "received from another bank and not over")
    if known:
        return Refusal(
            "AMENDMENT_NUMBER",
            "Another amendment bears this number.",
            "MT707-26E",
            "Ask the issuing bank which of the two stands.",
        )
    flaw = _changes_flaw(state, command.changes)
    if flaw:
        return flaw
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    event = m.AmendmentReceived(**fields, consents=consents_needed(state), content_hash=content)
    line = AmendmentLine("pending", changes=command.changes)
    return Decision((event, *_rearmed(state, with_amendment(state, command.amendment, line))))


def _rearmed(state: CreditState, after: CreditState) -> tuple[TimerSet, ...]:
    """Return the timer of a last day that an amendment moves, or that has none any more."""
    timer = expiry_timer(after)
    if not state.timers or ("expiry" in state.timers and timer == expiry_timer(state)):
        return ()
    return timer


def _in_effect(state: CreditState, number: int, line: AmendmentLine) -> CreditState:
    """Return the state once an amendment is part of the terms."""
    assert line.changes is not None
    terms = with_changes(state.stipulated, line.changes)
    return with_amendment(state, number, AmendmentLine("accepted"), terms)


def _accept(
    state: CreditState, line: AmendmentLine, command: m.RespondToAmendment, context: Context
) -> Answer:
    given = m.AmendmentConsentGiven(
        amendment=command.amendment, party=command.party, reference=command.reference
    )
    if line.awaits != (command.party,):
        return Decision((given,))
    after = _in_effect(state, command.amendment, line)
    flaw = terms_flaw(after.stipulated)
    if flaw:
        return flaw
    liability = exposure(after) if state.books else 0
    change = liability - state.undrawn
    event = m.AmendmentAccepted(
        amendment=command.amendment,
        terms_version=state.terms_version + 1,
        liability=liability,
        liability_change=change,
        postings=_booked(state, change, _second(context)),
    )
    sends = to_facility(state, context, left=liability + state.owed, margin=state.margin)
    return Decision((given, event, *_rearmed(state, after)), sends if change < 0 else ())


def _second(context: Context) -> Context:
    """Return the context of the second event of a decision, whose journal it names."""
    return replace(context, revision=context.revision + 1)


def _reject(state: CreditState, command: m.RespondToAmendment, context: Context) -> Answer:
    after = with_amendment(state, command.amendment, AmendmentLine("rejected"))
    liability = exposure(after) if state.books else 0
    change = liability - state.undrawn
    event = m.AmendmentRejected(
        amendment=command.amendment,
        party=command.party,
        in_part=command.answer == "accept_in_part",
        reference=command.reference,
        liability=liability,
        liability_change=change,
        postings=_booked(state, change, context),
    )
    sends = to_facility(state, context, left=liability + state.owed, margin=state.margin)
    return Decision((event, *_rearmed(state, after)), sends if change < 0 else ())


def respond(state: CreditState, command: m.RespondToAmendment, context: Context) -> Answer:
    """Record a party's answer; acceptance of a part rejects the whole (10e)."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    answered = {"accept": "accepted", "reject": "rejected", "accept_in_part": "rejected"}
    if command.answer not in answered:
        return Refusal(
            "ANSWER_UNKNOWN",
            "The answer to an amendment is accept, reject or accept_in_part.",
            "UCP600-10c",
            "Silence is no answer; wait for one, or for a presentation.",
        )
    if line.phase == answered[command.answer] or (
        line.phase == "deemed" and command.answer == "accept"
    ):
        return NOTHING
    if line.phase != "pending" or state.state in OVER:
        return _not_now(line, "issued and unanswered, under a credit that is not over")
    if command.party not in (BENEFICIARY, CONFIRMER):
        return Refusal(
            "PARTY_UNKNOWN",
            "Only the beneficiary and a confirming bank answer an amendment.",
            "UCP600-10a",
            f"Give {BENEFICIARY} or {CONFIRMER}.",
        )
    if command.party not in line.awaits:
        if command.answer == "accept":
            return NOTHING
        return _not_now(line, f"without an answer of the {command.party}")
    held = _held(state, command.amendment)
    if held:
        return held
    if command.answer == "accept":
        return _accept(state, line, command, context)
    return _reject(state, command, context)


def deem_accepted(state: CreditState, command: m.DeemAmendmentAccepted, context: Context) -> Answer:
    """Take a presentation that complies only as amended for the beneficiary's consent (10c)."""
    line = state.amendments.get(command.amendment)
    if line is None:
        return _unknown(command.amendment)
    if line.phase in ("deemed", "accepted"):
        return NOTHING
    if line.phase != "pending" or state.state not in IN_FORCE:
        return _not_now(line, "issued and unanswered, under a credit in force")
    drawing = state.drawings.get(command.presentation)
    if drawing is None or drawing.phase != "open":
        return Refusal(
            "DRAWING_NOT_OPEN",
            "Only a presentation under examination can accept an amendment.",
            "UCP600-10c",
            "Register the drawing first.",
        )
    after = _in_effect(state, command.amendment, line)
    flaw = terms_flaw(after.stipulated)
    if flaw:
        return flaw
    liability = exposure(after) if state.books else 0
    change = liability - state.undrawn
    event = m.AmendmentDeemedAccepted(
        amendment=command.amendment,
        presentation=command.presentation,
        terms_version=state.terms_version + 1,
        liability=liability,
        liability_change=change,
        postings=_booked(state, change, context),
    )
    sends = to_facility(state, context, left=liability + state.owed, margin=state.margin)
    return Decision((event, *_rearmed(state, after)), sends if change < 0 else ())
