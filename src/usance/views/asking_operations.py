"""Questions of platform engineers and compliance: sagas, cases, dead letters, projections, status."""

from __future__ import annotations

from typing import Any

from usance.engine.projections.projection import Checkpoint, Row
from usance.engine.projections.reading import Order, Reading, Where
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.log.contract import TopicPartition
from usance.views import results as r
from usance.views.asking import MANY, flat, loads, made, sees_compliance
from usance.views.asking_history import entry_of
from usance.views.asking_trade import balanced, identity, saga_rows
from usance.views.asking_work import WorkQuestions, case_approval, incidents

Checkpoints = dict[TopicPartition, Checkpoint]

PREVIEW_BYTES = 2_048
_COUNTED = {
    "accepted": "accepted",
    "refused": "refused",
    "duplicate": "duplicates",
    "conflict": "conflicts",
    "dead-lettered": "dead_letters",
    "discarded": "dead_letters",
    "parked": "parked",
}


class OperationQuestions(WorkQuestions):
    """Flow, failures and cases."""

    # -- sagas

    def sagas(
        self, viewer: Actor, phase: str = "", cursor: str = "", limit: int = 50
    ) -> r.SagaPage:
        """Return sagas, last changed first."""
        where = (Where("phase", "=", phase),) if phase else ()
        order = (Order("changed", down=True), Order("key", down=True))
        running = (Where("phase", "in", ["running", "compensating"]),)
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "sagas", where, order, cursor, limit)
            per_step = reading.count("sagas", running, ("definition", "step"))
            return r.SagaPage(
                rows=saga_rows(reading, rows),
                per_step={"/".join(at): n for at, n in per_step.items()},
                page=page,
            )

    def saga(self, viewer: Actor, key: str) -> r.Saga:
        """Return one saga as a picture; raises NotFound."""
        mine = (Where("key", "=", key),)
        with self.reading(viewer) as reading:
            row = reading.get("sagas", key=key)
            if row is None:
                raise NotFound(f"no saga {key}", hint="usance saga list shows all")
            steps = reading.select("saga_steps", mine, (Order("n"),), MANY)
            timers = reading.select("timers", mine, (Order("due"),), MANY)
            acts = reading.select("saga_acts", mine, (Order("instant"),), MANY)
            return r.Saga(
                row=saga_rows(reading, [row])[0],
                steps=self._picture(reading, row, steps),
                timers=[made(r.TimerFacts, t) for t in timers],
                incidents=incidents(reading, mine),
                acts=[made(r.SagaAct, a) for a in acts],
                reason=row["reason"],
                parked=reading.get("parked_keys", key=key) is not None,
                page=self.here(reading),
            )

    def _picture(self, reading: Reading, saga: Row, rows: list[Row]) -> list[r.StepFacts]:
        done = {row["step"]: row for row in rows if not row["undo"]}
        undone = {row["step"]: row for row in rows if row["undo"]}
        definition = self.definitions.get(saga["definition"])
        named = [(s.name, s.kind) for s in definition.steps] if definition else []
        known = {name for name, _ in named}
        named += [(name, row["kind"]) for name, row in done.items() if name not in known]
        over = saga["phase"] in ("completed", "compensated")
        ids = [row["command_id"] for row in rows if row["command_id"]]
        answers = {
            row["command_id"]: row
            for row in reading.select("commands", (Where("command_id", "in", ids),))
        }
        return [
            _step(name, kind, done.get(name), undone.get(name), answers, over=over)
            for name, kind in named
        ]

    def incidents(self, viewer: Actor, *, open: bool = True) -> list[r.Incident]:  # noqa: A002
        """Return incidents, oldest first: those that are open, or all."""
        with self.reading(viewer) as reading:
            return incidents(reading, (Where("open", "=", 1),) if open else ())

    # -- compliance

    def cases(
        self,
        viewer: Actor,
        wanted: r.CaseFilter = r.CaseFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> r.CasePage:
        """Return cases, last changed first; nothing at all for viewers outside compliance."""
        if not sees_compliance(viewer):
            return r.CasePage(rows=[], page=r.Page())
        pairs = (("state", "=", wanted.state), ("subject", "=", wanted.subject))
        where = [Where(*pair) for pair in pairs if pair[2]]
        order = (Order("changed", down=True), Order("key", down=True))
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "cases", where, order, cursor, limit)
        return r.CasePage(rows=[_case_row(row) for row in rows], page=page)

    def case(self, viewer: Actor, key: str) -> r.Case:
        """Return one case; raises NotFound, also for viewers outside compliance."""
        unknown = NotFound(f"nothing is recorded under {key}", hint="check the reference")
        if not sees_compliance(viewer):
            raise unknown
        with self.reading(viewer) as reading:
            row = reading.get("cases", key=key)
            if row is None:
                raise unknown
            where = (Where("stream", "=", key),)
            events = reading.select("compliance_events", where, (Order("revision"),), MANY)
            facts = {
                name: row[name]
                for name in ("subject", "saga", "snapshot_id", "matcher_version", "evidence_hash")
            }
            reasons = loads(row["reasons"], "[]")
            facts |= {f"reason.{n}": text for n, text in enumerate(reasons, 1)}
            return r.Case(
                row=_case_row(row),
                hits=[flat(hit) for hit in loads(row["findings"], "[]")],
                facts=facts,
                timeline=[entry_of(event) for event in events],
                approval=case_approval(row) if row["state"] == "proposed" else None,
                page=self.here(reading),
            )

    def lists(self, viewer: Actor) -> list[r.ListRow]:
        """Return the sanctions lists that people brought in, by name."""
        with self.reading(viewer) as reading:
            rows = reading.select("lists", (), (Order("list_id"),), MANY)
        return [_list_row(row) for row in rows]

    # -- dead letters, parked keys, commands

    def dead_letters(
        self,
        viewer: Actor,
        wanted: r.DeadLetterFilter = r.DeadLetterFilter(),  # noqa: B008  frozen
        cursor: str = "",
        limit: int = 50,
    ) -> r.DeadLetterPage:
        """Return dead letters, newest first; those of compliance are not among them."""
        pairs = (
            ("state", "=", wanted.state),
            ("stage", "=", wanted.stage),
            ("reason", "contains", wanted.reason),
            ("failure", "=", wanted.failure),
            ("key", "contains", wanted.key),
            ("first_seen", ">=", wanted.since),
            ("first_seen", "<", wanted.until),
        )
        where = [Where(*pair) for pair in pairs if pair[2]]
        order = (Order("first_seen", down=True), Order("id", down=True))
        still = (Where("state", "=", "open"),)
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "dead_letters", where, order, cursor, limit)
            counts = reading.count("dead_letters", still, ("stage", "reason"))
            return r.DeadLetterPage(
                rows=_letters(reading, rows, ""),
                by_reason={": ".join(at): n for at, n in counts.items()},
                page=page,
            )

    def dead_letter(self, viewer: Actor, dead_letter_id: str) -> r.DeadLetter:
        """Return one dead letter with a preview of its bytes; raises NotFound."""
        with self.reading(viewer) as reading:
            for prefix in _prefixes(viewer):
                row = reading.get(f"{prefix}dead_letters", id=dead_letter_id)
                if row is not None:
                    return self._letter(reading, row, prefix)
        raise NotFound("no such dead letter", hint="usance dead-letter list shows all")

    def _letter(self, reading: Reading, row: Row, prefix: str) -> r.DeadLetter:
        record = self.record_at(row["topic"], row["partition"], row["offset"])
        value = record.value or b""
        note = loads(row["note"], "{}")
        waiting = reading.count(f"{prefix}parked_records", (Where("key", "=", row["key"]),))
        return r.DeadLetter(
            row=_letters(reading, [row], prefix)[0],
            note={k: str(v) for k, v in note.items() if v not in ("", 0, -1)},
            size=len(value),
            sha256=note.get("payload_sha256", ""),
            text=value[:PREVIEW_BYTES].decode("utf-8", "replace"),
            hex=value[:PREVIEW_BYTES].hex(" "),
            waiting=waiting,
        )

    def parked(self, viewer: Actor) -> list[r.ParkedKey]:
        """Return parked keys, oldest first."""
        with self.reading(viewer) as reading:
            found = []
            for prefix in _prefixes(viewer):
                waiting = reading.count(f"{prefix}parked_records", (), ("key",))
                rows = reading.select(f"{prefix}parked_keys", (), (Order("since"),), MANY)
                found += [
                    made(r.ParkedKey, row, waiting=waiting.get(row["key"], 0)) for row in rows
                ]
            return found

    def commands(
        self, viewer: Actor, answer: str = "", cursor: str = "", limit: int = 50
    ) -> r.CommandPage:
        """Return what became of commands, newest first."""
        where = (Where("answer", "=", answer),) if answer else ()
        order = (Order("instant", down=True), Order("command_id", down=True))
        with self.reading(viewer) as reading:
            rows, page = self.page_of(reading, "commands", where, order, cursor, limit)
        return r.CommandPage(rows=[_command(row) for row in rows], page=page)

    def command(self, viewer: Actor, command_id: str) -> r.CommandRow:
        """Return what became of one command; raises NotFound while nothing is known of it."""
        with self.reading(viewer) as reading:
            for prefix in _prefixes(viewer):
                row = reading.get(f"{prefix}commands", command_id=command_id)
                if row is not None:
                    return _command(row)
        raise NotFound("no outcome of this command is known", hint="wait, or check its id")

    # -- projections, schemas

    def projections(self, viewer: Actor) -> list[r.ProjectionRow]:
        """Return every projection with its lag, its stale rows and the keys that it parked.

        Parked keys of compliance are counted for everybody and named for that role alone.
        """
        with self.reading(viewer) as reading:
            checkpoints, parked = reading.checkpoints(), reading.parked()
            generations = reading.generations()
        found: list[r.ProjectionRow] = []
        known: dict[tuple[TopicPartition, int], int] = {}
        for row in generations:
            live = row["state"] == "live"
            name = row["name"]
            own = checkpoints.get(name, {}) if live else {}
            keys = [p for p in parked if p["name"] == name] if live else []
            hidden = any(".compliance." in place.topic for place in own)
            if hidden and not sees_compliance(viewer):
                keys = [{**k, "key": "(hidden)"} for k in keys]
            found.append(
                made(
                    r.ProjectionRow,
                    row,
                    generation=row["number"],
                    position=_positions(self.topics.context_of, own),
                    lag=self._lag(own, known),
                    stale_rows=row["stale"],
                    parked=[made(r.ParkedProjectionKey, k, projection=name) for k in keys],
                )
            )
        return found

    def _lag(self, checkpoints: Checkpoints, known: dict[tuple[TopicPartition, int], int]) -> int:
        """Return how many offsets there are to read; `known` remembers it per place and offset."""
        behind = 0
        ends = self.log.ends([p for p, c in checkpoints.items() if (p, c.offset) not in known])
        for place, checkpoint in checkpoints.items():
            at = (place, checkpoint.offset)
            if at not in known:
                end = ends[place]
                rest = self.log.scan(place, checkpoint.offset, end, 1)
                empty = end <= checkpoint.offset or next(iter(rest), None) is None
                known[at] = 0 if empty else end - checkpoint.offset
            behind += known[at]
        return behind

    def schemas(self, viewer: Actor) -> list[r.SchemaRow]:  # noqa: ARG002  open to everybody
        """Return every registered schema version, by subject."""
        registry = self.decoder.registry
        return [
            self._schema_row(subject, version)
            for subject in sorted(registry.subjects)
            for version in sorted(registry.subjects[subject])
        ]

    def schema(self, viewer: Actor, subject: str, version: int = 0) -> r.Schema:  # noqa: ARG002
        """Return a schema with its text (0: the newest version); raises NotFound."""
        versions = self.decoder.registry.subjects.get(subject, {})
        version = version or max(versions, default=0)
        if version not in versions:
            raise NotFound(f"no subject {subject} with this version", hint="usance schema list")
        known = self.decoder.registry.by_id(versions[version])
        assert known is not None, "a subject's version has an id"
        return r.Schema(row=self._schema_row(subject, version), text=known.schema.text)

    def _schema_row(self, subject: str, version: int) -> r.SchemaRow:
        registry = self.decoder.registry
        known = registry.by_id(registry.subjects[subject][version])
        assert known is not None, "a subject's version has an id"
        return r.SchemaRow(
            subject=subject,
            version=version,
            id=known.id,
            fingerprint=known.schema.fingerprint.hex(),
            level=registry.levels.get(subject, ""),
            type=known.schema.fullname,
        )

    # -- status and search

    def status(self, viewer: Actor) -> r.Status:
        """Return the counts of `status`; each input counts once, by its present state."""
        with self.reading(viewer) as reading:
            counts = dict.fromkeys(_COUNTED.values(), 0)
            for table in ("inputs", "compliance_inputs"):
                for answer, n in reading.count(table, (), ("answer",)).items():
                    counts[_COUNTED[answer]] += n
            events: dict[str, int] = {}
            others: dict[str, int] = {}
            commands = 0
            for prefix in _prefixes(viewer):
                # What data keys say of themselves is no fact of the book: it counts the same sealed or not.
                book = (Where("type", "!=", "KeyCreated"),)
                for row in reading.select(f"{prefix}event_counts", book, (Order("type"),)):
                    events[row["type"]] = events.get(row["type"], 0) + row["count"]
                commands += reading.count(f"{prefix}commands")
                inner = (Where("input", "=", 0),)
                for source, n in reading.count(f"{prefix}commands", inner, ("source",)).items():
                    others[source] = others.get(source, 0) + n
            known: dict[tuple[TopicPartition, int], int] = {}
            lags = [self._lag(c, known) for c in reading.checkpoints().values()]
            return r.Status(
                inputs=sum(counts.values()),
                commands=commands,
                accepted=counts["accepted"],
                refused=counts["refused"],
                duplicates=counts["duplicates"],
                conflicts=counts["conflicts"],
                dead_letters=counts["dead_letters"],
                parked=counts["parked"],
                events=sum(events.values()),
                events_by_type=dict(sorted(events.items())),
                credits_by_state=reading.count("credits", (), ("state",)),
                trial_balance_zero=balanced(reading.select("balances")),
                other_commands=others,
                sagas_by_phase=reading.count("sagas", (), ("phase",)),
                incidents_open=reading.count("incidents", (Where("open", "=", 1),)),
                parked_keys=reading.count("parked_keys"),
                dead_letters_open=reading.count("dead_letters", (Where("state", "=", "open"),)),
                projection_lag=max(lags, default=0),
                projections_stale=len({p["name"] for p in reading.parked()}),
                position=self.token(reading),
            )

    def search(self, viewer: Actor, text: str, limit: int = 20) -> list[r.SearchHit]:
        """Return what a text means: references and names first, then identifiers of events."""
        text = text.strip()
        if not text:
            return []
        with self.reading(viewer) as reading:
            hits = [
                *_found(reading, "credit", "credits", "search", text, limit),
                *_found(reading, "presentation", "presentations", "reference", text, limit),
                *_found(reading, "facility", "facilities", "reference", text, limit),
                *_found(reading, "message", "fin_messages", "reference", text, limit),
                *_found(reading, "saga", "sagas", "reference", text, limit),
            ]
            if sees_compliance(viewer):
                hits += _found(reading, "case", "cases", "subject", text, limit)
            for row in reading.select("events", (Where("event_id", "=", text),), (), 1):
                hits.append(_hit("event", {**row, "key": row["event_id"]}))
        return hits[:limit]


