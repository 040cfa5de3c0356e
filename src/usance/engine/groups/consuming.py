"""One record at a time in a `consume` group: decode, hand over, and make the best of what goes wrong.

The same parking, dead letters and outcomes as the owner's, with a handler in place of a decider. What the
handler returns becomes records of the same unit that moves the position; what it does outside it does
at least once, under an id by which a repeat can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, NamedTuple
from weakref import proxy

from usance.audit.chain import prefixed
from usance.engine.logs import logger, record_fields
from usance.engine.owner.handling import Handling
from usance.engine.owner.parking import Kept, ParkKeeper, kept, record_of
from usance.engine.owner.state import Park
from usance.engine.owner.unit import Halted, PartitionUnit
from usance.engine.telemetry import TRACEPARENT, Telemetry, current_traceparent
from usance.kernel.clock import MS_PER_HOUR, Clock, Instant
from usance.kernel.decider import Actor, Refusal
from usance.kernel.errors import Fenced, Refused, Tampered, Unavailable, Unreadable
from usance.kernel.ids import derived, murmur2
from usance.log.contract import (
    RECORD_BYTES_MAX,
    Headers,
    Log,
    Output,
    Record,
    header,
)
from usance.messages.envelope import InputPosition, Meta
from usance.messages.outcome import Answer as AnswerName

Policy = Literal["park", "skip", "halt"]
TRANSIENT: tuple[type[Exception], ...] = (Unavailable, ConnectionError, TimeoutError)
"""Errors that trying again may heal, unless a group names its own."""
WAITING = "transient "
"""Before the type of an error that has sent a record to wait."""

_log = logger("consume")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record as a handler gets it.

    `id` is the same however often the record is delivered: give it to whatever you call, as
    its idempotency key. `message` is the decoded message where the record has a type that this program
    knows (or what your `decode` made of it), else None; `attempt` counts from 1.
    """

    id: str
    topic: str
    partition: int
    offset: int
    timestamp: Instant
    key: bytes | None
    value: bytes | None
    headers: Headers
    message: Any
    attempt: int


@dataclass(frozen=True, slots=True)
class Emit:
    """A record that a handler returns: written in the unit that moves the position, or not at all.

    Without `partition` the key decides (Kafka's murmur2). Unless `headers` has a `ce_id`, one is
    given that is the same when the record is handled again.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None


Handler = Callable[[Delivery], Emit | Iterable[Emit] | None]
Decode = Callable[[Record], Any]


class Retry(NamedTuple):
    """How transient errors are tried again: at once a few times, then later with the key parked.

    Pauses in place double from `pause_ms`; waits double from `wait_ms` up to `wait_max_ms`; after
    `attempts_max` tries in all the record is a dead letter. Jitter comes from the record's id.
    """

    in_place: int = 3
    pause_ms: int = 50
    wait_ms: int = 5_000
    wait_max_ms: int = MS_PER_HOUR
    attempts_max: int = 12

    def pause(self, record_id: str, attempt: int) -> float:
        """Return seconds to pause in place after attempt number `attempt`."""
        return _jittered(self.pause_ms << (attempt - 1), record_id, attempt) / 1_000

    def wait(self, record_id: str, round_number: int) -> int:
        """Return milliseconds to wait, parked, after that many rounds of tries in place."""
        longest = min(self.wait_max_ms, self.wait_ms << min(round_number - 1, 30))
        return _jittered(longest, record_id, round_number)


def _jittered(span: int, record_id: str, turn: int) -> int:
    """Return between half and all of a span; the same for the same record and turn."""
    half = span // 2
    return half + murmur2(f"{record_id}/{turn}".encode()) % (half + 1)


class Places:
    """How many partitions topics have: asked once each, as a cluster takes its time to answer."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[str, int] = {}

    def partitions(self, topic: str) -> int:
        """Return a topic's number of partitions, 0 where there is none."""
        if topic not in self._known:
            self._known = {name: found.partitions for name, found in self._log.topics().items()}
        return self._known.get(topic, 0)


