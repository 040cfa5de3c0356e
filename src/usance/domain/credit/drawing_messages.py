"""Commands and events of drawings under a credit, and of its end."""

from __future__ import annotations

import msgspec

from usance.domain.credit.amendment_messages import PendingTerms
from usance.domain.posting import Posting
from usance.domain.terms import Terms
from usance.kernel.words import Words


class RegisterDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """A presentation claims an amount. `presented` is the day it counts from."""

    presentation: str
    currency: str
    amount: int
    presented: str


class DrawingRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A claim stands against the balance, with all that its examination needs of the credit.

    `available` is before this drawing; `drawn` what others drew or claim; `terms` those in force
    and `pending` the terms as unanswered amendments would make them. An over-drawing is registered
    too (`over_drawn`): the examination decides on it.
    """

    presentation: str
    currency: str
    amount: int
    presented: str
    available: int
    drawn: int
    over_drawn: bool
    terms_version: int
    terms: Terms
    pending: list[PendingTerms] = []


class ReleaseDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """A presentation was refused or withdrawn (`reason`, a word of the program): give its claim back."""

    presentation: str
    reason: str = ""
    undoes: str = ""


class DrawingReleased(msgspec.Struct, frozen=True, kw_only=True):
    """A claim was given back to the balance."""

    presentation: str
    amount: int
    reason: str = ""


class HonourDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """Book what was decided on a presentation.

    `method`: sight, acceptance, deferred or negotiation. `maturity` (YYYY-MM-DD) for all but sight.
    """

    presentation: str
    method: str
    amount: int
    maturity: str = ""


class DrawingHonoured(msgspec.Struct, frozen=True, kw_only=True):
    """A drawing used up part of the credit: paid (P8), or owed at `maturity` (P10)."""

    presentation: str
    method: str
    currency: str
    amount: int
    maturity: str = ""
    fully_drawn: bool
    from_margin: int
    postings: list[Posting] = []


class SettleDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """Pay a matured acceptance or deferred undertaking; of a sight drawing, record it as paid."""

    presentation: str


class DrawingSettled(msgspec.Struct, frozen=True, kw_only=True):
    """A drawing is paid (P11 at maturity)."""

    presentation: str
    currency: str
    amount: int
    from_margin: int
    postings: list[Posting] = []


class CancelCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Ask all parties to agree to the end of an issued credit (article 10a)."""

    reason: Words


class CancellationRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Cancellation waits for the `consents` of these parties; until then the credit stands."""

    reason: Words
    consents: list[str]


class RespondToCancellation(msgspec.Struct, frozen=True, kw_only=True):
    """A party's answer: `party` beneficiary or confirmer, `answer` accept or reject."""

    party: str
    answer: str
    reference: str = ""


class CancellationConsentGiven(msgspec.Struct, frozen=True, kw_only=True):
    """A party agreed to the cancellation."""

    party: str
    reference: str = ""


class CancellationDeclined(msgspec.Struct, frozen=True, kw_only=True):
    """A party said no: the credit stands."""

    party: str
    reference: str = ""


class CreditCancelled(msgspec.Struct, frozen=True, kw_only=True):
    """All parties agreed: the credit is over (P16)."""

    postings: list[Posting] = []


class ExpireCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Expire a credit whose last day (rolled by article 29a) is over."""


class CreditExpired(msgspec.Struct, frozen=True, kw_only=True):
    """The last day for presentation is over; timely presentations on their way still count.

    `extended`: the expiry date was no banking day, so the last day is a later one (article 29a).
    """

    expiry_date: str
    last_day: str
    extended: bool = False


class CloseCredit(msgspec.Struct, frozen=True, kw_only=True):
    """Close a fully drawn or expired credit with nothing open."""

    reason: Words | None = None


class CreditClosed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of this credit is zero (P16)."""

    cause: str = ""
    reason: Words | None = None
    postings: list[Posting] = []


MESSAGES: tuple[tuple[type, str], ...] = (
    (RegisterDrawing, "command"),
    (ReleaseDrawing, "command"),
    (HonourDrawing, "command"),
    (SettleDrawing, "command"),
    (CancelCredit, "command"),
    (RespondToCancellation, "command"),
    (ExpireCredit, "command"),
    (CloseCredit, "command"),
    (DrawingRegistered, "event"),
    (DrawingReleased, "event"),
    (DrawingHonoured, "event"),
    (DrawingSettled, "event"),
    (CancellationRequested, "event"),
    (CancellationConsentGiven, "event"),
    (CancellationDeclined, "event"),
    (CreditCancelled, "event"),
    (CreditExpired, "event"),
    (CreditClosed, "event"),
)
"""Every message of drawings and of the end of a credit, with its kind."""
