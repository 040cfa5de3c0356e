"""The case: what compliance decides about hits, by two people, while the deal stands still.

Tipping off is an offence (POCA 2002 s333A): a case lives in the compliance context, and a reaction
tells the waiting saga only that its check is over, or that the business ends.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from usance.aml.screening import ScreeningReport
from usance.kernel.decider import NOTHING, Context, Decision, PrivateBlock, Refusal
from usance.kernel.ids import derived

CASE_ROLES = frozenset(("compliance", "compliance_officer"))
OUTCOMES = {"clear": "clear", "block": "blocked", "reject": "rejected"}
"""Final dispositions and the words for them. `report` is not final: see `DispositionApproved`."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One listed entry that one string resembles. `explanation` is the JSON of the explanation."""

    field: str
    kind: str
    text: str
    band: str
    score: int
    list_id: str
    entry: str
    entry_digest: str
    explanation: str


class Hits(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """What was found. `subject` is the party id whose deal it is."""

    subject: str
    hits: list[Hit]


class Reason(msgspec.Struct, PrivateBlock, frozen=True, kw_only=True):
    """Why a person decided so, in their words."""

    subject: str
    text: str


class OpenCase(msgspec.Struct, frozen=True, kw_only=True):
    """Open a case for hits, or attach a waiting saga to the case that is already open for them.

    `subject_stream` is the stream screened, `saga` the key of the waiting saga, `step` its step,
    `source_event` the event screened. Send it to the key whose identity is `case_identity(...)`.
    """

    case_id: str
    subject_stream: str
    saga: str
    step: str
    source_event: str
    evidence_hash: str
    snapshot_id: str
    matcher_version: str
    list_versions: list[str]
    hits: Hits


class ProposeDisposition(msgspec.Struct, frozen=True, kw_only=True):
    """Propose clear, block, reject or report, naming the evidence seen."""

    case_id: str
    disposition: str
    evidence_hash: str
    reason: Reason


class ApproveDisposition(msgspec.Struct, frozen=True, kw_only=True):
    """Approve the proposal, as another person, naming the disposition and the evidence seen."""

    case_id: str
    disposition: str
    evidence_hash: str


class ReturnToInvestigation(msgspec.Struct, frozen=True, kw_only=True):
    """Send a proposal back: it does not stand, and the case goes on."""

    case_id: str
    reason: Reason


class CaseOpened(msgspec.Struct, frozen=True, kw_only=True):
    """Hits wait for two people. The first saga that waits is named here."""

    case_id: str
    subject_stream: str
    saga: str
    step: str
    source_event: str
    evidence_hash: str
    snapshot_id: str
    matcher_version: str
    list_versions: list[str]
    hits: Hits


class AlertAttached(msgspec.Struct, frozen=True, kw_only=True):
    """The same evidence was found again; another saga step waits for this case."""

    case_id: str
    saga: str
    step: str
    source_event: str
    snapshot_id: str


class CaseReopened(msgspec.Struct, frozen=True, kw_only=True):
    """The same evidence came up after the case was closed: two people look again."""

    case_id: str
    saga: str
    step: str
    source_event: str
    snapshot_id: str


class DispositionProposed(msgspec.Struct, frozen=True, kw_only=True):
    """One person proposed how to dispose of the case."""

    case_id: str
    disposition: str
    evidence_hash: str
    proposer: str
    reason: Reason


class ReturnedToInvestigation(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal was sent back."""

    case_id: str
    reviewer: str
    reason: Reason


class DispositionApproved(msgspec.Struct, frozen=True, kw_only=True):
    """A second person agreed. clear, block and reject close the case.

    `report` does not: the authority is told and its answer awaited, the hold stays, and a final
    disposition follows (no release is ever automatic).
    """

    case_id: str
    disposition: str
    evidence_hash: str
    proposer: str
    approver: str


class Waiting(msgspec.Struct, frozen=True):
    """A saga step that waits for the case, and the event whose screening it waits for."""

    saga: str
    step: str
    source_event: str


class CaseState(msgspec.Struct):
    """What the rules need: stage, evidence, who proposed what, who waits. Hits stay in the log.

    `stage` is none, open, proposed, reported or closed; `before` the stage a returned proposal
    falls back to.
    """

    stage: str = "none"
    before: str = "open"
    evidence_hash: str = ""
    disposition: str = ""
    proposer: str = ""
    waiting: list[Waiting] = []
    seen: list[str] = []


def evidence_hash(hits: Iterable[Hit]) -> str:
    """Return the SHA-256 of what was found: strings, entries and their content, bands and scores.

    The place of a string in its message is left out, so that the same finding in the next message
    is the same evidence; a changed list entry is not.
    """
    facts = sorted(
        {(h.text, h.list_id, h.entry, h.entry_digest, h.band, str(h.score)) for h in hits}
    )
    digest = hashlib.sha256(b"usance/evidence/v1")
    for fact in facts:
        for part in fact:
            data = part.encode()
            digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def case_identity(subject_stream: str, evidence: str) -> str:
    """Return the case id of an alert: the same stream and evidence always meet in one case."""
    return derived(subject_stream, "case", evidence)


def hits_of(report: ScreeningReport) -> list[Hit]:
    """Return the hits of a screening report: every result that is not clear."""
    return [
        Hit(
            field=screened.field,
            kind=screened.kind,
            text=screened.text,
            band=result.band,
            score=result.score,
            list_id=result.list or "",
            entry=result.entry or "",
            entry_digest=result.entry_digest,
            explanation=msgspec.json.encode(result.explanation).decode(),
        )
        for screened in report.findings
        for result in screened.results
    ]


def opening(
    report: ScreeningReport,
    *,
    subject: str,
    subject_stream: str,
    saga: str,
    step: str,
    source_event: str,
) -> OpenCase:
    """Return the command that opens (or joins) the case of a report that is not clear."""
    hits = hits_of(report)
    evidence = evidence_hash(hits)
    return OpenCase(
        case_id=case_identity(subject_stream, evidence),
        subject_stream=subject_stream,
        saga=saga,
        step=step,
        source_event=source_event,
        evidence_hash=evidence,
        snapshot_id=report.snapshot_id,
        matcher_version=report.matcher_version,
        list_versions=list(report.list_versions),
        hits=Hits(subject=subject, hits=hits),
    )


class CaseDecider:
    """Decides cases: four eyes on every disposition, bound to the evidence that was seen."""

    category = "case"
    fold_id = "case-1"

    def initial(self, key: str) -> CaseState:  # noqa: ARG002
        """Return the state before any event."""
        return CaseState()

    def decide(self, state: CaseState, command: Any, context: Context) -> Decision | Refusal:
        """Answer a command; never raises."""
        match command:
            case OpenCase():
                return _open(state, command)
            case ProposeDisposition() | ApproveDisposition() | ReturnToInvestigation():
                refusal = _may_act(state, context)
                if refusal is not None:
                    return refusal
        match command:
            case ProposeDisposition():
                return _propose(state, command, context)
            case ApproveDisposition():
                return _approve(state, command, context)
            case ReturnToInvestigation():
                return _return(state, command, context)
        return Refusal(
            "UNKNOWN_COMMAND",
            "a case does not understand this command",
            hint="see the list of case commands",
        )

    def evolve(self, state: CaseState, event: Any) -> CaseState:
        """Return the state after one event."""
        new = copy.copy(state)
        match event:
            case CaseOpened():
                new.stage, new.before = "open", "open"
                new.evidence_hash = event.evidence_hash
                _waits(new, event)
            case CaseReopened():
                new.stage, new.before = "open", "open"
                new.disposition = new.proposer = ""
                new.waiting = []
                _waits(new, event)
            case AlertAttached():
                _waits(new, event)
            case DispositionProposed():
                new.stage = "proposed"
                new.disposition, new.proposer = event.disposition, event.proposer
            case ReturnedToInvestigation():
                new.stage = new.before
                new.disposition = new.proposer = ""
            case DispositionApproved():
                new.stage = "closed" if event.disposition in OUTCOMES else "reported"
                new.before = new.stage
                new.disposition, new.proposer = event.disposition, ""
        return new


def _waits(state: CaseState, event: CaseOpened | CaseReopened | AlertAttached) -> None:
    """Note who waits; the state is a fresh copy."""
    state.waiting = [*state.waiting, Waiting(event.saga, event.step, event.source_event)]
    state.seen = [*state.seen, event.source_event]


def _open(state: CaseState, command: OpenCase) -> Decision | Refusal:
    if command.evidence_hash != evidence_hash(command.hits.hits):
        return Refusal(
            "EVIDENCE_MISMATCH",
            "the evidence hash is not that of the hits",
            hint="screen again and open the case from the new report",
        )
    if state.stage == "none":
        opened = CaseOpened(**{f: getattr(command, f) for f in CaseOpened.__struct_fields__})
        return Decision((opened,))
    if state.evidence_hash != command.evidence_hash:
        return Refusal(
            "EVIDENCE_DIFFERS",
            "this case is about other evidence",
            hint="open a case of its own for the new evidence",
        )
    if command.source_event in state.seen:
        return NOTHING
    cls = CaseReopened if state.stage == "closed" else AlertAttached
    return Decision((cls(**{f: getattr(command, f) for f in cls.__struct_fields__}),))


def _may_act(state: CaseState, context: Context) -> Refusal | None:
    """Return why this person may not act on this case, if so."""
    # One answer for a case that does not exist and one that may not be seen: existence is a secret
    # too (POCA 2002 s333A).
    if state.stage == "none" or context.actor.role not in CASE_ROLES:
        return Refusal("NOT_FOUND", "no such case", hint="check the identifier")
    return None


def _stale(state: CaseState, seen: str) -> Refusal | None:
    """Return a refusal when a person names other evidence than the case holds."""
    if seen == state.evidence_hash:
        return None
    return Refusal(
        "EVIDENCE_CHANGED",
        "the case holds other evidence than you saw",
        hint="open the case, read it, and decide again",
    )


def _propose(state: CaseState, command: ProposeDisposition, context: Context) -> Decision | Refusal:
    if command.disposition not in (*OUTCOMES, "report"):
        return Refusal(
            "UNKNOWN_DISPOSITION",
            "a disposition is clear, block, reject or report",
            hint="choose one of the four",
        )
    if not command.reason.text.strip():
        return Refusal("REASON_MISSING", "a proposal needs a reason", hint="say what was checked")
    stale = _stale(state, command.evidence_hash)
    if stale is not None:
        return stale
    if state.stage == "proposed":
        if (state.disposition, state.proposer) == (command.disposition, context.actor.person):
            return NOTHING
        return Refusal(
            "ALREADY_PROPOSED",
            "a proposal waits for approval",
            hint="approve it as another person, or return it to investigation first",
        )
    if state.stage == "closed":
        return Refusal("CASE_CLOSED", "the case is closed", hint="a new alert reopens it")
    if state.stage == "reported" and command.disposition == "report":
        return Refusal(
            "ALREADY_REPORTED",
            "the report is approved already",
            hint="propose clear, block or reject when the authority has answered",
        )
    return Decision(
        (
            DispositionProposed(
                case_id=command.case_id,
                disposition=command.disposition,
                evidence_hash=command.evidence_hash,
                proposer=context.actor.person,
                reason=command.reason,
            ),
        )
    )


def _approve(state: CaseState, command: ApproveDisposition, context: Context) -> Decision | Refusal:
    stale = _stale(state, command.evidence_hash)
    if stale is not None:
        return stale
    if state.stage in ("closed", "reported") and state.disposition == command.disposition:
        return NOTHING
    if state.stage != "proposed":
        return Refusal("NOTHING_PROPOSED", "nothing waits for approval", hint="propose first")
    if state.disposition != command.disposition:
        return Refusal(
            "PROPOSAL_CHANGED",
            "the proposal is another one than you approve",
            hint="open the case, read the proposal, and decide again",
        )
    if state.proposer == context.actor.person:
        return Refusal(
            "SELF_APPROVAL",
            "who proposes may not approve",
            article="four-eyes",
            hint="ask a second person of compliance",
        )
    approved = DispositionApproved(
        case_id=command.case_id,
        disposition=command.disposition,
        evidence_hash=command.evidence_hash,
        proposer=state.proposer,
        approver=context.actor.person,
    )
    return Decision((approved,))


def _return(
    state: CaseState, command: ReturnToInvestigation, context: Context
) -> Decision | Refusal:
    if state.stage != "proposed":
        return Refusal("NOTHING_PROPOSED", "no proposal to return", hint="propose first")
    if not command.reason.text.strip():
        return Refusal("REASON_MISSING", "a return needs a reason", hint="say what is missing")
    returned = ReturnedToInvestigation(
        case_id=command.case_id, reviewer=context.actor.person, reason=command.reason
    )
    return Decision((returned,))


CONTEXT = "compliance"
MESSAGES: tuple[tuple[type, str], ...] = (
    (OpenCase, "command"),
    (ProposeDisposition, "command"),
    (ApproveDisposition, "command"),
    (ReturnToInvestigation, "command"),
    (CaseOpened, "event"),
    (AlertAttached, "event"),
    (CaseReopened, "event"),
    (DispositionProposed, "event"),
    (ReturnedToInvestigation, "event"),
    (DispositionApproved, "event"),
)
"""Every message of the case with its kind."""
