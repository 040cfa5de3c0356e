"""Holding data keys against what the log says about them: no key is gone, exchanged, or used by a forger.

Authenticated encryption alone does not bind a ciphertext to one key. Where a key seals for the first time,
an event says so with the first bytes of its commitment, and every sealed block carries its key's commitment: a
block that somebody sealed under another key of the same id is found without opening anything.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from typing import Any

from usance.audit.codes import Detected
from usance.audit.report import Finding
from usance.crypto.keyservice import KeyState
from usance.crypto.keystore import KeyStore
from usance.engine.proof.sealing import folder_of
from usance.engine.secrecy.key_turns import KEK, KeyTurned
from usance.engine.secrecy.keys import KeyCreated
from usance.engine.secrecy.subjects import HoldPlaced, HoldReleased, SubjectErased
from usance.engine.topics import Topics
from usance.kernel.decider import key_parts
from usance.kernel.errors import Tampered, UsanceError
from usance.log.contract import Log, Record, TopicPartition, header

CREATED, TURNED, ERASED = b".KeyCreated", b".KeyTurned", b".SubjectErased"
PLACED, LIFTED = b".HoldPlaced", b".HoldReleased"
SAID = (CREATED, TURNED, ERASED, PLACED, LIFTED)
BLOCK = re.compile(rb"(?=\x01[\x01-\x03](.{16}).{12}(.{16}))", re.DOTALL)
"""A sealed block wherever it stands: its key's id, and the commitment."""


class KeyAudit:
    """Checks the keys of one log; `findings` holds what is wrong."""

    def __init__(self, log: Log, topics: Topics, closed: Any, store: KeyStore | None) -> None:
        self.log = log
        self.topics = topics
        self.closed = closed
        self.store = store
        self.created: dict[bytes, tuple[bytes, str]] = {}
        self.turned: dict[bytes, tuple[str, str]] = {}
        self.held: dict[tuple[str, str, str], str] = {}
        self.findings: list[Finding] = []

    def verify(self) -> None:
        """Check every key that seals, and every block that was sealed."""
        for place, record in self.records():
            if (header(record.headers, "ce_type") or b"").endswith(SAID):
                said = self.closed.message(record.headers, record.value)
                where = f"{folder_of(place)}@{record.offset}"
                if isinstance(said, KeyCreated):
                    self.created[bytes.fromhex(said.key)] = (bytes.fromhex(said.check), where)
                elif isinstance(said, SubjectErased):
                    gone = KeyState.DESTROYED.value
                    self.turned |= {bytes.fromhex(key): (gone, where) for key in said.keys}
                elif isinstance(said, HoldPlaced | HoldReleased):
                    tenant, _, name = key_parts((record.key or b"").decode())
                    self.held[tenant, name, said.hold] = where
                    if isinstance(said, HoldReleased):
                        del self.held[tenant, name, said.hold]
                elif isinstance(said, KeyTurned):
                    identity = key_parts((record.key or b"").decode()).identity
                    if not identity.startswith(KEK):
                        self.turned[bytes.fromhex(identity)] = (said.to, where)
        for check in (self._blocks, self._stored, self._holds):
            try:
                check()
            except Detected as found:
                self.findings.append(Finding.of(found))

    def records(self) -> Iterator[tuple[TopicPartition, Record]]:
        """Yield every event with its partition, in order within it."""
        for place in self.topics.all_at("events"):
            for record in self.log.scan(place, 0):
                yield place, record

    def _blocks(self) -> None:
        for place, record in self.records():
            for key_id, commitment in BLOCK.findall(record.value or b""):
                known = self.created.get(key_id)
                if known and not hmac.compare_digest(commitment[: len(known[0])], known[0]):
                    raise Detected(
                        "KEY_COMMITMENT",
                        f"a block was sealed under another key than {key_id.hex()}, which it names",
                        where=f"{folder_of(place)}@{record.offset}",
                    )

    def _stored(self) -> None:
        if self.store is None:
            return
        try:
            kept = self.store.by_id(list(self.created))
        except Tampered as altered:
            raise Detected("KEY_RECORD", altered.message, where="keys") from altered
        for key_id, (check, where) in self.created.items():
            record = kept.get(key_id)
            if record is None or (record.dead and not record.certificate):
                raise Detected(
                    "KEY_MISSING",
                    f"key {key_id.hex()} is gone, and no certificate says that it was destroyed",
                    where=where,
                    hint="Nothing was altered, but it cannot be read: bring the key back from a backup.",
                )
            state, turned_at = self.turned.get(key_id, (KeyState.ACTIVE.value, ""))
            gone = state == KeyState.DESTROYED
            if (gone and not record.dead) or (
                record.state is KeyState.ACTIVE and state != KeyState.ACTIVE
            ):
                raise Detected(
                    "KEY_STATE",
                    f"key {key_id.hex()} is {record.state} in the key store; the log says {state}",
                    where=turned_at,
                    hint="An older copy of the key store was put back: put the newer one back.",
                )
            if not hmac.compare_digest(record.check, check):
                raise Detected(
                    "KEY_COMMITMENT",
                    f"the key store has another key under {key_id.hex()} than the one that was made",
                    where=where,
                )

    def _holds(self) -> None:
        if self.store is None:
            return
        for (tenant, name, hold), where in self.held.items():
            try:
                kept = {h.id for h in self.store.holds(tenant, name)}
            except Tampered as altered:
                raise Detected("KEY_RECORD", altered.message, where="keys") from altered
            if hold not in kept:
                raise Detected(
                    "KEY_RECORD",
                    f"legal hold {hold} on {name} stands in the log, and is gone from the key store",
                    where=where,
                    hint="usance key adopt puts it back; find out who took it away.",
                )


def moved(error: UsanceError, where: str) -> Detected:
    """Return the finding for a block that does not open where it stands."""
    return Detected("AAD_MISMATCH", error.message, where=where)
