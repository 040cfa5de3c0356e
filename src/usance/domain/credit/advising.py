"""The export side: credits of other banks that we advise, confirm or are nominated by (articles 8, 9, 12)."""

from __future__ import annotations

import re

from usance.domain.credit import messages as m
from usance.domain.credit.amendment_messages import (
    AmendmentAwaitsCredit,
    AmendmentDropped,
    DropAmendment,
    ReceiveAmendment,
)
from usance.domain.credit.application import in_process
from usance.domain.credit.balances import expiry_timer, place_of
from usance.domain.credit.state import CreditState
from usance.domain.guards import (
    digest,
    is_person,
    local_day,
    not_now,
    second_person_missing,
    terms_flaw,
    wrong_key,
)
from usance.domain.tolerance import max_liability
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet

Answer = Decision | Refusal

ROLES = ("advising", "second_advising", "nominated", "confirming", "transferring")
TYPES = ("700", "710", "720")
ASKED = ("CONFIRM", "MAY ADD")
FIN, NETWORK_ROLE = "fin", "network"
BENEFICIARY = "beneficiary"
_BANK = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
AWAITED = "awaited"
WAIT_MS = 3 * MS_PER_DAY
"""How long an amendment waits for its credit before people hear of it."""


def receive(state: CreditState, command: m.ReceiveCredit, context: Context) -> Answer:
    """Take in a credit of another bank."""
    flaw = wrong_key(context, command.credit) or terms_flaw(command.terms)
    if flaw:
        return flaw
    if command.mt not in TYPES or command.role not in ROLES:
        return Refusal(
            "ROLE_UNKNOWN",
            "A credit arrives as MT700, 710 or 720, in a role of this bank.",
            hint=f"Give one of the types {', '.join(TYPES)} and one of {', '.join(ROLES)}.",
        )
    command = command.apart()
    parties, narrative = digest(context, command.parties), digest(context, command.narrative)
    content = digest(
        context, command.terms, parties, narrative, command.sender, command.sender_reference
    )
    if state.known:
        if content == state.content_hash:
            return NOTHING
        return Refusal(
            "CREDIT_EXISTS",
            "Another credit bears this number.",
            hint="Check whether the message is a duplicate with changes; ask its sender.",
        )
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    event = m.CreditReceived(
        **fields,
        parties_digest=parties,
        narrative_digest=narrative if command.narrative else "",
        content_hash=content,
        authentication=FIN if context.actor.role == NETWORK_ROLE else "",
    )
    return Decision((event, *(TimerCancelled(timer_id=timer) for timer in state.timers)))


def authenticate(state: CreditState, command: m.AuthenticateCredit, context: Context) -> Answer:
    """Record that the credit appears authentic."""
    if state.side == "export" and state.state not in ("RECEIVED", "DECLINED"):
        return NOTHING
    if state.state != "RECEIVED":
        return not_now("credit", state.state, "received", article="UCP600-9b")
    if not command.method.strip():
        return Refusal(
            "METHOD_MISSING",
            "Say how the apparent authenticity was checked.",
            "UCP600-9b",
            "Give fin, key, or the method used.",
        )
    return _vouched(state, command, context)


def _vouched(state: CreditState, command: m.AuthenticateCredit, context: Context) -> Answer:
    """Take the network's word for what came by it; for all else two people's, never one claim."""
    by_fin = command.method == FIN
    if by_fin and not (state.authentication == FIN and not is_person(context.actor)):
        return Refusal(
            "NOT_BY_FIN",
            "Only the FIN gateway can say that a credit is authenticated by FIN.",
            "UCP600-9b",
            "Check it by test key or with the sender, and name that method; two people do it.",
        )
    if by_fin:
        return Decision((m.CreditAuthenticated(method=FIN, person=""),))
    flaw = second_person_missing(context.actor, state.authenticated_by)
    if flaw:
        return flaw
    person = context.actor.person
    if not state.authenticated_by:
        return Decision((m.AuthenticationProposed(method=command.method, maker=person),))
    return Decision((m.CreditAuthenticated(method=command.method, person=person),))


# -- an amendment that overtook its credit


def hold(state: CreditState, command: ReceiveAmendment, context: Context) -> Answer:
    """Keep an amendment that the network delivered before its credit; its wait is bounded."""
    if context.actor.role != NETWORK_ROLE:
        return unknown_credit()
    content = digest(context, command.changes, command.sender_reference)
    if state.early.get(command.amendment) == content:
        return NOTHING
    if command.amendment in state.early:
        return Refusal(
            "AMENDMENT_NUMBER",
            "Another amendment bears this number.",
            "MT707-26E",
            "Ask the issuing bank which of the two stands.",
        )
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    event = AmendmentAwaitsCredit(**fields, content_hash=content)
    timer = TimerSet(
        timer_id=AWAITED,
        due=context.instant + WAIT_MS,
        reason="the credit of an amendment has not come",
    )
    return Decision((event,) if AWAITED in state.timers else (event, timer))


