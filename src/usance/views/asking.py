"""What every question shares: who may see what, cursors, position tokens, flat values."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from usance.engine.projections.projection import Projection, Row
from usance.engine.projections.reading import Order, Reading, ReadStore, Where
from usance.engine.topics import CONTEXT_OF_CATEGORY, CONTEXTS, Topics
from usance.kernel.decider import WITHHELD, Actor, Decider, key_of, key_parts
from usance.kernel.errors import Conflict, NotFound, Unreadable
from usance.kernel.words import text_of
from usance.log.contract import Log, Record, TopicPartition
from usance.messages.decoder import Decoder
from usance.views import results as r
from usance.views.tenancy import key_columns, part_of

COMPLIANCE_ROLES = frozenset({"compliance", "compliance_officer", "auditor"})
"""Roles that may know of cases (tipping-off law); everybody else sees "in process"."""
MANY = 200
"""Most rows of one kind in lists without pages."""
LIMIT_MAX = 1_000

S = TypeVar("S", bound=msgspec.Struct)


def sees_compliance(viewer: Actor) -> bool:
    """Tell whether a viewer may see cases, hits, and the events and commands of compliance."""
    return viewer.role in COMPLIANCE_ROLES


def is_compliance(key: str) -> bool:
    """Tell whether a stream belongs to the compliance context."""
    if key.count("/") < 2:
        return False
    return CONTEXT_OF_CATEGORY.get(key_parts(key).category) == "compliance"


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return a struct or plain value as dotted names and texts; what says nothing is left out.

    A block that is withheld is told by a mark, `[sealed]` or `[erased]`.
    """
    out: dict[str, str] = {}
    _flatten(value, prefix, out)
    return out


