"""The data keys of one process: minted, cached with bounds and age, opened in batches, evicted.

One key per data subject and retention class, in versions. Only sealing mints, and only for a subject that was
never erased; opening an unknown key is damage, opening a destroyed one gives `Erased`. While the key service
is down, what is cached goes on until its greatest age, and everything else is `KeyUnavailable`: wait, and ask
again; nothing is ever written in clear instead.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from usance.crypto.keyservice import KeyContext, KeyService, KeyState, Purpose, Wrapped
from usance.crypto.keystore import KeyRecord, KeyStore, RecordMac
from usance.crypto.sealing import AES_GCM, KEY_BYTES, KEY_ID_BYTES, DataKey, SealingKey, tampered
from usance.crypto.secret import Secret
from usance.kernel.clock import MS_PER_DAY, MS_PER_MINUTE, Clock
from usance.kernel.errors import NotFound, Refused, Tampered, Unavailable
from usance.kernel.ids import Entropy, system_entropy

CACHED_KEYS_MAX = 50_000
"""Data keys in memory: 2 KB or so each."""
REFRESH_MS = 5 * MS_PER_MINUTE
"""Age after which a cached key is asked for again."""
MAX_AGE_MS = 15 * MS_PER_MINUTE
"""Age at which a key goes although the key service cannot be asked."""
CRYPTOPERIOD_MS = 90 * MS_PER_DAY
"""How long a version seals (SP 800-57 part 1, 5.3.6); it opens for as long as its data is kept."""
USES_MAX = 1 << 24
"""Seals per key over all partitions; the bound of random nonces is 2^32 (SP 800-38D 8.3)."""
LOOK_EVERY_MS = 10_000
HEAR_EVERY_MS = 1_000
"""How often a process looks whether keys were destroyed elsewhere."""
SAY_EVERY_MS = 60 * MS_PER_MINUTE
"""How often it says that it has, although nothing was: a quiet topic is never compacted otherwise."""
DOWN_MS = 1_000
"""How long nobody asks again after the key service did not answer."""
PSEUDONYM_BYTES = 16
CHECK_BYTES = 8


class KeyUnavailable(Unavailable):
    """A data key cannot be had now, because the key service or the key store cannot be asked."""


class SubjectErased(Refused):
    """Nothing more is sealed for a subject whose keys were destroyed."""

    def __init__(self) -> None:
        super().__init__(
            "SUBJECT_ERASED",
            "The data subject was erased: nothing more can be recorded about it.",
            hint="Give a new subject where this is somebody else.",
        )


class Tombstone(NamedTuple):
    """What is left of a destroyed key: whose it was (a pseudonym), when, and under which certificate."""

    key_id: bytes
    tenant: str
    subject: str
    at: int
    certificate: str


class Scope(NamedTuple):
    """What one data key is for."""

    tenant: str
    subject: str
    retention: str


def derived(secret: Secret, label: str) -> bytes:
    """Return 32 bytes that a log's own secret makes for a purpose."""
    return hmac.digest(secret.reveal(), f"usance/log/v1/{label}".encode(), "sha256")


def record_mac(secret: Secret) -> RecordMac:
    """Return what authenticates the records of a log's key store."""
    return RecordMac(derived(secret, "key-record"))


