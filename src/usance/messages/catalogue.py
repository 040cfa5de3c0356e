"""Every message type: its class, full name, context, kind, newest schema and private blocks.

A module of messages exposes `MESSAGES: tuple[tuple[type, str], ...]` of (class, kind), and may
expose `CONTEXT` (default "trade"). Schemas are the files in `schemas/`; a class without a file gets
the first version derived from itself, which `tools/scaffold_schemas.py` writes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from functools import cache, cached_property
from importlib import resources

from usance.kernel import timers
from usance.kernel.errors import NotFound, Unreadable
from usance.kernel.undo import CommandUndone
from usance.kernel.words import Words
from usance.messages.avro_codegen import (
    Private,
    Reader,
    Writer,
    hints_of,
    unwrap,
)
from usance.messages.avro_schema import Schema, parsed
from usance.messages.codec import make_reader, make_writer
from usance.messages.derive import is_block, schema_text
from usance.messages.meta import Meta
from usance.messages.outcome import Outcome, UnitFooter, UnreadableInput
from usance.messages.registry_events import SchemaRegistered, SubjectConfigured

MODULES: tuple[str, ...] = (
    "usance.aml.activation",
    "usance.aml.case",
    "usance.aml.decision",
    "usance.engine.control",
    "usance.engine.secrecy.key_turns",
    "usance.engine.secrecy.keys",
    "usance.engine.owner.accesses",
    "usance.engine.secrecy.subjects",
    "usance.engine.reactors.saga_messages",
    "usance.domain.credit.amendment_messages",
    "usance.domain.credit.drawing_messages",
    "usance.domain.credit.messages",
    "usance.domain.export",
    "usance.domain.facility_messages",
    "usance.domain.glass",
    "usance.domain.message_exchange",
    "usance.domain.presentation.messages",
    "usance.domain.work",
)
"""Modules of messages, in no particular order. This is the one place to add a module."""

CONTEXTS = ("trade", "compliance", "system", "access")
TOPIC_OF_KIND = {
    "command": "commands",
    "event": "events",
    "outcome": "outcomes",
    "footer": "outcomes",
    "registry": "schemas",
}
"""Topic kind by message kind; `meta` and `block` stand in every topic (RecordNameStrategy)."""
LEVEL_OF_KIND = {"outcome": "FORWARD_TRANSITIVE"}
"""Compatibility level by message kind; every other kind is FULL_TRANSITIVE."""

SHARED: tuple[tuple[type, str], ...] = (
    (timers.TimerSet, "event"),
    (timers.TimerCancelled, "event"),
    (timers.TimerFired, "event"),
    (timers.FireTimer, "command"),
    (CommandUndone, "event"),
    (UnreadableInput, "command"),
    (SubjectConfigured, "registry"),
    (SchemaRegistered, "registry"),
    (Words, "block"),
    (Outcome, "outcome"),
    (UnitFooter, "footer"),
)
"""Messages that occur in every context; their full name is `usance.system.<Name>`."""

_FILE = re.compile(r"(?P<name>[A-Za-z0-9_.]+)\.v(?P<version>[1-9][0-9]*)\.avsc\Z")


class MessageType:
    """One message class and all that its codec needs; writer and reader are made when used."""

    def __init__(self, cls: type, fullname: str, kind: str, versions: dict[int, str]) -> None:
        self.cls = cls
        self.fullname = fullname
        self.kind = kind
        self.context = fullname.split(".")[1]
        self.versions = versions or {1: schema_text(cls, fullname)}
        self.version = max(self.versions)
        self.text = self.versions[self.version]
        self.blocks: dict[str, MessageType] = {}

    @cached_property
    def schema(self) -> Schema:
        """The newest schema."""
        schema = parsed(self.text)
        if schema.fullname != self.fullname:
            raise Unreadable("schema", f"{self.fullname} has a file of another name", hint="rename")
        return schema

    @cached_property
    def private(self) -> tuple[Private, ...]:
        """The private blocks, in the order of the class's fields."""
        hints = hints_of(self.cls)
        return tuple(
            Private(name, block.cls, block.schema, unwrap(hints[name])[1])
            for name, block in self.blocks.items()
        )

    @cached_property
    def writer(self) -> Writer:
        """The generated writer of the newest schema."""
        return make_writer(self.schema.root, self.cls, self.private)

    @cached_property
    def reader(self) -> Reader:
        """The generated reader of the newest schema."""
        return make_reader(self.schema.root, self.cls, self.private)

    @property
    def level(self) -> str:
        """The compatibility level of its subjects."""
        return LEVEL_OF_KIND.get(self.kind, "FULL_TRANSITIVE")

    def subjects(self) -> list[str]:
        """Return its subjects: `<topic>-<full name>`, for meta and blocks the full name alone.

        Messages of the context `system` (timers, control, outcomes) occur in every context.
        """
        if self.kind not in TOPIC_OF_KIND:
            return [self.fullname]
        everywhere = self.context == "system" and self.kind != "registry"
        contexts = CONTEXTS if everywhere else (self.context,)
        return [f"usance.{c}.{TOPIC_OF_KIND[self.kind]}-{self.fullname}" for c in contexts]


