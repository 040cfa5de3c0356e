"""What every log backend must do: subclass `LogConformance` in a test module and give `open_log`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usance.kernel.clock import BookClock, SystemClock
from usance.kernel.errors import Fenced, NotFound, Refused, Tampered, Unavailable, Unreadable
from usance.log.contract import (
    RECORD_BYTES_MAX,
    UNIT_RECORDS_MAX,
    Assigned,
    Batch,
    Change,
    Lost,
    Membership,
    Output,
    Receipt,
    Record,
    Start,
    TopicPartition,
    TopicSettings,
    Unit,
)
from usance.log.contract import Log as LogPort

GROUP = "owner"
PATIENCE_SECONDS = 30.0
COMMANDS = "usance.trade.commands"
EVENTS = "usance.trade.events"
OUTCOMES = "usance.trade.outcomes"
SNAPSHOTS = "usance.trade.snapshots"
NOON = 1_795_521_600_000

C0, C1 = TopicPartition(COMMANDS, 0), TopicPartition(COMMANDS, 1)
E0, E1 = TopicPartition(EVENTS, 0), TopicPartition(EVENTS, 1)
O0 = TopicPartition(OUTCOMES, 0)
S0 = TopicPartition(SNAPSHOTS, 0)

binary = st.one_of(st.none(), st.binary(max_size=300))
header_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)
header_lists = st.lists(st.tuples(header_names, st.binary(max_size=300)), max_size=9).map(tuple)
keyed_records = st.lists(st.tuples(binary, binary, header_lists), min_size=1, max_size=12)


def out(at: TopicPartition, value: bytes | None, key: bytes | None = b"k") -> Output:
    """Return an output for a partition."""
    return Output(at.topic, at.partition, key, value)


def values(records: Sequence[Record]) -> list[bytes | None]:
    """Return the values of records, in order."""
    return [record.value for record in records]


def changes(member: Membership) -> list[Change]:
    """Return the next ownership changes: a cluster needs a moment to agree on them."""
    clock = SystemClock()
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while not (found := member.poll()) and clock.monotonic() < deadline:
        clock.sleep(0.005)
    return found


def joined(log: LogPort, group: str, topics: Sequence[str]) -> Membership:
    """Return a member of a group that holds all of the topics' partitions."""
    member = log.join(group, topics)
    known = log.topics()
    wanted = sum(known[topic].partitions for topic in topics)
    while len(member.owned()) < wanted:
        assert changes(member), f"no assignment in {group}"
    return member


def gathered(log: LogPort, member: Membership, limit: int = 100) -> Batch:
    """Return all that is committed, at most `limit` records, in one batch under the last fence."""
    batch = log.read(member, limit, 0.0)
    found = dict(batch.records)
    while (left := limit - sum(map(len, found.values()))) > 0 and member.owned():
        batch = log.read(member, left, 0.05)
        for partition, run in batch.records.items():
            found[partition] = found.get(partition, []) + run
        if not batch.count and log.exhausted(member):
            break
    return Batch(found, batch.fence)


class Owner:
    """A member of the owning group with its receipt chain, as short as a test needs it."""

    def __init__(self, log: LogPort) -> None:
        self.log = log
        self.member: Membership = joined(log, GROUP, [COMMANDS])
        self.last: Receipt | Start = log.start(self.member)

    def read(self, count: int = 100) -> Batch:
        """Read what is there."""
        return gathered(self.log, self.member, count)

    def unit(self, batch: Batch, outputs: Sequence[Output], footers: Sequence[Output] = ()) -> Unit:
        """Return the unit that a batch causes."""
        starts = {p: run[0].offset for p, run in batch.records.items()}
        ends = {p: run[-1].offset + 1 for p, run in batch.records.items()}
        return Unit(batch.fence, outputs, ends, starts, footers)

    def commit(self, unit: Unit) -> Receipt:
        """Stage and commit a unit after the last receipt."""
        receipt = self.log.commit(self.log.stage(unit), self.last).result(10.0)
        self.last = receipt
        return receipt


