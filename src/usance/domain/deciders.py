"""Every aggregate of the trade context, by category."""

from __future__ import annotations

from typing import Any

from usance.domain.credit.decider import CreditDecider
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
)

CATEGORIES: dict[str, Decider[Any]] = {decider.category: decider for decider in DECIDERS}
"""The decider of each category: the middle part of a key."""
