"""The issuance saga: from an application to an instrument that has left the bank.

Steps (trade-finance practice; UCP 600 articles 7b and 10b make the FIN ACK the pivot): validate, check
compliance, reserve the limit, hold margin, second person, issue, deliver. The advising bank's MT730 is
optional: a chaser asks for it, nothing waits for it.
"""

from __future__ import annotations

from usance.domain.credit.messages import (
    BeginComplianceCheck,
    IssueCredit,
    RejectCredit,
    RequestApproval,
    ValidateApplication,
    VoidIssue,
)
from usance.domain.facility_messages import (
    ConsumeReservation,
    HoldMargin,
    ReleaseMargin,
    ReleaseReservation,
    ReserveLimit,
)
from usance.domain.message_exchange import FinText, QueueMessage
from usance.engine.reactors.saga_steps import Act, Definition, Facts, Step
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE
from usance.kernel.decider import key_parts
from usance.messages.swift.outbound import free_message
from usance.sagas.facts import NOT_YET, beside, fields, identity_of, mur, nothing

CHASER_MS = 5 * MS_PER_DAY
CHASES_MAX = 2


def _identity(stream: str, event_type: str, event: object) -> str:
    category = key_parts(stream).category
    if category == "credit":
        return "" if getattr(event, "check", "") else identity_of(stream)
    if category == "message" and getattr(event, "mt", "") != "700":
        return ""
    if getattr(event, "amendment", 0):
        return ""
    if category in ("facility", "message"):
        return str(getattr(event, "credit", ""))
    return ""


def _facility(subject: str, facts: Facts) -> str:
    return beside(subject, "facility", facts["facility"])


def _applied(event: object) -> dict[str, str]:
    terms = event.terms  # type: ignore[attr-defined]
    return {
        **fields("credit", "facility", "maker")(event),
        "currency": terms.currency,
        "receiver": terms.advising_bank,
        "sender": terms.issuing_bank,
    }


def _chase(subject: str, facts: Facts, number: int) -> Act:
    reference = mur(facts["credit"], "799", number)
    words = (
        f"PLEASE ACKNOWLEDGE OUR CREDIT {facts['credit']} ISSUED BY MT700.\n"
        f"OUR RECORDS SHOW NO MT730 FROM YOU. REMINDER {number}."
    )
    text = free_message(
        sender=facts.get("sender", ""),
        receiver=facts["receiver"],
        reference=facts["credit"],
        related="",
        narrative=words,
        mur=reference,
    )
    command = QueueMessage(
        message=reference,
        mt="799",
        receiver=facts["receiver"],
        credit=facts["credit"],
        text=FinText(subject=facts["credit"], text=text),
    )
    return Act(beside(subject, "message", reference), command)


ISSUANCE = Definition(
    name="issuance",
    version=1,
    label="Issuance",
    starts={"CreditApplied": _applied},
    listens={
        "ApplicationValidated": fields("max_liability", "margin"),
        "ComplianceCheckCompleted": nothing,
        "CreditApproved": fields("approver"),
        "CreditRejected": lambda e: {"rejected": "yes", "reason": e.cause or "turned down"},
        "ApplicationWithdrawn": lambda e: {"rejected": "yes", "reason": "withdrawn"},
        "LimitReserved": nothing,
        "MarginHeld": fields("amount"),
        "CreditIssued": fields("message"),
        "MessageAcked": lambda e: {"acked": e.message},
        "MessageNaked": lambda e: {"code": e.code, "reason": f"the network answered {e.code}"},
        "IssueVoided": lambda e: {"rejected": "yes"},
        "AdviceAcknowledged": fields("reference"),
        "ReservationConsumed": nothing,
    },
    identity=_identity,
    not_yet=NOT_YET,
    steps=(
        Step(
            "application",
            None,
            success=("CreditApplied",),
            compensation=lambda s, f: (
                None
                if f.get("rejected")
                else Act(s, RejectCredit(cause=f.get("reason") or "not issued"))
            ),
        ),
        Step(
            "validate",
            lambda s, f: Act(s, ValidateApplication()),
            success=("ApplicationValidated",),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "check",
            lambda s, f: Act(s, BeginComplianceCheck()),
            success=("ComplianceCheckCompleted",),
            failure=("ComplianceCheckEnded", "CreditRejected", "ApplicationWithdrawn"),
            timeout_ms=5 * MS_PER_DAY,
            guarded=True,
        ),
        Step(
            "reserve",
            lambda s, f: Act(
                _facility(s, f),
                ReserveLimit(
                    credit=f["credit"], currency=f["currency"], amount=int(f["max_liability"])
                ),
            ),
            success=("LimitReserved",),
            compensation=lambda s, f: Act(_facility(s, f), ReleaseReservation(credit=f["credit"])),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "margin",
            lambda s, f: Act(
                _facility(s, f),
                HoldMargin(credit=f["credit"], currency=f["currency"], amount=int(f["margin"])),
            ),
            success=("MarginHeld",),
            when=lambda f: int(f.get("margin", "0")) > 0,
            compensation=lambda s, f: Act(_facility(s, f), ReleaseMargin(credit=f["credit"])),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "approve",
            lambda s, f: Act(s, RequestApproval()),
            success=("CreditApproved",),
            failure=("CreditRejected", "ApplicationWithdrawn"),
            timeout_ms=2 * MS_PER_DAY,
        ),
        Step(
            "issue",
            lambda s, f: Act(
                s,
                IssueCredit(
                    message=mur(f["credit"], "700"),
                    margin=int(f["margin"]) if int(f.get("margin", "0")) > 0 else 0,
                ),
            ),
            success=("CreditIssued",),
            compensation=lambda s, f: Act(s, VoidIssue(cause="not delivered")),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "deliver",
            None,
            success=("MessageAcked",),
            failure=("MessageNaked",),
            kind="pivot",
            timeout_ms=15 * MS_PER_MINUTE,
        ),
        Step(
            "consume",
            lambda s, f: Act(_facility(s, f), ConsumeReservation(credit=f["credit"])),
            success=("ReservationConsumed",),
            kind="retriable",
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "acknowledge",
            None,
            success=("AdviceAcknowledged",),
            kind="retriable",
            optional=True,
            timeout_ms=CHASER_MS,
            chase=_chase,
            chases_max=CHASES_MAX,
        ),
    ),
)
