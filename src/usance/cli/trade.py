"""`usance credit|presentation|facility|message`: the trade book, and what people do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from usance.cli import trade_text
from usance.cli.acting import perform
from usance.cli.acts import ActNoun, common_options
from usance.cli.approving import answer
from usance.cli.documents import Act, repaired, sent_by_name
from usance.cli.opening import looking
from usance.cli.options import dry_run, verb
from usance.cli.show import clean, emit
from usance.views.results import CreditFilter, PresentationFilter

CREDIT_ACTS = {
    "apply": Act("ApplyForCredit", "Enter an application for a credit (terms from --file)."),
    "receive": Act("ReceiveCredit", "Enter a credit that came outside the FIN gateway."),
    "reject": Act("RejectCredit", "Reject an application."),
    "withdraw": Act("WithdrawApplication", "Withdraw an application before its issue."),
    "issue": Act("IssueCredit", "Issue an approved credit (its saga does so by itself)."),
    "authenticate": Act("AuthenticateCredit", "Establish that a received credit is authentic."),
    "advise": Act("AdviseCredit", "Advise an authentic credit."),
    "decline-advice": Act("DeclineToAdvise", "Decline to advise a received credit."),
    "confirm": Act("AddConfirmation", "Add our confirmation."),
    "decline-confirmation": Act("DeclineConfirmation", "Decline to confirm."),
    "amend": Act("RequestAmendment", "Request an amendment.", spread="changes"),
    "drop-amendment": Act("DropAmendment", "Turn down an amendment that waits for approval."),
    "respond": Act("RespondToAmendment", "Record a party's answer to an amendment."),
    "record-advice": Act("RecordAdvice", "Record the advising bank's word (MT730)."),
    "cancel": Act("CancelCredit", "Ask the parties for their consent to a cancellation."),
    "respond-cancellation": Act("RespondToCancellation", "Record a party's answer to it."),
    "request-void": Act("RequestVoid", "Propose to void an issue of which nothing left the bank."),
    "void": Act("VoidIssue", "Void an issue, as a second person."),
    "close": Act("CloseCredit", "Close a credit that is drawn or expired."),
}
PRESENTATION_ACTS = {
    "present": Act("PresentDocuments", "Enter a presentation (documents from --file)."),
    "raise": Act("RaiseDiscrepancy", "Raise a discrepancy that no rule can see."),
    "seek-waiver": Act("SeekWaiver", "Ask the applicant for a waiver."),
    "waive": Act("RecordWaiver", "Record that the applicant waives.", {"waived": True}),
    "no-waiver": Act("RecordWaiver", "Record that he does not waive.", {"waived": False}),
    "refer": Act("ReferDiscrepancies", "Refer the discrepancies to the issuing bank."),
    "authorise": Act("AuthoriseTakeUp", "Record the issuing bank's authority to take up."),
    "refuse": Act("RefusePresentation", "Give the notice of refusal (UCP600-16)."),
    "honour": Act("HonourPresentation", "Honour at sight: propose, or agree as second person."),
    "accept": Act("AcceptDraft", "Accept the draft: propose, or agree as second person."),
    "defer": Act("IncurDeferred", "Undertake to pay at maturity."),
    "negotiate": Act("NegotiatePresentation", "Negotiate: propose, or agree as second person."),
    "settle": Act("SettlePresentation", "Record a take-up as paid."),
    "return": Act("ReturnDocuments", "Return refused documents."),
    "withdraw": Act("WithdrawPresentation", "Record that the presenter withdrew."),
}
FACILITY_ACTS = {"set": Act("SetFacility", "Set up a facility, or its limit and expiry anew.")}
MESSAGE_ACTS = {"abandon": Act("AbandonMessage", "Give up a message that the network turned away.")}

credit = ActNoun("credit", CREDIT_ACTS, help="Documentary credits.")
presentation = ActNoun("presentation", PRESENTATION_ACTS, help="Presentations of documents.")
facility = ActNoun("facility", FACILITY_ACTS, help="Credit facilities.")
message = ActNoun("message", MESSAGE_ACTS, help="FIN messages in and out.")

cursor_option = click.option("--cursor", default="", help="Go on where the last page ended.")
limit_option = click.option("--limit", default=50, type=click.IntRange(1, 500), show_default=True)


@verb(credit, "list")
@click.option("--side", type=click.Choice(["import", "export"]))
@click.option("--state", help="Such as AWAITING_APPROVAL or ISSUED.")
@click.option("--applicant", help="Part of the applicant's name.")
@click.option("--beneficiary", help="Part of the beneficiary's name.")
@click.option("--currency", help="ISO 4217 code.")
@click.option("--expiring-before", metavar="YYYY-MM-DD")
@click.option("--discrepant/--clean", "has_discrepancy", default=None)
@click.option("--text", help="Looks into reference, parties and ports.")
@click.option("--order", help="reference | expiry | amount | changed; descending with -.")
@cursor_option
@limit_option
def list_credits(cursor: str, limit: int, **wanted: str | bool | None) -> None:
    """List credits, last changed first. Example: usance credit list --state ISSUED."""
    with looking() as seen:
        said = {k: v for k, v in wanted.items() if v is not None}
        page = seen.queries.credits(seen.viewer, CreditFilter(**said), cursor, limit)  # type: ignore[arg-type]
        emit(page, trade_text.credit_page)


@verb(credit, "show")
@click.argument("reference")
def show_credit(reference: str) -> None:
    """Show one credit: facts, balances, amendments, presentations, messages, work."""
    with looking() as seen:
        emit(seen.queries.credit(seen.viewer, seen.key("credit", reference)), trade_text.credit)


@verb(credit, "timeline")
@click.argument("reference")
def credit_timeline(reference: str) -> None:
    """Show a credit's history, oldest first, with rule and article."""
    _timeline("credit", reference)


