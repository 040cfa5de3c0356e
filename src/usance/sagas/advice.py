"""The advice saga of an export credit: authenticate, check, then a person advises or declines.

The network vouches for what came by FIN; what a document says waits for two people (article 9b).
"""

from __future__ import annotations

from usance.domain.credit.advising import FIN
from usance.domain.credit.messages import AuthenticateCredit, BeginComplianceCheck
from usance.engine.reactors.saga_steps import Act, Definition, Step
from usance.kernel.clock import MS_PER_DAY
from usance.kernel.decider import key_parts
from usance.sagas.facts import fields, identity_of, nothing


def _identity(stream: str, event_type: str, event: object) -> str:
    own = key_parts(stream).category == "credit" and not getattr(event, "check", "")
    return identity_of(stream) if own else ""


ADVICE = Definition(
    name="advice",
    version=1,
    label="Advice of an export credit",
    starts={
        "CreditReceived": fields(
            "credit", "mt", "sender", "sender_reference", "role", "authentication"
        )
    },
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
            lambda s, f: Act(s, AuthenticateCredit(method=FIN)) if f["authentication"] else None,
            success=("CreditAuthenticated",),
            kind="retriable",
            timeout_ms=MS_PER_DAY,
            guarded=True,
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
