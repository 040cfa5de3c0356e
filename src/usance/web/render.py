"""From answers to HTML: one template environment, and how amounts, dates and states are written."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from usance.domain.calendars import calendar
from usance.kernel.clock import MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE
from usance.kernel.decider import key_parts
from usance.kernel.money import format_minor
from usance.web.tag_names import tag_name

_ABBREVIATIONS = {w.lower(): w for w in ("HS", "BIC", "FIN", "FOB", "ID", "LEI", "SHA-256", "UETR")}
_PATHS = {
    "credit": "/credits",
    "presentation": "/presentations",
    "facility": "/facilities",
    "saga": "/sagas",
    "case": "/cases",
    "message": "/messages",
}
"""Where a page about an aggregate stands, by category."""


def money(minor: int, currency: str) -> Markup:
    """Return `USD 1,000.00` as markup whose figures stay in one piece."""
    text = format_minor(minor, currency)
    return Markup('<span class="amount"><abbr>{}</abbr> {}</span>').format(currency, text)


def figure(minor: int, currency: str) -> str:
    """Return the figure alone, such as `1,000.00`."""
    return format_minor(minor, currency)


def day(text: str, *, weekday: bool = False) -> str:
    """Return `27 Nov 2026` of YYYY-MM-DD; text that is no date comes back as it is."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{found:%a} {found.day} {found:%b %Y}" if weekday else f"{found.day} {found:%b %Y}"


def instant(ms: int, *, weekday: bool = False) -> str:
    """Return `27 Nov 2026 14:03 UTC` of ms UTC; a dash where there is none."""
    if not ms:
        return "–"
    when = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{day(when.date().isoformat(), weekday=weekday)} {when:%H:%M} UTC"


def span(ms: int) -> str:
    """Return a length of time in its two largest units, such as `2 d 4 h`."""
    ms = abs(ms)
    days, hours, minutes = ms // MS_PER_DAY, ms // MS_PER_HOUR % 24, ms // MS_PER_MINUTE % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline as the chip shows it. `tone`: calm | soon | late | done."""

    tone: str
    words: str
    local: str
    title: str


def deadline(due: int, now: int, calendar_id: str = "", article: str = "UCP600-14b") -> Deadline:
    """Return how a deadline stands, in banking days where its calendar is known."""
    left = due - now
    when, local = datetime.fromtimestamp(due / 1000, UTC), instant(due, weekday=True)
    words = f"{span(left)} left" if left >= 0 else f"{span(left)} over"
    days = left / MS_PER_DAY
    if calendar_id:
        try:
            place = calendar(calendar_id)
        except (KeyError, ValueError, LookupError):
            place = None
        if place is not None:
            here = when.astimezone(place.zone)
            local = f"{day(here.date().isoformat(), weekday=True)} {here:%H:%M} {calendar_id}"
            count, step = 0, datetime.fromtimestamp(now / 1000, UTC).astimezone(place.zone).date()
            while left >= 0 and (step := place.next_banking_day(step)) <= here.date():
                count += 1
            if left >= 0:
                words = f"{count} banking day{'s' if count != 1 else ''} left" if count else "today"
                days = count + 0.0
    tone = "late" if left < 0 or days <= 1 else "soon" if days <= 2 else "calm"
    title = f"Due {local}; {article}. " + ("Missed." if left < 0 else f"{span(left)} by the clock.")
    return Deadline(tone=tone, words=words, local=local, title=title)


AMOUNTS = frozenset(
    """additional_amount amount decrease increase limit liability liability_change margin
    unit_price""".split()
)
"""Names of fields that hold minor units."""


def fact(value: Any, name: str, currency: str) -> Any:
    """Return a field as people read it: amounts, dates and yes by its name, the rest as it is."""
    last = name.rpartition(".")[2]
    if last in AMOUNTS and currency and str(value).lstrip("-").isdigit():
        return money(int(value), currency)
    if value is True:
        return "yes"
    return day(str(value), weekday="expiry" in last or "shipment" in last)


def basis(value: Any) -> str:
    """Return ten-thousandths as per cent: 9000 is `90 %`, -1000 is `−10 %`."""
    try:
        hundredths = int(value)
    except (TypeError, ValueError):
        return str(value)
    sign, whole = ("−" if hundredths < 0 else ""), abs(hundredths)
    rest = f"{whole % 100:02d}".rstrip("0")
    return f"{sign}{whole // 100}{'.' + rest if rest else ''} %"


def words(text: str) -> str:
    """Return a code as words: `IN_PROCESS` and `presentAtOnce` are `in process`, `present at once`."""
    spaced = "".join(f" {c}" if c.isupper() and not text.isupper() else c for c in text)
    return spaced.replace("_", " ").strip().lower()


