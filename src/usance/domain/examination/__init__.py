"""Examination of documents under UCP 600: rules as pure functions, findings as facts."""

from usance.domain.examination.facts import (
    COMPLIES,
    DISCREPANT,
    DISREGARDED,
    NOT_APPLICABLE,
    ONLY_AMENDED,
    PresentationFacts,
)
from usance.domain.examination.rules import RULES, discrepancies, examine, only_amended

__all__ = [
    "COMPLIES",
    "DISCREPANT",
    "DISREGARDED",
    "NOT_APPLICABLE",
    "ONLY_AMENDED",
    "RULES",
    "PresentationFacts",
    "discrepancies",
    "examine",
    "only_amended",
]
