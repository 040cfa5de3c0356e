"""Retention: clocks by class, proposals under two approvals and a hold's eye, refusal letters, destruction in part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usance.audit.note import Verifier, open_note
from usance.bootstrap import clocks
from usance.bootstrap.desk import Desk
from usance.bootstrap.packs.auditing import evidence
from usance.bootstrap.packs.handing import make_pack, sealing_on
from usance.bootstrap.packs.pack_scope import Request
from usance.bootstrap.runtime import Runtime
from usance.bootstrap.secrecy import erasing, retaining
from usance.bootstrap.store import Folder
from usance.config import GatewaySettings, Settings
from usance.domain.credit import messages as cm
from usance.domain.facility_messages import SetFacility
from usance.domain.terms import Narrative
from usance.engine.owner.accesses import AccessDenied
from usance.engine.reactors.reactor import Outgoing
from usance.engine.secrecy import subjects as m
from usance.kernel.clock import MS_PER_DAY, BookClock, iso, parse_instant
from usance.kernel.decider import Actor, Erased
from usance.kernel.errors import NotFound, Refused, Unreadable
from usance.kernel.ids import derived
from usance.kernel.words import Words
from usance.testing.trade import MONDAY, parties, terms

MAKER = Actor("amara.okafor", "amara.okafor", "maker")
CHECKER = Actor("bruno.lindqvist", "bruno.lindqvist", "checker")
COMPLIANCE = Actor("elif.demir", "elif.demir", "compliance")
OFFICER = Actor("farid.haddad", "farid.haddad", "compliance_officer")
SENIOR = Actor("dev.raghavan", "dev.raghavan", "senior_checker")
AUDITOR = Actor("grace.mwangi", "grace.mwangi", "auditor")
PARTY = "party-1"


class World:
    """A secure book with one customer, of whom one application came to nothing and one credit was issued."""

    def __init__(self, root: Path, cache: Path) -> None:
        if cache.exists():
            shutil.copytree(cache, root / "cache")
        settings = Settings(profile="secure", gateway=GatewaySettings(loopback=True))
        self.settings = settings
        self.clock = BookClock(MONDAY)
        self.program = Runtime(Folder(root), settings, self.clock)
        self.program.drop.settle = 0.0
        self.desk = Desk(Folder(root), settings, self.clock, self.program, 0)
        self.said = 0

    @property
    def store(self) -> Any:
        return self.program.store

    def say(self, key: str, command: Any, actor: Actor = MAKER) -> str:
        self.said += 1
        command_id = derived("retention", self.said)
        found = self.desk.ask(Outgoing(key, command, command_id, "", command_id, actor))
        self.program.drive()
        return found.code or found.answer

    def fill(self) -> None:
        facility = SetFacility(
            facility="F1", customer=PARTY, currency="USD", limit=500_000_00, expiry="2027-12-31",
            margin_account="GB00ALBN0001",
        )  # fmt: skip
        assert self.say("albion/facility/F1", facility, CHECKER) == "accepted"
        for number in ("LC1", "LC2"):
            applied = cm.ApplyForCredit(
                credit=number,
                application=f"APP-{number}",
                terms=terms(),
                parties=parties(),
                narrative=Narrative(subject=PARTY, goods=f"TEAK FOR {number}"),
                facility="F1",
                note=Words(text=f"words on {number}"),
            )
            assert self.say(f"albion/credit/{number}", applied) == "accepted"
        withdrawn = cm.WithdrawApplication(reason=Words(text="changed their mind"))
        assert self.say("albion/credit/LC1", withdrawn) == "accepted"
        viewer, key = CHECKER, "albion/credit/LC2"
        asked = self.program.queries.credit(viewer, key).approval
        assert asked is not None
        approve = cm.ApproveCredit(revision=asked.revision, content_hash=asked.content_hash)
        assert self.say(key, approve, CHECKER) == "accepted"

    def at(self, day: str) -> None:
        """Let the book run until a day, in steps in which timers fire."""
        self.program.run_until(parse_instant(f"{day}T12:00:00.000Z"))

    def kept(self) -> retaining.Kept:
        return retaining.kept(self.store, PARTY, self.clock.now())

    def propose(self, actor: Actor = COMPLIANCE, *, partial: bool = False) -> str:
        found = retaining.propose(self.desk, PARTY, "review", actor, partial=partial)
        return found.code or found.answer

    def approve(self, actor: Actor) -> str:
        found = erasing.approve(self.desk, PARTY, actor)
        return found.code or found.answer

    def hold(self, *, release: str | None = None, actor: Actor = OFFICER) -> str:
        found = erasing.hold(self.desk, PARTY, "court order", actor, release=release)
        return found.code or found.answer

    def past(self) -> list[Any]:
        key = erasing.subject_key(self.store, PARTY)
        return [p.message for p in self.store.history.stream(key)]

    def read(self, credit: str) -> Any:
        return self.store.history.stream(f"albion/credit/{credit}")[0].message

    def verified(self) -> bool:
        assert self.program.sealing is not None
        self.program.sealing.notary.finish()
        with evidence(self.program.folder, self.settings) as found:
            return bool(found.audit(full=True).whole)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A played book, of which each test gets a copy."""
    root = tmp_path_factory.mktemp("retention") / "data"
    world = World(root, Path("/nowhere"))
    world.fill()
    world.desk.close()
    return root


