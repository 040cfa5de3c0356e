"""Which fact makes which FIN message. What we write depends on our part: issuing, or another bank's.

Each reaction gives `QueueMessage` commands on message streams; the same fact always makes the same
message, so that a reaction done twice queues it once. People who are no banks get no FIN message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from usance.domain.credit import amendment_messages as am
from usance.domain.credit import messages as cr
from usance.domain.credit.advising import BENEFICIARY
from usance.domain.credit.decider import CreditDecider
from usance.domain.message_exchange import AbandonMessage, FinText, QueueMessage
from usance.domain.presentation import messages as pr
from usance.domain.terms import Narrative, Parties, Terms
from usance.engine.history import History, Past
from usance.kernel.clock import date_text
from usance.kernel.decider import key_parts
from usance.kernel.errors import NotFound, Refused
from usance.kernel.ids import derived
from usance.kernel.money import Money
from usance.messages.outcome import UnreadableInput
from usance.messages.swift import outbound, outbound_credit
from usance.messages.swift.formats import is_bic
from usance.messages.swift.outbound_text import Part, fin_text
from usance.sagas.facts import beside, mur
from usance.sagas.reactions import Reaction

Sent = list[tuple[str, Any]]
Write = Callable[["Desk", str, Any], Sent]


class Credit(NamedTuple):
    """What messages need to know of a credit. `number` is the one both banks know it by."""

    identity: str
    number: str
    sender_number: str
    side: str
    date: str
    correspondent: str
    issuer: str
    subject: str
    parties: Parties
    narrative: Narrative | None
    first_terms: Terms
    past: list[Past]


class Desk:
    """Writes for one bank, whose BIC is `bic`, out of the history of streams."""

    def __init__(self, bic: str, history: History, note: Callable[[str], None]) -> None:
        self.bic = bic
        self.history = history
        self.note = note

    def credit(self, key: str) -> Credit | None:
        """Return what is known of a credit, None when nothing is."""
        try:
            past = self.history.stream(key)
        except NotFound:
            return None
        first = next(
            (
                p.message
                for p in past
                if isinstance(p.message, cr.CreditApplied | cr.CreditReceived)
            ),
            None,
        )
        if first is None:
            return None
        identity = key_parts(key).identity
        if isinstance(first, cr.CreditApplied):
            issued = (p.message for p in past if isinstance(p.message, cr.CreditIssued))
            own = (identity, "", "import", next((i.issue_date for i in issued), ""))
            banks = (first.terms.advising_bank, "")
        else:
            number = identity.partition("-")[2] or first.sender_reference
            own = (first.sender_reference, number, "export", first.issue_date)
            banks = (first.sender, first.terms.issuing_bank or first.sender)
        return Credit(
            identity, *own, *banks, first.parties.subject, first.parties, first.narrative,
            first.terms, past,
        )  # fmt: skip

    def terms(self, key: str, revision: int) -> Terms:
        """Return the terms in force after so many events of a credit."""
        state = self.history.fold(CreditDecider(), key, revision)
        terms: Terms = state.stipulated
        return terms

    def queue(
        self,
        stream: str,
        credit: Credit,
        part: Part,
        receiver: str,
        message: str,
        **about: Any,
    ) -> Sent:
        """Return the command that queues one message, none when it cannot be written."""
        try:
            text = fin_text(part, sender=self.bic, receiver=receiver, mur=message)
        except Refused as error:
            return self.unwritten(stream, part.mt, credit, error)
        return self.queued(stream, credit, part.mt, text, receiver, message, **about)

    def queued(
        self,
        stream: str,
        credit: Credit,
        mt: str,
        text: str,
        receiver: str,
        message: str,
        **about: Any,
    ) -> Sent:
        """Return the command that queues a whole text."""
        command = QueueMessage(
            message=message,
            mt=mt,
            receiver=receiver,
            credit=credit.identity,
            text=FinText(subject=credit.subject, text=text),
            **about,
        )
        return [(beside(stream, "message", message), command)]

    def unwritten(self, stream: str, mt: str, credit: Credit, error: Refused) -> Sent:
        """Return what makes a message that cannot be written a dead letter: somebody must send it.

        A refusal that nobody hears of would preclude the bank (article 16f).
        """
        self.note(f"MT{mt} of {credit.identity}: {error.message}. {error.hint}")
        command = UnreadableInput(
            received=f"MT{mt} of {stream}".encode(),
            stage="serialize",
            reason=f"MT{mt} cannot be written ({error.code})",
            source=stream,
        )
        return [(beside(stream, "unreadable", derived(stream, "fin", mt)), command)]

    def presented(self, stream: str) -> tuple[pr.PresentationReceived, Credit] | None:
        """Return a presentation and its credit, None when either is unknown."""
        for past in self.history.stream(stream):
            if isinstance(past.message, pr.PresentationReceived):
                credit = self.credit(beside(stream, "credit", past.message.credit))
                return None if credit is None else (past.message, credit)
        return None

    def day(self, stream: str, event: Any) -> str:
        """Return the day (UTC) on which an event of a stream was decided, YYYY-MM-DD."""
        for past in reversed(self.history.stream(stream)):
            if past.message == event:
                return date_text(past.instant)
        raise NotFound("the event is not in its stream", hint="Check the stream's key.")


def _issued(desk: Desk, stream: str, event: cr.CreditIssued) -> Sent:
    """MT700, MT701 where it is long, and MT740 where a bank is to reimburse."""
    credit = desk.credit(stream)
    if credit is None:
        return []
    terms = credit.first_terms
    try:
        parts = outbound_credit.issue(
            credit=credit.identity,
            terms=terms,
            parties=credit.parties,
            narrative=credit.narrative,
            issue_date=event.issue_date,
        )
    except Refused as error:
        return desk.unwritten(stream, "700", credit, error)
    sent: Sent = []
    for number, part in enumerate(parts):
        message = mur(credit.identity, "701", number) if number else event.message
        message = message or mur(credit.identity, "700")
        sent += desk.queue(stream, credit, part, terms.advising_bank, message)
    if is_bic(terms.reimbursing_bank):
        part = outbound_credit.reimbursement(credit=credit.identity, terms=terms)
        message = mur(credit.identity, "740")
        sent += desk.queue(stream, credit, part, terms.reimbursing_bank, message)
    return sent


def _voided(desk: Desk, stream: str, _event: cr.IssueVoided) -> Sent:
    """Nothing of a voided issue may still leave the bank: what waits for the gateway is abandoned."""
    reason = AbandonMessage(cause="the issue was voided")
    return [
        (key, reason)
        for past in desk.history.stream(stream)
        if isinstance(past.message, cr.CreditIssued)
        for key, command in _issued(desk, stream, past.message)
        if isinstance(command, QueueMessage)
    ]


def _amendment_voided(desk: Desk, stream: str, event: am.AmendmentVoided) -> Sent:
    """Nothing of a voided amendment may still leave the bank."""
    reason = AbandonMessage(cause="the amendment was voided")
    return [
        (key, reason)
        for past in desk.history.stream(stream)
        if isinstance(past.message, am.AmendmentIssued)
        and past.message.amendment == event.amendment
        for key, command in _amended(desk, stream, past.message)
        if isinstance(command, QueueMessage)
    ]


def _amended(desk: Desk, stream: str, event: am.AmendmentIssued) -> Sent:
    """MT707, and MT708 where it is long."""
    credit = desk.credit(stream)
    if credit is None:
        return []
    # What came after this event must not change what it says, however late it is written.
    before = next((n for n, p in enumerate(credit.past) if p.message == event), len(credit.past))
    credit = credit._replace(past=credit.past[:before])
    asked = _first(credit, am.AmendmentRequested, event.amendment)
    try:
        parts = outbound_credit.amend(
            credit=credit.identity,
            receiver_reference=_their_reference(credit),
            amendment=event.amendment,
            changes=event.changes,
            terms=desk.terms(stream, before),
            issue_date=credit.date,
            date=event.date,
            parties=asked.parties if asked else None,
            narrative=asked.narrative if asked else None,
        )
    except Refused as error:
        return desk.unwritten(stream, "707", credit, error)
    sent: Sent = []
    identity = f"{credit.identity}/{event.amendment}"
    for number, part in enumerate(parts):
        message = mur(identity, "708", number) if number else event.message or mur(identity, "707")
        to = credit.correspondent
        sent += desk.queue(stream, credit, part, to, message, amendment=event.amendment)
    return sent


def _their_reference(credit: Credit) -> str:
    """Return the advising bank's reference as its MT730 gave it."""
    for past in credit.past:
        if isinstance(past.message, cr.AdviceAcknowledged):
            return past.message.reference
    return ""


