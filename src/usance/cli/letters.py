"""`usance dead-letter|park`: what did not go through, and what waits behind it."""

from __future__ import annotations

from collections.abc import Iterable

import click
import msgspec

from usance.bootstrap.desk import Desk
from usance.bootstrap.rereading import received, reread
from usance.cli import group_letters
from usance.cli.acting import addressed, opened, settle, tell, would_lines
from usance.cli.group_letters import Act, Wanted, filters, group_option
from usance.cli.opening import looking
from usance.cli.options import Noun, dry_run, say, verb
from usance.cli.show import Column, emit, facts, heading, instant, one_line, table
from usance.cli.trade import cursor_option, limit_option
from usance.engine.control import Discard, Redrive
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound, Refused, UsanceError
from usance.kernel.ids import RandomIds, derived
from usance.log.contract import Record
from usance.messages.outcome import read_dead_letter
from usance.messages.words import command_of
from usance.views import results as r
from usance.web.commands import command_type
from usance.web.previews import forecast

PAGE = 200

dead_letter = Noun("dead-letter", help="What could not be decided.")
park = Noun("park", help="Keys that wait behind a record that failed.")


@verb(dead_letter, "list")
@click.option("--state", type=click.Choice(["open", "redriven", "discarded"]))
@filters
@group_option
@cursor_option
@limit_option
def list_dead_letters(
    state: str | None, wanted: Wanted, group: str, cursor: str, limit: int
) -> None:
    """List dead letters, newest first, and the keys that wait behind them.

    Example: usance dead-letter list --state open --class poison --since 2026-11-27
    """
    if group:
        group_letters.listed(group, state or "", wanted, limit)
        return
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
    group_letters.of_the_book(wanted)
    wanted = msgspec.structs.replace(wanted, state=state or "")
    with looking() as seen:
        found = seen.queries.dead_letters(seen.viewer, wanted, cursor, limit)
        emit(found, lambda page: table(columns, page.rows, "No dead letter."))


@verb(dead_letter, "show")
@click.argument("dead_letter_id")
@group_option
def show_dead_letter(dead_letter_id: str, group: str) -> None:
    """Show one dead letter with its bytes as they came."""
    if group:
        group_letters.show(group, dead_letter_id)
        return
    with looking() as seen:
        found = seen.queries.dead_letter(seen.viewer, dead_letter_id)
        data = received(seen.desk.store, found.row)
        emit(found, lambda d: _letter_lines(d, data))
        if found.row.state == "open":
            say(f"Next: usance dead-letter redrive {found.row.id} --reason ...")


def _letter_lines(found: r.DeadLetter, data: bytes | None) -> Iterable[str]:
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
    if data is not None:
        yield heading(f"As received ({len(data):,} bytes)")
        yield data[:2_048].decode("utf-8", "backslashreplace").replace("\r", "")


def _record(desk: Desk, row: r.DeadLetterRow) -> Record:
    name = desk.store.topics.name(row.context, "dead-letters")
    return desk.queries.record_at(name, row.partition, row.offset)


@verb(dead_letter, "redrive")
@click.argument("dead_letter_id", required=False, default="")
@filters
@group_option
@click.option("--reason", required=True, help="What changed since; kept in the log.")
@dry_run
def redrive(dead_letter_id: str, wanted: Wanted, group: str, reason: str, dry_run: bool) -> None:
    """Try dead letters again with today's program, then what waits behind them.

    One by its id, or all open ones that the filters name, oldest first. An input that was unreadable is
    read again from the bytes kept; if it can be read now, its command is sent as the same input and the
    dead letter is closed. --dry-run decodes and decides with today's program, and records nothing.

    Example: usance dead-letter redrive --class poison --since 2026-11-27 --reason "release 26.12"
    """
    _each("redrive", dead_letter_id, wanted, group, reason, dry=dry_run)


@verb(dead_letter, "discard")
@click.argument("dead_letter_id", required=False, default="")
@filters
@group_option
@click.option("--reason", required=True, help="Why it is given up; kept in the log.")
@dry_run
def discard(dead_letter_id: str, wanted: Wanted, group: str, reason: str, dry_run: bool) -> None:
    """Give dead letters up for good and go on with what waits behind them.

    One by its id, or all open ones that the filters name, oldest first.
    """
    _each("discard", dead_letter_id, wanted, group, reason, dry=dry_run)


def _each(
    act: Act,
    dead_letter_id: str,
    wanted: Wanted,
    group: str,
    reason: str,
    *,
    dry: bool,
) -> None:
    if not dead_letter_id and wanted == Wanted():
        raise Refused(
            "WHICH_LETTERS", "neither an id nor a filter is given", hint="Say which are meant."
        )
    if group:
        group_letters.settle(act, group, dead_letter_id, wanted, reason, dry=dry)
        return
    group_letters.of_the_book(wanted)
    with opened(dry=dry) as (desk, person):
        named = [dead_letter_id] if dead_letter_id else _open_ones(desk, person, wanted)
        if not named:
            say("No open dead letter is like that.")
        for one in named:
            _settle_one(act, desk, person, one, reason, dry=dry)


