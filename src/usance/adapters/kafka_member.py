"""Membership in a Kafka consumer group: a thread that polls, and a desk where its owner reads.

The polling thread never decides: rebalance callbacks note what happened, and a revocation waits, within
a bound, until the owner has settled its units (rule 11). A fence is the pair (ownership counters,
group metadata) as the polling thread last saw both together (rule 3); it goes out with the records
and is never asked for again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from usance.adapters import kafka_endings
from usance.adapters.kafka_cluster import Cluster, explained, first_error
from usance.adapters.kafka_desk import BUFFER_RECORDS, Desk, Reading, Stand
from usance.adapters.kafka_rows import record
from usance.adapters.kafka_settings import MAX_POLL_MS
from usance.adapters.kafka_stalls import Stalls
from usance.kernel.errors import Tampered, Unavailable, UsanceError
from usance.log.contract import (
    Assigned,
    Batch,
    Change,
    Fence,
    Lost,
    Record,
    Revoked,
    TopicPartition,
)

POLL_SECONDS = 0.01
POLL_RECORDS = 2_000
FULL_SECONDS = 2.0
"""How long a full buffer keeps the thread from polling before it pauses the partitions instead."""
SETTLE_SECONDS = MAX_POLL_MS / 1000 / 5
REST_SECONDS = 2.0
"""How long `exhausted` waits for the broker to say where a partition ends."""
WAKE_SECONDS = 5.0
BEGIN_SECONDS = 0.005
COMMIT_SECONDS = 15.0
LEAVE_SECONDS = 15.0
"""How long leaving a group is waited for: without a broker the client may never come back from it."""


class Home(Protocol):
    """What a member needs of its log."""

    cluster: Cluster
    counters: Iterator[int]

    def leave(self, member: KafkaMember) -> None:
        """Forget a member that closes."""
        ...

    def scan(
        self, partition: TopicPartition, start: int, mark: int | None = None, max_records: int = 1
    ) -> Iterator[Record]:
        """Read without the group."""
        ...


class KafkaMember:
    """A member of a group on the cluster."""

    def __init__(self, home: Home, group: str, topics: Sequence[str]) -> None:
        self.group = group
        self.gone = False
        self._home = home
        self._first = next(home.counters)
        self._cluster = home.cluster
        self._topics = [home.cluster.real(t) for t in topics]
        self._names = {home.cluster.real(t): t for t in topics}
        self._changed = threading.Condition()
        self._changes: deque[Change] = deque()
        self._desk = Desk()
        self._held = self._desk.held
        self._asked: set[TopicPartition] = set()
        self._requests: deque[Callable[[], None]] = deque()
        self._token = b""
        self._stalled: list[TopicPartition] = []
        self._failure: UsanceError | None = None
        self._closing = False
        self._stalls = Stalls(home.cluster.clock)
        try:
            self._consumer = Consumer(self._cluster.settings.member(group))
            self._consumer.subscribe(
                self._topics,
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
        except KafkaException as exc:
            raise explained(first_error(exc), f"joining group {group}") from exc
        self._thread = threading.Thread(target=self._run, name=f"kafka-{group}", daemon=True)
        self._thread.start()

    # --- the owner's side -------------------------------------------------------------------

    def poll(self) -> list[Change]:
        """Return ownership changes since the last poll, in order.

        Raises Unavailable while a new partition's position is not stable: the change then waits; Fenced when
        the membership is over.
        """
        if self._failure is not None:
            raise self._failure
        found: list[Change] = []
        while True:
            with self._changed:
                change = self._changes[0] if self._changes else None
            if change is None:
                return found
            positions: dict[TopicPartition, int] = {}
            if isinstance(change, Assigned):
                try:
                    positions = self._cluster.positions(self.group, change.partitions)
                except UsanceError:
                    if found:
                        return found
                    raise
            with self._changed:
                if not self._changes or self._changes[0] is not change:
                    continue  # taken back meanwhile
                self._changes.popleft()
                for partition in change.partitions:
                    reading = self._held.get(partition)
                    if reading is None:
                        continue
                    reading.told = isinstance(change, Assigned)
                    if reading.told and reading.next is None:
                        reading.next = reading.committed = positions.get(partition)
            found.append(change)

    def owned(self) -> frozenset[TopicPartition]:
        """Return the partitions held now, as far as this member was told."""
        with self._changed:
            return frozenset(p for p, r in self._held.items() if r.told)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read next from `offset`; no effect on a partition that is not held."""
        with self._changed:
            self._desk.move(partition, offset)

    def rewind(self, starts: Mapping[TopicPartition, int]) -> None:
        """Go back to the starts of a dropped unit, unless already further back."""
        with self._changed:
            self._desk.rewind(starts)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop reading partitions until `resume`; what is fetched of them meanwhile waits."""
        with self._changed:
            self._desk.paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Read paused partitions again."""
        with self._changed:
            self._desk.paused.difference_update(partitions)

    def settled(self, revoked: Revoked) -> None:
        """Acknowledge a revocation: the polling thread lets the partitions go."""
        with self._changed:
            self._asked.difference_update(revoked.partitions)
            self._changed.notify_all()

    def close(self) -> None:
        """Leave the group."""
        self._end()
        self._home.leave(self)
        with self._changed:
            self._changes.clear()

    def lose(self) -> None:
        """Leave the group because another member of this log takes this one's place."""
        with self._changed:
            held = tuple(sorted(self._held))
            self.gone = True
        self._end()
        with self._changed:
            self._changes = deque([Lost(held)])

    def _end(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(LEAVE_SECONDS)

    # --- reading ----------------------------------------------------------------------------

    def read(self, limit: int, wait: float) -> Batch:
        """Return what is there, at most `limit` records; waits for the first at most `wait` seconds."""
        self._activate()
        desk = self._desk
        with self._changed:
            self._check()
            if wait > 0 and limit > 0 and not desk.ready():
                self._changed.wait_for(lambda: desk.ready() or self._broken(), wait)
                self._check()
            records = desk.take(limit)
            if records:
                self._changed.notify_all()
            batch = Batch(records, self._fence())
        if not records and wait > 0 and self._stalls.due():
            self._move_on()
        return batch

    def _move_on(self) -> None:
        """Move partitions anew that the client has stopped fetching; give it up when that does not help."""
        with self._changed:
            at = {
                p: max(r.after() or 0, r.eof) for p, r in self._desk.active() if r.stand is Stand.ON
            }
        ends = self._cluster.stable(list(at))
        still = self._stalls.look(at, ends, self._unread)
        hopeless = self._stalls.hopeless()
        if hopeless is not None:
            why = f"nothing comes of {hopeless.topic} partition {hopeless.partition}"
            self._fail(kafka_endings.over(self.group, f"{why}, which has unread records"))
        with self._changed:
            for partition in still:
                reading = self._held.get(partition)
                if reading is not None and reading.stand is Stand.ON and not reading.waiting:
                    reading.stand = Stand.OFF
                    reading.eof = -1

    def _unread(self, partition: TopicPartition, start: int, end: int) -> bool:
        return next(iter(self._home.scan(partition, start, end, 1)), None) is not None

    def _broken(self) -> bool:
        return self._failure is not None or self._desk.broken()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._desk.check()

    def _fence(self) -> Fence:
        """Return the fence as the polling thread last saw it; one without a token commits nothing."""
        epoch, member = kafka_endings.parsed(self._token)
        ownership = tuple(sorted((p, r.counter) for p, r in self._held.items() if r.told))
        return Fence(self.group, epoch, member, ownership, self._token)

    def exhausted(self) -> bool:
        """Tell whether all that was committed before the call is read."""
        if not self.owned():
            return False
        self._activate()
        with self._changed:
            active = [p for p, _ in self._desk.active()]
        ends = self._cluster.ends(active)
        desk = self._desk

        def known() -> bool:
            return desk.ready() or self._broken() or desk.rest(ends)

        with self._changed:
            self._changed.wait_for(known, REST_SECONDS)
            self._check()
            return not desk.ready() and desk.rest(ends)

    def _activate(self) -> None:
        """Have the consumer stand where the readers do; raises for a place outside the log."""
        with self._changed:
            wanted = {p: (r, r.next) for p, r in self._desk.active() if r.stand is Stand.OFF}
        if not wanted:
            return
        for partition, (_, offset) in wanted.items():
            if offset is None:
                raise Unavailable(
                    f"group {self.group} has no position in {partition.topic}"
                    f" partition {partition.partition}",
                    hint="set its first position explicitly; it is never guessed",
                )
        partitions = list(wanted)
        begins, ends = self._cluster.begins(partitions), self._cluster.ends(partitions)
        moves: list[TopicPartition] = []
        outside: UsanceError | None = None
        with self._changed:
            for partition, (reading, offset) in wanted.items():
                if self._held.get(partition) is not reading or reading.next != offset:
                    continue
                assert offset is not None
                begin, end = begins[partition], ends[partition]
                if not begin <= offset <= end:  # it holds no other partition up
                    outside = kafka_endings.outside(self.group, partition, offset, begin, end)
                    continue
                self._desk.drop(reading)
                reading.stand, reading.sure = Stand.ASKED, False
                moves.append(partition)
            if moves:
                self._requests.append(lambda: self._stand(moves))
                self._changed.notify_all()
        if outside is not None:
            raise outside

    # --- positions --------------------------------------------------------------------------

    def set_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit positions as this member."""
        places = [self._cluster.place(p, offset) for p, offset in positions.items()]
        over = threading.Event()
        trouble: list[KafkaError] = []

        def commit() -> None:
            try:
                answers = self._consumer.commit(offsets=places, asynchronous=False)
                trouble.extend(a.error for a in answers or () if a.error is not None)
            except KafkaException as exc:
                trouble.append(first_error(exc))
            over.set()

        with self._changed:
            self._requests.append(commit)
            self._changed.notify_all()
        doing = f"setting positions of group {self.group}"
        if not over.wait(COMMIT_SECONDS):
            raise Unavailable(f"{doing}: no answer", hint="see that the brokers can be reached")
        if trouble:
            raise explained(trouble[0], doing)
        with self._changed:
            self._desk.committed(positions)
            for partition, offset in positions.items():
                reading = self._held.get(partition)
                if reading is not None and reading.told and reading.next is None:
                    reading.next = offset

    def holds(self) -> bool:
        """Tell whether the group has given this member anything."""
        with self._changed:
            return bool(self._held)

    def knows(self, fence: Fence) -> bool:
        """Tell whether a fence was given out by this member: counters only grow."""
        return all(counter > self._first for _, counter in fence.ownership)

    def check(
        self,
        fence: Fence,
        positions: Mapping[TopicPartition, int],
        starts: Mapping[TopicPartition, int],
    ) -> None:
        """Raise unless a unit may commit under its fence, as far as this process knows."""
        with self._changed:
            self._desk.check_unit(fence, positions, starts)

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note the positions that a unit has committed."""
        with self._changed:
            self._desk.committed(positions)

    # --- the polling thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                self._serve()
                if self._full():
                    continue
                self._store(self._poll())
        except KafkaException as exc:
            self._fail(
                kafka_endings.over(
                    self.group, f"{first_error(exc).str()} ({first_error(exc).name()})"
                )
            )
        except BaseException as exc:
            self._fail(kafka_endings.over(self.group, type(exc).__name__))
            raise
        finally:
            self._consumer.close()
            with self._changed:
                self._held.clear()
                self._changed.notify_all()

    def _serve(self) -> None:
        """Do what other threads ask for: the client lets one thread at a time use a consumer."""
        while self._requests:
            self._requests.popleft()()

    def _fail(self, failure: UsanceError) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _poll(self) -> list[Message]:
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return []
        room = max(1, min(POLL_RECORDS, BUFFER_RECORDS - self._desk.count))
        return [first, *self._consumer.consume(room - 1, 0)] if room > 1 else [first]

    def _full(self) -> bool:
        """Wait while the desk is full; a long stall pauses the partitions, so that polling goes on."""
        desk = self._desk
        with self._changed:
            if not desk.full():
                if self._stalled and desk.roomy():
                    self._go_on()
                return False
            if self._stalled:
                return False
            self._changed.wait_for(
                lambda: desk.roomy() or self._closing or self._requests, FULL_SECONDS
            )
            if not desk.full() or self._closing or self._requests:
                return True
            self._stalled = [p for p, r in self._held.items() if r.stand is Stand.ON]
        self._consumer.pause([self._cluster.place(p) for p in self._stalled])
        return False

    def _go_on(self) -> None:
        stalled, self._stalled = self._stalled, []
        moves = []
        for partition in stalled:
            reading = self._held.get(partition)
            if reading is not None and reading.stand is Stand.ON:
                reading.stand = Stand.ASKED
                moves.append(partition)
        self._requests.append(lambda: self._stand(moves))

    def _stand(self, partitions: Sequence[TopicPartition]) -> None:
        """Put the consumer where readers stand; a sleeping connection is woken by a question.

        Only this thread does it, so no message of an earlier place is on its way to the desk. A reader
        that was moved meanwhile is asked for again.
        """
        for partition in partitions:
            with self._changed:
                reading = self._held.get(partition)
                if reading is None or reading.stand is not Stand.ASKED:
                    continue
                after = reading.after()
                assert after is not None
                place = self._cluster.place(partition, max(after, reading.eof))
            failure: UsanceError | None = None
            try:
                self._seek(place)
                self._consumer.resume([place])
                self._consumer.get_watermark_offsets(place, WAKE_SECONDS)
            except KafkaException as exc:
                doing = f"reading {partition.topic} partition {partition.partition}"
                failure = explained(first_error(exc), doing)
            with self._changed:
                if reading.stand is Stand.ASKED and reading.after() == after:
                    reading.stand = Stand.ON if failure is None else Stand.OFF
                    reading.failure = failure
                self._changed.notify_all()

    def _seek(self, place: Place) -> None:
        """Move the consumer; a partition that was assigned just now takes a moment to begin."""
        clock = self._cluster.clock
        deadline = clock.monotonic() + WAKE_SECONDS
        while True:
            try:
                self._consumer.seek(place)
                return
            except KafkaException as exc:
                begins = first_error(exc).code() == KafkaError._STATE
                if not begins or clock.monotonic() > deadline:
                    raise
            clock.sleep(BEGIN_SECONDS)

    def _store(self, messages: Sequence[Message]) -> None:
        """Keep what was read, and the fence as it is after the reading."""
        token = self._metadata()
        found: list[tuple[TopicPartition | None, list[Record] | KafkaError, int]] = []
        run: list[Record] = []
        last = None
        for message in messages:
            error, source = message.error(), (message.topic(), message.partition())
            if source != last or error is not None:
                last, run = source, []
                topic = self._names.get(source[0] or "")
                place = TopicPartition(topic, source[1] or 0) if topic is not None else None
                found.append((place, error or run, message.offset() or 0))
            if error is None:
                run.append(record(message, topic or ""))
            else:
                last = None
        with self._changed:
            self._token = token
            for at, one, offset in found:
                reading = self._held.get(at) if at is not None else None
                if reading is None or at is None:
                    if isinstance(one, KafkaError) and kafka_endings.ends(one):
                        self._failure = kafka_endings.ended(self.group, one)
                elif isinstance(one, list):
                    self._desk.accept(reading, one, sum(len(r.value or b"") for r in one))
                elif one.code() == KafkaError._PARTITION_EOF:
                    if self._desk.ended(reading, offset):
                        self._requests.append(partial(self._stand, [at]))
                elif reading.stand is Stand.ON:
                    self._note(at, reading, one)
            if messages:
                self._changed.notify_all()

    def _metadata(self) -> bytes:
        token = self._consumer.consumer_group_metadata()
        return token if isinstance(token, bytes) else b""

    def _note(self, partition: TopicPartition, reading: Reading, error: KafkaError) -> None:
        """Note that a partition cannot be read on."""
        code = error.code()
        if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            reading.stand = Stand.OFF
            reading.failure = Tampered(
                f"group {self.group} stands outside of {partition.topic}"
                f" partition {partition.partition}: {error.str()}",
                hint="the log was cut or replaced: restore it, or move the group explicitly",
            )
        elif not error.retriable() and code not in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
            doing = f"reading {partition.topic} partition {partition.partition}"
            reading.stand, reading.failure = Stand.OFF, explained(error, doing)

    # --- what the group says (on the polling thread) ------------------------------------------

    def _on_assign(self, consumer: Consumer, places: list[Place]) -> None:
        partitions = tuple(sorted(self._cluster.known(p) for p in places))
        # At the end, where a fetch before the pause cannot fail: a client whose first fetch is outside the
        # log (offset 0, long expired) gives the partition up, and never seeks in it again.
        consumer.incremental_assign([self._cluster.place(p, OFFSET_END) for p in partitions])
        if not partitions:
            return
        consumer.pause([self._cluster.place(p) for p in partitions])
        with self._changed:
            for partition in partitions:
                self._held[partition] = Reading(next(self._home.counters))
            self._token = self._metadata()
            self._changes.append(Assigned(partitions))
            self._changed.notify_all()

    def _on_revoke(self, consumer: Consumer, places: list[Place]) -> None:  # noqa: ARG002
        partitions = [self._cluster.known(p) for p in places]
        with self._changed:
            self._forget_unsaid(partitions)
            said = tuple(sorted(p for p in partitions if p in self._held and self._held[p].told))
            if said and not self._closing:
                self._asked.update(said)
                self._changes.append(Revoked(said))
                self._changed.notify_all()
        if said:
            self._await_settled(said)
        with self._changed:
            self._let_go(partitions)

    def _await_settled(self, partitions: Sequence[TopicPartition]) -> None:
        """Wait until the owner has settled, within the bound; its last positions are saved meanwhile."""
        clock = self._cluster.clock
        deadline = clock.monotonic() + SETTLE_SECONDS
        while True:
            self._serve()
            with self._changed:
                settled = not self._asked.intersection(partitions)
                left = deadline - clock.monotonic()
                if settled or self._closing or left <= 0:
                    self._asked.difference_update(partitions)
                    return
                if not self._requests:
                    self._changed.wait(left)

    def _on_lost(self, consumer: Consumer, places: list[Place]) -> None:  # noqa: ARG002
        partitions = [self._cluster.known(p) for p in places]
        with self._changed:
            self._forget_unsaid(partitions)
            said = tuple(sorted(p for p in partitions if p in self._held and self._held[p].told))
            if said:
                self._changes.append(Lost(said))
            self._let_go(partitions)
            self._changed.notify_all()

    def _forget_unsaid(self, partitions: Sequence[TopicPartition]) -> None:
        """Take back assignments that the owner has not heard of."""
        gone = set(partitions)
        kept: deque[Change] = deque()
        for change in self._changes:
            if isinstance(change, Assigned):
                left = tuple(p for p in change.partitions if p not in gone)
                if left:
                    kept.append(Assigned(left) if left != change.partitions else change)
            else:
                kept.append(change)
        self._changes = kept

    def _let_go(self, partitions: Sequence[TopicPartition]) -> None:
        self._desk.let_go(partitions)
        self._token = self._metadata()