class Catalogue:
    """Message types by class and by full name."""

    def __init__(self, files: dict[str, dict[int, str]] | None = None) -> None:
        self._files = files or {}
        self.by_class: dict[type, MessageType] = {}
        self.by_name: dict[str, MessageType] = {}
        self.meta = self.add(Meta, "meta", "usance.Meta")
        for cls, kind in SHARED:
            self.add(cls, kind, f"usance.system.{cls.__name__}")

    def register(self, messages: Iterable[tuple[type, str]], context: str = "trade") -> None:
        """Add the message classes of one module, as `usance.<context>.<Name>`."""
        for cls, kind in messages:
            if cls not in self.by_class:
                self.add(cls, kind, f"usance.{context}.{cls.__name__}")

    def add(self, cls: type, kind: str, fullname: str) -> MessageType:
        """Add one class and its private blocks; raises Unreadable when the name is taken."""
        if fullname in self.by_name:
            raise Unreadable("schema", f"two classes are named {fullname}", hint="rename one")
        entry = MessageType(cls, fullname, kind, self._files.get(fullname, {}))
        self.by_class[cls] = self.by_name[fullname] = entry
        space = fullname.rpartition(".")[0]
        for name, hint in hints_of(cls).items():
            if is_block(hint):
                block = unwrap(hint)[0]
                entry.blocks[name] = self.by_class.get(block) or self.add(
                    block, "block", f"{space}.{block.__name__}"
                )
        return entry

    def type_of(self, message: object) -> MessageType:
        """Return the type of a message; raises NotFound for a class that is not registered."""
        found = self.by_class.get(type(message))
        if found is None:
            raise NotFound(
                f"{type(message).__name__} is no message type",
                hint="list its class in MESSAGES of its module, and the module in the catalogue",
            )
        return found

    def named(self, fullname: str) -> MessageType:
        """Return the type of a full name; raises NotFound."""
        found = self.by_name.get(fullname)
        if found is None:
            raise NotFound(f"no message type {fullname}", hint="usance schema list shows all")
        return found

    def types(self) -> list[MessageType]:
        """Return all types, sorted by full name."""
        return [self.by_name[name] for name in sorted(self.by_name)]


def schema_files() -> dict[str, dict[int, str]]:
    """Return the texts of the packaged schemas by full name and version."""
    found: dict[str, dict[int, str]] = {}
    for file in resources.files("usance.messages").joinpath("schemas").iterdir():
        match = _FILE.match(file.name)
        if match:
            versions = found.setdefault(match["name"], {})
            versions[int(match["version"])] = file.read_text(encoding="utf-8")
    return found


def build(
    modules: Iterable[str] = MODULES, files: dict[str, dict[int, str]] | None = None
) -> Catalogue:
    """Return the shared messages and those of `modules`, with the packaged schemas or `files`."""
    catalogue = Catalogue(schema_files() if files is None else files)
    for name in modules:
        module = importlib.import_module(name)
        catalogue.register(module.MESSAGES, getattr(module, "CONTEXT", "trade"))
    return catalogue


@cache
def default() -> Catalogue:
    """Return the catalogue of this program's own messages."""
    return build()
