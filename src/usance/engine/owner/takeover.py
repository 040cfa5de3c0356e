"""The one take-over path (rule 5): from the log alone to the state of a partition, or a clear stop.

Positions first, then the high watermarks, then every topic read up to its mark, then the footer's word
(rule 16) against what was read. Nothing is repaired silently.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from heapq import heappush
from typing import Any, NamedTuple

from usance.audit.chain import chain_start, envelope_hash
from usance.engine import collector
from usance.engine.owner.handling import timers_after
from usance.engine.owner.parking import parked_state
from usance.engine.owner.rounds import Rounds
from usance.engine.owner.snapshots import SealState, load_round
from usance.engine.owner.state import (
    OUTCOME_WINDOW_MS,
    Answer,
    Entry,
    PartitionState,
    Scalars,
    StateUnreadable,
    Tail,
    with_recent,
)
from usance.engine.secrecy.keys import TAKEOVER_USES
from usance.engine.topics import Place, Topics
from usance.kernel.decider import Decider
from usance.kernel.errors import Tampered, Unavailable
from usance.log.contract import Log, Record, TopicPartition
from usance.messages.outcome import Outcome, UnitFooter

FORGOTTEN_TOGETHER = 500
"""Restored answers that are dropped in one go once the newest of them has left the window."""
OWNED = ("events", "outcomes", "parked", "dead-letters", "snapshots")
"""Topic kinds that an owner reads back; a consume group has neither events nor snapshots."""
SCAN_RECORDS = 5_000
ALIVE_EVERY = 5_000
"""Records read back between two signs of life."""
CONTROL_KEY = b"#control"
"""Key in a consume group's parked topic of the next offset of its own commands."""


class Seen(NamedTuple):
    """What was asked of a partition before its restore: the group's position, then bounds of its topics."""

    position: int | None
    begins: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]


class Restored(NamedTuple):
    """A partition ready to decide: its state, where to read on, and how it was restored."""

    state: PartitionState
    position: int
    events_read: int
    from_snapshot: int
    rounds: Rounds


