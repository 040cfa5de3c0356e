"""`usance dead-letter|projection|topic`: what did not go through, the views, the log's topics."""

from __future__ import annotations

from collections.abc import Iterable

import click

from usance.bootstrap import care
from usance.bootstrap.desk import Desk
from usance.bootstrap.store import make_projector
from usance.cli.acting import addressed, opened, settle, tell, would_lines
from usance.cli.opening import folder, looking
from usance.cli.opening import settings as effective_settings
from usance.cli.options import Noun, dry_run, say, verb
from usance.cli.show import (
    Column,
    emit,
    emit_line,
    facts,
    heading,
    instant,
    one_line,
    progress_on,
    table,
)
from usance.cli.trade import cursor_option, limit_option
from usance.engine.control import Discard, Redrive
from usance.engine.projector import OnProgress, RebuildProgress, RebuildReport
from usance.engine.reactor import Outgoing
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused
from usance.kernel.ids import RandomIds, derived
from usance.log.contract import Record, TopicPartition
from usance.messages.inputs import decode_input
from usance.messages.outcome import UnreadableInput, read_dead_letter
from usance.messages.words import command_of
from usance.views import results as r
from usance.views.asking import sees_compliance
from usance.web.commands import command_type
from usance.web.previews import forecast

dead_letter = Noun("dead-letter", help="What could not be decided.")
projection = Noun("projection", help="Read models.")
topic = Noun("topic", help="The log's topics.")


@verb(dead_letter, "list")
@click.option("--state", type=click.Choice(["open", "redriven", "discarded"]))
@click.option("--stage", default="")
@click.option("--reason", default="", help="Part of the reason.")
@cursor_option
@limit_option
def list_dead_letters(state: str | None, stage: str, reason: str, cursor: str, limit: int) -> None:
    """List dead letters, newest first, and the keys that wait behind them."""
    columns = (
        Column("Id", lambda d: d.id),
        Column("State", lambda d: d.state),
        Column("Stage", lambda d: d.stage),
        Column("Class", lambda d: d.failure),
        Column("Reason", lambda d: one_line(d.reason, 60)),
        Column("Key", lambda d: d.key),
        Column("Seen", lambda d: instant(d.first_seen)),
        Column("", lambda d: "parks its key" if d.parks else ""),
    )
    with looking() as seen:
        wanted = r.DeadLetterFilter(state=state or "", stage=stage, reason=reason)
        found = seen.queries.dead_letters(seen.viewer, wanted, cursor, limit)
        emit(found, lambda page: table(columns, page.rows, "No dead letter."))


@verb(dead_letter, "show")
@click.argument("dead_letter_id")
def show_dead_letter(dead_letter_id: str) -> None:
    """Show one dead letter with its bytes as they came."""
    with looking() as seen:
        found = seen.queries.dead_letter(seen.viewer, dead_letter_id)
        received = _received(seen.desk, found)
        emit(found, lambda d: _letter_lines(d, received))
        if found.row.state == "open":
            say(f"Next: usance dead-letter redrive {found.row.id} --reason ...")


def _letter_lines(found: r.DeadLetter, received: bytes | None) -> Iterable[str]:
    row = found.row
    yield from facts(
        [
            ("Dead letter", row.id),
            ("State", row.state),
            ("Stage", f"{row.stage} ({row.failure})"),
            ("Reason", row.reason),
            ("Key", row.key),
            ("Command", row.command_id),
            ("Causation", row.causation),
            ("Place", f"{row.context}.p{row.partition}, offset {row.offset}"),
            ("Seen", instant(row.first_seen)),
            ("Waiting behind", str(found.waiting or "")),
            ("SHA-256", found.sha256),
        ]
    )
    if received is not None:
        yield heading(f"As received ({len(received):,} bytes)")
        yield received[:2_048].decode("utf-8", "backslashreplace").replace("\r", "")


def _record(desk: Desk, row: r.DeadLetterRow) -> Record:
    name = desk.store.topics.name(row.context, "dead-letters")
    return desk.queries.record_at(name, row.partition, row.offset)


def _received(desk: Desk, found: r.DeadLetter) -> bytes | None:
    """Return the bytes of an input that no gateway could read; None for any other dead letter."""
    record = _record(desk, found.row)
    original = read_dead_letter(record.headers).original_headers
    try:
        message = desk.store.decoder.message(original, record.value)
    except Exception:  # noqa: BLE001  the letter may be here because nothing can read it
        return None
    return message.received if isinstance(message, UnreadableInput) else None