class Vault:
    """The data keys of a process; any thread may ask.

    `secret` is the log's own, from which pseudonyms and the key of body hashes are made; USES_MAX is divided
    by `partitions`, each of which counts for itself.
    """

    def __init__(
        self,
        service: KeyService,
        store: KeyStore,
        clock: Clock,
        secret: Secret,
        *,
        partitions: int = 1,
        entropy: Entropy = system_entropy,
        cached_max: int = CACHED_KEYS_MAX,
    ) -> None:
        self.service = service
        self.store = store
        self.clock = clock
        self.uses_max = USES_MAX // max(1, partitions)
        self.calls = 0
        """Questions put to the key service, for the metric and the test of trap 18."""
        self._secret = secret
        self._pseudonyms = self.derived("pseudonym")
        self._digest_keys: dict[str, bytes] = {}
        self.mac = record_mac(secret)
        store.bind(self.mac)
        self._entropy = entropy
        self._cached_max = cached_max
        self._lock = threading.RLock()
        self.open_keys: dict[bytes, DataKey] = {}
        """Keys that open, by id; whoever opens many looks here first."""
        self._active: dict[tuple[str, str], dict[str, SealingKey]] = {}
        self._scopes: dict[bytes, Scope] = {}
        self._born: dict[bytes, int] = {}
        self._facts: dict[bytes, KeyRecord] = {}
        self._tombstones: dict[bytes, Tombstone] = {}
        self._unsaved: list[KeyRecord] = []
        self._in_flight: list[KeyRecord] = []
        self.instance = ""
        """Name under which this process acknowledges what it let go of; empty: nobody waits for it."""
        self._generation = -1
        self._said = 0
        self._heard = self._looked = clock.now()
        self._down_until = 0
        self._down: KeyUnavailable | None = None

    # -- what the log's own secret makes

    def derived(self, label: str) -> bytes:
        """Return 32 bytes for a purpose of the log."""
        return derived(self._secret, label)

    def digest_key(self, tenant: str) -> bytes:
        """Return the key of a tenant's digests of what is private."""
        known = self._digest_keys.get(tenant)
        if known is None:
            known = self._digest_keys[tenant] = self.derived(f"digest/{tenant}")
        return known

    def pseudonym(self, tenant: str, subject: str) -> str:
        """Return the name under which a subject's keys are stored, in hex."""
        data = len(tenant).to_bytes(2, "big") + tenant.encode() + subject.encode()
        return hmac.digest(self._pseudonyms, data, "sha256")[:PSEUDONYM_BYTES].hex()

    # -- sealing

    def active(self, tenant: str, retention: str) -> dict[str, SealingKey]:
        """Return the keys that seal now, by subject; a subject that is missing is asked of `seals`."""
        return self._active.setdefault((tenant, retention), {})

    def seals(self, tenant: str, subject: str, retention: str) -> SealingKey:
        """Return the key that seals for a scope, minted when there is none.

        Raises SubjectErased, KeyUnavailable.
        """
        scope = Scope(tenant, subject, retention)
        found = self.active(tenant, retention).get(subject)
        if found is not None:
            return found
        with self._lock:
            self.prepare([scope])
            found = self.active(tenant, retention).get(subject)
        if found is None:
            raise SubjectErased
        return found

    def prepare(self, scopes: Iterable[Scope], ids: Sequence[bytes] = ()) -> None:
        """Bring keys into memory that are about to be needed: one question each to unwrap and to wrap.

        Raises KeyUnavailable. Erased subjects are passed over.
        """
        with self._lock:
            self._fetch([i for i in ids if i not in self.open_keys and i not in self._tombstones])
            wanted = [s for s in dict.fromkeys(scopes) if s.subject not in self.active(s[0], s[2])]
            fresh: list[tuple[Scope, int]] = []
            known: list[tuple[Scope, KeyRecord]] = []
            stored = self._of(wanted)
            for scope in wanted:
                records = stored[scope]
                if any(r.dead or r.state is KeyState.SUSPENDED for r in records):
                    continue  # erased, or about to be
                mine = [r for r in records if r.retention == scope.retention]
                usable = [r for r in mine if self._seals(r)]
                if usable:
                    known.append((scope, usable[-1]))
                else:
                    fresh.append((scope, max((r.version for r in mine), default=0) + 1))
            opened = self._open([r for _, r in known])
            for scope, record in known:
                key = opened[record.key_id]
                self._activate(scope, record, key)
            self._mint(fresh)

    def _of(self, scopes: Sequence[Scope]) -> dict[Scope, list[KeyRecord]]:
        """Return what is known of each scope's subject, what waits to be stored included."""
        names = {s: self.pseudonym(s.tenant, s.subject) for s in scopes}
        found: dict[tuple[str, str], list[KeyRecord]] = {}
        for tenant in {s.tenant for s in scopes}:
            mine = list(dict.fromkeys(names[s] for s in scopes if s.tenant == tenant))
            stored = self._stored(lambda t=tenant, m=mine: self.store.of_subjects(t, m))  # type: ignore[misc]
            found |= {(tenant, name): list(records) for name, records in stored.items()}
        for record in (*self._in_flight, *self._unsaved):
            known = found.get((record.tenant, record.subject))
            if known is not None and all(r.key_id != record.key_id for r in known):
                known.append(record)
        return {s: found[s.tenant, names[s]] for s in scopes}

    def _seals(self, record: KeyRecord) -> bool:
        young = self.clock.now() - record.created < CRYPTOPERIOD_MS
        return record.state is KeyState.ACTIVE and young

    def _mint(self, fresh: list[tuple[Scope, int]]) -> None:
        by_tenant: dict[str, list[tuple[Scope, KeyContext, Secret]]] = {}
        for scope, version in fresh:
            name = self.pseudonym(scope.tenant, scope.subject)
            key_id = self._entropy(KEY_ID_BYTES)
            context = KeyContext(scope.tenant, name, scope.retention, key_id, version, Purpose.DATA)
            made = (scope, context, Secret(self._entropy(KEY_BYTES)))
            by_tenant.setdefault(scope.tenant, []).append(made)
        for tenant, made_here in by_tenant.items():
            pairs = [(context, secret) for _, context, secret in made_here]
            wrapped = self._asked(lambda t=tenant, p=pairs: self._wrap(t, p))  # type: ignore[misc]
            for (scope, context, secret), item in zip(made_here, wrapped, strict=True):
                key = SealingKey(context.key_id, secret.reveal(), AES_GCM)
                secret.wipe()
                record = _record(item, key.commit[:CHECK_BYTES], self.clock.now())
                self._unsaved.append(record)
                self._activate(scope, record, key)

    def _wrap(self, tenant: str, pairs: list[tuple[KeyContext, Secret]]) -> list[Wrapped]:
        try:
            return self.service.wrap(tenant, pairs)
        except NotFound:
            self.service.create(tenant)
            return self.service.wrap(tenant, pairs)

    def _activate(self, scope: Scope, record: KeyRecord, key: DataKey) -> None:
        assert isinstance(key, SealingKey), "only an active key seals"
        self._cache(record, key)
        self._scopes[record.key_id] = scope
        self.active(scope.tenant, scope.retention)[scope.subject] = key

    # -- opening

    def opens(self, key_id: bytes, tenant: str, subject: str) -> DataKey | Tombstone:
        """Return the key of an id, or what is left of it.

        Raises KeyUnavailable; Tampered for an id that never was, and for a destroyed key of another
        subject than the record names.
        """
        found = self.open_keys.get(key_id)
        if found is not None:
            return found
        if key_id not in self._tombstones:
            with self._lock:
                self._fetch([key_id])
                found = self.open_keys.get(key_id)
        if found is not None:
            return found
        gone = self._tombstones.get(key_id)
        if gone is None:
            raise tampered("it names a key that never was")
        # Whoever puts a destroyed key's id into a record would make tampering look like the law.
        if gone.tenant != tenant or gone.subject != self.pseudonym(tenant, subject):
            raise tampered("it names a destroyed key of somebody else")
        return gone

    def raw_key(self, key_id: bytes) -> DataKey | None:
        """Return the key of bytes that name no subject, None where it was destroyed; raises as `opens`."""
        if key_id not in self.open_keys and key_id not in self._tombstones:
            with self._lock:
                self._fetch([key_id])
        found = self.open_keys.get(key_id)
        if found is None and key_id not in self._tombstones:
            raise tampered("it names a key that never was")
        return found

    def _fetch(self, ids: Sequence[bytes]) -> None:
        if not ids:
            return
        waiting = {r.key_id: r for r in (*self._in_flight, *self._unsaved)}
        records = self._stored(lambda: self.store.by_id(ids))
        records = {i: r for i in ids if (r := records.get(i) or waiting.get(i)) is not None}
        for record in records.values():
            if record.dead:
                self._bury(record)
        living = [r for r in records.values() if not r.dead]
        opened = self._open(living)
        for record in living:
            self._cache(record, opened[record.key_id])

    def _open(self, records: list[KeyRecord]) -> dict[bytes, DataKey]:
        """Unwrap keys in one question; those in memory are taken from there."""
        found: dict[bytes, DataKey] = {}
        missing = []
        for record in records:
            known = self.open_keys.get(record.key_id)
            if known is not None and (isinstance(known, SealingKey) or not self._seals(record)):
                found[record.key_id] = known
            else:
                missing.append(record)
        if not missing:
            return found
        answers = self._asked(lambda: self.service.unwrap([r.wrapped for r in missing]))
        for record, answer in zip(missing, answers, strict=True):
            if not isinstance(answer, Secret):
                raise Tampered(
                    f"the stored data key {record.key_id.hex()} cannot be opened:"
                    f" {type(answer).__name__}",
                    hint="Compare the key store with its backup: usance key show KEY.",
                )
            kind = SealingKey if self._seals(record) else DataKey
            key = kind(record.key_id, answer.reveal(), AES_GCM)
            answer.wipe()
            if not hmac.compare_digest(key.commit[:CHECK_BYTES], record.check):
                raise Tampered(
                    f"the stored data key {record.key_id.hex()} is not the one that was minted",
                    hint="Compare the key store with its backup: usance key show KEY.",
                )
            found[record.key_id] = key
        return found

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Ask; after a failure nobody does for a while, so that a batch does not wait once per record."""
        if self._down is not None and self.clock.now() < self._down_until:
            raise KeyUnavailable(self._down.message, hint=self._down.hint)
        self.calls += 1
        try:
            answer = ask()
        except Unavailable as down:
            self._down = KeyUnavailable(down.message, hint=down.hint)
            self._down_until = self.clock.now() + DOWN_MS
            raise self._down from down
        self._down = None
        return answer

    def _stored(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except Unavailable as down:
            raise KeyUnavailable(down.message, hint=down.hint) from down

    def patience(self) -> None:
        """Ask again at once, after the key service is said to be back."""
        self._down = None

    # -- the cache

    def _cache(self, record: KeyRecord, key: DataKey) -> None:
        while len(self.open_keys) >= self._cached_max:
            self.evict([next(iter(self.open_keys))])
        self.open_keys[record.key_id] = key
        self._born[record.key_id] = self.clock.now()
        self._facts[record.key_id] = record

    def _bury(self, record: KeyRecord) -> None:
        self.evict([record.key_id])
        self._tombstones[record.key_id] = Tombstone(
            record.key_id, record.tenant, record.subject, record.destroyed, record.certificate
        )

    def evict(self, ids: Iterable[bytes]) -> None:
        """Forget keys: the next use asks again."""
        with self._lock:
            for key_id in list(ids):
                self.open_keys.pop(key_id, None)
                self._born.pop(key_id, None)
                self._facts.pop(key_id, None)
                scope = self._scopes.pop(key_id, None)
                if scope is not None:
                    known = self.active(scope.tenant, scope.retention)
                    seals = known.get(scope.subject)
                    if seals is not None and seals.key_id == key_id:
                        del known[scope.subject]

    def close_for(self, subjects: Sequence[str]) -> None:
        """Seal nothing more for pseudonyms: what the store says of their keys counts from the next seal on."""
        with self._lock:
            gone = [i for i, r in self._facts.items() if r.subject in subjects]
            self.evict(gone)

    def forget(self) -> None:
        """Forget every key and tombstone: what the store says counts from now on."""
        self.evict(list(self.open_keys))
        self._tombstones.clear()

    def record(self, key_id: bytes) -> KeyRecord:
        """Return what is stored of a key that is in use; raises Tampered where nothing is."""
        found = self._facts.get(key_id)
        if found is None:
            found = self._stored(lambda: self.store.by_id([key_id])).get(key_id)
        if found is None:
            raise tampered("it names a key that never was")
        return found

    def cached(self) -> int:
        """Return how many keys are in memory."""
        return len(self.open_keys)

    def tick(self) -> None:
        """Let go of what was destroyed, ask again for keys that are old; cheap to call often."""
        now = self.clock.now()
        if now - self._heard >= HEAR_EVERY_MS:
            self._heard = now
            self.hear()
        if now - self._looked < LOOK_EVERY_MS:
            return
        self._looked = now
        with self._lock:
            old = [i for i, born in self._born.items() if now - born >= REFRESH_MS]
            if not old:
                return
            try:
                self._refresh(old)
            except KeyUnavailable:
                self.evict([i for i in old if now - self._born[i] >= MAX_AGE_MS])

    def hear(self) -> None:
        """Let go of keys that were destroyed or turned elsewhere, and say so in the store."""
        try:
            generation = self.store.generation()
            if generation == self._generation:
                if self.instance and self.clock.now() - self._said >= SAY_EVERY_MS:
                    self._say(generation)
                return
            with self._lock:
                records = self.store.by_id(list(self.open_keys))
                self.evict([i for i, r in records.items() if r.state is not KeyState.ACTIVE])
                for record in records.values():
                    if record.dead:
                        self._bury(record)
            self._generation = generation
            if self.instance:
                self._say(generation)
        except Unavailable:
            return  # asked again at the next look

    def enter(self, instance: str) -> None:
        """Say that this process holds keys, so that an erasure waits for its word."""
        self.instance = instance
        self._generation = self.store.generation()
        self._say(self._generation)

    def _say(self, generation: int) -> None:
        self._said = self.clock.now()
        self.store.acknowledge(self.instance, generation, self._said)

    def _refresh(self, ids: list[bytes]) -> None:
        """Hold cached keys against the store and the service: destroyed ones go, others stay."""
        waiting = {r.key_id for r in (*self._in_flight, *self._unsaved)}
        records = self._stored(lambda: self.store.by_id(ids))
        self._asked(self.service.check)
        for key_id in ids:
            record = records.get(key_id)
            if record is None:
                if key_id not in waiting:
                    self.evict([key_id])
            elif record.dead:
                self._bury(record)
            elif isinstance(self.open_keys.get(key_id), SealingKey) and not self._seals(record):
                self.evict([key_id])
            else:
                self._born[key_id] = self.clock.now()

    # -- keeping what was minted

    def save(self) -> None:
        """Make minted keys durable outside of any unit: before a gateway appends what they sealed."""
        if self._unsaved or self._in_flight:
            with self._lock:
                minted, self._unsaved = self._unsaved, []
                # What is in a unit may still be dropped with it: this caller's record must not wait.
                everything = [*self._in_flight, *minted]
                try:
                    self._stored(lambda: self.store.put(everything))
                except BaseException:
                    self._unsaved = minted + self._unsaved
                    raise

    def staged(self) -> Sequence[Any]:
        """Return the outputs that keep minted keys in the unit that uses them first.

        Where the store is its own they are durable on return, and there are none.
        """
        if not self._unsaved:
            return ()
        with self._lock:
            minted, self._unsaved = self._unsaved, []
            try:
                outputs: Sequence[Any] = self._stored(lambda: self.store.outputs(minted))
            except BaseException:
                self._unsaved = minted + self._unsaved
                raise
            if outputs:
                self._in_flight += minted
            return outputs

    def in_flight(self) -> list[KeyRecord]:
        """Return the keys of units that are not known to be durable."""
        return list(self._in_flight)

    def kept(self, count: int) -> None:
        """A unit is durable, and so are its `count` keys: the first of those in flight."""
        if count:
            with self._lock:
                del self._in_flight[:count]

    def again(self) -> None:
        """Units were dropped: their keys go with the next one."""
        if self._in_flight:
            with self._lock:
                self._unsaved = self._in_flight + self._unsaved
                self._in_flight = []

    def exhausted(self, key_id: bytes) -> None:
        """A key has sealed as much as it may: its subject gets the next version."""
        with self._lock:
            self._stored(lambda: self.store.turn([key_id], KeyState.DEACTIVATED))
            self.evict([key_id])


def _record(item: Wrapped, check: bytes, now: int) -> KeyRecord:
    context = item.context
    return KeyRecord(
        key_id=context.key_id,
        tenant=context.tenant,
        subject=context.subject,
        retention=context.retention,
        version=context.version,
        state=KeyState.ACTIVE,
        kek=item.kek.version,
        blob=item.blob,
        check=check,
        created=now,
        purpose=context.purpose,
    )
