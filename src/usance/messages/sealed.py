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
    DataKey,
    SealingKey,
    block_suffix,
    key_id_of,
    record_prefix,
)
from usance.crypto.vault import Scope, SubjectErased, Tombstone, Vault
from usance.kernel.decider import WITHHELD, Denied, Erased

if TYPE_CHECKING:
    from usance.messages.catalogue import MessageType


class Unopened(Exception):
    """A key is not in memory: ends a reading that only looks for keys."""


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
        self.fresh: list[bytes] = []
        """Keys that were not in `uses` when they first sealed."""
        self._tenant = ""
        self._stream = b""
        self._kinds: Kinds | None = None
        self._prefix = b""
        self._active: dict[Kinds, tuple[dict[str, SealingKey], ...]] = {}
        self._keys: tuple[dict[str, SealingKey], ...] = ()
        self._nonce = NONCES.next

    def at(self, tenant: str, stream: bytes, revision: int, record_id: bytes, kinds: Kinds) -> None:
        """Say which record's blocks come next; a command has no revision."""
        if tenant != self._tenant:
            self._active = {}
            self._tenant = tenant
        self._stream, self._kinds = stream, kinds
        keys = self._active.get(kinds)
        if keys is None:
            keys = tuple(self.vault.active(tenant, retention) for retention in kinds.retentions)
            self._active[kinds] = keys
        self._keys = keys
        self._prefix = record_prefix(tenant, stream, revision, record_id)

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
            self.fresh.append(key_id)
        return key.seal(plain, self._prefix + kinds.suffixes[number])


class Opening:
    """Opens the blocks of one record: what a reader asks while it reads.

    With no vault everything that is sealed is `Denied`. `looking` collects the keys that are not in memory,
    instead of asking for them; `strict` refuses what belongs to an erased subject, instead of reading
    around it; `counting` counts blocks by key id.
    """

    __slots__ = (
        "_keys", "_kinds", "_prefix", "_stream", "_tenant", "clear", "counting", "looking", "splices",
        "strict", "vault",
    )  # fmt: skip
    looking: Looking | None
    strict: bool
    counting: dict[bytes, int] | None

    def __init__(
        self,
        vault: Vault | None,
        splices: Any,
        tenant: str,
        stream: bytes,
        revision: int,
        record_id: bytes,
        kinds: Kinds,
    ) -> None:
        self.clear = False
        self.vault = vault
        self._keys: dict[bytes, DataKey] = {} if vault is None else vault.open_keys
        self.splices = splices
        self._tenant, self._stream, self._kinds = tenant, stream, kinds
        number = revision if revision >= 0 else NO_REVISION
        self._prefix = record_prefix(tenant, stream, number, record_id)

    def open(self, number: int, subject: str, sealed: bytes) -> Any:
        """Return a block's Avro, or what stands for it."""
        key = self._keys.get(sealed[2:18])
        if key is None or self.counting is not None:
            found = self._found(number, subject, sealed)
            if not isinstance(found, DataKey):
                return found
            key = found
        return key.open(sealed, self._prefix + self._kinds.suffixes[number])

    def _found(self, number: int, subject: str, sealed: bytes) -> Any:
        """Return a key that is not at hand, or what stands for the block."""
        kinds, vault = self._kinds, self.vault
        if vault is None:
            return Denied(kinds.names[number], subject)
        key_id = key_id_of(sealed)
        if self.counting is not None:
            self.counting[key_id] = self.counting.get(key_id, 0) + 1
        key = vault.open_keys.get(key_id)
        if key is None and self.looking is not None:
            owner = subject or self._stream.decode()
            self.looking.needs(key_id, Scope(self._tenant, owner, kinds.retentions[number]))
            raise Unopened
        return key or self._asked(key_id, kinds.names[number], subject)

    def open_old(self, name: str, subject: str, schema: bytes, sealed: bytes) -> Any:
        """Return the Avro of a block of another schema than the newest, or what stands for it."""
        if self.vault is None:
            return Denied(name, subject)
        found = self._asked(key_id_of(sealed), name, subject)
        if isinstance(found, Erased):
            return found
        return found.open(sealed, self._prefix + block_suffix(self._kinds.fullname, name, schema))

    def _asked(self, key_id: bytes, name: str, subject: str) -> DataKey | Erased:
        assert self.vault is not None
        found = self.vault.opens(key_id, self._tenant, subject or self._stream.decode())
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
