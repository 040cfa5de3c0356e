"""What a simulated log does to its users: standing hazards, and faults of one commit."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from usance.kernel.errors import Unavailable, Uncertain, UsanceError


class Hazards(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated log does to its users.

    Simulated: `gap_max` (each unit leaves 1 to that many unused offsets in a partition),
    `short_reads` (a read returns a seeded part of what is there), `commit_delay_max` (`done()` is
    false up to that often), `delayed_visibility` (that many latest commits are invisible to `read`
    and open-ended `scan`; a `scan` to a mark waits for them, as a reader of a broker would),
    `shared_groups` (a second member shares the partitions by revoke and assign instead of fencing
    the first).

    Not simulated yet, they come with the Kafka backend, and switching one on raises
    NotImplementedError: `late_end_txn` (an end marker of an old transaction hits the next one),
    `late_offset_commit`, `memberless_metadata` (a commit without member id is accepted),
    `offset_expiry` (the group forgets positions), `markers_per_topic` (a unit becomes visible topic
    by topic), `last_stable_offset` (one open transaction hides later ones).
    """

    gap_max: int = 1
    short_reads: bool = False
    commit_delay_max: int = 0
    delayed_visibility: int = 0
    shared_groups: bool = False
    late_end_txn: bool = False
    late_offset_commit: bool = False
    memberless_metadata: bool = False
    offset_expiry: bool = False
    markers_per_topic: bool = False
    last_stable_offset: bool = False

    def __post_init__(self) -> None:
        """Refuse hazards that nothing simulates: a test must not believe it met one."""
        for name in self.__struct_fields__[5:]:
            if getattr(self, name):
                raise NotImplementedError(f"the hazard {name} comes with the Kafka backend")


class CommitFault(NamedTuple):
    """How a commit goes wrong: `applied` tells whether the log has the unit all the same."""

    error: UsanceError
    applied: bool = False


def answer_lost(*, applied: bool) -> CommitFault:
    """Return the fault of a commit whose answer never came."""
    return CommitFault(
        Uncertain("the commit's answer was lost", hint="take over again"), applied=applied
    )


def refused_before_commit() -> CommitFault:
    """Return the fault of a log that cannot be reached, so certainly commits nothing."""
    return CommitFault(Unavailable("the log cannot be reached", hint="retry"))
