"""Rules on dates: expiry, period of presentation, dates of documents, shipment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from usance.domain.dates import (
    TRANSPORT_KINDS,
    Window,
    day_of,
    days_after,
    presentation_shipment_date,
    shipment_date_of,
    shipment_window,
)
from usance.domain.examination.facts import Case, Rule, title
from usance.domain.terms import Finding

EX01 = Rule("EX-01", "UCP600-6d,6e,29")
EX02 = Rule("EX-02", "UCP600-14c,29")
EX08 = Rule("EX-08", "UCP600-14i")
EX29 = Rule("EX-29", "UCP600-20a-ii,29c")


def _rolled(case: Case, day: date) -> tuple[date, str]:
    """Return the last day as rolled by article 29a, and words that say so when it was."""
    last = case.calendar.roll_forward(day)
    moved = f", which article 29 moves from {day} because banks are closed" if last != day else ""
    return last, moved


def expiry(case: Case) -> list[Finding]:
    """EX-01: the presentation is made on or before the expiry date, rolled over closed days."""
    expires = day_of(case.terms.expiry_date)
    if expires is None or case.presented is None:
        return EX01.skips("The credit or the presentation shows no date to compare.")
    last, moved = _rolled(case, expires)
    inputs = {"presented": case.presented, "expiry": expires, "last_day": last}
    if case.presented > last:
        text = f"The documents were presented on {case.presented}, after the credit expired on "
        return [EX01.fails(f"{text}{last}{moved}.", **inputs)]
    text = f"The documents were presented on {case.presented}; the credit expires on {last}{moved}."
    return [EX01.holds(text, **inputs)]


def stale(case: Case) -> list[Finding]:
    """EX-02: the presentation is made within the credit's period after shipment."""
    if not any(required.originals for required in case.required_of(*TRANSPORT_KINDS)):
        return EX02.skips("The credit calls for no original transport document.")
    shipped = presentation_shipment_date(case.called_for())
    if shipped is None or case.presented is None:
        return EX02.skips("No presented transport document shows a date of shipment.")
    days = case.terms.presentation_days
    last, moved = _rolled(case, days_after(shipped, days))
    inputs = {"presented": case.presented, "shipped": shipped, "days": days, "last_day": last}
    text = (
        f"The documents were presented on {case.presented}; the last day is {last}{moved},"
        f" {days} days after shipment on {shipped}."
    )
    return [EX02.fails(text, **inputs) if case.presented > last else EX02.holds(text, **inputs)]


def document_dates(case: Case) -> list[Finding]:
    """EX-08: no document is dated after its presentation; before the credit's issue is fine."""
    presented = case.presented
    dated = [
        (document, day)
        for document in case.called_for()
        for text in (document.date, document.on_board_date)
        if (day := day_of(text))
    ]
    if presented is None or not dated:
        return EX08.skips("No document called for shows a date.")
    failures = (
        EX08.fails(
            f"The {title(document)} is dated {day}, after its presentation on {presented}.",
            document=title(document),
            dated=day,
            presented=presented,
        )
        for document, day in dated
        if day > presented
    )
    text = f"No document is dated after the presentation on {presented}."
    return EX08.settle(failures, text, presented=presented, latest=max(day for _, day in dated))


def _allowed_shipment(case: Case) -> Window | None:
    """Return the window of shipment of 44C or 44D; 44C is never rolled (article 29c)."""
    latest = day_of(case.terms.latest_shipment)
    return Window(None, latest) if latest else shipment_window(case.terms.shipment_period)


def _late_shipments(case: Case, allowed: Window) -> Iterator[Finding]:
    for document in case.of_kind(*TRANSPORT_KINDS):
        name = title(document)
        shipped = shipment_date_of(document)
        inputs = {"document": name, "shipped": shipped or "not shown", "allowed": allowed}
        if shipped is None:
            yield EX29.fails(
                f"The {name} shows no date of shipment; the credit allows {allowed}.", **inputs
            )
        elif shipped not in allowed:
            yield EX29.fails(
                f"The {name} shows shipment on {shipped}; the credit allows {allowed}.", **inputs
            )


def late_shipment(case: Case) -> list[Finding]:
    """EX-29: each shipment lies in the credit's period of shipment."""
    allowed = _allowed_shipment(case)
    if allowed is None:
        return EX29.skips("The credit states no date or period of shipment that can be read.")
    transport = case.of_kind(*TRANSPORT_KINDS)
    if not transport:
        return EX29.skips("No transport document that the credit calls for was presented.")
    shown = ", ".join(str(shipment_date_of(document)) for document in transport)
    return EX29.settle(
        _late_shipments(case, allowed),
        f"Shipment is shown on {shown}; the credit allows {allowed}.",
        shipped=shown,
        allowed=allowed,
    )