def give_up(state: CreditState, command: DropAmendment, _context: Context) -> Answer:
    """Let go of an amendment whose credit never came."""
    if command.amendment not in state.early:
        return unknown_credit()
    event = AmendmentDropped(
        amendment=command.amendment, cause="its credit never came", reason=command.reason
    )
    last = len(state.early) == 1
    return Decision((event, *(TimerCancelled(timer_id=t) for t in state.timers if last)))


def missing(state: CreditState, _command: TimerDue, _context: Context) -> Answer:
    """Tell people that the credit of an amendment has not come; what waits goes on waiting."""
    if not state.early or state.state == "MISSING":
        return NOTHING
    return Decision((m.CreditMissing(amendments=sorted(state.early)),))


def unknown_credit() -> Refusal:
    """Return the answer where no credit is."""
    return Refusal(
        "UNKNOWN_CREDIT",
        "No credit is kept under this number.",
        hint="Check the number; a message may have arrived before its credit.",
    )


def advise(state: CreditState, command: m.AdviseCredit, context: Context) -> Answer:
    """Pass the credit on; only once it appears authentic and its checks are over."""
    if state.side == "export" and state.state not in ("RECEIVED", "AUTHENTICATED", "DECLINED"):
        return NOTHING
    if state.state != "AUTHENTICATED":
        hint = "Check its authenticity first, or decline and tell the sender without delay."
        return not_now("credit", state.state, "authenticated", hint, "UCP600-9b,9f")
    held = in_process(state)
    if held:
        return held
    if command.to != BENEFICIARY and not _BANK.fullmatch(command.to):
        return Refusal(
            "RECEIVER_UNKNOWN",
            "A credit is advised to its beneficiary, or through a second bank.",
            "UCP600-9c",
            "Say beneficiary, or give the BIC of the second advising bank.",
        )
    today = local_day(place_of(state.stipulated), context.instant).isoformat()
    event = m.CreditAdvised(to=command.to, message=command.message, date=today)
    return Decision((event, *expiry_timer(state)))


def decline(state: CreditState, command: m.DeclineToAdvise, _context: Context) -> Answer:
    """Do not pass the credit on."""
    if state.state == "DECLINED":
        return NOTHING
    if state.state not in ("RECEIVED", "AUTHENTICATED"):
        return not_now("credit", state.state, "received and not yet advised", article="UCP600-9e")
    return Decision((m.AdviceDeclined(reason=command.reason),))


def _confirmation_flaw(state: CreditState) -> Refusal | None:
    if state.side != "export" or state.state not in ("AUTHENTICATED", "ADVISED"):
        return not_now(
            "credit", state.state, "of another bank, authentic and undrawn", article="UCP600-8"
        )
    if state.stipulated.confirmation not in ASKED:
        return Refusal(
            "CONFIRMATION_NOT_ASKED",
            "The issuing bank did not ask for or allow our confirmation.",
            "UCP600-8d",
            "Advise without confirming, or ask the issuing bank to amend field 49.",
        )
    return None


def confirm(state: CreditState, _command: m.AddConfirmation, context: Context) -> Answer:
    """Add our undertaking."""
    if state.confirmed:
        return NOTHING
    flaw = _confirmation_flaw(state) or in_process(state)
    flaw = flaw or second_person_missing(context.actor)
    if flaw:
        return flaw
    liability = max_liability(state.stipulated)
    event = m.ConfirmationAdded(person=context.actor.person, liability=liability)
    timers = () if "expiry" in state.timers else expiry_timer(state)
    return Decision((event, *timers))


def decline_confirmation(
    state: CreditState, command: m.DeclineConfirmation, _context: Context
) -> Answer:
    """Do not add our undertaking; may advise all the same."""
    if state.confirmation_declined:
        return NOTHING
    if state.confirmed:
        return not_now(
            "credit", "confirmed", "unconfirmed", "A confirmation binds.", "UCP600-8b,10a"
        )
    flaw = _confirmation_flaw(state)
    if flaw:
        return flaw
    return Decision((m.ConfirmationDeclined(reason=command.reason),))


def correspond(state: CreditState, command: m.RecordCorrespondence, _context: Context) -> Answer:
    """File a message that changes nothing; the same message is filed once."""
    if f"{command.mt}:{command.reference}" in state.correspondence:
        return NOTHING
    if not command.reference.strip() or not command.mt.strip():
        return Refusal(
            "REFERENCE_MISSING",
            "A message is filed by its type and its sender's reference.",
            hint="Give both, as fields 20 and block 2 have them.",
        )
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    return Decision((m.CorrespondenceRecorded(**fields),))
