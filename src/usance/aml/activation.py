"""Which version of each sanctions list is active: proposed by one person, activated by another.

One stream holds it for all lists of a bank, so that what is in force at any revision is one fold. The bytes
of a version lie beside the log's events, under their digest; an event names the digest, and whoever loads
them compares.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from usance.aml.lists import COUNT_OUTSIDE_RANGE, ListInfo, outside_range
from usance.domain.guards import is_person, unknown_command, wrong_key
from usance.kernel.decider import NOTHING, Context, Decision, Refusal
from usance.kernel.words import Words, text_of

CONTEXT = "system"
IDENTITY = "sanctions"
"""The one stream: `tenant/list/sanctions`."""
DIGEST_LETTERS = 8


class ListVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one list. `sha256` is of the publisher's file, `content` of the bytes kept here.

    `version` is the publisher's date (YYYY-MM-DD), `chunks` how many records hold the content. When it was
    proposed is the event's own instant: the same file makes the same command.
    """

    list_id: str
    source: str
    version: str
    sha256: str
    content: str
    chunks: int
    entries: int
    names: int

    @property
    def info(self) -> ListInfo:
        """The version as decisions name it."""
        return ListInfo(
            list_id=self.list_id,
            source=self.source,
            version=self.version,
            sha256=self.sha256,
            entries=self.entries,
            names=self.names,
            loaded_at=0,
            sample=False,
        )


class ListFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate found, and the proposer let pass."""

    code: str
    message: str


class ProposeList(msgspec.Struct, frozen=True, kw_only=True):
    """Propose a list version that passed the gate; its bytes are kept already.

    `base` is the content that it was compared with: that of the version activated last, empty where none
    was. `added`, `changed` and `removed` count entries against it, or against the list shipped.
    """

    version: ListVersion
    base: str
    added: int
    changed: int
    removed: int
    findings: list[ListFinding] = []


class ApproveList(msgspec.Struct, frozen=True, kw_only=True):
    """Activate a proposed version, as another person, naming the content that was seen."""

    proposal: str
    content: str


class RejectList(msgspec.Struct, frozen=True, kw_only=True):
    """Turn a proposed version down; the active one stays."""

    proposal: str
    reason: Words


class WithdrawList(msgspec.Struct, frozen=True, kw_only=True):
    """Take one's own proposal back."""

    proposal: str


class RecordRescreening(msgspec.Struct, frozen=True, kw_only=True):
    """Record that what earlier versions screened was held against what is new in the active ones.

    `contents` are the active versions by list; `ends` the places in the log of screenings, by its partition,
    up to which this holds: what is screened later than that names its own versions. Counts are of streams
    looked at, of strings in them, of cases opened, of streams whose business was over, and of streams whose
    strings nobody can read any more.
    """

    contents: dict[str, str]
    ends: list[int]
    streams: int
    strings: int
    cases: int
    over: int
    erased: int


class ListProposed(msgspec.Struct, frozen=True, kw_only=True):
    """A version waits for a second person of compliance."""

    proposal: str
    version: ListVersion
    base: str
    added: int
    changed: int
    removed: int
    findings: list[ListFinding]
    proposer: str


class ListActivated(msgspec.Struct, frozen=True, kw_only=True):
    """From here on this version is what names are screened against. `replaced` is the content before."""

    proposal: str
    version: ListVersion
    replaced: str
    proposer: str
    approver: str


class ListRejected(msgspec.Struct, frozen=True, kw_only=True):
    """A proposed version was turned down."""

    proposal: str
    list_id: str
    by: str
    reason: Words


class ListWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal was taken back."""

    proposal: str
    list_id: str
    by: str


class ListsRescreened(msgspec.Struct, frozen=True, kw_only=True):
    """What was screened before was held against what is new in the active versions; see `RecordRescreening`."""

    contents: dict[str, str]
    ends: list[int]
    streams: int
    strings: int
    cases: int
    over: int
    erased: int


MESSAGES: tuple[tuple[type, str], ...] = (
    (ProposeList, "command"),
    (ApproveList, "command"),
    (RejectList, "command"),
    (WithdrawList, "command"),
    (RecordRescreening, "command"),
    (ListProposed, "event"),
    (ListActivated, "event"),
    (ListRejected, "event"),
    (ListWithdrawn, "event"),
    (ListsRescreened, "event"),
)
"""Every message about list versions with its kind."""


class Waiting(msgspec.Struct, frozen=True):
    """A proposal that nobody has answered yet."""

    proposal: str
    version: ListVersion
    base: str
    proposer: str


class ListState(msgspec.Struct):
    """What is active and what waits, by list; `activated` is the proposal that became active, by list.

    `rescreened` are the contents that all earlier screenings were held against, up to `ends`.
    """

    active: dict[str, ListVersion] = {}
    activated: dict[str, str] = {}
    waiting: dict[str, Waiting] = {}
    rescreened: dict[str, str] = {}
    ends: list[int] = []

    @property
    def contents(self) -> dict[str, str]:
        """The digests of what is active, by list."""
        return {list_id: version.content for list_id, version in self.active.items()}


def proposal_of(version: ListVersion) -> str:
    """Return the reference of the proposal of a version: `un-2026-02-27-1a2b3c4d`."""
    return f"{version.list_id}-{version.version}-{version.content[:DIGEST_LETTERS]}"


class ListDecider:
    """Decides which list versions are active: four eyes on each, bound to the content seen."""

    category = "list"
    fold_id = "list/2"

    def initial(self, key: str) -> ListState:  # noqa: ARG002
        """Return the state before any proposal: what came with the program is active."""
        return ListState()

    def decide(self, state: ListState, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command; never raises."""
        if isinstance(command, RecordRescreening):
            return _rescreened(state, command, context)
        if not isinstance(command, ProposeList | ApproveList | RejectList | WithdrawList):
            return unknown_command(command)
        if not is_person(context.actor):
            return Refusal("NEEDS_A_PERSON", "Lists are a person's act.", hint="Act as a person.")
        elsewhere = wrong_key(context, IDENTITY)
        if elsewhere is not None:
            return elsewhere
        person = context.actor.person
        match command:
            case ProposeList():
                return _propose(state, command, person)
            case ApproveList():
                return _approve(state, command, person)
        found = _open(state, command.proposal)
        if found is None:
            return _NOT_OPEN
        names = {"proposal": found.proposal, "list_id": found.version.list_id, "by": person}
        if isinstance(command, RejectList):
            if not text_of(command.reason).strip():
                return Refusal(
                    "REASON_NEEDED", "Whoever turns a list down says why.", hint="Add --reason."
                )
            return Decision((ListRejected(**names, reason=command.reason),))
        if found.proposer != person:
            return Refusal(
                "NOT_YOURS",
                "Only who proposed a list version takes it back.",
                hint="Reject it, with a reason.",
            )
        return Decision((ListWithdrawn(**names),))

    def evolve(self, state: ListState, event: Any) -> ListState:
        """Return the state after one event."""
        new = copy.copy(state)
        match event:
            case ListProposed():
                waits = Waiting(event.proposal, event.version, event.base, event.proposer)
                new.waiting = {**state.waiting, event.version.list_id: waits}
            case ListActivated():
                list_id = event.version.list_id
                new.active = {**state.active, list_id: event.version}
                new.activated = {**state.activated, list_id: event.proposal}
                new.waiting = _without(state.waiting, list_id)
            case ListRejected() | ListWithdrawn():
                new.waiting = _without(state.waiting, event.list_id)
            case ListsRescreened():
                new.rescreened, new.ends = event.contents, event.ends
        return new


_NOT_OPEN = Refusal(
    "NOTHING_PROPOSED",
    "No such proposal waits: it was answered, taken back, or never made.",
    hint="See what waits: usance list show.",
)


