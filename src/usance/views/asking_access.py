"""Questions about accesses: for auditors and the compliance officer alone."""

from __future__ import annotations

from usance.audit.chain import envelope_hash
from usance.engine.projections.projection import Row
from usance.engine.projections.reading import Order, Where
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused
from usance.kernel.words import text_of
from usance.log.contract import Record
from usance.views import results_access as ra
from usance.views.asking import MANY, made
from usance.views.asking_history import HistoryQuestions

AUDITORS = frozenset(("auditor", "compliance_officer"))
"""Roles that may see who looked at what."""


def demand_auditor(viewer: Actor) -> None:
    """Raise Refused unless a viewer may see who looked at what."""
    if viewer.role in AUDITORS:
        return
    raise Refused(
        "ROLE_NEEDED",
        f"Who looked at what is for: {', '.join(sorted(AUDITORS))}.",
        hint="Ask somebody who acts in one of these roles.",
    )


class AccessQuestions(HistoryQuestions):
    """Who looked at what, when and why."""

    def accesses(
        self,
        viewer: Actor,
        wanted: ra.AccessFilter = ra.AccessFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> ra.AccessPage:
        """Return accesses, newest first; raises Refused for other roles than auditors'."""
        demand_auditor(viewer)
        pairs = (
            ("person", "=", wanted.person),
            ("credit", "=", wanted.credit),
            ("kind", "=", wanted.kind),
            ("action", "=", wanted.action),
            ("instant", ">=", wanted.since),
            ("instant", "<", wanted.until),
        )
        where = [Where(*pair) for pair in pairs if pair[2]]
        newest = ("instant", "offset", "event_id")
        order = [Order(column, down=True) for column in newest]
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "accesses", where, order, cursor, limit)
        return ra.AccessPage(rows=[_row(row) for row in rows], page=page)

    def access(self, viewer: Actor, event_id: str) -> ra.AccessDetail:
        """Return one access with its event; raises Refused, NotFound."""
        demand_auditor(viewer)
        with self.reading(viewer) as reading:
            row = reading.get("accesses", event_id=event_id)
        if row is None:
            raise NotFound(f"no access {event_id}", hint="usance audit access list shows them")
        record = self.record_at(row["topic"], row["partition"], row["offset"])
        meta = self.decoder.meta(record.headers)
        message = self.decoder.message(record.headers, record.value)
        return ra.AccessDetail(
            row=_row(row),
            reason=text_of(getattr(message, "reason", None)),
            stream=(record.key or b"").decode(),
            place=f"{self.topics.context_of(record.topic)}.p{record.partition}#{meta.index}",
            envelope_hash=envelope_hash(record.key, record.value, record.headers).hex(),
        )

    def event_record(self, viewer: Actor, event_id: str) -> Record:
        """Return an event as it stands in the log, accesses too for those who may see them; raises NotFound."""
        try:
            return super().event_record(viewer, event_id)
        except NotFound:
            if viewer.role not in AUDITORS:
                raise
        with self.reading(viewer) as reading:
            row = reading.get("accesses", event_id=event_id)
        if row is None:
            raise NotFound(f"no event {event_id}", hint="usance event list shows the newest")
        return self.record_at(row["topic"], row["partition"], row["offset"])

    def glasses(self, viewer: Actor, limit: int = MANY) -> list[ra.GlassRow]:
        """Return the times that somebody broke the glass, newest first."""
        with self.reading(viewer) as reading:
            order = (Order("since", down=True),)
            return [_glass(row) for row in reading.select("glasses", (), order, limit)]

    def broken(self, viewer: Actor) -> list[ra.GlassRow]:
        """Return whose glass is broken now."""
        with self.reading(viewer) as reading:
            rows = reading.select(
                "glasses", (Where("state", "=", "open"),), (Order("since"),), MANY
            )
        return [_glass(row) for row in rows]


def _glass(row: Row) -> ra.GlassRow:
    overdue, justified = bool(row["overdue"]), bool(row["justified"])
    return made(ra.GlassRow, row, overdue=overdue, justified=justified)


def _row(row: Row) -> ra.AccessRow:
    return made(ra.AccessRow, row, reasoned=bool(row["reasoned"]))
