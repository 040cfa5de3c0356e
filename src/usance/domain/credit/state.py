"""The credit as its stream tells it. Kept small: free text and parties are digests, or nothing."""

from __future__ import annotations

from typing import Literal

import msgspec

from usance.domain.credit.amendment_messages import TermsChanges
from usance.domain.terms import Terms

State = Literal[
    "",
    "SUBMITTED",
    "IN_PROCESS",
    "AWAITING_APPROVAL",
    "APPROVED",
    "ISSUED",
    "AWAITED",
    "MISSING",
    "RECEIVED",
    "AUTHENTICATED",
    "ADVISED",
    "CONFIRMED",
    "PARTLY_DRAWN",
    "FULLY_DRAWN",
    "EXPIRED",
    "CLOSED",
    "REJECTED",
    "WITHDRAWN",
    "CANCELLED",
    "VOIDED",
    "DECLINED",
]
"""Where a credit stands. IN_PROCESS covers every check: held and slow look alike.

AWAITED: only its amendment has come; MISSING: and that for too long.
"""

BEFORE_ISSUE = ("SUBMITTED", "IN_PROCESS", "AWAITING_APPROVAL", "APPROVED")
OPERATIVE = ("ISSUED", "ADVISED", "CONFIRMED", "PARTLY_DRAWN")
"""The beneficiary can draw."""
IN_FORCE = (*OPERATIVE, "FULLY_DRAWN", "EXPIRED")
"""Undertakings of the credit may still be open."""
OVER = ("CLOSED", "CANCELLED")
ENDED = (*OVER, "REJECTED", "WITHDRAWN", "VOIDED", "DECLINED")
"""Nothing can come of the credit any more."""


class DrawingLine(msgspec.Struct, frozen=True, gc=False):
    """What one presentation takes of the credit.

    `phase`: open, owed (accepted or deferred), paid, settled or released. `timely`: presented on or
    before the last day.
    """

    amount: int
    phase: str
    timely: bool
    method: str = ""


class AmendmentLine(msgspec.Struct, frozen=True, gc=False):
    """One amendment: `changes` are dropped once it is settled.

    `phase`: requested, awaiting, approved, pending, accepted, rejected, deemed or dropped. `awaits`: parties
    whose answer is missing.
    """

    phase: str
    changes: TermsChanges | None = None
    awaits: tuple[str, ...] = ()
    maker: str = ""
    revision: int = 0
    content_hash: str = ""
    message: str = ""
    delivery: str = ""


class CreditState(msgspec.Struct, gc=False):
    """A credit of either side. `undrawn`, `owed` and `margin` are the balances that are booked.

    `check` is of the credit itself (running, done); `checks` names those of its amendments and messages
    that are not over. `undrawn` is the contingent liability (P2, P7 less drawings), `owed` acceptances and
    deferred undertakings (P10), `used` all that was ever honoured. Minor units of the terms' currency.
    """

    credit: str = ""
    side: str = ""
    state: State = ""
    terms: Terms | None = None
    terms_version: int = 0
    facility: str = ""
    margin_percent: int = 0
    maker: str = ""
    content_hash: str = ""
    approval_revision: int = 0
    draft_on_applicant: bool = False
    parties_complete: bool = True
    valid: bool = False
    check: str = ""
    checks: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    message: str = ""
    delivery: str = ""
    void_maker: str = ""
    early: dict[int, str] = {}
    authentication: str = ""
    authenticated_by: str = ""
    sender: str = ""
    sender_reference: str = ""
    confirmed: bool = False
    confirmation_declined: bool = False
    undrawn: int = 0
    owed: int = 0
    margin: int = 0
    used: int = 0
    expired: bool = False
    drawings: dict[str, DrawingLine] = {}
    amendments: dict[int, AmendmentLine] = {}
    cancelling: tuple[str, ...] = ()
    correspondence: tuple[str, ...] = ()
    timers: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the credit itself is here, not only an amendment that came before it."""
        return self.terms is not None

    @property
    def held(self) -> bool:
        """Whether a check about all of this credit is not over: of a message, or one that came up again."""
        return any(not name.startswith("amendment:") for name in self.checks)

    @property
    def stipulated(self) -> Terms:
        """The terms in force; every credit that exists has some."""
        assert self.terms is not None
        return self.terms

    @property
    def books(self) -> bool:
        """Whether this bank books postings: P12 to P14 of the export side are not modelled."""
        return self.side == "import"

    @property
    def claimed(self) -> int:
        """The sum of drawings in presentation."""
        return sum(line.amount for line in self.drawings.values() if line.phase == "open")

    @property
    def anything_open(self) -> bool:
        """Whether a presentation is undecided, an undertaking unpaid, or more can still be drawn.

        A fully drawn credit with an unanswered amendment still binds; an expired one does not.
        """
        if any(line.phase in ("open", "owed") for line in self.drawings.values()):
            return True
        pending = any(line.phase == "pending" for line in self.amendments.values())
        return self.state == "FULLY_DRAWN" and pending
