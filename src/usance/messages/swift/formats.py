"""Field formats: SWIFT's notation compiled to checkers.

Notation: `n` digits, `a` upper-case letters, `c` upper-case letters and digits, `x` and `z` the two
text sets, `d` an amount with comma; `!` exact length, `m*n` up to m lines of n characters, `[]`
optional, `$` a line break, `B` a BIC. Meanings name what a component must also be: date, currency,
amount, ref, bic, country.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache

import msgspec

from usance.kernel.money import CURRENCIES, decimals
from usance.messages.swift.codes import COUNTRIES
from usance.messages.swift.fin import Field
from usance.messages.swift.findings import Finding

X_SET = r"A-Za-z0-9/\-?:().,'+ "
Z_SET = X_SET + r"=!\"%&*<>;@#_{"
_SETS = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]", "x": f"[{X_SET}]", "z": f"[{Z_SET}]"}
_OUTSIDE_Z = re.compile(f"[^{Z_SET}]")
_TOKEN = re.compile(
    r"(?P<lines>\d+)\*(?P<width>\d+)(?P<text>[xz])|(?P<size>\d+)(?P<exact>!?)(?P<type>[nacxzd])"
    r"|(?P<bic>B)|(?P<open>\[)|(?P<close>\])|(?P<break>\$)|(?P<literal>.)"
)
_LINES = re.compile(r"(\d+)\*(\d+)([xz])")
_BIC = re.compile(r"[A-Z]{4}([A-Z]{2})[A-Z0-9]{2}([A-Z0-9]{3})?")
_AMOUNT = re.compile(r"([0-9]*),([0-9]*)")


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a value: `line` counts from 0, the field's own line."""

    kind: str
    code: str | None
    line: int
    text: str


def check_field(field: Field, notation: str, meanings: tuple[str, ...]) -> list[Finding]:
    """Return what is wrong with a field: its shape, or else the meaning of its parts."""
    return [
        Finding(
            code=problem.code,
            tag=field.tag,
            line=field.line + problem.line,
            rule=f"{problem.kind}-{field.tag}",
            message=f"{field.tag}: {problem.text}",
        )
        for problem in problems(field.value, notation, meanings)
    ]


def problems(value: str, notation: str, meanings: tuple[str, ...] = ()) -> list[Problem]:
    """Return what is wrong with a value of the notation, by line."""
    if shape := _shape_problem(value, notation, meanings):
        return [shape]
    found = _pattern(notation, meanings).fullmatch(value)
    parts = found.groupdict() if found else {}
    return [
        Problem(meaning, code, 0, text)
        for meaning in meanings
        if (part := parts.get(meaning)) is not None
        for code, text in _CHECKS[meaning](part, parts)
    ]


def _shape_problem(value: str, notation: str, meanings: tuple[str, ...]) -> Problem | None:
    lines = value.split("\n")
    narrative = _LINES.search(notation) is not None
    for number, line in enumerate(lines):
        if not line:
            return Problem("format", None, number, "an empty line is not allowed: take it out")
        if _OUTSIDE_Z.search(line):
            return Problem("charset", "M60", number, "a character outside SWIFT's set: replace it")
        if line[0] in ":-" and (number or narrative):
            return Problem(
                "format", None, number, "a line must not start with ':' or '-': change it"
            )
    if _pattern(notation, meanings).fullmatch(value):
        return None
    return _narrative_problem(lines, notation) or Problem(
        "format", None, 0, f"write the value as {notation.replace('$', ' / ')}"
    )


def _narrative_problem(lines: list[str], notation: str) -> Problem | None:
    """Say which line is wrong among a field's lines of text, its other lines set aside."""
    found = _LINES.search(notation)
    if not found:
        return None
    limit, width = int(found[1]), int(found[2])
    optional = notation.startswith("[")
    first = int("$" in notation[: found.start()] and not (optional and lines[0][0] != "/"))
    last = len(lines) - notation.count("$", found.end())
    for number, line in enumerate(lines[first:last], first):
        if number - first == limit:
            return Problem("format", None, number, f"more than {limit} lines of text: shorten it")
        if len(line) > width:
            return Problem(
                "format", None, number, f"a line is longer than {width} characters: break it"
            )
        if re.search(f"[^{X_SET}]", line) and found[3] == "x":
            return Problem("format", None, number, "a character not allowed here: replace it")
    return None


