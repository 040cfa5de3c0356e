"""How the notary reads a log: all sealed partitions, committed records only, from its own positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple, Protocol

from usance.engine.verify import chained
from usance.log.contract import Assigned, Log, Membership, Record, Revoked, TopicPartition

NOTARY_GROUP = "usance-notary"
NOTARY_DESK_GROUP = "usance-notary-desk"
"""Elects the process that follows; what it reads, it reads as the other group."""
FETCH_RECORDS = 1_000


class Run(NamedTuple):
    """The next records of one partition, and the offset to go on from."""

    place: TopicPartition
    records: list[Record]
    next: int


class Follower(Protocol):
    """Reads on from the offsets that it is given."""

    def read(self, offsets: Mapping[TopicPartition, int], most: int, wait: float) -> Iterator[Run]:
        """Yield runs of records, `most` in all; blocks at most `wait` seconds for the first."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class ScanFollower:
    """Asks for ends and scans to them: for a log without open transactions."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def read(self, offsets: Mapping[TopicPartition, int], most: int, wait: float) -> Iterator[Run]:
        """Yield runs of records; what is not there yet is waited for once."""
        if wait > 0:
            self.log.wait(dict(offsets), wait)
        left = most
        for place, end in self.log.ends(list(offsets)).items():
            at = offsets[place]
            if at >= end or left <= 0:
                continue
            found = list(islice(self.log.scan(place, at, end, min(left, FETCH_RECORDS)), left))
            left -= len(found)
            yield Run(place, found, found[-1].offset + 1 if len(found) and left <= 0 else end)

    def close(self) -> None:
        """Nothing is held."""


class GroupFollower:
    """Reads as a member of a group of its own: what open transactions hide does not hold up the rest.

    Only one process at a time runs it (`Standby`), and positions are the notary's own: the group's are
    only set because a group without any cannot read.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self._member: Membership | None = None
        self._stands: dict[TopicPartition, int] = {}
        self._topics: set[str] = set()

    def read(self, offsets: Mapping[TopicPartition, int], most: int, wait: float) -> Iterator[Run]:
        """Yield runs of records."""
        member = self._joined(offsets)
        for change in member.poll():
            if isinstance(change, Revoked):
                member.settled(change)
            for place in change.partitions:
                self._stands.pop(place, None)
                if isinstance(change, Assigned):
                    member.seek(place, offsets.get(place, 0))
                    self._stands[place] = offsets.get(place, 0)
        for place, at in offsets.items():
            if self._stands.get(place, at) != at:  # what was read before was dropped
                member.seek(place, at)
        batch = self.log.read(member, most, wait)
        for place, records in batch.records.items():
            if records:
                self._stands[place] = records[-1].offset + 1
                yield Run(place, records, records[-1].offset + 1)

    def _joined(self, offsets: Mapping[TopicPartition, int]) -> Membership:
        wanted = {place.topic for place in offsets}
        if self._member is not None and wanted <= self._topics:
            return self._member
        self.close()
        places = [p for p in chained(self.log) if p.topic in wanted]
        known = self.log.positions(NOTARY_GROUP, places)
        if missing := {p: 0 for p in places if p not in known}:
            self.log.set_positions(NOTARY_GROUP, missing)
        self._member = self.log.join(NOTARY_GROUP, sorted(wanted))
        self._topics = wanted
        return self._member

    def close(self) -> None:
        """Leave the group."""
        if self._member is not None:
            self._member.close()
            self._member = None
        self._stands.clear()
