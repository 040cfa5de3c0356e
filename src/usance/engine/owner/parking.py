"""Dead letters, parked keys, redrive and drain: nothing lost, order kept, other keys flow.

A dead letter keeps key, value and original headers byte-identical behind our own headers. A parked
key's records wait in the compacted `parked` topic under `key#sequence`; `key#head` carries the record
that parked it, so that redrive and drain never depend on the dead-letters topic (rule 17).
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import proxy

import msgspec

from usance.crypto.vault import KeyUnavailable, SubjectErased
from usance.engine import control
from usance.engine.owner.state import OpenDeadLetter, Park
from usance.engine.owner.unit import PartitionUnit
from usance.kernel.decider import Actor, Refusal
from usance.kernel.errors import Unavailable, Unreadable
from usance.kernel.ids import derived
from usance.kernel.timers import FireTimer
from usance.log.contract import Output, Record
from usance.messages.envelope import InputPosition, Meta
from usance.messages.outcome import Answer, dead_letter_headers

LOOK = "See `usance dead-letter list` for what is open."
WAIT_FIRST_MS, WAIT_MAX_MS = 1_000, 60_000
"""First and longest pause before a record that waits for the key service is tried again."""
DRAIN_RECORDS_MAX = 100
"""Parked records decided per drain unit."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it waits in the parked topic; `redrives` counts how often it was tried again."""

    key: str
    sequence: int
    record_key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    topic: str
    partition: int
    offset: int
    timestamp: int
    redrives: int = 0


class ParkHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head record of a parked key: why it is parked, and the record that parked it.

    `settled`: that record was decided by a redrive or given up, and the key is being drained.
    `due`: no letter was written, the record is tried again at that instant; `attempts` were made.
    """

    key: str
    reason: str
    since: int
    dead_letter_id: str
    command_id: str
    body_hash: bytes
    causation: str
    first: int
    next: int
    parked_by: Kept
    settled: bool = False
    due: int = 0
    attempts: int = 0


class OpenHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head record of a dead letter that parks nothing; `kept` where it can be tried again."""

    dead_letter_id: str
    command_id: str
    body_hash: bytes
    causation: str
    tenant: str
    kept: Kept | None = None


class Answering(Protocol):
    """What parking asks of the handling of a record: to answer it, and to decide it again."""

    def answer(
        self, meta: Meta, position: InputPosition, answer: Answer, refusal: Refusal | None = None
    ) -> None:
        """Record an outcome and remember it."""

    def decide_and_record(
        self, record: Record, meta: Meta, position: InputPosition, key: str, message: Any
    ) -> str | None:
        """Decide a decoded command; returns the error's type when it failed."""