def _open_ones(desk: Desk, person: Actor, wanted: Wanted) -> list[str]:
    """Return the ids of all open dead letters that a filter names, oldest first."""
    still = msgspec.structs.replace(wanted, state="open")
    found, cursor = [], ""
    while True:
        page = desk.queries.dead_letters(person, still, cursor, PAGE)
        found += [row.id for row in page.rows]
        cursor = page.page.cursor
        if not cursor:
            return found[::-1]


def _settle_one(
    act: Act, desk: Desk, person: Actor, dead_letter_id: str, reason: str, *, dry: bool
) -> None:
    found = desk.queries.dead_letter(person, dead_letter_id)
    row = found.row
    if row.state != "open":
        raise Refused("NO_DEAD_LETTER", f"it is {row.state} already", hint="Nothing is left.")
    if act == "discard":
        _control("Discard", desk, person, row, reason, dry=dry)
        return
    if received(desk.store, row) is not None:
        _read_again(desk, person, row, reason, dry=dry)
    elif row.redrivable:
        _control("Redrive", desk, person, row, reason, dry=dry)
    else:
        raise Refused(
            "CANNOT_REDRIVE",
            "its own headers cannot be read, so nobody knows what it was",
            hint="Discard it: usance dead-letter discard.",
        )


def _read_again(desk: Desk, person: Actor, row: r.DeadLetterRow, reason: str, *, dry: bool) -> None:
    """Send the command of an input that can be read now; raises Unreadable when it still cannot."""
    outgoing = reread(desk.store, desk.settings.bank, row, person)
    if dry:
        would = forecast(outgoing.key, desk.preview(outgoing.key, outgoing.command, outgoing.actor))
        emit(would, lambda _: would_lines(outgoing, would))
        return
    code = tell(desk, outgoing, desk.ask(outgoing))
    key, command = _control_of("Discard", desk, row, f"redriven: {reason}")
    desk.ask(_by_operator(key, command, derived(row.id, "redriven"), person))
    if code:
        click.get_current_context().exit(code)


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
        if name == "Redrive":
            _would_decide(desk, row)
        return
    key, command = _control_of(name, desk, row, reason)
    settle(desk, _by_operator(key, command, RandomIds().fresh(), person), dry=False)


def _would_decide(desk: Desk, row: r.DeadLetterRow) -> None:
    """Decode a dead letter's command and decide it, with today's program and state; record nothing."""
    record = _record(desk, row)
    original = read_dead_letter(record.headers).original_headers
    try:
        meta = desk.store.decoder.meta(original)
        message = desk.store.decoder.message(original, record.value)
        would = forecast(row.key, desk.preview(row.key, message, meta.actor))
    except UsanceError as broken:
        say(f"It would fail again: {broken.message}.")
        return
    except Exception as bug:  # noqa: BLE001  the bug that made the letter may still be there
        say(f"It would fail again: {type(bug).__name__}.")
        return
    outgoing = Outgoing(row.key, message, meta.command_id, row.causation)
    emit(would, lambda _: would_lines(outgoing, would))


def _by_operator(key: str, command: Redrive | Discard, command_id: str, person: Actor) -> Outgoing:
    """Return a control command; it is no input of the book, so its causation says so."""
    return addressed(key, command, command_id, person)._replace(causation=f"operator:{command_id}")


# -- parked keys


@verb(park, "list")
@group_option
def list_parks(group: str) -> None:
    """List parked keys: of the book, or of a consume group."""
    if group:
        group_letters.list_parks(group)
        return
    columns = (
        Column("Key", lambda p: p.key),
        Column("Reason", lambda p: one_line(p.reason, 60)),
        Column("Since", lambda p: instant(p.since)),
        Column("Waiting", lambda p: str(p.waiting), right=True),
        Column("Dead letter", lambda p: p.dead_letter_id),
    )
    with looking() as seen:
        found = seen.queries.parked(seen.viewer)
        emit(found, lambda rows: table(columns, rows, "No key is parked."))


@verb(park, "show")
@click.argument("key")
@group_option
def show_park(key: str, group: str) -> None:
    """Show one parked key: what parks it, and what waits behind."""
    if group:
        group_letters.show_park(group, key)
        return
    with looking() as seen:
        emit(_parked(seen.queries.parked(seen.viewer), key), _park_lines)


def _parked(rows: Iterable[r.ParkedKey], key: str) -> r.ParkedKey:
    for row in rows:
        if row.key == key:
            return row
    raise NotFound(f"the key {key} is not parked", hint="usance park list shows what is.")


def _park_lines(found: r.ParkedKey) -> Iterable[str]:
    yield from facts(
        [
            ("Key", found.key),
            ("Reason", found.reason),
            ("Since", instant(found.since)),
            ("Waiting", str(found.waiting)),
            ("Dead letter", found.dead_letter_id),
        ]
    )
    say(f"Next: usance park release {found.key} --reason ... --dry-run")


@verb(park, "release")
@click.argument("key")
@group_option
@click.option("--reason", required=True, help="What changed since; kept in the log.")
@dry_run
def release(key: str, group: str, reason: str, dry_run: bool) -> None:
    """Try what parks a key again now, then what waits behind it, in order.

    To give up what parks it instead, discard its dead letter.
    """
    if group:
        group_letters.release(group, key, reason, dry=dry_run)
        return
    with opened(dry=dry_run) as (desk, person):
        found = _parked(desk.queries.parked(person), key)
        _settle_one("redrive", desk, person, found.dead_letter_id, reason, dry=dry_run)