def _flatten(value: Any, name: str, out: dict[str, str]) -> None:
    if isinstance(value, WITHHELD):
        out[name] = text_of(value)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            _flatten(getattr(value, field), f"{name}.{field}" if name else field, out)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else str(key), out)
    elif isinstance(value, list | tuple):
        if value and all(isinstance(v, str | int) for v in value):
            out[name] = ", ".join(_text(v) for v in value)
        else:
            for number, inner in enumerate(value, 1):
                _flatten(inner, f"{name}.{number}", out)
    elif value not in (None, ""):
        out[name] = _text(msgspec.to_builtins(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def made(cls: type[S], row: Row, /, **more: Any) -> S:
    """Return a struct from the columns of its fields' names, and values given by name."""
    names = cls.__struct_fields__
    found = {name: row[name] for name in names if name in row and name not in more}
    return cls(**found, **more)


def loads(text: str, empty: str) -> Any:
    """Return the value of a JSON column; `empty` stands for a column that says nothing."""
    return msgspec.json.decode(text or empty)


class Asking:
    """The ground under the questions; safe across threads."""

    def __init__(
        self,
        store: ReadStore,
        log: Log,
        decoder: Decoder,
        topics: Topics,
        deciders: Mapping[str, Decider[Any]],
        *,
        definitions: Mapping[str, Any] | None = None,
        projections: Sequence[Projection] = (),
        tenant: str = "",
    ) -> None:
        self.store = store
        self.log = log
        self.decoder = decoder
        self.topics = topics
        self.deciders = deciders
        self.definitions = definitions or {}
        self.tenant = tenant
        self._key_columns = key_columns(projections)
        store.know(projections)

    @contextmanager
    def reading(self, viewer: Actor) -> Iterator[Reading]:
        """Open the views for a viewer: the one place that decides who may see which tables."""
        with self.store.reading(restricted=sees_compliance(viewer)) as reading:
            yield part_of(reading, self.tenant, self._key_columns) if self.tenant else reading

    def key(self, category: str, reference: str, tenant: str) -> str:
        """Return the aggregate key of a reference; a whole key is returned as it is.

        Raises NotFound for the key of another tenant.
        """
        if reference.count("/") < 2:
            return key_of(tenant, category, reference)
        whose = reference.partition("/")[0]
        if whose != tenant:
            raise NotFound(
                f"{reference} is not in the book of {tenant}", hint=f"Say --tenant {whose}."
            )
        return reference

    # -- pages

    def page_of(
        self,
        reading: Reading,
        table: str,
        where: Sequence[Where],
        order: Sequence[Order],
        cursor: str,
        limit: int,
    ) -> tuple[list[Row], r.Page]:
        """Return one page of rows in order, and where it stands."""
        limit = max(1, min(limit, LIMIT_MAX))
        tag = ",".join(f"{o.column}{'-' if o.down else ''}" for o in order)
        after = _opened(cursor, tag)
        rows = reading.select(table, where, order, limit + 1, after)
        following = ""
        if len(rows) > limit:
            rows = rows[:limit]
            following = _closed(tag, [rows[-1][o.column] for o in order])
        return rows, r.Page(cursor=following, position=self.token(reading))

    def here(self, reading: Reading) -> r.Page:
        """Return a page without following rows."""
        return r.Page(position=self.token(reading))

    # -- positions

    def token(self, reading: Reading) -> str:
        """Return what every view has taken in: `trade.p0#12,trade.p1#7@<log id>`."""
        lowest = _lowest(reading)
        parts = []
        for place, indexed in sorted(lowest.items()):
            context = self.topics.context_of(place.topic)
            if indexed > 0 and context == "trade":
                parts.append(f"{context}.p{place.partition}#{indexed - 1}")
        return f"{','.join(parts)}@{reading.log_id()}" if parts else ""

    def position(self) -> str:
        """Return the token of what every view has taken in."""
        with self.store.reading() as reading:
            return self.token(reading)

    def wait_for(self, position: str, timeout: float) -> bool:
        """Wait until every view has taken in a position; False after `timeout` seconds.

        `position` is `context.p<partition>#<index>`, several with commas, with `@<log id>` or
        without. Raises Unreadable for another form, Conflict when it is of another log.
        """
        wanted, log_id = self._wanted(position)

        def reached() -> bool:
            with self.store.reading() as reading:
                if log_id and reading.log_id() != log_id:
                    raise Conflict(
                        "the position is of another log",
                        hint="ask again without it, and keep the position of the new answer",
                    )
                lowest = _lowest(reading)
            return all(lowest.get(place, 0) > index for place, index in wanted.items())

        return self.store.wait(reached, timeout)

    def _wanted(self, position: str) -> tuple[dict[TopicPartition, int], str]:
        text, _, log_id = position.strip().strip('"').partition("@")
        wanted: dict[TopicPartition, int] = {}
        for part in filter(None, text.replace(" ", "").split(",")):
            where, _, index = part.partition("#")
            context, _, number = where.partition(".p")
            if context not in CONTEXTS or not (number.isdecimal() and index.isdecimal()):
                raise Unreadable(
                    "validate",
                    "this is no position",
                    hint="a position is such as trade.p1#9241; several are joined by commas",
                )
            if int(number) >= self.topics.count(context):
                raise Unreadable(
                    "validate",
                    "the log has no such partition",
                    hint="use the position that the last answer gave",
                )
            wanted[self.topics.at(context, "events", int(number))] = int(index)
        return wanted, log_id

    # -- the log

    def record_at(self, topic: str, partition: int, offset: int) -> Record:
        """Return one record; raises NotFound when the log does not keep it any more."""
        place = TopicPartition(topic, partition)
        for record in self.log.scan(place, offset, offset + 1, 1):
            if record.offset == offset:
                return record
        raise NotFound(
            f"the log holds no record {offset} in {topic} partition {partition} any more",
            hint="it is beyond the topic's retention: look into a backup",
        )

    def message_of(self, row: Row) -> Any:
        """Return the decoded event that a row of the history points to."""
        record = self.record_at(row["topic"], row["partition"], row["offset"])
        return self.decoder.message(record.headers, record.value)


def _lowest(reading: Reading) -> dict[TopicPartition, int]:
    """Return the next index of each events partition, by the view that is furthest behind."""
    lowest: dict[TopicPartition, int] = {}
    for checkpoints in reading.checkpoints().values():
        for place, checkpoint in checkpoints.items():
            if place.topic.endswith(".events"):
                known = lowest.get(place, checkpoint.indexed)
                lowest[place] = min(known, checkpoint.indexed)
    return lowest


def _closed(tag: str, values: list[Any]) -> str:
    return urlsafe_b64encode(msgspec.json.encode([tag, *values])).decode().rstrip("=")


def _opened(cursor: str, tag: str) -> list[Any]:
    if not cursor:
        return []
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        found, *values = msgspec.json.decode(raw, type=list[str | int])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise _bad_cursor() from error
    if found != tag or len(values) != tag.count(",") + 1:
        raise _bad_cursor()
    return values


def _bad_cursor() -> Unreadable:
    return Unreadable(
        "validate",
        "the cursor does not belong to this list",
        hint="begin again without it",
    )