def _first(credit: Credit, cls: Any, amendment: int) -> Any:
    return next(
        (
            past.message
            for past in credit.past
            if isinstance(past.message, cls) and past.message.amendment == amendment
        ),
        None,
    )


def _advised(desk: Desk, stream: str, event: cr.CreditAdvised) -> Sent:
    """MT730 to the sender; MT710 where the credit is advised through another bank (article 9c)."""
    words = f"CREDIT ADVISED ON {event.date}" if event.date else "CREDIT ADVISED"
    told = _acknowledge(desk, stream, words, "advised", event.message)
    return told if event.to == BENEFICIARY else [*told, *_passed_on(desk, stream, event)]


def _passed_on(desk: Desk, stream: str, event: cr.CreditAdvised) -> Sent:
    credit = desk.credit(stream)
    if credit is None or credit.side != "export":
        return []
    # What came after the advice must not change what it says, however late it is written.
    before = next((n for n, p in enumerate(credit.past) if p.message == event), len(credit.past))
    earlier = credit.past[:before]
    try:
        if not is_bic(event.to):
            raise Refused(
                "RECEIVER_UNKNOWN", f"{event.to[:11]} is no bank", hint="Send it by hand."
            )
        parts = outbound_credit.advise_on(
            own=credit.number,
            credit=credit.sender_number,
            issuer=credit.issuer,
            terms=credit.first_terms,
            parties=credit.parties,
            narrative=credit.narrative,
            issue_date=credit.date,
            confirmed=any(isinstance(p.message, cr.ConfirmationAdded) for p in earlier),
        )
    except Refused as error:
        return desk.unwritten(stream, "710", credit, error)
    sent: Sent = []
    for number, part in enumerate(parts):
        message = mur(f"{credit.identity}/advise", part.mt, number)
        sent += desk.queue(stream, credit, part, event.to, message)
    return sent


