"""Rules on money: claim, invoice and insurance against the credit (articles 18, 28f, 30, 31)."""

from __future__ import annotations

from collections.abc import Iterator

from usance.domain.examination.facts import Case, Rule, title
from usance.domain.terms import Finding, PresentedDocument, Terms
from usance.domain.tolerance import least_drawing, may_draw_short
from usance.kernel.money import Money, format_minor

EX09 = Rule("EX-09", "UCP600-30,39A,39C")
EX10 = Rule("EX-10", "UCP600-30c,31")
EX18 = Rule("EX-18", "UCP600-18a-iii")
EX20 = Rule("EX-20", "UCP600-18b")
EX22 = Rule("EX-22", "UCP600-18c")
EX48 = Rule("EX-48", "UCP600-28f-i")
EX49 = Rule("EX-49", "UCP600-28f-ii")

CIF_TERMS = ("CIF", "CIP")


def _in_credit_currency(documents: list[PresentedDocument], terms: Terms) -> int:
    """Return the total of the documents in the credit's currency, in minor units."""
    return sum(d.amount for d in documents if d.currency == terms.currency)


def over_drawing(case: Case) -> list[Finding]:
    """EX-09: the claim is in the credit's currency and within what is available."""
    limit = Money(case.terms.currency, case.drawing.available)
    inputs = {"claim": case.claim, "available": limit}
    if case.claim.currency != case.terms.currency:
        text = f"The claim of {case.claim} is not in the currency of the credit, {limit.currency}."
        return [EX09.fails(text, **inputs)]
    if case.claim.minor > limit.minor:
        over = Money(limit.currency, case.claim.minor - limit.minor)
        text = f"The claim of {case.claim} exceeds the {limit} available by {over}."
        return [EX09.fails(text, **inputs)]
    return [EX09.holds(f"The claim of {case.claim} is within the {limit} available.", **inputs)]


def under_drawing(case: Case) -> list[Finding]:
    """EX-10: where partial shipments are barred, the credit is drawn in full or nearly so."""
    terms = case.terms
    if terms.partial_shipments != "NOT ALLOWED":
        return EX10.skips("The credit does not bar partial shipments.")
    if case.claim.currency != terms.currency:
        return EX10.skips("The claim is not in the currency of the credit.")
    invoices = case.of_kind("invoice")
    shipped = sum(invoice.quantity for invoice in invoices)
    price = min((invoice.unit_price for invoice in invoices), default=0)
    least = Money(terms.currency, least_drawing(terms, shipped, price))
    total = Money(terms.currency, case.drawing.drawn + case.claim.minor)
    inputs = {"drawn_with_claim": total, "least": least, "quantity": shipped}
    if total.minor < least.minor:
        text = (
            f"Drawings of {total} fall short of the least allowed, {least}, and the credit bars"
            f" partial shipments{_why_no_short(case, shipped, price)}."
        )
        return [EX10.fails(text, **inputs)]
    return [EX10.holds(f"Drawings of {total} reach the least allowed, {least}.", **inputs)]


def _why_no_short(case: Case, shipped: int, price: int) -> str:
    terms = case.terms
    own = terms.has_tolerance or terms.approximate
    if own or may_draw_short(terms, shipped, price):
        return ""
    return "; 5 per cent less needs the full quantity at an unreduced unit price"


def invoice_currency(case: Case) -> list[Finding]:
    """EX-18: invoices are in the currency of the credit."""
    invoices = case.of_kind("invoice")
    if not invoices:
        return EX18.skips("No invoice that the credit calls for was presented.")
    currency = case.terms.currency
    failures = (
        EX18.fails(
            f"The {title(invoice)} is in {invoice.currency or 'no stated currency'};"
            f" the credit is in {currency}.",
            document=title(invoice),
            invoice=invoice.currency,
            credit=currency,
        )
        for invoice in invoices
        if invoice.currency != currency
    )
    return EX18.settle(failures, f"Invoices and credit are both in {currency}.", credit=currency)


