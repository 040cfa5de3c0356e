"""Layouts: which fields a message type has, in which order, in a given standards release."""

from __future__ import annotations

import re
from functools import cache

import msgspec

from usance.kernel.errors import Refused
from usance.messages.swift.tables import FORMATS, LAYOUTS

RELEASES = tuple(f"SR{year}" for year in range(2018, 2027))
"""The standards releases that can be read and checked; the last one is the one we write."""

CURRENT = RELEASES[-1]

_TOKEN = re.compile(
    r"\((?P<group>[a-z-]+)|(?P<end>\)\??)|(?P<number>\d\d)(?P<options>[A-Z]*)(?P<many>[?*]?)"
)


class Slot(msgspec.Struct, frozen=True):
    """One place in a layout: the tags that may stand there, its group's name or empty."""

    tags: tuple[str, ...]
    mandatory: bool
    repeats: bool
    group: str

    @property
    def name(self) -> str:
        """Return the field as people write it, such as 41a for one of 41A and 41D."""
        return self.tags[0] if len(self.tags) == 1 else f"{self.tags[0][:2]}a"


class Layout(msgspec.Struct, frozen=True):
    """A message type's slots in order; `optional_groups` may be left out as a whole."""

    slots: tuple[Slot, ...]
    index: dict[str, int]
    optional_groups: frozenset[str]


def year_of(release: str) -> int:
    """Return a release's year, such as 2026 for SR2026; raises Refused("UNKNOWN_RELEASE")."""
    if release not in RELEASES:
        raise Refused(
            "UNKNOWN_RELEASE",
            "this standards release is not known",
            hint=f"use one of {RELEASES[0]} to {RELEASES[-1]}",
        )
    return int(release[2:])


@cache
def layout(message_type: str, release: str) -> Layout | None:
    """Return the layout of a type (three digits) in a release, None if there is no table."""
    versions = LAYOUTS.get(message_type)
    return None if versions is None else _compiled(_in_force(versions, year_of(release)))


def format_of(tag: str, release: str) -> tuple[str, tuple[str, ...]]:
    """Return a field's notation and the meanings of its first components."""
    return _formats(release)[tag]


@cache
def _formats(release: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    formats: dict[str, tuple[str, tuple[str, ...]]] = {}
    for first, text in sorted(FORMATS.items()):
        rows = text.strip().splitlines() if first <= year_of(release) else []
        for row in rows:
            tags, _, rest = row.partition(": ")
            notation, *meanings = rest.split()
            formats |= dict.fromkeys(tags.split(), (notation, tuple(meanings)))
    return formats


def releases_with(message_type: str, tag: str) -> tuple[str, ...]:
    """Return the releases in which a type has the field, oldest first."""
    found = []
    for release in RELEASES:
        table = layout(message_type, release)
        if table and tag in table.index:
            found.append(release)
    return tuple(found)


def _in_force(versions: dict[int, str], year: int) -> str:
    return versions[max(first for first in versions if first <= year)]


@cache
def _compiled(text: str) -> Layout:
    slots: list[Slot] = []
    optional: set[str] = set()
    group = ""
    for token in _TOKEN.finditer(text):
        if token["group"]:
            group = token["group"]
        elif token["end"]:
            if token["end"] == ")?":
                optional.add(group)
            group = ""
        else:
            tags = tuple(token["number"] + option for option in token["options"] or ("",))
            slots.append(Slot(tags, token["many"] != "?", token["many"] == "*", group))
    index = {tag: place for place, slot in enumerate(slots) for tag in slot.tags}
    return Layout(tuple(slots), index, frozenset(optional))