def _prefixes(viewer: Actor) -> tuple[str, ...]:
    return ("", "compliance_") if sees_compliance(viewer) else ("",)


def _step(
    name: str,
    kind: str,
    row: Row | None,
    undo: Row | None,
    answers: dict[str, Row],
    *,
    over: bool,
) -> r.StepFacts:
    shown = undo or row
    state = "skipped" if over else "pending"
    if shown is not None:
        state = shown["state"]
        if undo is not None and state == "done":
            state = "compensated"
    row = shown or {}
    answer = answers.get(row.get("command_id", ""), {})
    return r.StepFacts(
        name=name,
        kind=kind,
        state=state,
        how=row.get("how", ""),
        n=row.get("n", 0),
        command_id=row.get("command_id", ""),
        command_type=row.get("command_type", ""),
        target=row.get("target", ""),
        answer=answer.get("answer", ""),
        code=row.get("code", "") or answer.get("code", ""),
        message=row.get("message", "") or answer.get("message", ""),
        started=row.get("started", 0),
        ended=row.get("ended", 0),
    )


def _list_row(row: Row) -> r.ListRow:
    active, waits = loads(row["active"], "{}"), loads(row["waiting"], "{}")
    asked = None
    if waits:
        version = waits["version"]
        shown = {n: version[n] for n in ("version", "source", "sha256", "content", "entries")}
        shown |= {n: waits[n] for n in ("proposal", "added", "changed", "removed", "proposer")}
        findings = [f"{f['code']}: {f['message']}" for f in waits["findings"]]
        asked = r.ListWaiting(findings=findings, proposed=row["proposed"], **shown)
    return made(
        r.ListRow,
        row,
        version=active.get("version", ""),
        source=active.get("source", ""),
        sha256=active.get("sha256", ""),
        entries=active.get("entries", 0),
        names=active.get("names", 0),
        proposal=row["active_proposal"],
        waiting=asked,
    )


