"""How data looks on stdout: JSON as the program sees it, or text that people look at.

Texts of messages and names are hostile input: control characters never reach the terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeVar

import click
import msgspec

from usance.cli.options import say, session
from usance.kernel.money import format_minor

R = TypeVar("R")
GAP = "  "
FACT_WIDTH_MAX = 34
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


class Column(NamedTuple):
    """One column of a table: heading, what it shows of a row, whether it stands to the right."""

    head: str
    of: Callable[[Any], str]
    right: bool = False


def emit(result: Any, text: Callable[[Any], Iterable[str]]) -> None:
    """Print a result: JSON where it is asked for, else the lines that `text` makes of it.

    Where it shows data of compliance, that is recorded first, or refused; see `look_at`.
    """
    look_at(result)
    if session().json:
        emit_json(result)
    else:
        for line in text(result):
            click.echo(line)


def look_at(result: Any) -> None:
    """Record a look at data of compliance before it is shown; raises Refused, Unavailable."""
    from usance.cli.watched import demand_look

    demand_look(result)


def emit_json(result: Any) -> None:
    """Print a result as indented JSON, recorded as in `emit`."""
    look_at(result)
    raw = msgspec.json.format(msgspec.json.encode(result), indent=2)
    click.echo(raw.decode())


def emit_line(result: Any) -> None:
    """Print a result as one line of JSON, at once, recorded as in `emit`."""
    look_at(result)
    click.echo(msgspec.json.encode(result).decode())
    sys.stdout.flush()


def table(columns: Sequence[Column], rows: Iterable[Any], empty: str = "Nothing.") -> list[str]:
    """Return an aligned table; where there are no rows, `empty` is said instead, on stderr."""
    cells = [[clean(column.of(row)) for column in columns] for row in rows]
    if not cells:
        say(empty)
        return []
    heads = [column.head for column in columns]
    widths = [max(len(line[n]) for line in [heads, *cells]) for n in range(len(columns))]
    lines = []
    for line in [heads, *cells]:
        padded = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ]
        lines.append(GAP.join(padded).rstrip())
    lines[0] = click.style(lines[0], bold=True)
    return lines


def facts(pairs: Iterable[tuple[str, str]] | Mapping[str, str], indent: str = "") -> list[str]:
    """Return names and values, aligned; empty values are left out."""
    listed = pairs.items() if isinstance(pairs, Mapping) else pairs
    kept = [(name, clean(value)) for name, value in listed if value != ""]
    width = min(max((len(name) for name, _ in kept), default=0), FACT_WIDTH_MAX)
    lines = []
    for name, value in kept:
        first, *rest = value.split("\n")
        lines.append(f"{indent}{name.ljust(width)}{GAP}{first}")
        lines += [f"{indent}{' ' * width}{GAP}{line}" for line in rest]
    return lines


def heading(text: str) -> str:
    """Return a heading with a line before it."""
    return "\n" + click.style(clean(text), bold=True)


def clean(text: str) -> str:
    """Return a text that a terminal cannot be steered with."""
    return _CONTROL.sub("·", text.replace("\r\n", "\n"))


def one_line(text: str, width: int = 72) -> str:
    """Return a text as one line of at most `width` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def amount(minor: int, currency: str) -> str:
    """Return an amount with its ISO code, such as `USD 1,000.00`."""
    return f"{currency} {format_minor(minor, currency)}" if currency else ""


def instant(ms: int) -> str:
    """Return an instant as `27 Nov 2026 17:00Z`; empty for none."""
    return _moment(ms).strftime("%d %b %Y %H:%MZ") if ms else ""


def deadline(ms: int) -> str:
    """Return an instant with its weekday, on which a deadline depends."""
    return _moment(ms).strftime("%a %d %b %Y %H:%MZ") if ms else ""


def day(text: str) -> str:
    """Return a date YYYY-MM-DD as `Fri 27 Nov 2026`; any other text as it is."""
    try:
        return date.fromisoformat(text).strftime("%a %d %b %Y")
    except ValueError:
        return text


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def yes(flag: bool | None) -> str:
    """Return yes, no, or nothing for unknown."""
    return "" if flag is None else "yes" if flag else "no"


def progress_on(what: str) -> Callable[[int, int], None]:
    """Return a progress line on stderr: rewritten on a terminal, at every tenth part elsewhere."""

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {total} {what}", err=True, nl=done == total)
        elif done == total or done * 10 // total > (done - 1) * 10 // total:
            say(f"{done} of {total} {what}")

    return tell
