"""The states of keys as events: asked for, approved by two others where it gives power or ends a key, done.

A key's stream is `tenant/keystate/<key id>`, that of a KEK version `tenant/keystate/kek-<version>`. What takes
power from a key needs nobody else (`crypto/keystates.py`), and takes the place of what waits for others. A state
is turned in the store after it was approved, and the event that it was closes the matter; both may be done again.
What the store says counts for sealing and opening, and an auditor holds it against these events.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from usance.crypto.keyservice import KeyState
from usance.crypto.keystates import GONE, approvals_needed, demand_transition
from usance.kernel.decider import NOTHING, Context, Decision, Refusal, key_parts
from usance.kernel.errors import Refused
from usance.kernel.words import Words, text_of

CATEGORY = "keystate"
KEK = "kek-"
ADOPTION = "adoption"
"""The stream of adoptions stands in the place of a key's id."""
CONTEXT = "system"


class TurnKey(msgspec.Struct, frozen=True, kw_only=True):
    """Ask that a key goes from one state to another, by the words of SP 800-57."""

    was: str
    to: str
    reason: Words


class ApproveTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Approve what was asked for, as another person."""


class RecordTurn(msgspec.Struct, frozen=True, kw_only=True):
    """Say that the key store or the key service has done it."""


class AdoptKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Say that the records of a key store from an earlier version are to be signed: how many, and a digest.

    `digest` (hex) is over the MACs that they get, in the order of their ids: it says which state was believed.
    """

    keys: int
    holds: int
    digest: str
    reason: Words


class KeysAdopted(msgspec.Struct, frozen=True, kw_only=True):
    """A person had records signed that had no MAC; fields as in `AdoptKeys`."""

    by: str
    keys: int
    holds: int
    digest: str
    reason: Words


class KeyTurnRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked for another state; `approvals` others must agree."""

    was: str
    to: str
    by: str
    approvals: int
    reason: Words


class KeyTurnApproved(msgspec.Struct, frozen=True, kw_only=True):
    """Another person agreed."""

    by: str
    number: int


class KeyTurned(msgspec.Struct, frozen=True, kw_only=True):
    """The key is in another state."""

    was: str
    to: str


MESSAGES: tuple[tuple[type, str], ...] = (
    (TurnKey, "command"),
    (ApproveTurn, "command"),
    (RecordTurn, "command"),
    (AdoptKeys, "command"),
    (KeyTurnRequested, "event"),
    (KeyTurnApproved, "event"),
    (KeyTurned, "event"),
    (KeysAdopted, "event"),
)


class TurnState(msgspec.Struct):
    """A key's state as its stream tells, and what is asked for: `to` is empty where nothing is."""

    now: str = KeyState.ACTIVE.value
    was: str = ""
    to: str = ""
    requester: str = ""
    needed: int = 0
    approvers: tuple[str, ...] = ()

    @property
    def approved(self) -> bool:
        """Whether what is asked for may be done."""
        return bool(self.to) and len(self.approvers) >= self.needed


class TurnDecider:
    """Decides who may turn a key's state."""

    category = CATEGORY
    fold_id = "keystate-1"

    def initial(self, key: str) -> TurnState:
        """Return the state of a key that nobody turned: it was made to protect; old KEKs open alone."""
        kek = key_parts(key).identity.startswith(KEK)
        return TurnState(now=(KeyState.DEACTIVATED if kek else KeyState.ACTIVE).value)

    def decide(self, state: TurnState, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command."""
        match command:
            case TurnKey():
                return self._request(state, command, context)
            case ApproveTurn():
                return self._approve(state, context.actor.person)
            case RecordTurn():
                if not state.to:
                    return NOTHING
                if not state.approved:
                    return Refusal("NOT_APPROVED", "This is not approved by two other people.")
                return Decision((KeyTurned(was=state.was, to=state.to),))
            case AdoptKeys():
                return _adopted(command, context)
        return Refusal("UNKNOWN_COMMAND", "A key's state takes no such command.")

    def _request(self, state: TurnState, command: TurnKey, context: Context) -> Decision | Refusal:
        if state.to and not supersedes(state, command.was, command.to):
            return Refusal(
                "TURN_PENDING",
                f"It is asked already that this key becomes {state.to}.",
                hint="Another person approves it with the same command.",
            )
        if not text_of(command.reason):
            return Refusal(
                "REASON_REQUIRED", "To turn a key needs a reason.", hint="Give --reason."
            )
        try:
            was, to = KeyState(command.was), KeyState(command.to)
        except ValueError:
            known = ", ".join(KeyState)
            return Refusal(
                "UNKNOWN_STATE", "There is no such state.", hint=f"It is one of {known}."
            )
        # A version that sealed enough, or long enough, is deactivated by the owner itself.
        worn = state.now == KeyState.ACTIVE and was is KeyState.DEACTIVATED
        if was != state.now and not worn:
            return Refusal(
                "STATE_UNLIKE",
                f"The log says {state.now}, the key store {was.value}.",
                hint="usance audit verify --full says more.",
            )
        if to in GONE and not key_parts(context.key).identity.startswith(KEK):
            return Refusal(
                "DESTROYED_WITH_SUBJECT",
                "A data key is destroyed with its subject, never by itself.",
                hint="usance subject erase SUBJECT",
            )
        try:
            demand_transition(was, to)
        except Refused as refused:
            return Refusal(refused.code, f"{refused.message}.", refused.article, refused.hint)
        asked = KeyTurnRequested(
            was=was.value,
            to=to.value,
            by=context.actor.person,
            approvals=approvals_needed(was, to),
            reason=command.reason,
        )
        return Decision((asked,))

    def _approve(self, state: TurnState, person: str) -> Decision | Refusal:
        if not state.to or state.approved:
            return Refusal("NOTHING_ASKED", "Nothing waits for approval.")
        if person in (state.requester, *state.approvers):
            return Refusal(
                "SELF_APPROVAL",
                "You have asked for it or approved it already.",
                hint="Two other people approve it.",
            )
        return Decision((KeyTurnApproved(by=person, number=len(state.approvers) + 1),))

    def evolve(self, state: TurnState, event: Any) -> TurnState:
        """Return the state after one event."""
        new = copy.copy(state)
        match event:
            case KeyTurnRequested():
                new.was, new.to, new.requester = event.was, event.to, event.by
                new.needed, new.approvers = event.approvals, ()
            case KeyTurnApproved():
                new.approvers = (*state.approvers, event.by)
            case KeyTurned():
                new.now, new.was, new.to = event.to, "", ""
                new.requester, new.needed, new.approvers = "", 0, ()
        return new


def supersedes(state: TurnState, was: str, to: str) -> bool:
    """Tell whether a turn takes power and so waits for nobody, not even for what was asked for before."""
    try:
        return to != state.to and approvals_needed(KeyState(was), KeyState(to)) == 0
    except ValueError:
        return False


def _adopted(command: AdoptKeys, context: Context) -> Decision | Refusal:
    if key_parts(context.key).identity != ADOPTION:
        return Refusal("UNKNOWN_COMMAND", "Adoptions have a stream of their own.")
    if not text_of(command.reason):
        hint = "Say which earlier version wrote the store."
        return Refusal("REASON_REQUIRED", "To adopt a key store needs a reason.", hint=hint)
    said = {name: getattr(command, name) for name in command.__struct_fields__}
    return Decision((KeysAdopted(by=context.actor.person, **said),))