def _confirmed(desk: Desk, stream: str, _event: cr.ConfirmationAdded) -> Sent:
    return _acknowledge(desk, stream, "WE HAVE ADDED OUR CONFIRMATION. CONFIRMATION ADDED", "conf")


def _acknowledge(desk: Desk, stream: str, words: str, what: str, message: str = "") -> Sent:
    credit = desk.credit(stream)
    if credit is None or credit.side != "export":
        return []
    day = credit.date or desk.day(stream, credit.past[0].message)
    part = outbound.acknowledgement(
        own=credit.number, related=credit.sender_number, date=day, words=words
    )
    message = message or mur(f"{credit.identity}/{what}", "730")
    return desk.queue(stream, credit, part, credit.correspondent, message)


def _declined(desk: Desk, stream: str, event: cr.AdviceDeclined) -> Sent:
    words = f"WE DO NOT ADVISE YOUR CREDIT. REASON: {event.reason.text}"
    return _tell(desk, stream, words, "decline")


def _unconfirmed(desk: Desk, stream: str, event: cr.ConfirmationDeclined) -> Sent:
    words = f"WE DO NOT ADD OUR CONFIRMATION TO YOUR CREDIT. REASON: {event.reason.text}"
    return _tell(desk, stream, words, "unconfirmed")