class Takeover:
    """Restores partitions of one owner group."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        decoder: Any,
        deciders: Mapping[str, Decider[Any]],
        log_id: str,
        group: str,
        kinds: tuple[str, ...] = OWNED,
        alive: Callable[[], None] = lambda: None,
        unseal: SealState | None = None,
    ) -> None:
        self.log = log
        self.topics = topics
        self.decoder = decoder
        self.deciders = deciders
        self.log_id = log_id
        self.group = group
        self.kinds = kinds
        self.alive = alive
        """Called now and then: to restore much takes longer than anything else that is no sign of trouble."""
        self.unseal = unseal
        self.doubted: set[Place] = set()
        """Partitions whose snapshots turned out unreadable: their events are folded from the first."""

    def look(self, places: Collection[Place]) -> dict[Place, Seen]:
        """Ask what is to be known of partitions before they are restored, all with few questions.

        Positions first, and only then the high watermarks: what they bound is all that a predecessor can have
        committed. To be used at once. Raises Unavailable.
        """
        inputs = {place: self.topics.input(place) for place in places}
        positions = self.log.positions(self.group, list(inputs.values()))
        at = [self.topics.at(p.context, k, p.partition) for p in places for k in self.kinds]
        ends = self.log.ends([*at, *inputs.values()])
        begins = self.log.begins(at)
        return {p: Seen(positions.get(tp), begins, ends) for p, tp in inputs.items()}

    def restore(self, place: Place, seen: Seen | None = None) -> Restored:
        """Return the restored partition; raises Tampered or Unavailable with what to do."""
        with collector.paused():
            return self._restore(place, seen or self.look([place])[place])

    def _restore(self, place: Place, seen: Seen) -> Restored:
        commands = self.topics.input(place)
        at = {kind: self.topics.at(place.context, kind, place.partition) for kind in self.kinds}
        marks = {kind: seen.ends[tp] for kind, tp in at.items()}
        state = PartitionState()
        begins = {kind: seen.begins[tp] for kind, tp in at.items()}
        footer = self._outcomes(state, at["outcomes"], begins["outcomes"], marks["outcomes"])
        if "events" in at:
            folded = self._folded(state, at, begins, marks, trusted=place not in self.doubted)
        else:
            folded = _nothing(state)
        letters = "dead-letters"
        self._tail(state, letters, at[letters], begins[letters], marks[letters])
        parked = {
            r.key: r.value
            for r in self._scan(at["parked"], begins["parked"], marks["parked"])
            if r.key is not None
        }
        control = int(parked.pop(CONTROL_KEY, None) or 0)
        state.parks, state.dead_letters = parked_state(parked)
        start = self._position(state, commands, seen, footer)
        assert state.scalars is not None
        state.scalars = state.scalars._replace(control=control)
        return Restored(state, start, *folded)

    def _folded(
        self,
        state: PartitionState,
        at: dict[str, TopicPartition],
        begins: dict[str, int],
        marks: dict[str, int],
        *,
        trusted: bool,
    ) -> tuple[int, int, Rounds]:
        """Fold the events from the newest snapshots on, or all of them where those do not fit."""
        snapshots = at["snapshots"]
        there = self._scan(snapshots, begins["snapshots"], marks["snapshots"])
        loaded = load_round(there, self.deciders, self.unseal)
        round_ = loaded.round if trusted else None
        events = at["events"]
        bounds = begins["events"], marks["events"]
        try:
            read, changed = self._events(state, events, *bounds, round_)
        except (_SnapshotMismatch, StateUnreadable):
            round_ = None
            state.entries.clear()
            state.timers.clear()
            read, changed = self._events(state, events, *bounds, None)
        if round_ is None or not round_.entries:
            origin = chain_start(self.log_id, events.topic, events.partition)
            restart, every = (bounds[0], Tail(0, origin)), state.entries
            return read, 0, Rounds(loaded.number, restart, every, first=loaded.first)
        rounds = Rounds(
            loaded.number,
            (round_.restart, round_.tail),
            changed,
            first=loaded.first,
            since=round_.since,
            listed=round_.listed,
        )
        return read, len(round_.entries), rounds

    def _scan(self, tp: TopicPartition, begin: int, mark: int) -> Iterable[Record]:
        if begin >= mark:
            return ()
        found: Iterable[Record] = self.decoder.with_keys(
            self.log.scan(tp, begin, mark, SCAN_RECORDS)
        )
        return found

    # -- outcomes: answers, footers

    def _outcomes(
        self, state: PartitionState, tp: TopicPartition, begin: int, mark: int
    ) -> tuple[UnitFooter, int] | None:
        footer: UnitFooter | None = None
        footer_index = -1
        last: Record | None = None
        index, decoder = -1, self.decoder
        for record in self._scan(tp, begin, mark):
            _, at, _ = decoder.skim(record.headers)
            message = decoder.message(record.headers, record.value)
            if at != index + 1 and index >= 0:
                raise _gap(tp, index + 1, at)
            index, last = at, record
            if not index % ALIVE_EVERY:
                self.alive()
            if isinstance(message, UnitFooter):
                _contiguous(tp, footer, message)
                footer, footer_index = message, index
            elif isinstance(message, Outcome) and message.answer not in ("duplicate", "conflict"):
                # An id is decided again only where the owner had forgotten it: the last answer holds.
                known = Answer(message.body_hash, message.answer, index, message.log_time)
                state.answers[message.command_id] = known
        state.tails["outcomes"] = self._tail_after(tp, last)
        if footer is not None:
            floor = footer.last_instant - OUTCOME_WINDOW_MS
            state.answers = {k: a for k, a in state.answers.items() if a.log_time >= floor}
        ordered = sorted((a.log_time, i) for i, a in state.answers.items())
        for at in range(0, len(ordered), FORGOTTEN_TOGETHER):
            part = ordered[at : at + FORGOTTEN_TOGETHER]
            state.oldest_answers.append((part[-1][0], tuple(i for _, i in part)))
        return (footer, footer_index) if footer is not None else None

    # -- events: aggregates, timers

    def _events(
        self, state: PartitionState, tp: TopicPartition, start: int, mark: int, rounds: Any
    ) -> tuple[int, dict[str, None]]:
        counting = self.decoder.counting
        if counting is not None:
            counting.clear()
        if rounds is not None:
            state.entries.update(rounds.entries)
            start = max(start, rounds.restart)
        entries = state.entries
        changed: dict[str, None] = {}
        last: Record | None = None
        index, read = (rounds.tail.next if rounds is not None else 0) - 1, 0
        decoder, deciders = self.decoder, self.deciders
        for record in self._scan(tp, start, mark):
            revision, at, packed = decoder.skim(record.headers)
            if at != index + 1:
                raise _gap(tp, index + 1, at)
            index, last = at, record
            read += 1
            if not read % ALIVE_EVERY:
                self.alive()
            key = (record.key or b"").decode()
            decider = deciders[key.split("/", 2)[1]]
            entry = entries.get(key) or Entry(decider.initial(key), 0)
            if revision <= entry.revision and rounds is not None:
                continue
            if revision != entry.revision + 1:
                if rounds is not None:
                    raise _SnapshotMismatch
                raise Tampered(
                    f"{tp.topic}[{tp.partition}]: a stream has revision {revision} after"
                    f" {entry.revision}",
                    hint="Run `usance log verify` and restore the last good backup.",
                )
            event = decoder.message(record.headers, record.value)
            recent = entry.recent
            if recent[-32:] != packed:
                recent = with_recent(recent, packed)
            timers = timers_after(entry.timers, event)
            entries[key] = Entry(decider.evolve(entry.state, event), revision, recent, timers)
            changed[key] = None
        if counting is not None:
            before = rounds.uses if rounds is not None else {}
            keys = before.keys() | counting.keys()
            state.uses = {k: before.get(k, 0) + counting.get(k, 0) + TAKEOVER_USES for k in keys}
        for key, entry in entries.items():
            for timer_id, due, reason in entry.timers:
                state.timers[(key, timer_id)] = (due, reason)
                heappush(state.heap, (due, key, timer_id))
        if last is None and rounds is not None:
            state.tails["events"] = rounds.tail
        else:
            state.tails["events"] = self._tail_after(tp, last)
        return read, changed

    def _tail(
        self, state: PartitionState, kind: str, tp: TopicPartition, begin: int, mark: int
    ) -> None:
        last: Record | None = None
        for record in self._scan(tp, begin, mark):
            last = record
        state.tails[kind] = self._tail_after(tp, last)

    def _tail_after(self, tp: TopicPartition, last: Record | None) -> Tail:
        if last is None:
            return Tail(0, chain_start(self.log_id, tp.topic, tp.partition))
        meta = self.decoder.meta(last.headers)
        digest = envelope_hash(last.key, last.value, last.headers)
        return Tail(meta.index + 1, sha256(meta.prev + digest).digest())

    # -- rule 16

    def _position(
        self,
        state: PartitionState,
        commands: TopicPartition,
        seen: Seen,
        found: tuple[UnitFooter, int] | None,
    ) -> int:
        name, position = f"{commands.topic}[{commands.partition}]", seen.position
        tails = state.tails
        if found is None:
            if any(t.next for t in tails.values()):
                raise Tampered(
                    f"{name}: records without a unit footer",
                    hint="The log was written by something else or cut; restore a backup.",
                )
            if position is None:
                raise Unavailable(
                    f"{name}: the owner has no first position",
                    hint="Set the log up first: `usance start` does it for an empty data folder.",
                )
            state.scalars = Scalars(position, 0, 0, position)
            return position
        footer, footer_index = found
        expected = {
            "events": Tail(footer.events_index, footer.events_tail),
            "dead-letters": Tail(footer.dead_letters_index, footer.dead_letters_tail),
        }
        for kind, said in expected.items():
            if tails[kind] != said:
                raise Tampered(
                    f"{name}: {kind} end at index {tails[kind].next}, the last unit footer says"
                    f" {said.next}",
                    hint="Stop writing, run `usance log verify`, restore the last good backup.",
                )
        if tails["outcomes"].next != footer_index + 1:
            raise Tampered(
                f"{name}: outcomes after the last unit footer",
                hint="Stop writing, run `usance log verify`, restore the last good backup.",
            )
        if position is not None and position > footer.range_end:
            raise Tampered(
                f"{name}: the group's position {position} is ahead of the log's own"
                f" {footer.range_end}",
                hint="Commands would be skipped: set the position back to the footer's.",
            )
        if footer.range_end > seen.ends[commands]:
            raise Tampered(
                f"{name}: the position lies beyond the end of the commands",
                hint="The commands topic was cut or recreated: restore the last good backup.",
            )
        state.scalars = Scalars(
            footer.range_end, footer.unit, footer.last_instant, footer.range_end
        )
        return footer.range_end


class _SnapshotMismatch(Exception):
    """A snapshot does not fit the events: fold everything."""


def _nothing(state: PartitionState) -> tuple[int, int, Rounds]:
    """Say that there are no events: a consume group has none."""
    tail = state.tails["events"] = Tail(0, bytes(32))
    return 0, 0, Rounds(0, (0, tail), ())


def _gap(tp: TopicPartition, expected: int, found: int) -> Tampered:
    return Tampered(
        f"{tp.topic}[{tp.partition}]: index {found} where {expected} was due",
        hint="Stop writing, run `usance log verify`, restore the last good backup.",
    )


def _contiguous(tp: TopicPartition, before: UnitFooter | None, footer: UnitFooter) -> None:
    if before is None:
        return
    if footer.unit != before.unit + 1 or footer.previous_end != before.range_end:
        raise Tampered(
            f"{tp.topic}[{tp.partition}]: unit {footer.unit} does not follow unit {before.unit}",
            hint="Stop writing, run `usance log verify`, restore the last good backup.",
        )