def label(text: str) -> str:
    """Return a code as the name of a fact: `hs_code` is `HS code`."""
    spoken = " ".join(_ABBREVIATIONS.get(word, word) for word in words(text).split())
    return spoken[:1].upper() + spoken[1:]


def path_of(key: str) -> str:
    """Return the address of the page about an aggregate key; empty where there is none."""
    if key.count("/") < 2:
        return ""
    parts = key_parts(key)
    if parts.category == "glass":
        return "/glass"
    base = _PATHS.get(parts.category)
    return f"{base}/{quote(parts.identity)}" if base else ""


def reference(key: str) -> str:
    """Return the identity in an aggregate key; other text as it is."""
    return key_parts(key).identity if key.count("/") >= 2 else key


def link(key: str, text: str = "") -> Markup:
    """Return an aggregate's reference as a link to its page."""
    path, shown = path_of(key), text or reference(key)
    if not path:
        return Markup('<span class="id">{}</span>').format(shown)
    return Markup('<a class="id" href="{}">{}</a>').format(path, shown)


_CAUSES = {
    "intake": "the gateway",
    "person": "a person",
    "operator": "an operator",
    "api": "the API",
    "check": "screening",
    "timer": "a timer",
}
"""Who a cause is, by the word before its colon; events and sagas are links of their own."""


def cause(text: str) -> Markup:
    """Return what caused an event as an arrow from there: a link where it is an event or a saga."""
    kind, _, rest = text.partition(":")
    if kind == "event":
        words = Markup('<a href="/events/{}">event {}</a>').format(quote(rest, safe=""), rest[:8])
    elif kind == "saga" and path_of(rest):
        words = Markup('<a href="{}">saga</a>').format(path_of(rest))
    elif kind in _CAUSES:
        words = escape(_CAUSES[kind])
    else:
        return Markup("")
    return Markup('<span title="Caused by {}">← {}</span>').format(text, words)


def identifier(text: str, keep: int = 0) -> Markup:
    """Return an id in monospace with a copy button; `keep` shortens what is shown."""
    if not text:
        return Markup('<span class="none">–</span>')
    shown = text if not keep or len(text) <= keep + 1 else f"{text[:keep]}…"
    return Markup(
        '<code class="id" title="{0}">{1}</code><copy-id data-text="{0}"></copy-id>'
    ).format(text, shown)


_GOOD = frozenset(
    """accepted acked issued advised confirmed approved completed honoured settled complies complying live
    used ready works paid done redriven clear negotiated""".split()
)
_BAD = frozenset(
    """refused rejected naked precluded failed discrepant dead-lettered blocked discarded
    compensated declined overdue parked open-incident conflict stuck waits""".split()
)
_WAITS = frozenset(
    """in_process awaiting_approval waiting requested running compensating submitted received queued
    sent examining examined waiver_sought current building proposed reserved authenticated
    open""".split()
)


def state(text: str) -> Markup:
    """Return a state as a mark with a sign, so that colour never speaks alone."""
    low = text.lower()
    tone, sign = (
        ("good", "✓")
        if low in _GOOD
        else ("bad", "✕")
        if low in _BAD
        else ("wait", "◷")
        if low in _WAITS
        else ("plain", "·")
    )
    return Markup('<span class="state {}"><i aria-hidden="true">{}</i>{}</span>').format(
        tone, sign, words(text)
    )


def with_query(path: str, have: dict[str, str], **change: Any) -> str:
    """Return an address with some query parameters changed; None and empty take one away."""
    kept = have | {k: str(v) for k, v in change.items() if v is not None}
    pairs = [(k, v) for k, v in kept.items() if v != "" and change.get(k, "") is not None]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def after(back: str, command_id: str, position: str) -> str:
    """Return where to go after an act: back, with the outcome to show and the position to await."""
    parts = urlsplit(back)
    have = {k: v for k, v in parse_qsl(parts.query) if k not in ("outcome", "at")}
    return with_query(parts.path, have, outcome=command_id, at=position or None)


def pretty(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False)


@cache
def environment() -> Environment:
    """Return the template environment: everything is escaped, an unknown name is an error."""
    env = Environment(
        loader=PackageLoader("usance.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {
        "money": money,
        "figure": figure,
        "day": day,
        "instant": instant,
        "span": span,
        "words": words,
        "label": label,
        "fact": fact,
        "basis": basis,
        "tag_name": tag_name,
        "link": link,
        "path_of": path_of,
        "cause": cause,
        "id": identifier,
        "state": state,
        "pretty": pretty,
        "reference": reference,
        "quote": lambda text: quote(str(text), safe=""),
    }
    env.globals |= {"deadline": deadline, "with_query": with_query}
    return env


def render(template: str, **context: Any) -> str:
    """Return a page."""
    return environment().get_template(template).render(**context)
