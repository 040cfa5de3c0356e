"""One of many: a part that must run once, kept by whoever holds an election; the others stand by.

Two may run for a moment (a frozen process does not know that it lost): the part itself must fence the older.
"""

from __future__ import annotations

from typing import Protocol

from usance.kernel.clock import Clock
from usance.log.contract import Assigned, Log, Membership, Revoked, TopicPartition

PROJECTOR_GROUP = "usance-projector"
RESCREENING_GROUP = "usance-rescreening"


class Single(Protocol):
    """What stands by: opened and closed as the election says."""

    def open(self) -> None:
        """Begin."""
        ...

    def step(self, wait: float = 0.0) -> int:
        """Work, waiting at most `wait` seconds for some."""
        ...

    def close(self) -> None:
        """End; may be opened again."""
        ...


class Election(Protocol):
    """Who runs the part."""

    def held(self) -> bool:
        """Tell whether this process holds it now, having tried to get it."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


class GroupElection:
    """Membership of a consumer group over a topic of one partition: its holder is elected."""

    def __init__(self, group: str, log: Log, place: TopicPartition) -> None:
        if log.position(group, place) is None:
            log.set_positions(group, {place: log.begin(place)})
        self._member: Membership = log.join(group, [place.topic])
        self._held = False

    def held(self) -> bool:
        """Follow the group and tell whether the partition is ours."""
        for change in self._member.poll():
            self._held = isinstance(change, Assigned)
            if isinstance(change, Revoked):
                self._member.settled(change)
        return self._held

    def close(self) -> None:
        """Leave the group."""
        self._member.close()
        self._held = False


class Standby:
    """Runs a part while the election is held."""

    def __init__(self, part: Single, election: Election, clock: Clock) -> None:
        self.part = part
        self.election = election
        self.clock = clock
        self.active = False

    def step(self, wait: float = 0.0) -> int:
        """Do a step of the part, or stand by for as long as `wait`."""
        held = self.election.held()
        if held and not self.active:
            self.part.open()
        elif self.active and not held:
            self.part.close()
        self.active = held
        if held:
            return self.part.step(wait)
        if wait:
            self.clock.sleep(wait)
        return 0

    def close(self) -> None:
        """End the part and give the election up."""
        if self.active:
            self.part.close()
            self.active = False
        self.election.close()
