"""What a saga is made of: its steps, its definition, and its state as its stream tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from usance.kernel.clock import MS_PER_HOUR
from usance.kernel.words import Words

Facts = Mapping[str, str]
STEP_TIMEOUT_MS = 24 * MS_PER_HOUR
HELD_RETRY_MS = MS_PER_HOUR
"""After which a step that was told "not yet" is tried again."""
SUGGESTED = ("retry", "skip", "done-outside", "compensate")
SUGGESTED_AFTER_PIVOT = ("retry", "skip", "done-outside")
PROGRAM_ROLES = frozenset(("system", "gateway", "network"))
"""Roles of parts of the program: none of them is one of two people."""


class Act(NamedTuple):
    """A command for another aggregate: its key and the message."""

    key: str
    command: Any


class Step(NamedTuple):
    """One step of a definition.

    `action` makes the command (None: the step only waits). It succeeds on one of the `success` event
    types, or, when there are none, on an accepted outcome; `failure` event types and refusals fail it.
    `kind`: compensatable, pivot or retriable. `when` false: not needed. `chase` makes the reminder sent
    each time `timeout_ms` passes, `chases_max` times, after which an `optional` step is over. A
    `guarded` step ends by its own success or failure alone: no operator skips it or does it outside.
    A `compensation` with a field `undoes` is told the id of the command that it undoes.
    """

    name: str
    action: Callable[[str, Facts], Act | None] | None
    success: tuple[str, ...] = ()
    failure: tuple[str, ...] = ()
    kind: str = "compensatable"
    compensation: Callable[[str, Facts], Act | None] | None = None
    when: Callable[[Facts], bool] | None = None
    timeout_ms: int = STEP_TIMEOUT_MS
    optional: bool = False
    chase: Callable[[str, Facts, int], Act | None] | None = None
    chases_max: int = 0
    guarded: bool = False


class Definition(NamedTuple):
    """A saga type. `starts` and `listens` map event types to functions giving the facts to keep.

    `identity` gives the saga's identity for an event (stream, type, event), "" when it is not meant.
    `four_eyes`: operator acts other than retry need a second person. A refusal with a code of `not_yet`
    fails no step: it is tried again, until a step's own time is over and people hear of it.
    """

    name: str
    version: int
    label: str
    starts: Mapping[str, Callable[[Any], dict[str, str]]]
    listens: Mapping[str, Callable[[Any], dict[str, str]]]
    identity: Callable[[str, str, Any], str]
    steps: tuple[Step, ...]
    four_eyes: bool = True
    not_yet: frozenset[str] = frozenset()

    def step(self, name: str) -> Step:
        """Return a step by name."""
        return next(s for s in self.steps if s.name == name)


class ProposedAct(NamedTuple):
    """An operator act that waits for a second person, on the step as it stood then."""

    act: str
    step: str
    reason: Words
    person: str
    n: int
    phase: str


class SagaState(msgspec.Struct):
    """A saga as its stream tells it."""

    definition: str = ""
    subject: str = ""
    facts: dict[str, str] = {}
    phase: str = "new"  # new | running | compensating | completed | compensated
    step: str = ""
    n: int = 0
    command_id: str = ""
    since: int = 0
    chases: int = 0
    held: bool = False
    done: list[str] = []
    undone: list[str] = []
    observed: list[str] = []
    incident: str = ""
    acts: dict[str, ProposedAct] = {}
    sent: dict[str, str] = {}
    timer: str = ""
    after_pivot: bool = False
    cause: str = ""
