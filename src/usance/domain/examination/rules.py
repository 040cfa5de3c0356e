"""The table of rules, and the examination of a presentation against it (articles 14 and 10c)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from usance.domain.calendars import Calendar
from usance.domain.examination import amounts, documents, timing
from usance.domain.examination.facts import (
    DISCREPANT,
    NOT_APPLICABLE,
    ONLY_AMENDED,
    Case,
    PresentationFacts,
    Rule,
)
from usance.domain.terms import Drawing, Finding, Terms
from usance.domain.tolerance import max_liability

RULES: dict[str, Callable[[Case], list[Finding]]] = {
    "EX-01": timing.expiry,
    "EX-02": timing.stale,
    "EX-03": documents.presentation_place,
    "EX-04": documents.complete_set,
    "EX-05": documents.originals,
    "EX-06": documents.extra_documents,
    "EX-08": timing.document_dates,
    "EX-09": amounts.over_drawing,
    "EX-10": amounts.under_drawing,
    "EX-13": documents.draft_drawee,
    "EX-18": amounts.invoice_currency,
    "EX-20": amounts.invoice_over_amount,
    "EX-22": amounts.price_and_trade_term,
    "EX-28": documents.on_board,
    "EX-29": timing.late_shipment,
    "EX-31": documents.full_set,
    "EX-48": amounts.insurance_currency,
    "EX-49": amounts.insured_amount,
}
"""Each rule by its number. A rule answers with one finding, or one for each discrepancy."""

EX59 = Rule("EX-59", "UCP600-10c")


def discrepancies(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are discrepancies."""
    return [finding for finding in findings if finding.verdict == DISCREPANT]


def only_amended(findings: Iterable[Finding]) -> bool:
    """Return whether the presentation complies under the pending amendment alone (article 10c)."""
    return any(f.rule == EX59.id and f.verdict == ONLY_AMENDED for f in findings)


def _apply_rules(case: Case) -> list[Finding]:
    return [finding for rule in RULES.values() for finding in rule(case)]


def _pending_case(case: Case, pending: Terms) -> Case:
    """Return the case under a pending amendment, which may change what is available."""
    change = max_liability(pending) - max_liability(case.terms)
    drawing = Drawing(available=max(0, case.drawing.available + change), drawn=case.drawing.drawn)
    return case._replace(terms=pending, drawing=drawing)


def _against_pending(case: Case, findings: list[Finding], pending: Terms) -> list[Finding]:
    """Return the findings as a pending amendment changes them, with that of EX-59.

    When the presentation complies only as amended, each discrepancy becomes `only_amended`: to
    refuse would be wrong, because the presentation itself accepts the amendment.
    """
    found = discrepancies(findings)
    if not found:
        text = "The presentation complies with the terms in force, the pending amendment aside."
        return [*findings, EX59.holds(text, discrepancies_in_force=0)]
    still = discrepancies(_apply_rules(_pending_case(case, pending)))
    inputs = {"discrepancies_in_force": len(found), "discrepancies_as_amended": len(still)}
    if still:
        text = (
            f"The presentation shows {len(found)} discrepancies under the terms in force and"
            f" {len(still)} under the pending amendment: it does not accept the amendment."
        )
        return [*findings, EX59.finds(NOT_APPLICABLE, text, **inputs)]
    text = (
        "The presentation complies only with the pending amendment: by presenting, the"
        " beneficiary accepts it, and the credit is amended from that moment."
    )
    changed = [
        msgspec.structs.replace(f, verdict=ONLY_AMENDED) if f.verdict == DISCREPANT else f
        for f in findings
    ]
    return [*changed, EX59.finds(ONLY_AMENDED, text, **inputs)]


def examine(
    facts: PresentationFacts,
    terms: Terms,
    drawing: Drawing,
    calendar: Calendar,
    pending_terms: Terms | None = None,
) -> list[Finding]:
    """Return the findings of all rules on a presentation, in the order of their numbers.

    `terms` are those in force for the beneficiary; `calendar` is of the place of presentation;
    `pending_terms` are the terms as an amendment not yet answered would make them. The presentation
    complies when `discrepancies(findings)` is empty; then `only_amended(findings)` says whether it
    accepts the amendment. Results of compliance screening are no findings.
    """
    case = Case(terms, facts, drawing, calendar)
    findings = _apply_rules(case)
    if pending_terms is None:
        return [*findings, *EX59.skips("No amendment awaits the beneficiary's answer.")]
    return _against_pending(case, findings, pending_terms)
