"""Random histories of contract calls, and what one log answers to them: the same for every backend.

A history is drawn from its seed alone. Its calls name records, units and receipts by number, so that it
can be played on any log; what is noted is what the contract promises: values in order, ownership,
positions, and which class of error a call ended in. Offsets differ from log to log (each leaves gaps as
it likes), so a place is told by how many records stand before it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from usance.kernel.errors import UsanceError
from usance.log.contract import (
    RECORD_BYTES_MAX,
    Batch,
    Log,
    Membership,
    Output,
    Receipt,
    Staged,
    Start,
    TopicPartition,
    TopicSettings,
    Unit,
)
from usance.testing.conformance import C0, C1, COMMANDS, E0, E1, EVENTS, GROUP, changes, gathered

INPUTS = (C0, C1)
PLACES = (C0, C1, E0, E1)
NOWHERE = TopicPartition(EVENTS, 9)
READERS = "view"
"""A second group, without first positions, of events."""

Call = tuple[Any, ...]
Answer = tuple[Any, ...]

WEIGHTS = {
    "append": 12, "read": 16, "take": 8, "unit": 14, "present": 4, "commit": 18, "again": 5, "abort": 7,
    "seek": 6, "pause": 3, "resume": 5, "start": 4, "join": 2, "leave": 1, "position": 4, "move": 3,
    "scan": 6, "ends": 4, "expire": 2, "exhausted": 5, "owned": 3, "create": 1, "reopen": 1, "view": 1,
}  # fmt: skip


def drawn(seed: int, length: int) -> list[Call]:
    """Return a history of so many calls."""
    dice = random.Random(seed)
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    story: list[Call] = [("append", [(C0, 0), (C1, 1), (C0, 2)]), ("join", True), ("start", 0)]
    for number in range(length):
        name = dice.choices(names, weights)[0]
        story.append((name, *_arguments(name, dice, number)))
    return story


def _arguments(name: str, dice: random.Random, number: int) -> tuple[Any, ...]:
    near = dice.choice([0, 0, 0, 0, 1, 2])
    if name == "append":
        places = [dice.choice(PLACES) for _ in range(dice.randint(1, 4))]
        if dice.random() < 0.06:
            places.append(dice.choice([NOWHERE, TopicPartition("usance.trade.nothing", 0)]))
        return ([(p, dice.randint(0, 3)) for p in places],)
    if name == "unit":
        outputs = [
            (dice.choice((E0, E1, C1)), dice.randint(0, 3)) for _ in range(dice.randint(0, 4))
        ]
        flaw = dice.choice([""] * 24 + ["nowhere", "big"])
        return near, outputs, dice.random() < 0.5, flaw
    if name == "commit":
        return near, dice.choice(["last"] * 9 + ["start", "before", "bogus"])
    if name in ("seek", "move"):
        where = dice.choice(["at"] * 9 + ["gap", "beyond"])
        return dice.choice(INPUTS), dice.random(), where, near
    if name in ("take", "pause", "resume"):
        return dice.choice(INPUTS), dice.randint(0, 3)
    if name in ("scan", "expire"):
        return dice.choice(PLACES), dice.random(), dice.choice([None, dice.random()])
    return (dice.random() < 0.75,) if name == "join" else (near,)


class Player:
    """A log with what a history has made of it. Numbers count back: 0 is the newest."""

    def __init__(self, open_log: Callable[[Log | None], Log]) -> None:
        self._open = open_log
        self.log = open_log(None)
        for name in (COMMANDS, EVENTS):
            self.log.create_topic(TopicSettings(name, name.rsplit(".", 1)[1], 2))
        self.log.set_positions(GROUP, {C0: 0, C1: 0})
        self.members: list[Membership] = []
        self.live = False
        self.batches: list[Batch] = []
        self.staged: list[Staged] = []
        self.receipts: list[Receipt | Start] = []
        self.told: set[int] = set()
        self.offsets: dict[TopicPartition, list[int]] = {p: [] for p in PLACES}
        self.values: dict[TopicPartition, list[bytes | None]] = {p: [] for p in PLACES}
        self._written = 0

    def play(self, story: list[Call]) -> list[Answer]:
        """Return the answer to every call, and at last what the log holds."""
        answers: list[Answer] = []
        for name, *arguments in story:
            try:
                found = getattr(self, f"do_{name}")(*arguments)
                answers.append((name, *arguments, "->", found))
            except UsanceError as exc:
                answers.append((name, *arguments, "->", type(exc).__name__))
            self._look()
        answers.append(("values", {p: list(found) for p, found in self.values.items()}))
        answers.append(("positions", [self._position(GROUP, p) for p in INPUTS]))
        return answers

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    # --- places -----------------------------------------------------------------------------

    def _look(self) -> None:
        """Learn what was written: everything that is in the log, and the offset of each record."""
        for place in PLACES:
            known = self.offsets[place]
            for record in self.log.scan(place, known[-1] + 1 if known else 0):
                known.append(record.offset)
                self.values[place].append(record.value)

    def _number(self, place: TopicPartition, offset: int | None) -> int | None:
        """Return how many records were written below an offset."""
        return None if offset is None else sum(o < offset for o in self.offsets[place])

    def _offset(self, place: TopicPartition, share: float, where: str = "at") -> int:
        """Return the offset of a record, of the end, of a gap behind a record, or beyond the end."""
        known, end = self.offsets[place], self.log.end(place)
        if where == "beyond":
            return end + 1 + int(share * 5)
        at = int(share * (len(known) + 1))
        if where == "gap" and 0 < at <= len(known):
            return known[at - 1] + 1
        return known[at] if at < len(known) else end

    def _position(self, group: str, place: TopicPartition) -> int | None:
        return self._number(place, self.log.position(group, place))

    def _outputs(self, wanted: list[tuple[TopicPartition, int]]) -> list[Output]:
        found = []
        for place, key in wanted:
            self._written += 1
            found.append(Output(*place, b"k%d" % key if key else None, b"v%d" % self._written))
        return found

    # --- calls ------------------------------------------------------------------------------

    def do_append(self, wanted: list[tuple[TopicPartition, int]]) -> Answer:
        offsets = self.log.append(self._outputs(wanted))
        return (len(offsets),)

    def do_create(self, _: int) -> Answer:
        asked = TopicSettings(EVENTS, "events", 7, "compact")
        stored = self.log.create_topic(asked)
        return stored.kind, stored.partitions, stored.cleanup

    def do_join(self, polled: bool) -> Answer:
        """Join, and fence whoever is a member of this log already."""
        earlier = self.members[-1] if self.live else None
        held = earlier.owned() if earlier else frozenset()
        member = self.log.join(GROUP, [COMMANDS])
        self.members.append(member)
        self.live = True
        if earlier is not None and held:
            lost = changes(earlier)
            assert {p for change in lost for p in change.partitions} == held, lost
        fresh = (sorted(member.owned()), self.log.read(member, 9, 0.0).count)
        if polled:
            self._assigned()
        return (*fresh, sorted(earlier.owned()) if earlier else None)

    def _assigned(self) -> Membership | None:
        """Return the live member once all is its own."""
        if not self.live:
            return None
        member = self.members[-1]
        while len(member.owned()) < len(INPUTS):
            assert changes(member), "no assignment"
        return member

    def _member(self, back: int) -> Membership | None:
        """Return a member: the live one with its partitions, or an earlier one."""
        if back == 0 or len(self.members) <= back:
            return self._assigned()
        return self.members[-1 - back]

    def do_leave(self, _: int) -> None:
        if self.live:
            self.members[-1].close()
            self.live = False

    def do_reopen(self, _: int) -> None:
        """End the process and begin another."""
        self.log = self._open(self.log)
        self.members, self.live = [], False
        self.batches, self.staged, self.receipts = [], [], []

    def do_owned(self, back: int) -> Any:
        member = self._member(back)
        return None if member is None else sorted(member.owned())

    def do_start(self, back: int) -> Any:
        member = self._member(back)
        if member is None:
            return None
        self.receipts.append(self.log.start(member))
        return "started"

    def do_read(self, back: int) -> Any:
        member = self._member(back)
        return None if member is None else self._read(member, 100)

    def do_take(self, place: TopicPartition, count: int) -> Any:
        """Read a few records of one partition."""
        member = self._assigned()
        if member is None:
            return None
        others = [p for p in INPUTS if p != place]
        member.pause(others)
        try:
            return self._read(member, count)
        finally:
            member.resume(others)

    def _read(self, member: Membership, count: int) -> Any:
        batch = gathered(self.log, member, count)
        self.batches.append(batch)
        return {p: [r.value for r in run] for p, run in sorted(batch.records.items())}

    def do_unit(
        self, back: int, wanted: list[tuple[TopicPartition, int]], foot: bool, flaw: str
    ) -> Any:
        """Stage the unit of a batch."""
        full = [b for b in self.batches if b.count]
        if not full:
            return None
        batch = full[-1 - back % len(full)]
        outputs = self._outputs(wanted)
        if flaw == "nowhere":
            outputs.append(Output(*NOWHERE, None, b""))
        elif flaw == "big":
            outputs.append(Output(*E0, None, bytes(RECORD_BYTES_MAX + 1)))
        starts = {p: run[0].offset for p, run in batch.records.items()}
        ends = {p: run[-1].offset + 1 for p, run in batch.records.items()}
        footers = self._outputs([(E1, 0)]) if foot else []
        self.staged.append(self.log.stage(Unit(batch.fence, outputs, ends, starts, footers)))
        return "staged"

    def do_present(self, back: int) -> Any:
        """Stage a unit without new input: it commits the present positions again."""
        if not self.batches:
            return None
        fence = self.batches[-1 - back % len(self.batches)].fence
        held = [p for p, _ in fence.ownership]
        at = {p: self.log.position(GROUP, p) for p in held}
        known = {p: offset for p, offset in at.items() if offset is not None}
        if not known:
            return None
        self.staged.append(self.log.stage(Unit(fence, self._outputs([(E0, 1)]), known, known)))
        return "staged"

    def do_commit(self, back: int, which: str) -> Any:
        if not self.staged or not self.receipts:
            return None
        number = len(self.staged) - 1 - back % len(self.staged)
        after = self._receipt(which)
        if number in self.told or after is None:
            return None
        self.told.add(number)
        receipt = self.log.commit(self.staged[number], after).result(15.0)
        self.receipts.append(receipt)
        return "committed"

    def _receipt(self, which: str) -> Receipt | Start | None:
        starts = [r for r in self.receipts if isinstance(r, Start)]
        if which == "start":
            return starts[-1]
        if which == "before":
            if all(isinstance(r, Start) for r in self.receipts[-2:]):
                return self.receipts[
                    -1
                ]  # begun twice and nothing between: logs need not tell them apart
            return self.receipts[-2] if len(self.receipts) > 1 else None
        if which == "bogus":
            number = (
                max(r.number for r in self.receipts if isinstance(r, Receipt))
                if len(starts) < len(self.receipts)
                else 0
            )
            return Receipt(number + 1_000, 0)
        return self.receipts[-1]

    def do_again(self, back: int) -> Any:
        """Stage a unit anew and commit it: accepted only if it was not before."""
        if not self.staged or not self.receipts:
            return None
        unit = self.staged[-1 - back % len(self.staged)].unit
        self.receipts.append(self.log.commit(self.log.stage(unit), self.receipts[-1]).result(15.0))
        return "committed"

    def do_abort(self, back: int) -> Any:
        if not self.staged:
            return None
        self.log.abort(self.staged[-1 - back % len(self.staged)])
        return "dropped"

    def do_seek(self, place: TopicPartition, share: float, where: str, back: int) -> Any:
        """Seek as the live member, or as one that owns nothing (which has no effect)."""
        if not self.members:
            return None
        member = self._member(back)
        if member is not None:
            member.seek(place, self._offset(place, share, where))
        return None

    def do_pause(self, place: TopicPartition, _: int) -> None:
        if self.live:
            self.members[-1].pause([place])

    def do_resume(self, place: TopicPartition, count: int) -> None:
        if self.live:
            self.members[-1].resume(INPUTS if count else [place])

    def do_position(self, back: int) -> Any:
        return [self._position(READERS if back else GROUP, p) for p in (E0, *INPUTS)]

    def do_move(self, place: TopicPartition, share: float, where: str, _: int) -> Any:
        """Set the owner's position, as an operator does: its reader stays where it is."""
        self._assigned()
        offset = self._offset(place, share, where)
        self.log.set_positions(GROUP, {place: offset})
        return self._position(GROUP, place)

    def do_scan(self, place: TopicPartition, share: float, mark: float | None) -> Any:
        stop = None if mark is None else self._offset(place, mark)
        return [r.value for r in self.log.scan(place, self._offset(place, share), stop)]

    def do_ends(self, _: int) -> Any:
        """Note each partition's bounds, and that a wait knows them."""
        ends = {p: self.log.end(p) for p in PLACES}
        assert not self.log.wait(ends, 0.0)
        for place, end in ends.items():
            assert self.log.wait(ends | {place: end - 1}, 0.0)
        return [
            (self._number(p, self.log.begin(p)), self._number(p, end)) for p, end in ends.items()
        ]

    def do_expire(self, place: TopicPartition, share: float, _: float | None) -> Any:
        """Expire records; of a partition that is being read only while nobody has fetched from it."""
        if place in INPUTS and self.live:
            return None
        self.log.expire(place, self._offset(place, share))
        return self._number(place, self.log.begin(place))

    def do_exhausted(self, back: int) -> Any:
        member = self._member(back)
        return None if member is None else self.log.exhausted(member)

    def do_view(self, first: int) -> Any:
        """A group without positions reads nothing until it is given some, by either way."""
        member = self.log.join(READERS, [EVENTS])
        early = E0 if first else E1
        member.seek(early, 0)
        while len(member.owned()) < 2:
            assert changes(member), "no assignment"
        found: list[Any] = []
        at = {p: self.log.position(READERS, p) for p in (E0, E1)}
        for given in (None, "one", "two"):
            if given == "one":
                self.log.set_positions(READERS, {E0: self.log.begin(E0)})
            elif given == "two":
                member.seek(E1, self.log.begin(E1))
            try:
                batch = gathered(self.log, member)
                found.append(
                    {p: [r.value for r in run] for p, run in sorted(batch.records.items())}
                )
            except UsanceError as exc:
                found.append(type(exc).__name__)
        member.close()
        return [self._number(p, offset) for p, offset in at.items()], found
