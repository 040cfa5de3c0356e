"""`usance work|approval|case`: what waits for a person, and for a second one."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from usance.bootstrap.accessing import Look
from usance.cli import trade_text
from usance.cli.acting import addressed, opened, perform, settle
from usance.cli.approving import answer, find, lines, seen_as
from usance.cli.opening import looking
from usance.cli.options import Noun, dry_run, say, verb
from usance.cli.show import Column, amount, emit, facts, heading, instant, one_line, table
from usance.cli.trade import cursor_option, limit_option
from usance.cli.watched import watched
from usance.kernel.ids import RandomIds
from usance.views import results as r
from usance.views.asking import COMPLIANCE_ROLES
from usance.web.commands import command_type

work = Noun("work", help="What waits for a person.")
approval = Noun("approval", help="What needs a second person.")
case = Noun("case", help="Compliance cases (that role alone).")


@verb(work, "list")
@click.option("--kind", default="", help="Such as approve_credit, examine, decide, incident.")
@click.option("--subject", default="", help="Reference or key.")
@click.option("--mine", is_flag=True, help="Only what the one who acts may do.")
@click.option("--holder", default="", help="A person who is at it, or `nobody`.")
@cursor_option
@limit_option
def list_work(kind: str, subject: str, mine: bool, holder: str, cursor: str, limit: int) -> None:
    """List work, nearest deadline first. Example: usance work list --as bruno.lindqvist --mine."""
    with looking() as seen:
        wanted = r.WorkFilter(kind=kind, subject=subject, mine=mine, holder=holder)
        emit(seen.queries.work(seen.viewer, wanted, cursor, limit), trade_text.work_page)


@verb(work, "claim")
@click.argument("item")
@dry_run
def claim(item: str, dry_run: bool) -> None:
    """Take a work item on, so that others see it; ITEM is the id that `work list` shows.

    It gives no right: a second person is still needed where one is.
    Example: usance work claim examine:albion/presentation/P26-0119
    """
    perform({"type": "ClaimWork", "work": item}, "", dry=dry_run)


@verb(work, "release")
@click.argument("item")
@dry_run
def release(item: str, dry_run: bool) -> None:
    """Give a work item back; a lead may release one for somebody who is away."""
    perform({"type": "ReleaseWork", "work": item}, "", dry=dry_run)


@verb(approval, "list")
def list_approvals() -> None:
    """List what waits for a second person, oldest first."""
    columns = (
        Column("Approval", lambda a: a.id),
        Column("What", lambda a: one_line(a.title, 56)),
        Column("Amount", lambda a: amount(a.amount, a.currency) if a.amount else "", right=True),
        Column("Maker", lambda a: a.maker),
        Column("Requested", lambda a: instant(a.requested)),
        Column("", lambda a: "yours" if a.self_made else ""),
    )
    with looking() as seen:
        emit(
            seen.queries.approvals(seen.viewer), lambda rows: table(columns, rows, "Nothing waits.")
        )


@verb(approval, "show")
@click.argument("approval_id")
def show_approval(approval_id: str) -> None:
    """Show exactly what would be approved, and how to say that this was seen."""
    with looking() as seen:
        found = find(seen.desk, seen.viewer, approval_id)
        emit(found, lines)
        say(f"\nNext: usance approval approve {found.id} --seen {seen_as(found)}")


_seen = click.option("--seen", default="", help="What `usance approval show` gave as seen.")
_note = click.option("--reason", default="", help="Kept with the answer.")


@verb(approval, "approve")
@click.argument("approval_id")
@_seen
@_note
@dry_run
def approve(approval_id: str, seen: str, reason: str, dry_run: bool) -> None:
    """Approve exactly what was shown. Example: usance approval approve ID --seen 3f2a9c1d0b7e."""
    answer(approval_id, seen, reason, yes=True, dry=dry_run)


@verb(approval, "reject")
@click.argument("approval_id")
@click.option("--reason", required=True, help="Kept with the answer.")
@dry_run
def reject(approval_id: str, reason: str, dry_run: bool) -> None:
    """Reject what waits."""
    answer(approval_id, "", reason, yes=False, dry=dry_run)


@verb(case, "list")
@click.option("--state", default="", help="Such as open, proposed or closed.")
@click.option("--subject", default="")
@cursor_option
@limit_option
def list_cases(state: str, subject: str, cursor: str, limit: int) -> None:
    """List cases, last changed first; for compliance and auditors, and recorded first."""
    columns = (
        Column("Case", lambda c: c.reference),
        Column("Subject", lambda c: c.subject),
        Column("State", lambda c: c.state),
        Column("Hits", lambda c: str(c.hits), right=True),
        Column("Score", lambda c: f"{c.score / 100:.0f}", right=True),
        Column(
            "Proposal", lambda c: f"{c.proposal} {f'by {c.proposed_by}' if c.proposed_by else ''}"
        ),
        Column("Opened", lambda c: instant(c.opened)),
    )
    with watched(Look("case.list", subject), COMPLIANCE_ROLES) as seen:
        wanted = r.CaseFilter(state=state, subject=subject)
        found = seen.queries.cases(seen.viewer, wanted, cursor, limit)
        emit(found, lambda page: table(columns, page.rows, "No case."))


@verb(case, "show")
@click.argument("reference")
def show_case(reference: str) -> None:
    """Show a case: candidates, scores explained, history. That it is shown is recorded first."""
    with watched(Look("case.view", reference), COMPLIANCE_ROLES) as seen:
        found = seen.queries.case(seen.viewer, seen.key("case", reference))
        emit(found, _case_lines)


def _case_lines(found: r.Case) -> list[str]:
    row = found.row
    out = facts(
        [
            ("Case", row.reference),
            ("State", f"{row.state}, revision {row.revision}"),
            ("Lists", row.list_version),
            *((k, v) for k, v in found.facts.items()),
        ]
    )
    for number, hit in enumerate(found.hits, 1):
        out += [heading(f"Hit {number}"), *facts({k: one_line(v, 160) for k, v in hit.items()})]
    return [*out, heading("History"), *trade_text.timeline(found.timeline)]


@verb(case, "propose")
@click.argument("reference")
@click.argument("disposition", type=click.Choice(["clear", "block", "reject", "report"]))
@click.option("--reason", required=True, help="Why, in your words; kept as a private block.")
@dry_run
def propose(reference: str, disposition: str, reason: str, dry_run: bool) -> None:
    """Propose how to dispose of a case. Example: usance case propose CASE clear --reason "..."."""
    _on_case("ProposeDisposition", reference, dry=dry_run, disposition=disposition, reason=reason)


@verb(case, "approve")
@click.argument("reference")
@dry_run
def approve_case(reference: str, dry_run: bool) -> None:
    """Agree to the proposed disposition, as a second person of compliance."""
    _on_case("ApproveDisposition", reference, dry=dry_run)


@verb(case, "return")
@click.argument("reference")
@click.option("--reason", required=True, help="What is missing.")
@dry_run
def return_case(reference: str, reason: str, dry_run: bool) -> None:
    """Send a proposal back to investigation."""
    _on_case("ReturnToInvestigation", reference, dry=dry_run, reason=reason)


def _on_case(
    name: str, reference: str, *, dry: bool, disposition: str = "", reason: str = ""
) -> None:
    """Send a command on a case, bound to the evidence that the case shows."""
    with opened(dry=dry) as (desk, person):
        key = desk.queries.key("case", reference, desk.settings.bank.tenant)
        found = desk.queries.case(person, key)
        fields: dict[str, object] = {
            "case_id": found.row.reference,
            "evidence_hash": found.facts.get("evidence_hash", ""),
            "disposition": disposition or found.row.proposal,
            "reason": {"text": reason, "subject": found.facts.get("subject", found.row.subject)},
        }
        cls = command_type(name).cls
        own = {k: v for k, v in fields.items() if k in cls.__struct_fields__}  # type: ignore[attr-defined]
        command: Any = msgspec.convert(own, cls)
        settle(desk, addressed(key, command, RandomIds().fresh(), person), dry=dry)
