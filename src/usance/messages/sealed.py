"""Private blocks on their way: sealed when a record is written, opened when it is read.

A block is sealed for one place: the tenant, stream, revision, id and type of its record. It is never copied into
another one; what decides opens it, and the new record is sealed anew. An empty subject means the record's own
stream, which is then what is erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usance.crypto.sealing import (
    NO_REVISION,
    NONCES,
    NONCES_LEFT,
    PLAIN_BYTES_MAX,
    DataKey,
    SealingKey,
    block_suffix,
    key_id_of,
    place_prefix,
    record_prefix,
    tampered,
    tenant_prefix,
)
from usance.crypto.vault import Scope, SubjectErased, Tombstone, Vault
from usance.kernel.decider import WITHHELD, Denied, Erased

if TYPE_CHECKING:
    from usance.messages.catalogue import MessageType


class Unopened(Exception):
    """A key is not in memory: ends a reading that only looks for keys."""


Where = tuple[bytes, bytes, int, bytes]
"""Where a record stands, as its blocks are bound to it: its tenant's prefix, stream, revision (-1: none), id."""


def prefix_of(place: Where) -> bytes:
    """Return the AAD's first parts, which all blocks of a record share."""
    prefix, stream, revision, record_id = place
    return place_prefix(prefix, stream, NO_REVISION if revision < 0 else revision, record_id)


RETAIN, RETAIN_INTAKE = "relationship", "intake"


def stands_in(value: Any) -> bool:
    """Tell whether a value stands for a block that is erased or denied."""
    return type(value) in WITHHELD


class Kinds:
    """What the blocks of one message type are sealed by: their AAD's ends and retention classes."""

    __slots__ = ("fullname", "names", "retentions", "suffixes")

    def __init__(self, entry: MessageType) -> None:
        blocks = entry.private
        self.fullname = entry.fullname
        self.names = tuple(b.field for b in blocks)
        self.suffixes = tuple(
            block_suffix(entry.fullname, b.field, b.schema.fingerprint) for b in blocks
        )
        self.retentions = tuple(retention_of(b.schema.json) for b in blocks)


def retention_of(schema: Any) -> str:
    """Return the retention class of a block: what most of its classified fields say."""
    marks = [f.get("retain", "") for f in schema["fields"] if f["name"] != "subject"]
    return max(sorted(set(marks)), key=marks.count) if marks else "relationship"


class Sealer:
    """Seals the blocks of the records of one thread; `at` says which record is being written."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.uses: dict[bytes, int] = {}
        """Seals by key id; whoever counts gives a dictionary of its own."""
        self.seen: dict[bytes, int] = {}
        """Keys that have sealed before: what is neither here nor in `uses` is `fresh`."""
        self.fresh: list[bytes] = []
        self._tenant, self._prefix = "", tenant_prefix("")
        self._stream = b""
        self._kinds: Kinds | None = None
        self._place: Where = (b"", b"", 0, b"")
        self._active: dict[Kinds, tuple[dict[str, SealingKey], ...]] = {}
        self._keys: tuple[dict[str, SealingKey], ...] = ()

    def for_all(self, tenant: str) -> tuple[Any, ...]:
        """Return what a compiled writer seals all events of a command with, by keys that are in use."""
        if tenant != self._tenant:
            self._enter(tenant)
        pool = NONCES.pool
        if len(pool) < NONCES_LEFT:
            pool = NONCES.ready()
        return (self._active, self.uses, self.seen, pool, self._prefix)

    def _enter(self, tenant: str) -> None:
        self._active, self._tenant, self._prefix = {}, tenant, tenant_prefix(tenant)

    def at(
        self, tenant: str, stream: bytes, revision: int, record_id: bytes, kinds: Kinds
    ) -> tuple[Any, ...]:
        """Say which record's blocks come next; returns what a compiled writer seals them with."""
        if tenant != self._tenant:
            self._enter(tenant)
        self._stream, self._kinds = stream, kinds
        keys = self._active.get(kinds)
        if keys is None:
            keys = tuple(self.vault.active(tenant, retention) for retention in kinds.retentions)
            self._active[kinds] = keys
        self._keys = keys
        # As it stands in the compiled writer's hands: numbers there have a sign.
        number = -1 if revision == NO_REVISION else revision
        self._place = place = (self._prefix, stream, number, record_id)
        return (keys, self.uses, self.seen, NONCES.pool, place, kinds.suffixes, self.seal)

    def seal(self, number: int, subject: str, plain: bytes) -> bytes:
        """Return the sealed bytes of block `number`; raises SubjectErased, KeyUnavailable, Unreadable."""
        kinds = self._kinds
        assert kinds is not None, "nobody said which record this is"
        if not subject:
            subject = self._stream.decode()
        key = self._keys[number].get(subject)
        if key is None:
            key = self.vault.seals(self._tenant, subject, kinds.retentions[number])
        uses, key_id = self.uses, key.key_id
        if key_id in uses:
            uses[key_id] += 1
        else:
            uses[key_id] = 1
            if key_id not in self.seen:
                self.fresh.append(key_id)
        return key.seal(plain, prefix_of(self._place) + kinds.suffixes[number])


