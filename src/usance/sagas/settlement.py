"""The presentation saga: from documents received to a drawing settled, or released.

The legal clock lives in the presentation itself and never waits for anything here. A compliance check
holds settlement alone: it neither stops the clock nor becomes a discrepancy.
"""

from __future__ import annotations

from usance.domain.credit.drawing_messages import (
    HonourDrawing,
    RegisterDrawing,
    ReleaseDrawing,
    SettleDrawing,
)
from usance.domain.presentation.messages import SettlePresentation, WithdrawPresentation
from usance.engine.reactors.saga_steps import Act, Definition, Facts, Step
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR
from usance.kernel.decider import key_parts
from usance.sagas.facts import NOT_YET, beside, fields, identity_of, nothing

TAKEN_UP = (
    "PresentationHonoured",
    "DraftAccepted",
    "DeferredUndertakingIncurred",
    "PresentationNegotiated",
)
METHOD = {
    "PresentationHonoured": "sight",
    "DraftAccepted": "acceptance",
    "DeferredUndertakingIncurred": "deferred",
    "PresentationNegotiated": "negotiation",
}
TENOR_MAX_MS = 400 * MS_PER_DAY


def _identity(stream: str, event_type: str, event: object) -> str:
    if key_parts(stream).category == "presentation":
        return identity_of(stream)
    return str(getattr(event, "presentation", ""))


def _credit(subject: str, facts: Facts) -> str:
    return beside(subject, "credit", facts["credit"])


def _taken(name: str) -> dict[str, str]:
    return {"method": METHOD[name], "ended": ""}


def _took_up(name: str):  # type: ignore[no-untyped-def]
    def extract(event: object) -> dict[str, str]:
        return {
            **_taken(name),
            "taken": str(event.amount),  # type: ignore[attr-defined]
            "maturity": getattr(event, "maturity", ""),
        }

    return extract


SETTLEMENT = Definition(
    name="settlement",
    version=1,
    label="Presentation to settlement",
    starts={
        "PresentationReceived": fields(
            "presentation", "credit", "currency", "amount", "presented", "role", "due"
        )
    },
    listens={
        "DrawingRegistered": nothing,
        "ExaminationCompleted": fields("complies", "discrepancies"),
        "ComplianceCheckCompleted": nothing,
        "PresentationRefused": lambda e: {"ended": "refused"},
        "PresentationWithdrawn": lambda e: {"ended": "withdrawn"},
        "PresentationPrecluded": lambda e: {"precluded": "yes"},
        **{name: _took_up(name) for name in TAKEN_UP},
        "DrawingReleased": nothing,
        "DrawingHonoured": nothing,
        "DrawingSettled": nothing,
        "MaturityReached": nothing,
        "PresentationSettled": fields("reference"),
    },
    identity=_identity,
    not_yet=NOT_YET,
    steps=(
        Step(
            "receive",
            None,
            success=("PresentationReceived",),
            compensation=lambda s, f: (
                None
                if f.get("ended") or f.get("method")
                else Act(s, WithdrawPresentation(cause="the credit cannot take this drawing"))
            ),
        ),
        Step(
            "register",
            lambda s, f: Act(
                _credit(s, f),
                RegisterDrawing(
                    presentation=f["presentation"],
                    currency=f["currency"],
                    amount=int(f["amount"]),
                    presented=f["presented"],
                ),
            ),
            success=("DrawingRegistered",),
            compensation=lambda s, f: Act(
                _credit(s, f),
                ReleaseDrawing(presentation=f["presentation"], reason="not taken up"),
            ),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "examine",
            None,
            success=("ExaminationCompleted",),
            kind="retriable",
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "decide",
            None,
            success=(*TAKEN_UP, "PresentationRefused", "PresentationWithdrawn"),
            kind="pivot",
            timeout_ms=10 * MS_PER_DAY,
        ),
        Step(
            "release",
            lambda s, f: Act(
                _credit(s, f), ReleaseDrawing(presentation=f["presentation"], reason=f["ended"])
            ),
            success=("DrawingReleased",),
            kind="retriable",
            when=lambda f: bool(f.get("ended")),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "check",
            None,
            success=("ComplianceCheckCompleted",),
            failure=("ComplianceCheckEnded",),
            kind="retriable",
            when=lambda f: not f.get("ended"),
            timeout_ms=5 * MS_PER_DAY,
            guarded=True,
        ),
        Step(
            "book",
            lambda s, f: Act(
                _credit(s, f),
                HonourDrawing(
                    presentation=f["presentation"],
                    method=f["method"],
                    amount=int(f["taken"]),
                    maturity=f.get("maturity", ""),
                ),
            ),
            success=("DrawingHonoured",),
            kind="retriable",
            when=lambda f: not f.get("ended"),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "mature",
            None,
            success=("MaturityReached",),
            kind="retriable",
            when=lambda f: not f.get("ended") and bool(f.get("maturity")),
            timeout_ms=TENOR_MAX_MS,
        ),
        Step(
            "settle",
            lambda s, f: Act(_credit(s, f), SettleDrawing(presentation=f["presentation"])),
            success=("DrawingSettled",),
            kind="retriable",
            when=lambda f: not f.get("ended"),
            timeout_ms=MS_PER_HOUR,
        ),
        Step(
            "close",
            lambda s, f: Act(s, SettlePresentation(reference=f["presentation"])),
            success=("PresentationSettled",),
            kind="retriable",
            when=lambda f: not f.get("ended"),
            timeout_ms=MS_PER_HOUR,
        ),
    ),
)