def _rescreened(
    state: ListState, command: RecordRescreening, context: Context
) -> Decision | Refusal:
    """Note a rescreening of what is active; one of versions that were replaced meanwhile says nothing."""
    elsewhere = wrong_key(context, IDENTITY)
    if elsewhere is not None:
        return elsewhere
    if is_person(context.actor):
        return Refusal("NOT_BY_HAND", "The program itself records what it screened again.")
    if command.contents != state.contents or command.contents == state.rescreened:
        return NOTHING
    names = ListsRescreened.__struct_fields__
    return Decision((ListsRescreened(**{name: getattr(command, name) for name in names}),))


def _without(waiting: dict[str, Waiting], list_id: str) -> dict[str, Waiting]:
    return {name: waits for name, waits in waiting.items() if name != list_id}


def _open(state: ListState, proposal: str) -> Waiting | None:
    return next((w for w in state.waiting.values() if w.proposal == proposal), None)


def _propose(state: ListState, command: ProposeList, person: str) -> Decision | Refusal:
    version = command.version
    proposal, active = proposal_of(version), state.active.get(version.list_id)
    waits = state.waiting.get(version.list_id)
    if waits is not None:
        if (waits.proposal, waits.proposer) == (proposal, person):
            return NOTHING
        return Refusal(
            "PROPOSAL_WAITS",
            f"A version of {version.list_id} waits for approval already.",
            hint=f"Approve, reject or withdraw {waits.proposal} first.",
        )
    flaw = _flaw(version, active, command)
    if flaw is not None:
        return flaw
    proposed = ListProposed(
        proposal=proposal,
        version=version,
        base=command.base,
        added=command.added,
        changed=command.changed,
        removed=command.removed,
        findings=command.findings,
        proposer=person,
    )
    return Decision((proposed,))


def _flaw(version: ListVersion, active: ListVersion | None, command: ProposeList) -> Refusal | None:
    """Return what the gate would have said: whoever proposes is not taken at their word."""
    again = "Import the file again: usance list import."
    if not version.entries or not version.chunks:
        return Refusal("EMPTY_LIST", f"{version.list_id} has no entries.", hint=again)
    if active is None:
        return _MOVED if command.base else None
    if version.content == active.content:
        return Refusal("ALREADY_ACTIVE", "This version is the active one.")
    if command.base != active.content:
        return _MOVED
    if version.version < active.version:
        return Refusal(
            "OLDER_THAN_ACTIVE",
            f"{version.list_id} {version.version} is older than the active {active.version}.",
            hint="Fetch the publisher's newest file.",
        )
    counted = any(f.code == COUNT_OUTSIDE_RANGE for f in command.findings)
    if outside_range(active.entries, version.entries) and not counted:
        return Refusal(
            COUNT_OUTSIDE_RANGE,
            f"{version.list_id} had {active.entries} entries and now has {version.entries}.",
            hint="Look at the file; --approve-count proposes it all the same.",
        )
    return None


_MOVED = Refusal(
    "LIST_MOVED",
    "Another version became active since this one was compared with it.",
    hint="Import the file again: usance list import.",
)


def _approve(state: ListState, command: ApproveList, person: str) -> Decision | Refusal:
    found = _open(state, command.proposal)
    if found is None:
        done = command.proposal in state.activated.values()
        same = any(v.content == command.content for v in state.active.values())
        return NOTHING if done and same else _NOT_OPEN
    if found.version.content != command.content:
        return Refusal(
            "CONTENT_CHANGED",
            "The proposal holds other bytes than you saw.",
            hint="Look at it again: usance list show.",
        )
    if found.proposer == person:
        return Refusal(
            "SELF_APPROVAL",
            "Who proposes a list version may not activate it.",
            article="four-eyes",
            hint="Ask a second person of compliance.",
        )
    activated = ListActivated(
        proposal=found.proposal,
        version=found.version,
        replaced=found.base,
        proposer=found.proposer,
        approver=person,
    )
    return Decision((activated,))