@verb(presentation, "timeline")
@click.argument("reference")
def presentation_timeline(reference: str) -> None:
    """Show a presentation's history, oldest first, with rule and article."""
    _timeline("presentation", reference)


def _timeline(noun: str, reference: str) -> None:

    with looking() as seen:
        found = seen.queries.timeline(seen.viewer, seen.key(noun, reference))
        emit(found, lambda t: trade_text.timeline(t.entries))


@verb(credit, "state")
@click.argument("reference")
@click.option("--at", type=click.IntRange(0), metavar="REVISION", help="The newest without it.")
def credit_state(reference: str, at: int | None) -> None:
    """Show a credit's state after a revision, and what that revision changed.

    Example: usance credit state TF26LC0101 --at 3.
    """
    with looking() as seen:
        key = seen.key("credit", reference)
        revision = (
            seen.queries.timeline(seen.viewer, key).entries[-1].revision if at is None else at
        )
        emit(seen.queries.state_at(seen.viewer, key, revision), trade_text.state_at)


@verb(credit, "act", params=common_options())
@click.argument("name", metavar="COMMAND")
@click.argument("reference", metavar="CREDIT")
def act_on_credit(name: str, reference: str, **options: Any) -> None:
    """Send any command on a credit by its name. Example: usance credit act CloseCredit REF."""
    sent_by_name("credit", name, reference, **options)


@verb(presentation, "act", params=common_options())
@click.argument("name", metavar="COMMAND")
@click.argument("reference", metavar="PRESENTATION")
def act_on_presentation(name: str, reference: str, **options: Any) -> None:
    """Send any command on a presentation by its name."""
    sent_by_name("presentation", name, reference, **options)


_seen = click.option("--seen", default="", help="What `usance approval show` gave as seen.")
_note = click.option("--reason", default="", help="A note that is kept with the approval.")


@verb(credit, "approve")
@click.argument("reference")
@_seen
@_note
@dry_run
def approve_credit(reference: str, seen: str, reason: str, dry_run: bool) -> None:
    """Approve the issue of a credit, exactly as it was shown, as a second person."""
    answer(f"credit:{reference}", seen, reason, yes=True, dry=dry_run)


