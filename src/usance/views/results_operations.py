"""What the read side answers about sagas, cases, failures and counts."""

from __future__ import annotations

import msgspec

from usance.aml.lists import ListSummary
from usance.views.results_history import Approval, Page, TimelineEntry


class SagaRow(msgspec.Struct, frozen=True, kw_only=True):
    """A saga. `phase`: running | compensating | completed | compensated."""

    key: str
    definition: str
    version: int
    subject: str
    reference: str
    phase: str
    step: str
    incident: str
    since: int
    changed: int
    revision: int
    stale_since: int | None = None


class SagaPage(msgspec.Struct, frozen=True, kw_only=True):
    """Sagas, last changed first. `per_step` counts open sagas by `definition/step`."""

    rows: list[SagaRow]
    per_step: dict[str, int]
    page: Page


class StepFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the picture. `state`: done | current | failed | compensated | pending | skipped.

    `kind`: compensatable | pivot | retriable. `answer` is what became of its command.
    """

    name: str
    kind: str
    state: str
    how: str
    n: int
    command_id: str
    command_type: str
    target: str
    answer: str
    code: str
    message: str
    started: int
    ended: int


class TimerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A pending timer."""

    timer_id: str
    due: int
    reason: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A saga without progress: `suggested` acts are retry | skip | done-outside | compensate."""

    id: str
    saga: str
    definition: str
    subject: str
    reference: str
    step: str
    cause: str
    since: int
    suggested: list[str]
    open: bool
    how: str
    closed: int


class SagaAct(msgspec.Struct, frozen=True, kw_only=True):
    """An operator act. `state`: proposed | approved | rejected."""

    act_id: str
    act: str
    step: str
    reason: str
    evidence: str
    maker: str
    approver: str
    state: str
    instant: int


class ListWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """A list version that a second person activates, or not. Counts are entries against the active one."""

    proposal: str
    version: str
    source: str
    sha256: str
    content: str
    entries: int
    added: int
    changed: int
    removed: int
    findings: list[str]
    proposer: str
    proposed: int


class ListRow(msgspec.Struct, frozen=True, kw_only=True):
    """A sanctions list that people brought in; fields of the active version are empty before the first.

    `answer` is what became of the newest proposal that is not waiting: activated | rejected | withdrawn.
    `rescreened` (ms UTC, zero while not over) is when earlier screenings were held against what is new in the
    active versions: of how many streams, and how many cases that opened.
    """

    key: str
    list_id: str
    version: str
    source: str
    sha256: str
    entries: int
    names: int
    proposal: str
    proposer: str
    approver: str
    activated: int
    rescreened: int
    rescreened_streams: int
    rescreened_cases: int
    waiting: ListWaiting | None
    answer: str
    answered_by: str
    answered: int
    reason: str


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """Sanctions lists: `loaded` is what this process screens with now, `rows` what people decided."""

    loaded: list[ListSummary]
    rows: list[ListRow]


class Saga(msgspec.Struct, frozen=True, kw_only=True):
    """One saga as a picture: its steps in order, timers, incidents, acts."""

    row: SagaRow
    steps: list[StepFacts]
    timers: list[TimerFacts]
    incidents: list[Incident]
    acts: list[SagaAct]
    reason: str
    parked: bool
    page: Page


class CaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A case. `state` as the case's decider names it."""

    key: str
    reference: str
    subject: str
    state: str
    hits: int
    score: int
    list_version: str
    opened: int
    changed: int
    revision: int
    proposed_by: str
    proposal: str
    stale_since: int | None = None


class CaseFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which cases."""

    state: str = ""
    subject: str = ""


class CasePage(msgspec.Struct, frozen=True, kw_only=True):
    """Cases, last changed first."""

    rows: list[CaseRow]
    page: Page


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A case with its hits (each a flat dict of what the screening event says) and history."""

    row: CaseRow
    hits: list[dict[str, str]]
    facts: dict[str, str]
    timeline: list[TimelineEntry]
    approval: Approval | None
    page: Page


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters. `state`: open | redriven | discarded; `failure`: their class.

    First seen from `since` to before `until` (ms UTC).
    """

    state: str = ""
    reason: str = ""
    stage: str = ""
    failure: str = ""
    key: str = ""
    since: int = 0
    until: int = 0


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. `failure` is its class (poison, process-killer, ...)."""

    id: str
    index: int
    context: str
    partition: int
    offset: int
    key: str
    stage: str
    failure: str
    reason: str
    causation: str
    command_id: str
    first_seen: int
    redrive_count: int
    state: str
    parks: bool
    redrivable: bool
    """Whether its record can be decided again: it parks its key, or its key was parked when it failed."""


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters, newest first; `by_reason` counts the open ones as `stage: reason`."""

    rows: list[DeadLetterRow]
    by_reason: dict[str, int]
    page: Page


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with a preview of its bytes; `size` is of the whole value."""

    row: DeadLetterRow
    note: dict[str, str]
    size: int
    sha256: str
    text: str
    hex: str
    waiting: int


class ParkedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key whose commands wait behind a dead letter."""

    key: str
    reason: str
    since: int
    dead_letter_id: str
    waiting: int


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one command. `repeats` counts duplicates and conflicts that pointed back."""

    command_id: str
    causation: str
    answer: str
    code: str
    article: str
    message: str
    hint: str
    actor: str
    correlation: str
    instant: int
    repeats: int
    input: bool


class CommandPage(msgspec.Struct, frozen=True, kw_only=True):
    """Commands, newest first."""

    rows: list[CommandRow]
    page: Page


class ProjectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One projection. `lag` counts records not yet taken in; `parked` keys wait for a rebuild.

    `state`: live | building | waiting (its tables are of an older version: rebuild).
    """

    name: str
    version: int
    generation: int
    state: str
    tables: list[str]
    rows: int
    position: str
    lag: int
    stale_rows: int
    parked: list[ParkedProjectionKey]


class ParkedProjectionKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that a projection cannot follow: the event, why, and how many wait behind it."""

    projection: str
    key: str
    topic: str
    partition: int
    offset: int
    error: str
    since: int
    waiting: int


class SchemaRow(msgspec.Struct, frozen=True, kw_only=True):
    """A registered schema version."""

    subject: str
    version: int
    id: int
    fingerprint: str
    level: str
    type: str


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """A schema with its text."""

    row: SchemaRow
    text: str


class PartitionFlow(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of one topic."""

    topic: str
    partition: int
    begin: int
    end: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of `status` and `demo --json`; each input counts once by its present state.

    `commands` counts every command answered, those of inputs included; `other_commands` those of
    sagas, timers, drains and control by where they come from. `dead_letters` includes discarded
    ones. `chain_verified` is None here: the log's verifier says it.
    """

    inputs: int
    commands: int
    accepted: int
    refused: int
    duplicates: int
    conflicts: int
    dead_letters: int
    parked: int
    events: int
    events_by_type: dict[str, int]
    credits_by_state: dict[str, int]
    trial_balance_zero: bool
    chain_verified: bool | None = None
    other_commands: dict[str, int] = {}
    sagas_by_phase: dict[str, int] = {}
    incidents_open: int = 0
    parked_keys: int = 0
    dead_letters_open: int = 0
    projection_lag: int = 0
    projections_stale: int = 0
    position: str = ""


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """Something found. `kind`: credit | presentation | facility | message | event | saga | case."""

    kind: str
    key: str
    reference: str
    title: str
    detail: str