@pytest.fixture
def world(filled: Path, tmp_path: Path) -> Iterator[World]:
    shutil.copytree(filled, tmp_path / "data")
    made = World(tmp_path / "data", Path("/nowhere"))
    yield made
    made.desk.close()


def test_the_classes_name_years_start_and_rule_and_have_one_of_ten_years() -> None:
    found = {c.id: c for c in clocks.rules().classes}
    assert found["relationship"].years == 5 and found["relationship"].start == "relationship-end"
    assert found["sanctions"].years == 10
    assert {"outcomes", "access", "dead-letters", "events", "trade", "application"} <= set(found)
    assert found["events"].years == -1 and all(c.rule and c.law for c in found.values())
    with pytest.raises(Unreadable, match="no class trade"):
        clocks.read_rules("cooling_off_days = 7\n[[class]]\n" + _row("application"))
    with pytest.raises(Unreadable, match="cannot be read"):
        clocks.read_rules("cooling_off_days = 'a week'")


def _row(name: str) -> str:
    return (
        f"id='{name}'\nwhat=''\nyears=0\nstart='recorded'\nrule=''\nlaw=''\nwording='memory'\n"
        "keys=true\n"
    )


@pytest.mark.parametrize(
    ("start", "years", "due"),
    [
        ("2026-11-30", 6, "2032-11-30"),
        ("2028-02-29", 5, "2033-02-28"),
        ("2028-02-29", 4, "2032-02-29"),
        ("2026-01-01", 0, "2026-01-01"),
    ],
)
def test_a_period_ends_on_the_same_day_some_years_later(start: str, years: int, due: str) -> None:
    assert iso(clocks.after(parse_instant(f"{start}T00:00:00.000Z"), years))[:10] == due


def test_a_relationship_is_kept_from_its_last_instrument_on_and_never_shorter_than_its_parts() -> (
    None
):
    day = MS_PER_DAY
    old = clocks.Clock("trade", 1_000 * day, 3_190 * day, "old")
    new = clocks.Clock("trade", 2_000 * day, 4_190 * day, "new")
    person = clocks.clock_of_person([old, new])
    assert (person.started, person.due) == (2_000 * day, 4_190 * day)
    open_ = clocks.Clock("trade", 0, clocks.OPEN, "credit LC9 is issued")
    assert clocks.clock_of_person([old, open_]).due == clocks.OPEN
    nothing = clocks.Clock("application", 50 * day, 50 * day, "nothing came of it")
    assert clocks.clock_of_person([nothing]).due == 50 * day
    case = clocks.Clock("sanctions", 100 * day, 3_752 * day, "case")
    assert clocks.clock_of_person([nothing, case]).due == 3_752 * day


