"""Inputs of any form as commands: FIN messages of banks, JSON documents of people and systems.

A JSON document is one object: `type` names the command, `id` the document (the same id twice is the
same command), `as` and `role` who acts; every other member is a field of the command. A command on
something that exists names it in a member called after its category (`credit`, `presentation`,
`facility`, `message`, `saga`, `case`) unless the command has a field of that name.

Everything here takes hostile bytes: whatever comes, the answer is an `Input` or `Unreadable`, whose
reason names places and never values.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any, NamedTuple

import msgspec

from usance.kernel.decider import Actor, key_of, key_parts
from usance.kernel.errors import NotFound, Unreadable
from usance.kernel.ids import NAMESPACE, uuid5_text
from usance.messages import catalogue
from usance.messages.swift.inbound import read_inbound, split_messages
from usance.messages.words import addressed, with_words

INPUT_LIMIT = 1_000_000
"""Bytes of one JSON document that are still read; FIN has its own limit."""

DEPTH_LIMIT = 32
"""Nesting of JSON that is still read."""

NETWORK = Actor("", "swift", "network")
"""Who acts where a FIN message does: no person."""

RESERVED_ROLES = frozenset({"system", "gateway", "network"})
"""Roles of parts of the program: no document may claim them."""

_CATEGORY = {
    "usance.domain.credit.messages": "credit",
    "usance.domain.credit.drawing_messages": "credit",
    "usance.domain.credit.amendment_messages": "credit",
    "usance.domain.presentation.messages": "presentation",
    "usance.domain.facility_messages": "facility",
    "usance.domain.message_exchange": "message",
    "usance.domain.work": "work",
    "usance.engine.reactors.saga_messages": "saga",
    "usance.aml.activation": "list",
    "usance.aml.case": "case",
}
"""Module of a command's class to the category of the stream it is for."""

INTERNAL = frozenset(
    """BeginComplianceCheck CompleteComplianceCheck ConsumeReservation DeemAmendmentAccepted Drain
    ExaminePresentation FireTimer HoldMargin HonourDrawing IncreaseReservation IntakePassed
    VoidAmendment ReleaseIncrease
    NoteDelivery ObserveEvent ObserveOutcome OpenCase QueueMessage RecordAck RecordNak RecordRescreening RecordSent
    RegisterDrawing RegisterSchema ReleaseDrawing ReleaseHold ReleaseMargin ReleaseReservation
    ReserveLimit SettleDrawing UnreadableInput UseGlass""".split()
)
"""What parts of the program say to each other: no document and no request may say it for them."""

BROUGHT = frozenset({"ProposeList"})
"""What a person says at a door of its own alone.

A list is proposed where its bytes are brought and kept: a proposal of bytes that nobody kept could be activated,
and screening would wait for them.
"""

_IDENTITY = re.compile(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]{0,98}[^\x00-\x20\x7f])?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
_TYPE_WORDS = re.compile(
    r"(?:Expected `[a-z |]+`, got `[a-z]+`|Object missing required field `[a-z_0-9]+`)"
    r"(?: - at `[$a-z_0-9.\[\]]+`)?"
)
_AT = re.compile(r" - at `([$a-z_0-9.\[\]]+)`")
_INT64 = 2**63
_ENVELOPE = ("type", "id", "as", "role")
_FIX = "correct the document and hand it in again"


class Input(NamedTuple):
    """An input understood. `kind` is fin or json; `notes` are breaches let pass, without values."""

    key: str
    command: Any
    command_id: str
    actor: Actor
    kind: str
    notes: tuple[str, ...] = ()


@cache
def commands() -> dict[str, type]:
    """Return the commands that may come from outside, by name."""
    return {
        entry.cls.__name__: entry.cls
        for entry in catalogue.default().types()
        if entry.kind == "command"
        and entry.cls.__module__ in _CATEGORY
        and entry.cls.__name__ not in INTERNAL | BROUGHT
    }


