"""How far everybody is behind: groups per partition, read models, and what consume groups set aside."""

from __future__ import annotations

import msgspec

from usance.bootstrap import operating as doing
from usance.bootstrap.observing import behind
from usance.engine.groups import groups, operating
from usance.log.contract import Log
from usance.views.asking import sees_compliance
from usance.web.flowing import Moment, flow_of, sparkline
from usance.web.pages import Shown, Visit


class LagFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`group` shows one group alone; `behind` only where something is unread."""

    group: str = ""
    behind: bool = False


class GroupLag(msgspec.Struct, frozen=True, kw_only=True):
    """A group in one partition: records unread, and the age of the first of them in seconds."""

    group: str
    topic: str
    partition: int
    position: int
    end: int
    records: int
    seconds: int


class ViewLag(msgspec.Struct, frozen=True, kw_only=True):
    """A read model over all partitions that it follows."""

    name: str
    records: int
    seconds: int


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """What a consume group set aside: dead letters still open, parked keys, records behind them."""

    group: str
    reads: list[str]
    open_letters: int
    letters: int
    parked_keys: int
    waiting: int


class Lags(msgspec.Struct, frozen=True, kw_only=True):
    """Who is behind, and by how much."""

    groups: list[GroupLag]
    views: list[ViewLag]
    consume_groups: list[Aside]
    flow: list[Moment]


def lag(visit: Visit) -> Shown:
    """Lag per group and partition in records and seconds, per read model, and what was set aside."""
    wanted = visit.wanted(LagFilter)
    log, namespace = visit.queries.log, visit.queries.topics.namespace
    hides = not sees_compliance(visit.viewer)
    found = [
        GroupLag(**one._asdict())
        for one in doing.lags(log, namespace, visit.now, wanted.group)
        if (one.records or not wanted.behind) and not (hides and ".compliance." in one.topic)
    ]
    result = Lags(
        groups=found,
        views=_views(visit),
        consume_groups=_aside(log, namespace, hides),
        flow=list(flow_of(visit.backend).moments),
    )
    extra = {"wanted": wanted, "names": sorted({one.group for one in found})}
    return Shown(result, extra | {"strip": _strip(result.flow)})


def _strip(flow: list[Moment]) -> list[tuple[str, int, str]]:
    """Return name, newest value and points of each line of the flow strip."""
    found = []
    for name in ("commands_per_s", "events_per_s", "lag_s", "dead_letters", "parked_keys"):
        values = [getattr(moment, name) for moment in flow]
        if values:
            found.append((name, values[-1], sparkline(values)))
    return found


def _views(visit: Visit) -> list[ViewLag]:
    log = visit.queries.log
    with visit.queries.reading(visit.viewer) as reading:
        checkpoints = reading.checkpoints()
    found = []
    for name, places in sorted(checkpoints.items()):
        ends = log.ends(places)
        late = [behind(log, p, at.offset, ends[p], visit.now) for p, at in places.items()]
        records, seconds = sum(n for n, _ in late), max((s for _, s in late), default=0.0)
        found.append(ViewLag(name=name, records=records, seconds=round(seconds)))
    return found


def _aside(log: Log, namespace: str, hides: bool) -> list[Aside]:
    found = []
    for group in groups.all_groups(log, namespace):
        reads = [one.topic for one in group.inputs]
        if hides and any(".compliance." in topic for topic in reads):
            continue
        letters, parks = operating.letters(log, group), operating.parks(log, group)
        found.append(
            Aside(
                group=group.name,
                reads=reads,
                open_letters=sum(one.open for one in letters),
                letters=len(letters),
                parked_keys=len(parks),
                waiting=sum(one.waiting for one in parks),
            )
        )
    return found
