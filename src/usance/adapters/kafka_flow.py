"""What moves on a cluster and what does not: open transactions, groups and how far they are behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import OffsetSpec

from usance.adapters.kafka_access import named
from usance.adapters.kafka_doctor import CLEANUP_MS, SHOWN_MAX, Ward
from usance.adapters.kafka_roles import ACCESS, SCAN_GROUP
from usance.adapters.kafka_setup import ask
from usance.engine.findings import Finding, held, ok
from usance.kernel.clock import iso
from usance.log.contract import TopicPartition

HANG_S = 2.0
"""Longer than any transaction of ours lives, a dead owner's included: beside its timeout and the clean-up."""
LOOK_S = 0.25
READ_S = 3.0
LAG_S_MAX = 60.0
"""Behind by more than this, a group is told as not well."""
OUR_HEADER = "usance-meta"


class Gap(NamedTuple):
    """A partition in which records wait behind an open transaction."""

    stable: int
    high: int

    @property
    def records(self) -> int:
        """How many records readers cannot see yet (markers included)."""
        return self.high - self.stable


class _Front(NamedTuple):
    """The record at a position: when it was appended, and whether this program wrote it."""

    timestamp: int
    ours: bool


def places(ward: Ward) -> list[TopicPartition]:
    """Return the partitions of the log that exist, by their names on the cluster."""
    seen = ward.admin.list_topics(timeout=10.0).topics
    return [
        TopicPartition(ward.prefix + topic.name, number)
        for topic in ward.topics
        if ward.prefix + topic.name in seen
        for number in seen[ward.prefix + topic.name].partitions
    ]


def ends(
    ward: Ward, of: Sequence[TopicPartition], *, stable: bool = False
) -> dict[TopicPartition, int]:
    """Return the high watermarks, or with `stable` the last stable offsets."""
    if not of:
        return {}
    level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    latest = OffsetSpec.latest()
    asked = {Place(p.topic, p.partition): latest for p in of}
    found = ask(
        lambda: ward.admin.list_offsets(asked, isolation_level=level), "reading the ends of topics"
    )
    return {TopicPartition(p.topic, p.partition): r.offset for p, r in found.items()}


def gaps(ward: Ward, of: Sequence[TopicPartition]) -> dict[TopicPartition, Gap]:
    """Return the partitions whose end is beyond what readers see."""
    stable = ends(ward, of, stable=True)
    high = ends(ward, of)
    return {p: Gap(stable[p], high[p]) for p in of if high[p] > stable[p]}


def transactions(ward: Ward) -> Iterator[Finding]:
    """Tell transactions that come and go from one that hangs."""
    found = gaps(ward, places(ward))
    largest = max((gap.records for gap in found.values()), default=0)
    longest = (ward.transaction_ms + CLEANUP_MS) / 1000 + HANG_S
    until = ward.clock.monotonic() + longest
    hanging = found
    while hanging and ward.clock.monotonic() < until:
        ward.clock.sleep(LOOK_S)
        now = gaps(ward, [*hanging])
        hanging = {
            p: now[p] for p, gap in hanging.items() if p in now and now[p].stable == gap.stable
        }
    if not hanging:
        said = (
            f"come and go, largest gap to the last stable offset {largest}"
            if found
            else "none open"
        )
        yield ok("flow", "HANGING_TRANSACTION", "open transactions", said)
        return
    fronts = _fronts(ward, {p: gap.stable for p, gap in hanging.items()})
    for place, gap in [*hanging.items()][:SHOWN_MAX]:
        yield _hanging(ward, place, gap, fronts.get(place))
    if len(hanging) > SHOWN_MAX:
        yield _hung("open transactions", f"{len(hanging) - SHOWN_MAX} more hang", "", "as above")


def _hanging(ward: Ward, place: TopicPartition, gap: Gap, front: _Front | None) -> Finding:
    since, whose = "", "somebody"
    if front is not None:
        seconds = (ward.clock.now() - front.timestamp) / 1000
        since = f" since {iso(front.timestamp)} ({seconds:.0f} s)"
        whose = "an owner of this program" if front.ours else "a foreign client"
    at = f"--topic {place.topic} --partition {place.partition} --start-offset {gap.stable}"
    tool = f"kafka-transactions.sh --bootstrap-server {ward.servers}"
    ours = front is not None and front.ours
    # An abort is final: it would take out of the log what the coordinator has told an owner to be in it.
    first = (
        f"`{tool} list` first: if its producer stands there as CompleteCommit, a broker lost the marker of a"
        " committed unit (KAFKA-20734), which an abort would tear: restore a backup; "
    )
    return _hung(
        f"open transaction in {place.topic} {place.partition}",
        f"{whose} holds one open{since}: {gap.records} records behind the last stable offset"
        f" {gap.stable} cannot be read by anybody",
        f"{tool} abort {at}",
        f"{first if ours else ''}then find who may write there (`usance kafka setup` takes rights"
        " beyond the table)",
    )


