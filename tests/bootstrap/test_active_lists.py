"""A list version that two people activated is what running programs screen with, without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from list_world import World, house
from msgspec import structs

from usance.aml import activation as act
from usance.aml.screening import Screener, open_screener
from usance.bootstrap.lists import ActiveLists, open_active, propose, read_list
from usance.bootstrap.store import Store
from usance.config import Settings
from usance.domain.facility_messages import SetFacility
from usance.kernel.clock import SystemClock
from usance.kernel.errors import Refused, Tampered, Unreadable
from usance.log.contract import Output
from usance.testing.trade import application

NAME = "GRELLVANDER ODOBAS SHIPPING"


@pytest.fixture(scope="module")
def came_along() -> Screener:
    """A small list in the place of those shipped: to compile them takes seconds."""
    return open_screener([house("PENDRAGHT TOLVANE MARITIME", day="2026-01-01")])


@pytest.fixture
def world(tmp_path: Path, came_along: Screener) -> Iterator[World]:
    made = World(tmp_path / "data", came_along)
    yield made
    made.program.close()


def test_a_running_program_screens_with_what_two_people_activated(world: World) -> None:
    assert world.band(NAME) == "clear"
    world.propose(house(NAME))
    assert world.band(NAME) == "clear"  # one person is not enough
    book = world.program.store.lists()
    waits = book.state().waiting["house"]
    said = act.ApproveList(proposal=waits.proposal, content=waits.version.content)
    assert world.ask(book.key, said, "elif.demir").code == "SELF_APPROVAL"
    assert world.band(NAME) == "clear"
    assert world.ask(book.key, said, "farid.haddad").answer == "accepted"
    assert world.band(NAME) == "hit"
    world.again()
    assert world.band(NAME) == "hit"


def test_each_screening_names_the_versions_that_it_used(world: World) -> None:
    facility = SetFacility(
        facility="F1", customer="party-1", currency="USD", limit=10**9, expiry="2027-12-31"
    )
    world.ask("albion/facility/F1", facility, "dev.raghavan")

    def apply(number: str) -> None:
        said = structs.replace(application(), credit=number, application=f"APP-{number}")
        assert world.ask(f"albion/credit/{number}", said, "amara.okafor").answer == "accepted"

    apply("LC1")
    version = world.activate(house(NAME, "ANOTHER PALTRENE COMPANY"))
    apply("LC2")
    used = {
        d.subject_stream.rsplit("/", 1)[1]: " ".join(d.list_versions) for d in world.decisions()
    }
    assert version.info.label not in used["LC1"] and "house 2026-01-01" in used["LC1"]
    assert f"house {version.info.label}" in used["LC2"]


def test_another_process_over_the_log_reads_the_same_lists(world: World, tmp_path: Path) -> None:
    version = world.activate(house(NAME))
    store = Store(world.program.folder, Settings(), SystemClock(), owner=False)
    try:
        book = store.lists()
        assert book.state().active == {"house": version}
        made = open_active(book, book.state().active, cache=tmp_path / "own", given=world.given)
        assert made.screen(NAME, "organisation").list == "house"
        assert world.program.screener is not None
        assert made.snapshot_id == world.program.screener.screener().snapshot_id
    finally:
        store.close()


def test_a_version_that_cannot_be_loaded_leaves_the_last_good_one_and_says_so(
    world: World, came_along: Screener
) -> None:
    world.activate(house(NAME))
    log, book = world.program.store.log, world.program.store.lists()
    version = world.propose(house(NAME, "ANOTHER PALTRENE COMPANY", day="2026-11-27"))
    chunk = f"{version.content}/0".encode()
    log.append([Output(book.contents.topic, 0, chunk, b"not what was seen", ())])
    said = act.ApproveList(proposal=act.proposal_of(version), content=version.content)
    world.ask(book.key, said, "farid.haddad")
    lists = world.program.lists
    assert lists is not None and "another digest" in lists.trouble
    assert world.program.health()["trouble"]["lists"] == lists.trouble
    assert world.band(NAME) == "hit" and world.band("ANOTHER PALTRENE COMPANY") == "clear"
    # A program that starts now has no last good one: it screens nothing rather than less.
    begun = ActiveLists(world.program.store.lists(), SystemClock(), cache=None, given=came_along)
    with pytest.raises(Tampered):
        begun.screener.screener()
    log.append([Output(book.contents.topic, 0, chunk, _kept(version, book), ())])
    while begun.step() == 0:
        pass
    assert begun.screener.screener().screen("ANOTHER PALTRENE COMPANY").band == "hit"


def _kept(version: act.ListVersion, book: Any) -> bytes:
    """Return the bytes that were first kept under a version."""
    chunk = f"{version.content}/0".encode()
    return next(r.value for r in book.log.scan(book.contents, 0) if r.key == chunk)


def test_what_the_gate_holds_back_is_neither_kept_nor_proposed(world: World) -> None:
    world.activate(house(*(f"PALTRENE {n} HOLDINGS" for n in "ABCDEFGHIJ")))
    book = world.program.store.lists()
    assert world.program.screener is not None
    with pytest.raises(Refused, match="had 10 entries"):
        propose(
            house(NAME, day="2026-11-27"),
            world.program.screener.screener(),
            book.state(),
            approve_count=False,
        )


def test_files_without_a_version_say_what_is_missing() -> None:
    with pytest.raises(Unreadable, match="which list"):
        read_list([b"uid,name\n1,A\n"], "", "", 0)
    with pytest.raises(Unreadable, match="four"):
        read_list([b"a", b"b"], "x", "2026-01-01", 0)
