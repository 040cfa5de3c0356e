"""Which commands the outside may send, how they are named, and which aggregate they go to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

import msgspec

from usance.aml.activation import IDENTITY as LISTS
from usance.engine.topics import Topics
from usance.kernel.decider import key_of, key_parts
from usance.kernel.errors import NotFound, Refused
from usance.messages import catalogue
from usance.messages.inputs import BROUGHT, INTERNAL
from usance.messages.words import with_words, word_fields
from usance.web.forms import whole_number

CATEGORY_OF_MODULE = {
    "usance.aml.activation": "list",
    "usance.aml.case": "case",
    "usance.domain.credit": "credit",
    "usance.domain.facility_messages": "facility",
    "usance.domain.glass": "glass",
    "usance.domain.message_exchange": "message",
    "usance.domain.presentation": "presentation",
    "usance.domain.work": "work",
    "usance.engine.control": "control",
    "usance.engine.reactors.saga_messages": "saga",
}
"""The aggregate that a command goes to, by the module (or package) of its class."""

IDENTITY = {
    "ApplyForCredit": "credit",
    "ReceiveCredit": "credit",
    "PresentDocuments": "presentation",
    "SetFacility": "facility",
    "BreakGlass": "person",
    "CloseGlass": "person",
    "ReviewGlass": "person",
    "ProposeDisposition": "case_id",
    "ApproveDisposition": "case_id",
    "ReturnToInvestigation": "case_id",
    "ClaimWork": "work",
    "ReleaseWork": "work",
}
"""Commands that name their own aggregate, and the field in which they do."""


class CommandType(msgspec.Struct, frozen=True):
    """One command that may be sent: its class, its aggregate's category, its identity field."""

    name: str
    cls: type
    category: str
    identity: str
    decode: Callable[[bytes], Any]

    def key(self, tenant: str, topics: Topics, said: str, command: Any) -> str:
        """Return the aggregate key of a command. `said` is a full key, a reference, or empty.

        Control commands go to a partition, said as `trade.p1`, or to the partition of a key.
        Raises Refused when no key can be made of it, or one of another bank or aggregate.
        """
        if self.category == "control":
            return _control_key(tenant, topics, said)
        if not said and self.identity:
            said = getattr(command, self.identity)
        if not said and self.category == "list":
            said = LISTS
        if said.startswith(f"{tenant}/"):
            if key_parts(said)[:2] == (tenant, self.category) and key_parts(said).identity:
                return said
        elif said:
            return key_of(tenant, self.category, said)
        raise Refused(
            "KEY_MISSING",
            f"{self.name} needs the {self.category} that it means.",
            hint=f"Add ?key= with the reference of the {self.category}.",
        )


def _control_key(tenant: str, topics: Topics, said: str) -> str:
    context, _, text = said.partition(".p")
    number = whole_number(text)
    if number is not None and number < topics.count(context or "trade"):
        category = {"compliance": "case", "system": "person", "access": "access"}.get(
            context, "control"
        )
        for n in count():
            key = key_of(tenant, category, f"control-{n}")
            if topics.place(key).partition == number:
                return key
    if said.startswith(f"{tenant}/") and said.count("/") >= 2:
        return said
    raise Refused(
        "KEY_MISSING",
        "This command goes to a partition.",
        hint="Add ?key= with the partition that the dead letter names, such as trade.p1.",
    )


def _category(module: str) -> str:
    for name, category in CATEGORY_OF_MODULE.items():
        if module == name or module.startswith(f"{name}."):
            return category
    return ""


def _reading(cls: type, decoder: msgspec.json.Decoder[Any]) -> Callable[[bytes], Any]:
    """Return what reads a command; people's words may be a plain text there."""

    def read(body: bytes) -> Any:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            fields = msgspec.json.decode(body)
            if not isinstance(fields, dict) or (said := with_words(fields, cls)) is fields:
                raise
            return msgspec.convert(said, cls, strict=True)

    return read if word_fields(cls) else decoder.decode


@cache
def command_types() -> dict[str, CommandType]:
    """Return the commands that may be sent, by name."""
    found: dict[str, CommandType] = {}
    for entry in catalogue.default().types():
        name, category = entry.cls.__name__, _category(entry.cls.__module__)
        if entry.kind == "command" and category and name not in INTERNAL | BROUGHT:
            found[name] = own_type(entry.cls)
    return found


def own_type(cls: type) -> CommandType:
    """Return the type of a command that a door of its own makes, such as `POST /lists`."""
    name = cls.__name__
    read = _reading(cls, msgspec.json.Decoder(cls))
    return CommandType(name, cls, _category(cls.__module__), IDENTITY.get(name, ""), read)


def command_type(name: str) -> CommandType:
    """Return the command of a name; raises NotFound."""
    found = command_types().get(name)
    if found is None:
        raise NotFound(
            f"no command is called {name[:60]}", hint="/openapi.json lists those that exist."
        )
    return found