@verb(dead_letter, "redrive")
@click.argument("dead_letter_id")
@click.option("--reason", required=True, help="What changed since; kept in the log.")
@dry_run
def redrive(dead_letter_id: str, reason: str, dry_run: bool) -> None:
    """Try a dead letter again with today's program, then what waits behind it.

    An input that was unreadable is read again from the bytes kept; if it can be read now, its command
    is sent as the same input and the dead letter is closed.
    """
    with opened(dry=dry_run) as (desk, person):
        found = desk.queries.dead_letter(person, dead_letter_id)
        row = found.row
        if row.state != "open":
            raise Refused("NO_DEAD_LETTER", f"it is {row.state} already", hint="Nothing is left.")
        received = _received(desk, found)
        if received is not None:
            _read_again(desk, person, row, received, reason, dry=dry_run)
        elif row.parks:
            _control("Redrive", desk, person, row, reason, dry=dry_run)
        else:
            raise Refused(
                "CANNOT_REDRIVE",
                "its own headers cannot be read, so nobody knows what it was",
                hint="Discard it: usance dead-letter discard.",
            )


def _read_again(
    desk: Desk, person: Actor, row: r.DeadLetterRow, received: bytes, reason: str, *, dry: bool
) -> None:
    """Send the command of an input that can be read now; raises Unreadable when it still cannot."""
    bank = desk.settings.bank
    found = decode_input(received, tenant=bank.tenant, our_bic=bank.bic)
    # The same causation: the input counts once, by what becomes of it now.
    outgoing = Outgoing(
        found.key, found.command, found.command_id, row.causation, row.command_id, found.actor
    )
    if dry:
        would = forecast(outgoing.key, desk.preview(outgoing.key, outgoing.command, outgoing.actor))
        emit(would, lambda _: would_lines(outgoing, would))
        return
    code = tell(desk, outgoing, desk.ask(outgoing))
    key, command = _control_of("Discard", desk, row, f"redriven: {reason}")
    desk.ask(_by_operator(key, command, derived(row.id, "redriven"), person))
    if code:
        click.get_current_context().exit(code)


@verb(dead_letter, "discard")
@click.argument("dead_letter_id")
@click.option("--reason", required=True, help="Why it is given up; kept in the log.")
@dry_run
def discard(dead_letter_id: str, reason: str, dry_run: bool) -> None:
    """Give a dead letter up for good and go on with what waits behind it."""
    with opened(dry=dry_run) as (desk, person):
        row = desk.queries.dead_letter(person, dead_letter_id).row
        _control("Discard", desk, person, row, reason, dry=dry_run)


def _control_of(
    name: str, desk: Desk, row: r.DeadLetterRow, reason: str
) -> tuple[str, Redrive | Discard]:
    kind = command_type(name)
    fields = {"dead_letter_id": row.id, "dead_letter_index": row.index, "reason": reason}
    command: Redrive | Discard = command_of(fields, kind.cls, row.id)
    place = f"{row.context}.p{row.partition}"
    return kind.key(desk.settings.bank.tenant, desk.store.topics, place, command), command


def _control(
    name: str, desk: Desk, person: Actor, row: r.DeadLetterRow, reason: str, *, dry: bool
) -> None:
    if dry:
        waiting = desk.queries.dead_letter(person, row.id).waiting
        say(f"Would {name.lower()} {row.id}; {waiting} commands wait behind it.")
        return
    key, command = _control_of(name, desk, row, reason)
    settle(desk, _by_operator(key, command, RandomIds().fresh(), person), dry=False)


def _by_operator(key: str, command: Redrive | Discard, command_id: str, person: Actor) -> Outgoing:
    """Return a control command; it is no input of the book, so its causation says so."""
    return addressed(key, command, command_id, person)._replace(causation=f"operator:{command_id}")


# -- projections


@verb(projection, "list")
def list_projections() -> None:
    """List read models: position, lag, rows that could not follow."""
    columns = (
        Column("Projection", lambda p: p.name),
        Column("Version", lambda p: str(p.version), right=True),
        Column("State", lambda p: p.state),
        Column("Rows", lambda p: f"{p.rows:,}", right=True),
        Column("Behind", lambda p: f"{p.lag:,}", right=True),
        Column("Stale rows", lambda p: str(p.stale_rows or ""), right=True),
        Column("Parked keys", lambda p: str(len(p.parked) or ""), right=True),
    )
    with looking() as seen:
        emit(seen.queries.projections(seen.viewer), lambda rows: table(columns, rows))


@verb(projection, "rebuild")
@click.argument("name")
@dry_run
def rebuild(name: str, dry_run: bool) -> None:
    """Build a read model anew from the first event, compare, then swap; --dry-run compares only.

    Example: usance projection rebuild book
    """
    with looking() as seen:
        projector = make_projector(seen.desk.store, seen.desk.views, follow=False)
        projector.open()
        try:
            if dry_run:
                differences = projector.verify(name)
                say(f"{len(differences)} rows differ from a fold of the log; nothing was swapped.")
                emit(differences, lambda rows: [str(row) for row in rows])
                return
            report = projector.rebuild(name, _progress())
            emit(report._asdict(), lambda _: _rebuilt(report))
        finally:
            projector.close()