@cache
def _pattern(notation: str, meanings: tuple[str, ...]) -> re.Pattern[str]:
    """Compile a notation; components with a meaning match loosely: its check names the fault."""
    names = iter(meanings)
    parts = []
    for token in _TOKEN.finditer(notation):
        if token["open"] or token["close"] or token["break"] or token["literal"]:
            parts.append({"[": "(?:", "]": ")?", "$": r"\n"}.get(token[0]) or re.escape(token[0]))
        elif token["bic"]:
            next(names, "")
            parts.append(r"(?P<bic>[^\n]*)")
        elif token["lines"]:
            line = f"{_SETS[token['text']]}{{1,{token['width']}}}"
            # A first line with a slash is the account line in front, never a name.
            parts.append("(?!/)" if parts and parts[-1] == ")?" else "")
            parts.append(rf"{line}(?:\n{line}){{0,{int(token['lines']) - 1}}}")
        else:
            parts.append(_component(token, notation, names))
    return re.compile("".join(parts))


def _component(token: re.Match[str], notation: str, names: Iterator[str]) -> str:
    size, kind = token["size"], token["type"]
    # Optional parts and account lines before a BIC carry no meaning of their own.
    name = "" if "B" in notation else next(names, "")
    if name in {"date", "currency", "country"}:
        return rf"(?P<{name}>[^\n]{{{size}}})"
    if name == "amount":
        return rf"(?P<{name}>[^\n]{{0,{size}}})"
    count = f"{{{size}}}" if token["exact"] else f"{{1,{size}}}"
    body = f"{_SETS[kind]}{count}"
    return f"(?P<{name}>{body})" if name else body


_Check = Callable[[str, "dict[str, str]"], Iterator[tuple["str | None", str]]]


def _check_date(text: str, _: dict[str, str]) -> Iterator[tuple[str | None, str]]:
    if read_date(text) is None:
        yield "T50", "not a date of the form YYMMDD"


def _check_currency(text: str, _: dict[str, str]) -> Iterator[tuple[str | None, str]]:
    if text not in CURRENCIES:
        yield "T52", "not an ISO 4217 currency code"


def _check_amount(text: str, parts: dict[str, str]) -> Iterator[tuple[str | None, str]]:
    found = _AMOUNT.fullmatch(text)
    if not found:
        yield "T43", "an amount is digits with one comma, such as 1000, or 1000,50"
    elif not found[1]:
        yield "T40", "an amount needs a digit before the comma"
    elif len(found[2]) > (places := decimals(parts["currency"])):
        yield "C03", f"more decimals than the {places} of the currency"


def _check_ref(text: str, _: dict[str, str]) -> Iterator[tuple[str | None, str]]:
    if text.startswith("/") or text.endswith("/") or "//" in text:
        yield "T26", "a reference must not start or end with '/' or contain '//'"


def _check_bic(text: str, _: dict[str, str]) -> Iterator[tuple[str | None, str]]:
    if not is_bic(text):
        yield "T27", "not a BIC of 8 or 11 characters"


def _check_country(text: str, _: dict[str, str]) -> Iterator[tuple[str | None, str]]:
    if text not in COUNTRIES:
        yield "T73", "not an ISO 3166 country code"


_CHECKS: dict[str, _Check] = {
    "date": _check_date,
    "currency": _check_currency,
    "amount": _check_amount,
    "ref": _check_ref,
    "bic": _check_bic,
    "country": _check_country,
}


def is_bic(text: str) -> bool:
    """Tell whether the text has the shape of a BIC: bank, known country, location, maybe branch."""
    found = _BIC.fullmatch(text)
    return found is not None and found[1] in COUNTRIES


def read_date(text: str) -> str | None:
    """Return YYMMDD as YYYY-MM-DD (80 to 99 are of the last century), None if it is no date."""
    if not re.fullmatch("[0-9]{6}", text):
        return None
    year = int(text[:2]) + (1900 if int(text[:2]) >= 80 else 2000)
    try:
        return date(year, int(text[2:4]), int(text[4:])).isoformat()
    except ValueError:
        return None
