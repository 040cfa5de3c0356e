"""What people type in their own words: it may name anybody, so it is stored as a private block."""

from __future__ import annotations

import msgspec

from usance.kernel.decider import PrivateBlock


class Words(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Free text of a person. `subject` is whose matter it is about; empty until it is addressed."""

    subject: str = ""
    text: str


def text_of(words: Words | None) -> str:
    """Return what was said, empty where nothing was."""
    return words.text.strip() if words is not None else ""
