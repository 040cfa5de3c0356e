"""Credits from application to delivery through the whole program, its parts in their threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from usance.adapters.intake import input_command
from usance.bootstrap.runtime import Runtime
from usance.domain.credit.messages import ApprovalRequested, CreditIssued
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.errors import Unavailable
from usance.log.contract import TopicPartition, header
from usance.testing.chaos_book import Book, Given
from usance.testing.workload import BANK, TENANT

PATIENCE_S = 120.0
LOOK_EVERY_S = 0.02


class Issuer:
    """The people and customers of a running program: it applies for credits and approves them.

    It follows the events from where they ended when it was made, and decodes those alone that it waits
    for: whoever measures must not be the largest cost of what is measured.
    """

    def __init__(self, runtime: Runtime, book: Book) -> None:
        self.runtime = runtime
        self.book = book
        self.issued: set[str] = set()
        self._sent = 0
        topic = runtime.store.topics.name("trade", "events")
        places = [TopicPartition(topic, p) for p in range(runtime.store.topics.partitions)]
        self._read_to = {tp: runtime.store.log.end(tp) for tp in places}
        by_class = runtime.store.catalogue.by_class
        self._wanted = {by_class[c].fullname.encode() for c in (ApprovalRequested, CreditIssued)}

    def issue(self, count: int) -> None:
        """Apply for so many more credits, approve each when it waits for it, until all are shown.

        Raises Unavailable when they are not issued in time.
        """
        book, clock = self.book, self.runtime.clock
        due = len(book.applications) + count
        while len(book.applications) < due:
            book.application()
        self._send()
        deadline = clock.monotonic() + PATIENCE_S
        while len(self.issued) < due or not self.runtime.projector.idle():
            if clock.monotonic() > deadline:
                raise Unavailable(
                    f"{len(self.issued)} of {due} credits were issued in time",
                    hint="Look at `usance saga list`.",
                )
            for credit, event in self._news():
                if isinstance(event, CreditIssued):
                    self.issued.add(credit)
                elif credit in book.applications and credit not in book.approved:
                    book.approval(credit, event.revision, event.content_hash)
            self._send()
            clock.sleep(LOOK_EVERY_S)

    def _news(self) -> Iterator[tuple[str, Any]]:
        store = self.runtime.store
        for tp, start in self._read_to.items():
            for record in store.log.scan(tp, start):
                self._read_to[tp] = record.offset + 1
                if header(record.headers, "ce_type") in self._wanted:
                    credit = (record.key or b"").decode().rpartition("/")[2]
                    yield credit, store.decoder.message(record.headers, record.value)

    def _send(self) -> None:
        given, self._sent = self.book.given[self._sent :], len(self.book.given)
        if given:
            commands = [_command(one) for one in given]
            self.runtime.store.commands().append(commands, self.runtime.clock.now())


def _command(one: Given) -> Outgoing:
    return input_command(
        one.data,
        tenant=TENANT,
        our_bic=BANK,
        source="bench",
        file_digest=one.command_id,
        ordinal=1,
        causation="bench",
    )
