"""Once a list version is active, what earlier versions cleared is held against the entries that are new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from list_world import World, house
from msgspec import structs

from usance.aml import activation as act
from usance.aml.case import ApproveDisposition, CaseOpened, ProposeDisposition, Reason
from usance.aml.screening import Screener, open_screener
from usance.bootstrap.desk import Desk
from usance.bootstrap.secrecy import erasing
from usance.domain.credit import messages as cr
from usance.domain.facility_messages import SetFacility
from usance.kernel.decider import Actor, key_parts
from usance.testing.trade import application, parties

NAME = "GRELLVANDER ODOBAS SHIPPING"
OTHER = "PALTRENE VOSSIGARD COMPANY"


@pytest.fixture(scope="module")
def came_along() -> Screener:
    return open_screener([house("PENDRAGHT TOLVANE MARITIME", day="2026-01-01")])


@pytest.fixture(params=["default"])
def world(tmp_path: Path, came_along: Screener, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path / "data", came_along, request.param)
    facility = SetFacility(
        facility="F1", customer="party-1", currency="USD", limit=10**9, expiry="2027-12-31"
    )
    made.ask("albion/facility/F1", facility, "dev.raghavan")
    yield made
    made.program.close()


def apply(world: World, number: str, beneficiary: str, subject: str = "party-1") -> None:
    """Take in an application whose beneficiary bears a name."""
    whole = parties()
    named = structs.replace(
        whole, subject=subject, beneficiary=structs.replace(whole.beneficiary, name=beneficiary)
    )
    said = structs.replace(
        application(), credit=number, application=f"APP-{number}", parties=named, narrative=None
    )
    assert world.ask(f"albion/credit/{number}", said, "amara.okafor").answer == "accepted"


def events(world: World, context: str, *classes: type) -> list[tuple[str, Any]]:
    """Return key and message of events of some classes."""
    store, found = world.program.store, []
    topics = store.topics
    for number in range(topics.count(context)):
        for record in store.log.scan(topics.at(context, "events", number), 0):
            message = store.decoder.message(record.headers, record.value)
            if isinstance(message, classes):
                found.append(((record.key or b"").decode(), message))
    return found


def cases(world: World) -> list[CaseOpened]:
    return [message for _, message in events(world, "compliance", CaseOpened)]


def told(world: World) -> list[act.ListsRescreened]:
    return [message for _, message in events(world, "system", act.ListsRescreened)]


def credit(world: World, number: str) -> Any:
    store = world.program.store
    return store.history.fold(store.deciders["credit"], f"albion/credit/{number}")


def approve(world: World, number: str) -> Any:
    """Approve what a credit asks for, as a second person."""
    state = credit(world, number)
    said = cr.ApproveCredit(revision=state.approval_revision, content_hash=state.content_hash)
    return world.ask(f"albion/credit/{number}", said, "dev.raghavan")


def dispose(world: World, case: CaseOpened, disposition: str) -> None:
    key = f"albion/case/{case.case_id}"
    reason = Reason(subject=case.hits.subject, text="looked at both")
    said = {
        "case_id": case.case_id,
        "disposition": disposition,
        "evidence_hash": case.evidence_hash,
    }
    assert (
        world.ask(key, ProposeDisposition(**said, reason=reason), "elif.demir").answer == "accepted"
    )
    assert world.ask(key, ApproveDisposition(**said), "farid.haddad").answer == "accepted"


def test_a_name_listed_later_opens_a_case_and_holds_its_credit_alone(world: World) -> None:
    apply(world, "LC1", NAME)
    apply(world, "LC2", OTHER)
    assert credit(world, "LC1").check == "done" and not cases(world)
    world.activate(house(NAME))
    (case,) = cases(world)
    assert case.subject_stream == "albion/credit/LC1"
    assert [(hit.list_id, hit.entry) for hit in case.hits.hits] == [("house", "H-0")]
    assert credit(world, "LC1").held and not credit(world, "LC2").held
    (after,) = told(world)
    assert (after.streams, after.cases, after.over) == (2, 1, 0)
    # Trade hears what any check says, and nothing of lists or cases.
    begun = [m for k, m in events(world, "trade", cr.ComplianceCheckStarted) if k.endswith("LC1")]
    assert case.case_id not in begun[-1].check and "house" not in begun[-1].check
    assert approve(world, "LC1").code == "IN_PROCESS"
    assert approve(world, "LC2").answer == "accepted"
    dispose(world, case, "clear")
    assert not credit(world, "LC1").held
    assert credit(world, "LC1").check == "done"
    assert approve(world, "LC1").answer == "accepted"
    assert credit(world, "LC1").state == "ISSUED"


def test_what_was_approved_already_is_not_issued_while_it_is_held(world: World) -> None:
    apply(world, "LC1", NAME)
    reactors = {n: world.program.parts.pop(n) for n in ("sagas", "reactions")}
    assert approve(world, "LC1").answer == "accepted"
    world.program.parts["reactions"] = reactors["reactions"]
    world.activate(house(NAME))
    world.program.parts |= reactors
    world.program.drive()
    assert credit(world, "LC1").state == "APPROVED"
    dispose(world, cases(world)[0], "clear")
    clock = world.program.clock
    clock.advance_to(clock.now() + 3_600_000)
    world.program.drive()
    assert credit(world, "LC1").state == "ISSUED"


def test_a_blocked_find_holds_the_credit_for_good(world: World) -> None:
    apply(world, "LC1", NAME)
    world.activate(house(NAME))
    dispose(world, cases(world)[0], "block")
    assert credit(world, "LC1").held


def test_what_people_decided_about_old_entries_stands(world: World) -> None:
    world.activate(house(NAME))
    apply(world, "LC1", NAME)
    (case,) = cases(world)
    dispose(world, case, "clear")
    world.activate(house(NAME, OTHER, day="2026-11-27"))
    assert len(cases(world)) == 1 and not credit(world, "LC1").held
    # The same name in a second entry is new, though the old one resembles the string as much.
    world.activate(house(NAME, OTHER, NAME, day="2026-11-28"))
    first, second = cases(world)
    assert [hit.entry for hit in second.hits.hits] == ["H-2"]
    assert second.case_id != first.case_id and credit(world, "LC1").held


def test_a_credit_that_is_over_opens_no_case(world: World) -> None:
    apply(world, "LC1", NAME)
    withdrawn = cr.WithdrawApplication()
    assert world.ask("albion/credit/LC1", withdrawn, "amara.okafor").answer == "accepted"
    world.activate(house(NAME))
    assert not cases(world)
    assert told(world)[0].over == 1


def test_a_second_process_or_a_second_life_finds_nothing_more(world: World) -> None:
    apply(world, "LC1", NAME)
    world.activate(house(NAME))
    whole = len(events(world, "compliance", object))
    world.again()
    world.program.drive()
    assert len(events(world, "compliance", object)) == whole
    assert len(told(world)) == 1
    # The pass is not recorded: it is done again, and what it finds is known already.
    part = world.program.rescreening
    part._state = structs.replace(part._state, rescreened={}, ends=[])
    part._contents = {}
    world.program.drive()
    assert len(events(world, "compliance", object)) == whole
    assert len(told(world)) == 1


def test_versions_that_become_active_once_more_are_recorded_once_more(world: World) -> None:
    one, other = house(NAME), house(NAME, OTHER)
    for version in (one, other, one):
        world.activate(version)
        state = world.program.store.lists().state()
        assert state.rescreened == state.contents
    assert len(told(world)) == 3


def test_a_process_that_screens_with_an_older_version_is_caught_up(world: World) -> None:
    world.activate(house(NAME))
    lists = world.program.lists
    assert lists is not None
    new = lists.screener.screener()
    ours = world.program.parts.pop("rescreening")
    lists.screener.swap(world.given)  # a process that has not heard of it yet
    apply(world, "LC1", NAME)
    lists.screener.swap(new)
    assert not cases(world)
    world.program.parts["rescreening"] = ours
    world.program.drive()
    (case,) = cases(world)
    assert key_parts(case.subject_stream).identity == "LC1" and credit(world, "LC1").held


def test_no_person_records_a_rescreening(world: World) -> None:
    world.activate(house(NAME))
    (after,) = told(world)
    names = act.RecordRescreening.__struct_fields__
    said = act.RecordRescreening(**{n: getattr(after, n) for n in names})
    answer = world.ask(world.program.store.lists().key, said, "elif.demir")
    assert answer.code == "ROLE_NEEDED"


@pytest.mark.parametrize("world", ["secure"], indirect=True)
def test_sealed_strings_are_screened_again_and_erased_ones_are_counted(world: World) -> None:
    apply(world, "LC1", NAME)
    world.ask("albion/credit/LC1", cr.WithdrawApplication(), "amara.okafor")
    program = world.program
    desk = Desk(program.folder, world.settings, program.clock, program, 0)
    for step, person in ((erasing.request, "elif.demir"), (erasing.approve, "farid.haddad")):
        more = ("letter of 3 May",) if step is erasing.request else ()
        assert step(desk, "party-1", *more, program.directory.actor(person)).answer == "accepted"
    second = Actor("dev.raghavan", "dev.raghavan", "compliance_officer")
    assert erasing.approve(desk, "party-1", second).answer == "accepted"
    erasing.execute(desk, "party-1")
    apply(world, "LC2", NAME, "party-2")
    world.activate(house(NAME))
    (case,) = cases(world)
    assert case.subject_stream == "albion/credit/LC2" and credit(world, "LC2").held
    (after,) = told(world)
    assert (after.streams, after.cases, after.erased) == (2, 1, 1)