class Work(NamedTuple):
    """What a group does with its records, and with what."""

    group: str
    handler: Handler
    handler_name: str
    decode: Decode
    policy: Policy
    retry: Retry
    transient: tuple[type[Exception], ...]
    places: Places
    log_id: str
    clock: Clock
    telemetry: Telemetry


class GroupParks(ParkKeeper):
    """Parks and dead letters of a group: any key can be parked, and each letter can be tried again."""

    def __init__(self, share: PartitionUnit, handling: GroupHandling, work: Work) -> None:
        super().__init__(share, handling)
        self.work = work
        self.group_handling: GroupHandling = proxy(handling)  # weak, as in ParkKeeper
        self.kills = ""
        """Why the next record to be tried again is dead-lettered untried."""

    def key_of(self, record: Record) -> str:
        """Return a key as text: itself where it can be told apart from the others, else in hex."""
        return key_text(record.key)

    def parkable(self, key: str) -> bool:
        """Tell whether a key can be parked: each that is one."""
        return key != ""

    def kept_open(self, record: Record, *, behind: bool) -> Kept | None:  # noqa: ARG002
        """Keep the whole record: nobody else has it once its topic forgets."""
        return kept(record, self.key_of(record), 0, self.redrives)

    def told(self) -> dict[str, str | int]:
        """Say whose letter it is: a redrive goes to that handler alone."""
        return {"group": self.work.group, "handler": self.work.handler_name}

    def try_again(self, record: Record, key: str) -> bool:
        """Hand a record over again; False when it failed again."""
        reason, self.kills = self.kills, ""
        if reason:
            self.group_handling.quarantine_again(record, reason)
            return False
        return self.group_handling.again(record, key)

    def again_alone(self, waits: Kept) -> None:
        """Try a record again that parks nothing: behind its key, where that is parked by now."""
        park = self.share.overlay.park(waits.key)
        if park is None or self.work.policy != "park":
            super().again_alone(waits)
        else:
            self.group_handling.queue(park, record_of(waits))

    def wait_until(
        self, record: Record, meta: Meta, key: str, reason: str, due: Instant, rounds: int
    ) -> None:
        """Park a key until an instant at which its record is tried again."""
        self._park(record, meta, key, "", reason, due=due, attempts=rounds)


