"""The presentation as its stream tells it."""

from __future__ import annotations

from typing import Literal

import msgspec

from usance.domain.terms import Finding, PresentedDocument
from usance.kernel.decider import Deadline

State = Literal[
    "",
    "RECEIVED",
    "COMPLYING",
    "DISCREPANT",
    "WAIVER_SOUGHT",
    "WAIVED",
    "NOT_WAIVED",
    "REFERRED",
    "AUTHORISED",
    "PRECLUDED",
    "HONOURED",
    "ACCEPTED",
    "DEFERRED",
    "NEGOTIATED",
    "MATURED",
    "SETTLED",
    "REFUSED",
    "RETURNED",
    "WITHDRAWN",
]

UNDECIDED = (
    "RECEIVED",
    "COMPLYING",
    "DISCREPANT",
    "WAIVER_SOUGHT",
    "WAIVED",
    "NOT_WAIVED",
    "REFERRED",
    "AUTHORISED",
)
"""The clock runs and the bank has neither taken up nor refused."""
DISCREPANT = ("DISCREPANT", "WAIVER_SOUGHT", "WAIVED", "NOT_WAIVED", "REFERRED")
"""A notice of refusal can still be given."""
BASIS = {
    "COMPLYING": "complying",
    "WAIVED": "waived",
    "AUTHORISED": "authorised",
    "PRECLUDED": "precluded",
}
"""Why a bank may or must take up, by state."""
TAKEN_UP = ("HONOURED", "ACCEPTED", "DEFERRED", "NEGOTIATED", "MATURED", "SETTLED")


class PresentationState(msgspec.Struct, gc=False):
    """A presentation. Documents are kept until it is decided, findings only when discrepant.

    `amount` is the claim in minor units; `due` ms UTC; `signers` the persons whose eyes were first.
    """

    presentation: str = ""
    credit: str = ""
    role: str = ""
    state: State = ""
    presented: str = ""
    place: str = ""
    presentee: str = ""
    currency: str = ""
    amount: int = 0
    content_hash: str = ""
    documents: list[PresentedDocument] = []
    due: int = 0
    calendar: str = ""
    calendar_version: str = ""
    signers: tuple[str, ...] = ()
    checked: bool = False
    examined: bool = False
    findings: tuple[Finding, ...] = ()
    terms_version: int = 0
    available_by: str = ""
    tenor_days: int = 0
    tenor_from: str = ""
    base_date: str = ""
    notice_given: bool = False
    disposal: str = ""
    proposed: str = ""
    proposed_by: str = ""
    maturity: str = ""
    timers: tuple[str, ...] = ()

    @property
    def deadline(self) -> Deadline:
        """Until when the bank may refuse."""
        return Deadline(self.due, self.calendar, self.calendar_version)

    @property
    def draft(self) -> list[str]:
        """The discrepancies that a notice of refusal would state."""
        return [finding.explanation for finding in self.findings]
