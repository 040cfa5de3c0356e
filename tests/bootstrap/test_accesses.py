"""Accesses: denials in a tree of their own, floods counted, and nothing shown that could not be recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usance.bootstrap.accessing import REFUSALS, Look, Refusals, record
from usance.bootstrap.packs.auditing import evidence
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import Settings
from usance.domain.facility_messages import SetFacility
from usance.engine.owner.accesses import AccessDenied, AccessRecorded, counted
from usance.engine.owner.state import Denials, Overlay, PartitionState
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.clock import MS_PER_MINUTE, BookClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Unavailable
from usance.kernel.ids import derived
from usance.testing.trade import MONDAY
from usance.testing.verify import verify_log

MAKER = Actor("amara.okafor", "amara.okafor", "maker")
AUDITOR = Actor("grace.mwangi", "grace.mwangi", "auditor")
COMPLIANCE = Actor("elif.demir", "elif.demir", "compliance")
STREAM = "albion/access/amara.okafor"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(Folder(tmp_path / "data"), Settings(), BookClock(MONDAY))
    yield made
    made.close()


def denied(program: Runtime, number: int, actor: Actor = MAKER) -> str:
    """Send a command that the role does not allow; returns the code of its refusal."""
    command = SetFacility(
        facility="F1", customer="party-1", currency="USD", limit=1, expiry="2027-12-31",
        margin_account="M",
    )  # fmt: skip
    command_id = derived("denied", number)
    outgoing = Outgoing("albion/facility/F1", command, command_id, "", command_id, actor)
    return program.ask(outgoing).code


def events(program: Runtime, stream: str = STREAM) -> list[Any]:
    program.drive()
    return [e.message for e in program.store.history.stream(stream)]


def test_what_is_refused_to_somebody_for_who_they_are_is_an_event_of_its_own_topic(
    program: Runtime,
) -> None:
    assert denied(program, 1) == "ROLE_NEEDED"
    (event,) = events(program)
    assert isinstance(event, AccessDenied)
    assert (event.person, event.role, event.act) == ("amara.okafor", "maker", "SetFacility")
    assert (event.resource, event.code) == ("albion/facility/F1", "ROLE_NEEDED")
    assert event.command == derived("denied", 1) and "checker" in event.cause
    store = program.store
    (place,) = store.topics.all_at("events", ("access",))
    assert place.topic == "usance.access.events"
    assert len(list(store.log.scan(place, 0))) == 1
    verdict = verify_log(
        store.log, store.topics, store.decoder, store.deciders, store.genesis.log_id
    )
    assert verdict.violations == 0, verdict.words
    assert program.sealing is not None
    program.sealing.notary.finish()
    with evidence(program.folder, program.settings) as found:
        report = found.audit(full=True)
    assert report.whole
    assert {t.folder: t.size for t in report.trees}["access.events/p000"] == 1


def test_a_repeated_command_is_no_second_denial(program: Runtime) -> None:
    denied(program, 1)
    denied(program, 1)
    assert len(events(program)) == 1


def test_a_flood_of_denials_leaves_few_records_that_count_them_all(program: Runtime) -> None:
    for number in range(200):
        denied(program, number)
    told = events(program)
    assert [e.number for e in told] == [*range(1, 11), 20, 40, 80, 160]
    program.clock.advance_to(MONDAY + MS_PER_MINUTE)
    denied(program, 200)
    told = events(program)
    assert told[-1].number == 1
    assert len(told) + sum(e.unrecorded for e in told) == 201


def test_denials_of_others_and_under_other_codes_are_counted_apart(program: Runtime) -> None:
    for number in range(12):
        denied(program, number)
    denied(program, 100, COMPLIANCE)
    assert len(events(program)) == 10
    assert len(events(program, "albion/access/elif.demir")) == 1


def test_a_unit_that_is_given_up_counts_nothing() -> None:
    state, who = PartitionState(), ("p", "ROLE_NEEDED")
    state.denials[who] = Denials(1, 3, 0)
    given_up = Overlay(state)
    given_up.denials[who], _ = counted(given_up.denied(who), MS_PER_MINUTE)
    assert given_up.denied(who) == Denials(1, 4, 0)
    assert state.denied(who) == Denials(1, 3, 0)
    state.fold(given_up)
    assert state.denied(who) == Denials(1, 4, 0)


@pytest.mark.parametrize("count", [1, 10, 11, 25, 1_000, 12_345])
def test_what_is_written_and_what_is_counted_make_the_whole(count: int) -> None:
    before: Denials | None = None
    written = told_of = 0
    for _ in range(count):
        missed = before.unrecorded if before else 0
        before, told = counted(before, 0)
        if told:
            written, told_of = written + 1, told_of + missed
    assert before is not None
    assert written + told_of + before.unrecorded == count
    assert written <= 10 + count.bit_length()


def test_a_look_is_recorded_with_its_reason_before_anything_is_given(program: Runtime) -> None:
    look = Look("case.view", "albion/case/C1", "LC1", "a question of the regulator")
    record(program.ask, "albion", AUDITOR, look, "cli")
    (event,) = events(program, "albion/access/grace.mwangi")
    assert isinstance(event, AccessRecorded)
    assert (event.action, event.resource, event.credit) == ("case.view", "albion/case/C1", "LC1")
    assert event.reason is not None and event.reason.text == look.reason


def test_a_look_that_cannot_be_recorded_is_refused(
    program: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(program.store.log, "append", full)
    with pytest.raises(Unavailable):
        record(program.ask, "albion", AUDITOR, Look("case.view", "C1"), "cli")
    # Who is denied stays denied, whether or not that can be written down.
    REFUSALS.record(program.ask, "albion", MAKER, Look("case.view"), "ROLE_NEEDED", "cli", 0)


def test_nobody_records_accesses_of_somebody_else_or_says_what_the_program_says(
    program: Runtime,
) -> None:
    made = Refusals().outgoing("albion", MAKER, Look("case.view"), "ROLE_NEEDED", "cli", 0)
    assert made is not None
    assert program.ask(made._replace(actor=MAKER)).code == "ROLE_NEEDED"
    forged = made._replace(key="albion/access/somebody.else", id=derived("forged"))
    assert program.ask(forged).code == "NOT_YOURS"
