"""Membership on the embedded log: one member per group, which owns every partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from usance.kernel.errors import Unavailable
from usance.log.contract import Assigned, Change, Fence, Lost, Revoked, TopicPartition


class Home(Protocol):
    """What a member needs of its log."""

    def positions(
        self, group: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return committed positions; partitions without one are left out."""
        ...

    def leave(self, member: SqliteMember) -> None:
        """Forget a member that closes."""
        ...


class SqliteMember:
    """The only member of its group: it owns every partition of its topics until another joins."""

    def __init__(
        self, home: Home, group: str, epoch: int, partitions: tuple[TopicPartition, ...]
    ) -> None:
        self.group = group
        self._home = home
        self._partitions = partitions
        self._changes: deque[Change] = deque([Assigned(partitions)])
        self._owned: frozenset[TopicPartition] = frozenset()
        self._paused: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._turn = 0
        self.fence = Fence(group, epoch, f"{group}/{epoch}", tuple((p, epoch) for p in partitions))

    def poll(self) -> list[Change]:
        """Return the assignment once, and the loss when another member has joined."""
        changes = []
        while self._changes:
            change = self._changes.popleft()
            if isinstance(change, Assigned):
                self._next = self._home.positions(self.group, change.partitions)
                self._owned = frozenset(change.partitions)
            changes.append(change)
        return changes

    def owned(self) -> frozenset[TopicPartition]:
        """Return the partitions held now; empty before the first `poll`."""
        return self._owned

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read next from `offset`; no effect on a partition that is not held."""
        if partition in self._owned:
            self._next[partition] = offset

    def given(self, positions: Mapping[TopicPartition, int]) -> None:
        """Begin at positions that the group was given, where this reader has no place yet."""
        for partition in self._owned & positions.keys():
            self._next.setdefault(partition, positions[partition])

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop reading partitions until `resume`."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read paused partitions again."""
        self._paused.difference_update(partitions)

    def settled(self, revoked: Revoked) -> None:
        """Do nothing: a single member is never asked to give partitions back."""

    def close(self) -> None:
        """Leave the group."""
        self._owned = frozenset()
        self._changes.clear()
        self._home.leave(self)

    def lose(self) -> None:
        """Take everything away: a newer member of the group holds it."""
        self._changes.append(Lost(self._partitions))
        self._owned = frozenset()

    def wanted(self) -> list[tuple[TopicPartition, int]]:
        """Return the partitions to read with their next offsets, a different one first each time.

        Raises Unavailable for a partition without a position: there is no automatic reset.
        """
        active = [p for p in self._partitions if p in self._owned and p not in self._paused]
        self._turn += 1
        turn = self._turn % len(active) if active else 0
        found = []
        for partition in active[turn:] + active[:turn]:
            offset = self._next.get(partition)
            if offset is None:
                raise Unavailable(
                    f"group {self.group} has no position in {partition.topic}"
                    f" partition {partition.partition}",
                    hint="set its first position explicitly; it is never guessed",
                )
            found.append((partition, offset))
        return found

    def rewind(self, starts: Mapping[TopicPartition, int]) -> None:
        """Go back to the starts of a dropped unit, unless already further back."""
        for partition in self._owned & starts.keys():
            start = starts[partition]
            self._next[partition] = min(start, self._next.get(partition, start))
