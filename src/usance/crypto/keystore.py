"""Where wrapped data keys are kept, and what is known of those that were destroyed.

One record per version of a data key, written once by whoever mints it; only rewrapping and destruction
change it afterwards. Records name no person: `subject` is a pseudonym, an HMAC under a key of the log.
A destroyed key leaves a record without key material, which is what tells `Erased` from damage for ever.

Wrapping binds the key itself to its subject; everything else of a record, its state above all, is bound by a
MAC under a key of the log: whoever can write the store, and not more, can neither wake a key nor exchange two.
An older record of the same key put back is valid by itself: `usance audit verify` holds the states of keys
against the log's events.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from usance.crypto.keyservice import (
    KekId,
    KeyContext,
    KeyState,
    Purpose,
    Wrapped,
    length_prefixed,
)
from usance.kernel.clock import iso
from usance.kernel.errors import Refused, Tampered

DEAD = frozenset((KeyState.DESTROYED, KeyState.DESTROYED_COMPROMISED))


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A data key as it is stored: wrapped, or destroyed (`blob` empty).

    `subject` is a pseudonym; `check` the first bytes of the key's commitment, which tell a wrong key from
    the right one; instants are ms UTC, 0: not yet. `kek` is the version of the tenant's KEK.
    """

    key_id: bytes
    tenant: str
    subject: str
    retention: str
    version: int
    state: KeyState
    kek: int
    blob: bytes
    check: bytes
    created: int
    purpose: Purpose = Purpose.DATA
    destroyed: int = 0
    certificate: str = ""
    mac: bytes = b""

    @property
    def dead(self) -> bool:
        """Whether the key is destroyed."""
        return self.state in DEAD

    @property
    def wrapped(self) -> Wrapped:
        """What the key service unwraps."""
        context = KeyContext(
            self.tenant, self.subject, self.retention, self.key_id, self.version, self.purpose
        )
        return Wrapped(KekId(self.tenant, self.kek), context, self.blob)

    def __repr__(self) -> str:
        """Show which key it is."""
        return f"KeyRecord({self.key_id.hex()}, {self.state.value})"


MAC_VERSION = b"usance.keyrecord.1"
HOLD_VERSION = b"usance.holdrecord.1"
MAC_BYTES = 16


