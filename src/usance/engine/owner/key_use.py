"""What an owner does about data keys: counts their uses, seals snapshots, and knows what waits for a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from usance.crypto.sealing import DataKey, Place, place_aad, tampered
from usance.crypto.vault import Vault
from usance.engine import topics
from usance.engine.owner.state import Park
from usance.engine.secrecy.keys import USES_MARGIN
from usance.kernel.decider import key_parts

RETRIES_MAX = 100
"""Parked keys that one unit tries again."""
SNAPSHOT_TYPE, SNAPSHOT_BLOCK, RETENTION = "usance.system.Snapshot", "state", "relationship"


class KeyUse:
    """The keys of one owner; without a vault nothing ever waits or is counted."""

    def __init__(self, vault: Vault | None) -> None:
        self._vault = vault
        self._due: dict[topics.Place, int] = {}
        self._lately: dict[topics.Place, set[bytes]] = {}

    # -- units

    def kept(self, count: int) -> None:
        """A unit is durable, with so many new keys."""
        if self._vault is not None:
            self._vault.kept(count)

    def again(self) -> None:
        """Units were dropped: the next one carries their keys."""
        if self._vault is not None:
            self._vault.again()

    def used(
        self, place: topics.Place, uses: Mapping[bytes, int], all_uses: Mapping[bytes, int]
    ) -> None:
        """Take note of seals of a durable unit; a key that has sealed enough gets a successor."""
        vault = self._vault
        if vault is None:
            return
        self._lately.setdefault(place, set()).update(uses)
        for key_id in uses:
            if all_uses.get(key_id, 0) >= vault.uses_max - USES_MARGIN:
                vault.exhausted(key_id)

    def lately(
        self, place: topics.Place, uses: Mapping[bytes, int], *, everything: bool
    ) -> dict[bytes, int]:
        """Return the counts for a manifest: of keys used since the last one, or all."""
        changed = self._lately.pop(place, set())
        return dict(uses) if everything else {k: uses[k] for k in changed if k in uses}

    # -- what waits

    def waits(
        self, place: topics.Place, parks: Iterable[Park | None], *, anew: bool = False
    ) -> None:
        """Take note of when the next parked record of a partition is tried again."""
        if anew:
            self._due.pop(place, None)
        instants = [p.due for p in parks if p is not None and p.due > 0]
        if instants:
            first = min(instants)
            self._due[place] = min(first, self._due.get(place, first))

    def due(self, now: int) -> list[topics.Place]:
        """Return the partitions in which something is to be tried again."""
        return [place for place, due in self._due.items() if due <= now] if self._due else []

    # -- snapshots

    def seal(self, stream: str, revision: int, fold_id: str, value: bytes) -> bytes:
        """Return a snapshot sealed under the key of its own stream."""
        assert self._vault is not None
        place, schema = _place(stream, revision, fold_id)
        key = self._vault.seals(place.tenant, stream, RETENTION)
        return key.seal(value, place_aad(place, SNAPSHOT_BLOCK, schema))

    def unseal(self, stream: str, revision: int, fold_id: str, value: bytes) -> bytes:
        """Return a sealed snapshot's bytes; raises Tampered when its key is gone, KeyUnavailable."""
        assert self._vault is not None
        place, schema = _place(stream, revision, fold_id)
        key = self._vault.opens(value[2:18], place.tenant, stream)
        if not isinstance(key, DataKey):
            raise tampered("its key was destroyed")
        return key.open(value, place_aad(place, SNAPSHOT_BLOCK, schema))


def _place(stream: str, revision: int, fold_id: str) -> tuple[Place, bytes]:
    tenant = key_parts(stream).tenant
    return Place(tenant, stream, revision, "snapshot", SNAPSHOT_TYPE), sha256(
        fold_id.encode()
    ).digest()[:8]


def due_parks(parks: Mapping[str, Park | None], now: int) -> list[tuple[int, str]]:
    """Return the first parked keys to be tried again, with their instants."""
    due = ((p.due, key) for key, p in parks.items() if p is not None and 0 < p.due <= now)
    return sorted(due)[:RETRIES_MAX]
