"""A log in memory that obeys the contract, with a seed and with faults on order.

Single-threaded and deterministic: the same seed and calls give the same log. A commit is applied
when its result is asked for, or after a seeded number of `done()` questions, so that units are
really in flight. Faults are injected by name: `fail_commit`, `crash`, `expel`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from usance.kernel.clock import Clock
from usance.kernel.errors import (
    Conflict,
    Fenced,
    NotFound,
    Refused,
    Tampered,
    Unavailable,
    Uncertain,
    Unreadable,
    UsanceError,
)
from usance.kernel.ids import sequence_ids
from usance.log.contract import (
    RECORD_BYTES_MAX,
    UNIT_BYTES_MAX,
    UNIT_RECORDS_MAX,
    Assigned,
    Batch,
    Change,
    Fence,
    Lost,
    Membership,
    Output,
    Receipt,
    Record,
    Revoked,
    Staged,
    Start,
    TopicPartition,
    TopicSettings,
    Unit,
)
from usance.messages.headers import pairs
from usance.testing.sim_hazards import CommitFault, Hazards, LateEnd, Mischief
from usance.testing.sim_mishaps import Mishaps, SimulatedPartition


@dataclass
class _Group:
    epoch: int = 0
    topics: tuple[str, ...] = ()
    members: list[SimulatedMember] = field(default_factory=list)
    holders: dict[TopicPartition, SimulatedMember | None] = field(default_factory=dict)
    counters: dict[TopicPartition, int] = field(default_factory=dict)
    positions: dict[TopicPartition, int] = field(default_factory=dict)


class SimulatedMember:
    """A member of a simulated group."""

    def __init__(self, log: SimulatedLog, group: str, name: str) -> None:
        self.group = group
        self.name = name
        self.changes: deque[Change] = deque()
        self.next: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self._log = log
        self._owned: set[TopicPartition] = set()

    def poll(self) -> list[Change]:
        """Return ownership changes since the last poll, in order."""
        found = list(self.changes)
        self.changes.clear()
        for change in found:
            if isinstance(change, Assigned):
                self._owned.update(change.partitions)
                committed = self._log.groups[self.group].positions
                for partition in change.partitions:
                    if partition in committed:
                        self.next[partition] = committed[partition]
            else:
                self._owned.difference_update(change.partitions)
                for partition in change.partitions:
                    self.next.pop(partition, None)
        return found

    def owned(self) -> frozenset[TopicPartition]:
        """Return the partitions held now, as far as this member knows."""
        return frozenset(self._owned)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read next from `offset`; no effect on a partition that is not held."""
        if partition in self._owned:
            self.next[partition] = offset

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop reading partitions until `resume`."""
        self.paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read paused partitions again."""
        self.paused.difference_update(partitions)

    def settled(self, revoked: Revoked) -> None:
        """Give revoked partitions to whoever waits for them."""
        self._log.release(self, revoked.partitions)

    def close(self) -> None:
        """Leave the group."""
        self._owned.clear()
        self._log.leave(self)


class SimulatedUnit:
    """A unit that nobody sees."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.pending: SimulatedPending | None = None


class SimulatedPending:
    """A commit under way."""

    def __init__(self, log: SimulatedLog, staged: SimulatedUnit, after: Receipt | Start) -> None:
        self.staged = staged
        self.after = after
        self.delay = log.random.randint(0, log.hazards.commit_delay_max)
        self.answer: Receipt | UsanceError | None = None
        self._log = log

    def done(self) -> bool:
        """Tell whether the result is there; asking often enough makes it so."""
        if self.answer is None:
            if self.delay <= 0:
                self._log.settle(self)
            self.delay -= 1
        return self.answer is not None

    def written(self, timeout: float) -> bool:  # noqa: ARG002 - never waits
        """Tell whether the result is there."""
        return self.done()

    def result(self, timeout: float | None = None) -> Receipt:  # noqa: ARG002 - never waits
        """Return the receipt or raise the commit's error."""
        self._log.settle(self)
        assert self.answer is not None
        if isinstance(self.answer, UsanceError):
            raise self.answer
        return self.answer