def _hung(check: str, found: str, command: str, hint: str) -> Finding:
    return Finding("flow", "HANGING_TRANSACTION", "wrong", check, found, command, hint)


# -- groups


class Lag(NamedTuple):
    """How far a group is behind: records, and seconds since the oldest unread one was appended."""

    group: str
    records: int
    seconds: float
    members: int
    partitions: int


def lags(ward: Ward) -> list[Lag]:
    """Return the lag of every group of this program that has a position."""
    groups = sorted({g for access in ACCESS.values() for g in access.groups})
    # What an open transaction hides is told elsewhere, and what was aborted nobody has to read.
    high = ends(ward, places(ward), stable=True)
    found = []
    for group in groups:
        positions = _positions(ward, group, [*high])
        behind = {p: high[p] - at for p, at in positions.items() if p in high and high[p] > at}
        fronts = _fronts(ward, {p: positions[p] for p in behind}, level="read_committed")
        now = ward.clock.now()
        oldest = min((front.timestamp for front in fronts.values()), default=now)
        # Transaction markers count as offsets and are no records: no front, nothing unread.
        records = sum(behind[p] for p in fronts)
        seconds = max(0.0, (now - oldest) / 1000) if fronts else 0.0
        if positions:
            found.append(Lag(group, records, seconds, _members(ward, group), len(positions)))
    return found


def groups(ward: Ward) -> Iterator[Finding]:
    """Tell how far each group is behind, in records and in seconds."""
    for lag in lags(ward):
        people = f"{lag.members} members" if lag.members != 1 else "1 member"
        said = f"{lag.records} records and {lag.seconds:.1f} s behind, {people}"
        role = next(r for r, access in ACCESS.items() if lag.group in access.groups)
        idle = lag.records > 0 and lag.members == 0
        slow = lag.seconds > LAG_S_MAX
        hint = "" if idle else "one more process of that role, if it does not catch up"
        command = f"usance start --role {role}"
        yield held(
            "flow",
            "GROUP_BEHIND",
            f"group {lag.group}",
            said,
            well=not (idle or slow),
            command=command,
            hint=hint,
        )


def _positions(ward: Ward, group: str, of: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    # Asked as a member of the group would: the admin client's own question crashes the process while a
    # coordinator is being chosen (librdkafka issue 5040).
    consumer = Consumer({
        **ward.options, "group.id": ward.prefix + group, "isolation.level": "read_uncommitted",
    })  # fmt: skip
    try:
        found = consumer.committed([Place(p.topic, p.partition) for p in of], timeout=READ_S)
    except KafkaException as error:
        raise named(error.args[0], f"reading positions of {group}") from error
    finally:
        consumer.close()
    return {TopicPartition(p.topic, p.partition): p.offset for p in found if p.offset >= 0}


def _members(ward: Ward, group: str) -> int:
    name = ward.prefix + group
    found = ask(lambda: ward.admin.describe_consumer_groups([name]), f"looking at group {group}")
    return sum(len(answer.members) for answer in found.values())


def _fronts(
    ward: Ward, at: Mapping[TopicPartition, int], level: str = "read_uncommitted"
) -> dict[TopicPartition, _Front]:
    """Return the first record at or after each position; none where only markers are."""
    if not at:
        return {}
    consumer = Consumer({
        **ward.options,
        "group.id": ward.prefix + SCAN_GROUP,
        "isolation.level": level,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    })  # fmt: skip
    found: dict[TopicPartition, _Front] = {}
    done: set[TopicPartition] = set()
    try:
        consumer.assign([Place(p.topic, p.partition, offset) for p, offset in at.items()])
        until = ward.clock.monotonic() + READ_S
        while len(done) < len(at) and ward.clock.monotonic() < until:
            message = consumer.poll(LOOK_S)
            if message is None:
                continue
            place = TopicPartition(message.topic() or "", message.partition() or 0)
            if message.error() is None and place not in done:
                ours = any(pair[0] == OUR_HEADER for pair in message.headers() or ())
                found[place] = _Front(message.timestamp()[1], ours)
            done |= {place} & at.keys()
    finally:
        consumer.close()
    return found
