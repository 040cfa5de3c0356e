"""`usance status|log|event|saga|incident|...`: what runs, what is stuck, what the log holds."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from usance.audit.chain import ChainReport
from usance.cli import trade_text
from usance.cli.acting import addressed, opened, settle
from usance.cli.opening import Looking, looking
from usance.cli.options import EXIT_TAMPERED, Noun, Verb, dry_run, say, session, verb
from usance.cli.show import Column, clean, emit, emit_line, facts, heading, instant, one_line, table
from usance.cli.summary import chain_reports, status_lines, status_of
from usance.cli.trade import cursor_option, limit_option
from usance.kernel.decider import key_parts
from usance.kernel.errors import NotFound, Tampered
from usance.kernel.ids import RandomIds
from usance.log.contract import header
from usance.messages.words import command_of
from usance.views import results as r
from usance.views.asking import sees_compliance
from usance.web.commands import command_type

log = Noun("log", help="The log's hash chain.")
event = Noun("event", help="Events.")
saga = Noun("saga", help="Sagas.")
incident = Noun("incident", help="Sagas that need a person.")


@click.command(cls=Verb)
@click.option("--verify/--no-verify", default=True, help="Recompute the chain too.")
def status(verify: bool) -> None:
    """Print the counts of a data folder; exit code 5 where its chain does not verify.

    Example: usance status --output json
    """
    with looking() as seen:
        found = status_of(seen.queries, seen.desk.store, verify=verify)
        emit(found, status_lines)
        if seen.desk.owner:
            say(f"Process {seen.desk.owner} owns the folder.")
    if found.chain_verified is False:
        raise Tampered(
            "the chain of the log does not verify",
            hint="`usance log verify` names the first broken record",
        )


@verb(log, "verify")
def verify_log() -> None:
    """Recompute the chain of every chained partition; names the first broken record.

    Exit code 0 whole, 5 broken. Example: usance log verify
    """
    with looking() as seen:
        reports = chain_reports(seen.desk.store)
    emit([_chain_json(report) for report in reports], lambda _: _chain_lines(reports))
    broken = [report for report in reports if not report.whole]
    for report in broken:
        assert report.broken is not None
        at = f"{report.topic} partition {report.partition}, offset {report.broken.offset}"
        say(f"BROKEN at {at}, index {report.broken.index}: {report.broken.reason}.")
        say(f"  {report.broken.hint}.")
    if broken:
        sys.exit(EXIT_TAMPERED)
    say(f"Whole: {sum(report.records for report in reports):,} records.")


def _chain_json(report: ChainReport) -> dict[str, object]:
    broken = report.broken
    return {
        **{n: getattr(report, n) for n in ("topic", "partition", "records", "first_index")},
        "next_index": report.next_index,
        "tail": report.tail.hex(),
        "whole": report.whole,
        "note": report.note,
        "broken": None
        if broken is None
        else {n: getattr(broken, n) for n in ("offset", "index", "reason", "hint")},
    }


def _chain_lines(reports: list[ChainReport]) -> Iterable[str]:
    columns = (
        Column("Topic", lambda c: c.topic),
        Column("Partition", lambda c: str(c.partition), right=True),
        Column("Records", lambda c: f"{c.records:,}", right=True),
        Column("Tail", lambda c: c.tail.hex()[:16]),
        Column("", lambda c: "whole" if c.whole else f"BROKEN at offset {c.broken.offset}"),
        Column("", lambda c: c.note),
    )
    return table(columns, reports)


# -- events


@verb(event, "list")
@click.option("--stream", default="", help="Key, such as albion/credit/TF26LC0101.")
@click.option("--type", "kind", default="", help="Such as CreditIssued.")
@click.option("--correlation", default="")
@click.option("--command", "command_id", default="", help="Id of the command that caused them.")
@click.option("--actor", default="")
@cursor_option
@limit_option
def list_events(
    stream: str, kind: str, correlation: str, command_id: str, actor: str, cursor: str, limit: int
) -> None:
    """List events, newest first."""
    wanted = r.EventFilter(
        stream=stream, type=kind, correlation=correlation, command_id=command_id, actor=actor
    )
    with looking() as seen:
        found = seen.queries.events(seen.viewer, wanted, cursor, limit)
        emit(found, _event_lines)


def _event_lines(page: r.EventPage) -> Iterable[str]:
    columns = (
        Column("When", lambda e: instant(e.instant)),
        Column("Stream", lambda e: e.stream),
        Column("Rev", lambda e: str(e.revision), right=True),
        Column("Type", lambda e: e.type),
        Column("Who", lambda e: e.actor),
        Column("Id", lambda e: e.event_id),
    )
    yield from table(columns, page.rows, "No event.")
    trade_text.more(page.page)


@verb(event, "show")
@click.argument("event_id")
def show_event(event_id: str) -> None:
    """Show one event: content, headers, place, hash."""
    with looking() as seen:
        emit(seen.queries.event(seen.viewer, event_id), _event_detail)


def _event_detail(found: r.EventDetail) -> Iterable[str]:
    yield f"{found.entry.type} of {found.entry.stream}, revision {found.entry.revision}"
    yield heading("Content")
    yield from facts(found.content)
    yield heading("Headers")
    yield from facts({**found.meta, "envelope hash": found.envelope_hash})


@verb(event, "tail")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--from-start", is_flag=True, help="Begin with the first event, not the next.")
def tail_events(count: int | None, from_start: bool) -> None:
    """Follow events as they are committed; Ctrl-C ends. Example: usance event tail."""
    with looking() as seen:
        left = count
        for line in _tail(seen, from_start=from_start):
            if session().json:
                emit_line(line)
            else:
                emit(line, lambda told: [clean("  ".join(map(str, told.values())))])
            if left is not None:
                left -= 1
                if left == 0:
                    return


def _tail(seen: Looking, *, from_start: bool) -> Iterable[dict[str, object]]:
    store = seen.desk.store
    contexts = ("trade", "compliance") if sees_compliance(seen.viewer) else ("trade",)
    places = [
        store.topics.at(c, "events", n) for c in contexts for n in range(store.topics.partitions)
    ]
    read = {p: store.log.begin(p) if from_start else store.log.end(p) for p in places}
    while True:
        for place in places:
            for record in store.log.scan(place, read[place]):
                read[place] = record.offset + 1
                meta = store.decoder.meta(record.headers)
                yield {
                    "when": instant(record.timestamp),
                    "stream": (record.key or b"").decode("utf-8", "replace"),
                    "revision": meta.revision,
                    "type": (header(record.headers, "ce_type") or b"").decode().rsplit(".", 1)[-1],
                    "position": f"{place.topic.split('.')[-2]}.p{place.partition}#{meta.index}",
                }
        store.log.wait({p: n - 1 for p, n in read.items()}, 1.0)


# -- sagas


@verb(saga, "list")
@click.option("--phase", type=click.Choice(["running", "compensating", "completed", "compensated"]))
@cursor_option
@limit_option
def list_sagas(phase: str | None, cursor: str, limit: int) -> None:
    """List sagas, last changed first."""
    columns = (
        Column("Saga", lambda s: s.key.split("/", 2)[2]),
        Column("Phase", lambda s: s.phase),
        Column("Step", lambda s: s.step),
        Column("Since", lambda s: instant(s.since)),
        Column("Incident", lambda s: s.incident),
    )
    with looking() as seen:
        found = seen.queries.sagas(seen.viewer, phase or "", cursor, limit)
        emit(found, lambda page: table(columns, page.rows, "No saga."))


@verb(saga, "show")
@click.argument("reference")
def show_saga(reference: str) -> None:
    """Show one saga as its steps, with timers, incidents and acts."""
    with looking() as seen:
        emit(seen.queries.saga(seen.viewer, seen.key("saga", reference)), _saga_lines)


def _saga_lines(found: r.Saga) -> Iterable[str]:
    row = found.row
    yield f"{row.key.split('/', 2)[2]}: {row.phase} at {row.step}. {found.reason}".rstrip()
    yield heading("Steps")
    columns = (
        Column("", lambda s: {"done": "✓", "current": "▸", "failed": "✗"}.get(s.state, "·")),
        Column("Step", lambda s: s.name),
        Column("Kind", lambda s: s.kind),
        Column("State", lambda s: s.state),
        Column("How", lambda s: s.how),
        Column("Command", lambda s: s.command_type),
        Column("Answer", lambda s: " ".join(p for p in (s.answer, s.code) if p)),
        Column("Began", lambda s: instant(s.started)),
        Column("Ended", lambda s: instant(s.ended)),
    )
    yield from table(columns, found.steps)
    for timer in found.timers:
        yield f"  timer {timer.timer_id} due {instant(timer.due)}: {timer.reason}"
    for one in found.incidents:
        how = "" if one.open else f" (over: {one.how})"
        yield f"  incident {one.id} at {one.step}: {one.cause}{how}"
        if one.open and one.suggested:
            acts = " or ".join(one.suggested)
            say(f"Next: usance saga {acts} {row.key.split('/', 2)[2]} --reason ...")
    for act in found.acts:
        yield f"  {act.act} of {act.step} by {act.maker}: {act.state} ({act.reason}) {act.act_id}"


_reason = click.option("--reason", required=True, help="Why; kept in the log.")
_step = click.option("--step", help="The step it means; the present one without it.")


def _on_saga(name: str, reference: str, fields: dict[str, str | None], *, dry: bool) -> None:
    with opened(dry=dry) as (desk, person):
        key = desk.queries.key("saga", reference, desk.settings.bank.tenant)
        if "step" in fields and fields["step"] is None:
            fields["step"] = desk.queries.saga(person, key).row.step
        command = command_of(fields, command_type(name).cls, key_parts(key).identity)
        settle(desk, addressed(key, command, RandomIds().fresh(), person), dry=dry)


@verb(saga, "retry")
@click.argument("reference")
@_reason
@dry_run
def retry(reference: str, reason: str, dry_run: bool) -> None:
    """Do the present step again. Example: usance saga retry issuance:TF26LC0101 --reason "..."."""
    _on_saga("RetryStep", reference, {"reason": reason}, dry=dry_run)


@verb(saga, "skip")
@click.argument("reference")
@_step
@_reason
@dry_run
def skip(reference: str, step: str | None, reason: str, dry_run: bool) -> None:
    """Go on without a step; a second person agrees."""
    _on_saga("SkipStep", reference, {"step": step, "reason": reason}, dry=dry_run)


@verb(saga, "done-outside")
@click.argument("reference")
@_step
@_reason
@click.option("--evidence", required=True, help="Where it is recorded that it was done.")
@dry_run
def done_outside(
    reference: str, step: str | None, reason: str, evidence: str, dry_run: bool
) -> None:
    """Note that a step was done by other means; a second person agrees."""
    fields = {"step": step, "reason": reason, "evidence": evidence}
    _on_saga("MarkDoneOutside", reference, fields, dry=dry_run)


@verb(saga, "compensate")
@click.argument("reference")
@_reason
@dry_run
def compensate(reference: str, reason: str, dry_run: bool) -> None:
    """Give up and undo what was done, in reverse."""
    _on_saga("CompensateSaga", reference, {"reason": reason}, dry=dry_run)


@verb(saga, "approve")
@click.argument("reference")
@click.argument("act_id")
@dry_run
def approve_act(reference: str, act_id: str, dry_run: bool) -> None:
    """Agree to a proposed act, as a second person."""
    _on_saga("ApproveAct", reference, {"act_id": act_id}, dry=dry_run)


@verb(saga, "reject")
@click.argument("reference")
@click.argument("act_id")
@_reason
@dry_run
def reject_act(reference: str, act_id: str, reason: str, dry_run: bool) -> None:
    """Turn a proposed act down."""
    _on_saga("RejectAct", reference, {"act_id": act_id, "reason": reason}, dry=dry_run)


@verb(incident, "list")
@click.option("--all", "closed", is_flag=True, help="Those that are over as well.")
def list_incidents(closed: bool) -> None:
    """List sagas without progress, oldest first."""
    columns = (
        Column("Incident", lambda i: i.id),
        Column("Saga", lambda i: i.saga.split("/", 2)[2]),
        Column("Step", lambda i: i.step),
        Column("Cause", lambda i: one_line(i.cause, 60)),
        Column("Since", lambda i: instant(i.since)),
        Column("Could be done", lambda i: " or ".join(i.suggested) if i.open else f"({i.how})"),
    )
    with looking() as seen:
        found = seen.queries.incidents(seen.viewer, open=not closed)
        emit(found, lambda rows: table(columns, rows, "No incident."))


@verb(incident, "show")
@click.argument("incident_id")
def show_incident(incident_id: str) -> None:
    """Show one incident and what could be done."""
    with looking() as seen:
        rows = seen.queries.incidents(seen.viewer, open=False)
        found = next((i for i in rows if i.id == incident_id), None)
        if found is None:
            raise NotFound(f"no incident {incident_id}", hint="usance incident list shows all.")
        emit(found, _incident_lines)


def _incident_lines(found: r.Incident) -> Iterable[str]:
    reference = found.saga.split("/", 2)[2]
    yield from facts(
        [
            ("Incident", found.id),
            ("Saga", reference),
            ("Subject", found.subject),
            ("Step", found.step),
            ("Cause", found.cause),
            ("Since", instant(found.since)),
            ("Over", "" if found.open else f"{found.how}, {instant(found.closed)}"),
        ]
    )
    if found.open:
        for act in found.suggested:
            say(f"Next: usance saga {act} {reference} --reason ...")
