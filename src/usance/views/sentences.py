"""One short sentence per event for a trade officer, with the rule it rests on.

Words are ours; articles are those of UCP 600. No sentence holds a field that may name a person.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from operator import attrgetter
from string import Formatter
from typing import Any

from usance.domain.credit.advising import BENEFICIARY
from usance.kernel.clock import MS_PER_MINUTE, iso
from usance.kernel.money import format_minor

_SENTENCES: dict[str, tuple[str, str]] = {
    # credit
    "CreditApplied": ("Application received for {money}, expiring {terms.expiry_date}", ""),
    "ApplicationValidated": ("Application checked: it can be issued as it stands", "UCP600-3"),
    "ComplianceCheckStarted": ("In process: checks that every credit passes", ""),
    "ComplianceCheckCompleted": ("Checks are over", ""),
    "ApprovalRequested": ("Put before a second person ({tier})", ""),
    "CreditApproved": ("Approved by a second person", ""),
    "CreditRejected": ("Application turned down {because}", ""),
    "ApplicationWithdrawn": ("The applicant took the application back", ""),
    "CreditIssued": ("Issued: the bank undertakes {money:liability}", "UCP600-7b"),
    "DeliveryPending": ("Message {message} left the bank; delivery not yet confirmed", ""),
    "DeliveryConfirmed": ("The network took message {message}", "UCP600-7b"),
    "DeliveryFailed": ("The network turned message {message} away ({code})", ""),
    "VoidRequested": ("Voiding the issue was proposed", ""),
    "IssueVoided": ("Issue voided before anything left the bank", ""),
    "AdviceAcknowledged": ("The advising bank acknowledged receipt ({reference})", "UCP600-9"),
    "CreditReceived": ("MT{mt} received from {sender}, their reference {sender_reference}", ""),
    "AmendmentAwaitsCredit": (
        "Amendment {amendment} came before its credit and is kept",
        "UCP600-9",
    ),
    "CreditMissing": ("Its credit has not come: ask the sender", "UCP600-9"),
    "AuthenticationProposed": ("Found authentic by {method}; a second person decides", "UCP600-9b"),
    "CreditAuthenticated": ("Apparent authenticity established ({method})", "UCP600-9b"),
    "CreditAdvised": ("Advised {advised}", "UCP600-9b"),
    "AdviceDeclined": ("Not advised; the sender is told without delay", "UCP600-9e"),
    "ConfirmationAdded": ("Confirmation added", "UCP600-8"),
    "ConfirmationDeclined": ("Confirmation not added; the issuing bank is told", "UCP600-8d"),
    "CorrespondenceRecorded": ("MT{mt} filed ({kind}), reference {reference}", ""),
    # amendments
    "AmendmentRequested": ("Amendment {amendment} asked for", "UCP600-10a"),
    "AmendmentApprovalRequested": ("Amendment {amendment} put before a second person ({tier})", ""),
    "AmendmentVoided": ("Amendment {amendment} undone: nothing of it left the bank", "UCP600-10b"),
    "KeyCreated": (
        "A data key (version {version}) seals fields of this partition for the first time",
        "",
    ),
    "KeyTurnRequested": ("Asked: the key goes from {was} to {to}", "SP800-57-7.2"),
    "KeyTurnApproved": ("Approval {number} of the key's new state", ""),
    "KeysAdopted": (
        "{by} had {keys} keys and {holds} holds of an earlier version signed",
        "SP800-57-8.3",
    ),
    "KeyTurned": ("The key went from {was} to {to}", "SP800-57-7.2"),
    "HoldPlaced": ("A legal hold stands on this data subject", ""),
    "HoldReleased": ("The legal hold is gone", ""),
    "ErasureRequested": ("The erasure of this data subject was asked for", ""),
    "ErasureApproved": ("Approval {number} of 2 of the erasure", ""),
    "DisposalProposed": ("Proposed: what need not be kept any more is destroyed", ""),
    "DisposalWithdrawn": ("The proposal or request was taken back", ""),
    "ErasureRestricted": ("Erasure refused for now, letter {letter}", ""),
    "RetentionDue": ("What stood against the erasure (letter {letter}) has run out", ""),
    "DestructionBegun": ("Keys are being destroyed", ""),
    "SubjectErased": ("Erased: certificate {certificate}, backups hold keys until {horizon}", ""),
    "GlassBroken": ("{person} broke the glass ({incident}) until {when:until}", ""),
    "GlassUsed": ("Behind broken glass: {act} on {target}", ""),
    "GlassClosed": ("The glass is closed; {uses} acts were taken behind it", ""),
    "GlassReviewOverdue": ("Nobody reviewed in time what was done behind the glass", ""),
    "GlassReviewed": ("{by} reviewed what was done behind the glass", ""),
    "AccessRecorded": ("Shown: {action} {resource}", ""),
    "AccessDenied": ("Denied: {act} on {resource} ({code})", ""),
    "FieldRevealed": ("A private field ({field}) of an event was shown", ""),
    "CommandUndone": ("A command that was given up is refused from now on", ""),
    "AmendmentApproved": ("Amendment {amendment} approved by a second person", ""),
    "AmendmentDropped": ("Amendment {amendment} dropped before its issue", ""),
    "AmendmentIssued": ("Amendment {amendment} issued; the bank is bound by it", "UCP600-10b"),
    "AmendmentReceived": ("Amendment {amendment} received from {sender}", "UCP600-10a"),
    "AmendmentConsentGiven": ("Amendment {amendment}: the {party} agrees", "UCP600-10c"),
    "AmendmentAccepted": ("Amendment {amendment} accepted: new terms in force", "UCP600-10c"),
    "AmendmentRejected": ("Amendment {amendment} rejected by the {party}", "UCP600-10c"),
    "AmendmentDeemedAccepted": (
        "Amendment {amendment} accepted by presentation {presentation}",
        "UCP600-10c",
    ),
    # drawings and the end
    "DrawingRegistered": ("Presentation {presentation} claims {money}", "UCP600-6d"),
    "DrawingReleased": ("Claim of presentation {presentation} given back to the balance", ""),
    "DrawingHonoured": ("Presentation {presentation} honoured by {method}: {money}", "UCP600-15"),
    "DrawingSettled": ("Presentation {presentation} paid: {money}", "UCP600-7a"),
    "CancellationRequested": ("Cancellation asked for; it needs all parties", "UCP600-10a"),
    "CancellationConsentGiven": ("The {party} agrees to the cancellation", "UCP600-10a"),
    "CancellationDeclined": ("The {party} does not agree to the cancellation", "UCP600-10a"),
    "CreditCancelled": ("Cancelled with the consent of all parties", "UCP600-10a"),
    "CreditExpired": ("Expired: the last day to present was {last_day}{moved}", "UCP600-6d"),
    "CreditClosed": ("Closed: nothing is left open", ""),
    # presentation
    "PresentationReceived": ("Documents received for {money}; decide by {when:due}", "UCP600-14b"),
    "DiscrepancyRaised": ("Discrepancy: {seen}", "{finding.article}"),
    "WaiverSought": ("Applicant asked to waive {discrepancies} discrepancies", "UCP600-16b"),
    "DiscrepanciesWaived": ("The applicant waived the discrepancies", "UCP600-16b"),
    "WaiverDeclined": ("The applicant did not waive the discrepancies", "UCP600-16b"),
    "DiscrepanciesReferred": ("Issuing bank asked for authority to take up", "UCP600-16"),
    "TakeUpAuthorised": ("Authority to take up, reference {reference}", "UCP600-16"),
    "PresentationRefused": ("Refused with a single notice; documents: {disposal}", "UCP600-16c"),
    "DocumentsReturned": ("Documents returned", "UCP600-16e"),
    "TakeUpProposed": ("Take-up by {method} proposed; a second person decides", ""),
    "PresentationHonoured": ("Honoured at sight: {money} ({basis})", "UCP600-15a"),
    "DraftAccepted": ("Draft accepted: {money} due {maturity} ({basis})", "UCP600-15a"),
    "DeferredUndertakingIncurred": (
        "Deferred payment undertaken: {money} due {maturity} ({basis})",
        "UCP600-15a",
    ),
    "PresentationNegotiated": ("Negotiated: {money} ({basis})", "UCP600-15b"),
    "PresentationEscalated": ("No decision yet ({level}); decide by {when:due}", "UCP600-14b"),
    "PresentationPrecluded": (
        "Precluded: the fifth banking day passed, the bank must honour",
        "UCP600-16f",
    ),
    "MaturityReached": ("Matured on {maturity}: {money} is due", "UCP600-7a"),
    "PresentationSettled": ("The presenter is paid: {money}", "UCP600-7a"),
    "PresentationWithdrawn": ("The presenter took the documents back", ""),
    # facility
    "FacilitySet": ("Facility set: limit {money:limit} until {expiry}", ""),
    "LimitReserved": ("{money} reserved for credit {credit}", ""),
    "ReservationIncreased": (
        "{money} more reserved for amendment {amendment} of credit {credit}",
        "",
    ),
    "ReservationConsumed": ("Credit {credit} issued: {money} is exposure now", ""),
    "ReservationReleased": ("{money} of credit {credit} given back", ""),
    "MarginHeld": ("Margin of {money} blocked for credit {credit}", ""),
    "MarginReleased": ("Margin of {money} of credit {credit} freed", ""),
    # FIN messages
    "MessageQueued": ("MT{mt} {message} waits for the gateway", ""),
    "MessageSent": ("MT{mt} {message} left the bank (attempt {attempt})", ""),
    "MessageAcked": ("The network took MT{mt} {message}", ""),
    "MessageNaked": ("The network turned MT{mt} {message} away: {code}, line {line}", ""),
    "MessageRepaired": ("MT{mt} {message} repaired; it waits for the gateway", ""),
    "MessageAbandoned": ("Message {message} will not be sent {because}", ""),
    "AckOverdue": ("No answer of the network to MT{mt} {message}", ""),
    # work
    "WorkClaimed": ("{person} is at {work}", ""),
    "WorkReleased": ("{person} is at {work} no more", ""),
    # sagas and timers
    "SagaStarted": ("Workflow {definition} started", ""),
    "SagaObserved": ("Workflow noted {event_type}", ""),
    "StepStarted": ("Step {step} started", ""),
    "StepSucceeded": ("Step {step} done ({how})", ""),
    "StepFailed": ("Step {step} failed: {message}", "{article}"),
    "StepHeld": ("In process: step {step} goes on by itself", ""),
    "SagaCompensating": ("Turning back at step {step}: {cause}", ""),
    "SagaEnded": ("Workflow {result}", ""),
    "IncidentOpened": ("Stuck at step {step}: {cause}", ""),
    "IncidentClosed": ("Incident over ({how})", ""),
    "ActProposed": ("Operator proposes: {act} at step {step}", ""),
    "ActApproved": ("Operator act approved by a second person", ""),
    "ActRejected": ("Operator act turned down", ""),
    "TimerSet": ("Timer set for {when:due}: {reason}", ""),
    "TimerCancelled": ("Timer {timer_id} cancelled", ""),
    "TimerFired": ("Timer {timer_id} fired", ""),
    # packs
    "PackExported": ("Audit pack handed over: {scope}, {records} records", ""),
    # sanctions lists
    "ListProposed": (
        "{version.list_id} {version.version} proposed: +{added} ~{changed} -{removed} entries",
        "",
    ),
    "ListActivated": ("{version.list_id} {version.version} is active from here on", ""),
    "ListRejected": ("Proposal {proposal} turned down", ""),
    "ListWithdrawn": ("Proposal {proposal} taken back", ""),
    "ListsRescreened": ("{streams} earlier screenings held against what is new: {cases} cases", ""),
    # compliance
    "CaseOpened": ("Case opened: screening found candidates", ""),
    "AlertAttached": ("The same evidence was found again", ""),
    "CaseReopened": ("Case reopened: the same evidence came up again", ""),
    "DispositionProposed": ("Disposition proposed: {disposition}", ""),
    "ReturnedToInvestigation": ("Proposal sent back to investigation", ""),
    "DispositionApproved": ("Disposition approved by a second person: {disposition}", ""),
    "ScreeningDecided": ("Screened: {band}", ""),
}


def _money(field: str) -> Callable[[Any], str]:
    """`{money}` is the event's amount, `{money:limit}` another field, in the event's currency."""
    amount = attrgetter(field or "amount")

    def told(event: Any) -> str:
        holder = event if hasattr(event, "currency") else event.terms
        return f"{holder.currency} {format_minor(amount(holder), holder.currency)}"

    return told


def _when(field: str) -> Callable[[Any], str]:
    """`{when:due}` is an instant of the event, to the minute in UTC."""
    instant = attrgetter(field)
    return lambda event: _minute(instant(event) // MS_PER_MINUTE)


@lru_cache(maxsize=4_096)
def _minute(minutes: int) -> str:
    return iso(minutes * MS_PER_MINUTE)[:16].replace("T", " ") + " UTC"


def _because(_: str) -> Callable[[Any], str]:
    """`{because}` is the cause that the program gives, in brackets, or that it was a person."""

    def told(event: Any) -> str:
        cause = getattr(event, "cause", "")
        return f"({cause})" if cause else "by a person"

    return told


def _seen(_: str) -> Callable[[Any], str]:
    """`{seen}` is what a rule explains; an examiner's own words are for those who may read them."""

    def told(event: Any) -> str:
        finding = getattr(event, "finding", None)
        return str((finding and finding.explanation) or "as the examiner worded it")

    return told


