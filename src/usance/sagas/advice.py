"""The advice saga of an export credit: authenticate, check, then a person advises or declines."""

from __future__ import annotations

from usance.domain.credit.messages import AuthenticateCredit, BeginComplianceCheck
from usance.engine.saga_steps import Act, Definition, Step
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR
from usance.kernel.decider import key_parts
from usance.sagas.facts import fields, identity_of, nothing


def _identity(stream: str, event_type: str, event: object) -> str:
    own = key_parts(stream).category == "credit" and not getattr(event, "check", "")
    return identity_of(stream) if own else ""


ADVICE = Definition(
    name="advice",
    version=1,
    label="Advice of an export credit",
    starts={"CreditReceived": fields("credit", "mt", "sender", "sender_reference", "role")},
    listens={
        "CreditAuthenticated": nothing,
        "ComplianceCheckCompleted": nothing,
        "CreditAdvised": fields("to"),
        "AdviceDeclined": nothing,
    },
    identity=_identity,
    steps=(
        Step(
            "authenticate",
            lambda s, f: Act(s, AuthenticateCredit(method="fin")),
            success=("CreditAuthenticated",),
            kind="retriable",
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "check",
            lambda s, f: Act(s, BeginComplianceCheck()),
            success=("ComplianceCheckCompleted",),
            failure=("ComplianceCheckEnded",),
            kind="retriable",
            timeout_ms=5 * MS_PER_DAY,
            guarded=True,
        ),
        Step(
            "advise",
            None,
            success=("CreditAdvised", "AdviceDeclined"),
            kind="pivot",
            timeout_ms=2 * MS_PER_DAY,
        ),
    ),
)
