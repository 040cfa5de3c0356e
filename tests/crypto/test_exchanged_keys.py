"""A key store whose rows hold another key than was minted: genuine for the key service, and not ours."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from usance.crypto.keyservice import KeyContext, Purpose
from usance.crypto.secret import Secret
from usance.kernel.errors import Tampered
from usance.testing.secrecy import memory_vault

TENANT, SUBJECT, RETENTION = "albion", "party-1", "relationship"


def test_a_key_that_somebody_wrapped_in_the_place_of_another_is_not_taken() -> None:
    vault = memory_vault()
    minted = vault.seals(TENANT, SUBJECT, RETENTION).key_id
    vault.store.put(list(vault._unsaved))
    (record,) = vault.store.by_id([minted]).values()
    context = KeyContext(
        TENANT, record.subject, record.retention, minted, record.version, Purpose.DATA
    )
    (wrapped,) = vault.service.wrap(TENANT, [(context, Secret(b"k" * 32))])
    vault.forget()
    vault.store.rewrap([replace(record, blob=wrapped.blob, kek=wrapped.kek.version)])
    with pytest.raises(Tampered, match="not the one that was minted"):
        vault.prepare((), [minted])
