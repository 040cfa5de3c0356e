"""Holding data keys against what was sealed about them: created with a check value, shredded with a certificate.

Authenticated encryption alone does not bind a ciphertext to one key. A key's check value is sealed before its
first use, so a key that was put in another's place is found even where a forged block would open.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256

from usance.audit.codes import Detected
from usance.crypto.sealing import DataKey, Place, key_id_of, place_aad
from usance.kernel.errors import Tampered

KCV_LABEL = b"usance/kcv/v1"


def kcv_of(secret: bytes) -> bytes:
    """Return a data key's check value: SHA-256 over a label and the key."""
    return sha256(KCV_LABEL + secret).digest()


class KeyRegister:
    """What was sealed about keys: check values by key id, and ids whose destruction has a certificate."""

    def __init__(self, created: Mapping[bytes, bytes], shredded: Iterable[bytes] = ()) -> None:
        self.created = dict(created)
        self.shredded = set(shredded)

    def demand(self, key_id: bytes, secret: bytes | None, where: str = "") -> None:
        """Raise Detected where a key is not the one that was created, or is gone without a certificate."""
        if secret is None:
            if key_id in self.shredded:
                return
            raise Detected(
                "KEY_MISSING",
                f"key {key_id.hex()} is gone, and no certificate says that it was shredded",
                where=where,
                hint="Nothing was altered, but it cannot be read: bring the key back from a backup.",
            )
        known = self.created.get(key_id)
        if known is None or not hmac.compare_digest(known, kcv_of(secret)):
            raise Detected(
                "KEY_COMMITMENT",
                f"key {key_id.hex()} is not the key that was created under this id",
                where=where,
            )

    def opened(
        self, secret: bytes, block: bytes, place: Place, name: str, schema: bytes, where: str = ""
    ) -> bytes:
        """Return what a sealed block holds, opened only by the key that was created for it."""
        key_id = key_id_of(block)
        self.demand(key_id, secret, where)
        try:
            return DataKey(key_id, secret, block[1]).open(block, place_aad(place, name, schema))
        except Tampered as moved:
            raise Detected("AAD_MISMATCH", moved.message, where=where) from moved