def _moved(_: str) -> Callable[[Any], str]:
    """`{moved}` says that the last day is not the stipulated one."""
    return lambda e: f", as {e.expiry_date} was no banking day (article 29a)" if e.extended else ""


def _advised(_: str) -> Callable[[Any], str]:
    """`{advised}` is to the beneficiary, or through which bank."""
    return lambda e: "to the beneficiary" if e.to == BENEFICIARY else f"through {e.to}"


_SPECIAL = {
    "money": _money,
    "when": _when,
    "because": _because,
    "seen": _seen,
    "moved": _moved,
    "advised": _advised,
}


_Teller = Callable[[Any], str]


@cache
def _telling(template: str) -> _Teller:
    """Return what fills a template from an event; templates are read once, not for each event."""
    text, values = "", []
    for before, field, form, _ in Formatter().parse(template):
        text += before.replace("%", "%%")
        if field is not None:
            text += "%s"
            special = _SPECIAL.get(field)
            values.append(special(form or "") if special else attrgetter(field))
    match values:
        case []:
            return lambda _: template
        case [one]:
            return lambda event: text % (one(event),)
        case [one, two]:
            return lambda event: text % (one(event), two(event))
    return lambda event: text % tuple([value(event) for value in values])


def sentence(event: Any) -> tuple[str, str]:
    """Return what an event says, and the article it rests on (empty: none)."""
    said, article = tellers(type(event).__name__)
    return said(event), article(event)


@cache
def tellers(name: str) -> tuple[_Teller, _Teller]:
    """Return what `sentence` asks of the events of a type: the one for the words, the one for the article."""
    if name == "ExaminationCompleted":
        return _examined, _telling("UCP600-14a")
    said, article = _SENTENCES.get(name) or (_spaced(name), "")
    return _telling(said), _telling(article)


def _examined(event: Any) -> str:
    if event.complies:
        return "Examined: the presentation complies"
    count = event.discrepancies
    return f"Examined: {count} discrepanc{'y' if count == 1 else 'ies'}"


def _spaced(name: str) -> str:
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
    return words.capitalize()


def plain_fields(name: str) -> list[str]:
    """Return the fields of an event that its sentence names."""
    texts = _SENTENCES.get(name, ())
    found = {f for text in texts for _, f, _, _ in Formatter().parse(text) if f is not None}
    return sorted(found - set(_SPECIAL))


def known() -> frozenset[str]:
    """Return the event types that have a sentence of their own."""
    return frozenset(_SENTENCES) | {"ExaminationCompleted"}