class Opening:
    """Opens the blocks of one record: what a reader asks while it reads.

    With no vault everything that is sealed is `Denied`. `looking` collects the keys that are not in memory,
    instead of asking for them; `strict` refuses what belongs to an erased subject, instead of reading
    around it; `counting` counts blocks by key id.
    """

    __slots__ = (
        "clear", "counting", "keys", "kinds", "looking", "place", "splices", "stream", "strict",
        "suffixes", "tenant", "vault",
    )  # fmt: skip

    def __init__(
        self,
        vault: Vault | None,
        splices: Any = None,
        *,
        strict: bool = False,
        counting: dict[bytes, int] | None = None,
    ) -> None:
        self.clear = False
        self.vault = vault
        # What counts sees every block: none is opened by the keys at hand alone.
        self.keys = None if vault is None or counting is not None else vault.open_keys
        self.splices = splices
        self.strict = strict
        self.counting = counting
        self.looking: Looking | None = None

    def at(self, tenant: str, stream: bytes, revision: int, record_id: bytes, kinds: Kinds) -> None:
        """Say which record's blocks come next; without a revision (-1) it has NO_REVISION."""
        self.tenant, self.stream, self.kinds = tenant, stream, kinds
        self.place: Where = (tenant_prefix(tenant), stream, revision, record_id)
        self.suffixes = kinds.suffixes

    def open(self, number: int, subject: str, sealed: bytes) -> Any:
        """Return a block's Avro, or what stands for it."""
        key = self.keys.get(sealed[2:18]) if self.keys is not None else None
        if key is None:
            found = self._found(number, subject, sealed)
            if not isinstance(found, DataKey):
                return found
            key = found
        return key.open(sealed, prefix_of(self.place) + self.suffixes[number])

    def _found(self, number: int, subject: str, sealed: bytes) -> Any:
        """Return a key that is not at hand, or what stands for the block."""
        kinds, vault = self.kinds, self.vault
        if vault is None:
            return Denied(kinds.names[number], subject)
        key_id = key_id_of(sealed)
        if self.counting is not None:
            self.counting[key_id] = self.counting.get(key_id, 0) + 1
        key = vault.open_keys.get(key_id)
        if key is None and self.looking is not None:
            owner = subject or self.stream.decode()
            self.looking.needs(key_id, Scope(self.tenant, owner, kinds.retentions[number]))
            raise Unopened
        return key or self._asked(key_id, kinds.names[number], subject)

    def open_old(self, name: str, subject: str, schema: bytes, sealed: bytes) -> Any:
        """Return the Avro of a block of another schema than the newest, or what stands for it."""
        if self.vault is None:
            return Denied(name, subject)
        found = self._asked(key_id_of(sealed), name, subject)
        if isinstance(found, Erased):
            return found
        return found.open(
            sealed, prefix_of(self.place) + block_suffix(self.kinds.fullname, name, schema)
        )

    def _asked(self, key_id: bytes, name: str, subject: str) -> DataKey | Erased:
        assert self.vault is not None
        found = self.vault.opens(key_id, self.tenant, subject or self.stream.decode())
        if not isinstance(found, Tombstone):
            return found
        if self.strict:
            raise SubjectErased
        return Erased(name, subject, key_id, found.at, found.certificate)


class Looking:
    """Collects the keys that a batch needs and that are not in memory."""

    def __init__(self) -> None:
        self.ids: dict[bytes, None] = {}
        self.scopes: dict[Scope, None] = {}

    def needs(self, key_id: bytes, scope: Scope) -> None:
        """Take note of a key."""
        self.ids[key_id] = None
        self.scopes[scope] = None


class Raw:
    """Seals bytes as received, which may hold anything: intake records, and inputs that nobody can read."""

    def __init__(self, vault: Vault, tenant: str) -> None:
        self._vault = vault
        self._tenant = tenant

    def seal(self, name: bytes, data: bytes, day: str) -> bytes:
        """Return an intake record's value; the key of a day (YYYY-MM-DD) goes with the topic's retention."""
        return self._seal(f"{self._tenant}/intake/{day}", name, RETAIN_INTAKE, data)

    def seal_input(self, key: str, command_id: str, data: bytes) -> bytes:
        """Return the bytes of an unreadable input as its command carries them."""
        return self._seal(key, command_id.encode(), RETAIN, data)

    def _seal(self, subject: str, name: bytes, retention: str, data: bytes) -> bytes:
        key = self._vault.seals(self._tenant, subject, retention)
        self._vault.save()  # whoever appends what this returns does so outside of any unit
        parts = [data[at : at + PLAIN_BYTES_MAX] for at in range(0, len(data), PLAIN_BYTES_MAX)]
        parts = parts or [b""]
        sealed = [key.seal(p, self._aad(name, n, len(parts))) for n, p in enumerate(parts)]
        return b"".join(len(s).to_bytes(4, "big") + s for s in sealed)

    def _aad(self, name: bytes, part: int, parts: int) -> bytes:
        prefix = record_prefix(self._tenant, b"raw", part, name)
        return prefix + block_suffix("usance.Raw", str(parts), bytes(8))

    def open(self, name: bytes, value: bytes) -> bytes | None:
        """Return what was received; None where its key was destroyed. Raises Tampered, KeyUnavailable."""
        pieces, at = [], 0
        while at < len(value):
            size = int.from_bytes(value[at : at + 4], "big")
            pieces.append(value[at + 4 : at + 4 + size])
            at += 4 + size
        if at != len(value) or not pieces:
            raise tampered("what was received stands in clear, or is cut")
        whole = b""
        for n, piece in enumerate(pieces):
            found = self._vault.raw_key(key_id_of(piece))
            if found is None:
                return None
            whole += found.open(piece, self._aad(name, n, len(pieces)))
        return whole
