"""What a command would do: events, messages, postings and commands to others, before it is sent."""

from __future__ import annotations

from typing import Any

import msgspec

from usance.domain.posting import Posting
from usance.kernel.decider import key_parts
from usance.views.results import DeadLetter
from usance.web.backend import Previewed


class Would(msgspec.Struct, frozen=True, kw_only=True):
    """An event that would be recorded, or a command that would go to `key`."""

    type: str
    key: str
    content: dict[str, Any]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a dry run. `outcome` is accepted or refused; nothing of it was recorded.

    `messages` are references of FIN messages that would go out; `revision` is the one decided on.
    """

    outcome: str
    revision: int
    events: list[Would] = []
    commands: list[Would] = []
    messages: list[str] = []
    postings: list[Posting] = []
    code: str = ""
    article: str = ""
    message: str = ""
    hint: str = ""
    dry_run: bool = True


def forecast(key: str, answer: Previewed) -> Forecast:
    """Return a decision as callers see it."""
    refusal = answer.refusal
    if refusal is not None:
        return Forecast(
            outcome="refused",
            revision=answer.revision,
            code=refusal.code,
            article=refusal.article,
            message=refusal.message,
            hint=refusal.hint,
        )
    messages = [getattr(e, "message", "") for e in answer.events]
    messages += [key_parts(s.key).identity for s in answer.sends if "/message/" in s.key]
    return Forecast(
        outcome="accepted",
        revision=answer.revision,
        events=[_would(key, e) for e in answer.events],
        commands=[_would(s.key, s.command) for s in answer.sends],
        messages=sorted({m for m in messages if m}),
        postings=[p for e in answer.events for p in getattr(e, "postings", ())],
    )


def settling(name: str, letter: DeadLetter) -> Forecast:
    """Return what Redrive or Discard (`name`) of a dead letter would do; no aggregate decides these."""
    row = letter.row
    if row.state != "open" or (name == "Redrive" and not row.redrivable):
        return Forecast(
            outcome="refused",
            revision=-1,
            code="NO_DEAD_LETTER",
            message="No dead letter that this could settle is open under this id.",
            hint="An input that nobody could read is corrected by its sender, and discarded here.",
        )
    first = (
        "It is decided again with today's program, under its first id"
        if name == "Redrive"
        else "Its command is answered as discarded, for good"
    )
    behind = f"; then the {letter.waiting} that wait behind it, in order" if letter.waiting else ""
    return Forecast(outcome="accepted", revision=-1, message=f"{first}{behind}.")


def _would(key: str, message: Any) -> Would:
    return Would(type=type(message).__name__, key=key, content=msgspec.to_builtins(message))
