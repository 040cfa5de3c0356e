"""What sagas keep of an event: never a private field, always text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from usance.domain.guards import IN_PROCESS
from usance.kernel.decider import key_of, key_parts
from usance.kernel.ids import NAMESPACE, uuid5_text

NOT_YET = frozenset((IN_PROCESS,))
"""Codes of refusals that pass by themselves: checks run."""

Extract = Callable[[Any], dict[str, str]]


def fields(*names: str) -> Extract:
    """Return a function that takes these fields of an event as text."""

    def extract(event: Any) -> dict[str, str]:
        return {name: str(getattr(event, name)) for name in names}

    return extract


def nothing(event: Any) -> dict[str, str]:
    """Take nothing but the fact itself."""
    return {}


def beside(key: str, category: str, identity: str) -> str:
    """Return the key of another aggregate of the same tenant."""
    return key_of(key_parts(key).tenant, category, identity)


def identity_of(key: str) -> str:
    """Return the identity part of a key."""
    return key_parts(key).identity


def mur(identity: str, mt: str, number: int = 1) -> str:
    """Return the message user reference (16 characters of field 108) of an outgoing message."""
    digest = uuid5_text(NAMESPACE.bytes, f"{identity}/{mt}/{number}").replace("-", "")
    return ("U" + mt + digest)[:16].upper()
