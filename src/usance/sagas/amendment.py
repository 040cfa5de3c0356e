"""The amendment saga: from a request to a change that binds the bank (UCP 600 article 10b).

What the bank would owe more is reserved before anybody approves, and given back from every step before
the network has the MT707. Nobody's silence accepts it: the saga waits a while for the parties' answer
and then leaves it to whoever answers, or to a presentation (10c, 10f).
"""

from __future__ import annotations

from usance.domain.credit.amendment_messages import (
    DropAmendment,
    IssueAmendment,
    RequestAmendmentApproval,
    VoidAmendment,
)
from usance.domain.facility_messages import (
    ConsumeReservation,
    IncreaseReservation,
    ReleaseIncrease,
)
from usance.engine.reactors.saga_steps import Act, Definition, Facts, Step
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE
from usance.kernel.decider import key_parts
from usance.sagas.facts import NOT_YET, beside, fields, identity_of, mur, nothing

ANSWER_MS = 10 * MS_PER_DAY
"""How long the saga itself waits for the parties; the amendment stays open after it."""


def _identity(stream: str, event_type: str, event: object) -> str:
    """Return credit and number: `TF26LC0107:1`."""
    category = key_parts(stream).category
    number = getattr(event, "amendment", 0)
    if event_type == "ComplianceCheckCompleted":
        kind, _, text = str(getattr(event, "check", "")).partition(":")
        number = int(text) if kind == "amendment" and text.isdigit() else 0
    if category == "message" and getattr(event, "mt", "") != "707":
        return ""
    if not number or category not in ("credit", "facility", "message"):
        return ""
    credit = identity_of(stream) if category == "credit" else str(getattr(event, "credit", ""))
    return f"{credit}:{number}" if credit else ""


def _facility(subject: str, facts: Facts) -> str:
    return beside(subject, "facility", facts["facility"])


def _number(facts: Facts) -> int:
    return int(facts["amendment"])


def _more(facts: Facts) -> bool:
    return bool(facts.get("facility")) and int(facts["liability_change"]) > 0


def _reference(subject: str, facts: Facts) -> str:
    return mur(f"{identity_of(subject)}/{facts['amendment']}", "707")


AMENDMENT = Definition(
    name="amendment",
    version=1,
    label="Amendment",
    starts={
        "AmendmentRequested": fields(
            "amendment", "facility", "currency", "liability_change", "maker"
        )
    },
    listens={
        "ComplianceCheckCompleted": nothing,
        "AmendmentDropped": lambda e: {"dropped": "yes", "reason": e.cause or "turned down"},
        "ReservationIncreased": nothing,
        "AmendmentApproved": fields("approver"),
        "AmendmentIssued": fields("message"),
        "MessageAcked": lambda e: {"acked": e.message},
        "MessageNaked": lambda e: {"code": e.code, "reason": f"the network answered {e.code}"},
        "ReservationConsumed": nothing,
        "AmendmentAccepted": nothing,
        "AmendmentRejected": fields("party"),
        "AmendmentDeemedAccepted": fields("presentation"),
    },
    identity=_identity,
    not_yet=NOT_YET,
    steps=(
        Step(
            "request",
            None,
            success=("AmendmentRequested",),
            compensation=lambda s, f: (
                None
                if f.get("dropped")
                else Act(
                    s, DropAmendment(amendment=_number(f), cause=f.get("reason") or "not issued")
                )
            ),
        ),
        Step(
            "check",
            None,
            success=("ComplianceCheckCompleted",),
            failure=("ComplianceCheckEnded", "AmendmentDropped"),
            timeout_ms=5 * MS_PER_DAY,
            guarded=True,
        ),
        Step(
            "reserve",
            lambda s, f: Act(
                _facility(s, f),
                IncreaseReservation(
                    credit=identity_of(s),
                    amendment=_number(f),
                    currency=f["currency"],
                    amount=int(f["liability_change"]),
                ),
            ),
            success=("ReservationIncreased",),
            when=_more,
            compensation=lambda s, f: Act(
                _facility(s, f), ReleaseIncrease(credit=identity_of(s), amendment=_number(f))
            ),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "approve",
            lambda s, f: Act(s, RequestAmendmentApproval(amendment=_number(f))),
            success=("AmendmentApproved",),
            failure=("AmendmentDropped",),
            timeout_ms=2 * MS_PER_DAY,
        ),
        Step(
            "issue",
            lambda s, f: Act(s, IssueAmendment(amendment=_number(f), message=_reference(s, f))),
            success=("AmendmentIssued",),
            compensation=lambda s, f: Act(
                s, VoidAmendment(amendment=_number(f), cause="not delivered")
            ),
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
            lambda s, f: Act(
                _facility(s, f),
                ConsumeReservation(credit=identity_of(s), amendment=_number(f)),
            ),
            success=("ReservationConsumed",),
            kind="retriable",
            when=_more,
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "answer",
            None,
            success=("AmendmentAccepted", "AmendmentRejected", "AmendmentDeemedAccepted"),
            kind="retriable",
            optional=True,
            timeout_ms=ANSWER_MS,
        ),
    ),
)
