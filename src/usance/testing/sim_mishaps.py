"""What befalls a simulated log beside its owners: late requests, foreign transactions, expired positions."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usance.kernel.errors import Unavailable, Uncertain
from usance.log.contract import Output, Record, TopicPartition, Unit
from usance.testing.sim_hazards import Hazards, LateEnd, Mischief


@dataclass
class SimulatedPartition:
    """One partition.

    `foreign` is where another program's open transaction begins, `unmarked` where a unit does whose
    marker has not arrived.
    """

    records: list[Record] = field(default_factory=list)
    start: int = 0
    next: int = 0
    last: int = 0
    ends: deque[int] = field(default_factory=deque)
    foreign: int | None = None
    unmarked: int | None = None


class Mishaps:
    """The part of a simulated log in which things go wrong by themselves."""

    hazards: Hazards
    mischief: Mischief
    groups: dict[str, Any]
    _chains: dict[str, int]
    _moved: list[tuple[str, Mapping[TopicPartition, int]]]
    _ends: deque[LateEnd]

    def _at(self, partition: TopicPartition) -> SimulatedPartition:
        raise NotImplementedError

    def _write(self, outputs: Sequence[Output], *, gap: bool) -> list[int]:
        raise NotImplementedError

    def _visible_end(self, partition: SimulatedPartition) -> int:
        """Return the offset before which records are visible to an unmarked reader."""
        lag = self.hazards.delayed_visibility
        end = partition.next
        if lag and partition.ends:
            end = partition.ends[0] if len(partition.ends) > lag else partition.start
        if partition.unmarked is not None:
            end = min(end, partition.unmarked)
        return end if partition.foreign is None else min(end, partition.foreign)

    def _stable_end(self, partition: SimulatedPartition, mark: int) -> int:
        """Let the markers below a mark arrive; raises Unavailable behind a foreign open transaction."""
        partition.unmarked = None
        if partition.foreign is not None and partition.foreign < mark:
            if self.hazards.last_stable_offset and self.mischief.chance(0.5):
                self._end_foreign(partition)
            else:
                raise Unavailable(
                    "an open transaction of another program hides what comes after it",
                    hint="wait for its timeout, or abort it: see `usance kafka doctor`",
                )
        return mark

    def _ended_early(self, unit: Unit, end: LateEnd) -> None:
        """Let a late EndTxn end a unit at some step; raises Uncertain, as the next request fails."""
        if end.commits:
            kept, moved = self.mischief.sent(unit, end)
            self._write(kept, gap=True)
            if moved:
                self.groups[unit.fence.group].positions.update(unit.positions)
            self.mischief.torn += bool(kept) and end.step != "end"
        self._chains.clear()
        raise Uncertain("the transaction was ended by a late request", hint="take over again")

    def _arrive_late(self, unit: Unit) -> None:
        """Let what brokers do after a commit happen: late offsets, foreign transactions."""
        hazards, dice = self.hazards, self.mischief
        if hazards.late_offset_commit:
            self._moved.append((unit.fence.group, dict(unit.positions)))
            if dice.chance(0.3):
                group, positions = dice.one_of(self._moved)
                self.groups[group].positions.update(positions)
        if hazards.last_stable_offset and unit.outputs and dice.chance(0.2):
            output = dice.one_of(list(unit.outputs))
            self.open_foreign(TopicPartition(output.topic, output.partition))

    def end_late(self, *ends: LateEnd) -> None:
        """Let late requests end the transactions of the next units."""
        self._ends.extend(ends)

    def open_foreign(self, partition: TopicPartition) -> None:
        """Let another program write to a partition in a transaction that it does not end."""
        found = self._at(partition)
        if found.foreign is None:
            found.foreign = found.next
            found.next += 1

    def end_foreign(self, partition: TopicPartition) -> None:
        """Abort the other program's transaction."""
        self._end_foreign(self._at(partition))

    def _end_foreign(self, found: SimulatedPartition) -> None:
        found.foreign = None
        found.next += 1

    def forget_positions(self, group: str) -> None:
        """Let a group's positions expire, but for those of a first start, which set-up makes again."""
        positions = self.groups[group].positions
        for partition in [p for p, offset in positions.items() if offset]:
            del positions[partition]