def _case_row(row: Row) -> r.CaseRow:
    return made(
        r.CaseRow,
        row,
        list_version=row["list_versions"],
        proposed_by=row["proposer"],
        proposal=row["disposition"],
    )


def _letters(reading: Reading, rows: list[Row], prefix: str) -> list[r.DeadLetterRow]:
    ids = [row["id"] for row in rows]
    parks = reading.select(f"{prefix}parked_keys", (Where("dead_letter_id", "in", ids),))
    parking = {row["dead_letter_id"] for row in parks}
    return [
        made(
            r.DeadLetterRow,
            row,
            index=row["idx"],
            parks=row["id"] in parking,
            redrivable=row["id"] in parking or row["failure"] != "poison",
        )
        for row in rows
    ]


def _command(row: Row) -> r.CommandRow:
    return made(r.CommandRow, row, input=bool(row["input"]))


def _positions(context_of: Any, checkpoints: dict[TopicPartition, Any]) -> str:
    return ",".join(
        f"{context_of(place.topic)}.p{place.partition}#{checkpoint.indexed - 1}"
        for place, checkpoint in sorted(checkpoints.items())
        if place.topic.endswith(".events") and checkpoint.indexed
    )


def _found(
    reading: Reading, kind: str, table: str, column: str, text: str, limit: int
) -> list[r.SearchHit]:
    rows = reading.select(table, (Where(column, "contains", text),), (), limit)
    return [_hit(kind, row) for row in rows]


def _hit(kind: str, row: Row) -> r.SearchHit:
    key = row.get("key") or row.get("stream") or ""
    match kind:
        case "credit":
            title = f"{row['reference']} {row['applicant']} / {row['beneficiary']}"
            detail = row["state"]
        case "presentation":
            title, detail = f"{row['reference']} under {row['credit']}", row["state"]
        case "message":
            title, detail = f"MT{row['mt']} {row['reference']}", row["state"]
        case "event":
            title, detail = row["type"], row["sentence"]
        case "saga":
            title, detail = f"{row['definition']} of {row['reference']}", row["phase"]
        case "case":
            title, detail = f"Case of {identity(row['subject'])}", row["state"]
        case _:
            title, detail = row["reference"], row["customer"]
    reference = row.get("reference", "") or identity(key)
    return r.SearchHit(kind=kind, key=key, reference=reference, title=title, detail=detail)