def test_a_running_instrument_stands_against_an_erasure_and_the_letter_says_so(
    world: World,
) -> None:
    assert world.kept().state == "active" and world.kept().due == ""
    outcome = erasing.request(world.desk, PARTY, "letter of 3 May", COMPLIANCE)
    assert outcome.code == "RETENTION_OBLIGES" and "LC2" in outcome.message
    restricted = world.past()[-1]
    assert isinstance(restricted, m.ErasureRestricted) and restricted.until == 0
    assert world.kept().state == "restricted"
    text = retaining.letter(world.store, PARTY, "Albion Bank")
    assert restricted.letter in text and "cannot name the day" in text and "credit LC2" in text
    assert PARTY not in text and "to be checked by counsel" in text


def test_what_obliges_runs_out_on_a_day_that_the_letter_names_and_comes_up_again(
    world: World,
) -> None:
    world.at("2027-04-30")
    row = world.kept()
    assert (row.state, row.due[:4]) == ("active", "2033"), row
    assert erasing.request(world.desk, PARTY, "letter", COMPLIANCE).code == "RETENTION_OBLIGES"
    text = retaining.letter(world.store, PARTY, "Albion Bank")
    assert f"erase it from {row.due} on" in text and "six years" in text
    world.at("2033-06-30")
    assert any(isinstance(e, m.RetentionDue) for e in world.past())
    assert world.kept().state == "due"
    assert erasing.request(world.desk, PARTY, "letter", COMPLIANCE).answer == "accepted"


def test_a_refused_request_is_kept_when_a_part_goes_before_its_day(world: World) -> None:
    world.at("2027-04-30")
    assert erasing.request(world.desk, PARTY, "letter", COMPLIANCE).code == "RETENTION_OBLIGES"
    for withdrawn in (True, False):
        assert world.propose(partial=True) == "accepted"
        if withdrawn:
            retaining.withdraw(world.desk, PARTY, "not yet", OFFICER)
        else:
            assert [world.approve(p) for p in (OFFICER, SENIOR)] == ["accepted"] * 2
            world.at("2027-05-10")
            assert erasing.execute(world.desk, PARTY).keys
        assert world.kept().state == "restricted"
    world.at("2033-06-30")
    assert any(isinstance(e, m.RetentionDue) for e in world.past()), "as the letter says"


def test_nothing_is_proposed_before_its_time(world: World) -> None:
    assert world.propose() == "RETENTION_OBLIGES"
    assert world.propose(MAKER) == "ROLE_NEEDED"
    with pytest.raises(NotFound):
        retaining.certificate(world.store, PARTY)


def test_what_is_over_goes_in_part_and_the_rest_stays(world: World) -> None:
    assert "albion/credit/LC1" in world.kept().over and PARTY not in world.kept().over
    assert world.propose(partial=True) == "accepted"
    assert world.approve(COMPLIANCE) == "SELF_APPROVAL"
    assert world.approve(OFFICER) == "accepted"
    with pytest.raises(Refused, match="not approved by two"):
        erasing.execute(world.desk, PARTY)
    assert world.approve(SENIOR) == "accepted"
    with pytest.raises(Refused, match="before"):
        erasing.execute(world.desk, PARTY)
    world.at("2026-12-10")
    made = erasing.execute(world.desk, PARTY)
    assert made.keys
    assert isinstance(world.read("LC1").note, Erased)
    assert world.read("LC2").note.text == "words on LC2"
    assert world.read("LC1").narrative.goods == "TEAK FOR LC1", "the person's own key stays"
    row = world.kept()
    assert row.state == "active" and row.certificates == [made.certificate]
    told = retaining.certificate(world.store, PARTY)
    assert told["partial"] and told["ground"] == "retention"
    assert {c["class"] for c in told["classes"]} == {"application"}
    assert world.verified()
    # The rest may follow later: it is another destruction, with another certificate.
    world.at("2033-06-30")
    assert world.kept().state == "due"
    assert world.propose(OFFICER) == "accepted"
    again = retaining.certificate(world.store, PARTY)
    assert again == told, "what is proposed since changes nothing of what was destroyed"