def command_class(name: str) -> type:
    """Return a command's class; raises NotFound for a name that is no command from outside."""
    found = commands().get(name)
    if found is None:
        raise NotFound("no such command", hint="names are like ApplyForCredit, ApproveCredit")
    return found


def category_of(cls: type) -> str:
    """Return the category of the streams that a command is for; raises NotFound."""
    found = _CATEGORY.get(cls.__module__)
    if found is None:
        raise NotFound(f"{cls.__name__} is not addressed to a stream", hint="see the commands")
    return found


def identity_field(cls: type) -> str:
    """Return the field that holds the identity of its stream, empty when it is named beside.

    Only a field named after the category counts: `presentation` in a command on a credit does not.
    """
    name = category_of(cls)
    return name if name in getattr(cls, "__struct_fields__", ()) else ""


def address(command: Any, tenant: str, identity: str = "") -> str:
    """Return the aggregate key that a command goes to; `identity` where it has no field for it.

    Raises Unreadable when there is no identity, or one that no key can hold.
    """
    cls = type(command)
    field = identity_field(cls)
    named = getattr(command, field) if field else identity
    if not _IDENTITY.fullmatch(named):
        raise _invalid(f"{category_of(cls)}: needs 1 to 100 characters, none of them control")
    return key_of(tenant, category_of(cls), named)


def split_inputs(data: bytes) -> list[bytes]:
    """Cut bytes into inputs: FIN messages, the documents of a JSON array or of JSON lines.

    Anything else stays whole. Never raises; blank input gives none.
    """
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if not data.strip(b" \t\r\n\x00"):
        return [data] if data.strip() else []
    if head[:1] == b"[":
        return _elements(data) or [data]
    if head[:1] == b"{" and not _is_fin(head):
        return _json_lines(data) or [data]
    return split_messages(data) or [data]


def decode_input(data: bytes, *, tenant: str, our_bic: str) -> Input:
    """Return the command that an input means, and where it goes.

    Its id depends on content alone: of FIN on sender, type and references, of JSON on the
    document's id, or on the whole content without one. The same id with another content is thus a
    conflict downstream, never a second effect. Raises Unreadable and nothing else.
    """
    try:
        head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
        if head[:1] == b"{" and not _is_fin(head):
            return _json(data, tenant)
        found = read_inbound(data, our_bic)
        if not _IDENTITY.fullmatch(found.identity):
            raise _invalid("the reference (field 20 or 21) can be no key")
        _fit_numbers(msgspec.to_builtins(found.command), "$")
        key = key_of(tenant, found.category, found.identity)
        command_id = uuid5_text(NAMESPACE.bytes, f"{tenant}/fin/{found.name}")
        actor = NETWORK._replace(login=found.sender or NETWORK.login)
        return Input(key, found.command, command_id, actor, "fin", found.notes)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        # A reader met something nobody thought of: the input is at fault, not the program's state.
        raise Unreadable(
            "decode", f"cannot be read ({type(error).__name__})", hint="report it with its input"
        ) from None


def _is_fin(head: bytes) -> bool:
    return re.match(rb"[\s$\x01\x03]*\{1:", head) is not None


def _invalid(reason: str) -> Unreadable:
    return Unreadable("validate", reason, hint=_FIX)


def _too_deep(value: Any, levels: int = DEPTH_LIMIT) -> bool:
    """Tell whether objects and arrays nest deeper than `levels`."""
    if not isinstance(value, (dict, list)):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_too_deep(member, levels - 1) for member in members)


def _parsed(data: bytes) -> Any:
    if len(data) > INPUT_LIMIT:
        raise Unreadable("parse", f"a document of more than {INPUT_LIMIT} bytes", hint="split it")
    try:
        value = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        raise Unreadable("parse", "not JSON, or not whole", hint=_FIX) from None
    if _too_deep(value):
        raise Unreadable("parse", f"nested deeper than {DEPTH_LIMIT} levels", hint=_FIX)
    return value


