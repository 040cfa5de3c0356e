"""Examination of documents under UCP 600: rules as pure functions, findings as facts."""

from usance.domain.examination.facts import PresentationFacts

__all__ = ["PresentationFacts"]
