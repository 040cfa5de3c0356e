"""Checking one message against the tables: fields, order, formats, network rules."""

from __future__ import annotations

from bisect import bisect_left

from usance.messages.swift.fin import Field, Message
from usance.messages.swift.findings import Finding
from usance.messages.swift.formats import check_field
from usance.messages.swift.layouts import (
    CURRENT,
    Layout,
    Slot,
    format_of,
    layout,
    releases_with,
    year_of,
)
from usance.messages.swift.network_rules import RULES, View

TEXT_LIMIT = 10_000
"""Characters of block 4, line ends counted as two, of a category 7 message."""


def validate(message: Message, release: str = CURRENT) -> list[Finding]:
    """Return every rule that the message breaks in a release, in line order, each rule once.

    Raises Refused("UNKNOWN_RELEASE").
    """
    year = year_of(release)
    kind = message.type
    table = layout(kind, release) if kind and not message.tagged else None
    if kind is None or table is None:
        name = f"MT{kind}" if kind else "service messages"
        return [_whole("layout", f"no layout is known for {name}; its fields are readable")]
    findings = [
        *_text_limit(message.fields),
        *_unknown(message.fields, kind, table),
        *_order(message.fields, table),
        *_missing(message.fields, table),
    ]
    view = View(tuple(field for field in message.fields if field.tag in table.index), year)
    broken = [finding for rule in RULES[kind] if (finding := rule(view))]
    formats = [
        finding
        for field in message.fields
        if field.tag in table.index
        for finding in check_field(field, *format_of(field.tag, release))
    ]
    return _in_order(findings + _one_each(formats, broken))


def _one_each(formats: list[Finding], broken: list[Finding]) -> list[Finding]:
    """Join findings of format and of code words: a wrong word is one mistake, whatever its length."""
    coded = {f.tag for f in broken if f.rule.startswith("code-")}
    kept = [f for f in formats if f.rule != f"format-{f.tag}" or f.tag not in coded]
    odd = {f.tag for f in kept if f.rule == f"charset-{f.tag}"}
    return kept + [f for f in broken if not (f.rule.startswith("code-") and f.tag in odd)]


def _in_order(findings: list[Finding]) -> list[Finding]:
    """Return findings by line (those of the whole message first), each rule at its first place."""
    once: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda finding: finding.line or 0):
        once.setdefault(finding.rule, finding)
    return list(once.values())


def _whole(rule: str, text: str) -> Finding:
    return Finding(code=None, tag=None, line=None, rule=rule, message=text)


def _text_limit(fields: tuple[Field, ...]) -> list[Finding]:
    size = 2
    for field in fields:
        size += len(field.tag) + len(field.value) + field.value.count("\n") + 4
        if size > TEXT_LIMIT:
            text = f"the text is longer than {TEXT_LIMIT:,} characters: use a second message"
            return [_finding("M50", field, "length", text)]
    return []


def _unknown(fields: tuple[Field, ...], kind: str, table: Layout) -> list[Finding]:
    """Name fields that the type does not have; a party written as in another release once."""
    findings, before = [], ""
    for field in fields:
        tag = field.tag
        known = () if tag in table.index else releases_with(kind, tag)
        if tag not in table.index and not (known and tag[:2] == before):
            text = f"{tag} is no field of MT{kind} in this release{_advice(tag, known, table)}"
            findings.append(_finding("T13", field, f"unknown-{tag}", text))
        before = tag[:2] if known else ""
    return findings


def _advice(tag: str, known: tuple[str, ...], table: Layout) -> str:
    """Say where an unknown field is known, and which fields to use in its place."""
    text = ""
    if known:
        text = (
            f" (known from {known[0]} to {known[-1]})" if len(known) > 1 else f" ({known[0]} only)"
        )
    # 50 is the applicant and 50B the issuer: their groups have letters of their own.
    instead = [
        other
        for other, place in table.index.items()
        if other[:2] == tag[:2] and (table.slots[place].group == "issuer") == (tag == "50B")
    ]
    return f"{text}: use {', '.join(instead)}" if instead else f"{text}: take it out"


def _finding(code: str, field: Field, rule: str, text: str) -> Finding:
    return Finding(code=code, tag=field.tag, line=field.line, rule=rule, message=text)


def _order(fields: tuple[Field, ...], table: Layout) -> list[Finding]:
    """Name fields that stand twice, and of the others those outside the longest run in order."""
    findings, once, seen = [], [], set()
    for field in fields:
        place = table.index.get(field.tag)
        if place is None:
            continue
        slot = table.slots[place]
        if place in seen and not slot.repeats:
            findings.append(_misplaced("repeat", slot, field, "may stand once only: take one out"))
        else:
            once.append((place, field))
        seen.add(place)
    kept = _longest_run([place for place, _ in once])
    for position, (place, field) in enumerate(once):
        if position not in kept:
            text = "does not stand in its place in the order of fields: move it"
            findings.append(_misplaced("order", table.slots[place], field, text))
    return findings


def _misplaced(rule: str, slot: Slot, field: Field, text: str) -> Finding:
    return _finding("T13", field, f"{rule}-{slot.name}", f"{slot.name} {text}")


def _longest_run(places: list[int]) -> set[int]:
    """Return the positions of a longest non-decreasing subsequence (patience sorting)."""
    ends: list[tuple[int, int]] = []
    previous: list[int] = []
    for position, place in enumerate(places):
        pile = bisect_left(ends, (place, position))
        previous.append(ends[pile - 1][1] if pile else -1)
        ends[pile : pile + 1] = [(place, position)]
    kept: set[int] = set()
    position = ends[-1][1] if ends else -1
    while position >= 0:
        kept.add(position)
        position = previous[position]
    return kept


def _missing(fields: tuple[Field, ...], table: Layout) -> list[Finding]:
    """Name mandatory fields that are absent, at the line where each should have begun.

    A group that is absent as a whole is named by its first field. A field that stands there with an
    option that the type does not have is named as that.
    """
    numbers = {field.tag[:2] for field in fields if field.tag not in table.index}
    present = {table.index[field.tag] for field in fields if field.tag in table.index}
    groups = {table.slots[place].group for place in present}
    skipped = table.optional_groups - groups
    findings = []
    for place, slot in enumerate(table.slots):
        if not slot.mandatory or place in present or slot.group in skipped:
            continue
        if slot.name.endswith("a") and slot.name[:2] in numbers:
            continue
        if slot.group and slot.group not in groups:
            skipped |= {slot.group}
        findings.append(
            Finding(
                code="T13",
                tag=slot.name,
                line=_line_of(place, fields, table),
                rule=f"mandatory-{slot.name}",
                message=_demand(slot, table, slot.group in skipped),
            )
        )
    return findings


def _demand(slot: Slot, table: Layout, whole: bool) -> str:
    if not slot.group:
        return f"{slot.name} is mandatory: add it"
    if not whole:
        return f"{slot.name} is mandatory in the group {slot.group}: add it"
    needed = [each.name for each in table.slots if each.group == slot.group and each.mandatory]
    return f"the group {slot.group} is mandatory: add {', '.join(needed)}"


def _line_of(place: int, fields: tuple[Field, ...], table: Layout) -> int:
    for field in fields:
        if table.index.get(field.tag, -1) > place:
            return field.line
    last = fields[-1] if fields else Field("", "", 0)
    return last.line + last.value.count("\n") + 1
