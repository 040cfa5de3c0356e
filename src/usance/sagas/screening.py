"""Screening as a reaction: what of an event is screened, and what follows.

Clear lets the waiting saga go on; hit and review open a case in the compliance context and say nothing
to trade, so that a held deal looks like a slow one. The legal clock is not ours to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from usance.aml.case import opening
from usance.aml.decision import recording
from usance.aml.screening import Labelled, ScreeningReport
from usance.domain.credit import amendment_messages as am
from usance.domain.credit import drawing_messages as dr
from usance.domain.credit import messages as cr
from usance.domain.credit.application import amendment_check, message_check
from usance.domain.presentation import messages as pr
from usance.domain.terms import Narrative, Parties, Party, Terms
from usance.engine.history import History
from usance.kernel.clock import date_text
from usance.kernel.decider import key_parts
from usance.kernel.ids import derived
from usance.sagas.facts import beside
from usance.sagas.reactions import Reaction, check_result

BANKS = (
    "issuing_bank",
    "advising_bank",
    "confirming_bank",
    "reimbursing_bank",
    "available_with",
    "draft_on",
)
PLACES = (
    "expiry_place",
    "port_of_loading",
    "port_of_discharge",
    "place_of_receipt",
    "final_destination",
    "incoterm_place",
)
"""Terms that name banks and places."""


def party_strings(field: str, party: Party) -> Iterable[Labelled]:
    """Give the strings of a party: its name, and its place where that can be embargoed."""
    yield Labelled(field=f"{field}.name", kind="unknown", text=party.name, country=party.country)
    place = " ".join(p for p in (party.address, party.town) if p)
    if place:
        yield Labelled(field=f"{field}.address", kind="place", text=place)


def parties_strings(parties: Parties | None) -> Iterable[Labelled]:
    """Give the strings of applicant and beneficiary."""
    if parties is not None:
        yield from party_strings("applicant", parties.applicant)
        yield from party_strings("beneficiary", parties.beneficiary)


def terms_strings(terms: Terms) -> Iterable[Labelled]:
    """Give banks and places of the terms."""
    for name in BANKS:
        text = getattr(terms, name)
        if text:
            yield Labelled(field=name, kind="bank", text=text)
    for name in PLACES:
        text = getattr(terms, name)
        if text:
            yield Labelled(field=name, kind="place", text=text)


def changes_strings(changes: am.TermsChanges) -> Iterable[Labelled]:
    """Give banks and places that an amendment brings in."""
    for kind, names in (("bank", BANKS), ("place", PLACES)):
        for name in names:
            text = getattr(changes, name, None)
            if text:
                yield Labelled(field=name, kind=kind, text=text)


def narrative_strings(narrative: Narrative | None) -> Iterable[Labelled]:
    """Give the free texts, which are searched for listed names and places."""
    if narrative is None:
        return
    for name in ("goods", "documents", "conditions", "bank_instructions", "sender_to_receiver"):
        text = getattr(narrative, name)
        if text:
            yield Labelled(field=name, kind="text", text=text)


def presentation_strings(event: pr.PresentationReceived) -> Iterable[Labelled]:
    """Give presenter, vessels and ports of a presentation."""
    yield Labelled(field="presenter", kind="bank", text=event.presented_by())
    for document in event.documents:
        if document.vessel:
            yield Labelled(field="vessel", kind="vessel", text=document.vessel)
        for name in ("port_of_loading", "port_of_discharge"):
            text = getattr(document, name)
            if text:
                yield Labelled(field=name, kind="place", text=text)


class Screens(Protocol):
    """What screens all strings of one subject."""

    def screen_parties(self, strings: Sequence[Labelled], on_date: str) -> ScreeningReport:
        """Return what was found, and with which lists."""
        ...


class Screening:
    """The reactions that screen: one table, bound to a screener."""

    def __init__(self, screener: Screens) -> None:
        self.screener = screener

    def table(self) -> dict[type, Reaction]:
        """Return which events are screened, and how."""
        return {
            cr.ComplianceCheckStarted: self._credit,
            dr.DrawingRegistered: self._presentation,
            am.AmendmentRequested: self._amendment,
            am.AmendmentReceived: self._amendment,
            cr.CorrespondenceRecorded: self._correspondence,
        }

    def _credit(self, stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
        if event.check:  # begun for what was found already
            return []
        origin = next(
            p
            for p in history.stream(stream)
            if isinstance(p.message, cr.CreditApplied | cr.CreditReceived)
        )
        message = origin.message
        strings = [
            *parties_strings(message.parties),
            *terms_strings(message.terms),
            *narrative_strings(message.narrative),
        ]
        if isinstance(message, cr.CreditReceived):
            strings.append(Labelled(field="sender", kind="bank", text=message.sender))
        saga = "issuance" if isinstance(message, cr.CreditApplied) else "advice"
        key = beside(stream, "saga", f"{saga}:{key_parts(stream).identity}")
        return self._conclude(stream, message.parties.subject, strings, key, "check", origin)

    def _presentation(
        self, stream: str, event: dr.DrawingRegistered, history: History
    ) -> list[tuple[str, Any]]:
        """Screen a presentation once its saga has registered the drawing.

        On receipt the saga might not have begun, and what it is told then would be lost.
        """
        presentation = beside(stream, "presentation", event.presentation)
        origin = history.stream(presentation)[0]
        received = origin.message
        strings = list(presentation_strings(received))
        key = beside(stream, "saga", f"settlement:{event.presentation}")
        # A subject is an opaque id: the presenter is a name, and stands among the strings.
        return self._conclude(presentation, event.presentation, strings, key, "check", origin)

    def _amendment(self, stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
        strings = [
            *parties_strings(event.parties),
            *changes_strings(event.changes),
            *narrative_strings(event.narrative),
        ]
        origin = _origin(stream, event, history)
        identity = key_parts(stream).identity
        subject = event.parties.subject if event.parties else identity
        asked = isinstance(event, am.AmendmentRequested)
        saga = beside(stream, "saga", f"amendment:{identity}:{event.amendment}") if asked else ""
        check = amendment_check(event.amendment)
        return self._conclude(stream, subject, strings, saga, check, origin)

    def _correspondence(self, stream: str, event: Any, history: History) -> list[tuple[str, Any]]:
        strings = [Labelled(field="text", kind="text", text=event.text.text)] if event.text else []
        if event.sender:
            strings.append(Labelled(field="sender", kind="bank", text=event.sender))
        origin = _origin(stream, event, history)
        check = message_check(event.mt, event.reference)
        return self._conclude(stream, key_parts(stream).identity, strings, "", check, origin)

    def _conclude(
        self, stream: str, subject: str, strings: list[Labelled], saga: str, step: str, origin: Any
    ) -> list[tuple[str, Any]]:
        if not strings:
            return check_result(stream, saga, True, stream, step)
        source = derived(origin.meta.command_id, stream, origin.meta.revision)
        report = self.screener.screen_parties(strings, date_text(origin.instant))
        identity = derived(stream, "screening")
        found: list[tuple[str, Any]] = [
            (
                beside(stream, "screening", identity),
                recording(report, subject=subject, subject_stream=stream, source_event=source),
            )
        ]
        if report.band == "clear":
            return found + check_result(stream, saga, True, source, step)
        case = opening(
            report,
            subject=subject,
            subject_stream=stream,
            saga=saga,
            step=step,
            source_event=source,
        )
        return [*found, (beside(stream, "case", case.case_id), case)]


def _origin(stream: str, event: Any, history: History) -> Any:
    return next(p for p in reversed(history.stream(stream)) if p.message == event)
