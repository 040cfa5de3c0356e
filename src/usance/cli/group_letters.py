"""Dead letters and parked keys of consume groups, as `--group NAME` shows and settles them.

The log is read beside whoever consumes; what is asked for is obeyed by the consumer when it next looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Literal

import click

from usance.bootstrap import operating as doing
from usance.bootstrap.store import open_beside
from usance.cli.opening import folder, settings
from usance.cli.options import say, session
from usance.cli.show import Column, emit, facts, heading, instant, one_line, table
from usance.engine.groups import groups, operating
from usance.engine.groups.operating import Letter, Parked
from usance.kernel.clock import parse_instant
from usance.kernel.errors import Refused, Unreadable
from usance.log.contract import Log
from usance.views import results as r

Act = Literal["redrive", "discard"]
SHOWN_BYTES = 2_048

group_option = click.option("--group", default="", help="Of this consume group, not of the book.")


class Wanted(r.DeadLetterFilter, frozen=True, kw_only=True):
    """Which dead letters, those of a consume group by handler as well."""

    handler: str = ""


def moment(text: str) -> int:
    """Return an instant given as RFC 3339 text or as a date; raises Unreadable."""
    try:
        if len(text) == 10:
            return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
        return parse_instant(text)
    except ValueError:
        hint = "Give it as 2026-11-27 or 2026-11-27T09:00:00Z."
        raise Unreadable("validate", "this is no instant", hint=hint) from None


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options that choose dead letters, handed over as one filter `wanted`."""

    @click.option("--stage", default="")
    @click.option("--reason-like", default="", help="Part of the reason.")
    @click.option("--class", "failure", default="", help="Such as poison or process-killer.")
    @click.option("--key", default="", help="Part of the key.")
    @click.option("--since", default="", help="First seen from this instant or date on.")
    @click.option("--until", default="", help="First seen before this instant or date.")
    @click.option("--handler", default="", help="Of one handler (consume groups).")
    @wraps(command)
    def filtered(
        *,
        stage: str,
        reason_like: str,
        failure: str,
        key: str,
        since: str,
        until: str,
        handler: str,
        **more: Any,
    ) -> Any:
        wanted = Wanted(
            stage=stage,
            reason=reason_like,
            failure=failure,
            key=key,
            since=moment(since) if since else 0,
            until=moment(until) if until else 0,
            handler=handler,
        )
        return command(wanted=wanted, **more)

    return filtered


def of_the_book(wanted: Wanted) -> None:
    """Refuse a filter that only a consume group's letters can answer."""
    if wanted.handler:
        hint = "Name the consume group with --group."
        raise Refused("NO_HANDLERS", "the book's own letters have no handler", hint=hint)


@contextmanager
def _group(name: str) -> Iterator[tuple[Log, groups.Group]]:
    """Lend the log of this command and a group's record."""
    log = open_beside(folder(), settings())
    try:
        yield log, groups.named(log, settings().namespace, name)
    finally:
        log.close()


def _state(one: Letter) -> str:
    return "open" if one.open else "settled"


def _like(one: Letter, state: str, wanted: Wanted) -> bool:
    note, seen = one.note, one.record.timestamp
    asked = (
        (state, ("open" if state == "open" else "settled") == _state(one)),
        (wanted.stage, note.stage == wanted.stage),
        (wanted.reason, wanted.reason.lower() in note.reason.lower()),
        (wanted.failure, note.failure == wanted.failure),
        (wanted.key, wanted.key in one.key),
        (wanted.since, seen >= wanted.since),
        (wanted.until, seen < wanted.until),
        (wanted.handler, note.handler == wanted.handler),
    )
    return all(fits for said, fits in asked if said)


def _plain(one: Letter) -> dict[str, object]:
    note = one.note
    return {
        "id": note.id,
        "state": _state(one),
        "class": note.failure,
        "stage": note.stage,
        "reason": note.reason,
        "key": one.key,
        "handler": note.handler,
        "topic": note.topic,
        "partition": note.partition,
        "offset": note.offset,
        "attempts": note.attempts,
        "redrives": note.redrive_count,
        "seen": one.record.timestamp,
        "parks": one.parks,
    }


LETTERS = (
    Column("Id", lambda d: d["id"]),
    Column("State", lambda d: d["state"]),
    Column("Class", lambda d: d["class"]),
    Column("Stage", lambda d: d["stage"]),
    Column("Reason", lambda d: one_line(d["reason"], 40)),
    Column("Key", lambda d: d["key"]),
    Column("Handler", lambda d: d["handler"]),
    Column("Seen", lambda d: instant(d["seen"])),
    Column("", lambda d: "parks its key" if d["parks"] else ""),
)