class LogConformance:
    """The contract as tests; each is a promise of `usance.log.contract`."""

    def open_log(self, folder: Path, clock: BookClock) -> LogPort:
        """Return a new, empty log of the backend under test."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> BookClock:
        """Return a clock that stands still until told to move."""
        return BookClock(NOON)

    @pytest.fixture
    def log(self, tmp_path: Path, clock: BookClock) -> Iterator[LogPort]:
        """Return a log with the topics of a context and first positions for its owner."""
        log = self.open_log(tmp_path, clock)
        for name in (COMMANDS, EVENTS, OUTCOMES):
            log.create_topic(TopicSettings(name, name.rsplit(".", 1)[1], 2))
        log.create_topic(TopicSettings(SNAPSHOTS, "snapshots", 2, "compact"))
        log.set_positions(GROUP, {C0: 0, C1: 0})
        yield log
        log.close()

    # --- topics -----------------------------------------------------------------------------

    def test_a_topic_is_created_once_and_keeps_its_identity(self, log: LogPort) -> None:
        """Creating it again returns what is stored, whatever is asked for."""
        first = log.topics()[EVENTS]
        again = log.create_topic(TopicSettings(EVENTS, "events", 7))
        assert first.topic_id and again == first == log.topics()[EVENTS]
        assert first.topic_id != log.topics()[COMMANDS].topic_id

    def test_an_unknown_topic_or_partition_is_not_found(self, log: LogPort) -> None:
        """A record for a place that does not exist is refused before anything is written."""
        with pytest.raises(NotFound):
            log.append([out(E0, b"v"), out(TopicPartition(EVENTS, 2), b"v")])
        with pytest.raises(NotFound):
            log.append([out(TopicPartition("nowhere", 0), b"v")])
        with pytest.raises(NotFound):
            log.join(GROUP, ["nowhere"])
        assert log.end(E0) == 0

    # --- append and scan --------------------------------------------------------------------

    def test_appended_records_get_the_offsets_that_are_returned(self, log: LogPort) -> None:
        """Offsets follow the order of the outputs, partition by partition."""
        offsets = log.append([out(E0, b"a"), out(E1, b"b"), out(E0, b"c")])
        offsets += log.append([out(E0, b"d")])
        assert offsets == [0, 0, 1, 2]
        assert [(r.offset, r.value) for r in log.scan(E0, 0)] == [(0, b"a"), (1, b"c"), (2, b"d")]
        assert (log.begin(E0), log.end(E0), log.end(E1)) == (0, 3, 1)
        assert log.append([]) == []

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(rows=keyed_records)
    def test_keys_values_and_headers_come_back_identical(
        self,
        log: LogPort,
        rows: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]],
    ) -> None:
        """None is not empty; header names repeat, are empty or not ASCII, and keep their order."""
        start = log.end(E1)
        log.append([Output(EVENTS, 1, key, value, headers) for key, value, headers in rows])
        found = [(r.key, r.value, r.headers) for r in log.scan(E1, start)]
        assert found == rows

    def test_a_big_record_is_kept_and_a_bigger_one_refused(self, log: LogPort) -> None:
        """The bound holds for key, value and headers together, with a clear error."""
        big = bytes(range(251)) * ((RECORD_BYTES_MAX - 1_000) // 251)
        log.append([out(E0, b"before"), out(E0, big), out(E0, b"after")])
        assert values(list(log.scan(E0, 0))) == [b"before", big, b"after"]
        for key in (b"k", None):
            with pytest.raises(Unreadable, match="bound"):
                log.append([out(E0, bytes(RECORD_BYTES_MAX + 1), key)])
        assert log.end(E0) == 3

    def test_scan_stops_before_its_mark_whatever_the_fetch_size(self, log: LogPort) -> None:
        """A fetch bound never bounds the scan."""
        log.append([out(E0, b"%d" % i) for i in range(10)])
        assert [r.offset for r in log.scan(E0, 3, 8, max_records=2)] == [3, 4, 5, 6, 7]
        assert list(log.scan(E0, 10)) == [] == list(log.scan(E0, 5, 5))

    def test_timestamps_are_the_clocks_and_never_go_back(
        self, log: LogPort, clock: BookClock
    ) -> None:
        """Append time moves with the clock."""
        log.append([out(E0, b"a"), out(E0, b"b")])
        clock.advance_to(NOON + 5)
        log.append([out(E0, b"c")])
        assert [r.timestamp for r in log.scan(E0, 0)] == [NOON, NOON, NOON + 5]

    def test_timestamps_stand_still_while_the_clock_is_back(
        self, log: LogPort, clock: BookClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A clock set back does not reorder a partition."""
        log.append([out(E0, b"a")])
        monkeypatch.setattr(clock, "now", lambda: NOON - 60_000)
        log.append([out(E0, b"b"), out(E1, b"x")])
        assert [r.timestamp for r in log.scan(E0, 0)] == [NOON, NOON]
        assert [r.timestamp for r in log.scan(E1, 0)] == [NOON - 60_000]

    def test_one_question_answers_for_many_partitions(self, log: LogPort) -> None:
        """Bounds and positions as those of each; a partition without a position is left out."""
        log.append([out(C0, b"a"), out(E0, b"b"), out(E0, b"c")])
        log.expire(E0, 1)
        log.set_positions("view", {E0: 1})
        places = [E0, C0, E1]
        assert log.ends(places) == {p: log.end(p) for p in places} == {E0: 2, C0: 1, E1: 0}
        assert log.begins(places) == {p: log.begin(p) for p in places} == {E0: 1, C0: 0, E1: 0}
        assert log.positions("view", places) == {E0: 1}
        assert log.positions("nobody", places) == log.ends([]) == log.begins([]) == {}
        with pytest.raises(NotFound):
            log.ends([E0, TopicPartition(EVENTS, 2)])

    def test_wait_tells_whether_an_end_has_passed(self, log: LogPort) -> None:
        """It does not block when there is something already."""
        log.append([out(E0, b"a")])
        assert log.wait({E0: 0, E1: 0}, 5.0)
        assert not log.wait({E0: 1, E1: 0}, 0.0)

    # --- groups -----------------------------------------------------------------------------

    def test_an_assignment_comes_before_its_records(self, log: LogPort) -> None:
        """Nothing is owned or read before the poll that says so, and it is said once."""
        log.append([out(C0, b"a")])
        member = log.join(GROUP, [COMMANDS])
        assert member.owned() == frozenset()
        assert log.read(member, 10, 0.0).count == 0
        assert changes(member) == [Assigned((C0, C1))]
        assert member.poll() == []
        assert member.owned() == {C0, C1}
        assert gathered(log, member).count == 1

    def test_without_a_first_position_nothing_is_read(self, log: LogPort) -> None:
        """There is no automatic reset, to neither end."""
        log.append([out(E0, b"a")])
        member = joined(log, "view", [EVENTS])
        assert log.position("view", E0) is None
        with pytest.raises(Unavailable, match="no position"):
            log.read(member, 10, 0.0)
        with pytest.raises(Unavailable, match="no position"):
            log.exhausted(member)
        log.set_positions("view", {E0: 0, E1: 0})
        assert log.position("view", E0) == 0
        assert values(gathered(log, member).records[E0]) == [b"a"]
        log.set_positions("view", {E0: 0})
        assert gathered(log, member).count == 0

    def test_a_seek_counts_only_where_the_partition_is_held(self, log: LogPort) -> None:
        """Before its assignment and after its loss a member moves nothing."""
        log.append([out(C0, b"a"), out(C0, b"b")])
        first = log.join(GROUP, [COMMANDS])
        first.seek(C0, 1)
        assert changes(first)
        assert values(gathered(log, first).records[C0]) == [b"a", b"b"]
        second = joined(log, GROUP, [COMMANDS])
        changes(first)
        first.seek(C0, 0)
        batch = log.read(first, 9, 0.0)
        assert (batch.count, batch.fence.ownership) == (0, ())
        assert gathered(log, second).count == 2

    def test_reading_starts_at_the_committed_position(self, log: LogPort) -> None:
        """Positions belong to the group and survive its members."""
        log.append([out(C0, b"%d" % i) for i in range(5)])
        log.set_positions(GROUP, {C0: 3})
        member = joined(log, GROUP, [COMMANDS])
        assert values(gathered(log, member).records[C0]) == [b"3", b"4"]

    def test_a_read_moves_on_by_what_it_returned(self, log: LogPort) -> None:
        """Bounded reads neither skip nor repeat, and both partitions get their turn."""
        log.append([out(C0, b"%d" % i) for i in range(7)] + [out(C1, b"x")] * 7)
        owner, seen = Owner(log), []
        for _ in range(20):
            batch = owner.read(3)
            assert batch.count <= 3
            seen += [(p, r.offset) for p, run in batch.records.items() for r in run]
        assert sorted(seen) == sorted((p, i) for p in (C0, C1) for i in range(7))
        assert owner.read(0).count == 0

    def test_paused_partitions_are_left_alone_until_resumed(self, log: LogPort) -> None:
        """A pause stops reading, not ownership."""
        log.append([out(C0, b"a"), out(C1, b"b")])
        owner = Owner(log)
        owner.member.pause([C0])
        assert set(owner.read().records) == {C1}
        assert owner.member.owned() == {C0, C1}
        owner.member.resume([C0])
        assert set(owner.read().records) == {C0}

    def test_exhausted_tells_whether_all_that_was_committed_is_read(self, log: LogPort) -> None:
        """Gaps and paused partitions are nothing to read; before the assignment nothing is said."""
        log.append([out(C0, b"a"), out(C1, b"b"), out(C1, b"c")])
        fresh = log.join(GROUP, [COMMANDS])
        assert not log.exhausted(fresh)
        owner = Owner(log)
        assert not log.exhausted(owner.member)
        batch = owner.read()
        assert log.exhausted(owner.member)
        owner.commit(owner.unit(batch, [out(C1, b"d")]))
        assert not log.exhausted(owner.member)
        owner.member.pause([C1])
        assert log.exhausted(owner.member)
        owner.member.resume([C1])
        assert values(owner.read().records[C1]) == [b"d"]
        assert log.exhausted(owner.member)
        owner.member.seek(C0, 0)
        assert not log.exhausted(owner.member)

    def test_seek_reads_again_from_any_offset(self, log: LogPort) -> None:
        """Replay is a seek."""
        log.append([out(C0, b"%d" % i) for i in range(4)])
        owner = Owner(log)
        owner.read()
        owner.member.seek(C0, 2)
        assert values(owner.read().records[C0]) == [b"2", b"3"]

    @pytest.mark.parametrize("bad", [C0, C1], ids=["first", "last"])
    def test_a_partition_outside_the_log_holds_no_other_up(
        self, log: LogPort, bad: TopicPartition
    ) -> None:
        """What cannot be read is paused, and the others are read on."""
        good = C1 if bad == C0 else C0
        log.append([out(good, b"a"), out(good, b"b")])
        log.set_positions(GROUP, {good: 0, bad: 99})
        member = joined(log, GROUP, [COMMANDS])
        with pytest.raises(Tampered):
            log.read(member, 100, 0.0)
        member.pause([bad])
        assert values(gathered(log, member).records[good]) == [b"a", b"b"]

    def test_a_position_outside_the_log_stops_the_line(self, log: LogPort) -> None:
        """Neither a cut log nor one that is too short is read from a guessed place."""
        log.append([out(C0, b"%d" % i) for i in range(4)])
        log.expire(C0, 2)
        owner = Owner(log)
        with pytest.raises(Tampered):
            owner.read()
        owner.member.seek(C0, 5)
        with pytest.raises(Tampered):
            owner.read()
        with pytest.raises(Tampered):
            log.exhausted(owner.member)
        log.append([out(C1, b"other")])
        for _ in range(9):  # whichever partition is looked at first
            with pytest.raises(Tampered):
                owner.read()
        owner.member.seek(C0, 4)
        assert values(owner.read().records[C1]) == [b"other"]

    def test_a_member_reads_on_where_the_log_starts_late(self, log: LogPort) -> None:
        """Expired records below its position trouble no new member, however often one comes."""
        log.append([out(C0, b"%d" % i) for i in range(4)])
        log.expire(C0, 2)
        log.set_positions(GROUP, {C0: 2})
        for _ in range(4):
            assert values(Owner(log).read().records[C0]) == [b"2", b"3"]

    # --- units ------------------------------------------------------------------------------

    def test_a_unit_is_invisible_until_its_commit_and_whole_after(self, log: LogPort) -> None:
        """Records of every partition and the positions appear as one."""
        log.append([out(C0, b"a"), out(C1, b"b")])
        owner = Owner(log)
        unit = owner.unit(owner.read(), [out(E0, b"e"), out(E1, b"f")], [out(O0, b"foot")])
        staged = log.stage(unit)
        assert [list(log.scan(p, 0)) for p in (E0, E1, O0)] == [[], [], []]
        receipt = log.commit(staged, owner.last).result(10.0)
        assert receipt.timestamp == NOON
        assert [values(list(log.scan(p, 0))) for p in (E0, E1, O0)] == [[b"e"], [b"f"], [b"foot"]]
        assert [log.position(GROUP, p) for p in (C0, C1)] == [1, 1]

    def test_a_pending_commit_tells_when_its_unit_is_written_and_keeps_it_told(
        self, log: LogPort
    ) -> None:
        """Whoever waits for it waits in vain for nothing: it is told at the latest when the commit is over."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        pending = log.commit(log.stage(owner.unit(owner.read(), [out(E0, b"e")])), owner.last)
        assert any(pending.written(1.0) for _ in range(60))
        pending.result(10.0)
        assert pending.written(0.0) and pending.done()

    def test_outputs_keep_their_order_and_footers_come_last(self, log: LogPort) -> None:
        """Order holds inside each partition."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        outputs = [out((E0, E1)[i % 2], b"%d" % i) for i in range(10)]
        owner.commit(owner.unit(owner.read(), outputs, [out(E0, b"foot")]))
        assert values(list(log.scan(E0, 0))) == [b"0", b"2", b"4", b"6", b"8", b"foot"]
        assert values(list(log.scan(E1, 0))) == [b"1", b"3", b"5", b"7", b"9"]

    def test_each_unit_leaves_a_gap_where_it_wrote(self, log: LogPort) -> None:
        """A commit marker takes an offset, so nobody can count on dense offsets."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        batch = owner.read()
        owner.commit(owner.unit(batch, [out(E0, b"e1"), out(E0, b"e2")]))
        owner.commit(Unit(batch.fence, [out(E0, b"e3")], {C0: 1}, {C0: 1}))
        offsets = [r.offset for r in log.scan(E0, 0)]
        # On a broker the first marker may come after what the next unit sends.
        assert offsets[:2] == [0, 1] and offsets[2] >= 2
        assert log.end(E0) >= len(offsets) + 2
        assert log.end(E1) == 0

    def test_a_reader_gets_over_gaps(self, log: LogPort) -> None:
        """A position inside a gap is as good as one behind it."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        batch = owner.read()
        owner.commit(owner.unit(batch, [out(C1, b"b1")]))
        owner.commit(Unit(batch.fence, [out(C1, b"b2")], {C0: 1}, {C0: 1}))
        assert values(owner.read().records[C1]) == [b"b1", b"b2"]
        assert owner.read().count == 0

    def test_a_unit_without_outputs_moves_positions(self, log: LogPort) -> None:
        """And one without new input commits the present position again."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        batch = owner.read()
        first = owner.commit(owner.unit(batch, []))
        second = owner.commit(Unit(batch.fence, [], {C0: 1, C1: 0}, {C0: 1, C1: 0}))
        assert second.number > first.number
        assert [log.position(GROUP, p) for p in (C0, C1)] == [1, 0]

    def test_an_abort_drops_the_unit_and_rewinds_the_reader(self, log: LogPort) -> None:
        """The next record has exactly the offset of the unit's start."""
        log.append([out(C0, b"%d" % i) for i in range(4)])
        owner = Owner(log)
        first = log.stage(owner.unit(owner.read(2), [out(E0, b"e")]))
        second = log.stage(owner.unit(owner.read(2), [out(E0, b"f")]))
        log.abort(first)
        log.abort(second)
        assert values(owner.read().records[C0]) == [b"0", b"1", b"2", b"3"]
        assert (list(log.scan(E0, 0)), log.position(GROUP, C0)) == ([], 0)

    def test_a_receipt_that_is_not_the_last_is_refused(self, log: LogPort) -> None:
        """That is how a mistake in pipelining shows; the unit leaves nothing behind."""
        log.append([out(C0, b"a"), out(C0, b"b"), out(C0, b"c")])
        owner = Owner(log)
        start = owner.last
        first = owner.commit(owner.unit(owner.read(1), [out(E0, b"1")]))
        second = owner.commit(owner.unit(owner.read(1), [out(E0, b"2")]))
        third = owner.unit(owner.read(1), [out(E0, b"3")])
        for wrong in (start, first, Receipt(second.number + 1, NOON)):
            with pytest.raises(Fenced):
                log.commit(log.stage(third), wrong).result(10.0)
        owner.commit(third)
        assert values(list(log.scan(E0, 0))) == [b"1", b"2", b"3"]

    def test_a_unit_below_the_committed_position_is_refused(self, log: LogPort) -> None:
        """Inputs are decided once, even by an owner that lost count."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        unit = owner.unit(owner.read(), [out(E0, b"1")])
        owner.commit(unit)
        with pytest.raises(Fenced):
            owner.commit(unit)
        assert values(list(log.scan(E0, 0))) == [b"1"]

    def test_a_unit_over_the_bound_is_refused_when_staged(self, log: LogPort) -> None:
        """With the bound in the error, and nothing written."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        batch = owner.read()
        with pytest.raises(Unreadable, match="bound"):
            log.stage(owner.unit(batch, [out(E0, b"e")] * (UNIT_RECORDS_MAX + 1)))
        with pytest.raises(Unreadable, match="bound"):
            log.stage(owner.unit(batch, [out(E0, bytes(RECORD_BYTES_MAX - 99))] * 3))
        owner.commit(owner.unit(batch, [out(E0, b"e")] * UNIT_RECORDS_MAX))
        assert len(list(log.scan(E0, 0))) == UNIT_RECORDS_MAX

    # --- fencing ----------------------------------------------------------------------------

    def test_a_second_owner_fences_the_first(self, log: LogPort) -> None:
        """What the first had staged is dropped, and it learns that everything is lost."""
        log.append([out(C0, b"a")])
        zombie = Owner(log)
        unit = zombie.unit(zombie.read(), [out(E0, b"zombie")])
        staged = log.stage(unit)
        owner = Owner(log)
        with pytest.raises(Fenced):
            log.commit(staged, zombie.last).result(10.0)
        with pytest.raises(Fenced):
            log.start(zombie.member)
        assert [type(c) for c in changes(zombie.member)] == [Lost]
        assert zombie.read().count == 0
        owner.commit(owner.unit(owner.read(), [out(E0, b"owner")]))
        assert values(list(log.scan(E0, 0))) == [b"owner"]

    def test_a_member_that_left_commits_nothing(self, log: LogPort) -> None:
        """Though nobody has taken its place."""
        log.append([out(C0, b"a"), out(C0, b"b")])
        owner = Owner(log)
        owner.commit(owner.unit(owner.read(1), [out(E0, b"kept")]))
        late = owner.unit(owner.read(), [out(E0, b"late")])
        owner.member.close()
        with pytest.raises(Fenced):
            owner.commit(late)
        assert values(list(log.scan(E0, 0))) == [b"kept"]

    def test_a_zombie_cannot_use_its_successors_receipt(self, log: LogPort) -> None:
        """The fence is the value that was read, not what is known at commit."""
        log.append([out(C0, b"a"), out(C0, b"b")])
        zombie = Owner(log)
        stale = zombie.unit(zombie.read(), [out(E0, b"zombie")])
        owner = Owner(log)
        with pytest.raises(Fenced):
            log.commit(log.stage(stale), owner.last).result(10.0)
        last = owner.commit(owner.unit(owner.read(1), [out(E0, b"owner")]))
        with pytest.raises(Fenced):
            log.commit(log.stage(stale), last).result(10.0)
        assert values(list(log.scan(E0, 0))) == [b"owner"]

    def test_groups_do_not_fence_each_other(self, log: LogPort) -> None:
        """Epochs and receipts belong to a group."""
        log.append([out(C0, b"a")])
        owner = Owner(log)
        log.set_positions("router", {E0: 0, E1: 0})
        router = joined(log, "router", [EVENTS])
        log.start(router)
        owner.commit(owner.unit(owner.read(), [out(E0, b"e")]))
        assert gathered(log, router).count == 1

    # --- retention --------------------------------------------------------------------------

    def test_expired_records_are_gone_and_offsets_never_come_back(self, log: LogPort) -> None:
        """An emptied partition goes on where it was."""
        log.append([out(E0, b"%d" % i) for i in range(5)])
        assert log.expire(E0, 3) == 3
        assert (log.begin(E0), [r.offset for r in log.scan(E0, 0)]) == (3, [3, 4])
        assert log.expire(E0, 1) == 0
        assert log.expire(E0, 99) == 2
        assert (log.begin(E0), log.end(E0)) == (5, 5)
        assert log.append([out(E0, b"x")]) == [5]

    def test_compaction_keeps_the_last_value_of_each_key(self, log: LogPort) -> None:
        """Offsets of what stays do not move; tombstoned keys go; records without a key stay."""
        rows = [(b"a", b"1"), (b"b", b"2"), (None, b"3"), (b"a", b"4"), (b"b", None), (None, b"6")]
        log.append([out(S0, value, key) for key, value in rows])
        assert log.compact(S0, 4) == 2
        assert [(r.offset, r.value) for r in log.scan(S0, 0)] == [
            (2, b"3"),
            (3, b"4"),
            (4, None),
            (5, b"6"),
        ]
        assert log.compact(S0, 5) == 1
        assert [(r.offset, r.value) for r in log.scan(S0, 0)] == [(2, b"3"), (3, b"4"), (5, b"6")]
        log.append([out(S0, None, b"a")])
        assert log.compact(S0) == 2
        log.append([out(S0, b"4", b"a")])
        assert log.end(S0) == 8
        with pytest.raises(Refused):
            log.compact(E0)
