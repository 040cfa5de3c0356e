"""The sample book ends as its stories say, on the real runtime, and its log holds in every respect."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from book_world import BOOK, Fact, Played

from usance.domain.credit import amendment_messages as am
from usance.domain.credit import messages as cm
from usance.domain.posting import MEMO, Posting, contingent_liability
from usance.domain.presentation import messages as pr
from usance.engine.verify import verify_log as verify_chains
from usance.kernel.clock import iso
from usance.kernel.decider import Actor, key_of, key_parts
from usance.kernel.errors import NotFound, Unreadable
from usance.messages.inputs import split_inputs
from usance.messages.swift.fin import parse, split
from usance.messages.swift.validation import validate
from usance.testing.verify import Verdict

CHECKER = Actor("bruno.lindqvist", "bruno.lindqvist", "checker")
OFFICER = Actor("farid.haddad", "farid.haddad", "compliance_officer")

# state, currency, undrawn liability, owed under acceptances, drawn; minor units
CREDITS = {
    "TF26LC0101": ("CLOSED", "USD", 0, 0, 10_000_000),
    "TF26LC0102": ("FULLY_DRAWN", "USD", 0, 0, 25_000_000),
    "TF26LC0103": ("FULLY_DRAWN", "EUR", 0, 18_000_000, 18_000_000),
    "TF26LC0104": ("FULLY_DRAWN", "USD", 0, 0, 6_400_000),
    "TF26LC0105": ("ISSUED", "USD", 8_800_000, 0, 0),
    "TF26LC0106": ("FULLY_DRAWN", "USD", 0, 0, 5_200_000),
    "TF26LC0107": ("FULLY_DRAWN", "USD", 0, 0, 13_000_000),
    "TF26LC0108": ("ISSUED", "USD", 11_000_000, 0, 0),
    "TF26LC0109": ("REJECTED", "USD", 0, 0, 0),
    "TF26LC0110": ("ISSUED", "USD", 11_000_000, 0, 0),
    "TF26LC0111": ("ISSUED", "EUR", 2_600_000, 0, 0),
    "TF26LC0112": ("IN_PROCESS", "EUR", 0, 0, 0),
    "TF26LC0113": ("REJECTED", "USD", 0, 0, 0),
    "TF26LC0114": ("VOIDED", "USD", 0, 0, 0),
    "TF26LC0115": ("EXPIRED", "USD", 3_000_000, 0, 0),
    "TF26LC0116": ("ISSUED", "JPY", 12_500_000, 0, 0),
    "TF26LC0117": ("REJECTED", "USD", 0, 0, 0),
    "TF26LC0118": ("FULLY_DRAWN", "USD", 0, 0, 15_000_000),
    "TF26LC0119": ("ISSUED", "USD", 40_000_000, 0, 0),
    "TF26LC0120": ("PARTLY_DRAWN", "USD", 3_700_000, 0, 4_000_000),
    "TF26LC0121": ("AWAITING_APPROVAL", "USD", 0, 0, 0),
    "TF26LC0122": ("ISSUED", "USD", 5_800_000, 0, 0),
    "TF26LC0123": ("IN_PROCESS", "EUR", 0, 0, 0),
    "HOSHJPJT-JLC88001": ("ADVISED", "JPY", 0, 0, 0),
    "VOLTDEFF-ILC-4402": ("FULLY_DRAWN", "EUR", 0, 0, 9_200_000),
    "ANATTRIS-ANT26771": ("FULLY_DRAWN", "USD", 0, 0, 6_150_000),
    "MERUINBB-MCB/ADV/5508": ("ADVISED", "USD", 0, 0, 0),
    "PAMPBRSP-PMP720-19": ("DECLINED", "USD", 0, 0, 0),
    "DUNEAEAD-DCB260094": ("ADVISED", "USD", 0, 0, 0),
    "FJRDNOKK-FHB-3377": ("ADVISED", "EUR", 0, 0, 0),
    "DUNEAEAD-DCB260101": ("MISSING", "", 0, 0, 0),
    "PAMPBRSP-PAPER-61": ("ADVISED", "USD", 0, 0, 0),
}

PRESENTATIONS = {
    "P26-0101": ("SETTLED", "complying"),
    "P26-0102": ("SETTLED", "complying"),
    "P26-0103": ("DEFERRED", "complying"),
    "P26-0104": ("SETTLED", "waived"),
    "P26-0105": ("RETURNED", ""),
    "P26-0106": ("SETTLED", "precluded"),
    "P26-0107": ("SETTLED", "complying"),
    "P26-0110": ("COMPLYING", ""),
    "P26-0118": ("SETTLED", "authorised"),
    "P26-0119": ("DISCREPANT", ""),
    "P26-0120": ("SETTLED", "complying"),
    "P26-0771": ("SETTLED", "authorised"),
    "P26-4402": ("SETTLED", "complying"),
}

SENT = {
    "TF26LC0101": ["700", "756"],
    "TF26LC0102": ["700", "732", "756"],
    "TF26LC0103": ["700", "732"],
    "TF26LC0104": ["700", "732", "756"],
    "TF26LC0105": ["700", "734"],
    "TF26LC0106": ["700", "732", "756", "799", "799"],
    "TF26LC0107": ["700", "707", "756"],
    "TF26LC0108": ["700", "707", "707"],
    "TF26LC0110": ["700"],
    "TF26LC0111": ["700"],
    "TF26LC0114": ["700"],
    "TF26LC0115": ["700", "799", "799"],
    "TF26LC0116": ["700"],
    "TF26LC0118": ["700", "732", "740", "752", "756"],
    "TF26LC0119": ["700"],
    "TF26LC0120": ["700", "756"],
    "TF26LC0122": ["700"],
    "HOSHJPJT-JLC88001": ["730", "730"],
    "VOLTDEFF-ILC-4402": ["730", "730", "754"],
    "ANATTRIS-ANT26771": ["730", "750", "754"],
    "MERUINBB-MCB/ADV/5508": ["730"],
    "PAMPBRSP-PMP720-19": ["799"],
    "DUNEAEAD-DCB260094": ["730", "730"],
    "FJRDNOKK-FHB-3377": ["730"],
    "PAMPBRSP-PAPER-61": ["730"],
}

REFUSED = {
    "CREDIT_EXISTS": 1,
    "IN_PROCESS": 1,
    "PRECLUDED": 1,
    "SELF_APPROVAL": 1,
    "NOT_BY_FIN": 1,
    "UNKNOWN_CREDIT": 2,
    "UNKNOWN_MESSAGE": 2,
    "UNKNOWN_PRESENTATION": 1,
}
INPUTS, DUPLICATES, CONFLICTS, DEAD_LETTERS = 234, 10, 2, 9

MEANT_TO_BE_BROKEN = {
    "20261124T0820Z-torn-700.fin",
    "20261125T0930Z-103-not-for-us.fin",
    "20261126T0700Z-700-without-amount.fin",
    "20261127T1500Z-mixed-batch.fin",
}


def _fields(played: Played, credit: str, mt: str) -> dict[str, str]:
    """Return the fields of the one message of a type that we sent about a credit."""
    rows = played.runtime.queries.messages(CHECKER, credit=credit, limit=50).rows
    files = [r.file for r in rows if r.mt == mt and r.direction == "out"]
    assert len(files) == 1
    return {field.tag: field.value for field in played.sent()[files[0]].fields}


def _only(facts: list[Fact], cls: type, identity: str) -> Any:
    found = [
        f.message
        for f in facts
        if isinstance(f.message, cls) and key_parts(f.key).identity == identity
    ]
    assert len(found) == 1
    return found[0]


# -- the stories


@pytest.mark.parametrize("credit", CREDITS)
def test_each_credit_ends_in_its_state_with_its_balances(
    credit: str, played: Played, verdict: Verdict
) -> None:
    state = played.of("credit", verdict.states)[credit]
    currency = state.terms.currency if state.known else ""
    found = (state.state, currency, state.undrawn, state.owed, state.used)
    assert found == CREDITS[credit]
    assert state.margin == 0


def test_the_book_holds_no_other_credit_and_no_other_presentation(
    played: Played, verdict: Verdict
) -> None:
    assert set(played.of("credit", verdict.states)) == set(CREDITS)
    assert set(played.of("presentation", verdict.states)) == set(PRESENTATIONS)


@pytest.mark.parametrize("presentation", PRESENTATIONS)
def test_each_presentation_ends_in_its_state_on_its_basis(
    presentation: str, played: Played, verdict: Verdict, facts: list[Fact]
) -> None:
    state = played.of("presentation", verdict.states)[presentation]
    bases = [
        fact.message.basis
        for fact in facts
        if key_parts(fact.key).identity == presentation and hasattr(fact.message, "basis")
    ]
    wanted, basis = PRESENTATIONS[presentation]
    assert (state.state, bases) == (wanted, [basis] if basis else [])


def test_each_credit_sent_the_messages_that_its_story_needs(
    played: Played, verdict: Verdict
) -> None:
    sent: dict[str, list[str]] = defaultdict(list)
    for state in played.of("message", verdict.states).values():
        sent[state.credit].append(state.mt)
        wanted = {"TF26LC0114": "ABANDONED", "TF26LC0122": "NAKED"}.get(state.credit, "ACKED")
        assert (state.credit, state.mt, state.state) == (state.credit, state.mt, wanted)
        assert state.attempt == (2 if state.credit == "TF26LC0110" else 1)
        assert not state.overdue
    assert {credit: sorted(found) for credit, found in sent.items()} == SENT


def test_the_refusal_states_every_discrepancy_and_what_becomes_of_the_documents(
    played: Played,
) -> None:
    notice = _fields(played, "TF26LC0105", "734")
    assert (notice["20"], notice["21"]) == ("TF26LC0105", "BILL0105")
    assert notice["32A"] == "261127USD88000,"
    words = notice["77J"].replace("\n//", " ").replace("\n", " ")
    assert words.startswith("WE REFUSE TO HONOUR OR NEGOTIATE")
    assert "/DISCREP/1." in words and "COVER IS USD 88,000.00" in words
    assert "/DISCREP/2. THE PACKING LIST SHOWS ANOTHER GRADE" in words
    assert "/DISCREP/3." not in words
    assert notice["77B"].startswith("/RETURN/")


def test_our_messages_name_references_amounts_and_dates_of_their_story(played: Played) -> None:
    issue = _fields(played, "TF26LC0101", "700")
    assert (issue["20"], issue["31C"], issue["32B"]) == ("TF26LC0101", "261123", "USD100000,")
    assert (issue["39A"], issue["50N"]) == ("05/05", "QUILLON MARINE SUPPLIES LTD")
    assert _fields(played, "TF26LC0118", "740")["32B"] == "USD150000,"
    assert _fields(played, "TF26LC0118", "752")["21"] == "ANAT-BILL-0118"
    referred = _fields(played, "ANATTRIS-ANT26771", "750")
    assert (referred["20"], referred["21"]) == ("P26-0771", "ANT26771")
    assert "2026-11-19" in referred["77J"].replace("\n//", " ")
    paid = _fields(played, "TF26LC0102", "756")
    assert (paid["21"], paid["33A"]) == ("BILL0102", "261202USD250000,")
    assert _fields(played, "VOLTDEFF-ILC-4402", "754")["32B"] == "EUR92000,"
    assert "2027-02-17" in _fields(played, "TF26LC0103", "732")["72Z"]
    assert _fields(played, "TF26LC0107", "707")["44C"] == "261205"


def test_the_fifth_banking_day_precludes_at_the_close_of_london(facts: list[Fact]) -> None:
    event = _only(facts, pr.PresentationPrecluded, "P26-0106")
    assert iso(event.due).startswith("2026-12-01T17:00")
    assert [f.key for f in facts if isinstance(f.message, pr.PresentationPrecluded)] == [
        key_of("albion", "presentation", "P26-0106")
    ]


def test_a_presentation_accepts_the_pending_amendment(facts: list[Fact]) -> None:
    event = _only(facts, am.AmendmentDeemedAccepted, "TF26LC0107")
    assert (event.amendment, event.presentation) == (1, "P26-0107")


def test_amendments_are_answered_by_the_parties_alone(played: Played, verdict: Verdict) -> None:
    states = played.of("credit", verdict.states)
    phases = {c: {n: a.phase for n, a in s.amendments.items()} for c, s in states.items()}
    assert {credit: found for credit, found in phases.items() if found} == {
        "TF26LC0107": {1: "deemed"},
        "TF26LC0108": {1: "accepted", 2: "rejected"},
        "TF26LC0105": {1: "dropped"},  # compliance turned its port down
        "TF26LC0116": {1: "awaiting"},
        "TF26LC0119": {1: "dropped"},  # over the limit
        "HOSHJPJT-JLC88001": {1: "accepted"},
        "DUNEAEAD-DCB260094": {1: "rejected"},
    }


def test_limits_follow_the_credits(played: Played, verdict: Verdict) -> None:
    states = played.of("credit", verdict.states)
    lines = {
        credit: line
        for facility in played.of("facility", verdict.states).values()
        for credit, line in facility.credits.items()
    }
    exposed = {c: s.undrawn + s.owed for c, s in states.items() if s.undrawn + s.owed}
    awaiting = {"TF26LC0121": 7_200_000}
    assert {credit: line.amount for credit, line in lines.items()} == exposed | awaiting
    earmarked = {credit for credit, line in lines.items() if not line.consumed}
    assert earmarked == {"TF26LC0121", "TF26LC0122"}  # neither has left the bank
    assert [credit for credit, line in lines.items() if line.margin] == []


# -- the counts


def test_every_input_counts_once_by_its_present_state(played: Played) -> None:
    inputs = sum(len(split_inputs(file.read_bytes())) for file in BOOK.glob("2026*Z-*"))
    status = played.runtime.queries.status(CHECKER)
    refused = sum(REFUSED.values())
    settled = INPUTS - DUPLICATES - CONFLICTS - DEAD_LETTERS - refused
    assert inputs == status.inputs == INPUTS
    assert (status.accepted, status.refused, status.duplicates) == (settled, refused, DUPLICATES)
    assert (status.conflicts, status.dead_letters, status.parked) == (CONFLICTS, DEAD_LETTERS, 0)
    assert status.events == len(played.events())  # those of compliance are not told here


def test_outcomes_of_the_log_say_the_same_as_the_counts(played: Played) -> None:
    answers: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for outcomes in played.answers().values():
        answers.update(outcome.answer for outcome in outcomes)
        codes.update(outcome.code for outcome in outcomes if outcome.answer == "refused")
    assert codes == REFUSED
    assert answers.total() == INPUTS
    assert (answers["duplicate"], answers["conflict"]) == (DUPLICATES, CONFLICTS)
    assert answers["dead-lettered"] == DEAD_LETTERS


def test_dead_letters_keep_the_bytes_as_they_came(played: Played) -> None:
    kept = {record.value for record in played.records("trade", "dead-letters")}
    torn = (BOOK / "20261124T0820Z-torn-700.fin").read_bytes()
    scan = (BOOK / "20261124T1200Z-scan-0001.pdf").read_bytes()
    assert len(kept) == DEAD_LETTERS
    assert any(torn in value for value in kept if value)
    assert any(scan in value for value in kept if value)


# -- what must hold of any log


def test_no_record_of_the_log_contradicts_another(verdict: Verdict) -> None:
    assert verdict.words == []
    assert verdict.violations == 0
    assert len(verdict.revisions) > len(CREDITS)


def test_every_chain_is_whole(played: Played) -> None:
    store = played.store
    reports = verify_chains(store.log, store.genesis.log_id, store.decoder)
    assert [report.broken for report in reports if report.broken] == []
    assert sum(report.records for report in reports) > len(played.events())


def test_debits_and_credits_are_equal_in_each_book_and_currency(
    played: Played, facts: list[Fact]
) -> None:
    sums: Counter[tuple[str, str]] = Counter()
    for posting in _postings(facts):
        if posting.book != MEMO:
            sums[posting.book, posting.currency] += posting.signed
    assert set(sums) == {(b, c) for b in ("contingent", "real") for c in ("EUR", "JPY", "USD")} - {
        ("real", "EUR"),
        ("real", "JPY"),
    }
    assert set(sums.values()) == {0}
    assert played.runtime.queries.trial_balance(CHECKER).zero


def _postings(facts: list[Fact]) -> list[Posting]:
    return [p for fact in facts for p in getattr(fact.message, "postings", ())]


@pytest.mark.parametrize("credit", [c for c in CREDITS if c.startswith("TF26")])
def test_the_contingent_book_says_what_may_still_be_drawn(credit: str, facts: list[Fact]) -> None:
    assert contingent_liability(_postings(facts), credit) == CREDITS[credit][2]


def test_read_models_are_what_a_rebuild_from_the_log_gives(played: Played) -> None:
    projector = played.runtime.projector
    names = sorted(projector.lag())
    assert len(names) > 5
    assert {name: projector.verify(name) for name in names} == {name: [] for name in names}


def test_the_trade_book_shows_the_folded_states(played: Played, verdict: Verdict) -> None:
    rows = {
        row.reference: (row.state, row.currency)
        for row in played.runtime.queries.credits(CHECKER, limit=200).rows
    }
    assert rows == {credit: wanted[:2] for credit, wanted in CREDITS.items()}


def test_sagas_end_or_wait_for_what_the_story_left_open(played: Played, verdict: Verdict) -> None:
    sagas = played.of("saga", verdict.states)
    waiting = {name: s.step for name, s in sagas.items() if s.phase not in _ENDED}
    turned_back = {name for name, s in sagas.items() if s.phase == "compensated"}
    assert waiting == {
        "amendment:TF26LC0116:1": "approve",
        "issuance:TF26LC0106": "acknowledge",
        "issuance:TF26LC0112": "check",
        "issuance:TF26LC0115": "acknowledge",
        "issuance:TF26LC0121": "approve",
        "issuance:TF26LC0122": "deliver",
        "issuance:TF26LC0123": "check",
        "settlement:P26-0103": "mature",
        "settlement:P26-0110": "decide",
        "settlement:P26-0119": "decide",
    }
    assert turned_back == {f"issuance:TF26LC01{n}" for n in ("09", "13", "14", "17")} | {
        "amendment:TF26LC0105:1",
        "amendment:TF26LC0119:1",
    }
    assert [name for name, s in sagas.items() if s.incident] == ["issuance:TF26LC0122"]
    incidents = played.runtime.queries.incidents(CHECKER)
    assert [(i.reference, i.step) for i in incidents] == [("TF26LC0122", "deliver")]
    assert incidents[0].cause.startswith("T27:")


_ENDED = ("completed", "compensated")


def test_when_the_book_ends_something_waits_on_every_worklist(played: Played) -> None:
    queries = played.runtime.queries
    today = queries.today(CHECKER, played.runtime.clock.now())
    due = [(row.reference, iso(row.due)[:16]) for row in today.deadlines]
    assert due == [("P26-0110", "2026-12-07T17:00"), ("P26-0119", "2026-12-10T17:00")]
    assert {(a.kind, a.reference, a.maker) for a in today.approvals} == {
        ("amendment", "TF26LC0116", "amara.okafor"),
        ("credit", "TF26LC0121", "amara.okafor"),
    }
    rows = queries.work(CHECKER).rows
    assert today.work == [row for row in rows if not row.blocked][: len(today.work)]
    assert (len(today.work), today.for_others) == (12, len(rows) - 12)
    work = {(item.kind, item.credit) for item in rows if item.kind != "dead_letter"}
    assert work == {
        ("take_up", "TF26LC0110"),
        ("decide", "TF26LC0119"),
        ("approve_amendment", "TF26LC0116"),
        ("approve_credit", "TF26LC0121"),
        ("incident", "TF26LC0122"),
        ("naked_message", "TF26LC0122"),
        ("missing_credit", "DUNEAEAD-DCB260101"),
    }
    assert (len(today.stuck), today.dead_letters) == (1, DEAD_LETTERS)


def test_the_last_presentation_is_discrepant_by_the_rules(played: Played, verdict: Verdict) -> None:
    state = played.of("presentation", verdict.states)["P26-0119"]
    assert [finding.article for finding in state.findings] == ["UCP600-28f-ii"]
    assert (state.presented, state.proposed, state.disposal) == ("2026-12-03", "", "")


# -- tipping off


def test_cases_are_held_and_cleared_in_compliance_alone(played: Played, verdict: Verdict) -> None:
    cases = played.of("case", verdict.states)
    found = sorted(
        (s.stage, s.disposition, s.waiting[0].saga.partition(":")[2] or s.waiting[0].step)
        for s in cases.values()
    )
    assert found == [
        ("closed", "clear", "P26-0120"),
        ("closed", "clear", "TF26LC0111"),
        ("closed", "reject", "TF26LC0105:1"),
        ("open", "", "TF26LC0112"),
        ("open", "", "message:799:DCB260094#4ec39fd5"),
        ("proposed", "clear", "TF26LC0123"),
    ]
    assert played.runtime.queries.cases(CHECKER).rows == []
    rows = played.runtime.queries.cases(OFFICER).rows
    assert len(rows) == 6
    assert [(row.subject, row.proposed_by) for row in rows if row.state == "proposed"] == [
        (key_of("albion", "credit", "TF26LC0123"), "elif.demir")
    ]
    for case in cases:
        with pytest.raises(NotFound):
            played.runtime.queries.case(CHECKER, key_of("albion", "case", case))


def test_nothing_in_trade_names_a_case_a_hit_or_a_list(played: Played, verdict: Verdict) -> None:
    cases = played.of("case", verdict.states)
    secret = [w.encode() for c, s in cases.items() for w in (c, s.evidence_hash)]
    secret += [b"ofac-", b"un-consolidated", b"evidence", b"disposition", b"screening"]
    trade = [
        bytes(part)
        for kind in ("commands", "events", "outcomes", "parked", "snapshots")
        for record in played.records("trade", kind)
        for part in (record.key or b"", record.value or b"", *(v for _, v in record.headers))
    ]
    files = [path.read_bytes() for path in (played.runtime.folder.gateway / "out").iterdir()]
    assert len(trade) > 10_000 and len(files) > 40
    told = {word for word in secret for text in (*trade, *files) if word in text.lower()}
    assert told == set()


def test_no_view_of_trade_shows_what_compliance_knows(played: Played, verdict: Verdict) -> None:
    queries, now = played.runtime.queries, played.runtime.clock.now()
    cases = played.of("case", verdict.states)
    secret = {word for c, s in cases.items() for word in (c, s.evidence_hash)}
    keys = [key_of("albion", "credit", credit) for credit in CREDITS]
    shown: list[Any] = [
        queries.today(CHECKER, now),
        queries.work(CHECKER, limit=200),
        queries.approvals(CHECKER),
        queries.events(CHECKER, limit=5_000),
        queries.commands(CHECKER, limit=5_000),
        queries.sagas(CHECKER, limit=500),
        queries.dead_letters(CHECKER, limit=200),
        queries.presentations(CHECKER, limit=200),
        queries.status(CHECKER),
        *(queries.search(CHECKER, word) for word in secret),
        *(queries.credit(CHECKER, key) for key in keys),
        *(queries.timeline(CHECKER, key) for key in keys),
    ]
    text = repr(shown)
    assert len(text) > 100_000
    assert {word for word in secret if word in text} == set()
    assert not re.search(r"ofac|ScreeningDecided|CaseOpened|Disposition", text)


def test_no_header_in_trade_tells_a_check_that_was_clear_from_one_that_people_closed(
    played: Played, verdict: Verdict
) -> None:
    store = played.runtime.store
    known: dict[str, set[str]] = {"trade": set(), "compliance": set()}
    ended: list[tuple[Any, str]] = []
    for context, ids in known.items():
        for number in range(store.topics.partitions):
            for kind in ("events", "outcomes"):
                for record in store.log.scan(store.topics.at(context, kind, number), 0):
                    meta = store.decoder.meta(record.headers)
                    ids |= {meta.command_id, dict(record.headers)["ce_id"].decode()}
                    name = dict(record.headers)["ce_type"].decode()
                    if (
                        context == "trade"
                        and kind == "events"
                        and "ComplianceCheckCompleted" in name
                    ):
                        ended.append((meta, (record.key or b"").decode()))
    hidden = known["compliance"] - known["trade"] - {""}
    assert hidden
    assert len(ended) > 10
    for number in range(store.topics.partitions):
        for kind in ("commands", "events", "outcomes"):
            for record in store.log.scan(store.topics.at("trade", kind, number), 0):
                meta = store.decoder.meta(record.headers)
                assert meta.correlation not in hidden
                assert meta.causation.rpartition(":")[2] not in hidden
    for meta, stream in ended:
        past = store.history.stream(stream)
        received = (p for p in past if isinstance(p.message, cm.CreditReceived))
        first = next(received, past[0]).meta
        assert meta.correlation == first.correlation
        assert meta.causation.partition(":")[0] in ("check", "saga")


@pytest.mark.parametrize("credit", ["TF26LC0105", "TF26LC0112", "TF26LC0123"])
def test_a_held_credit_looks_like_a_slow_one_to_trade(credit: str, played: Played) -> None:
    queries = played.runtime.queries
    key = key_of("albion", "credit", credit)
    shown = [repr(queries.credit(CHECKER, key)), repr(queries.timeline(CHECKER, key))]
    shown += [repr(queries.saga(CHECKER, key_of("albion", "saga", f"issuance:{credit}")))]
    shown += [repr(queries.today(CHECKER, played.runtime.clock.now()))]
    for text in shown:
        assert not re.search(r"\b(hits?|cases?|sanction\w*|screen\w*|ofac|alerts?)\b", text, re.I)


# -- the files


def test_every_message_of_another_bank_is_valid_in_its_release_unless_meant_otherwise() -> None:
    broken = set()
    for file in sorted(BOOK.glob("*.fin")):
        for piece in split(file.read_bytes()):
            try:
                message = parse(piece)
            except Unreadable:
                broken.add(file.name)
                continue
            if message.type is None:  # the network's ACK and NAK: no layout to check
                continue
            if all(validate(message, release) for release in ("SR2026", "SR2025", "SR2018")):
                broken.add(file.name)
    assert broken == MEANT_TO_BE_BROKEN


def test_every_message_that_we_sent_is_valid_in_the_current_release(played: Played) -> None:
    sent = played.sent()
    assert {name: validate(message) for name, message in sent.items()} == {n: [] for n in sent}


@pytest.mark.slow
def test_two_plays_give_the_same_streams(
    played: Played, tmp_path: Path, screening_cache: Path
) -> None:
    again = Played(tmp_path / "again", screening_cache)
    try:
        for context in ("trade", "compliance"):
            first, second = (_streams(one.events(context)) for one in (played, again))
            assert first == second
    finally:
        again.runtime.close()


def _streams(facts: list[Fact]) -> dict[str, list[tuple[int, str, int]]]:
    found: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for fact in facts:
        amount = getattr(fact.message, "amount", 0)
        shown = amount if isinstance(amount, int) else 0
        found[fact.key].append((fact.revision, type(fact.message).__name__, shown))
    return found


@pytest.mark.slow
def test_the_tool_writes_the_files_that_are_committed(tmp_path: Path) -> None:
    tool = BOOK.parents[1] / "tools" / "make_book.py"
    subprocess.run([sys.executable, str(tool), str(tmp_path / "book")], check=True)
    made = {f.name: f.read_bytes() for f in (tmp_path / "book").iterdir()}
    assert made == {f.name: f.read_bytes() for f in BOOK.glob("2026*Z-*")}
