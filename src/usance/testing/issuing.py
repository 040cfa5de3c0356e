"""Credits from application to delivery through the whole program, its parts in their threads."""

from __future__ import annotations

from typing import Any

from usance.adapters.intake import input_command
from usance.bootstrap.runtime import Runtime
from usance.domain.credit.messages import ApprovalRequested, CreditIssued
from usance.kernel.errors import NotFound, Unavailable
from usance.testing.chaos_book import Book, Given
from usance.testing.workload import BANK, TENANT

PATIENCE_S = 120.0


def issue_all(runtime: Runtime, book: Book, count: int) -> int:
    """Apply for so many credits, approve each when it waits for it, until all are issued and shown."""
    while len(book.applications) < count:
        book.application()
    _send(runtime, book.given)
    clock = runtime.clock
    deadline = clock.monotonic() + PATIENCE_S
    runtime.start()
    issued: set[str] = set()
    while len(issued) < count or not runtime.projector.idle():
        if clock.monotonic() > deadline:
            raise Unavailable("credits are not issued in time", hint="Look at `usance saga list`.")
        asked = _facts(runtime, book.applications.keys() - book.approved, ApprovalRequested)
        approvals = [
            one
            for credit, event in asked.items()
            for one in book.approval(credit, event.revision, event.content_hash)
        ]
        _send(runtime, approvals)
        issued.update(_facts(runtime, book.approved - issued, CreditIssued))
        clock.sleep(0.01)
    return len(issued)


def _facts(runtime: Runtime, credits_: set[str], kind: type) -> dict[str, Any]:
    """Return the last event of a kind by credit, for those that have one."""
    found: dict[str, Any] = {}
    for credit in credits_:
        try:
            stream = runtime.store.history.stream(f"{TENANT}/credit/{credit}")
        except NotFound:
            continue
        for past in stream:
            if isinstance(past.message, kind):
                found[credit] = past.message
    return found


def _send(runtime: Runtime, given: list[Given]) -> None:
    commands = [
        input_command(
            one.data,
            tenant=TENANT,
            our_bic=BANK,
            source="bench",
            file_digest=one.command_id,
            ordinal=1,
            causation="bench",
        )
        for one in given
    ]
    runtime.store.commands().append(commands, runtime.clock.now())
