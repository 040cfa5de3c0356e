"""What the read side answers about the past, and what all answers share."""

from __future__ import annotations

import msgspec


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where a list stands: pass `cursor` on for the next rows; empty when these are the last.

    `position` is the token of what the view has taken in (`trade.p0#12,trade.p1#7`).
    """

    cursor: str = ""
    position: str = ""


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream. `sentence` is for a trade officer; `article` its source, if any.

    `message` is the reference (MUR) of a FIN message that this event sent or answers.
    """

    event_id: str
    stream: str
    revision: int
    type: str
    instant: int
    actor: str
    role: str
    topic: str
    partition: int
    offset: int
    index: int
    hash_prefix: str
    command_id: str
    correlation: str
    causation: str
    sentence: str
    article: str
    message: str


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The history of one stream, oldest first."""

    key: str
    entries: list[TimelineEntry]
    page: Page


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A field that an event changed; texts are as shown, empty: not there."""

    field: str
    before: str
    after: str


class StateAt(msgspec.Struct, frozen=True, kw_only=True):
    """The state after event `revision` (0: before any), flattened to dotted names, in order.

    `changed` compares with `revision` - 1; `latest` is the newest revision.
    """

    key: str
    revision: int
    latest: int
    event: TimelineEntry | None
    state: dict[str, str]
    changed: list[Change]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; empty fields do not filter. `since` and `until` are instants."""

    stream: str = ""
    type: str = ""
    correlation: str = ""
    command_id: str = ""
    actor: str = ""
    since: int = 0
    until: int = 0


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first."""

    rows: list[TimelineEntry]
    page: Page


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its decoded content (flattened to dotted names) and its headers."""

    entry: TimelineEntry
    content: dict[str, str]
    meta: dict[str, str]
    envelope_hash: str


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a second person approves: exactly this content, bound by hash and revision.

    `kind`: credit | amendment | void | take_up | saga_act | case | list. `number` is an amendment's.
    `content` are the facts as name and text. `self_made`: the viewer made it and cannot approve it.
    """

    id: str
    kind: str
    key: str
    reference: str
    revision: int
    content_hash: str
    maker: str
    requested: int
    tier: str
    currency: str
    amount: int
    number: int
    act_id: str
    title: str
    content: dict[str, str]
    self_made: bool
