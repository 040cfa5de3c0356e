"""How a loop takes over the partitions that it is given: restored from the log, then read with due caution."""

from __future__ import annotations

from collections.abc import Iterable

from usance.engine.owner import attempts
from usance.engine.owner.caution import Caution
from usance.engine.owner.state import PartitionState
from usance.engine.owner.takeover import Restored, Seen, Takeover
from usance.engine.topics import Place, Topics
from usance.kernel.clock import Clock
from usance.kernel.errors import Unavailable
from usance.log.contract import Log, Membership

TAKE_AGAIN_S = 5.0
"""How long a partition that could not be restored waits while others of the owner go on."""


class Taking:
    """The partitions of a loop: those that it holds, and those that it has been given and not restored yet."""

    takeover: Takeover

    def __init__(self, log: Log, topics: Topics, clock: Clock, batch_max: int) -> None:
        self.log = log
        self.topics = topics
        self.clock = clock
        self.batch_max = batch_max
        self.member: Membership | None = None
        self.states: dict[Place, PartitionState] = {}
        self.positions: dict[Place, int] = {}
        self.cautions: dict[Place, Caution] = {}
        self.paused: dict[Place, str] = {}
        self.untaken: dict[Place, float] = {}
        """Since when, in monotonic seconds, a partition may be restored."""
        self.untaken_why = ""

    def _restored(self, place: Place, restored: Restored) -> None:
        """Take note of a partition that was just restored."""

    def _take_due(self) -> None:
        """Restore the partitions whose time has come, and read those that could be.

        All are asked about together, for their number must not lengthen the wait. Raises Unavailable where
        none can be read.
        """
        now = self.clock.monotonic()
        due = [place for place, at in self.untaken.items() if at <= now]
        if not due:
            return
        try:
            seen = self.takeover.look(due)
        except Unavailable as trouble:
            self._not_taken(due, trouble)
            return
        taken: list[Place] = []
        for place in due:
            try:
                self._restore(place, seen[place])
            except Unavailable as trouble:
                self._not_taken([place], trouble)
            else:
                taken.append(place)
        try:
            self._trust(taken)
        except Unavailable as trouble:
            self._not_taken(taken, trouble)

    def _not_taken(self, places: Iterable[Place], trouble: Unavailable) -> None:
        """Let partitions wait, the others first; raises the trouble where there is no other."""
        self.untaken_why = trouble.message
        for place in places:
            for held in (self.states, self.positions, self.cautions):
                held.pop(place, None)
            del self.untaken[place]
            self.untaken[place] = self.clock.monotonic() + TAKE_AGAIN_S
        if not self.states:
            self.untaken |= dict.fromkeys(self.untaken, 0.0)
            raise trouble

    def _restore(self, place: Place, seen: Seen | None = None) -> None:
        assert self.member is not None
        restored = self.takeover.restore(place, seen)
        self.states[place] = restored.state
        self.positions[place] = restored.position
        self._restored(place, restored)
        self.member.seek(self.topics.input(place), restored.position)

    def _trust(self, places: list[Place]) -> None:
        """Read restored partitions, with caution where the predecessor did not leave in order (rule 15)."""
        assert self.member is not None
        suspects = attempts.take(self.log, self.topics, places)
        doubted = [self.topics.input(p) for p, suspect in suspects.items() if suspect is not None]
        ends = self.log.ends(doubted)
        for place, suspect in suspects.items():
            caution = self.cautions[place] = Caution()
            if suspect is not None:
                # What came later than this the predecessor cannot have met.
                there = ends[self.topics.input(place)] - self.positions[place]
                caution.after_crash(suspect, min(self.batch_max, max(0, there)))
            del self.untaken[place]
        self.member.resume([self.topics.input(p) for p in places if p not in self.paused])
