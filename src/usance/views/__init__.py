"""The views floor: what people look at, folded from the log; see docs/architecture.md section 6."""

from __future__ import annotations

from usance.engine.projections.projection import Projection
from usance.views.accesses import ACCESS_RECORDS
from usance.views.answers import ANSWERS, COMPLIANCE_ANSWERS, COMPLIANCE_LETTERS, LETTERS
from usance.views.book import BOOK
from usance.views.cases import COMPLIANCE_CASES
from usance.views.claims import CLAIMS
from usance.views.fin import FIN
from usance.views.history import COMPLIANCE_HISTORY, HISTORY
from usance.views.ledger import EXPOSURE, LEDGER
from usance.views.listed import LISTED
from usance.views.presented import PRESENTED
from usance.views.progress import ARMED_TIMERS, SAGA_PROGRESS

PROJECTIONS: tuple[Projection, ...] = (
    BOOK,
    PRESENTED,
    EXPOSURE,
    LEDGER,
    FIN,
    SAGA_PROGRESS,
    ARMED_TIMERS,
    CLAIMS,
    LISTED,
    HISTORY,
    ANSWERS,
    LETTERS,
    COMPLIANCE_CASES,
    COMPLIANCE_HISTORY,
    COMPLIANCE_ANSWERS,
    COMPLIANCE_LETTERS,
    ACCESS_RECORDS,
)
"""Every projection of this program."""
