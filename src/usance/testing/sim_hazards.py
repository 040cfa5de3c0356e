"""What a simulated log does to its users: standing hazards, and faults of one commit."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple, TypeVar, get_args

import msgspec

from usance.kernel.errors import Unavailable, Uncertain, UsanceError
from usance.log.contract import Output, Unit

T = TypeVar("T")


class Hazards(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated log does to its users.

    `gap_max`: each unit leaves 1 to that many unused offsets in a partition. `short_reads`: a read
    returns a seeded part of what is there. `commit_delay_max`: `done()` is false up to that often.
    `delayed_visibility`: that many latest commits are invisible to `read` and open-ended `scan`; a
    `scan` to a mark waits for them, as a reader of a broker would. `shared_groups`: a second member
    shares the partitions by revoke and assign instead of fencing the first.

    What brokers do besides: `late_end_txn` (a late request ends the transaction of a unit at some
    step behind its owner's back), `late_offset_commit` (an earlier unit's positions arrive after a
    later one's), `memberless_metadata` (a commit of nobody is accepted), `unchecked_ownership` (any
    member of the present generation may commit for any partition), `offset_expiry` (a group forgets
    its positions), `markers_per_topic` (a unit becomes visible partition by partition),
    `last_stable_offset` (an open transaction of another program hides what comes after it, and a
    `scan` past it is Unavailable until it ends).
    """

    gap_max: int = 1
    short_reads: bool = False
    commit_delay_max: int = 0
    delayed_visibility: int = 0
    shared_groups: bool = False
    late_end_txn: bool = False
    late_offset_commit: bool = False
    memberless_metadata: bool = False
    unchecked_ownership: bool = False
    offset_expiry: bool = False
    markers_per_topic: bool = False
    last_stable_offset: bool = False


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


Step = Literal["records", "offsets", "footers", "end"]
STEPS: tuple[Step, ...] = get_args(Step)


class LateEnd(NamedTuple):
    """A late EndTxn meets a unit at a step: before all its records, its positions, its footers, or its end.

    What is sent after it fails, so its owner knows only that it does not know. With `commits`, what
    was sent before is in the log for good; else it is aborted.
    """

    step: Step
    commits: bool


class Mischief:
    """The dice of a log's standing hazards, apart from those of its scheduling."""

    def __init__(self, seed: int, hazards: Hazards) -> None:
        self._random = random.Random(f"mischief {seed}")  # noqa: S311 - scheduling, not secrets
        self.hazards = hazards
        self.torn = 0
        """Units of which the log kept records without their footers."""

    def chance(self, likely: float) -> bool:
        """Throw the dice."""
        return self._random.random() < likely

    def late_end(self) -> LateEnd | None:
        """Return what a late request does to the next unit."""
        if not self.hazards.late_end_txn or not self.chance(0.08):
            return None
        return LateEnd(self._random.choice(STEPS), self.chance(0.5))

    def sent(self, unit: Unit, end: LateEnd) -> tuple[list[Output], bool]:
        """Return which records of a unit a late commit keeps, and whether its positions are among it."""
        records = list(unit.outputs)
        if end.step == "records":
            return records[: self._random.randint(0, len(records))], False
        if end.step == "offsets":
            return records, False
        return (records if end.step == "footers" else [*records, *unit.footers]), True

    def one_of(self, found: list[T]) -> T:
        """Return one of several."""
        return self._random.choice(found)