class Hold(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A legal hold: while it stands, no key of the subject is destroyed.

    `id` tells it from the subject's other holds, as the log does; empty in what an earlier version wrote, when
    there was but one.
    """

    tenant: str
    subject: str
    reason: str
    by: str
    since: int
    id: str = ""
    mac: bytes = b""


class RecordMac:
    """Authenticates records of a key store under a key that is made of the log's own secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, record: KeyRecord) -> bytes:
        """Return the MAC of everything in a record, each part with its length before it."""
        said = length_prefixed(
            MAC_VERSION, record.key_id, record.tenant.encode(), record.subject.encode(),
            record.retention.encode(), record.version.to_bytes(4, "big"),
            record.purpose.value.encode(), record.state.value.encode(),
            record.kek.to_bytes(4, "big"), sha256(record.blob).digest(), record.check,
            record.created.to_bytes(8, "big"), record.destroyed.to_bytes(8, "big"),
            record.certificate.encode(),
        )  # fmt: skip
        return hmac.digest(self._key, said, "sha256")[:MAC_BYTES]

    def signed(self, record: KeyRecord) -> KeyRecord:
        """Return a record with its MAC."""
        return msgspec.structs.replace(record, mac=self.of(record))

    def demand(self, record: KeyRecord) -> KeyRecord:
        """Return a record as it is; raises Tampered where its MAC is not ours."""
        if not hmac.compare_digest(record.mac, self.of(record)):
            raise Tampered(
                f"the record of data key {record.key_id.hex()} is not as this log wrote it",
                hint="Compare the key store with its backup; one that an earlier version wrote:"
                " usance key adopt.",
            )
        return record

    def of_hold(self, hold: Hold) -> bytes:
        """Return the MAC of everything in a hold; no MAC of a record is one of a hold."""
        said = length_prefixed(
            HOLD_VERSION, hold.tenant.encode(), hold.subject.encode(), hold.id.encode(),
            hold.reason.encode(), hold.by.encode(), hold.since.to_bytes(8, "big"),
        )  # fmt: skip
        return hmac.digest(self._key, said, "sha256")[:MAC_BYTES]

    def signed_hold(self, hold: Hold) -> Hold:
        """Return a hold with its MAC."""
        return msgspec.structs.replace(hold, mac=self.of_hold(hold))

    def demand_hold(self, hold: Hold) -> Hold:
        """Return a hold as it is; raises Tampered where its MAC is not ours."""
        if not hmac.compare_digest(hold.mac, self.of_hold(hold)):
            raise Tampered(
                f"the legal hold {hold.id or '(without id)'} on {hold.subject} is not as this log wrote it",
                hint="Compare the key store with its backup; one that an earlier version wrote:"
                " usance key adopt.",
            )
        return hold


class KeyStore(Protocol):
    """The port. Errors: Unavailable; Refused where a hold stands against a destruction.

    Once bound to a log's secret, a store signs what it writes and gives out nothing that it cannot
    authenticate: Tampered.
    """

    def bind(self, mac: RecordMac) -> None:
        """Sign and check records from now on."""
        ...

    def by_id(self, ids: Sequence[bytes]) -> dict[bytes, KeyRecord]:
        """Return the records of keys, destroyed ones included; unknown ids are left out."""
        ...

    def of_subject(self, tenant: str, subject: str) -> list[KeyRecord]:
        """Return all records of a pseudonym, oldest version first."""
        ...

    def of_subjects(self, tenant: str, subjects: Sequence[str]) -> dict[str, list[KeyRecord]]:
        """Return the records of many pseudonyms, in few questions; empty lists where there are none."""
        ...

    def records(self) -> Iterator[KeyRecord]:
        """Return every record."""
        ...

    def put(self, records: Sequence[KeyRecord]) -> None:
        """Keep new records; durable on return."""
        ...

    def outputs(self, records: Sequence[KeyRecord]) -> Sequence[Any]:
        """Return the log outputs that keep new records within a unit.

        A store of its own returns none: it has them durably already, before the unit's commit.
        """
        ...

    def unsigned(self) -> list[KeyRecord]:
        """Return the records that have no MAC, as they are: an earlier version wrote them."""
        ...

    def trust(self, records: Sequence[KeyRecord]) -> None:
        """Give out unsigned records that somebody held against the log, as long as this store is open."""
        ...

    def sign(self, records: Sequence[KeyRecord]) -> None:
        """Sign records that somebody held against the log."""
        ...

    def rewrap(self, records: Sequence[KeyRecord]) -> int:
        """Replace blob and KEK version of records that are not destroyed; returns how many."""
        ...

    def turn(self, ids: Sequence[bytes], state: KeyState) -> None:
        """Set the state of keys that are not destroyed."""
        ...

    def destroy(
        self, tenant: str, subject: str, at: int, certificate: str, obliged: Iterable[str] = ()
    ) -> list[KeyRecord]:
        """Destroy every version of every key of a subject; returns what is left of them.

        Raises Refused while a hold stands, or while `obliged` names a reason: whoever asked has
        checked before, and it is checked again where the keys are.
        """
        ...

    def hold(self, hold: Hold) -> None:
        """Put a legal hold on a subject, beside those of other ids."""
        ...

    def release(self, tenant: str, subject: str, hold: str) -> None:
        """Take one hold of a subject away, by its id; the others stand on."""
        ...

    def holds(self, tenant: str, subject: str) -> list[Hold]:
        """Return the holds on a subject, oldest first."""
        ...

    def unsigned_holds(self) -> list[Hold]:
        """Return the holds that have no MAC, as they are: an earlier version wrote them."""
        ...

    def sign_holds(self, holds: Sequence[Hold]) -> None:
        """Put holds, held against the log, in the place of the unsigned ones of their subjects."""
        ...

    def generation(self) -> int:
        """Return a number that grows whenever keys are destroyed or change their state."""
        ...

    def acknowledge(self, instance: str, generation: int, at: int) -> None:
        """Say that a process has let go of everything destroyed up to a generation."""
        ...

    def acks(self) -> list[tuple[str, int, int]]:
        """Return (instance, generation, instant) of every process that has the store open."""
        ...

    def leave(self, instance: str) -> None:
        """A process ends: nobody waits for it any more."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


def demand_no_hold(holds: Sequence[Hold], obliged: Iterable[str]) -> None:
    """Raise Refused while anything stands against destroying a subject's keys."""
    for hold in holds:
        raise Refused(
            "LEGAL_HOLD",
            f"legal hold {hold.id} stands since {iso(hold.since)[:10]}: {hold.reason}",
            hint=f"It goes first: usance subject hold SUBJECT --release {hold.id}.",
        )
    for reason in obliged:
        raise Refused(
            "RETENTION_OBLIGES",
            f"the data must be kept: {reason}",
            hint="Ask again once the obligation has ended.",
        )


class MemoryKeys:
    """A key store in memory, for tests and simulations; others inherit how they answer."""

    def __init__(self) -> None:
        self._records: dict[bytes, KeyRecord] = {}
        self._subjects: dict[tuple[str, str], list[bytes]] = {}
        self._holds: dict[tuple[str, str], dict[str, Hold]] = {}
        self._acks: dict[str, tuple[int, int]] = {}
        self._generation = 0
        self._mac: RecordMac | None = None
        self._trusted: dict[bytes, KeyRecord] = {}

    def bind(self, mac: RecordMac) -> None:
        """Sign and check records from now on."""
        self._mac = mac

    def _signed(self, record: KeyRecord) -> KeyRecord:
        return record if self._mac is None else self._mac.signed(record)

    def _checked(self, record: KeyRecord) -> KeyRecord:
        if self._mac is None or self._trusted.get(record.key_id) == record:
            return record
        return self._mac.demand(record)

    def trust(self, records: Sequence[KeyRecord]) -> None:
        """Give out unsigned records that somebody held against the log."""
        self._trusted |= {r.key_id: r for r in records}

    def by_id(self, ids: Sequence[bytes]) -> dict[bytes, KeyRecord]:
        """Return the records of keys."""
        known = self._records
        return {i: self._checked(known[i]) for i in ids if i in known}

    def of_subject(self, tenant: str, subject: str) -> list[KeyRecord]:
        """Return all records of a pseudonym."""
        mine = self._subjects.get((tenant, subject), ())
        return [self._checked(self._records[i]) for i in mine]

    def of_subjects(self, tenant: str, subjects: Sequence[str]) -> dict[str, list[KeyRecord]]:
        """Return the records of many pseudonyms."""
        return {name: self.of_subject(tenant, name) for name in subjects}

    def records(self) -> Iterator[KeyRecord]:
        """Return every record."""
        for record in list(self._records.values()):
            yield self._checked(record)

    def put(self, records: Sequence[KeyRecord]) -> None:
        """Keep new records."""
        for record in records:
            self.keep(self._signed(record))

    def unsigned(self) -> list[KeyRecord]:
        """Return the records that have no MAC."""
        return [r for r in self._records.values() if not r.mac]

    def sign(self, records: Sequence[KeyRecord]) -> None:
        """Sign records."""
        self.put(records)

    def outputs(self, records: Sequence[KeyRecord]) -> Sequence[Any]:
        """Keep new records; nothing goes into the unit."""
        self.put(records)
        return ()

    def keep(self, record: KeyRecord) -> None:
        """Take one record into memory; nothing brings a destroyed key back."""
        known = self._records.get(record.key_id)
        if known is None:
            self._subjects.setdefault((record.tenant, record.subject), []).append(record.key_id)
        elif known.dead and not record.dead:
            return
        self._records[record.key_id] = record

    def rewrap(self, records: Sequence[KeyRecord]) -> int:
        """Replace blob and KEK version."""
        done = 0
        for record in records:
            known = self._records.get(record.key_id)
            if known is not None and not known.dead:
                changed = msgspec.structs.replace(
                    self._checked(known), blob=record.blob, kek=record.kek
                )
                self._records[record.key_id] = self._signed(changed)
                done += 1
        return done

    def turn(self, ids: Sequence[bytes], state: KeyState) -> None:
        """Set the state of keys."""
        for key_id in ids:
            known = self._records.get(key_id)
            if known is not None and not known.dead:
                changed = msgspec.structs.replace(self._checked(known), state=state)
                self._records[key_id] = self._signed(changed)
        self._generation += 1

    def destroy(
        self, tenant: str, subject: str, at: int, certificate: str, obliged: Iterable[str] = ()
    ) -> list[KeyRecord]:
        """Destroy every version of every key of a subject."""
        demand_no_hold(self.holds(tenant, subject), obliged)
        found = [
            self._signed(destroyed(r, at, certificate)) for r in self.of_subject(tenant, subject)
        ]
        for record in found:
            self._records[record.key_id] = record
        self._generation += 1
        return found

    def hold(self, hold: Hold) -> None:
        """Put a legal hold on a subject."""
        signed = self._signed_hold(hold)
        self._holds.setdefault((hold.tenant, hold.subject), {})[hold.id] = signed

    def _signed_hold(self, hold: Hold) -> Hold:
        return hold if self._mac is None else self._mac.signed_hold(hold)

    def release(self, tenant: str, subject: str, hold: str) -> None:
        """Take one hold of a subject away."""
        self._holds.get((tenant, subject), {}).pop(hold, None)

    def holds(self, tenant: str, subject: str) -> list[Hold]:
        """Return the holds on a subject."""
        found = sorted(self._holds.get((tenant, subject), {}).values(), key=lambda h: h.since)
        return found if self._mac is None else [self._mac.demand_hold(h) for h in found]

    def unsigned_holds(self) -> list[Hold]:
        """Return the holds that have no MAC."""
        return [h for of in self._holds.values() for h in of.values() if not h.mac]

    def sign_holds(self, holds: Sequence[Hold]) -> None:
        """Put holds in the place of unsigned ones."""
        for hold in holds:
            self.release(hold.tenant, hold.subject, "")
            self.hold(hold)

    def generation(self) -> int:
        """Return a number that grows whenever keys are destroyed or change their state."""
        return self._generation

    def acknowledge(self, instance: str, generation: int, at: int) -> None:
        """Say that a process has let go of everything destroyed up to a generation."""
        self._acks[instance] = (generation, at)

    def acks(self) -> list[tuple[str, int, int]]:
        """Return (instance, generation, instant) of every process."""
        return [(instance, *said) for instance, said in self._acks.items()]

    def leave(self, instance: str) -> None:
        """A process ends."""
        self._acks.pop(instance, None)

    def close(self) -> None:
        """Nothing to release."""


def destroyed(record: KeyRecord, at: int, certificate: str) -> KeyRecord:
    """Return what is left of a key: who and when, and no key material."""
    if record.dead:
        return record
    last = (
        KeyState.DESTROYED_COMPROMISED
        if record.state is KeyState.COMPROMISED
        else KeyState.DESTROYED
    )
    return msgspec.structs.replace(
        record, state=last, blob=b"", destroyed=at, certificate=certificate
    )