def _tell(desk: Desk, stream: str, words: str, what: str) -> Sent:
    """MT799 to the sender of a credit: it must hear without delay (articles 8d, 9e)."""
    credit = desk.credit(stream)
    if credit is None or credit.side != "export":
        return []
    message = mur(f"{credit.identity}/{what}", "799")
    text = outbound.free_message(
        sender=desk.bic,
        receiver=credit.correspondent,
        reference=credit.number,
        related=credit.sender_number,
        narrative=words,
        mur=message,
    )
    return desk.queued(stream, credit, "799", text, credit.correspondent, message)


def _accepted(desk: Desk, stream: str, event: am.AmendmentAccepted) -> Sent:
    return _answer(desk, stream, event.amendment, "ACCEPTED BY THE BENEFICIARY")


def _deemed(desk: Desk, stream: str, event: am.AmendmentDeemedAccepted) -> Sent:
    return _answer(desk, stream, event.amendment, "ACCEPTED BY A COMPLYING PRESENTATION")


def _rejected(desk: Desk, stream: str, event: am.AmendmentRejected) -> Sent:
    part = " (ACCEPTED IN PART ONLY)" if event.in_part else ""
    return _answer(desk, stream, event.amendment, f"REJECTED BY THE {event.party.upper()}{part}")


def _answer(desk: Desk, stream: str, amendment: int, words: str) -> Sent:
    credit = desk.credit(stream)
    if credit is None or credit.side != "export":
        return []
    received = _first(credit, am.AmendmentReceived, amendment)
    part = outbound.acknowledgement(
        own=credit.number,
        related=credit.sender_number,
        date=(received.date if received else "") or credit.date,
        words=f"AMENDMENT {amendment} IS {words}",
    )
    message = mur(f"{credit.identity}/{amendment}", "730")
    to = credit.correspondent
    return desk.queue(stream, credit, part, to, message, amendment=amendment)


def _about(stream: str) -> dict[str, str]:
    return {"presentation": key_parts(stream).identity}


def _refused(desk: Desk, stream: str, event: pr.PresentationRefused) -> Sent:
    """MT734 to a presenting bank; a presenter who is no bank is told by other means."""
    found = desk.presented(stream)
    if found is None or not is_bic(found[0].presenter):
        return []
    shown, credit = found
    part = outbound.refusal(
        own=credit.number if shown.role == "issuing" else shown.presentation,
        related=shown.presenter_reference,
        date=date_text(event.given),
        money=Money(shown.currency, shown.amount),
        discrepancies=event.discrepancies.sentences,
        disposal=event.disposal,
    )
    message = event.message or mur(shown.presentation, "734")
    return desk.queue(stream, credit, part, shown.presenter, message, **_about(stream))


def _referred(desk: Desk, stream: str, event: pr.DiscrepanciesReferred) -> Sent:
    """MT750 to the issuing bank."""
    found = desk.presented(stream)
    if found is None or found[0].role == "issuing":
        return []
    shown, credit = found
    part = outbound.discrepancies_advised(
        own=shown.presentation,
        related=credit.number,
        money=Money(shown.currency, shown.amount),
        discrepancies=event.discrepancies.sentences,
    )
    message = event.message or mur(shown.presentation, "750")
    return desk.queue(stream, credit, part, credit.issuer, message, **_about(stream))


def _authorised(desk: Desk, stream: str, _event: pr.TakeUpAuthorised) -> Sent:
    """MT752, where we are the issuing bank; elsewhere the authority came to us."""
    found = desk.presented(stream)
    if found is None or found[0].role != "issuing" or not is_bic(found[0].presenter):
        return []
    shown, credit = found
    part = outbound.take_up_authority(
        own=credit.number,
        related=shown.presenter_reference,
        date=shown.presented,
        money=Money(shown.currency, shown.amount),
        by=credit.first_terms.available_by,
    )
    message = mur(shown.presentation, "752")
    return desk.queue(stream, credit, part, shown.presenter, message, **_about(stream))


