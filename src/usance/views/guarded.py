"""What is data of compliance: the one place that says so, for every way by which something is shown.

Cases, screenings and accesses have streams of their own, and whatever is told of them names the stream. So a look
is found by what is about to be shown, not by who remembered to declare it: the command line asks here before
anything is printed (`cli.show`), console and API before anything is answered (`web.looks`).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from usance.engine.topics import ACCESS, CONTEXT_OF_CATEGORY
from usance.kernel.decider import Actor
from usance.views.asking import COMPLIANCE_ROLES
from usance.views.asking_access import AUDITORS

COMPLIANCE = "compliance"
FOR_EVERYBODY = frozenset(("glass",))
"""Whose glass is broken stands on every page, on purpose."""
CATEGORIES = tuple(
    sorted(
        category
        for category, context in CONTEXT_OF_CATEGORY.items()
        if context in (COMPLIANCE, ACCESS) and category not in FOR_EVERYBODY
    )
)
"""Categories of the streams that are for some alone: knowing that one is there is knowing something."""

_STREAM = re.compile(rf"(?<![/\w.-])[\w.-]+/(?:{'|'.join(CATEGORIES)})/[^\"'\s,;)\]}}\\]+".encode())
"""A key `tenant/category/identity` wherever it stands; a path of files has something before its tenant."""


def streams_in(*told: Any) -> list[str]:
    """Return the streams of compliance that stand in what is about to be shown, each once.

    Anything may be given: what is no JSON is looked at as Python shows it.
    """
    raw = msgspec.json.encode(told, enc_hook=repr)
    return list(dict.fromkeys(found.decode() for found in _STREAM.findall(raw)))


def masked(text: str) -> str:
    """Return a text without the streams of compliance that it names."""
    return _STREAM.sub(b"(a stream of compliance)", text.encode()).decode()


def context_of(place: str) -> str:
    """Return the context of a topic, or of a tree's folder: `usance.trade.events`, `trade.events/p000`."""
    words = place.partition("/")[0].split(".")
    return words[-2] if len(words) > 1 else ""


def is_guarded(place: str) -> bool:
    """Tell whether a topic or tree holds data of compliance: to read it is a look."""
    return context_of(place) in (COMPLIANCE, ACCESS)


def roles_for(place: str) -> frozenset[str]:
    """Return who may read a guarded topic or tree."""
    return AUDITORS if context_of(place) == ACCESS else COMPLIANCE_ROLES


def may_read(viewer: Actor, place: str) -> bool:
    """Tell whether a viewer may read a topic or tree at all."""
    return not is_guarded(place) or viewer.role in roles_for(place)
