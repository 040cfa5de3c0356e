"""Dead letters, parked keys, sagas, positions: what operators see, and when it is there to be seen."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from views_world import CHECKER, COMPLIANCE, ENGINEER, MAKER, World

from usance.domain.credit import messages as cm
from usance.domain.facility_messages import SetFacility
from usance.engine import control
from usance.engine.reactors import saga_messages as sm
from usance.kernel.decider import Actor, Context, Decision, Refusal
from usance.kernel.errors import Conflict, NotFound, Unreadable
from usance.kernel.words import Words
from usance.log.contract import Output
from usance.messages.outcome import UnreadableInput
from usance.testing import trade

CREDIT = "albion/credit/LC1"
SAGA = Actor("saga:issuance", "", "system")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def break_credits(world: World) -> Any:
    """Make the decider of credits raise, as a bug would; returns what mends it."""
    decider = world.deciders["credit"]

    def buggy(state: Any, command: Any, context: Context) -> Decision | Refusal:
        raise ZeroDivisionError

    decider.decide = buggy  # type: ignore[method-assign]
    return lambda: delattr(decider, "decide")


def test_a_dead_letter_parks_its_key_until_a_redrive_decides_everything(world: World) -> None:
    mend = break_credits(world)
    try:
        world.send(CREDIT, trade.application())
        world.send(CREDIT, cm.ValidateApplication())
        world.run()
    finally:
        mend()
    queries = world.queries
    status = queries.status(MAKER)
    assert (status.dead_letters, status.parked, status.inputs) == (1, 1, 2)
    letter = queries.dead_letters(ENGINEER).rows[0]
    assert (letter.state, letter.parks, letter.stage) == ("open", True, "decide")
    assert queries.dead_letters(ENGINEER).by_reason == {"decide: ZeroDivisionError": 1}
    parked = queries.parked(ENGINEER)
    assert [(p.key, p.waiting, p.dead_letter_id) for p in parked] == [(CREDIT, 1, letter.id)]
    detail = queries.dead_letter(ENGINEER, letter.id)
    assert detail.waiting == 1 and detail.size > 100 and "APP-1" in detail.text

    redrive = control.Redrive(
        dead_letter_id=letter.id, dead_letter_index=letter.index, reason=Words(text="x")
    )
    world.do(CREDIT, redrive, ENGINEER, causation="control:1")
    after = queries.status(MAKER)
    assert (after.accepted, after.dead_letters, after.parked) == (2, 0, 0)
    assert queries.parked(ENGINEER) == []
    assert queries.dead_letter(ENGINEER, letter.id).row.state == "redriven"
    assert after.credits_by_state == {"IN_PROCESS": 1}
    assert set(after.other_commands) == {"control", "drain"} or after.other_commands == {
        "control": 1
    }


def test_input_nobody_can_read_counts_as_a_dead_letter_also_when_discarded(world: World) -> None:
    world.send(
        CREDIT,
        UnreadableInput(received=b"\x00\xff garbage", stage="decode", reason="no FIN message"),
        causation="intake:usance.trade.intake/0/7",
    )
    world.run()
    letter = world.queries.dead_letters(ENGINEER).rows[0]
    assert (letter.parks, letter.state) == (False, "open")
    assert world.queries.status(MAKER).dead_letters == 1
    discard = control.Discard(
        dead_letter_id=letter.id, dead_letter_index=letter.index, reason=Words(text="noise")
    )
    world.do(CREDIT, discard, ENGINEER, causation="control:2")
    status = world.queries.status(MAKER)
    assert (status.dead_letters, status.inputs, status.dead_letters_open) == (1, 1, 0)
    assert world.queries.dead_letter(ENGINEER, letter.id).row.state == "discarded"


def test_a_record_without_meta_is_a_dead_letter_with_its_bytes(world: World) -> None:
    place = world.place(CREDIT, "commands")
    raw = b"not a command at all"
    world.log.append([Output(place.topic, place.partition, CREDIT.encode(), raw)])
    world.run()
    letter = world.queries.dead_letters(ENGINEER).rows[0]
    detail = world.queries.dead_letter(ENGINEER, letter.id)
    assert bytes.fromhex(detail.hex) == raw
    assert detail.text == raw.decode()


def test_views_rebuilt_from_the_first_record_equal_those_that_followed(world: World) -> None:
    mend = break_credits(world)
    world.do(CREDIT, trade.application())
    mend()
    world.do("albion/credit/LC2", trade.application())
    letter = world.queries.dead_letters(ENGINEER).rows[0]
    redrive = control.Redrive(
        dead_letter_id=letter.id, dead_letter_index=letter.index, reason=Words(text="x")
    )
    world.do(CREDIT, redrive, ENGINEER, causation="control:1")
    for name in world.projector.projections:
        report = world.projector.rebuild(name)
        assert report.swapped and report.differences == [], name
    assert world.queries.status(MAKER).accepted == 1


def test_a_reader_waits_for_its_own_write_and_no_longer(world: World) -> None:
    world.do("albion/facility/F0", facility("F0"))
    world.send(CREDIT, trade.application())
    world.settle()
    place = world.place(CREDIT)
    last = list(world.log.scan(place, 0))[-1]
    token = f"trade.p{place.partition}#{world.decoder.meta(last.headers).index}"
    assert not world.queries.wait_for(token, 0.02), "not taken in yet"
    thread = threading.Timer(0.05, world.project)
    thread.start()
    assert world.queries.wait_for(token, 5.0)
    thread.join()
    assert world.queries.credits(MAKER).total == 1
    everything = world.queries.position()
    assert world.queries.wait_for(everything, 0.0)
    assert world.queries.wait_for(f'"{everything}"', 0.0), "as an HTTP header quotes it"
    with pytest.raises(Conflict):
        world.queries.wait_for(f"{token}@another-log", 0.0)
    for bad in ("trade.p1", "nowhere.p0#1", "trade.p99#1", "trade.px#1"):
        with pytest.raises(Unreadable):
            world.queries.wait_for(bad, 0.0)


def facility(reference: str) -> SetFacility:
    return SetFacility(
        facility=reference, customer="p1", currency="USD", limit=10**9, expiry="2028-01-01"
    )


def test_a_saga_is_shown_as_a_picture_with_incident_and_proposed_act(tmp_path: Path) -> None:
    issuance = pytest.importorskip("usance.sagas.issuance")
    world = World(tmp_path, definitions=(issuance.ISSUANCE,))
    # a facility that nobody has set: the limit cannot be reserved, the saga turns back
    world.do(CREDIT, trade.application())
    world.do(CREDIT, cm.CompleteComplianceCheck(), SAGA, causation="event:x")
    saga = world.queries.sagas(MAKER).rows[0]
    shown = world.queries.saga(MAKER, saga.key)
    states = {s.name: s.state for s in shown.steps}
    assert [s.name for s in shown.steps][:4] == ["application", "validate", "check", "reserve"]
    assert saga.phase == "compensated"
    assert states["reserve"] == "failed" and states["application"] == "compensated"
    failed = next(s for s in shown.steps if s.name == "reserve")
    assert failed.answer == "refused" and failed.code == "UNKNOWN_FACILITY"
    assert states["approve"] == "skipped", "never reached, and never will be"
    assert world.queries.credit(MAKER, CREDIT).row.state == "REJECTED"
    assert world.queries.credit(MAKER, CREDIT).saga is not None
    with pytest.raises(NotFound):
        world.queries.saga(MAKER, "albion/saga/issuance:NONE")


def test_a_running_saga_shows_its_timers_and_where_it_stands(tmp_path: Path) -> None:
    issuance = pytest.importorskip("usance.sagas.issuance")
    world = World(tmp_path, definitions=(issuance.ISSUANCE,))
    world.do("albion/facility/F1", facility("F1"))
    world.do(CREDIT, trade.application())
    saga = world.queries.sagas(MAKER, phase="running").rows[0]
    shown = world.queries.saga(MAKER, saga.key)
    assert next(s for s in shown.steps if s.state == "current").name == "check"
    assert [t.reason for t in shown.timers] == ["step check is expected by now"]
    # what trade sees of a held credit is what it sees of a slow one
    assert world.queries.credit(MAKER, CREDIT).row.state == "IN_PROCESS"
    for reason in ("called off", "called off twice"):
        world.do(saga.key, sm.CompensateSaga(reason=Words(text=reason)), CHECKER)
    first, _ = (a for a in world.queries.approvals(MAKER) if a.kind == "saga_act")
    assert (first.maker, first.content["act"]) == (CHECKER.person, "compensate")
    assert first.key == saga.key and not first.self_made
    world.do(saga.key, sm.ApproveAct(act_id=first.act_id), ENGINEER)
    shown = world.queries.saga(MAKER, saga.key)
    assert sorted(a.state for a in shown.acts) == ["approved", "proposed"]
    assert shown.row.phase == "compensated"
    waiting = [a.act_id for a in world.queries.approvals(MAKER) if a.kind == "saga_act"]
    assert waiting == [], "a saga that is over waits for nobody"
    assert all(i.kind != "saga_act" for i in world.queries.work(MAKER).rows)


def test_projections_say_how_far_they_are_and_what_is_stale(world: World) -> None:
    world.do(CREDIT, trade.application())
    rows = {row.name: row for row in world.queries.projections(COMPLIANCE)}
    assert rows["book"].lag == 0 and rows["book"].rows == 1
    world.send(CREDIT, cm.ValidateApplication())
    world.settle()
    rows = {row.name: row for row in world.queries.projections(COMPLIANCE)}
    assert rows["book"].lag > 0
    assert world.queries.status(MAKER).projection_lag > 0