def _progress() -> OnProgress:
    tell_parts = progress_on("offsets read")

    def told(progress: RebuildProgress) -> None:
        tell_parts(progress.done, max(progress.total, 1))

    return told


def _rebuilt(report: RebuildReport) -> Iterable[str]:
    yield f"{report.name}: generation {report.generation} is live"
    if report.compared:
        unexpected = len(report.differences) - report.mended
        yield f"  {report.mended} stale rows mended, {unexpected} rows unlike the old ones"
    else:
        yield "  the tables were of another version: not compared"


# -- topics


@verb(topic, "list")
def list_topics() -> None:
    """List topics with what they keep."""
    with looking() as seen:
        log = seen.desk.store.log
        rows = [
            {
                "topic": s.name,
                "partition": n,
                "cleanup": s.cleanup,
                "begin": log.begin(TopicPartition(s.name, n)),
                "end": log.end(TopicPartition(s.name, n)),
            }
            for s in sorted(log.topics().values())
            for n in range(s.partitions)
        ]
    columns = (
        Column("Topic", lambda t: t["topic"]),
        Column("Partition", lambda t: str(t["partition"]), right=True),
        Column("Cleanup", lambda t: t["cleanup"]),
        Column("Begin", lambda t: f"{t['begin']:,}", right=True),
        Column("End", lambda t: f"{t['end']:,}", right=True),
    )
    emit(rows, lambda _: table(columns, rows))


@verb(topic, "read")
@click.argument("name", metavar="TOPIC")
@click.option("--partition", type=click.IntRange(0), default=0, show_default=True)
@click.option("--from", "start", type=click.IntRange(0), default=0, help="First offset.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
def read_topic(name: str, partition: int, start: int, limit: int) -> None:
    """Print records of a topic as JSON lines, decoded where they can be.

    Example: usance topic read usance.trade.events --partition 1 --limit 10
    """
    with looking() as seen:
        store = seen.desk.store
        settings = store.log.topics().get(name)
        hidden = ".compliance." in name and not sees_compliance(seen.viewer)
        if settings is None or hidden or partition >= settings.partitions:
            raise NotFound(f"no topic {name} with this partition", hint="usance topic list")
        place = TopicPartition(name, partition)
        for number, record in enumerate(store.log.scan(place, start, None, min(limit, 1_000))):
            if number == limit:
                break
            emit_line(_readable(seen.desk, record))


def _readable(desk: Desk, record: Record) -> dict[str, object]:
    found: dict[str, object] = {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else record.key.decode("utf-8", "replace"),
    }
    try:
        message = desk.store.decoder.message(record.headers, record.value)
        meta = desk.store.decoder.meta(record.headers)
        return {**found, "type": type(message).__name__, "meta": meta, "content": message}
    except Exception:  # noqa: BLE001  topics hold other things than messages, too
        return {
            **found,
            "size": len(record.value or b""),
            "value": (record.value or b"")[:512].hex(),
        }


@verb(topic, "seek")
@click.argument("group")
@click.argument("name", metavar="TOPIC")
@click.option("--partition", type=click.IntRange(0), required=True)
@click.option("--to", "offset", type=click.IntRange(0), required=True, help="Next offset to read.")
@dry_run
def seek_topic(group: str, name: str, partition: int, offset: int, dry_run: bool) -> None:
    """Set from where a consumer group reads on; no process may own the folder meanwhile.

    What it reads again is dropped by command id. Example:
    usance topic seek usance-reactions usance.trade.events --partition 0 --to 0
    """
    place = TopicPartition(name, partition)
    with looking() as seen:
        settings = seen.desk.store.log.topics().get(name)
        if settings is None or partition >= settings.partitions:
            raise NotFound(f"no topic {name} with this partition", hint="usance topic list")
        known = seen.desk.store.log.position(group, place)
        if known is None:
            raise NotFound(f"no group {group} reads {name}", hint="Groups are usance-<part>.")
        end = seen.desk.store.log.end(place)
    found = {"group": group, "topic": name, "partition": partition, "from": known, "to": offset}
    if offset > end:
        raise Refused("BEYOND_END", f"the partition ends at {end}", hint="Seek within it.")
    if not dry_run:
        care.seek(folder(), effective_settings(), group, place, offset)
    words = "Would move" if dry_run else "Moved"
    emit(found, lambda f: [f"{words} {group} on {name}.p{partition} from {f['from']} to {offset}"])