class SimulatedLog(Mishaps):
    """The log contract in memory, with a seeded random source and injected faults."""

    def __init__(self, clock: Clock, *, seed: int = 0, hazards: Hazards | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 - scheduling, not secrets
        self.hazards = hazards or Hazards()
        self.mischief = Mischief(seed, self.hazards)
        self.groups: dict[str, _Group] = {}
        self._clock = clock
        self._fresh = sequence_ids("topic")
        self._topics: dict[str, TopicSettings] = {}
        self._partitions: dict[TopicPartition, SimulatedPartition] = {}
        self._pending: deque[SimulatedPending] = deque()
        self._chains: dict[str, int] = {}
        self._moved: list[tuple[str, Mapping[TopicPartition, int]]] = []
        self._ends: deque[LateEnd] = deque()
        self._faults: deque[CommitFault] = deque()
        self._receipts = 0
        self._members = 0

    # --- faults -----------------------------------------------------------------------------

    def fail_commit(self, fault: CommitFault) -> None:
        """Make the next commit that would succeed end in `fault`; several queue up."""
        self._faults.append(fault)

    def crash(self) -> None:
        """End the process that used this log: what was not committed and all members are gone."""
        for pending in self._pending:
            pending.answer = Uncertain("the process died", hint="take over again")
        self._pending.clear()
        self._chains.clear()
        self._faults.clear()
        for group in self.groups.values():
            for member in list(group.members):
                self._expel(group, member)

    def expel(self, member: SimulatedMember) -> None:
        """Let the group give a silent member up: it learns so (Lost) at its next poll."""
        group = self.groups[member.group]
        self._expel(group, member)
        self._rebalance(group)

    def _expel(self, group: _Group, member: SimulatedMember) -> None:
        held = tuple(p for p, holder in group.holders.items() if holder is member)
        group.members.remove(member)
        for partition in held:
            group.holders[partition] = None
        member.changes.append(Lost(held))

    # --- topics -----------------------------------------------------------------------------

    def create_topic(self, settings: TopicSettings) -> TopicSettings:
        """Create a topic unless it exists; returns it as stored, with its topic id."""
        if settings.partitions < 1:
            raise Refused("BAD_TOPIC", "a topic needs a partition", hint="ask for one or more")
        if settings.name not in self._topics:
            stored = settings._replace(topic_id=settings.topic_id or self._fresh())
            self._topics[settings.name] = stored
            for number in range(settings.partitions):
                self._partitions[TopicPartition(settings.name, number)] = SimulatedPartition()
        return self._topics[settings.name]

    def topics(self) -> dict[str, TopicSettings]:
        """Return all topics by name."""
        return dict(self._topics)

    def _at(self, partition: TopicPartition) -> SimulatedPartition:
        found = self._partitions.get(partition)
        if found is None:
            raise NotFound(
                f"the log has no topic {partition.topic} with a partition {partition.partition}",
                hint="create the topic first",
            )
        return found

    # --- groups -----------------------------------------------------------------------------

    def join(self, group: str, topics: Sequence[str]) -> SimulatedMember:
        """Enter a group; unless groups are shared, earlier members are fenced and lose all."""
        for topic in topics:
            self._at(TopicPartition(topic, 0))
        found = self.groups.setdefault(group, _Group())
        found.topics = tuple(dict.fromkeys((*found.topics, *topics)))
        if not self.hazards.shared_groups:
            for earlier in list(found.members):
                self._expel(found, earlier)
        self._members += 1
        member = SimulatedMember(self, group, f"{group}/{self._members}")
        found.members.append(member)
        found.epoch += 1
        self._rebalance(found)
        return member

    def _rebalance(self, group: _Group) -> None:
        """Hand free partitions out and ask for those that should move."""
        partitions = [
            TopicPartition(topic, number)
            for topic in group.topics
            for number in range(self._topics[topic].partitions)
        ]
        given: dict[str, list[TopicPartition]] = {}
        asked: dict[str, list[TopicPartition]] = {}
        for index, partition in enumerate(partitions):
            if not group.members:
                return
            target = group.members[index % len(group.members)]
            holder = group.holders.get(partition)
            if holder is None:
                group.holders[partition] = target
                group.counters[partition] = group.counters.get(partition, 0) + 1
                given.setdefault(target.name, []).append(partition)
            elif holder is not target and not _asked(holder, partition):
                asked.setdefault(holder.name, []).append(partition)
        for member in group.members:
            if member.name in asked:
                member.changes.append(Revoked(tuple(asked[member.name])))
            if member.name in given:
                member.changes.append(Assigned(tuple(given[member.name])))

    def release(self, member: SimulatedMember, partitions: Sequence[TopicPartition]) -> None:
        """Free partitions that a member has settled."""
        group = self.groups[member.group]
        for partition in partitions:
            if group.holders.get(partition) is member:
                group.holders[partition] = None
        self._rebalance(group)

    def leave(self, member: SimulatedMember) -> None:
        """Let a member go and share its partitions out."""
        group = self.groups[member.group]
        if member in group.members:
            self._expel(group, member)
            member.changes.clear()
            self._rebalance(group)

    def position(self, group: str, partition: TopicPartition) -> int | None:
        """Return the group's committed position; None means certainly none."""
        return self.positions(group, [partition]).get(partition)

    def positions(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return the committed positions of a group; partitions without one are left out."""
        known = self.groups[group].positions if group in self.groups else {}
        return {p: known[p] for p in partitions if p in known}

    def set_positions(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        """Record positions outside a unit."""
        for partition in positions:
            self._at(partition)
        found = self.groups.setdefault(group, _Group())
        found.positions.update(positions)
        for member in found.members:
            for partition in member.owned() & positions.keys():
                member.next.setdefault(partition, positions[partition])

    # --- reading ----------------------------------------------------------------------------

    def read(self, member: Membership, max_records: int, wait: float) -> Batch:
        """Return visible records of the owned, unpaused partitions; a wait reveals hidden ones."""
        assert isinstance(member, SimulatedMember)
        group = self.groups[member.group]
        ownership = tuple((p, group.counters[p]) for p in sorted(member.owned()))
        records: dict[TopicPartition, list[Record]] = {}
        left = min(max_records, UNIT_RECORDS_MAX)
        wanted = sorted(member.owned() - member.paused)
        _all_placed(member, wanted)
        places = {p: self._reader_place(member, p, self._at(p)) for p in wanted}
        self.random.shuffle(wanted)
        for partition in wanted:
            found, offset = self._at(partition), places[partition]
            if wait > 0:
                found.unmarked = None
            end = found.next if wait > 0 else self._visible_end(found)
            end = end if found.foreign is None else min(end, found.foreign)
            if found.foreign is not None and self.hazards.last_stable_offset and wait > 0:
                self._end_foreign(found)
            run = [r for r in found.records if offset <= r.offset < end][:left]
            if self.hazards.short_reads and run:
                run = run[: self.random.randint(0, len(run))]
            if run:
                records[partition] = run
                member.next[partition] = run[-1].offset + 1
                left -= len(run)
        return Batch(records, Fence(member.group, group.epoch, member.name, ownership))

    def exhausted(self, member: Membership) -> bool:
        """Tell whether the member has read all that was committed, hidden or not."""
        assert isinstance(member, SimulatedMember)
        read = []
        _all_placed(member, sorted(member.owned() - member.paused))
        for p in sorted(member.owned() - member.paused):
            place, records = self._reader_place(member, p, self._at(p)), self._at(p).records
            read.append(not records or records[-1].offset < place)
        return bool(member.owned()) and all(read)

    def _reader_place(
        self, member: SimulatedMember, partition: TopicPartition, found: SimulatedPartition
    ) -> int:
        offset = member.next[partition]
        where = f"{partition.topic} partition {partition.partition}"
        if not found.start <= offset <= found.next:
            where += f", which holds {found.start} to {found.next}"
            raise Tampered(
                f"group {member.group} stands at {offset} of {where}",
                hint="the log was cut or replaced: restore it, or move the group explicitly",
            )
        return offset

    def scan(
        self,
        partition: TopicPartition,
        start: int,
        mark: int | None = None,
        max_records: int = 1_000,
    ) -> Iterator[Record]:
        """Read committed records from `start`, or the first one kept, to before `mark`."""
        assert max_records > 0
        found = self._at(partition)
        stop = self._visible_end(found) if mark is None else self._stable_end(found, mark)
        yield from [r for r in found.records if start <= r.offset < stop]

    def begin(self, partition: TopicPartition) -> int:
        """Return the first offset still kept."""
        return self._at(partition).start

    def end(self, partition: TopicPartition) -> int:
        """Return one past the last offset given out, commit markers included."""
        return self._at(partition).next

    def begins(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offsets still kept."""
        return {p: self.begin(p) for p in partitions}

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return true ends."""
        return {p: self.end(p) for p in partitions}

    def wait(self, beyond: Mapping[TopicPartition, int], timeout: float) -> bool:  # noqa: ARG002
        """Tell whether an end has passed: nothing can happen while a single thread waits."""
        return any(self._at(p).next > offset for p, offset in beyond.items())

    # --- writing ----------------------------------------------------------------------------

    def start(self, member: Membership) -> Start:
        """Begin a member's receipt chain. Raises Fenced for one that its group gave up."""
        assert isinstance(member, SimulatedMember)
        group = self.groups[member.group]
        if member not in group.members:
            raise Fenced("another owner has joined", hint="rejoin the group and take over again")
        if self.hazards.offset_expiry and self.mischief.chance(0.5):
            self.forget_positions(member.group)
        self._chains[member.name] = -group.epoch
        return Start(group.epoch)

    def stage(self, unit: Unit) -> SimulatedUnit:
        """Check a unit's bounds and topics; nothing is visible."""
        held = {partition for partition, _ in unit.fence.ownership}
        assert held.issuperset(unit.positions), "positions outside the fence"
        assert unit.positions.keys() == unit.starts.keys(), "positions and starts differ"
        self._check((*unit.outputs, *unit.footers))
        return SimulatedUnit(unit)

    def _check(self, outputs: Sequence[Output]) -> None:
        total = 0
        for output in outputs:
            self._at(TopicPartition(output.topic, output.partition))
            size = len(output.key or b"") + len(output.value or b"")
            size += sum(len(name.encode()) + len(value) for name, value in pairs(output.headers))
            if size > RECORD_BYTES_MAX:
                raise Unreadable("log", "a record's bytes are over the bound", hint="split it")
            total += size
        if len(outputs) > UNIT_RECORDS_MAX or total > UNIT_BYTES_MAX:
            raise Unreadable("log", "the unit is over its bound", hint="write smaller units")

    def commit(self, staged: Staged, after: Receipt | Start) -> SimulatedPending:
        """Queue a commit; it is applied in order when a result is asked for."""
        assert isinstance(staged, SimulatedUnit), "staged by another log"
        assert staged.pending is None, "committed twice"
        staged.pending = SimulatedPending(self, staged, after)
        self._pending.append(staged.pending)
        return staged.pending

    def settle(self, pending: SimulatedPending) -> None:
        """Apply queued commits in order up to this one."""
        while pending.answer is None:
            first = self._pending.popleft()
            try:
                first.answer = self._commit(first)
            except UsanceError as exc:
                first.answer = exc

    def _commit(self, pending: SimulatedPending) -> Receipt:
        unit, after = pending.staged.unit, pending.after
        self._check_fence(unit, after)
        fault = self._faults.popleft() if self._faults else None
        if fault is not None and not fault.applied:
            if isinstance(fault.error, Uncertain):
                self._chains.clear()
            raise fault.error
        end = self._ends.popleft() if self._ends else self.mischief.late_end()
        if end is not None:
            self._ended_early(unit, end)
        self._write((*unit.outputs, *unit.footers), gap=True)
        self.groups[unit.fence.group].positions.update(unit.positions)
        self._arrive_late(unit)
        self._receipts += 1
        self._chains[unit.fence.member] = self._receipts
        if fault is not None:
            self._chains.clear()
            raise fault.error
        return Receipt(self._receipts, self._clock.now())

    def _check_fence(self, unit: Unit, after: Receipt | Start) -> None:
        fence = unit.fence
        group = self.groups[fence.group]
        hint = "abort, rewind and take over again"
        if self.hazards.memberless_metadata and (fence.epoch, fence.member) == (-1, ""):
            return
        expected = after.number if isinstance(after, Receipt) else -after.fence_epoch
        if self._chains.get(fence.member) != expected:
            raise Fenced("the unit does not follow the last receipt of its owner", hint=hint)
        present = fence.member in {m.name for m in group.members}
        if self.hazards.unchecked_ownership and present:
            if fence.epoch != group.epoch:
                raise Fenced("the fence is of another generation", hint=hint)
            return
        counters = dict(fence.ownership)
        for partition, start in unit.starts.items():
            holder = group.holders.get(partition)
            if holder is None or holder.name != fence.member:
                raise Fenced("another owner has joined", hint=hint)
            if counters[partition] != group.counters[partition]:
                raise Fenced("a partition changed hands", hint=hint)
            unknown = start if self.hazards.offset_expiry else start + 1
            if group.positions.get(partition, unknown) > start:
                raise Fenced("the input position has moved", hint=hint)
        if not present:
            raise Fenced("another owner has joined", hint=hint)

    def _write(self, outputs: Sequence[Output], *, gap: bool) -> list[int]:
        now = self._clock.now()
        offsets, touched = [], {}
        for output in outputs:
            at = TopicPartition(output.topic, output.partition)
            found = touched[at] = self._at(at)
            found.last = max(found.last, now)
            if gap and self.hazards.markers_per_topic and self.mischief.chance(0.3):
                found.unmarked = min(found.next, found.unmarked or found.next)
            offset = found.next
            key, value, headers = output.key, output.value, pairs(output.headers)
            found.records.append(Record(*at, offset, key, value, headers, found.last))
            found.next += 1
            offsets.append(offset)
        for found in touched.values():
            if gap:
                found.next += self.random.randint(1, self.hazards.gap_max)
            found.ends.append(found.next)
            while len(found.ends) > self.hazards.delayed_visibility + 1:
                found.ends.popleft()
        return offsets

    def abort(self, staged: Staged) -> None:
        """Drop a staged unit and rewind its member's reader, where it still owns the partition."""
        assert isinstance(staged, SimulatedUnit), "staged by another log"
        if staged.pending is not None and staged.pending.answer is None:
            raise Conflict("the unit's commit is under way", hint="wait for its result first")
        fence = staged.unit.fence
        for member in self.groups[fence.group].members:
            if member.name == fence.member:
                for partition, start in staged.unit.starts.items():
                    if partition in member.owned():
                        place = member.next.get(partition, start)
                        member.next[partition] = min(start, place)

    def append(self, outputs: Sequence[Output]) -> list[int]:
        """Write acknowledged records without a unit, all or none; returns their offsets."""
        self._check(outputs)
        return self._write(outputs, gap=False)

    # --- retention --------------------------------------------------------------------------

    def expire(self, partition: TopicPartition, before: int) -> int:
        """Delete records below offset `before`; returns how many went."""
        found = self._at(partition)
        found.start = max(found.start, min(before, found.next))
        kept = [r for r in found.records if r.offset >= found.start]
        gone = len(found.records) - len(kept)
        found.records = kept
        return gone

    def compact(self, partition: TopicPartition, unread: int | None = None) -> int:
        """Keep the last record per key and no key whose last value is None; returns how many went."""
        found = self._at(partition)
        if self._topics[partition.topic].cleanup != "compact":
            raise Refused(
                "NOT_COMPACTED",
                f"topic {partition.topic} keeps every record",
                hint="compact only topics whose cleanup is `compact`",
            )
        unread = found.next if unread is None else unread
        newest = {r.key: r.offset for r in found.records if r.key is not None}
        kept = [
            r
            for r in found.records
            if r.key is None
            or (newest[r.key] == r.offset and (r.value is not None or r.offset >= unread))
        ]
        gone = len(found.records) - len(kept)
        found.records = kept
        return gone

    def close(self) -> None:
        """Finish pending commits."""
        while self._pending:
            self.settle(self._pending[-1])


def _asked(holder: SimulatedMember, partition: TopicPartition) -> bool:
    """Tell whether a holder was already asked for a partition: by a queued or a polled revoke."""
    queued = any(isinstance(c, Revoked) and partition in c.partitions for c in holder.changes)
    assigned = any(isinstance(c, Assigned) and partition in c.partitions for c in holder.changes)
    return queued or not (partition in holder.owned() or assigned)


def _all_placed(member: SimulatedMember, partitions: Sequence[TopicPartition]) -> None:
    """Raise Unavailable for a partition without a position, before any place is held against the log."""
    for partition in partitions:
        if partition not in member.next:
            raise Unavailable(
                f"group {member.group} has no position in {partition.topic}"
                f" partition {partition.partition}",
                hint="set its first position explicitly; it is never guessed",
            )
