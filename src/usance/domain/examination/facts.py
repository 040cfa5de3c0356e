"""What a presentation shows, and how a rule answers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import msgspec

from usance.domain.calendars import Calendar
from usance.domain.dates import day_of
from usance.domain.terms import Drawing, Finding, PresentedDocument, RequiredDocument, Terms
from usance.kernel.money import Money

COMPLIES = "complies"
DISCREPANT = "discrepant"
NOT_APPLICABLE = "not_applicable"
DISREGARDED = "disregarded"
ONLY_AMENDED = "only_amended"


class PresentationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A presentation as received: the only facts, beside credit and calendar, that a rule may read.

    `presented` is the banking day it counts from (`Calendar.received_on`), YYYY-MM-DD; `presentee`
    is the BIC of the bank it was made to; the claim is in minor units of `currency`.
    """

    presented: str
    presentee: str = ""
    place: str = ""
    currency: str
    amount: int
    documents: list[PresentedDocument] = []


class Case(NamedTuple):
    """All that one rule reads: the credit's terms, the presentation, the balance, the calendar."""

    terms: Terms
    facts: PresentationFacts
    drawing: Drawing
    calendar: Calendar

    @property
    def presented(self) -> date | None:
        """The day the presentation counts from."""
        return day_of(self.facts.presented)

    @property
    def claim(self) -> Money:
        """The amount claimed."""
        return Money(self.facts.currency, self.facts.amount)

    def called_for(self) -> list[PresentedDocument]:
        """Return the presented documents that the credit calls for; 14g disregards others."""
        kinds = {required.kind for required in self.terms.required_documents}
        if self.terms.draft_on:
            kinds.add("draft")
        return [document for document in self.facts.documents if document.kind in kinds]

    def of_kind(self, *kinds: str) -> list[PresentedDocument]:
        """Return the documents called for that are of the given kinds."""
        return [document for document in self.called_for() if document.kind in kinds]

    def required_of(self, *kinds: str) -> list[RequiredDocument]:
        """Return the requirements of the given kinds."""
        return [required for required in self.terms.required_documents if required.kind in kinds]


class Rule(NamedTuple):
    """The identity of a rule: its number and its source in UCP 600."""

    id: str
    article: str

    def finds(self, verdict: str, explanation: str, **inputs: object) -> Finding:
        """Return a finding of this rule; `inputs` are the compared facts."""
        return Finding(
            rule=self.id,
            article=self.article,
            inputs={name: str(value) for name, value in inputs.items()},
            verdict=verdict,
            explanation=explanation,
        )

    def fails(self, explanation: str, **inputs: object) -> Finding:
        """Return a discrepancy."""
        return self.finds(DISCREPANT, explanation, **inputs)

    def holds(self, explanation: str, **inputs: object) -> Finding:
        """Return a compliance finding."""
        return self.finds(COMPLIES, explanation, **inputs)

    def skips(self, explanation: str) -> list[Finding]:
        """Return the answer of a rule that does not apply."""
        return [self.finds(NOT_APPLICABLE, explanation)]

    def settle(
        self, failures: Iterable[Finding], explanation: str, **inputs: object
    ) -> list[Finding]:
        """Return the failures, or when there are none one compliance finding."""
        return list(failures) or [self.holds(explanation, **inputs)]


def title(document: PresentedDocument | RequiredDocument | str) -> str:
    """Return a document's kind in words, with its reference when it has one."""
    if isinstance(document, str):
        return document.replace("_", " ")
    words = document.kind.replace("_", " ")
    reference = document.reference if isinstance(document, PresentedDocument) else ""
    return f"{words} {reference}".strip()


def counted(number: int, word: str) -> str:
    """Return a number with its word, such as `1 original` or `3 originals`."""
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{number} {word if number == 1 else plural}"


def same_bank(one: str, other: str) -> bool:
    """Return whether two BICs name the same bank at the same place (branch codes aside)."""
    return bool(one) and one[:8].upper() == other[:8].upper()
