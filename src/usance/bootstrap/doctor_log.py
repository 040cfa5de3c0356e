"""What `doctor` says of a log's topics and of the clocks that its times come from."""

from __future__ import annotations

from collections.abc import Iterator

from usance.adapters import kernel_clock
from usance.bootstrap.store import Store
from usance.engine.findings import Finding, ok
from usance.engine.topics import Topics
from usance.kernel.clock import Clock, iso
from usance.log.contract import TopicPartition, TopicSettings

AHEAD_MS_MAX = 1_000
"""How far records may be in the future of this machine: more is a clock that went back, or another's."""
LOOK_BACK = 8
"""Offsets at the end of a partition among which its last record is: markers take some on a cluster."""
SET_CLOCK = "timedatectl set-ntp true"


def topics(store: Store) -> Iterator[Finding]:
    """Compare the topics of an embedded log with those that it must have; a cluster's are looked at there."""
    if store.settings.bootstrap_servers:
        return
    there = store.log.topics()
    wanted = Topics(store.genesis.namespace, store.genesis.partitions).settings()
    data = store.folder.root
    missing = [t.name for t in wanted if t.name not in there]
    if missing:
        said = f"{len(missing)} of {len(wanted)} missing, such as {missing[0]}"
        command = f"usance topic settle --data {data}"
        yield Finding("topics", "TOPICS_MISSING", "wrong", "topics", said, command)
    else:
        yield ok("topics", "TOPICS_MISSING", "topics", f"all {len(wanted)} are there")
    wrong = [w for w in wanted if w.name in there and differs(there[w.name], w)]
    for topic in wrong:
        found = there[topic.name]
        said = (
            f"{found.cleanup}, {found.retention_ms} ms instead of {topic.cleanup},"
            f" {topic.retention_ms} ms"
        )
        yield Finding(
            "topics",
            "TOPIC_SETTING",
            "unsafe",
            topic.name,
            f"{said}: what must be kept would go, or what may go would stay",
            f"usance topic settle --data {data}",
        )
    if not wrong:
        yield ok("topics", "TOPIC_SETTING", "topic settings", "as they must be")


def differs(found: TopicSettings, wanted: TopicSettings) -> bool:
    """Tell whether a topic is kept in another way than it must be."""
    return (found.cleanup, found.retention_ms) != (wanted.cleanup, wanted.retention_ms)


def clocks(store: Store, clock: Clock) -> Iterator[Finding]:
    """Hold this machine's clock against the kernel's word and against the log's newest record."""
    newest = max((t for t in _newest(store)), default=0)
    if store.genesis.clock == "book":
        said = f"a book's clock, at {iso(clock.now())}: deadlines go by it, not by this machine"
        yield ok("clocks", "BOOK_CLOCK", "clock of the log", said)
    else:
        ahead = newest - clock.now()
        if ahead > AHEAD_MS_MAX:
            yield Finding(
                "clocks",
                "CLOCK_BEHIND_LOG",
                "wrong",
                "clock and log",
                f"the newest record is of {iso(newest)}, {ahead:,} ms ahead of this machine",
                SET_CLOCK,
                "decisions take the log's time meanwhile, which never goes back",
            )
        else:
            yield ok("clocks", "CLOCK_BEHIND_LOG", "clock and log", "no record is ahead of it")
    kept = kernel_clock.kept()
    if kept is None or kept.synchronised:
        bound = "" if kept is None else f", within {kept.error_ms:,} ms"
        told = "the kernel cannot be asked here" if kept is None else f"synchronised{bound}"
        yield ok("clocks", "CLOCK_UNSYNCHRONISED", "clock of the machine", told)
        return
    yield Finding(
        "clocks",
        "CLOCK_UNSYNCHRONISED",
        "warning",
        "clock of the machine",
        "nothing keeps it in step: it may be off by any amount",
        SET_CLOCK,
        "in a container, on the host; RTS 25 asks for one second to UTC at the least",
    )


def _newest(store: Store) -> Iterator[int]:
    """Yield the append times of last records."""
    places: list[TopicPartition] = store.topics.all_at("outcomes")
    ends = store.log.ends(places)
    begins = store.log.begins(places)
    for place in places:
        start = max(begins[place], ends[place] - LOOK_BACK)
        for record in store.log.scan(place, start, ends[place]):
            yield record.timestamp