def invoice_over_amount(case: Case) -> list[Finding]:
    """EX-20: an invoice above the amount available fails only when the claim exceeds it too."""
    terms = case.terms
    invoices = case.of_kind("invoice")
    if not invoices:
        return EX20.skips("No invoice that the credit calls for was presented.")
    total = Money(terms.currency, _in_credit_currency(invoices, terms))
    limit = Money(terms.currency, case.drawing.available)
    inputs = {"invoiced": total, "available": limit, "claim": case.claim}
    if total.minor <= limit.minor:
        return [EX20.holds(f"Invoices of {total} are within the {limit} available.", **inputs)]
    over = f"Invoices of {total} exceed the {limit} available"
    if case.claim.currency == terms.currency and case.claim.minor <= limit.minor:
        text = f"{over}, but the claim of {case.claim} does not; accepting them binds all parties."
        return [EX20.holds(text, **inputs)]
    return [EX20.fails(f"{over}, and so does the claim of {case.claim}.", **inputs)]


def _price_differences(invoice: PresentedDocument, terms: Terms) -> Iterator[tuple[str, str, str]]:
    """Yield (what, on the invoice, in the credit) for each difference of price and trade term."""
    if terms.unit_price and invoice.unit_price != terms.unit_price:
        shown = format_minor(invoice.unit_price, terms.currency) if invoice.unit_price else "none"
        yield "unit price", shown, format_minor(terms.unit_price, terms.currency)
    if terms.incoterm and invoice.incoterm.upper() != terms.incoterm.upper():
        yield "trade term", invoice.incoterm or "none", terms.incoterm
    place = " ".join(terms.incoterm_place.upper().split())
    if place and " ".join(invoice.incoterm_place.upper().split()) != place:
        yield "place of the trade term", invoice.incoterm_place or "none", terms.incoterm_place


def price_and_trade_term(case: Case) -> list[Finding]:
    """EX-22: unit price, Incoterm and its place on the invoice are those of the credit."""
    terms = case.terms
    invoices = case.of_kind("invoice")
    if not invoices:
        return EX22.skips("No invoice that the credit calls for was presented.")
    if not (terms.unit_price or terms.incoterm or terms.incoterm_place):
        return EX22.skips("The credit states no unit price and no trade term.")
    failures = (
        EX22.fails(
            f"The {title(invoice)} shows {shown} as its {what}; the credit states {stated}.",
            document=title(invoice),
            invoice=shown,
            credit=stated,
        )
        for invoice in invoices
        for what, shown, stated in _price_differences(invoice, terms)
    )
    stated = f"{terms.incoterm} {terms.incoterm_place}".strip()
    text = "The invoice shows the unit price and trade term of the credit."
    return EX22.settle(failures, text, unit_price=terms.unit_price, trade_term=stated)


def insurance_currency(case: Case) -> list[Finding]:
    """EX-48: insurance is in the currency of the credit."""
    insured = case.of_kind("insurance")
    if not insured:
        return EX48.skips("No insurance document that the credit calls for was presented.")
    currency = case.terms.currency
    failures = (
        EX48.fails(
            f"The {title(document)} is in {document.currency or 'no stated currency'};"
            f" the credit is in {currency}.",
            document=title(document),
            insurance=document.currency,
            credit=currency,
        )
        for document in insured
        if document.currency != currency
    )
    return EX48.settle(failures, f"Insurance and credit are both in {currency}.", credit=currency)


def _insured_value(case: Case) -> tuple[int, str]:
    """Return the value to insure and what it is: CIF or CIP value, else claim or gross invoice."""
    invoiced = _in_credit_currency(case.of_kind("invoice"), case.terms)
    if case.terms.incoterm.upper() in CIF_TERMS and invoiced:
        return invoiced, f"the {case.terms.incoterm.upper()} value"
    claim = case.claim.minor if case.claim.currency == case.terms.currency else 0
    return max(claim, invoiced), "the claim or the gross invoice, whichever is greater,"


def insured_amount(case: Case) -> list[Finding]:
    """EX-49: cover is at least the credit's percentage of the value."""
    insured = case.of_kind("insurance")
    if not insured:
        return EX49.skips("No insurance document that the credit calls for was presented.")
    currency = case.terms.currency
    if any(document.currency != currency for document in insured):
        return EX49.skips("Insurance in another currency cannot be compared; see EX-48.")
    cover = Money(currency, sum(document.amount for document in insured))
    value, basis = _insured_value(case)
    percent = case.terms.insured_percent
    inputs = {"cover": cover, "value": Money(currency, value), "percent": percent}
    text = f"Cover is {cover}; at least {percent} per cent of {basis} of "
    text += f"{Money(currency, value)} is needed."
    short = cover.minor * 100 < value * percent
    return [EX49.fails(text, **inputs) if short else EX49.holds(text, **inputs)]
