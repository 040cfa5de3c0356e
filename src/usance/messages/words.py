"""Free text as people hand it in: a plain text becomes the private block that it is stored as."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from usance.kernel.words import Words
from usance.messages.avro_codegen import hints_of, unwrap


@cache
def word_fields(cls: type) -> dict[str, bool]:
    """Return the fields of a command that hold people's words, and whether they may be absent."""
    return {
        name: optional
        for name, hint in hints_of(cls).items()
        for kind, optional in [unwrap(hint)]
        if kind is Words
    }


def with_words(body: dict[str, Any], cls: type) -> dict[str, Any]:
    """Return the fields of a command with each plain text in its block; an empty one is left out."""
    said = {name: body[name] for name in word_fields(cls) if isinstance(body.get(name), str)}
    if not said:
        return body
    found = {name: value for name, value in body.items() if name not in said}
    for name, text in said.items():
        if text.strip() or not word_fields(cls)[name]:
            found[name] = {"text": text}
    return found


def _class(command: Any) -> type:
    return type(command)


def addressed(command: Any, subject: str) -> Any:
    """Return a command whose words know whose matter they are about."""
    nobody: dict[str, Words] = {
        name: msgspec.structs.replace(words, subject=subject)
        for name in word_fields(_class(command))
        if (words := getattr(command, name)) is not None and not words.subject
    }
    return msgspec.structs.replace(command, **nobody) if nobody else command


def command_of(fields: dict[str, Any], cls: type, subject: str) -> Any:
    """Return the command that typed fields say; raises ValidationError naming the wrong one."""
    return addressed(msgspec.convert(with_words(fields, cls), cls, strict=False), subject)
