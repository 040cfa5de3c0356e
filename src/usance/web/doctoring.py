"""The page of findings: what `usance doctor` finds, seen from within the running program."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from usance.bootstrap.accessing import Look, denied
from usance.bootstrap.doctor import served
from usance.bootstrap.packs.pack_serving import Serving
from usance.engine.findings import AREAS, Finding
from usance.kernel.decider import Actor
from usance.kernel.errors import NotFound
from usance.web.pages import Page, Shown, Visit

READERS = frozenset(("engineer", "auditor", "compliance_officer"))
"""Who sees what is wrong with the program: whoever mends it, and whoever answers for it."""


class FindingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `severity`: ok | warning | wrong | unsafe | tampered; `command` mends it."""

    area: str
    code: str
    severity: str
    check: str
    found: str
    command: str
    hint: str


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All findings, what is worst first, and how many are of each severity."""

    counts: dict[str, int]
    rows: list[FindingRow]


def demand_reader(viewer: Actor) -> None:
    """Raise Refused for a role that the page is not for."""
    if viewer.role not in READERS:
        raise denied(Look("doctor"), READERS)


def doctor(visit: Visit) -> Shown:
    """What is wrong with machine, log, keys, proof and access, with the command that mends it; `area` filters."""
    demand_reader(visit.viewer)
    area = visit.query.get("area", "")
    if area and area not in AREAS:
        raise NotFound(f"there is no area {area[:40]}", hint=f"There are: {', '.join(AREAS)}.")
    program = cast("Serving", visit.backend)
    found = served(program.store, program.settings, program.clock)
    rows = [_row(f) for f in found if area in ("", f.area)]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.severity] = counts.get(row.severity, 0) + 1
    extra: dict[str, Any] = {"areas": AREAS, "area": area}
    return Shown(Findings(counts=counts, rows=rows), extra)


def _row(found: Finding) -> FindingRow:
    return FindingRow(**found._asdict())


PAGE = Page("/doctor", "doctor.html", "Doctor", doctor, Findings)