@verb(credit, "approve-amendment")
@click.argument("reference")
@_seen
@_note
@dry_run
def approve_amendment(reference: str, seen: str, reason: str, dry_run: bool) -> None:
    """Approve an amendment of a credit, exactly as it was shown, as a second person."""
    answer(f"amendment:{reference}", seen, reason, yes=True, dry=dry_run)


@verb(presentation, "list")
@click.option("--state", help="Such as DISCREPANT or HONOURED.")
@click.option("--credit", help="Reference of the credit.")
@click.option("--open/--decided", "open_", default=None, help="Those that wait for a decision.")
@click.option("--discrepant/--clean", "has_discrepancy", default=None)
@cursor_option
@limit_option
def list_presentations(
    cursor: str, limit: int, open_: bool | None, **wanted: str | bool | None
) -> None:
    """List presentations, nearest deadline first."""
    with looking() as seen:
        said = {k: v for k, v in {**wanted, "open": open_}.items() if v is not None}
        found = seen.queries.presentations(
            seen.viewer,
            PresentationFilter(**said),  # type: ignore[arg-type]
            cursor,
            limit,
        )
        emit(found, trade_text.presentation_page)


@verb(presentation, "show")
@click.argument("reference")
def show_presentation(reference: str) -> None:
    """Show one presentation: documents, findings, deadline, notice."""
    _show_presentation(reference)


@verb(presentation, "examine")
@click.argument("reference")
@click.option("--article", default="UCP600-14d", show_default=True, help="Article it breaks.")
@click.option("--explanation", help="The discrepancy, one sentence for the notice.")
@dry_run
def examine(reference: str, article: str, explanation: str | None, dry_run: bool) -> None:
    """Show the checklist with every finding; with --explanation, raise a discrepancy.

    Example: usance presentation examine P-1 --explanation "INVOICE NOT SIGNED" --as chiara.moretti.
    """
    if explanation is None:
        _show_presentation(reference)
        return

    fields = {
        "type": "RaiseDiscrepancy",
        "presentation": reference,
        "article": article,
        "explanation": explanation,
    }
    perform(fields, "", dry=dry_run)


def _show_presentation(reference: str) -> None:

    with looking() as seen:
        key = seen.key("presentation", reference)
        emit(seen.queries.presentation(seen.viewer, key), trade_text.presentation)


@verb(facility, "list")
def list_facilities() -> None:
    """List facilities with what they have left."""
    with looking() as seen:
        emit(seen.queries.facilities(seen.viewer), trade_text.facilities)


@verb(facility, "show")
@click.argument("reference")
def show_facility(reference: str) -> None:
    """Show one facility and what stands against it."""
    with looking() as seen:
        key = seen.key("facility", reference)
        emit(seen.queries.facility(seen.viewer, key), trade_text.facility)


@verb(message, "list")
@click.option("--credit", default="", help="Reference of the credit.")
@cursor_option
@limit_option
def list_messages(credit: str, cursor: str, limit: int) -> None:
    """List FIN messages, newest first."""
    with looking() as seen:
        key = seen.key("credit", credit) if credit else ""
        emit(seen.queries.messages(seen.viewer, key, cursor, limit), trade_text.message_page)


@verb(message, "show")
@click.argument("reference")
def show_message(reference: str) -> None:
    """Print the text of a FIN message, by its reference or by the id of its event."""
    with looking() as seen:
        event = trade_text.event_of_message(seen, reference)
        text = seen.queries.message_text(seen.viewer, event)
        emit({"event_id": event, "text": text}, lambda m: [clean(m["text"])])


@verb(message, "repair")
@click.argument("reference")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@dry_run
def repair_message(reference: str, file: Path, dry_run: bool) -> None:
    """Send a message again with the corrected text of FILE.

    Example: usance message repair TF26LC000101-700 corrected.fin --as amara.okafor.
    """
    repaired(reference, file.read_bytes(), dry=dry_run)
