"""Rows on their way into PostgreSQL: columns as array literals, and lines for COPY.

Made here as one text per column or batch, because the driver's own way costs a call per value.
NUL, which PostgreSQL has no place for, becomes its visible sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NUL, SIGN = "\0", "\N{SYMBOL FOR NULL}"


def without_nul(value: Any) -> Any:
    """Return a value as PostgreSQL can keep it."""
    return value.replace(NUL, SIGN) if isinstance(value, str) else value


def plain(key: Sequence[Any]) -> bool:
    """Tell whether a key is kept as it is."""
    return not any(isinstance(value, str) and NUL in value for value in key)


def array(kind: str, values: Iterable[Any]) -> str:
    """Return the literal of an array of `text` or `integer` values; None is NULL."""
    if kind == "integer":
        listed = ["NULL" if v is None else str(int(v)) for v in values]
    else:
        listed = ["NULL" if v is None else _quoted(str(v)) for v in values]
    return f"{{{','.join(listed)}}}".replace(NUL, SIGN)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def copied(kinds: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as lines of COPY's text format."""
    columns = []
    for kind, values in zip(kinds, zip(*rows, strict=True), strict=True):
        if kind == "integer":
            columns.append(["\\N" if v is None else str(int(v)) for v in values])
        else:
            columns.append(["\\N" if v is None else _escaped(str(v)) for v in values])
    lines = ["\t".join(row) for row in zip(*columns, strict=True)]
    lines.append("")
    return "\n".join(lines).replace(NUL, SIGN)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
