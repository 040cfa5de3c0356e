"""What the read side answers about accesses."""

from __future__ import annotations

import msgspec

from usance.views.results_history import Page


class AccessFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which accesses; empty fields do not filter. Instants are ms UTC.

    `kind`: look | reveal | export | denied | glass.
    """

    person: str = ""
    credit: str = ""
    kind: str = ""
    action: str = ""
    since: int = 0
    until: int = 0


class AccessRow(msgspec.Struct, frozen=True, kw_only=True):
    """One access of a person, or one denial.

    `resource` is what was looked at or acted upon, `code` and `cause` why it was denied. `number` counts a
    person's denials under a code within a minute, `unrecorded` those that were only counted before this one.
    """

    event_id: str
    kind: str
    person: str
    role: str
    action: str
    resource: str
    credit: str
    code: str
    cause: str
    source: str
    instant: int
    number: int
    unrecorded: int
    reasoned: bool
    command_id: str


class AccessPage(msgspec.Struct, frozen=True, kw_only=True):
    """Accesses, newest first."""

    rows: list[AccessRow]
    page: Page


class AccessDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One access, with its reason where one was given, and where its event stands in the log."""

    row: AccessRow
    reason: str
    stream: str
    place: str
    envelope_hash: str


class GlassRow(msgspec.Struct, frozen=True, kw_only=True):
    """One time that somebody broke the glass. `state`: open | closed | reviewed; `used` tells the acts taken."""

    key: str
    number: int
    person: str
    role: str
    acts: str
    scope: str
    incident: str
    state: str
    since: int
    until: int
    review_due: int
    closed: int
    uses: int
    used: str
    overdue: bool
    reviewer: str
    justified: bool
