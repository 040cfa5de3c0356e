"""A generation that a projector follows, and the batch of it that is on its way to the store."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from usance.engine.projections.projection import (
    Changes,
    Checkpoint,
    Generation,
    Move,
    Parked,
    Rows,
    ViewStore,
)
from usance.kernel.clock import Instant
from usance.log.contract import Record, TopicPartition

_ParkedKeys = dict[tuple[TopicPartition, str], Instant]


class Follower:
    """A generation with its rows in memory, what the batch under way adds to it, and the one in flight."""

    def __init__(self, store: ViewStore, generation: Generation) -> None:
        self.generation = generation
        fresh = all(c.offset == 0 for c in generation.checkpoints.values())
        self.rows = Rows(store, generation, empty=fresh)
        self.moves: list[Move] = []
        self.flying: list[Move] = []
        self.parked: list[Parked] = []
        self.parked_before = dict(generation.parked)
        self._parked_flying: _ParkedKeys = {}

    def take(self) -> Changes:
        """Return what the batch changes, which is in flight from now on; the next one begins."""
        changes = Changes(self.generation, self.rows.taken(), self.moves, self.parked)
        self.flying, self._parked_flying = self.moves, dict(self.generation.parked)
        self.moves, self.parked = [], []
        return changes

    def committed(self) -> None:
        """The store has what was in flight."""
        for move in self.flying:
            self.generation.checkpoints[move.place] = move.to
        self.rows.written()
        self.parked_before, self.flying = self._parked_flying, []

    def dropped(self) -> None:
        """Forget everything that the store may not have."""
        self.rows.forget()
        self.generation.parked = self.parked_before
        self.parked_before = dict(self.generation.parked)
        self.moves, self.flying, self.parked = [], [], []

    def checkpoint(self, place: TopicPartition) -> Checkpoint:
        """Return where the next record is read, what is in flight or under way included."""
        for move in (*reversed(self.moves), *self.flying):
            if move.place == place:
                return move.to
        return self.generation.checkpoints[place]

    def at(self, place: TopicPartition) -> int:
        """Return the next offset to read."""
        return self.checkpoint(place).offset

    def move(self, place: TopicPartition, to: Checkpoint) -> None:
        """Note that reading goes on from `to`; steps within one batch become one."""
        for n, move in enumerate(self.moves):
            if move.place == place:
                self.moves[n] = move._replace(to=to)
                return
        self.moves.append(Move(place, self.at(place), to))

    def park(self, record: Record, place: TopicPartition, error: str) -> None:
        """Let a record, and later ones of its key, wait for a rebuild; its rows are stale."""
        key = key_text(record)
        held = self.generation.parked.setdefault((place, key), record.timestamp)
        self.parked.append(Parked(key, place, record.offset, error, record.timestamp))
        self.rows.mark_stale(key, held)


class Flight:
    """The batch on its way to the store: while it is written, the next one is folded.

    One at a time, in order. Rows that are in flight are in memory, so what is folded meanwhile finds them.
    """

    def __init__(self, store: ViewStore) -> None:
        self._store = store
        self._writer: ThreadPoolExecutor | None = None
        self._future: Future[None] | None = None
        self._aboard: Sequence[Follower] = ()

    @property
    def under_way(self) -> bool:
        """Whether a batch is being written."""
        return self._future is not None

    def take_off(self, followers: Sequence[Follower], *, wait: bool) -> None:
        """Write what followers have, once the batch before is there; `wait` until it is, too.

        Raises what the store raises, for either.
        """
        self.land()
        changes = [follower.take() for follower in followers]
        if wait:
            self._store.commit(changes)
            for follower in followers:
                follower.committed()
            return
        self._writer = self._writer or ThreadPoolExecutor(1, "views-writer")
        self._aboard = followers
        self._future = self._writer.submit(self._store.commit, changes)

    def land(self) -> None:
        """Wait for the batch that is being written, if there is one. Raises what the store raises."""
        future, self._future = self._future, None
        if future is not None:
            future.result()
            for follower in self._aboard:
                follower.committed()

    def close(self) -> None:
        """End the thread."""
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None


def key_text(record: Record) -> str:
    """Return a record's key as text."""
    return "" if record.key is None else record.key.decode("utf-8", "replace")
