"""The trade book as text: tables and facts that people look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from usance.cli.opening import Looking
from usance.cli.options import say
from usance.cli.show import (
    Column,
    amount,
    day,
    deadline,
    facts,
    heading,
    instant,
    one_line,
    table,
    yes,
)
from usance.kernel.errors import NotFound
from usance.views import results as r

CREDITS = (
    Column("Reference", lambda c: c.reference),
    Column("Side", lambda c: c.side),
    Column("State", lambda c: c.state),
    Column("Amount", lambda c: amount(c.amount, c.currency), right=True),
    Column("Available", lambda c: amount(c.available, c.currency), right=True),
    Column("Expiry", lambda c: day(c.expiry_date)),
    Column("Applicant", lambda c: one_line(c.applicant, 28)),
    Column("Beneficiary", lambda c: one_line(c.beneficiary, 28)),
    Column("Next due", lambda c: deadline(c.next_due)),
    Column("", lambda c: flags(c)),  # noqa: PLW0108  it is defined below
)
PRESENTATIONS = (
    Column("Reference", lambda p: p.reference),
    Column("Credit", lambda p: p.credit),
    Column("State", lambda p: p.state),
    Column("Amount", lambda p: amount(p.amount, p.currency), right=True),
    Column("Presented", lambda p: day(p.presented)),
    Column("Decide by", lambda p: "" if p.decided else deadline(p.due)),
    Column("Discrepancies", lambda p: str(p.discrepancies or ""), right=True),
    Column("", lambda p: "PRECLUDED" if p.precluded else ""),
)
FACILITIES = (
    Column("Reference", lambda f: f.reference),
    Column("Customer", lambda f: f.customer),
    Column("Limit", lambda f: amount(f.limit, f.currency), right=True),
    Column("Reserved", lambda f: amount(f.reserved, f.currency), right=True),
    Column("Used", lambda f: amount(f.used, f.currency), right=True),
    Column("Available", lambda f: amount(f.available, f.currency), right=True),
    Column("Expiry", lambda f: day(f.expiry)),
)
MESSAGES = (
    Column("Reference", lambda m: m.reference),
    Column("", lambda m: m.direction),
    Column("MT", lambda m: m.mt),
    Column("State", lambda m: m.state),
    Column("Code", lambda m: m.code),
    Column("Credit", lambda m: m.credit),
    Column("Counterparty", lambda m: m.counterparty),
    Column("When", lambda m: instant(m.instant)),
    Column("Event", lambda m: m.event_id),
)
TERM_AMOUNTS = ("amount", "additional_amount", "unit_price")
WORK = (
    Column("Due", lambda w: deadline(w.due)),
    Column("Work", lambda w: one_line(w.title, 56)),
    Column("Why", lambda w: one_line(w.why, 48)),
    Column("Article", lambda w: w.article),
    Column("Roles", lambda w: ", ".join(w.roles)),
    Column("Holder", lambda w: w.holder),
    Column("Item", lambda w: w.id),
    Column("", lambda w: f"({w.blocked})" if w.blocked else ""),
)


def flags(row: r.CreditRow) -> str:
    """Return what stands out in a row."""
    marks = (
        "discrepant" if row.has_discrepancy else "",
        f"{row.pending_amendments} amendment pending" if row.pending_amendments else "",
        "stale" if row.stale_since else "",
    )
    return ", ".join(mark for mark in marks if mark)


def more(page: r.Page) -> None:
    """Say how to get the next page."""
    if page.cursor:
        say(f"More: --cursor {page.cursor}")


def credit_page(page: r.CreditPage) -> Iterable[str]:
    """Return credits as a table."""
    empty = "No credit. One begins with `usance credit apply`, or with an MT700 for the gateway."
    yield from table(CREDITS, page.rows, empty)
    more(page.page)


def credit(found: r.Credit) -> Iterable[str]:
    """Return one credit."""
    row, balances = found.row, found.balances
    money = balances.currency
    yield from facts(
        [
            ("Credit", row.reference),
            ("State", f"{row.state} ({row.side}, {row.role}), revision {row.revision}"),
            ("Expiry", day(row.expiry_date)),
            ("Issued", day(found.issue_date)),
            ("Facility", found.facility),
            ("Application", found.application),
            ("Sender", found.sender),
            ("Sender's reference", found.sender_reference),
            ("Advised to", found.advised_to),
            ("Confirmed", yes(found.confirmed) if row.side == "export" else ""),
            ("Maker", found.maker),
            ("Approver", found.approver),
            ("Attention", "parked: its commands wait" if found.parked else ""),
        ]
    )
    yield heading("Balances")
    names = (
        "amount",
        "undertaken",
        "honoured",
        "in_presentation",
        "available",
        "paid",
        "liability",
    )
    listed = [
        (n.replace("_", " ").capitalize(), amount(getattr(balances, n), money)) for n in names
    ]
    width = max(len(text) for _, text in listed)
    yield from facts([(name, text.rjust(width)) for name, text in listed])
    yield heading("Parties")
    yield from facts([(party.role.capitalize(), _party(party)) for party in found.parties])
    yield heading("Terms")
    yield from facts(_terms(found.terms, money))
    for name, text in found.narrative.items():
        yield heading(name.replace("_", " ").capitalize())
        yield from facts([("", text)])
    yield from _credit_lists(found)


def _party(party: r.PartyFacts) -> str:
    place = ", ".join(p for p in (party.town, party.country) if p)
    return f"{party.name} ({place})" if place else party.name


def _terms(terms: dict[str, str | int | bool], currency: str) -> Iterable[tuple[str, str]]:
    """Return the terms that say something, amounts and dates as people read them."""
    for name, value in terms.items():
        if isinstance(value, bool):
            text = yes(value) if value else ""
        elif name in TERM_AMOUNTS and isinstance(value, int):
            text = amount(value, currency) if value else ""
        else:
            text = day(str(value)) if value else ""
        yield name.replace("_", " "), text


def _credit_lists(found: r.Credit) -> Iterable[str]:
    if found.amendments:
        yield heading("Amendments")
        for amendment in found.amendments:
            consents = ", ".join(f"{k} {v}" for k, v in amendment.consents.items())
            yield f"{amendment.number}  {amendment.state}  {consents}"
            yield from facts(amendment.changes, indent="   ")
    for title, columns, rows in (
        ("Presentations", PRESENTATIONS, found.presentations),
        ("Messages", MESSAGES, found.messages),
        ("Work", WORK, found.work),
    ):
        if rows:
            yield heading(title)
            yield from table(columns, rows)
    if found.saga is not None:
        yield heading("Saga")
        at = f" at {found.saga.step}" if found.saga.step else ""
        incident = f", incident {found.saga.incident}" if found.saga.incident else ""
        yield f"{found.saga.definition}: {found.saga.phase}{at}{incident}"
    if found.approval is not None:
        say(f"Next: usance approval show {found.approval.id}")


def timeline(entries: Sequence[r.TimelineEntry]) -> Iterable[str]:
    """Return events as a table, one sentence each."""
    columns = (
        Column("Rev", lambda e: str(e.revision), right=True),
        Column("When", lambda e: deadline(e.instant)),
        Column("What", lambda e: one_line(e.sentence or e.type, 84)),
        Column("Article", lambda e: e.article),
        Column("Who", lambda e: e.actor),
        Column("Message", lambda e: e.message),
        Column("Position", lambda e: f"{e.topic.split('.')[-2]}.p{e.partition}#{e.index}"),
    )
    return table(columns, entries)


def state_at(found: r.StateAt) -> Iterable[str]:
    """Return a state with what its revision changed."""
    yield f"{found.key} at revision {found.revision} of {found.latest}"
    if found.event is not None:
        yield f"  {deadline(found.event.instant)}  {found.event.type}: {found.event.sentence}"
    yield heading("Changed")
    columns = (
        Column("Field", lambda c: c.field),
        Column("Before", lambda c: one_line(c.before, 40)),
        Column("After", lambda c: one_line(c.after, 60)),
    )
    yield from table(columns, found.changed, "Nothing changed.")
    yield heading("State")
    yield from facts(found.state)


def presentation_page(page: r.PresentationPage) -> Iterable[str]:
    """Return presentations as a table."""
    empty = "No presentation. One begins with `usance presentation present`."
    yield from table(PRESENTATIONS, page.rows, empty)
    more(page.page)


def presentation(found: r.Presentation) -> Iterable[str]:
    """Return one presentation with its checklist."""
    row = found.row
    yield from facts(
        [
            ("Presentation", row.reference),
            ("Credit", row.credit),
            ("State", f"{row.state}, revision {row.revision}"),
            ("Amount", amount(row.amount, row.currency)),
            (
                "Presented",
                f"{day(row.presented)} at {found.place}" if found.place else day(row.presented),
            ),
            ("Presenter", f"{row.presenter} {found.presenter_reference}".strip()),
            ("Decide by", f"{deadline(row.due)} ({found.calendar} {found.calendar_version})"),
            ("Complies", yes(found.complies)),
            ("Precluded", "yes (UCP600-16f): the bank must honour" if row.precluded else ""),
            ("Waiver", found.waiver),
            (
                "Proposed",
                f"{found.proposed_method} by {found.proposed_by}" if found.proposed_by else "",
            ),
            ("Maturity", day(found.maturity)),
        ]
    )
    yield heading("Documents")
    for document in found.documents:
        said = ", ".join(f"{k} {v}" for k, v in document.facts.items())
        yield from facts([(document.kind, one_line(said, 160))])
    yield heading("Findings")
    columns = (
        Column("Rule", lambda f: f.rule),
        Column("Article", lambda f: f.article),
        Column("Verdict", lambda f: f.verdict),
        Column("Explanation", lambda f: one_line(f.explanation, 120)),
        Column("By", lambda f: f.by),
    )
    yield from table(columns, found.findings, "Not examined yet.")
    if found.refusal:
        yield heading("Notice of refusal")
        yield from facts(found.refusal)
    for line in found.notice:
        yield f"  {line}"
    for title, table_columns, rows in (
        ("Messages", MESSAGES, found.messages),
        ("Work", WORK, found.work),
    ):
        if rows:
            yield heading(title)
            yield from table(table_columns, rows)


def facilities(rows: list[r.FacilityRow]) -> Iterable[str]:
    """Return facilities as a table."""
    return table(FACILITIES, rows, "No facility. One begins with `usance facility set`.")


def facility(found: r.Facility) -> Iterable[str]:
    """Return one facility with its reservations."""
    yield from table(FACILITIES, [found.row])
    yield heading("Reservations")
    columns = (
        Column("Credit", lambda v: v.credit),
        Column("State", lambda v: v.state),
        Column("Amount", lambda v: amount(v.amount, v.currency), right=True),
        Column("Margin", lambda v: amount(v.margin, v.currency), right=True),
        Column("Changed", lambda v: instant(v.changed)),
    )
    yield from table(columns, found.reservations, "Nothing stands against it.")


def message_page(page: r.MessagePage) -> Iterable[str]:
    """Return FIN messages as a table."""
    yield from table(MESSAGES, page.rows, "No message.")
    more(page.page)


def work_page(page: r.WorkPage) -> Iterable[str]:
    """Return work as a table, nearest due first."""
    yield from table(WORK, page.rows, "Nothing waits.")
    more(page.page)


def event_of_message(seen: Looking, reference: str) -> str:
    """Return the id of the event that holds a message's text: of its reference, or as given."""
    try:
        entries = seen.queries.timeline(seen.viewer, seen.key("message", reference)).entries
    except NotFound:
        return reference
    held = [e.event_id for e in entries if e.type in ("MessageQueued", "MessageRepaired")]
    return held[-1] if held else reference
