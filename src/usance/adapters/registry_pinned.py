"""A read-only registry from a file: ids that were given elsewhere, for ever.

The file is JSON, `[{"subject", "version", "id", "schema"}, ...]`; `usance schema export` writes it. A program
whose schemas are not all in it does not start, and an id that is not in it does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from usance.kernel.errors import Refused, Unreadable
from usance.messages.avro_schema import Schema, parsed
from usance.messages.compatibility import check_versions


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a subject: `schema` is the schema's text."""

    subject: str
    version: int
    id: int
    schema: str


class PinnedRegistry:
    """The `Registry` of a file. Raises Unreadable where it is none, or gives one id to two texts."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            pins = msgspec.json.decode(file.read_bytes(), type=list[Pin])
        except (OSError, msgspec.MsgspecError) as error:
            hint = "usance schema export writes such a file"
            raise Unreadable("schema", f"{file} cannot be read: {error}", hint=hint) from error
        self._by_id: dict[int, Schema] = {}
        self._subjects: dict[str, dict[int, int]] = {}
        for pin in pins:
            schema = parsed(pin.schema)
            known = self._by_id.setdefault(pin.id, schema)
            if known.identity != schema.identity:
                hint = "export the file anew from one registry"
                raise Unreadable("schema", f"{file} gives id {pin.id} to two schemas", hint=hint)
            self._subjects.setdefault(pin.subject, {})[pin.version] = pin.id

    def register(self, subject: str, schema: Schema, level: str) -> int:  # noqa: ARG002
        """Return the pinned id; raises Refused where there is none."""
        found = self.lookup(subject, schema)
        if found is None:
            raise Refused(
                "NOT_PINNED",
                f"{subject} has a version that {self.file} does not hold",
                hint="Register it where the ids come from, and export the file anew.",
            )
        return found

    def by_id(self, schema_id: int) -> Schema | None:
        """Return the schema of an id."""
        return self._by_id.get(schema_id)

    def by_guid(self, guid: UUID) -> Schema | None:
        """Return the schema of a GUID."""
        return next((s for s in self._by_id.values() if s.guid == guid), None)

    def lookup(self, subject: str, schema: Schema) -> int | None:
        """Return the id of a schema that a subject has, or None."""
        ids = self._subjects.get(subject, {}).values()
        return next((i for i in ids if self._by_id[i].identity == schema.identity), None)

    def versions(self, subject: str) -> dict[int, Schema]:
        """Return a subject's versions; empty where there is no such subject."""
        return {v: self._by_id[i] for v, i in sorted(self._subjects.get(subject, {}).items())}

    def check(self, subject: str, schema: Schema) -> Sequence[str]:
        """Return why a schema does not go with all versions, both ways."""
        before = list(self.versions(subject).values())
        return [v.message for v in check_versions(schema, before, "FULL_TRANSITIVE")]
