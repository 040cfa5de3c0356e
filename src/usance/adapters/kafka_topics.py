"""What each topic must be set to on a cluster, so that it keeps what the protocol needs kept."""

from __future__ import annotations

from typing import NamedTuple

from usance.log.contract import RECORD_BYTES_MAX, TopicSettings

BATCH_OVERHEAD = 64 * 1024
"""What Kafka's framing may add to a record at its bound."""
TOMBSTONE_MS = 7 * 86_400_000
"""How long the broker keeps a key's last word that it is gone."""
KEYS_LAG_MS = 86_400_000
"""How long the broker may leave a record of a destroyed key in a segment that another record has replaced."""
LETTER_HEADERS = 128 * 1024
"""What a dead letter or a parked record carries beside the bytes that it holds (rule 9)."""
HOLDS_LETTERS = frozenset({"dead-letters", "parked"})


class Wanted(NamedTuple):
    """A topic's setting: the value that `kafka setup` gives it, and why it must not be another."""

    value: str
    why: str


def wanted(settings: TopicSettings, replication: int, *, flush: bool = True) -> dict[str, Wanted]:
    """Return the settings of a topic on a cluster that keeps `replication` copies.

    `flush` has a single copy on disk before it is acknowledged.
    """
    compacted = settings.cleanup == "compact"
    kept = settings.retention_ms if settings.cleanup == "delete" else -1
    largest = RECORD_BYTES_MAX + BATCH_OVERHEAD
    if settings.kind in HOLDS_LETTERS:
        largest += LETTER_HEADERS
    never = "the system of record is kept for ever" if settings.kind == "events" else "it is kept"
    found = {
        "cleanup.policy": Wanted(
            "compact" if compacted else "delete",
            "only the newest record of a key counts" if compacted else "each record counts",
        ),
        "retention.ms": Wanted(str(kept), never if kept < 0 else "older input was decided"),
        "retention.bytes": Wanted("-1", "size must not decide what is forgotten"),
        "message.timestamp.type": Wanted(
            "LogAppendTime", "instants are the log's, not the sender's"
        ),
        "max.message.bytes": Wanted(str(largest), "the largest record must fit"),
        "min.insync.replicas": Wanted(
            str(max(1, replication - 1)), "an answer stands on two disks"
        ),
        "unclean.leader.election.enable": Wanted("false", "a stale replica would lose records"),
        "compression.type": Wanted("producer", "bytes are kept as they were sent"),
    }
    if compacted:
        found["delete.retention.ms"] = Wanted(
            str(TOMBSTONE_MS), "each reader must see that a key is gone"
        )
    if settings.kind == "keys":
        found["max.compaction.lag.ms"] = Wanted(
            str(KEYS_LAG_MS), "a destroyed key's bytes leave the segments within days"
        )
    if replication == 1 and flush:
        found["flush.messages"] = Wanted("1", "a single broker's answer is a page-cache promise")
    return found


def min_insync(replication: int) -> int:
    """Return how many copies must have a record before it is acknowledged."""
    return 1 if replication == 1 else max(2, replication - 1)


def fits(name: str, found: str, want: str) -> bool:
    """Tell whether a setting serves: more room and more copies than wanted do no harm."""
    if name in ("max.message.bytes", "min.insync.replicas", "delete.retention.ms"):
        return int(found) >= int(want)
    if name == "max.compaction.lag.ms":
        return int(found) <= int(want)
    return found == want


UNSAFE = frozenset({
    "cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type",
    "min.insync.replicas", "unclean.leader.election.enable", "flush.messages", "max.compaction.lag.ms",
})  # fmt: skip
"""Settings that lose records, keep what must go, or falsify times when they are wrong; others are nuisances."""