def test_what_belongs_to_somebody_else_is_not_destroyed_under_a_subjects_name(world: World) -> None:
    """A proposal made by hand: the clocks that it claims are looked up again, for every name."""
    vault = erasing.demand_vault(world.store)
    names = [vault.pseudonym("albion", name) for name in ("albion/credit/LC2", "LC2")]
    claimed = m.ProposeDisposal(
        subjects=names,
        clocks=[m.RetentionClock(subject=n, retention="trade", started=0, due=0) for n in names],
        partial=True,
        obliged=[],
        cooling_days=0,
        reason=Words(text="review"),
    )
    key = erasing.subject_key(world.store, "somebody-else")
    assert world.say(key, claimed, COMPLIANCE) == "accepted"
    found = erasing.approve(world.desk, "somebody-else", OFFICER)
    assert found.code == "RETENTION_OBLIGES" and "does not belong" in found.message
    for person in (OFFICER, SENIOR):  # their own hands, too
        assert world.say(key, m.ApproveErasure(obliged=[]), person) == "accepted"
    with pytest.raises(Refused, match="does not belong"):
        erasing.execute(world.desk, "somebody-else")
    assert world.read("LC2").note.text == "words on LC2"


def test_a_hold_stands_against_every_step_and_each_refusal_is_recorded(world: World) -> None:
    world.hold()
    assert world.kept().state == "held"
    assert world.propose(partial=True) == "LEGAL_HOLD"
    world.hold(release="H1")
    assert world.propose(partial=True) == "accepted"
    world.hold()
    assert world.approve(OFFICER) == "LEGAL_HOLD"
    assert world.hold(release="H2", actor=COMPLIANCE) == "SELF_APPROVAL", "who asked for it"
    world.hold(release="H2")
    world.approve(OFFICER)
    world.approve(SENIOR)
    world.at("2026-12-10")
    world.hold()
    with pytest.raises(Refused, match="hold"):
        erasing.execute(world.desk, PARTY)
    world.hold(release="H3")
    # A hold on a part alone, which the log's stream of the person does not know: the key store does.
    erasing.hold(world.desk, "LC1", "court order", OFFICER)
    with pytest.raises(Refused, match="hold"):
        erasing.execute(world.desk, PARTY)
    assert world.read("LC1").note.text == "words on LC1"
    denied = [
        p.message
        for person in (COMPLIANCE, OFFICER)
        for p in world.store.history.stream(f"albion/access/{person.person}")
        if isinstance(p.message, AccessDenied) and p.message.code == "LEGAL_HOLD"
    ]
    assert {d.act for d in denied} == {"ProposeDisposal", "ApproveErasure"}


def test_a_proposal_is_taken_back_until_keys_go(world: World) -> None:
    world.propose(partial=True)
    world.approve(OFFICER)
    taken = retaining.withdraw(world.desk, PARTY, "not yet", OFFICER)
    assert taken.answer == "accepted"
    assert world.kept().state == "active" and world.kept().approvals == 0
    assert world.approve(SENIOR) == "NOTHING_ASKED"


def test_after_its_time_a_person_is_destroyed_and_everything_still_verifies(
    world: World, tmp_path: Path
) -> None:
    world.at("2033-06-30")
    (row,) = retaining.listed(world.store, world.clock.now(), state="due")
    assert row.subject == PARTY
    assert world.propose() == "accepted"
    for person in (OFFICER, SENIOR):
        assert world.approve(person) == "accepted"
    world.at("2033-07-10")
    erasing.execute(world.desk, PARTY)
    assert world.kept().state == "destroyed"
    assert isinstance(world.read("LC2").parties, Erased)
    assert world.verified()
    told = retaining.certificate(world.store, PARTY)
    assert len(told["approvers"]) == 2 and told["fields_made_unreadable"] > 5
    assert not told["partial"] and told["proposer"]["person"] == COMPLIANCE.person
    text = json.dumps(told).encode()
    with evidence(world.program.folder, world.settings) as found:
        signer = found.signer()
        origin = f"{found.origins.base}/dispositions"
        note = retaining.signed(text, found.origins.base, signer)
        named = Verifier(origin, signer.public)
        opened = open_note(note, [named])
        assert origin in opened.text
        names = {p.id: p.name for p in world.program.directory.people.values()}
        hurry = sealing_on(world.program)
        pack = make_pack(
            found, AUDITOR, names, Request("credit", "LC2"), world.program.ask, hurry=hurry
        )
    assert pack.records > 0
