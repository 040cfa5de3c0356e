"""Every aggregate of this floor, by category: those of the trade context, and packs handed over."""

from __future__ import annotations

from typing import Any

from usance.domain.credit.decider import CreditDecider
from usance.domain.export import ExportDecider
from usance.domain.facility import FacilityDecider
from usance.domain.message_exchange import MessageExchangeDecider
from usance.domain.presentation.decider import PresentationDecider
from usance.domain.work import WorkDecider
from usance.kernel.decider import Decider

DECIDERS: tuple[Decider[Any], ...] = (
    CreditDecider(),
    PresentationDecider(),
    FacilityDecider(),
    MessageExchangeDecider(),
    WorkDecider(),
    ExportDecider(),
)

CATEGORIES: dict[str, Decider[Any]] = {decider.category: decider for decider in DECIDERS}
"""The decider of each category: the middle part of a key."""