class ParkKeeper:
    """Dead letters and parks of one partition's share of a unit."""

    def __init__(self, share: PartitionUnit, handling: Answering) -> None:
        self.share = share
        # Weak, since the handling holds this: a unit's records go when the unit does, not when the
        # garbage collector next looks.
        self.handling: Answering = proxy(handling)
        self.draining = False
        self.redrives = 0

    # -- what differs between owner and consumers

    def key_of(self, record: Record) -> str:
        """Return a record's key as text."""
        return (record.key or b"").decode("utf-8", "replace")

    def parkable(self, key: str) -> bool:
        """Tell whether a key can be parked: an aggregate's can."""
        return key.count("/") > 1

    def kept_open(self, record: Record, *, behind: bool) -> Kept | None:
        """Return what a letter keeps that parks nothing; `behind`: its key was parked already."""
        return kept(record, self.key_of(record), 0, self.redrives) if behind else None

    def told(self) -> dict[str, str | int]:
        """Return fields that every dead letter of this keeper carries."""
        return {}

    # -- into the dead letters

    def dead_letter_raw(self, record: Record, position: InputPosition, broken: Unreadable) -> None:
        """Dead-letter a record whose own meta cannot be read; its id is made from its position."""
        where = f"{position.topic}/{position.partition}/{position.offset}"
        command_id = derived(self.share.world.log_id, where, "unreadable")
        nobody = Actor("", "", "system")
        meta = Meta.bare(command_id, actor=nobody, causation=f"unreadable:{where}")
        self.dead_letter(record, meta, position, "decode", "poison", broken.reason, park=False)

    def dead_letter(
        self,
        record: Record,
        meta: Meta,
        position: InputPosition,
        stage: str,
        failure: str,
        reason: str,
        *,
        park: bool = True,
        **note: str | int,
    ) -> None:
        """Stage a dead letter and its interim outcome; parks the key unless told not to.

        A key that is parked already keeps the record that parked it: poison queues behind like any
        other command and is looked at again in its turn.
        """
        share = self.share
        key = self.key_of(record)
        parks = park and self.parkable(key)
        held = share.overlay.park(key) if parks and not self.draining else None
        if held is not None and failure == "poison":
            self.queue_behind(held, record, meta, position)
            return
        behind = held is not None and bool(
            held.due or share.overlay.dead_letter(held.dead_letter_id)
        )
        parks = parks and not behind
        world = share.world
        where = f"{position.topic}/{position.partition}/{position.offset}"
        dead_letter_id = derived(world.log_id, where, "dead-letter")
        tail = share.overlay.tail("dead-letters")
        extra = dead_letter_headers(
            dead_letter_id=dead_letter_id,
            position=position,
            timestamp=record.timestamp,
            stage=stage,
            failure=failure,
            reason=reason,
            key=record.key,
            value=record.value,
            redrive_count=self.redrives,
            **self.told(),
            **note,
        )
        encoded = world.encoder.dead_letter(
            record.key,
            record.value,
            (*extra, *record.headers),
            meta,
            dead_letter_id=dead_letter_id,
            index=tail.next,
            prev=tail.hash,
            instant=share.instant,
            input=position,
        )
        share.merge("dead-letters", [share.chained("dead-letters", encoded)])
        share.overlay.dead_letters[dead_letter_id] = OpenDeadLetter(
            meta.command_id, meta.body_hash, key, parks, meta.causation
        )
        if parks:
            self._park(record, meta, key, dead_letter_id, reason)
        else:
            self._open(record, meta, dead_letter_id, behind=behind)
        words = f"The command could not be handled at stage {stage}: {reason}."
        refusal = Refusal("DEAD_LETTER", words, hint=f"See dead letter {dead_letter_id}.")
        self.handling.answer(meta, position, "dead-lettered", refusal)

    def _park(
        self,
        record: Record,
        meta: Meta,
        key: str,
        dead_letter_id: str,
        reason: str,
        *,
        due: int = 0,
        attempts: int = 0,
    ) -> None:
        share = self.share
        old = share.overlay.park(key)
        first, following = (old.first, old.next) if old else (1, 1)
        park = Park(key, reason, share.instant, dead_letter_id, meta.command_id, first, following)
        share.overlay.parks[key] = park._replace(due=due, attempts=attempts)
        head = ParkHead(
            key=key,
            reason=reason,
            since=share.instant,
            dead_letter_id=dead_letter_id,
            command_id=meta.command_id,
            body_hash=meta.body_hash,
            causation=meta.causation,
            first=first,
            next=following,
            parked_by=kept(record, key, 0, self.redrives),
            due=due,
            attempts=attempts,
        )
        share.merge("parked", [self._parked(f"{key}#head", msgspec.msgpack.encode(head))])

    def _open(self, record: Record, meta: Meta, dead_letter_id: str, *, behind: bool) -> None:
        head = OpenHead(
            dead_letter_id=dead_letter_id,
            command_id=meta.command_id,
            body_hash=meta.body_hash,
            causation=meta.causation,
            tenant=meta.tenant,
            kept=self.kept_open(record, behind=behind),
        )
        name = f"{dead_letter_id}#open"
        self.share.merge("parked", [self._parked(name, msgspec.msgpack.encode(head))])

    def queue_behind(self, park: Park, record: Record, meta: Meta, position: InputPosition) -> None:
        """Queue a command behind its parked key, in order, with an interim outcome."""
        share = self.share
        waits = kept(record, park.key, park.next)
        name = f"{park.key}#{park.next:08d}"
        share.merge("parked", [self._parked(name, msgspec.msgpack.encode(waits))])
        share.overlay.parks[park.key] = park._replace(next=park.next + 1)
        refusal = Refusal(
            "PARKED",
            "An earlier command of this key waits for attention; this one waits behind it.",
            hint=f"Redrive or discard dead letter {park.dead_letter_id}."
            if park.dead_letter_id
            else "It goes on by itself once the earlier one went through.",
        )
        self.handling.answer(meta, position, "parked", refusal)

    def wait(self, record: Record, meta: Meta, key: str, reason: str) -> None:
        """Park a key until an instant at which its record is tried again, later each time."""
        before = self.share.overlay.park(key)
        tries = before.attempts + 1 if before is not None else 1
        spread = 1 + int(derived(meta.command_id, "wait", tries)[:4], 16) / 0x20000
        pause = min(WAIT_MAX_MS, WAIT_FIRST_MS << min(tries - 1, 16))
        due = self.share.instant + int(pause * spread)
        self._park(record, meta, key, "", reason, due=due, attempts=tries)

    # -- out again

    def release(self, command: control.Release, meta: Meta, position: InputPosition) -> None:
        """Try what parks a key again now, whatever parks it, then begin the drain."""
        park = self.share.overlay.park(command.key)
        if park is not None and self.share.overlay.dead_letter(park.dead_letter_id) is not None:
            again = control.Redrive(
                dead_letter_id=park.dead_letter_id, dead_letter_index=0, reason=command.reason
            )
            self.redrive(again, meta, position)
        elif park is None:
            words = "This key is not parked."
            hint = "See `usance park list` for what is."
            self.handling.answer(meta, position, "refused", Refusal("NOT_PARKED", words, hint=hint))
        else:
            self.handling.answer(meta, position, "accepted")
            if park.due:
                self.retry(command.key, meta)
            else:
                self._continue(command.key, park.first, meta)

    def retry(self, key: str, meta: Meta) -> None:
        """Try the record again that parks a key until it is due, then begin the drain."""
        share = self.share
        park, head = share.overlay.park(key), self._head(key)
        if park is None or head is None:
            return
        if self._again(head.parked_by) or share.overlay.park(key) is park:
            share.overlay.parks[key] = park._replace(due=0)
            self._settle("", msgspec.structs.replace(head, due=0))
            self._continue(key, park.first, meta)

    def redrive(self, command: control.Redrive, meta: Meta, position: InputPosition) -> None:
        """Decide a dead letter again under its original id, then begin the drain of its key."""
        found = self.share.overlay.dead_letter(command.dead_letter_id)
        park = self.share.overlay.park(found.key) if found and found.parked else None
        if found is not None and not found.parked and self._redrive_alone(command, meta, position):
            return
        if found is None or park is None:
            words = "No dead letter that can be tried again is open under this id."
            self.handling.answer(
                meta, position, "refused", Refusal("NO_DEAD_LETTER", words, hint=LOOK)
            )
            return
        head = self._head(found.key)
        if head is None:
            words = "The head record of the parked key is not in the log."
            self.handling.answer(
                meta, position, "refused", Refusal("NO_PARK_HEAD", words, hint=LOOK)
            )
            return
        self.handling.answer(meta, position, "accepted")
        self._settle(command.dead_letter_id, head)
        if self._again(_once_more(head.parked_by)) or not self._held(found.key):
            self._continue(found.key, park.first, meta)

    def _redrive_alone(self, command: control.Redrive, meta: Meta, position: InputPosition) -> bool:
        """Try the record of a letter that parks nothing again; False when it was not kept."""
        value = self._records().get(f"{command.dead_letter_id}#open".encode())
        opened = msgspec.msgpack.decode(value, type=OpenHead) if value else None
        if opened is None or opened.kept is None:
            return False
        self.handling.answer(meta, position, "accepted")
        self._settle(command.dead_letter_id, None)
        self.again_alone(_once_more(opened.kept))
        return True

    def again_alone(self, waits: Kept) -> None:
        """Try a record again that parks nothing: behind its key, where that is parked by now."""
        park = self.share.overlay.park(waits.key)
        if park is None:
            self._again(waits)
            return
        record = record_of(waits)
        position = InputPosition(record.topic, record.partition, record.offset)
        self.queue_behind(park, record, self.share.world.decoder.meta(record.headers), position)

    def discard(self, command: control.Discard, meta: Meta, position: InputPosition) -> None:
        """Give a dead letter up: its id is decided as discarded, its key drained from the next on."""
        share = self.share
        found = share.overlay.dead_letter(command.dead_letter_id)
        if found is None:
            words = "No dead letter is open under this id."
            self.handling.answer(
                meta, position, "refused", Refusal("NO_DEAD_LETTER", words, hint=LOOK)
            )
            return
        self.handling.answer(meta, position, "accepted")
        self._settle(command.dead_letter_id, self._head(found.key) if found.parked else None)
        original = meta.decides(found.command_id, found.body_hash, found.causation)
        refusal = Refusal(
            "DISCARDED", "A person gave it up for good; their reason stands in the command."
        )
        self.handling.answer(original, position, "discarded", refusal)
        if found.parked:
            park = share.overlay.park(found.key)
            if park is not None:
                self._continue(found.key, park.first, meta)

    def drain(self, command: control.Drain, meta: Meta, position: InputPosition) -> None:
        """Decide the next parked records of a key in order, one bounded unit at a time."""
        share = self.share
        park = share.overlay.park(command.key)
        self.handling.answer(meta, position, "accepted")
        if park is None or command.sequence != park.first:
            return
        if self._held(command.key):
            return  # parked anew since: what settles that goes on with the drain
        for waits in self._waiting(command.key, park):
            at = share.overlay.park(command.key)
            assert at is not None
            share.overlay.parks[command.key] = at._replace(first=waits.sequence + 1)
            self._tombstone(f"{command.key}#{waits.sequence:08d}")
            if not self._again(waits) and self._held(command.key):
                return
        at = share.overlay.park(command.key)
        assert at is not None
        if at.first < at.next:
            self._continue(command.key, at.first, meta)
        else:
            self._unpark(command.key)

    def _held(self, key: str) -> bool:
        """Tell whether a letter or an instant holds a key: only then does its drain wait."""
        park = self.share.overlay.park(key)
        if park is None:
            return False
        return park.due > 0 or self.share.overlay.dead_letter(park.dead_letter_id) is not None

    def _again(self, kept: Kept) -> bool:
        """Decide a kept record under its original id with today's code; False when it failed again."""
        self.draining, self.redrives = True, kept.redrives
        try:
            return self.try_again(record_of(kept), kept.key)
        finally:
            self.draining, self.redrives = False, 0

    def try_again(self, record: Record, key: str) -> bool:
        """Decide a record of an aggregate again; False when it failed again."""
        position = InputPosition(record.topic, record.partition, record.offset)
        decoder = self.share.world.decoder
        meta = decoder.meta(record.headers)
        try:
            message = decoder.message(record.headers, record.value)
            if isinstance(message, control.CONTROL):
                return self._control_again(message, meta, position)
            return self.handling.decide_and_record(record, meta, position, key, message) is None
        except KeyUnavailable:
            self.wait(record, meta, key, "the key service does not answer")
            return False
        except Unavailable:
            self.wait(record, meta, key, "the schema registry does not answer")
            return False
        except SubjectErased as erased:
            refusal = Refusal(erased.code, erased.message, hint=erased.hint)
            self.handling.answer(meta, position, "refused", refusal)
            return True
        except Unreadable as broken:
            self.dead_letter(record, meta, position, broken.stage, "poison", broken.reason)
            return False

    def _control_again(self, message: Any, meta: Meta, position: InputPosition) -> bool:
        """Settle a control command that had to be set aside: what it asked for comes by itself.

        A timer that is still armed fires anew once the key is drained, and so goes on the drain.
        """
        words = (
            "The timer fires anew." if isinstance(message, FireTimer) else "It goes on by itself."
        )
        self.handling.answer(meta, position, "refused", Refusal("SUPERSEDED", words, hint=LOOK))
        return True

    def _continue(self, key: str, sequence: int, meta: Meta) -> None:
        """Stage the command that goes on draining; the key stays parked until nothing waits."""
        share = self.share
        park = share.overlay.park(key)
        if park is not None and park.first >= park.next:
            self._unpark(key)
            return
        world = share.world
        key_bytes, value, headers = world.encoder.command(
            control.Drain(key=key, sequence=sequence),
            key=key,
            command_id=derived(meta.command_id, "drain", key, sequence),
            tenant=meta.tenant,
            actor=Actor("engine", "", "system"),
            correlation=meta.correlation,
            causation=f"drain:{key}",
            instant=share.instant if world.book_clock else None,
            at=share.instant,
        )
        topic = share.names["commands"]
        share.merge("elsewhere", [Output(topic, share.place.partition, key_bytes, value, headers)])

    def _unpark(self, key: str) -> None:
        share = self.share
        share.overlay.parks[key] = None
        self._tombstone(f"{key}#head")
        entry = share.overlay.entry(key)
        for timer_id, _, _ in entry.timers if entry else ():
            share.overlay.fired[(key, timer_id)] = None

    def _settle(self, dead_letter_id: str, head: ParkHead | None) -> None:
        """Close a dead letter for good; a restart while its key is drained must not open it again."""
        found = self.share.overlay.dead_letter(dead_letter_id)
        self.share.overlay.dead_letters[dead_letter_id] = None
        if found is not None and not found.parked:
            self._tombstone(f"{dead_letter_id}#open")
        if head is not None:
            done = msgspec.structs.replace(head.parked_by, value=None, headers=[])
            settled = msgspec.structs.replace(head, settled=True, parked_by=done)
            self.share.merge(
                "parked", [self._parked(f"{head.key}#head", msgspec.msgpack.encode(settled))]
            )

    def _tombstone(self, name: str) -> None:
        self.share.merge("parked", [self._parked(name, None)])

    def _parked(self, name: str, value: bytes | None) -> Output:
        share = self.share
        return Output(share.names["parked"], share.place.partition, name.encode(), value)

    # -- reading parked records: committed ones from the log, those of this unit from its outputs

    def _records(self) -> dict[bytes, bytes | None]:
        share = self.share
        found = dict(share.world.parked(share.place))
        for output in share.outputs:
            if output.topic == share.names["parked"] and output.key is not None:
                found[output.key] = output.value
        return found

    def _head(self, key: str) -> ParkHead | None:
        value = self._records().get(f"{key}#head".encode())
        return msgspec.msgpack.decode(value, type=ParkHead) if value else None

    def _waiting(self, key: str, park: Park) -> list[Kept]:
        records = self._records()
        found = []
        for sequence in range(park.first, min(park.next, park.first + DRAIN_RECORDS_MAX)):
            value = records.get(f"{key}#{sequence:08d}".encode())
            if value is not None:
                found.append(msgspec.msgpack.decode(value, type=Kept))
        return found


