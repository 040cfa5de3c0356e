"""Accesses of people: who looked at what, who was denied what. Written before anything is shown.

A person's stream is `tenant/access/<person>`, in a context of its own: topics, chain and trees apart from the
book's. The program writes them, whoever looks cannot: only a reveal is asked for by the person, with a reason.
"""

from __future__ import annotations

from typing import Any

import msgspec

from usance.engine.owner.state import Denials
from usance.engine.secrecy.subjects import FieldRevealed, RecordReveal
from usance.kernel.clock import MS_PER_MINUTE
from usance.kernel.decider import Actor, Context, Decision, Refusal
from usance.kernel.words import Words, text_of

ACCESS = "access"
CONTEXT = "access"
TOLD_EACH = 10
"""Denials of a person under a rule in one minute that are recorded one by one; beyond, each doubling is."""


class RecordAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a person is about to see something.

    `action` is of a registry (`case.view`, `audit.list`), `resource` what is looked at (a key, a reference, an
    event's id), `credit` the credit that it is about, `source` where it is shown (console, api, cli).
    """

    person: str
    role: str
    action: str
    resource: str
    credit: str = ""
    source: str = ""
    reason: Words | None = None


class AccessRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """A person was about to see something; fields as in `RecordAccess`."""

    person: str
    role: str
    action: str
    resource: str
    credit: str = ""
    source: str = ""
    reason: Words | None = None


class RecordDenial(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a person was denied something.

    `act` is the command or the action, `code` why, `number` the how-many-eth it is of this person under this
    code in its minute, `unrecorded` how many were counted and not written since the last that was.
    """

    person: str
    role: str
    act: str
    resource: str
    code: str
    cause: str = ""
    command: str = ""
    source: str = ""
    number: int = 1
    unrecorded: int = 0


class AccessDenied(msgspec.Struct, frozen=True, kw_only=True):
    """A person was denied something; fields as in `RecordDenial`."""

    person: str
    role: str
    act: str
    resource: str
    code: str
    cause: str = ""
    command: str = ""
    source: str = ""
    number: int = 1
    unrecorded: int = 0


MESSAGES: tuple[tuple[type, str], ...] = (
    (RecordAccess, "command"),
    (RecordDenial, "command"),
    (AccessRecorded, "event"),
    (AccessDenied, "event"),
)


def counted(before: Denials | None, instant: int) -> tuple[Denials, bool]:
    """Return the count after one more denial, and whether this one is written down.

    The first ten of a minute are, then the twentieth, the fortieth and so on: a flood leaves a trace that
    grows with its logarithm, and how many were left out stands in the next one that is written.
    """
    minute = instant // MS_PER_MINUTE
    same = before is not None and before.minute == minute
    number = before.number + 1 if before is not None and same else 1
    unrecorded = before.unrecorded if before is not None else 0
    told = number <= TOLD_EACH or (
        number % TOLD_EACH == 0 and (number // TOLD_EACH).bit_count() == 1
    )
    return Denials(minute, number, 0 if told else unrecorded + 1), told


def denial_of(
    actor: Actor,
    resource: str,
    act: str,
    refusal: Refusal,
    command: str,
    before: Denials | None,
    now: Denials,
) -> RecordDenial:
    """Return the command that has a refusal written down as a denial."""
    return RecordDenial(
        person=actor.person,
        role=actor.role,
        act=act,
        resource=resource,
        code=refusal.code,
        cause=refusal.message,
        command=command,
        number=now.number,
        unrecorded=before.unrecorded if before is not None else 0,
    )


class AccessState(msgspec.Struct):
    """What a person was shown and denied: only how often."""

    count: int = 0
    denied: int = 0


class AccessDecider:
    """Decides whether a person may see a private field, and writes down what is seen and denied."""

    category = ACCESS
    fold_id = "access-2"

    def initial(self, key: str) -> AccessState:  # noqa: ARG002
        """Return the state before any event."""
        return AccessState()

    def decide(self, state: AccessState, command: Any, context: Context) -> Decision | Refusal:  # noqa: ARG002
        """Answer a command."""
        match command:
            case RecordReveal():
                return _revealed(command, context)
            case RecordAccess():
                return _noted(command, AccessRecorded, context)
            case RecordDenial():
                return _noted(command, AccessDenied, context)
        return Refusal("UNKNOWN_COMMAND", "An access takes no such command.")

    def evolve(self, state: AccessState, event: Any) -> AccessState:
        """Return the state after one event."""
        match event:
            case FieldRevealed() | AccessRecorded():
                return AccessState(state.count + 1, state.denied)
            case AccessDenied():
                return AccessState(state.count, state.denied + 1 + event.unrecorded)
        return state


def _revealed(command: RecordReveal, context: Context) -> Decision | Refusal:
    if _person(context) != context.actor.person:
        return Refusal("NOT_YOURS", "Accesses are recorded under the person who looks.")
    if not text_of(command.reason):
        hint = "Say why you need it: the auditor reads it."
        return Refusal("REASON_REQUIRED", "To see a private field needs a reason.", hint=hint)
    shown = FieldRevealed(
        event=command.event,
        stream=command.stream,
        field=command.field,
        person=context.actor.person,
        reason=command.reason,
    )
    return Decision((shown,))


def _noted(command: Any, event: type, context: Context) -> Decision | Refusal:
    if _person(context) != command.person:
        return Refusal("NOT_YOURS", "Accesses are recorded under the person who looks.")
    return Decision((event(**{n: getattr(command, n) for n in command.__struct_fields__}),))


def _person(context: Context) -> str:
    return context.key.split("/", 2)[2]
