"""Questions about the past: timelines, events with their content, state at any revision."""

from __future__ import annotations

from typing import Any

from usance.engine.projections.projection import Row
from usance.engine.projections.reading import Order, Reading, Where
from usance.kernel.decider import Actor, key_parts
from usance.kernel.errors import NotFound
from usance.log.contract import Record
from usance.views import results as r
from usance.views.asking import Asking, flat, is_compliance, sees_compliance


def entry_of(row: Row) -> r.TimelineEntry:
    """Return a row of the history as people see it."""
    return r.TimelineEntry(
        event_id=row["event_id"],
        stream=row["stream"],
        revision=row["revision"],
        type=row["type"],
        instant=row["instant"],
        actor=row["person"],
        role=row["role"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        index=row["idx"],
        hash_prefix=row["hash"][:12],
        command_id=row["command_id"],
        correlation=row["correlation"],
        causation=row["causation"],
        sentence=row["sentence"],
        article=row["article"],
        message=row["message"],
    )


class HistoryQuestions(Asking):
    """Timelines and events."""

    def timeline(self, viewer: Actor, key: str, cursor: str = "", limit: int = 500) -> r.Timeline:
        """Return the events of a stream, oldest first; raises NotFound for an unknown key."""
        table = self._events_of(viewer, key)
        with self.reading(viewer) as reading:
            order = (Order("revision"),)
            where = (Where("stream", "=", key),)
            rows, page = self.page_of(reading, table, where, order, cursor, limit)
        if not rows and not cursor:
            raise _unknown(key)
        return r.Timeline(key=key, entries=[entry_of(row) for row in rows], page=page)

    def state_at(self, viewer: Actor, key: str, revision: int) -> r.StateAt:
        """Return the state after an event (0: before any; -1: the latest), and what it changed.

        Folded from the events by the stream's own decider. Raises NotFound beyond the latest.
        """
        table = self._events_of(viewer, key)
        with self.reading(viewer) as reading:
            found = (Where("stream", "=", key),)
            rows = reading.select(table, found, (Order("revision"),))
        decider = self.deciders.get(key_parts(key).category)
        if not rows or decider is None:
            raise _unknown(key)
        revision = len(rows) if revision < 0 else revision
        if revision > len(rows):
            raise NotFound(
                f"{key} has {len(rows)} events, not {revision}",
                hint=f"ask for a revision from 0 to {len(rows)}",
            )
        before = state = decider.initial(key)
        for row in rows[:revision]:
            before, state = state, decider.evolve(state, self.message_of(row))
        return r.StateAt(
            key=key,
            revision=revision,
            latest=len(rows),
            event=entry_of(rows[revision - 1]) if revision else None,
            state=flat(state),
            changed=changes(before, state) if revision else [],
        )

    def events(
        self,
        viewer: Actor,
        wanted: r.EventFilter = r.EventFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> r.EventPage:
        """Return events, newest first; those of compliance only when asked for by stream."""
        table = self._events_of(viewer, wanted.stream) if wanted.stream else "events"
        pairs = (
            ("stream", "=", wanted.stream),
            ("type", "=", wanted.type),
            ("correlation", "=", wanted.correlation),
            ("command_id", "=", wanted.command_id),
            ("person", "=", wanted.actor),
            ("instant", ">=", wanted.since),
            ("instant", "<", wanted.until),
        )
        where = [Where(*pair) for pair in pairs if pair[2]]
        order = (Order("instant", down=True), Order("event_id", down=True))
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, table, where, order, cursor, limit)
        return r.EventPage(rows=[entry_of(row) for row in rows], page=page)

    def event(self, viewer: Actor, event_id: str) -> r.EventDetail:
        """Return one event with its content; raises NotFound."""
        with self.reading(viewer) as reading:
            row = self._event_row(reading, viewer, event_id)
        record = self.record_at(row["topic"], row["partition"], row["offset"])
        meta = self.decoder.meta(record.headers)
        message = self.decoder.message(record.headers, record.value)
        return r.EventDetail(
            entry=entry_of(row),
            content=flat(message),
            meta=flat(_meta_facts(meta)),
            envelope_hash=row["hash"],
        )

    def event_record(self, viewer: Actor, event_id: str) -> Record:
        """Return an event as it stands in the log; raises NotFound."""
        with self.reading(viewer) as reading:
            row = self._event_row(reading, viewer, event_id)
        return self.record_at(row["topic"], row["partition"], row["offset"])

    def message_text(self, viewer: Actor, event_id: str) -> str:
        """Return the FIN text that an event holds or was made of; raises NotFound where none is.

        An incoming message's text is what the gateway took in, as long as intake keeps it.
        """
        with self.reading(viewer) as reading:
            row = self._event_row(reading, viewer, event_id)
        block = getattr(self.message_of(row), "text", None)
        held = getattr(block, "text", "")
        if held:
            return str(held)
        source, _, place = row["causation"].partition(":")
        if not self.decoder.clear:
            raise NotFound("the text is sealed", hint=f"usance reveal {event_id} text --reason WHY")
        if source == "intake" and place.count("/") == 2:
            topic, partition, offset = place.split("/")
            record = self.record_at(topic, int(partition), int(offset))
            return (record.value or b"").decode("utf-8", "replace")
        raise NotFound("this event holds no message", hint="open the event to see what it says")

    def _event_row(self, reading: Reading, viewer: Actor, event_id: str) -> Row:
        tables = ("events", "compliance_events") if sees_compliance(viewer) else ("events",)
        for table in tables:
            rows = reading.select(table, (Where("event_id", "=", event_id),), limit=1)
            if rows:
                return rows[0]
        raise NotFound(f"no event {event_id}", hint="usance event list shows the newest")

    def _events_of(self, viewer: Actor, key: str) -> str:
        """Return the table of a stream's events; what a viewer may not see is not found."""
        if not is_compliance(key):
            return "events"
        if not sees_compliance(viewer):
            raise _unknown(key)
        return "compliance_events"


def changes(before: Any, after: Any) -> list[r.Change]:
    """Return the fields in which two values differ, as texts by dotted name."""
    old, new = flat(before), flat(after)
    return [
        r.Change(field=name, before=old.get(name, ""), after=new.get(name, ""))
        for name in dict.fromkeys((*old, *new))
        if old.get(name, "") != new.get(name, "")
    ]


def _meta_facts(meta: Any) -> dict[str, Any]:
    return {
        "tenant": meta.tenant,
        "person": meta.actor.person,
        "login": meta.actor.login,
        "role": meta.actor.role,
        "revision": meta.revision,
        "index": meta.index,
        "prev": meta.prev.hex() if meta.prev else "",
        "correlation": meta.correlation,
        "causation": meta.causation,
        "command_id": meta.command_id,
        "body_hash": meta.body_hash.hex(),
        "input": f"{meta.input.partition}/{meta.input.offset}" if meta.input else "",
        "schema": meta.schema.hex(),
    }


def _unknown(key: str) -> NotFound:
    return NotFound(f"nothing is recorded under {key}", hint="check the reference")
