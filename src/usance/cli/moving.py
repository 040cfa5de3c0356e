"""`usance topic|lag`: the log's topics, where groups stand in them, and how they are moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from usance.bootstrap import care, operating
from usance.bootstrap.desk import Desk
from usance.cli.group_letters import moment
from usance.cli.opening import Looking, folder, looking
from usance.cli.opening import settings as effective_settings
from usance.cli.options import Noun, Verb, dry_run, say, verb
from usance.cli.show import Column, emit, emit_line, facts, heading, table
from usance.cli.watched import demand_place
from usance.engine.groups import groups
from usance.kernel.errors import NotFound, Refused
from usance.log.contract import Record, TopicPartition, TopicSettings
from usance.views.asking import sees_compliance
from usance.views.guarded import may_read

topic = Noun("topic", help="The log's topics.")


@verb(topic, "list")
def list_topics() -> None:
    """List topics with what they keep."""
    with looking() as seen:
        log = seen.desk.store.log
        rows = [
            {
                "topic": s.name,
                "partition": n,
                "cleanup": s.cleanup,
                "begin": log.begin(TopicPartition(s.name, n)),
                "end": log.end(TopicPartition(s.name, n)),
            }
            for s in sorted(log.topics().values())
            for n in range(s.partitions)
        ]
    columns = (
        Column("Topic", lambda t: t["topic"]),
        Column("Partition", lambda t: str(t["partition"]), right=True),
        Column("Cleanup", lambda t: t["cleanup"]),
        Column("Begin", lambda t: f"{t['begin']:,}", right=True),
        Column("End", lambda t: f"{t['end']:,}", right=True),
    )
    emit(rows, lambda _: table(columns, rows))


@verb(topic, "read")
@click.argument("name", metavar="TOPIC")
@click.option("--partition", type=click.IntRange(0), default=0, show_default=True)
@click.option("--from", "start", type=click.IntRange(0), default=0, help="First offset.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
def read_topic(name: str, partition: int, start: int, limit: int) -> None:
    """Print records of a topic as JSON lines, decoded where they can be.

    Example: usance topic read usance.trade.events --partition 1 --limit 10
    """
    with looking() as seen:
        store = seen.desk.store
        settings = store.log.topics().get(name)
        hidden = not may_read(seen.viewer, name)
        if settings is None or hidden or partition >= settings.partitions:
            raise NotFound(f"no topic {name} with this partition", hint="usance topic list")
        demand_place(name)
        place = TopicPartition(name, partition)
        for number, record in enumerate(store.log.scan(place, start, None, min(limit, 1_000))):
            if number == limit:
                break
            emit_line(_readable(seen.desk, record))


def _readable(desk: Desk, record: Record) -> dict[str, object]:
    found: dict[str, object] = {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else record.key.decode("utf-8", "replace"),
    }
    try:
        message = desk.store.decoder.message(record.headers, record.value)
        meta = desk.store.decoder.meta(record.headers)
        return {**found, "type": type(message).__name__, "meta": meta, "content": message}
    except Exception:  # noqa: BLE001  topics hold other things than messages, too
        return {
            **found,
            "size": len(record.value or b""),
            "value": (record.value or b"")[:512].hex(),
        }


@verb(topic, "seek")
@click.argument("group")
@click.argument("name", metavar="TOPIC")
@click.option("--partition", type=click.IntRange(0), required=True)
@click.option("--to", "offset", type=click.IntRange(0), required=True, help="Next offset to read.")
@dry_run
def seek_topic(group: str, name: str, partition: int, offset: int, dry_run: bool) -> None:
    """Set from where a consumer group reads on; no process may own the folder meanwhile.

    What it reads again is dropped by command id. Example:
    usance topic seek usance-reactions usance.trade.events --partition 0 --to 0
    """
    place = TopicPartition(name, partition)
    with looking() as seen:
        settings = seen.desk.store.log.topics().get(name)
        if settings is None or partition >= settings.partitions:
            raise NotFound(f"no topic {name} with this partition", hint="usance topic list")
        known = seen.desk.store.log.position(group, place)
        if known is None:
            raise NotFound(f"no group {group} reads {name}", hint="Groups are usance-<part>.")
        end = seen.desk.store.log.end(place)
    found = {"group": group, "topic": name, "partition": partition, "from": known, "to": offset}
    if offset > end:
        raise Refused("BEYOND_END", f"the partition ends at {end}", hint="Seek within it.")
    if not dry_run:
        care.seek(folder(), effective_settings(), group, place, offset)
    words = "Would move" if dry_run else "Moved"
    emit(found, lambda f: [f"{words} {group} on {name}.p{partition} from {f['from']} to {offset}"])


@verb(topic, "settle")
@dry_run
def settle_topics(dry_run: bool) -> None:
    """Create the topics that an embedded log lacks, and keep each as it must be kept.

    No process may own the folder meanwhile; on a cluster `usance kafka setup` does this.
    Example: usance topic settle --dry-run
    """
    done = care.settle(folder(), effective_settings(), dry_run=dry_run)
    words = "Would settle" if dry_run else "Settled"
    rows = [{"topic": name, "done": what} for name, what in done]
    emit(
        rows,
        lambda _: (
            [f"{words} {name}: {what}" for name, what in done] or ["All are as they must be."]
        ),
    )


def _known(seen: Looking, name: str) -> TopicSettings:
    settings = seen.desk.store.log.topics().get(name)
    if settings is None or not may_read(seen.viewer, name):
        raise NotFound(f"no topic {name}", hint="usance topic list")
    return settings


@verb(topic, "describe")
@click.argument("name", metavar="TOPIC")
def describe_topic(name: str) -> None:
    """Show one topic: settings, offsets per partition, and which groups read it from where."""
    with looking() as seen:
        settings = _known(seen, name)
        log = seen.desk.store.log
        places = [TopicPartition(name, n) for n in range(settings.partitions)]
        behind = [one for one in _lags(seen, "") if one["topic"] == name]
        found = {
            "topic": name,
            "kind": settings.kind,
            "cleanup": settings.cleanup,
            "retention_ms": settings.retention_ms,
            "topic_id": settings.topic_id,
            "partitions": [
                {"partition": p.partition, "begin": log.begin(p), "end": log.end(p)} for p in places
            ],
            "groups": behind,
        }
        emit(found, lambda _: _description(settings, found["partitions"], behind))


def _description(settings: TopicSettings, places: object, behind: object) -> Iterable[str]:
    assert isinstance(places, list) and isinstance(behind, list)
    kept = f"{settings.retention_ms // 86_400_000} days" if settings.retention_ms > 0 else ""
    yield from facts(
        [
            ("Topic", settings.name),
            ("Kind", settings.kind),
            ("Cleanup", settings.cleanup),
            ("Kept for", kept),
            ("Topic id", settings.topic_id),
        ]
    )
    yield heading("Partitions")
    columns = (
        Column("Partition", lambda p: str(p["partition"]), right=True),
        Column("Begin", lambda p: f"{p['begin']:,}", right=True),
        Column("End", lambda p: f"{p['end']:,}", right=True),
    )
    yield from table(columns, places)
    yield heading("Groups")
    yield from table(LAG_COLUMNS, behind, "No group reads it.")


LAG_COLUMNS = (
    Column("Group", lambda one: one["group"]),
    Column("Topic", lambda one: one["topic"]),
    Column("Partition", lambda one: str(one["partition"]), right=True),
    Column("Position", lambda one: f"{one['position']:,}", right=True),
    Column("End", lambda one: f"{one['end']:,}", right=True),
    Column("Records", lambda one: f"{one['records']:,}", right=True),
    Column("Seconds", lambda one: f"{one['seconds']:,}", right=True),
)


def _lags(seen: Looking, group: str) -> Iterator[dict[str, object]]:
    store = seen.desk.store
    hides = not sees_compliance(seen.viewer)
    for one in operating.lags(store.log, store.topics.namespace, seen.desk.clock.now(), group):
        if not (hides and ".compliance." in one.topic):
            yield one._asdict()


@click.command(cls=Verb)
@click.option("--group", default="", help="One group only.")
@click.option("--behind", is_flag=True, help="Only where something is unread.")
def lag(group: str, behind: bool) -> None:
    """Show how far each group is behind, per partition: in records, and in seconds of the oldest unread one.

    Example: usance lag --behind
    """
    with looking() as seen:
        found = [one for one in _lags(seen, group) if one["records"] or not behind]
        emit(found, lambda rows: table(LAG_COLUMNS, rows, "Nobody is behind."))


@verb(topic, "replay")
@click.argument("group")
@click.argument("name", metavar="TOPIC")
@click.option("--since", required=True, help="Instant or date, such as 2026-11-27T09:00:00Z.")
@dry_run
def replay(group: str, name: str, since: str, dry_run: bool) -> None:
    """Let a group read a topic again from the first record of an instant on, in every partition.

    What its commands caused already is dropped by command id. A consume group's place is fixed in its
    own footers: read again as another group instead.
    """
    with looking() as seen:
        settings, log = _known(seen, name), seen.desk.store.log
        if group in {g.name for g in groups.all_groups(log, seen.desk.store.topics.namespace)}:
            raise Refused(
                "FOOTERS_WIN",
                f"the place of consume group {group} stands in its own records",
                hint="Consume as another group, with first='beginning'; redrive what failed.",
            )
        moves = []
        for number in range(settings.partitions):
            place = TopicPartition(name, number)
            known = log.position(group, place)
            if known is not None:
                to = min(known, operating.first_since(log, place, moment(since)))
                moves.append({"partition": number, "from": known, "to": to, "again": known - to})
    if not moves:
        raise NotFound(f"no group {group} reads {name}", hint="Groups are usance-<part>.")
    columns = (
        Column("Partition", lambda m: str(m["partition"]), right=True),
        Column("From", lambda m: f"{m['from']:,}", right=True),
        Column("To", lambda m: f"{m['to']:,}", right=True),
        Column("Read again", lambda m: f"{m['again']:,}", right=True),
    )
    for move in moves if not dry_run else ():
        care.seek(
            folder(),
            effective_settings(),
            group,
            TopicPartition(name, move["partition"]),
            move["to"],
        )
    say(f"{'Would move' if dry_run else 'Moved'} {group} back on {name}.")
    emit(moves, lambda rows: table(columns, rows))
