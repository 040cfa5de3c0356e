"""What the read side answers: typed, frozen, ready for JSON.

Amounts are minor units beside a `currency`; instants are ms UTC (0: none); dates are YYYY-MM-DD;
`key` is an aggregate key (`tenant/category/identity`), `reference` its identity. `stale_since` is
set where a row could not follow an event; such a row shows what was known then.
"""

from __future__ import annotations

import msgspec

from usance.views.results_history import (
    Approval,
    Change,
    EventDetail,
    EventFilter,
    EventPage,
    Page,
    StateAt,
    Timeline,
    TimelineEntry,
)
from usance.views.results_operations import (
    Case,
    CaseFilter,
    CasePage,
    CaseRow,
    CommandPage,
    CommandRow,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterPage,
    DeadLetterRow,
    Incident,
    ListRow,
    Lists,
    ListWaiting,
    ParkedKey,
    ParkedProjectionKey,
    PartitionFlow,
    ProjectionRow,
    Saga,
    SagaAct,
    SagaPage,
    SagaRow,
    Schema,
    SchemaRow,
    SearchHit,
    Status,
    StepFacts,
    TimerFacts,
)

__all__ = [
    "Amendment",
    "Approval",
    "Balances",
    "Case",
    "CaseFilter",
    "CasePage",
    "CaseRow",
    "Change",
    "CommandPage",
    "CommandRow",
    "Credit",
    "CreditFilter",
    "CreditPage",
    "CreditRow",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterPage",
    "DeadLetterRow",
    "DeadlineRow",
    "DocumentFacts",
    "DocumentRequired",
    "EventDetail",
    "EventFilter",
    "EventPage",
    "Facility",
    "FacilityRow",
    "FindingFacts",
    "Incident",
    "ListRow",
    "ListWaiting",
    "Lists",
    "MessagePage",
    "MessageRow",
    "Page",
    "ParkedKey",
    "ParkedProjectionKey",
    "PartitionFlow",
    "PartyFacts",
    "PostingPage",
    "PostingRow",
    "Presentation",
    "PresentationFilter",
    "PresentationPage",
    "PresentationRow",
    "ProjectionRow",
    "ReservationRow",
    "Saga",
    "SagaAct",
    "SagaPage",
    "SagaRow",
    "Schema",
    "SchemaRow",
    "SearchHit",
    "StateAt",
    "Status",
    "StepFacts",
    "Timeline",
    "TimelineEntry",
    "TimerFacts",
    "Today",
    "TrialBalance",
    "TrialBalanceRow",
    "WorkFilter",
    "WorkItem",
    "WorkPage",
]


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
    calendar: str = ""
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


class WorkFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which work items. `kind` as in WorkItem; `mine` keeps what the viewer may act on.

    `holder` is a person who is at it, or `nobody`.
    """

    kind: str = ""
    subject: str = ""
    due_before: int = 0
    mine: bool = False
    holder: str = ""


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits for a person.

    `kind`: approve_credit | approve_amendment | answer_amendment | examine | decide | waiver |
    take_up | void | authenticate | advise | naked_message | incident | saga_act | dead_letter | case.
    `why` says why it is here; `act` is the command that settles it; `not_by` may not do it (who made
    it, four eyes); `roles` may. `blocked` says why the viewer cannot act, empty when he can.
    `holder` is who is at it, since `held_since`; it binds nobody.
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
    calendar: str = ""
    holder: str = ""
    held_since: int = 0


class WorkPage(msgspec.Struct, frozen=True, kw_only=True):
    """Work, nearest due first; items without a due instant last."""

    rows: list[WorkItem]
    page: Page


class DeadlineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline ahead (or missed). `calendar` made it."""

    kind: str
    key: str
    reference: str
    credit: str
    due: int
    what: str
    article: str
    calendar: str = ""


class Today(msgspec.Struct, frozen=True, kw_only=True):
    """The first page of the day for one viewer: what he may do, and how much waits for others."""

    work: list[WorkItem]
    for_others: int
    deadlines: list[DeadlineRow]
    stuck: list[Incident]
    approvals: list[Approval]
    credits_by_state: dict[str, int]
    dead_letters: int
    parked_keys: int
    page: Page


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