class GroupHandling(Handling):
    """Hands the records of one slot's share of a unit to the handler."""

    parks: GroupParks

    def __init__(self, share: PartitionUnit, work: Work) -> None:
        super().__init__(share)
        self.work = work
        self.parks = GroupParks(share, self, work)
        self.rounds = 0

    # -- what the loop asks

    def handle(self, record: Record) -> str | None:
        """Handle one record; returns the error's type if its handler failed. Raises Halted."""
        share = self.share
        share.next = record.offset + 1
        share.instant = max(share.instant, record.timestamp)
        meta, position = self._identity(record)
        known = share.overlay.answer(meta.command_id)
        if known is not None and known.body_hash == meta.body_hash:
            self._point_back(meta, position, "duplicate", known)
            return None
        if known is not None:
            reason = "another record had this id"
            return self._set_aside(record, meta, "dedupe", "poison", reason, park=False)
        park = share.overlay.park(self.parks.key_of(record))
        if park is not None and self.work.policy == "park":
            self.parks.queue_behind(park, record, meta, position)
            return None
        failed = self._deliver(record, meta, position)
        return None if failed == "Unreadable" else failed

    def quarantine(self, record: Record, failure: str, reason: str) -> None:
        """Dead-letter a record without handing it over: it ended its process, or cannot be written."""
        self.share.next = record.offset + 1
        self.share.instant = max(self.share.instant, record.timestamp)
        park = self.share.overlay.park(self.parks.key_of(record))
        if park is not None and self.work.policy == "park":
            self.queue(park, record)  # in its turn it is noted again before it is tried
            return
        meta, _ = self._identity(record)
        self._set_aside(record, meta, "decide", failure, reason)

    def queue(self, park: Park, record: Record) -> None:
        """Queue a record behind its parked key."""
        meta, position = self._identity(record)
        self.parks.queue_behind(park, record, meta, position)

    def quarantine_again(self, record: Record, reason: str) -> None:
        """Dead-letter a kept record without handing it over."""
        meta, _ = self._identity(record)
        self._set_aside(record, meta, "decide", "process-killer", reason)

    def again(self, record: Record, key: str) -> bool:
        """Hand a kept record over again; False when it failed again."""
        meta, position = self._identity(record)
        park = self.share.overlay.park(key)
        self.rounds = park.attempts if park is not None else 0
        try:
            return self._deliver(record, meta, position, key) is None
        finally:
            self.rounds = 0

    def answer(
        self,
        meta: Meta,
        position: InputPosition,
        answer: AnswerName,
        refusal: Refusal | None = None,
    ) -> None:
        """Record an outcome; its place names the slot, which no other input partition has."""
        slot = InputPosition(position.topic, self.share.place.partition, position.offset)
        super().answer(meta, slot, answer, refusal)

    # -- one record

    def _identity(self, record: Record) -> tuple[Meta, InputPosition]:
        """Return under which id a record is answered, and its place as outcomes tell it.

        A CloudEvents source and id name a record wherever it stands; any other is named by its place.
        """
        source, given = header(record.headers, "ce_source"), header(record.headers, "ce_id")
        where = f"{record.topic}/{record.partition}/{record.offset}"
        name = f"{source!r} {given!r}" if source and given else where
        command_id = derived(self.work.log_id, "record", name)
        body = sha256(prefixed(record.key or b"") + (record.value or b"")).digest()
        bare = Meta.bare(
            command_id, actor=Actor(self.work.group, "", "system"), causation=f"record:{where}"
        )
        slot = self.share.place.partition
        meta = bare.decides(command_id, body, bare.causation)
        return meta, InputPosition(record.topic, slot, record.offset)

    def _deliver(
        self, record: Record, meta: Meta, position: InputPosition, key: str = ""
    ) -> str | None:
        """Decode a record and hand it over; returns what failed, None when it went through."""
        work = self.work
        try:
            message = work.decode(record)
            outputs = self._call(record, meta, message)
        except (Fenced, Tampered, Halted, MemoryError):
            raise
        except Refused as no:
            said = Refusal(no.code, no.message, article=no.article, hint=no.hint)
            self.answer(meta, position, "refused", said)
        except work.transient as trouble:
            return self._later(record, meta, position, key, trouble)
        except Unreadable as broken:
            self._set_aside(record, meta, broken.stage, "poison", broken.reason)
            return "Unreadable"
        except Exception as bug:  # noqa: BLE001  one record must not stop the others
            kind = type(bug).__name__
            _log.exception(
                "dead_lettered", error_type=kind, stage="decide", **record_fields(record)
            )
            return self._set_aside(record, meta, "decide", "poison", kind)
        else:
            self.share.merge("elsewhere", outputs)
            self.answer(meta, position, "accepted")
        return None

    def _call(self, record: Record, meta: Meta, message: Any) -> list[Output]:
        work, attempt = self.work, 0
        while True:
            attempt += 1
            delivery = Delivery(
                meta.command_id,
                *(record.topic, record.partition, record.offset, record.timestamp),
                *(record.key, record.value, record.headers),
                message,
                attempt + self.rounds * (1 + work.retry.in_place),
            )
            try:
                with work.telemetry.process_span(record):
                    return self._outputs(record, meta, work.handler(delivery))
            except work.transient:
                if attempt > work.retry.in_place:
                    raise
                work.clock.sleep(work.retry.pause(meta.command_id, attempt))

    def _outputs(
        self, record: Record, meta: Meta, returned: Emit | Iterable[Emit] | None
    ) -> list[Output]:
        if returned is None:
            return []
        listed = [returned] if isinstance(returned, Emit) else returned
        trace = current_traceparent() or header(record.headers, TRACEPARENT)
        return [self._output(meta, n, emit, trace) for n, emit in enumerate(listed)]

    def _output(self, meta: Meta, ordinal: int, emit: Emit, trace: bytes | None) -> Output:
        """Return what a handler emits as a record; raises Unreadable for one that no log takes."""
        partitions = self.work.places.partitions(emit.topic)
        if not partitions:
            raise Unreadable("serialize", "the handler emits to a topic that the log does not have")
        headers = list(emit.headers)
        names = {name for name, _ in headers}
        if "ce_id" not in names:
            headers.append(("ce_id", derived(meta.command_id, "emit", ordinal).encode()))
            if "ce_source" not in names:
                source = f"/usance/{self.work.log_id}/{self.work.group}"
                headers.append(("ce_source", source.encode()))
        if trace is not None and TRACEPARENT not in names:
            headers.append((TRACEPARENT, trace))
        size = len(emit.key or b"") + len(emit.value or b"")
        size += sum(len(name.encode()) + len(value) for name, value in headers)
        partition = emit.partition
        if partition is None:
            partition = murmur_partition(emit.key, partitions)
        if size > RECORD_BYTES_MAX or not 0 <= partition < partitions:
            raise Unreadable(
                "serialize", "the handler emits a record that is too large or placed nowhere"
            )
        return Output(emit.topic, partition, emit.key, emit.value, tuple(headers))

    # -- what failed

    def _later(
        self,
        record: Record,
        meta: Meta,
        position: InputPosition,
        key: str,
        trouble: Exception,
    ) -> str:
        """Let a record wait with its key, or give it up when it has waited often enough."""
        work, kind = self.work, type(trouble).__name__
        rounds = self.rounds + 1
        tries = rounds * (1 + work.retry.in_place)
        if work.policy == "halt" and not self.parks.draining:
            raise Halted(f"{WAITING}{kind} at offset {record.offset}")
        if tries >= work.retry.attempts_max:
            return self._set_aside(
                record, meta, "decide", "transient-exhausted", kind, attempts=tries
            )
        own = self.parks.key_of(record) if work.policy == "park" else ""
        due = work.clock.now() + work.retry.wait(meta.command_id, rounds)
        name = key or own or alone(record)
        first = self.share.overlay.park(name) is None
        self.parks.wait_until(record, meta, name, kind, due, rounds)
        if first:
            _log.warning("key_parked", error_type=kind, **record_fields(record))
            words = f"Its handler met {kind}; it is tried again in a while."
            said = Refusal("WAITS", words, hint="`usance park list` shows when.")
            self.answer(meta, position, "parked", said)
        return WAITING + kind

    def _set_aside(
        self,
        record: Record,
        meta: Meta,
        stage: str,
        failure: str,
        reason: str,
        *,
        park: bool = True,
        attempts: int = 1,
    ) -> str:
        """Dead-letter a record as the group's policy says; returns the reason. Raises Halted."""
        if self.work.policy == "halt" and not self.parks.draining:
            raise Halted(f"{reason} at offset {record.offset}, stage {stage}")
        place = InputPosition(record.topic, record.partition, record.offset)
        fields = record_fields(record)
        event: Literal["quarantined", "dead_lettered"] = (
            "quarantined" if failure == "process-killer" else "dead_lettered"
        )
        _log.warning(event, stage=stage, **fields)
        self.work.telemetry.record("usance.dead_letters", 1, {"class": failure, "stage": stage})
        parks = park and self.work.policy == "park"
        note: Mapping[str, str | int] = {
            "attempts": attempts,
            "first_failed_at": self.share.instant,
            "last_failed_at": self.work.clock.now(),
            "error_type": reason if stage == "decide" else "",
        }
        self.parks.dead_letter(record, meta, place, stage, failure, reason, park=parks, **note)
        return reason


def key_text(key: bytes | None) -> str:
    """Return a record's key as text, different keys as different text; empty when there is none."""
    if not key:
        return ""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return f"hex:{key.hex()}"
    marked = text.startswith(("hex:", "record:")) or any(c < " " or c == "\x7f" for c in text)
    return f"hex:{key.hex()}" if marked else text


def alone(record: Record) -> str:
    """Return the name under which a record waits that holds nobody else up."""
    return f"record:{record.topic}/{record.partition}/{record.offset}"


def murmur_partition(key: bytes | None, partitions: int) -> int:
    """Return the partition of a key as Kafka's Java client places it; without a key the first."""
    return 0 if key is None else (murmur2(key) & 0x7FFFFFFF) % partitions
