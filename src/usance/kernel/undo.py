"""A compensation names the command that it undoes, and its target refuses that command afterwards.

A command that a saga gave up may still be on its way: parked, or a dead letter that somebody redrives
next week. Order within a key is not enough then (protocol rule 21).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from usance.kernel.decider import Context, Decision, Refusal


class CommandUndone(msgspec.Struct, frozen=True, kw_only=True):
    """A command was undone, whether it had taken effect or not: from here on it has none."""

    command_id: str


def with_undo(
    decide: Callable[[Any, Any, Context], Decision | Refusal],
    state: Any,
    command: Any,
    context: Context,
) -> Decision | Refusal:
    """Decide a command of an aggregate whose state holds `undone`, the ids of what was undone.

    A command with a field `undoes` is a compensation; once it is accepted, that id is refused.
    """
    if context.command_id in state.undone:
        return Refusal(
            "UNDONE",
            "This command was undone before it arrived: it has no effect any more.",
            hint="Nothing to do; start again with a new command where the business is still wanted.",
        )
    answer = decide(state, command, context)
    undoes = getattr(command, "undoes", "")
    if not undoes or undoes in state.undone or isinstance(answer, Refusal):
        return answer
    return answer._replace(events=(*answer.events, CommandUndone(command_id=undoes)))


def remembered(state: Any, event: CommandUndone) -> None:
    """Fold the event into a fresh copy of a state."""
    state.undone = (*state.undone, event.command_id)