def kept(record: Record, key: str, sequence: int, redrives: int = 0) -> Kept:
    """Return a record as it is kept."""
    return Kept(
        key=key,
        sequence=sequence,
        record_key=record.key,
        value=record.value,
        headers=list(record.headers),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        redrives=redrives,
    )


def record_of(kept: Kept) -> Record:
    """Return a kept record as it was read."""
    return Record(
        kept.topic,
        kept.partition,
        kept.offset,
        kept.record_key,
        kept.value,
        tuple((k, v) for k, v in kept.headers),
        kept.timestamp,
    )


def _once_more(kept: Kept) -> Kept:
    return msgspec.structs.replace(kept, redrives=kept.redrives + 1)


Parks = dict[str, Park | None]
Letters = dict[str, OpenDeadLetter | None]


def parked_state(records: dict[bytes, bytes | None]) -> tuple[Parks, Letters]:
    """Rebuild parks and open dead letters from the records of a parked partition (last per key)."""
    parks: Parks = {}
    letters: Letters = {}
    sequences: dict[str, list[int]] = {}
    for raw, value in records.items():
        name = raw.decode("utf-8", "replace")
        key, _, place = name.rpartition("#")
        if value is None:
            continue
        if place == "open":
            opened = msgspec.msgpack.decode(value, type=OpenHead)
            letters[opened.dead_letter_id] = OpenDeadLetter(
                opened.command_id, opened.body_hash, "", False, opened.causation
            )
        elif place == "head":
            head = msgspec.msgpack.decode(value, type=ParkHead)
            parks[key] = Park(
                key,
                head.reason,
                head.since,
                head.dead_letter_id,
                head.command_id,
                head.first,
                head.next,
                head.due,
                head.attempts,
            )
            if head.dead_letter_id and not head.settled:
                letters[head.dead_letter_id] = OpenDeadLetter(
                    head.command_id, head.body_hash, key, True, head.causation
                )
        else:
            sequences.setdefault(key, []).append(int(place))
    for key, park in parks.items():
        assert park is not None
        waiting = sequences.get(key, [])
        if waiting:
            parks[key] = park._replace(first=min(waiting), next=max(max(waiting) + 1, park.next))
    return parks, letters
