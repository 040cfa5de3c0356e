"""What the read side answers: typed, frozen, ready for JSON.

Amounts are minor units beside a `currency`; instants are ms UTC (0: none); dates are YYYY-MM-DD;
`key` is an aggregate key (`tenant/category/identity`), `reference` its identity. `stale_since` is
set where a row could not follow an event; such a row shows what was known then.
"""

from __future__ import annotations

import msgspec


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where a list stands: pass `cursor` on for the next rows; empty when these are the last.

    `position` is the token of what the view has taken in (`trade.p0#12,trade.p1#7`).
    """

    cursor: str = ""
    position: str = ""


# -- credits


class CreditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which credits; empty fields do not filter. `text` looks into reference, parties and ports.

    `side`: import | export. `order`: reference | expiry | amount | changed, descending with `-`.
    """

    side: str = ""
    state: str = ""
    applicant: str = ""
    beneficiary: str = ""
    currency: str = ""
    amount_from: int | None = None
    amount_to: int | None = None
    expiring_before: str = ""
    has_discrepancy: bool | None = None
    text: str = ""
    order: str = "-changed"


class CreditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trade book. `applicant` and `beneficiary` are names of parties."""

    key: str
    reference: str
    side: str
    role: str
    state: str
    currency: str
    amount: int
    available: int
    expiry_date: str
    applicant: str
    beneficiary: str
    open_presentations: int
    has_discrepancy: bool
    pending_amendments: int
    next_due: int
    changed: int
    revision: int
    stale_since: int | None = None


class CreditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Credits in the order asked for."""

    rows: list[CreditRow]
    page: Page
    total: int


class Balances(msgspec.Struct, frozen=True, kw_only=True):
    """What can be and was drawn, minor units; `undertaken` is amount with tolerance and 39C."""

    currency: str
    amount: int
    undertaken: int
    honoured: int
    in_presentation: int
    available: int
    paid: int
    liability: int
    margin: int


class PartyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A party as the credit names it."""

    role: str
    name: str
    address: str = ""
    town: str = ""
    country: str = ""
    account: str = ""


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """One amendment and where it stands. `consents` maps a party to waiting | accepted | rejected.

    `state`: requested | approved | dropped | issued | received | accepted | rejected |
    deemed_accepted. `changes` are the terms it changes, by name, as text.
    """

    number: int
    state: str
    changes: dict[str, str]
    consents: dict[str, str]
    reason: str
    maker: str
    approver: str
    revision: int
    content_hash: str
    currency: str
    liability_change: int
    instant: int


class DocumentRequired(msgspec.Struct, frozen=True, kw_only=True):
    """A document the credit stipulates."""

    kind: str
    originals: int
    copies: int
    full_set: bool
    text: str


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """One credit with its facts. `terms` holds every public term by its field name.

    `narrative` (45A, 46A, 47A, 71D, 78K, 72Z by name) is read from the log, never from the view.
    `approval` is what a second person must agree to, where one is asked for.
    """

    row: CreditRow
    terms: dict[str, str | int | bool]
    documents: list[DocumentRequired]
    parties: list[PartyFacts]
    narrative: dict[str, str]
    balances: Balances
    amendments: list[Amendment]
    presentations: list[PresentationRow]
    messages: list[MessageRow]
    saga: SagaRow | None
    work: list[WorkItem]
    approval: Approval | None
    facility: str
    application: str
    maker: str
    approver: str
    issue_date: str
    sender: str
    sender_reference: str
    advised_to: str
    confirmed: bool
    parked: bool
    page: Page


# -- history


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream. `sentence` is for a trade officer; `article` its source, if any.

    `message` is the reference (MUR) of a FIN message that this event sent or answers.
    """

    event_id: str
    stream: str
    revision: int
    type: str
    instant: int
    actor: str
    role: str
    topic: str
    partition: int
    offset: int
    index: int
    hash_prefix: str
    command_id: str
    correlation: str
    causation: str
    sentence: str
    article: str
    message: str


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The history of one stream, oldest first."""

    key: str
    entries: list[TimelineEntry]
    page: Page


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A field that an event changed; texts are as shown, empty: not there."""

    field: str
    before: str
    after: str


class StateAt(msgspec.Struct, frozen=True, kw_only=True):
    """The state after event `revision` (0: before any), flattened to dotted names, in order.

    `changed` compares with `revision` - 1; `latest` is the newest revision.
    """

    key: str
    revision: int
    latest: int
    event: TimelineEntry | None
    state: dict[str, str]
    changed: list[Change]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; empty fields do not filter. `since` and `until` are instants."""

    stream: str = ""
    type: str = ""
    correlation: str = ""
    command_id: str = ""
    actor: str = ""
    since: int = 0
    until: int = 0


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first."""

    rows: list[TimelineEntry]
    page: Page


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its decoded content (flattened to dotted names) and its headers."""

    entry: TimelineEntry
    content: dict[str, str]
    meta: dict[str, str]
    envelope_hash: str


# -- presentations


class PresentationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which presentations; `open` keeps those that wait for a decision."""

    state: str = ""
    credit: str = ""
    open: bool | None = None
    has_discrepancy: bool | None = None
    due_before: int = 0


class PresentationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One presentation. `due` is the close of the fifth banking day (UCP600-14b)."""

    key: str
    reference: str
    credit: str
    presenter: str
    state: str
    currency: str
    amount: int
    presented: str
    due: int
    decided: bool
    precluded: bool
    discrepancies: int
    changed: int
    revision: int
    stale_since: int | None = None


class PresentationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Presentations, nearest deadline first."""

    rows: list[PresentationRow]
    page: Page
    total: int


class FindingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's answer, or what an examiner raised (`by` a person)."""

    rule: str
    article: str
    verdict: str
    explanation: str
    inputs: dict[str, str]
    by: str


class DocumentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A presented document, by its field names; fields that say nothing are left out."""

    kind: str
    facts: dict[str, str | int | bool]


class Presentation(msgspec.Struct, frozen=True, kw_only=True):
    """One presentation with findings and deadline. `calendar` made the deadline."""

    row: PresentationRow
    presentee: str
    presenter_reference: str
    place: str
    role: str
    maker: str
    examiner: str
    approver: str
    proposed_by: str
    proposed_method: str
    calendar: str
    calendar_version: str
    documents: list[DocumentFacts]
    findings: list[FindingFacts]
    complies: bool | None
    waiver: str
    refusal: dict[str, str]
    notice: list[str]
    maturity: str
    basis: str
    deemed: list[int]
    credit_row: CreditRow | None
    messages: list[MessageRow]
    saga: SagaRow | None
    work: list[WorkItem]
    parked: bool
    page: Page


# -- work


class WorkFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which work items. `kind` as in WorkItem; `mine` keeps what the viewer may act on."""

    kind: str = ""
    subject: str = ""
    due_before: int = 0
    mine: bool = False


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits for a person.

    `kind`: approve_credit | approve_amendment | answer_amendment | examine | decide | waiver |
    take_up | void | authenticate | advise | naked_message | incident | saga_act | dead_letter | case.
    `why` says why it is here; `act` is the command that settles it; `not_by` may not do it (who made
    it, four eyes); `roles` may. `blocked` says why the viewer cannot act, empty when he can.
    """

    id: str
    kind: str
    key: str
    reference: str
    credit: str
    title: str
    why: str
    article: str
    act: str
    due: int
    since: int
    roles: list[str]
    not_by: str
    blocked: str = ""


class WorkPage(msgspec.Struct, frozen=True, kw_only=True):
    """Work, nearest due first; items without a due instant last."""

    rows: list[WorkItem]
    page: Page


class DeadlineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline ahead (or missed)."""

    kind: str
    key: str
    reference: str
    credit: str
    due: int
    what: str
    article: str


class Today(msgspec.Struct, frozen=True, kw_only=True):
    """The first page of the day for one viewer."""

    work: list[WorkItem]
    deadlines: list[DeadlineRow]
    stuck: list[Incident]
    approvals: list[Approval]
    credits_by_state: dict[str, int]
    dead_letters: int
    parked_keys: int
    page: Page


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a second person approves: exactly this content, bound by hash and revision.

    `kind`: credit | amendment | void | take_up | saga_act | case. `number` is an amendment's.
    `content` are the facts as name and text. `self_made`: the viewer made it and cannot approve it.
    """

    id: str
    kind: str
    key: str
    reference: str
    revision: int
    content_hash: str
    maker: str
    requested: int
    tier: str
    currency: str
    amount: int
    number: int
    act_id: str
    title: str
    content: dict[str, str]
    self_made: bool


# -- facilities and ledger


class FacilityRow(msgspec.Struct, frozen=True, kw_only=True):
    """A facility: `reserved` is earmarked, `used` exposure of issued credits; minor units."""

    key: str
    reference: str
    customer: str
    currency: str
    limit: int
    reserved: int
    used: int
    available: int
    margin: int
    expiry: str
    changed: int
    revision: int
    stale_since: int | None = None


class ReservationRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one credit takes of a facility. `state`: reserved | used | released."""

    facility: str
    credit: str
    state: str
    currency: str
    amount: int
    margin: int
    changed: int


class Facility(msgspec.Struct, frozen=True, kw_only=True):
    """A facility with what stands against it."""

    row: FacilityRow
    reservations: list[ReservationRow]
    page: Page


class PostingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One ledger entry."""

    journal: str
    rule: str
    book: str
    account: str
    side: str
    currency: str
    amount: int
    credit: str
    instant: int
    event_id: str


class PostingPage(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger entries, newest first."""

    rows: list[PostingRow]
    page: Page


class TrialBalanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One account's balance, debits above zero. The memo book stands outside the zero sum."""

    book: str
    currency: str
    account: str
    debit: int
    credit: int
    balance: int


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """The trial balance; `zero`: every book and currency but memo sums to zero."""

    rows: list[TrialBalanceRow]
    zero: bool
    page: Page


# -- FIN messages


class MessageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A FIN message, in or out (`direction`); `event_id` points to its text (`message_text`).

    `state`: queued | sent | acked | naked | overdue | abandoned | received.
    """

    id: str
    direction: str
    mt: str
    reference: str
    credit: str
    presentation: str
    counterparty: str
    state: str
    code: str
    attempt: int
    sha256: str
    file: str
    event_id: str
    instant: int
    changed: int


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, newest first."""

    rows: list[MessageRow]
    page: Page


# -- sagas


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


# -- compliance (that role alone)


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


# -- operations


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters. `state`: open | redriven | discarded."""

    state: str = ""
    reason: str = ""
    stage: str = ""


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