def listed(group: str, state: str, wanted: Wanted, limit: int) -> None:
    """List dead letters of a group, newest first."""
    with _group(group) as (log, found):
        rows = [_plain(d) for d in operating.letters(log, found) if _like(d, state, wanted)]
    emit(rows[:limit], lambda shown: table(LETTERS, shown, "No dead letter."))


def show(group: str, dead_letter_id: str) -> None:
    """Show one dead letter of a group with its bytes."""
    with _group(group) as (log, found):
        one = operating.letter(log, found, dead_letter_id)
        plain = {**_plain(one), "outlook": doing.outlook(log, found, one)}
    value = one.record.value or b""
    text = value[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    emit(
        {**plain, "size": len(value), "text": text},
        lambda _: [
            *facts([(k.capitalize(), str(v)) for k, v in plain.items() if k != "seen"]),
            heading(f"As received ({len(value):,} bytes)"),
            text.replace("\r", ""),
        ],
    )
    if one.open:
        say(f"Next: usance dead-letter redrive {dead_letter_id} --group {group} --reason ...")


def settle(
    act: Act,
    group: str,
    dead_letter_id: str,
    wanted: Wanted,
    reason: str,
    *,
    dry: bool,
) -> None:
    """Redrive or discard dead letters of a group: one, or all open ones that a filter names."""
    with _group(group) as (log, found):
        if dead_letter_id:
            chosen = [operating.letter(log, found, dead_letter_id)]
        else:
            chosen = [d for d in operating.letters(log, found) if _like(d, "open", wanted)][::-1]
        rows = []
        for one in chosen:
            behind = {p.dead_letter_id: p.waiting for p in operating.parks(log, found)}
            row = {**_plain(one), "act": act, "waiting": behind.get(one.note.id, 0)}
            if act == "redrive":
                row["outlook"] = doing.outlook(log, found, one)
            if not dry:
                do = doing.redrive_letter if act == "redrive" else doing.discard_letter
                do(log, found.namespace, group, one.note.id, reason, person=_person())
            rows.append(row)
    emit(rows, lambda _: [_said(act, row, dry) for row in rows])
    if rows and not dry:
        say("The group's consumer obeys when it next looks; see `usance dead-letter list`.")


def _said(act: Act, row: dict[str, object], dry: bool) -> str:
    begin = f"Would {act}" if dry else f"Asked to {act}"
    outlook = f"; {row['outlook']}" if "outlook" in row else ""
    return f"{begin} {row['id']}{outlook}; {row['waiting']} records wait behind it."


def _person() -> str:
    person = session().person.partition(":")[0]
    if not person:
        raise Refused(
            "ACTING_AS_MISSING",
            "nobody is named who acts",
            hint="Name a person with --as or USANCE_AS.",
        )
    return person


PARKS = (
    Column("Key", lambda p: p.key),
    Column("Reason", lambda p: one_line(p.reason, 40)),
    Column("Since", lambda p: instant(p.since)),
    Column("Tried again", lambda p: instant(p.due)),
    Column("Rounds", lambda p: str(p.attempts or ""), right=True),
    Column("Waiting", lambda p: str(p.waiting), right=True),
    Column("Dead letter", lambda p: p.dead_letter_id),
)


def list_parks(group: str) -> None:
    """List the parked keys of a group."""
    with _group(group) as (log, found):
        rows = operating.parks(log, found)
    emit([p._asdict() for p in rows], lambda _: table(PARKS, rows, "No key is parked."))


def show_park(group: str, key: str) -> None:
    """Show one parked key of a group with what waits."""
    with _group(group) as (log, found):
        parked = doing.parked_key(log, found, key)
        kept = operating.waiting(log, found, parked)
    places = [f"{k.topic}[{k.partition}] offset {k.offset}" for k in kept]
    emit({**parked._asdict(), "records": places}, lambda _: _park_lines(parked, places))


def _park_lines(parked: Parked, places: list[str]) -> Iterable[str]:
    yield from facts(
        [
            ("Key", parked.key),
            ("Reason", parked.reason),
            ("Since", instant(parked.since)),
            ("Tried again", instant(parked.due)),
            ("Dead letter", parked.dead_letter_id),
        ]
    )
    yield heading("In order")
    yield from places


def release(group: str, key: str, reason: str, *, dry: bool) -> None:
    """Ask a group to try what parks a key again now."""
    with _group(group) as (log, found):
        if dry:
            parked = doing.parked_key(log, found, key)
        else:
            parked = doing.release_key(log, found.namespace, group, key, reason, person=_person())
    begin = "Would try" if dry else "Asked to try"
    emit(
        parked._asdict(),
        lambda p: [f"{begin} {p['key']} again; {p['waiting']} records wait behind."],
    )