_DONE: dict[type, str] = {
    pr.PresentationHonoured: "PAID",
    pr.DraftAccepted: "DRAFT ACCEPTED",
    pr.DeferredUndertakingIncurred: "DEFERRED PAYMENT UNDERTAKEN",
    pr.PresentationNegotiated: "NEGOTIATED",
}


def _taken_up(desk: Desk, stream: str, event: Any) -> Sent:
    """MT754 to the issuing bank, or as issuing bank MT732 where more than payment is to be said."""
    found = desk.presented(stream)
    if found is None:
        return []
    shown, credit = found
    money, maturity = Money(event.currency, event.amount), getattr(event, "maturity", "")
    if shown.role != "issuing":
        complies = event.basis == "complying"
        compliance = "DOCUMENTS COMPLY" if complies else f"DOCUMENTS TAKEN UP AS {event.basis}"
        part = outbound.honour_advice(
            own=shown.presentation,
            related=credit.number,
            money=money,
            maturity=maturity,
            words=f"{_DONE[type(event)]}. {compliance}.",
            claimant=desk.bic,
        )
        message = mur(shown.presentation, "754")
        return desk.queue(stream, credit, part, credit.issuer, message, **_about(stream))
    if not is_bic(shown.presenter) or (event.basis == "complying" and not maturity):
        return []
    part = outbound.discharge(
        own=credit.number,
        related=shown.presenter_reference,
        date=shown.presented,
        money=money,
        words=f"TAKEN UP. WE PAY AT MATURITY {maturity}" if maturity else "DOCUMENTS TAKEN UP",
    )
    message = mur(shown.presentation, "732")
    return desk.queue(stream, credit, part, shown.presenter, message, **_about(stream))


def _settled(desk: Desk, stream: str, event: pr.PresentationSettled) -> Sent:
    """MT756 of the issuing bank to the presenting one."""
    found = desk.presented(stream)
    if found is None or found[0].role != "issuing" or not is_bic(found[0].presenter):
        return []
    shown, credit = found
    part = outbound.payment_advice(
        own=credit.number,
        related=shown.presenter_reference,
        date=desk.day(stream, event),
        money=Money(event.currency, event.amount),
    )
    message = mur(shown.presentation, "756")
    return desk.queue(stream, credit, part, shown.presenter, message, **_about(stream))


_WRITERS: dict[type, Write] = {
    cr.CreditIssued: _issued,
    cr.IssueVoided: _voided,
    cr.CreditAdvised: _advised,
    cr.ConfirmationAdded: _confirmed,
    cr.AdviceDeclined: _declined,
    cr.ConfirmationDeclined: _unconfirmed,
    am.AmendmentIssued: _amended,
    am.AmendmentVoided: _amendment_voided,
    am.AmendmentAccepted: _accepted,
    am.AmendmentDeemedAccepted: _deemed,
    am.AmendmentRejected: _rejected,
    pr.PresentationRefused: _refused,
    pr.DiscrepanciesReferred: _referred,
    pr.TakeUpAuthorised: _authorised,
    pr.PresentationHonoured: _taken_up,
    pr.DraftAccepted: _taken_up,
    pr.DeferredUndertakingIncurred: _taken_up,
    pr.PresentationNegotiated: _taken_up,
    pr.PresentationSettled: _settled,
}


def _unnoted(_text: str) -> None:
    """Say nothing: nobody asked."""


def fin_reactions(our_bic: str, note: Callable[[str], None] = _unnoted) -> dict[type, Reaction]:
    """Return the table of reactions that queue our FIN messages.

    `note` hears of a message that cannot be written (an incomplete address, a text too long): then
    a dead letter is queued in its place, and the saga that waits for its delivery opens an incident.
    """

    def reaction(write: Write) -> Reaction:
        def react(stream: str, event: Any, history: History) -> Sent:
            return write(Desk(our_bic, history, note), stream, event)

        return react

    return {cls: reaction(write) for cls, write in _WRITERS.items()}