def _json(data: bytes, tenant: str) -> Input:
    document = _parsed(data)
    if not isinstance(document, dict):
        raise _invalid("$: a document is one object")
    texts = {name: document.get(name, "") for name in _ENVELOPE}
    for name, value in texts.items():
        if not isinstance(value, str) or len(value) > 200:
            raise _invalid(f"$.{name}: needs text of at most 200 characters")
    cls = commands().get(texts["type"])
    if cls is None:
        raise _invalid("$.type: names no command")
    own = cls.__struct_fields__  # type: ignore[attr-defined]
    beside = "" if identity_field(cls) else category_of(cls)
    body = {k: v for k, v in document.items() if k in own or k not in (*_ENVELOPE, beside)}
    command = _converted(with_words(body, cls), cls)
    identity = document.get(beside, "") if beside else ""
    if not isinstance(identity, str):
        raise _invalid(f"$.{beside}: needs text")
    key = address(command, tenant, identity)
    command = addressed(command, key_parts(key).identity)
    name = f"id/{texts['id']}" if texts["id"] else f"content/{_digest(document)}"
    command_id = uuid5_text(NAMESPACE.bytes, f"{tenant}/document/{name}")
    if "role" in own:  # it is the bank's in the credit, and says nothing of who acts
        texts["role"] = ""
    return Input(key, command, command_id, _actor(texts), "json")


def _actor(texts: dict[str, str]) -> Actor:
    if not texts["as"]:
        return Actor("", "file", "gateway")
    if texts["role"] in RESERVED_ROLES:
        raise _invalid("$.role: is reserved for parts of the program")
    if ":" in texts["as"]:
        raise _invalid("$.as: a person's id has no colon")
    return Actor(texts["as"], texts["as"], texts["role"] or "maker")


def _digest(document: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(document, order="deterministic")).hexdigest()


def _converted(body: dict[str, Any], cls: type) -> Any:
    """Return the command; raises Unreadable on members it does not have and values that do not fit."""
    _fit_numbers(body, "$")
    try:
        command: Any = msgspec.convert(body, cls, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        if not _TYPE_WORDS.fullmatch(text):
            place = _AT.search(text)
            text = f"{place[1] if place else '$'}: a value that does not fit"
        raise _invalid(text) from None
    _known_members(body, msgspec.to_builtins(command), "$")
    return command


def _fit_numbers(value: Any, path: str) -> None:
    """Refuse whole numbers that no message can carry (64 bits)."""
    if isinstance(value, dict):
        for name, member in value.items():
            _fit_numbers(member, _member(path, name))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            _fit_numbers(member, f"{path}[{place}]")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise _invalid(f"{path}: a number of more than 64 bits")


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if _NAME.fullmatch(name) else f"{path}.(unnameable)"


def _known_members(given: Any, taken: Any, path: str) -> None:
    """Refuse members that the command did not take: a misspelt one must not go unnoticed."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for name, member in given.items():
            if name not in taken:
                raise _invalid(f"{_member(path, name)}: no such field")
            _known_members(member, taken[name], _member(path, name))
    elif isinstance(given, list) and isinstance(taken, list):
        for place, (member, kept) in enumerate(zip(given, taken, strict=False)):
            _known_members(member, kept, f"{path}[{place}]")


def _elements(data: bytes) -> list[bytes]:
    """Return the elements of a JSON array as they are written; none when it is no readable array."""
    try:
        raws = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=list[msgspec.Raw])
    except (ValueError, RecursionError):
        return []
    return [bytes(raw) for raw in raws]


def _json_lines(data: bytes) -> list[bytes]:
    """Return the lines of a JSON lines file; none when it is one document over many lines.

    A file counts as lines when its first line is whole by itself; broken lines then stand alone.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) < 2:
        return []
    try:
        msgspec.json.decode(lines[0].removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return []
    return lines
