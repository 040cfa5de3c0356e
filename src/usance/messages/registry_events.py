"""The events that the embedded schema registry is folded from (topic `usance.system.schemas`)."""

from __future__ import annotations

import msgspec

from usance.messages.meta import Fingerprint


class SubjectConfigured(msgspec.Struct, frozen=True, kw_only=True):
    """A subject got its compatibility level (such as FULL_TRANSITIVE)."""

    subject: str
    level: str


class SchemaRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A subject got a version. `id` is that of the text in every subject; ids are dense from 1.

    `fingerprint` is that of the canonical form, `level` the compatibility that was checked.
    """

    subject: str
    version: int
    id: int
    fingerprint: Fingerprint
    text: str
    level: str
