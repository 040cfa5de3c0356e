"""What people type in their own words: it may name anybody, so it is stored as a private block."""

from __future__ import annotations

from typing import Any

import msgspec

from usance.kernel.decider import Denied, Erased, PrivateBlock

ERASED_TEXT, DENIED_TEXT = "[erased]", "[sealed]"
"""What people read where words were erased, or are not for them."""


class Words(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Free text of a person. `subject` is whose matter it is about; empty until it is addressed."""

    subject: str = ""
    text: str


def text_of(words: Any) -> str:
    """Return what was said, empty where nothing was, and a mark where it is withheld (any block)."""
    if words is None:
        return ""
    if isinstance(words, Erased):
        return ERASED_TEXT
    return DENIED_TEXT if isinstance(words, Denied) else str(words.text).strip()
