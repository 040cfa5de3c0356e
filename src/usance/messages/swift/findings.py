"""A finding: one rule that a message breaks."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is SWIFT's error code or None where it is not known for certain.

    `rule` is our stable name of the rule; `line` counts from the first line after `{4:`, and is
    None for a finding about the message as a whole; `message` holds no value of the message.
    """

    code: str | None
    tag: str | None
    line: int | None
    rule: str
    message: str
