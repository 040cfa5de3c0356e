from __future__ import annotations

import pytest

from usance.crypto.keyring import Keyring, StoredRing
from usance.crypto.keyservice import KekId, KeyService
from usance.kernel.clock import SystemClock
from usance.testing.key_conformance import TENANT, KeyServiceConformance, data_keys


class TestKeyring(KeyServiceConformance):
    @pytest.fixture(autouse=True)
    def _ring(self) -> None:
        self.ring = Keyring(SystemClock())

    def open_service(self) -> KeyService:
        return self.ring


def test_a_change_that_cannot_be_kept_did_not_happen() -> None:
    full = False

    def keep(_: StoredRing) -> None:
        if full:
            raise OSError("disk full")

    ring = Keyring(SystemClock(), saved=keep)
    ring.create(TENANT)
    [item] = ring.wrap(TENANT, data_keys(1))
    full = True
    with pytest.raises(OSError, match="disk full"):
        ring.rotate(TENANT)
    assert [v.id for v in ring.versions(TENANT)] == [KekId(TENANT, 1)]
    assert ring.wrap(TENANT, data_keys(1))[0].kek == item.kek


def test_what_a_ring_holds_is_not_in_its_repr() -> None:
    kept: list[StoredRing] = []
    ring = Keyring(SystemClock(), saved=kept.append, entropy=lambda n: b"\x41" * n)
    ring.create(TENANT)
    told = repr(ring) + repr(kept[0]) + repr(kept[0].tenants)
    assert "AAAA" not in told
