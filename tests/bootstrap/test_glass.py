"""Broken glass: acts beyond a role, for a bounded time, on record, under every other rule, reviewed by somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usance.bootstrap.breaking import handed_over
from usance.bootstrap.desk import Desk
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.store import Folder
from usance.config import Settings
from usance.domain.facility_messages import SetFacility
from usance.domain.glass import (
    BreakGlass,
    CloseGlass,
    GlassReviewOverdue,
    GlassUsed,
    ReviewGlass,
)
from usance.engine.reactors.reactor import Outgoing
from usance.kernel.authority import BREAKABLE, GLASS, role_missing
from usance.kernel.clock import MS_PER_DAY, MS_PER_MINUTE, BookClock
from usance.kernel.decider import Actor
from usance.kernel.errors import Refused
from usance.kernel.ids import RandomIds
from usance.kernel.words import Words
from usance.testing.trade import MONDAY

ENGINEER = Actor("henrik.solberg", "henrik.solberg", "engineer")
BEHIND = ENGINEER._replace(role=GLASS)
AUDITOR = Actor("grace.mwangi", "grace.mwangi", "auditor")
KEY = "albion/glass/henrik.solberg"


class World:
    def __init__(self, root: Path) -> None:
        self.clock = BookClock(MONDAY)
        self.program = Runtime(Folder(root), Settings(), self.clock)
        self.program.drop.settle = 0.0
        self.program.drop.settle = 0.0
        self.desk = Desk(Folder(root), Settings(), self.clock, self.program, 0)

    def say(self, command: Any, actor: Actor, key: str = KEY) -> str:
        found = self.desk.ask(Outgoing(key, command, RandomIds().fresh(), "test", actor=actor))
        return found.code or found.answer

    def broken(self, **more: Any) -> str:
        said = {"acts": ["SetFacility"], "minutes": 30, "incident": "INC-7"} | more
        reason = Words(subject=ENGINEER.person, text=said.pop("reason", "nobody of credit is in"))
        return self.say(BreakGlass(person=ENGINEER.person, reason=reason, **said), ENGINEER)

    def set_facility(self, actor: Actor = BEHIND, name: str = "F1") -> str:
        command = SetFacility(
            facility=name, customer="party-1", currency="USD", limit=1_000, expiry="2027-12-31",
            margin_account="M",
        )  # fmt: skip
        return self.say(command, actor, f"albion/facility/{name}")

    def review(self, actor: Actor, number: int = 1) -> str:
        words = Words(subject=ENGINEER.person, text="read it all")
        said = ReviewGlass(person=ENGINEER.person, number=number, justified=True, reason=words)
        return self.say(said, actor)

    def events(self, key: str = KEY) -> list[Any]:
        self.program.drive()
        return [e.message for e in self.program.store.history.stream(key)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data")
    yield made
    made.desk.close()


def test_an_act_beyond_the_role_is_taken_noted_and_flagged(world: World) -> None:
    assert world.set_facility(ENGINEER) == "ROLE_NEEDED"
    assert world.broken() == "accepted"
    assert world.set_facility() == "accepted"
    used = [e for e in world.events() if isinstance(e, GlassUsed)]
    assert [(u.act, u.target) for u in used] == [("SetFacility", "albion/facility/F1")]
    (event,) = world.program.store.history.stream("albion/facility/F1")
    assert event.meta.actor.role == GLASS and event.meta.actor.person == ENGINEER.person
    (row,) = world.program.queries.broken(AUDITOR)
    assert row.uses == 1 and row.incident == "INC-7"
    kinds = [a.action for a in world.program.queries.accesses(AUDITOR).rows if a.kind == "glass"]
    assert kinds == ["SetFacility", "break glass: SetFacility"]


def test_without_broken_glass_the_role_is_nobodys(world: World) -> None:
    assert world.set_facility() == "GLASS_NOT_BROKEN"
    straight = Outgoing("albion/facility/F1", CloseGlass(person="x"), "id", "test", actor=BEHIND)
    with pytest.raises(Refused, match="by way of the broken glass"):
        world.program.store.commands().append([straight], world.clock.now())


def test_it_is_broken_for_these_acts_on_this_alone_and_never_for_somebody_else(
    world: World,
) -> None:
    world.broken(scope="F1")
    assert world.set_facility(name="F2") == "ROLE_NEEDED"
    assert world.say(CloseGlass(person=ENGINEER.person), AUDITOR) == "NOT_YOURS"
    other = handed_over(
        Outgoing("albion/facility/F1", CloseGlass(person="x"), "id-1", "test", actor=BEHIND)
    )
    assert world.say(other.command, BEHIND) == "ROLE_NEEDED", "an act that it was not broken for"
    assert world.set_facility() == "accepted"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"reason": " "}, "REASON_REQUIRED"),
        ({"incident": ""}, "REASON_REQUIRED"),
        ({"minutes": 0}, "TOO_LONG"),
        ({"minutes": 61}, "TOO_LONG"),
        ({"acts": []}, "NOT_BREAKABLE"),
        ({"acts": ["ApproveDisposition"]}, "NOT_BREAKABLE"),
        ({"acts": ["ApproveErasure"]}, "NOT_BREAKABLE"),
        ({"acts": ["IssueCredit"]}, "NOT_BREAKABLE"),
        ({"acts": ["UseGlass"]}, "NOT_BREAKABLE"),
    ],
)
def test_it_needs_a_reason_a_bound_and_acts_of_people(
    world: World, more: dict[str, Any], code: str
) -> None:
    assert world.broken(**more) == code


def test_it_closes_by_itself(world: World) -> None:
    world.broken(minutes=30)
    world.program.run_until(MONDAY + 31 * MS_PER_MINUTE)
    assert world.set_facility() == "GLASS_NOT_BROKEN"
    assert world.program.queries.broken(AUDITOR) == []


def test_somebody_else_reviews_it_after_it_is_closed(world: World) -> None:
    world.broken()
    world.set_facility()
    assert world.review(AUDITOR) == "GLASS_OPEN"
    world.say(CloseGlass(person=ENGINEER.person), ENGINEER)
    (item,) = [i for i in world.program.queries.work(AUDITOR).rows if i.kind == "review_glass"]
    assert item.not_by == ENGINEER.person and not item.blocked and item.due > world.clock.now()
    assert world.review(ENGINEER._replace(role="auditor")) == "SELF_APPROVAL"
    assert world.review(AUDITOR) == "accepted"
    assert not [i for i in world.program.queries.work(AUDITOR).rows if i.kind == "review_glass"]
    (row,) = world.program.queries.glasses(AUDITOR)
    assert (row.state, row.reviewer, row.justified) == ("reviewed", AUDITOR.person, True)


def test_an_overdue_review_is_an_incident_and_stands_against_the_next_time(world: World) -> None:
    world.broken()
    world.program.run_until(MONDAY + 4 * MS_PER_DAY)
    assert any(isinstance(e, GlassReviewOverdue) for e in world.events())
    (incident,) = world.program.queries.incidents(AUDITOR)
    assert incident.definition == "break-glass" and ENGINEER.person in incident.cause
    assert world.broken() == "REVIEW_OVERDUE"
    assert world.review(AUDITOR) == "accepted"
    assert world.program.queries.incidents(AUDITOR) == []
    assert world.broken() == "accepted"


def test_nobody_approves_their_own_work_behind_broken_glass() -> None:
    """Every decider that asks for a second person compares persons: the role of the glass is one of a person."""
    from usance.domain.guards import is_person, second_person_missing

    assert is_person(BEHIND)
    missing = second_person_missing(BEHIND, ENGINEER.person)
    assert missing is not None and missing.code == "SELF_APPROVAL"


def test_what_is_never_broken_stays_with_its_roles() -> None:
    for act in ("ApproveDisposition", "PlaceHold", "ApproveErasure", "ReviewGlass", "IssueCredit"):
        assert act not in BREAKABLE
        assert role_missing(BEHIND, act) is not None
