"""The key store on a cluster: the compacted topic `keys`; the unit that first uses a key writes it.

A record's key is the key id, its value what is stored; a destroyed key is written over by a record without key
material, and its old bytes leave the segments once the broker has compacted them. Holds and
acknowledgements stand beside, under names of their own. Everything is read into memory: 300 bytes a key.

A rewrap that overlaps a destruction may write the living key after its end, and compaction would keep that one
alone. So whoever reads a living record after a destroyed one writes the destroyed one again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from usance.crypto.keyservice import KeyState
from usance.crypto.keystore import Hold, KeyRecord, MemoryKeys, demand_no_hold, destroyed
from usance.kernel.errors import Tampered
from usance.log.contract import Log, Output, TopicPartition

HOLD, OLD_HOLD, ACK = b"order/", b"hold/", b"ack/"
"""Prefixes of record keys: one hold, all holds of a subject as an earlier version wrote them, who let go."""


class Ack(msgspec.Struct, frozen=True):
    """A process has let go of everything destroyed up to a generation."""

    generation: int
    at: int


class LogKeys(MemoryKeys):
    """The key store over a log; each question reads on to the end of the topic first."""

    def __init__(self, log: Log, place: TopicPartition) -> None:
        super().__init__()
        self._log = log
        self._place = place
        self._read_to = 0
        self._reading = threading.RLock()
        self._risen: dict[bytes, KeyRecord] = {}

    def _follow(self) -> None:
        with self._reading:
            end = self._log.end(self._place)
            if end <= self._read_to:
                return
            start = max(self._read_to, self._log.begin(self._place))
            for record in self._log.scan(self._place, start, end):
                self._take(record.key or b"", record.value, record.offset)
                self._read_to = record.offset + 1
            self._read_to = end
            if self._risen and self._mac is not None:
                again = [r for r in self._risen.values() if r.mac == self._mac.of(r)]
                self._risen.clear()
                self._write_records(again)

    def _take(self, key: bytes, value: bytes | None, offset: int) -> None:
        if key.startswith(HOLD):
            tenant, subject, name = key.removeprefix(HOLD).decode().split("/", 2)
            self._take_hold(key, (tenant, subject), name, value)
        elif key.startswith(OLD_HOLD):
            tenant, _, subject = key.removeprefix(OLD_HOLD).decode().partition("/")
            old = msgspec.msgpack.decode(value, type=list[Hold]) if value else []
            of = self._holds.setdefault((tenant, subject), {})
            of.pop("", None)
            if old:
                of[""] = old[0]
        elif key.startswith(ACK):
            name = key.removeprefix(ACK).decode()
            if value is None:
                self._acks.pop(name, None)
            else:
                ack = msgspec.msgpack.decode(value, type=Ack)
                self._acks[name] = (ack.generation, ack.at)
        elif value is not None:
            record = msgspec.msgpack.decode(value, type=KeyRecord)
            if record.key_id != key:
                raise Tampered(
                    f"the record of data key {key.hex()} in {self._place.topic} is another key's",
                    hint="Find who wrote it: offset " + str(offset) + ".",
                )
            before = self._records.get(key)
            if before is not None and before.dead and not record.dead:
                self._risen[key] = before
            else:
                self._risen.pop(key, None)
            if record.state is not KeyState.ACTIVE:
                # An offset means the same to every process, compacted or not, as a count of its own would not.
                self._generation = offset + 1
            self.keep(record)

    def _take_hold(self, key: bytes, of: tuple[str, str], name: str, value: bytes | None) -> None:
        if value is None:
            self._holds.get(of, {}).pop(name, None)
            return
        found = msgspec.msgpack.decode(value, type=Hold)
        if (found.tenant, found.subject, found.id) != (*of, name):
            raise Tampered(
                f"the record of legal hold {key.decode()} is another hold's",
                hint="Find who wrote it, and compare with the log: usance subject show.",
            )
        self._holds.setdefault(of, {})[name] = found

    def by_id(self, ids: Sequence[bytes]) -> dict[bytes, KeyRecord]:
        """Return the records of keys; those in memory are looked for in the topic all the same."""
        self._follow()
        return super().by_id(ids)

    def of_subject(self, tenant: str, subject: str) -> list[KeyRecord]:
        """Return all records of a pseudonym."""
        self._follow()
        return super().of_subject(tenant, subject)

    def of_subjects(self, tenant: str, subjects: Sequence[str]) -> dict[str, list[KeyRecord]]:
        """Return the records of many pseudonyms."""
        self._follow()
        return {name: super(LogKeys, self).of_subject(tenant, name) for name in subjects}

    def records(self) -> Iterator[KeyRecord]:
        """Return every record."""
        self._follow()
        return super().records()

    def unsigned(self) -> list[KeyRecord]:
        """Return the records that have no MAC."""
        self._follow()
        return super().unsigned()

    def put(self, records: Sequence[KeyRecord]) -> None:
        """Keep new records; acknowledged by the brokers on return."""
        self._write_records([self._signed(r) for r in records])

    def outputs(self, records: Sequence[KeyRecord]) -> Sequence[Output]:
        """Return the outputs that keep new records in the unit of their first use."""
        return self._outputs(self._signed(r) for r in records)

    def _outputs(self, records: Iterable[KeyRecord]) -> list[Output]:
        topic, partition = self._place
        encode = msgspec.msgpack.encode
        return [Output(topic, partition, r.key_id, encode(r)) for r in records]

    def _write_records(self, records: Iterable[KeyRecord]) -> None:
        outputs = self._outputs(records)
        if outputs:
            self._log.append(outputs)

    def rewrap(self, records: Sequence[KeyRecord]) -> int:
        """Write records again under another KEK version, those that are not destroyed meanwhile."""
        known = self.by_id([r.key_id for r in records])
        living = [
            replace(known[r.key_id], blob=r.blob, kek=r.kek)
            for r in records
            if r.key_id in known and not known[r.key_id].dead
        ]
        self.put(living)
        self._follow()  # one that was destroyed in between is destroyed again
        return len(living)

    def turn(self, ids: Sequence[bytes], state: KeyState) -> None:
        """Set the state of keys."""
        known = self.by_id(ids).values()
        self.put([replace(r, state=state) for r in known if not r.dead])

    def destroy(
        self, tenant: str, subject: str, at: int, certificate: str, obliged: Iterable[str] = ()
    ) -> list[KeyRecord]:
        """Write what is left of every key of a subject over it."""
        demand_no_hold(self.holds(tenant, subject), obliged)
        gone = [destroyed(r, at, certificate) for r in self.of_subject(tenant, subject)]
        self.put(gone)
        return gone

    def hold(self, hold: Hold) -> None:
        """Put a legal hold on a subject."""
        signed = self._signed_hold(hold)
        name = f"{hold.tenant}/{hold.subject}/{hold.id}".encode()
        self._write(HOLD + name, msgspec.msgpack.encode(signed))

    def release(self, tenant: str, subject: str, hold: str) -> None:
        """Take one hold of a subject away."""
        if hold:
            self._write(HOLD + f"{tenant}/{subject}/{hold}".encode(), None)
        else:
            self._write(OLD_HOLD + f"{tenant}/{subject}".encode(), None)

    def unsigned_holds(self) -> list[Hold]:
        """Return the holds that have no MAC."""
        self._follow()
        return super().unsigned_holds()

    def holds(self, tenant: str, subject: str) -> list[Hold]:
        """Return the holds on a subject."""
        self._follow()
        return super().holds(tenant, subject)

    def generation(self) -> int:
        """Return a number that grows whenever keys are destroyed or change their state."""
        self._follow()
        return super().generation()

    def acknowledge(self, instance: str, generation: int, at: int) -> None:
        """Say that a process has let go of everything destroyed up to a generation."""
        self._write(ACK + instance.encode(), msgspec.msgpack.encode(Ack(generation, at)))

    def acks(self) -> list[tuple[str, int, int]]:
        """Return (instance, generation, instant) of every process."""
        self._follow()
        return super().acks()

    def leave(self, instance: str) -> None:
        """A process ends."""
        self._write(ACK + instance.encode(), None)

    def _write(self, key: bytes, value: bytes | None) -> None:
        topic, partition = self._place
        self._log.append([Output(topic, partition, key, value)])
